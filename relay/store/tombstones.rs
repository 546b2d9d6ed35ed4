//! Traces of keys that no longer name a record, so that late reports about them are recognised as
//! replays. Forgotten once both the side's position and its batches have passed them.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tidegate_sync::model::{BatchId, PairId, Position, Side};
use tidegate_sync::session::Gone;

use super::StoreError;
use super::keys::{Bits, KeyHash, RecordKeys, side_number};
use super::syncs::SyncId;

/// How far the side's reports about this key are known: offset and batch, 0 where it is new.
pub(super) fn by_key(
    conn: &Connection,
    (sync, pair, side): (SyncId, PairId, Side),
    hash: &KeyHash,
) -> Result<(u64, BatchId), StoreError> {
    let mut statement = conn.prepare_cached(
        "select seen, written from tombstones
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4",
    )?;
    let found: Option<(Bits, Bits)> = statement
        .query_row(params![sync.0, pair.0, side_number(side), hash], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(found.map_or((0, BatchId::NONE), |(seen, written)| {
        (seen.0, BatchId(written.0))
    }))
}

/// Is there any trace in the sync?
pub(super) fn has_any(conn: &Connection, sync: SyncId) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached("select 1 from tombstones where sync = ?1")?;
    Ok(statement.exists([sync.0])?)
}

/// Leaves a trace, or moves the one that is there forward.
pub(super) fn put(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    gone: &Gone,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "insert into tombstones (sync, pair, side, key_hash, seen, written)
         values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict do update set seen = max(seen, excluded.seen),
             written = max(written, excluded.written)",
    )?;
    statement.execute(params![
        sync.0,
        gone.pair.0,
        side_number(gone.side),
        keys.hash(&gone.key),
        Bits(gone.seen),
        Bits(gone.written.0),
    ])?;
    Ok(())
}

/// Forgets what the side can no longer report.
pub(super) fn forget_passed(
    tx: &Transaction<'_>,
    sync: SyncId,
    side: Side,
    position: &Position,
) -> Result<usize, StoreError> {
    let mut statement = tx.prepare_cached(
        "delete from tombstones
         where sync = ?1 and side = ?2 and seen <= ?3 and written <= ?4",
    )?;
    Ok(statement.execute(params![
        sync.0,
        side_number(side),
        Bits(position.offset),
        Bits(position.passed.0),
    ])?)
}

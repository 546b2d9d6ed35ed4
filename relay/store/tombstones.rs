//! Traces of keys that no longer name a record, so that late reports about them are recognised as
//! replays. Forgotten once both the side's position and its batches have passed them.

use tidegate_sync::model::{BatchId, PairId, Place, Position, Side, Trace};
use tidegate_sync::session::Gone;

use super::StoreError;
use super::keys::{Bits, KeyHash, RecordKeys, side_number};
use super::moments::Moment;
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};
use super::syncs::SyncId;

/// The traces of the records that had this key, one for each, in the order in which they got it.
pub(super) fn of_key(
    conn: &Connection,
    (sync, pair, side): (SyncId, PairId, Side),
    hash: &KeyHash,
) -> Result<Vec<Trace>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select since, seen, seen_at, written from tombstones
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4 order by since",
    )?;
    let place = params![sync.0, pair.0, side_number(side), hash];
    let traces = statement.query_map(place, from_row)?;
    Ok(traces.collect::<Result<_, _>>()?)
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
    let hash = keys.hash(&gone.key);
    let (pair, side) = (gone.pair.0, side_number(gone.side));
    let since = Moment(gone.trace.since);
    let mut statement = tx.prepare_cached(
        "select since, seen, seen_at, written from tombstones
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4 and since = ?5",
    )?;
    let slot = params![sync.0, pair, side, hash, since];
    let former = statement.query_row(slot, from_row).optional()?;
    // Merged here, because SQLite would take a place of all bits for a negative number.
    let former = former.unwrap_or(gone.trace);
    let seen = former.seen.max(gone.trace.seen);
    let written = former.written.max(gone.trace.written);
    let mut statement = tx.prepare_cached(
        "insert into tombstones
             (sync, pair, side, key_hash, since, seen, seen_at, written)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         on conflict (sync, pair, side, key_hash, since) do update set seen = excluded.seen,
             seen_at = excluded.seen_at, written = excluded.written",
    )?;
    statement.execute(params![
        sync.0,
        pair,
        side,
        hash,
        since,
        Bits(seen.offset),
        Bits(seen.at),
        Bits(written.0),
    ])?;
    Ok(())
}

/// Forgets what the side can no longer report: a position is the end of a transaction, so the place
/// within it does not matter.
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

fn from_row(row: &Row<'_>) -> sql::Result<Trace> {
    let bits = |index: usize| row.get::<Bits>(index).map(|bits| bits.0);
    Ok(Trace {
        since: row.get::<Moment>(0)?.0,
        seen: Place {
            offset: bits(1)?,
            at: bits(2)?,
        },
        written: BatchId(bits(3)?),
    })
}

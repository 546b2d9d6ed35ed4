//! Table pairs of a sync: whether they were live yet, and counts for people.

use tidegate_sync::model::{BySide, PairId, Side};

use super::StoreError;
use super::keys::Bits;
use super::sql::{Connection, Transaction, params};
use super::syncs::SyncId;

/// What is counted of a table pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairRecord {
    pub pair: PairId,
    /// True until the pair was live once.
    pub first_run: bool,
    /// True when its data is to be reconciled: it is new, or its mapping has changed.
    pub due: bool,
    /// What the histories say of it up to these offsets was part of what its reconcile saw.
    pub known: BySide<u64>,
    /// Records that are linked on both sides.
    pub linked: i64,
    /// Writes to each side since the pair exists.
    pub writes: BySide<i64>,
}

/// All pairs of a sync, in the order of the sync file.
pub fn list(conn: &Connection, sync: SyncId) -> Result<Vec<PairRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select pair, first_run, linked, left_writes, right_writes, due, left_known, right_known
         from pairs where sync = ?1 order by pair",
    )?;
    let rows = statement.query_map([sync.0], |row| {
        let first_run = row.get(1)?;
        let known = |index: usize| row.get::<Bits>(index).map(|bits| bits.0);
        Ok(PairRecord {
            pair: PairId(row.get(0)?),
            first_run,
            due: first_run || row.get(5)?,
            known: BySide::new(known(6)?, known(7)?),
            linked: row.get(2)?,
            writes: BySide::new(row.get(3)?, row.get(4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds the pairs that are missing. A new pair is due.
pub(super) fn ensure(tx: &Transaction<'_>, sync: SyncId, count: u32) -> Result<(), StoreError> {
    for pair in 0..count {
        tx.execute(
            "insert into pairs (sync, pair) values (?1, ?2) on conflict do nothing",
            params![sync.0, pair],
        )?;
    }
    Ok(())
}

/// Notes that every pair was live.
pub(super) fn mark_live(tx: &Transaction<'_>, sync: SyncId) -> Result<(), StoreError> {
    tx.execute(
        "update pairs set first_run = 0, due = 0 where sync = ?1",
        [sync.0],
    )?;
    tx.execute("update syncs set live = 1 where id = ?1", [sync.0])?;
    Ok(())
}

/// Notes that the pair was reconciled beside the streams, at these offsets.
pub(super) fn mark_reconciled(
    tx: &Transaction<'_>,
    sync: SyncId,
    pair: PairId,
    known: &BySide<u64>,
) -> Result<(), StoreError> {
    tx.execute(
        "update pairs set first_run = 0, due = 0, left_known = ?3, right_known = ?4
         where sync = ?1 and pair = ?2",
        params![sync.0, pair.0, Bits(known.left), Bits(known.right)],
    )?;
    Ok(())
}

/// Notes that the pair's data is to be reconciled.
pub(super) fn mark_due(tx: &Transaction<'_>, sync: SyncId, pair: PairId) -> Result<(), StoreError> {
    tx.execute(
        "update pairs set due = 1 where sync = ?1 and pair = ?2",
        params![sync.0, pair.0],
    )?;
    Ok(())
}

/// What one settlement adds to a pair's counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta {
    pub linked: i64,
    pub writes: BySide<i64>,
}

pub(super) fn add(
    tx: &Transaction<'_>,
    sync: SyncId,
    pair: PairId,
    delta: &Delta,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "insert into pairs (sync, pair, linked, left_writes, right_writes)
         values (?1, ?2, ?3, ?4, ?5)
         on conflict (sync, pair) do update set linked = pairs.linked + excluded.linked,
             left_writes = pairs.left_writes + excluded.left_writes,
             right_writes = pairs.right_writes + excluded.right_writes",
    )?;
    statement.execute(params![
        sync.0,
        pair.0,
        delta.linked,
        delta.writes[Side::Left],
        delta.writes[Side::Right],
    ])?;
    Ok(())
}

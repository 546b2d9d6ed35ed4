//! Runs: how much each wrote to each side, and when, so that people find the number of one.

use std::collections::BTreeMap;

use tidegate_sync::decide::Write;
use tidegate_sync::model::{BySide, Side};

use super::StoreError;
use super::keys::{Bits, side_number, side_of};
use super::sql::{Connection, Transaction, params};
use super::syncs::SyncId;

/// What was written to one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    pub creates: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Writes {
    pub fn count(&mut self, write: Write) {
        match write {
            Write::Create => self.creates += 1,
            Write::Update => self.updates += 1,
            Write::Delete => self.deletes += 1,
        }
    }
}

/// A run that wrote something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    pub run: u32,
    /// Of its first and its last write.
    pub first_at_ms: i64,
    pub last_at_ms: i64,
    pub writes: BySide<Writes>,
}

/// Counts what a settlement wrote.
pub(super) fn add(
    tx: &Transaction<'_>,
    (sync, run): (SyncId, u32),
    side: Side,
    writes: &Writes,
    now_ms: i64,
) -> Result<(), StoreError> {
    if *writes == Writes::default() {
        return Ok(());
    }
    let mut statement = tx.prepare_cached(
        "insert into runs (sync, run, side, first_at, last_at, creates, updates, deletes)
         values (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)
         on conflict (sync, run, side) do update set last_at = excluded.last_at,
             creates = runs.creates + excluded.creates, updates = runs.updates + excluded.updates,
             deletes = runs.deletes + excluded.deletes",
    )?;
    statement.execute(params![
        sync.0,
        run,
        side_number(side),
        now_ms,
        Bits(writes.creates),
        Bits(writes.updates),
        Bits(writes.deletes),
    ])?;
    Ok(())
}

/// The sync's runs with numbers below `before`, newest first.
pub fn list(
    conn: &Connection,
    sync: SyncId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<RunRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select run, side, first_at, last_at, creates, updates, deletes from runs
         where sync = ?1 and run < ?2 order by run desc limit ?3",
    )?;
    // A run has a row for each side that it wrote.
    let values = params![sync.0, before.unwrap_or(i64::MAX), limit.saturating_mul(2)];
    let mut rows = statement.query(values)?;
    let mut found: BTreeMap<u32, RunRecord> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (run, first_at_ms, last_at_ms) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let record = found.entry(run).or_insert(RunRecord {
            run,
            first_at_ms,
            last_at_ms,
            writes: BySide::default(),
        });
        record.first_at_ms = record.first_at_ms.min(first_at_ms);
        record.last_at_ms = record.last_at_ms.max(last_at_ms);
        record.writes[side_of(row.get(1)?, "runs.side")?] = Writes {
            creates: row.get::<Bits>(4)?.0,
            updates: row.get::<Bits>(5)?.0,
            deletes: row.get::<Bits>(6)?.0,
        };
    }
    Ok(found.into_values().rev().take(limit as usize).collect())
}

/// Removes runs whose writes are all older than the retention time allows.
pub fn forget_before(
    tx: &Transaction<'_>,
    sync: SyncId,
    before_ms: i64,
) -> Result<usize, StoreError> {
    let sql = "delete from runs where sync = ?1 and last_at < ?2";
    Ok(tx.execute(sql, params![sync.0, before_ms])?)
}

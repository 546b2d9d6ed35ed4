//! Conflicts: both values of a field that both sides changed, sealed, kept for a retention time so
//! that a person can pick the other one later.

use rusqlite::{Connection, Transaction, params};
use tidegate_sync::model::{Conflict, PairId};

use super::keys::{Bits, RecordKeys, side_number};
use super::syncs::SyncId;
use super::{Sealer, StoreError};

const LABEL: &str = "conflicts.body";

/// A recorded conflict.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRecord {
    pub id: i64,
    pub at_ms: i64,
    pub conflict: Conflict,
}

pub(super) fn add(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    (sync, workspace): (SyncId, &str),
    conflict: &Conflict,
    now_ms: i64,
) -> Result<(), StoreError> {
    let json = serde_json::to_vec(conflict).map_err(|_| StoreError::Malformed(LABEL))?;
    let mut statement = tx.prepare_cached(
        "insert into conflicts (workspace, sync, pair, at, winner, field, body)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    statement.execute(params![
        workspace,
        sync.0,
        conflict.pair.0,
        now_ms,
        side_number(conflict.winner),
        conflict.field.map(|field| Bits(field as u64)),
        keys.sealer().seal(LABEL, &json),
    ])?;
    Ok(())
}

/// Conflicts with numbers below `before` (all if `None`), newest first.
pub fn list(
    conn: &Connection,
    sealer: &Sealer,
    sync: SyncId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<ConflictRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select id, at, body from conflicts where sync = ?1 and id < ?2 order by id desc limit ?3",
    )?;
    let mut rows = statement.query(params![sync.0, before.unwrap_or(i64::MAX), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let sealed: Vec<u8> = row.get(2)?;
        let json = sealer.open(LABEL, &sealed)?;
        found.push(ConflictRecord {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            conflict: serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(LABEL))?,
        });
    }
    Ok(found)
}

/// Number of conflicts on record for a table pair.
pub fn count(conn: &Connection, sync: SyncId, pair: PairId) -> Result<u64, StoreError> {
    let mut statement =
        conn.prepare_cached("select count(*) from conflicts where sync = ?1 and pair = ?2")?;
    let count: Bits = statement.query_row(params![sync.0, pair.0], |row| row.get(0))?;
    Ok(count.0)
}

/// Removes conflicts of all syncs that are older than the retention time allows.
pub fn forget_before(tx: &Transaction<'_>, before_ms: i64) -> Result<usize, StoreError> {
    Ok(tx.execute("delete from conflicts where at < ?1", [before_ms])?)
}

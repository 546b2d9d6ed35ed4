//! History: every write to a side, without values. Keys are sealed; one record's history is found
//! by its key's hash.

use rusqlite::{Connection, Row, Transaction, params};
use tidegate_sync::decide::Write;
use tidegate_sync::model::{BySide, Key, PairId};
use tidegate_sync::session::Applied;

use super::StoreError;
use super::keys::{RecordKeys, side_number, side_of};
use super::syncs::SyncId;

const LABEL: &str = "history.body";
const COLUMNS: &str = "id, epoch, at, source_at, pair, side, write, body";

/// One write, as it was settled.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRecord {
    pub id: i64,
    /// The run.
    pub epoch: u32,
    pub at_ms: i64,
    pub applied: Applied,
}

type Body = (Option<Key>, Option<Key>, Vec<usize>);

pub(super) fn add(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    (sync, workspace, epoch): (SyncId, &str, u32),
    applied: &Applied,
    now_ms: i64,
) -> Result<(), StoreError> {
    let body = (&applied.keys.left, &applied.keys.right, &applied.fields);
    let json = serde_json::to_vec(&body).map_err(|_| StoreError::Malformed(LABEL))?;
    let hash = |key: &Option<Key>| key.as_ref().map(|key| keys.hash(key));
    let mut statement = tx.prepare_cached(
        "insert into history (workspace, sync, epoch, at, source_at, pair, side, write, left_hash,
             right_hash, body)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    statement.execute(params![
        workspace,
        sync.0,
        epoch,
        now_ms,
        applied.source_time,
        applied.pair.0,
        side_number(applied.side),
        write_number(applied.write),
        hash(&applied.keys.left),
        hash(&applied.keys.right),
        keys.sealer().seal(LABEL, &json),
    ])?;
    Ok(())
}

/// Writes with numbers below `before` (all if `None`), newest first.
pub fn list(
    conn: &Connection,
    keys: &RecordKeys,
    sync: SyncId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from history where sync = ?1 and id < ?2 order by id desc limit ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, before.unwrap_or(i64::MAX), limit])?;
    collect(&mut rows, keys)
}

/// Writes with numbers above `after`, oldest first: what a live view has not shown yet.
pub fn list_after(
    conn: &Connection,
    keys: &RecordKeys,
    sync: SyncId,
    after: i64,
    limit: u32,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let sql =
        format!("select {COLUMNS} from history where sync = ?1 and id > ?2 order by id limit ?3");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, after, limit])?;
    collect(&mut rows, keys)
}

/// Writes of the record that either side calls `key`, newest first. Reads the sync's whole history:
/// an index on two hashes would cost every settlement more than this rare question is worth.
pub fn of_record(
    conn: &Connection,
    keys: &RecordKeys,
    sync: SyncId,
    key: &Key,
    limit: u32,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from history
         where sync = ?1 and (left_hash = ?2 or right_hash = ?2) order by id desc limit ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, keys.hash(key), limit])?;
    collect(&mut rows, keys)
}

/// Removes the history of all syncs that is older than the retention time allows.
pub fn forget_before(tx: &Transaction<'_>, before_ms: i64) -> Result<usize, StoreError> {
    Ok(tx.execute("delete from history where at < ?1", [before_ms])?)
}

fn collect(
    rows: &mut rusqlite::Rows<'_>,
    keys: &RecordKeys,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(row, keys)?);
    }
    Ok(found)
}

fn from_row(row: &Row<'_>, keys: &RecordKeys) -> Result<HistoryRecord, StoreError> {
    let sealed: Vec<u8> = row.get(7)?;
    let json = keys.sealer().open(LABEL, &sealed)?;
    let (left, right, fields): Body =
        serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(LABEL))?;
    Ok(HistoryRecord {
        id: row.get(0)?,
        epoch: row.get(1)?,
        at_ms: row.get(2)?,
        applied: Applied {
            pair: PairId(row.get(4)?),
            side: side_of(row.get(5)?, "history.side")?,
            write: write_of(row.get(6)?)?,
            keys: BySide::new(left, right),
            fields,
            source_time: row.get(3)?,
        },
    })
}

fn write_number(write: Write) -> i64 {
    match write {
        Write::Create => 0,
        Write::Update => 1,
        Write::Delete => 2,
    }
}

fn write_of(number: i64) -> Result<Write, StoreError> {
    match number {
        0 => Ok(Write::Create),
        1 => Ok(Write::Update),
        2 => Ok(Write::Delete),
        _ => Err(StoreError::Malformed("history.write")),
    }
}

//! Drafts of syncs: what a person has configured and not started yet, sealed.

use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};
use super::{Sealer, StoreError};

const LABEL: &str = "drafts.body";
const COLUMNS: &str = "id, name, version, author, created_at, changed_at";

/// Drafts of one workspace: a person who keeps more has forgotten the first ones.
pub const DRAFTS_MAX: i64 = 500;

/// A draft without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftRecord {
    pub id: i64,
    pub name: String,
    pub version: i64,
    /// Who changed it last.
    pub author: String,
    pub created_at_ms: i64,
    pub changed_at_ms: i64,
}

/// What is kept.
#[derive(Clone, Debug)]
pub struct Content {
    pub name: String,
    pub body: Vec<u8>,
    pub author: String,
}

/// Keeps a new draft. Refuses it where there are too many.
pub fn add(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    workspace: &str,
    content: &Content,
    now_ms: i64,
) -> Result<DraftRecord, StoreError> {
    let count: i64 = tx.query_row(
        "select count(*) from drafts where workspace = ?1",
        [workspace],
        |row| row.get(0),
    )?;
    if count >= DRAFTS_MAX {
        return Err(StoreError::Full {
            noun: "drafts",
            max: DRAFTS_MAX,
        });
    }
    let sealed = sealer.seal(LABEL, &content.body);
    let sql = format!(
        "insert into drafts (workspace, name, body, author, created_at, changed_at)
         values (?1, ?2, ?3, ?4, ?5, ?5) returning {COLUMNS}"
    );
    let values = params![workspace, content.name, sealed, content.author, now_ms];
    Ok(tx.query_row(&sql, values, from_row)?)
}

/// Drafts with numbers above `after`, oldest first.
pub fn list(
    conn: &Connection,
    workspace: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<DraftRecord>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from drafts where workspace = ?1 and id > ?2 order by id limit ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![workspace, after, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One draft and what it holds.
pub fn by_id(
    conn: &Connection,
    sealer: &Sealer,
    workspace: &str,
    id: i64,
) -> Result<(DraftRecord, Vec<u8>), StoreError> {
    let sql = format!("select {COLUMNS}, body from drafts where workspace = ?1 and id = ?2");
    let found = conn
        .query_row(&sql, params![workspace, id], |row| {
            Ok((from_row(row)?, row.get::<Vec<u8>>(6)?))
        })
        .optional()?;
    let (record, sealed) = found.ok_or_else(|| StoreError::not_found("draft", id))?;
    Ok((record, sealer.open(LABEL, &sealed)?.to_vec()))
}

/// Replaces the version that was read. Refused when somebody else has replaced it since.
pub fn replace(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    (workspace, id, version): (&str, i64, i64),
    content: &Content,
    now_ms: i64,
) -> Result<DraftRecord, StoreError> {
    let sql = format!(
        "update drafts set name = ?4, body = ?5, author = ?6, changed_at = ?7, version = version + 1
         where workspace = ?1 and id = ?2 and version = ?3 returning {COLUMNS}"
    );
    let sealed = sealer.seal(LABEL, &content.body);
    let values = params![
        workspace,
        id,
        version,
        content.name,
        sealed,
        content.author,
        now_ms
    ];
    let replaced = tx.query_row(&sql, values, from_row).optional()?;
    replaced.map_or_else(|| Err(not_replaced(tx, workspace, id)?), Ok)
}

/// Removes the version that was read, or any where none is named.
pub fn remove(
    tx: &Transaction<'_>,
    (workspace, id, version): (&str, i64, Option<i64>),
) -> Result<(), StoreError> {
    let removed = tx.execute(
        "delete from drafts where workspace = ?1 and id = ?2 and version = coalesce(?3, version)",
        params![workspace, id, version],
    )?;
    if removed == 0 {
        return Err(not_replaced(tx, workspace, id)?);
    }
    Ok(())
}

fn not_replaced(tx: &Transaction<'_>, workspace: &str, id: i64) -> Result<StoreError, StoreError> {
    let exists: bool = tx.query_row(
        "select exists (select 1 from drafts where workspace = ?1 and id = ?2)",
        params![workspace, id],
        |row| row.get(0),
    )?;
    Ok(match exists {
        true => StoreError::Changed { noun: "draft" },
        false => StoreError::not_found("draft", id),
    })
}

fn from_row(row: &Row<'_>) -> sql::Result<DraftRecord> {
    Ok(DraftRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        author: row.get(3)?,
        created_at_ms: row.get(4)?,
        changed_at_ms: row.get(5)?,
    })
}

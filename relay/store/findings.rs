//! Findings: records that could not be synced, one for each record, with when to try again.

use tidegate_sync::model::{Finding, FindingCode, Key, PairId, Side};

use super::keys::{Bits, KeyHash, RecordKeys, side_number, side_of};
use super::sql::{Connection, OptionalExtension, Row, Transaction, params};
use super::syncs::SyncId;
use super::{Sealer, StoreError};

const KEY: &str = "findings.key";
const DETAIL: &str = "findings.detail";

/// First wait before a record is tried again, milliseconds; doubles with each attempt.
const RETRY_MS_MIN: i64 = 60_000;
/// Longest wait: a person who has corrected a record need not wait longer, and may ask at once.
const RETRY_MS_MAX: i64 = 3_600_000;

/// An open finding.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingRecord {
    pub id: i64,
    pub sync: SyncId,
    pub finding: Finding,
    pub attempts: u32,
    pub first_at_ms: i64,
    pub last_at_ms: i64,
    pub retry_at_ms: Option<i64>,
}

/// Opens a finding, or replaces the record's older one and waits longer.
pub(super) fn put(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    (sync, workspace): (SyncId, &str),
    finding: &Finding,
    now_ms: i64,
) -> Result<(), StoreError> {
    let hash = keys.hash(&finding.key);
    let place = params![sync.0, finding.pair.0, side_number(finding.side), hash];
    let mut statement = tx.prepare_cached(
        "select attempts from findings
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4",
    )?;
    let before: Option<u32> = statement.query_row(place, |row| row.get(0)).optional()?;
    let attempts = before.unwrap_or(0).saturating_add(1);
    let mut statement = tx.prepare_cached(
        "insert into findings (workspace, sync, pair, side, key_hash, key_sealed, code,
             detail_sealed, attempts, first_at, last_at, retry_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11)
         on conflict (sync, pair, side, key_hash) do update set code = excluded.code,
             detail_sealed = excluded.detail_sealed, attempts = excluded.attempts,
             last_at = excluded.last_at, retry_at = excluded.retry_at",
    )?;
    statement.execute(params![
        workspace,
        sync.0,
        finding.pair.0,
        side_number(finding.side),
        hash,
        keys.seal(KEY, &finding.key),
        finding.code.name(),
        keys.sealer().seal(DETAIL, finding.detail.as_bytes()),
        attempts,
        now_ms,
        retry_after_ms(finding.code, attempts).map(|after| now_ms + after),
    ])?;
    Ok(())
}

/// Closes the record's finding, if it has one.
pub(super) fn resolve(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    (pair, side, key): (PairId, Side, &Key),
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "delete from findings where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4",
    )?;
    statement.execute(params![sync.0, pair.0, side_number(side), keys.hash(key)])?;
    Ok(())
}

/// The code of the record's open finding, if it has one.
pub(super) fn code_of(
    conn: &Connection,
    (sync, pair, side): (SyncId, PairId, Side),
    hash: &KeyHash,
) -> Result<Option<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select code from findings where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4",
    )?;
    let place = params![sync.0, pair.0, side_number(side), hash];
    Ok(statement.query_row(place, |row| row.get(0)).optional()?)
}

/// Has the sync any open finding?
pub(super) fn has_any(conn: &Connection, sync: SyncId) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached("select 1 from findings where sync = ?1")?;
    Ok(statement.exists([sync.0])?)
}

/// Which findings to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this sync; of all in the workspace unless given.
    pub sync: Option<SyncId>,
    pub code: Option<String>,
    /// With numbers above this one.
    pub after: i64,
    pub limit: u32,
}

/// Open findings of a workspace, oldest first.
pub fn list(
    conn: &Connection,
    sealer: &Sealer,
    workspace: &str,
    filter: &Filter,
) -> Result<Vec<FindingRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select id, pair, side, key_sealed, code, detail_sealed, attempts, first_at, last_at,
             retry_at, sync
         from findings
         where workspace = ?1 and id > ?2 and sync = coalesce(?3, sync)
             and code = coalesce(?4, code)
         order by id limit ?5",
    )?;
    let Filter {
        sync,
        code,
        after,
        limit,
    } = filter;
    let values = params![workspace, after, sync.map(|sync| sync.0), code, limit];
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(&row, sealer)?);
    }
    Ok(found)
}

/// Number of open findings of each table pair that has some.
pub fn counts(conn: &Connection, sync: SyncId) -> Result<Vec<(PairId, u64)>, StoreError> {
    let mut statement =
        conn.prepare_cached("select pair, count(*) from findings where sync = ?1 group by pair")?;
    let rows = statement.query_map([sync.0], |row| {
        Ok((PairId(row.get(0)?), row.get::<Bits>(1)?.0))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Records whose wait is over, longest waiting first.
pub(super) fn due(
    conn: &Connection,
    keys: &RecordKeys,
    sync: SyncId,
    now_ms: i64,
    limit: u32,
) -> Result<Vec<(Side, PairId, Key)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select side, pair, key_sealed from findings
         where sync = ?1 and retry_at <= ?2 order by retry_at limit ?3",
    )?;
    let mut rows = statement.query(params![sync.0, now_ms, limit])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let side = side_of(row.get(0)?, "findings.side")?;
        let sealed: Vec<u8> = row.get(2)?;
        due.push((side, PairId(row.get(1)?), keys.open(KEY, &sealed)?));
    }
    Ok(due)
}

/// Puts off records that are being tried now, so that they are not due again meanwhile. Those that nothing
/// but a change of the record can help are not due again at all.
pub(super) fn postpone(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    tried: &[(Side, PairId, Key)],
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "update findings set retry_at = iif(code = ?6, null, ?5)
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4",
    )?;
    for (side, pair, key) in tried {
        let retry_at = now_ms + RETRY_MS_MIN;
        statement.execute(params![
            sync.0,
            pair.0,
            side_number(*side),
            keys.hash(key),
            retry_at,
            FindingCode::ValueAltered.name()
        ])?;
    }
    Ok(())
}

/// Makes one finding of the sync due, or all of them: a person asked to try again now. Says how many
/// there are.
pub fn retry_now(
    tx: &Transaction<'_>,
    (sync, only): (SyncId, Option<i64>),
    now_ms: i64,
) -> Result<usize, StoreError> {
    Ok(tx.execute(
        "update findings set retry_at = ?3 where sync = ?1 and id = coalesce(?2, id)",
        params![sync.0, only, now_ms],
    )?)
}

/// `None` where there is nothing to try before the record changes.
fn retry_after_ms(code: FindingCode, attempts: u32) -> Option<i64> {
    if code == FindingCode::ValueAltered {
        return None;
    }
    let is_passing = matches!(
        code,
        FindingCode::ChangedWhileCopied
            | FindingCode::KeyReused
            | FindingCode::LinkedRecordMissing
            | FindingCode::LinkedRecordRequired
    );
    if is_passing && attempts == 1 {
        // Nothing is wrong with the record: it only has to be read again.
        return Some(0);
    }
    let doublings = attempts.saturating_sub(1).min(16);
    Some((RETRY_MS_MIN << doublings).min(RETRY_MS_MAX))
}

fn from_row(row: &Row<'_>, sealer: &Sealer) -> Result<FindingRecord, StoreError> {
    let sync = SyncId(row.get(10)?);
    let keys = RecordKeys::new(sealer, sync);
    let sealed_key: Vec<u8> = row.get(3)?;
    let code: String = row.get(4)?;
    let sealed_detail: Vec<u8> = row.get(5)?;
    let detail = sealer.open(DETAIL, &sealed_detail)?;
    let code = serde_json::from_value(serde_json::Value::String(code))
        .map_err(|_| StoreError::Malformed("findings.code"))?;
    Ok(FindingRecord {
        id: row.get(0)?,
        sync,
        finding: Finding {
            pair: PairId(row.get(1)?),
            side: side_of(row.get(2)?, "findings.side")?,
            key: keys.open(KEY, &sealed_key)?,
            code,
            detail: String::from_utf8_lossy(&detail).into_owned(),
        },
        attempts: row.get(6)?,
        first_at_ms: row.get(7)?,
        last_at_ms: row.get(8)?,
        retry_at_ms: row.get(9)?,
    })
}

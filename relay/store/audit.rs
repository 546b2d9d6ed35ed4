//! The audit log: who did what to which object, append-only.
//!
//! Each record's hash is keyed and covers the record before it: who has the database but not the
//! master key can neither change a record nor take one out of the middle unnoticed. The end can
//! be cut off; compare the count with an export where that matters.

use super::sql::{self, Connection, OptionalExtension, Transaction, params};
use super::{Sealer, StoreError};

/// One event. Texts are names and codes, never row values or secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub at_ms: i64,
    pub workspace: String,
    /// Who: a token's name, an agent's name, or `relay`.
    pub actor: String,
    /// What, as `noun.verb`: `agent.revoke`, `sync.apply`.
    pub action: String,
    /// To which object.
    pub object: String,
}

/// A stored event and its number; numbers have no holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    pub seq: i64,
    pub event: AuditEvent,
}

/// What a check of the chain found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    Intact {
        records: i64,
    },
    /// The record with this number, or one that should stand before it, was changed or removed.
    Broken {
        seq: i64,
    },
}

/// Appends an event; commits with the transaction that did what it tells.
pub fn append(tx: &Transaction<'_>, sealer: &Sealer, event: &AuditEvent) -> Result<(), StoreError> {
    let last: Option<(i64, Vec<u8>)> = tx
        .query_row(
            "select seq, hash from audit order by seq desc limit 1",
            (),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let (seq, before) = last.map_or((1, Vec::new()), |(seq, hash)| (seq + 1, hash));
    tx.execute(
        "insert into audit (seq, at, workspace, actor, action, object, hash)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            seq,
            event.at_ms,
            event.workspace,
            event.actor,
            event.action,
            event.object,
            chain_hash(sealer, seq, event, &before)
        ],
    )?;
    Ok(())
}

/// The newest events of a workspace, newest first; `before` pages on.
pub fn list(
    conn: &Connection,
    workspace: &str,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select seq, at, workspace, actor, action, object, hash from audit
         where workspace = ?1 and seq < ?2 order by seq desc limit ?3",
    )?;
    let before = before.unwrap_or(i64::MAX);
    let rows = statement.query_map(params![workspace, before, limit], from_row)?;
    Ok(rows
        .map(|row| row.map(|(record, _)| record))
        .collect::<Result<_, _>>()?)
}

/// Recomputes the whole chain.
pub fn verify(conn: &Connection, sealer: &Sealer) -> Result<Chain, StoreError> {
    let mut statement = conn.prepare_cached(
        "select seq, at, workspace, actor, action, object, hash from audit order by seq",
    )?;
    let mut before = Vec::new();
    let mut records = 0;
    for row in statement.query_map((), from_row)? {
        let (record, hash) = row?;
        records += 1;
        let expected = chain_hash(sealer, records, &record.event, &before);
        if record.seq != records || hash != expected {
            return Ok(Chain::Broken { seq: record.seq });
        }
        before = hash;
    }
    Ok(Chain::Intact { records })
}

fn chain_hash(sealer: &Sealer, seq: i64, event: &AuditEvent, before: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let texts = [&event.workspace, &event.actor, &event.action, &event.object];
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&event.at_ms.to_be_bytes());
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(before);
    sealer.keyed_hash("audit", &bytes).to_vec()
}

fn from_row(row: &sql::Row<'_>) -> sql::Result<(AuditRecord, Vec<u8>)> {
    let record = AuditRecord {
        seq: row.get(0)?,
        event: AuditEvent {
            at_ms: row.get(1)?,
            workspace: row.get(2)?,
            actor: row.get(3)?,
            action: row.get(4)?,
            object: row.get(5)?,
        },
    };
    Ok((record, row.get(6)?))
}

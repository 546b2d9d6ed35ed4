//! The round that a run is about to send. Committed before it is sent and removed by the settlement
//! that completes it, so that a crash in between is recovered instead of repeated.
//!
//! Sealed: a round holds record keys, and the losing values of conflicts.

use tidegate_sync::session::Round;

use super::sql::{Connection, OptionalExtension, Transaction, params};
use super::syncs::SyncId;
use super::{Sealer, StoreError};

const LABEL: &str = "intents.round";

/// The round that was not settled, whichever run intended it.
pub fn open_round(
    conn: &Connection,
    sealer: &Sealer,
    sync: SyncId,
) -> Result<Option<Round>, StoreError> {
    let mut statement = conn.prepare_cached("select round from intents where sync = ?1")?;
    let sealed: Option<Vec<u8>> = statement.query_row([sync.0], |row| row.get(0)).optional()?;
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    let json = sealer.open(LABEL, &sealed)?;
    let round = serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(LABEL))?;
    Ok(Some(round))
}

/// Is a round intended that was not settled?
pub(super) fn is_open(conn: &Connection, sync: SyncId) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached("select 1 from intents where sync = ?1")?;
    Ok(statement.exists([sync.0])?)
}

/// A sealed round; made before the writer's turn, because it can be large.
pub(super) fn seal(sealer: &Sealer, round: &Round) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_vec(round).map_err(|_| StoreError::Malformed(LABEL))?;
    Ok(sealer.seal(LABEL, &json))
}

/// Stores the round. One that is still open must be settled first.
pub(super) fn put(
    tx: &Transaction<'_>,
    sync: SyncId,
    epoch: u32,
    sealed: &[u8],
) -> Result<(), StoreError> {
    let mut statement =
        tx.prepare_cached("insert into intents (sync, epoch, round) values (?1, ?2, ?3)")?;
    statement.execute(params![sync.0, epoch, sealed])?;
    Ok(())
}

pub(super) fn clear(tx: &Transaction<'_>, sync: SyncId) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("delete from intents where sync = ?1")?;
    statement.execute([sync.0])?;
    Ok(())
}

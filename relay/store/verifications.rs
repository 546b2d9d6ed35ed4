//! The last verify of each sync, for status and metrics.

use super::StoreError;
use super::keys::Bits;
use super::sql::{Connection, OptionalExtension, Transaction, params};
use super::syncs::SyncId;

/// What a complete comparison of a sync's sides said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    pub at_ms: i64,
    pub took_ms: u64,
    pub records: u64,
    pub difference_count: u64,
}

/// Replaces the sync's last one.
pub fn put(tx: &Transaction<'_>, sync: SyncId, of: &Verification) -> Result<(), StoreError> {
    tx.execute(
        "insert into verifications (sync, at, took_ms, records, differences)
         values (?1, ?2, ?3, ?4, ?5)
         on conflict (sync) do update set at = excluded.at, took_ms = excluded.took_ms,
             records = excluded.records, differences = excluded.differences",
        params![
            sync.0,
            of.at_ms,
            Bits(of.took_ms),
            Bits(of.records),
            Bits(of.difference_count)
        ],
    )?;
    Ok(())
}

/// The sync's last one.
pub fn last(conn: &Connection, sync: SyncId) -> Result<Option<Verification>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select at, took_ms, records, differences from verifications where sync = ?1",
    )?;
    let last = statement.query_row([sync.0], |row| {
        Ok(Verification {
            at_ms: row.get(0)?,
            took_ms: row.get::<Bits>(1)?.0,
            records: row.get::<Bits>(2)?.0,
            difference_count: row.get::<Bits>(3)?.0,
        })
    });
    Ok(last.optional()?)
}

//! Mappings: how tables and fields were called when they were written. History names fields by their
//! place in the sync file, which people may edit later.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::keys::Bits;
use super::sql::{Connection, Transaction, params};
use super::syncs::SyncId;

/// Recognises a mapping; 0 where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MappingPrint(pub u64);

/// A table pair's names, left and right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedTable {
    pub tables: (String, String),
    /// In the order of the field pairs.
    pub fields: Vec<(String, String)>,
}

impl MappedTable {
    pub fn print(&self) -> MappingPrint {
        let mut hasher = blake3::Hasher::new();
        let names = self.fields.iter().chain([&self.tables]);
        for name in names.flat_map(|(left, right)| [left, right]) {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        MappingPrint(u64::from_be_bytes(short).max(1))
    }
}

/// Remembers mappings; those that are known already cost nothing.
pub(super) fn put(
    tx: &Transaction<'_>,
    sync: SyncId,
    tables: &[MappedTable],
) -> Result<(), StoreError> {
    for table in tables {
        let names =
            serde_json::to_string(table).map_err(|_| StoreError::Malformed("mappings.names"))?;
        tx.execute(
            "insert into mappings (sync, print, names) values (?1, ?2, ?3) on conflict do nothing",
            params![sync.0, Bits(table.print().0), names],
        )?;
    }
    Ok(())
}

/// All mappings that the sync has had.
pub fn list(
    conn: &Connection,
    sync: SyncId,
) -> Result<HashMap<MappingPrint, MappedTable>, StoreError> {
    let mut statement = conn.prepare_cached("select print, names from mappings where sync = ?1")?;
    let mut rows = statement.query([sync.0])?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        let names: String = row.get(1)?;
        let table =
            serde_json::from_str(&names).map_err(|_| StoreError::Malformed("mappings.names"))?;
        found.insert(MappingPrint(row.get::<Bits>(0)?.0), table);
    }
    Ok(found)
}

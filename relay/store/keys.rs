//! Record keys at rest: sealed to be read back, hashed to be found. Also the packed forms of the
//! small values that every record noun stores.

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{Key, Side};

use super::sql::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use super::syncs::SyncId;
use super::{Sealer, StoreError};

/// Seals and hashes the record keys of one sync.
#[derive(Clone)]
pub struct RecordKeys {
    sealer: Sealer,
    label: String,
}

/// Finds a key: 128 bits, keyed by the master key and different in each sync.
pub type KeyHash = [u8; 16];

impl RecordKeys {
    pub fn new(sealer: &Sealer, sync: SyncId) -> Self {
        Self {
            sealer: sealer.clone(),
            label: format!("record key of sync {}", sync.0),
        }
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(super) fn hash(&self, key: &Key) -> KeyHash {
        self.sealer.keyed_hash(&self.label, &key.to_bytes())
    }

    pub(super) fn seal(&self, column: &'static str, key: &Key) -> Vec<u8> {
        self.sealer.seal(column, &key.to_bytes())
    }

    pub(super) fn open(&self, column: &'static str, sealed: &[u8]) -> Result<Key, StoreError> {
        let bytes = self.sealer.open(column, sealed)?;
        Key::from_bytes(&bytes).ok_or(StoreError::Malformed(column))
    }

    pub(super) fn open_optional(
        &self,
        column: &'static str,
        sealed: Option<&[u8]>,
    ) -> Result<Option<Key>, StoreError> {
        sealed.map(|sealed| self.open(column, sealed)).transpose()
    }
}

/// Eight bytes for each field, in the order of the field pairs.
pub(super) fn pack_prints(prints: &[Fingerprint]) -> Vec<u8> {
    prints
        .iter()
        .flat_map(|print| print.0.to_be_bytes())
        .collect()
}

pub(super) fn unpack_prints(
    column: &'static str,
    bytes: &[u8],
) -> Result<Vec<Fingerprint>, StoreError> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(StoreError::Malformed(column));
    }
    Ok(chunks
        .iter()
        .map(|chunk| Fingerprint(u64::from_be_bytes(*chunk)))
        .collect())
}

/// The number under which a side is stored.
pub(super) fn side_number(side: Side) -> i64 {
    match side {
        Side::Left => 0,
        Side::Right => 1,
    }
}

pub(super) fn side_of(number: i64, column: &'static str) -> Result<Side, StoreError> {
    match number {
        0 => Ok(Side::Left),
        1 => Ok(Side::Right),
        _ => Err(StoreError::Malformed(column)),
    }
}

/// An unsigned number in SQLite's signed column, bit for bit. Offsets and batch numbers stay below
/// 2^63 in practice, so that comparing them in SQL is right too.
#[derive(Clone, Copy)]
pub(super) struct Bits(pub u64);

impl ToSql for Bits {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.cast_signed()))
    }
}

impl FromSql for Bits {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|number| Bits(number.cast_unsigned()))
    }
}

//! Fingerprints: how the relay remembers what both sides agreed on without keeping any value.

use serde::{Deserialize, Serialize};

use crate::model::{Cell, Row};
use crate::value::Value;

/// 64 bits of a keyed BLAKE3 hash of one field's canonical value. Two different values of a field
/// are taken for equal with probability 2⁻⁶⁴, once per comparison; `verify` reads values and not
/// fingerprints, so it would see even that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// No value was ever agreed on. Never the fingerprint of a value.
    pub const UNKNOWN: Fingerprint = Fingerprint(0);
    /// The same, because the field pair was not mapped when the records were linked. Never the
    /// fingerprint of a value.
    pub const NEW: Fingerprint = Fingerprint(1);

    pub fn is_known(self) -> bool {
        self != Fingerprint::UNKNOWN && self != Fingerprint::NEW
    }

    /// Another one, for the comparison of two references that read the same and name different records.
    /// Never stored.
    pub fn told_apart(self) -> Fingerprint {
        Fingerprint(!self.0)
    }
}

/// Makes fingerprints with a sync's secret key, so that they tell nothing to whoever lacks it.
#[derive(Clone)]
pub struct Fingerprinter {
    key: [u8; 32],
}

impl Fingerprinter {
    pub fn new(key: [u8; 32]) -> Self {
        Fingerprinter { key }
    }

    pub fn value(&self, value: &Value) -> Fingerprint {
        self.value_in(value, &mut Vec::with_capacity(64))
    }

    /// `canonical` is only room to work in: rows of many fields need no new one for each.
    fn value_in(&self, value: &Value, canonical: &mut Vec<u8>) -> Fingerprint {
        canonical.clear();
        value.canonical(canonical);
        Fingerprint(self.hash64(canonical).max(2))
    }

    /// `None` for a cell that the side did not send.
    pub fn cell(&self, cell: &Cell) -> Option<Fingerprint> {
        cell.value().map(|value| self.value(value))
    }

    /// One fingerprint per field; [`Fingerprint::UNKNOWN`] where the side did not send it.
    pub fn row(&self, row: &Row) -> Vec<Fingerprint> {
        let mut canonical = Vec::with_capacity(64);
        row.iter()
            .map(|cell| match cell.value() {
                Some(value) => self.value_in(value, &mut canonical),
                None => Fingerprint::UNKNOWN,
            })
            .collect()
    }

    /// One fingerprint of a whole record, of those of its fields.
    pub fn record(&self, prints: &[Fingerprint]) -> Fingerprint {
        let bytes: Vec<u8> = prints
            .iter()
            .flat_map(|print| print.0.to_be_bytes())
            .collect();
        Fingerprint(self.hash64(&bytes).max(1))
    }

    /// 128 bits for the values of a match key; `None` when one is null or was not sent.
    pub fn match_key(&self, values: &[&Cell]) -> Option<[u8; 16]> {
        let mut canonical = Vec::with_capacity(64);
        for cell in values {
            match cell {
                Cell::Value(Value::Null) | Cell::Unchanged => return None,
                Cell::Value(value) => value.canonical(&mut canonical),
            }
        }
        let hash = blake3::keyed_hash(&self.key, &canonical);
        hash.as_bytes()[..16].try_into().ok()
    }

    fn hash64(&self, bytes: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.key, bytes);
        let mut first = [0u8; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_be_bytes(first)
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

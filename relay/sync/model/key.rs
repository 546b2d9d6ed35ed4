//! The name that a side gives to one of its records.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A record's native key on one side: the primary key's columns in their canonical text form, in
/// the order of the primary key; for an app, its record id as the only part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub Vec<String>);

impl Key {
    /// A key of one part.
    pub fn single(part: impl Into<String>) -> Key {
        Key(vec![part.into()])
    }

    /// Unambiguous bytes, for hashing and for sealed storage.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.0 {
            out.extend_from_slice(&(part.len() as u32).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }

    /// The inverse of [`Key::to_bytes`]; `None` for bytes that it did not make.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Key> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let (len, rest) = bytes.split_at_checked(4)?;
            let len = u32::from_be_bytes(len.try_into().ok()?) as usize;
            let (part, rest) = rest.split_at_checked(len)?;
            parts.push(String::from_utf8(part.to_vec()).ok()?);
            bytes = rest;
        }
        Some(Key(parts))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_garbage_is_refused() {
        let key = Key(vec!["a".into(), String::new(), "ünï".into()]);
        assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        assert_eq!(Key::from_bytes(&[0, 0, 0, 9, b'x']), None);
    }
}

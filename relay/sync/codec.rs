//! Which pairs of field types can be synced, and why others cannot.

use serde::{Deserialize, Serialize};

/// The type of a field, as far as the two sides need to agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FieldType {
    Bool,
    /// Signed, 16, 32 or 64 bits.
    Int {
        bits: u8,
    },
    /// Exact decimal; without a precision it holds any number, NaN and infinities.
    Decimal {
        precision: Option<u16>,
        scale: Option<i16>,
    },
    /// IEEE 754, 32 or 64 bits.
    Float {
        bits: u8,
    },
    /// Text, at most `max` characters where the side limits it.
    Text {
        max: Option<u32>,
        ignores_case: bool,
    },
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    /// JSON kept as text (`json`): key order and duplicates survive.
    JsonText,
    /// JSON normalised on write (`jsonb`).
    Json,
    Enum {
        labels: Vec<String>,
    },
    /// A type that only this kind of side knows, by its full name (`tsrange`, `integer[]`).
    Opaque {
        name: String,
    },
}

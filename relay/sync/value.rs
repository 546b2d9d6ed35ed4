//! One value of one field, in the form both sides share.
//!
//! What a side cannot express exactly becomes a finding, never an approximation. Values are
//! compared by their canonical bytes ([`Value::canonical`]), which is also what fingerprints hash.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A field's value. Empty text and null are different and stay different.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Exact decimal as text: digits with an optional sign, point and scale, or `NaN`,
    /// `Infinity`, `-Infinity` (PostgreSQL `numeric` output format).
    Decimal(String),
    /// IEEE 754 double; `NaN` equals itself, −0 differs from 0.
    Float(#[serde(with = "float_text")] f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Days since 2000-01-01; `i32::MAX` and `i32::MIN` are infinity and −infinity.
    Date(i32),
    /// Microseconds since midnight, 0 to 86 400 000 000 inclusive (24:00:00 exists).
    Time(i64),
    /// Microseconds since 2000-01-01 without zone; `i64::MAX` and `i64::MIN` are the infinities.
    Timestamp(i64),
    /// Microseconds since 2000-01-01 UTC; `i64::MAX` and `i64::MIN` are the infinities.
    TimestampTz(i64),
    Interval {
        months: i32,
        days: i32,
        micros: i64,
    },
    Uuid([u8; 16]),
    /// JSON text as the side reports it.
    Json(String),
    /// An enum label.
    Label(String),
    List(Vec<Value>),
    /// A value of a type that only its own side understands, in that side's own text form.
    Opaque(String),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Appends the canonical form: equal values of comparable types give equal bytes.
    ///
    /// Integers and decimals share one form (`5` and `5.00` are the same number), text and enum
    /// labels share one form. Each value is a tag byte, a length and the content, so that a list
    /// of values is unambiguous.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => put(out, b'0', &[]),
            Value::Bool(b) => put(out, b'b', &[u8::from(*b)]),
            Value::Int(i) => put(out, b'n', i.to_string().as_bytes()),
            Value::Decimal(text) => put(out, b'n', normal_decimal(text).as_bytes()),
            Value::Float(f) if f.is_nan() => put(out, b'f', b"NaN"),
            Value::Float(f) => put(out, b'f', &f.to_bits().to_be_bytes()),
            Value::Text(text) | Value::Label(text) => put(out, b't', text.as_bytes()),
            Value::Bytes(bytes) => put(out, b'x', bytes),
            Value::Date(days) => put(out, b'd', &days.to_be_bytes()),
            Value::Time(micros) => put(out, b'T', &micros.to_be_bytes()),
            Value::Timestamp(micros) => put(out, b's', &micros.to_be_bytes()),
            Value::TimestampTz(micros) => put(out, b'z', &micros.to_be_bytes()),
            Value::Interval {
                months,
                days,
                micros,
            } => {
                let mut bytes = [0u8; 16];
                bytes[..4].copy_from_slice(&months.to_be_bytes());
                bytes[4..8].copy_from_slice(&days.to_be_bytes());
                bytes[8..].copy_from_slice(&micros.to_be_bytes());
                put(out, b'i', &bytes);
            }
            Value::Uuid(bytes) => put(out, b'u', bytes),
            Value::Json(text) => put(out, b'j', text.as_bytes()),
            Value::Opaque(text) => put(out, b'o', text.as_bytes()),
            Value::List(items) => {
                let mut inner = Vec::new();
                for item in items {
                    item.canonical(&mut inner);
                }
                put(out, b'l', &inner);
            }
        }
    }
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(content.len() as u64).to_be_bytes());
    out.extend_from_slice(content);
}

/// Strips what does not change the number: a plus sign, leading zeros, a scale of zeros.
fn normal_decimal(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b.is_ascii_digit()) {
        return Cow::Borrowed(text);
    }
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if whole == "0" && fraction.is_empty() {
        return Cow::Borrowed("0");
    }
    if fraction.is_empty() {
        return Cow::Owned(format!("{sign}{whole}"));
    }
    Cow::Owned(format!("{sign}{whole}.{fraction}"))
}

/// Floats as text: JSON has no NaN and no infinities, and text reads back exactly.
mod float_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(value: Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.canonical(&mut out);
        out
    }

    #[test]
    fn numbers_are_equal_when_only_the_scale_differs() {
        let one = canonical(Value::Int(1));
        for same in ["1", "1.0", "1.000", "+1", "001"] {
            assert_eq!(canonical(Value::Decimal(same.into())), one, "{same}");
        }
        assert_eq!(
            canonical(Value::Decimal("-0.0".into())),
            canonical(Value::Int(0))
        );
        assert_ne!(canonical(Value::Decimal("1.01".into())), one);
        assert_ne!(canonical(Value::Decimal("10".into())), one);
    }

    #[test]
    fn null_and_empty_text_differ() {
        assert_ne!(
            canonical(Value::Null),
            canonical(Value::Text(String::new()))
        );
    }

    #[test]
    fn neighbouring_values_cannot_run_into_each_other() {
        let split = |a: &str, b: &str| {
            let mut out = Vec::new();
            Value::Text(a.into()).canonical(&mut out);
            Value::Text(b.into()).canonical(&mut out);
            out
        };
        assert_ne!(split("ab", "c"), split("a", "bc"));
    }
}

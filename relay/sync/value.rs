//! One value of one field, in the form both sides share.
//!
//! What a side cannot express exactly becomes a finding, never an approximation. Values are
//! compared by their canonical bytes ([`Value::canonical`]), which is also what fingerprints hash.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::json::normal_json;

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
    /// JSON that its side keeps as text (`json`): key order, duplicates and spaces count.
    Json(String),
    /// An enum label.
    Label(String),
    /// Items in order; several dimensions are lists of lists.
    List(Vec<Value>),
    /// A value of a type that only its own side understands, in that side's own text form.
    Opaque(String),
    /// JSON that its side keeps as a document (`jsonb`, apps): equal when the normal forms are.
    Document(String),
    /// A list whose dimensions do not begin at 1, with the first index of each.
    Shifted {
        lower: Vec<i32>,
        items: Vec<Value>,
    },
    /// What its side says and the field has no word for: it equals nothing that the other side can
    /// say, and can't be written there.
    Unmapped(Box<Value>),
}

impl Value {
    /// Bytes that it holds beside its own size, about.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Json(text)
            | Value::Label(text)
            | Value::Opaque(text)
            | Value::Document(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) | Value::Shifted { items, .. } => {
                let of_items = items.iter().map(Value::heap_bytes);
                of_items.sum::<usize>() + items.len() * size_of::<Value>()
            }
            Value::Unmapped(value) => size_of::<Value>() + value.heap_bytes(),
            _ => 0,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Appends the canonical form: equal values of comparable types give equal bytes.
    ///
    /// Types that values travel between share one form: all numbers one (`5`, `5.00` and the float
    /// 5 are the same number; −0 is a float's alone), and text, labels, uuids, JSON and what only one
    /// side understands another. Each value is a tag byte, a length and the content, so that a
    /// list of values is unambiguous.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => put(out, b'0', &[]),
            Value::Bool(b) => put(out, b'b', &[u8::from(*b)]),
            Value::Int(i) => put(out, b'n', i.to_string().as_bytes()),
            Value::Decimal(text) => put(out, b'n', normal_decimal(text).as_bytes()),
            Value::Float(f) => put(out, b'n', float_digits(*f).as_bytes()),
            Value::Text(text) | Value::Label(text) | Value::Json(text) | Value::Opaque(text) => {
                put(out, b't', text.as_bytes())
            }
            Value::Document(text) => put(out, b't', normal_json(text).as_bytes()),
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
            Value::Uuid(bytes) => put(out, b't', uuid_text(bytes).as_bytes()),
            Value::List(items) => put(out, b'l', &inner(items)),
            Value::Shifted { lower, items } => {
                let mut bytes = Vec::new();
                for bound in lower {
                    put(&mut bytes, b'n', bound.to_string().as_bytes());
                }
                bytes.extend(inner(items));
                put(out, b'L', &bytes);
            }
            Value::Unmapped(value) => {
                let mut bytes = Vec::new();
                value.canonical(&mut bytes);
                put(out, b'u', &bytes);
            }
        }
    }
}

fn inner(items: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        item.canonical(&mut bytes);
    }
    bytes
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(content.len() as u64).to_be_bytes());
    out.extend_from_slice(content);
}

/// The shortest decimal that reads back as this double, without exponent; the names of the rest as
/// in [`Value::Decimal`].
pub fn float_digits(value: f64) -> String {
    if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    // Also says `NaN` and `-0`.
    value.to_string()
}

/// The inverse of [`uuid_text`].
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.split('-').collect();
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())??;
    Some(number.to_be_bytes())
}

/// Lower case with hyphens.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Strips what does not change the number: a plus sign, leading zeros, a scale of zeros.
pub(crate) fn normal_decimal(text: &str) -> Cow<'_, str> {
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
    fn a_float_is_the_number_that_it_prints_and_minus_zero_is_its_own() {
        for (float, digits) in [
            (0.1, "0.1"),
            (1e21, "1000000000000000000000"),
            (-2.5e-7, "-0.00000025"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
            (-f64::NAN, "NaN"),
        ] {
            let decimal = canonical(Value::Decimal(digits.into()));
            assert_eq!(canonical(Value::Float(float)), decimal, "{float}");
        }
        assert_eq!(canonical(Value::Float(0.0)), canonical(Value::Int(0)));
        assert_ne!(canonical(Value::Float(-0.0)), canonical(Value::Float(0.0)));
    }

    #[test]
    fn documents_are_equal_by_content_and_json_text_is_not() {
        let (one, other) = (r#"{"b":1.50,"a":[]}"#, r#"{"a": [], "b": 1.5}"#);
        let document = |text: &str| canonical(Value::Document(text.into()));
        assert_eq!(document(one), document(other));
        let json = |text: &str| canonical(Value::Json(text.into()));
        assert_ne!(json(one), json(other));
        assert_eq!(json(other), document(one), "a document is kept as json");
    }

    #[test]
    fn where_a_list_begins_counts() {
        let items = vec![Value::Int(1), Value::Null];
        let shifted = |lower: &[i32]| {
            canonical(Value::Shifted {
                lower: lower.to_vec(),
                items: items.clone(),
            })
        };
        assert_ne!(canonical(Value::List(items.clone())), shifted(&[0]));
        assert_ne!(shifted(&[0]), shifted(&[2]));
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

//! PostgreSQL's types and their text form: to and from [`Value`], exact or refused.
//!
//! Works on text because that is what every path shares: pgoutput, COPY, `returning` casts. Both
//! directions assume the settings of [`SESSION`]. What a column can't hold exactly is refused with
//! a finding ([`Unfit`]), never rounded, cut or padded by the server in silence. Called by capture
//! (decode), snapshot and apply (both).

use std::fmt::Write as _;

use thiserror::Error;
use tidegate_sync::codec::{self, FieldType, Misfit, narrow_float};
use tidegate_sync::model::FindingCode;
use tidegate_sync::value::{Value, float_digits};

use super::{array_text, temporal};

/// Settings that the text forms depend on. Set on every session, replication included. Not
/// `search_path`: the customer's triggers run in these sessions and may rely on theirs.
pub const SESSION: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
];

/// A column's type as the catalog describes it, resolved through domains.
#[derive(Clone, Debug, PartialEq)]
pub struct PgType {
    /// Of the column itself (a domain's own oid, for a domain).
    pub oid: u32,
    /// `format_type(oid, modifier)`: `character varying(80)`, `public.mood`.
    pub name: String,
    /// `format_type(oid, -1)`: the same without modifiers. Text is cast to this in statements:
    /// a cast with a modifier would cut and round silently.
    pub bare_name: String,
    /// What its values are; decides how they are read and written.
    pub field_type: FieldType,
}

/// What `pg_type` says about the type that a column's domains end in.
#[derive(Clone, Debug, Default)]
pub struct BaseType {
    pub oid: u32,
    /// `pg_type.typname`.
    pub name: String,
    /// `pg_attribute.atttypmod`, or the domain's `typtypmod`.
    pub modifier: i32,
    /// In sort order; empty for what is no enum.
    pub enum_labels: Vec<String>,
}

/// The value can't be stored in a column of this type exactly.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Unfit {
    pub code: FindingCode,
    /// Holds no value.
    pub detail: String,
}

/// The server sent text that its type doesn't have: a defect, or another session setting.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unreadable value of type {type_name}")]
pub struct Undecodable {
    pub type_name: String,
}

impl PgType {
    /// Of a type without structure; [`super::type_graph`] makes the others.
    pub fn new(oid: u32, name: &str, bare_name: &str, base: BaseType) -> PgType {
        let opaque = || FieldType::Opaque {
            name: name.to_owned(),
        };
        let field_type = match base.enum_labels.is_empty() {
            true => built_in(base.oid, base.modifier).unwrap_or_else(opaque),
            false => FieldType::Enum {
                labels: base.enum_labels,
            },
        };
        PgType {
            oid,
            name: name.to_owned(),
            bare_name: bare_name.to_owned(),
            field_type,
        }
    }
}

/// The types that are understood and not only carried, by their fixed oids (`pg_type.dat`).
pub(super) fn built_in(oid: u32, modifier: i32) -> Option<FieldType> {
    let length = (modifier > 4).then(|| (modifier - 4) as u32);
    let bits = u32::try_from(modifier).ok();
    let digits = u8::try_from(modifier).unwrap_or(MICROSECOND_DIGITS);
    let text = |max| FieldType::Text {
        max,
        ignores_case: false,
    };
    Some(match oid {
        16 => FieldType::Bool,
        17 => FieldType::Bytes,
        19 => FieldType::Short { bytes: NAME_BYTES },
        20 => FieldType::Int { bits: 64 },
        21 => FieldType::Int { bits: 16 },
        23 => FieldType::Int { bits: 32 },
        25 => text(None),
        114 => FieldType::JsonText,
        700 => FieldType::Float { bits: 32 },
        701 => FieldType::Float { bits: 64 },
        1042 => FieldType::Padded { length },
        1043 => text(length),
        1082 => FieldType::Date,
        1083 => rounded(FieldType::Time, digits),
        1114 => rounded(FieldType::Timestamp, digits),
        1184 => rounded(FieldType::TimestampTz, digits),
        1186 => return interval(modifier),
        1266 => rounded(FieldType::TimeTz, digits),
        1560 => FieldType::Bits {
            length: bits,
            fixed: bits.is_some(),
        },
        1562 => FieldType::Bits {
            length: bits,
            fixed: false,
        },
        1700 => {
            let limits = numeric_limits(modifier);
            FieldType::Decimal {
                precision: limits.map(|(precision, _)| precision),
                scale: limits.map(|(_, scale)| scale),
            }
        }
        2950 => FieldType::Uuid,
        3802 => FieldType::Json,
        _ => return None,
    })
}

/// Reads a value from PostgreSQL's text output.
pub fn decode(of: &PgType, text: Option<&str>) -> Result<Value, Undecodable> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    read(&of.field_type, text).ok_or_else(|| Undecodable {
        type_name: of.name.clone(),
    })
}

fn read(of: &FieldType, text: &str) -> Option<Value> {
    let value = match of {
        FieldType::Bool => match text {
            "t" | "true" => Value::Bool(true),
            "f" | "false" => Value::Bool(false),
            _ => return None,
        },
        FieldType::Int { .. } => Value::Int(text.parse().ok()?),
        FieldType::Decimal { .. } => {
            if !codec::is_decimal(text) {
                return None;
            }
            Value::Decimal(text.to_owned())
        }
        // Of 32 bits as of 64: a value is the number that the server prints.
        FieldType::Float { .. } => Value::Float(text.parse().ok()?),
        FieldType::Text { .. } | FieldType::Short { .. } => Value::Text(text.to_owned()),
        FieldType::Padded { .. } => Value::Text(text.trim_end_matches(' ').to_owned()),
        FieldType::Bytes => Value::Bytes(from_hex(text.strip_prefix("\\x")?)?),
        FieldType::Date => Value::Date(temporal::date(text)?),
        FieldType::Time => Value::Time(temporal::time(text)?),
        FieldType::Timestamp => Value::Timestamp(temporal::timestamp(text)?),
        FieldType::TimestampTz => Value::TimestampTz(temporal::timestamp(text)?),
        FieldType::Interval => {
            let (months, days, micros) = temporal::interval(text)?;
            Value::Interval {
                months,
                days,
                micros,
            }
        }
        FieldType::Rounded { of, .. } => read(of, text)?,
        FieldType::Uuid => Value::Uuid(from_hex(&text.replace('-', ""))?.try_into().ok()?),
        FieldType::JsonText => Value::Json(text.to_owned()),
        FieldType::Json => Value::Document(text.to_owned()),
        FieldType::Enum { .. } => Value::Label(text.to_owned()),
        FieldType::Array { of } => array_text::read(text, &mut |item| read(of, item))?,
        // No column has one of the others, which are apps'.
        _ => Value::Opaque(text.to_owned()),
    };
    Some(value)
}

/// Writes a value as PostgreSQL's text input; `None` is null.
pub fn encode(of: &PgType, value: &Value) -> Result<Option<String>, Unfit> {
    if value.is_null() {
        return Ok(None);
    }
    let unfit = |misfit: Misfit| Unfit {
        code: FindingCode::ValueOutOfRange,
        detail: misfit.describe(&of.name),
    };
    match codec::holds(&of.field_type, value) {
        // One may have been added since the type was read: the server decides.
        Ok(()) | Err(Misfit::NoSuchLabel) => {}
        Err(misfit) => return Err(unfit(misfit)),
    }
    print(&of.field_type, value).map(Some).map_err(unfit)
}

fn print(of: &FieldType, value: &Value) -> Result<String, Misfit> {
    Ok(match (of, value) {
        (FieldType::Rounded { of, .. }, value) => print(of, value)?,
        (FieldType::Bool, Value::Bool(b)) => (if *b { "t" } else { "f" }).into(),
        (FieldType::Int { .. }, number) => {
            let digits = digits(number)?;
            let whole = digits.split_once('.').map_or(&*digits, |(whole, _)| whole);
            whole.to_owned()
        }
        (FieldType::Float { bits: 32 }, Value::Float(f)) if f.is_finite() => {
            format!("{:e}", narrow_float(*f)?)
        }
        (FieldType::Float { .. }, Value::Float(f)) if f.is_finite() => format!("{f:e}"),
        (FieldType::Decimal { .. }, number) => digits(number)?,
        // A decimal's sign of zero means nothing, a float's does.
        (FieldType::Float { .. }, Value::Decimal(text)) if is_zero(text) => "0".into(),
        (FieldType::Float { .. }, number) => digits(number)?,
        (FieldType::Bytes, Value::Bytes(bytes)) => format!("\\x{}", hex(bytes)),
        (FieldType::Date, Value::Date(days)) => temporal::date_text(*days),
        (FieldType::Time, Value::Time(micros)) => temporal::time_text(*micros),
        (FieldType::Timestamp, Value::Timestamp(micros)) => {
            temporal::timestamp_text(*micros, false)
        }
        (FieldType::TimestampTz, Value::TimestampTz(micros)) => {
            temporal::timestamp_text(*micros, true)
        }
        (
            FieldType::Interval,
            Value::Interval {
                months,
                days,
                micros,
            },
        ) => temporal::interval_text(*months, *days, *micros),
        // As it was reported: trailing zeros of its numbers are kept.
        (FieldType::Json, Value::Document(text)) => text.clone(),
        (FieldType::Array { of }, array) => array_text::print(array, &mut |item| print(of, item))?,
        (_, value) => codec::as_text(value).ok_or(Misfit::OtherType)?.into_owned(),
    })
}

fn is_zero(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_alphabetic() || matches!(c, '1'..='9'))
}

fn digits(value: &Value) -> Result<String, Misfit> {
    match value {
        Value::Int(i) => Ok(i.to_string()),
        Value::Decimal(text) => Ok(text.clone()),
        Value::Float(f) => Ok(float_digits(*f)),
        _ => Err(Misfit::OtherType),
    }
}

fn rounded(whole: FieldType, digits: u8) -> FieldType {
    if digits >= MICROSECOND_DIGITS {
        return whole;
    }
    FieldType::Rounded {
        of: Box::new(whole),
        digits,
    }
}

/// `numeric(p,s)`: precision in the high half, an 11-bit signed scale in the low one
/// (`make_numeric_typmod` in `numeric.c`).
fn numeric_limits(modifier: i32) -> Option<(u16, i16)> {
    if modifier < 4 {
        return None;
    }
    let packed = modifier - 4;
    let scale = (((packed & 0x7ff) ^ 1024) - 1024) as i16;
    Some(((packed >> 16) as u16, scale))
}

/// `interval(p)`: precision in the low half. One that is restricted to some of its fields
/// (`interval year to month`) is opaque: it cuts what it is given.
fn interval(modifier: i32) -> Option<FieldType> {
    if modifier < 0 {
        return Some(FieldType::Interval);
    }
    let (fields, digits) = ((modifier >> 16) & 0x7fff, modifier & 0xffff);
    let digits = digits.min(i32::from(MICROSECOND_DIGITS)) as u8;
    (fields == INTERVAL_ALL_FIELDS).then(|| rounded(FieldType::Interval, digits))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

/// PostgreSQL keeps microseconds.
const MICROSECOND_DIGITS: u8 = 6;
/// `NAMEDATALEN` − 1.
const NAME_BYTES: u32 = 63;
/// `INTERVAL_FULL_RANGE` in `timestamp.h`.
const INTERVAL_ALL_FIELDS: i32 = 0x7fff;

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;

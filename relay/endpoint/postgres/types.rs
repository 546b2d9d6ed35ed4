//! PostgreSQL's types and their text form: to and from [`Value`], exact or refused.
//!
//! Works on text because that is what every path shares: pgoutput, COPY, `returning` casts. Both
//! directions assume the settings of [`SESSION`]. What a column can't hold exactly is refused with
//! a finding ([`Unfit`]), never rounded, cut or padded by the server in silence. Called by capture
//! (decode), snapshot and apply (both).

use std::fmt::Write as _;

use thiserror::Error;
use tidegate_sync::codec::FieldType;
use tidegate_sync::model::FindingCode;
use tidegate_sync::value::Value;

use super::temporal;

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
    /// `format_type(oid, null)`: the same without modifiers. Text is cast to this in statements:
    /// a cast with a modifier would cut and round silently.
    pub bare_name: String,
    pub kind: Kind,
}

/// What the value of a column is made of, after domains are resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Bool,
    Int {
        bits: u8,
    },
    Numeric {
        limits: Option<(u16, i16)>,
    },
    Float {
        bits: u8,
    },
    Text {
        max: Option<u32>,
        ignores_case: bool,
    },
    /// `name`: at most 63 bytes, cut silently by the server.
    Name,
    Padded {
        length: Option<u32>,
    },
    Bytes,
    Date,
    Time {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    TimestampTz {
        digits: u8,
    },
    Interval {
        digits: u8,
    },
    Uuid,
    JsonText,
    Json,
    Enum {
        labels: Vec<String>,
    },
    Opaque,
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
    pub fn new(oid: u32, name: &str, bare_name: &str, base: BaseType) -> PgType {
        PgType {
            oid,
            name: name.to_owned(),
            bare_name: bare_name.to_owned(),
            kind: Kind::of(base),
        }
    }

    pub fn field_type(&self) -> FieldType {
        match &self.kind {
            Kind::Bool => FieldType::Bool,
            Kind::Int { bits } => FieldType::Int { bits: *bits },
            Kind::Numeric { limits } => FieldType::Decimal {
                precision: limits.map(|(precision, _)| precision),
                scale: limits.map(|(_, scale)| scale),
            },
            Kind::Float { bits } => FieldType::Float { bits: *bits },
            Kind::Text { max, ignores_case } => FieldType::Text {
                max: *max,
                ignores_case: *ignores_case,
            },
            Kind::Name => FieldType::Text {
                max: Some(NAME_BYTES as u32),
                ignores_case: false,
            },
            Kind::Padded { length } => FieldType::Padded { length: *length },
            Kind::Bytes => FieldType::Bytes,
            Kind::Date => FieldType::Date,
            Kind::Time { digits } => rounded(FieldType::Time, *digits),
            Kind::Timestamp { digits } => rounded(FieldType::Timestamp, *digits),
            Kind::TimestampTz { digits } => rounded(FieldType::TimestampTz, *digits),
            Kind::Interval { digits } => rounded(FieldType::Interval, *digits),
            Kind::Uuid => FieldType::Uuid,
            Kind::JsonText => FieldType::JsonText,
            Kind::Json => FieldType::Json,
            Kind::Enum { labels } => FieldType::Enum {
                labels: labels.clone(),
            },
            Kind::Opaque => FieldType::Opaque {
                name: self.name.clone(),
            },
        }
    }
}

impl Kind {
    fn of(base: BaseType) -> Kind {
        let length = (base.modifier > 4).then(|| (base.modifier - 4) as u32);
        let digits = u8::try_from(base.modifier).unwrap_or(MICROSECOND_DIGITS);
        match base.oid {
            _ if !base.enum_labels.is_empty() => Kind::Enum {
                labels: base.enum_labels,
            },
            16 => Kind::Bool,
            17 => Kind::Bytes,
            19 => Kind::Name,
            20 => Kind::Int { bits: 64 },
            21 => Kind::Int { bits: 16 },
            23 => Kind::Int { bits: 32 },
            25 => Kind::Text {
                max: None,
                ignores_case: false,
            },
            114 => Kind::JsonText,
            700 => Kind::Float { bits: 32 },
            701 => Kind::Float { bits: 64 },
            1042 => Kind::Padded { length },
            1043 => Kind::Text {
                max: length,
                ignores_case: false,
            },
            1082 => Kind::Date,
            1083 => Kind::Time { digits },
            1114 => Kind::Timestamp { digits },
            1184 => Kind::TimestampTz { digits },
            1186 => interval_kind(base.modifier),
            1700 => Kind::Numeric {
                limits: numeric_limits(base.modifier),
            },
            2950 => Kind::Uuid,
            3802 => Kind::Json,
            _ if base.name == "citext" => Kind::Text {
                max: None,
                ignores_case: true,
            },
            _ => Kind::Opaque,
        }
    }
}

/// Reads a value from PostgreSQL's text output.
pub fn decode(of: &PgType, text: Option<&str>) -> Result<Value, Undecodable> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    decode_present(&of.kind, text).ok_or_else(|| Undecodable {
        type_name: of.name.clone(),
    })
}

fn decode_present(kind: &Kind, text: &str) -> Option<Value> {
    let value = match kind {
        Kind::Bool => match text {
            "t" | "true" => Value::Bool(true),
            "f" | "false" => Value::Bool(false),
            _ => return None,
        },
        Kind::Int { .. } => Value::Int(text.parse().ok()?),
        Kind::Numeric { .. } => {
            if !is_decimal(text) {
                return None;
            }
            Value::Decimal(text.to_owned())
        }
        Kind::Float { bits: 32 } => Value::Float(f64::from(text.parse::<f32>().ok()?)),
        Kind::Float { .. } => Value::Float(text.parse().ok()?),
        Kind::Text { .. } | Kind::Name => Value::Text(text.to_owned()),
        Kind::Padded { .. } => Value::Text(text.trim_end_matches(' ').to_owned()),
        Kind::Bytes => Value::Bytes(from_hex(text.strip_prefix("\\x")?)?),
        Kind::Date => Value::Date(temporal::date(text)?),
        Kind::Time { .. } => Value::Time(temporal::time(text)?),
        Kind::Timestamp { .. } => Value::Timestamp(temporal::timestamp(text)?),
        Kind::TimestampTz { .. } => Value::TimestampTz(temporal::timestamp(text)?),
        Kind::Interval { .. } => {
            let (months, days, micros) = temporal::interval(text)?;
            Value::Interval {
                months,
                days,
                micros,
            }
        }
        Kind::Uuid => Value::Uuid(from_hex(&text.replace('-', ""))?.try_into().ok()?),
        Kind::JsonText | Kind::Json => Value::Json(text.to_owned()),
        Kind::Enum { .. } => Value::Label(text.to_owned()),
        Kind::Opaque => Value::Opaque(text.to_owned()),
    };
    Some(value)
}

/// Writes a value as PostgreSQL's text input; `None` is null.
pub fn encode(of: &PgType, value: &Value) -> Result<Option<String>, Unfit> {
    if value.is_null() {
        return Ok(None);
    }
    match encode_present(&of.kind, value) {
        Ok(text) if text.contains('\0') => Err(Misfit::NulCharacter),
        Ok(text) => Ok(Some(text)),
        Err(misfit) => Err(misfit),
    }
    .map_err(|misfit| misfit.of(of))
}

fn encode_present(kind: &Kind, value: &Value) -> Result<String, Misfit> {
    let text = match (kind, value) {
        (Kind::Bool, Value::Bool(b)) => (if *b { "t" } else { "f" }).into(),
        (Kind::Int { bits }, Value::Int(i)) => in_bits(*i, *bits)?.to_string(),
        (Kind::Int { bits }, Value::Decimal(text)) => in_bits(integral(text)?, *bits)?.to_string(),
        (Kind::Numeric { limits }, Value::Int(i)) => decimal(&i.to_string(), *limits)?,
        (Kind::Numeric { limits }, Value::Decimal(text)) => decimal(text, *limits)?,
        (Kind::Float { bits: 32 }, Value::Float(f)) => float4(*f)?,
        (Kind::Float { .. }, Value::Float(f)) => float_text(*f, format!("{f:e}")),
        (Kind::Text { max, .. }, Value::Text(text) | Value::Label(text)) => {
            shorter(text, *max)?.to_owned()
        }
        (Kind::Name, Value::Text(text) | Value::Label(text)) => {
            if text.len() > NAME_BYTES {
                return Err(Misfit::TooLong);
            }
            text.clone()
        }
        (Kind::Padded { length }, Value::Text(text) | Value::Label(text)) => {
            if text.ends_with(' ') {
                return Err(Misfit::TrailingBlanks);
            }
            shorter(text, *length)?.to_owned()
        }
        (Kind::Bytes, Value::Bytes(bytes)) => format!("\\x{}", hex(bytes)),
        (Kind::Date, Value::Date(days)) => temporal::date_text(*days),
        (Kind::Time { digits }, Value::Time(micros)) => {
            temporal::time_text(in_digits(*micros, *digits)?)
        }
        (Kind::Timestamp { digits }, Value::Timestamp(micros)) => {
            temporal::timestamp_text(in_digits(*micros, *digits)?, false)
        }
        (Kind::TimestampTz { digits }, Value::TimestampTz(micros)) => {
            temporal::timestamp_text(in_digits(*micros, *digits)?, true)
        }
        (
            Kind::Interval { digits },
            Value::Interval {
                months,
                days,
                micros,
            },
        ) => temporal::interval_text(*months, *days, in_digits(*micros, *digits)?),
        (Kind::Uuid, Value::Uuid(bytes)) => hex(bytes),
        (Kind::JsonText | Kind::Json, Value::Json(text)) => text.clone(),
        (Kind::Enum { labels }, Value::Label(text) | Value::Text(text)) => {
            if !labels.contains(text) {
                return Err(Misfit::NoSuchLabel);
            }
            text.clone()
        }
        (Kind::Opaque, Value::Opaque(text)) => text.clone(),
        _ => return Err(Misfit::OtherType),
    };
    Ok(text)
}

/// Why a value doesn't fit.
enum Misfit {
    OtherType,
    OutOfRange,
    NotExact,
    TooLong,
    TrailingBlanks,
    NoSuchLabel,
    NulCharacter,
}

impl Misfit {
    fn of(self, of: &PgType) -> Unfit {
        let name = &of.name;
        let detail = match self {
            Misfit::OtherType => format!("a value of another type can't be stored as {name}"),
            Misfit::OutOfRange => format!("the number is out of the range of {name}"),
            Misfit::NotExact => format!("{name} would round the value"),
            Misfit::TooLong => format!("the text is too long for {name}"),
            Misfit::TrailingBlanks => format!("{name} does not keep trailing blanks"),
            Misfit::NoSuchLabel => format!("the text is no label of {name}"),
            Misfit::NulCharacter => "PostgreSQL can't store the character U+0000".into(),
        };
        Unfit {
            code: FindingCode::ValueOutOfRange,
            detail,
        }
    }
}

fn in_bits(value: i64, bits: u8) -> Result<i64, Misfit> {
    let fits = match bits {
        16 => i16::try_from(value).is_ok(),
        32 => i32::try_from(value).is_ok(),
        _ => true,
    };
    if fits {
        Ok(value)
    } else {
        Err(Misfit::OutOfRange)
    }
}

/// A decimal without fraction, as an integer.
fn integral(text: &str) -> Result<i64, Misfit> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().any(|b| b != b'0') {
        return Err(Misfit::NotExact);
    }
    whole.parse().map_err(|_| Misfit::OutOfRange)
}

/// Digits with an optional sign and point, or one of the three names. No exponent: PostgreSQL
/// never prints one for numeric.
fn is_decimal(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    !(whole.is_empty() && fraction.is_empty()) && all_digits(whole) && all_digits(fraction)
}

fn decimal(text: &str, limits: Option<(u16, i16)>) -> Result<String, Misfit> {
    if !is_decimal(text) {
        return Err(Misfit::OtherType);
    }
    let Some((precision, scale)) = limits else {
        return Ok(text.to_owned());
    };
    if text == "NaN" {
        return Ok(text.to_owned());
    }
    if text.ends_with("Infinity") {
        return Err(Misfit::OutOfRange);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let scale = i64::from(scale);
    let is_zero = whole.is_empty() && fraction.is_empty();
    let whole_zeros = (whole.len() - whole.trim_end_matches('0').len()) as i64;
    let exact = if scale >= 0 {
        fraction.len() as i64 <= scale
    } else {
        is_zero || (fraction.is_empty() && whole_zeros >= -scale)
    };
    if !exact {
        return Err(Misfit::NotExact);
    }
    // With a scale above the precision (PostgreSQL 15), leading zeros of the fraction count.
    let whole_room = i64::from(precision) - scale;
    let fits = if whole_room >= 0 {
        whole.len() as i64 <= whole_room
    } else {
        let zeros = (fraction.len() - fraction.trim_start_matches('0').len()) as i64;
        whole.is_empty() && zeros >= -whole_room
    };
    if fits || is_zero {
        Ok(text.to_owned())
    } else {
        Err(Misfit::OutOfRange)
    }
}

fn float4(value: f64) -> Result<String, Misfit> {
    let narrow = value as f32;
    if !value.is_nan() && f64::from(narrow).to_bits() != value.to_bits() {
        return Err(if narrow.is_infinite() {
            Misfit::OutOfRange
        } else {
            Misfit::NotExact
        });
    }
    Ok(float_text(value, format!("{narrow:e}")))
}

fn float_text(value: f64, finite: String) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value == f64::INFINITY {
        "Infinity".into()
    } else if value == f64::NEG_INFINITY {
        "-Infinity".into()
    } else {
        finite
    }
}

fn shorter(text: &str, max: Option<u32>) -> Result<&str, Misfit> {
    let fits = max.is_none_or(|max| {
        let max = max as usize;
        text.len() <= max || text.chars().count() <= max
    });
    if fits { Ok(text) } else { Err(Misfit::TooLong) }
}

/// Infinities pass: PostgreSQL never rounds them.
fn in_digits(micros: i64, digits: u8) -> Result<i64, Misfit> {
    let unit = 10i64.pow(u32::from(MICROSECOND_DIGITS.saturating_sub(digits)));
    let infinite = micros == i64::MAX || micros == i64::MIN;
    if infinite || micros % unit == 0 {
        Ok(micros)
    } else {
        Err(Misfit::NotExact)
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
fn interval_kind(modifier: i32) -> Kind {
    if modifier < 0 {
        return Kind::Interval {
            digits: MICROSECOND_DIGITS,
        };
    }
    let (fields, digits) = ((modifier >> 16) & 0x7fff, modifier & 0xffff);
    if fields != INTERVAL_ALL_FIELDS {
        return Kind::Opaque;
    }
    Kind::Interval {
        digits: digits.min(i32::from(MICROSECOND_DIGITS)) as u8,
    }
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
const NAME_BYTES: usize = 63;
/// `INTERVAL_FULL_RANGE` in `timestamp.h`.
const INTERVAL_ALL_FIELDS: i32 = 0x7fff;

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;

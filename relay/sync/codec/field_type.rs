//! What a field can hold, as far as the two sides need to agree on it.

use serde::{Deserialize, Serialize};

/// A set of values. Null belongs to each of them: whether a field may be null is a constraint of
/// its side, and breaking it a finding, like any other constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FieldType {
    Bool,
    /// Signed, of so many bits: 16, 32, 64, or 54 where a double has to hold it.
    Int {
        bits: u8,
    },
    /// Exact decimal with NaN; without a precision it holds any number and the infinities.
    Decimal {
        precision: Option<u16>,
        scale: Option<i16>,
    },
    /// IEEE 754, 32 or 64 bits. A 32-bit value is the number that it prints.
    Float {
        bits: u8,
    },
    /// Text, at most `max` characters where the side limits it. Never U+0000.
    Text {
        max: Option<u32>,
        ignores_case: bool,
    },
    Bytes,
    /// 4714 BC to 5874897, and the infinities.
    Date,
    Time,
    /// 4714 BC to 294276, and the infinities.
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    /// JSON kept as text (`json`): key order and duplicates survive.
    JsonText,
    /// JSON normalised on write (`jsonb`); numbers are exact decimals of any size.
    Json,
    Enum {
        labels: Vec<String>,
    },
    /// A type that only this kind of side knows, by its name or structure (`tsvector`,
    /// `row(street text, number integer)`).
    Opaque {
        name: String,
    },
    /// Text of a fixed length whose trailing blanks mean nothing (`character(n)`); values are held
    /// without them.
    Padded {
        length: Option<u32>,
    },
    /// A time-like type that keeps only this many decimals of a second (`timestamp(0)`).
    Rounded {
        of: Box<FieldType>,
        digits: u8,
    },
    /// Text of at most so many bytes of UTF-8 (`name`).
    Short {
        bytes: u32,
    },
    /// Bits: exactly `length` of them if `fixed`, else at most.
    Bits {
        length: Option<u32>,
        fixed: bool,
    },
    /// A time of day that keeps the zone it was given.
    TimeTz,
    /// Any number of dimensions, first indices and nulls (`integer[]`).
    Array {
        of: Box<FieldType>,
    },
    /// An app's decimal: at most `digits` digits, `scale` of them after the point; no NaN.
    Fixed {
        digits: u16,
        scale: u16,
    },
    /// An app's number: a finite double without −0, as JSON has it.
    Number,
    /// One line of text.
    Line {
        max: Option<u32>,
        form: LineForm,
    },
    /// An app's date: years 1 to 9999.
    Day,
    /// An app's date and time: years 1 to 9999, in whole units of so many microseconds. Zoned means
    /// that it names an instant.
    Moment {
        zoned: bool,
        unit_micros: i64,
    },
    /// An app's list: one dimension, no nulls; `distinct` where nothing may be in it twice.
    List {
        of: Box<FieldType>,
        distinct: bool,
    },
    /// An app's JSON: numbers are finite doubles.
    Document,
    /// Attachments. Their contents are not carried.
    Files,
}

/// What a line of text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineForm {
    Any,
    /// Something, `@`, something, without blanks.
    Email,
    /// `http://` or `https://` and something, without blanks.
    Url,
}

impl FieldType {
    /// A short name for messages.
    pub fn name(&self) -> String {
        let limited = |what: &str, max: &Option<u32>| match max {
            Some(max) => format!("{what}({max})"),
            None => what.to_owned(),
        };
        match self {
            FieldType::Bool => "boolean".into(),
            FieldType::Int { bits } => format!("{bits}-bit integer"),
            FieldType::Decimal {
                precision: Some(precision),
                scale,
            } => format!("decimal({precision},{})", scale.unwrap_or(0)),
            FieldType::Decimal { .. } => "decimal".into(),
            FieldType::Float { bits } => format!("{bits}-bit float"),
            FieldType::Text { max, .. } => limited("text", max),
            FieldType::Bytes => "bytes".into(),
            FieldType::Date => "date".into(),
            FieldType::Time => "time".into(),
            FieldType::TimeTz => "time with time zone".into(),
            FieldType::Timestamp => "timestamp without time zone".into(),
            FieldType::TimestampTz => "timestamp with time zone".into(),
            FieldType::Interval => "interval".into(),
            FieldType::Uuid => "uuid".into(),
            FieldType::JsonText => "json".into(),
            FieldType::Json => "jsonb".into(),
            FieldType::Enum { .. } => "enum".into(),
            FieldType::Opaque { name } => name.clone(),
            FieldType::Padded { length } => limited("character", length),
            FieldType::Rounded { of, digits } => format!("{} with {digits} decimals", of.name()),
            FieldType::Short { bytes } => format!("text of {bytes} bytes"),
            FieldType::Bits { length, fixed } => {
                limited(if *fixed { "bit" } else { "bit varying" }, length)
            }
            FieldType::Array { of } => format!("array of {}", of.name()),
            FieldType::Fixed { digits, scale } => format!("app decimal({digits},{scale})"),
            FieldType::Number => "app number".into(),
            FieldType::Line { max, form } => match form {
                LineForm::Any => limited("line of text", max),
                LineForm::Email => "email address".into(),
                LineForm::Url => "url".into(),
            },
            FieldType::Day => "app date".into(),
            FieldType::Moment { zoned, unit_micros } => {
                let zone = if *zoned { "" } else { " without zone" };
                format!("app date and time{zone} in {}", unit_name(*unit_micros))
            }
            FieldType::List { of, distinct } => {
                let distinct = if *distinct { "distinct " } else { "" };
                format!("list of {distinct}{}", of.name())
            }
            FieldType::Document => "app json".into(),
            FieldType::Files => "files".into(),
        }
    }
}

impl FieldType {
    /// Which [`crate::value::Value`] its values are, in words.
    pub fn value_form(&self) -> String {
        let form = match self {
            FieldType::Bool => "bool",
            FieldType::Int { .. } => "int",
            FieldType::Decimal { .. } | FieldType::Fixed { .. } => "decimal",
            FieldType::Float { .. } | FieldType::Number => "float",
            FieldType::Text { .. }
            | FieldType::Short { .. }
            | FieldType::Padded { .. }
            | FieldType::Line { .. } => "text",
            FieldType::Bytes => "bytes",
            FieldType::Date | FieldType::Day => "date",
            FieldType::Time => "time",
            FieldType::Timestamp | FieldType::Moment { zoned: false, .. } => "timestamp",
            FieldType::TimestampTz | FieldType::Moment { zoned: true, .. } => "instant",
            FieldType::Interval => "months, days, microseconds",
            FieldType::Uuid => "uuid",
            FieldType::JsonText => "json text",
            FieldType::Json | FieldType::Document => "document",
            FieldType::Enum { .. } => "label",
            FieldType::Opaque { .. } | FieldType::Bits { .. } | FieldType::TimeTz => "own text",
            FieldType::Rounded { of, .. } => return of.value_form(),
            FieldType::Array { of } | FieldType::List { of, .. } => {
                return format!("list of {}", of.value_form());
            }
            FieldType::Files => "none yet",
        };
        form.to_owned()
    }
}

fn unit_name(micros: i64) -> String {
    match micros {
        1 => "microseconds".into(),
        1_000 => "milliseconds".into(),
        1_000_000 => "seconds".into(),
        60_000_000 => "minutes".into(),
        other => format!("units of {other} µs"),
    }
}

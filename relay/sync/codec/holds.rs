//! Is a value one of a field's? The definition of every [`FieldType`], value by value.

use std::borrow::Cow;
use std::collections::HashSet;

use super::decimal::{in_limits, in_numeric, integral, is_decimal, is_finite};
use super::field_type::{FieldType, LineForm};
use super::misfit::Misfit;
use crate::json;
use crate::value::{Value, float_digits, normal_decimal, uuid_text};

/// 4714-11-24 BC, the first day of PostgreSQL's `date`, in days from 2000-01-01.
pub const DATE_FIRST: i32 = -2_451_545;
/// 5874897-12-31.
pub const DATE_LAST: i32 = 2_145_031_948;
/// 4714-11-24 00:00:00 BC, in microseconds from 2000-01-01.
pub const TIMESTAMP_FIRST: i64 = -211_813_488_000_000_000;
/// 294276-12-31 23:59:59.999999.
pub const TIMESTAMP_LAST: i64 = 9_223_371_331_199_999_999;

/// Does a field of this type keep the value exactly, so that what is read back has the same
/// canonical form?
pub fn holds(of: &FieldType, value: &Value) -> Result<(), Misfit> {
    match (of, value) {
        (_, Value::Null) => Ok(()),
        (FieldType::Bool, Value::Bool(_))
        | (FieldType::Bytes, Value::Bytes(_))
        | (FieldType::Uuid, Value::Uuid(_))
        | (FieldType::Interval, Value::Interval { .. }) => Ok(()),
        (FieldType::Int { .. } | FieldType::Decimal { .. } | FieldType::Float { .. }, _)
        | (FieldType::Fixed { .. } | FieldType::Number, _) => holds_number(of, value),
        (
            FieldType::Text { .. }
            | FieldType::Short { .. }
            | FieldType::Padded { .. }
            | FieldType::Enum { .. }
            | FieldType::Line { .. }
            | FieldType::Uuid,
            _,
        ) => holds_text(of, value),
        (FieldType::JsonText, Value::Json(text)) => no_nul(text),
        (FieldType::JsonText | FieldType::Json, Value::Document(text)) => document(text, false),
        (FieldType::Document, Value::Document(text)) => document(text, true),
        (FieldType::Opaque { .. }, Value::Opaque(text)) => no_nul(text),
        (FieldType::Bits { length, fixed }, Value::Opaque(text)) => bits(text, *length, *fixed),
        (FieldType::TimeTz, Value::Opaque(text)) => no_nul(text),
        (FieldType::Array { of }, Value::List(items)) => array(of, items, None),
        (FieldType::Array { of }, Value::Shifted { lower, items }) => {
            array(of, items, Some(lower.len()))
        }
        (FieldType::List { of, distinct }, Value::List(items)) => list(of, items, *distinct),
        _ => holds_time(of, value),
    }
}

/// The double that a 32-bit float prints, if `value` is one.
pub fn narrow_float(value: f64) -> Result<f32, Misfit> {
    let text = float_digits(value);
    let narrow: f32 = match value.is_finite() {
        true => text.parse().map_err(|_| Misfit::OtherType)?,
        false => value as f32,
    };
    if narrow.is_infinite() && value.is_finite() {
        return Err(Misfit::OutOfRange);
    }
    let printed = narrow.to_string();
    if value.is_nan()
        || printed.parse() == Ok(value) && printed.starts_with('-') == text.starts_with('-')
    {
        return Ok(narrow);
    }
    Err(Misfit::NotExact)
}

fn holds_number(of: &FieldType, value: &Value) -> Result<(), Misfit> {
    let digits: Cow<'_, str> = match value {
        Value::Int(i) => Cow::Owned(i.to_string()),
        Value::Decimal(text) if is_decimal(text) => Cow::Borrowed(text),
        Value::Float(f) => Cow::Owned(float_digits(*f)),
        _ => return Err(Misfit::OtherType),
    };
    if is_minus_zero(value) && !matches!(of, FieldType::Float { .. }) {
        return Err(Misfit::NotExact);
    }
    match of {
        FieldType::Int { bits } => match value {
            Value::Int(i) => in_bits(*i, *bits),
            _ if !is_finite(&digits) => Err(Misfit::OutOfRange),
            _ => in_bits(integral(&digits)?, *bits),
        },
        FieldType::Decimal {
            precision: Some(precision),
            scale,
        } => in_limits(&digits, *precision, scale.unwrap_or(0)),
        FieldType::Decimal { .. } => in_numeric(&digits),
        FieldType::Fixed {
            digits: most,
            scale,
        } => match &*digits {
            "NaN" => Err(Misfit::OutOfRange),
            number => in_limits(number, *most, *scale as i16),
        },
        FieldType::Float { bits: 32 } => narrow_float(double(value, &digits)?).map(|_| ()),
        FieldType::Float { .. } => double(value, &digits).map(|_| ()),
        FieldType::Number => match double(value, &digits)?.is_finite() {
            true => Ok(()),
            false => Err(Misfit::OutOfRange),
        },
        _ => Err(Misfit::OtherType),
    }
}

fn is_minus_zero(value: &Value) -> bool {
    matches!(value, Value::Float(f) if *f == 0.0 && f.is_sign_negative())
}

/// The double whose shortest decimal the number is.
fn double(value: &Value, digits: &str) -> Result<f64, Misfit> {
    if let Value::Float(f) = value {
        return Ok(*f);
    }
    match digits {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let normal = normal_decimal(digits);
    let double: f64 = normal.parse().map_err(|_| Misfit::OtherType)?;
    if double.is_infinite() {
        return Err(Misfit::OutOfRange);
    }
    if float_digits(double) == normal {
        Ok(double)
    } else {
        Err(Misfit::NotExact)
    }
}

fn in_bits(value: i64, bits: u8) -> Result<(), Misfit> {
    let most = i64::MAX >> (64 - i32::from(bits.clamp(2, 64)));
    if (!most..=most).contains(&value) {
        Ok(())
    } else {
        Err(Misfit::OutOfRange)
    }
}

/// The text that a text field gets for the value, if it can get any.
pub fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) | Value::Label(text) | Value::Json(text) | Value::Opaque(text) => {
            Some(Cow::Borrowed(text))
        }
        Value::Document(text) => Some(json::normal_json(text)),
        Value::Uuid(bytes) => Some(Cow::Owned(uuid_text(bytes))),
        _ => None,
    }
}

fn holds_text(of: &FieldType, value: &Value) -> Result<(), Misfit> {
    let text: &str = &as_text(value).ok_or(Misfit::OtherType)?;
    no_nul(text)?;
    let is_foreign = matches!(
        value,
        Value::Json(_) | Value::Document(_) | Value::Opaque(_)
    );
    if is_foreign && needs_a_form(of) {
        return Err(Misfit::OtherType);
    }
    match of {
        FieldType::Text { max, .. } => in_chars(text, *max),
        FieldType::Short { bytes } if text.len() > *bytes as usize => Err(Misfit::TooLong),
        FieldType::Short { .. } => Ok(()),
        FieldType::Padded { .. } if text.ends_with(' ') => Err(Misfit::TrailingBlanks),
        FieldType::Padded { length } => in_chars(text, *length),
        FieldType::Enum { labels } => match labels.iter().any(|label| label == text) {
            true => Ok(()),
            false => Err(Misfit::NoSuchLabel),
        },
        FieldType::Line { max, form } => {
            if text.contains([
                '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
            ]) {
                return Err(Misfit::LineBreak);
            }
            in_chars(text, *max)?;
            in_form(text, *form)
        }
        FieldType::Uuid => in_uuid_form(text),
        _ => Err(Misfit::OtherType),
    }
}

/// Text of another type is never meant to be one of these, even if it looks like one.
fn needs_a_form(of: &FieldType) -> bool {
    match of {
        FieldType::Enum { .. } | FieldType::Uuid => true,
        FieldType::Line { form, .. } => *form != LineForm::Any,
        _ => false,
    }
}

fn no_nul(text: &str) -> Result<(), Misfit> {
    match text.contains('\0') {
        true => Err(Misfit::NulCharacter),
        false => Ok(()),
    }
}

fn in_chars(text: &str, max: Option<u32>) -> Result<(), Misfit> {
    let fits = max.is_none_or(|max| {
        let max = max as usize;
        text.len() <= max || text.chars().count() <= max
    });
    if fits { Ok(()) } else { Err(Misfit::TooLong) }
}

/// What apps check at least; each may refuse more, which is a finding.
fn in_form(text: &str, form: LineForm) -> Result<(), Misfit> {
    let whole = !text.is_empty() && !text.contains(char::is_whitespace);
    let is_form = match form {
        LineForm::Any => true,
        LineForm::Email => {
            let parts = text.split_once('@');
            whole && parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        }
        LineForm::Url => {
            let host = text
                .strip_prefix("https://")
                .or_else(|| text.strip_prefix("http://"));
            whole && host.is_some_and(|host| !host.is_empty())
        }
    };
    if is_form {
        Ok(())
    } else {
        Err(Misfit::NotThisForm)
    }
}

fn in_uuid_form(text: &str) -> Result<(), Misfit> {
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    if is_uuid {
        Ok(())
    } else {
        Err(Misfit::NotThisForm)
    }
}

fn document(text: &str, as_doubles: bool) -> Result<(), Misfit> {
    if !json::is_storable(text) {
        return Err(Misfit::NotThisForm);
    }
    let exact = |digits: &str| {
        let number = Value::Decimal(digits.to_owned());
        holds_number(&FieldType::Number, &number).is_ok()
    };
    if as_doubles && !json::numbers_all(text, &mut |digits| exact(digits)) {
        return Err(Misfit::NotExact);
    }
    Ok(())
}

fn bits(text: &str, length: Option<u32>, fixed: bool) -> Result<(), Misfit> {
    if !text.bytes().all(|b| matches!(b, b'0' | b'1')) {
        return Err(Misfit::OtherType);
    }
    let fits = length.is_none_or(|length| match fixed {
        true => text.len() == length as usize,
        false => text.len() <= length as usize,
    });
    if fits { Ok(()) } else { Err(Misfit::TooLong) }
}

/// A rectangle of items, at most six dimensions deep, and no dimension empty but the only one.
fn array(of: &FieldType, items: &[Value], lower: Option<usize>) -> Result<(), Misfit> {
    let depth = 1 + items.first().map_or(0, depth);
    if depth > limits::DIMENSIONS || lower.is_some_and(|bounds| bounds != depth || items.is_empty())
    {
        return Err(Misfit::NotThisShape);
    }
    plane(of, items, depth)
}

fn plane(of: &FieldType, items: &[Value], depth: usize) -> Result<(), Misfit> {
    if depth == 1 {
        return items.iter().try_for_each(|item| match item {
            Value::List(_) | Value::Shifted { .. } => Err(Misfit::NotThisShape),
            item => holds(of, item),
        });
    }
    let mut length = None;
    for item in items {
        let Value::List(inner) = item else {
            return Err(Misfit::NotThisShape);
        };
        if inner.is_empty() || *length.get_or_insert(inner.len()) != inner.len() {
            return Err(Misfit::NotThisShape);
        }
        plane(of, inner, depth - 1)?;
    }
    // Rows of equal length may still differ below; each was checked against its own first one.
    let below: HashSet<Vec<usize>> = items.iter().map(lengths).collect();
    if below.len() == 1 {
        Ok(())
    } else {
        Err(Misfit::NotThisShape)
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.first().map_or(0, depth),
        _ => 0,
    }
}

/// Length of each dimension, along the first items.
fn lengths(value: &Value) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut at = value;
    while let Value::List(items) = at {
        lengths.push(items.len());
        match items.first() {
            Some(first) => at = first,
            None => break,
        }
    }
    lengths
}

fn list(of: &FieldType, items: &[Value], distinct: bool) -> Result<(), Misfit> {
    let mut seen = HashSet::new();
    for item in items {
        if matches!(item, Value::Null | Value::List(_) | Value::Shifted { .. }) {
            return Err(Misfit::NotThisShape);
        }
        holds(of, item)?;
        let mut canonical = Vec::new();
        item.canonical(&mut canonical);
        if distinct && !seen.insert(canonical) {
            return Err(Misfit::NotThisShape);
        }
    }
    Ok(())
}

fn holds_time(of: &FieldType, value: &Value) -> Result<(), Misfit> {
    match (of, value) {
        (FieldType::Date, Value::Date(i32::MIN | i32::MAX)) => Ok(()),
        (FieldType::Date, Value::Date(days)) => within(days, &DATE_FIRST, &DATE_LAST),
        (FieldType::Day, Value::Date(days)) => within(days, &DAY_FIRST, &DAY_LAST),
        (FieldType::Time, Value::Time(micros)) => within(micros, &0, &MICROS_PER_DAY),
        (FieldType::Timestamp, Value::Timestamp(micros))
        | (FieldType::TimestampTz, Value::TimestampTz(micros)) => match *micros {
            i64::MIN | i64::MAX => Ok(()),
            _ => within(micros, &TIMESTAMP_FIRST, &TIMESTAMP_LAST),
        },
        (
            FieldType::Moment {
                zoned: false,
                unit_micros,
            },
            Value::Timestamp(micros),
        )
        | (
            FieldType::Moment {
                zoned: true,
                unit_micros,
            },
            Value::TimestampTz(micros),
        ) => {
            let last = i64::from(DAY_LAST + 1) * MICROS_PER_DAY - 1;
            within(micros, &(i64::from(DAY_FIRST) * MICROS_PER_DAY), &last)?;
            in_units(*micros, *unit_micros)
        }
        (FieldType::Rounded { of, digits }, value) => {
            holds(of, value)?;
            in_digits(value, *digits)
        }
        _ => Err(Misfit::OtherType),
    }
}

fn within<T: Ord>(value: &T, first: &T, last: &T) -> Result<(), Misfit> {
    if value < first || value > last {
        return Err(Misfit::OutOfRange);
    }
    Ok(())
}

fn in_units(micros: i64, unit: i64) -> Result<(), Misfit> {
    match micros % unit.max(1) {
        0 => Ok(()),
        _ => Err(Misfit::NotExact),
    }
}

fn in_digits(value: &Value, digits: u8) -> Result<(), Misfit> {
    let unit = 10i64.pow(u32::from(MICROSECOND_DIGITS.saturating_sub(digits)));
    match value {
        // PostgreSQL never rounds infinities.
        Value::Timestamp(i64::MIN | i64::MAX) | Value::TimestampTz(i64::MIN | i64::MAX) => Ok(()),
        Value::Interval {
            micros: i64::MIN | i64::MAX,
            days: i32::MIN | i32::MAX,
            months: i32::MIN | i32::MAX,
        } => Ok(()),
        Value::Time(micros)
        | Value::Timestamp(micros)
        | Value::TimestampTz(micros)
        | Value::Interval { micros, .. } => in_units(*micros, unit),
        Value::Opaque(text) => {
            let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
            let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
            match count <= usize::from(digits) {
                true => Ok(()),
                false => Err(Misfit::NotExact),
            }
        }
        _ => Ok(()),
    }
}

/// 0001-01-01 and 9999-12-31, in days from 2000-01-01.
const DAY_FIRST: i32 = -730_119;
const DAY_LAST: i32 = 2_921_939;
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// PostgreSQL keeps microseconds.
const MICROSECOND_DIGITS: u8 = 6;

mod limits {
    /// `MAXDIM` in PostgreSQL's `array.h`.
    pub(super) const DIMENSIONS: usize = 6;
}

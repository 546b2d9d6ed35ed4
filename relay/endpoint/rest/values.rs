//! An app's JSON to and from [`Value`], by field type: exact or refused.
//!
//! What an app holds and its field's type doesn't is no error of the record's other fields: it reads
//! as a value without a counterpart ([`Value::Unmapped`]).

use jiff::civil;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value as Json;
use tidegate_sync::codec::{FieldType, as_text, holds};
use tidegate_sync::model::FindingCode;
use tidegate_sync::value::{Value, float_digits};

/// Microseconds from 1970 to 2000.
const EPOCH_2000: i64 = 946_684_800_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What the field holds; an absent one is null.
pub(super) fn decode(of: &FieldType, json: Option<&Json>) -> Value {
    match json {
        None | Some(Json::Null) => Value::Null,
        Some(json) => read(of, json)
            .filter(|value| holds(of, value).is_ok())
            .unwrap_or_else(|| foreign(json)),
    }
}

/// What the field's type doesn't hold.
pub(super) fn foreign(json: &Json) -> Value {
    Value::Unmapped(Box::new(Value::Text(json.to_string())))
}

fn read(of: &FieldType, json: &Json) -> Option<Value> {
    Some(match of {
        FieldType::Bool => Value::Bool(json.as_bool()?),
        FieldType::Int { .. } => Value::Int(integer(json)?),
        FieldType::Number | FieldType::Float { .. } => match json.as_f64()? {
            0.0 => Value::Float(0.0),
            number => Value::Float(number),
        },
        FieldType::Fixed { .. } | FieldType::Decimal { .. } => Value::Decimal(match json {
            Json::String(digits) => digits.clone(),
            Json::Number(number) => plain_digits(number)?,
            _ => return None,
        }),
        FieldType::Text { .. } | FieldType::Line { .. } | FieldType::Short { .. } => {
            Value::Text(json.as_str()?.to_owned())
        }
        FieldType::Enum { .. } => Value::Label(json.as_str()?.to_owned()),
        FieldType::Day => Value::Date(day(json.as_str()?)?),
        FieldType::Moment { zoned: true, .. } => Value::TimestampTz(instant(json.as_str()?)?),
        FieldType::Moment { zoned: false, .. } => Value::Timestamp(local(json.as_str()?)?),
        FieldType::Document => Value::Document(json.to_string()),
        FieldType::List { of, .. } => {
            let items = json.as_array()?.iter().map(|item| read(of, item));
            Value::List(items.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// Why a value can't be sent, without the value.
pub(super) struct Unfit {
    pub code: FindingCode,
    pub detail: String,
}

/// The JSON that makes the field hold the value.
pub(super) fn encode(of: &FieldType, value: &Value) -> Result<Json, Unfit> {
    let refused = |detail: String| Unfit {
        code: FindingCode::ValueOutOfRange,
        detail,
    };
    holds(of, value).map_err(|misfit| refused(misfit.describe(&of.name())))?;
    let json = written(of, value);
    json.ok_or_else(|| {
        refused(format!(
            "a value of another type can't be stored as {}",
            of.name()
        ))
    })
}

fn written(of: &FieldType, value: &Value) -> Option<Json> {
    Some(match (of, value) {
        (_, Value::Null) => Json::Null,
        (FieldType::Fixed { scale, .. }, value) => match digits(value)? {
            // What a double holds exactly travels as a number, as such apps expect.
            digits if *scale <= 2 => number(&digits)?,
            digits => Json::String(digits),
        },
        (FieldType::Int { .. }, value) => Json::from(digits(value)?.parse::<i64>().ok()?),
        (FieldType::Number | FieldType::Float { .. }, value) => number(&digits(value)?)?,
        (FieldType::Day, Value::Date(days)) => Json::String(day_text(*days)?),
        (FieldType::Moment { .. }, Value::TimestampTz(micros)) => {
            Json::String(instant_text(*micros)?)
        }
        (FieldType::Moment { .. }, Value::Timestamp(micros)) => Json::String(local_text(*micros)?),
        (FieldType::Document, Value::Document(text)) => serde_json::from_str(text).ok()?,
        (FieldType::List { of, .. }, Value::List(items)) => {
            let items = items.iter().map(|item| written(of, item));
            Json::Array(items.collect::<Option<_>>()?)
        }
        (FieldType::Bool, Value::Bool(value)) => Json::Bool(*value),
        (_, value) => Json::String(as_text(value)?.into_owned()),
    })
}

fn integer(json: &Json) -> Option<i64> {
    if let Some(number) = json.as_i64() {
        return Some(number);
    }
    let float = json.as_f64()?;
    let whole = float.trunc() == float && float.abs() <= limits::EXACT;
    whole.then_some(float as i64)
}

/// A number's digits without an exponent.
fn plain_digits(number: &serde_json::Number) -> Option<String> {
    match number.as_i64() {
        Some(whole) => Some(whole.to_string()),
        None => Some(float_digits(number.as_f64()?)),
    }
}

fn digits(value: &Value) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        Value::Decimal(text) => Some(text.clone()),
        Value::Float(number) => Some(float_digits(*number)),
        _ => None,
    }
}

fn number(digits: &str) -> Option<Json> {
    if let Ok(whole) = digits.parse::<i64>() {
        return Some(Json::from(whole));
    }
    let double: f64 = digits.parse().ok()?;
    serde_json::Number::from_f64(double).map(Json::Number)
}

fn day(text: &str) -> Option<i32> {
    // With a time it is no day, though it parses as one.
    let date: civil::Date = text.parse().ok().filter(|_| !text.contains([':', 'T']))?;
    let micros = date
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_microsecond()
        - EPOCH_2000;
    i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok()
}

fn day_text(days: i32) -> Option<String> {
    let micros = i64::from(days).checked_mul(MICROS_PER_DAY)?;
    Some(utc(micros)?.date().to_string())
}

/// Microseconds since 2000 of an RFC 3339 text.
pub(super) fn instant(text: &str) -> Option<i64> {
    let at: Timestamp = text.parse().ok()?;
    Some(at.as_microsecond() - EPOCH_2000)
}

fn instant_text(micros: i64) -> Option<String> {
    Some(format!("{}Z", utc(micros)?))
}

fn local(text: &str) -> Option<i64> {
    let at: civil::DateTime = text.parse().ok()?;
    Some(
        at.to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_microsecond()
            - EPOCH_2000,
    )
}

fn local_text(micros: i64) -> Option<String> {
    Some(utc(micros)?.to_string())
}

fn utc(micros: i64) -> Option<civil::DateTime> {
    let at = Timestamp::from_microsecond(micros.checked_add(EPOCH_2000)?).ok()?;
    Some(at.to_zoned(TimeZone::UTC).datetime())
}

mod limits {
    /// Up to here a double holds every whole number: 2⁵³.
    pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text() -> FieldType {
        FieldType::Text {
            max: None,
            ignores_case: false,
        }
    }

    fn moment(unit_micros: i64) -> FieldType {
        FieldType::Moment {
            zoned: true,
            unit_micros,
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_value() {
        let list = FieldType::List {
            of: Box::new(text()),
            distinct: false,
        };
        for (of, value) in [
            (FieldType::Bool, Value::Bool(false)),
            (
                FieldType::Int { bits: 54 },
                Value::Int(-9_007_199_254_740_991),
            ),
            (FieldType::Number, Value::Float(0.1)),
            (FieldType::Number, Value::Float(1e300)),
            (
                FieldType::Fixed {
                    digits: 38,
                    scale: 10,
                },
                Value::Decimal("12345678901234567890.5".into()),
            ),
            (
                FieldType::Fixed {
                    digits: 15,
                    scale: 2,
                },
                Value::Decimal("1234567890123.45".into()),
            ),
            (text(), Value::Text("a\u{1F600}\n".into())),
            (text(), Value::Text(String::new())),
            (FieldType::Day, Value::Date(-365_000)),
            (moment(1_000), Value::TimestampTz(-1_000)),
            (moment(60_000_000), Value::TimestampTz(60_000_000)),
            (
                FieldType::Document,
                Value::Document(r#"{"a":[1,null]}"#.into()),
            ),
            (list, Value::List(vec![Value::Text("a".into())])),
            (text(), Value::Null),
        ] {
            let json = encode(&of, &value).ok().unwrap();
            let canonical = |value: &Value| {
                let mut bytes = Vec::new();
                value.canonical(&mut bytes);
                bytes
            };
            assert_eq!(
                canonical(&decode(&of, Some(&json))),
                canonical(&value),
                "{value:?} {json}"
            );
        }
    }

    #[test]
    fn what_is_of_another_type_has_no_counterpart_and_is_not_approximated() {
        for (of, json) in [
            (FieldType::Int { bits: 54 }, json!(1.5)),
            (FieldType::Int { bits: 54 }, json!("1")),
            (FieldType::Bool, json!("true")),
            (text(), json!(5)),
            (FieldType::Day, json!("2026-13-01")),
            (moment(60_000_000), json!("2026-01-01T00:00:01Z")),
        ] {
            assert!(
                matches!(decode(&of, Some(&json)), Value::Unmapped(_)),
                "{json}"
            );
        }
        assert!(encode(&FieldType::Int { bits: 54 }, &Value::Int(i64::MAX)).is_err());
        assert!(encode(&FieldType::Number, &Value::Float(f64::NAN)).is_err());
    }
}

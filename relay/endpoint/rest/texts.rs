//! Cells that hold every value as a text: `"5"`, `"true"`, `"a;b"`, and `""` for null.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use tidegate_sync::codec::FieldType;
use tidegate_sync::value::{Value, float_digits};

use super::values::{decode, foreign};

/// How one field's values are texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextForm {
    /// What stands between the items of a list.
    pub split: Option<String>,
}

impl TextForm {
    pub(super) fn read(&self, of: &FieldType, cell: &Json) -> Value {
        let Json::String(text) = cell else {
            return decode(of, Some(cell));
        };
        if text.is_empty() {
            return Value::Null;
        }
        match self.parse(of, text) {
            Some(json) => decode(of, Some(&json)),
            None => foreign(cell),
        }
    }

    /// The text of what a plain cell would hold.
    pub(super) fn write(&self, value: &Json) -> Json {
        Json::String(match value {
            Json::Null => String::new(),
            Json::String(text) => text.clone(),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => whole.to_string(),
                None => number.as_f64().map(float_digits).unwrap_or_default(),
            },
            Json::Array(items) => {
                let items = items.iter().map(|item| match item {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                });
                let items: Vec<String> = items.collect();
                items.join(self.split.as_deref().unwrap_or(","))
            }
            other => other.to_string(),
        })
    }

    fn parse(&self, of: &FieldType, text: &str) -> Option<Json> {
        Some(match of {
            FieldType::Bool => Json::Bool(text.to_lowercase().parse().ok()?),
            FieldType::Int { .. } | FieldType::Number | FieldType::Float { .. } => {
                number(text.trim())?
            }
            FieldType::Document => serde_json::from_str(text).ok()?,
            FieldType::List { .. } => {
                let split = self.split.as_deref()?;
                let items = text.split(split).filter(|item| !item.is_empty());
                items.map(Json::from).collect()
            }
            // Some apps mix moments in milliseconds with those in words.
            FieldType::Day | FieldType::Moment { .. } => match text.parse::<i64>() {
                Ok(milliseconds) => Json::String(moment(of, milliseconds)?),
                Err(_) => Json::from(text),
            },
            _ => Json::from(text),
        })
    }
}

fn number(text: &str) -> Option<Json> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Json::from(whole));
    }
    let number = serde_json::Number::from_f64(text.parse().ok()?);
    number.map(Json::Number)
}

fn moment(of: &FieldType, milliseconds: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(milliseconds).ok()?;
    let local = at.to_zoned(TimeZone::UTC).datetime();
    match of {
        FieldType::Day => {
            let is_whole = milliseconds.rem_euclid(limits::MS_PER_DAY) == 0;
            is_whole.then(|| local.date().to_string())
        }
        FieldType::Moment { zoned: false, .. } => Some(local.to_string()),
        _ => Some(at.to_string()),
    }
}

mod limits {
    pub(super) const MS_PER_DAY: i64 = 86_400_000;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpoint::rest::values::encode;

    fn form() -> TextForm {
        TextForm {
            split: Some(";".to_owned()),
        }
    }

    fn moment_type() -> FieldType {
        FieldType::Moment {
            zoned: true,
            unit_micros: 1_000,
        }
    }

    fn canonical(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.canonical(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_value() {
        let labels = ["a", "b"].map(str::to_owned).to_vec();
        let list = FieldType::List {
            of: Box::new(FieldType::Enum { labels }),
            distinct: true,
        };
        let label = |text: &str| Value::Label(text.to_owned());
        for (of, value, text) in [
            (FieldType::Bool, Value::Bool(false), "false"),
            (FieldType::Int { bits: 32 }, Value::Int(-5), "-5"),
            (FieldType::Number, Value::Float(0.1), "0.1"),
            (FieldType::Number, Value::Float(1e17), "100000000000000000"),
            (FieldType::Day, Value::Date(0), "2000-01-01"),
            (
                moment_type(),
                Value::TimestampTz(1_000),
                "2000-01-01T00:00:00.001Z",
            ),
            (list, Value::List(vec![label("b"), label("a")]), "b;a"),
            (FieldType::Bool, Value::Null, ""),
        ] {
            let cell = form().write(&encode(&of, &value).ok().unwrap());
            assert_eq!(cell, json!(text));
            let read = form().read(&of, &cell);
            assert_eq!(canonical(&read), canonical(&value), "{text}");
        }
    }

    #[test]
    fn a_moment_may_be_milliseconds_and_a_number_may_have_zeros() {
        let read = |of: &FieldType, text: &str| canonical(&form().read(of, &json!(text)));
        assert_eq!(
            read(&FieldType::Day, "946684800000"),
            canonical(&Value::Date(0))
        );
        assert_eq!(
            read(&moment_type(), "946684800001"),
            canonical(&Value::TimestampTz(1_000))
        );
        assert_eq!(
            read(&FieldType::Int { bits: 32 }, "5.00"),
            canonical(&Value::Int(5))
        );
    }

    #[test]
    fn what_is_of_another_type_is_left_alone() {
        for (of, text) in [
            (FieldType::Int { bits: 32 }, "5.5"),
            (FieldType::Int { bits: 32 }, "many"),
            (FieldType::Bool, "yes"),
            (FieldType::Day, "946684800001"),
            (FieldType::Document, "{"),
        ] {
            let read = form().read(&of, &json!(text));
            assert!(matches!(read, Value::Unmapped(_)), "{text}");
        }
    }
}

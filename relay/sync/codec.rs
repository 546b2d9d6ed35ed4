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
}

impl FieldType {
    /// A short name for messages.
    pub fn name(&self) -> String {
        match self {
            FieldType::Bool => "boolean".into(),
            FieldType::Int { bits } => format!("{bits}-bit integer"),
            FieldType::Decimal {
                precision: Some(precision),
                scale,
            } => format!("decimal({precision},{})", scale.unwrap_or(0)),
            FieldType::Decimal { .. } => "decimal".into(),
            FieldType::Float { bits } => format!("{bits}-bit float"),
            FieldType::Text { max: Some(max), .. } => format!("text({max})"),
            FieldType::Text { .. } => "text".into(),
            FieldType::Bytes => "bytes".into(),
            FieldType::Date => "date".into(),
            FieldType::Time => "time".into(),
            FieldType::Timestamp => "timestamp without time zone".into(),
            FieldType::TimestampTz => "timestamp with time zone".into(),
            FieldType::Interval => "interval".into(),
            FieldType::Uuid => "uuid".into(),
            FieldType::JsonText => "json".into(),
            FieldType::Json => "jsonb".into(),
            FieldType::Enum { .. } => "enum".into(),
            FieldType::Opaque { name } => name.clone(),
            FieldType::Padded { length } => match length {
                Some(length) => format!("character({length})"),
                None => "character".into(),
            },
            FieldType::Rounded { of, digits } => format!("{} with {digits} decimals", of.name()),
        }
    }
}

/// Which way values can travel between two fields without loss (invariant I11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "relation", rename_all = "kebab-case")]
pub enum Relation {
    /// Both ways.
    Lossless,
    /// Only from left to right; `reason` says why not back.
    LeftToRight { reason: String },
    /// Only from right to left; `reason` says why not back.
    RightToLeft { reason: String },
    /// Not at all.
    Refused { reason: String },
}

/// Decides which way values can travel between a left and a right field.
///
/// A direction is open exactly when the receiving type holds *every* value of the sending one, so
/// that what is read back equals what was sent. Symmetric: swapping the sides mirrors the answer.
///
/// | from | to | open when |
/// |---|---|---|
/// | any | the same type | always |
/// | int | int | not narrower |
/// | int | decimal | the whole digits fit (5, 10, 19 for 16, 32, 64 bits) |
/// | decimal | int | never: NaN and fractions |
/// | decimal | decimal | whole digits and scale both fit; only an unlimited one holds infinities |
/// | float | float | not narrower |
/// | text | text | the limit is not smaller (letter case is kept by both kinds) |
/// | enum | text, padded | the longest label fits |
/// | text | enum | never: it may be no label |
/// | enum | enum | every label exists there |
/// | padded | text, padded | the length fits |
/// | text | padded | never: trailing blanks are lost |
/// | jsonb | json | always |
/// | json | jsonb | never: key order, duplicates and spaces are lost |
/// | fewer decimals of a second | more | same kind of time |
/// | anything else | | never: no conversion is exact, or none is defined |
pub fn relate(left: &FieldType, right: &FieldType) -> Relation {
    match (holds(right, left), holds(left, right)) {
        (Ok(()), Ok(())) => Relation::Lossless,
        (Ok(()), Err(reason)) => Relation::LeftToRight { reason },
        (Err(reason), Ok(())) => Relation::RightToLeft { reason },
        (Err(reason), Err(_)) => Relation::Refused { reason },
    }
}

/// Does `to` hold every value of `from`? If not, says what it can't hold.
fn holds(to: &FieldType, from: &FieldType) -> Result<(), String> {
    use FieldType::*;
    if to == from {
        return Ok(());
    }
    match (from, to) {
        (Int { bits: a }, Int { bits: b }) => {
            need(a <= b, from, to, "numbers may be out of its range")
        }
        (Int { bits }, Decimal { precision, scale }) => {
            let digits = match bits {
                16 => 5,
                32 => 10,
                _ => 19,
            };
            let fits = precision.is_none_or(|p| {
                let scale = i32::from(scale.unwrap_or(0));
                scale >= 0 && i32::from(p) - scale >= digits
            });
            need(fits, from, to, "it has too few digits")
        }
        (Decimal { .. }, Int { .. }) => need(false, from, to, "it has no fractions and no NaN"),
        (
            Decimal {
                precision: a,
                scale: s,
            },
            Decimal {
                precision: b,
                scale: t,
            },
        ) => {
            let fits = decimal_fits((*a, *s), (*b, *t));
            need(
                fits,
                from,
                to,
                "it has too few digits before or after the point",
            )
        }
        (Float { bits: a }, Float { bits: b }) => {
            need(a <= b, from, to, "numbers would be rounded")
        }
        (Text { .. } | Enum { .. } | Padded { .. }, Text { .. } | Enum { .. } | Padded { .. }) => {
            holds_text(to, from)
        }
        (Json, JsonText) => Ok(()),
        (JsonText, Json) => need(
            false,
            from,
            to,
            "key order, duplicate keys and spaces would be lost",
        ),
        (Rounded { of: a, digits: m }, Rounded { of: b, digits: n }) if a == b => {
            need(m <= n, from, to, "fractions of a second would be rounded")
        }
        (Rounded { of, .. }, whole) if **of == *whole => Ok(()),
        (whole, Rounded { of, .. }) if **of == *whole => {
            need(false, from, to, "fractions of a second would be rounded")
        }
        _ => need(false, from, to, "no exact conversion exists"),
    }
}

/// [`holds`] among text, labels and padded text.
fn holds_text(to: &FieldType, from: &FieldType) -> Result<(), String> {
    use FieldType::*;
    match (from, to) {
        (Text { max: a, .. }, Text { max: b, .. }) => {
            need(length_fits(*a, *b), from, to, "longer text does not fit")
        }
        (Text { .. }, Enum { .. }) => need(false, from, to, "text may be none of its labels"),
        (Text { .. }, Padded { .. }) => need(false, from, to, "trailing blanks would be lost"),
        (Enum { labels }, Text { max, .. }) => {
            need(labels_fit(labels, *max), from, to, "a label is too long")
        }
        (Enum { labels }, Padded { length }) => {
            let fits = labels_fit(labels, *length) && labels.iter().all(|l| !l.ends_with(' '));
            need(fits, from, to, "a label does not fit")
        }
        (Enum { labels: a }, Enum { labels: b }) => {
            let fits = a.iter().all(|label| b.contains(label));
            need(fits, from, to, "it lacks some labels")
        }
        (Padded { .. }, Enum { .. }) => need(false, from, to, "text may be none of its labels"),
        (Padded { length: a }, Text { max: b, .. } | Padded { length: b }) => {
            need(length_fits(*a, *b), from, to, "longer text does not fit")
        }
        _ => need(false, from, to, "no exact conversion exists"),
    }
}

fn need(fits: bool, from: &FieldType, to: &FieldType, why: &str) -> Result<(), String> {
    if fits {
        return Ok(());
    }
    Err(format!(
        "{} does not go into {}: {why}",
        from.name(),
        to.name()
    ))
}

fn length_fits(from: Option<u32>, to: Option<u32>) -> bool {
    match (from, to) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(from), Some(to)) => from <= to,
    }
}

fn labels_fit(labels: &[String], max: Option<u32>) -> bool {
    max.is_none_or(|max| labels.iter().all(|l| l.chars().count() <= max as usize))
}

fn decimal_fits(
    (from_precision, from_scale): (Option<u16>, Option<i16>),
    (to_precision, to_scale): (Option<u16>, Option<i16>),
) -> bool {
    let Some(to_precision) = to_precision else {
        return true;
    };
    let Some(from_precision) = from_precision else {
        return false;
    };
    let from_scale = i32::from(from_scale.unwrap_or(0));
    let to_scale = i32::from(to_scale.unwrap_or(0));
    let from_whole = i32::from(from_precision) - from_scale;
    from_whole <= i32::from(to_precision) - to_scale && from_scale <= to_scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<FieldType> {
        use FieldType::*;
        let labels = |names: &[&str]| Enum {
            labels: names.iter().map(|n| n.to_string()).collect(),
        };
        let decimal = |precision, scale| Decimal { precision, scale };
        let text = |max, ignores_case| Text { max, ignores_case };
        vec![
            Bool,
            Int { bits: 16 },
            Int { bits: 32 },
            Int { bits: 64 },
            decimal(None, None),
            decimal(Some(10), Some(2)),
            decimal(Some(12), Some(2)),
            decimal(Some(3), Some(-2)),
            decimal(Some(19), Some(0)),
            Float { bits: 32 },
            Float { bits: 64 },
            text(None, false),
            text(None, true),
            text(Some(3), false),
            Bytes,
            Date,
            Time,
            Timestamp,
            TimestampTz,
            Interval,
            Uuid,
            JsonText,
            Json,
            labels(&["a", "b"]),
            labels(&["b", "a", "c"]),
            labels(&["longer"]),
            Opaque {
                name: "integer[]".into(),
            },
            Opaque {
                name: "tsrange".into(),
            },
            Padded { length: Some(2) },
            Padded { length: None },
            Rounded {
                of: Box::new(Timestamp),
                digits: 0,
            },
            Rounded {
                of: Box::new(Timestamp),
                digits: 3,
            },
        ]
    }

    #[test]
    fn every_type_goes_into_itself_both_ways() {
        for t in all() {
            assert_eq!(relate(&t, &t), Relation::Lossless);
        }
    }

    #[test]
    fn swapping_the_sides_mirrors_the_answer() {
        for a in all() {
            for b in all() {
                let mirrored = match relate(&b, &a) {
                    Relation::LeftToRight { reason } => Relation::RightToLeft { reason },
                    Relation::RightToLeft { reason } => Relation::LeftToRight { reason },
                    other => other,
                };
                let found = relate(&a, &b);
                let same_kind = std::mem::discriminant(&found) == std::mem::discriminant(&mirrored);
                assert!(same_kind, "{a:?} {b:?}: {found:?} {mirrored:?}");
            }
        }
    }

    #[test]
    fn travel_is_transitive() {
        for a in all() {
            for b in all() {
                for c in all() {
                    if holds(&b, &a).is_ok() && holds(&c, &b).is_ok() {
                        assert!(holds(&c, &a).is_ok(), "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn widening_is_one_way_and_says_why_not_back() {
        let relation = relate(&FieldType::Int { bits: 32 }, &FieldType::Int { bits: 64 });
        let Relation::LeftToRight { reason } = relation else {
            panic!("{relation:?}");
        };
        assert!(reason.contains("64-bit integer does not go into 32-bit integer"));
    }

    #[test]
    fn decimals_compare_by_digits_on_both_sides_of_the_point() {
        let of = |precision, scale| FieldType::Decimal { precision, scale };
        let wide = of(Some(12), Some(2));
        assert!(holds(&wide, &of(Some(10), Some(2))).is_ok());
        assert!(holds(&wide, &of(Some(12), Some(3))).is_err());
        assert!(holds(&wide, &of(Some(11), Some(0))).is_err());
        assert!(holds(&wide, &FieldType::Int { bits: 32 }).is_ok());
        assert!(holds(&wide, &FieldType::Int { bits: 64 }).is_err());
        assert!(holds(&FieldType::Int { bits: 64 }, &of(Some(3), Some(0))).is_err());
    }

    #[test]
    fn unrelated_types_are_refused() {
        let relation = relate(&FieldType::Timestamp, &FieldType::TimestampTz);
        assert!(matches!(relation, Relation::Refused { .. }));
        let relation = relate(&FieldType::Uuid, &FieldType::Bytes);
        assert!(matches!(relation, Relation::Refused { .. }));
    }
}

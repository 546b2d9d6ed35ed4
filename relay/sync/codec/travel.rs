//! Which pairs of field types can be synced, and why others cannot (invariant I11).

use serde::{Deserialize, Serialize};

use super::field_type::{FieldType, LineForm};
use super::holds::holds;
use crate::value::Value;

/// Which way values can travel between two fields without loss.
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

/// How many of one type's values another type holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "travel", rename_all = "kebab-case")]
pub enum Travel {
    /// Every one: this direction is open.
    All,
    /// All but those that `reason` names. The direction is closed, since one of them may come.
    Most { reason: String },
    /// None, or not for sure: no exact conversion is defined.
    None { reason: String },
}

/// Decides which way values can travel between a left and a right field.
///
/// A direction is open exactly when the receiving type holds *every* value of the sending one, so
/// that what is read back equals what was sent. Symmetric: swapping the sides mirrors the answer.
pub fn relate(left: &FieldType, right: &FieldType) -> Relation {
    match (closed(left, right), closed(right, left)) {
        (None, None) => Relation::Lossless,
        (None, Some(reason)) => Relation::LeftToRight { reason },
        (Some(reason), None) => Relation::RightToLeft { reason },
        (Some(reason), Some(_)) => Relation::Refused { reason },
    }
}

fn closed(from: &FieldType, to: &FieldType) -> Option<String> {
    match travel(from, to) {
        Travel::All => None,
        Travel::Most { reason } | Travel::None { reason } => Some(reason),
    }
}

/// How many values of `from` does `to` hold?
pub fn travel(from: &FieldType, to: &FieldType) -> Travel {
    let why = |reason: &str| format!("{} does not go into {}: {reason}", from.name(), to.name());
    match fit(from, to) {
        Fit::All => Travel::All,
        Fit::But(reason) => Travel::Most {
            reason: why(reason),
        },
        Fit::None(reason) => Travel::None {
            reason: why(reason),
        },
    }
}

enum Fit {
    All,
    But(&'static str),
    None(&'static str),
}

const NO_CONVERSION: Fit = Fit::None("no exact conversion exists");

fn when(fits: bool, otherwise: &'static str) -> Fit {
    if fits { Fit::All } else { Fit::But(otherwise) }
}

fn fit(from: &FieldType, to: &FieldType) -> Fit {
    use FieldType::*;
    match (from, to) {
        (Files, _) | (_, Files) => Fit::None("the contents of files are not carried"),
        _ if from == to => Fit::All,
        (_, Int { .. } | Decimal { .. } | Float { .. } | Fixed { .. } | Number) => {
            fit_number(from, to)
        }
        (_, Text { .. } | Short { .. } | Padded { .. } | Line { .. } | Enum { .. } | Uuid) => {
            fit_text(from, to)
        }
        (_, JsonText | Json | Document) => fit_json(from, to),
        (Bits { .. }, Bits { .. }) => fit_bits(from, to),
        (Array { of: a } | List { of: a, .. }, Array { of: b }) => inside(a, b),
        (Array { of: a }, List { of: b, .. }) => match inside(a, b) {
            Fit::All => Fit::But("nulls, dimensions, first indices and repeats would be lost"),
            other => other,
        },
        (List { of: a, distinct: x }, List { of: b, distinct: y }) => match inside(a, b) {
            Fit::All => when(*x || !*y, "repeated items do not fit"),
            other => other,
        },
        _ => fit_time(from, to),
    }
}

fn fit_bits(from: &FieldType, to: &FieldType) -> Fit {
    let (
        FieldType::Bits {
            length: a,
            fixed: always,
        },
        FieldType::Bits { length: b, fixed },
    ) = (from, to)
    else {
        return NO_CONVERSION;
    };
    let another = Fit::None("it holds another number of bits");
    match (fixed, length_fits(*a, *b)) {
        (false, true) => Fit::All,
        (false, false) if *always => another,
        (false, false) => Fit::But("more bits do not fit"),
        (true, true) if *always || a != b && a.is_some() => another,
        (true, false) if *always && a.is_some() => another,
        (true, _) => Fit::But("it holds one number of bits only"),
    }
}

/// Of lists, by what is in them.
fn inside(from: &FieldType, to: &FieldType) -> Fit {
    match fit(from, to) {
        // An empty list goes into a list of anything, which is no reason to map one.
        Fit::None(_) => Fit::None("what is in the list does not fit"),
        Fit::But(_) => Fit::But("not everything that can be in the list fits"),
        Fit::All => Fit::All,
    }
}

fn fit_number(from: &FieldType, to: &FieldType) -> Fit {
    use FieldType::*;
    let Some(source) = Digits::of(from) else {
        return NO_CONVERSION;
    };
    let range = "numbers may be out of its range";
    let rounded = "numbers would be rounded";
    match (from, to) {
        (Int { bits: a }, Int { bits: b }) => when(a <= b, range),
        (Fixed { digits, scale: 0 }, Int { bits }) => when(*digits < whole_digits(*bits), range),
        (_, Int { .. }) => Fit::But("it has no fractions, NaN or infinities"),
        (
            Float { .. },
            Decimal {
                precision: None, ..
            },
        ) => Fit::But("it has no −0"),
        (
            _,
            Decimal {
                precision: None, ..
            },
        ) => Fit::All,
        (
            Decimal {
                precision: None, ..
            }
            | Float { .. }
            | Number,
            Decimal { .. } | Fixed { .. },
        ) => Fit::But("it has too few digits before or after the point"),
        (Decimal { .. }, Fixed { .. }) => Fit::But("it has no NaN, or too few digits"),
        (
            _,
            Decimal {
                precision: Some(p),
                scale,
            },
        ) => {
            let room = i32::from(*p) - i32::from(scale.unwrap_or(0));
            let fits = source.whole <= room && source.fraction <= i32::from(scale.unwrap_or(0));
            when(fits, "it has too few digits before or after the point")
        }
        (_, Fixed { digits, scale }) => {
            let room = i32::from(*digits) - i32::from(*scale);
            let fits = source.whole <= room && source.fraction <= i32::from(*scale);
            when(fits, "it has too few digits before or after the point")
        }
        (Float { bits: a }, Float { bits: b }) => when(a <= b, rounded),
        (Int { bits }, Float { bits: 32 }) => when(*bits <= 25, rounded),
        (Int { bits }, Float { .. } | Number) => when(*bits <= 54, rounded),
        (Number, Float { bits: 64 }) => Fit::All,
        (Float { .. }, Number) => Fit::But("it has no NaN, no infinities and no −0"),
        (Decimal { .. }, Number) => Fit::But("it has no NaN, and more digits would be rounded"),
        (_, Float { bits: 64 } | Number) => when(source.are_within(15, 290), rounded),
        (_, Float { .. }) => when(source.are_within(6, 30), rounded),
        _ => NO_CONVERSION,
    }
}

/// How many digits a type's numbers have at most, before and after the point.
struct Digits {
    whole: i32,
    fraction: i32,
}

impl Digits {
    fn of(of: &FieldType) -> Option<Digits> {
        let unlimited = i32::from(u16::MAX);
        let (whole, fraction) = match of {
            FieldType::Int { bits } => (i32::from(whole_digits(*bits)), 0),
            FieldType::Decimal {
                precision: Some(precision),
                scale,
            } => {
                let scale = i32::from(scale.unwrap_or(0));
                (i32::from(*precision) - scale, scale)
            }
            FieldType::Fixed { digits, scale } => {
                (i32::from(*digits) - i32::from(*scale), i32::from(*scale))
            }
            FieldType::Decimal { .. } | FieldType::Float { .. } | FieldType::Number => {
                (unlimited, unlimited)
            }
            _ => return None,
        };
        Some(Digits { whole, fraction })
    }

    /// Not more significant digits than `most`, all of them within 10^±`reach`.
    fn are_within(&self, most: i32, reach: i32) -> bool {
        self.whole + self.fraction <= most && self.whole <= reach && self.fraction <= reach
    }
}

/// Digits of the greatest number.
fn whole_digits(bits: u8) -> u16 {
    let most = i64::MAX >> (64 - i32::from(bits.clamp(2, 64)));
    most.to_string().len() as u16
}

fn fit_text(from: &FieldType, to: &FieldType) -> Fit {
    use FieldType::*;
    let Some(source) = Shape::of(from) else {
        return NO_CONVERSION;
    };
    match (from, to) {
        (Enum { labels }, _) => {
            let fitting = labels.iter().filter(|label| takes(to, label)).count();
            match fitting {
                all if all == labels.len() => Fit::All,
                0 => Fit::None("it holds none of the labels"),
                _ => Fit::But("it does not hold all labels"),
            }
        }
        (_, Enum { labels }) if labels.iter().any(|label| takes(from, label)) => {
            Fit::But("text may be none of its labels")
        }
        (_, Uuid) if takes(from, "00000000-0000-0000-0000-000000000000") => {
            Fit::But("text may be no uuid in lower case")
        }
        (_, Enum { .. } | Uuid) => NO_CONVERSION,
        (_, Text { max, .. } | Padded { length: max } | Line { max, .. })
            if max.is_some_and(|max| max < source.least) =>
        {
            Fit::None("it is too short")
        }
        (_, Text { max, .. }) => when(length_fits(source.chars, *max), "longer text does not fit"),
        (_, Short { bytes }) => when(
            length_fits(source.bytes, Some(*bytes)),
            "longer text does not fit",
        ),
        (_, Padded { length }) => match length_fits(source.chars, *length) {
            false => Fit::But("longer text does not fit"),
            true => when(!source.ends_in_blanks, "trailing blanks would be lost"),
        },
        (_, Line { max, form }) => match (form, from) {
            (LineForm::Any, _) if source.many_lines => Fit::But("line breaks do not fit"),
            (LineForm::Any, _) => when(length_fits(source.chars, *max), "longer text does not fit"),
            (same, Line { form, .. }) if same == form => {
                when(length_fits(source.chars, *max), "longer text does not fit")
            }
            // The second one is of both forms.
            (LineForm::Email, _) if takes(from, "a@b") || takes(from, "http://a@b") => {
                Fit::But("text may be no address")
            }
            (LineForm::Url, _) if takes(from, "http://x") || takes(from, "http://a@b") => {
                Fit::But("text may be no url")
            }
            _ => NO_CONVERSION,
        },
        _ => NO_CONVERSION,
    }
}

fn takes(of: &FieldType, text: &str) -> bool {
    holds(of, &Value::Text(text.to_owned())).is_ok()
}

/// What the text of a type's values can be.
struct Shape {
    /// In characters.
    least: u32,
    chars: Option<u32>,
    bytes: Option<u32>,
    many_lines: bool,
    ends_in_blanks: bool,
}

impl Shape {
    fn of(of: &FieldType) -> Option<Shape> {
        let text = |chars: Option<u32>| Shape {
            least: 0,
            chars,
            bytes: chars.map(|chars| chars.saturating_mul(4)),
            many_lines: true,
            ends_in_blanks: true,
        };
        let ascii = |least: u32, chars: Option<u32>| Shape {
            least,
            bytes: chars,
            many_lines: false,
            ends_in_blanks: false,
            ..text(chars)
        };
        Some(match of {
            FieldType::Text { max, .. } => text(*max),
            FieldType::Short { bytes } => Shape {
                bytes: Some(*bytes),
                ..text(Some(*bytes))
            },
            FieldType::Padded { length } => Shape {
                ends_in_blanks: false,
                ..text(*length)
            },
            FieldType::Line { max, form } => Shape {
                least: match form {
                    LineForm::Any => 0,
                    LineForm::Email => 3,
                    LineForm::Url => 8,
                },
                many_lines: false,
                ends_in_blanks: *form == LineForm::Any,
                ..text(*max)
            },
            FieldType::Uuid => ascii(36, Some(36)),
            // `12:00:00+00` to `24:00:00.000000+15:59:59`.
            FieldType::TimeTz => ascii(11, Some(24)),
            FieldType::Rounded { of, .. } if **of == FieldType::TimeTz => ascii(11, Some(24)),
            FieldType::Bits { length, fixed } => {
                ascii(length.filter(|_| *fixed).unwrap_or(0), *length)
            }
            FieldType::Json | FieldType::Document => Shape {
                bytes: None,
                ..ascii(1, None)
            },
            FieldType::JsonText | FieldType::Opaque { .. } | FieldType::Enum { .. } => text(None),
            _ => return None,
        })
    }
}

fn fit_json(from: &FieldType, to: &FieldType) -> Fit {
    use FieldType::*;
    match (from, to) {
        (Json | Document, JsonText) | (Document, Json) => Fit::All,
        (Json, Document) => Fit::But("numbers that are no doubles would be rounded"),
        (JsonText, Json | Document) => {
            Fit::None("key order, duplicate keys and spaces would be lost")
        }
        _ => NO_CONVERSION,
    }
}

fn fit_time(from: &FieldType, to: &FieldType) -> Fit {
    use FieldType::*;
    let rounded = "fractions of a second would be rounded";
    match (from, to) {
        (Rounded { of: a, digits: m }, Rounded { of: b, digits: n }) if a == b => {
            when(m <= n, rounded)
        }
        (Rounded { of, .. }, whole) if **of == *whole => Fit::All,
        (whole, Rounded { of, .. }) if **of == *whole => Fit::But(rounded),
        (Day, Date) => Fit::All,
        (Date, Day) => Fit::But("it ends at the years 1 and 9999"),
        (
            Moment {
                zoned: a,
                unit_micros: m,
            },
            Moment {
                zoned: b,
                unit_micros: n,
            },
        ) if a == b => when(m % n == 0, "it keeps coarser units of time"),
        (Moment { zoned, unit_micros }, _) => match instant_unit(to) {
            Some((zone, unit)) if zone == *zoned => when(unit_micros % unit == 0, rounded),
            _ => NO_CONVERSION,
        },
        (_, Moment { zoned, .. }) => match instant_unit(from) {
            Some((zone, _)) if zone == *zoned => {
                Fit::But("it ends at the years 1 and 9999, or keeps coarser units of time")
            }
            _ => NO_CONVERSION,
        },
        _ => NO_CONVERSION,
    }
}

/// Of a timestamp type: is it zoned, and what does it keep in microseconds?
fn instant_unit(of: &FieldType) -> Option<(bool, i64)> {
    match of {
        FieldType::Timestamp => Some((false, 1)),
        FieldType::TimestampTz => Some((true, 1)),
        FieldType::Rounded { of, digits } => {
            let (zoned, _) = instant_unit(of)?;
            Some((zoned, 10i64.pow(6 - u32::from(*digits).min(6))))
        }
        _ => None,
    }
}

fn length_fits(from: Option<u32>, to: Option<u32>) -> bool {
    match (from, to) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(from), Some(to)) => from <= to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(from: &FieldType, to: &FieldType) -> bool {
        travel(from, to) == Travel::All
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
        assert!(is_open(&of(Some(10), Some(2)), &wide));
        assert!(!is_open(&of(Some(12), Some(3)), &wide));
        assert!(!is_open(&of(Some(11), Some(0)), &wide));
        assert!(is_open(&FieldType::Int { bits: 32 }, &wide));
        assert!(!is_open(&FieldType::Int { bits: 64 }, &wide));
        assert!(!is_open(
            &of(Some(3), Some(0)),
            &FieldType::Int { bits: 64 }
        ));
    }

    #[test]
    fn unrelated_types_are_refused() {
        let relation = relate(&FieldType::Timestamp, &FieldType::TimestampTz);
        assert!(matches!(relation, Relation::Refused { .. }));
        let relation = relate(&FieldType::Uuid, &FieldType::Bytes);
        assert!(matches!(relation, Relation::Refused { .. }));
        let relation = relate(&FieldType::Files, &FieldType::Files);
        assert!(matches!(relation, Relation::Refused { .. }));
    }
}

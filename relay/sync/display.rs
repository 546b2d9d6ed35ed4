//! Values as people read them in previews and reports. Not a wire format: nothing parses it.

use std::fmt;

use crate::value::{Value, uuid_text};

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unmapped(value) => write!(f, "{value}"),
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Text(text)
            | Value::Label(text)
            | Value::Decimal(text)
            | Value::Json(text)
            | Value::Document(text)
            | Value::Opaque(text) => f.write_str(text),
            Value::Bytes(bytes) => {
                f.write_str("\\x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Value::Date(days) => date(
                f,
                i64::from(*days),
                i64::from(i32::MIN),
                i64::from(i32::MAX),
            ),
            Value::Time(micros) => time(f, *micros),
            Value::Timestamp(micros) => timestamp(f, *micros, ""),
            Value::TimestampTz(micros) => timestamp(f, *micros, "Z"),
            Value::Interval {
                months,
                days,
                micros,
            } => {
                write!(f, "{months} months {days} days ")?;
                if *micros < 0 {
                    f.write_str("-")?;
                }
                time(f, micros.unsigned_abs() as i64)
            }
            Value::Uuid(bytes) => f.write_str(&uuid_text(bytes)),
            Value::List(items) => list(f, items),
            Value::Shifted { lower, items } => {
                for bound in lower {
                    write!(f, "[from {bound}]")?;
                }
                list(f, items)
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[Value]) -> fmt::Result {
    f.write_str("[")?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    f.write_str("]")
}

const DAY_MICROS: i64 = 86_400_000_000;

fn timestamp(f: &mut fmt::Formatter<'_>, micros: i64, zone: &str) -> fmt::Result {
    let days = micros.div_euclid(DAY_MICROS);
    if micros == i64::MAX || micros == i64::MIN {
        return date(f, micros, i64::MIN, i64::MAX);
    }
    date(f, days, i64::MIN, i64::MAX)?;
    f.write_str(" ")?;
    time(f, micros.rem_euclid(DAY_MICROS))?;
    f.write_str(zone)
}

/// `days` since 2000-01-01, in the proleptic Gregorian calendar with astronomical years.
fn date(f: &mut fmt::Formatter<'_>, days: i64, lowest: i64, highest: i64) -> fmt::Result {
    if days == lowest || days == highest {
        return f.write_str(if days == highest {
            "infinity"
        } else {
            "-infinity"
        });
    }
    // Days from 0000-03-01; see Howard Hinnant, "chrono-compatible low-level date algorithms".
    let shifted = days + 730_425;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(f, "{year:04}-{month:02}-{day:02}")
}

fn time(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    let seconds = micros / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(f, "{hours:02}:{minutes:02}:{:02}", seconds % 60)?;
    match micros % 1_000_000 {
        0 => Ok(()),
        fraction => write!(f, ".{fraction:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        let check = |value: Value, expected: &str| assert_eq!(value.to_string(), expected);
        check(Value::Date(0), "2000-01-01");
        check(Value::Date(8_918), "2024-06-01");
        check(Value::Date(-1), "1999-12-31");
        check(Value::Date(i32::MAX), "infinity");
        check(Value::Timestamp(1_500_000), "2000-01-01 00:00:01.500000");
        check(Value::TimestampTz(-1_000_000), "1999-12-31 23:59:59Z");
        check(Value::TimestampTz(i64::MIN), "-infinity");
        check(
            Value::Uuid([0xab; 16]),
            "abababab-abab-abab-abab-abababababab",
        );
        check(Value::Bytes(vec![0, 255]), "\\x00ff");
        check(Value::List(vec![Value::Int(1), Value::Null]), "[1, null]");
    }
}

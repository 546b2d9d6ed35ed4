//! PostgreSQL's text for dates, times and intervals, to and from integers. Exact, no calendar
//! library: the range (4714 BC to 5874897) and the infinities exceed what those hold.
//!
//! Assumes the session settings of [`super::types::SESSION`]: `DateStyle` ISO, `IntervalStyle`
//! iso_8601, `TimeZone` UTC. Called by [`super::types`] only. Source: PostgreSQL manual 8.5.

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01 (proleptic Gregorian, year 0 is 1 BC) to 2000-01-01.
const EPOCH_2000: i64 = 730_425;
/// Above PostgreSQL's last year (5874897), and far below what could overflow.
const YEAR_MAX: i64 = 6_000_000;

pub(super) fn date(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, before_christ) = strip_bc(text);
    i32::try_from(days(text, before_christ)?).ok()
}

pub(super) fn date_text(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        _ => {
            let (date, suffix) = civil_text(i64::from(days));
            format!("{date}{suffix}")
        }
    }
}

/// Microseconds since midnight.
pub(super) fn time(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = unsigned(parts.next()?)?;
    let minutes = unsigned(parts.next()?)?;
    let micros = seconds(parts.next()?)?;
    let total = (hours * 3600 + minutes * 60) * 1_000_000 + micros;
    (0..=MICROS_PER_DAY).contains(&total).then_some(total)
}

pub(super) fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}{}",
        seconds % 60,
        fraction_text(fraction)
    )
}

/// Microseconds since 2000-01-01; a zone must be `+00`, as `TimeZone` UTC makes it.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = strip_bc(text);
    let (date, clock) = text.split_once(' ')?;
    let clock = clock.strip_suffix("+00").unwrap_or(clock);
    let days = days(date, before_christ)?;
    days.checked_mul(MICROS_PER_DAY)?.checked_add(time(clock)?)
}

pub(super) fn timestamp_text(micros: i64, with_zone: bool) -> String {
    match micros {
        i64::MAX => return "infinity".into(),
        i64::MIN => return "-infinity".into(),
        _ => {}
    }
    let (date, suffix) = civil_text(micros.div_euclid(MICROS_PER_DAY));
    let clock = time_text(micros.rem_euclid(MICROS_PER_DAY));
    let zone = if with_zone { "+00" } else { "" };
    format!("{date} {clock}{zone}{suffix}")
}

/// `(months, days, microseconds)` of `P1Y2M3DT4H5M6.7S`, each part with a sign of its own.
pub(super) fn interval(text: &str) -> Option<(i32, i32, i64)> {
    match text {
        "infinity" => return Some((i32::MAX, i32::MAX, i64::MAX)),
        "-infinity" => return Some((i32::MIN, i32::MIN, i64::MIN)),
        _ => {}
    }
    let body = text.strip_prefix('P')?;
    let (date, clock) = body.split_once('T').unwrap_or((body, ""));
    let (mut months, mut days, mut micros) = (0i64, 0i64, 0i128);
    for (number, unit) in fields(date) {
        let number: i64 = number.parse().ok()?;
        match unit {
            'Y' => months += number.checked_mul(12)?,
            'M' => months += number,
            'W' => days += number.checked_mul(7)?,
            'D' => days += number,
            _ => return None,
        }
    }
    for (number, unit) in fields(clock) {
        let factor = match unit {
            'H' => 3600,
            'M' => 60,
            'S' => 1,
            _ => return None,
        };
        let (digits, sign) = match number.strip_prefix('-') {
            Some(digits) => (digits, -1),
            None => (number, 1),
        };
        micros += i128::from(seconds(digits)?) * factor * sign;
    }
    Some((
        i32::try_from(months).ok()?,
        i32::try_from(days).ok()?,
        i64::try_from(micros).ok()?,
    ))
}

pub(super) fn interval_text(months: i32, days: i32, micros: i64) -> String {
    match (months, days, micros) {
        (i32::MAX, i32::MAX, i64::MAX) => return "infinity".into(),
        (i32::MIN, i32::MIN, i64::MIN) => return "-infinity".into(),
        _ => {}
    }
    let sign = if micros < 0 { "-" } else { "" };
    let magnitude = micros.unsigned_abs();
    let (seconds, fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
    let fraction = fraction_text(fraction as i64);
    format!(
        "P{months}M{days}DT{sign}{}H{sign}{}M{sign}{}{fraction}S",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// Splits `4H5M6.7S` into numbers and units.
fn fields(text: &str) -> impl Iterator<Item = (&str, char)> {
    text.split_inclusive(|c: char| c.is_ascii_alphabetic())
        .map(|field| {
            let unit = field.chars().next_back().unwrap_or(' ');
            (&field[..field.len() - unit.len_utf8()], unit)
        })
}

/// `6.789` to microseconds.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 6 {
        return None;
    }
    let scale = 10i64.pow(6 - fraction.len() as u32);
    let fraction = if fraction.is_empty() {
        0
    } else {
        unsigned(fraction)?
    };
    unsigned(whole)?
        .checked_mul(1_000_000)?
        .checked_add(fraction * scale)
}

fn unsigned(text: &str) -> Option<i64> {
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

fn fraction_text(micros: i64) -> String {
    if micros == 0 {
        return String::new();
    }
    let digits = format!("{micros:06}");
    format!(".{}", digits.trim_end_matches('0'))
}

fn strip_bc(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Days from 2000-01-01 to `YYYY-MM-DD`.
fn days(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let year = unsigned(parts.next()?)?;
    let month = unsigned(parts.next()?)?;
    let day = unsigned(parts.next()?)?;
    let is_plausible = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_plausible || !(1..=YEAR_MAX).contains(&year) {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    Some(days_from_civil(year, month, day))
}

/// Howard Hinnant's `days_from_civil`, from 2000-01-01.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_2000
}

/// `YYYY-MM-DD` and ` BC` where it applies.
fn civil_text(days: i64) -> (String, &'static str) {
    let days = days + EPOCH_2000;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (year, suffix) = if year < 1 {
        (1 - year, " BC")
    } else {
        (year, "")
    };
    (format!("{year:04}-{month:02}-{day:02}"), suffix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First and last day of PostgreSQL's `date`.
    const FIRST: i32 = -2_451_545;
    const LAST: i32 = 2_145_031_948;

    #[test]
    fn known_dates() {
        for (text, days) in [
            ("2000-01-01", 0),
            ("1999-12-31", -1),
            ("2000-03-01", 60),
            ("1970-01-01", -10_957),
            ("4714-11-24 BC", FIRST),
            ("5874897-12-31", LAST),
            ("infinity", i32::MAX),
            ("-infinity", i32::MIN),
        ] {
            assert_eq!(date(text), Some(days), "{text}");
            assert_eq!(date_text(days), text);
        }
    }

    #[test]
    fn garbage_is_refused() {
        for text in ["", "2000", "2000-13-01", "x-01-01", "2000-01-", "-1-01-01"] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in [
            "",
            "P",
            "1Y",
            "PxY",
            "P1.5Y",
            "PT1.1234567S",
            "P99999999999Y",
        ] {
            let found = interval(text);
            assert!(found.is_none() || text == "P", "{text}: {found:?}");
        }
        assert_eq!(time("24:00:01"), None);
        assert_eq!(time("24:00:00"), Some(MICROS_PER_DAY));
    }

    proptest! {
        #[test]
        fn dates_round_trip(days in FIRST..=LAST) {
            prop_assert_eq!(date(&date_text(days)), Some(days));
        }

        #[test]
        fn timestamps_round_trip(
            micros in -211_813_488_000_000_000i64..9_223_371_331_200_000_000,
            zone: bool,
        ) {
            prop_assert_eq!(timestamp(&timestamp_text(micros, zone)), Some(micros));
        }

        #[test]
        fn times_round_trip(micros in 0..=MICROS_PER_DAY) {
            prop_assert_eq!(time(&time_text(micros)), Some(micros));
        }

        #[test]
        fn intervals_round_trip(months: i32, days: i32, micros: i64) {
            let text = interval_text(months, days, micros);
            prop_assert_eq!(interval(&text), Some((months, days, micros)));
        }
    }
}

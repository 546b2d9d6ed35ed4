//! An app's own time: it may be wrong on purpose, can be moved ahead, and is written as apps do.

use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since 1970.
pub type Stamp = i64;

#[derive(Debug, Default)]
pub struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    pub fn now(&self) -> Stamp {
        jiff::Timestamp::now().as_millisecond() + self.ahead_ms.load(Ordering::Relaxed)
    }

    pub fn advance(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// `2026-11-25T10:20:30.123Z`
pub fn iso(stamp: Stamp) -> String {
    match jiff::Timestamp::from_millisecond(stamp) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => "9999-12-31T00:00:00.000Z".to_owned(),
    }
}

/// As the header `Date` has it (RFC 9110, 5.6.7).
pub fn http_date(stamp: Stamp) -> String {
    let at = jiff::Timestamp::from_millisecond(stamp).unwrap_or_default();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&at).unwrap_or_default()
}

/// Rounded down to whole `unit_ms`.
pub fn floor(stamp: Stamp, unit_ms: i64) -> Stamp {
    stamp - stamp.rem_euclid(unit_ms)
}

/// Reads a date, or a date with a time; without an offset it is UTC.
pub fn parse(text: &str) -> Option<Stamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_written_and_read_as_apps_do() {
        assert_eq!(
            parse("2026-11-25T10:20:30.120Z").map(iso).unwrap(),
            "2026-11-25T10:20:30.120Z"
        );
        assert_eq!(
            parse("2026-11-25T12:20+02:00").map(iso).unwrap(),
            "2026-11-25T10:20:00.000Z"
        );
        assert_eq!(
            parse("2026-11-25").map(iso).unwrap(),
            "2026-11-25T00:00:00.000Z"
        );
        assert_eq!(parse("tomorrow"), None);
        assert_eq!(iso(floor(1_999, 1_000)), "1970-01-01T00:00:01.000Z");
    }
}

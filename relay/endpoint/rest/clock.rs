//! The app's clock, as far as its answers tell it: bounds on what time it is there now.
//!
//! Positions and fences of an app are moments of its own clock, so that the relay's may be wrong. An
//! answer's `Date` (RFC 9110, 6.6.1) is the app's time in whole seconds, rounded down, when the
//! answer was made: not before the call was sent, not after it was received. Bounds of several
//! answers are combined, so that they soon are closer than a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Moments of the app's clock are microseconds since 1970 UTC.
pub(super) type Micros = u64;

/// What is known of the app's clock. Shared by everything that calls the app.
#[derive(Debug, Default)]
pub(super) struct Clock {
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    low: Micros,
    high: Micros,
}

impl Seen {
    fn at(self, now: Instant) -> (Micros, Micros) {
        let passed = micros(now.saturating_duration_since(self.at));
        // Two clocks drift apart by far less.
        let drift = passed / limits::DRIFT;
        (self.low + passed - drift, self.high + passed + drift)
    }
}

impl Clock {
    /// An answer with this `Date`, in seconds since 1970.
    pub(super) fn observe(&self, date_s: u64, sent: Instant, received: Instant) {
        let low = date_s * 1_000_000;
        let high = low + limits::DATE_SLACK + micros(received - sent);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = match seen.map(|seen| seen.at(received)) {
            Some((before_low, before_high)) if before_low <= high && low <= before_high => {
                (low.max(before_low), high.min(before_high))
            }
            // Nothing was known, or the clock was set.
            _ => (low, high),
        };
        let at = received;
        *seen = Some(Seen { at, low, high });
    }

    /// It is this late there, at least. Without an answer's word: by our clock, with much slack.
    pub(super) fn low(&self) -> Micros {
        self.bounds().0
    }

    /// It is this late there, at most.
    pub(super) fn high(&self) -> Micros {
        self.bounds().1
    }

    fn bounds(&self) -> (Micros, Micros) {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            Some(seen) => seen.at(Instant::now()),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let now = now.map_or(0, micros);
                (now.saturating_sub(limits::UNKNOWN), now + limits::UNKNOWN)
            }
        }
    }
}

fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The last of the app's stamps that can't be given any more once it is `now` there, for stamps
/// that are rounded down to multiples of `unit`.
pub(super) fn last_complete(now: Micros, unit: Micros) -> Micros {
    let unit = unit.max(1);
    (now - now % unit).saturating_sub(unit)
}

mod limits {
    /// A `Date` names a whole second, and servers make it only now and then.
    pub(super) const DATE_SLACK: u64 = 2_000_000;
    /// One in so many: 100 parts per million.
    pub(super) const DRIFT: u64 = 10_000;
    /// Where the app tells no time, clocks may be apart by this, microseconds.
    pub(super) const UNKNOWN: u64 = 10_000_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_several_answers_close_in_on_the_apps_time() {
        let clock = Clock::default();
        let start = Instant::now() - Duration::from_secs(5);
        let at = |ms: u64| start + Duration::from_millis(ms);
        // It is 1000.900 s there at `start`.
        clock.observe(1_000, start, at(10));
        clock.observe(1_001, at(100), at(110));
        let seen = clock.seen.lock().unwrap().unwrap();
        let truth = 1_000_900_000 + 110_000;
        assert!(seen.low <= truth && truth <= seen.high, "{seen:?}");
        assert!(truth - seen.low < 20_000, "{seen:?}");
    }

    #[test]
    fn a_clock_that_was_set_is_believed_anew() {
        let clock = Clock::default();
        let at = Instant::now();
        clock.observe(1_000, at, at);
        clock.observe(500, at, at);
        assert!(clock.high() < 600_000_000);
    }

    #[test]
    fn a_rounded_stamp_is_complete_when_its_unit_is_over() {
        assert_eq!(last_complete(61_000, 60_000), 0);
        assert_eq!(last_complete(119_999, 60_000), 0);
        assert_eq!(last_complete(120_000, 60_000), 60_000);
    }
}

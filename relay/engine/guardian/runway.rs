//! How long one change log may be left alone: pure, the guardian passes the time in.

use std::time::Duration;

use super::limits;
use crate::endpoint::log_guard::LogState;

/// What is known of one log over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Runway {
    written_bytes: Option<u64>,
    confirmed_bytes: Option<u64>,
    /// Over a while; and since the last look alone.
    bytes_per_s: Option<f64>,
    newest_per_s: f64,
    level: Level,
}

/// How full it is of what it may keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Fine,
    Half,
    Near,
}

/// What is to be done about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Its reader stands still although the side writes.
    Beat,
    /// It keeps more than this many bytes, which is too close to the bound.
    GiveUp {
        above_bytes: u64,
    },
}

/// One look at a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    pub bound_bytes: u64,
    pub left_bytes: Option<u64>,
    pub left: Option<Duration>,
    pub bytes_per_s: Option<f64>,
    pub level: Level,
    /// The level is higher than at the last look.
    pub is_rising: bool,
}

impl Runway {
    /// Takes a look in, `elapsed` after the one before.
    pub(super) fn judge(
        &mut self,
        log: &LogState,
        configured_bytes: u64,
        elapsed: Duration,
    ) -> Judgement {
        self.measure(log, elapsed);
        let bound_bytes = log
            .keeps_max_bytes
            .map_or(configured_bytes, |own| own.min(configured_bytes));
        let retained = log.retained_bytes.unwrap_or(0);
        let above_bytes = bound_bytes - self.reserve(bound_bytes);
        let level = match retained {
            kept if kept >= bound_bytes / 4 * 3 => Level::Near,
            kept if kept >= bound_bytes / 2 => Level::Half,
            _ => Level::Fine,
        };
        let is_rising = level > self.level;
        self.level = level;
        let confirmed = log
            .unconfirmed_bytes
            .map(|behind| log.written_bytes.saturating_sub(behind));
        let stands_still = log.active
            && log.unconfirmed_bytes >= Some(limits::BEAT_BEHIND_BYTES)
            && confirmed == self.confirmed_bytes;
        self.confirmed_bytes = confirmed;
        let left_bytes = log
            .retained_bytes
            .map(|kept| above_bytes.saturating_sub(kept));
        Judgement {
            verdict: match retained > above_bytes {
                true => Verdict::GiveUp { above_bytes },
                false if stands_still => Verdict::Beat,
                false => Verdict::Keep,
            },
            bound_bytes,
            left_bytes,
            left: left_bytes.and_then(|left| self.time_for(left)),
            bytes_per_s: self.bytes_per_s,
            level,
            is_rising,
        }
    }

    /// A mean that forgets: old looks count less the longer they are ago.
    fn measure(&mut self, log: &LogState, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if let Some(before) = self.written_bytes
            && seconds > 0.0
        {
            let now = log.written_bytes.saturating_sub(before) as f64 / seconds;
            self.newest_per_s = now;
            let weight = 1.0 - (-seconds / limits::RATE_MEMORY.as_secs_f64()).exp();
            self.bytes_per_s = Some(match self.bytes_per_s {
                Some(mean) => mean + (now - mean) * weight,
                None => now,
            });
        }
        self.written_bytes = Some(log.written_bytes);
    }

    /// What is written until the next look must still fit, but a burst alone must not cost a log
    /// that keeps little.
    fn reserve(&self, bound_bytes: u64) -> u64 {
        let until_next = self.newest_per_s * limits::LOOK_EVERY.as_secs_f64();
        (until_next as u64).clamp(bound_bytes / 10, bound_bytes / 2)
    }

    fn time_for(&self, bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_s.filter(|rate| *rate >= 1.0)?;
        Duration::try_from_secs_f64(bytes as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1024 * 1024;

    fn log(retained: u64, written: u64) -> LogState {
        LogState {
            active: true,
            status: "reserved".into(),
            retained_bytes: Some(retained),
            unconfirmed_bytes: Some(retained),
            written_bytes: written,
            ..LogState::default()
        }
    }

    #[test]
    fn log_is_given_up_before_the_bound_and_not_after_it() {
        let mut runway = Runway::default();
        let look = limits::LOOK_EVERY;
        let kept = runway.judge(&log(80 * MB, 1000 * MB), 100 * MB, look);
        assert_eq!(kept.verdict, Verdict::Keep);
        let kept = runway.judge(&log(91 * MB, 1000 * MB), 100 * MB, look);
        let above_bytes = 90 * MB;
        assert_eq!(kept.verdict, Verdict::GiveUp { above_bytes });
    }

    #[test]
    fn fast_writer_leaves_less_room_than_a_slow_one_but_never_less_than_half() {
        let look = limits::LOOK_EVERY;
        for (written, verdict) in [
            (1010 * MB, Verdict::Keep),
            (
                1060 * MB,
                Verdict::GiveUp {
                    above_bytes: 50 * MB,
                },
            ),
            (
                9000 * MB,
                Verdict::GiveUp {
                    above_bytes: 50 * MB,
                },
            ),
        ] {
            let mut runway = Runway::default();
            runway.judge(&log(1, 1000 * MB), 100 * MB, look);
            let judged = runway.judge(&log(60 * MB, written), 100 * MB, look);
            assert_eq!(judged.verdict, verdict, "{written}");
        }
        let mut runway = Runway::default();
        runway.judge(&log(1, 1000 * MB), 100 * MB, look);
        let judged = runway.judge(&log(49 * MB, 9000 * MB), 100 * MB, look);
        assert_eq!(judged.verdict, Verdict::Keep);
    }

    #[test]
    fn bound_of_the_server_counts_where_it_is_the_smaller_one() {
        let mut state = log(50 * MB, 1000 * MB);
        state.keeps_max_bytes = Some(50 * MB);
        let judged = Runway::default().judge(&state, 100 * MB, Duration::ZERO);
        assert_eq!(judged.bound_bytes, 50 * MB);
        assert!(matches!(judged.verdict, Verdict::GiveUp { .. }));
        state.keeps_max_bytes = Some(500 * MB);
        let judged = Runway::default().judge(&state, 100 * MB, Duration::ZERO);
        assert_eq!(
            (judged.bound_bytes, judged.verdict),
            (100 * MB, Verdict::Keep)
        );
    }

    #[test]
    fn time_left_is_what_is_left_by_the_measured_rate() {
        let mut runway = Runway::default();
        let minute = Duration::from_secs(60);
        assert_eq!(runway.judge(&log(0, 0), 100 * MB, minute).left, None);
        let judged = runway.judge(&log(30 * MB, 60 * MB), 100 * MB, minute);
        assert_eq!(judged.bytes_per_s, Some(MB as f64));
        assert_eq!(judged.left_bytes, Some(60 * MB));
        assert_eq!(judged.left, Some(minute));
    }

    #[test]
    fn warning_is_raised_once_for_each_step_up() {
        let mut runway = Runway::default();
        let mut rises = |kept: u64| {
            let judged = runway.judge(&log(kept * MB, 1000 * MB), 100 * MB, Duration::ZERO);
            (judged.level, judged.is_rising)
        };
        assert_eq!(rises(10), (Level::Fine, false));
        assert_eq!(rises(55), (Level::Half, true));
        assert_eq!(rises(60), (Level::Half, false));
        assert_eq!(rises(76), (Level::Near, true));
        assert_eq!(rises(10), (Level::Fine, false));
        assert_eq!(rises(80), (Level::Near, true));
    }

    #[test]
    fn only_a_reader_that_stands_still_is_given_something_to_read() {
        let mut runway = Runway::default();
        let mut verdict = |behind: u64, written: u64, active: bool| {
            let mut state = log(MB, written * MB);
            state.unconfirmed_bytes = Some(behind * MB);
            state.active = active;
            runway.judge(&state, 1000 * MB, Duration::ZERO).verdict
        };
        assert_eq!(verdict(5, 100, true), Verdict::Keep);
        assert_eq!(verdict(10, 105, true), Verdict::Beat);
        assert_eq!(verdict(10, 110, true), Verdict::Keep, "it moved");
        assert_eq!(verdict(20, 120, false), Verdict::Keep, "nobody reads");
        assert_eq!(verdict(0, 120, true), Verdict::Keep);
    }
}

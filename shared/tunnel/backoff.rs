//! How long to wait before dialling again: full jitter, so that agents that lost the same relay
//! don't come back in step.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Each wait is uniform between `FLOOR` and a ceiling that doubles up to a cap. Never gives up.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
    random: StdRng,
}

impl Backoff {
    /// Even the luckiest agent waits this long, so that a refused dial is never a busy loop.
    pub const FLOOR: Duration = Duration::from_millis(50);
    /// Ceiling of the first wait.
    pub const BASE: Duration = Duration::from_millis(500);
    /// Ceiling of all later waits: after a long outage an agent is back within half a minute.
    pub const CAP: Duration = Duration::from_secs(30);

    /// With the usual base and cap.
    pub fn new(random: StdRng) -> Self {
        Self::with_bounds(Self::BASE, Self::CAP, random)
    }

    /// Seeded, so that a test can repeat it.
    pub fn seeded(seed: u64) -> Self {
        Self::new(StdRng::seed_from_u64(seed))
    }

    pub fn with_bounds(base: Duration, cap: Duration, random: StdRng) -> Self {
        Self {
            base,
            cap,
            attempts: 0,
            random,
        }
    }

    /// The wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = self
            .base
            .saturating_mul(1u32.checked_shl(self.attempts).unwrap_or(u32::MAX));
        let ceiling = doubled.min(self.cap).max(Self::FLOOR);
        self.attempts = self.attempts.saturating_add(1).min(31);
        self.random.random_range(Self::FLOOR..=ceiling)
    }

    /// The wait after a goodbye that named a delay: that long, and up to a quarter more.
    pub fn after_hint(&mut self, delay: Duration) -> Duration {
        delay
            + self
                .random
                .random_range(Duration::ZERO..=delay / 4 + Self::FLOOR)
    }

    /// To be called when a session has been good for a while.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_floor_and_cap_and_never_end() {
        let mut backoff = Backoff::seeded(7);
        for _ in 0..10_000 {
            let wait = backoff.next_wait();
            assert!((Backoff::FLOOR..=Backoff::CAP).contains(&wait), "{wait:?}");
        }
    }

    #[test]
    fn the_ceiling_doubles_and_falls_back_after_a_reset() {
        let longest = |attempt: usize| {
            (0..500)
                .map(|seed| {
                    let mut backoff = Backoff::seeded(seed);
                    (0..=attempt).map(|_| backoff.next_wait()).last().unwrap()
                })
                .max()
                .unwrap()
        };
        assert!(longest(0) <= Backoff::BASE);
        assert!(longest(1) > Backoff::BASE && longest(1) <= Backoff::BASE * 2);
        assert!(longest(3) > Backoff::BASE * 4);
        let mut backoff = Backoff::seeded(1);
        for _ in 0..10 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Backoff::BASE);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_others_differ() {
        let waits = |seed| {
            let mut backoff = Backoff::seeded(seed);
            (0..20).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }

    #[test]
    fn a_hint_is_never_undercut() {
        let hint = Duration::from_secs(4);
        let mut backoff = Backoff::seeded(5);
        for _ in 0..100 {
            let wait = backoff.after_hint(hint);
            assert!(wait >= hint && wait <= hint * 2);
        }
    }
}

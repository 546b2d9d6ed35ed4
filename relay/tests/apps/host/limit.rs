//! Rate limits as windows that slide, several at once, with a lock after the first refusal where the
//! app has one.

use std::collections::{HashMap, VecDeque};

use super::clock::Stamp;

/// One bucket that a call counts in.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Told in the refusal.
    pub bucket: &'static str,
    /// Whose bucket: the base, the token, …
    pub whose: String,
    /// Calls allowed in `per_ms`.
    pub max: u32,
    pub per_ms: i64,
    /// After a refusal all further ones are refused for so long; 0: no lock.
    pub lock_ms: i64,
}

#[derive(Debug, Default)]
pub struct Limits {
    buckets: HashMap<(&'static str, String), Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    taken: VecDeque<Stamp>,
    locked_until: Stamp,
}

/// A refusal: which bucket, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub struct Full {
    pub bucket: &'static str,
    pub wait_ms: i64,
}

impl Limits {
    /// Takes one from every bucket, or from none.
    pub fn take(&mut self, charges: &[Charge], now: Stamp) -> Result<(), Full> {
        for charge in charges {
            self.check(charge, now)?;
        }
        for charge in charges {
            self.bucket(charge).taken.push_back(now);
        }
        Ok(())
    }

    /// How many more calls the bucket takes now.
    pub fn left(&mut self, charge: &Charge) -> u32 {
        let taken = u32::try_from(self.bucket(charge).taken.len()).unwrap_or(u32::MAX);
        charge.max.saturating_sub(taken)
    }

    fn check(&mut self, charge: &Charge, now: Stamp) -> Result<(), Full> {
        let bucket = self.bucket(charge);
        let full = |wait_ms| Full {
            bucket: charge.bucket,
            wait_ms,
        };
        if bucket.locked_until > now {
            return Err(full(bucket.locked_until - now));
        }
        while bucket
            .taken
            .front()
            .is_some_and(|at| *at <= now - charge.per_ms)
        {
            bucket.taken.pop_front();
        }
        let room = usize::try_from(charge.max).unwrap_or(usize::MAX);
        if bucket.taken.len() < room {
            return Ok(());
        }
        let frees = bucket.taken.front().map_or(now, |at| at + charge.per_ms);
        if charge.lock_ms > 0 {
            bucket.locked_until = now + charge.lock_ms;
            return Err(full(charge.lock_ms));
        }
        Err(full(frees - now))
    }

    fn bucket(&mut self, charge: &Charge) -> &mut Bucket {
        let key = (charge.bucket, charge.whose.clone());
        self.buckets.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(whose: &str, lock_ms: i64) -> [Charge; 1] {
        [Charge {
            bucket: "base",
            whose: whose.to_owned(),
            max: 2,
            per_ms: 1_000,
            lock_ms,
        }]
    }

    #[test]
    fn window_slides_and_is_counted_for_each_by_itself() {
        let mut limits = Limits::default();
        assert_eq!(limits.take(&charge("a", 0), 0), Ok(()));
        assert_eq!(limits.take(&charge("a", 0), 600), Ok(()));
        let full = Full {
            bucket: "base",
            wait_ms: 100,
        };
        assert_eq!(limits.take(&charge("a", 0), 900), Err(full));
        assert_eq!(limits.take(&charge("b", 0), 900), Ok(()));
        assert_eq!(limits.take(&charge("a", 0), 1_000), Ok(()));
        assert!(limits.take(&charge("a", 0), 1_001).is_err());
    }

    #[test]
    fn refusal_locks_where_the_app_does() {
        let mut limits = Limits::default();
        for _ in 0..2 {
            assert_eq!(limits.take(&charge("a", 30_000), 0), Ok(()));
        }
        assert!(limits.take(&charge("a", 30_000), 10).is_err());
        assert!(limits.take(&charge("a", 30_000), 30_000).is_err());
        assert_eq!(limits.take(&charge("a", 30_000), 30_010), Ok(()));
    }
}

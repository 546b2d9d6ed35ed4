//! How often strangers may try: one bucket per address and one per token, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Attempts at once from one address. Generous: a rollout pairs many hosts behind one address.
const ADDRESS_BURST: f64 = 60.0;
/// Attempts at once on one token; more than a hundred racing redemptions of it are no accident.
const TOKEN_BURST: f64 = 200.0;
/// Attempts that come back per second.
const REFILL_PER_SECOND: f64 = 1.0;
/// Buckets kept. When all are in use, strangers wait.
const BUCKETS_MAX: usize = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Token([u8; 16]),
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    at: SystemTime,
}

/// Token buckets of the last attempts.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    buckets: HashMap<Key, Bucket>,
}

impl Throttle {
    /// Takes one attempt from this address, and on this token. False when either is empty.
    pub(super) fn take(
        &mut self,
        address: IpAddr,
        token: Option<[u8; 16]>,
        now: SystemTime,
    ) -> bool {
        self.take_one(Key::Address(address), ADDRESS_BURST, now)
            && token.is_none_or(|id| self.take_one(Key::Token(id), TOKEN_BURST, now))
    }

    fn take_one(&mut self, key: Key, burst: f64, now: SystemTime) -> bool {
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&key) {
            // A bucket that is full again says nothing.
            self.buckets
                .retain(|_, bucket| refilled(bucket, now) < ADDRESS_BURST.min(TOKEN_BURST));
            if self.buckets.len() >= BUCKETS_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket {
            level: burst,
            at: now,
        });
        bucket.level = refilled(bucket, now).min(burst);
        bucket.at = now;
        if bucket.level < 1.0 {
            return false;
        }
        bucket.level -= 1.0;
        true
    }
}

fn refilled(bucket: &Bucket, now: SystemTime) -> f64 {
    // A clock that was set back refills nothing.
    let passed = now.duration_since(bucket.at).unwrap_or(Duration::ZERO);
    bucket.level + passed.as_secs_f64() * REFILL_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn an_address_is_slowed_down_and_recovers_while_others_are_not() {
        let mut throttle = Throttle::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let allowed = (0..1000)
            .filter(|_| throttle.take(address(1), None, now))
            .count();
        assert_eq!(allowed, ADDRESS_BURST as usize);
        assert!(throttle.take(address(2), None, now));
        assert!(throttle.take(address(1), None, now + Duration::from_secs(2)));
        let back = now - Duration::from_secs(500);
        let allowed = (0..1000)
            .filter(|_| throttle.take(address(1), None, back))
            .count();
        assert!(allowed <= 1);
    }

    #[test]
    fn a_token_is_slowed_down_over_all_addresses() {
        let mut throttle = Throttle::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let allowed = (0..1000)
            .filter(|n| throttle.take(address(*n), Some([1; 16]), now))
            .count();
        assert_eq!(allowed, TOKEN_BURST as usize);
        assert!(throttle.take(address(5000), Some([2; 16]), now));
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for n in 0..20_000 {
            throttle.take(address(n), None, now);
        }
        assert!(throttle.buckets.len() <= BUCKETS_MAX);
        assert!(!throttle.take(address(30_000), None, now));
        assert!(throttle.take(address(30_000), None, now + Duration::from_secs(100)));
    }
}

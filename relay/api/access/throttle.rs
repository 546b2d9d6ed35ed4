//! How often anybody may try to sign in: by address, and by name, in bounded memory.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::super::Problem;

/// Tries at once from one address; a building may be behind it.
const ADDRESS_BURST: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// Tries at once with one name.
const NAME_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// One more try comes back after this.
const REFILL: Duration = Duration::from_secs(6);
/// Keys kept. Beyond it those that have their whole burst again are forgotten, and if that is not
/// enough, whoever is new waits.
const KEYS_MAX: usize = 10_000;

/// The last tries.
pub(in crate::api) struct Throttle {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    names: DefaultKeyedRateLimiter<String>,
}

impl Default for Throttle {
    fn default() -> Throttle {
        let quota = |burst| {
            let quota = Quota::with_period(REFILL).unwrap_or(Quota::per_minute(burst));
            quota.allow_burst(burst)
        };
        Throttle {
            addresses: RateLimiter::keyed(quota(ADDRESS_BURST)),
            names: RateLimiter::keyed(quota(NAME_BURST)),
        }
    }
}

impl Throttle {
    /// Takes one try, or refuses it.
    pub(super) fn take(&self, address: IpAddr, name: &str) -> Result<(), Problem> {
        if self.addresses.len().max(self.names.len()) >= KEYS_MAX {
            self.addresses.retain_recent();
            self.names.retain_recent();
        }
        let is_full = self.addresses.len().max(self.names.len()) >= KEYS_MAX;
        let passes = !is_full
            && self.addresses.check_key(&address).is_ok()
            && self.names.check_key(&name.to_owned()).is_ok();
        if passes {
            return Ok(());
        }
        let wait = REFILL.as_secs();
        let detail = format!("too many tries to sign in: wait {wait} seconds and try again");
        Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-tries",
            detail,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_name_is_tried_ten_times_from_wherever() {
        let throttle = Throttle::default();
        for n in 0..10 {
            assert!(throttle.take(address(n), "ada").is_ok());
        }
        let refused = throttle.take(address(99), "ada").unwrap_err();
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (429, "too-many-tries")
        );
        assert!(throttle.take(address(99), "grace").is_ok(), "others go on");
    }

    #[test]
    fn one_address_tries_thirty_names() {
        let throttle = Throttle::default();
        for n in 0..30 {
            assert!(throttle.take(address(1), &format!("user{n}")).is_ok());
        }
        assert!(throttle.take(address(1), "another").is_err());
        assert!(throttle.take(address(2), "another").is_ok());
    }
}

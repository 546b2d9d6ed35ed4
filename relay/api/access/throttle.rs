//! How often anybody may try to sign in: by address, and by name, in bounded memory.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
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
        let has_room = self.has_room();
        let passes = has_room
            && self.addresses.check_key(&address).is_ok()
            && self.names.check_key(&name.to_owned()).is_ok();
        told(passes)
    }

    /// Takes one try of somebody who is not named yet, or refuses it.
    pub(super) fn take_from(&self, address: IpAddr) -> Result<(), Problem> {
        told(self.has_room() && self.addresses.check_key(&address).is_ok())
    }

    fn has_room(&self) -> bool {
        if self.addresses.len().max(self.names.len()) >= KEYS_MAX {
            self.addresses.retain_recent();
            self.names.retain_recent();
        }
        self.addresses.len().max(self.names.len()) < KEYS_MAX
    }
}

fn told(passes: bool) -> Result<(), Problem> {
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

/// Who is trying. A proxy on the relay's own host adds at the end of `X-Forwarded-For` whom it
/// speaks for; what stands before is what that one claims. From elsewhere nobody is believed.
pub(super) fn tries_from(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.rsplit(',').next())
        .and_then(|address| address.trim().parse().ok());
    match peer.to_canonical().is_loopback() {
        true => last.unwrap_or(peer),
        false => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_on_this_host_says_whom_it_speaks_for_and_nobody_else_does() {
        let mut headers = HeaderMap::new();
        let local = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(tries_from(local, &headers), local);
        headers.append("x-forwarded-for", "10.9.9.9".parse().unwrap());
        headers.append("x-forwarded-for", "10.8.8.8, 192.0.2.7".parse().unwrap());
        assert_eq!(tries_from(local, &headers), address(7));
        assert_eq!(tries_from(address(1), &headers), address(1));
        headers.append("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(tries_from(local, &headers), local);
    }

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

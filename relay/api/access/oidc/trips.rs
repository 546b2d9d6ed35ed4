//! Sign-ins that are on their way through the provider: what was sent along, to be compared with what
//! comes back. Each comes back once, in the browser in which it began, within some minutes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::store::secret::random_text;

/// Longest way through the provider: somebody looks for a second factor.
pub(super) const LIFE_MS: i64 = 10 * 60 * 1000;
/// Ways that are remembered; beyond it the oldest is forgotten. Each is some 300 bytes.
const TRIPS_MAX: usize = 10_000;

/// What is remembered of one way.
pub(super) struct Trip {
    /// In the browser's cookie.
    pub browser: Zeroizing<String>,
    /// Comes back in the token (OpenID Connect Core 1.0, section 3.1.2.1).
    pub nonce: Zeroizing<String>,
    /// Proves at the end who began (PKCE, RFC 7636).
    pub verifier: Zeroizing<String>,
    /// The page to show afterwards.
    pub to: String,
    /// Whoever is signed in already and wants to come in so, too.
    pub connects: Option<i64>,
    ends_ms: i64,
}

impl Trip {
    pub(super) fn new(to: String, connects: Option<i64>, now_ms: i64) -> Trip {
        Trip {
            browser: random_text(""),
            nonce: random_text(""),
            verifier: random_text(""),
            to,
            connects,
            ends_ms: now_ms + LIFE_MS,
        }
    }

    /// The hash of the verifier that the provider is told at the beginning.
    pub(super) fn challenge(&self) -> String {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.verifier.as_bytes());
        URL_SAFE_NO_PAD.encode(hash)
    }
}

/// All that are on their way, by the `state` that names them.
#[derive(Default)]
pub(in crate::api) struct Trips(Mutex<HashMap<String, Trip>>);

impl Trips {
    /// Remembers one.
    pub(super) fn begin(&self, state: &str, trip: Trip, now_ms: i64) {
        let mut trips = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if trips.len() >= TRIPS_MAX {
            trips.retain(|_, trip| trip.ends_ms > now_ms);
        }
        if trips.len() >= TRIPS_MAX {
            let oldest = trips.iter().min_by_key(|(_, trip)| trip.ends_ms);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                trips.remove(&oldest);
            }
        }
        trips.insert(state.to_owned(), trip);
    }

    /// The one that comes back now, in this browser; it is forgotten, so that it comes back once.
    pub(super) fn end(&self, state: &str, browser: &str, now_ms: i64) -> Option<Trip> {
        let mut trips = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_here = |trip: &Trip| -> bool {
            let same = trip.browser.as_bytes().ct_eq(browser.as_bytes());
            bool::from(same) && trip.ends_ms > now_ms
        };
        // Another browser's must not end it.
        trips.get(state).filter(|trip| is_here(trip))?;
        trips.remove(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(trips: &Trips, now_ms: i64) -> (String, String) {
        let trip = Trip::new("/".into(), None, now_ms);
        let browser = trip.browser.to_string();
        let state = random_text("").to_string();
        trips.begin(&state, trip, now_ms);
        (state, browser)
    }

    #[test]
    fn one_comes_back_once_in_its_browser_and_in_time() {
        let trips = Trips::default();
        let (state, browser) = begin(&trips, 0);
        assert!(trips.end("other", &browser, 1).is_none());
        assert!(trips.end(&state, "other", 1).is_none());
        assert!(trips.end(&state, &browser, LIFE_MS).is_none());
        assert!(trips.end(&state, &browser, LIFE_MS - 1).is_some());
        assert!(trips.end(&state, &browser, 1).is_none());
    }

    #[test]
    fn the_oldest_gives_way_when_there_are_too_many() {
        let trips = Trips::default();
        let first = begin(&trips, 0);
        let second = begin(&trips, 1);
        for now in 2..=TRIPS_MAX as i64 {
            begin(&trips, now);
        }
        assert!(trips.end(&first.0, &first.1, 5).is_none());
        assert!(trips.end(&second.0, &second.1, 5).is_some());
    }

    #[test]
    fn the_challenge_is_the_one_of_the_standard() {
        let mut trip = Trip::new("/".into(), None, 0);
        // RFC 7636, appendix B.
        *trip.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into();
        assert_eq!(
            trip.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}

//! When a certificate is renewed, decided by wall clock. Pure.
//!
//! Timers stop while a host sleeps, so that nothing here counts time: the supervisor asks again
//! before each dial and once a minute. The key stays the same over renewals, because the relay
//! re-issues an expired certificate to the key that it knows.

use std::time::{Duration, SystemTime};

use tidegate_shared::identity::CertificateFacts;

/// How a certificate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing to do before `renew_at`.
    Good,
    /// Still valid, past `renew_at`.
    RenewalDue,
    /// Its start lies ahead: this host's clock is behind.
    NotYetValid,
    /// A session needs a re-issue first.
    Expired,
}

/// When renewal is due: at half of the life, up to a tenth of it later, so that agents paired
/// together don't renew together. `jitter` is uniform in 0..1, the same for one certificate.
pub fn renew_at(facts: &CertificateFacts, jitter: f64) -> SystemTime {
    facts.half_life() + life(facts).mul_f64(jitter.clamp(0.0, 1.0) / 10.0)
}

/// Judges a certificate at `now`.
pub fn standing(facts: &CertificateFacts, jitter: f64, now: SystemTime) -> Standing {
    if now < facts.not_before {
        Standing::NotYetValid
    } else if now >= facts.not_after {
        Standing::Expired
    } else if now >= renew_at(facts, jitter) {
        Standing::RenewalDue
    } else {
        Standing::Good
    }
}

fn life(facts: &CertificateFacts) -> Duration {
    facts
        .not_after
        .duration_since(facts.not_before)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn facts(start: SystemTime) -> CertificateFacts {
        CertificateFacts {
            serial: "1".into(),
            not_before: start,
            not_after: start + HOUR * 72,
            key_pin: [0; 32],
        }
    }

    #[test]
    fn renewal_is_due_at_half_life_with_at_most_a_tenth_of_jitter() {
        let start = SystemTime::UNIX_EPOCH + HOUR * 1000;
        let facts = facts(start);
        assert_eq!(renew_at(&facts, 0.0), start + HOUR * 36);
        let latest = renew_at(&facts, 1.0).duration_since(start).unwrap();
        assert!(
            (latest.as_secs_f64() - 43.2 * 3600.0).abs() < 1.0,
            "{latest:?}"
        );
        let at = |hours: u32| standing(&facts, 0.5, start + HOUR * hours);
        assert_eq!(at(1), Standing::Good);
        assert_eq!(at(41), Standing::RenewalDue);
        assert_eq!(at(72), Standing::Expired);
        assert_eq!(standing(&facts, 0.5, start - HOUR), Standing::NotYetValid);
    }
}

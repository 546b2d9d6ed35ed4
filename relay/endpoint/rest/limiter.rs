//! Keeps calls below the app's bounds, so that it never has to refuse one.
//!
//! A call counts against a bound from when it is sent until the bound's window has passed since its
//! answer: the app has counted it somewhere in between. After a refusal everything is silent for as
//! long as the app asks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::manifest::{CallKind, Limit, LimitScope};

/// All bounds of one connection.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Vec<Limit>,
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    buckets: HashMap<Slot, Bucket>,
    silent_until: Option<Instant>,
}

/// Number of the limit, and the container where it is one's own.
type Slot = (usize, Option<String>);

#[derive(Debug, Default)]
struct Bucket {
    flying: u32,
    answered: VecDeque<Instant>,
    /// How many calls the app allows, as it says itself.
    told: Option<u32>,
}

impl Bucket {
    /// Calls that count by now.
    fn used(&mut self, window: Duration, now: Instant) -> usize {
        while self.answered.front().is_some_and(|at| *at + window <= now) {
            self.answered.pop_front();
        }
        self.flying as usize + self.answered.len()
    }
}

/// Held while a call is under way.
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    slots: Vec<Slot>,
}

impl Limiter {
    pub(super) fn new(limits: Vec<Limit>) -> Limiter {
        Limiter {
            limits,
            state: Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Waits until all bounds let a call of this kind.
    pub(super) async fn permit(&self, kind: CallKind, container: Option<&str>) -> Permit<'_> {
        let slots = self.slots(kind, container);
        loop {
            let changed = self.answered.notified();
            let wait = match self.take(&slots) {
                None => {
                    return Permit {
                        limiter: self,
                        slots,
                    };
                }
                Some(wait) => wait,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// Takes in what an answer's headers say of the bounds of its call: how many calls the app allows,
    /// and how many are left. What others have used counts as if it had been used now.
    pub(super) fn heed(
        &self,
        permit: &Permit<'_>,
        header: impl for<'h> Fn(&'h str) -> Option<u32>,
    ) {
        let now = Instant::now();
        let mut state = self.lock();
        for slot in &permit.slots {
            let limit = &self.limits[slot.0];
            let bucket = state.buckets.entry(slot.clone()).or_default();
            if let Some(calls) = limit.told.as_deref().and_then(&header) {
                bucket.told = Some(calls);
            }
            if let Some(left) = limit.left.as_deref().and_then(&header) {
                let allowed = bucket.told.unwrap_or(limit.calls);
                let spent = allowed.saturating_sub(left) as usize;
                let used = bucket.used(Duration::from_secs(limit.seconds), now);
                let others = spent.saturating_sub(used);
                bucket.answered.extend(std::iter::repeat_n(now, others));
            }
        }
    }

    /// Nothing is sent for so long.
    pub(super) fn silence(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        state.silent_until = state.silent_until.max(Some(until));
    }

    fn slots(&self, kind: CallKind, container: Option<&str>) -> Vec<Slot> {
        let counts = |limit: &Limit| limit.only.is_empty() || limit.only.contains(&kind);
        let limits = self.limits.iter().enumerate();
        limits
            .filter(|(_, limit)| counts(limit))
            .map(|(number, limit)| match limit.per {
                LimitScope::Connection => (number, None),
                LimitScope::Container => (number, container.map(str::to_owned)),
            })
            .collect()
    }

    /// Counts the call, or says how long to wait at most before asking again.
    fn take(&self, slots: &[Slot]) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        let silent = state
            .silent_until
            .and_then(|until| until.checked_duration_since(now));
        let mut wait = silent.filter(|wait| !wait.is_zero());
        for slot in slots {
            let limit = &self.limits[slot.0];
            let window = Duration::from_secs(limit.seconds);
            let bucket = state.buckets.entry(slot.clone()).or_default();
            let allowed = bucket.told.unwrap_or(limit.calls).max(1);
            if bucket.used(window, now) >= allowed as usize {
                // Without an answer there is nothing to wait for but an answer.
                let first = bucket
                    .answered
                    .front()
                    .map_or(window, |at| *at + window - now);
                wait = wait.max(Some(first));
            }
        }
        if wait.is_none() {
            for slot in slots {
                state.buckets.entry(slot.clone()).or_default().flying += 1;
            }
        }
        wait
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.limiter.lock();
        for slot in &self.slots {
            let bucket = state.buckets.entry(slot.clone()).or_default();
            bucket.flying = bucket.flying.saturating_sub(1);
            bucket.answered.push_back(now);
        }
        drop(state);
        self.limiter.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(calls: u32, seconds: u64, per: LimitScope, only: Vec<CallKind>) -> Limit {
        Limit {
            calls,
            seconds,
            per,
            only,
            told: None,
            left: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_holds_more_calls_than_the_bound() {
        let limiter = Limiter::new(vec![limit(5, 1, LimitScope::Connection, vec![])]);
        let mut sent = Vec::new();
        for _ in 0..23 {
            let permit = limiter.permit(CallKind::Read, None).await;
            sent.push(Instant::now());
            tokio::time::sleep(Duration::from_millis(30)).await;
            drop(permit);
        }
        for (first, last) in sent.iter().zip(&sent[5..]) {
            assert!(
                *last - *first >= Duration::from_secs(1),
                "{:?}",
                *last - *first
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_of_other_containers_and_kinds_do_not_count() {
        let limiter = Limiter::new(vec![
            limit(1, 60, LimitScope::Container, vec![]),
            limit(1, 3600, LimitScope::Connection, vec![CallKind::Search]),
        ]);
        let begun = Instant::now();
        drop(limiter.permit(CallKind::Read, Some("a")).await);
        drop(limiter.permit(CallKind::Search, Some("b")).await);
        assert_eq!(Instant::now(), begun);
        drop(limiter.permit(CallKind::Read, Some("b")).await);
        assert!(Instant::now() - begun >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_is_what_the_app_says_and_what_others_use_of_it_counts() {
        let limiter = Limiter::new(vec![Limit {
            told: Some("limit".to_owned()),
            left: Some("left".to_owned()),
            ..limit(3, 60, LimitScope::Connection, vec![])
        }]);
        let call = async |told: Option<u32>, left: Option<u32>| {
            let permit = limiter.permit(CallKind::Read, None).await;
            limiter.heed(&permit, |name| if name == "limit" { told } else { left });
        };
        let begun = Instant::now();
        call(Some(10), Some(9)).await;
        for _ in 0..8 {
            call(None, None).await;
        }
        assert_eq!(Instant::now(), begun);
        // Somebody else has used the tenth, a moment ago at the most.
        tokio::time::sleep(Duration::from_secs(59)).await;
        call(Some(10), Some(0)).await;
        call(None, None).await;
        assert!(Instant::now() - begun >= Duration::from_secs(60));
        // No more than told, though the manifest says so.
        tokio::time::sleep(Duration::from_secs(120)).await;
        let begun = Instant::now();
        call(Some(1), Some(0)).await;
        call(None, None).await;
        assert!(Instant::now() - begun >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_all_are_silent() {
        let limiter = Limiter::new(Vec::new());
        let begun = Instant::now();
        limiter.silence(Duration::from_secs(30));
        drop(limiter.permit(CallKind::Write, None).await);
        assert!(Instant::now() - begun >= Duration::from_secs(30));
    }
}

//! Deletions of an app that tells none: everything is listed now and then, and what is known and no
//! longer listed is asked for by its id.
//!
//! What is known is what this run has scanned, seen and made. A run therefore begins by comparing
//! everything ([`Known::is_whole`]). Pages shift, lists are cut and show a create late; none of that
//! makes a deletion, because the record's own answer decides.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_sync::model::PairId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::clock::Micros;
use super::reading::by_ids;
use super::shape::{Record, Shape};
use super::side::Bound;
use super::whole::Whole;
use crate::endpoint::EndpointError;

/// The records of one run that are there, as far as it knows. Shared by all parts of a side.
#[derive(Debug, Default)]
pub(super) struct Known {
    tables: Mutex<HashMap<PairId, Ids>>,
}

#[derive(Debug, Default)]
struct Ids {
    /// Since when each is known.
    since: HashMap<String, Instant>,
    /// Whether all are among them.
    is_whole: bool,
}

impl Known {
    pub(super) fn note<'a>(&self, pair: PairId, ids: impl Iterator<Item = &'a str>) {
        let now = Instant::now();
        let mut tables = self.lock();
        let known = &mut tables.entry(pair).or_default().since;
        for id in ids {
            if !known.contains_key(id) {
                known.insert(id.to_owned(), now);
            }
        }
    }

    pub(super) fn forget(&self, pair: PairId, id: &str) {
        if let Some(ids) = self.lock().get_mut(&pair) {
            ids.since.remove(id);
        }
    }

    /// All records of the table were noted.
    pub(super) fn note_whole(&self, pair: PairId) {
        self.lock().entry(pair).or_default().is_whole = true;
    }

    pub(super) fn is_whole(&self, pair: PairId) -> bool {
        self.lock().get(&pair).is_some_and(|ids| ids.is_whole)
    }

    /// Which of them have been known since `before` and are not among `listed`.
    fn missing(&self, pair: PairId, listed: &HashSet<String>, before: Instant) -> Vec<String> {
        let tables = self.lock();
        let known = tables.get(&pair).into_iter().flat_map(|ids| &ids.since);
        let missing = known.filter(|(id, since)| **since < before && !listed.contains(*id));
        missing.map(|(id, _)| id.clone()).collect()
    }

    fn has(&self, pair: PairId, id: &str) -> bool {
        self.lock()
            .get(&pair)
            .is_some_and(|ids| ids.since.contains_key(id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PairId, Ids>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sweeps again and again beside the looks, and holds what they found until the horizon has passed it.
pub(super) struct Sweeper {
    bound: Arc<Bound>,
    every: Duration,
    next: Instant,
    running: JoinSet<Result<Swept, EndpointError>>,
    found: HashMap<(PairId, String), Record>,
}

struct Swept {
    found: Vec<(PairId, Record)>,
    took: Duration,
}

impl Sweeper {
    /// `None` where the app tells deletions.
    pub(super) fn new(bound: &Arc<Bound>) -> Option<Sweeper> {
        let changes = &bound.client.manifest.changes;
        let every = changes.sweep_every_s.filter(|_| !changes.tells_deletions)?;
        Some(Sweeper {
            bound: Arc::clone(bound),
            every: Duration::from_secs(every),
            next: Instant::now() + Duration::from_secs(every),
            running: JoinSet::new(),
            found: HashMap::new(),
        })
    }

    /// Takes in what a sweep has found, and begins the next when it is time.
    pub(super) fn poll(&mut self) -> Result<(), EndpointError> {
        while let Some(ended) = self.running.try_join_next() {
            let swept = ended.map_err(|error| {
                EndpointError::bug("sweep-ended", "a sweep ended by itself").caused_by(error)
            })??;
            for (pair, record) in swept.found {
                self.found.insert((pair, record.id.clone()), record);
            }
            self.next = Instant::now() + self.every.max(swept.took * limits::SHARE);
        }
        if self.running.is_empty() && Instant::now() >= self.next {
            self.running.spawn(sweep(Arc::clone(&self.bound)));
        }
        Ok(())
    }

    /// A look has seen the record: it tells of it by itself.
    pub(super) fn seen(&mut self, pair: PairId, id: &str) {
        self.found.remove(&(pair, id.to_owned()));
    }

    /// What can be told now.
    pub(super) fn due(&mut self, horizon: Micros) -> Vec<(PairId, Record)> {
        let due = self.found.extract_if(|_, record| record.stamp <= horizon);
        due.map(|((pair, _), record)| (pair, record)).collect()
    }
}

async fn sweep(bound: Arc<Bound>) -> Result<Swept, EndpointError> {
    let began = Instant::now();
    let mut found = Vec::new();
    for shape in &bound.shapes {
        found.extend(sweep_table(&bound, shape).await?);
    }
    Ok(Swept {
        found,
        took: began.elapsed(),
    })
}

/// What is gone, and what came back without a new stamp. Each has the stamp of when that was seen.
async fn sweep_table(bound: &Bound, shape: &Shape) -> Result<Vec<(PairId, Record)>, EndpointError> {
    let (client, pair) = (&bound.client, shape.pair);
    // What was known only just now, lists may not show yet.
    let lag = Duration::from_millis(client.manifest.changes.lag_ms);
    let before = Instant::now().checked_sub(lag);
    let mut whole = Whole::new(client, shape);
    let mut listed = HashSet::new();
    let mut found = Vec::new();
    while let Some(records) = whole.next().await? {
        for record in records {
            listed.insert(record.id.clone());
            if !bound.known.has(pair, &record.id) {
                found.push(record);
            }
        }
    }
    bound
        .known
        .note(pair, found.iter().map(|record| record.id.as_str()));
    let missing = before.map_or_else(Vec::new, |before| {
        bound.known.missing(pair, &listed, before)
    });
    let ids: Vec<&str> = missing.iter().map(String::as_str).collect();
    let there = by_ids(client, shape, &ids).await?;
    for id in ids.into_iter().filter(|id| !there.contains_key(*id)) {
        bound.known.forget(pair, id);
        found.push(Record::gone(id));
    }
    let stamp = bound.fence();
    let stamped = found
        .into_iter()
        .map(|record| (pair, Record { stamp, ..record }));
    Ok(stamped.collect())
}

mod limits {
    /// A sweep begins when so many times its length have passed: it takes a tenth of the calls.
    pub(super) const SHARE: u32 = 9;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_while_a_list_was_read_is_not_missing_in_it() {
        let known = Known::default();
        let pair = PairId(1);
        known.note(pair, ["listed", "deleted"].into_iter());
        let before = Instant::now() + Duration::from_millis(1);
        let listed = HashSet::from(["listed".to_owned()]);
        assert_eq!(known.missing(pair, &listed, before), ["deleted"]);
        let earlier = Instant::now() - Duration::from_secs(1);
        assert!(known.missing(pair, &listed, earlier).is_empty());
        known.forget(pair, "deleted");
        assert!(known.missing(pair, &listed, before).is_empty());
        assert!(!known.is_whole(pair));
    }
}

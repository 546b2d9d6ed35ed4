//! Deletions of an app that tells none: everything is listed now and then, and what is known and no
//! longer listed is asked for by its id. So is what a list of deleted records names, if there is one.
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
use super::manifest::CallKind;
use super::pages::{Listing, Pages};
use super::path;
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
    records: HashMap<String, Noted>,
    /// Whether all are among them.
    is_whole: bool,
}

/// What is known of one record.
#[derive(Clone, Copy, Debug)]
struct Noted {
    since: Instant,
    /// Stands for its match key.
    name: Option<u64>,
    is_gone: bool,
}

impl Known {
    /// Ids, and what stands for their match keys ([`Shape::named`]).
    pub(super) fn note<'a>(
        &self,
        pair: PairId,
        records: impl Iterator<Item = (&'a str, Option<u64>)>,
    ) {
        let now = Instant::now();
        let mut tables = self.lock();
        let known = &mut tables.entry(pair).or_default().records;
        for (id, name) in records {
            let there = known.get(id).filter(|known| !known.is_gone);
            let noted = Noted {
                since: there.map_or(now, |known| known.since),
                name,
                is_gone: false,
            };
            known.insert(id.to_owned(), noted);
        }
    }

    pub(super) fn forget(&self, pair: PairId, id: &str) {
        let mut tables = self.lock();
        let known = tables
            .get_mut(&pair)
            .and_then(|ids| ids.records.get_mut(id));
        if let Some(noted) = known {
            noted.is_gone = true;
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
        let known = tables.get(&pair).into_iter().flat_map(|ids| &ids.records);
        let missing = known
            .filter(|(id, noted)| !noted.is_gone && noted.since < before && !listed.contains(*id));
        missing.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn has(&self, pair: PairId, id: &str) -> bool {
        self.noted(pair, id).is_some_and(|noted| !noted.is_gone)
    }

    /// What stands for the match key that a record has, or had before it was gone.
    pub(super) fn match_name(&self, pair: PairId, id: &str) -> Option<u64> {
        self.noted(pair, id)?.name
    }

    fn noted(&self, pair: PairId, id: &str) -> Option<Noted> {
        self.lock().get(&pair)?.records.get(id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PairId, Ids>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sweeps again and again beside the looks, and holds what they found until the horizon has passed it.
pub(super) struct Sweeper {
    bound: Arc<Bound>,
    jobs: Vec<Job>,
    running: JoinSet<Result<Swept, EndpointError>>,
    found: HashMap<(PairId, String), Record>,
}

/// What is done again and again.
struct Job {
    what: What,
    every: Duration,
    next: Instant,
    is_running: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Everything is listed.
    All,
    /// Deleted records are.
    Gone,
}

struct Swept {
    what: What,
    found: Vec<(PairId, Record)>,
    took: Duration,
}

impl Sweeper {
    /// `None` where the app tells deletions.
    pub(super) fn new(bound: &Arc<Bound>) -> Option<Sweeper> {
        let changes = &bound.client.manifest.changes;
        let every_s = changes.sweep_every_s.filter(|_| !changes.tells_deletions)?;
        let job = |what, every_s| Job {
            what,
            every: Duration::from_secs(every_s),
            next: Instant::now() + Duration::from_secs(every_s),
            is_running: false,
        };
        let mut jobs = vec![job(What::All, every_s)];
        jobs.extend(
            changes
                .gone
                .as_ref()
                .map(|gone| job(What::Gone, gone.every_s)),
        );
        Some(Sweeper {
            bound: Arc::clone(bound),
            jobs,
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
                self.take(pair, record);
            }
            for job in self.jobs.iter_mut().filter(|job| job.what == swept.what) {
                job.next = Instant::now() + job.every.max(swept.took * limits::SHARE);
                job.is_running = false;
            }
        }
        for job in &mut self.jobs {
            if !job.is_running && Instant::now() >= job.next {
                job.is_running = true;
                self.running.spawn(sweep(Arc::clone(&self.bound), job.what));
            }
        }
        Ok(())
    }

    /// Of what a look has told while the sweep went on there is nothing more to tell.
    fn take(&mut self, pair: PairId, record: Record) {
        let known = &self.bound.known;
        if known.has(pair, &record.id) != record.is_deleted {
            return;
        }
        if record.is_deleted {
            known.forget(pair, &record.id);
        }
        self.found.insert((pair, record.id.clone()), record);
    }

    /// A look tells of the record by itself. Whether it waited here.
    pub(super) fn seen(&mut self, pair: PairId, id: &str) -> bool {
        self.found.remove(&(pair, id.to_owned())).is_some()
    }

    /// What can be told now.
    pub(super) fn due(&mut self, horizon: Micros) -> Vec<(PairId, Record)> {
        let due = self.found.extract_if(|_, record| record.stamp <= horizon);
        due.map(|((pair, _), record)| (pair, record)).collect()
    }
}

async fn sweep(bound: Arc<Bound>, what: What) -> Result<Swept, EndpointError> {
    let began = Instant::now();
    let mut found = Vec::new();
    for shape in &bound.shapes {
        found.extend(match what {
            What::All => sweep_table(&bound, shape).await?,
            What::Gone => sweep_gone(&bound, shape).await?,
        });
    }
    Ok(Swept {
        what,
        found,
        took: began.elapsed(),
    })
}

/// What the list of deleted records names, was known, and is not there. Each has the stamp of when
/// that was seen.
async fn sweep_gone(bound: &Bound, shape: &Shape) -> Result<Vec<(PairId, Record)>, EndpointError> {
    let client = &bound.client;
    let Some(gone) = &client.manifest.changes.gone else {
        return Ok(Vec::new());
    };
    let listing = Listing {
        request: &gone.request,
        items: &gone.items,
        paging: &gone.paging,
        size: client.manifest.list.page,
        kind: CallKind::Read,
    };
    let container = shape.place.container();
    let mut pages = Pages::new(client, container, listing, shape.variables());
    let mut named = Vec::new();
    while let Some(page) = pages.next().await? {
        let ids = page.items.iter();
        let ids = ids.filter_map(|item| path::text(item, &client.manifest.record.id));
        named.extend(ids.filter(|id| bound.known.has(shape.pair, id)));
    }
    missing_of(bound, shape, named).await
}

/// Those of the known records that are not there. They are known until that is told of.
pub(super) async fn missing_of(
    bound: &Bound,
    shape: &Shape,
    ids: Vec<String>,
) -> Result<Vec<(PairId, Record)>, EndpointError> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let there = by_ids(&bound.client, shape, &ids).await?;
    let gone: Vec<&str> = ids
        .into_iter()
        .filter(|id| !there.contains_key(*id))
        .collect();
    let stamp = bound.fence();
    let gone = gone.into_iter().map(|id| {
        let record = Record::gone(id);
        (shape.pair, Record { stamp, ..record })
    });
    Ok(gone.collect())
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
    let missing = before.map_or_else(Vec::new, |before| {
        bound.known.missing(pair, &listed, before)
    });
    let gone = missing_of(bound, shape, missing).await?;
    let stamp = bound.fence();
    let back = found.into_iter();
    let back = back.map(|record| (pair, Record { stamp, ..record }));
    Ok(back.chain(gone).collect())
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
        let named = [("listed", Some(1)), ("deleted", Some(2))];
        known.note(pair, named.into_iter());
        let before = Instant::now() + Duration::from_millis(1);
        let listed = HashSet::from(["listed".to_owned()]);
        assert_eq!(known.missing(pair, &listed, before), ["deleted"]);
        let earlier = Instant::now() - Duration::from_secs(1);
        assert!(known.missing(pair, &listed, earlier).is_empty());
        known.forget(pair, "deleted");
        assert!(known.missing(pair, &listed, before).is_empty());
        assert!(!known.is_whole(pair));
        // What it was called is remembered.
        assert!(!known.has(pair, "deleted"));
        assert_eq!(known.match_name(pair, "deleted"), Some(2));
        known.note(pair, named.into_iter());
        assert!(known.has(pair, "deleted"));
    }
}

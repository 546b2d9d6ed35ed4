//! Polls an app for changes: lists of what was modified, or the app's own log.
//!
//! A look tells each changed record once, as it is, up to the *horizon*: as far as lists show
//! everything for certain, and never within one of our own batches. The horizon is the position. What
//! is newer is told when a later look's horizon has passed it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_sync::model::{BatchId, Change, ChangeKind, Key, PairId, Position};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::clock::Micros;
use super::log::{self, News, Spots, Touch};
use super::manifest::{Changes, Log, Request};
use super::merged::tell_merged;
use super::modified::{Asked, Seen, limits, modified};
use super::reading::by_ids;
use super::shape::{Record, Shape};
use super::side::Bound;
use super::sweep::Sweeper;
use crate::endpoint::{Capture, Captured, EndpointError};

/// Looks go on where their caller gives up waiting: none of their calls is made twice, and what one
/// has told is not lost.
pub(super) struct RestCapture {
    /// Between two looks.
    looks: Option<Looks>,
    looking: Option<AbortOnDropHandle<(Looks, Result<Captured, EndpointError>)>>,
}

struct Looks {
    bound: Arc<Bound>,
    position: Position,
    /// The first position that is told must be at or after whatever a scan may have read.
    first: Option<Micros>,
    next_look: Instant,
    /// Where the app tells no deletions.
    sweeper: Option<Sweeper>,
    told: Told,
}

/// What was told of the time in which more may show late: stamps by record.
#[derive(Debug, Default)]
pub(super) struct Told {
    stamps: HashMap<(PairId, String), Micros>,
}

impl Told {
    /// Whether this change of the record, or a later one, was told.
    pub(super) fn has(&self, pair: PairId, record: &Record) -> bool {
        let stamp = self.stamps.get(&(pair, record.id.clone()));
        stamp.is_some_and(|stamp| *stamp >= record.stamp)
    }

    fn note(&mut self, pair: PairId, record: &Record) {
        self.stamps.insert((pair, record.id.clone()), record.stamp);
    }

    /// What is older is asked for no more.
    fn forget(&mut self, before: Micros) {
        self.stamps.retain(|_, stamp| *stamp >= before);
    }
}

impl RestCapture {
    pub(super) fn new(bound: Arc<Bound>, position: &Position) -> RestCapture {
        RestCapture {
            looks: Some(Looks {
                first: Some(bound.fence()),
                sweeper: Sweeper::new(&bound),
                bound,
                position: position.clone(),
                next_look: Instant::now(),
                told: Told::default(),
            }),
            looking: None,
        }
    }
}

impl Looks {
    /// Looks until there is something to tell.
    async fn next(&mut self) -> Result<Captured, EndpointError> {
        loop {
            tokio::time::sleep_until(self.next_look).await;
            let captured = self.look().await?;
            if captured.changes.len() < limits::RECORDS {
                let every = self.bound.client.manifest.changes.every_ms;
                self.next_look = Instant::now() + Duration::from_millis(every);
            }
            if let Some(end) = &captured.end {
                self.position = end.clone();
                self.first = None;
                return Ok(captured);
            }
        }
    }

    async fn look(&mut self) -> Result<Captured, EndpointError> {
        let bound = Arc::clone(&self.bound);
        let manifest = &bound.client.manifest;
        match (&manifest.log, &manifest.changes.request) {
            (Some(log), _) => self.look_at_log(log).await,
            (None, Some(request)) => {
                let changes = &manifest.changes;
                self.look_at_lists(&bound, changes, request).await
            }
            (None, None) => {
                let text = "the manifest does not say how changes are found";
                Err(EndpointError::bug("no-changes", text))
            }
        }
    }

    async fn look_at_lists(
        &mut self,
        bound: &Bound,
        changes: &Changes,
        request: &Request,
    ) -> Result<Captured, EndpointError> {
        if let Some(sweeper) = &mut self.sweeper {
            sweeper.poll()?;
        }
        let asked = Asked {
            changes,
            request,
            after: self.position.offset,
            told: &self.told,
            is_far: &|until| self.horizon(until).is_some(),
        };
        let mut seen = Vec::new();
        for shape in &bound.shapes {
            seen.push(modified(bound, shape, &asked).await?);
        }
        let until = seen.iter().map(|seen| seen.until).min();
        let Some(horizon) = self.horizon(until.unwrap_or_else(|| self.bound.shown())) else {
            return Ok(Captured::default());
        };
        let from = self.position.offset;
        let mut told = Vec::new();
        for Seen {
            shape, mut records, ..
        } in seen
        {
            records.retain(|record| record.stamp <= horizon);
            let merged = tell_merged(bound, shape, &mut records, &mut self.sweeper).await?;
            self.note(shape, &records);
            for mut record in records.into_iter().chain(merged) {
                if changes.late_ms > 0 {
                    self.told.note(shape.pair, &record);
                }
                record.told_at = record.stamp.max(from + 1);
                told.push((shape, record));
            }
        }
        let asked_again = changes.late_ms * 1_000;
        self.told.forget(horizon.saturating_sub(asked_again));
        for (shape, mut record) in self.swept(bound, horizon).await? {
            record.stamp = record.stamp.max(from + 1);
            told.push((shape, record));
        }
        Ok(self.captured(told, horizon, String::new()))
    }

    /// A look tells of the new ones by itself.
    fn note(&mut self, shape: &Shape, records: &[Record]) {
        let Some(sweeper) = &mut self.sweeper else {
            return;
        };
        let there = records.iter().filter(|record| !record.is_deleted);
        let named = there.clone().map(|record| shape.named(record));
        self.bound.known.note(shape.pair, named);
        for record in there {
            sweeper.seen(shape.pair, &record.id);
        }
    }

    /// What sweeps found, where it is still so: a sweep may have read a record long before this, and
    /// whatever was written to it since must not be undone. What is newer, a look will tell.
    async fn swept<'b>(
        &mut self,
        bound: &'b Bound,
        horizon: Micros,
    ) -> Result<Vec<(&'b Shape, Record)>, EndpointError> {
        let due = self.sweeper.as_mut();
        let due = due.map_or_else(Vec::new, |sweeper| sweeper.due(horizon));
        let mut told = Vec::new();
        for shape in &bound.shapes {
            let of_table = due.iter().filter(|(pair, _)| *pair == shape.pair);
            let found: Vec<&Record> = of_table.map(|(_, record)| record).collect();
            let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
            let mut there = by_ids(&bound.client, shape, &ids).await?;
            let mut back = Vec::new();
            for record in found {
                match there.remove(&record.id) {
                    None if record.is_deleted => told.push((shape, record.clone())),
                    None => {}
                    // It was not gone, and nothing was told of it.
                    Some(now) if record.is_deleted => {
                        let named = [shape.named(&now)];
                        bound.known.note(shape.pair, named.into_iter());
                    }
                    Some(now) if now.stamp <= horizon => back.push(Record {
                        stamp: record.stamp,
                        ..now
                    }),
                    Some(_) => {}
                }
            }
            let merged = tell_merged(bound, shape, &mut back, &mut self.sweeper).await?;
            self.note(shape, &back);
            told.extend(back.into_iter().chain(merged).map(|record| (shape, record)));
        }
        Ok(told)
    }

    /// Records that the log names are read as they are now. One that it names again meanwhile waits
    /// for the horizon to pass that, too: nothing newer than the horizon is told.
    async fn look_at_log(&self, log: &Log) -> Result<Captured, EndpointError> {
        let Some(spots) = Spots::parse(&self.position.cursor) else {
            let text = "a position without its place in the app's log of changes";
            return Err(EndpointError::bug("no-log-position", text));
        };
        let until = self.bound.shown();
        let news = log::read(&self.bound, log, &spots).await?;
        let Some(horizon) = self.horizon(until) else {
            return Ok(Captured::default());
        };
        let horizon = self.affordable(&news, horizon);
        let mut told = Vec::new();
        for shape in &self.bound.shapes {
            let due: Vec<(&str, Touch)> = news.due(shape, horizon).collect();
            let there = due.iter().filter(|(_, touch)| !touch.is_gone);
            let ids: Vec<&str> = there.map(|(id, _)| *id).collect();
            let mut found = by_ids(&self.bound.client, shape, &ids).await?;
            for (id, touch) in due {
                let mut record = found.remove(id).unwrap_or_else(|| Record::gone(id));
                // An entry may come later than those of its time.
                record.stamp = touch.time.max(self.position.offset + 1).min(horizon);
                told.push((shape, record));
            }
        }
        if !told.is_empty() {
            let later = log::read(&self.bound, log, &spots.after(&news, Micros::MAX)).await?;
            told.retain(|(shape, record)| !later.tells_of(shape, &record.id));
        }
        let cursor = spots.after(&news, horizon).text();
        Ok(self.captured(told, horizon, cursor))
    }

    /// The horizon, or an earlier one where it has passed more than can be held.
    fn affordable(&self, news: &News, horizon: Micros) -> Micros {
        let shapes = self.bound.shapes.iter();
        let times = shapes.flat_map(|shape| news.due(shape, horizon));
        let mut times: Vec<Micros> = times.map(|(_, touch)| touch.time).collect();
        if times.len() <= limits::RECORDS || self.first.is_some() {
            return horizon;
        }
        times.sort_unstable();
        let earlier = self.bound.batches.outside(times[limits::RECORDS]);
        match earlier > self.position.offset {
            true => earlier,
            false => horizon,
        }
    }

    /// How far can be told, if it is farther than what was.
    fn horizon(&self, until: Micros) -> Option<Micros> {
        let horizon = self.bound.batches.outside(until);
        let is_early = self.first.is_some_and(|first| horizon < first);
        (!is_early && horizon > self.position.offset).then_some(horizon)
    }

    fn captured(&self, told: Vec<(&Shape, Record)>, horizon: Micros, cursor: String) -> Captured {
        let passed = self.bound.batches.passed(horizon).max(self.position.passed);
        let told = told.into_iter();
        let mut changes: Vec<Change> = told
            .map(|(shape, record)| change(shape, record, passed))
            .collect();
        changes.sort_by_key(Change::place);
        Captured {
            changes,
            end: Some(Position {
                offset: horizon,
                passed,
                cursor,
            }),
            ..Captured::default()
        }
    }
}

#[async_trait]
impl Capture for RestCapture {
    async fn next(&mut self) -> Result<Captured, EndpointError> {
        if let Some(mut looks) = self.looks.take() {
            let looking = tokio::spawn(async move {
                let captured = looks.next().await;
                (looks, captured)
            });
            self.looking = Some(AbortOnDropHandle::new(looking));
        }
        let ended =
            || EndpointError::bug("looks-ended", "the looks at the app ended by themselves");
        let looking = self.looking.as_mut().ok_or_else(ended)?;
        let looked = looking.await;
        self.looking = None;
        let (looks, captured) = looked.map_err(|error| ended().caused_by(error))?;
        self.looks = Some(looks);
        captured
    }

    fn acknowledge(&self, _position: &Position) {
        // An app keeps nothing for us.
    }
}

fn change(shape: &Shape, record: Record, passed: BatchId) -> Change {
    Change {
        pair: shape.pair,
        key: record.key(),
        old_key: record.former.clone().map(Key::single),
        time: record.time(),
        offset: record.told_at.max(record.stamp),
        at: 0,
        passed,
        ours: false,
        kind: match record.is_deleted {
            true => ChangeKind::Gone,
            false => ChangeKind::Present {
                row: record.row,
                inserted: false,
            },
        },
    }
}

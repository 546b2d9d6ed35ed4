//! Polls an app for changes: lists of what was modified, or the app's own log.
//!
//! A look tells each changed record once, as it is, up to the *horizon*: as far as lists show
//! everything for certain, and never within one of our own batches. The horizon is the position. What
//! is newer is told when a later look's horizon has passed it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_sync::model::{BatchId, Change, ChangeKind, PairId, Position};
use tokio::time::Instant;

use super::clock::Micros;
use super::log::{self, News, Spots, Touch};
use super::manifest::{Changes, Log, Request};
use super::pages::{Listing, Page, Pages};
use super::path;
use super::reading::by_ids;
use super::shape::{Record, Shape, moment, moment_text};
use super::side::Bound;
use super::sweep::Sweeper;
use crate::endpoint::{Capture, Captured, EndpointError};

pub(super) struct RestCapture {
    bound: Arc<Bound>,
    position: Position,
    /// The first position that is told must be at or after whatever a scan may have read.
    first: Option<Micros>,
    next_look: Instant,
    /// Where the app tells no deletions.
    sweeper: Option<Sweeper>,
}

/// What one table's list told.
struct Seen<'a> {
    shape: &'a Shape,
    records: Vec<Record>,
    /// Everything up to here is among them.
    until: Micros,
}

impl RestCapture {
    pub(super) fn new(bound: Arc<Bound>, position: &Position) -> RestCapture {
        RestCapture {
            first: Some(bound.fence()),
            sweeper: Sweeper::new(&bound),
            bound,
            position: position.clone(),
            next_look: Instant::now(),
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
        let mut seen = Vec::new();
        for shape in &bound.shapes {
            seen.push(self.changed(shape, changes, request).await?);
        }
        let until = seen.iter().map(|seen| seen.until).min();
        let Some(horizon) = self.horizon(until.unwrap_or_else(|| self.bound.shown())) else {
            return Ok(Captured::default());
        };
        let from = self.position.offset;
        let mut told = Vec::new();
        for Seen { shape, records, .. } in seen {
            self.note(shape, &records);
            let records = records.into_iter();
            let due = records.filter(|record| from < record.stamp && record.stamp <= horizon);
            told.extend(due.map(|record| (shape, record)));
        }
        for (pair, mut record) in self.swept(horizon) {
            record.stamp = record.stamp.max(from + 1);
            told.push((bound.shape(pair)?, record));
        }
        Ok(self.captured(told, horizon, String::new()))
    }

    /// A look tells of the new ones by itself.
    fn note(&mut self, shape: &Shape, records: &[Record]) {
        let Some(sweeper) = &mut self.sweeper else {
            return;
        };
        let from = self.position.offset;
        let is_new = |record: &&Record| !record.is_deleted && record.stamp > from;
        let there = records.iter().filter(is_new);
        let ids = there.map(|record| record.id.as_str());
        ids.clone().for_each(|id| sweeper.seen(shape.pair, id));
        self.bound.known.note(shape.pair, ids);
    }

    fn swept(&mut self, horizon: Micros) -> Vec<(PairId, Record)> {
        let sweeper = self.sweeper.as_mut();
        sweeper.map_or_else(Vec::new, |sweeper| sweeper.due(horizon))
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

    /// The records of one table that changed since the position.
    async fn changed<'a>(
        &self,
        shape: &'a Shape,
        changes: &Changes,
        request: &Request,
    ) -> Result<Seen<'a>, EndpointError> {
        let client = &self.bound.client;
        let (form, list) = (client.manifest.record.modified_as, &client.manifest.list);
        let mut until = self.bound.shown();
        let listing = Listing {
            request,
            items: &changes.items,
            paging: &changes.paging,
            size: list.page,
        };
        let since = moment_text(form, self.position.offset);
        let variables = shape.place.variables().with("since", since);
        let mut pages = Pages::new(client, shape.place.container(), listing, variables);
        let mut records: Vec<Record> = Vec::new();
        let (mut is_first, mut is_cut) = (true, false);
        while let Some(page) = pages.next().await? {
            if is_first && let Some(stamp) = table_stamp(changes, &page) {
                until = until.max(moment(form, stamp).unwrap_or(0));
            }
            is_first = false;
            let window = list.window.as_ref();
            is_cut |= window.is_some_and(|window| path::shows(&page.answer.body, &window.cut));
            for item in &page.items {
                records.push(shape.record(&client.manifest, item)?);
            }
            if changes.in_order && records.len() >= limits::RECORDS {
                // Others may have the last one's stamp. Where all have, the position would stay.
                let last = records.last().map_or(0, |record| record.stamp);
                let before = last.saturating_sub(1);
                if before > self.position.offset {
                    (until, is_cut) = (until.min(before), false);
                    break;
                }
            }
        }
        if is_cut {
            let text = format!(
                "more of {} was changed at once than {} shows: everything is compared",
                shape.label, client.manifest.title
            );
            return Err(EndpointError::retry("changes-cut", text));
        }
        Ok(Seen {
            shape,
            records,
            until,
        })
    }
}

#[async_trait]
impl Capture for RestCapture {
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

    fn acknowledge(&self, _position: &Position) {
        // An app keeps nothing for us.
    }
}

/// What the list's header says of its table as a whole.
fn table_stamp<'a>(changes: &Changes, page: &'a Page) -> Option<&'a str> {
    let header = page.answer.header(changes.table_stamp.as_ref()?)?;
    Some(header.trim_start_matches("W/").trim_matches('"'))
}

fn change(shape: &Shape, record: Record, passed: BatchId) -> Change {
    Change {
        pair: shape.pair,
        key: record.key(),
        old_key: None,
        time: record.time(),
        offset: record.stamp,
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

mod limits {
    /// Records of one look that are held at once, where the app tells the oldest first.
    pub(super) const RECORDS: usize = 5_000;
}

//! The records of one table that were modified since a position, as far as lists show them.

use std::collections::HashMap;

use super::capture::Told;
use super::clock::Micros;
use super::manifest::{CallKind, Changes, Request};
use super::pages::{Listing, Page, Pages};
use super::path;
use super::reading::by_ids;
use super::shape::{Record, Shape, moment, moment_text};
use super::side::Bound;
use crate::endpoint::EndpointError;

/// What one table's list told, and nothing that was told before.
pub(super) struct Seen<'a> {
    pub shape: &'a Shape,
    pub records: Vec<Record>,
    /// Everything up to here is among them.
    pub until: Micros,
}

/// What of the app's changes is asked for.
pub(super) struct Asked<'a> {
    pub changes: &'a Changes,
    pub request: &'a Request,
    /// What was modified after this is new.
    pub after: Micros,
    /// What was told of the time before, of which more may show late.
    pub told: &'a Told,
    /// Whether anything can be told if lists show everything up to a moment. Where not, a list that is
    /// broken off there would be read again and again, always to the same end.
    pub is_far: &'a (dyn Fn(Micros) -> bool + Sync),
}

/// A list under way.
struct Look<'a> {
    bound: &'a Bound,
    asked: &'a Asked<'a>,
    records: Vec<Record>,
    /// Where each of them is.
    places: HashMap<String, usize>,
    until: Micros,
    is_cut: bool,
}

/// Why no more is listed.
enum Next {
    More,
    /// The rest from this stamp on.
    From(Micros),
    Enough,
}

/// What was modified after a position; with `late_ms` also what was modified a little before it and
/// was not shown then.
pub(super) async fn modified<'a>(
    bound: &Bound,
    shape: &'a Shape,
    asked: &Asked<'_>,
) -> Result<Seen<'a>, EndpointError> {
    let Asked { changes, after, .. } = *asked;
    let mut look = Look {
        bound,
        asked,
        records: Vec::new(),
        places: HashMap::new(),
        until: bound.shown(),
        is_cut: false,
    };
    let from = after.saturating_sub(changes.late_ms * 1_000);
    look.list(shape, from).await?;
    if look.is_cut {
        let text = format!(
            "more of {} was changed at once than {} shows: everything is compared",
            shape.label, bound.client.manifest.title
        );
        return Err(EndpointError::retry("changes-cut", text));
    }
    let Look { records, until, .. } = look;
    let is_late = |record: &Record| changes.late_ms > 0 && !asked.told.has(shape.pair, record);
    let is_new = |record: &Record| record.stamp > after || is_late(record);
    let mut records: Vec<Record> = records.into_iter().filter(is_new).collect();
    if changes.reread {
        let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
        records = by_ids(&bound.client, shape, &ids)
            .await?
            .into_values()
            .collect();
    }
    Ok(Seen {
        shape,
        records,
        until,
    })
}

impl Look<'_> {
    async fn list(&mut self, shape: &Shape, from: Micros) -> Result<(), EndpointError> {
        let client = &self.bound.client;
        let manifest = &client.manifest;
        let changes = self.asked.changes;
        let form = changes.since_as.unwrap_or(manifest.record.modified_as);
        let listing = Listing {
            request: self.asked.request,
            items: &changes.items,
            paging: &changes.paging,
            size: changes.page.unwrap_or(manifest.list.page),
            kind: match changes.searches {
                true => CallKind::Search,
                false => CallKind::Read,
            },
        };
        let mut since = from;
        'lists: loop {
            let variables = shape.variables().with("since", moment_text(form, since));
            let mut pages = Pages::new(client, shape.place.container(), listing, variables);
            let mut count = 0;
            while let Some(page) = pages.next().await? {
                count += page.items.len();
                self.stamp(count == page.items.len(), &page);
                let last = self.take(shape, &page)?;
                let is_full = page.items.len() >= listing.size as usize;
                match self.next(since, last, count, is_full) {
                    Next::More => {}
                    Next::From(stamp) => {
                        since = stamp;
                        continue 'lists;
                    }
                    Next::Enough => return Ok(()),
                }
            }
            return Ok(());
        }
    }

    /// What the first page's header says of its table as a whole.
    fn stamp(&mut self, is_first: bool, page: &Page) {
        let form = self.bound.client.manifest.record.modified_as;
        let header = self.asked.changes.table_stamp.as_ref();
        let stamp = header.and_then(|header| page.answer.header(header));
        if let Some(stamp) = stamp.filter(|_| is_first) {
            let stamp = stamp.trim_start_matches("W/").trim_matches('"');
            self.until = self.until.max(moment(form, stamp).unwrap_or(0));
        }
    }

    /// Takes the page's records in, each once; answers the last one's stamp.
    fn take(&mut self, shape: &Shape, page: &Page) -> Result<Micros, EndpointError> {
        let manifest = &self.bound.client.manifest;
        let window = manifest.list.window.as_ref();
        self.is_cut |= window.is_some_and(|window| path::shows(&page.answer.body, &window.cut));
        let mut last = 0;
        for item in &page.items {
            let record = shape.record(manifest, item)?;
            last = record.stamp;
            match self.places.get(&record.id) {
                Some(place) => self.records[*place] = record,
                None => {
                    self.places.insert(record.id.clone(), self.records.len());
                    self.records.push(record);
                }
            }
        }
        Ok(last)
    }

    fn next(&mut self, since: Micros, last: Micros, count: usize, is_full: bool) -> Next {
        let changes = self.asked.changes;
        if changes.in_order && self.records.len() >= limits::RECORDS {
            // Others may have the last one's stamp. Where all have, the position would stay.
            let before = last.saturating_sub(1);
            if (self.asked.is_far)(before) {
                (self.until, self.is_cut) = (self.until.min(before), false);
                return Next::Enough;
            }
        }
        if changes.shifting && is_full && last > since {
            return Next::From(last);
        }
        if changes
            .cap
            .is_some_and(|cap| is_full && count >= cap as usize)
        {
            self.is_cut = true;
            return Next::Enough;
        }
        Next::More
    }
}

pub(super) mod limits {
    /// Records of one look that are held at once, where the app tells the oldest first.
    pub const RECORDS: usize = 5_000;
}

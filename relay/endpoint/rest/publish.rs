//! Makes public what was written, where the app keeps what is edited apart from what others see.
//!
//! What waits is kept for as long as the endpoint lives, so that a run that fails between a write and
//! this leaves it to the next. Only a crash of the process forgets it: the app then publishes it
//! with whatever is published next.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;

use super::client::Client;
use super::guard::{Act, Planned};
use super::manifest::{CallKind, Publish, Request};
use super::path;
use super::shape::{Place, Record, Shape};
use super::template::{Variables, prepare, render};
use crate::endpoint::EndpointError;

/// Which of its copies a record has, and whether it may be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copies {
    /// It is public.
    pub is_live: bool,
    /// Its changes are held back.
    pub is_held: bool,
}

impl Copies {
    pub(super) fn of(publish: Option<&Publish>, record: &Json) -> Copies {
        let Some(publish) = publish else {
            return Copies::default();
        };
        let is_there = |at: &str| path::find(record, at).is_some_and(|found| !found.is_null());
        let is_true = |at: &String| path::find(record, at) == Some(&Json::Bool(true));
        Copies {
            is_live: is_there(&publish.live),
            is_held: publish.held.iter().any(is_true),
        }
    }
}

/// Records that were written and are to be published, by table.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    tables: Mutex<HashMap<String, (Place, BTreeSet<String>)>>,
}

impl Unpublished {
    /// What was written: a new record is published, and one that is public already.
    pub(super) fn note(&self, shape: &Shape, act: Act, record: &Record) {
        let Copies { is_live, is_held } = record.copies;
        if act == Act::Delete || is_held || (act == Act::Update && !is_live) {
            return;
        }
        self.add(&shape.place, record.id.clone());
    }

    /// What is about to be changed, should its answer be lost.
    fn expect(&self, shape: &Shape, write: &Planned) {
        let Copies { is_live, is_held } = write.copies;
        if write.act == Act::Update
            && is_live
            && !is_held
            && let Some(id) = &write.id
        {
            self.add(&shape.place, id.clone());
        }
    }

    fn add(&self, place: &Place, id: String) {
        let mut tables = self.lock();
        let slot = tables.entry(place.table.0.clone());
        let (_, ids) = slot.or_insert_with(|| (place.clone(), BTreeSet::new()));
        ids.insert(id);
    }

    fn waiting(&self) -> Vec<(Place, Vec<String>)> {
        let tables = self.lock();
        let waiting = tables.values().filter(|(_, ids)| !ids.is_empty());
        waiting
            .map(|(place, ids)| (place.clone(), ids.iter().cloned().collect()))
            .collect()
    }

    fn done(&self, place: &Place, ids: &[String]) {
        if let Some((_, waiting)) = self.lock().get_mut(&place.table.0) {
            waiting.retain(|id| !ids.contains(id));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Place, BTreeSet<String>)>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes what waits for it. What the app refuses to publish stays as it was written.
pub(super) async fn publish(client: &Client) -> Result<(), EndpointError> {
    let Some(publish) = &client.manifest.publish else {
        return Ok(());
    };
    for (place, ids) in client.unpublished.waiting() {
        let asked = Asked {
            client,
            place: &place,
            request: &publish.request,
            item: None,
            max: publish.max,
        };
        let refused = asked.of(ids).await?;
        if refused > 0 {
            let table = &place.table.1;
            let app = &client.manifest.title;
            tracing::warn!(%app, %table, refused, "records were written and could not be published");
        }
    }
    Ok(())
}

/// Readies writes of one kind: what is public is withdrawn before it is deleted, and what is changed
/// is published again even if nobody learns that it was changed.
pub(super) async fn before(
    client: &Client,
    shape: &Shape,
    writes: &[Planned],
) -> Result<(), EndpointError> {
    let Some(publish) = &client.manifest.publish else {
        return Ok(());
    };
    for write in writes {
        client.unpublished.expect(shape, write);
    }
    let deleted = writes.iter().filter(|write| write.act == Act::Delete);
    let live = deleted.filter(|write| write.copies.is_live);
    let live: Vec<String> = live.filter_map(|write| write.id.clone()).collect();
    let Some(withdraw) = publish.withdraw.as_ref().filter(|_| !live.is_empty()) else {
        return Ok(());
    };
    let asked = Asked {
        client,
        place: &shape.place,
        request: &withdraw.request,
        item: Some(&withdraw.item),
        max: publish.max,
    };
    // One that is no longer public needs none.
    asked.of(live).await.map(drop)
}

/// A call about several records, which is halved while it is refused.
struct Asked<'a> {
    client: &'a Client,
    place: &'a Place,
    request: &'a Request,
    item: Option<&'a Json>,
    max: u32,
}

impl Asked<'_> {
    /// How many of them were refused.
    async fn of(&self, ids: Vec<String>) -> Result<usize, EndpointError> {
        let mut stack: Vec<Vec<String>> = ids
            .chunks(self.max.max(1) as usize)
            .map(<[String]>::to_vec)
            .collect();
        let mut refused = 0;
        while let Some(mut part) = stack.pop() {
            let request = prepare(self.request, &self.variables(&part));
            let container = self.place.container();
            let answer = self
                .client
                .call(CallKind::Write, container, &request)
                .await?;
            if answer.is_success() || part.len() == 1 {
                refused += usize::from(!answer.is_success());
                self.client.unpublished.done(self.place, &part);
                continue;
            }
            stack.push(part.split_off(part.len().div_ceil(2)));
            stack.push(part);
        }
        Ok(refused)
    }

    fn variables(&self, ids: &[String]) -> Variables {
        let item = |id: &String| {
            let variables = Variables::default().with("id", id.as_str());
            render(self.item?, &variables)
        };
        let items: Json = ids.iter().filter_map(item).collect();
        let ids: Json = ids.iter().map(|id| Json::from(id.as_str())).collect();
        let variables = self.place.variables();
        variables.with("ids", ids).with("items", items)
    }
}

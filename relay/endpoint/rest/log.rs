//! The log of changes that an app keeps for each container once it is asked to: found or asked for,
//! checked, and read by number. What was read is not gone, so all syncs of a connection share one.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::client::{Answer, Client};
use super::clock::Micros;
use super::manifest::{CallKind, Log, Moment, Request};
use super::path;
use super::shape::{Place, Shape, moment};
use super::side::Bound;
use super::template::{Variables, prepare};
use crate::endpoint::EndpointError;

/// How far each container's log was read, by the container's id. The text of a position's cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Spots(BTreeMap<String, Spot>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot {
    log: String,
    /// Number of the first entry that was not told yet.
    next: u64,
}

/// What the logs tell from some spots on.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The last that was told of each record: by table and record id.
    touched: HashMap<(String, String), Touch>,
    /// Of each container: numbers and moments, in order.
    entries: BTreeMap<String, Vec<(u64, Micros)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touch {
    pub time: Micros,
    pub is_gone: bool,
}

impl Spots {
    pub(super) fn parse(cursor: &str) -> Option<Spots> {
        serde_json::from_str(cursor).ok()
    }

    pub(super) fn text(&self) -> String {
        let pairs = self.0.iter();
        let pairs = pairs.map(|(container, spot)| {
            let spot = serde_json::json!({"log": spot.log, "next": spot.next});
            (container.clone(), spot)
        });
        Json::Object(pairs.collect()).to_string()
    }

    /// Where to go on when everything up to `horizon` was told.
    pub(super) fn after(&self, news: &News, horizon: Micros) -> Spots {
        let moved = self.0.iter().map(|(container, spot)| {
            let entries = news.entries.get(container).into_iter().flatten();
            let told = entries.take_while(|(_, time)| *time <= horizon);
            let next = told.last().map_or(spot.next, |(number, _)| number + 1);
            let log = spot.log.clone();
            (container.clone(), Spot { log, next })
        });
        Spots(moved.collect())
    }
}

impl News {
    /// What was told last of each record of the table, up to `horizon`. What was touched again later
    /// is told when a later horizon has passed that.
    pub(super) fn due<'a>(
        &'a self,
        shape: &'a Shape,
        horizon: Micros,
    ) -> impl Iterator<Item = (&'a str, Touch)> {
        let of_table = self
            .touched
            .iter()
            .filter(|((table, _), _)| *table == shape.place.table.0);
        of_table
            .filter(move |(_, touch)| touch.time <= horizon)
            .map(|((_, id), touch)| (id.as_str(), *touch))
    }

    pub(super) fn tells_of(&self, shape: &Shape, id: &str) -> bool {
        let key = (shape.place.table.0.clone(), id.to_owned());
        self.touched.contains_key(&key)
    }

    fn note(&mut self, log: &Log, entry: &Json, time: Micros) {
        let tables = path::find(entry, &log.tables).and_then(Json::as_object);
        for (table, part) in tables.into_iter().flatten() {
            for (places, is_gone) in [(&log.present, false), (&log.gone, true)] {
                for id in places.iter().flat_map(|at| ids(path::find(part, at))) {
                    let touch = Touch { time, is_gone };
                    self.touched.insert((table.clone(), id), touch);
                }
            }
        }
    }
}

/// The ids of a list, or those by which records are keyed.
fn ids(found: Option<&Json>) -> Vec<String> {
    match found {
        Some(Json::Array(list)) => {
            let ids = list.iter().filter_map(Json::as_str);
            ids.map(str::to_owned).collect()
        }
        Some(Json::Object(records)) => records.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The end of each container's log. Where there is none yet it is asked for.
pub(super) async fn open(bound: &Bound, log: &Log) -> Result<Spots, EndpointError> {
    let client = &*bound.client;
    let mut spots = Spots::default();
    for place in containers(bound) {
        let spot = match find(client, log, place).await? {
            Some(spot) => Some(spot),
            None => {
                ask(client, log, (&log.open, CallKind::Write), place, None).await?;
                find(client, log, place).await?
            }
        };
        let Some(spot) = spot else {
            let text = format!("{} does not list its new log", client.manifest.title);
            return Err(EndpointError::retry("no-change-log", text));
        };
        spots.0.insert(place.container.0.clone(), spot);
    }
    Ok(spots)
}

/// `Err` tells why the logs can't be read on from there.
pub(super) async fn check(
    bound: &Bound,
    log: &Log,
    cursor: &str,
    position: Micros,
) -> Result<Result<(), String>, EndpointError> {
    let kept = log.kept_s.saturating_mul(1_000_000);
    if position.saturating_add(kept) < bound.client.clock.high() {
        return Ok(Err(format!(
            "the app keeps its log of changes for {} hours only",
            log.kept_s / 3600
        )));
    }
    let gone = || Err("the app no longer has our log of changes".to_owned());
    let Some(spots) = Spots::parse(cursor) else {
        return Ok(gone());
    };
    for place in containers(bound) {
        let known = spots.0.get(&place.container.0);
        let found = find(&bound.client, log, place).await?;
        if known.is_none() || known.map(|spot| &spot.log) != found.as_ref().map(|spot| &spot.log) {
            return Ok(gone());
        }
    }
    Ok(Ok(()))
}

/// Everything from these spots on.
pub(super) async fn read(bound: &Bound, log: &Log, spots: &Spots) -> Result<News, EndpointError> {
    let mut news = News::default();
    for place in containers(bound) {
        let container = &place.container.0;
        let Some(spot) = spots.0.get(container) else {
            continue;
        };
        let mut entries = Vec::new();
        let mut next = spot.next;
        loop {
            let at = Spot {
                log: spot.log.clone(),
                next,
            };
            let answer = ask(
                &bound.client,
                log,
                (&log.read, CallKind::Read),
                place,
                Some(&at),
            );
            let answer = answer.await?;
            let page = path::items(&answer.body, &log.entries);
            let end = path::find(&answer.body, &log.cursor).and_then(Json::as_u64);
            let end = end.unwrap_or(next + page.len() as u64);
            // The number is that of the entry after the page: earlier ones may be gone.
            let first = end.saturating_sub(page.len() as u64);
            for (entry, number) in page.iter().zip(first..) {
                let time = path::text(entry, &log.time).and_then(|at| moment(Moment::Text, &at));
                let time = time.ok_or_else(|| {
                    let text =
                        format!("{} logs a change without time", bound.client.manifest.title);
                    EndpointError::bug("log-unreadable", text)
                })?;
                news.note(log, entry, time);
                entries.push((number, time));
            }
            next = end;
            let has_more = path::find(&answer.body, &log.more) == Some(&Json::Bool(true));
            if !has_more || page.is_empty() {
                break;
            }
        }
        news.entries.insert(container.clone(), entries);
    }
    Ok(news)
}

/// One place of each container that tables are mapped from.
fn containers(bound: &Bound) -> impl Iterator<Item = &Place> {
    let places = bound.shapes.iter().map(|shape| &shape.place);
    let by_id: BTreeMap<&str, &Place> = places
        .map(|place| (place.container.0.as_str(), place))
        .collect();
    by_id.into_values()
}

/// Our log of that container, as far as it has come. One of ours that has ended is closed: there is
/// room for few.
async fn find(client: &Client, log: &Log, place: &Place) -> Result<Option<Spot>, EndpointError> {
    let answer = ask(client, log, (&log.find, CallKind::Read), place, None).await?;
    let mut found = None;
    for item in path::items(&answer.body, &log.items) {
        let Some(id) = path::text(item, &log.id) else {
            continue;
        };
        if !log.ours.iter().all(|sign| path::shows(item, sign)) {
            continue;
        }
        let next = path::find(item, &log.next).and_then(Json::as_u64);
        let spot = Spot {
            log: id,
            next: next.unwrap_or(1),
        };
        if path::shows(item, &log.runs) {
            found = found.or(Some(spot));
        } else {
            ask(
                client,
                log,
                (&log.close, CallKind::Write),
                place,
                Some(&spot),
            )
            .await?;
        }
    }
    Ok(found)
}

async fn ask(
    client: &Client,
    log: &Log,
    (request, kind): (&Request, CallKind),
    place: &Place,
    spot: Option<&Spot>,
) -> Result<Answer, EndpointError> {
    let mut variables: Variables = place.variables();
    if let Some(spot) = spot {
        variables.set("log", spot.log.as_str());
        variables.set("cursor", spot.next);
    }
    let request = prepare(request, &variables);
    let answer = client.call(kind, place.container(), &request).await?;
    if answer.is_success() {
        return Ok(answer);
    }
    let (title, status) = (&client.manifest.title, answer.status);
    if spot.is_some() && status == 404 {
        let text = format!("{title} no longer has our log of changes: it is opened anew");
        return Err(EndpointError::retry("change-log-gone", text));
    }
    if status >= 500 {
        return Err(client.unreadable(&request, &answer));
    }
    let text = format!(
        "{title} keeps no log of changes of {} for this token (HTTP {status}): {}",
        place.container.1, log.needs
    );
    Err(EndpointError::operator("no-change-log", text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log() -> Log {
        let manifest = crate::endpoint::rest::connectors::built_in("airtable").unwrap();
        manifest.log.clone().unwrap()
    }

    #[test]
    fn the_last_word_on_a_record_counts() {
        let mut news = News::default();
        let entry = json!({"changedTablesById": {"tbl": {
            "createdRecordsById": {"a": {}}, "changedRecordsById": {"b": {}}}}});
        news.note(&log(), &entry, 1_000);
        let entry = json!({"changedTablesById": {"tbl": {"destroyedRecordIds": ["a"]}}});
        news.note(&log(), &entry, 2_000);
        let of = |id: &str| news.touched[&("tbl".to_owned(), id.to_owned())];
        assert_eq!((of("a").time, of("a").is_gone), (2_000, true));
        assert_eq!((of("b").time, of("b").is_gone), (1_000, false));
    }

    #[test]
    fn a_spot_stays_before_what_the_horizon_has_not_passed() {
        let spots = Spots::parse(r#"{"app": {"log": "ach", "next": 7}}"#).unwrap();
        let mut news = News::default();
        let entries = vec![(7, 100), (8, 200), (9, 300)];
        news.entries.insert("app".to_owned(), entries);
        let at = |horizon| spots.after(&news, horizon).0["app"].next;
        assert_eq!((at(50), at(200), at(900)), (7, 9, 10));
        assert_eq!(Spots::parse(&spots.text()), Some(spots));
    }
}

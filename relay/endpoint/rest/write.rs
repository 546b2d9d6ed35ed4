//! Sends what passed the guard, in as few calls as the app lets: in batches that carry requests, in
//! lists of one kind, or one by one. A list that one bad record spoils is halved until it is found.

use std::collections::VecDeque;

use serde_json::{Map, Value as Json};
use tidegate_sync::model::{Before, Cell, PairId, Row};

use super::client::{Answer, Client};
use super::guard::{Act, Planned};
use super::manifest::{Batch, CallKind, Many, Meaning, Told, Write};
use super::path;
use super::publish;
use super::shape::Shape;
use super::side::Bound;
use super::template::{Prepared, Variables, prepare, render};
use crate::endpoint::EndpointError;

/// What the app said to one write.
pub(super) struct Said {
    pub write: Planned,
    pub status: u16,
    /// Of the answer to this write alone.
    pub body: Json,
    /// Where in the body the record is, as it was stored; `None` where it must be read again, and the body
    /// has a part of it at most.
    pub record: Option<String>,
    /// The answer as a whole was a success, but not to this write.
    pub is_refusal: bool,
}

impl Said {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status) && !self.is_refusal
    }
}

/// Sends them all: creates, then updates, then deletes.
pub(super) async fn send(
    bound: &Bound,
    mut writes: Vec<Planned>,
) -> Result<Vec<Said>, EndpointError> {
    writes.sort_by_key(|write| write.act);
    let client = &*bound.client;
    let mut said = Vec::with_capacity(writes.len());
    if let Some(batch) = &client.manifest.batch {
        for chunk in chunks(writes, batch.max) {
            said.extend(in_batch(bound, batch, chunk).await?);
        }
        return Ok(said);
    }
    for group in groups(writes) {
        let (act, shape) = (group[0].act, bound.shape(group[0].pair)?);
        let how = how(client, act);
        publish::before(client, shape, &group).await?;
        match &how.many {
            Some(many) => {
                for chunk in chunks(group, many.max) {
                    said.extend(in_list(client, shape, how, many, chunk).await?);
                }
            }
            None => {
                for write in group {
                    said.push(alone(client, shape, how, write).await?);
                }
            }
        }
    }
    Ok(said)
}

fn how(client: &Client, act: Act) -> &Write {
    match act {
        Act::Create => &client.manifest.create,
        Act::Update => &client.manifest.update,
        Act::Delete => &client.manifest.delete,
    }
}

fn chunks(mut writes: Vec<Planned>, max: u32) -> Vec<Vec<Planned>> {
    let max = max.max(1) as usize;
    let mut chunks = Vec::new();
    while writes.len() > max {
        let rest = writes.split_off(max);
        chunks.push(std::mem::replace(&mut writes, rest));
    }
    if !writes.is_empty() {
        chunks.push(writes);
    }
    chunks
}

/// Neighbours of one kind and one table.
fn groups(writes: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut groups: Vec<Vec<Planned>> = Vec::new();
    let slot = |write: &Planned| -> (Act, PairId) { (write.act, write.pair) };
    for write in writes {
        match groups
            .iter_mut()
            .find(|group| slot(&group[0]) == slot(&write))
        {
            Some(group) => group.push(write),
            None => groups.push(vec![write]),
        }
    }
    groups
}

fn variables(shape: &Shape, write: &Planned) -> Variables {
    let mut variables = shape.place.variables().with("fields", write.fields.clone());
    if let Some(id) = &write.id {
        variables.set("id", id.as_str());
    }
    if let Some(version) = &write.version {
        variables.set("version", version.as_str());
    }
    variables
}

async fn alone(
    client: &Client,
    shape: &Shape,
    how: &Write,
    write: Planned,
) -> Result<Said, EndpointError> {
    let Some(request) = &how.request else {
        let text = "the manifest does not say how one record is written";
        return Err(EndpointError::bug("no-request", text));
    };
    let request = prepare(request, &variables(shape, &write));
    let answer = client
        .call(CallKind::Write, shape.place.container(), &request)
        .await?;
    Ok(Said {
        write,
        status: answer.status,
        body: answer.body,
        record: how.record.clone(),
        is_refusal: false,
    })
}

/// One call with several requests, each of which is answered by itself. Those that were refused for
/// their number are sent again.
async fn in_batch(
    bound: &Bound,
    batch: &Batch,
    mut writes: Vec<Planned>,
) -> Result<Vec<Said>, EndpointError> {
    let client = &*bound.client;
    let mut said = Vec::with_capacity(writes.len());
    for _ in 0..limits::REFUSALS {
        let mut requests = Vec::with_capacity(writes.len());
        for write in &writes {
            let shape = bound.shape(write.pair)?;
            let Some(request) = &how(client, write.act).request else {
                let text = "the manifest does not say how one record is written";
                return Err(EndpointError::bug("no-request", text));
            };
            let request = prepare(request, &variables(shape, write));
            requests.push(item(batch, &request));
        }
        let container = bound.shape(writes[0].pair)?.place.container();
        let variables = Variables::default().with("requests", Json::Array(requests));
        let request = prepare(&batch.request, &variables);
        let answer = client.ask(CallKind::Write, container, &request).await?;
        let again = judge_batch(client, batch, writes, &answer, &mut said)?;
        if again.is_empty() {
            return Ok(said);
        }
        writes = again;
        client.limiter.silence(limits::PAUSE);
    }
    let text = format!("{} refuses calls for their number", client.manifest.title);
    Err(EndpointError::retry("rate-limited", text))
}

/// Sorts a batch's answers; returns the writes that must be sent again.
fn judge_batch(
    client: &Client,
    batch: &Batch,
    writes: Vec<Planned>,
    answer: &Answer,
    said: &mut Vec<Said>,
) -> Result<Vec<Planned>, EndpointError> {
    let title = &client.manifest.title;
    let answers = path::items(&answer.body, &batch.items);
    if answers.len() != writes.len() {
        let text = format!(
            "{title} answers {} of {} requests",
            answers.len(),
            writes.len()
        );
        return Err(EndpointError::retry("batch-incomplete", text));
    }
    let mut again = Vec::new();
    for (write, answer) in writes.into_iter().zip(answers) {
        let status = path::find(answer, &batch.status).and_then(Json::as_u64);
        let status = status
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0);
        let body = path::find(answer, &batch.body)
            .cloned()
            .unwrap_or(Json::Null);
        let one = Said {
            record: how(client, write.act).record.clone(),
            write,
            status,
            body,
            is_refusal: false,
        };
        match client.meaning(one.status, &one.body) {
            _ if one.is_success() => said.push(one),
            Meaning::Limited => again.push(one.write),
            Meaning::Unavailable => {
                let text = format!("{title} is not available (HTTP {status})");
                return Err(EndpointError::retry("unavailable", text));
            }
            Meaning::Exhausted => {
                let text = format!("{title}'s calls of this period are used up");
                return Err(EndpointError::retry("calls-exhausted", text));
            }
            _ => said.push(one),
        }
    }
    Ok(again)
}

fn item(batch: &Batch, request: &Prepared) -> Json {
    let headers: Map<String, Json> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), Json::from(value.as_str())))
        .collect();
    let mut variables = Variables::default()
        .with("method", request.method.as_str())
        .with("path", request.path.as_str())
        .with("headers", Json::Object(headers));
    if let Some(body) = &request.body {
        variables.set("body", body.clone());
    }
    render(&batch.item, &variables).unwrap_or(Json::Null)
}

/// One call for several records of one kind; halved while it is refused.
async fn in_list(
    client: &Client,
    shape: &Shape,
    how: &Write,
    many: &Many,
    writes: Vec<Planned>,
) -> Result<Vec<Said>, EndpointError> {
    let mut said = Vec::with_capacity(writes.len());
    let mut stack = vec![writes];
    while let Some(part) = stack.pop() {
        let answer = list_call(client, shape, many, &part).await?;
        if answer.is_success() {
            match &many.told {
                None if many.unordered => {
                    said.extend(recognised(client, shape, (how, many), part, &answer)?);
                }
                None if many.hides_refusals => {
                    let is_alone = part.len() == 1;
                    let mut again = Vec::new();
                    for mut one in listed(how, many, part, &answer) {
                        one.is_refusal = hides_refusal(client, shape, &one)?;
                        match one.is_refusal && !is_alone {
                            true => again.push(one.write),
                            false => said.push(one),
                        }
                    }
                    stack.extend(halves(again));
                }
                None => said.extend(listed(how, many, part, &answer)),
                Some(told) => {
                    let again = told_apart(client, (many, told), part, &answer, &mut said)?;
                    stack.extend(halves(again));
                }
            }
        } else if part.len() > 1 {
            stack.extend(halves(part));
        } else {
            said.extend(part.into_iter().map(|write| Said {
                write,
                status: answer.status,
                body: answer.body.clone(),
                record: None,
                is_refusal: false,
            }));
        }
    }
    Ok(said)
}

/// The first half last, which is sent first; one alone stays so.
fn halves(mut writes: Vec<Planned>) -> Vec<Vec<Planned>> {
    let rest = writes.split_off(writes.len().div_ceil(2));
    let halves = [rest, writes].into_iter();
    halves.filter(|half| !half.is_empty()).collect()
}

async fn list_call(
    client: &Client,
    shape: &Shape,
    many: &Many,
    writes: &[Planned],
) -> Result<Answer, EndpointError> {
    let items = writes.iter().enumerate().filter_map(|(number, write)| {
        let template = many.item.as_ref()?;
        let variables = variables(shape, write).with("number", number.to_string());
        render(template, &variables)
    });
    let ids: Vec<&str> = writes
        .iter()
        .filter_map(|write| write.id.as_deref())
        .collect();
    let variables = shape
        .place
        .variables()
        .with("items", Json::Array(items.collect()))
        .with("ids", ids.join(","));
    let request = prepare(&many.request, &variables);
    client
        .call(CallKind::Write, shape.place.container(), &request)
        .await
}

/// A list's answer, taken apart. Where it does not have a record for each item, all are read again.
fn listed(how: &Write, many: &Many, writes: Vec<Planned>, answer: &Answer) -> Vec<Said> {
    let items = many.items.as_ref().map(|at| path::items(&answer.body, at));
    let items = items.filter(|items| items.len() == writes.len());
    let one = |(number, write): (usize, Planned)| Said {
        write,
        status: answer.status,
        body: items.map_or(Json::Null, |items| items[number].clone()),
        record: items.map(|_| how.record.clone().unwrap_or_default()),
        is_refusal: false,
    };
    writes.into_iter().enumerate().map(one).collect()
}

/// Whether the answer shows a record that should have been changed as it was before.
fn hides_refusal(client: &Client, shape: &Shape, said: &Said) -> Result<bool, EndpointError> {
    let record = said.record.as_ref();
    let record = record.and_then(|at| path::find(&said.body, at));
    let record = record.filter(|_| said.write.act == Act::Update && said.write.is_change);
    Ok(match record {
        Some(record) => {
            let row = shape.record(&client.manifest, record)?.row;
            is_as_before(&row, &said.write.before)
        }
        None => false,
    })
}

fn is_as_before(row: &Row, before: &Before) -> bool {
    let mut before = before.iter();
    before.all(|(field, value)| row.get(*field).and_then(Cell::value) == Some(value))
}

/// A list's answer in any order, taken apart: what was made is known by what was sent as its match key,
/// anything else by its id. What is not in it is read again.
fn recognised(
    client: &Client,
    shape: &Shape,
    (how, many): (&Write, &Many),
    writes: Vec<Planned>,
    answer: &Answer,
) -> Result<Vec<Said>, EndpointError> {
    let of = &client.manifest.record;
    let items = many.items.as_ref().map(|at| path::items(&answer.body, at));
    let mut items: VecDeque<&Json> = items.unwrap_or_default().iter().collect();
    let keys = shape.match_keys();
    let (mut found, mut rest) = (Vec::with_capacity(writes.len()), Vec::new());
    for write in writes {
        let is_it = |item: &&Json| match &write.id {
            Some(id) => path::text(item, &of.id).as_ref() == Some(id),
            None => {
                let fields = path::find(item, &of.fields);
                let same = |key: &&str| fields.and_then(|of| of.get(key)) == write.fields.get(key);
                keys.iter().all(same)
            }
        };
        match items.iter().position(is_it) {
            Some(at) => found.push((write, items.remove(at))),
            None => rest.push(write),
        }
    }
    // The app has made something else of their keys: they come in their order.
    let made = rest.iter().filter(|write| write.act == Act::Create).count();
    if made > 0 && made != items.len() {
        let title = &client.manifest.title;
        let text = format!("{title} does not say which records it has made");
        return Err(EndpointError::retry("batch-incomplete", text));
    }
    for write in rest {
        let item = match write.act {
            Act::Create => items.pop_front(),
            _ => None,
        };
        found.push((write, item));
    }
    let said = found.into_iter().map(|(write, item)| Said {
        record: item.map(|_| how.record.clone().unwrap_or_default()),
        write,
        status: answer.status,
        body: item.cloned().unwrap_or_default(),
        is_refusal: false,
    });
    Ok(said.collect())
}

/// Sorts an answer that tells of each item by itself; returns the writes that it says nothing of,
/// which are sent again.
fn told_apart(
    client: &Client,
    (many, told): (&Many, &Told),
    writes: Vec<Planned>,
    answer: &Answer,
    said: &mut Vec<Said>,
) -> Result<Vec<Planned>, EndpointError> {
    let title = &client.manifest.title;
    let done = path::items(&answer.body, many.items.as_deref().unwrap_or_default());
    let refusals = path::items(&answer.body, &told.refusals);
    let is_alone = writes.len() == 1;
    let (mut again, mut found) = (Vec::new(), 0);
    for (number, mut write) in writes.into_iter().enumerate() {
        let number = number.to_string();
        let id_of = |record: &Json| path::text(record, &client.manifest.record.id);
        let is_it = |record: &&Json| match path::text(record, &told.number) {
            Some(its) => its == number,
            None => is_alone || (write.id.is_some() && id_of(record) == write.id),
        };
        if let Some(record) = done.iter().find(is_it) {
            found += 1;
            write.id = write.id.or_else(|| id_of(record));
            // It has what was written, and not the rest.
            said.push(Said {
                write,
                status: answer.status,
                body: record.clone(),
                record: None,
                is_refusal: false,
            });
            continue;
        }
        let names = |of: &&Json| {
            let has = |at: &str, what: &str| path::texts(of, at).iter().any(|text| text == what);
            has(&told.numbers, &number) || write.id.as_ref().is_some_and(|id| has(&told.ids, id))
        };
        let refusal = refusals.iter().find(names);
        let refusal = refusal.or_else(|| refusals.first().filter(|_| is_alone));
        let Some(refusal) = refusal else {
            again.push(write);
            continue;
        };
        match client.meaning(answer.status, refusal) {
            Meaning::Limited | Meaning::Unavailable | Meaning::Exhausted => {
                let text = format!("{title} could not write some records");
                return Err(EndpointError::retry("unavailable", text));
            }
            _ => said.push(Said {
                write,
                status: answer.status,
                body: refusal.clone(),
                record: None,
                is_refusal: true,
            }),
        }
    }
    // Nobody knows which records the others are: to make these again would make them twice.
    if !again.is_empty() && (found < done.len() || is_alone) {
        let text = format!("{title} does not say which records it has written");
        return Err(EndpointError::retry("batch-incomplete", text));
    }
    Ok(again)
}

mod limits {
    use std::time::Duration;

    /// Refusals of the same writes in a row before the run is told.
    pub(super) const REFUSALS: u32 = 5;
    pub(super) const PAUSE: Duration = Duration::from_secs(2);
}

#[cfg(test)]
mod tests {
    use tidegate_sync::value::Value;

    use super::*;

    #[test]
    fn a_record_of_which_one_field_was_written_is_not_as_before() {
        let row = |second: i64| vec![Cell::Value(Value::Int(1)), Cell::Value(Value::Int(second))];
        let before = vec![(0, Value::Int(1)), (1, Value::Int(2))];
        assert!(is_as_before(&row(2), &before));
        assert!(!is_as_before(&row(3), &before));
    }
}

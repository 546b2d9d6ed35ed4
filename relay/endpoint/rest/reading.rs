//! Reads records by their ids.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::client::{Answer, Client};
use super::manifest::{CallKind, Meaning, Read, Request};
use super::path;
use super::shape::{Record, Shape};
use super::template::{Variables, prepare, render};
use crate::endpoint::EndpointError;

/// The records with these ids that are there, by id.
pub(super) async fn by_ids(
    client: &Client,
    shape: &Shape,
    ids: &[&str],
) -> Result<HashMap<String, Record>, EndpointError> {
    let mut found = shown(client, shape, ids).await?;
    let missing = ids.iter().copied();
    let missing: Vec<&str> = missing.filter(|id| !found.contains_key(*id)).collect();
    as_they_are(client, shape, &missing, &mut found).await?;
    Ok(found)
}

/// Those that one request for several shows.
async fn shown(
    client: &Client,
    shape: &Shape,
    ids: &[&str],
) -> Result<HashMap<String, Record>, EndpointError> {
    let read = &client.manifest.read;
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(read.max.max(1) as usize) {
        let request = prepare(&read.request, &by_id(shape, chunk, read));
        let answer = client
            .call(CallKind::Read, shape.place.container(), &request)
            .await?;
        let is_missing = read.max <= 1
            && !answer.is_success()
            && client.meaning(answer.status, &answer.body) == Meaning::Missing;
        if is_missing {
            continue;
        }
        if !answer.is_success() {
            return Err(client.unreadable(&request, &answer));
        }
        check_refusals(client, &answer)?;
        let one;
        let items = match path::find(&answer.body, &read.items) {
            Some(Json::Array(items)) => items.as_slice(),
            Some(single) => {
                one = [single.clone()];
                &one[..]
            }
            None => &[],
        };
        for item in items {
            let record = shape.record(&client.manifest, item)?;
            if !record.is_deleted {
                found.insert(record.id.clone(), record);
            }
        }
    }
    Ok(found)
}

/// Reads these again where what was read may be behind (`read.alone`): each by itself if they are few,
/// else when as much time has passed as lists may be behind.
pub(super) async fn as_they_are(
    client: &Client,
    shape: &Shape,
    ids: &[&str],
    found: &mut HashMap<String, Record>,
) -> Result<(), EndpointError> {
    let Some(request) = &client.manifest.read.alone else {
        return Ok(());
    };
    if ids.len() > limits::ALONE {
        tokio::time::sleep(Duration::from_millis(client.manifest.changes.lag_ms)).await;
        for id in ids {
            found.remove(*id);
        }
        found.extend(shown(client, shape, ids).await?);
        return Ok(());
    }
    for id in ids {
        match alone(client, shape, request, id).await? {
            Some(record) => found.insert((*id).to_owned(), record),
            None => found.remove(*id),
        };
    }
    Ok(())
}

async fn alone(
    client: &Client,
    shape: &Shape,
    request: &Request,
    id: &str,
) -> Result<Option<Record>, EndpointError> {
    let request = prepare(request, &shape.variables().with("id", id));
    let container = shape.place.container();
    let answer = client.call(CallKind::Read, container, &request).await?;
    if answer.is_success() {
        let record = shape.record(&client.manifest, &answer.body)?;
        return Ok(Some(record).filter(|record| !record.is_deleted));
    }
    match client.meaning(answer.status, &answer.body) {
        Meaning::Missing => Ok(None),
        _ => Err(client.unreadable(&request, &answer)),
    }
}

fn by_id(shape: &Shape, ids: &[&str], read: &Read) -> Variables {
    let one = |id: &&str| {
        let text = match read.as_json {
            true => Json::from(*id).to_string(),
            false => (*id).to_owned(),
        };
        let each = read.each.as_ref();
        each.and_then(|each| render(each, &Variables::default().with("id", text.as_str())))
            .unwrap_or(Json::String(text))
    };
    let ids: Vec<Json> = ids.iter().map(one).collect();
    let first = ids.first().cloned().unwrap_or_default();
    let variables = shape.variables().with("id", first);
    variables.with("ids", joined(ids))
}

/// What an answer could not read must be missing, else a record that is there would count as gone.
pub(super) fn check_refusals(client: &Client, answer: &Answer) -> Result<(), EndpointError> {
    let Some(at) = &client.manifest.read.refusals else {
        return Ok(());
    };
    let mut refusals = path::items(&answer.body, at).iter();
    let other = refusals.find(|of| client.meaning(answer.status, of) != Meaning::Missing);
    match other {
        None => Ok(()),
        Some(_) => {
            let title = &client.manifest.title;
            let text = format!("{title} could not read some records: they are read again");
            Err(EndpointError::retry("read-incomplete", text))
        }
    }
}

/// Texts in one, separated by commas; anything else as a list.
pub(super) fn joined(values: Vec<Json>) -> Json {
    let texts: Option<Vec<&str>> = values.iter().map(Json::as_str).collect();
    match texts {
        Some(texts) => Json::String(texts.join(",")),
        None => Json::Array(values),
    }
}

mod limits {
    /// More records than this are not read one by one.
    pub(super) const ALONE: usize = 10;
}

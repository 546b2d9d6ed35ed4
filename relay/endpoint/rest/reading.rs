//! Reads records by their ids, and by what a field holds.

use std::collections::HashMap;

use serde_json::Value as Json;
use tidegate_sync::value::Value;

use super::client::Client;
use super::manifest::{CallKind, Meaning, Read, Search};
use super::path;
use super::shape::{Record, Shape};
use super::template::{Variables, fill, prepare};
use crate::endpoint::EndpointError;

/// The records with these ids that are there, by id.
pub(super) async fn by_ids(
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

fn by_id(shape: &Shape, ids: &[&str], read: &Read) -> Variables {
    let text = |id: &&str| {
        let text = match read.as_json {
            true => Json::from(*id).to_string(),
            false => (*id).to_owned(),
        };
        let each = read.each.as_ref();
        each.and_then(|each| fill(each, &Variables::default().with("id", text.as_str())))
            .unwrap_or(text)
    };
    let ids: Vec<String> = ids.iter().map(text).collect();
    let first = ids.first().cloned().unwrap_or_default();
    shape
        .place
        .variables()
        .with("id", first)
        .with("ids", ids.join(","))
}

/// Records that may hold these values in `field`: more than those are no mistake, fewer would be.
pub(super) async fn by_values(
    client: &Client,
    shape: &Shape,
    (field, values): (usize, &[&Value]),
) -> Result<Vec<Record>, EndpointError> {
    let Some(search) = &client.manifest.search else {
        let text = format!("{} can't be searched", client.manifest.title);
        return Err(EndpointError::bug("no-search", text));
    };
    let mut found = Vec::new();
    let mut together = Vec::new();
    for value in values {
        // A value that the field can't hold is nowhere.
        let Some((column, json)) = shape.sought(field, value) else {
            continue;
        };
        let text = match (&json, search.as_json) {
            (Json::String(text), false) => text.clone(),
            _ => json.to_string(),
        };
        let variables = shape.place.variables().with("field", column.key.as_str());
        if let Some(many) = &search.many {
            let each = many.each.as_ref();
            let alone = variables.clone().with("value", text.as_str());
            match each.and_then(|each| fill(each, &alone)) {
                Some(text) => together.push((variables, text)),
                None if !text.contains(',') => together.push((variables, text)),
                None => {
                    let request = prepare(&search.request, &alone);
                    found.extend(ask(client, shape, search, &request).await?);
                }
            }
            continue;
        }
        let request = prepare(&search.request, &variables.with("value", text));
        found.extend(ask(client, shape, search, &request).await?);
    }
    if let Some(many) = &search.many {
        for chunk in together.chunks(many.max.max(1) as usize) {
            let texts: Vec<&str> = chunk.iter().map(|(_, text)| text.as_str()).collect();
            let variables = chunk[0].0.clone().with("values", texts.join(","));
            let request = prepare(&many.request, &variables);
            found.extend(ask(client, shape, search, &request).await?);
        }
    }
    Ok(found)
}

async fn ask(
    client: &Client,
    shape: &Shape,
    search: &Search,
    request: &super::template::Prepared,
) -> Result<Vec<Record>, EndpointError> {
    let answer = client
        .ask(CallKind::Search, shape.place.container(), request)
        .await?;
    let items = path::items(&answer.body, &search.items).iter();
    let records = items.map(|item| shape.record(&client.manifest, item));
    let records: Vec<Record> = records.collect::<Result<_, _>>()?;
    Ok(records
        .into_iter()
        .filter(|record| !record.is_deleted)
        .collect())
}

//! Reads records by their ids, and by what a field holds.

use std::collections::HashMap;

use serde_json::Value as Json;
use tidegate_sync::value::Value;

use super::client::Client;
use super::manifest::{CallKind, Meaning, Read, Search, SearchMany};
use super::path;
use super::shape::{Record, Shape};
use super::template::{Variables, fill, prepare, render};
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
        let json = match search.as_json {
            true => Json::from(json.to_string()),
            false => json,
        };
        let of_field = shape.place.variables().with("field", column.key.as_str());
        let of_field = of_field.with("type", column.type_name.as_str());
        let alone = of_field.clone().with("value", json.clone());
        match search
            .many
            .as_ref()
            .and_then(|many| among(many, &alone, json))
        {
            Some(one) => together.push((of_field, one)),
            None => {
                let request = prepare(&search.request, &alone);
                found.extend(ask(client, shape, search, &request).await?);
            }
        }
    }
    if let Some(many) = &search.many {
        for chunk in together.chunks(many.max.max(1) as usize) {
            let values = chunk.iter().map(|(_, one)| one.clone()).collect();
            let variables = chunk[0].0.clone().with("values", joined(values));
            let request = prepare(&many.request, &variables);
            found.extend(ask(client, shape, search, &request).await?);
        }
    }
    Ok(found)
}

/// A value as one of several; `None` where it must be asked for alone.
fn among(many: &SearchMany, alone: &Variables, value: Json) -> Option<Json> {
    match &many.each {
        Some(each) => render(each, alone).map(|one| match (each, one) {
            (Json::String(_), Json::String(text)) => Json::String(text),
            (Json::String(_), other) => Json::String(other.to_string()),
            (_, other) => other,
        }),
        None => {
            let text = match value {
                Json::String(text) => text,
                other => other.to_string(),
            };
            (!text.contains(',')).then_some(Json::String(text))
        }
    }
}

/// Texts in one, separated by commas; anything else as a list.
fn joined(values: Vec<Json>) -> Json {
    let texts: Option<Vec<&str>> = values.iter().map(Json::as_str).collect();
    match texts {
        Some(texts) => Json::String(texts.join(",")),
        None => Json::Array(values),
    }
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

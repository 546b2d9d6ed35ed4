//! Finds records by what a field holds, before one is made.

use serde_json::Value as Json;
use tidegate_sync::value::Value;

use super::client::Client;
use super::fields::Field;
use super::manifest::{CallKind, Search, SearchMany};
use super::path;
use super::reading::{by_ids, check_refusals, joined};
use super::shape::{Record, Shape};
use super::template::{Prepared, Variables, prepare, render};
use crate::endpoint::EndpointError;

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
    // A value that the field can't hold is nowhere.
    let sought = values.iter().filter_map(|value| shape.sought(field, value));
    let sought: Vec<(&Field, Json)> = sought.collect();
    let Some((column, _)) = sought.first() else {
        return Ok(Vec::new());
    };
    let unique = search.unique.as_ref().filter(|_| column.is_unique);
    let many = unique.or(search.many.as_ref());
    let of_field = shape.variables().with("field", column.key.as_str());
    let mut of_field = of_field.with("type", column.type_name.as_str());
    if let Some(id) = &column.search_id {
        of_field.set("field_id", id.as_str());
    }
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for (column, json) in &sought {
        let json = match search.as_json {
            true => Json::from(json.to_string()),
            false => json.clone(),
        };
        let json = lowered(many, column, json);
        let single = of_field.clone().with("value", json.clone());
        match many.and_then(|many| among(many, &single, json)) {
            Some(one) => together.push(one),
            None => alone.push(prepare(&search.request, &single)),
        }
    }
    let mut found = Vec::new();
    for request in &alone {
        found.extend(ask(client, shape, search, request).await?);
    }
    for part in many.map_or_else(Vec::new, |many| parts(many, together)) {
        let Some(many) = many else { continue };
        let values = match many.as_list {
            true => Json::Array(part),
            false => joined(part),
        };
        let variables = of_field.clone().with("values", values);
        let request = prepare(&many.request, &variables);
        found.extend(ask(client, shape, search, &request).await?);
    }
    match search.reread && unique.is_none() {
        false => Ok(found),
        true => {
            let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
            Ok(by_ids(client, shape, &ids).await?.into_values().collect())
        }
    }
}

/// In lower case, where the app looks for these values so.
fn lowered(many: Option<&SearchMany>, column: &Field, value: Json) -> Json {
    let is_lower = many.is_some_and(|many| many.lower.contains(&column.type_name));
    match value {
        Json::String(text) if is_lower => Json::String(text.to_lowercase()),
        other => other,
    }
}

/// As many values as fit into one request each time.
fn parts(many: &SearchMany, values: Vec<Json>) -> Vec<Vec<Json>> {
    let (max, max_chars) = (many.max.max(1) as usize, many.max_chars.unwrap_or(u32::MAX));
    let mut parts: Vec<Vec<Json>> = Vec::new();
    let mut chars = 0;
    for value in values {
        let length = value.to_string().len();
        chars += length;
        match parts.last_mut() {
            Some(part) if part.len() < max && chars <= max_chars as usize => part.push(value),
            _ => {
                parts.push(vec![value]);
                chars = length;
            }
        }
    }
    parts
}

/// A value as one of several; `None` where it must be asked for alone.
fn among(many: &SearchMany, alone: &Variables, value: Json) -> Option<Json> {
    match &many.each {
        Some(each) => render(each, alone).map(|one| match (each, one) {
            (Json::String(_), Json::String(text)) => Json::String(text),
            (Json::String(_), other) => Json::String(other.to_string()),
            (_, other) => other,
        }),
        None if many.as_list => Some(value),
        None => {
            let text = match value {
                Json::String(text) => text,
                other => other.to_string(),
            };
            (!text.contains(',')).then_some(Json::String(text))
        }
    }
}

async fn ask(
    client: &Client,
    shape: &Shape,
    search: &Search,
    request: &Prepared,
) -> Result<Vec<Record>, EndpointError> {
    let answer = client
        .ask(CallKind::Search, shape.place.container(), request)
        .await?;
    check_refusals(client, &answer)?;
    let items = path::items(&answer.body, &search.items).iter();
    let records = items.map(|item| shape.record(&client.manifest, item));
    let records: Vec<Record> = records.collect::<Result<_, _>>()?;
    Ok(records
        .into_iter()
        .filter(|record| !record.is_deleted)
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpoint::rest::manifest::Request;

    #[test]
    fn a_request_has_no_more_values_and_no_more_characters_than_it_may() {
        let request: Request = serde_json::from_value(json!({ "path": "/" })).unwrap();
        let mut many = SearchMany {
            request,
            max: 3,
            each: None,
            as_list: false,
            max_chars: None,
            lower: Vec::new(),
        };
        let values = || ["aa", "bbbb", "c", "d"].map(Json::from).to_vec();
        let sizes = |many: &SearchMany| -> Vec<usize> {
            parts(many, values()).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&many), [3, 1]);
        many.max_chars = Some(9);
        assert_eq!(sizes(&many), [1, 2, 1]);
    }
}

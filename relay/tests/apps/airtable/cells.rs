//! Values of cells: what each type takes, what it makes of it, and how it is shown.

use serde_json::{Value, json};

use super::schema::{Field, Table};
use super::{error, whole_second};
use crate::host::World;
use crate::host::call::Answer;
use crate::host::clock::{iso, parse};

/// Doc "Field types and cell values", long text.
const TEXT_CHARS_MAX: usize = 100_000;

/// How a value may be taken.
#[derive(Clone, Copy)]
pub(super) struct Taking<'a> {
    pub typecast: bool,
    pub world: &'a World,
    /// Ids of the table that a link points to.
    pub linked: Option<&'a Table>,
}

/// What the cell will hold, `Null` for empty. With `typecast` a choice may be missing: the caller
/// makes it.
pub(super) fn take(field: &Field, value: &Value, taking: Taking<'_>) -> Result<Value, Answer> {
    if field.is_computed() {
        let message = format!(
            "Field \"{}\" cannot accept a value because the field is computed",
            field.name
        );
        return Err(error(422, "INVALID_VALUE_FOR_COLUMN", message));
    }
    if is_empty(value) {
        return Ok(Value::Null);
    }
    let taken = match field.kind.as_str() {
        "singleLineText" | "multilineText" | "email" | "url" | "phoneNumber" => {
            text(value, taking).map(Value::from)
        }
        // Rich text comes back as the editor writes it: with an end of line.
        "richText" => text(value, taking).map(|text| format!("{}\n", text.trim_end()).into()),
        "number" | "currency" | "percent" | "duration" => number(field, value, taking),
        "rating" => number(field, value, taking).filter(|value| {
            let max = field.options["max"].as_f64().unwrap_or(10.0);
            value
                .as_f64()
                .is_some_and(|stars| (1.0..=max).contains(&stars) && stars.fract() == 0.0)
        }),
        "checkbox" => match value {
            Value::Bool(_) => Some(value.clone()),
            Value::String(text) if taking.typecast => {
                Some(["true", "1", "checked"].contains(&text.as_str()).into())
            }
            _ => None,
        },
        "date" => moment(value).map(|at| iso(at)[..10].into()),
        "dateTime" => moment(value).map(|at| iso(at).into()),
        "singleSelect" => return choice(field, value, taking),
        "multipleSelects" => return choices(field, value, taking),
        "multipleRecordLinks" => return links(field, value, taking),
        "multipleAttachments" => value.as_array().map(|_| value.clone()),
        "singleCollaborator" => person(value),
        "barcode" => value["text"].as_str().map(|text| json!({ "text": text })),
        _ => None,
    };
    taken.ok_or_else(|| refused(field))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn refused(field: &Field) -> Answer {
    let message = format!("Field \"{}\" cannot accept the provided value", field.name);
    error(422, "INVALID_VALUE_FOR_COLUMN", message)
}

fn text(value: &Value, taking: Taking<'_>) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if taking.typecast => number.to_string(),
        _ => return None,
    };
    if text.chars().count() > TEXT_CHARS_MAX {
        return None;
    }
    if taking.world.traps.is_on("refuses") && text.starts_with("refuse") {
        return None;
    }
    let cut = taking
        .world
        .traps
        .number("cuts-text")
        .filter(|max| *max > 0);
    Some(match cut {
        Some(max) => text.chars().take(max).collect(),
        None => text,
    })
}

/// Numbers are floats: a whole one above 2^53 is not what was sent.
fn number(field: &Field, value: &Value, taking: Taking<'_>) -> Option<Value> {
    let mut number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) if taking.typecast => text.trim().parse().ok()?,
        _ => return None,
    };
    if taking.world.traps.is_on("rounds-numbers") {
        let precision = field.options["precision"].as_i64().unwrap_or(0);
        let unit = 10_f64.powi(i32::try_from(precision).unwrap_or(0));
        number = (number * unit).round() / unit;
    }
    Some(float(number))
}

/// As JavaScript writes it: 3, not 3.0.
fn float(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0 * 1_000.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        // Whole and within the range of an i64.
        #[allow(clippy::cast_possible_truncation)]
        return Value::from(number as i64);
    }
    json!(number)
}

fn moment(value: &Value) -> Option<i64> {
    parse(value.as_str()?)
}

fn no_choice(name: &str) -> Answer {
    let message = format!("Insufficient permissions to create new select option \"\"{name}\"\"");
    error(422, "INVALID_MULTIPLE_CHOICE_OPTIONS", message)
}

fn choice(field: &Field, value: &Value, taking: Taking<'_>) -> Result<Value, Answer> {
    let name = value.as_str().ok_or_else(|| refused(field))?;
    if field.choice(name).is_none() && !taking.typecast {
        return Err(no_choice(name));
    }
    Ok(name.into())
}

fn choices(field: &Field, value: &Value, taking: Taking<'_>) -> Result<Value, Answer> {
    let list = match value {
        Value::Array(list) => list.clone(),
        Value::String(text) if taking.typecast => {
            text.split(',').map(|name| name.trim().into()).collect()
        }
        _ => return Err(refused(field)),
    };
    let mut taken: Vec<Value> = Vec::new();
    for value in &list {
        let name = choice(field, value, taking)?;
        if !taken.contains(&name) {
            taken.push(name);
        }
    }
    Ok(taken.into())
}

fn links(field: &Field, value: &Value, taking: Taking<'_>) -> Result<Value, Answer> {
    let list = value.as_array().ok_or_else(|| refused(field))?;
    let mut taken: Vec<Value> = Vec::new();
    for value in list {
        let id = value
            .as_str()
            .or(value["id"].as_str())
            .ok_or_else(|| refused(field))?;
        let known = taking
            .linked
            .is_some_and(|table| table.records.find(id, crate::host::past::NOW).is_some());
        if !known {
            return Err(no_row(id));
        }
        if !taken.contains(&id.into()) {
            taken.push(id.into());
        }
    }
    Ok(taken.into())
}

pub(super) fn no_row(id: &str) -> Answer {
    let message = format!("Record ID {id} does not exist in this table");
    error(422, "ROW_DOES_NOT_EXIST", message)
}

fn person(value: &Value) -> Option<Value> {
    let id = value["id"].as_str();
    let email = value["email"].as_str();
    (id.is_some() || email.is_some()).then(|| {
        json!({
            "id": id.unwrap_or("usrDouble00000000"),
            "email": email.unwrap_or("someone@example.com"),
            "name": "Someone",
        })
    })
}

/// Every `{"url"}` becomes a file of its own; `{"id"}` of a file that is there stays.
pub(super) fn take_files(value: &mut Value, before: &Value, ids: &mut crate::host::ids::Ids) {
    for file in value.as_array_mut().into_iter().flatten() {
        let known = before
            .as_array()
            .into_iter()
            .flatten()
            .find(|known| known["id"] == file["id"]);
        if let Some(known) = known.filter(|_| file["id"].is_string()) {
            *file = known.clone();
            continue;
        }
        let url = file["url"].as_str().unwrap_or_default();
        let last = url.rsplit('/').next().unwrap_or("file");
        let name = file["filename"].as_str().unwrap_or(last).to_owned();
        let (size, source) = (url.len(), url.to_owned());
        *file = json!({
            "id": ids.letters("att", 14),
            "filename": name,
            "size": size,
            "type": "application/octet-stream",
            // Not shown: what the link answers with.
            "source": source,
        });
    }
}

/// As an answer shows it.
pub(super) fn shown(field: &Field, value: &Value, world: &World) -> Value {
    if field.kind != "multipleAttachments" {
        return value.clone();
    }
    let mut files = value.clone();
    let expires = world.now + world.traps.ms("file-links-live");
    for file in files.as_array_mut().into_iter().flatten() {
        let id = file["id"].as_str().unwrap_or_default();
        let name = file["filename"].as_str().unwrap_or_default();
        let url = format!("{}/_files/{id}/{expires}/{name}", world.address);
        file["url"] = url.into();
        if let Some(file) = file.as_object_mut() {
            file.remove("source");
        }
    }
    files
}

/// As a payload shows it: choices and links are objects there ("V2 cell value format").
pub(super) fn shown_in_payload(
    field: &Field,
    value: &Value,
    linked: Option<&Table>,
    world: &World,
) -> Value {
    let whole = |name: &Value| {
        let choice = name.as_str().and_then(|name| field.choice(name));
        choice.cloned().unwrap_or(Value::Null)
    };
    let target = |id: &Value| {
        let id = id.as_str().unwrap_or_default();
        let record = linked.and_then(|table| table.records.find(id, crate::host::past::NOW));
        let primary = linked.and_then(|table| table.fields.first());
        let name = record
            .zip(primary)
            .and_then(|(record, field)| record.cells.get(&field.id));
        json!({ "id": id, "name": name.cloned().unwrap_or_else(|| "".into()) })
    };
    match (field.kind.as_str(), value) {
        (_, Value::Null) => Value::Null,
        ("singleSelect", name) => whole(name),
        ("multipleSelects", Value::Array(names)) => names.iter().map(whole).collect(),
        ("multipleRecordLinks", Value::Array(ids)) => ids.iter().map(target).collect(),
        _ => shown(field, value, world),
    }
}

/// `createdTime` and the like.
pub(super) fn stamp(at: i64) -> Value {
    whole_second(at).into()
}

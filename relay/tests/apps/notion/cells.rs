//! Property values: what is taken, and how it is shown. Stored are plain ones, texts in pieces.

use serde_json::{Value, json};

use super::invalid;
use super::schema::Property;
use crate::host::World;
use crate::host::call::Answer;

/// Doc "Request limits": size limits.
const TEXT_MAX: usize = 2_000;
const ITEMS_MAX: usize = 100;

/// What a request sets a property to, by the value's own shape.
pub(super) fn take(property: &Property, given: &Value, world: &World) -> Result<Value, Answer> {
    let kind = property.kind.as_str();
    let wrong = |what: &str| {
        let name = &property.name;
        invalid(format!("body.properties.{name}.{kind} should be {what}."))
    };
    if property.is_computed() {
        let message = format!("{} can not be set: it is computed.", property.name);
        return Err(invalid(message));
    }
    let Some(value) = given.get(kind) else {
        let message = format!("{} is expected to be {kind}.", property.name);
        return Err(invalid(message));
    };
    match (kind, value) {
        ("title" | "rich_text", Value::Array(items)) => take_text(items, world),
        ("title" | "rich_text", _) => Err(wrong("an array")),
        ("checkbox", Value::Bool(_)) => Ok(value.clone()),
        ("checkbox", _) => Err(wrong("a boolean")),
        (_, Value::Null) => Ok(Value::Null),
        ("number", Value::Number(_)) => Ok(value.clone()),
        ("number", _) => Err(wrong("a number")),
        ("url", Value::String(text)) => take_line(text, TEXT_MAX, world),
        ("email" | "phone_number", Value::String(text)) => take_line(text, 200, world),
        ("url" | "email" | "phone_number", _) => Err(wrong("a string")),
        ("select", _) => option(value),
        ("status", _) => {
            let name = option(value)?;
            let is_known = property.options.iter().any(|known| name == *known);
            is_known
                .then_some(name)
                .ok_or_else(|| invalid("Invalid status option."))
        }
        ("multi_select", Value::Array(items)) if items.len() <= ITEMS_MAX => {
            items.iter().map(option).collect()
        }
        ("date", Value::Object(_)) => take_date(value).ok_or_else(|| wrong("a valid date")),
        ("relation", Value::Array(items)) if items.len() <= ITEMS_MAX => {
            Ok(items.iter().map(|item| item["id"].clone()).collect())
        }
        _ => Err(wrong("of its type")),
    }
}

fn take_text(items: &[Value], world: &World) -> Result<Value, Answer> {
    if items.len() > ITEMS_MAX {
        return Err(invalid("rich text should have at most 100 items."));
    }
    let mut pieces = Vec::new();
    for item in items {
        let content = item["text"]["content"].as_str();
        let content = content.ok_or_else(|| invalid("text.content should be defined."))?;
        if content.encode_utf16().count() > TEXT_MAX {
            let message = "body.properties: text.content.length should be ≤ `2000`.";
            return Err(invalid(message));
        }
        pieces.push(Value::from(content));
    }
    let first = pieces.first().and_then(Value::as_str).unwrap_or_default();
    refuse(first, world)?;
    Ok(pieces.into())
}

fn take_line(text: &str, max: usize, world: &World) -> Result<Value, Answer> {
    if text.is_empty() || text.encode_utf16().count() > max {
        return Err(invalid(format!("should have 1 to {max} characters.")));
    }
    refuse(text, world)?;
    Ok(text.into())
}

fn refuse(text: &str, world: &World) -> Result<(), Answer> {
    match world.traps.is_on("refuses") && text.starts_with("refuse") {
        true => Err(invalid("This text is refused.")),
        false => Ok(()),
    }
}

/// By its name; one that is not there yet is made.
fn option(value: &Value) -> Result<Value, Answer> {
    let name = value["name"].as_str().unwrap_or_default();
    match name.is_empty() || name.contains(',') {
        true => Err(invalid("An option has a name without commas.")),
        false => Ok(name.into()),
    }
}

fn take_date(value: &Value) -> Option<Value> {
    let start = value["start"].as_str()?;
    crate::host::clock::parse(start)?;
    Some(json!({ "start": start, "end": value["end"], "time_zone": value["time_zone"] }))
}

/// As a person would write it: texts, numbers, names.
pub(super) fn by_hand(property: &Property, value: &Value) -> Value {
    match (property.kind.as_str(), value) {
        ("title" | "rich_text", Value::String(text)) => json!([text]),
        ("title" | "rich_text" | "multi_select" | "relation", Value::Null) => json!([]),
        ("checkbox", Value::Null) => false.into(),
        ("date", Value::String(start)) => json!({ "start": start, "end": null, "time_zone": null }),
        _ => value.clone(),
    }
}

pub(super) fn as_people_see(property: &Property, value: &Value) -> Value {
    match property.kind.as_str() {
        "title" | "rich_text" => match plain(value).as_str() {
            "" => Value::Null,
            text => text.into(),
        },
        _ => value.clone(),
    }
}

/// The text of pieces, and of anything that is a text itself.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Array(pieces) => pieces.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    }
}

pub(super) fn text_shown(text: &str) -> Value {
    json!({
        "type": "text", "plain_text": text, "href": null,
        "text": { "content": text, "link": null },
        "annotations": { "bold": false, "italic": false, "strikethrough": false,
            "underline": false, "code": false, "color": "default" },
    })
}

pub(super) fn shown(property: &Property, value: &Value, world: &World) -> Value {
    let kind = property.kind.as_str();
    let named = |name: &Value| json!({ "id": name, "name": name, "color": "default" });
    let items = value.as_array().into_iter().flatten();
    let mut cell = json!({ "id": property.id, "type": kind });
    cell[kind] = match kind {
        "title" | "rich_text" => items.filter_map(Value::as_str).map(text_shown).collect(),
        "select" | "status" if value.is_string() => named(value),
        "multi_select" => items.map(named).collect(),
        "relation" => {
            let most = world.traps.number("references-shown").unwrap_or(usize::MAX);
            cell["has_more"] = (items.clone().count() > most).into();
            items.take(most).map(|id| json!({ "id": id })).collect()
        }
        "checkbox" => (*value == true).into(),
        _ => value.clone(),
    };
    cell
}

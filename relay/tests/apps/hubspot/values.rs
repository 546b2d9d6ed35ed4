//! What a property takes, and what it makes of it: values are texts.

use serde_json::{Map, Value, json};

use super::records::Cells;
use super::said;
use super::schema::{Object, Property};
use crate::host::World;
use crate::host::clock::{iso, parse};

/// Characters of a text.
const TEXT_MAX: usize = 65_536;

/// Why a record's properties are not taken: the body of the refusal.
pub(super) type Refused = Value;

impl Object {
    /// Checks and normalises what is to be set; `None` empties.
    pub fn take(
        &self,
        given: &Value,
        world: &World,
    ) -> Result<Vec<(String, Option<String>)>, Refused> {
        let mut taken = Vec::new();
        for (name, value) in given.as_object().unwrap_or(&Map::new()) {
            let Some(property) = self.property(name) else {
                let message = format!("Property \"{name}\" does not exist");
                return Err(refused(name, "PROPERTY_DOESNT_EXIST", &message));
            };
            if property.is_read_only {
                let message =
                    format!("\"{name}\" is a read only property; its value cannot be set.");
                return Err(refused(name, "READ_ONLY_VALUE", &message));
            }
            taken.push((name.clone(), take(self, property, value, world)?));
        }
        Ok(taken)
    }

    /// Whether another record has one of these values, which must be unique.
    pub fn clash(&self, id: Option<&str>, taken: &[(String, Option<String>)]) -> Option<Refused> {
        for (name, value) in taken {
            let Some(value) = value.as_ref().filter(|_| self.is_unique(name)) else {
                continue;
            };
            let Some(other) = self.holder(name, value).filter(|other| Some(*other) != id) else {
                continue;
            };
            return Some(match name == "email" {
                true => said(
                    "CONFLICT",
                    format!("Contact already exists. Existing ID: {other}"),
                    json!([]),
                ),
                false => {
                    let noun = self.noun();
                    let message = format!("{noun} with id {other} already has that value.");
                    refused(name, "CONFLICTING_UNIQUE_VALUE", &message)
                }
            });
        }
        None
    }
}

fn take(
    object: &Object,
    property: &Property,
    value: &Value,
    world: &World,
) -> Result<Option<String>, Refused> {
    let name = &property.name;
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_text = property.kind == "string" && !object.is_unique(name);
    let text = match is_text && !world.traps.is_on("trims") {
        true => text,
        false => text.trim().to_owned(),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let wrong =
        |code: &str, what: &str| Err(refused(name, code, &format!("{text} was not {what}.")));
    Ok(Some(match property.kind.as_str() {
        "number" if text.parse::<f64>().is_ok_and(f64::is_finite) => text,
        "number" => return wrong("INVALID_NUMBER", "a valid number"),
        "bool" => match text.to_lowercase().as_str() {
            known @ ("true" | "false") => known.to_owned(),
            _ => return wrong("INVALID_BOOLEAN", "true or false"),
        },
        "date" => match moment(&text).filter(|at| at.rem_euclid(86_400_000) == 0) {
            Some(at) => iso(at)[..10].to_owned(),
            None => return wrong("INVALID_DATE", "a valid date"),
        },
        "datetime" => match moment(&text) {
            Some(at) => iso(at),
            None => return wrong("INVALID_DATE", "a valid date"),
        },
        "enumeration" => {
            let parts: Vec<&str> = match property.is_multiple() {
                true => text.split(';').filter(|part| !part.is_empty()).collect(),
                false => vec![&text],
            };
            if parts
                .iter()
                .any(|part| !property.options.iter().any(|known| known == part))
            {
                return wrong("INVALID_OPTION", "one of the allowed options");
            }
            parts.join(";")
        }
        _ if text.chars().count() > TEXT_MAX => {
            return wrong("PROPERTY_VALUE_TOO_LONG", "of 65536 characters at most");
        }
        _ if world.traps.is_on("refuses") && text.starts_with("refuse") => {
            return wrong("INVALID_VALUE", "to the double's liking");
        }
        _ if object.name == "contacts" && name == "email" => match text.contains('@') {
            true => text.to_lowercase(),
            false => return wrong("INVALID_EMAIL", "a valid email address"),
        },
        _ => text,
    }))
}

/// A date in ISO form, or in milliseconds since 1970.
pub(super) fn moment(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| parse(text))
}

fn refused(name: &str, code: &str, message: &str) -> Refused {
    let errors = json!([
        { "message": message, "code": code, "context": { "propertyName": [name] } }
    ]);
    let all = json!([{ "isValid": false, "message": message, "error": code, "name": name }]);
    let message = format!("Property values were not valid: {all}");
    said("VALIDATION_ERROR", message, errors)
}

/// Sets them.
pub(super) fn set(cells: &mut Cells, taken: Vec<(String, Option<String>)>) {
    for (name, value) in taken {
        match value {
            Some(value) => cells.insert(name, value),
            None => cells.remove(&name),
        };
    }
}

//! Objects and their properties.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::records::Record;
use super::{HubSpot, body, failure, invalid, missing_scopes};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::past::Past;

#[derive(Debug)]
pub(super) struct Object {
    pub name: String,
    pub type_id: String,
    /// The property that tells when a record was modified.
    pub modified: &'static str,
    pub properties: Vec<Property>,
    pub records: Past<Record>,
    /// What became of ids that were merged away.
    pub merged: HashMap<String, String>,
    /// Which record has which unique value.
    pub holders: HashMap<(String, String), String>,
}

#[derive(Clone, Debug)]
pub(super) struct Property {
    pub name: String,
    /// `string`, `number`, …
    pub kind: String,
    /// `text`, `checkbox`, …
    pub field_type: String,
    pub options: Vec<String>,
    pub is_unique: bool,
    pub is_read_only: bool,
    /// How a number is shown.
    pub hint: Option<String>,
}

const KINDS: [&str; 7] = [
    "string",
    "number",
    "date",
    "datetime",
    "bool",
    "enumeration",
    "phone_number",
];

impl Property {
    fn new(name: &str, kind: &str, field_type: &str) -> Property {
        Property {
            name: name.to_owned(),
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            options: Vec::new(),
            is_unique: false,
            is_read_only: false,
            hint: None,
        }
    }

    fn computed(name: &str, kind: &str) -> Property {
        Property {
            is_read_only: true,
            ..Property::new(name, kind, "text")
        }
    }

    /// As the API is asked to create one.
    pub fn from(wish: &Value) -> Result<Property, String> {
        let text = |name: &str| wish[name].as_str().unwrap_or_default();
        if !KINDS.contains(&text("type")) || text("name").is_empty() {
            return Err(format!("{}: there is no such type", text("type")));
        }
        let mut property = Property::new(text("name"), text("type"), text("fieldType"));
        let options = wish["options"].as_array().into_iter().flatten();
        let value = |option: &Value| Some(option["value"].as_str()?.to_owned());
        property.options = options.filter_map(value).collect();
        property.is_unique = wish["hasUniqueValue"] == true;
        property.hint = wish["numberDisplayHint"].as_str().map(str::to_owned);
        Ok(property)
    }

    /// Several choices at once.
    pub fn is_multiple(&self) -> bool {
        self.kind == "enumeration" && self.field_type == "checkbox"
    }

    fn shown(&self) -> Value {
        let options = match self.kind.as_str() {
            "bool" => vec!["true".to_owned(), "false".to_owned()],
            _ => self.options.clone(),
        };
        let options = options.iter().enumerate();
        let options: Vec<Value> = options
            .map(|(number, value)| {
                json!({ "label": value, "value": value, "displayOrder": number, "hidden": false })
            })
            .collect();
        json!({
            "name": self.name, "label": self.name, "type": self.kind, "fieldType": self.field_type,
            "description": "", "groupName": "information", "options": options, "displayOrder": -1,
            "calculated": false, "externalOptions": false, "hasUniqueValue": self.is_unique,
            "hidden": false, "formField": true, "numberDisplayHint": self.hint,
            "modificationMetadata": { "archivable": true, "readOnlyDefinition": false,
                "readOnlyValue": self.is_read_only },
        })
    }
}

impl Object {
    /// What every account has.
    pub fn standard() -> Vec<Object> {
        let text = |name: &str| Property::new(name, "string", "text");
        let choice = |name: &str, options: &[&str]| Property {
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Property::new(name, "enumeration", "select")
        };
        let contacts = vec![
            text("email"),
            text("firstname"),
            text("lastname"),
            Property::new("phone", "string", "phonenumber"),
            choice("lifecyclestage", &["lead", "customer"]),
        ];
        let companies = vec![text("name"), text("domain")];
        let deals = vec![
            text("dealname"),
            Property::new("amount", "number", "number"),
            Property::new("closedate", "datetime", "date"),
            choice("dealstage", &["appointmentscheduled", "closedwon"]),
        ];
        let tickets = vec![text("subject")];
        let modified = "hs_lastmodifieddate";
        vec![
            Object::new("contacts", "0-1", "lastmodifieddate", contacts),
            Object::new("companies", "0-2", modified, companies),
            Object::new("deals", "0-3", modified, deals),
            Object::new("tickets", "0-5", modified, tickets),
        ]
    }

    pub fn new(name: &str, type_id: &str, modified: &'static str, more: Vec<Property>) -> Object {
        let mut properties = vec![
            Property::computed("hs_object_id", "number"),
            Property::computed("createdate", "datetime"),
            Property::computed(modified, "datetime"),
            Property::computed("hs_merged_object_ids", "enumeration"),
        ];
        properties.extend(more);
        Object {
            name: name.to_owned(),
            type_id: type_id.to_owned(),
            modified,
            properties,
            records: Past::default(),
            merged: HashMap::new(),
            holders: HashMap::new(),
        }
    }

    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|known| known.name == name)
    }

    /// Whether no two records may have the same value: of contacts, e-mail is so by itself.
    pub fn is_unique(&self, name: &str) -> bool {
        let is_email = self.name == "contacts" && name == "email";
        is_email || self.property(name).is_some_and(|of| of.is_unique)
    }

    /// `CONTACT`, as messages call it.
    pub fn noun(&self) -> String {
        let name = self.name.to_uppercase();
        match name.strip_suffix("IES") {
            Some(stem) => format!("{stem}Y"),
            None => name.trim_end_matches('S').to_owned(),
        }
    }
}

impl HubSpot {
    /// By its name or its type id.
    pub(super) fn named(&mut self, name: &str) -> Result<&mut Object, String> {
        let mut objects = self.objects.iter_mut();
        let found = objects.find(|object| object.name == name || object.type_id == name);
        found.ok_or_else(|| format!("{name}: there is no such object"))
    }

    pub(super) fn object(&mut self, call: &Call, world: &World) -> Result<&mut Object, Answer> {
        let name = call.param(0);
        let object = self.named(name).map_err(|_| {
            let message = format!("Unable to infer object type from: {name}");
            failure(400, "VALIDATION_ERROR", message)
        })?;
        if object.name == "deals" && world.traps.is_on("no-deals") {
            return Err(missing_scopes());
        }
        Ok(object)
    }

    /// Objects of one's own.
    pub(super) fn list_schemas(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        let own = self
            .objects
            .iter()
            .filter(|of| of.type_id.starts_with("2-"));
        let own: Vec<Value> = own
            .map(|object| {
                json!({ "id": object.type_id, "objectTypeId": object.type_id,
                    "fullyQualifiedName": format!("p{}_{}", self.portal, object.name),
                    "name": object.name, "labels": { "singular": object.name },
                    "properties": [], "requiredProperties": [], "associations": [] })
            })
            .collect();
        Ok(Answer::ok(&json!({ "results": own })))
    }

    pub(super) fn list_properties(&mut self, call: &Call, world: &mut World) -> Outcome {
        let object = self.object(call, world)?;
        let shown: Vec<Value> = object.properties.iter().map(Property::shown).collect();
        Ok(Answer::ok(&json!({ "results": shown })))
    }

    pub(super) fn create_property(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let object = self.object(call, world)?;
        let property = Property::from(&wish).map_err(invalid)?;
        if object.property(&property.name).is_some() {
            let message = format!("A property named '{}' already exists.", property.name);
            return Err(failure(409, "OBJECT_ALREADY_EXISTS", message));
        }
        let shown = property.shown();
        object.properties.push(property);
        Ok(Answer::json(201, &shown))
    }
}

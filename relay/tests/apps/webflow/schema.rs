//! Collections and their fields. Each has a name and a slug.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::items::Item;
use super::{Webflow, bad_request, body, invalid, not_found};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::ids::Ids;
use crate::host::past::Past;

#[derive(Debug)]
pub(super) struct Collection {
    pub id: String,
    pub name: String,
    pub fields: Vec<Field>,
    pub items: Past<Item>,
    /// Which item has which slug.
    pub slugs: HashMap<String, String>,
    /// Slugs of live copies whose items are gone: they stay until the site is published.
    pub ghosts: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub id: String,
    pub slug: String,
    pub name: String,
    /// `PlainText`, `Number`, …
    pub kind: String,
    pub is_required: bool,
    pub is_editable: bool,
    pub validations: Value,
}

const KINDS: [&str; 16] = [
    "PlainText",
    "RichText",
    "Email",
    "Phone",
    "Link",
    "VideoLink",
    "Color",
    "Number",
    "Switch",
    "DateTime",
    "Option",
    "Reference",
    "MultiReference",
    "Image",
    "MultiImage",
    "File",
];

impl Field {
    /// As the API is asked to create one; options get ids.
    pub fn from(wish: &Value, ids: &mut Ids) -> Result<Field, String> {
        let kind = wish["type"].as_str().unwrap_or_default();
        let name = wish["displayName"].as_str().unwrap_or_default();
        if !KINDS.contains(&kind) || name.is_empty() {
            return Err(format!("{kind} {name}: there is no such field"));
        }
        let metadata = &wish["metadata"];
        let validations = match kind {
            "Option" => {
                let options = metadata["options"].as_array().into_iter().flatten();
                let options: Vec<Value> = options
                    .map(|option| json!({ "name": option["name"], "id": ids.hex(32) }))
                    .collect();
                json!({ "options": options })
            }
            "Reference" | "MultiReference" => json!({ "collectionId": metadata["collectionId"] }),
            _ => wish.get("validations").cloned().unwrap_or(json!({})),
        };
        Ok(Field {
            id: ids.hex(32),
            slug: slugged(name),
            name: name.to_owned(),
            kind: kind.to_owned(),
            is_required: wish["isRequired"] == true,
            is_editable: wish["isEditable"] != false,
            validations,
        })
    }

    pub fn options(&self) -> Vec<(&str, &str)> {
        let options = self.validations["options"].as_array().into_iter().flatten();
        options
            .filter_map(|option| Some((option["id"].as_str()?, option["name"].as_str()?)))
            .collect()
    }

    fn shown(&self) -> Value {
        json!({
            "id": self.id, "slug": self.slug, "displayName": self.name, "type": self.kind,
            "isRequired": self.is_required, "isEditable": self.is_editable, "helpText": null,
            "validations": self.validations,
        })
    }
}

/// Lower case, digits and hyphens.
pub(super) fn slugged(name: &str) -> String {
    let mut slug = String::new();
    for character in name.to_lowercase().chars() {
        match character {
            'a'..='z' | '0'..='9' | '_' => slug.push(character),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.trim_matches('-').to_owned()
}

impl Collection {
    pub fn make(name: &str, more: Vec<Field>, ids: &mut Ids) -> Collection {
        let always = ["Name", "Slug"].map(|name| Field {
            id: ids.hex(32),
            slug: slugged(name),
            name: name.to_owned(),
            kind: "PlainText".to_owned(),
            is_required: true,
            is_editable: true,
            validations: json!({ "maxLength": 256 }),
        });
        let fields = always.into_iter().chain(more).collect();
        Collection {
            id: ids.hex(24),
            name: name.to_owned(),
            fields,
            items: Past::default(),
            slugs: HashMap::new(),
            ghosts: Vec::new(),
        }
    }

    pub fn field(&self, slug: &str) -> Option<&Field> {
        self.fields.iter().find(|known| known.slug == slug)
    }

    fn shown(&self, has_fields: bool) -> Value {
        let mut shown = json!({
            "id": self.id, "displayName": self.name, "singularName": self.name,
            "slug": slugged(&self.name), "createdOn": "2026-01-01T00:00:00.000Z",
            "lastUpdated": "2026-01-01T00:00:00.000Z",
        });
        if has_fields {
            let fields: Vec<Value> = self.fields.iter().map(Field::shown).collect();
            shown["fields"] = fields.into();
        }
        shown
    }
}

impl Webflow {
    pub(super) fn collection(&mut self, call: &Call) -> Result<&mut Collection, Answer> {
        let mut collections = self.collections.iter_mut();
        let found = collections.find(|collection| collection.id == call.param(0));
        found.ok_or_else(|| not_found("collection"))
    }

    /// By hand: by its name or its id.
    pub(super) fn named(&mut self, name: &str) -> Result<&mut Collection, String> {
        let mut collections = self.collections.iter_mut();
        let found = collections.find(|of| of.name == name || of.id == name);
        found.ok_or_else(|| format!("{name}: there is no such collection"))
    }

    pub(super) fn list_collections(&mut self, call: &Call, _world: &mut World) -> Outcome {
        self.at_site(call)?;
        let shown: Vec<Value> = self.collections.iter().map(|of| of.shown(false)).collect();
        Ok(Answer::ok(&json!({ "collections": shown })))
    }

    pub(super) fn read_collection(&mut self, call: &Call, _world: &mut World) -> Outcome {
        Ok(Answer::ok(&self.collection(call)?.shown(true)))
    }

    pub(super) fn create_field(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let collection = self.collection(call)?;
        let field = Field::from(&wish, &mut world.ids).map_err(bad_request)?;
        if collection.field(&field.slug).is_some() {
            return Err(invalid("displayName", "A field of that name exists"));
        }
        let mut shown = field.shown();
        shown["metadata"] = wish["metadata"].clone();
        collection.fields.push(field);
        Ok(Answer::json(202, &shown))
    }
}

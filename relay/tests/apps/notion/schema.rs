//! Data sources and their properties, each data source in a database of its own.

use serde_json::{Map, Value, json};

use super::pages::Page;
use super::{Notion, body, invalid, not_found, versioned};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::ids::Ids;
use crate::host::past::Past;

#[derive(Debug)]
pub(super) struct DataSource {
    pub id: String,
    pub database: String,
    pub name: String,
    pub properties: Vec<Property>,
    pub pages: Past<Page>,
}

#[derive(Clone, Debug)]
pub(super) struct Property {
    pub id: String,
    pub name: String,
    /// `title`, `rich_text`, …
    pub kind: String,
    /// Names of a select's or status' options.
    pub options: Vec<String>,
}

const KINDS: [&str; 14] = [
    "title",
    "rich_text",
    "url",
    "email",
    "phone_number",
    "number",
    "checkbox",
    "select",
    "status",
    "multi_select",
    "date",
    "relation",
    "created_time",
    "last_edited_time",
];

impl Property {
    pub fn make(
        name: &str,
        kind: &str,
        options: &Value,
        ids: &mut Ids,
    ) -> Result<Property, String> {
        if !KINDS.contains(&kind) {
            return Err(format!("{kind}: Notion's double has no such property"));
        }
        let options = options.as_array().into_iter().flatten();
        let options = options.filter_map(|name| Some(name.as_str()?.to_owned()));
        Ok(Property {
            // A title is called so; other ids are short and encoded.
            id: match kind {
                "title" => "title".to_owned(),
                _ => format!("%3A{}", ids.letters("", 4)),
            },
            name: name.to_owned(),
            kind: kind.to_owned(),
            options: options.collect(),
        })
    }

    pub fn is_computed(&self) -> bool {
        matches!(self.kind.as_str(), "created_time" | "last_edited_time")
    }

    fn shown(&self) -> Value {
        let kind = &self.kind;
        let more = match kind.as_str() {
            "select" | "status" | "multi_select" => {
                let option =
                    |name: &String| json!({ "id": name, "name": name, "color": "default" });
                json!({ "options": self.options.iter().map(option).collect::<Vec<_>>() })
            }
            "number" => json!({ "format": "number" }),
            _ => json!({}),
        };
        json!({ "id": self.id, "name": self.name, "type": kind, "description": null, kind: more })
    }
}

impl DataSource {
    /// By its id or its name. The id of the title is `title`, whatever else is called so.
    pub fn property(&self, id_or_name: &str) -> Result<&Property, Answer> {
        let by_id = self.properties.iter().find(|known| known.id == id_or_name);
        let found = by_id.or_else(|| self.called(id_or_name));
        found.ok_or_else(|| invalid(format!("{id_or_name} is not a property that exists.")))
    }

    /// As people know it.
    pub fn called(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|known| known.name == name)
    }

    pub fn called_mut(&mut self, name: &str) -> Option<&mut Property> {
        self.properties.iter_mut().find(|known| known.name == name)
    }

    fn shown(&self) -> Value {
        let properties = self.properties.iter();
        let properties: Map<String, Value> = properties
            .map(|property| (property.name.clone(), property.shown()))
            .collect();
        json!({
            "object": "data_source", "id": self.id, "properties": properties,
            "title": [super::cells::text_shown(&self.name)], "description": [],
            "parent": { "type": "database_id", "database_id": self.database },
            "database_parent": { "type": "workspace", "workspace": true },
            "archived": false, "in_trash": false, "is_inline": false, "icon": null, "cover": null,
            "created_time": "2026-01-01T00:00:00.000Z", "last_edited_time": "2026-01-01T00:00:00.000Z",
            "created_by": { "object": "user", "id": self.database },
            "last_edited_by": { "object": "user", "id": self.database },
            "url": format!("https://www.notion.so/{}", self.id), "public_url": null,
        })
    }
}

impl Notion {
    pub(super) fn source(&mut self, id: &str) -> Result<&mut DataSource, Answer> {
        let found = self.sources.iter_mut().find(|source| source.id == id);
        found.ok_or_else(|| not_found("data_source", id))
    }

    pub(super) fn read_source(&mut self, call: &Call, _world: &mut World) -> Outcome {
        versioned(call)?;
        Ok(Answer::ok(&self.source(call.param(0))?.shown()))
    }

    pub(super) fn read_database(&mut self, call: &Call, _world: &mut World) -> Outcome {
        versioned(call)?;
        let id = call.param(0);
        let of_it = self.sources.iter().filter(|source| source.database == id);
        let sources: Vec<Value> = of_it
            .map(|source| json!({ "id": source.id, "name": source.name }))
            .collect();
        if sources.is_empty() {
            return Err(not_found("database", id));
        }
        Ok(Answer::ok(
            &json!({ "object": "database", "id": id, "data_sources": sources }),
        ))
    }

    /// Of data sources: pages are queried, not searched.
    pub(super) fn search(&mut self, call: &Call, _world: &mut World) -> Outcome {
        versioned(call)?;
        let wish = body(call)?;
        let filter = &wish["filter"];
        let value = filter["value"].as_str();
        if value.is_some_and(|value| value != "data_source" && value != "page") {
            let message = "body.filter.value should be `\"page\"` or `\"data_source\"`.";
            return Err(invalid(message));
        }
        let shown = self.sources.iter().filter(|_| value != Some("page"));
        let results: Vec<Value> = shown.map(DataSource::shown).collect();
        Ok(Answer::ok(&json!({
            "object": "list", "results": results, "next_cursor": null, "has_more": false,
            "type": "page_or_data_source", "page_or_data_source": {},
        })))
    }
}

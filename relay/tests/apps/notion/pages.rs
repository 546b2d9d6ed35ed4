//! One page: made, read, changed, put into the trash. There is no call for several.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::cells::{shown, take};
use super::schema::DataSource;
use super::{Notion, body, invalid, not_found, versioned};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::{Stamp, floor, iso};
use crate::host::past::NOW;

/// Cells by property id.
pub(super) type Cells = BTreeMap<String, Value>;

#[derive(Clone, Debug)]
pub(super) struct Page {
    pub created: Stamp,
    pub edited: Stamp,
    pub in_trash: bool,
    pub cells: Cells,
}

/// A moment as pages show it.
pub(super) fn stamp(at: Stamp, world: &World) -> String {
    iso(floor(at, world.traps.ms("stamps").max(1)))
}

impl DataSource {
    fn take_all(&mut self, given: &Value, world: &World) -> Result<Cells, Answer> {
        let mut cells = Cells::new();
        let given = given.as_object();
        for (name, value) in given.into_iter().flatten() {
            let property = self.property(name)?.clone();
            let taken = take(&property, value, world)?;
            self.make_options(&property.id, &taken);
            cells.insert(property.id, taken);
        }
        Ok(cells)
    }

    /// A choice that is not there is made.
    fn make_options(&mut self, id: &str, taken: &Value) {
        let found = self
            .properties
            .iter_mut()
            .find(|property| property.id == id);
        let Some(property) = found.filter(|property| property.kind.ends_with("select")) else {
            return;
        };
        let names = match taken {
            Value::Array(names) => names.as_slice(),
            name => std::slice::from_ref(name),
        };
        for name in names.iter().filter_map(Value::as_str) {
            if !property.options.iter().any(|known| known == name) {
                property.options.push(name.to_owned());
            }
        }
    }

    pub fn insert(&mut self, cells: Cells, world: &mut World) -> String {
        let id = world.ids.uuid();
        let page = Page {
            created: world.now,
            edited: world.now,
            in_trash: false,
            cells,
        };
        self.pages.put(&id, page, world.now);
        id
    }

    pub fn set(&mut self, id: &str, cells: Cells, world: &World) {
        if let Some(mut page) = self.pages.find(id, NOW).cloned() {
            page.cells.extend(cells);
            page.edited = world.now;
            self.pages.put(id, page, world.now);
        }
    }

    /// Into the trash or out of it.
    pub fn trash(&mut self, id: &str, in_trash: bool, world: &World) {
        if let Some(mut page) = self.pages.find(id, NOW).cloned() {
            page.in_trash = in_trash;
            if in_trash || !world.traps.is_on("restores-unstamped") {
                page.edited = world.now;
            }
            self.pages.put(id, page, world.now);
        }
    }

    pub fn page_shown(&self, id: &str, page: &Page, world: &World) -> Value {
        let (created, edited) = (stamp(page.created, world), stamp(page.edited, world));
        let cell = |property: &super::schema::Property| {
            let value = match property.kind.as_str() {
                "created_time" => created.as_str().into(),
                "last_edited_time" => edited.as_str().into(),
                _ => page.cells.get(&property.id).cloned().unwrap_or_default(),
            };
            (property.name.clone(), shown(property, &value, world))
        };
        let properties: Map<String, Value> = self.properties.iter().map(cell).collect();
        json!({
            "object": "page", "id": id, "created_time": created, "last_edited_time": edited,
            "created_by": { "object": "user", "id": self.database },
            "last_edited_by": { "object": "user", "id": self.database },
            "cover": null, "icon": null, "archived": page.in_trash, "in_trash": page.in_trash,
            "parent": { "type": "data_source_id", "data_source_id": self.id,
                "database_id": self.database },
            "properties": properties,
            "url": format!("https://www.notion.so/{id}"), "public_url": null,
        })
    }
}

impl Notion {
    /// The data source in which a page is.
    pub(super) fn home(&mut self, id: &str, seen: Stamp) -> Result<&mut DataSource, Answer> {
        let has = |source: &&mut DataSource| source.pages.find(id, seen).is_some();
        let found = self.sources.iter_mut().find(has);
        found.ok_or_else(|| not_found("page", id))
    }

    pub(super) fn create_page(&mut self, call: &Call, world: &mut World) -> Outcome {
        versioned(call)?;
        let wish = body(call)?;
        let id = wish["parent"]["data_source_id"].as_str();
        let id = id.ok_or_else(|| invalid("body.parent.data_source_id should be defined."))?;
        let source = self.source(id)?;
        let cells = source.take_all(&wish["properties"], world)?;
        let id = source.insert(cells, world);
        let page = source.pages.find(&id, NOW);
        Ok(Answer::ok(&page.map_or(Value::Null, |page| {
            source.page_shown(&id, page, world)
        })))
    }

    pub(super) fn read_page(&mut self, call: &Call, world: &mut World) -> Outcome {
        versioned(call)?;
        let (id, seen) = (call.param(0), world.seen("stale-reads"));
        let source = self.home(id, seen)?;
        let page = source.pages.find(id, seen);
        let page = page.ok_or_else(|| not_found("page", id))?;
        Ok(Answer::ok(&source.page_shown(id, page, world)))
    }

    pub(super) fn update_page(&mut self, call: &Call, world: &mut World) -> Outcome {
        versioned(call)?;
        let wish = body(call)?;
        let id = call.param(0);
        let source = self.home(id, NOW)?;
        let is_in_trash = source.pages.find(id, NOW).is_some_and(|page| page.in_trash);
        let trash = wish["in_trash"].as_bool().or(wish["archived"].as_bool());
        if is_in_trash && trash != Some(false) {
            let message = "Can't edit block that is archived. You must unarchive the block before \
                           editing.";
            return Err(invalid(message));
        }
        let cells = source.take_all(&wish["properties"], world)?;
        if !cells.is_empty() {
            source.set(id, cells, world);
        }
        if let Some(in_trash) = trash {
            source.trash(id, in_trash, world);
        }
        let page = source.pages.find(id, NOW);
        Ok(Answer::ok(&page.map_or(Value::Null, |page| {
            source.page_shown(id, page, world)
        })))
    }
}

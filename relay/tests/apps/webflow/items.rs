//! Items: made, changed and deleted, one or up to 100 in a call, all of them or none.

use serde_json::{Value, json};

use super::schema::Collection;
use super::values::Cells;
use super::{Webflow, bad_request, body, invalid, not_found};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::{Stamp, iso};
use crate::host::past::NOW;

/// Items of one call: reference, "Create items".
const ITEMS_MAX: usize = 100;

/// The staged copy, and the live one's values.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub created: Stamp,
    pub updated: Stamp,
    pub published: Option<Stamp>,
    pub is_draft: bool,
    pub is_archived: bool,
    pub cells: Cells,
    pub live: Option<Cells>,
}

impl Collection {
    /// The staged copy as it is now.
    pub fn item(&self, id: &str) -> Option<&Item> {
        self.items.find(id, NOW)
    }

    pub fn put(&mut self, id: &str, item: Item, world: &World) {
        let slug = |item: &Item| Some(item.cells["slug"].as_str()?.to_owned());
        if let Some(before) = self.item(id).and_then(slug) {
            self.slugs.remove(&before);
        }
        if let Some(slug) = slug(&item) {
            self.slugs.insert(slug, id.to_owned());
        }
        self.items.put(id, item, world.now);
    }

    /// The values of a new item, whose slug nobody has.
    pub fn fresh(
        &self,
        given: &Value,
        reserved: &mut Vec<String>,
        world: &mut World,
    ) -> Result<Cells, Answer> {
        let mut cells = self.take(given, world)?;
        cells.retain(|_, value| !value.is_null());
        let name = cells.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| invalid("name", "Field is required"))?;
        let slug = match cells.get("slug").and_then(Value::as_str) {
            Some(slug) => slug.to_owned(),
            None => self.free_slug(name, reserved, world),
        };
        if self.is_taken(&slug, "") || reserved.contains(&slug) {
            return Err(taken(&slug));
        }
        reserved.push(slug.clone());
        cells.insert("slug".to_owned(), slug.into());
        Ok(cells)
    }

    pub fn insert(&mut self, cells: Cells, of: &Value, world: &mut World) -> String {
        let id = world.ids.hex(24);
        let item = Item {
            created: world.now,
            updated: world.now,
            published: None,
            // A draft unless told otherwise.
            is_draft: of["isDraft"] != false,
            is_archived: of["isArchived"] == true,
            cells,
            live: None,
        };
        self.put(&id, item, world);
        id
    }

    /// The item as it would be with these values.
    pub fn changed(&self, id: &str, of: &Value, world: &World) -> Result<Item, Answer> {
        let mut item = self.item(id).cloned().ok_or_else(|| not_found("item"))?;
        for (slug, value) in self.take(&of["fieldData"], world)? {
            if slug == "slug" && self.is_taken(value.as_str().unwrap_or_default(), id) {
                return Err(taken(value.as_str().unwrap_or_default()));
            }
            match value {
                Value::Null => item.cells.remove(&slug),
                value => item.cells.insert(slug, value),
            };
        }
        item.is_draft = of["isDraft"].as_bool().unwrap_or(item.is_draft);
        item.is_archived = of["isArchived"].as_bool().unwrap_or(item.is_archived);
        item.updated = world.now;
        Ok(item)
    }

    pub fn delete(&mut self, id: &str, world: &World) -> bool {
        let Some(item) = self.items.remove(id, world.now) else {
            return false;
        };
        if let Some(slug) = item.cells["slug"].as_str() {
            self.slugs.remove(slug);
        }
        // The live copy stays until the site is published.
        let ghost = item
            .live
            .and_then(|live| Some(live["slug"].as_str()?.to_owned()));
        self.ghosts.extend(ghost);
        true
    }

    pub fn item_shown(&self, id: &str) -> Value {
        self.item(id).map_or(Value::Null, |item| shown(id, item))
    }
}

/// As the API shows it.
pub(super) fn shown(id: &str, item: &Item) -> Value {
    json!({
        "id": id, "cmsLocaleId": null, "lastPublished": item.published.map(iso),
        "lastUpdated": iso(item.updated), "createdOn": iso(item.created),
        "isArchived": item.is_archived, "isDraft": item.is_draft, "fieldData": item.cells,
    })
}

fn taken(slug: &str) -> Answer {
    let description = format!("Unique value is already in database: '{slug}'");
    invalid("slug", description)
}

/// The items of a call, if they are not too many.
pub(super) fn listed(wish: &Value, world: &World) -> Result<Vec<Value>, Answer> {
    let items = wish["items"].as_array().cloned().unwrap_or_default();
    let locales = world.traps.number("locales").unwrap_or(1).max(1);
    match items.len() * locales {
        0 => Err(bad_request("Bad Request: items are missing")),
        count if count > ITEMS_MAX => Err(bad_request("Bad Request: at most 100 items")),
        _ => Ok(items),
    }
}

pub(super) fn ids_of(items: &[Value]) -> Vec<&str> {
    let ids = items.iter().map(|item| item["id"].as_str());
    ids.map(Option::unwrap_or_default).collect()
}

/// Several in the order of the call, or in another where that is a trap.
fn answered(status: u16, mut items: Vec<Value>, world: &mut World) -> Answer {
    if world.traps.is_on("shuffled-results") {
        items.sort_by_cached_key(|_| world.ids.number());
    }
    Answer::json(status, &json!({ "items": items }))
}

impl Webflow {
    /// References of all items, before anything is written.
    fn check(&mut self, call: &Call, items: &[Value]) -> Result<(), Answer> {
        let id = self.collection(call)?.id.clone();
        let collection = self.collections.iter().find(|of| of.id == id);
        let collection = collection.ok_or_else(|| not_found("collection"))?;
        let mut given = items.iter().map(|item| &item["fieldData"]);
        given.try_for_each(|given| self.check_references(collection, given))
    }

    pub(super) fn create_items(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let is_one = !wish["fieldData"].is_null();
        if is_one && !wish["items"].is_null() {
            return Err(bad_request("Bad Request: either fieldData or items"));
        }
        let items = if is_one {
            vec![wish]
        } else {
            listed(&wish, world)?
        };
        self.check(call, &items)?;
        let collection = self.collection(call)?;
        let mut reserved = Vec::new();
        let mut fresh = Vec::with_capacity(items.len());
        for item in &items {
            fresh.push(collection.fresh(&item["fieldData"], &mut reserved, world)?);
        }
        let made: Vec<Value> = fresh
            .into_iter()
            .zip(&items)
            .map(|(cells, of)| {
                let id = collection.insert(cells, of, world);
                collection.item_shown(&id)
            })
            .collect();
        Ok(match is_one {
            true => Answer::json(202, &made[0]),
            false => answered(202, made, world),
        })
    }

    pub(super) fn update_items(&mut self, call: &Call, world: &mut World) -> Outcome {
        let items = listed(&body(call)?, world)?;
        self.check(call, &items)?;
        let collection = self.collection(call)?;
        let mut changed = Vec::with_capacity(items.len());
        for of in &items {
            let id = of["id"].as_str().unwrap_or_default();
            changed.push((id, collection.changed(id, of, world)?));
        }
        let mut done = Vec::with_capacity(items.len());
        for (id, item) in changed {
            done.push(shown(id, &item));
            collection.put(id, item, world);
        }
        Ok(answered(200, done, world))
    }

    pub(super) fn delete_items(&mut self, call: &Call, world: &mut World) -> Outcome {
        let items = listed(&body(call)?, world)?;
        let collection = self.collection(call)?;
        let ids = ids_of(&items);
        if ids.iter().any(|id| collection.item(id).is_none()) {
            return Err(not_found("item"));
        }
        for id in ids {
            collection.delete(id, world);
        }
        Ok(Answer::empty(204))
    }

    /// As it is now, whatever lists see.
    pub(super) fn read_item(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let collection = self.collection(call)?;
        let id = call.param(1);
        let item = collection.item(id).ok_or_else(|| not_found("item"))?;
        Ok(Answer::ok(&shown(id, item)))
    }

    pub(super) fn update_item(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        self.check(call, std::slice::from_ref(&wish))?;
        let collection = self.collection(call)?;
        let item = collection.changed(call.param(1), &wish, world)?;
        collection.put(call.param(1), item, world);
        Ok(Answer::ok(&collection.item_shown(call.param(1))))
    }

    pub(super) fn delete_item(&mut self, call: &Call, world: &mut World) -> Outcome {
        let collection = self.collection(call)?;
        match collection.delete(call.param(1), world) {
            true => Ok(Answer::empty(204)),
            false => Err(not_found("item")),
        }
    }
}

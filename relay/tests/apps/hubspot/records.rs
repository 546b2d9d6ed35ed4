//! Records: one at a time, lists of all of them, and of what is archived.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::schema::Object;
use super::values::{Refused, set};
use super::{HubSpot, body, failure, invalid};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::{Stamp, iso};
use crate::host::past::NOW;

/// Records of one page: reference, "List".
const PAGE_MAX: usize = 100;
/// What is archived can be restored for so long.
const ARCHIVED_MS: i64 = 90 * 86_400_000;

/// Values by property; what is empty is not there.
pub(super) type Cells = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub created: Stamp,
    pub updated: Stamp,
    pub archived: Option<Stamp>,
    /// Ids that were merged into it.
    pub replaces: Vec<String>,
    pub cells: Cells,
}

impl Object {
    /// The record that has the id today, which is another one's where it was merged away.
    pub fn resolve<'a>(&'a self, id: &'a str) -> &'a str {
        let mut id = id;
        while let Some(survivor) = self.merged.get(id) {
            id = survivor;
        }
        id
    }

    /// Which record has this value of a property whose values are unique; archived ones have none.
    pub fn holder(&self, name: &str, value: &str) -> Option<&str> {
        let key = (name.to_owned(), value.to_owned());
        self.holders.get(&key).map(String::as_str)
    }

    /// By its id, or by a property whose values are unique.
    pub fn find(&self, id: &str, by: Option<&str>) -> Option<(String, &Record)> {
        let id = id.trim();
        let id = match by {
            None | Some("hs_object_id") => self.resolve(id),
            Some(name) => {
                let lower = self.holder(name, &id.to_lowercase());
                lower.or_else(|| self.holder(name, id))?
            }
        };
        Some((id.to_owned(), self.records.find(id, NOW)?))
    }

    fn put(&mut self, id: &str, record: Record, now: Stamp) {
        self.leave(id);
        for (name, value) in &record.cells {
            if self.is_unique(name) && record.archived.is_none() {
                let key = (name.clone(), value.clone());
                self.holders.insert(key, id.to_owned());
            }
        }
        self.records.put(id, record, now);
    }

    /// Its unique values are free again.
    fn leave(&mut self, id: &str) {
        let was = self.records.find(id, NOW);
        for (name, value) in was.into_iter().flat_map(|was| &was.cells) {
            let key = (name.clone(), value.clone());
            if self.holders.get(&key).is_some_and(|holder| holder == id) {
                self.holders.remove(&key);
            }
        }
    }

    pub fn remove(&mut self, id: &str, now: Stamp) -> Option<Record> {
        self.leave(id);
        self.records.remove(id, now)
    }

    /// Takes back what a batch has done: what each of these was before.
    pub fn undo(&mut self, done: Vec<(String, Option<Record>)>, now: Stamp) {
        for (id, was) in done.into_iter().rev() {
            match was {
                Some(record) => self.put(&id, record, now),
                None => drop(self.remove(&id, now)),
            }
        }
    }

    pub fn insert(&mut self, id: &str, given: &Value, world: &World) -> Result<(), Refused> {
        let taken = self.take(given, world)?;
        if let Some(clash) = self.clash(None, &taken) {
            return Err(clash);
        }
        let mut cells = Cells::new();
        set(&mut cells, taken);
        let record = Record {
            created: world.now,
            updated: world.now,
            archived: None,
            replaces: Vec::new(),
            cells,
        };
        self.put(id, record, world.now);
        Ok(())
    }

    pub fn change(&mut self, id: &str, given: &Value, world: &World) -> Result<(), Refused> {
        let taken = self.take(given, world)?;
        if let Some(clash) = self.clash(Some(id), &taken) {
            return Err(clash);
        }
        if let Some(mut record) = self.records.find(id, NOW).cloned() {
            set(&mut record.cells, taken);
            record.updated = world.now;
            self.put(id, record, world.now);
        }
        Ok(())
    }

    /// A person adds one to the numbers that were given.
    pub fn count_on(&mut self, id: &str, given: &Value, now: Stamp) {
        let Some(mut record) = self.records.find(id, NOW).cloned() else {
            return;
        };
        let given = given.as_object().into_iter().flatten();
        for (name, _) in given {
            let is_number = self.property(name).is_some_and(|of| of.kind == "number");
            let number = record
                .cells
                .get(name)
                .and_then(|text| text.parse::<f64>().ok());
            if let Some(number) = number.filter(|_| is_number) {
                record
                    .cells
                    .insert(name.clone(), (number + 1.0).to_string());
            }
        }
        record.updated = now;
        self.put(id, record, now);
    }

    /// Archives a record, or takes it back.
    pub fn archive(&mut self, id: &str, archived: Option<Stamp>, world: &World) {
        if let Some(mut record) = self.records.find(id, NOW).cloned() {
            record.archived = archived;
            record.updated = world.now;
            self.put(id, record, world.now);
        }
    }

    /// Both go, and a new one is made of them, with the primary's values first.
    pub fn merge(
        &mut self,
        primary: &str,
        other: &str,
        new: &str,
        world: &World,
    ) -> Result<(), String> {
        let missing = |id: &str| format!("{id}: there is no such record");
        let (primary, other) = (
            self.resolve(primary).to_owned(),
            self.resolve(other).to_owned(),
        );
        let first = self
            .remove(&primary, world.now)
            .ok_or_else(|| missing(&primary))?;
        let second = self
            .remove(&other, world.now)
            .ok_or_else(|| missing(&other))?;
        let mut cells = second.cells;
        cells.extend(first.cells);
        let mut replaces = [first.replaces, second.replaces].concat();
        for id in [primary, other].into_iter().filter(|id| id != new) {
            self.merged.insert(id.clone(), new.to_owned());
            replaces.push(id);
        }
        let record = Record {
            created: first.created.min(second.created),
            updated: world.now,
            archived: None,
            replaces,
            cells,
        };
        self.put(new, record, world.now);
        Ok(())
    }

    pub fn value(&self, id: &str, record: &Record, name: &str) -> Option<String> {
        Some(match name {
            "hs_object_id" => id.to_owned(),
            "createdate" => iso(record.created),
            "hs_merged_object_ids" => {
                Some(record.replaces.join(";")).filter(|ids| !ids.is_empty())?
            }
            _ if name == self.modified => iso(record.updated),
            _ => record.cells.get(name)?.clone(),
        })
    }

    /// With these properties, and those that are always shown where none is wished for.
    pub fn shown(&self, id: &str, record: &Record, wished: &[String]) -> Value {
        let always = ["hs_object_id", "createdate", self.modified];
        let always = always.iter().map(|name| (*name).to_owned());
        let names = always.chain(wished.iter().cloned());
        let known = names.filter(|name| self.property(name).is_some());
        let cells: Map<String, Value> = known
            .map(|name| {
                let value = self.value(id, record, &name);
                (name, value.map_or(Value::Null, Value::from))
            })
            .collect();
        let mut shown = json!({
            "id": id, "properties": cells, "createdAt": iso(record.created),
            "updatedAt": iso(record.updated), "archived": record.archived.is_some(),
        });
        if let Some(at) = record.archived {
            shown["archivedAt"] = iso(at).into();
        }
        shown
    }
}

/// Names of the properties that a call wishes for: several, or one list with commas.
fn wished(call: &Call) -> Vec<String> {
    let all = call.query_all("properties").into_iter();
    let names = all.flat_map(|names| names.split(','));
    names.map(|name| name.trim().to_owned()).collect()
}

pub(super) fn not_found() -> Answer {
    failure(404, "OBJECT_NOT_FOUND", "resource not found")
}

impl HubSpot {
    pub(super) fn fresh_id(&mut self) -> String {
        // Ids grow, and not by one.
        self.next_id += 7;
        self.next_id.to_string()
    }

    pub(super) fn list(&mut self, call: &Call, world: &mut World) -> Outcome {
        let size = call.query_number("limit").unwrap_or(10);
        if size > PAGE_MAX {
            return Err(invalid("limit must be at most 100"));
        }
        let after: u64 = call.query_number("after").map_or(0, |after| after as u64);
        let is_archived = call.query("archived") == Some("true");
        let wished = wished(call);
        let seen = world.seen("stale-reads");
        let object = self.object(call, world)?;
        let is_wished = |record: &Record| match record.archived {
            None => !is_archived,
            Some(at) => is_archived && at > world.now - ARCHIVED_MS,
        };
        let mut all: Vec<(u64, &str, &Record)> = object
            .records
            .all(seen)
            .filter(|(_, record)| is_wished(record))
            .filter_map(|(id, record)| Some((id.parse().ok()?, id, record)))
            .filter(|(number, ..)| *number >= after)
            .collect();
        all.sort_by_key(|(number, ..)| *number);
        let results: Vec<Value> = all
            .iter()
            .take(size)
            .map(|(_, id, record)| object.shown(id, record, &wished))
            .collect();
        let mut page = json!({ "results": results });
        if let Some((next, ..)) = all.get(size) {
            page["paging"] = json!({ "next": { "after": next.to_string(), "link": "" } });
        }
        Ok(Answer::ok(&page))
    }

    pub(super) fn read_one(&mut self, call: &Call, world: &mut World) -> Outcome {
        let is_archived = call.query("archived") == Some("true");
        let wished = wished(call);
        let object = self.object(call, world)?;
        let found = object.find(call.param(1), call.query("idProperty"));
        let found = found.filter(|(_, record)| record.archived.is_some() == is_archived);
        let (id, record) = found.ok_or_else(not_found)?;
        Ok(Answer::ok(&object.shown(&id, record, &wished)))
    }

    pub(super) fn create_one(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let id = self.fresh_id();
        let object = self.object(call, world)?;
        let done = object.insert(&id, &wish["properties"], world);
        done.map_err(|refused| answer(&refused))?;
        Ok(Answer::json(201, &object.written(&id, &wish["properties"])))
    }

    pub(super) fn update_one(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let object = self.object(call, world)?;
        let found = object.find(call.param(1), call.query("idProperty"));
        let found = found.filter(|(_, record)| record.archived.is_none());
        let id = found.ok_or_else(not_found)?.0;
        let done = object.change(&id, &wish["properties"], world);
        done.map_err(|refused| answer(&refused))?;
        Ok(Answer::ok(&object.written(&id, &wish["properties"])))
    }

    pub(super) fn archive_one(&mut self, call: &Call, world: &mut World) -> Outcome {
        let object = self.object(call, world)?;
        let id = object.resolve(call.param(1)).to_owned();
        object.archive(&id, Some(world.now), world);
        Ok(Answer::empty(204))
    }

    pub(super) fn merge_two(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let text = |name: &str| wish[name].as_str().unwrap_or_default().to_owned();
        let (primary, other) = (text("primaryObjectId"), text("objectIdToMerge"));
        let new = match world.traps.is_on("merges-keep-id") {
            true => primary.clone(),
            false => self.fresh_id(),
        };
        let object = self.object(call, world)?;
        object
            .merge(&primary, &other, &new, world)
            .map_err(|_| not_found())?;
        let wished: Vec<String> = object.properties.iter().map(|of| of.name.clone()).collect();
        let record = object.records.find(&new, NOW).ok_or_else(not_found)?;
        Ok(Answer::ok(&object.shown(&new, record, &wished)))
    }
}

impl Object {
    /// What a write answers: the properties that were written, and no others.
    pub fn written(&self, id: &str, given: &Value) -> Value {
        let given = given.as_object().into_iter().flatten();
        let names: Vec<String> = given.map(|(name, _)| name.clone()).collect();
        let record = self.records.find(id, NOW);
        record.map_or(Value::Null, |record| self.shown(id, record, &names))
    }
}

/// A refusal of one record.
pub(super) fn answer(refused: &Refused) -> Answer {
    let status = match refused["category"].as_str() {
        Some("CONFLICT") => 409,
        _ => 400,
    };
    Answer::json(status, refused)
}

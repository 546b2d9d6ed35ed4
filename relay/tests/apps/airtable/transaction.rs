//! One request or one edit by hand: what it does to records, and to the other ends of links, is one
//! transaction, and one payload for each webhook that looks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Base;
use super::cells::{Taking, no_row, take, take_files};
use super::schema::{Field, Table};
use super::{bad_request, error};
use crate::host::World;
use crate::host::call::Answer;
use crate::host::clock::Stamp;
use crate::host::past::NOW;

/// Cells by field id; empty ones are left out.
pub(super) type Cells = BTreeMap<String, Value>;

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub created: Stamp,
    pub modified: Stamp,
    pub number: u64,
    pub cells: Cells,
}

/// How a record was before and is after; `None`: it was not there.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub before: Option<Cells>,
    pub after: Option<Cells>,
}

/// By table id and record id.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub changes: BTreeMap<(String, String), Change>,
}

impl Transaction {
    fn note(&mut self, table: &str, id: &str, before: Option<Cells>, after: Option<Cells>) {
        let key = (table.to_owned(), id.to_owned());
        let change = self.changes.entry(key).or_insert(Change {
            before,
            after: None,
        });
        change.after = after;
    }
}

impl Base {
    /// Checks the fields of one record; nothing is changed but choices that `typecast` makes.
    pub fn take_fields(
        &mut self,
        table: usize,
        fields: &Value,
        typecast: bool,
        world: &mut World,
    ) -> Result<Cells, Answer> {
        let fields = fields.as_object().ok_or_else(bad_request)?;
        let mut cells = Cells::new();
        for (name, value) in fields {
            let Some(field) = self.tables[table].field(name).cloned() else {
                if world.traps.is_on("drops-unknown") {
                    continue;
                }
                let message = format!("Unknown field name: \"{name}\"");
                return Err(error(422, "UNKNOWN_FIELD_NAME", message));
            };
            let taking = Taking {
                typecast,
                world,
                linked: self.linked(&field),
            };
            let taken = take(&field, value, taking)?;
            self.make_choices(table, &field, &taken, world);
            cells.insert(field.id, taken);
        }
        Ok(cells)
    }

    fn make_choices(&mut self, table: usize, field: &Field, taken: &Value, world: &mut World) {
        if !["singleSelect", "multipleSelects"].contains(&field.kind.as_str()) {
            return;
        }
        let names = match taken {
            Value::Array(names) => names.clone(),
            Value::Null => Vec::new(),
            name => vec![name.clone()],
        };
        for name in names.iter().filter_map(Value::as_str) {
            let field = self.tables[table].field_mut(&field.id);
            if let Some(field) = field.filter(|field| field.choice(name).is_none()) {
                field.add_choice(name, &mut world.ids);
            }
        }
    }

    pub fn linked(&self, field: &Field) -> Option<&Table> {
        let id = field.options["linkedTableId"].as_str()?;
        self.tables.iter().find(|table| table.id == id)
    }

    pub fn insert(
        &mut self,
        table: usize,
        cells: Cells,
        done: &mut Transaction,
        world: &mut World,
    ) -> String {
        let id = world.ids.letters("rec", 14);
        self.tables[table].numbers += 1;
        let record = Record {
            created: world.now,
            modified: world.now,
            number: self.tables[table].numbers,
            cells: Cells::new(),
        };
        let table_id = self.tables[table].id.clone();
        self.tables[table].records.put(&id, record, world.now);
        done.note(&table_id, &id, None, Some(Cells::new()));
        self.set(table, &id, cells, done, world);
        id
    }

    /// Sets cells of a record that is there; empty ones are cleared.
    pub fn set(
        &mut self,
        table: usize,
        id: &str,
        cells: Cells,
        done: &mut Transaction,
        world: &mut World,
    ) {
        let Some(mut record) = self.tables[table].records.find(id, NOW).cloned() else {
            return;
        };
        let before = record.cells.clone();
        let mut links = Vec::new();
        for (field_id, mut value) in cells {
            let Some(field) = self.tables[table].field(&field_id).cloned() else {
                continue;
            };
            let was = before.get(&field_id).cloned().unwrap_or_default();
            if field.kind == "multipleAttachments" {
                take_files(&mut value, &was, &mut world.ids);
            }
            if field.is_link() {
                links.push((field.clone(), was, value.clone()));
            }
            if value.is_null() {
                record.cells.remove(&field_id);
            } else {
                record.cells.insert(field_id, value);
            }
        }
        self.store(table, id, record, before, done, world);
        for (field, was, value) in links {
            self.relink(&field, id, [&was, &value], done, world);
        }
    }

    fn store(
        &mut self,
        table: usize,
        id: &str,
        mut record: Record,
        before: Cells,
        done: &mut Transaction,
        world: &World,
    ) {
        if record.cells == before {
            return;
        }
        record.modified = world.now;
        let table = &mut self.tables[table];
        done.note(&table.id, id, Some(before), Some(record.cells.clone()));
        table.records.put(id, record, world.now);
    }

    /// The other end of a link follows.
    fn relink(
        &mut self,
        field: &Field,
        id: &str,
        [was, is]: [&Value; 2],
        done: &mut Transaction,
        world: &World,
    ) {
        let set = |value: &Value| -> BTreeSet<String> {
            let ids = value.as_array().into_iter().flatten();
            ids.filter_map(|id| Some(id.as_str()?.to_owned())).collect()
        };
        let (was, is) = (set(was), set(is));
        let linked = field.options["linkedTableId"].as_str().unwrap_or_default();
        let inverse = field.options["inverseLinkFieldId"]
            .as_str()
            .unwrap_or_default();
        let Some(table) = self.tables.iter().position(|table| table.id == linked) else {
            return;
        };
        for target in was.symmetric_difference(&is) {
            let Some(mut record) = self.tables[table].records.find(target, NOW).cloned() else {
                continue;
            };
            let before = record.cells.clone();
            let mut ends = set(record.cells.get(inverse).unwrap_or(&Value::Null));
            if is.contains(target) {
                ends.insert(id.to_owned());
            } else {
                ends.remove(id);
            }
            if ends.is_empty() {
                record.cells.remove(inverse);
            } else {
                let ends: Vec<String> = ends.into_iter().collect();
                record.cells.insert(inverse.to_owned(), ends.into());
            }
            self.store(table, target, record, before, done, world);
        }
    }

    pub fn remove(
        &mut self,
        table: usize,
        id: &str,
        done: &mut Transaction,
        world: &mut World,
    ) -> Result<(), Answer> {
        let Some(record) = self.tables[table].records.find(id, NOW).cloned() else {
            return Err(no_row(id));
        };
        let links = self.tables[table]
            .fields
            .iter()
            .filter(|field| field.is_link());
        let cleared = links.map(|field| (field.id.clone(), Value::Null)).collect();
        self.set(table, id, cleared, done, world);
        let table = &mut self.tables[table];
        table.records.remove(id, world.now);
        done.note(&table.id, id, Some(record.cells), None);
        Ok(())
    }

    pub fn table_at(&mut self, id_or_name: &str) -> Result<usize, Answer> {
        let id = self.find_table(id_or_name)?.id.clone();
        let found = self.tables.iter().position(|table| table.id == id);
        found.ok_or_else(super::not_found)
    }
}

//! One record and batches of ten: read, create, update, delete. A batch is done whole or not at all.

use serde_json::{Value, json};

use super::cells::{no_row, shown, stamp};
use super::formula::Formula;
use super::schema::{Field, Table, object};
use super::transaction::{Record, Transaction};
use super::{Airtable, Base, bad_request, body, error, no_model, not_found};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::past::NOW;

/// Records of one write: doc "Update multiple records".
pub(super) const BATCH: usize = 10;

impl Base {
    /// The record's fields with what is computed; `by_id`: keyed by field ids.
    pub fn fields_shown(
        &self,
        table: &Table,
        id: &str,
        record: &Record,
        by_id: bool,
        world: &World,
    ) -> Value {
        object(table.fields.iter().map(|field| {
            let key = if by_id { &field.id } else { &field.name };
            (
                key.clone(),
                self.value_shown(table, field, id, record, world),
            )
        }))
    }

    fn value_shown(
        &self,
        table: &Table,
        field: &Field,
        id: &str,
        record: &Record,
        world: &World,
    ) -> Value {
        let linked = field.options["recordLinkFieldId"]
            .as_str()
            .unwrap_or_default();
        let links = record.cells.get(linked).and_then(Value::as_array);
        match field.kind.as_str() {
            "createdTime" => stamp(record.created),
            "lastModifiedTime" => stamp(record.modified),
            "autoNumber" => record.number.into(),
            "createdBy" | "lastModifiedBy" => json!({ "id": "usrDouble00000000" }),
            "count" => links.map_or(0, Vec::len).into(),
            "multipleLookupValues" => {
                let other = table.field(linked).and_then(|field| self.linked(field));
                let looked_up = field.options["fieldIdInLinkedTable"]
                    .as_str()
                    .unwrap_or_default();
                let value = |id: &Value| {
                    let record = other?.records.find(id.as_str()?, NOW)?;
                    record.cells.get(looked_up).cloned()
                };
                let values: Vec<Value> = links.into_iter().flatten().filter_map(value).collect();
                if values.is_empty() {
                    Value::Null
                } else {
                    values.into()
                }
            }
            "formula" => {
                let text = field.options["formula"].as_str().unwrap_or_default();
                let formula = Formula::parse(text);
                formula.map_or(json!({ "error": "#ERROR!" }), |formula| {
                    formula.value(table, id, record)
                })
            }
            _ => record
                .cells
                .get(&field.id)
                .map_or(Value::Null, |value| shown(field, value, world)),
        }
    }

    pub fn record_shown(&self, table: usize, id: &str, by_id: bool, world: &World) -> Value {
        let table = &self.tables[table];
        let Some(record) = table.records.find(id, NOW) else {
            return Value::Null;
        };
        json!({
            "id": id,
            "createdTime": stamp(record.created),
            "fields": self.fields_shown(table, id, record, by_id, world),
        })
    }
}

/// Whether fields are keyed by their ids.
pub(super) fn is_by_id(value: &Value) -> bool {
    value["returnFieldsByFieldId"] == true
}

fn missing(world: &World) -> Answer {
    if world.traps.is_on("missing-as-403") {
        return no_model();
    }
    not_found()
}

fn too_many(what: &str) -> Answer {
    let message = format!("\"records\" must be an array of up to {BATCH} {what}.");
    error(422, "INVALID_RECORDS", message)
}

impl Airtable {
    pub(super) fn read_record(&mut self, call: &Call, world: &mut World) -> Outcome {
        let seen = world.seen("stale-reads");
        let base = self.find_base(call.param(0))?;
        let at = base.table_at(call.param(1))?;
        let (table, id) = (&base.tables[at], call.param(2));
        let record = table.records.find(id, seen).ok_or_else(|| missing(world))?;
        let by_id = call.query("returnFieldsByFieldId") == Some("true");
        Ok(Answer::ok(&json!({
            "id": id,
            "createdTime": stamp(record.created),
            "fields": base.fields_shown(table, id, record, by_id, world),
        })))
    }

    /// `{"records": [{"fields"}]}`, or `{"fields"}` alone.
    pub(super) fn create_records(&mut self, call: &Call, world: &mut World) -> Outcome {
        let body = body(call)?;
        let base = self.find_base(call.param(0))?;
        let at = base.table_at(call.param(1))?;
        let is_single = body["records"].is_null();
        let given = match body["records"].as_array() {
            Some(records) if (1..=BATCH).contains(&records.len()) => records.clone(),
            None if body["fields"].is_object() => vec![body.clone()],
            _ => return Err(too_many("record objects")),
        };
        let typecast = body["typecast"] == true;
        let mut taken = Vec::new();
        for record in &given {
            taken.push(base.take_fields(at, &record["fields"], typecast, world)?);
        }
        let mut done = Transaction::default();
        let mut made = Vec::new();
        for cells in taken {
            made.push(base.insert(at, cells, &mut done, world));
        }
        base.commit(&done, "publicApi", world);
        let shown = |id: &String| base.record_shown(at, id, is_by_id(&body), world);
        let mut records: Vec<Value> = made.iter().map(shown).collect();
        if is_single {
            return Ok(Answer::ok(&records.pop().unwrap_or_default()));
        }
        Ok(Answer::ok(&json!({ "records": records })))
    }

    /// PATCH changes what is sent; PUT clears what is not.
    pub(super) fn update_record(&mut self, call: &Call, world: &mut World) -> Outcome {
        let body = body(call)?;
        let base = self.find_base(call.param(0))?;
        let at = base.table_at(call.param(1))?;
        let id = call.param(2);
        if base.tables[at].records.find(id, NOW).is_none() {
            return Err(missing(world));
        }
        let mut cells = base.take_fields(at, &body["fields"], body["typecast"] == true, world)?;
        if call.method == "PUT" {
            clear_others(&base.tables[at], &mut cells);
        }
        let mut done = Transaction::default();
        base.set(at, id, cells, &mut done, world);
        base.commit(&done, "publicApi", world);
        Ok(Answer::ok(&base.record_shown(
            at,
            id,
            is_by_id(&body),
            world,
        )))
    }

    pub(super) fn update_records(&mut self, call: &Call, world: &mut World) -> Outcome {
        let body = body(call)?;
        let base = self.find_base(call.param(0))?;
        let at = base.table_at(call.param(1))?;
        let given = match body["records"].as_array() {
            Some(records) if (1..=BATCH).contains(&records.len()) => records.clone(),
            _ => return Err(too_many("record objects")),
        };
        let merges = base.merges(at, &body, &given)?;
        let typecast = body["typecast"] == true;
        let mut taken = Vec::new();
        for (record, merge) in given.iter().zip(merges) {
            let mut cells = base.take_fields(at, &record["fields"], typecast, world)?;
            if let Some(id) = &merge {
                if base.tables[at].records.find(id, NOW).is_none() {
                    if world.traps.is_on("skips-missing") {
                        continue;
                    }
                    return Err(no_row(id));
                }
                if call.method == "PUT" {
                    clear_others(&base.tables[at], &mut cells);
                }
            }
            taken.push((merge, cells));
        }
        let mut done = Transaction::default();
        let (mut ids, mut created, mut updated) = (Vec::new(), Vec::new(), Vec::new());
        for (merge, cells) in taken {
            if let Some(id) = merge {
                base.set(at, &id, cells, &mut done, world);
                updated.push(id.clone());
                ids.push(id);
            } else {
                let id = base.insert(at, cells, &mut done, world);
                created.push(id.clone());
                ids.push(id);
            }
        }
        base.commit(&done, "publicApi", world);
        let shown = |id: &String| base.record_shown(at, id, is_by_id(&body), world);
        let mut answer = json!({ "records": ids.iter().map(shown).collect::<Vec<_>>() });
        if body["performUpsert"].is_object() {
            answer["createdRecords"] = created.into();
            answer["updatedRecords"] = updated.into();
        }
        Ok(Answer::ok(&answer))
    }

    pub(super) fn delete_record(&mut self, call: &Call, world: &mut World) -> Outcome {
        let base = self.find_base(call.param(0))?;
        let at = base.table_at(call.param(1))?;
        let id = call.param(2);
        let mut done = Transaction::default();
        base.remove(at, id, &mut done, world)
            .map_err(|_| missing(world))?;
        base.commit(&done, "publicApi", world);
        Ok(Answer::ok(&json!({ "id": id, "deleted": true })))
    }

    pub(super) fn delete_records(&mut self, call: &Call, world: &mut World) -> Outcome {
        let base = self.find_base(call.param(0))?;
        let at = base.table_at(call.param(1))?;
        // In brackets alone: a plain `records=` is refused by Airtable, too.
        let given = call.query.iter().filter(|(name, _)| {
            name.strip_prefix("records[")
                .is_some_and(|rest| rest.ends_with(']'))
        });
        let mut ids: Vec<String> = given.map(|(_, id)| id.clone()).collect();
        if ids.is_empty() || ids.len() > BATCH {
            return Err(too_many("record IDs"));
        }
        let records = &base.tables[at].records;
        if world.traps.is_on("skips-missing") {
            ids.retain(|id| records.find(id, NOW).is_some());
        }
        if let Some(id) = ids.iter().find(|id| records.find(id, NOW).is_none()) {
            return Err(no_row(id));
        }
        let mut done = Transaction::default();
        for id in &ids {
            base.remove(at, id, &mut done, world)?;
        }
        base.commit(&done, "publicApi", world);
        let gone: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "id": id, "deleted": true }))
            .collect();
        Ok(Answer::ok(&json!({ "records": gone })))
    }

    /// A file's link, which does not live long.
    pub(super) fn file(&mut self, call: &Call, world: &mut World) -> Outcome {
        let expires: i64 = call.param(1).parse().map_err(|_| bad_request())?;
        if expires < world.now {
            return Err(Answer::empty(410));
        }
        let tables = self.bases.iter().flat_map(|base| &base.tables);
        let mut cells = tables.flat_map(|table| {
            let records = table.records.all(NOW);
            records.flat_map(|(_, record)| record.cells.values())
        });
        let is_it = |file: &&Value| file["id"] == call.param(0);
        let file = cells
            .find_map(|cell| cell.as_array()?.iter().find(is_it))
            .ok_or_else(not_found)?;
        let mut answer = Answer::empty(200);
        answer.body = file["source"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            .into();
        Ok(answer.header("content-type", "application/octet-stream"))
    }
}

fn clear_others(table: &Table, cells: &mut super::transaction::Cells) {
    for field in table.fields.iter().filter(|field| !field.is_computed()) {
        cells.entry(field.id.clone()).or_insert(Value::Null);
    }
}

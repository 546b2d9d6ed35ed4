//! What a person does in Airtable itself: edits without limits, and changes of the schema.
//!
//! * `create-table` `{"name", "fields": [{"name", "type", "options"}]}` answers its id
//! * `create-field` `{"table", "name", "type", "options"}`
//! * `rename-field` `{"table", "field", "name"}`, `delete-field` `{"table", "field"}`
//! * `retype-field` `{"table", "field", "type"}`: cells that don't fit are emptied
//! * `add-option`, `remove-option` `{"table", "field", "option"}`
//! * `base` answers the id of the base

use serde_json::{Value, json};

use super::Airtable;
use super::Base;
use super::cells::{Taking, take};
use super::transaction::Transaction;
use crate::host::call::Answer;
use crate::host::past::NOW;
use crate::host::{Hand, World};

/// What an answer says of an error.
fn why(answer: Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

impl Airtable {
    pub(super) fn by_hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        let base = self.bases.first_mut().ok_or("there is no base")?;
        let mut done = Transaction::default();
        let answer = match hand {
            Hand::Tables => base.tables.iter().map(|table| table.name.clone()).collect(),
            Hand::ReadAll { table } => {
                let at = base.table_at(&table).map_err(why)?;
                let ids = base.tables[at]
                    .records
                    .all(NOW)
                    .map(|(id, _)| id.to_owned());
                ids.collect::<Vec<_>>()
                    .iter()
                    .map(|id| base.record_shown(at, id, false, world))
                    .collect()
            }
            Hand::Create { table, fields } => {
                let at = base.table_at(&table).map_err(why)?;
                let cells = base.take_fields(at, &fields, true, world).map_err(why)?;
                base.insert(at, cells, &mut done, world).into()
            }
            Hand::Update { table, id, fields } => {
                let at = base.table_at(&table).map_err(why)?;
                let cells = base.take_fields(at, &fields, true, world).map_err(why)?;
                if base.tables[at].records.find(&id, NOW).is_none() {
                    return Err(format!("{id}: there is no such record"));
                }
                base.set(at, &id, cells, &mut done, world);
                Value::Null
            }
            Hand::Delete { table, id } => {
                let at = base.table_at(&table).map_err(why)?;
                base.remove(at, &id, &mut done, world).map_err(why)?;
                Value::Null
            }
            Hand::Other { what, with } => base.change_schema(&what, &with, world)?,
        };
        base.commit(&done, "client", world);
        Ok(answer)
    }

    pub(super) fn make_sample(&mut self, rows: usize, world: &mut World) -> Result<(), String> {
        let spec = json!({
            "name": "Contacts",
            "fields": [
                { "name": "Name", "type": "singleLineText" },
                { "name": "Email", "type": "email" },
                { "name": "Stage", "type": "singleSelect",
                  "options": { "choices": [{ "name": "Lead" }, { "name": "Customer" }] } },
                { "name": "Score", "type": "number", "options": { "precision": 0 } },
                { "name": "Notes", "type": "multilineText" },
                { "name": "Modified", "type": "lastModifiedTime", "options": {} },
            ],
        });
        let with = spec;
        self.by_hand(
            Hand::Other {
                what: "create-table".to_owned(),
                with,
            },
            world,
        )?;
        for n in 0..rows.max(3) {
            let fields = json!({
                "Name": format!("Contact {n}"),
                "Email": format!("contact{n}@example.com"),
                "Stage": if n % 3 == 0 { "Customer" } else { "Lead" },
                "Score": n,
            });
            self.by_hand(
                Hand::Create {
                    table: "Contacts".to_owned(),
                    fields,
                },
                world,
            )?;
        }
        Ok(())
    }
}

impl Base {
    fn change_schema(
        &mut self,
        what: &str,
        with: &Value,
        world: &mut World,
    ) -> Result<Value, String> {
        let text = |name: &str| with[name].as_str().unwrap_or_default().to_owned();
        match what {
            "base" => return Ok(self.id.clone().into()),
            "create-table" => {
                let at = self.add_table(with, &mut world.ids).map_err(why)?;
                return Ok(self.tables[at].id.clone().into());
            }
            _ => {}
        }
        let at = self.table_at(&text("table")).map_err(why)?;
        if what == "create-field" {
            return self
                .add_field(at, with, &mut world.ids)
                .map(|field| field.id.into())
                .map_err(why);
        }
        let name = text("field");
        let no_field = format!("{name}: there is no such field");
        let field = self.tables[at].field_mut(&name).ok_or(no_field)?;
        let id = field.id.clone();
        match what {
            "rename-field" => field.name = text("name"),
            "add-option" => field.add_choice(&text("option"), &mut world.ids),
            "retype-field" => {
                field.kind = text("type");
                field.options = with["options"].clone();
                self.refit(at, &id, world);
            }
            "remove-option" => {
                let choices = field.options["choices"].as_array_mut().into_iter();
                for choices in choices {
                    choices.retain(|choice| choice["name"] != with["option"]);
                }
                self.refit(at, &id, world);
            }
            "delete-field" => {
                self.tables[at].fields.retain(|field| field.id != id);
            }
            _ => return Err(format!("{what}: Airtable's double has no such hand")),
        }
        Ok(Value::Null)
    }

    /// Empties cells whose values the field no longer takes.
    fn refit(&mut self, table: usize, field: &str, world: &mut World) {
        let Some(field) = self.tables[table].field(field).cloned() else {
            return;
        };
        let ids: Vec<String> = self.tables[table]
            .records
            .all(NOW)
            .map(|(id, _)| id.to_owned())
            .collect();
        for id in ids {
            let Some(mut record) = self.tables[table].records.find(&id, NOW).cloned() else {
                continue;
            };
            let value = record.cells.remove(&field.id).unwrap_or_default();
            let taking = Taking {
                typecast: false,
                world,
                linked: self.linked(&field),
            };
            let taken = take(&field, &value, taking).unwrap_or_default();
            if !taken.is_null() {
                record.cells.insert(field.id.clone(), taken);
            }
            self.tables[table].records.put(&id, record, world.now);
        }
    }
}

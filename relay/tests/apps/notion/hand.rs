//! What a person does in Notion itself.
//!
//! * `create-data-source` `{"name", "properties": [{"name", "type", "options": ["…"]}]}` answers its id
//! * `rename-property` `{"table", "property", "name"}`, `delete-property` `{"table", "property"}`
//! * `restore` `{"table", "id"}` takes a page out of the trash
//! * `move` `{"table", "id", "to"}` moves a page to another data source
//!
//! Fields are plain: `{"Name": "Ada", "Score": 7, "Due": "2026-11-26"}`.

use serde_json::{Map, Value, json};

use super::Notion;
use super::cells::{as_people_see, by_hand};
use super::pages::Cells;
use super::schema::{DataSource, Property};
use crate::host::past::{NOW, Past};
use crate::host::{Hand, World};

impl Notion {
    pub(super) fn by_hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        Ok(match hand {
            Hand::Tables => {
                let sources = self.sources.iter();
                sources.map(|source| source.name.clone()).collect()
            }
            Hand::ReadAll { table } => {
                let source = self.named(&table)?;
                let pages = source.pages.all(NOW).filter(|(_, page)| !page.in_trash);
                pages
                    .map(|(id, page)| json!({ "id": id, "fields": source.seen(&page.cells) }))
                    .collect()
            }
            Hand::Create { table, fields } => {
                let source = self.named(&table)?;
                let cells = source.by_hand(&fields)?;
                source.insert(cells, world).into()
            }
            Hand::Update { table, id, fields } => {
                let source = self.named(&table)?;
                let cells = source.by_hand(&fields)?;
                source.set(&id, cells, world);
                Value::Null
            }
            Hand::Delete { table, id } => {
                self.named(&table)?.trash(&id, true, world);
                Value::Null
            }
            Hand::Other { what, with } => self.other(&what, &with, world)?,
        })
    }

    fn other(&mut self, what: &str, with: &Value, world: &mut World) -> Result<Value, String> {
        let text = |name: &str| with[name].as_str().unwrap_or_default().to_owned();
        if what == "create-data-source" {
            return self.create_source(with, world);
        }
        let source = self.named(&text("table"))?;
        match what {
            "rename-property" => {
                let property = source.called_mut(&text("property"));
                property.ok_or("there is no such property")?.name = text("name");
            }
            "delete-property" => {
                let name = text("property");
                source.properties.retain(|property| property.name != name);
            }
            "restore" => source.trash(&text("id"), false, world),
            "move" => {
                let page = source.pages.remove(&text("id"), world.now);
                let page = page.ok_or("there is no such page")?;
                let to = self.named(&text("to"))?;
                to.pages.put(&text("id"), page, world.now);
            }
            _ => return Err(format!("{what}: Notion's double has no such hand")),
        }
        Ok(Value::Null)
    }

    fn create_source(&mut self, with: &Value, world: &mut World) -> Result<Value, String> {
        let mut properties = Vec::new();
        for of in with["properties"].as_array().into_iter().flatten() {
            let text = |name: &str| of[name].as_str().unwrap_or_default();
            let property =
                Property::make(text("name"), text("type"), &of["options"], &mut world.ids)?;
            properties.push(property);
        }
        let source = DataSource {
            id: world.ids.uuid(),
            database: world.ids.uuid(),
            name: with["name"].as_str().unwrap_or_default().to_owned(),
            properties,
            pages: Past::default(),
        };
        let id = source.id.clone();
        self.sources.push(source);
        Ok(id.into())
    }

    fn named(&mut self, name: &str) -> Result<&mut DataSource, String> {
        let mut sources = self.sources.iter_mut();
        let found = sources.find(|source| source.name == name || source.id == name);
        found.ok_or_else(|| format!("{name}: there is no such data source"))
    }

    pub(super) fn make_sample(&mut self, rows: usize, world: &mut World) -> Result<(), String> {
        let with = json!({ "name": "Contacts", "properties": [
            { "name": "Name", "type": "title" },
            { "name": "Email", "type": "email" },
            { "name": "Stage", "type": "select", "options": ["Lead", "Customer"] },
            { "name": "Score", "type": "number" },
            { "name": "Notes", "type": "rich_text" },
            { "name": "Friends", "type": "relation" },
            { "name": "Due", "type": "date" },
        ] });
        self.create_source(&with, world)?;
        for n in 0..rows.max(3) {
            let fields = json!({
                "Name": format!("Contact {n}"), "Email": format!("contact{n}@example.com"),
                "Stage": if n % 3 == 0 { "Customer" } else { "Lead" }, "Score": n,
            });
            let table = "Contacts".to_owned();
            self.by_hand(Hand::Create { table, fields }, world)?;
        }
        Ok(())
    }
}

impl DataSource {
    fn by_hand(&self, fields: &Value) -> Result<Cells, String> {
        let mut cells = Cells::new();
        for (name, value) in fields.as_object().into_iter().flatten() {
            let property = self.called(name);
            let property = property.ok_or_else(|| format!("{name}: there is no such property"))?;
            cells.insert(property.id.clone(), by_hand(property, value));
        }
        Ok(cells)
    }

    fn seen(&self, cells: &Cells) -> Map<String, Value> {
        let seen = self.properties.iter().map(|property| {
            let value = cells.get(&property.id).cloned().unwrap_or_default();
            (property.name.clone(), as_people_see(property, &value))
        });
        seen.collect()
    }
}

//! What a person does in Webflow itself.
//!
//! * `create-collection` `{"name", "fields": [{…}]}` answers its id; fields as the API takes them
//! * `create-field` `{"table", …}` with the rest as the API takes it
//! * `delete-field` `{"table", "field"}`
//! * `archive` `{"table", "id"}` keeps an item, and takes it off the site with its next publish
//! * `draft` `{"table", "id"}` holds an item's changes back
//! * `live` `{"table", "id"}` answers the values of the live copy, or null
//! * `publish-site` publishes what is queued
//! * `import` `{"table", "rows": [{…}]}` makes many at the same moment
//!
//! Fields are values by the slugs of fields; options by their names. A person's items are queued to be
//! published.

use serde_json::{Map, Value, json};

use super::Webflow;
use super::items::Item;
use super::schema::{Collection, Field};
use crate::host::past::NOW;
use crate::host::{Hand, World};

impl Webflow {
    pub(super) fn by_hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        Ok(match hand {
            Hand::Tables => self.collections.iter().map(|of| of.name.clone()).collect(),
            Hand::ReadAll { table } => {
                let collection = self.named(&table)?;
                let items = collection.items.all(NOW);
                items
                    .map(|(id, item)| json!({ "id": id, "fields": collection.seen(item) }))
                    .collect()
            }
            Hand::Create { table, fields } => {
                let collection = self.named(&table)?;
                let id = collection.by_hand(&fields, world)?;
                id.into()
            }
            Hand::Update { table, id, fields } => {
                let collection = self.named(&table)?;
                let of = json!({ "fieldData": collection.with_ids(&fields) });
                let item = collection.changed(&id, &of, world);
                let item = item.map_err(|refused| format!("{refused:?}"))?;
                collection.put(&id, item, world);
                Value::Null
            }
            Hand::Delete { table, id } => {
                let collection = self.named(&table)?;
                collection.delete(&id, world);
                Value::Null
            }
            Hand::Other { what, with } => self.other(&what, &with, world)?,
        })
    }

    fn other(&mut self, what: &str, with: &Value, world: &mut World) -> Result<Value, String> {
        let text = |name: &str| with[name].as_str().unwrap_or_default().to_owned();
        match what {
            "create-collection" => {
                let fields = with["fields"].as_array().into_iter().flatten();
                let fields = fields.map(|wish| Field::from(wish, &mut world.ids));
                let fields = fields.collect::<Result<Vec<_>, _>>()?;
                let collection = Collection::make(&text("name"), fields, &mut world.ids);
                let id = collection.id.clone();
                self.collections.push(collection);
                return Ok(id.into());
            }
            "publish-site" => {
                for collection in &mut self.collections {
                    collection.publish_queued(world);
                }
                return Ok(Value::Null);
            }
            _ => {}
        }
        let collection = self.named(&text("table"))?;
        match what {
            "create-field" => {
                let field = Field::from(with, &mut world.ids)?;
                collection.fields.push(field);
            }
            "delete-field" => {
                let slug = text("field");
                collection.fields.retain(|field| field.slug != slug);
            }
            "archive" | "draft" => {
                let of = match what {
                    "archive" => json!({ "isArchived": true }),
                    _ => json!({ "isDraft": true }),
                };
                let item = collection.changed(&text("id"), &of, world);
                let item = item.map_err(|refused| format!("{refused:?}"))?;
                collection.put(&text("id"), item, world);
            }
            "live" => {
                let live = collection
                    .item(&text("id"))
                    .and_then(|item| item.live.clone());
                return Ok(live.into());
            }
            "import" => {
                for row in with["rows"].as_array().into_iter().flatten() {
                    collection.by_hand(row, world)?;
                }
            }
            _ => return Err(format!("{what}: Webflow's double has no such hand")),
        }
        Ok(Value::Null)
    }

    pub(super) fn make_sample(&mut self, rows: usize, world: &mut World) -> Result<(), String> {
        let options = json!({ "options": [{ "name": "Lead" }, { "name": "Customer" }] });
        let with = json!({ "name": "Contacts", "fields": [
            { "type": "Email", "displayName": "Email" },
            { "type": "Option", "displayName": "Stage", "metadata": options },
            { "type": "Number", "displayName": "Score", "validations": { "format": "integer" } },
            { "type": "RichText", "displayName": "Notes" },
            { "type": "DateTime", "displayName": "Due" },
        ] });
        self.other("create-collection", &with, world)?;
        for n in 0..rows.max(3) {
            let fields = json!({
                "name": format!("Contact {n}"), "email": format!("contact{n}@example.com"),
                "stage": if n % 3 == 0 { "Customer" } else { "Lead" }, "score": n,
            });
            let table = "Contacts".to_owned();
            self.by_hand(Hand::Create { table, fields }, world)?;
        }
        Ok(())
    }
}

impl Collection {
    fn by_hand(&mut self, fields: &Value, world: &mut World) -> Result<String, String> {
        let fields = self.with_ids(fields);
        let cells = self.fresh(&fields, &mut Vec::new(), world);
        let cells = cells.map_err(|refused| format!("{refused:?}"))?;
        Ok(self.insert(cells, &json!({ "isDraft": false }), world))
    }

    /// Options by their ids.
    fn with_ids(&self, fields: &Value) -> Value {
        let fields = fields.as_object().into_iter().flatten();
        let fields = fields.map(|(slug, value)| {
            let options = self.field(slug).map(Field::options).unwrap_or_default();
            let option = options.iter().find(|(_, name)| *value == *name);
            let value = option.map_or_else(|| value.clone(), |(id, _)| (*id).into());
            (slug.clone(), value)
        });
        Value::Object(fields.collect())
    }

    /// Options by their names.
    fn seen(&self, item: &Item) -> Map<String, Value> {
        let seen = self.fields.iter().map(|field| {
            let value = item.cells.get(&field.slug).cloned().unwrap_or_default();
            let options = field.options();
            let option = options.iter().find(|(id, _)| value == *id);
            let value = option.map_or(value, |(_, name)| (*name).into());
            (field.slug.clone(), value)
        });
        seen.collect()
    }
}

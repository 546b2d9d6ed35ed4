//! What a person does in HubSpot itself.
//!
//! * `create-object` `{"name"}` makes an object of one's own
//! * `create-property` `{"table", …}` with the rest as the API takes it
//! * `merge` `{"table", "primary", "other"}` answers the id of what came of both
//! * `restore` `{"table", "id"}` takes a record out of the archive
//! * `purge` `{"table", "id"}` deletes one for ever, as for the GDPR: it is in no list
//! * `import` `{"table", "rows": [{…}]}` makes many at the same moment
//!
//! Fields are texts, as the API has them; null empties.

use serde_json::{Map, Value, json};

use super::HubSpot;
use super::schema::{Object, Property};
use crate::host::past::NOW;
use crate::host::{Hand, World};

impl HubSpot {
    pub(super) fn by_hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        Ok(match hand {
            Hand::Tables => {
                let objects = self.objects.iter();
                objects.map(|object| object.name.clone()).collect()
            }
            Hand::ReadAll { table } => {
                let object = self.named(&table)?;
                let all = object.records.all(NOW);
                all.filter(|(_, record)| record.archived.is_none())
                    .map(|(id, record)| {
                        let fields = object.properties.iter();
                        let fields: Map<String, Value> = fields
                            .map(|of| (of.name.clone(), object.value(id, record, &of.name).into()))
                            .collect();
                        json!({ "id": id, "fields": fields })
                    })
                    .collect()
            }
            Hand::Create { table, fields } => {
                let id = self.fresh_id();
                let done = self.named(&table)?.insert(&id, &fields, world);
                done.map_err(|refused| refused.to_string())?;
                id.into()
            }
            Hand::Update { table, id, fields } => {
                let object = self.named(&table)?;
                let id = object.resolve(&id).to_owned();
                let done = object.change(&id, &fields, world);
                done.map_err(|refused| refused.to_string())?;
                Value::Null
            }
            Hand::Delete { table, id } => {
                self.named(&table)?.archive(&id, Some(world.now), world);
                Value::Null
            }
            Hand::Other { what, with } => self.other(&what, &with, world)?,
        })
    }

    fn other(&mut self, what: &str, with: &Value, world: &mut World) -> Result<Value, String> {
        let text = |name: &str| with[name].as_str().unwrap_or_default().to_owned();
        if what == "create-object" {
            let type_id = format!("2-{}", self.fresh_id());
            let object = Object::new(&text("name"), &type_id, "hs_lastmodifieddate", Vec::new());
            self.objects.push(object);
            return Ok(type_id.into());
        }
        let keeps = world.traps.is_on("merges-keep-id");
        let fresh = self.fresh_id();
        let rows = with["rows"].as_array().cloned().unwrap_or_default();
        let ids: Vec<String> = rows.iter().map(|_| self.fresh_id()).collect();
        let object = self.named(&text("table"))?;
        match what {
            "create-property" => object.properties.push(Property::from(with)?),
            "merge" => {
                let primary = text("primary");
                let new = if keeps { primary.clone() } else { fresh };
                object.merge(&primary, &text("other"), &new, world)?;
                return Ok(new.into());
            }
            "restore" => object.archive(&text("id"), None, world),
            "purge" => {
                let gone = object.remove(&text("id"), world.now);
                gone.ok_or("there is no such record")?;
            }
            "import" => {
                for (id, row) in ids.iter().zip(&rows) {
                    let done = object.insert(id, row, world);
                    done.map_err(|refused| refused.to_string())?;
                }
            }
            _ => return Err(format!("{what}: HubSpot's double has no such hand")),
        }
        Ok(Value::Null)
    }

    pub(super) fn make_sample(&mut self, rows: usize, world: &mut World) -> Result<(), String> {
        for n in 0..rows.max(3) {
            let stage = if n % 3 == 0 { "customer" } else { "lead" };
            let fields = json!({
                "email": format!("contact{n}@example.com"), "firstname": format!("Contact {n}"),
                "lifecyclestage": stage,
            });
            let table = "contacts".to_owned();
            self.by_hand(Hand::Create { table, fields }, world)?;
        }
        let fields = json!({ "name": "Example", "domain": "example.com" });
        let table = "companies".to_owned();
        self.by_hand(Hand::Create { table, fields }, world)?;
        Ok(())
    }
}

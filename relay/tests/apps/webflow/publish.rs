//! The live copies: made by publishing items, or the site, and taken away.

use serde_json::{Value, json};

use super::items::{ids_of, listed, shown};
use super::schema::Collection;
use super::{Webflow, body, error, not_found};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::past::NOW;

impl Collection {
    /// Whether there is such an item.
    fn publish(&mut self, id: &str, world: &World) -> bool {
        let Some(mut item) = self.item(id).cloned() else {
            return false;
        };
        item.live = Some(item.cells.clone());
        item.published = Some(world.now);
        item.is_draft = false;
        if world.traps.is_on("publishing-updates") {
            item.updated = world.now;
        }
        self.put(id, item, world);
        true
    }

    fn withdraw(&mut self, id: &str, world: &World) {
        if let Some(mut item) = self.item(id).cloned() {
            (item.live, item.published, item.is_draft) = (None, None, true);
            self.put(id, item, world);
        }
    }

    /// What is queued is published, and what is left of deleted items goes.
    pub fn publish_queued(&mut self, world: &World) {
        let queued = self.items.all(NOW);
        let queued = queued.filter(|(_, item)| !item.is_draft && !item.is_archived);
        let queued: Vec<String> = queued.map(|(id, _)| id.to_owned()).collect();
        for id in queued {
            self.publish(&id, world);
        }
        self.ghosts.clear();
    }
}

impl Webflow {
    pub(super) fn publish_items(&mut self, call: &Call, world: &mut World) -> Outcome {
        if world.traps.is_on("publish-refused") {
            let message = "Conflict: The site is not published";
            return Err(error(409, "conflict", message, json!([])));
        }
        let wish = body(call)?;
        let ids = wish["itemIds"].as_array().cloned().unwrap_or_default();
        let collection = self.collection(call)?;
        let (mut published, mut errors) = (Vec::new(), Vec::new());
        for id in ids.iter().filter_map(Value::as_str) {
            match collection.publish(id, world) {
                true => published.push(id),
                false => errors.push(format!("Staging item ID {id} not found.")),
            }
        }
        let told = json!({ "publishedItemIds": published, "errors": errors });
        Ok(Answer::json(202, &told))
    }

    pub(super) fn withdraw_items(&mut self, call: &Call, world: &mut World) -> Outcome {
        let items = listed(&body(call)?, world)?;
        let collection = self.collection(call)?;
        let ids = ids_of(&items);
        let is_live = |id: &&str| collection.item(id).is_some_and(|item| item.live.is_some());
        if !ids.iter().all(is_live) {
            return Err(not_found("live item"));
        }
        for id in ids {
            collection.withdraw(id, world);
        }
        Ok(Answer::empty(204))
    }

    pub(super) fn publish_site(&mut self, call: &Call, world: &mut World) -> Outcome {
        self.at_site(call)?;
        for collection in &mut self.collections {
            collection.publish_queued(world);
        }
        let told = json!({ "customDomains": [], "publishToWebflowSubdomain": true });
        Ok(Answer::json(202, &told))
    }

    pub(super) fn list_live(&mut self, call: &Call, world: &mut World) -> Outcome {
        self.page(call, world, true)
    }

    pub(super) fn read_live(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let collection = self.collection(call)?;
        let id = call.param(1);
        let item = collection.item(id).filter(|item| item.live.is_some());
        let item = item.ok_or_else(|| not_found("item"))?;
        let mut live = shown(id, item);
        live["fieldData"] = item.live.clone().into();
        Ok(Answer::ok(&live))
    }
}

//! Webhooks: pings that say only that there is something, and the log of payloads, by cursor. A hook
//! without an address works as well: its log can be read without being called.

use std::collections::VecDeque;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::cells::shown_in_payload;
use super::schema::Table;
use super::transaction::{Cells, Change, Transaction};
use super::{Airtable, Base, bad_request, body, error, not_found};
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::{Stamp, iso};
use crate::host::{Notice, World};

/// Doc "Webhooks overview": for one base, and payloads in one answer.
const HOOKS_MAX: usize = 10;
const PAYLOADS_PAGE: usize = 50;

#[derive(Debug)]
pub(super) struct Hook {
    id: String,
    secret: String,
    url: Option<String>,
    specification: Value,
    expires: Stamp,
    notifies: bool,
    is_enabled: bool,
    /// Number of the next payload, from 1; never reset.
    next: u64,
    /// With their numbers.
    payloads: VecDeque<(u64, Stamp, Value)>,
}

impl Hook {
    pub fn pass_time(&mut self, now: Stamp, kept_ms: i64) {
        while self
            .payloads
            .front()
            .is_some_and(|(_, at, _)| at + kept_ms < now)
        {
            self.payloads.pop_front();
        }
        if self.expires < now {
            self.is_enabled = false;
        }
    }

    fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "areNotificationsEnabled": self.notifies,
            "cursorForNextPayload": self.next,
            "isHookEnabled": self.is_enabled,
            "lastSuccessfulNotificationTime": null,
            "lastNotificationResult": null,
            "notificationUrl": self.url,
            "expirationTime": iso(self.expires),
            "specification": self.specification,
        })
    }

    fn filters(&self, name: &str) -> Vec<&str> {
        let list = self.specification["options"]["filters"][name].as_array();
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Whether `is` is among those that a filter names; one that names nothing lets all pass.
    fn wants(&self, filter: &str, is: &str) -> bool {
        let named = self.filters(filter);
        named.is_empty() || named.contains(&is)
    }

    fn includes(&self, what: &str) -> &Value {
        &self.specification["options"]["includes"][what]
    }

    fn ping(&self, base: &str, world: &World) -> Option<Notice> {
        let url = self.url.clone().filter(|_| self.notifies)?;
        let body = json!({
            "base": { "id": base },
            "webhook": { "id": self.id },
            "timestamp": iso(world.now),
        })
        .to_string();
        let secret = STANDARD.decode(&self.secret).unwrap_or_default();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), body.as_bytes());
        let mut hex: String = tag
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        match world.traps.text("hooks-signed") {
            "off" => {}
            how => {
                if how == "wrong" {
                    hex = hex.chars().rev().collect();
                }
                headers.push(("x-airtable-content-mac", format!("hmac-sha256={hex}")));
            }
        }
        Some(Notice { url, headers, body })
    }
}

impl Base {
    /// Ends a transaction: each hook that looks gets its payload.
    pub fn commit(&mut self, done: &Transaction, source: &str, world: &mut World) {
        if done.changes.is_empty() {
            return;
        }
        self.transactions += 1;
        let mut hooks = std::mem::take(&mut self.hooks);
        for hook in hooks.iter_mut().filter(|hook| hook.is_enabled) {
            let tables = self.seen_by(hook, done, source, world);
            if tables.is_empty() {
                continue;
            }
            let payload = json!({
                "timestamp": iso(world.now),
                "baseTransactionNumber": self.transactions,
                "payloadFormat": "v0",
                "actionMetadata": { "source": source, "sourceMetadata": {} },
                "changedTablesById": tables,
            });
            hook.payloads.push_back((hook.next, world.now, payload));
            hook.next += 1;
            let ping = hook.ping(&self.id, world);
            world.notices.extend(ping);
        }
        self.hooks = hooks;
    }

    fn seen_by(
        &self,
        hook: &Hook,
        done: &Transaction,
        source: &str,
        world: &World,
    ) -> Map<String, Value> {
        let mut tables = Map::new();
        if !hook.wants("fromSources", source) || !hook.wants("dataTypes", "tableData") {
            return tables;
        }
        let scope = hook.specification["options"]["filters"]["recordChangeScope"].as_str();
        for ((table_id, id), change) in &done.changes {
            if scope.is_some_and(|scope| scope != table_id) {
                continue;
            }
            let Some(table) = self.tables.iter().find(|table| table.id == *table_id) else {
                continue;
            };
            let Some((what, shown)) = self.change_shown(hook, table, id, change, world) else {
                continue;
            };
            let seen = tables.entry(table_id.clone()).or_insert_with(|| json!({}));
            if what == "destroyedRecordIds" {
                let mut gone = seen[what].as_array().cloned().unwrap_or_default();
                gone.push(id.clone().into());
                seen[what] = gone.into();
            } else {
                seen[what][id] = shown;
            }
        }
        tables
    }

    fn change_shown(
        &self,
        hook: &Hook,
        table: &Table,
        id: &str,
        change: &Change,
        world: &World,
    ) -> Option<(&'static str, Value)> {
        let cells = |cells: &Cells, wanted: &dyn Fn(&str) -> bool| -> Value {
            let wanted = table.fields.iter().filter(|field| wanted(&field.id));
            let shown = wanted.map(|field| {
                let value = cells.get(&field.id).unwrap_or(&Value::Null);
                (
                    field.id.clone(),
                    shown_in_payload(field, value, self.linked(field), world),
                )
            });
            json!({ "cellValuesByFieldId": shown.collect::<Map<_, _>>() })
        };
        match (&change.before, &change.after) {
            (None, None) => None,
            (None, Some(after)) => hook.wants("changeTypes", "add").then(|| {
                let mut shown = cells(after, &|field| after.contains_key(field));
                let created = table
                    .records
                    .find(id, world.now)
                    .map_or(world.now, |record| record.created);
                shown["createdTime"] = super::cells::stamp(created);
                ("createdRecordsById", shown)
            }),
            (Some(_), None) => hook
                .wants("changeTypes", "remove")
                .then_some(("destroyedRecordIds", Value::Null)),
            (Some(before), Some(after)) => {
                let changed = |field: &str| before.get(field) != after.get(field);
                let is_seen =
                    |field: &str| changed(field) && hook.wants("watchDataInFieldIds", field);
                let is_any = table.fields.iter().any(|field| is_seen(&field.id));
                if !is_any || !hook.wants("changeTypes", "update") {
                    return None;
                }
                let mut shown = json!({ "current": cells(after, &is_seen) });
                if hook.includes("includePreviousCellValues") == true {
                    shown["previous"] = cells(before, &is_seen);
                }
                let included = hook.includes("includeCellValuesInFieldIds");
                if !included.is_null() {
                    let named = included.as_array().cloned().unwrap_or_default();
                    let is_named = |field: &str| included == "all" || named.contains(&field.into());
                    shown["unchanged"] = cells(after, &|field| is_named(field) && !changed(field));
                }
                Some(("changedRecordsById", shown))
            }
        }
    }

    fn hook(&mut self, id: &str) -> Result<&mut Hook, Answer> {
        self.hooks
            .iter_mut()
            .find(|hook| hook.id == id)
            .ok_or_else(not_found)
    }
}

impl Airtable {
    pub(super) fn list_hooks(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let base = self.find_base(call.param(0))?;
        let hooks: Vec<Value> = base.hooks.iter().map(Hook::shown).collect();
        Ok(Answer::ok(&json!({ "webhooks": hooks })))
    }

    pub(super) fn create_hook(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let base = self.find_base(call.param(0))?;
        if !wish["specification"]["options"]["filters"]["dataTypes"].is_array() {
            return Err(bad_request());
        }
        if base.hooks.len() >= HOOKS_MAX {
            let message = "This base has too many webhooks";
            return Err(error(422, "TOO_MANY_WEBHOOKS_IN_BASE", message));
        }
        let hook = Hook {
            id: world.ids.letters("ach", 14),
            secret: STANDARD.encode(world.ids.hex(32)),
            url: wish["notificationUrl"].as_str().map(str::to_owned),
            specification: wish["specification"].clone(),
            expires: world.now + world.traps.ms("hook-life"),
            notifies: true,
            is_enabled: true,
            next: 1,
            payloads: VecDeque::new(),
        };
        let answer = json!({
            "id": hook.id,
            "macSecretBase64": hook.secret,
            "expirationTime": iso(hook.expires),
        });
        base.hooks.push(hook);
        Ok(Answer::ok(&answer))
    }

    pub(super) fn delete_hook(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let base = self.find_base(call.param(0))?;
        base.hook(call.param(1))?;
        base.hooks.retain(|hook| hook.id != call.param(1));
        Ok(Answer::ok(&json!({})))
    }

    /// Only one that still runs can be renewed.
    pub(super) fn refresh_hook(&mut self, call: &Call, world: &mut World) -> Outcome {
        let hook = self.find_base(call.param(0))?.hook(call.param(1))?;
        if !hook.is_enabled {
            return Err(error(422, "INVALID_HOOK", "the webhook has expired"));
        }
        hook.expires = world.now + world.traps.ms("hook-life");
        Ok(Answer::ok(&json!({ "expirationTime": iso(hook.expires) })))
    }

    pub(super) fn enable_hook(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let wish = body(call)?;
        let hook = self.find_base(call.param(0))?.hook(call.param(1))?;
        hook.notifies = wish["enable"] == true;
        Ok(Answer::ok(&json!({})))
    }

    /// Reading extends the life of a hook that runs.
    pub(super) fn payloads(&mut self, call: &Call, world: &mut World) -> Outcome {
        let hook = self.find_base(call.param(0))?.hook(call.param(1))?;
        if hook.is_enabled {
            hook.expires = world.now + world.traps.ms("hook-life");
        }
        let from = u64::try_from(call.query_number("cursor").unwrap_or(1)).unwrap_or(1);
        let limit = call.query_number("limit").unwrap_or(PAYLOADS_PAGE);
        let limit = limit.clamp(1, PAYLOADS_PAGE);
        let due: Vec<&(u64, Stamp, Value)> = hook
            .payloads
            .iter()
            .filter(|(number, ..)| *number >= from)
            .collect();
        let page = &due[..due.len().min(limit)];
        let payloads: Vec<&Value> = page.iter().map(|(_, _, payload)| payload).collect();
        let cursor = page.last().map_or(from, |(number, ..)| number + 1);
        Ok(Answer::ok(&json!({
            "payloads": payloads,
            "cursor": cursor,
            "mightHaveMore": due.len() > page.len(),
        })))
    }
}

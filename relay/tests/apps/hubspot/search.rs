//! The search: an index some time behind the records, capped, and paged by position.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::records::Record;
use super::schema::Object;
use super::values::moment;
use super::{HubSpot, body, invalid};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};

/// Doc "Search the CRM", limits.
const PAGE_MAX: u64 = 200;
const BODY_MAX: usize = 3_000;
const GROUPS_MAX: usize = 5;
const FILTERS_MAX: usize = 10;

impl HubSpot {
    pub(super) fn search(&mut self, call: &Call, world: &mut World) -> Outcome {
        if call.body.len() > BODY_MAX {
            return Err(invalid("The request's body has more than 3000 characters."));
        }
        let wish = body(call)?;
        let size = wish["limit"].as_u64().unwrap_or(10);
        if size > PAGE_MAX {
            return Err(invalid("limit must be at most 200"));
        }
        let after = match &wish["after"] {
            Value::Null => 0,
            Value::String(text) if text.is_empty() => 0,
            Value::String(text) => text
                .parse()
                .map_err(|_| invalid("after must be a number"))?,
            other => other.as_u64().unwrap_or(0),
        };
        let cap = world.traps.number("search-cap").unwrap_or(usize::MAX);
        let (size, after) = (size as usize, after as usize);
        if after + size.min(1) > cap {
            return Err(invalid("There are more results than can be paged through."));
        }
        let seen = world.seen("search-lag").min(world.seen("stale-reads"));
        let object = self.object(call, world)?;
        let mut found = Vec::new();
        for (id, record) in object.records.all(seen) {
            if record.archived.is_none() && object.fits(&wish["filterGroups"], id, record)? {
                found.push((id, record));
            }
        }
        object.sort(&mut found, &wish["sorts"]);
        let wished = wish["properties"].as_array().cloned().unwrap_or_default();
        let wished: Vec<String> = wished
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect();
        let until = (after + size).min(cap).min(found.len());
        let page = found.get(after..until).unwrap_or_default();
        let results: Vec<Value> = page
            .iter()
            .map(|(id, record)| object.shown(id, record, &wished))
            .collect();
        let mut answer = json!({ "total": found.len(), "results": results });
        if until < found.len() {
            answer["paging"] = json!({ "next": { "after": until.to_string() } });
        }
        Ok(Answer::ok(&answer))
    }
}

impl Object {
    fn sort(&self, found: &mut [(&str, &Record)], sorts: &Value) {
        // By when they were made, unless another order is asked for.
        found.sort_by_key(|(id, record)| (record.created, id.parse::<u64>().unwrap_or(0)));
        let Some(sort) = sorts.as_array().and_then(|sorts| sorts.first()) else {
            return;
        };
        let (name, is_down) = match sort.as_str() {
            Some(text) => (text.trim_start_matches('-'), text.starts_with('-')),
            None => (
                sort["propertyName"].as_str().unwrap_or_default(),
                sort["direction"] == "DESCENDING",
            ),
        };
        found.sort_by_cached_key(|(id, record)| {
            let value = self.value(id, record, name).unwrap_or_default();
            self.key(name, &value)
        });
        if is_down {
            found.reverse();
        }
    }

    fn compare(&self, name: &str, a: &str, b: &str) -> Ordering {
        self.key(name, a).cmp(&self.key(name, b))
    }

    /// By what values are in order: numbers and moments, or texts without case.
    fn key(&self, name: &str, text: &str) -> (i128, String) {
        let kind = self.property(name).map_or("", |property| &property.kind);
        let number = match kind {
            "number" => text
                .parse::<f64>()
                .ok()
                .map(|number| (number * 1e6) as i128),
            "date" | "datetime" => moment(text).map(i128::from),
            _ => None,
        };
        match number {
            Some(number) => (number, String::new()),
            None => (i128::MIN, text.to_lowercase()),
        }
    }

    /// Any group fits of which all filters do.
    fn fits(&self, groups: &Value, id: &str, record: &Record) -> Result<bool, Answer> {
        let groups = groups.as_array().cloned().unwrap_or_default();
        if groups.len() > GROUPS_MAX {
            return Err(invalid("There are more than 5 filter groups."));
        }
        let mut any = groups.is_empty();
        for group in &groups {
            let filters = group["filters"].as_array().cloned().unwrap_or_default();
            if filters.len() > FILTERS_MAX {
                return Err(invalid("A filter group has more than 10 filters."));
            }
            let mut all = true;
            for filter in &filters {
                all &= self.holds(filter, id, record)?;
            }
            any |= all;
        }
        Ok(any)
    }

    fn holds(&self, filter: &Value, id: &str, record: &Record) -> Result<bool, Answer> {
        let name = filter["propertyName"].as_str().unwrap_or_default();
        let Some(property) = self.property(name) else {
            return Err(invalid(format!("There is no property {name}.")));
        };
        let has = self.value(id, record, name);
        let order = |wanted: &Value| {
            let has = has.as_ref()?;
            Some(self.compare(name, has, &text(wanted)))
        };
        let value = &filter["value"];
        // An index of words has texts in lower case, and is asked for them as they are.
        let among = || {
            let has = has.as_ref().map(|has| match property.kind.as_str() {
                "string" | "phone_number" => has.to_lowercase(),
                _ => has.clone(),
            });
            let values = filter["values"].as_array().into_iter().flatten();
            has.is_some_and(|has| values.into_iter().any(|value| text(value) == has))
        };
        Ok(match filter["operator"].as_str().unwrap_or_default() {
            "EQ" => order(value) == Some(Ordering::Equal),
            "NEQ" => order(value) != Some(Ordering::Equal),
            "LT" => order(value) == Some(Ordering::Less),
            "LTE" => order(value).is_some_and(Ordering::is_le),
            "GT" => order(value) == Some(Ordering::Greater),
            "GTE" => order(value).is_some_and(Ordering::is_ge),
            "BETWEEN" => {
                order(value).is_some_and(Ordering::is_ge)
                    && order(&filter["highValue"]).is_some_and(Ordering::is_le)
            }
            "IN" => among(),
            "NOT_IN" => !among(),
            "HAS_PROPERTY" => has.is_some(),
            "NOT_HAS_PROPERTY" => has.is_none(),
            "CONTAINS_TOKEN" => {
                let wanted = text(value).to_lowercase();
                let wanted = wanted.trim_matches('*');
                has.is_some_and(|has| has.to_lowercase().contains(wanted))
            }
            other => return Err(invalid(format!("{other} is no operator."))),
        })
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

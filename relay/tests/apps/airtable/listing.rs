//! Lists: filter, sort, pages of up to 100. A token stands for an order that was taken at the first
//! page; with `shifting-pages` for a position in whatever order there is now.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::cells::stamp;
use super::formula::{Formula, compare};
use super::schema::Table;
use super::transaction::Record;
use super::{Airtable, Base, bad_request, body, error};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::Stamp;

const PAGE: usize = 100;

/// A list that is being read.
#[derive(Debug)]
pub(super) struct Iteration {
    pub made: Stamp,
    ids: Vec<String>,
}

/// What a list is asked for, by query or by body.
struct Wish {
    size: usize,
    most: usize,
    offset: Option<String>,
    formula: Option<Formula>,
    sort: Vec<(String, bool)>,
    fields: Vec<String>,
    by_id: bool,
}

impl Wish {
    fn read(call: &Call) -> Result<Wish, Answer> {
        let asked = if call.is_read() {
            from_query(call)
        } else {
            body(call)?
        };
        let number = |name: &str, usual: u64| {
            let text = asked[name].as_str().and_then(|text| text.parse().ok());
            text.or(asked[name].as_u64()).unwrap_or(usual)
        };
        let size = usize::try_from(number("pageSize", 100)).unwrap_or(0);
        if !(1..=PAGE).contains(&size) {
            return Err(bad_request());
        }
        let formula = asked["filterByFormula"]
            .as_str()
            .filter(|text| !text.is_empty());
        let formula = formula.map(|text| {
            Formula::parse(text).ok_or_else(|| {
                let message = "The formula for filtering records is invalid: it can't be read";
                error(422, "INVALID_FILTER_BY_FORMULA", message)
            })
        });
        let sort = asked["sort"].as_array().into_iter().flatten().map(|by| {
            let field = by["field"].as_str().unwrap_or_default().to_owned();
            (field, by["direction"] == "desc")
        });
        let fields = asked["fields"].as_array().into_iter().flatten();
        Ok(Wish {
            size,
            most: usize::try_from(number("maxRecords", u64::MAX)).unwrap_or(usize::MAX),
            offset: asked["offset"].as_str().map(str::to_owned),
            formula: formula.transpose()?,
            sort: sort.collect(),
            fields: fields
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
            by_id: asked["returnFieldsByFieldId"] == true
                || asked["returnFieldsByFieldId"] == "true",
        })
    }
}

/// `sort[0][field]=…` and `fields[]=…` as a body has them.
fn from_query(call: &Call) -> Value {
    let mut asked = Map::new();
    let mut sort: Vec<Value> = Vec::new();
    for (name, value) in &call.query {
        let Some(rest) = name.strip_prefix("sort[") else {
            if !name.starts_with("fields") {
                asked.insert(name.clone(), value.clone().into());
            }
            continue;
        };
        let (at, part) = rest.split_once("][").unwrap_or(("0", rest));
        let at: usize = at.parse().unwrap_or(0).min(PAGE);
        if sort.len() <= at {
            sort.resize(at + 1, json!({}));
        }
        sort[at][part.trim_end_matches(']')] = value.clone().into();
    }
    let fields = call
        .query
        .iter()
        .filter(|(name, _)| name.starts_with("fields["));
    let fields: Vec<Value> = fields.map(|(_, value)| value.clone().into()).collect();
    asked.insert("sort".to_owned(), sort.into());
    asked.insert("fields".to_owned(), fields.into());
    Value::Object(asked)
}

fn no_iterator() -> Answer {
    let message =
        "The iterator that was previously created for this listRecords call is no longer available";
    error(422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE", message)
}

impl Airtable {
    pub(super) fn list_records(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = Wish::read(call)?;
        let seen = world.seen("stale-reads");
        let iterations = &mut self.iterations;
        let found = self.bases.iter_mut().find(|base| base.id == call.param(0));
        let base = found.ok_or_else(super::not_found)?;
        let at = base.table_at(call.param(1))?;
        let table = &base.tables[at];
        let shifts = world.traps.is_on("shifting-pages");
        let (token, from) = match &wish.offset {
            Some(offset) => {
                let (token, from) = offset.split_once('/').ok_or_else(no_iterator)?;
                (
                    Some(token.to_owned()),
                    from.parse().map_err(|_| no_iterator())?,
                )
            }
            None => (None, 0_usize),
        };
        let token = match token {
            Some(token) if iterations.contains_key(&token) => token,
            Some(_) => return Err(no_iterator()),
            None => {
                let token = world.ids.letters("itr", 14);
                let ids = order(table, &wish, seen, shifts)?;
                iterations.insert(
                    token.clone(),
                    Iteration {
                        made: world.now,
                        ids,
                    },
                );
                token
            }
        };
        let fresh = if shifts {
            Some(order(table, &wish, seen, shifts)?)
        } else {
            None
        };
        let ids = fresh.as_ref().unwrap_or(&iterations[&token].ids);
        let until = ids.len().min(wish.most);
        let to = (from + wish.size).min(until);
        let page = ids.get(from.min(to)..to).unwrap_or_default();
        let records: Vec<Value> = page
            .iter()
            .filter_map(|id| {
                Some(base.listed(table, id, table.records.find(id, seen)?, &wish, world))
            })
            .collect();
        let mut answer = json!({ "records": records });
        if to < until {
            answer["offset"] = format!("{token}/{to}").into();
        } else {
            iterations.remove(&token);
        }
        Ok(Answer::ok(&answer))
    }
}

impl Base {
    fn listed(
        &self,
        table: &Table,
        id: &str,
        record: &Record,
        wish: &Wish,
        world: &World,
    ) -> Value {
        let mut fields = self.fields_shown(table, id, record, wish.by_id, world);
        if let Some(fields) = fields.as_object_mut().filter(|_| !wish.fields.is_empty()) {
            let is_asked = |name: &str| {
                let field = table.field(name);
                let asked =
                    |asked: &String| field.is_some_and(|f| f.id == *asked || f.name == *asked);
                wish.fields.iter().any(asked)
            };
            fields.retain(|name, _| is_asked(name));
        }
        json!({ "id": id, "createdTime": stamp(record.created), "fields": fields })
    }
}

/// Ids of all records that are asked for, in order.
fn order(table: &Table, wish: &Wish, seen: Stamp, shifts: bool) -> Result<Vec<String>, Answer> {
    for name in wish.sort.iter().map(|(name, _)| name).chain(&wish.fields) {
        if table.field(name).is_none() {
            return Err(error(
                422,
                "UNKNOWN_FIELD_NAME",
                format!("Unknown field name: \"{name}\""),
            ));
        }
    }
    let is_asked = |id: &str, record: &Record| {
        wish.formula
            .as_ref()
            .is_none_or(|formula| formula.holds(table, id, record))
    };
    let mut found: Vec<(&str, &Record)> = table
        .records
        .all(seen)
        .filter(|(id, record)| is_asked(id, record))
        .collect();
    if shifts {
        found.sort_by_key(|(_, record)| std::cmp::Reverse(record.modified));
    }
    for (name, is_descending) in wish.sort.iter().rev() {
        let field = table.field(name).map_or("", |field| field.id.as_str());
        found.sort_by(|(_, a), (_, b)| {
            let empty = Value::Null;
            let (a, b) = (a.cells.get(field), b.cells.get(field));
            let order =
                compare(a.unwrap_or(&empty), b.unwrap_or(&empty)).unwrap_or(Ordering::Equal);
            if *is_descending {
                order.reverse()
            } else {
                order
            }
        });
    }
    Ok(found.into_iter().map(|(id, _)| id.to_owned()).collect())
}

//! Queries of a data source: filters, sorts, pages by cursor, and the cap that looks like the end.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::cells::plain;
use super::pages::{Page, stamp};
use super::schema::DataSource;
use super::{Notion, body, invalid, versioned};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::parse;

/// Results of one answer: doc "Pagination".
const PAGE_MAX: usize = 100;

/// What a query has not shown yet.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    source: String,
    ids: Vec<String>,
    shown: usize,
    is_cut: bool,
}

impl Notion {
    pub(super) fn query(&mut self, call: &Call, world: &mut World) -> Outcome {
        versioned(call)?;
        let wish = body(call)?;
        let id = call.param(0).to_owned();
        let size = wish["page_size"].as_u64().unwrap_or(100);
        let size = usize::try_from(size).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let seen = world.seen("stale-reads");
        let fresh = self.source(&id)?.found(&wish, world)?;
        let mut rest = match wish["start_cursor"].as_str() {
            None => fresh.clone(),
            Some(cursor) => {
                let known = self.rests.get(cursor).filter(|rest| rest.source == id);
                let wrong = || invalid("The start_cursor provided is invalid.");
                known.cloned().ok_or_else(wrong)?
            }
        };
        if world.traps.is_on("shifting-pages") {
            rest.ids = fresh.ids;
        }
        let source = self.source(&id)?;
        let until = (rest.shown + size).min(rest.ids.len());
        let page = rest.ids.get(rest.shown..until).unwrap_or_default();
        let shown = page.iter().filter_map(|id| {
            // What is gone meanwhile is not shown.
            let page = source.pages.find(id, seen).filter(|page| !page.in_trash)?;
            Some(source.page_shown(id, page, world))
        });
        let results: Vec<Value> = shown.collect();
        let (has_more, is_cut) = (until < rest.ids.len(), rest.is_cut);
        rest.shown = until;
        let cursor = has_more.then(|| world.ids.uuid());
        if let Some(cursor) = &cursor {
            self.rests.insert(cursor.clone(), rest);
        }
        let status = match is_cut {
            true => {
                json!({ "type": "incomplete", "incomplete_reason": "query_result_limit_reached" })
            }
            false => json!({ "type": "complete" }),
        };
        Ok(Answer::ok(&json!({
            "object": "list", "results": results, "next_cursor": cursor, "has_more": has_more,
            "type": "page_or_data_source", "page_or_data_source": {}, "request_status": status,
        })))
    }
}

impl DataSource {
    fn found(&self, wish: &Value, world: &World) -> Result<Rest, Answer> {
        let mut found = Vec::new();
        for (id, page) in self.pages.all(world.seen("stale-reads")) {
            if !page.in_trash && self.fits(&wish["filter"], page, world)? {
                found.push((id, page));
            }
        }
        for sort in wish["sorts"].as_array().into_iter().flatten().rev() {
            self.sort(&mut found, sort, world)?;
        }
        if world.traps.is_on("shifting-pages") {
            found.sort_by_key(|(_, page)| std::cmp::Reverse(page.edited));
        }
        let cap = world.traps.number("query-cap").unwrap_or(usize::MAX);
        let is_cut = found.len() > cap;
        let ids = found.into_iter().take(cap).map(|(id, _)| id.to_owned());
        Ok(Rest {
            source: self.id.clone(),
            ids: ids.collect(),
            shown: 0,
            is_cut,
        })
    }

    fn sort(&self, found: &mut [(&str, &Page)], sort: &Value, world: &World) -> Result<(), Answer> {
        let key = |page: &Page| -> Value {
            match (sort["timestamp"].as_str(), sort["property"].as_str()) {
                (Some("created_time"), _) => stamp(page.created, world).into(),
                (Some(_), _) => stamp(page.edited, world).into(),
                (None, name) => {
                    let property = self.property(name.unwrap_or_default()).ok();
                    let cell = property.and_then(|property| page.cells.get(&property.id));
                    cell.cloned().unwrap_or_default()
                }
            }
        };
        if let Some(name) = sort["property"].as_str() {
            self.property(name)?;
        }
        found.sort_by(|(_, a), (_, b)| {
            let order = compare(&key(a), &key(b));
            match sort["direction"] == "descending" {
                true => order.reverse(),
                false => order,
            }
        });
        Ok(())
    }

    fn fits(&self, filter: &Value, page: &Page, world: &World) -> Result<bool, Answer> {
        if filter.is_null() {
            return Ok(true);
        }
        for (name, is_or) in [("or", true), ("and", false)] {
            if let Some(parts) = filter[name].as_array() {
                if parts.len() > PAGE_MAX {
                    return Err(invalid("body.filter has too many conditions."));
                }
                for part in parts {
                    if self.fits(part, page, world)? == is_or {
                        return Ok(is_or);
                    }
                }
                return Ok(!is_or);
            }
        }
        if let Some(of) = filter["timestamp"].as_str() {
            let at = match of {
                "created_time" => stamp(page.created, world),
                _ => stamp(page.edited, world),
            };
            return holds(&filter[of], &at.into());
        }
        let name = filter["property"].as_str().unwrap_or_default();
        let property = self.property(name)?;
        let condition = &filter[&property.kind];
        if !condition.is_object() {
            let message = format!("body.filter.{} should be defined.", property.kind);
            return Err(invalid(message));
        }
        let cell = page.cells.get(&property.id).cloned().unwrap_or_default();
        holds(condition, &cell)
    }
}

fn holds(condition: &Value, cell: &Value) -> Result<bool, Answer> {
    let condition = condition
        .as_object()
        .and_then(|object| object.iter().next());
    let (name, wanted) = condition.ok_or_else(|| invalid("body.filter should be complete."))?;
    let texts = (plain(cell).to_lowercase(), plain(wanted).to_lowercase());
    let order = match (
        cell.as_str().and_then(parse),
        wanted.as_str().and_then(parse),
    ) {
        (Some(cell), Some(wanted)) => cell.cmp(&wanted),
        _ => compare(cell, wanted),
    };
    Ok(match name.as_str() {
        // Of texts it is not about case.
        "equals" if wanted.is_string() => texts.0 == texts.1,
        "equals" => order == Ordering::Equal,
        "does_not_equal" => texts.0 != texts.1,
        "contains" => texts.0.contains(&texts.1),
        "starts_with" => texts.0.starts_with(&texts.1),
        "is_empty" => texts.0.is_empty() && !cell.is_number(),
        "after" | "greater_than" => order == Ordering::Greater,
        "before" | "less_than" => order == Ordering::Less,
        "on_or_after" | "greater_than_or_equal_to" => order != Ordering::Less,
        "on_or_before" | "less_than_or_equal_to" => order != Ordering::Greater,
        other => return Err(invalid(format!("body.filter has no condition {other}."))),
    })
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => plain(a).cmp(&plain(b)),
    }
}

//! Lists of items: filters, sorts, and pages by offset.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::{Value, json};

use super::items::{Item, shown};
use super::schema::Collection;
use super::{Webflow, error};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::{Stamp, parse};

/// Items of one page.
const PAGE_MAX: usize = 100;
/// Values of `in`, and terms of one request: reference, "List items".
const VALUES_MAX: usize = 100;
const TERMS_MAX: usize = 10;

fn bad(message: &str) -> Answer {
    error(
        400,
        "bad_argument",
        format!("BadArgument: {message}"),
        json!([]),
    )
}

/// One condition: of a stamp, or of a field.
struct Term {
    of: String,
    operator: String,
    wanted: HashSet<String>,
}

impl Term {
    /// `lastUpdated[gte]=…`, `filter[name][in]=a,b`, `slug=…`; `None` for what is no filter.
    fn parse(name: &str, value: &str) -> Option<Term> {
        let mut parts = name.split('[').map(|part| part.trim_end_matches(']'));
        let (of, operator) = match (parts.next()?, parts.next(), parts.next()) {
            ("filter", Some(field), operator) => (field, operator.unwrap_or("eq")),
            (of @ ("createdOn" | "lastUpdated" | "lastPublished"), Some(operator), None) => {
                (of, operator)
            }
            (of @ ("name" | "slug"), None, None) => (of, "eq"),
            _ => return None,
        };
        let wanted = match operator {
            "in" | "nin" => value.split(',').map(str::to_owned).collect(),
            _ => HashSet::from([value.to_owned()]),
        };
        Some(Term {
            of: of.to_owned(),
            operator: operator.to_owned(),
            wanted,
        })
    }

    fn check(&self, collection: &Collection) -> Result<(), Answer> {
        let is_stamp = ["createdOn", "lastUpdated", "lastPublished"].contains(&self.of.as_str());
        let kind = match self.of.as_str() {
            "id" => "id",
            _ if is_stamp => "DateTime",
            of => {
                &collection
                    .field(of)
                    .ok_or_else(|| bad("unknown field"))?
                    .kind
            }
        };
        let known: &[&str] = match kind {
            "id" | "Option" => &["eq", "ne", "in", "nin"],
            "Number" | "DateTime" => &["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists"],
            "Switch" | "Color" | "Reference" => &["eq", "ne", "in", "nin", "exists"],
            "RichText" | "Image" | "MultiImage" | "VideoLink" | "MultiReference" => &["exists"],
            _ => &["eq", "ne", "in", "nin", "contains", "ncontains", "exists"],
        };
        match known.contains(&self.operator.as_str()) && self.wanted.len() <= VALUES_MAX {
            true => Ok(()),
            false => Err(bad("operator or number of values")),
        }
    }

    fn fits(&self, id: &str, item: &Item) -> bool {
        let stamp = match self.of.as_str() {
            "createdOn" => Some(Some(item.created)),
            "lastUpdated" => Some(Some(item.updated)),
            "lastPublished" => Some(item.published),
            _ => None,
        };
        if let Some(stamp) = stamp {
            return stamp
                .is_some_and(|stamp| self.holds(|wanted| Some(stamp.cmp(&parse(wanted)?))));
        }
        let text = match self.of.as_str() {
            "id" => id.to_owned(),
            of => match item.cells.get(of) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            },
        };
        let contains = || {
            let mut wanted = self.wanted.iter();
            wanted.any(|wanted| text.to_lowercase().contains(&wanted.to_lowercase()))
        };
        match self.operator.as_str() {
            "eq" | "in" => self.wanted.contains(&text),
            "ne" | "nin" => !self.wanted.contains(&text),
            "contains" => contains(),
            "ncontains" => !contains(),
            "exists" => self.wanted.contains("true") != text.is_empty(),
            _ => self.holds(
                |wanted| match (text.parse::<f64>(), wanted.parse::<f64>()) {
                    (Ok(text), Ok(wanted)) => text.partial_cmp(&wanted),
                    _ => Some(parse(&text)?.cmp(&parse(wanted)?)),
                },
            ),
        }
    }

    fn holds(&self, compare: impl Fn(&str) -> Option<Ordering>) -> bool {
        let order = self.wanted.iter().next().and_then(|wanted| compare(wanted));
        match (self.operator.as_str(), order) {
            ("gt", Some(order)) => order == Ordering::Greater,
            ("gte", Some(order)) => order != Ordering::Less,
            ("lt", Some(order)) => order == Ordering::Less,
            ("lte", Some(order)) => order != Ordering::Greater,
            ("eq", Some(order)) => order == Ordering::Equal,
            _ => false,
        }
    }
}

/// By what items are in order.
fn place(item: &Item, by: &str) -> (Stamp, String) {
    match by {
        "lastUpdated" => (item.updated, String::new()),
        "lastPublished" => (item.published.unwrap_or_default(), String::new()),
        "name" | "slug" => (0, item.cells[by].as_str().unwrap_or_default().to_owned()),
        _ => (item.created, String::new()),
    }
}

impl Webflow {
    pub(super) fn list_items(&mut self, call: &Call, world: &mut World) -> Outcome {
        self.page(call, world, false)
    }

    /// A page of items, or of the live copies alone.
    pub(super) fn page(&mut self, call: &Call, world: &mut World, is_live: bool) -> Outcome {
        let limit = call.query_number("limit").unwrap_or(PAGE_MAX);
        let offset = call.query_number("offset").unwrap_or(0);
        if limit > PAGE_MAX {
            return Err(bad("limit must be at most 100"));
        }
        let seen = world.seen("stale-reads");
        let by = call.query("sortBy").unwrap_or("createdOn").to_owned();
        let is_descending = call.query("sortOrder") != Some("asc");
        let collection = self.collection(call)?;
        let terms = call.query.iter();
        let terms = terms.filter_map(|(name, value)| Term::parse(name, value));
        let terms: Vec<Term> = terms.collect();
        if terms.len() > TERMS_MAX {
            return Err(bad("at most 10 filter terms"));
        }
        terms.iter().try_for_each(|term| term.check(collection))?;
        let by_id = terms
            .iter()
            .find(|term| term.of == "id" && term.operator == "in");
        let mut items: Vec<(&str, &Item)> = match by_id {
            Some(term) => {
                let ids = term.wanted.iter().map(String::as_str);
                ids.filter_map(|id| Some((id, collection.items.find(id, seen)?)))
                    .collect()
            }
            None => collection.items.all(seen).collect(),
        };
        items.retain(|(id, item)| {
            (!is_live || item.live.is_some()) && terms.iter().all(|term| term.fits(id, item))
        });
        if world.traps.is_on("shuffled-ties") {
            items.sort_by_cached_key(|_| world.ids.number());
        }
        items.sort_by_cached_key(|(_, item)| place(item, &by));
        if is_descending {
            items.reverse();
        }
        let total = items.len();
        let cap = world.traps.number("page-cap").unwrap_or(PAGE_MAX);
        let page = items.into_iter().skip(offset).take(limit.min(cap));
        let page: Vec<Value> = page
            .map(|(id, item)| {
                let mut one = shown(id, item);
                if let Some(live) = item.live.as_ref().filter(|_| is_live) {
                    one["fieldData"] = live.clone().into();
                }
                one
            })
            .collect();
        Ok(Answer::ok(&json!({
            "items": page, "pagination": { "limit": limit, "offset": offset, "total": total },
        })))
    }
}

//! What a manifest must be beyond its types: names of variables, of types, and parts that need each
//! other.

use serde_json::Value as Json;
use tidegate_sync::codec::app::app_types;

use super::{
    Changes, FORMAT, Fields, Listing, Log, Manifest, Paging, Publish, Request, Search, Write,
};
use crate::endpoint::rest::template::names;

/// A mistake, and the keys that lead to it.
pub(super) struct Fault {
    pub keys: Vec<String>,
    pub message: String,
}

type Checked = Result<(), Fault>;

fn fault(keys: &[&str], message: impl Into<String>) -> Fault {
    Fault {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        message: message.into(),
    }
}

const TABLE: [&str; 5] = [
    "container",
    "container_name",
    "table",
    "table_name",
    "modified",
];
const PAGE: [&str; 4] = ["limit", "cursor", "offset", "page"];
const COLUMNS: [&str; 1] = ["columns"];
const FIELD: [&str; 3] = ["field", "field_id", "type"];
const RECORD: [&str; 3] = ["id", "fields", "version"];

pub(super) fn check(manifest: &Manifest) -> Checked {
    if manifest.manifest != FORMAT {
        let message = format!("this program reads version {FORMAT} of the format");
        return Err(fault(&["manifest"], message));
    }
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if manifest.name.is_empty() || !manifest.name.chars().all(is_name) {
        return Err(fault(&["name"], "use a to z, 0 to 9 and -"));
    }
    request(&["who", "request"], &manifest.who.request, &[])?;
    if let Some(containers) = &manifest.containers {
        listing("containers", containers, &PAGE)?;
    }
    let tables = &manifest.tables;
    let known = [&TABLE[..2], &PAGE].concat();
    listing("tables", tables, &known)?;
    if let Some(count) = &tables.count {
        request(&["tables", "count", "request"], &count.request, &TABLE)?;
    }
    if let Some(rights) = &manifest.rights {
        request(&["rights", "request"], &rights.request, &PAGE)?;
    }
    fields(&manifest.fields)?;
    let listing = [&TABLE[..], &PAGE, &COLUMNS].concat();
    let windowed: &[&str] = if manifest.list.window.is_some() {
        &["from"]
    } else {
        &[]
    };
    let known = [&listing[..], windowed].concat();
    request(&["list", "request"], &manifest.list.request, &known)?;
    paging(
        &["list", "paging"],
        &manifest.list.paging,
        &manifest.list.request,
    )?;
    match (&manifest.log, &manifest.changes.request) {
        (Some(log), None) => self::log(log)?,
        (None, Some(asked)) => changes(manifest, &manifest.changes, asked, &listing)?,
        _ => {
            let message = "changes are found by `changes.request` or by a `log`: give one of them";
            return Err(fault(&["changes"], message));
        }
    }
    let by_id = [&TABLE[..], &COLUMNS, &["id", "ids"]].concat();
    request(&["read", "request"], &manifest.read.request, &by_id)?;
    if let Some(each) = &manifest.read.each {
        body(&["read", "each"], each, &["id"])?;
    }
    if let Some(alone) = &manifest.read.alone {
        let known = [&TABLE[..], &COLUMNS, &["id"]].concat();
        request(&["read", "alone"], alone, &known)?;
    }
    if let Some(asked) = &manifest.search {
        search(asked)?;
    }
    if let Some(publish) = &manifest.publish {
        self::publish(publish)?;
    }
    write("create", &manifest.create)?;
    write("update", &manifest.update)?;
    write("delete", &manifest.delete)?;
    batch(manifest)
}

fn listing(name: &str, of: &Listing, known: &[&str]) -> Checked {
    match &of.request {
        None if of.given.is_empty() => Err(fault(&[name], "give `request`, `given` or both")),
        None => Ok(()),
        Some(_) if of.id.is_empty() || of.name.is_empty() => Err(fault(
            &[name, "request"],
            "say where an item has its `id` and `name`",
        )),
        Some(asked) => request(&[name, "request"], asked, known),
    }
}

fn publish(publish: &Publish) -> Checked {
    let known = [&TABLE[..], &["ids"]].concat();
    request(&["publish", "request"], &publish.request, &known)?;
    let Some(withdraw) = &publish.withdraw else {
        return Ok(());
    };
    let known = [&TABLE[..], &["items"]].concat();
    request(
        &["publish", "withdraw", "request"],
        &withdraw.request,
        &known,
    )?;
    body(&["publish", "withdraw", "item"], &withdraw.item, &["id"])
}

fn search(search: &Search) -> Checked {
    let known = [&TABLE[..], &COLUMNS, &FIELD, &["value"]].concat();
    request(&["search", "request"], &search.request, &known)?;
    for (name, many) in [("many", &search.many), ("unique", &search.unique)] {
        let Some(many) = many else {
            continue;
        };
        let known = [&TABLE[..], &COLUMNS, &FIELD, &["values"]].concat();
        request(&["search", name, "request"], &many.request, &known)?;
        if let Some(each) = &many.each {
            let known = [&FIELD[..], &["value"]].concat();
            body(&["search", name, "each"], each, &known)?;
        }
    }
    Ok(())
}

/// What a log is asked for.
fn log(log: &Log) -> Checked {
    let of_container = &TABLE[..2];
    request(&["log", "find"], &log.find, of_container)?;
    request(&["log", "open"], &log.open, of_container)?;
    let known = [of_container, &["log"]].concat();
    request(&["log", "close"], &log.close, &known)?;
    let known = [of_container, &["log", "cursor"]].concat();
    request(&["log", "read"], &log.read, &known)
}

fn changes(manifest: &Manifest, changes: &Changes, asked: &Request, listing: &[&str]) -> Checked {
    let known = [listing, &["since"]].concat();
    request(&["changes", "request"], asked, &known)?;
    paging(&["changes", "paging"], &changes.paging, asked)?;
    if manifest.record.modified.is_empty() {
        let message = "changes are found by `record.modified`: say where it is";
        return Err(fault(&["changes", "request"], message));
    }
    if !changes.tells_deletions && changes.sweep_every_s.is_none() {
        let message = "say by `changes.sweep_every_s` how often to look for what is gone";
        return Err(fault(&["changes", "tells_deletions"], message));
    }
    if let Some(gone) = &changes.gone {
        request(&["changes", "gone", "request"], &gone.request, listing)?;
        paging(&["changes", "gone", "paging"], &gone.paging, &gone.request)?;
    }
    if changes.shifting && !changes.in_order {
        let message = "pages can follow each other by their stamps only `in_order`";
        return Err(fault(&["changes", "shifting"], message));
    }
    if changes.late_ms > 0 && !changes.reread {
        let message = "what shows late must be read by its id: set `reread`";
        return Err(fault(&["changes", "late_ms"], message));
    }
    if changes.tells_deletions && manifest.record.deleted.is_none() {
        let message = "say by `record.deleted` what a deleted record looks like";
        return Err(fault(&["changes", "tells_deletions"], message));
    }
    Ok(())
}

fn paging(keys: &[&str], paging: &Paging, request: &Request) -> Checked {
    let variable = match paging {
        Paging::None | Paging::Header { .. } | Paging::Address { .. } => return Ok(()),
        Paging::Cursor { .. } | Paging::After { .. } => "{cursor}",
        Paging::Offset => "{offset}",
        Paging::Page { .. } => "{page}",
    };
    let body = request.body.as_ref().map(Json::to_string);
    let is_used = request.path.contains(variable)
        || request.query.values().any(|value| value.contains(variable))
        || body.is_some_and(|body| body.contains(variable));
    match is_used {
        true => Ok(()),
        false => Err(fault(
            keys,
            format!("the request does not use `{variable}`"),
        )),
    }
}

fn fields(fields: &Fields) -> Checked {
    let Fields::Listed {
        request: asked,
        rules,
        ..
    } = fields
    else {
        return Ok(());
    };
    if let Some(asked) = asked {
        request(&["fields", "request"], asked, &TABLE)?;
    }
    let known: Vec<&str> = app_types().iter().map(|known| known.name).collect();
    for rule in rules {
        if !known.contains(&rule.is.as_str()) {
            let message = format!("there is no type `{}`: use {}", rule.is, known.join(", "));
            return Err(fault(&["fields", "map"], message));
        }
        if let Some(write) = &rule.write {
            body(&["fields", "map"], write, &["value", "each"])?;
        }
    }
    Ok(())
}

fn write(name: &str, write: &Write) -> Checked {
    let one = [&TABLE[..], &RECORD].concat();
    if let Some(asked) = &write.request {
        request(&[name, "request"], asked, &one)?;
    }
    if let Some(many) = &write.many {
        let known = [&TABLE[..], &["items", "ids"]].concat();
        request(&[name, "many", "request"], &many.request, &known)?;
        if let Some(item) = &many.item {
            let known = [&one[..], &["number"]].concat();
            body(&[name, "many", "item"], item, &known)?;
        }
        if (many.told.is_some() || many.unordered) && many.items.is_none() {
            let message = "say by `items` where the answer has what was done";
            return Err(fault(&[name, "many"], message));
        }
    }
    if write.request.is_none() && write.many.is_none() {
        return Err(fault(&[name], "give `request`, `many` or both"));
    }
    Ok(())
}

fn batch(manifest: &Manifest) -> Checked {
    let Some(batch) = &manifest.batch else {
        return Ok(());
    };
    request(&["batch", "request"], &batch.request, &["requests"])?;
    let known = ["method", "path", "headers", "body"];
    body(&["batch", "item"], &batch.item, &known)?;
    for (name, write) in [
        ("create", &manifest.create),
        ("update", &manifest.update),
        ("delete", &manifest.delete),
    ] {
        if write.request.is_none() {
            return Err(fault(
                &[name],
                "a batch carries the requests of single records: give one",
            ));
        }
    }
    Ok(())
}

fn request(keys: &[&str], request: &Request, known: &[&str]) -> Checked {
    if reqwest::Method::from_bytes(request.method.as_bytes()).is_err() {
        let keys = [keys, &["method"]].concat();
        return Err(fault(
            &keys,
            format!("`{}` is no HTTP method", request.method),
        ));
    }
    if !request.path.starts_with('/') {
        return Err(fault(&[keys, &["path"]].concat(), "a path begins with /"));
    }
    text(&[keys, &["path"]].concat(), &request.path, known)?;
    for (part, texts) in [("query", &request.query), ("headers", &request.headers)] {
        for (name, value) in texts {
            let keys = [keys, &[part, name]].concat();
            text(&keys, name, known)?;
            text(&keys, value, known)?;
        }
    }
    match &request.body {
        Some(template) => body(&[keys, &["body"]].concat(), template, known),
        None => Ok(()),
    }
}

fn body(keys: &[&str], template: &Json, known: &[&str]) -> Checked {
    match template {
        Json::String(value) => text(keys, value, known),
        Json::Array(items) => items.iter().try_for_each(|item| body(keys, item, known)),
        Json::Object(entries) => entries.iter().try_for_each(|(name, value)| {
            text(keys, name, known)?;
            body(&[keys, &[name]].concat(), value, known)
        }),
        _ => Ok(()),
    }
}

fn text(keys: &[&str], value: &str, known: &[&str]) -> Checked {
    let names = names(value).map_err(|message| fault(keys, message))?;
    match names.into_iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let message = match known {
                [] => format!("`{{{name}}}` has no value here"),
                _ => format!(
                    "`{{{name}}}` has no value here; there are {}",
                    known.join(", ")
                ),
            };
            Err(fault(keys, message))
        }
    }
}

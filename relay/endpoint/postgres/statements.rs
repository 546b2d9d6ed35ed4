//! The SQL that reads and writes bound tables, one statement per function. Pure text.
//!
//! Values travel as text arrays, one per column, and are cast to the column's type without its
//! modifiers (a cast with a modifier would cut and round in silence). Results come back as text:
//! the key's columns, then the mapped fields ([`Shape`]).

use std::fmt::Write as _;

use super::shape::{Column, Shape};
use crate::endpoint::Place;

/// `t.key…, t.field…` as text, in the order in which [`super::reading`] expects them.
pub(super) fn record(shape: &Shape) -> String {
    let columns: Vec<String> = shape
        .key
        .iter()
        .chain(&shape.fields)
        .map(|column| column.as_text("t"))
        .collect();
    columns.join(", ")
}

/// [`record`], and the sets of its join tables. Not for what a statement returns of its own write:
/// they are written after it.
fn whole(shape: &Shape) -> String {
    let sets = shape.sets("t").into_iter();
    let columns: Vec<String> = [record(shape)].into_iter().chain(sets).collect();
    columns.join(", ")
}

/// The sets alone of the records with the keys in `$1…`, each with its place in the arrays.
pub(super) fn sets_by_key(shape: &Shape) -> String {
    format!(
        "select k.i, {sets} from {arrays} join {table} as t on {on}",
        sets = shape.sets("t").join(", "),
        arrays = arrays("k", 1, &names("k", shape.key.len())),
        table = shape.relation,
        on = key_equals(shape, "k"),
    )
}

/// Locks the records with the keys in `$1…` without reading them.
pub(super) fn lock_by_key(shape: &Shape) -> String {
    format!(
        "select 1 from {arrays} join {table} as t on {on} for update of t",
        arrays = arrays("k", 1, &names("k", shape.key.len())),
        table = shape.relation,
        on = key_equals(shape, "k"),
    )
}

/// Records with the keys in `$1…`, each with its place in the arrays.
pub(super) fn by_key(shape: &Shape, lock: bool) -> String {
    format!(
        "select k.i, {record} from {arrays} join {table} as t on {on}{lock}",
        record = whole(shape),
        arrays = arrays("k", 1, &names("k", shape.key.len())),
        table = shape.relation,
        on = key_equals(shape, "k"),
        lock = if lock { " for update of t" } else { "" },
    )
}

/// Records whose fields `matching` have the values in `$1…`.
pub(super) fn by_match(shape: &Shape, matching: &[usize]) -> String {
    let names = names("v", matching.len());
    let on: Vec<String> = matching
        .iter()
        .zip(&names)
        .map(|(field, name)| {
            let column = &shape.fields[*field];
            format!("t.{} = {}", column.quoted, cast("m", name, column))
        })
        .collect();
    format!(
        "select m.i, {record} from {arrays} join {table} as t on {on}",
        record = whole(shape),
        arrays = arrays("m", 1, &names),
        table = shape.relation,
        on = on.join(" and "),
    )
}

/// Inserts rows with the fields `set` in `$1…`, returning records in the order of the arrays.
pub(super) fn insert(shape: &Shape, set: &[usize]) -> String {
    if set.is_empty() {
        let (table, record) = (&shape.relation, record(shape));
        return format!("insert into {table} as t default values returning 1::bigint, {record}");
    }
    let columns: Vec<&Column> = set.iter().map(|field| &shape.fields[*field]).collect();
    let names = names("v", set.len());
    let values: Vec<String> = columns
        .iter()
        .zip(&names)
        .map(|(column, name)| cast("s", name, column))
        .collect();
    let targets: Vec<&str> = columns
        .iter()
        .map(|column| column.quoted.as_str())
        .collect();
    let overriding = if columns.iter().any(|column| column.is_identity_always) {
        " overriding system value"
    } else {
        ""
    };
    format!(
        "insert into {table} as t ({targets}){overriding} select {values} from {arrays} \
         order by s.i returning 1::bigint, {record}",
        table = shape.relation,
        targets = targets.join(", "),
        values = values.join(", "),
        arrays = arrays("s", 1, &names),
        record = record(shape),
    )
}

/// Sets the fields `set`: the key's parts are in `$1…`, the values follow.
pub(super) fn update(shape: &Shape, set: &[usize]) -> String {
    let keys = names("k", shape.key.len());
    let values = names("v", set.len());
    let assignments: Vec<String> = set
        .iter()
        .zip(&values)
        .map(|(field, name)| {
            let column = &shape.fields[*field];
            format!("{} = {}", column.quoted, cast("s", name, column))
        })
        .collect();
    let names: Vec<String> = keys.into_iter().chain(values).collect();
    format!(
        "update {table} as t set {assignments} from {arrays} where {on} returning s.i, {record}",
        table = shape.relation,
        assignments = assignments.join(", "),
        arrays = arrays("s", 1, &names),
        on = key_equals(shape, "s"),
        record = record(shape),
    )
}

/// Deletes the records with the keys in `$1…`.
pub(super) fn delete(shape: &Shape) -> String {
    format!(
        "delete from {table} as t using {arrays} where {on} returning s.i",
        table = shape.relation,
        arrays = arrays("s", 1, &names("k", shape.key.len())),
        on = key_equals(shape, "s"),
    )
}

/// Sets a sequence forward to `$1`, never back. Between the look and the set, other sessions would
/// have to draw all the numbers up to `$1` for it to go back: then one of their inserts fails once.
pub(super) fn advance_sequence(sequence: &str) -> String {
    format!(
        "select setval('{}'::regclass, $1) from {sequence} \
         where last_value < $1 or (last_value = $1 and not is_called)",
        sequence.replace('\'', "''")
    )
}

/// Which rows a COPY reads. All but `Every` are for plain tables.
pub(super) enum Rows<'a> {
    Every,
    /// Block `from` up to the next range's first; `None` for the last range.
    Blocks(u64, Option<u64>),
    /// Rows at these places (see [`place_of`]).
    At(&'a [Place]),
}

/// SQL that restricts a query of `t` to these rows.
pub(super) fn condition(rows: &Rows<'_>) -> String {
    match rows {
        Rows::Every => String::new(),
        Rows::Blocks(from, None) => format!(" where t.ctid >= '({from},0)'"),
        Rows::Blocks(from, Some(to)) => {
            format!(" where t.ctid >= '({from},0)' and t.ctid < '({to},0)'")
        }
        Rows::At(places) => format!(" where t.ctid = any ('{{{}}}')", tids(places)),
    }
}

/// COPY of the key's columns and the mapped fields, of those rows for which `only` holds. Where rows
/// have places, `ctid` comes first.
pub(super) fn copy_out(shape: &Shape, rows: &Rows<'_>, only: Option<&str>) -> String {
    let columns = shape.key.iter().chain(&shape.fields);
    let mut columns: Vec<String> = columns.map(|c| format!("t.{}", c.quoted)).collect();
    columns.extend(shape.sets("t"));
    if !matches!(rows, Rows::Every) {
        columns.insert(0, "t.ctid".to_owned());
    }
    let mut condition = condition(rows);
    if let Some(only) = only {
        let word = if condition.is_empty() { "where" } else { "and" };
        condition.push_str(&format!(" {word} {only}"));
    }
    format!(
        "copy (select {} from {} as t{condition}) to stdout",
        columns.join(", "),
        shape.relation
    )
}

/// Takes rows with the fields `set`. Explicit values for an identity need no `overriding` here
/// (PostgreSQL manual, COPY, "Notes").
pub(super) fn copy_in(shape: &Shape, set: &[usize]) -> String {
    let columns: Vec<&str> = set
        .iter()
        .map(|field| shape.fields[*field].quoted.as_str())
        .collect();
    format!(
        "copy {} ({}) from stdin",
        shape.relation,
        columns.join(", ")
    )
}

/// COPY of what this transaction itself, in no savepoint, put into the blocks from `block` on.
pub(super) fn read_back(shape: &Shape, block: u64) -> String {
    let columns = shape.key.iter().chain(&shape.fields);
    let columns: Vec<String> = columns.map(|c| format!("t.{}", c.quoted)).collect();
    format!(
        "copy (select {} from only {} as t
         where t.ctid >= '({block},0)' and t.xmin = pg_current_xact_id()::xid) to stdout",
        columns.join(", "),
        shape.relation
    )
}

fn tids(places: &[Place]) -> String {
    let mut text = String::with_capacity(places.len() * 16);
    for place in places {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String can't fail.
        let _ = write!(text, "{comma}\"({},{})\"", place.0 >> 16, place.0 & 0xffff);
    }
    text
}

/// The place that a `ctid` names: `(block,number)`, 32 and 16 bits (PostgreSQL manual, "System
/// Columns"; `ItemPointerData`).
pub(super) fn place_of(ctid: &str) -> Option<Place> {
    let (block, number) = ctid.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (block, number): (u32, u16) = (block.parse().ok()?, number.parse().ok()?);
    Some(Place(u64::from(block) << 16 | u64::from(number)))
}

/// `unnest($1::text[], …) with ordinality as alias (names…, i)`.
fn arrays(alias: &str, first: usize, names: &[String]) -> String {
    let parameters: Vec<String> = (first..first + names.len())
        .map(|number| format!("${number}::text[]"))
        .collect();
    format!(
        "unnest({}) with ordinality as {alias} ({}, i)",
        parameters.join(", "),
        names.join(", ")
    )
}

fn key_equals(shape: &Shape, alias: &str) -> String {
    let names = names("k", shape.key.len());
    let parts: Vec<String> = shape
        .key
        .iter()
        .zip(&names)
        .map(|(column, name)| format!("t.{} = {}", column.quoted, cast(alias, name, column)))
        .collect();
    parts.join(" and ")
}

fn cast(alias: &str, name: &str, column: &Column) -> String {
    format!("{alias}.{name}::{}", column.pg_type.bare_name)
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

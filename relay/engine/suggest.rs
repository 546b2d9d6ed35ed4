//! What could be synced with what: tables by their names, fields by their names and types.
//!
//! Proposals for a person who maps two sides, from what `inspect` found and nothing else. What a sync
//! file says is checked by [`super::mapping`]; both ask [`relate`] which values travel.

use serde::{Deserialize, Serialize};
use tidegate_sync::codec::{Relation, relate};
use tidegate_sync::model::Side;
use utoipa::ToSchema;

use crate::endpoint::catalog::{Catalog, Column, Table};

mod likeness;

use likeness::{LIKE_MIN, likeness, pair_up, words};

/// Bounds of what is proposed.
pub mod limits {
    /// Pairs of fields whose types are told in one answer.
    pub const FITS_MAX: usize = 10_000;
}

/// Two tables that may hold the same things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TableSuggestion {
    pub left: String,
    pub right: String,
    /// 100: the same name; below 100: how much of the names is alike.
    pub likeness: u8,
    /// Fields that would be mapped by name and type.
    pub fields: usize,
    /// False where a table can't be synced as it is; see its problems.
    pub ready: bool,
}

/// The fields of two tables, which of them fit, and a mapping by name and type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldMap {
    pub left: Vec<FieldInfo>,
    pub right: Vec<FieldInfo>,
    /// Every pair of a left and a right field, or the pairs of one left field. Cut off where there
    /// are more than 10,000: ask for one left field then.
    pub fits: Vec<FieldFit>,
    pub suggested: Vec<SuggestedField>,
    /// Pairs of fields by which existing records could be matched; empty where nothing suggests itself.
    pub suggested_key: Vec<[String; 2]>,
}

/// A field of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldInfo {
    pub name: String,
    /// As the side names it: `character varying(80)`.
    pub type_name: String,
    /// What it can hold, as `connection types` says.
    pub holds: String,
    pub nullable: bool,
    pub has_default: bool,
    /// False for one that the side computes.
    pub can_write: bool,
    /// Part of the primary key.
    pub is_key: bool,
    /// No two records have the same.
    pub is_unique: bool,
    pub labels: Vec<String>,
}

/// Which way values can travel between two fields without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fits {
    /// Both ways.
    Lossless,
    LeftToRight,
    RightToLeft,
    /// Not at all.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldFit {
    pub left: String,
    pub right: String,
    pub fits: Fits,
    /// Why not both ways.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SuggestedField {
    pub left: String,
    pub right: String,
    /// `both`, `left-to-right` or `right-to-left`.
    pub direction: String,
}

/// Pairs of tables whose names are alike, the likest first; each table once.
pub fn tables(left: &Catalog, right: &Catalog) -> Vec<TableSuggestion> {
    let readable = |catalog: &Catalog| -> Vec<Table> {
        let tables = catalog.tables.iter().filter(|table| table.can_read);
        tables.cloned().collect()
    };
    let (left, right) = (readable(left), readable(right));
    let named =
        |tables: &[Table]| -> Vec<_> { tables.iter().map(|table| words(&table.name)).collect() };
    let names = (named(&left), named(&right));
    let alike = |l: usize, r: usize| likeness(&names.0[l], &names.1[r]);
    let found = pair_up((left.len(), right.len()), alike);
    let suggestion = |(l, r, likeness): (usize, usize, u8)| {
        let (left, right) = (&left[l], &right[r]);
        TableSuggestion {
            left: full_name(left),
            right: full_name(right),
            likeness,
            fields: suggested(left, right).len(),
            ready: is_ready(left) && is_ready(right),
        }
    };
    found.into_iter().map(suggestion).collect()
}

/// The fields of two tables. `only`: the fits of this left field alone.
pub fn fields(left: &Table, right: &Table, only: Option<&str>) -> FieldMap {
    let asked = left
        .columns
        .iter()
        .filter(|column| only.is_none_or(|only| only == column.name));
    let pairs = asked.flat_map(|from| right.columns.iter().map(move |to| (from, to)));
    let fit = |(from, to): (&Column, &Column)| {
        let (fits, reason) = fit(from, to);
        FieldFit {
            left: from.name.clone(),
            right: to.name.clone(),
            fits,
            reason,
        }
    };
    let suggested = suggested(left, right);
    FieldMap {
        left: left.columns.iter().map(|one| info(left, one)).collect(),
        right: right.columns.iter().map(|one| info(right, one)).collect(),
        fits: pairs.take(limits::FITS_MAX).map(fit).collect(),
        suggested_key: suggested_key(left, right, &suggested),
        suggested,
    }
}

/// As sync files name it.
pub fn full_name(table: &Table) -> String {
    if table.schema.is_empty() {
        return table.name.clone();
    }
    format!("{}.{}", table.schema, table.name)
}

fn is_ready(table: &Table) -> bool {
    !table.problems.iter().any(|problem| problem.blocking)
}

fn info(table: &Table, column: &Column) -> FieldInfo {
    FieldInfo {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
        holds: column.field_type.name(),
        nullable: column.nullable,
        has_default: column.has_default,
        can_write: !column.generated,
        is_key: table.primary_key.contains(&column.name),
        is_unique: is_unique(table, &column.name),
        labels: column.enum_labels.clone(),
    }
}

fn is_unique(table: &Table, column: &str) -> bool {
    let is_it = |key: &[String]| matches!(key, [only] if only == column);
    is_it(&table.primary_key) || table.unique_keys.iter().any(|key| is_it(key))
}

/// What [`relate`] says of the types, less what a side computes by itself.
fn fit(left: &Column, right: &Column) -> (Fits, Option<String>) {
    let (fits, reason) = match relate(&left.field_type, &right.field_type) {
        Relation::Lossless => (Fits::Lossless, None),
        Relation::LeftToRight { reason } => (Fits::LeftToRight, Some(reason)),
        Relation::RightToLeft { reason } => (Fits::RightToLeft, Some(reason)),
        Relation::Refused { reason } => (Fits::Refused, Some(reason)),
    };
    let computed = |side: Side, name: &str| {
        let side = side.name();
        Some(format!(
            "`{name}` is generated by the {side} side and can't be written"
        ))
    };
    match (fits, left.generated, right.generated) {
        (Fits::Lossless, true, false) => (Fits::LeftToRight, computed(Side::Left, &left.name)),
        (Fits::Lossless, false, true) => (Fits::RightToLeft, computed(Side::Right, &right.name)),
        (Fits::Lossless | Fits::LeftToRight, _, true) => {
            (Fits::Refused, computed(Side::Right, &right.name))
        }
        (Fits::RightToLeft, true, _) => (Fits::Refused, computed(Side::Left, &left.name)),
        _ => (fits, reason),
    }
}

/// Pairs of fields that are called alike and fit, in the order of the left table. Numbers that each
/// side gives its own records are left out: they name different things.
fn suggested(left: &Table, right: &Table) -> Vec<SuggestedField> {
    let named =
        |table: &Table| -> Vec<_> { table.columns.iter().map(|one| words(&one.name)).collect() };
    let (left_names, right_names) = (named(left), named(right));
    let alike = |l: usize, r: usize| {
        let alike = likeness(&left_names[l], &right_names[r]);
        let (from, to) = (&left.columns[l], &right.columns[r]);
        let is_own = !from.identity.is_empty() && !to.identity.is_empty();
        if is_own || alike < LIKE_MIN {
            return 0;
        }
        match fit(from, to).0 {
            Fits::Refused => 0,
            _ => alike,
        }
    };
    let mut found = pair_up((left_names.len(), right_names.len()), alike);
    found.sort_by_key(|(left, _, _)| *left);
    let suggestion = |(l, r, _): (usize, usize, u8)| {
        let (from, to) = (&left.columns[l], &right.columns[r]);
        let direction = match fit(from, to).0 {
            Fits::LeftToRight => "left-to-right",
            Fits::RightToLeft => "right-to-left",
            Fits::Lossless | Fits::Refused => "both",
        };
        SuggestedField {
            left: from.name.clone(),
            right: to.name.clone(),
            direction: direction.to_owned(),
        }
    };
    found.into_iter().map(suggestion).collect()
}

/// By what records of both sides could be told to be the same: a field that is unique on both sides and
/// is not a number that one of them gives out, else one that is unique on one side.
fn suggested_key(left: &Table, right: &Table, fields: &[SuggestedField]) -> Vec<[String; 2]> {
    let worth = |field: &&SuggestedField| {
        let unique = [is_unique(left, &field.left), is_unique(right, &field.right)];
        let given = |table: &Table, name: &str| {
            let column = table.column(name);
            column.is_some_and(|column| !column.identity.is_empty() || column.has_default)
                && table.primary_key.iter().any(|key| key == name)
        };
        let is_given = given(left, &field.left) || given(right, &field.right);
        let count = unique.into_iter().filter(|unique| *unique).count();
        match count {
            0 => 0,
            _ if is_given => 1,
            count => 1 + count,
        }
    };
    // The first of those that are worth the same.
    let best = fields.iter().rev().max_by_key(worth);
    match best.filter(|field| worth(field) > 0) {
        Some(field) => vec![[field.left.clone(), field.right.clone()]],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;

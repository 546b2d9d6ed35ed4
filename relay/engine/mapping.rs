//! A sync file checked against both sides: what a run works with.

use std::collections::HashMap;
use std::path::PathBuf;

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::codec::{FieldType, Relation, relate};
use tidegate_sync::model::{BySide, PairId, Side};
use tidegate_sync::policy::{Direction, FieldPair, PairPolicy};

use super::drift::{Found, Known, Named, present, told_once};
use super::forms::{FieldForm, looks};
use super::linked;
use super::report::CaptureReport;
use super::syncfile::{SyncFile, TableFile, Unasked};
use crate::endpoint::catalog::{Catalog, Column, Problem, Table};
use crate::endpoint::lens::Lens;
use crate::endpoint::level::{Asked, Chosen, Level, Offer, choose};
use crate::endpoint::{Binding, TableBinding, Through};
use crate::store::mappings::MappedTable;

/// One table pair of a checked sync.
#[derive(Clone, Debug)]
pub struct PairMapping {
    pub tables: BySide<String>,
    pub policy: PairPolicy,
    /// The columns that are read or written.
    pub columns: BySide<Vec<String>>,
    /// The join tables behind them.
    pub joins: BySide<Vec<Through>>,
    /// How they make the fields.
    pub lenses: BySide<Lens>,
    pub unasked: Unasked,
    /// What the sides call them.
    pub(super) found: BySide<Found>,
}

impl PairMapping {
    pub(super) fn names(&self) -> MappedTable {
        names((&self.tables.left, &self.tables.right), &self.policy)
    }

    pub(super) fn field_name(&self, side: Side, field: usize) -> String {
        let pair = &self.policy.fields[field];
        match side {
            Side::Left => pair.left.clone(),
            Side::Right => pair.right.clone(),
        }
    }
}

/// What history remembers of a table pair's names.
pub(super) fn names(tables: (&str, &str), policy: &PairPolicy) -> MappedTable {
    let field = |field: &FieldPair| (field.left.clone(), field.right.clone());
    MappedTable {
        tables: (tables.0.to_owned(), tables.1.to_owned()),
        fields: policy.fields.iter().map(field).collect(),
    }
}

/// A checked sync.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub name: String,
    /// `[a-z0-9_]`, unique on the relay: names slots, publications and progress rows.
    pub slug: String,
    pub connections: BySide<String>,
    /// How each side's changes are read, and why so.
    pub captures: BySide<Chosen>,
    pub pairs: Vec<PairMapping>,
    /// Creation order by pair, parents of foreign keys first.
    pub ranks: Vec<u32>,
}

/// What a sync file is checked against.
pub(super) struct Checks<'a> {
    pub slug: &'a str,
    /// With former names.
    pub catalogs: BySide<Catalog>,
    pub known: Known,
    /// The levels of capture that the file or its connections ask for.
    pub asked: &'a BySide<Option<Asked>>,
}

impl Mapping {
    /// Checks the file against both catalogs. Every problem is named, with what to do.
    pub(super) fn check(file: &SyncFile, checks: &Checks<'_>) -> Result<Mapping, Vec<String>> {
        let (catalogs, known) = (&checks.catalogs, &checks.known);
        let mut problems = Vec::new();
        for side in Side::BOTH {
            for problem in catalogs[side]
                .problems
                .iter()
                .filter(|problem| problem.blocking)
            {
                problems.push(format!(
                    "{}: {}: {}",
                    side.name(),
                    problem.message,
                    problem.remedy
                ));
            }
        }
        let captures = captures(file, catalogs, checks.asked, &mut problems);
        let mut pairs = Vec::new();
        for table in &file.tables {
            if let Some(pair) = check_table(table, (catalogs, known), &mut problems) {
                pairs.push(pair);
            }
        }
        if problems.is_empty() {
            linked::references(file, &mut pairs, catalogs, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let ranks = ranks(&pairs, catalogs);
        let connections = BySide::new(file.left.clone(), file.right.clone());
        Ok(Mapping {
            name: file.name.clone(),
            slug: checks.slug.to_owned(),
            connections,
            captures,
            pairs,
            ranks,
        })
    }

    pub(super) fn capture_reports(&self) -> Vec<CaptureReport> {
        let report = |side: Side| CaptureReport {
            side: side.name().to_owned(),
            level: self.captures[side].level.name().to_owned(),
            reason: self.captures[side].reason.clone(),
        };
        Side::BOTH.map(report).to_vec()
    }

    /// What a side has other than the sync file says, one sentence each.
    pub(super) fn drift(&self, side: Side) -> Vec<String> {
        let found = self.pairs.iter().map(|pair| &pair.found[side]);
        told_once(found.flat_map(|found| found.news.clone()).collect())
    }

    pub(super) fn binding(
        &self,
        side: Side,
        epoch: u32,
        prints: &Fingerprinter,
        staging: PathBuf,
    ) -> Binding {
        let table = |(number, pair): (usize, &PairMapping)| TableBinding {
            pair: PairId(number as u32),
            table: pair.found[side].table.clone(),
            columns: pair.found[side].columns.clone(),
            joins: pair.joins[side].clone(),
            lens: pair.lenses[side].clone(),
            match_key: pair.policy.match_key.clone(),
        };
        Binding {
            sync: self.slug.clone(),
            side,
            epoch,
            level: self.captures[side].level,
            tables: self.pairs.iter().enumerate().map(table).collect(),
            fingerprinter: prints.clone(),
            staging,
        }
    }
}

/// Takes the level that the file or the connection asks for, or else the best that each side offers.
fn captures(
    file: &SyncFile,
    catalogs: &BySide<Catalog>,
    asked: &BySide<Option<Asked>>,
    problems: &mut Vec<String>,
) -> BySide<Chosen> {
    BySide::from_fn(|side| {
        let name = side.name();
        let offers = offers(file, &catalogs[side], side);
        match choose(&offers, asked[side]) {
            Ok(chosen) => chosen,
            Err(obstacles) => {
                let text = |o: &Problem| format!("{name}: {}: {}", o.message, o.remedy);
                problems.extend(obstacles.iter().map(text));
                Chosen::default()
            }
        }
    })
}

/// What the side offers for the tables of the file: triggers are for their owner.
fn offers(file: &SyncFile, catalog: &Catalog, side: Side) -> Vec<Offer> {
    let mut offers = catalog.captures.clone();
    let tables = file.tables.iter().flat_map(|table| {
        let joins = table
            .forms
            .iter()
            .filter_map(move |form| form.through(side));
        let joins = joins.map(|through| &through.table);
        joins.chain([BySide::new(&table.left, &table.right)[side]])
    });
    let found = tables.filter_map(|table| catalog.table(table));
    let foreign = found.filter(|table| !table.is_owner).map(|table| Problem {
        code: "not-owner".into(),
        message: format!(
            "{}.{}: triggers need the table's owner",
            table.schema, table.name
        ),
        remedy: "let the sync's role own the table, or make logical replication possible".into(),
        blocking: true,
    });
    let triggers = offers.iter_mut().find(|o| o.level == Level::Triggers);
    if let Some(offer) = triggers {
        offer.obstacles.extend(foreign);
    }
    offers
}

fn check_table(
    file: &TableFile,
    (catalogs, known): (&BySide<Catalog>, &Known),
    problems: &mut Vec<String>,
) -> Option<PairMapping> {
    let names = BySide::new(file.left.clone(), file.right.clone());
    let before = problems.len();
    let mut tables: BySide<Option<&Table>> = BySide::default();
    for side in Side::BOTH {
        let name = &names[side];
        match catalogs[side].table(name) {
            None => problems.push(format!(
                "{}: there is no table `{name}` that the role can see: correct the name, or grant \
                 the role access to it",
                side.name()
            )),
            Some(table) => {
                for problem in table.problems.iter().filter(|problem| problem.blocking) {
                    problems.push(format!(
                        "{} {name}: {}: {}",
                        side.name(),
                        problem.message,
                        problem.remedy
                    ));
                }
                tables[side] = Some(table);
            }
        }
    }
    let (Some(left), Some(right)) = (tables.left, tables.right) else {
        return None;
    };
    check_fields(file, &names, left, right, problems);
    if problems.len() > before {
        return None;
    }
    let looks = looks(file, BySide::new(left, right), problems)?;
    let find = |side: Side| {
        let named = Named {
            table: &names[side],
            columns: &looks.columns[side],
            joins: &looks.joins[side],
        };
        known.find(side, &catalogs[side], named)
    };
    let found = match (find(Side::Left), find(Side::Right)) {
        (Ok(left), Ok(right)) => BySide::new(left, right),
        (left, right) => {
            let refused = [left.err(), right.err()].into_iter().flatten().flatten();
            problems.extend(refused);
            return None;
        }
    };
    Some(PairMapping {
        found,
        tables: names,
        policy: looks.policy,
        columns: looks.columns,
        joins: looks.joins,
        lenses: looks.lenses,
        unasked: file.unasked,
    })
}

fn check_fields(
    file: &TableFile,
    names: &BySide<String>,
    left: &Table,
    right: &Table,
    problems: &mut Vec<String>,
) {
    for (field, form) in file.policy.fields.iter().zip(&file.forms) {
        let tables = BySide::new(left, right);
        let fields = BySide::new(&field.left, &field.right);
        let column = |side: Side| match form.is_made(side) {
            true => None,
            false => tables[side].column(fields[side]),
        };
        let ends = BySide::from_fn(column);
        for side in Side::BOTH {
            if ends[side].is_none() && !form.is_made(side) {
                let known: Vec<&str> = tables[side]
                    .columns
                    .iter()
                    .map(|c| c.name.as_str())
                    .collect();
                problems.push(format!(
                    "{} {}: there is no column `{}`; it has {}",
                    side.name(),
                    names[side],
                    fields[side],
                    known.join(", ")
                ));
            }
        }
        let place = format!(
            "left {}.{} and right {}.{}",
            names.left, field.left, names.right, field.right
        );
        if let (FieldForm::Same, Some(from), Some(to)) = (form, ends.left, ends.right) {
            let relation = relate(&from.field_type, &to.field_type);
            let before = problems.len();
            check_relation(&place, relation, field.direction, problems);
            let named = [(left, from), (right, to)].map(|(table, column)| records(table, column));
            for problem in &mut problems[before..] {
                problem.extend(named.iter().flatten().map(|named| ids_of(named)));
            }
        }
        for side in Side::BOTH {
            let Some(column) = ends[side] else {
                continue;
            };
            if column.generated && field.direction.flows_to(side) {
                let away = one_way(side.other());
                problems.push(format!(
                    "{place}: `{}` is generated by the {} side and can't be written: set \
                     direction = \"{away}\"",
                    column.name,
                    side.name(),
                ));
            }
        }
    }
}

fn check_relation(
    place: &str,
    relation: Relation,
    direction: Direction,
    problems: &mut Vec<String>,
) {
    let (allowed, reason) = match relation {
        Relation::Lossless => return,
        Relation::LeftToRight { reason } => (Some(Side::Right), reason),
        Relation::RightToLeft { reason } => (Some(Side::Left), reason),
        Relation::Refused { reason } => (None, reason),
    };
    match allowed {
        None => problems.push(format!("{place} can't be synced: {reason}")),
        Some(to) if direction.flows_to(to.other()) => problems.push(format!(
            "{place} can be synced one way only: {reason}; set direction = \"{}\"",
            one_way(to)
        )),
        Some(_) => {}
    }
}

/// The table whose records a list in the column names.
fn records<'a>(table: &'a Table, column: &Column) -> Option<&'a str> {
    let is_list = matches!(column.field_type, FieldType::List { .. });
    let mut keys = table.foreign_keys.iter();
    let key = keys.find(|key| is_list && key.columns == [column.name.as_str()])?;
    Some(&key.table)
}

/// What to do with a list of links that is mapped to something else.
fn ids_of(named: &str) -> String {
    format!(
        ". It lists records of {named}: say `link = …` with the [[table]] of that one, or map it to a \
         column of type text[], which gets the ids"
    )
}

fn one_way(to: Side) -> &'static str {
    match to {
        Side::Right => "left-to-right",
        Side::Left => "right-to-left",
    }
}

/// Depth of each pair below the tables that its foreign keys (on either side) and its links refer to.
fn ranks(pairs: &[PairMapping], catalogs: &BySide<Catalog>) -> Vec<u32> {
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); pairs.len()];
    for side in Side::BOTH {
        let full = |pair: &PairMapping| {
            let table = catalogs[side].table(&pair.tables[side]);
            let table = table.map(|table| present(&catalogs[side], table));
            table
                .map(|table| format!("{}.{}", table.schema, table.name))
                .unwrap_or_default()
        };
        let numbers: HashMap<String, usize> = pairs
            .iter()
            .enumerate()
            .map(|(number, pair)| (full(pair), number))
            .collect();
        for (number, pair) in pairs.iter().enumerate() {
            let Some(table) = catalogs[side].table(&pair.tables[side]) else {
                continue;
            };
            for key in &table.foreign_keys {
                if let Some(&parent) = numbers.get(&key.table)
                    && parent != number
                {
                    parents[number].push(parent);
                }
            }
        }
    }
    for (number, pair) in pairs.iter().enumerate() {
        let linked = pair.policy.references.iter().map(|one| one.to.0 as usize);
        parents[number].extend(linked.filter(|parent| *parent != number));
    }
    let mut ranks = vec![0u32; pairs.len()];
    // Longest path; cycles stop growing after as many rounds as there are pairs.
    for _ in 0..pairs.len() {
        for number in 0..pairs.len() {
            let above = parents[number]
                .iter()
                .map(|&parent| ranks[parent] + 1)
                .max()
                .unwrap_or(0);
            ranks[number] = ranks[number].max(above).min(pairs.len() as u32);
        }
    }
    ranks
}

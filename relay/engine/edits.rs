//! What a plan looks at, and what the edit of a sync file does in words.
//!
//! Of a running sync only those pairs are read whose data the edit may mean something for, with the
//! links as the edit would make them.

use tidegate_sync::model::{PairId, Side};
use tidegate_sync::policy::{Direction, FieldPair, PairPolicy};

use super::layout::{Layout, PairLayout};
use super::mapping::Mapping;
use super::report::RemovedTable;
use super::run::{RunError, RunParts};
use super::syncfile::{SyncFile, TableFile};
use crate::store::layouts::Remap;
use crate::store::pairs::{self, PairRecord};
use crate::store::syncs::SyncRecord;

/// What a plan looks at.
#[derive(Default)]
pub(super) struct Look {
    pub pairs: Vec<PairId>,
    /// By pair.
    pub first_run: Vec<bool>,
    /// How the stored links are to be seen.
    pub remap: Option<Remap>,
    pub edits: Vec<String>,
    pub removed: Vec<RemovedTable>,
}

impl Look {
    /// For a sync that is new or as it was.
    pub(super) async fn at_all(parts: &RunParts) -> Result<Look, RunError> {
        let known = known(parts).await?;
        Ok(Look {
            pairs: (0..parts.file.tables.len() as u32).map(PairId).collect(),
            first_run: known.iter().map(|pair| pair.first_run).collect(),
            ..Look::default()
        })
    }

    /// For a sync whose file was edited: `parts` has the new one, `record` the sync as it is.
    pub(super) async fn at_edit(
        parts: &RunParts,
        mapping: &Mapping,
        record: &SyncRecord,
    ) -> Result<Look, RunError> {
        let (before, now) = (Layout::of_record(record), Layout::of(&parts.file, mapping));
        let remap = before.change_to(&now);
        let known = known(parts).await?;
        let of = |from: Option<PairId>| known.iter().find(|pair| Some(pair.pair) == from);
        let mut look = Look {
            edits: describe(&before, &now),
            ..Look::default()
        };
        if let Ok(file) = SyncFile::parse(&record.definition) {
            look.edits.extend(settings(&file, &parts.file));
        }
        for (pair, number) in remap.pairs.iter().zip(0..) {
            let stored = of(pair.from);
            let is_due = pair.due || stored.is_none_or(|stored| stored.due);
            if is_due || !record.live {
                look.pairs.push(PairId(number));
            }
            let first_run = stored.is_none_or(|stored| stored.first_run);
            look.first_run.push(first_run);
        }
        for (pair, number) in before.pairs.iter().zip(0..) {
            if now.find(pair).is_none() {
                let linked = of(Some(PairId(number))).map_or(0, |stored| stored.linked);
                look.removed.push(RemovedTable {
                    left: pair.left.clone(),
                    right: pair.right.clone(),
                    unlink: linked.max(0) as u64,
                });
            }
        }
        look.remap = Some(remap);
        Ok(look)
    }
}

async fn known(parts: &RunParts) -> Result<Vec<PairRecord>, RunError> {
    let Some(sync) = parts.sync else {
        return Ok(Vec::new());
    };
    let listed = parts.store.view(move |conn| pairs::list(conn, sync));
    Ok(listed.await?)
}

/// What is different beside the mapping.
fn settings(before: &SyncFile, now: &SyncFile) -> Vec<String> {
    let mut edits = Vec::new();
    let mut tell = |what: &str| edits.push(what.to_owned());
    if before.captures != now.captures {
        tell("changes are read in another way: everything is compared again");
    }
    if before.verify != now.verify {
        tell("both sides are compared by themselves at other times");
    }
    if before.history != now.history {
        tell("history is kept for another time");
    }
    for table in &now.tables {
        let is_it = |one: &&TableFile| (&one.left, &one.right) == (&table.left, &table.right);
        let unasked = before.tables.iter().find(is_it).map(|one| one.unasked);
        if unasked.is_some_and(|unasked| unasked != table.unasked) {
            let (left, right) = (&table.left, &table.right);
            tell(&format!(
                "left {left} and right {right}: another number of records is deleted unasked"
            ));
        }
    }
    edits
}

/// One sentence for each thing that is different.
fn describe(before: &Layout, now: &Layout) -> Vec<String> {
    let mut edits = Vec::new();
    for pair in &now.pairs {
        match before.find(pair) {
            None => edits.push(format!(
                "{} is new: existing records are handled as existing = \"{}\" says",
                name(pair),
                SyncFile::word_of(pair.policy.existing)
            )),
            Some(number) => edits.extend(of_pair(&before.pairs[number], pair)),
        }
    }
    let is_gone = |pair: &&PairLayout| now.find(pair).is_none();
    edits.extend(before.pairs.iter().filter(is_gone).map(|pair| {
        format!(
            "{} is synced no more: what is known of its records is forgotten, nothing is deleted",
            name(pair)
        )
    }));
    edits
}

fn of_pair(before: &PairLayout, now: &PairLayout) -> Vec<String> {
    let mut edits = Vec::new();
    let mut tell = |what: String| edits.push(format!("{}: {what}", name(now)));
    for (at, field) in listed(now) {
        let Some(place) = before.place_of(now, field) else {
            tell(format!("field {} is new", field_name(field)));
            continue;
        };
        let old = &before.policy.fields[place];
        if (&old.left, &old.right) != (&field.left, &field.right) {
            let (old, new) = (field_name(old), field_name(field));
            tell(format!(
                "field {old} is named {new} now: nothing else changes"
            ));
        }
        if old.direction != field.direction {
            tell(format!("field {} flows another way", field_name(field)));
        }
        if before.form(place) != now.form(at) {
            tell(format!("field {} holds other values", field_name(field)));
        }
    }
    for (_, field) in listed(before) {
        if now.place_of(before, field).is_none() {
            tell(format!("field {} is synced no more", field_name(field)));
        }
    }
    let filters = |pair: &PairLayout| pair.policy.scope.map(|at| pair.form(at).to_owned());
    if filters(before) != filters(now) {
        tell("the filters are others".to_owned());
    }
    let key = now.policy.match_key.iter();
    let key = key.map(|&at| before.place_of(now, &now.policy.fields[at]));
    let key_before = before.policy.match_key.iter().copied().map(Some);
    if !key.eq(key_before) {
        tell("records are matched by another key".to_owned());
    }
    if rules(&before.policy) != rules(&now.policy) {
        tell("the policies for changes are others".to_owned());
    }
    edits
}

/// The fields of the sync file, with their places.
fn listed(pair: &PairLayout) -> impl Iterator<Item = (usize, &FieldPair)> {
    let fields = pair.policy.fields.iter().enumerate();
    fields.filter(|(_, field)| field.direction != Direction::Neither)
}

/// What is left of a policy without its fields.
fn rules(policy: &PairPolicy) -> PairPolicy {
    let mut rules = PairPolicy {
        fields: Vec::new(),
        match_key: Vec::new(),
        scope: None,
        // What a field names is told of the field.
        references: Vec::new(),
        ..policy.clone()
    };
    for side in Side::BOTH {
        // Which field it is, its name in the file says.
        if let Some((place, _)) = &mut rules.archive[side] {
            *place = 0;
        }
    }
    rules
}

fn name(pair: &PairLayout) -> String {
    format!("left {} and right {}", pair.left, pair.right)
}

fn field_name(field: &FieldPair) -> String {
    format!("{} ↔ {}", field.left, field.right)
}

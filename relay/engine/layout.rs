//! What a sync's stored links were laid out for, and how that changes when its mapping is edited.
//!
//! The store knows pairs and fields by number and place. A [`Layout`] tells what those stand for, so
//! that an edited sync file finds what was agreed of the fields that stay. Kept with the sync; the
//! run compares it with its mapping when it starts, the plan of an edit before.

use serde::{Deserialize, Serialize};
use tidegate_sync::model::{BySide, PairId, Side};
use tidegate_sync::policy::{Direction, FieldPair, PairPolicy};

use super::drift::Identity;
use super::forms::FieldForm;
use super::mapping::Mapping;
use super::paused::{PausedField, PausedTable};
use super::syncfile::{SyncFile, TableFile};
use crate::store::layouts::{PairRemap, Remap};
use crate::store::syncs::SyncRecord;

/// The pairs of a sync in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub pairs: Vec<PairLayout>,
    /// Table pairs that the sync file lists and that can't be synced at present.
    #[serde(default)]
    pub paused: Vec<PausedTable>,
}

/// One table pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PairLayout {
    pub left: String,
    pub right: String,
    /// The fields stand in the order of the links' fingerprints.
    pub policy: PairPolicy,
    /// What each field is made of, beside its columns: an expression, other words, the filters.
    pub forms: Vec<String>,
    /// What the names stand for. Unknown of a layout that was noted before this was remembered.
    #[serde(default)]
    pub identities: BySide<Identity>,
    /// Field pairs that the sync file lists and that can't be synced at present.
    #[serde(default)]
    pub paused: Vec<PausedField>,
}

impl Layout {
    pub(super) fn of(file: &SyncFile, mapping: &Mapping) -> Layout {
        let pairs = file.tables.iter().zip(&mapping.pairs);
        Layout {
            paused: file.paused.clone(),
            pairs: pairs
                .map(|(table, pair)| PairLayout {
                    identities: BySide::from_fn(|side| pair.found[side].identity.clone()),
                    ..PairLayout::of(table, pair.policy.clone())
                })
                .collect(),
        }
    }

    /// Without the fields that no file lists.
    pub(super) fn of_file(file: &SyncFile) -> Layout {
        let pair = |table: &TableFile| PairLayout::of(table, table.policy.clone());
        Layout {
            pairs: file.tables.iter().map(pair).collect(),
            paused: file.paused.clone(),
        }
    }

    /// What the sync's links are laid out for; until a run has noted it, its present file.
    pub(super) fn of_record(record: &SyncRecord) -> Layout {
        let noted = record.layout.as_deref();
        let noted = noted.and_then(|text| serde_json::from_str(text).ok());
        noted.unwrap_or_else(|| {
            let file = SyncFile::parse(&record.definition);
            file.map(|file| Layout::of_file(&file)).unwrap_or_default()
        })
    }

    /// For a sync file that was edited: what was paused of the one before may be synced again.
    pub(super) fn resumed(mut self) -> Layout {
        self.paused.clear();
        for pair in &mut self.pairs {
            pair.paused.clear();
        }
        self
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What becomes of the stored links when `now` takes this layout's place.
    pub(super) fn change_to(&self, now: &Layout) -> Remap {
        let remap = |pair: &PairLayout| match self.find(pair) {
            Some(number) => pair.follow(PairId(number as u32), &self.pairs[number]),
            None => PairRemap {
                fields: vec![None; pair.policy.fields.len()],
                ..PairRemap::default()
            },
        };
        Remap {
            pairs: now.pairs.iter().map(remap).collect(),
        }
    }

    /// The number of the same pair of tables here.
    pub(super) fn find(&self, pair: &PairLayout) -> Option<usize> {
        let is_same = |one: &PairLayout| {
            Side::BOTH.into_iter().all(|side| {
                let (one_oid, oid) = (one.identities[side].oid, pair.identities[side].oid);
                one.table(side) == pair.table(side) || oid != 0 && one_oid == oid
            })
        };
        self.pairs.iter().position(is_same)
    }
}

impl PairLayout {
    fn of(table: &TableFile, policy: PairPolicy) -> PairLayout {
        let form = |at: usize| match table.forms.get(at) {
            Some(FieldForm::Same) => String::new(),
            Some(form) => format!("{form:?}"),
            None if policy.scope == Some(at) => format!("{:?}", table.filters),
            None => String::new(),
        };
        PairLayout {
            left: table.left.clone(),
            right: table.right.clone(),
            forms: (0..policy.fields.len()).map(form).collect(),
            policy,
            identities: BySide::default(),
            paused: table.paused.clone(),
        }
    }

    fn table(&self, side: Side) -> &str {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// The place of the field pair of the same columns as this `field` of another layout.
    pub(super) fn place_of(&self, of: &PairLayout, field: &FieldPair) -> Option<usize> {
        let is_column = |side: Side, one: &str, other: &str| {
            let number = |pair: &PairLayout, name: &str| pair.identities[side].number(name);
            match (number(self, one), number(of, other)) {
                (Some(one), Some(other)) => one == other,
                _ => one == other,
            }
        };
        let is_same = |one: &FieldPair| {
            let is_listed = |field: &FieldPair| field.direction != Direction::Neither;
            is_column(Side::Left, &one.left, &field.left)
                && is_column(Side::Right, &one.right, &field.right)
                && is_listed(one) == is_listed(field)
        };
        self.policy.fields.iter().position(is_same)
    }

    pub(super) fn form(&self, place: usize) -> &str {
        self.forms.get(place).map_or("", String::as_str)
    }

    /// The place that field number `at` had in `before`; `None` for a new one, or one that holds
    /// other values. Whether a record was in the filters is still known when they are others.
    fn place_in(&self, before: &PairLayout, at: usize) -> Option<usize> {
        let field = &self.policy.fields[at];
        let place = before.place_of(self, field)?;
        let is_kept = self.form(at) == before.form(place) || field.direction == Direction::Neither;
        is_kept.then_some(place)
    }

    /// Takes over what is stored of `before`, which has this number.
    fn follow(&self, number: PairId, before: &PairLayout) -> PairRemap {
        let fields = 0..self.policy.fields.len();
        let fields: Vec<Option<usize>> = fields.map(|at| self.place_in(before, at)).collect();
        PairRemap {
            from: Some(number),
            due: self.needs_look(before, &fields) || self.is_retyped(before, &fields),
            fields,
            fields_before: before.policy.fields.len(),
        }
    }

    /// True when a column has another type than it had: its values may have been changed with it, which
    /// no change log tells.
    fn is_retyped(&self, before: &PairLayout, fields: &[Option<usize>]) -> bool {
        let kept = fields.iter().zip(&self.policy.fields);
        let mut kept =
            kept.filter_map(|(old, now)| Some((before.policy.fields.get((*old)?)?, now)));
        kept.any(|(old, now)| {
            let is_other = |side: Side, old: &str, now: &str| {
                let types = (
                    before.identities[side].type_of(old),
                    self.identities[side].type_of(now),
                );
                matches!(types, (Some(old), Some(now)) if old != now)
            };
            is_other(Side::Left, &old.left, &now.left)
                || is_other(Side::Right, &old.right, &now.right)
        })
    }

    /// True when the change may mean something for data that is there already: everything but what
    /// rules over changes to come, and fields that are mapped no more.
    fn needs_look(&self, before: &PairLayout, fields: &[Option<usize>]) -> bool {
        let now = &self.policy;
        let place = |old: &usize| fields.iter().position(|from| *from == Some(*old));
        let key = before.policy.match_key.iter().map(place);
        let (Some(match_key), Some(kept)) = (
            key.collect::<Option<Vec<usize>>>(),
            fields.iter().copied().collect::<Option<Vec<usize>>>(),
        ) else {
            return true;
        };
        let mut forms = kept.iter().zip(&self.forms);
        if forms.any(|(old, form)| before.form(*old) != form) {
            return true;
        }
        let as_before = PairPolicy {
            fields: kept
                .into_iter()
                .zip(&now.fields)
                .map(|(old, now)| FieldPair {
                    // A rename is no change.
                    left: now.left.clone(),
                    right: now.right.clone(),
                    ..before.policy.fields[old].clone()
                })
                .collect(),
            match_key,
            scope: before.policy.scope.as_ref().and_then(place),
            existing: now.existing,
            deletes: now.deletes,
            conflict: now.conflict,
            conflict_delete: now.conflict_delete,
            archive: now.archive.clone(),
            // Whom a field names is a part of its form.
            references: now.references.clone(),
            ..before.policy.clone()
        };
        let was_filtered = before.policy.scope.is_some();
        as_before != *now || was_filtered != now.scope.is_some()
    }
}

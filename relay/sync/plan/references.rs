//! References while a record is planned: whom they name on the other side, and what becomes of one
//! whose record has no partner there.

use std::collections::{HashMap, HashSet};

use super::{Case, Decided, Planner, Verdict};
use crate::baseline::Fingerprint;
use crate::merge::{FieldState, FieldVerdict};
use crate::model::{BySide, Cell, Key, PairId, Side};
use crate::policy::{PairPolicy, Reference};
use crate::reference::{keys, translate};
use crate::value::Value;

/// A record by the key that a side has for it.
pub type Named = (Side, PairId, Key);

/// The partners of records that references name, as far as they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Partners {
    /// `None`: it has none.
    pub known: HashMap<Named, Option<Key>>,
    /// Table pairs whose links are being made: of their records nothing can be said yet.
    pub unmade: HashSet<PairId>,
}

/// Why a reference can't be said in the other side's keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lack {
    Unasked(Named),
    Missing(Named),
}

/// A field that waits for the partner of the record that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Waits {
    /// The side whose value can't be carried over.
    pub side: Side,
    pub field: usize,
    pub named: Named,
}

/// The records that the references of a case name.
pub(crate) fn named(case: &Case, policy: &PairPolicy) -> Vec<Named> {
    let mut all = Vec::new();
    for reference in &policy.references {
        for side in Side::BOTH {
            let cell = case.seen[side].row().map(|row| &row[reference.field]);
            let keys = cell.and_then(Cell::value).map(keys).unwrap_or_default();
            all.extend(keys.into_iter().map(|key| (side, reference.to, key)));
        }
    }
    all
}

impl Partners {
    fn of(&self, named: Named) -> Result<Key, Lack> {
        if self.unmade.contains(&named.1) {
            return Err(Lack::Missing(named));
        }
        match self.known.get(&named) {
            Some(Some(partner)) => Ok(partner.clone()),
            Some(None) => Err(Lack::Missing(named)),
            None => Err(Lack::Unasked(named)),
        }
    }

    /// What `from`'s value reads on the other side; `None` where it names a record without a partner.
    pub fn said_there(&self, from: Side, reference: &Reference, value: &Value) -> Option<Value> {
        self.translate(from, reference, value).ok()
    }

    fn translate(&self, from: Side, reference: &Reference, value: &Value) -> Result<Value, Lack> {
        let form = reference.keys[from.other()];
        let mut partner = |key: &Key| self.of((from, reference.to, key.clone()));
        translate(value, form, &mut partner)
    }
}

/// A side's references as the other one says them, by field.
pub(super) type Translated = HashMap<usize, Result<Value, Lack>>;

impl Planner<'_> {
    /// Translates the references that the plan may have to compare or to carry over. The verdict
    /// where somebody must be asked first.
    pub(super) fn translate(&mut self) -> Option<Verdict> {
        let policy = self.policy;
        for reference in &policy.references {
            for side in Side::BOTH {
                let Some(value) = self.value(side, reference.field) else {
                    continue;
                };
                let translated = self.partners.translate(side, reference, value);
                self.translated[side].insert(reference.field, translated);
            }
        }
        let mut all = Side::BOTH
            .into_iter()
            .flat_map(|side| self.translated[side].values());
        let is_unasked =
            |translated: &Result<Value, Lack>| matches!(translated, Err(Lack::Unasked(_)));
        all.any(is_unasked).then_some(Verdict::NeedPartners)
    }

    /// What keeps `from`'s value of the field from being carried over.
    pub(super) fn lack(&self, from: Side, field: usize) -> Option<Waits> {
        match self.translated[from].get(&field) {
            Some(Err(Lack::Missing(named) | Lack::Unasked(named))) => Some(Waits {
                side: from,
                field,
                named: named.clone(),
            }),
            _ => None,
        }
    }

    /// The side whose reference was never carried over, and is not in sight: whether it waits still, or
    /// can be carried over by now, must be told whatever the news of the record is.
    pub(super) fn unfilled(&self, field: usize, state: &FieldState) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| {
            let flows = self.policy.fields[field].direction.flows_to(side.other());
            flows && !state.baseline[*side].is_known() && state.observed[*side].is_none()
        })
    }

    /// Merges a reference, once what was never carried over is in sight.
    pub(super) fn merge_filled(
        &self,
        field: usize,
        state: &FieldState,
    ) -> Result<FieldVerdict, Verdict> {
        match self.unfilled(field, state) {
            Some(side) => Err(Verdict::NeedRead(side)),
            None => Ok(self.merge_reference(field, state)),
        }
    }

    /// A reference without which no record can be made on `to`.
    pub(super) fn lacks_required(&self, to: Side) -> Option<Verdict> {
        let mut required = self.policy.references.iter().filter(|r| r.required[to]);
        required.find_map(|reference| {
            let waits = self.lack(to.other(), reference.field)?;
            Some(Verdict::Waits(Box::new(waits)))
        })
    }

    /// True when `side`'s value of the field names what the other side's value names.
    pub(super) fn names_the_same(&self, side: Side, field: usize, other: Fingerprint) -> bool {
        match self.translated[side].get(&field) {
            Some(Ok(value)) => self.prints.value(value) == other,
            _ => false,
        }
    }

    /// Merges a reference: equal are two that name the same record, and not two that read the same.
    pub(super) fn merge_reference(&self, field: usize, state: &FieldState) -> FieldVerdict {
        let now =
            BySide::from_fn(|side: Side| state.observed[side].unwrap_or(state.baseline[side]));
        let is_same = |side: &Side| self.names_the_same(*side, field, now[side.other()]);
        let mut state = *state;
        for side in Side::BOTH {
            if self.names_another(side, field, &state) {
                state.baseline[side] = Fingerprint::UNKNOWN;
            }
        }
        if state.is_news() && Side::BOTH.iter().any(is_same) {
            return FieldVerdict::Settle;
        }
        if state.observed.left == state.observed.right {
            // What is not news must not look like it.
            let news = [Side::Right, Side::Left];
            if let Some(side) = news.into_iter().find(|&side| state.changed(side)) {
                state.observed[side] = state.observed[side].map(Fingerprint::told_apart);
            }
        }
        self.merge_field(field, &state)
    }

    /// The side whose report of our write leaves out a reference, because that write did not change it,
    /// while what an earlier one made of it was not told.
    pub(super) fn unheard_reference(&self, field: usize, state: &FieldState) -> Option<Side> {
        let null = self.prints.value(&Value::Null);
        Side::BOTH.into_iter().find(|&side| {
            let is_empty = [Fingerprint::UNKNOWN, null].contains(&state.baseline[side]);
            let is_unheard = self.case.masks[side] && state.observed[side].is_none();
            is_unheard && !is_empty && self.is_written(side, field)
        })
    }

    /// What a misled reference was meant to name, the other side's value says: it is carried over again.
    pub(super) fn forget_misled(
        &self,
        field: usize,
        state: &mut FieldState,
        decided: &mut Decided,
    ) {
        let was_misled = BySide::from_fn(|side| self.was_misled(side, field, state));
        for side in Side::BOTH.into_iter().filter(|side| was_misled[*side]) {
            state.baseline[side.other()] = Fingerprint::UNKNOWN;
            decided.link.baseline[side.other()][field] = Fingerprint::UNKNOWN;
            decided.link_changed = true;
        }
    }

    /// True for a reference that we wrote to `side` and that names another record than was meant: its key
    /// had become that one's before the write landed.
    fn was_misled(&self, side: Side, field: usize, state: &FieldState) -> bool {
        let agreed = state.baseline[side.other()];
        self.is_written(side, field)
            && state.observed[side] == Some(state.baseline[side])
            && agreed.is_known()
            && !self.names_the_same(side, field, agreed)
    }

    /// True for a reference that may be ours, of a record of which nothing is told but our writes.
    fn is_written(&self, side: Side, field: usize) -> bool {
        let flows = self.policy.fields[field].direction.flows_to(side);
        self.case.echoes[side] && flows && self.policy.reference(field).is_some()
    }

    /// True for a reference that reads as it did, while its key has become another record's.
    fn names_another(&self, side: Side, field: usize, state: &FieldState) -> bool {
        let agreed = state.baseline[side.other()];
        let is_translated = matches!(self.translated[side].get(&field), Some(Ok(_)));
        is_translated && agreed.is_known() && !self.names_the_same(side, field, agreed)
    }
}

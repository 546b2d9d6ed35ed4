//! Keys that our writes gave to records, and that the sides' histories have not told of yet.
//!
//! Until then such a key may stand for two records: the one that the history calls by it, and the one
//! that has it by now, because a person has taken the key from the first. A guard compares values and
//! can't tell the two apart where they are equal. So a write to the former record waits until the
//! history has told where that one is.
//!
//! What this run has given is noted here. What was given before (by former runs, by a copy) the
//! store is asked for, until the history tells of a batch that came later.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::book::Slot;
use super::open::Open;
use super::{Lookups, PendingEdit, Session};
use crate::model::{BatchId, BySide, Key, Outcome, PairId, Side, Since, StepKind};
use crate::plan::{PlannedStep, Seen};

#[derive(Debug, Default)]
pub(super) struct Given {
    noted: BySide<Noted>,
    /// What the store has told of keys that were asked for: the last moment at which one began to
    /// name a record.
    told: HashMap<Slot, Since>,
}

#[derive(Debug, Default)]
struct Noted {
    keys: HashMap<(PairId, Key), BatchId>,
    /// The same in the order of the batches.
    order: VecDeque<(BatchId, (PairId, Key))>,
    /// Keys of batches up to this one are not among them.
    unsure: Option<BatchId>,
}

/// What is known of a key's next record.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Nobody,
    /// It has the key since then.
    Since(Since),
    /// The store must be asked.
    Unasked,
}

impl Given {
    /// Nothing that was written up to this batch is noted.
    pub fn begin(&mut self, last: BatchId) {
        self.noted = BySide::from_fn(|_| Noted {
            unsure: Some(last),
            ..Noted::default()
        });
        self.told.clear();
    }

    /// A batch of ours gave the key to a record.
    pub fn note(&mut self, (side, pair, key): Slot, batch: BatchId) {
        let noted = &mut self.noted[side];
        if noted.order.len() >= limits::GIVEN_MAX {
            *noted = Noted {
                unsure: Some(batch),
                ..Noted::default()
            };
            return;
        }
        noted.keys.insert((pair, key.clone()), batch);
        noted.order.push_back((batch, (pair, key)));
    }

    /// `side`'s history has told of this batch and of all before it.
    pub fn pass(&mut self, side: Side, passed: BatchId) {
        let noted = &mut self.noted[side];
        noted.unsure = noted.unsure.filter(|unsure| *unsure > passed);
        let told = noted.order.partition_point(|(batch, _)| *batch <= passed);
        for (batch, slot) in noted.order.drain(..told) {
            if noted.keys.get(&slot) == Some(&batch) {
                noted.keys.remove(&slot);
            }
        }
    }

    /// Takes in what the store says of keys.
    pub fn learn(&mut self, lookups: &Lookups) {
        self.told.clear();
        for (slot, lookup) in lookups {
            if self.noted[slot.0].unsure.is_some() {
                let asked = lookup.traces.iter().filter(|trace| trace.is_asked());
                let links = lookup.links.iter().map(|link| link.since[slot.0]);
                let since = links.chain(asked.map(|trace| trace.since)).max();
                self.told.insert(slot.clone(), since.unwrap_or_default());
            }
        }
    }

    /// True when the case must wait for the store, or for a side's history, before these steps: the
    /// record that is written, or the one that a refusal would be told of, may have lost its key.
    pub fn holds_up(&self, open: &mut Open, steps: &[PlannedStep]) -> bool {
        let mut is_held_up = false;
        for step in steps {
            let (StepKind::Update { key, .. } | StepKind::Delete { key, .. }) = &step.kind else {
                continue;
            };
            let source = step.side.other();
            let of_source = open.case.keys[source].clone();
            let of_source = of_source.filter(|_| open.is_alive(source));
            let sides = [(step.side, Some(key.clone())), (source, of_source)];
            for (side, key) in sides {
                let Some(key) = key else {
                    continue;
                };
                let slot = (side, open.case.pair, key);
                is_held_up |= match self.after(&slot, open.case.since[side]) {
                    Next::Nobody => false,
                    Next::Since(next) => open.hear(side, next),
                    Next::Unasked => {
                        open.ask([slot]);
                        true
                    }
                };
            }
        }
        is_held_up
    }

    /// Who has the key by now, if that is another record than the one that has it since `since`.
    fn after(&self, slot: &Slot, since: Since) -> Next {
        let (side, pair, key) = slot;
        let noted = &self.noted[*side];
        let given = noted.keys.get(&(*pair, key.clone()));
        let given = given.map(|batch| Since::written(*batch));
        let told = self.told.get(slot).copied();
        if noted.unsure.is_some() && given.is_none() && told.is_none() {
            return Next::Unasked;
        }
        match given.max(told).filter(|next| *next > since) {
            Some(next) => Next::Since(next),
            None => Next::Nobody,
        }
    }
}

impl Session {
    /// Keys of the ready records of which the store must be asked before they are planned.
    pub(super) fn unasked(&mut self, lookups: &Lookups) -> Vec<Slot> {
        let mut slots = BTreeSet::new();
        for number in self.book.ready(&self.reach) {
            let Some(open) = self.book.case(number) else {
                continue;
            };
            let unsure = Side::BOTH.into_iter().filter(|&side| {
                let other = side.other();
                // What tells of our writes alone leads to none: after a copy these are many.
                let is_news = open.case.seen[other] != Seen::Unseen && !open.case.echoes[other];
                let is_unsure = self.given.noted[side].unsure.is_some();
                is_unsure && is_news && open.case.link.is_some()
            });
            let held = unsure.filter(|&side| open.is_alive(side));
            slots.extend(held.filter_map(|side| {
                let key = open.case.keys[side].clone()?;
                Some((side, open.case.pair, key))
            }));
        }
        slots.retain(|slot| !lookups.contains_key(slot));
        slots.into_iter().collect()
    }

    /// Notes the keys that a case's steps gave. What a copy gives the store is asked for.
    pub(super) fn note_given(
        &mut self,
        open: &Open,
        results: &[(Side, Outcome)],
        batches: &BySide<Option<BatchId>>,
    ) {
        if self.copying.is_some() {
            return;
        }
        for (side, outcome) in results {
            let had = open.case.keys[*side]
                .as_ref()
                .filter(|_| open.is_alive(*side));
            if let (Outcome::Written(stored, _), Some(batch)) = (outcome, batches[*side])
                && had != Some(&stored.key)
            {
                let slot = (*side, open.case.pair, stored.key.clone());
                self.given.note(slot, batch);
            }
        }
    }

    /// The same for what a person asked for.
    pub(super) fn note_edited(
        &mut self,
        edits: &[PendingEdit],
        outcomes: &BySide<Vec<Outcome>>,
        batches: &BySide<Option<BatchId>>,
    ) {
        for slot in edits.iter().filter_map(|edit| edit.given(outcomes)) {
            if let Some(batch) = batches[slot.0] {
                self.given.note(slot, batch);
            }
        }
    }
}

mod limits {
    /// Keys noted for a side, about 20 MB: while its history lags further behind, the store is asked.
    pub const GIVEN_MAX: usize = 100_000;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Link, LinkId, Lookup, Trace};

    fn slot(key: &str) -> Slot {
        (Side::Left, PairId(0), Key::single(key))
    }

    fn batch(number: u32) -> BatchId {
        BatchId::of_run(1, number)
    }

    fn given(number: u32) -> Since {
        Since::written(batch(number))
    }

    /// A run that has told of its first batch.
    fn certain() -> Given {
        let mut all = Given::default();
        all.begin(batch(0));
        all.pass(Side::Left, batch(1));
        all
    }

    #[test]
    fn a_key_has_a_next_record_until_the_history_has_told_of_the_batch() {
        let mut all = certain();
        all.note(slot("k"), batch(2));
        assert_eq!(all.after(&slot("k"), given(1)), Next::Since(given(2)));
        assert_eq!(all.after(&slot("k"), given(2)), Next::Nobody);
        assert_eq!(all.after(&slot("j"), given(1)), Next::Nobody);
        all.note(slot("k"), batch(4));
        all.pass(Side::Left, batch(3));
        assert_eq!(all.after(&slot("k"), given(2)), Next::Since(given(4)));
        all.pass(Side::Left, batch(4));
        assert_eq!(all.after(&slot("k"), given(2)), Next::Nobody);
    }

    #[test]
    fn of_what_was_given_before_the_store_is_asked() {
        let mut all = Given::default();
        all.begin(batch(5));
        all.pass(Side::Left, batch(4));
        assert_eq!(all.after(&slot("k"), given(1)), Next::Unasked);
        let mut lookups = Lookups::new();
        lookups.insert(slot("j"), Lookup::default());
        lookups.entry(slot("k")).or_default().links.push(Link {
            id: LinkId(1),
            keys: BySide::default(),
            since: BySide::new(given(3), given(9)),
            gone: BySide::default(),
            baseline: BySide::default(),
            seen: BySide::default(),
            written: BySide::default(),
        });
        all.learn(&lookups);
        assert_eq!(all.after(&slot("k"), given(1)), Next::Since(given(3)));
        assert_eq!(all.after(&slot("j"), given(1)), Next::Nobody);
        all.learn(&Lookups::new());
        assert_eq!(all.after(&slot("k"), given(1)), Next::Unasked);
        all.pass(Side::Left, batch(5));
        assert_eq!(all.after(&slot("k"), given(1)), Next::Nobody);
    }

    #[test]
    fn a_key_that_a_person_had_given_is_another_records() {
        let mut all = Given::default();
        all.begin(batch(5));
        let mut lookups = Lookups::new();
        let traces = &mut lookups.entry(slot("k")).or_default().traces;
        traces.push(Trace::asked(batch(3)));
        all.learn(&lookups);
        let asked = Trace::asked(batch(3)).since;
        assert_eq!(all.after(&slot("k"), given(1)), Next::Since(asked));
        assert_eq!(all.after(&slot("k"), given(4)), Next::Nobody);
    }

    #[test]
    fn what_is_not_noted_any_more_is_not_taken_for_nothing() {
        let mut all = certain();
        for number in 0..=limits::GIVEN_MAX {
            all.note(slot(&number.to_string()), batch(2));
        }
        assert_eq!(all.after(&slot("0"), given(1)), Next::Unasked);
        all.note(slot("k"), batch(3));
        assert_eq!(all.after(&slot("k"), given(1)), Next::Since(given(3)));
        all.pass(Side::Left, batch(2));
        assert_eq!(all.after(&slot("0"), given(1)), Next::Nobody);
        assert_eq!(all.after(&slot("k"), given(1)), Next::Since(given(3)));
    }
}

//! Who the records are that references name: the store and the open cases are asked for their
//! partners, and what waits for a partner is tried again when it is there.
//!
//! Live, a case asks only when its plan needs it; it is planned once the answer is there, after all
//! changes that were taken in with it, so that a key means whom the history says that it means
//! now. While data is copied, all references of a page are asked for at once.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Found, Slot};
use super::counterpart::Draft;
use super::open::Open;
use super::{Command, Lookups, Session, Settlement, State};
use crate::inbox::tenant;
use crate::model::{
    BatchId, BySide, Finding, FindingCode, Key, Lookup, Outcome, Place, Side, Since,
};
use crate::plan::{Partners, Waits, named};

/// After everything that a history can tell.
const LAST: Since = Since {
    batch: BatchId(u64::MAX),
    place: Place {
        offset: u64::MAX,
        at: u64::MAX,
    },
};

#[derive(Debug, Default)]
pub(super) struct Naming {
    pub partners: Partners,
    /// Records that wait, by the one whose partner they wait for. Lost with the run: their findings
    /// are tried again then.
    waiting: BTreeMap<Slot, BTreeSet<Slot>>,
    masks: BySide<Masks>,
}

/// Batches of this run that wrote a record again before its side's history had told of the write before. Of
/// such a record the history tells the last write alone, and that may leave out a reference.
#[derive(Debug, Default)]
struct Masks {
    batches: BTreeSet<BatchId>,
    /// Of batches up to this one nothing is known.
    unsure: BatchId,
}

impl Naming {
    /// Of a run whose batches come after `last`.
    pub fn after(last: BatchId) -> Naming {
        let masks = BySide::from_fn(|_| Masks {
            unsure: last,
            ..Masks::default()
        });
        Naming {
            masks,
            ..Naming::default()
        }
    }
}

impl Masks {
    fn note(&mut self, batch: BatchId) {
        self.batches.insert(batch);
        if self.batches.len() > limits::MASKS_MAX
            && let Some(first) = self.batches.pop_first()
        {
            self.unsure = first;
        }
    }

    fn hides(&self, batch: BatchId) -> bool {
        batch <= self.unsure || self.batches.contains(&batch)
    }
}

impl Session {
    /// Notes where a case's steps have written a record whose last write was not told yet.
    pub(super) fn note_masks(
        &mut self,
        open: &Open,
        results: &[(Side, Outcome)],
        batches: &BySide<Option<BatchId>>,
    ) {
        let Some(link) = &open.case.link else { return };
        for (side, outcome) in results {
            let is_untold = link.written[*side] > self.reach[*side].moment().batch;
            if let (Outcome::Written(..), Some(batch), true) = (outcome, batches[*side], is_untold)
            {
                self.naming.masks[*side].note(batch);
            }
        }
    }

    /// Sides whose last write of the record may hide an earlier one.
    pub(super) fn masks(&self, open: &Open) -> BySide<bool> {
        let link = open.case.link.as_ref();
        BySide::from_fn(|side| {
            link.is_some_and(|link| self.naming.masks[side].hides(link.written[side]))
        })
    }

    /// Plans copied records, once the partners of those that they name are known.
    pub(super) fn name_copied(&mut self, drafts: Vec<Draft>, extra: Settlement) {
        let pairs = self.copying.iter().flat_map(|copying| &copying.pairs);
        self.naming.partners.unmade = pairs.copied().collect();
        let cases = drafts.iter().map(|draft| &draft.open.case);
        let all = cases.flat_map(|case| named(case, &self.config.policies[case.pair.0 as usize]));
        let unmade = &self.naming.partners.unmade;
        let keys: BTreeSet<Slot> = all.filter(|slot| !unmade.contains(&slot.1)).collect();
        if keys.is_empty() {
            self.start_round(drafts, extra, true);
            return;
        }
        let keys: Vec<Slot> = keys.into_iter().collect();
        let asked = keys.clone();
        self.state = State::Naming {
            drafts,
            extra: Box::new(extra),
            asked,
        };
        self.commands.push_back(Command::Load { keys });
    }

    pub(super) fn handle_named(&mut self, lookups: Vec<Lookup>) {
        let State::Naming {
            drafts,
            extra,
            asked,
        } = &mut self.state
        else {
            return;
        };
        let (drafts, extra) = (std::mem::take(drafts), std::mem::take(extra));
        let asked = std::mem::take(asked);
        let lookups = asked.iter().cloned().zip(lookups).collect();
        self.learn_partners(asked, &lookups);
        self.start_round(drafts, *extra, true);
    }

    /// Live: whom the references of the ready cases name.
    pub(super) fn name_ready(&mut self, lookups: &Lookups) {
        let asked = self.book.asked(&self.reach);
        let asked = asked.into_iter().filter(|slot| lookups.contains_key(slot));
        self.naming.partners.unmade.clear();
        self.learn_partners(asked.collect(), lookups);
    }

    fn learn_partners(&mut self, asked: Vec<Slot>, lookups: &Lookups) {
        self.naming.partners.known.clear();
        for slot in asked {
            let partner = self.partner(&slot, lookups);
            self.naming.partners.known.insert(slot, partner);
        }
    }

    /// The key of the partner of the record that has this key by now.
    fn partner(&mut self, slot: &Slot, lookups: &Lookups) -> Option<Key> {
        let (side, pair, key) = slot;
        let lookup = lookups.get(slot).unwrap_or(Lookup::nobody());
        let found = match self.book.find(slot, lookup, self.reach[*side].moment()) {
            // It has the key by a write of ours that its side's history has not told of yet.
            Found::New => match tenant(lookup, *side, LAST) {
                Some(link) => self.book.of_link(*pair, link),
                None => Found::New,
            },
            found => found,
        };
        match found {
            Found::Open(number) => self.book.case(number)?.partner(*side, key).cloned(),
            Found::Linked(link) => link.keys[side.other()].clone(),
            Found::Known(_) | Found::New => None,
        }
    }

    /// The record can't be made before the one that it names has a partner.
    pub(super) fn require(&mut self, open: &Open, waits: &Waits, out: &mut Settlement) {
        self.await_partner(open, waits);
        let finding = open.case.keys[waits.side].clone().map(|key| {
            let slot = (open.case.pair, waits.side, key);
            Finding::of(slot, FindingCode::LinkedRecordRequired)
        });
        out.findings.extend(finding);
    }

    /// Tries the record again when whom it names has a partner.
    pub(super) fn await_partner(&mut self, open: &Open, waits: &Waits) {
        // What is copied is tried again as its finding says: it may be all of a table.
        if let (None, Some(key)) = (&self.copying, open.case.keys[waits.side].clone()) {
            let slot = (waits.side, open.case.pair, key);
            let waiting = self.naming.waiting.entry(waits.named.clone());
            waiting.or_default().insert(slot);
        }
    }

    /// A side that refuses a reference may have given the record that it names another key, of which
    /// its history has not told yet.
    pub(super) fn await_refused(&mut self, open: &Open, results: &[(Side, Outcome)]) {
        for (side, outcome) in results {
            let code = FindingCode::ForeignKeyViolation;
            if !matches!(outcome, Outcome::Rejected { code: c, .. } if *c == code) {
                continue;
            }
            let policy = &self.config.policies[open.case.pair.0 as usize];
            let all = named(&open.case, policy).into_iter();
            for named in all.filter(|(from, ..)| *from == side.other()) {
                let waits = Waits {
                    side: side.other(),
                    field: 0,
                    named,
                };
                self.await_partner(open, &waits);
            }
        }
    }

    /// Records that wait for the partners which this settlement gives.
    pub(super) fn heal(&mut self, settlement: &Settlement) {
        for (pair, link) in &settlement.links {
            if link.is_half() || self.naming.waiting.is_empty() {
                continue;
            }
            for side in Side::BOTH {
                let key = link.keys[side].clone();
                let slot = key.map(|key| (side, *pair, key));
                let waiting = slot.and_then(|slot| self.naming.waiting.remove(&slot));
                self.retries.extend(waiting.into_iter().flatten());
            }
        }
    }
}

mod limits {
    /// Batches kept for a side: records written before have their references read once more.
    pub const MASKS_MAX: usize = 10_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: usize) -> BatchId {
        BatchId::of_run(2, number as u32)
    }

    #[test]
    fn of_former_runs_and_of_what_is_not_kept_nothing_is_known() {
        let mut masks = Masks {
            unsure: batch(0),
            ..Masks::default()
        };
        assert!(masks.hides(BatchId::of_run(1, 7)));
        assert!(!masks.hides(batch(1)));
        for number in 2..=limits::MASKS_MAX + 2 {
            masks.note(batch(number));
        }
        assert!(masks.hides(batch(1)) && masks.hides(batch(2)));
        assert!(masks.hides(batch(3)));
        assert!(!masks.hides(batch(limits::MASKS_MAX + 3)));
    }
}

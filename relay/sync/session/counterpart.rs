//! Finds the counterparts of records that only one side has: among the open cases, the links, and
//! the records that a create came upon.

use std::collections::HashMap;

use super::book::Found;
use super::open::{Candidate, Open};
use super::{Lookups, Session};
use crate::baseline::Fingerprinter;
use crate::model::{Cell, FindingCode, Lookup, PairId, Place, Row, Side, Since};
use crate::policy::PairPolicy;

/// A case that is ready to be planned.
#[derive(Debug)]
pub(super) struct Draft {
    pub open: Open,
    /// Set when it cannot be planned: the side whose record has the finding.
    pub problem: Option<(Side, FindingCode)>,
}

/// What becomes of a candidate.
enum Verdict {
    /// It is not the counterpart (any more): the record is created, or finds another.
    Drop,
    Adopt(Since),
    /// The record of this half link or lone case.
    Join(u64),
    JoinLink(Box<crate::model::Link>),
    /// It has a counterpart already.
    Taken,
    /// This case is about it, and goes first.
    After(u64),
}

impl Session {
    /// Closes the cases that are ready, with their counterparts where they have found them.
    pub(super) fn draft_ready(&mut self, lookups: &Lookups) -> Vec<Draft> {
        let mut problems = HashMap::new();
        let ready = self.book.ready(&self.reach);
        for &number in &ready {
            self.check_lone(number, lookups);
            if let Some(open) = self.book.case(number) {
                open.take_held();
                open.doubt_baseline(&self.config.prints, &self.config.policies);
            }
        }
        let mut chosen = Vec::with_capacity(ready.len());
        for number in ready {
            if let Some(number) = self.settle_candidate(number, lookups, &mut problems) {
                chosen.push(number);
            }
        }
        let mut drafts = Vec::with_capacity(chosen.len());
        for number in chosen {
            if let Some(open) = self.book.take(number) {
                let problem = problems.remove(&number);
                drafts.push(Draft { open, problem });
            }
        }
        join_lone(drafts, &self.config.policies, &self.config.prints)
    }

    /// A record without a link that was looked up by its key: another one may have had the key by
    /// then, which has a case of its own.
    fn check_lone(&mut self, number: u64, lookups: &Lookups) {
        for slot in self.book.looked_up(number) {
            let lookup = lookups.get(&slot).unwrap_or(Lookup::nobody());
            let now = self.reach[slot.0].moment();
            let found = self.book.find(&slot, lookup, now);
            let is_own = matches!(found, Found::Open(n) if n == number);
            let side = slot.0;
            let case = self.book.case(number);
            let Some(open) = case.filter(|open| !is_own || open.is_overtaken(side)) else {
                continue;
            };
            let is_taken =
                open.found_any(side) || open.is_overtaken(side) || !matches!(found, Found::New);
            if is_taken {
                // A finding of that key is the other record's now.
                open.findings
                    .retain(|finding| *finding != (side, slot.2.clone()));
            }
            self.book.lose(number, side);
        }
    }

    /// The number under which the case goes on, if it is to be planned now.
    fn settle_candidate(
        &mut self,
        number: u64,
        lookups: &Lookups,
        problems: &mut HashMap<u64, (Side, FindingCode)>,
    ) -> Option<u64> {
        let open = self.book.case(number)?;
        let Some(found) = open.candidate.clone() else {
            return Some(number);
        };
        let from = found.side.other();
        let verdict = match open.case.only_side() == Some(from) {
            true => self.judge(number, &found, lookups),
            false => Verdict::Drop,
        };
        if let Verdict::After(other) = verdict
            && !self.book.waits_for(other, number)
        {
            self.book.block(number, other);
            return None;
        }
        // Taken and put back, so that others see whose the candidate is now.
        let mut open = self.book.take(number)?;
        open.candidate = None;
        let slot = (found.side, open.case.pair, found.stored.key.clone());
        let lookup = lookups.get(&slot).filter(|lookup| lookup.has_finding);
        if let (Some(lookup), Verdict::Adopt(_) | Verdict::JoinLink(_)) = (lookup, &verdict) {
            let finding = (slot.0, slot.2);
            open.altered.extend(lookup.altered(&finding));
            open.findings.push(finding);
        }
        match verdict {
            Verdict::Drop | Verdict::After(_) => {}
            Verdict::Taken => {
                let number = self.book.put(open);
                problems.insert(number, (from, FindingCode::MatchKeyTaken));
                return Some(number);
            }
            Verdict::Adopt(since) => open.adopt(found, None, since),
            Verdict::JoinLink(link) => {
                let since = link.since[found.side];
                open.adopt(found, Some(*link), since);
            }
            Verdict::Join(other) => {
                let other = self.book.take(other)?;
                let is_unseen = !other.case.seen[found.side].is_present();
                let since = other.case.since[found.side];
                open.join(other, found.side);
                if is_unseen {
                    open.show(found, since);
                }
            }
        }
        Some(self.book.put(open))
    }

    fn judge(&mut self, number: u64, found: &Candidate, lookups: &Lookups) -> Verdict {
        let side = found.side;
        let Some((pair, own)) = self.book.case(number).map(|open| {
            let row = open.case.seen[side.other()].row().cloned();
            (open.case.pair, row)
        }) else {
            return Verdict::Drop;
        };
        let wanted = own.and_then(|row| self.match_print(pair, &row));
        if wanted.is_none() || wanted != self.match_print(pair, &found.stored.row) {
            return Verdict::Drop;
        }
        let slot = (side, pair, found.stored.key.clone());
        let lookup = lookups.get(&slot).unwrap_or(Lookup::nobody());
        // What was found may be of before a write of ours that settled meanwhile.
        let seen = found.fence.batch;
        let is_touched = found.is_touched
            || lookup.links.iter().any(|link| link.written[side] > seen)
            || lookup.ended().any(|trace| trace.written > seen);
        let now = self.reach[side].moment();
        let then = Since {
            batch: seen,
            place: Place::end_of(u64::MAX),
        };
        let is_dead = |open: &mut Open| !open.is_alive(side);
        let found_now = match self.book.find(&slot, lookup, now.max(then)) {
            // Its own record of that key is gone: this is another one.
            Found::Open(n) if n == number && self.book.case(n).is_some_and(is_dead) => Found::New,
            found => found,
        };
        match found_now {
            Found::Known(_) => Verdict::Drop,
            Found::Open(other) if other == number => Verdict::Drop,
            Found::Open(other) => self.judge_open(other, (found, is_touched), wanted),
            Found::Linked(_) | Found::New if is_touched => Verdict::Drop,
            Found::Linked(link) if link.is_half() && link.keys[side].is_some() => {
                Verdict::JoinLink(link)
            }
            Found::Linked(_) => Verdict::Taken,
            // Its history may have told of it before, and may tell of it again.
            Found::New => {
                let since = self.book.unlinked_since(&slot, now, lookups);
                Verdict::Adopt(since.unwrap_or(now))
            }
        }
    }

    fn judge_open(
        &mut self,
        other: u64,
        (found, is_touched): (&Candidate, bool),
        wanted: Option<[u8; 16]>,
    ) -> Verdict {
        let reach = &self.reach;
        let Some(open) = self.book.case(other) else {
            return Verdict::Drop;
        };
        let is_read = open.is_read(reach);
        if is_read {
            open.take_held();
        }
        match open.case.only_side() {
            Some(side) if side == found.side && is_read => {
                let seen = open.case.seen[side].row();
                if seen.is_none() && is_touched {
                    return Verdict::Drop;
                }
                let row = seen.unwrap_or(&found.stored.row);
                let (pair, row) = (open.case.pair, row.clone());
                match self.match_print(pair, &row) {
                    print if print == wanted => Verdict::Join(other),
                    // It is read before it is created anywhere.
                    None if self.is_told_in_part(pair, &row) => Verdict::After(other),
                    _ => Verdict::Drop,
                }
            }
            _ => Verdict::After(other),
        }
    }

    /// True when the side has left out a part of the record's match key, as it did not change.
    fn is_told_in_part(&self, pair: PairId, row: &Row) -> bool {
        let mut match_key = self.config.policies[pair.0 as usize].match_key.iter();
        match_key.any(|&field| row[field] == Cell::Unchanged)
    }

    fn match_print(&self, pair: PairId, row: &Row) -> Option<[u8; 16]> {
        match_print(
            &self.config.policies[pair.0 as usize],
            &self.config.prints,
            row,
        )
    }
}

fn match_print(policy: &PairPolicy, prints: &Fingerprinter, row: &Row) -> Option<[u8; 16]> {
    let cells: Vec<&Cell> = policy.match_key.iter().map(|&field| &row[field]).collect();
    prints.match_key(&cells)
}

/// New records of both sides with the same match key become one case.
fn join_lone(drafts: Vec<Draft>, policies: &[PairPolicy], prints: &Fingerprinter) -> Vec<Draft> {
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let mut by_match: HashMap<(PairId, [u8; 16]), usize> = HashMap::new();
    for side in Side::BOTH {
        for number in 0..drafts.len() {
            let print = drafts[number].as_ref().and_then(|draft| {
                let case = &draft.open.case;
                let is_new = case.link.is_none() && draft.problem.is_none();
                let row = case.seen[side].row()?;
                let is_lone = is_new && case.only_side() == Some(side);
                let policy = &policies[case.pair.0 as usize];
                let print = match_print(policy, prints, row)?;
                is_lone.then_some((case.pair, print))
            });
            let Some(slot) = print else { continue };
            if side == Side::Left {
                by_match.insert(slot, number);
            } else if let Some(left) = by_match.remove(&slot)
                && let Some(right) = drafts[number].take()
                && let Some(left) = &mut drafts[left]
            {
                left.open.join(right.open, Side::Right);
            }
        }
    }
    drafts.into_iter().flatten().collect()
}

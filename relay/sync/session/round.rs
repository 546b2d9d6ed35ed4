//! A round: the steps sent to both sides together, and what their outcomes let us remember.
//!
//! A [`Round`] holds fingerprints and keys (and the losing values of conflicts), so that it can be
//! committed before its steps are sent: after a crash, the sides' own progress records plus the
//! round give the same settlement as if nothing had happened.

mod altered;
#[cfg(test)]
mod history_tests;
mod result;
mod unfilled;
mod unsure;

use self::result::{ReadBack, StepResult, Wrote};
pub(super) use self::unfilled::settle_waiting;

use serde::{Deserialize, Serialize};

use super::edit::{Edited, PendingEdit};
use super::open::Open;
use super::settlement::{Applied, Gone, Noted, Settlement, Values, Why};
use crate::baseline::{Fingerprint, Fingerprinter};
use crate::decide::Write;
use crate::model::{
    BatchId, Before, BySide, Conflict, Finding, FindingCode, Key, Link, LinkId, Outcome, PairId,
    Place, Recovered, Row, Side, Since, Step, StepKind, Trace,
};
use crate::plan::{Decided, LinkFate};
use crate::policy::{Direction, PairPolicy};

/// What was intended: committed before it is sent, removed by the settlement that completes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    pub batches: BySide<Option<BatchId>>,
    pub cases: Vec<PendingCase>,
    /// What a person asked for; a round has either cases or edits.
    #[serde(default)]
    pub edits: Vec<PendingEdit>,
}

/// One planned record of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingCase {
    pair: PairId,
    /// The link as it will be, but for what the steps bring.
    link: Link,
    drops_link: bool,
    keeps_link: bool,
    link_changed: bool,
    /// The link while a deletion can't be carried over.
    widowed: Option<Link>,
    /// Keys that its records had, and the link has no more or from another time on.
    former: Vec<(Side, Key, Trace)>,
    /// The keys that its records have.
    planned: BySide<Option<(Key, Since)>>,
    ending: Vec<LinkId>,
    observed: BySide<Vec<Fingerprint>>,
    /// How far the histories were taken in when it was planned.
    seen: BySide<Place>,
    times: BySide<Option<i64>>,
    conflicts: Vec<Conflict>,
    /// Fields that a create leaves out because whom they name has no partner, and the finding that
    /// says so.
    #[serde(default)]
    unfilled: Vec<usize>,
    #[serde(default)]
    missing: Option<Finding>,
    findings: Vec<(Side, Key)>,
    /// Findings of values that were altered, and that this does not change.
    #[serde(default)]
    lasting: Vec<(Side, Key)>,
    steps: Vec<PendingStep>,
    /// Why each side is written.
    #[serde(default)]
    why: BySide<Why>,
}

/// One step of a case: number `index` of its side's batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PendingStep {
    side: Side,
    index: u32,
    write: Write,
    fields: Vec<usize>,
}

/// What became of a former run's batches: per side, of each step.
type Answers = BySide<Option<Vec<Recovered>>>;

/// What a settlement holds of one case.
pub(super) struct Settled {
    /// The place of its link.
    pub link: Option<usize>,
    pub findings: Vec<(Side, Key)>,
    /// Those of them that are about a value that was altered.
    pub altered: Vec<(Side, Key)>,
}

impl PendingCase {
    pub(super) fn new(open: &Open, decided: Decided, seen: BySide<Place>) -> PendingCase {
        let case = &open.case;
        let written = case.link.as_ref().map(|link| link.written);
        let written = written.unwrap_or_default();
        let mut former: Vec<(Side, Key, Trace)> = Vec::new();
        let mut had = |side: Side, key: &Key, trace: Trace| {
            let same =
                |(s, k, t): &(Side, Key, Trace)| (*s, k, t.since) == (side, key, trace.since);
            if !former.iter().any(same) {
                former.push((side, key.clone(), trace));
            }
        };
        // Where nothing tells when a key was given up, a write of ours does it.
        let at = |ended: Option<Place>| ended.unwrap_or_default();
        for f in &open.former {
            let trace = Trace {
                since: f.since,
                seen: at(f.ended),
                written: f.written,
            };
            had(f.side, &f.key, trace);
        }
        for side in Side::BOTH {
            let link = case.link.iter();
            let stored =
                link.filter_map(|link| Some((link.keys[side].as_ref()?, link.since[side])));
            let now = case.keys[side].as_ref().map(|key| (key, case.since[side]));
            for (key, since) in now.into_iter().chain(stored) {
                let trace = Trace {
                    since,
                    seen: at(open.gone_at[side]),
                    written: written[side],
                };
                had(side, key, trace);
            }
        }
        let mut link = decided.link;
        for side in Side::BOTH {
            // Records that are linked anew were written before.
            let own = open.link_of(side).filter(|own| own.keys[side].is_some());
            let written = own.map(|own| own.written[side]);
            link.written[side] = link.written[side].max(written.unwrap_or_default());
        }
        PendingCase {
            pair: case.pair,
            drops_link: decided.fate == LinkFate::Drop,
            keeps_link: decided.fate == LinkFate::Keep,
            link,
            link_changed: decided.link_changed || case.is_renewed || !open.ending().is_empty(),
            widowed: open.widowed_link(),
            former,
            planned: BySide::from_fn(|side| Some((case.keys[side].clone()?, case.since[side]))),
            ending: open.ending(),
            observed: decided.observed,
            seen,
            times: BySide::from_fn(|side| case.seen[side].time()),
            conflicts: decided.conflicts,
            unfilled: Vec::new(),
            missing: None,
            findings: open.findings.clone(),
            lasting: Vec::new(),
            steps: Vec::new(),
            why: BySide::from_fn(|_| match case.existing {
                Some(_) => Why::Copy,
                None => Why::Change,
            }),
        }
    }

    /// Notes why its sides are written, as far as its conflicts tell.
    pub(super) fn explain(&mut self, policy: &PairPolicy) {
        for conflict in &self.conflicts {
            let Some(winner) = conflict.winner else {
                continue;
            };
            let field = conflict.field.map(|field| &policy.fields[field]);
            let is_one_way = field.is_some_and(|field| field.direction != Direction::Both);
            self.why[winner.other()] = match is_one_way {
                true => Why::Restore,
                false => Why::Conflict,
            };
        }
    }

    /// While existing data is copied, findings are looked after by the next retry.
    pub(super) fn forget_finding(&mut self) {
        self.findings.clear();
    }

    /// Leaves nothing to settle: the case is planned again in a later round.
    pub(super) fn forget(&mut self) {
        self.link_changed = false;
        self.conflicts.clear();
        self.findings.clear();
        self.missing = None;
    }

    /// True when nothing needs to be remembered and nothing written.
    pub(super) fn is_idle(&self) -> bool {
        self.steps.is_empty()
            && !self.link_changed
            && self.conflicts.is_empty()
            && self.findings.is_empty()
            && self.missing.is_none()
    }

    /// Settles the case; returns the place of its link.
    fn settle(
        &self,
        batches: &BySide<Option<BatchId>>,
        results: Vec<StepResult>,
        out: &mut Settlement,
    ) -> Option<usize> {
        let first = out.conflicts.len();
        let place = self.settle_steps(batches, results, out);
        for noted in &mut out.conflicts[first..] {
            noted.link = place;
        }
        // One whose link is not settled is met again when the case is planned again.
        out.conflicts
            .retain(|noted| noted.link.is_some() || noted.conflict.winner.is_some());
        place
    }

    fn settle_steps(
        &self,
        batches: &BySide<Option<BatchId>>,
        results: Vec<StepResult>,
        out: &mut Settlement,
    ) -> Option<usize> {
        let mut link = self.link.clone();
        let mut done = BySide::new(false, false);
        let (mut all_done, mut create_failed) = (true, false);
        let mut refusals: Vec<(Side, FindingCode, String)> = Vec::new();
        let mut altered: Vec<(Side, String)> = Vec::new();
        for (step, result) in self.steps.iter().zip(results) {
            let side = step.side;
            let batch = batches[side].unwrap_or_default();
            match result {
                StepResult::Written { key, read, wrote } => {
                    self.agree(&mut link, step, &read);
                    altered.extend(read.altered.map(|what| (side, what)));
                    self.resolve_former(side, &key, out);
                    if link.keys[side].as_ref() != Some(&key) {
                        link.since[side] = Since::written(batch);
                    }
                    link.keys[side] = Some(key);
                    link.written[side] = batch;
                    done[side] = true;
                    out.applied.push(self.applied(step, &link, wrote));
                }
                StepResult::Deleted(wrote) => {
                    link.written[side] = batch;
                    done[side] = true;
                    out.applied.push(self.applied(step, &link, wrote));
                }
                StepResult::Rejected { code, detail } => {
                    refusals.push((side, code, detail));
                    all_done = false;
                    create_failed |= step.write == Write::Create;
                }
                StepResult::Again => {
                    all_done = false;
                    create_failed |= step.write == Write::Create;
                }
            }
        }
        let rejected = !refusals.is_empty();
        for (side, code, detail) in refusals {
            self.reject(side, (code, detail), &link, out);
        }
        self.settle_conflicts(&done, out);
        let wrote = done.left || done.right;
        if all_done || wrote {
            self.see(&mut link);
        }
        if rejected || all_done {
            self.resolve_findings(out);
        }
        self.tell_lacks(altered, all_done, &link, out);
        if wrote && !all_done && !rejected {
            self.leave_unfinished(&done, &link, out);
        }
        if let (true, Some(widowed)) = (rejected, &self.widowed) {
            return Some(self.put_widowed(widowed.clone(), out));
        }
        // What is planned again is derived from the same changes, also after a crash: nothing of them
        // may be taken for known before it has come to something.
        let is_pending = !all_done && !wrote && !rejected;
        if create_failed || is_pending || !(wrote || self.link_changed) {
            return None;
        }
        self.settle_link(link, all_done, out)
    }

    /// The sides' histories are accounted for as far as the plan knew them. What is left undone is
    /// remembered by a finding and is read anew after a crash: a replay of what came before a value
    /// that was written already would look like an edit.
    fn see(&self, link: &mut Link) {
        for side in Side::BOTH {
            link.seen[side] = link.seen[side].max(self.seen[side]);
        }
    }

    /// Both sides have the fields that a step wrote.
    fn agree(&self, link: &mut Link, step: &PendingStep, read: &ReadBack) {
        let prints = &read.prints;
        let (side, other) = (step.side, step.side.other());
        for &field in &step.fields {
            link.baseline[side][field] = prints[field];
            if self.observed[other][field].is_known() {
                link.baseline[other][field] = self.observed[other][field];
            }
        }
        self.leave_unfilled(link, step, prints);
        self.leave_empty(link, step, read);
    }

    /// The place of the link that remembers a deletion which can't be carried over.
    fn put_widowed(&self, mut widowed: Link, out: &mut Settlement) -> usize {
        widowed.seen = self.seen;
        self.leave_traces(&widowed, &widowed.keys, out);
        self.drop_ending(&widowed, out);
        out.links.push((self.pair, widowed));
        out.links.len() - 1
    }

    /// One side is written and the other is not: the written side's older changes are taken for
    /// known from now on, so a crash must not forget that the other side still needs them.
    fn leave_unfinished(&self, done: &BySide<bool>, link: &Link, out: &mut Settlement) {
        let side = if done.left { Side::Left } else { Side::Right };
        if let Some(key) = link.keys[side].clone() {
            out.findings.push(Finding {
                pair: self.pair,
                side,
                key,
                code: FindingCode::ChangedWhileCopied,
                detail: FindingCode::ChangedWhileCopied.advice().to_owned(),
            });
        }
    }

    fn settle_link(&self, link: Link, all_done: bool, out: &mut Settlement) -> Option<usize> {
        if self.keeps_link {
            return Some(self.put_link(link, out));
        }
        if self.drops_link && all_done {
            self.leave_traces(&link, &BySide::default(), out);
            if link.id != LinkId(0) {
                out.dropped.push((self.pair, link.id));
            }
            self.drop_ending(&link, out);
        }
        None
    }

    fn put_link(&self, link: Link, out: &mut Settlement) -> usize {
        self.leave_traces(&link, &link.keys, out);
        self.drop_ending(&link, out);
        out.links.push((self.pair, link));
        out.links.len() - 1
    }

    fn drop_ending(&self, link: &Link, out: &mut Settlement) {
        let ending = self.ending.iter().filter(|id| **id != link.id);
        out.dropped.extend(ending.map(|id| (self.pair, *id)));
    }

    /// Keys that the link no longer has leave a trace, so that replays about them are recognised.
    fn leave_traces(&self, link: &Link, kept: &BySide<Option<Key>>, out: &mut Settlement) {
        for (side, key, mut trace) in self.former.iter().cloned() {
            if kept[side].as_ref() == Some(&key) && link.since[side] == trace.since {
                continue;
            }
            // What a batch made anew says nothing about the former record.
            let is_planned = self.planned[side].as_ref() == Some(&(key.clone(), trace.since));
            let creates = self
                .steps
                .iter()
                .any(|s| s.side == side && s.write == Write::Create);
            if is_planned && !creates {
                trace.written = link.written[side];
            }
            if trace.seen == Place::default() {
                trace.seen = self.seen[side];
            }
            out.gone.push(Gone {
                pair: self.pair,
                side,
                key,
                trace,
            });
        }
    }

    fn settle_conflicts(&self, done: &BySide<bool>, out: &mut Settlement) {
        for conflict in &self.conflicts {
            let loser = conflict.winner.map(Side::other);
            let awaits = |loser| self.steps.iter().any(|step| step.side == loser) && !done[loser];
            if !loser.is_some_and(awaits) {
                out.conflicts.push(Noted {
                    conflict: conflict.clone(),
                    link: None,
                });
            }
        }
    }

    /// The finding of a refused step, under the key that its record has when the round is settled.
    fn reject(
        &self,
        side: Side,
        (code, detail): (FindingCode, String),
        link: &Link,
        out: &mut Settlement,
    ) {
        let link = self.widowed.as_ref().unwrap_or(link);
        // A record that can't be deleted is the one that a person finds.
        let is_there = |side: &Side| link.keys[*side].is_some();
        let source = [side.other(), side].into_iter().find(is_there);
        if let Some(side) = source
            && let Some(key) = link.keys[side].clone()
        {
            out.findings.push(Finding {
                pair: self.pair,
                side,
                key,
                code,
                detail,
            });
        }
    }

    /// A write of ours gave the record another key: a finding of the former one is no longer its own.
    fn resolve_former(&self, side: Side, key: &Key, out: &mut Settlement) {
        let former = self.planned[side].as_ref().map(|(former, _)| former);
        let moved = former.filter(|former| *former != key);
        let finding = moved.map(|former| (side, former.clone()));
        if let Some((side, key)) = finding.filter(|finding| self.findings.contains(finding)) {
            out.resolved.push((self.pair, side, key));
        }
    }

    fn resolve_findings(&self, out: &mut Settlement) {
        let lasts = |finding: &&(Side, Key)| self.lasting.contains(finding);
        let over = self.findings.iter().filter(|finding| !lasts(finding));
        let findings = over.cloned();
        out.resolved
            .extend(findings.map(|(side, key)| (self.pair, side, key)));
    }

    fn applied(&self, step: &PendingStep, link: &Link, wrote: Wrote) -> Applied {
        let side = step.side;
        let planned = self.planned[side].as_ref().map(|(key, _)| key);
        let former = planned.filter(|key| Some(*key) != link.keys[side].as_ref());
        Applied {
            pair: self.pair,
            side,
            write: step.write,
            why: self.why[side],
            batch: link.written[side],
            keys: link.keys.clone(),
            former_key: former.filter(|_| step.write == Write::Update).cloned(),
            fields: step.fields.clone(),
            values: wrote.values,
            print: wrote.print,
            source_time: self.times[side.other()],
        }
    }

    /// The values that a step of the case replaced and left.
    fn values(&self, step: &PendingStep, row: &Row, before: &Before) -> Values {
        match step.write {
            Write::Create if self.why[step.side] == Why::Copy => Values::Copied,
            write => Values::of(write, &step.fields, row, before),
        }
    }
}

/// A case that can't be planned: its finding, and a deletion that can't be carried over with it.
pub(super) fn settle_problem(
    open: &Open,
    (side, code): (Side, FindingCode),
    seen: BySide<Place>,
    out: &mut Settlement,
) {
    if let Some(key) = open.case.keys[side].clone() {
        out.findings
            .push(Finding::of((open.case.pair, side, key), code));
    }
    settle_waiting(open, seen, out);
}

/// Makes a deletion durable that is not carried over yet.
pub(super) fn settle_widowed(open: &Open, seen: BySide<Place>, out: &mut Settlement) {
    if let Some(widowed) = open.widowed_link() {
        let decided = Decided::of(widowed.clone(), LinkFate::Keep);
        PendingCase::new(open, decided, seen).put_widowed(widowed, out);
    }
}

/// Numbers the steps of a round's cases, side by side, in an order that foreign keys allow:
/// creates (parents first), updates, deletes (children first).
pub(super) fn number_steps(
    cases: &mut [PendingCase],
    planned: Vec<(usize, Side, StepKind, Vec<usize>)>,
    ranks: &[u32],
) -> BySide<Vec<Step>> {
    let mut steps: BySide<Vec<Step>> = BySide::default();
    let mut ordered = planned;
    ordered.sort_by_key(|(case, _, kind, _)| order(kind, ranks[cases[*case].pair.0 as usize]));
    for (case, side, kind, fields) in ordered {
        let write = write_of(&kind);
        let index = steps[side].len() as u32;
        let pair = cases[case].pair;
        cases[case].steps.push(PendingStep {
            side,
            index,
            write,
            fields,
        });
        steps[side].push(Step { pair, kind });
    }
    steps
}

/// Where a step comes in its batch.
pub(super) fn order(kind: &StepKind, rank: u32) -> (u8, i64) {
    let rank = i64::from(rank);
    match kind {
        StepKind::Create { .. } => (0, rank),
        StepKind::Update { .. } => (1, rank),
        StepKind::Delete { .. } => (2, -rank),
    }
}

pub(super) fn write_of(kind: &StepKind) -> Write {
    match kind {
        StepKind::Create { .. } => Write::Create,
        StepKind::Update { .. } => Write::Update,
        StepKind::Delete { .. } => Write::Delete,
    }
}

impl Round {
    pub fn has_steps(&self) -> bool {
        self.batches.left.is_some() || self.batches.right.is_some()
    }

    /// The pair and side of each record that it deletes.
    pub fn deletes(&self) -> impl Iterator<Item = (PairId, Side)> + '_ {
        self.cases.iter().flat_map(|case| {
            let deletes = case.steps.iter().filter(|s| s.write == Write::Delete);
            deletes.map(|step| (case.pair, step.side))
        })
    }

    /// True when a crash would lose the record of a value that the steps overwrite.
    pub(super) fn has_conflicts(&self) -> bool {
        self.cases.iter().any(|case| !case.conflicts.is_empty())
    }

    /// True when a crash would leave linked records that the next scan takes for something else: it
    /// looks for them by the keys of their links.
    pub(super) fn writes_linked(&self) -> bool {
        let mut cases = self.cases.iter();
        cases.any(|case| case.link.id != LinkId(0) && !case.steps.is_empty())
    }

    /// Steps of case `case` as (side, index in that side's batch).
    pub(super) fn steps_of(&self, case: usize) -> impl Iterator<Item = (Side, usize)> + '_ {
        self.cases[case]
            .steps
            .iter()
            .map(|step| (step.side, step.index as usize))
    }

    /// The settlement of a round whose outcomes are known. Returns what it holds of each case.
    pub(super) fn settle(
        &self,
        outcomes: &BySide<Vec<Outcome>>,
        prints: &Fingerprinter,
        out: &mut Settlement,
    ) -> Vec<Settled> {
        let mut settled = Vec::with_capacity(self.cases.len());
        for case in &self.cases {
            let results = case
                .steps
                .iter()
                .map(|step| match &outcomes[step.side][step.index as usize] {
                    Outcome::Written(stored, before) => {
                        let values = case.values(step, &stored.row, before);
                        let key = stored.key.clone();
                        let row = prints.row(&stored.row);
                        let altered = stored.altered.clone();
                        StepResult::written(key, row, values, prints).with_altered(altered)
                    }
                    Outcome::Deleted(before) => {
                        StepResult::deleted(case.values(step, &Row::new(), before))
                    }
                    Outcome::Rejected { code, detail } => StepResult::Rejected {
                        code: *code,
                        detail: detail.clone(),
                    },
                    Outcome::Stale { .. } | Outcome::Missing { .. } | Outcome::Exists { .. } => {
                        StepResult::Again
                    }
                })
                .collect();
            let findings = out.findings.len();
            let link = case.settle(&self.batches, results, out);
            let told = &out.findings[findings..];
            let slots = |only: Option<FindingCode>| {
                let of = told
                    .iter()
                    .filter(|f| only.is_none_or(|code| f.code == code));
                of.map(|f| (f.side, f.key.clone())).collect()
            };
            settled.push(Settled {
                link,
                findings: slots(None),
                altered: slots(Some(FindingCode::ValueAltered)),
            });
        }
        settled
    }

    /// The settlement of a round of edits; what became of each, in the order asked.
    pub(super) fn settle_edits(
        &self,
        outcomes: &BySide<Vec<Outcome>>,
        prints: &Fingerprinter,
        out: &mut Settlement,
    ) -> Vec<Edited> {
        let edits = self.edits.iter();
        edits
            .map(|edit| edit.settle(&self.batches, outcomes, prints, out))
            .collect()
    }

    /// The settlement of a round that a crash interrupted. `None`: that side's batch was never
    /// committed and never will be.
    pub(super) fn settle_recovered(
        &self,
        recovered: &Answers,
        prints: &Fingerprinter,
        out: &mut Settlement,
    ) {
        for case in &self.cases {
            let results: Vec<StepResult> = case
                .steps
                .iter()
                .map(|step| {
                    let found = recovered[step.side].as_ref();
                    match found.and_then(|steps| steps.get(step.index as usize)) {
                        Some(Recovered::Written { key, fingerprints }) => {
                            let (key, row) = (key.clone(), fingerprints.clone());
                            StepResult::written(key, row, Values::Interrupted, prints)
                        }
                        Some(Recovered::Deleted) => StepResult::deleted(Values::Interrupted),
                        Some(Recovered::NotDone | Recovered::Unknown) | None => StepResult::Again,
                    }
                })
                .collect();
            if case.steps.is_empty() {
                // It is derived again from the same changes.
                continue;
            }
            if !case.settle_unsure_deletion(recovered, out) {
                case.settle(&self.batches, results, out);
            }
            case.keep_conflicts(recovered, out);
        }
        for edit in &self.edits {
            edit.settle_recovered(&self.batches, recovered, prints, out);
        }
        out.round_done = true;
    }
}

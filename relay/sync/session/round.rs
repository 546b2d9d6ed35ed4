//! A round: the steps sent to both sides together, and what their outcomes let us remember.
//!
//! A [`Round`] holds fingerprints and keys (and the losing values of conflicts), so that it can be
//! committed before its steps are sent: after a crash, the sides' own progress records plus the
//! round give the same settlement as if nothing had happened.

use serde::{Deserialize, Serialize};

use super::claims;
use super::settlement::{Applied, Gone, Settlement};
use crate::baseline::{Fingerprint, Fingerprinter};
use crate::decide::Write;
use crate::model::{
    BatchId, BySide, Conflict, Finding, FindingCode, Key, Link, LinkId, Outcome, PairId, Recovered,
    Side, Step, StepKind,
};
use crate::plan::{Case, Decided, LinkFate};

/// What was intended: committed before it is sent, removed by the settlement that completes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    pub batches: BySide<Option<BatchId>>,
    pub cases: Vec<PendingCase>,
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
    /// The keys under which the link is stored now.
    stored_keys: BySide<Option<Key>>,
    observed: BySide<Vec<Fingerprint>>,
    /// Offsets of the changes that were planned.
    seen: BySide<u64>,
    times: BySide<Option<i64>>,
    conflicts: Vec<Conflict>,
    has_finding: BySide<bool>,
    steps: Vec<PendingStep>,
}

/// One step of a case: number `index` of its side's batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PendingStep {
    side: Side,
    index: u32,
    write: Write,
    fields: Vec<usize>,
}

/// What came of a step, as far as remembering it goes.
enum StepResult {
    Written {
        key: Key,
        prints: Vec<Fingerprint>,
    },
    Deleted,
    Rejected {
        code: FindingCode,
        detail: String,
    },
    /// Not done; the case is planned again.
    Again,
}

impl PendingCase {
    pub(super) fn new(case: &Case, decided: Decided, has_finding: BySide<bool>) -> PendingCase {
        let stored_keys = match &case.link {
            Some(link) => link.keys.clone(),
            None => BySide::default(),
        };
        PendingCase {
            pair: case.pair,
            drops_link: decided.fate == LinkFate::Drop,
            keeps_link: decided.fate == LinkFate::Keep,
            link: decided.link,
            link_changed: decided.link_changed,
            stored_keys,
            observed: decided.observed,
            seen: BySide::from_fn(|side| case.seen[side].offset()),
            times: BySide::from_fn(|side| case.seen[side].time()),
            conflicts: decided.conflicts,
            has_finding,
            steps: Vec::new(),
        }
    }

    /// While existing data is copied, findings are looked after by the next retry.
    pub(super) fn forget_finding(&mut self) {
        self.has_finding = BySide::default();
    }

    /// Leaves nothing to settle: the case is planned again in a later round.
    pub(super) fn forget(&mut self) {
        self.link_changed = false;
        self.conflicts.clear();
        self.has_finding = BySide::default();
    }

    /// True when nothing needs to be remembered and nothing written.
    pub(super) fn is_idle(&self) -> bool {
        self.steps.is_empty()
            && !self.link_changed
            && self.conflicts.is_empty()
            && !self.has_finding.left
            && !self.has_finding.right
    }

    fn settle(
        &self,
        batches: &BySide<Option<BatchId>>,
        results: Vec<StepResult>,
        out: &mut Settlement,
    ) {
        let mut link = self.link.clone();
        let mut done = BySide::new(false, false);
        let mut all_done = true;
        let mut create_failed = false;
        let mut rejected = false;
        for (step, result) in self.steps.iter().zip(results) {
            let side = step.side;
            let batch = batches[side].unwrap_or_default();
            match result {
                StepResult::Written { key, prints } => {
                    for &field in &step.fields {
                        link.baseline[side][field] = prints[field];
                        let other = side.other();
                        link.baseline[other][field] = self.observed[other][field];
                    }
                    link.keys[side] = Some(key);
                    link.written[side] = batch;
                    done[side] = true;
                }
                StepResult::Deleted => {
                    link.written[side] = batch;
                    done[side] = true;
                }
                StepResult::Rejected { code, detail } => {
                    self.reject(side, code, detail, out);
                    rejected = true;
                    all_done = false;
                    create_failed |= step.write == Write::Create;
                }
                StepResult::Again => {
                    all_done = false;
                    create_failed |= step.write == Write::Create;
                }
            }
            if done[side] {
                out.applied.push(self.applied(step, &link));
            }
        }
        self.settle_conflicts(&done, out);
        if all_done {
            for side in Side::BOTH {
                link.seen[side] = link.seen[side].max(self.seen[side]);
            }
        }
        if !rejected && all_done {
            self.resolve_findings(&link, out);
        }
        let wrote = done.left || done.right;
        if wrote && !all_done && !rejected {
            self.leave_unfinished(&done, &link, out);
        }
        if create_failed || !(wrote || self.link_changed) {
            return;
        }
        self.settle_link(link, all_done, out);
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

    fn settle_link(&self, link: Link, all_done: bool, out: &mut Settlement) {
        if self.drops_link {
            if all_done {
                self.leave_traces(&link, &BySide::default(), out);
                if link.id != LinkId(0) {
                    out.dropped.push((self.pair, link.id));
                }
            }
            return;
        }
        if self.keeps_link {
            self.leave_traces(&link, &link.keys, out);
            out.links.push((self.pair, link));
        }
    }

    /// Keys that the link no longer has leave a trace, so that replays about them are recognised.
    fn leave_traces(&self, link: &Link, kept: &BySide<Option<Key>>, out: &mut Settlement) {
        for side in Side::BOTH {
            let former = match (&self.stored_keys[side], &link.keys[side]) {
                (Some(stored), _) => Some(stored),
                (None, now) => now.as_ref(),
            };
            if let Some(key) = former
                && kept[side].as_ref() != Some(key)
            {
                out.gone.push(Gone {
                    pair: self.pair,
                    side,
                    key: key.clone(),
                    seen: link.seen[side].max(self.seen[side]),
                    written: link.written[side],
                });
            }
        }
    }

    fn settle_conflicts(&self, done: &BySide<bool>, out: &mut Settlement) {
        for conflict in &self.conflicts {
            let loser = conflict.winner.other();
            let has_step = self.steps.iter().any(|step| step.side == loser);
            if done[loser] || !has_step {
                out.conflicts.push(conflict.clone());
            }
        }
    }

    fn reject(&self, side: Side, code: FindingCode, detail: String, out: &mut Settlement) {
        let source = side.other();
        if let Some(key) = self.link.keys[source].clone() {
            out.findings.push(Finding {
                pair: self.pair,
                side: source,
                key,
                code,
                detail,
            });
        }
    }

    fn resolve_findings(&self, link: &Link, out: &mut Settlement) {
        for side in Side::BOTH {
            let key = link.keys[side].as_ref().or(self.stored_keys[side].as_ref());
            if let (true, Some(key)) = (self.has_finding[side], key) {
                out.resolved.push((self.pair, side, key.clone()));
            }
        }
    }

    fn applied(&self, step: &PendingStep, link: &Link) -> Applied {
        Applied {
            pair: self.pair,
            side: step.side,
            write: step.write,
            keys: link.keys.clone(),
            fields: step.fields.clone(),
            source_time: self.times[step.side.other()],
        }
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
    ordered.sort_by_key(|(case, _, kind, _)| {
        let rank = i64::from(ranks[cases[*case].pair.0 as usize]);
        match kind {
            StepKind::Create { .. } => (0, rank),
            StepKind::Update { .. } => (1, rank),
            StepKind::Delete { .. } => (2, -rank),
        }
    });
    for (case, side, kind, fields) in ordered {
        let write = match kind {
            StepKind::Create { .. } => Write::Create,
            StepKind::Update { .. } => Write::Update,
            StepKind::Delete { .. } => Write::Delete,
        };
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

impl Round {
    pub fn has_steps(&self) -> bool {
        self.batches.left.is_some() || self.batches.right.is_some()
    }

    /// True when a crash would lose the record of a value that the steps overwrite.
    pub(super) fn has_conflicts(&self) -> bool {
        self.cases.iter().any(|case| !case.conflicts.is_empty())
    }

    pub(super) fn has_deletes(&self) -> bool {
        let mut steps = self.cases.iter().flat_map(|case| &case.steps);
        steps.any(|step| step.write == Write::Delete)
    }

    /// Steps of case `case` as (side, index in that side's batch).
    pub(super) fn steps_of(&self, case: usize) -> impl Iterator<Item = (Side, usize)> + '_ {
        self.cases[case]
            .steps
            .iter()
            .map(|step| (step.side, step.index as usize))
    }

    pub(super) fn is_delete(&self, case: usize, side: Side) -> bool {
        self.cases[case]
            .steps
            .iter()
            .any(|step| step.side == side && step.write == Write::Delete)
    }

    /// Keys that links get which they did not have: found by match key, moved, or given by steps; `key_of` gives the one of a step (side and index).
    pub(super) fn new_keys(
        &self,
        key_of: impl Fn(Side, usize) -> Option<Key>,
    ) -> Vec<(Side, PairId, Key)> {
        let mut keys = Vec::new();
        for case in &self.cases {
            for side in Side::BOTH {
                if let (true, Some(key)) = (case.keeps_link, &case.link.keys[side])
                    && case.stored_keys[side].as_ref() != Some(key)
                    && case.link_changed
                {
                    keys.push((side, case.pair, key.clone()));
                }
            }
            for step in &case.steps {
                if let Some(key) = key_of(step.side, step.index as usize)
                    && claims::is_new_key(&key, &case.link, step.side)
                {
                    keys.push((step.side, case.pair, key));
                }
            }
        }
        keys
    }

    /// The settlement of a round whose outcomes are known.
    pub(super) fn settle(
        &self,
        outcomes: &BySide<Vec<Outcome>>,
        prints: &Fingerprinter,
        out: &mut Settlement,
    ) {
        for case in &self.cases {
            let results = case
                .steps
                .iter()
                .map(|step| match &outcomes[step.side][step.index as usize] {
                    Outcome::Written(stored) => StepResult::Written {
                        key: stored.key.clone(),
                        prints: prints.row(&stored.row),
                    },
                    Outcome::Deleted => StepResult::Deleted,
                    // The record is gone as it should be; its own change tells the same later.
                    Outcome::Missing { .. } if step.write == Write::Delete => StepResult::Deleted,
                    Outcome::Rejected { code, detail } => StepResult::Rejected {
                        code: *code,
                        detail: detail.clone(),
                    },
                    Outcome::Stale { .. } | Outcome::Missing { .. } | Outcome::Exists { .. } => {
                        StepResult::Again
                    }
                })
                .collect();
            case.settle(&self.batches, results, out);
        }
        out.round_done = true;
    }

    /// The settlement of a round that a crash interrupted. `None`: that side's batch was never
    /// committed and never will be.
    pub(super) fn settle_recovered(
        &self,
        recovered: &BySide<Option<Vec<Recovered>>>,
        out: &mut Settlement,
    ) {
        for case in &self.cases {
            let results: Vec<StepResult> = case
                .steps
                .iter()
                .map(|step| {
                    let found = recovered[step.side].as_ref();
                    match found.and_then(|steps| steps.get(step.index as usize)) {
                        Some(Recovered::Written { key, fingerprints }) => StepResult::Written {
                            key: key.clone(),
                            prints: fingerprints.clone(),
                        },
                        Some(Recovered::Deleted) => StepResult::Deleted,
                        Some(Recovered::NotDone) | None => StepResult::Again,
                    }
                })
                .collect();
            if case.steps.is_empty() {
                // It is derived again from the same changes.
                continue;
            }
            case.settle(&self.batches, results, out);
        }
        out.round_done = true;
    }
}

//! Edits: writes that a person asks the sync for, such as an undo.
//!
//! An edit is a step like any other: intended, in a batch of ours, guarded by what the person saw of
//! the record, recovered after a crash and in the history. But nothing of it is agreed: no link and no
//! baseline moves. So the side's own history brings it back as what it is, news of that side, and it
//! is carried over, merged or refused by the ordinary rules. The driver hands edits in, and is told
//! what became of each.

use serde::{Deserialize, Serialize};

use super::book::Slot;
use super::round;
use super::settlement::{Applied, Gone, Settlement, Values, Why};
use super::{Command, Current, Session, State};
use crate::baseline::{Fingerprint, Fingerprinter};
use crate::decide::Write;
use crate::model::{
    BatchId, BySide, FindingCode, Key, Outcome, PairId, Recovered, Row, Side, Step, StepKind, Trace,
};

/// One write that a person asks for. Its step says what the record must still be.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub side: Side,
    pub step: Step,
    /// The keys of its record as the history names it.
    pub keys: BySide<Option<Key>>,
    pub why: Why,
}

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edited {
    Done,
    /// The record is no longer what the person saw.
    Changed,
    /// There is no such record.
    Missing,
    /// A record with the match key of the one to be created is there already.
    Exists,
    /// The side refuses it.
    Refused {
        code: FindingCode,
        detail: String,
    },
}

/// An edit of a round: number `index` of its side's batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingEdit {
    pair: PairId,
    pub(super) side: Side,
    index: u32,
    write: Write,
    why: Why,
    keys: BySide<Option<Key>>,
    /// The key under which its record was written; `None` for a create.
    #[serde(default)]
    target: Option<Key>,
    fields: Vec<usize>,
}

impl Session {
    /// Starts the round of the next edits. True if there are any.
    pub(super) fn start_edits(&mut self) -> bool {
        let Some(edits) = self.edits.pop_front() else {
            return false;
        };
        let mut current = Current {
            recorded: true,
            ..Current::default()
        };
        // In the order asked, so that the answer is, too.
        let mut pending: Vec<Option<PendingEdit>> = vec![None; edits.len()];
        let mut ordered: Vec<(usize, Edit)> = edits.into_iter().enumerate().collect();
        let ranks = &self.config.ranks;
        ordered.sort_by_key(|(_, edit)| {
            round::order(&edit.step.kind, ranks[edit.step.pair.0 as usize])
        });
        for (place, edit) in ordered {
            let steps = &mut current.steps[edit.side];
            pending[place] = Some(PendingEdit {
                pair: edit.step.pair,
                side: edit.side,
                index: steps.len() as u32,
                write: round::write_of(&edit.step.kind),
                why: edit.why,
                keys: edit.keys,
                target: target_of(&edit.step.kind),
                fields: fields_of(&edit.step.kind),
            });
            steps.push(edit.step);
        }
        current.round.edits = pending.into_iter().flatten().collect();
        for side in Side::BOTH {
            if !current.steps[side].is_empty() {
                current.round.batches[side] = Some(self.next_batch());
            }
        }
        self.current = current;
        if !self.current.round.has_steps() {
            let edited = Vec::new();
            self.commands.push_back(Command::Edited { edited });
            return self.start_edits();
        }
        self.state = State::Intending;
        let round = Box::new(self.current.round.clone());
        self.commands.push_back(Command::Intend(round));
        true
    }
}

fn fields_of(kind: &StepKind) -> Vec<usize> {
    match kind {
        StepKind::Create { set, .. } | StepKind::Update { set, .. } => {
            set.iter().map(|(field, _)| *field).collect()
        }
        StepKind::Delete { .. } => Vec::new(),
    }
}

fn target_of(kind: &StepKind) -> Option<Key> {
    match kind {
        StepKind::Create { .. } => None,
        StepKind::Update { key, .. } | StepKind::Delete { key, .. } => Some(key.clone()),
    }
}

impl PendingEdit {
    /// The key that it gave to a record.
    pub(super) fn given(&self, outcomes: &BySide<Vec<Outcome>>) -> Option<Slot> {
        let Outcome::Written(stored, _) = &outcomes[self.side][self.index as usize] else {
            return None;
        };
        self.gives(&stored.key)
            .then(|| (self.side, self.pair, stored.key.clone()))
    }

    /// True when it gave its record this key.
    fn gives(&self, key: &Key) -> bool {
        let has_moved = self.target.as_ref().is_some_and(|target| target != key);
        self.write == Write::Create || has_moved
    }

    /// Nothing is linked, so that the store must be told who has the key from now on.
    fn leave_trace(&self, batch: BatchId, key: &Key, out: &mut Settlement) {
        if self.gives(key) {
            out.gone.push(Gone {
                pair: self.pair,
                side: self.side,
                key: key.clone(),
                trace: Trace::asked(batch),
            });
        }
    }

    pub(super) fn settle(
        &self,
        batches: &BySide<Option<BatchId>>,
        outcomes: &BySide<Vec<Outcome>>,
        prints: &Fingerprinter,
        out: &mut Settlement,
    ) -> Edited {
        let batch = batches[self.side].unwrap_or_default();
        match &outcomes[self.side][self.index as usize] {
            Outcome::Written(stored, before) => {
                let print = prints.record(&prints.row(&stored.row));
                let values = Values::of(self.write, &self.fields, &stored.row, before);
                self.leave_trace(batch, &stored.key, out);
                let key = Some(stored.key.clone());
                out.applied.push(self.applied(batch, key, values, print));
                Edited::Done
            }
            Outcome::Deleted(before) => {
                let values = Values::of(self.write, &self.fields, &Row::new(), before);
                let key = self.keys[self.side].clone();
                out.applied
                    .push(self.applied(batch, key, values, Fingerprint::UNKNOWN));
                Edited::Done
            }
            Outcome::Stale { .. } => Edited::Changed,
            Outcome::Missing { .. } => Edited::Missing,
            Outcome::Exists { .. } => Edited::Exists,
            Outcome::Rejected { code, detail } => Edited::Refused {
                code: *code,
                detail: detail.clone(),
            },
        }
    }

    /// After a crash: what was written stays written, and nobody waits for the answer any more.
    pub(super) fn settle_recovered(
        &self,
        batches: &BySide<Option<BatchId>>,
        recovered: &BySide<Option<Vec<Recovered>>>,
        prints: &Fingerprinter,
        out: &mut Settlement,
    ) {
        let batch = batches[self.side].unwrap_or_default();
        let steps = recovered[self.side].as_ref();
        let (key, print) = match steps.and_then(|steps| steps.get(self.index as usize)) {
            Some(Recovered::Written { key, fingerprints }) => {
                self.leave_trace(batch, key, out);
                (Some(key.clone()), prints.record(fingerprints))
            }
            Some(Recovered::Deleted) => (self.keys[self.side].clone(), Fingerprint::UNKNOWN),
            Some(Recovered::NotDone | Recovered::Unknown) | None => return,
        };
        let values = Values::Interrupted;
        out.applied.push(self.applied(batch, key, values, print));
    }

    fn applied(
        &self,
        batch: BatchId,
        key: Option<Key>,
        values: Values,
        print: Fingerprint,
    ) -> Applied {
        let mut keys = self.keys.clone();
        let former_key = std::mem::replace(&mut keys[self.side], key);
        let has_moved = self.write == Write::Update && former_key != keys[self.side];
        Applied {
            pair: self.pair,
            side: self.side,
            write: self.write,
            why: self.why,
            batch,
            former_key: former_key.filter(|_| has_moved),
            keys,
            fields: self.fields.clone(),
            values,
            print,
            source_time: None,
        }
    }
}

//! A side that keeps no record of our writes: what became of a batch whose answer was lost, nobody
//! can tell.

use super::{Answers, PendingCase, PendingStep, Round};
use crate::decide::Write;
use crate::model::{Finding, FindingCode, Recovered, Side};
use crate::session::settlement::{Noted, Settlement};

impl PendingStep {
    fn is_unknown(&self, recovered: &Answers) -> bool {
        let steps = recovered[self.side].as_ref();
        steps.and_then(|steps| steps.get(self.index as usize)) == Some(&Recovered::Unknown)
    }
}

impl PendingCase {
    /// A deletion that may have been carried over: what has the deleted record's key by now is another
    /// record, and not what the other side's deletion, which may be ours, is about. True if it is one.
    pub(super) fn settle_unsure_deletion(&self, recovered: &Answers, out: &mut Settlement) -> bool {
        let mut steps = self.steps.iter();
        let is_unsure =
            |step: &&PendingStep| step.write == Write::Delete && step.is_unknown(recovered);
        let (Some(step), Some(widowed)) = (steps.find(is_unsure), &self.widowed) else {
            return false;
        };
        let number = self.put_widowed(widowed.clone(), out);
        let key = out.links[number].1.keys[step.side].clone();
        out.findings.extend(key.map(|key| {
            let record = (self.pair, step.side, key);
            Finding::of(record, FindingCode::ChangedWhileCopied)
        }));
        true
    }

    /// A value that may have been overwritten is in the conflict record, even if it was not.
    pub(super) fn keep_conflicts(&self, recovered: &Answers, out: &mut Settlement) {
        for conflict in &self.conflicts {
            let loser = conflict.winner.map(Side::other);
            let mut steps = self.steps.iter();
            if steps.any(|step| Some(step.side) == loser && step.is_unknown(recovered)) {
                out.conflicts.push(Noted {
                    conflict: conflict.clone(),
                    link: None,
                });
            }
        }
    }
}

impl Round {
    /// Of the batch for `side`.
    pub(in crate::session) fn step_count(&self, side: Side) -> usize {
        let steps = self.cases.iter().flat_map(|case| &case.steps);
        let sides = steps.map(|step| step.side);
        let sides = sides.chain(self.edits.iter().map(|edit| edit.side));
        sides.filter(|of| *of == side).count()
    }
}

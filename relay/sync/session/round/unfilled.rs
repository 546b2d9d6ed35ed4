//! What a create leaves empty: references whose record has no partner yet, without which a record may have
//! to wait, and fields that do not flow to its side.

use super::{PendingCase, PendingStep, ReadBack, settle_widowed};
use crate::baseline::Fingerprint;
use crate::decide::Write;
use crate::model::{BySide, Finding, FindingCode, Link, Place};
use crate::plan::Waits;
use crate::policy::PairPolicy;
use crate::session::open::Open;
use crate::session::settlement::Settlement;

impl PendingCase {
    /// Notes the references that wait.
    pub(in crate::session) fn wait(&mut self, open: &Open, waits: &[Waits], policy: &PairPolicy) {
        self.unfilled = waits.iter().map(|waits| waits.field).collect();
        self.missing = waits.iter().find_map(|waits| {
            let key = open.case.keys[waits.side].clone()?;
            let slot = (self.pair, waits.side, key);
            let field = &policy.fields[waits.field];
            let name = BySide::new(&field.left, &field.right)[waits.side];
            let mut finding = Finding::of(slot, FindingCode::LinkedRecordMissing);
            finding.detail = format!("`{name}` names a record without a counterpart");
            Some(finding)
        });
    }

    /// The finding of a reference that waits, under the key that its record has by now.
    pub(super) fn missing_in(&self, link: &Link) -> Option<Finding> {
        let mut finding = self.missing.clone()?;
        if let Some(key) = &link.keys[finding.side] {
            finding.key = key.clone();
        }
        Some(finding)
    }

    /// What a create left empty is no edit of the side that it wrote.
    pub(super) fn leave_unfilled(
        &self,
        link: &mut Link,
        step: &PendingStep,
        prints: &[Fingerprint],
    ) {
        if step.write == Write::Create {
            for &field in &self.unfilled {
                link.baseline[step.side][field] = prints[field];
            }
        }
    }

    /// A create sets no field that does not flow to its side. What it left empty there is no value of that
    /// side, and does not flow back over what the other one has.
    pub(super) fn leave_empty(&self, link: &mut Link, step: &PendingStep, read: &ReadBack) {
        if step.write != Write::Create {
            return;
        }
        let (side, other) = (step.side, step.side.other());
        for (field, &print) in read.prints.iter().enumerate() {
            let is_left_out = !step.fields.contains(&field) && !self.unfilled.contains(&field);
            let there = self.observed[other][field];
            if is_left_out && print == read.null && there.is_known() {
                link.baseline[side][field] = print;
                link.baseline[other][field] = there;
            }
        }
    }
}

/// A case that waits as a whole, with one finding, whichever of its keys others named.
pub(in crate::session) fn settle_waiting(open: &Open, seen: BySide<Place>, out: &mut Settlement) {
    let pair = open.case.pair;
    let former = open.findings.iter().cloned();
    out.resolved
        .extend(former.map(|(side, key)| (pair, side, key)));
    settle_widowed(open, seen, out);
}

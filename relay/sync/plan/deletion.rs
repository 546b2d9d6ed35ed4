//! What becomes of a record whose counterpart is gone.

use super::{LinkFate, PlannedStep, Planner, Verdict};
use crate::baseline::Fingerprint;
use crate::model::{BySide, Conflict, Link, Side, StepKind};
use crate::policy::{DeleteConflict, DeletePolicy, Drift};
use crate::value::Value;

impl Planner<'_> {
    /// The record is gone on `side` and not known to be gone on the other one.
    pub(super) fn deleted_on(&self, side: Side, link: &Link) -> Verdict {
        let other = side.other();
        if !self.policy.records_flow_to(other) {
            return match self.policy.drift {
                Drift::Overwrite => self.recreate_on(side, link),
                Drift::Ignore => self.detach(side, link),
            };
        }
        let archive = match self.policy.deletes {
            DeletePolicy::Propagate => None,
            DeletePolicy::Ignore => return self.detach(side, link),
            DeletePolicy::Archive => match &self.policy.archive[other] {
                Some(mark) => Some(mark),
                None => return self.detach(side, link),
            },
        };
        if self.expect(other, link).contains(&Fingerprint::UNKNOWN) {
            // A field that was never agreed on: an edit of it must be seen before it is deleted.
            return Verdict::NeedRead(other);
        }
        let edited = self.edited_fields(other, link);
        let lost = match self.policy.conflict_delete {
            _ if edited.is_empty() => Vec::new(),
            DeleteConflict::Keep => return self.recreate_on(side, link),
            DeleteConflict::Ask if self.has_mark(other, link, archive) => {
                return self.detach(side, link);
            }
            DeleteConflict::Ask => return self.widow(side, link),
            DeleteConflict::Delete => {
                let conflict = |&field| self.conflict(Some(field), Some(side));
                edited.iter().map(conflict).collect()
            }
        };
        match archive {
            Some(_) if lost.is_empty() && self.has_mark(other, link, archive) => {
                self.detach(side, link)
            }
            Some(mark) => self.archive_on(other, link, mark, lost),
            None => self.delete_on(other, link, lost),
        }
    }

    /// True when the record is archived already, as by a person who was asked.
    fn has_mark(&self, side: Side, link: &Link, mark: Option<&(usize, Value)>) -> bool {
        mark.is_some_and(|(field, value)| {
            self.expect(side, link)[*field] == self.prints.value(value)
        })
    }

    /// A deletion that waits for a person's word.
    fn widow(&self, side: Side, link: &Link) -> Verdict {
        let mut link = link.clone();
        link.keys[side] = None;
        link.gone[side] = true;
        let mut decided = self.decided(link, LinkFate::Keep);
        decided.link_changed = true;
        decided.conflicts.push(self.conflict(None, None));
        Verdict::Decided(Box::new(decided))
    }

    /// Marks the record whose counterpart was deleted; from then on it is alone on purpose.
    fn archive_on(
        &self,
        side: Side,
        link: &Link,
        (field, value): &(usize, Value),
        conflicts: Vec<Conflict>,
    ) -> Verdict {
        let Some(key) = self.key(side, link) else {
            return self.changed(link.clone(), LinkFate::Drop);
        };
        let expect = self.expect(side, link);
        let mut link = link.clone();
        link.keys[side.other()] = None;
        link.gone[side.other()] = false;
        let mut decided = self.decided(link, LinkFate::Keep);
        decided.link_changed = true;
        decided.steps.push(PlannedStep {
            side,
            kind: StepKind::Update {
                key,
                set: vec![(*field, value.clone())],
                expect,
            },
            fields: vec![*field],
        });
        decided.conflicts = conflicts;
        Verdict::Decided(Box::new(decided))
    }

    pub(super) fn detach(&self, side: Side, link: &Link) -> Verdict {
        let mut link = link.clone();
        link.keys[side] = None;
        link.gone[side] = false;
        self.changed(link, LinkFate::Keep)
    }

    fn delete_on(&self, side: Side, link: &Link, conflicts: Vec<Conflict>) -> Verdict {
        let Some(key) = self.key(side, link) else {
            return self.changed(link.clone(), LinkFate::Drop);
        };
        let mut decided = self.decided(link.clone(), LinkFate::Drop);
        decided.steps.push(PlannedStep {
            side,
            kind: StepKind::Delete {
                key,
                expect: self.expect(side, link),
            },
            fields: Vec::new(),
        });
        decided.conflicts = conflicts;
        Verdict::Decided(Box::new(decided))
    }

    /// Creates the record anew on the side that lost it.
    fn recreate_on(&self, side: Side, link: &Link) -> Verdict {
        let from = side.other();
        if !self.policy.records_flow_to(side) {
            // Without its match key it could not be found again: it stays alone.
            return self.detach(side, link);
        }
        if !self.case.seen[from].is_present() || self.case.seen[from].is_partial() {
            return Verdict::NeedRead(from);
        }
        if let Some(verdict) = self.lacks_required(side) {
            return verdict;
        }
        let fields = self.policy.fields.len();
        let mut link = link.clone();
        link.keys[side] = None;
        link.gone[side] = false;
        link.baseline = BySide::from_fn(|_| vec![Fingerprint::UNKNOWN; fields]);
        let mut decided = self.decided(link, LinkFate::Keep);
        self.create_on(side, &mut decided);
        decided.conflicts.push(self.conflict(None, Some(from)));
        Verdict::Decided(Box::new(decided))
    }

    fn edited_fields(&self, side: Side, link: &Link) -> Vec<usize> {
        let observed = &self.observed;
        let null = self.prints.value(&Value::Null);
        (0..self.policy.fields.len())
            .filter(|&field| {
                let now = observed[side][field];
                let base = link.baseline[side][field];
                // Null in a field that was never agreed on is what our own create left there.
                now.is_known()
                    && now != base
                    && (base.is_known() || now != null)
                    && !self.is_unmoved_reference(side, field, link)
                    && self.policy.fields[field].direction.flows_to(side.other())
            })
            .collect()
    }

    /// True for a reference that reads otherwise and names what it named, or was never carried over.
    fn is_unmoved_reference(&self, side: Side, field: usize, link: &Link) -> bool {
        let was_unfilled = !link.baseline[side][field].is_known();
        let agreed = link.baseline[side.other()][field];
        was_unfilled && self.lack(side, field).is_some() || self.names_the_same(side, field, agreed)
    }
}

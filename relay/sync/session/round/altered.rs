//! Values that a side took without a word, and holds less of. Both sides keep what they have, as agreed; a
//! finding tells it for as long as they differ so.

use super::PendingCase;
use crate::model::{BySide, Finding, FindingCode, Link, Side};
use crate::policy::{Direction, PairPolicy};
use crate::session::open::Open;
use crate::session::settlement::Settlement;

impl PendingCase {
    /// Keeps findings of altered values where the sides still differ as agreed in some field, so that nothing
    /// is written there.
    pub(in crate::session) fn last(&mut self, open: &Open, policy: &PairPolicy) {
        let Some(link) = open.case.link.as_ref().filter(|_| !open.altered.is_empty()) else {
            return;
        };
        let mut fields = (0..policy.fields.len()).filter(|&field| {
            let is_value = policy.fields[field].direction != Direction::Neither;
            is_value && policy.reference(field).is_none()
        });
        if fields.any(|field| self.differs_as_agreed(link, field)) {
            self.lasting.clone_from(&open.altered);
        }
    }

    fn differs_as_agreed(&self, link: &Link, field: usize) -> bool {
        let seen = BySide::from_fn(|side| self.observed[side].get(field).copied());
        let is_agreed = |side: Side| {
            let seen = seen[side].filter(|print| print.is_known());
            seen.is_some() && seen.as_ref() == link.baseline[side].get(field)
        };
        Side::BOTH.into_iter().all(is_agreed) && seen.left != seen.right
    }

    /// The findings of values that the steps could not carry whole, of the records that they came from. A
    /// reference that waits comes first: it is looked after.
    pub(super) fn tell_lacks(
        &self,
        altered: Vec<(Side, String)>,
        all_done: bool,
        link: &Link,
        out: &mut Settlement,
    ) {
        for (side, detail) in altered {
            let source = side.other();
            if let Some(key) = link.keys[source].clone() {
                out.findings.push(Finding {
                    pair: self.pair,
                    side: source,
                    key,
                    code: FindingCode::ValueAltered,
                    detail,
                });
            }
        }
        if all_done {
            out.findings.extend(self.missing_in(link));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Fingerprint;
    use crate::model::{Key, LinkId, PairId};
    use crate::plan::{Case, Decided, LinkFate};
    use crate::policy::{
        ConflictPolicy, DeleteConflict, DeletePolicy, Drift, Existing, FieldPair, PairPolicy,
    };

    fn policy(direction: Direction) -> PairPolicy {
        PairPolicy {
            fields: vec![FieldPair {
                left: "a".into(),
                right: "a".into(),
                direction,
            }],
            match_key: vec![0],
            existing: Existing::Merge,
            deletes: DeletePolicy::Propagate,
            conflict: ConflictPolicy::Newest,
            conflict_delete: DeleteConflict::Keep,
            drift: Drift::Overwrite,
            once: false,
            scope: None,
            archive: BySide::default(),
            references: Vec::new(),
        }
    }

    /// Whether the finding of a record lasts whose field was agreed on as 5 and 6, and now is `seen`.
    fn lasts(seen: (u64, u64), direction: Direction) -> bool {
        let finding = (Side::Left, Key::single("1"));
        let link = Link {
            id: LinkId(7),
            keys: BySide::new(Some(finding.1.clone()), Some(Key::single("2"))),
            since: BySide::default(),
            gone: BySide::default(),
            baseline: BySide::new(vec![Fingerprint(5)], vec![Fingerprint(6)]),
            seen: BySide::default(),
            written: BySide::default(),
        };
        let mut open = Open::new(Case::of(PairId(0), link.clone()));
        open.findings.push(finding.clone());
        open.altered.push(finding.clone());
        let mut decided = Decided::of(link, LinkFate::Keep);
        decided.observed = BySide::new(vec![Fingerprint(seen.0)], vec![Fingerprint(seen.1)]);
        let mut pending = PendingCase::new(&open, decided, BySide::default());
        pending.last(&open, &policy(direction));
        let mut out = Settlement::default();
        pending.resolve_findings(&mut out);
        out.resolved.is_empty()
    }

    #[test]
    fn a_finding_lasts_while_the_sides_differ_as_they_were_agreed_to() {
        assert!(lasts((5, 6), Direction::Both));
        // News of either side is carried over, and whatever comes of it is told anew.
        assert!(!lasts((7, 6), Direction::Both));
        assert!(!lasts((5, 7), Direction::Both));
        // A side that is gone, or was not looked at, says nothing.
        assert!(!lasts((5, 0), Direction::Both));
        assert!(!lasts((5, 6), Direction::Neither));
    }
}

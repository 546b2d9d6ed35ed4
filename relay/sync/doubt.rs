//! Records that differ although each side has what the baseline says.
//!
//! Nobody should have to trust a baseline that was damaged, or moved by a defect: a verify reads both
//! sides, and what it finds to differ without a change on either side is planned as if the two had
//! never agreed on it, so that the conflict policy decides. Called for a repair, by its preview
//! ([`crate::decide`]) and by its plan ([`crate::session`]).

use crate::baseline::Fingerprint;
use crate::model::{BySide, Link, Side};
use crate::policy::{Direction, PairPolicy};

/// Forgets the baseline of fields that differ and did not change. `now` is what each side has.
pub fn doubt(link: &mut Link, now: BySide<&[Fingerprint]>, policy: &PairPolicy) {
    // What flows nowhere is each side's own.
    let flows = |field: &usize| policy.fields[*field].direction != Direction::Neither;
    for field in (0..policy.fields.len()).filter(flows) {
        let of = |side: Side| now[side].get(field).copied().unwrap_or_default();
        let is_unchanged =
            |side: Side| of(side).is_known() && of(side) == link.baseline[side][field];
        let differs = of(Side::Left) != of(Side::Right);
        if differs && Side::BOTH.into_iter().all(is_unchanged) {
            for side in Side::BOTH {
                link.baseline[side][field] = Fingerprint::UNKNOWN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BatchId, Key, LinkId};
    use crate::policy::{ConflictPolicy, DeleteConflict, DeletePolicy, Drift, Existing, FieldPair};

    fn policy() -> PairPolicy {
        let field = |direction| FieldPair {
            left: "a".into(),
            right: "a".into(),
            direction,
        };
        let mut fields = vec![field(Direction::Both); 4];
        fields.push(field(Direction::Neither));
        PairPolicy {
            fields,
            match_key: vec![0],
            existing: Existing::Merge,
            deletes: DeletePolicy::Propagate,
            conflict: ConflictPolicy::Newest,
            conflict_delete: DeleteConflict::Keep,
            drift: Drift::Overwrite,
            once: false,
            scope: Some(4),
            archive: BySide::default(),
            references: Vec::new(),
        }
    }

    #[test]
    fn only_what_differs_without_a_change_is_doubted() {
        let prints = |values: [u64; 5]| values.map(Fingerprint).to_vec();
        let mut link = Link {
            id: LinkId(1),
            keys: BySide::from_fn(|_| Some(Key::single("k"))),
            since: BySide::default(),
            gone: BySide::default(),
            baseline: BySide::new(prints([1, 2, 3, 4, 5]), prints([1, 9, 3, 9, 6])),
            seen: BySide::default(),
            written: BySide::new(BatchId::NONE, BatchId::NONE),
        };
        // Equal; damaged; edited on the left; not sent by the right; each side's own.
        let (left, right) = (prints([1, 2, 8, 4, 5]), prints([1, 9, 3, 0, 6]));
        doubt(&mut link, BySide::new(&left, &right), &policy());
        assert_eq!(link.baseline.left, prints([1, 0, 3, 4, 5]));
        assert_eq!(link.baseline.right, prints([1, 0, 3, 9, 6]));
    }
}

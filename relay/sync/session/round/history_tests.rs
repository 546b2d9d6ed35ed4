//! What history says of a write: why it was made, and what it replaced.

use super::*;
use crate::baseline::Fingerprinter;
use crate::model::{Cell, Key, LinkId};
use crate::plan::Case;
use crate::policy::{ConflictPolicy, DeleteConflict, DeletePolicy, Drift, Existing, FieldPair};
use crate::value::Value;

/// Of two fields, of which the second one flows one way.
fn policy() -> PairPolicy {
    let field = |direction| FieldPair {
        left: "a".into(),
        right: "a".into(),
        direction,
    };
    PairPolicy {
        fields: vec![field(Direction::Both), field(Direction::LeftToRight)],
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

fn row(text: &str) -> Row {
    vec![Cell::Value(Value::Text(text.into())); 2]
}

/// A case of a link, as it is planned with these conflicts.
fn pending(existing: Option<Existing>, conflicts: &[(Option<usize>, Option<Side>)]) -> PendingCase {
    let prints = Fingerprinter::new([3; 32]);
    let link = Link {
        id: LinkId(7),
        keys: BySide::new(Some(Key::single("1")), Some(Key::single("2"))),
        since: BySide::default(),
        gone: BySide::default(),
        baseline: BySide::from_fn(|_| prints.row(&row("agreed"))),
        seen: BySide::default(),
        written: BySide::default(),
    };
    let mut case = Case::of(PairId(0), link.clone());
    case.existing = existing;
    let mut decided = Decided::of(link, LinkFate::Keep);
    let conflict = |&(field, winner)| Conflict {
        pair: PairId(0),
        keys: case.keys.clone(),
        field,
        values: BySide::from_fn(|_| Cell::Unchanged),
        times: BySide::default(),
        winner,
    };
    decided.conflicts = conflicts.iter().map(conflict).collect();
    let mut pending = PendingCase::new(&Open::new(case), decided, BySide::default());
    pending.explain(&policy());
    pending
}

#[test]
fn history_says_why_each_side_was_written() {
    let why = |existing, conflicts: &[_]| pending(existing, conflicts).why;
    assert_eq!(why(None, &[]), BySide::new(Why::Change, Why::Change));
    let copied = why(Some(Existing::Merge), &[]);
    assert_eq!(copied, BySide::new(Why::Copy, Why::Copy));
    let chosen = why(None, &[(Some(0), Some(Side::Left))]);
    assert_eq!(chosen, BySide::new(Why::Change, Why::Conflict));
    let kept = why(None, &[(None, Some(Side::Right))]);
    assert_eq!(kept, BySide::new(Why::Conflict, Why::Change));
    let restored = why(None, &[(Some(1), Some(Side::Left))]);
    assert_eq!(restored, BySide::new(Why::Change, Why::Restore));
    let asked = why(None, &[(Some(0), None)]);
    assert_eq!(asked, BySide::new(Why::Change, Why::Change));
}

#[test]
fn history_keeps_the_values_of_all_writes_but_the_copy_s_creates() {
    let values = |existing, write| {
        let step = PendingStep {
            side: Side::Right,
            index: 0,
            write,
            fields: vec![0],
        };
        let before = vec![(0, Value::Text("before".into()))];
        pending(existing, &[]).values(&step, &row("after"), &before)
    };
    let copy = Some(Existing::Merge);
    assert_eq!(values(copy, Write::Create), Values::Copied);
    for (existing, write) in [(None, Write::Create), (copy, Write::Update)] {
        let Values::Kept(kept) = values(existing, write) else {
            panic!("{existing:?} {write:?}");
        };
        let was_there = kept[0].before.is_some();
        assert_eq!(was_there, write == Write::Update);
        assert_eq!(kept[0].after, Some(Value::Text("after".into())));
    }
}

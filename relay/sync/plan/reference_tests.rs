//! What is planned of references: whom they name decides, and not how they read.

use super::*;
use crate::model::LinkId;
use crate::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, FieldPair, Reference,
};
use crate::reference::KeyForm;

const SLUG: usize = 0;
const PARENT: usize = 1;
const PARENTS: PairId = PairId(1);

fn prints() -> Fingerprinter {
    Fingerprinter::new([3; 32])
}

fn policy(is_required: bool) -> PairPolicy {
    let field = |name: &str| FieldPair {
        left: name.into(),
        right: name.into(),
        direction: Direction::Both,
    };
    PairPolicy {
        fields: vec![field("slug"), field("parent")],
        match_key: vec![SLUG],
        existing: Existing::Merge,
        deletes: DeletePolicy::Propagate,
        conflict: ConflictPolicy::Left,
        conflict_delete: DeleteConflict::Keep,
        drift: Drift::Overwrite,
        once: false,
        scope: None,
        archive: BySide::default(),
        references: vec![Reference {
            field: PARENT,
            to: PARENTS,
            keys: BySide::new(KeyForm::Int, KeyForm::Text),
            required: BySide::from_fn(|_| is_required),
        }],
    }
}

/// 1 on the left is `a` on the right, 2 is `b`, and 3 has no partner; `c` is 7.
fn partners() -> Partners {
    let mut partners = Partners::default();
    let mut know = |left: &str, right: Option<&str>| {
        let (left, right) = (Key::single(left), right.map(Key::single));
        if let Some(right) = &right {
            let named = (Side::Right, PARENTS, right.clone());
            partners.known.insert(named, Some(left.clone()));
        }
        partners.known.insert((Side::Left, PARENTS, left), right);
    };
    know("1", Some("a"));
    know("2", Some("b"));
    know("3", None);
    know("7", Some("c"));
    partners
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn seen(parent: Value) -> Seen {
    Seen::Present {
        row: vec![Cell::Value(text("s")), Cell::Value(parent)],
        time: None,
    }
}

fn created(parent: Value) -> Case {
    let mut case = Case::lone(PairId(0), Side::Left, Key::single("10"), Since::default());
    case.seen.left = seen(parent);
    case
}

/// Two records that agreed on parent 1, which is `a`.
fn linked(left: Seen, right: Seen) -> Case {
    let baseline = |parent| vec![prints().value(&text("s")), prints().value(&parent)];
    let link = Link {
        id: LinkId(1),
        keys: BySide::new(Some(Key::single("10")), Some(Key::single("x"))),
        since: BySide::default(),
        gone: BySide::default(),
        baseline: BySide::new(baseline(Value::Int(1)), baseline(text("a"))),
        seen: BySide::default(),
        written: BySide::default(),
    };
    let mut case = Case::of(PairId(0), link);
    case.seen = BySide::new(left, right);
    case
}

fn decided(case: &Case) -> Decided {
    match plan(case, &policy(false), &prints(), &partners()) {
        Verdict::Decided(decided) => *decided,
        other => panic!("{other:?}"),
    }
}

fn set_of(decided: &Decided) -> Vec<(Side, Vec<(usize, Value)>)> {
    let steps = decided.steps.iter().map(|step| match &step.kind {
        StepKind::Create { set, .. } | StepKind::Update { set, .. } => (step.side, set.clone()),
        StepKind::Delete { .. } => (step.side, Vec::new()),
    });
    steps.collect()
}

#[test]
fn reference_crosses_in_the_other_sides_keys() {
    let there = decided(&linked(seen(Value::Int(2)), Seen::Unseen));
    assert_eq!(set_of(&there), [(Side::Right, vec![(PARENT, text("b"))])]);
    let back = decided(&linked(Seen::Unseen, seen(text("b"))));
    assert_eq!(set_of(&back), [(Side::Left, vec![(PARENT, Value::Int(2))])]);
}

#[test]
fn parent_with_another_key_is_remembered_and_not_written() {
    let mut moved = partners();
    let named = |key| (Side::Left, PARENTS, Key::single(key));
    moved.known.insert(named("9"), Some(Key::single("a")));
    let case = linked(seen(Value::Int(9)), Seen::Unseen);
    let verdict = plan(&case, &policy(false), &prints(), &moved);
    let Verdict::Decided(decided) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(decided.steps.is_empty() && decided.link_changed);
    let baseline = BySide::from_fn(|side| decided.link.baseline[side][PARENT]);
    let expected = BySide::new(prints().value(&Value::Int(9)), prints().value(&text("a")));
    assert_eq!(baseline, expected);
}

#[test]
fn key_that_became_another_records_is_news() {
    let mut reused = partners();
    let named = (Side::Left, PARENTS, Key::single("1"));
    reused.known.insert(named, Some(Key::single("b")));
    let case = linked(seen(Value::Int(1)), Seen::Unseen);
    let verdict = plan(&case, &policy(false), &prints(), &reused);
    let Verdict::Decided(decided) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(set_of(&decided), [(Side::Right, vec![(PARENT, text("b"))])]);
}

/// A write of ours gave the left parent 1, which is `b` by then.
fn misled(right: Seen) -> (Case, Partners) {
    let mut reused = partners();
    let mut know = |side, key, partner| {
        let named = (side, PARENTS, Key::single(key));
        reused.known.insert(named, Some(Key::single(partner)));
    };
    know(Side::Left, "1", "b");
    know(Side::Right, "a", "9");
    let mut case = linked(seen(Value::Int(1)), right);
    case.echoes.left = true;
    (case, reused)
}

#[test]
fn key_that_became_another_records_before_our_write_is_written_anew() {
    let (case, reused) = misled(Seen::Unseen);
    let verdict = plan(&case, &policy(false), &prints(), &reused);
    assert_eq!(verdict, Verdict::NeedRead(Side::Right));
    let (case, reused) = misled(seen(text("a")));
    let verdict = plan(&case, &policy(false), &prints(), &reused);
    let Verdict::Decided(decided) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(
        set_of(&decided),
        [(Side::Left, vec![(PARENT, Value::Int(9))])]
    );
    assert!(decided.conflicts.is_empty());
}

/// The report of a later write of ours leaves out the reference, as a join table's rows are told apart.
#[test]
fn reference_is_read_only_where_an_earlier_write_was_not_told() {
    let row = vec![Cell::Value(text("t")), Cell::Unchanged];
    let (mut case, reused) = misled(Seen::Unseen);
    case.seen.left = Seen::Present { row, time: None };
    let verdict = |case: &Case| plan(case, &policy(false), &prints(), &reused);
    assert_ne!(verdict(&case), Verdict::NeedRead(Side::Left));
    case.masks.left = true;
    assert_eq!(verdict(&case), Verdict::NeedRead(Side::Left));
}

#[test]
fn reference_that_can_t_be_written_anew_yet_is_remembered_as_not_carried_over() {
    let (case, mut reused) = misled(seen(text("a")));
    let named = (Side::Right, PARENTS, Key::single("a"));
    reused.known.insert(named, None);
    let verdict = plan(&case, &policy(false), &prints(), &reused);
    let Verdict::Decided(decided) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(decided.steps.is_empty() && decided.link_changed);
    assert_eq!(decided.waits.len(), 1);
    assert!(!decided.link.baseline.right[PARENT].is_known());
}

#[test]
fn both_sides_naming_partners_is_no_conflict() {
    let decided = decided(&linked(seen(Value::Int(2)), seen(text("b"))));
    assert!(decided.steps.is_empty() && decided.conflicts.is_empty());
}

#[test]
fn references_that_read_the_same_may_name_others() {
    // `2` on the right is 8 on the left, while 2 on the left is `b` on the right.
    let mut same = partners();
    let named = (Side::Right, PARENTS, Key::single("2"));
    same.known.insert(named, Some(Key::single("8")));
    let case = linked(seen(Value::Int(2)), seen(text("2")));
    let verdict = plan(&case, &policy(false), &prints(), &same);
    let Verdict::Decided(decided) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(decided.conflicts.len(), 1);
    assert_eq!(set_of(&decided), [(Side::Right, vec![(PARENT, text("b"))])]);
}

#[test]
fn record_is_made_without_a_reference_that_has_no_partner() {
    let decided = decided(&created(Value::Int(3)));
    assert_eq!(set_of(&decided), [(Side::Right, vec![(SLUG, text("s"))])]);
    let waits: Vec<(Side, usize)> = decided.waits.iter().map(|w| (w.side, w.field)).collect();
    assert_eq!(waits, [(Side::Left, PARENT)]);
    assert!(!decided.steps[0].fields.contains(&PARENT));
}

#[test]
fn record_that_needs_its_reference_waits_as_a_whole() {
    let case = created(Value::Int(3));
    let verdict = plan(&case, &policy(true), &prints(), &partners());
    let named = (Side::Left, PARENTS, Key::single("3"));
    assert!(matches!(verdict, Verdict::Waits(waits) if waits.named == named));
}

#[test]
fn changed_reference_without_a_partner_waits_and_moves_no_baseline() {
    let decided = decided(&linked(seen(Value::Int(3)), Seen::Unseen));
    assert!(decided.steps.is_empty() && !decided.link_changed);
    assert_eq!(decided.waits.len(), 1);
}

#[test]
fn nobody_is_guessed_before_the_partner_was_asked_for() {
    let case = created(Value::Int(55));
    let verdict = plan(&case, &policy(false), &prints(), &partners());
    assert_eq!(verdict, Verdict::NeedPartners);
}

#[test]
fn nothing_is_said_of_pairs_whose_links_are_being_made() {
    let mut making = partners();
    making.unmade.insert(PARENTS);
    let case = created(Value::Int(1));
    let verdict = plan(&case, &policy(false), &prints(), &making);
    let Verdict::Decided(decided) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(decided.waits.len(), 1);
}

//! What is planned of records that a filter leaves out, of marks instead of deletions, and where a
//! person is asked.

use super::*;
use crate::policy::{ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, FieldPair};

const TITLE: usize = 1;
const SCOPE: usize = 2;

fn prints() -> Fingerprinter {
    Fingerprinter::new([3; 32])
}

fn policy() -> PairPolicy {
    let field = |name: &str, direction| FieldPair {
        left: name.into(),
        right: name.into(),
        direction,
    };
    PairPolicy {
        fields: vec![
            field("slug", Direction::Both),
            field("title", Direction::Both),
            field("(filter)", Direction::Neither),
        ],
        match_key: vec![0],
        existing: Existing::Merge,
        deletes: DeletePolicy::Propagate,
        conflict: ConflictPolicy::Newest,
        conflict_delete: DeleteConflict::Keep,
        drift: Drift::Overwrite,
        once: false,
        scope: Some(SCOPE),
        archive: BySide::default(),
        references: Vec::new(),
    }
}

fn row(title: &str, inside: bool) -> Row {
    let values = [
        Value::Text("s".into()),
        Value::Text(title.into()),
        Value::Bool(inside),
    ];
    values.map(Cell::Value).into()
}

fn seen(title: &str, inside: bool) -> Seen {
    let row = row(title, inside);
    Seen::Present { row, time: None }
}

/// A link that agreed on the title, with its records inside or not.
fn link(title: &str, inside: (bool, bool)) -> Link {
    let baseline = |inside| prints().row(&row(title, inside));
    Link {
        id: LinkId(7),
        keys: BySide::new(Some(Key::single("1")), Some(Key::single("2"))),
        since: BySide::default(),
        gone: BySide::default(),
        baseline: BySide::new(baseline(inside.0), baseline(inside.1)),
        seen: BySide::default(),
        written: BySide::new(BatchId::NONE, BatchId::NONE),
    }
}

fn linked(link: Link, left: Seen, right: Seen) -> Case {
    let mut case = Case::of(PairId(0), link);
    case.seen = BySide::new(left, right);
    case
}

fn decided(case: &Case, policy: &PairPolicy) -> Decided {
    match plan(case, policy, &prints(), &Partners::default()) {
        Verdict::Decided(decided) => *decided,
        other => panic!("{other:?}"),
    }
}

fn kinds(decided: &Decided) -> Vec<(Side, &StepKind)> {
    let steps = decided.steps.iter();
    steps.map(|step| (step.side, &step.kind)).collect()
}

#[test]
fn a_record_outside_its_filter_is_created_nowhere_until_it_is_inside() {
    let mut case = Case::lone(PairId(0), Side::Left, Key::single("1"), Since::default());
    case.seen.left = seen("a", false);
    let verdict = decided(&case, &policy());
    assert_eq!((verdict.steps.len(), verdict.fate), (0, LinkFate::None));
    case.seen.left = seen("a", true);
    let verdict = decided(&case, &policy());
    let [(Side::Right, StepKind::Create { set, .. })] = kinds(&verdict)[..] else {
        panic!("it is created on the right: {verdict:?}");
    };
    assert_eq!(set.len(), 2, "what the filter says is no value to write");
}

#[test]
fn leaving_a_filter_is_no_deletion_and_carries_nothing() {
    let case = linked(link("a", (true, true)), seen("b", false), Seen::Unseen);
    let verdict = decided(&case, &policy());
    assert_eq!((verdict.steps.len(), verdict.fate), (0, LinkFate::Keep));
    assert!(verdict.link_changed, "that it rests is remembered");
    let agreed = link("a", (true, true)).baseline;
    assert_eq!(verdict.link.baseline.left[TITLE], agreed.left[TITLE]);
    assert_ne!(verdict.link.baseline.left[SCOPE], agreed.left[SCOPE]);
}

#[test]
fn edits_of_the_counterpart_wait_while_a_link_rests() {
    let case = linked(link("a", (false, true)), Seen::Unseen, seen("c", true));
    let verdict = decided(&case, &policy());
    assert!(verdict.steps.is_empty());
    let agreed = link("a", (false, true)).baseline;
    assert_eq!(verdict.link.baseline, agreed);
}

#[test]
fn what_changed_while_a_link_rested_is_merged_when_it_is_back() {
    let back = linked(link("a", (false, true)), seen("a", true), Seen::Unseen);
    let verdict = plan(&back, &policy(), &prints(), &Partners::default());
    assert_eq!(verdict, Verdict::NeedRead(Side::Right));
    let back = linked(link("a", (false, true)), seen("a", true), seen("c", true));
    let verdict = decided(&back, &policy());
    let [(Side::Left, StepKind::Update { set, .. })] = kinds(&verdict)[..] else {
        panic!("the right side's edit comes over: {verdict:?}");
    };
    assert_eq!(set[..], [(TITLE, Value::Text("c".into()))]);
}

#[test]
fn a_deletion_does_not_travel_from_or_to_what_is_outside() {
    let gone = Seen::Gone { time: None };
    for (was, right) in [
        ((false, true), Seen::Unseen),
        ((true, true), seen("a", false)),
        ((true, false), Seen::Unseen),
    ] {
        let case = linked(link("a", was), gone.clone(), right);
        let verdict = decided(&case, &policy());
        assert_eq!((verdict.steps.len(), verdict.fate), (0, LinkFate::Keep));
        assert!(verdict.link.is_detached(), "{was:?}");
    }
    let inside = linked(link("a", (true, true)), gone, Seen::Unseen);
    let verdict = decided(&inside, &policy());
    let [(Side::Right, StepKind::Delete { .. })] = kinds(&verdict)[..] else {
        panic!("it travels inside: {verdict:?}");
    };
}

#[test]
fn a_filter_that_was_not_sent_is_read() {
    let mut partial = row("b", true);
    partial[SCOPE] = Cell::Unchanged;
    let left = Seen::Present {
        row: partial,
        time: None,
    };
    let case = linked(link("a", (true, true)), left, Seen::Unseen);
    let verdict = plan(&case, &policy(), &prints(), &Partners::default());
    assert_eq!(verdict, Verdict::NeedRead(Side::Left));
}

#[test]
fn a_deletion_that_archives_sets_its_mark_and_leaves_the_record_alone() {
    let mut policy = policy();
    policy.deletes = DeletePolicy::Archive;
    policy.archive.right = Some((TITLE, Value::Text("archived".into())));
    let gone = Seen::Gone { time: None };
    let case = linked(link("a", (true, true)), gone.clone(), Seen::Unseen);
    let verdict = decided(&case, &policy);
    let [(Side::Right, StepKind::Update { set, .. })] = kinds(&verdict)[..] else {
        panic!("it is marked: {verdict:?}");
    };
    assert_eq!(set[..], [(TITLE, Value::Text("archived".into()))]);
    assert!(verdict.link.is_detached());
    // The left side has no mark: its record stays as it is.
    let case = linked(link("a", (true, true)), Seen::Unseen, gone);
    let verdict = decided(&case, &policy);
    assert!(verdict.steps.is_empty() && verdict.link.is_detached());
}

#[test]
fn a_conflict_that_is_asked_about_stops_no_other_field() {
    let mut policy = policy();
    policy.conflict = ConflictPolicy::Ask;
    let mut left = row("left", true);
    left[0] = Cell::Value(Value::Text("new-slug".into()));
    let left = Seen::Present {
        row: left,
        time: None,
    };
    let case = linked(link("a", (true, true)), left, seen("right", true));
    let verdict = decided(&case, &policy);
    let [(Side::Right, StepKind::Update { set, .. })] = kinds(&verdict)[..] else {
        panic!("the other field flows: {verdict:?}");
    };
    assert_eq!(set[..], [(0, Value::Text("new-slug".into()))]);
    let [conflict] = &verdict.conflicts[..] else {
        panic!("one conflict: {verdict:?}");
    };
    assert_eq!((conflict.field, conflict.winner), (Some(TITLE), None));
    let agreed = link("a", (true, true)).baseline.left[TITLE];
    assert_eq!(verdict.link.baseline.left[TITLE], agreed);
}

#[test]
fn a_deletion_that_is_asked_about_leaves_the_edited_record_where_it_is() {
    let mut policy = policy();
    policy.conflict_delete = DeleteConflict::Ask;
    let gone = Seen::Gone { time: None };
    let case = linked(link("a", (true, true)), gone, seen("edited", true));
    let verdict = decided(&case, &policy);
    assert_eq!((verdict.steps.len(), verdict.fate), (0, LinkFate::Keep));
    assert!(verdict.link.gone.left && verdict.link.keys.left.is_none());
    assert_eq!(verdict.conflicts.len(), 1);
}

/// A link whose records have never agreed on the title.
fn unmet() -> Link {
    let mut link = link("a", (true, true));
    for side in Side::BOTH {
        link.baseline[side][TITLE] = Fingerprint::UNKNOWN;
    }
    link
}

#[test]
fn what_was_never_agreed_on_is_an_edit_unless_it_is_empty() {
    let gone = Seen::Gone { time: None };
    let mut empty = row("", true);
    empty[TITLE] = Cell::Value(Value::Null);
    let rest = |row| Seen::Present { row, time: None };
    let verdict = decided(&linked(unmet(), gone.clone(), rest(empty)), &policy());
    let [(Side::Right, StepKind::Delete { .. })] = kinds(&verdict)[..] else {
        panic!("there is nothing to keep: {verdict:?}");
    };
    let verdict = decided(&linked(unmet(), gone, rest(row("b", true))), &policy());
    let [(Side::Left, StepKind::Create { .. })] = kinds(&verdict)[..] else {
        panic!("it is made anew: {verdict:?}");
    };
}

#[test]
fn a_record_that_is_made_anew_has_agreed_on_nothing_yet() {
    let gone = Seen::Gone { time: None };
    let case = linked(link("a", (true, true)), gone, seen("b", true));
    let verdict = decided(&case, &policy());
    let mut prints = verdict
        .link
        .baseline
        .left
        .iter()
        .chain(&verdict.link.baseline.right);
    assert!(prints.all(|print| *print == Fingerprint::UNKNOWN));
    assert_eq!(verdict.conflicts.len(), 1);
}

/// One of two records that are linked anew has agreed on its title with one that is gone.
#[test]
fn what_was_agreed_on_with_another_record_is_no_baseline_of_the_newcomer() {
    let mut half = link("a", (true, true));
    half.baseline.left[TITLE] = Fingerprint::UNKNOWN;
    let case = linked(half.clone(), seen("b", true), Seen::Unseen);
    let verdict = plan(&case, &policy(), &prints(), &Partners::default());
    assert_eq!(
        verdict,
        Verdict::NeedRead(Side::Right),
        "its value may be lost"
    );
    let verdict = decided(&linked(half, seen("b", true), seen("a", true)), &policy());
    assert_eq!(
        verdict.conflicts.len(),
        1,
        "neither has heard of the other's"
    );
}

#[test]
fn who_stays_keeps_what_it_had_agreed_on() {
    let mut case = linked(link("a", (true, true)), seen("b", true), seen("a", true));
    case.is_renewed = true;
    case.keys.left = Some(Key::single("9"));
    let verdict = decided(&case, &policy());
    let agreed = link("a", (true, true)).baseline.right[TITLE];
    assert_eq!(verdict.link.baseline.right[TITLE], agreed);
    assert!(!verdict.link.baseline.left[TITLE].is_known());
}

#[test]
fn what_was_left_out_as_unchanged_when_a_link_is_back_is_read() {
    let mut partial = row("b", true);
    partial[TITLE] = Cell::Unchanged;
    let left = Seen::Present {
        row: partial,
        time: None,
    };
    let back = linked(link("a", (false, true)), left, seen("a", true));
    let verdict = plan(&back, &policy(), &prints(), &Partners::default());
    assert_eq!(verdict, Verdict::NeedRead(Side::Left));
}

/// Two records that meet for the first time, with different titles.
fn met(existing: Existing) -> Case {
    let mut case = Case::lone(PairId(0), Side::Left, Key::single("1"), Since::default());
    case.keys.right = Some(Key::single("2"));
    case.seen = BySide::new(seen("left", true), seen("right", true));
    case.existing = Some(existing);
    case.is_scanned = true;
    case
}

#[test]
fn records_that_meet_in_a_copy_are_merged_as_the_copy_was_asked_for() {
    let mut policy = policy();
    policy.conflict = ConflictPolicy::Left;
    let verdict = decided(&met(Existing::RightToLeft), &policy);
    let [(Side::Left, StepKind::Update { set, .. })] = kinds(&verdict)[..] else {
        panic!("the right side was chosen: {verdict:?}");
    };
    assert_eq!(set[..], [(TITLE, Value::Text("right".into()))]);
    assert!(verdict.conflicts.is_empty(), "a person chose to replace it");
    let verdict = decided(&met(Existing::Merge), &policy);
    let [(Side::Right, StepKind::Update { .. })] = kinds(&verdict)[..] else {
        panic!("the policy decides: {verdict:?}");
    };
    assert_eq!(verdict.conflicts.len(), 1);
}

/// What was chosen for existing data rules over a link that a newcomer takes over, too, and not over one that
/// both records have.
#[test]
fn a_copy_s_choice_is_for_records_that_are_linked_anew() {
    let mut policy = policy();
    policy.conflict = ConflictPolicy::Left;
    let mut case = met(Existing::RightToLeft);
    case.link = Some(link("a", (true, true)));
    let verdict = decided(&case, &policy);
    assert_eq!(kinds(&verdict)[0].0, Side::Right, "the policy decides");
    case.is_renewed = true;
    case.keys.left = Some(Key::single("9"));
    let verdict = decided(&case, &policy);
    assert_eq!(kinds(&verdict)[0].0, Side::Left, "the choice decides");
}

//! Whose a key is, moment by moment.

use super::Lookups;
use super::Settlement;
use super::book::{Book, Found, Slot};
use super::open::{Fence, Open};
use super::reach::Reach;
use crate::baseline::{Fingerprint, Fingerprinter};
use crate::model::{
    BatchId, BySide, Cell, Change, ChangeKind, Key, Link, LinkId, Lookup, PairId, Place, Position,
    Row, Side, Since,
};
use crate::plan::{Case, Seen};
use crate::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, Existing, FieldPair, PairPolicy,
};
use crate::value::Value;

const PAIR: PairId = PairId(0);
const BATCH: BatchId = BatchId(7);

fn row(text: &str) -> Row {
    vec![Cell::Value(Value::Text(text.into()))]
}

fn link(id: u64, keys: (&str, &str), left_since: Since) -> Link {
    Link {
        id: LinkId(id),
        keys: BySide::new(Some(Key::single(keys.0)), Some(Key::single(keys.1))),
        since: BySide::new(left_since, Since::default()),
        gone: BySide::default(),
        baseline: BySide::from_fn(|_| vec![Fingerprint(1)]),
        seen: BySide::default(),
        written: BySide::default(),
    }
}

fn change(key: &str, kind: ChangeKind, offset: u64) -> Change {
    Change {
        pair: PAIR,
        key: Key::single(key),
        old_key: None,
        kind,
        time: None,
        offset,
        at: 1,
        passed: BatchId::NONE,
        ours: false,
    }
}

fn present(text: &str) -> ChangeKind {
    ChangeKind::Present {
        row: row(text),
        inserted: false,
    }
}

fn left(key: &str) -> Slot {
    (Side::Left, PAIR, Key::single(key))
}

fn knows(links: Vec<Link>) -> Lookups {
    let mut lookups = Lookups::new();
    for link in links {
        let key = link.keys.left.clone().unwrap_or(Key(Vec::new()));
        let lookup = lookups.entry((Side::Left, PAIR, key)).or_default();
        lookup.links.push(link);
    }
    lookups
}

fn reach(left: u64, right: u64) -> BySide<Reach> {
    let at = |offset| {
        Reach::at(Position {
            offset,
            ..Position::default()
        })
    };
    BySide::new(at(left), at(right))
}

fn only(book: &Book) -> &Open {
    let mut cases = book.cases();
    let (Some((_, open)), None) = (cases.next(), cases.next()) else {
        panic!("{} open cases", book.len());
    };
    open
}

#[test]
fn a_key_that_our_batch_gave_is_the_former_record_s_until_the_history_shows_the_batch() {
    let former = link(1, ("k", "r1"), Since::default());
    let ours = link(2, ("k", "r2"), Since::written(BATCH));
    let lookups = knows(vec![former, ours]);
    let book = Book::default();
    let lookup = &lookups[&left("k")];
    let at = |batch| Since {
        batch,
        place: Place::end_of(90),
    };
    let of = |found| match found {
        Found::Linked(link) => link.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(of(book.find(&left("k"), lookup, at(BatchId(6)))), LinkId(1));
    assert_eq!(of(book.find(&left("k"), lookup, at(BATCH))), LinkId(2));
}

/// The finding is about who has the key by now. The history has yet to tell that its former record is gone.
#[test]
fn a_finding_of_who_got_the_key_by_our_batch_is_not_closed_with_the_former_record() {
    let former = link(1, ("k", "r1"), Since::default());
    let ours = link(2, ("k", "r2"), Since::written(BATCH));
    for (links, expected) in [(vec![former.clone(), ours], 0), (vec![former], 1)] {
        let mut lookups = knows(links);
        for lookup in lookups.values_mut() {
            lookup.has_finding = true;
        }
        let mut book = Book::default();
        book.report(Side::Left, change("k", present("a"), 10), &lookups);
        assert_eq!(only(&book).findings.len(), expected);
    }
}

/// The same while the former record's case is open, and has a finding of its own.
#[test]
fn a_finding_of_who_gets_the_key_is_none_of_its_former_record_s_case() {
    let mut lookups = knows(vec![link(1, ("k", "r1"), Since::default())]);
    for lookup in lookups.values_mut() {
        lookup.has_finding = true;
    }
    let mut book = Book::default();
    book.report(Side::Left, change("k", present("a"), 10), &lookups);
    assert_eq!(only(&book).findings, [(Side::Left, Key::single("k"))]);
    book.disown(&left("k"));
    book.report(Side::Left, change("k", ChangeKind::Gone, 20), &lookups);
    let mut settlement = Settlement::default();
    book.move_findings(&mut settlement);
    assert!(settlement.is_empty(), "{settlement:?}");
}

/// What its side leaves out as unchanged is not what the link had agreed on: the key's next record may have had a
/// case of its own, which is closed.
#[test]
fn a_record_that_comes_back_in_part_is_read() {
    let lookups = knows(vec![link(1, ("k", "r"), Since::default())]);
    let mut book = Book::default();
    let part = || ChangeKind::Present {
        row: vec![Cell::Unchanged],
        inserted: false,
    };
    book.report(Side::Left, change("k", part(), 10), &lookups);
    assert_eq!(book.next_read(1), None);
    book.report(Side::Left, change("k", ChangeKind::Gone, 20), &lookups);
    book.report(Side::Left, change("k", part(), 30), &lookups);
    let read = (Side::Left, PAIR, vec![Key::single("k")]);
    assert_eq!(book.next_read(1), Some(read));
}

#[test]
fn a_record_that_moved_leaves_its_key_to_the_next() {
    let lookups = knows(vec![link(1, ("k", "r"), Since::default())]);
    let mut book = Book::default();
    let mut moved = change("k2", present("a"), 10);
    moved.old_key = Some(Key::single("k"));
    book.report(Side::Left, moved, &lookups);
    let inserted = ChangeKind::Present {
        row: row("b"),
        inserted: true,
    };
    book.report(Side::Left, change("k", inserted, 20), &lookups);
    let keys: Vec<_> = book
        .cases()
        .map(|(_, open)| (open.case.link.is_some(), open.case.keys.left.clone()))
        .collect();
    let expected = [
        (true, Some(Key::single("k2"))),
        (false, Some(Key::single("k"))),
    ];
    assert_eq!(keys, expected);
    assert_eq!(book.surprises, 0);
}

#[test]
fn a_record_deleted_and_inserted_under_its_key_is_changed_while_the_other_side_has_it() {
    let lookups = knows(vec![link(1, ("k", "r"), Since::default())]);
    let mut book = Book::default();
    book.report(Side::Left, change("k", ChangeKind::Gone, 10), &lookups);
    book.report(Side::Left, change("k", present("new"), 20), &lookups);
    assert_eq!(only(&book).case.seen.left.row(), Some(&row("new")));
    let gone = change("r", ChangeKind::Gone, 5);
    book.report(Side::Left, change("k", ChangeKind::Gone, 30), &lookups);
    let mut known = lookups;
    let slot = (Side::Right, PAIR, Key::single("r"));
    let lookup = Lookup {
        links: vec![link(1, ("k", "r"), Since::default())],
        ..Lookup::default()
    };
    known.insert(slot, lookup);
    book.report(Side::Right, gone, &known);
    book.report(Side::Left, change("k", present("newer"), 40), &known);
    assert_eq!(book.len(), 2, "both had deleted it: this is another record");
}

#[test]
fn what_our_write_had_read_is_no_news() {
    let mut written = link(1, ("k", "r"), Since::default());
    written.written.left = BATCH;
    let lookups = knows(vec![written]);
    let mut book = Book::default();
    book.report(Side::Left, change("k", present("before"), 10), &lookups);
    assert!(book.is_empty());
    let mut after = change("k", present("after"), 20);
    after.passed = BATCH;
    book.report(Side::Left, after, &lookups);
    assert_eq!(only(&book).case.seen.left.row(), Some(&row("after")));
}

#[test]
fn a_record_that_passed_through_a_key_before_our_write_does_not_appear_there() {
    let mut written = link(1, ("k", "r"), Since::default());
    written.written.left = BATCH;
    let lookups = knows(vec![written]);
    let mut book = Book::default();
    let mut away = change("elsewhere", present("a"), 10);
    away.old_key = Some(Key::single("k"));
    book.report(Side::Left, away, &lookups);
    let mut back = change("k", present("a"), 20);
    back.old_key = Some(Key::single("elsewhere"));
    book.report(Side::Left, back, &lookups);
    assert!(book.is_empty());
}

#[test]
fn a_read_waits_for_its_fence_and_a_change_wins_over_it() {
    let mut open = Open::new(Case::lone(
        PAIR,
        Side::Left,
        Key::single("k"),
        Since::default(),
    ));
    open.want(Side::Left);
    let fence = Fence {
        offset: 50,
        batch: BatchId::NONE,
    };
    open.hold(Side::Left, Key::single("k"), Some(row("read")), fence);
    assert!(!open.is_ready(&reach(49, 0)));
    open.report(Side::Left, change("k", present("newer"), 40));
    assert!(open.is_ready(&reach(50, 0)));
    open.take_held();
    assert_eq!(open.case.seen.left.row(), Some(&row("newer")));
    assert_eq!(open.relies.left, 40);
}

#[test]
fn a_read_of_a_key_that_the_record_left_does_not_count() {
    let mut open = Open::new(Case::lone(
        PAIR,
        Side::Left,
        Key::single("k"),
        Since::default(),
    ));
    let fence = Fence {
        offset: 50,
        batch: BatchId::NONE,
    };
    open.hold(Side::Left, Key::single("k"), Some(row("another's")), fence);
    let mut moved = change("k2", present("own"), 45);
    moved.old_key = Some(Key::single("k"));
    open.report(Side::Left, moved);
    open.take_held();
    assert_eq!(open.case.seen.left.row(), Some(&row("own")));
}

#[test]
fn an_open_case_holds_the_position_below_what_it_relies_on() {
    let mut book = Book::default();
    let lookups = Lookups::new();
    book.report(Side::Left, change("k", present("x"), 30), &lookups);
    book.report(Side::Left, change("k", present("y"), 40), &lookups);
    assert_eq!(book.relies_on(Side::Left), Some(30));
    assert_eq!(book.relies_on(Side::Right), None);
}

/// What a verify found to differ is planned as if the two had never agreed on it.
#[test]
fn the_baseline_of_records_in_doubt_is_forgotten_where_they_differ() {
    let prints = Fingerprinter::new([3; 32]);
    let field = FieldPair {
        left: "a".into(),
        right: "a".into(),
        direction: Direction::Both,
    };
    let policy = PairPolicy {
        fields: vec![field],
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
    };
    let rows = BySide::new(row("left"), row("right"));
    let mut linked = link(1, ("k", "r"), Since::default());
    linked.baseline = BySide::from_fn(|side| prints.row(&rows[side]));
    for is_doubted in [false, true] {
        let mut open = Open::new(Case::of(PAIR, linked.clone()));
        let seen = |side: Side| Seen::Present {
            row: rows[side].clone(),
            time: None,
        };
        open.case.seen = BySide::from_fn(seen);
        open.is_doubted = is_doubted;
        open.doubt_baseline(&prints, std::slice::from_ref(&policy));
        let baseline = open.case.link.expect("it keeps its link").baseline;
        assert_eq!(baseline.left[0].is_known(), !is_doubted);
        assert_eq!(baseline.right[0].is_known(), !is_doubted);
    }
}

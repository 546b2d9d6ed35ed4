//! What is put back of a record, and what is left alone.

use tidegate_sync::model::{BatchId, Cell};
use tidegate_sync::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Existing, FieldPair,
};
use tidegate_sync::session::Why;

use super::*;

fn prints() -> Fingerprinter {
    Fingerprinter::new([3; 32])
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Fields: slug (the match key), title, body.
fn policy(title: Direction) -> PairPolicy {
    let field = |name: &str, direction| FieldPair {
        left: name.to_owned(),
        right: name.to_owned(),
        direction,
    };
    PairPolicy {
        fields: vec![
            field("slug", Direction::Both),
            field("title", title),
            field("body", Direction::Both),
        ],
        match_key: vec![0],
        existing: Existing::Merge,
        deletes: DeletePolicy::Propagate,
        conflict: ConflictPolicy::Newest,
        conflict_delete: DeleteConflict::Keep,
        drift: Drift::Overwrite,
        scope: None,
        archive: BySide::default(),
        references: Vec::new(),
        once: false,
    }
}

fn row(cells: &[&str]) -> Row {
    cells.iter().map(|cell| Cell::Value(text(cell))).collect()
}

/// A write to the right record `key` that left it as `row`.
fn write(write: Write, key: &str, left: &[&str], values: Values) -> Applied {
    let print = match write {
        Write::Delete => Fingerprint::UNKNOWN,
        _ => prints().record(&prints().row(&row(left))),
    };
    Applied {
        pair: PairId(0),
        side: Side::Right,
        write,
        why: Why::Change,
        batch: BatchId::of_run(1, 1),
        keys: BySide::new(None, Some(Key::single(key))),
        former_key: None,
        fields: Vec::new(),
        values,
        print,
        source_time: None,
    }
}

fn change(field: usize, before: Option<&str>, after: Option<&str>) -> FieldWrite {
    FieldWrite {
        field,
        before: before.map(text),
        after: after.map(text),
    }
}

fn update(key: &str, field: usize, (before, after): (&str, &str), left: &[&str]) -> Applied {
    let values = Values::Kept(vec![change(field, Some(before), Some(after))]);
    write(Write::Update, key, left, values)
}

fn create(key: &str, left: &[&str]) -> Applied {
    let fields = left.iter().enumerate();
    let fields = fields.map(|(field, value)| change(field, None, Some(value)));
    write(Write::Create, key, left, Values::Kept(fields.collect()))
}

fn delete(key: &str, before: &[&str]) -> Applied {
    let fields = before.iter().enumerate();
    let fields = fields.map(|(field, value)| change(field, Some(value), None));
    write(Write::Delete, key, &[], Values::Kept(fields.collect()))
}

/// The only record that these writes, oldest first, were about.
fn net(writes: &[Applied]) -> Net {
    let mapped = Mapped {
        pair: PairId(0),
        fields: vec![Some(0), Some(1), Some(2)],
        is_same: true,
    };
    let mut sum = Sum::default();
    for (id, write) in writes.iter().enumerate().rev() {
        sum.add(id as i64, write, Some(&mapped));
    }
    let mut nets = sum.finish();
    assert_eq!(nets.len(), 1);
    nets.remove(0)
}

fn decide(writes: &[Applied], now: Option<&[&str]>) -> Decision {
    let now = now.map(row);
    net(writes).decide(now.as_ref(), &policy(Direction::Both), &prints(), |_| true)
}

/// The fields that an update sets, or what else is decided.
fn set(decision: Decision) -> Result<Vec<(usize, Value)>, Decision> {
    match decision {
        Decision::Step(StepKind::Update { set, .. } | StepKind::Create { set, .. }) => Ok(set),
        other => Err(other),
    }
}

#[test]
fn several_updates_go_back_to_before_the_first() {
    let writes = [
        update("1", 1, ("a", "b"), &["s", "b", "x"]),
        update("1", 2, ("x", "y"), &["s", "b", "y"]),
        update("1", 1, ("b", "c"), &["s", "c", "y"]),
    ];
    let back = vec![(1, text("a")), (2, text("x"))];
    assert_eq!(set(decide(&writes, Some(&["s", "c", "y"]))), Ok(back));
    let rest = vec![(2, text("x"))];
    assert_eq!(set(decide(&writes, Some(&["s", "a", "y"]))), Ok(rest));
    assert_eq!(decide(&writes, Some(&["s", "a", "x"])), Decision::Nothing);
    let cannot = Decision::Cannot(Cause::Changed);
    assert_eq!(decide(&writes, Some(&["s", "d", "y"])), cannot);
    assert_eq!(decide(&writes, None), Decision::Cannot(Cause::Gone));
}

#[test]
fn an_update_expects_what_it_replaces_and_leaves_other_fields_to_others() {
    let writes = [update("1", 1, ("a", "b"), &["s", "b", "x"])];
    let Decision::Step(StepKind::Update { key, expect, .. }) =
        decide(&writes, Some(&["s", "b", "somebody else's"]))
    else {
        panic!("another field does not matter");
    };
    assert_eq!(key, Key::single("1"));
    let unknown = Fingerprint::UNKNOWN;
    assert_eq!(expect, [unknown, prints().value(&text("b")), unknown]);
}

#[test]
fn a_created_record_goes_only_if_nobody_touched_it() {
    let made = [
        create("1", &["s", "a", "x"]),
        update("1", 1, ("a", "b"), &["s", "b", "x"]),
    ];
    assert!(matches!(
        decide(&made, Some(&["s", "b", "x"])),
        Decision::Step(StepKind::Delete { .. })
    ));
    let cannot = Decision::Cannot(Cause::Changed);
    assert_eq!(decide(&made, Some(&["s", "b", "edited"])), cannot);
    assert_eq!(decide(&made, None), Decision::Nothing);
    let copied = [write(Write::Create, "1", &["s", "a", "x"], Values::Copied)];
    assert!(matches!(
        decide(&copied, Some(&["s", "a", "x"])),
        Decision::Step(StepKind::Delete { .. })
    ));
}

#[test]
fn a_deleted_record_comes_back_as_it_was_before_the_first_write() {
    let writes = [
        update("1", 1, ("a", "b"), &["s", "b", "x"]),
        delete("1", &["s", "b", "x"]),
    ];
    let back = vec![(0, text("s")), (1, text("a")), (2, text("x"))];
    assert_eq!(set(decide(&writes, None)), Ok(back));
    let there = Decision::Cannot(Cause::There);
    assert_eq!(decide(&writes, Some(&["s", "n", "n"])), there);
    let unwritable = net(&writes).decide(None, &policy(Direction::Both), &prints(), |f| f != 2);
    assert_eq!(set(unwritable), Ok(vec![(0, text("s")), (1, text("a"))]));
    let brief = [create("1", &["s", "a", "x"]), delete("1", &["s", "a", "x"])];
    assert_eq!(decide(&brief, None), Decision::Nothing);
}

#[test]
fn a_record_that_was_deleted_and_made_again_goes_back_whole_or_not_at_all() {
    let writes = [delete("1", &["s", "a", "x"]), create("1", &["s", "b", "x"])];
    let back = Ok(vec![(1, text("a"))]);
    assert_eq!(set(decide(&writes, Some(&["s", "b", "x"]))), back);
    let cannot = Decision::Cannot(Cause::Changed);
    assert_eq!(decide(&writes, Some(&["s", "b", "edited"])), cannot);
}

#[test]
fn a_record_is_followed_through_its_keys() {
    let moved = Applied {
        former_key: Some(Key::single("1")),
        ..update("2", 0, ("s", "t"), &["t", "b", "x"])
    };
    let writes = [
        update("1", 1, ("a", "b"), &["s", "b", "x"]),
        moved,
        update("2", 2, ("x", "y"), &["t", "b", "y"]),
    ];
    assert_eq!(net(&writes).key(), Some(&Key::single("2")));
    let back = vec![(0, text("s")), (1, text("a")), (2, text("x"))];
    assert_eq!(set(decide(&writes, Some(&["t", "b", "y"]))), Ok(back));
}

#[test]
fn what_is_not_known_or_would_not_last_is_not_tried() {
    let off = [write(Write::Update, "1", &["s", "b", "x"], Values::Off)];
    assert!(matches!(
        decide(&off, Some(&["s", "b", "x"])),
        Decision::Cannot(Cause::NoValues(_))
    ));
    // Of a record that was created later than that, nothing need be known.
    let made = [create("1", &["s", "a", "x"]), off[0].clone()];
    assert!(matches!(
        decide(&made, Some(&["s", "b", "x"])),
        Decision::Step(StepKind::Delete { .. })
    ));
    let one_way = policy(Direction::LeftToRight);
    let writes = [update("1", 1, ("a", "b"), &["s", "b", "x"])];
    let now = row(&["s", "b", "x"]);
    let decided = net(&writes).decide(Some(&now), &one_way, &prints(), |_| true);
    assert_eq!(decided, Decision::Cannot(Cause::OneWay(1)));
    let null = Value::Null;
    let mut unkeyed = delete("1", &["s", "b", "x"]);
    if let Values::Kept(fields) = &mut unkeyed.values {
        fields[0].before = Some(null);
    }
    assert_eq!(decide(&[unkeyed], None), Decision::Cannot(Cause::NullKey));
}

#[test]
fn fields_that_are_mapped_elsewhere_go_to_their_place_and_lost_ones_stop_it() {
    let writes = update("1", 1, ("a", "b"), &["s", "b"]);
    let put_back = |fields: Vec<Option<usize>>| {
        let mapped = Mapped {
            pair: PairId(4),
            fields,
            is_same: false,
        };
        let mut sum = Sum::default();
        sum.add(1, &writes, Some(&mapped));
        let net = sum.finish().remove(0);
        assert_eq!(net.pair, PairId(4));
        let now = row(&["s", "new", "b"]);
        net.decide(Some(&now), &policy(Direction::Both), &prints(), |_| true)
    };
    assert_eq!(
        set(put_back(vec![Some(0), Some(2)])),
        Ok(vec![(2, text("a"))])
    );
    let cannot = Decision::Cannot(Cause::Mapping);
    assert_eq!(put_back(vec![Some(0), None]), cannot);
    let mut sum = Sum::default();
    sum.add(1, &writes, None);
    let net = sum.finish().remove(0);
    let now = row(&["s", "b", "x"]);
    let decided = net.decide(Some(&now), &policy(Direction::Both), &prints(), |_| true);
    assert_eq!(decided, cannot);
}

#[test]
fn a_record_that_an_undo_has_brought_back_is_found_under_its_new_key() {
    let gone = delete("1", &["s", "a", "x"]);
    let back = create("9", &["s", "a", "x"]);
    let mapped = Mapped {
        pair: PairId(0),
        fields: vec![Some(0), Some(1), Some(2)],
        is_same: true,
    };
    let (policy, prints) = (policy(Direction::Both), prints());
    let decide = |id: i64, now: Option<&[&str]>| {
        let mut restored = Restored::default();
        restored.add((id, &back), &mapped, &policy, &prints);
        let mut sum = Sum::default();
        sum.add(5, &gone, Some(&mapped));
        let mut net = sum.finish().remove(0);
        net.follow(&restored, &policy, &prints);
        let key = net.key().cloned();
        let decided = net.decide(now.map(row).as_ref(), &policy, &prints, |_| true);
        (key, decided)
    };
    let (key, decided) = decide(6, Some(&["s", "a", "x"]));
    assert_eq!((key, decided), (Some(Key::single("9")), Decision::Nothing));
    let (_, decided) = decide(6, Some(&["s", "edited", "x"]));
    assert_eq!(decided, Decision::Cannot(Cause::Changed));
    // It was brought back, and then taken away again.
    let (_, decided) = decide(6, None);
    assert!(matches!(decided, Decision::Step(StepKind::Create { .. })));
    // It was brought back before it was deleted.
    let (key, decided) = decide(4, None);
    assert_eq!(key, Some(Key::single("1")));
    assert!(matches!(decided, Decision::Step(StepKind::Create { .. })));
}

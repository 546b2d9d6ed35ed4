//! Worlds whose people and deliveries are told step by step, for what chance meets too seldom.

use tidegate_sync::model::{BySide, Key, PairId, Side, Step, StepKind};
use tidegate_sync::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, Existing, FieldPair,
};
use tidegate_sync::session::{Edit, Event, Why};
use tidegate_sync::value::Value;

use crate::database::{Cause, Quirks};
use crate::rng::Rng;
use crate::scenario;
use crate::world::{Plant, Troubles, World};

const PAIR: PairId = PairId(0);

fn text(word: &str) -> Value {
    Value::Text(word.to_owned())
}

/// Two empty tables; field 1 flows as it is said.
fn empty(existing: Existing, direction: Direction) -> World {
    let mut rng = Rng::new(0);
    let mut scenario = scenario::draw(&mut rng, Troubles::NONE);
    scenario.policies.truncate(1);
    scenario.kinds.truncate(1);
    let policy = &mut scenario.policies[0];
    (policy.existing, policy.drift) = (existing, Drift::Overwrite);
    (policy.deletes, policy.conflict_delete) = (DeletePolicy::Propagate, DeleteConflict::Keep);
    let both = |field: &mut FieldPair| field.direction = Direction::Both;
    policy.fields.iter_mut().for_each(both);
    policy.fields[1].direction = direction;
    for side in Side::BOTH {
        scenario.quirks[side] = vec![Quirks {
            flows_out: vec![true; 5],
            match_key: vec![0],
            ..Quirks::default()
        }];
        scenario.rows[side] = 0;
    }
    scenario.parts = 0;
    World::of(scenario, rng, Plant::None, false)
}

fn person_inserts(world: &mut World, side: Side, word: &str) {
    let mut cells = vec![Value::Null; 5];
    cells[0] = text("k1");
    cells[1] = text(word);
    let key = world.sides[side].insert(PAIR, None, cells, Cause::Person);
    assert_eq!(key, Ok(Key::single("k1")));
    world.sides[side].commit();
}

/// One record on each side, linked as they are: field 1 is "one" on the left and "five" on the right.
fn agreed_to_differ() -> World {
    let mut world = empty(Existing::LinkOnly, Direction::Both);
    for (side, word) in Side::BOTH.into_iter().zip(["one", "five"]) {
        person_inserts(&mut world, side, word);
    }
    come_to_rest(&mut world);
    assert_eq!((world.store.links.len(), world.store.written), (1, 0));
    world
}

fn person_writes(world: &mut World, side: Side, word: &str) {
    person_sets(world, side, (1, word));
}

fn person_sets(world: &mut World, side: Side, (field, word): (usize, &str)) {
    let set = [(field, text(word))];
    let done = world.sides[side].update(PAIR, &Key::single("k1"), &set, None, Cause::Person);
    assert!(done.is_ok());
    world.sides[side].commit();
}

/// Delivers what happened, the left's history first.
fn come_to_rest(world: &mut World) {
    let rest = world.calm();
    assert_eq!(rest, Ok(()));
}

fn field(world: &World, side: Side) -> Value {
    world.sides[side].table(PAIR).rows[&Key::single("k1")].cells[1].clone()
}

#[test]
fn a_value_that_the_other_side_has_already_is_not_written_to_it() {
    let mut world = agreed_to_differ();
    person_writes(&mut world, Side::Left, "five");
    come_to_rest(&mut world);
    assert_eq!(world.store.written, 0);
    person_writes(&mut world, Side::Right, "six");
    come_to_rest(&mut world);
    assert_eq!(field(&world, Side::Left), text("six"));
    assert!(world.store.conflicts.is_empty());
}

/// The left comes to what the right had, while the right has moved on and has not told yet: the left's
/// value was never agreed on, and is not overwritten unrecorded.
#[test]
fn a_value_that_the_other_side_has_no_more_is_a_conflict_with_what_it_has() {
    let mut world = agreed_to_differ();
    person_writes(&mut world, Side::Left, "five");
    person_writes(&mut world, Side::Right, "seven");
    come_to_rest(&mut world);
    assert_eq!(field(&world, Side::Left), field(&world, Side::Right));
    let [conflict] = &world.store.conflicts[..] else {
        panic!("{:?}", world.store.conflicts);
    };
    assert_eq!(conflict.values.left.value(), Some(&text("five")));
    assert_eq!(conflict.values.right.value(), Some(&text("seven")));
}

/// What flows from the left alone is not known there when a record comes from the right. That it is empty
/// there is no value that flows, until somebody on the left fills it.
#[test]
fn what_a_create_could_not_bring_is_kept_where_it_is() {
    let mut world = empty(Existing::Merge, Direction::LeftToRight);
    come_to_rest(&mut world);
    person_inserts(&mut world, Side::Right, "five");
    come_to_rest(&mut world);
    person_sets(&mut world, Side::Left, (2, "else"));
    come_to_rest(&mut world);
    person_sets(&mut world, Side::Right, (2, "other"));
    come_to_rest(&mut world);
    assert_eq!(field(&world, Side::Left), Value::Null);
    assert_eq!(field(&world, Side::Right), text("five"));
    assert!(world.store.conflicts.is_empty());
    person_writes(&mut world, Side::Left, "six");
    come_to_rest(&mut world);
    assert_eq!(field(&world, Side::Right), text("six"));
    let [conflict] = &world.store.conflicts[..] else {
        panic!("{:?}", world.store.conflicts);
    };
    assert_eq!(conflict.values.right.value(), Some(&text("five")));
    assert_eq!(conflict.winner, Some(Side::Left));
}

/// The same of a record that the first copy makes.
#[test]
fn what_a_copy_could_not_bring_is_kept_where_it_is() {
    let mut world = empty(Existing::Merge, Direction::LeftToRight);
    person_inserts(&mut world, Side::Right, "five");
    come_to_rest(&mut world);
    assert_eq!(world.store.written, 1);
    assert_eq!(field(&world, Side::Right), text("five"));
    assert!(world.store.conflicts.is_empty());
}

/// A person gives a record another key, has another one made under the old key, with the same values, and
/// deletes the counterpart of the first. A restart has forgotten who got the key.
#[test]
fn what_a_person_had_made_is_not_deleted_for_the_former_record_of_its_key() {
    let mut world = empty(Existing::Merge, Direction::Both);
    come_to_rest(&mut world);
    person_inserts(&mut world, Side::Right, "five");
    come_to_rest(&mut world);
    person_sets(&mut world, Side::Left, (0, "k9"));
    let set = vec![(0, text("k1")), (1, text("five"))];
    let kind = StepKind::Create {
        set,
        matching: Vec::new(),
    };
    let edit = Edit {
        side: Side::Left,
        step: Step { pair: PAIR, kind },
        keys: BySide::default(),
        why: Why::Undo,
    };
    world.driver.handle(Event::Edit { edits: vec![edit] });
    carry_out(&mut world);
    assert_eq!(world.sides.left.table(PAIR).rows.len(), 2);
    assert_eq!(world.crash(), Ok(()));
    carry_out(&mut world);
    assert!(
        world
            .sides
            .right
            .delete(PAIR, &Key::single("k1"), Cause::Person)
    );
    world.sides.right.commit();
    world.deliver(Side::Right, usize::MAX);
    carry_out(&mut world);
    assert_eq!(field(&world, Side::Left), text("five"));
    come_to_rest(&mut world);
    assert_eq!(field(&world, Side::Left), text("five"));
    assert_eq!(field(&world, Side::Right), text("five"));
}

/// Does what is under way, while no history is told.
fn carry_out(world: &mut World) {
    while !world.driver.pending.is_empty() {
        assert_eq!(world.advance(), Ok(()));
    }
}

/// Two left records have one match key. The linked one is deleted, the other one takes its place, and is
/// deleted as well before it has got what the right record holds. Nobody has edited that one: it is no
/// edit that a newcomer has not heard of, and the deletions travel.
#[test]
fn what_a_newcomer_has_not_got_from_a_record_that_nobody_edited_is_no_edit() {
    let mut world = empty(Existing::Merge, Direction::LeftToRight);
    world.scenario.policies[0].conflict = ConflictPolicy::Right;
    world.sides.left.tables[0].quirks.generated = true;
    assert_eq!(world.crash(), Ok(()));
    come_to_rest(&mut world);
    let insert = |world: &mut World, word: &str| {
        let mut cells = vec![text("k1"), text(word), text(word)];
        cells.resize(5, Value::Null);
        let key = world.sides.left.insert(PAIR, None, cells, Cause::Person);
        world.sides.left.commit();
        key.expect("nothing is refused")
    };
    let delete = |world: &mut World, key: &Key| {
        assert!(world.sides.left.delete(PAIR, key, Cause::Person));
        world.sides.left.commit();
    };
    let first = insert(&mut world, "one");
    come_to_rest(&mut world);
    // The right record's case waits for its history, which says in the end that nothing has changed.
    person_sets(&mut world, Side::Right, (3, "passing"));
    let set = [(4, text("four"))];
    let done = world
        .sides
        .left
        .update(PAIR, &first, &set, None, Cause::Person);
    assert!(done.is_ok());
    world.sides.left.commit();
    let second = insert(&mut world, "two");
    world.deliver(Side::Left, usize::MAX);
    carry_out(&mut world);
    let set = [(3, Value::Null)];
    let key = Key::single("k1");
    let done = world
        .sides
        .right
        .update(PAIR, &key, &set, None, Cause::Person);
    assert!(done.is_ok());
    world.sides.right.commit();
    delete(&mut world, &first);
    world.deliver(Side::Left, usize::MAX);
    delete(&mut world, &second);
    carry_out(&mut world);
    world.deliver(Side::Right, usize::MAX);
    carry_out(&mut world);
    come_to_rest(&mut world);
    for side in Side::BOTH {
        assert!(world.sides[side].table(PAIR).rows.is_empty(), "{side:?}");
    }
}

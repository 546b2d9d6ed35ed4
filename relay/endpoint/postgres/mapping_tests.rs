//! Every kind of row, as the server sends it, against the binding.

use tidegate_sync::value::Value;

use super::super::pgoutput::Cell as Sent;
use super::*;

const INT8: u32 = 20;
const TEXT: u32 = 25;

fn text(oid: u32) -> PgType {
    let base = types::BaseType {
        oid,
        name: "text".into(),
        modifier: -1,
        enum_labels: Vec::new(),
    };
    PgType::new(oid, "text", "text", base)
}

/// Table `posts (id, title, body)` with fields body, title and key id.
fn mapping() -> Mapping {
    Mapping::new(vec![CaptureTable {
        pair: PairId(4),
        oid: 99,
        schema: "public".into(),
        name: "posts".into(),
        key: vec!["id".into()],
        fields: vec![("body".into(), text(TEXT)), ("title".into(), text(TEXT))],
        joins: 0,
        lens: Default::default(),
    }])
}

fn relation<'a>(columns: &[(&'a str, u32, bool)], identity: Identity) -> Relation<'a> {
    let columns = columns
        .iter()
        .map(|&(name, type_oid, is_key)| pgoutput::Column {
            is_key,
            name,
            type_oid,
            type_modifier: -1,
        });
    Relation {
        oid: 99,
        schema: "public",
        name: "posts",
        identity,
        columns: columns.collect(),
    }
}

const POSTS: &[(&str, u32, bool)] = &[
    ("id", INT8, true),
    ("title", TEXT, false),
    ("body", TEXT, false),
];

fn after(relation: Relation<'_>, message: Message<'_>) -> Effects {
    let mut mapping = mapping();
    let mut effects = Effects::default();
    mapping
        .apply(&Message::Relation(relation), &mut effects)
        .unwrap();
    mapping.apply(&message, &mut effects).unwrap();
    effects
}

fn update<'a>(old: Option<Old<'a>>, new: Vec<Sent<'a>>) -> Message<'a> {
    Message::Update {
        relation: 99,
        old,
        new,
    }
}

fn value(text: &str) -> Cell {
    Cell::Value(Value::Text(text.into()))
}

#[test]
fn fields_come_in_the_bindings_order_and_null_is_not_unchanged() {
    let new = vec![Sent::Text(b"1"), Sent::Null, Sent::Unchanged];
    let effects = after(relation(POSTS, Identity::Default), update(None, new));
    let change = &effects.changes[0];
    assert_eq!((change.pair, &change.key), (PairId(4), &Key::single("1")));
    assert_eq!(change.old_key, None);
    let row = vec![Cell::Unchanged, Cell::Value(Value::Null)];
    assert_eq!(
        change.kind,
        ChangeKind::Present {
            row,
            inserted: false
        }
    );
}

#[test]
fn a_key_change_carries_the_old_key_and_leaves_unchanged_values_out() {
    let old = Old::Key(vec![Sent::Text(b"1"), Sent::Null, Sent::Null]);
    let new = vec![Sent::Text(b"2"), Sent::Text(b"t"), Sent::Unchanged];
    let effects = after(relation(POSTS, Identity::Default), update(Some(old), new));
    let change = &effects.changes[0];
    assert_eq!(change.key, Key::single("2"));
    assert_eq!(change.old_key, Some(Key::single("1")));
    let row = vec![Cell::Unchanged, value("t")];
    assert_eq!(
        change.kind,
        ChangeKind::Present {
            row,
            inserted: false
        }
    );
}

#[test]
fn a_whole_old_row_fills_unchanged_values_in() {
    let old = Old::Whole(vec![
        Sent::Text(b"1"),
        Sent::Text(b"a"),
        Sent::Text(b"long"),
    ]);
    let new = vec![Sent::Text(b"1"), Sent::Text(b"b"), Sent::Unchanged];
    let all: Vec<_> = POSTS
        .iter()
        .map(|&(name, oid, _)| (name, oid, true))
        .collect();
    let effects = after(relation(&all, Identity::Full), update(Some(old), new));
    let change = &effects.changes[0];
    assert_eq!(change.old_key, None);
    let row = vec![value("long"), value("b")];
    assert_eq!(
        change.kind,
        ChangeKind::Present {
            row,
            inserted: false
        }
    );
}

#[test]
fn an_out_of_line_key_that_did_not_change_is_taken_from_the_old_row() {
    let old = Old::Key(vec![Sent::Text(b"long key"), Sent::Null, Sent::Null]);
    let new = vec![Sent::Unchanged, Sent::Text(b"t"), Sent::Text(b"b")];
    let effects = after(relation(POSTS, Identity::Default), update(Some(old), new));
    assert_eq!(effects.changes[0].key, Key::single("long key"));
    assert_eq!(effects.changes[0].old_key, None);
}

#[test]
fn a_shape_that_the_binding_does_not_know_asks_for_a_reconcile() {
    let shapes = [
        (
            vec![("id", INT8, true), ("title", TEXT, false)],
            "column body was dropped",
        ),
        (
            vec![
                ("id", INT8, true),
                ("title", INT8, false),
                ("body", TEXT, false),
            ],
            "another type",
        ),
        (
            vec![
                ("id", INT8, true),
                ("title", TEXT, true),
                ("body", TEXT, false),
            ],
            "primary key",
        ),
        (
            vec![
                ("x", INT8, true),
                ("title", TEXT, false),
                ("body", TEXT, false),
            ],
            "primary key",
        ),
    ];
    for (columns, reason) in shapes {
        let new = columns.iter().map(|_| Sent::Text(b"1")).collect();
        let insert = Message::Insert { relation: 99, new };
        let effects = after(relation(&columns, Identity::Default), insert);
        assert!(effects.changes.is_empty());
        assert!(
            effects.reconcile[0].1.contains(reason),
            "{:?}",
            effects.reconcile
        );
    }
}

#[test]
fn a_row_that_does_not_fit_its_description_is_an_error_and_no_panic() {
    let mut mapping = mapping();
    let mut effects = Effects::default();
    let insert = Message::Insert {
        relation: 99,
        new: vec![Sent::Text(b"1")],
    };
    assert!(
        mapping.apply(&insert, &mut effects).is_err(),
        "not described"
    );
    let described = Message::Relation(relation(POSTS, Identity::Default));
    mapping.apply(&described, &mut effects).unwrap();
    assert!(mapping.apply(&insert, &mut effects).is_err(), "too short");
    let no_key = Message::Insert {
        relation: 99,
        new: vec![Sent::Null, Sent::Null, Sent::Null],
    };
    assert!(mapping.apply(&no_key, &mut effects).is_err());
    assert!(effects.changes.is_empty());
}

//! What a run settles: durable, all or nothing, fenced, a bijection.

use tidegate_relay::store::syncs::SyncId;
use tidegate_relay::store::{
    Class, Ledger, Store, StoreError, conflicts, findings, history, pairs,
};
use tidegate_relay::store::{RecordKeys, syncs};
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::Write;
use tidegate_sync::model::{
    BatchId, BySide, Cell, Conflict, Finding, FindingCode, Key, Link, Lookup, PairId, Place,
    Position, Side, Since, Trace,
};
use tidegate_sync::session::{Applied, FieldWrite, Gone, Noted, Round, Settlement, Values, Why};
use tidegate_sync::value::Value;

use super::{World, link};

const PAIR: PairId = PairId(0);

async fn begin(store: &Store, sync: SyncId) -> Ledger {
    Ledger::begin(store, sync, 1, 5)
        .await
        .expect("a run begins")
}

/// A run of a sync that is live: its links are found as soon as they are settled.
async fn live(store: &Store, sync: SyncId) -> Ledger {
    let ledger = begin(store, sync).await;
    let settlement = Settlement {
        live: true,
        ..Settlement::default()
    };
    ledger
        .settle(settlement, 1)
        .await
        .expect("the sync goes live");
    ledger
}

async fn look(ledger: &Ledger, side: Side, key: &str) -> Lookup {
    let keys = vec![(side, PAIR, Key::single(key))];
    ledger.load(keys).await.expect("keys load").remove(0)
}

/// The only link of a key.
async fn linked(ledger: &Ledger, side: Side, key: &str) -> Option<Link> {
    let mut links = look(ledger, side, key).await.links;
    assert!(links.len() < 2, "{links:?}");
    links.pop()
}

fn links(links: Vec<Link>) -> Settlement {
    Settlement {
        links: links.into_iter().map(|link| (PAIR, link)).collect(),
        ..Settlement::default()
    }
}

fn position(offset: u64) -> Position {
    Position {
        offset,
        passed: BatchId::of_run(3, 4),
        cursor: "c".to_owned(),
    }
}

#[tokio::test]
async fn what_was_settled_survives_a_restart_and_nothing_else_does() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let settled = Settlement {
        positions: BySide::new(Some(position(7)), Some(position(u64::MAX >> 1))),
        live: true,
        ..links(vec![link(Some("l1"), Some("r1"), 99)])
    };
    ledger.settle(settled, 10).await.unwrap();
    // The second link is a second partner for l1: the first one must not survive either.
    let refused = links(vec![
        link(Some("l2"), Some("r2"), 1),
        link(Some("l1"), Some("r3"), 1),
    ]);
    let error = ledger.settle(refused, 11).await.unwrap_err();
    assert!(
        matches!(error, StoreError::LinkTaken { pair: 0 }),
        "{error}"
    );
    drop(ledger);

    let world = world.reopened();
    let ledger = begin(&world.store, sync).await;
    let resume = ledger.resume().await.unwrap();
    let positions = resume.positions.expect("positions were settled");
    assert_eq!(positions.left, position(7));
    assert_eq!(positions.right, position(u64::MAX >> 1));
    assert_eq!(resume.first_run, [false]);
    let found = linked(&ledger, Side::Left, "l1").await.expect("settled");
    let expected = link(Some("l1"), Some("r1"), 99);
    assert_eq!(
        Link {
            id: found.id,
            ..expected
        },
        found
    );
    assert_eq!(linked(&ledger, Side::Right, "r1").await, Some(found));
    assert_eq!(look(&ledger, Side::Left, "l2").await, Lookup::default());
    assert_eq!(look(&ledger, Side::Right, "r3").await, Lookup::default());
}

#[tokio::test]
async fn a_panic_half_way_leaves_nothing_and_the_writer_goes_on() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let result: Result<(), _> = world
        .store
        .transact(move |tx| {
            syncs::set_state(tx, sync, "failed", None, 9)?;
            panic!("planted")
        })
        .await;
    assert!(matches!(result, Err(StoreError::Panicked(text)) if text == "planted"));
    let read: Result<(), _> = world.store.view(|_| panic!("planted")).await;
    assert_eq!(read.unwrap_err().class(), Class::Bug);
    let state = world.store.view(move |conn| syncs::by_id(conn, sync)).await;
    assert_eq!(state.unwrap().state, "planning");
    begin(&world.store, sync).await;
}

#[tokio::test]
async fn a_replaced_run_can_write_nothing() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let older = begin(&world.store, sync).await;
    let newer = live(&world.store, sync).await;
    assert!(newer.epoch() > older.epoch());
    let settlement = links(vec![link(Some("l"), Some("r"), 1)]);
    let stale = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::StaleEpoch { .. })));
    };
    stale(older.settle(settlement.clone(), 1).await.map(drop));
    let going_live = Settlement {
        live: true,
        ..settlement.clone()
    };
    stale(older.settle(going_live, 1).await.map(drop));
    stale(older.intend(&Round::default()).await);
    stale(older.set_state("live", None, 1).await);
    stale(older.forget_positions().await);
    assert_eq!(look(&newer, Side::Left, "l").await, Lookup::default());
    newer.settle(settlement, 1).await.unwrap();
}

#[tokio::test]
async fn links_stay_a_bijection_within_a_pair_and_keys_may_swap() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = live(&world.store, sync).await;
    let first = links(vec![
        link(Some("a"), Some("x"), 1),
        link(Some("b"), Some("y"), 2),
        link(Some("alone"), None, 3),
        link(Some("alone too"), None, 3),
    ]);
    ledger.settle(first, 1).await.unwrap();
    for (left, right) in [("a", "z"), ("c", "x")] {
        let second = links(vec![link(Some(left), Some(right), 9)]);
        assert!(ledger.settle(second, 1).await.is_err());
    }
    let mut a = linked(&ledger, Side::Left, "a").await.unwrap();
    let mut b = linked(&ledger, Side::Left, "b").await.unwrap();
    std::mem::swap(&mut a.keys.left, &mut b.keys.left);
    ledger
        .settle(links(vec![a.clone(), b.clone()]), 2)
        .await
        .unwrap();
    assert_eq!(linked(&ledger, Side::Left, "b").await, Some(a));
    assert_eq!(linked(&ledger, Side::Left, "a").await, Some(b.clone()));
    let drop_and_reuse = Settlement {
        dropped: vec![(PAIR, b.id)],
        ..links(vec![link(Some("a"), Some("y"), 5)])
    };
    ledger.settle(drop_and_reuse, 3).await.unwrap();
    let pairs = world.store.view(move |conn| pairs::list(conn, sync)).await;
    assert_eq!(pairs.unwrap()[0].linked, 2);
}

#[tokio::test]
async fn links_of_a_copy_are_found_once_it_is_complete_and_after_a_crash_too() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let some = links(vec![
        link(Some("a"), Some("x"), 1),
        link(Some("b"), Some("y"), 2),
        link(Some("alone"), None, 2),
    ]);
    ledger.settle(some, 1).await.unwrap();
    drop(ledger);
    let world = world.reopened();
    let ledger = begin(&world.store, sync).await;
    for (side, key) in [(Side::Left, "a"), (Side::Right, "y"), (Side::Left, "alone")] {
        assert!(linked(&ledger, side, key).await.is_some(), "{key}");
    }
    // A dropped link with the greatest number must not make later ones unfindable.
    let alone = linked(&ledger, Side::Left, "alone").await.unwrap();
    let more = Settlement {
        dropped: vec![(PAIR, alone.id)],
        ..links(vec![link(Some("c"), Some("z"), 3)])
    };
    ledger.settle(more, 1).await.unwrap();
    let end = Settlement {
        live: true,
        ..links(vec![link(Some("d"), Some("w"), 4)])
    };
    ledger.settle(end, 1).await.unwrap();
    ledger.forget_positions().await.unwrap();
    ledger
        .settle(links(vec![link(Some("e"), Some("v"), 4)]), 1)
        .await
        .unwrap();
    let ledger = begin(&world.store, sync).await;
    for (side, key) in [(Side::Left, "c"), (Side::Right, "w"), (Side::Left, "e")] {
        assert!(linked(&ledger, side, key).await.is_some(), "{key}");
    }
    assert!(linked(&ledger, Side::Left, "alone").await.is_none());
    let pairs = world.store.view(move |conn| pairs::list(conn, sync)).await;
    assert_eq!(pairs.unwrap()[0].linked, 5);
}

#[tokio::test]
async fn a_second_link_that_a_copy_made_is_dropped_before_the_sync_goes_live() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let copied = links(vec![
        link(Some("a"), Some("x"), 1),
        link(Some("b"), Some("x"), 2),
        link(Some("a"), Some("y"), 3),
        link(Some("c"), Some("z"), 4),
    ]);
    ledger.settle(copied, 1).await.unwrap();
    let end = Settlement {
        live: true,
        ..Settlement::default()
    };
    ledger.settle(end, 1).await.unwrap();
    let first = linked(&ledger, Side::Left, "a").await.unwrap();
    assert_eq!(first.keys.right, Some(Key::single("x")));
    assert_eq!(linked(&ledger, Side::Right, "x").await, Some(first));
    assert_eq!(linked(&ledger, Side::Left, "b").await, None);
    assert_eq!(linked(&ledger, Side::Right, "y").await, None);
    let pairs = world.store.view(move |conn| pairs::list(conn, sync)).await;
    assert_eq!(pairs.unwrap()[0].linked, 2);
}

#[tokio::test]
async fn an_intended_round_is_found_again_until_a_settlement_completes_it() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let round = Round {
        batches: BySide::new(Some(BatchId::of_run(1, 1)), None),
        ..Round::default()
    };
    begin(&world.store, sync)
        .await
        .intend(&round)
        .await
        .unwrap();
    let world = world.reopened();
    let ledger = begin(&world.store, sync).await;
    assert_eq!(ledger.resume().await.unwrap().round, Some(round.clone()));
    assert!(
        ledger.intend(&round).await.is_err(),
        "one open round at most"
    );
    let done = Settlement {
        round_done: true,
        ..Settlement::default()
    };
    ledger.settle(done, 1).await.unwrap();
    assert_eq!(ledger.resume().await.unwrap().round, None);
}

#[tokio::test]
async fn traces_of_gone_keys_last_until_both_offset_and_batch_have_passed() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let gone = |key: &str, seen, written| Gone {
        pair: PAIR,
        side: Side::Right,
        key: Key::single(key),
        trace: Trace {
            since: Since::default(),
            seen: Place::end_of(seen),
            written,
        },
    };
    let settlement = Settlement {
        gone: vec![
            gone("old", 5, BatchId::of_run(3, 4)),
            gone("late", 9, BatchId::NONE),
            gone("ours", 5, BatchId::of_run(3, 5)),
        ],
        ..Settlement::default()
    };
    ledger.settle(settlement, 1).await.unwrap();
    let traces = async |key: &str| look(&ledger, Side::Right, key).await.traces;
    assert_eq!(traces("old").await[0].seen, Place::end_of(5));
    assert_eq!(look(&ledger, Side::Left, "old").await.traces, []);
    let moved = Settlement {
        positions: BySide::new(Some(position(100)), Some(position(8))),
        ..Settlement::default()
    };
    ledger.settle(moved, 1).await.unwrap();
    assert_eq!(look(&ledger, Side::Right, "old").await, Lookup::default());
    assert_eq!(traces("late").await[0].seen, Place::end_of(9));
    assert_eq!(traces("ours").await[0].written, BatchId::of_run(3, 5));
}

#[tokio::test]
async fn a_finding_waits_longer_each_time_and_closes_with_success() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let failed = |code| Settlement {
        findings: vec![Finding {
            pair: PAIR,
            side: Side::Left,
            key: Key::single("bad"),
            code,
            detail: "column \"title\"".to_owned(),
        }],
        ..Settlement::default()
    };
    ledger
        .settle(failed(FindingCode::NotNullViolation), 0)
        .await
        .unwrap();
    assert!(look(&ledger, Side::Left, "bad").await.has_finding);
    assert!(
        ledger
            .take_due_findings(59_999, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let due = vec![(Side::Left, PAIR, Key::single("bad"))];
    assert_eq!(ledger.take_due_findings(60_000, 10).await.unwrap(), due);
    assert!(
        ledger
            .take_due_findings(60_001, 10)
            .await
            .unwrap()
            .is_empty(),
        "taken"
    );
    ledger
        .settle(failed(FindingCode::CheckViolation), 60_000)
        .await
        .unwrap();
    assert!(
        ledger
            .take_due_findings(179_999, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(ledger.take_due_findings(180_000, 10).await.unwrap(), due);

    let sealer = world.store.sealer().clone();
    let all = findings::Filter {
        limit: 10,
        ..findings::Filter::default()
    };
    let list = world
        .store
        .view(move |conn| findings::list(conn, &sealer, "default", &all))
        .await;
    let list = list.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].finding.code, FindingCode::CheckViolation);
    assert_eq!((list[0].attempts, list[0].first_at_ms), (2, 0));
    let resolved = Settlement {
        resolved: vec![(PAIR, Side::Left, Key::single("bad"))],
        ..Settlement::default()
    };
    ledger.settle(resolved, 1).await.unwrap();
    assert!(!look(&ledger, Side::Left, "bad").await.has_finding);
}

fn ten() -> conflicts::Filter {
    conflicts::Filter {
        limit: 10,
        ..conflicts::Filter::default()
    }
}

#[tokio::test]
async fn conflicts_and_history_read_back_as_settled() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let keys = BySide::new(Some(Key::single("l")), Some(Key::single("r")));
    let conflict = Conflict {
        pair: PAIR,
        keys: keys.clone(),
        field: Some(1),
        values: BySide::new(Cell::Value(Value::Float(f64::INFINITY)), Cell::Unchanged),
        times: BySide::new(Some(5), None),
        winner: Some(Side::Right),
    };
    let applied = |write, side| Applied {
        pair: PAIR,
        side,
        write,
        why: Why::Conflict,
        batch: BatchId::of_run(1, 7),
        keys: keys.clone(),
        former_key: Some(Key::single("former")),
        fields: vec![0, 2],
        values: Values::Kept(vec![FieldWrite {
            field: 2,
            before: Some(Value::Null),
            after: Some(Value::Bytes(vec![0, 255])),
        }]),
        print: Fingerprint(9),
        source_time: Some(-3),
    };
    let writes = vec![
        applied(Write::Update, Side::Left),
        applied(Write::Delete, Side::Right),
    ];
    let settlement = Settlement {
        conflicts: vec![Noted {
            conflict: conflict.clone(),
            link: None,
        }],
        applied: writes.clone(),
        ..Settlement::default()
    };
    ledger.settle(settlement, 77).await.unwrap();
    let sealer = world.store.sealer().clone();
    let found = world
        .store
        .view(move |conn| conflicts::list(conn, &sealer, "default", &ten()))
        .await
        .unwrap();
    assert_eq!((found.len(), found[0].at_ms), (1, 77));
    assert_eq!(found[0].conflict, conflict);
    let keys = RecordKeys::new(world.store.sealer(), sync);
    let all = history::Filter {
        limit: 10,
        ..history::Filter::default()
    };
    let listed = world
        .store
        .view(move |conn| history::list(conn, &keys, sync, &all));
    let all = listed.await.unwrap();
    let applied = all.into_iter().rev().map(|record| record.applied);
    assert_eq!(applied.collect::<Vec<_>>(), writes);
    let counted = world.store.view(move |conn| pairs::list(conn, sync)).await;
    assert_eq!(counted.unwrap()[0].writes, BySide::new(1, 1));
}

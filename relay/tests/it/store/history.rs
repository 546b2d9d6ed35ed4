//! History: what is kept of a write, for how long, and how it is found.

use tidegate_relay::store::mappings::MappedTable;
use tidegate_relay::store::syncs::SyncId;
use tidegate_relay::store::{Ledger, RecordKeys, history, runs};
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::Write;
use tidegate_sync::model::{BatchId, BySide, Key, PairId, Side};
use tidegate_sync::session::{Applied, FieldWrite, Settlement, Values, Why};
use tidegate_sync::value::Value;

use super::World;

const PAIR: PairId = PairId(0);

/// An update of the left record `key` from "old" to `new`, by the run's batch `count`.
fn update(key: &str, new: &str, count: u32) -> Applied {
    Applied {
        pair: PAIR,
        side: Side::Left,
        write: Write::Update,
        why: Why::Change,
        batch: BatchId::of_run(1, count),
        keys: BySide::new(Some(Key::single(key)), Some(Key::single("r"))),
        former_key: None,
        fields: vec![1],
        values: Values::Kept(vec![FieldWrite {
            field: 1,
            before: Some(Value::Text("old".to_owned())),
            after: Some(Value::Text(new.to_owned())),
        }]),
        print: Fingerprint(5),
        source_time: None,
    }
}

async fn settle(ledger: &Ledger, applied: Vec<Applied>, at_ms: i64) {
    let settlement = Settlement {
        applied,
        ..Settlement::default()
    };
    ledger.settle(settlement, at_ms).await.unwrap();
}

async fn listed(world: &World, sync: SyncId, filter: history::Filter) -> Vec<Applied> {
    let keys = RecordKeys::new(world.store.sealer(), sync);
    let filter = history::Filter {
        limit: 100,
        ..filter
    };
    let found = world
        .store
        .view(move |conn| history::list(conn, &keys, sync, &filter));
    let found = found.await.unwrap();
    found.into_iter().map(|record| record.applied).collect()
}

#[tokio::test]
async fn writes_are_found_by_run_batch_side_time_and_record() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 1, 1).await.unwrap();
    let (one, two) = (update("a", "1", 1), update("b", "2", 2));
    settle(&ledger, vec![one.clone()], 100).await;
    settle(&ledger, vec![two.clone()], 200).await;
    let both = vec![two.clone(), one.clone()];
    type Choose = fn(&mut history::Filter);
    let chosen: [(Choose, Vec<Applied>); 11] = [
        (|_| {}, both.clone()),
        (|f| f.run = Some(1), both.clone()),
        (|f| f.run = Some(2), vec![]),
        (|f| f.batch = Some(BatchId::of_run(1, 2)), vec![two.clone()]),
        (|f| f.side = Some(Side::Right), vec![]),
        (|f| f.written_as = Some(unnamed(1)), vec![]),
        (|f| f.written_as = Some(unnamed(0)), both.clone()),
        (|f| f.since_ms = Some(200), vec![two.clone()]),
        (|f| f.until_ms = Some(200), vec![one.clone()]),
        (|f| f.keys = vec![Key::single("a")], vec![one.clone()]),
        (|f| f.keys = vec![Key::single("r")], both.clone()),
    ];
    for (choose, expected) in chosen {
        let mut filter = history::Filter::default();
        choose(&mut filter);
        assert_eq!(
            listed(&world, sync, filter.clone()).await,
            expected,
            "{filter:?}"
        );
    }
}

/// Writes of this pair that nobody named.
fn unnamed(pair: u32) -> history::WrittenAs {
    history::WrittenAs {
        mappings: Vec::new(),
        pair: Some(PairId(pair)),
    }
}

#[tokio::test]
async fn a_tables_writes_are_found_by_what_it_was_called_not_by_the_number_of_its_pair() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 1, 1).await.unwrap();
    let called = |name: &str| MappedTable {
        tables: (name.to_owned(), name.to_owned()),
        ..MappedTable::default()
    };
    for (name, count) in [("posts", 1), ("notes", 2)] {
        let keeping = history::Keeping {
            tables: vec![called(name)],
            ..history::Keeping::default()
        };
        let ledger = ledger.clone().keeping(keeping).await.unwrap();
        settle(&ledger, vec![update("a", name, count)], 1).await;
    }
    let posts = history::Filter {
        written_as: Some(history::WrittenAs {
            mappings: vec![called("posts").print()],
            ..unnamed(0)
        }),
        ..history::Filter::default()
    };
    assert_eq!(listed(&world, sync, posts).await, [update("a", "posts", 1)]);
}

#[tokio::test]
async fn values_that_are_not_wanted_or_too_long_are_not_kept_and_it_says_so() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 1, 1).await.unwrap();
    settle(&ledger, vec![update("a", &"x".repeat(300_000), 1)], 1).await;
    let off = history::Keeping {
        no_values: true,
        ..history::Keeping::default()
    };
    let off = ledger.clone().keeping(off).await.unwrap();
    settle(&off, vec![update("a", "short", 2)], 2).await;
    let kept: Vec<Values> = listed(&world, sync, history::Filter::default())
        .await
        .into_iter()
        .map(|applied| applied.values)
        .collect();
    assert_eq!(kept, [Values::Off, Values::TooLong]);
}

#[tokio::test]
async fn what_is_past_its_time_is_forgotten_and_what_is_not_stays() {
    let world = World::new();
    let (sync, other) = (world.add_sync("blog").await, world.add_sync("shop").await);
    let ledger = Ledger::begin(&world.store, sync, 1, 1).await.unwrap();
    let others = Ledger::begin(&world.store, other, 1, 1).await.unwrap();
    settle(&ledger, vec![update("a", "1", 1), update("a", "2", 1)], 100).await;
    settle(&ledger, vec![update("a", "3", 2)], 200).await;
    settle(&others, vec![update("a", "4", 1)], 100).await;
    let forgotten = world.store.transact(move |tx| {
        let is_more = history::forget_some(tx, sync, 200)?;
        runs::forget_before(tx, sync, 200)?;
        Ok(is_more)
    });
    assert!(!forgotten.await.unwrap());
    let all = history::Filter::default;
    assert_eq!(listed(&world, sync, all()).await, [update("a", "3", 2)]);
    assert_eq!(listed(&world, other, all()).await, [update("a", "4", 1)]);

    world
        .store
        .transact(move |tx| history::forget_some_values(tx, sync))
        .await
        .unwrap();
    assert_eq!(listed(&world, sync, all()).await[0].values, Values::Off);
    assert_ne!(listed(&world, other, all()).await[0].values, Values::Off);
}

#[tokio::test]
async fn a_run_is_listed_with_its_writes_and_when_they_were() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let first = Ledger::begin(&world.store, sync, 1, 1).await.unwrap();
    settle(&first, vec![update("a", "1", 1)], 100).await;
    settle(&first, vec![update("a", "2", 2), update("b", "2", 2)], 300).await;
    let second = Ledger::begin(&world.store, sync, 1, 400).await.unwrap();
    let made = Applied {
        side: Side::Right,
        write: Write::Create,
        ..update("c", "1", 1)
    };
    settle(&second, vec![made], 500).await;
    let listed = |limit| {
        world
            .store
            .view(move |conn| runs::list(conn, sync, None, limit))
    };
    let of = |creates, updates| runs::Writes {
        creates,
        updates,
        deletes: 0,
    };
    let expected = [
        runs::RunRecord {
            run: 2,
            first_at_ms: 500,
            last_at_ms: 500,
            writes: BySide::new(of(0, 0), of(1, 0)),
        },
        runs::RunRecord {
            run: 1,
            first_at_ms: 100,
            last_at_ms: 300,
            writes: BySide::new(of(0, 3), of(0, 0)),
        },
    ];
    assert_eq!(listed(10).await.unwrap(), expected);
    assert_eq!(listed(1).await.unwrap(), expected[..1]);
    let forgotten = world
        .store
        .transact(move |tx| runs::forget_before(tx, sync, 301));
    forgotten.await.unwrap();
    assert_eq!(listed(10).await.unwrap(), expected[..1]);
}

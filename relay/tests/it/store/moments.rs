//! Several records have a key, one after the other: links and traces are told apart by since when.

use tidegate_relay::store::{Ledger, Store};
use tidegate_sync::model::{
    BatchId, BySide, Key, Link, LinkId, Lookup, PairId, Place, Position, Side, Since, Trace,
};
use tidegate_sync::session::{Gone, Settlement};

use super::{World, link};

const PAIR: PairId = PairId(0);

async fn look(ledger: &Ledger, side: Side, key: &str) -> Lookup {
    let keys = vec![(side, PAIR, Key::single(key))];
    ledger.load(keys).await.unwrap().remove(0)
}

fn links(links: Vec<Link>) -> Settlement {
    Settlement {
        links: links.into_iter().map(|link| (PAIR, link)).collect(),
        ..Settlement::default()
    }
}

fn moment(batch: u32, offset: u64, at: u64) -> Since {
    let place = Place { offset, at };
    Since {
        batch: BatchId::of_run(1, batch),
        place,
    }
}

/// A link whose right record has key `key` since then.
fn since(left: &str, right: &str, since: Since) -> Link {
    let mut link = link(Some(left), Some(right), 1);
    link.since.right = since;
    link
}

async fn live(world: &World) -> Ledger {
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 1, 5).await.unwrap();
    let settlement = Settlement {
        live: true,
        ..Settlement::default()
    };
    ledger.settle(settlement, 1).await.unwrap();
    ledger
}

fn lefts(lookup: &Lookup) -> Vec<String> {
    let left = |link: &Link| link.keys.left.as_ref().unwrap().to_string();
    lookup.links.iter().map(left).collect()
}

#[tokio::test]
async fn links_of_one_key_are_all_found_in_the_order_of_their_moments() {
    let world = World::new();
    let ledger = live(&world).await;
    let last = moment(2, 7, u64::MAX);
    let ids = ledger
        .settle(
            links(vec![
                since("c", "r", last),
                since("a", "r", moment(1, 900, 5)),
                since("b", "r", moment(2, 7, 1 << 62)),
            ]),
            1,
        )
        .await
        .unwrap();
    let found = look(&ledger, Side::Right, "r").await;
    assert_eq!(lefts(&found), ["a", "b", "c"]);
    let by_id = [ids[1], ids[2], ids[0]];
    assert_eq!(found.links.iter().map(|l| l.id).collect::<Vec<_>>(), by_id);
    assert_eq!(found.links[2].since.right, last);
    // At one moment a key names one record.
    let second = links(vec![since("d", "r", last)]);
    assert!(ledger.settle(second, 1).await.is_err());

    // One is dropped, one is widowed, one gets the key anew.
    let [a, b, c] = &found.links[..] else {
        panic!("{found:?}");
    };
    let mut widowed = b.clone();
    widowed.keys.right = None;
    widowed.gone.right = true;
    let mut moved = c.clone();
    moved.since.right = moment(3, 0, 0);
    let settlement = Settlement {
        dropped: vec![(PAIR, a.id)],
        ..links(vec![moved.clone(), widowed.clone()])
    };
    let ids = ledger.settle(settlement, 2).await.unwrap();
    assert_eq!(ids, [c.id, b.id]);
    assert_eq!(look(&ledger, Side::Right, "r").await.links, [moved]);
    assert_eq!(look(&ledger, Side::Left, "b").await.links, [widowed]);
    let reused = links(vec![since("e", "r", last)]);
    ledger.settle(reused, 3).await.unwrap();
    assert_eq!(lefts(&look(&ledger, Side::Right, "r").await), ["e", "c"]);
}

#[tokio::test]
async fn a_copy_keeps_both_links_of_a_key_and_drops_a_second_of_one_moment() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 1, 5).await.unwrap();
    let ids = ledger
        .settle(
            links(vec![
                since("a", "r", moment(1, 0, 0)),
                since("b", "r", moment(2, 0, 0)),
                since("c", "r", moment(1, 0, 0)),
                since("d", "q", moment(1, 0, 0)),
            ]),
            1,
        )
        .await
        .unwrap();
    let end = Settlement {
        live: true,
        ..Settlement::default()
    };
    ledger.settle(end, 2).await.unwrap();
    assert_eq!(lefts(&look(&ledger, Side::Right, "r").await), ["a", "b"]);
    let d = look(&ledger, Side::Left, "d").await;
    assert_eq!(d.links[0].id, ids[3], "numbers of appended links are told");
    assert!(ids[0] > LinkId(0));
    assert_eq!(look(&ledger, Side::Left, "c").await.links, []);
}

#[tokio::test]
async fn traces_of_one_key_are_kept_by_moment_and_only_move_forward() {
    let world = World::new();
    let ledger = live(&world).await;
    let trace = |since, offset, at, written| Trace {
        since,
        seen: Place { offset, at },
        written: BatchId::of_run(1, written),
    };
    let leave = async |trace: Trace| {
        let gone = Gone {
            pair: PAIR,
            side: Side::Right,
            key: Key::single("r"),
            trace,
        };
        let settlement = Settlement {
            gone: vec![gone],
            ..Settlement::default()
        };
        ledger.settle(settlement, 1).await.unwrap();
    };
    let (first, second) = (moment(1, 0, 0), moment(1, 5, u64::MAX));
    leave(trace(second, 9, 1, 0)).await;
    leave(trace(first, 5, u64::MAX, 2)).await;
    leave(trace(first, 5, 3, 4)).await;
    let expected = [trace(first, 5, u64::MAX, 4), trace(second, 9, 1, 0)];
    assert_eq!(look(&ledger, Side::Right, "r").await.traces, expected);
    let moved = |offset, passed| Settlement {
        positions: BySide::from_fn(|_| {
            Some(Position {
                offset,
                passed: BatchId::of_run(1, passed),
                cursor: String::new(),
            })
        }),
        ..Settlement::default()
    };
    ledger.settle(moved(5, 3), 1).await.unwrap();
    assert_eq!(look(&ledger, Side::Right, "r").await.traces, expected);
    ledger.settle(moved(5, 4), 1).await.unwrap();
    assert_eq!(look(&ledger, Side::Right, "r").await.traces, expected[1..]);
    ledger.settle(moved(9, 4), 1).await.unwrap();
    assert_eq!(look(&ledger, Side::Right, "r").await.traces, []);
}

/// Takes a store back to version 3, with what is in it: old columns and tables had no moments.
fn take_back(path: &std::path::Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(
        "alter table links drop column left_since;
         alter table links drop column right_since;
         alter table links drop column left_seen_at;
         alter table links drop column right_seen_at;
         alter table links drop column left_gone;
         alter table links drop column right_gone;
         create table old_keys (sync integer not null references syncs (id) on delete cascade,
             pair integer not null, side integer not null, key_hash blob not null,
             link integer not null, primary key (sync, pair, side, key_hash)
         ) strict, without rowid;
         insert into old_keys select sync, pair, side, key_hash, link from link_keys;
         drop table link_keys;
         alter table old_keys rename to link_keys;
         create table old_stones (sync integer not null references syncs (id) on delete cascade,
             pair integer not null, side integer not null, key_hash blob not null,
             seen integer not null, written integer not null,
             primary key (sync, pair, side, key_hash)
         ) strict, without rowid;
         insert into old_stones select sync, pair, side, key_hash, seen, written from tombstones;
         drop table tombstones;
         alter table old_stones rename to tombstones;
         create index tombstones_seen on tombstones (sync, side, seen);
         drop table definitions;
         alter table syncs drop column layout;
         alter table pairs drop column due;
         alter table pairs drop column left_known;
         alter table pairs drop column right_known;
         drop table conflicts;
         create table conflicts (id integer primary key, workspace text not null,
             sync integer not null references syncs (id) on delete cascade,
             pair integer not null, at integer not null, winner integer not null,
             field integer, body blob not null
         ) strict;
         create index conflicts_sync on conflicts (sync, at);
         drop table verifications;
         drop table runs;
         drop table mappings;
         drop table identities;
         drop table sessions;
         drop table users;
         drop table drafts;
         drop index findings_workspace;
         drop table answers;
         drop table deliveries;
         drop table news;
         drop table matters;
         drop table channels;
         alter table history drop column mapping;
         alter table history drop column why;
         alter table history drop column batch;
         alter table history drop column print;
         alter table history drop column kept;
         alter table history drop column values_sealed;
         alter table connections drop column capture;
         delete from refinery_schema_history where version >= 4;",
    )
    .unwrap();
}

#[tokio::test]
async fn rows_of_the_version_before_are_known_whole_and_from_the_beginning() {
    let world = World::new();
    let ledger = live(&world).await;
    let mut expected = since("l", "r", moment(1, 2, 3));
    let gone = Gone {
        pair: PAIR,
        side: Side::Left,
        key: Key::single("old"),
        trace: Trace {
            since: moment(1, 2, 3),
            seen: Place { offset: 7, at: 3 },
            written: BatchId::of_run(1, 1),
        },
    };
    let settlement = Settlement {
        gone: vec![gone],
        ..links(vec![expected.clone()])
    };
    expected.id = ledger.settle(settlement, 1).await.unwrap()[0];
    let (sync, dir) = (ledger.sync(), world.dir);
    drop((ledger, world.store));
    take_back(&dir.path().join("tidegate.db"));

    let store = Store::open(dir.path()).unwrap();
    let ledger = Ledger::begin(&store, sync, 1, 5).await.unwrap();
    expected.since = BySide::default();
    expected.seen = BySide::new(Place::end_of(10), Place::end_of(20));
    for (side, key) in [(Side::Left, "l"), (Side::Right, "r")] {
        let found = look(&ledger, side, key).await.links;
        assert_eq!(found, [expected.clone()]);
    }
    let trace = Trace {
        since: Since::default(),
        seen: Place::end_of(7),
        written: BatchId::of_run(1, 1),
    };
    assert_eq!(look(&ledger, Side::Left, "old").await.traces, [trace]);
    // The key's next tenant comes beside the old link.
    let next = links(vec![since("m", "r", moment(2, 0, 0))]);
    ledger.settle(next, 1).await.unwrap();
    assert_eq!(lefts(&look(&ledger, Side::Right, "r").await), ["l", "m"]);
}

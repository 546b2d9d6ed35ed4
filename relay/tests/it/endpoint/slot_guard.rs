//! The guard of replication slots on a real server.

use tidegate_relay::endpoint::Endpoint;
use tidegate_relay::endpoint::level::Level;
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_sync::model::Side;

use crate::support::bench::Bench;
use crate::support::stream::{Stream, next};

const TABLE: &str = "create table posts (id int primary key, title text)";
const MB: u64 = 1024 * 1024;

async fn stream(sync: &str) -> Stream {
    Stream::new(sync, TABLE, &[("posts", &["title"])]).await
}

#[tokio::test]
async fn look_tells_what_the_slot_keeps_and_who_reads_it() {
    let stream = stream("guard_look").await;
    let mut guard = PostgresEndpoint::new(stream.database.dial()).guard();
    let sync = stream.sync.clone();
    assert_eq!(guard.look(&sync, Side::Left).await.unwrap(), None);
    let (capture, _) = stream.start().await;
    let reading = guard.look(&sync, Side::Left).await.unwrap().unwrap();
    assert!(reading.active && !reading.is_lost(), "{reading:?}");
    assert_eq!(reading.name, format!("tidegate_{sync}_l"));
    assert_eq!(reading.keeps_max_bytes, None);
    assert_eq!(guard.look(&sync, Side::Right).await.unwrap(), None);
    drop(capture);
    let fill = "insert into posts select n, repeat('x', 1000) from generate_series(1, 4000) n";
    stream.execute(fill).await;
    let kept = guard.look(&sync, Side::Left).await.unwrap().unwrap();
    assert!(kept.retained_bytes > reading.retained_bytes.map(|before| before + 4 * MB));
    assert!(kept.unconfirmed_bytes >= Some(4 * MB), "{kept:?}");
    assert!(kept.written_bytes >= reading.written_bytes + 4 * MB);
}

#[tokio::test]
async fn slot_is_given_up_above_the_bound_only_and_from_under_its_reader() {
    let stream = stream("guard_give_up").await;
    let mut guard = PostgresEndpoint::new(stream.database.dial()).guard();
    let sync = stream.sync.clone();
    let (mut capture, _) = stream.start().await;
    assert!(!guard.give_up(&sync, Side::Left, 500 * MB).await.unwrap());
    assert!(guard.look(&sync, Side::Left).await.unwrap().is_some());
    // Not ours to drop, however much it keeps.
    assert!(!guard.give_up(&sync, Side::Right, 0).await.unwrap());
    stream.execute("insert into posts values (1, 'a')").await;
    assert!(guard.give_up(&sync, Side::Left, 1).await.unwrap());
    assert_eq!(guard.look(&sync, Side::Left).await.unwrap(), None);
    let ended = loop {
        if let Err(error) = next(&mut capture).await {
            break error;
        }
    };
    assert!(
        matches!(ended.class, tidegate_relay::endpoint::Class::Retry(_)),
        "{ended:?}"
    );
}

#[tokio::test]
async fn heartbeat_is_something_to_read_although_the_tables_are_quiet() {
    let stream = stream("guard_beat").await;
    let (snapshot, position) = stream.start_over().await;
    drop(snapshot);
    let peek = format!(
        "select count(*)::text from pg_logical_slot_peek_binary_changes('{}', null, null,
             'proto_version', '1', 'publication_names', '{}', 'messages', 'true')
         where position('heartbeat'::bytea in data) > 0",
        stream.names.slot, stream.names.publication
    );
    assert_eq!(stream.ask(&peek).await, "0");
    let mut guard = PostgresEndpoint::new(stream.database.dial()).guard();
    assert!(guard.beat().await.unwrap());
    assert_eq!(stream.ask(&peek).await, "1");
    let mut capture = stream.resume(&position).await.unwrap();
    let read = stream.read(&mut capture).await;
    assert!(
        read.changes.is_empty() && read.reconcile.is_empty(),
        "no change"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outbox_is_bounded_like_a_slot_and_given_up_without_breaking_a_write() {
    let mut bench = Bench::new(Level::Triggers, TABLE, &[("posts", &["title"])]).await;
    let (copy, capture) = bench.start().await;
    let mut guard = PostgresEndpoint::new(bench.database.dial()).guard();
    let before = guard.look(&bench.sync, Side::Left).await.unwrap().unwrap();
    assert_eq!(before.name, format!("tidegate.outbox_{}_l", bench.sync));
    drop(capture);
    let fill = "insert into posts select n, repeat('x', 100) from generate_series(1, 20000) n";
    bench.execute(fill).await;
    let kept = guard.look(&bench.sync, Side::Left).await.unwrap().unwrap();
    assert!(kept.retained_bytes > before.retained_bytes.map(|bytes| bytes + MB));
    assert!(
        !guard
            .give_up(&bench.sync, Side::Left, 500 * MB)
            .await
            .unwrap()
    );
    assert!(guard.give_up(&bench.sync, Side::Left, MB).await.unwrap());
    assert_eq!(guard.look(&bench.sync, Side::Left).await.unwrap(), None);
    bench.execute("insert into posts values (0, 'later')").await;
    let checked = bench.side.check_position(&copy.position).await.unwrap();
    assert!(checked.is_err_and(|reason| reason.contains("is gone")));
}

//! Positions: resuming, advancing while idle, acknowledging only what is settled.

use tidegate_relay::endpoint::postgres::replication::parse_lsn;
use tidegate_relay::endpoint::{Capture, Class};
use tidegate_sync::model::Position;

use crate::support::postgres::Server;
use crate::support::stream::{Stream, briefs, next, read_to};

const DDL: &str = "create table posts (id int primary key, title text)";
const FIELDS: &[(&str, &[&str])] = &[("posts", &["title"])];

async fn confirmed(stream: &Stream) -> u64 {
    let sql = format!(
        "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '{}'",
        stream.names.slot
    );
    parse_lsn(&stream.ask(&sql).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_loses_nothing_and_repeats_only_what_was_not_settled() {
    let posts = Stream::new("resume", DDL, FIELDS).await;
    let (mut capture, start) = posts.start().await;
    posts.execute("insert into posts values (1, 'a')").await;
    let first = posts.read(&mut capture).await;
    assert_eq!(briefs(&first), ["+1 a"]);
    posts.execute("insert into posts values (2, 'b')").await;
    assert_eq!(briefs(&posts.read(&mut capture).await), ["+2 b"]);
    drop(capture);

    // Nothing was acknowledged yet: the very start still works.
    posts.execute("insert into posts values (3, 'c')").await;
    let mut capture = posts.resume(&start).await.unwrap();
    assert_eq!(
        briefs(&posts.read(&mut capture).await),
        ["+1 a", "+2 b", "+3 c"]
    );
    drop(capture);

    let mut capture = posts.resume(&first.position).await.unwrap();
    let second = posts.read(&mut capture).await;
    assert_eq!(briefs(&second), ["+2 b", "+3 c"]);
    drop(capture);

    // Every commit's own offset is a position to resume at.
    for (at, change) in second.changes.iter().enumerate() {
        let position = Position {
            offset: change.offset,
            ..start.clone()
        };
        let mut capture = posts.resume(&position).await.unwrap();
        let rest = posts.read(&mut capture).await;
        assert_eq!(briefs(&rest), briefs(&second)[at + 1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_acknowledged_is_confirmed_to_the_server() {
    let posts = Stream::new("settle", DDL, FIELDS).await;
    let (mut capture, start) = posts.start().await;
    posts.execute("insert into posts values (1, 'a')").await;
    let first = posts.read(&mut capture).await;
    posts.execute("insert into posts values (2, 'b')").await;
    posts.read(&mut capture).await;
    assert_eq!(confirmed(&posts).await, start.offset);
    capture.acknowledge(&first.position);
    while confirmed(&posts).await < first.position.offset {
        tokio::task::yield_now().await;
    }
    assert_eq!(confirmed(&posts).await, first.position.offset);
}

#[tokio::test(flavor = "multi_thread")]
async fn position_moves_while_only_another_database_writes() {
    let posts = Stream::new("idle", DDL, FIELDS).await;
    let (mut capture, _) = posts.start().await;
    let other = posts.database.server.database("busy").await.client().await;
    other.batch_execute("create table t (n int)").await.unwrap();
    for n in 0..5 {
        other
            .batch_execute(&format!("insert into t values ({n})"))
            .await
            .unwrap();
        let end = "select pg_current_wal_flush_lsn()::text";
        let end = parse_lsn(&posts.ask(end).await).unwrap();
        let captured = read_to(&mut capture, end).await;
        assert!(captured.changes.is_empty());
        capture.acknowledge(&captured.position);
    }
    let last = posts.read(&mut capture).await.position;
    capture.acknowledge(&last);
    while confirmed(&posts).await < last.offset {
        tokio::task::yield_now().await;
    }
    drop(capture);
    // A position from a keepalive is one to resume at.
    posts.execute("insert into posts values (1, 'a')").await;
    let mut capture = posts.resume(&last).await.unwrap();
    assert_eq!(briefs(&posts.read(&mut capture).await), ["+1 a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_touch_no_bound_table_move_the_position_too() {
    let ddl = format!("{DDL}; create table other (id int primary key)");
    let posts = Stream::new("unbound", &ddl, FIELDS).await;
    let (mut capture, _) = posts.start().await;
    posts
        .execute("insert into other select generate_series(1, 1000)")
        .await;
    let end = parse_lsn(&posts.ask("select pg_current_wal_flush_lsn()::text").await).unwrap();
    assert!(read_to(&mut capture, end).await.changes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_outside_of_transactions_moves_the_position() {
    let posts = Stream::new("message", DDL, FIELDS).await;
    let (mut capture, _) = posts.start().await;
    let lsn = posts.ask("select pg_current_wal_insert_lsn()::text").await;
    posts
        .ask("select pg_logical_emit_message(false, 'tidegate.fence', '')::text")
        .await;
    read_to(&mut capture, parse_lsn(&lsn).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_positions_come_in_moderation() {
    let posts = Stream::new("calm", DDL, FIELDS).await;
    let (mut capture, _) = posts.start().await;
    let began = tokio::time::Instant::now();
    let writer = posts.database.client().await;
    let writes = tokio::spawn(async move {
        while began.elapsed() < std::time::Duration::from_millis(1000) {
            let sql = "select pg_logical_emit_message(true, 'noise', '')";
            writer.batch_execute(sql).await.unwrap();
        }
    });
    let mut count = 0;
    while !writes.is_finished() {
        next(&mut capture).await.unwrap();
        count += 1;
    }
    let most = began.elapsed().as_millis() as usize / 100 + 2;
    assert!(count <= most, "{count} positions, at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_stops_in_order_ends_the_stream_for_a_while_only() {
    let server = Server::start_with(&[]);
    let posts = Stream::on(server.database("stops").await, DDL, FIELDS).await;
    let (mut capture, _) = posts.start().await;
    posts.execute("insert into posts values (1, 'a')").await;
    let stopping = tokio::task::spawn_blocking(move || server.stop(false));
    // An orderly stop waits until everything is confirmed.
    let ended = loop {
        match capture.next().await {
            Ok(captured) => {
                let end = captured.end.expect("a small transaction comes whole");
                capture.acknowledge(&end);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(ended.class, Class::Retry(_)), "{ended:?}");
    // Or the session was ended before the stream was (57P01: by an administrator's command).
    let told = ["stops", "57P01"];
    assert!(
        told.iter().any(|told| ended.message.contains(told)),
        "{ended}"
    );
    stopping.await.unwrap();
}

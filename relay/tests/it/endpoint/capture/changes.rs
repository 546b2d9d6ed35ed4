//! What each kind of change arrives as.

use tidegate_relay::endpoint::Capture;
use tidegate_sync::model::BatchId;

use crate::support::stream::{Stream, briefs, next};

const POSTS: &str = "create table posts (id int primary key, title text, body text); \
                     alter table posts alter body set storage external;";
const POSTS_FIELDS: &[(&str, &[&str])] = &[("posts", &["title", "body"])];

async fn posts() -> Stream {
    Stream::new("posts", POSTS, POSTS_FIELDS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_with_key_fields_commit_time_and_offset() {
    let posts = posts().await;
    let (mut capture, start) = posts.start().await;
    posts
        .execute("insert into posts values (1, 'a', null), (2, '', 'x')")
        .await;
    posts
        .execute("update posts set title = 'b' where id = 1")
        .await;
    posts.execute("delete from posts where id = 2").await;
    let captured = posts.read(&mut capture).await;
    assert_eq!(briefs(&captured), ["+1 a,0", "+2 ,x", "~1 b,0", "-2"]);
    let offsets: Vec<u64> = captured
        .changes
        .iter()
        .map(|change| change.offset)
        .collect();
    assert!(start.offset < offsets[0] && offsets[0] == offsets[1] && offsets[1] < offsets[2]);
    assert!(*offsets.last().unwrap() <= captured.position.offset);
    assert_eq!(captured.position.cursor, start.cursor);
    let now = "select (extract(epoch from now() - '2000-01-01Z'::timestamptz) * 1e6)::int8::text";
    let now: i64 = posts.ask(now).await.parse().unwrap();
    for change in &captured.changes {
        let age = now - change.time.unwrap();
        assert!((0..60_000_000).contains(&age), "{age} µs old");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_out_of_line_values_are_neither_null_nor_sent() {
    let posts = posts().await;
    posts
        .execute("insert into posts values (1, 'a', repeat('x', 9000))")
        .await;
    let (mut capture, _) = posts.start().await;
    posts
        .execute("update posts set title = 'b' where id = 1")
        .await;
    posts.execute("update posts set id = 7 where id = 1").await;
    posts
        .execute("update posts set body = repeat('y', 9000) where id = 7")
        .await;
    posts
        .execute("update posts set id = 8, body = null where id = 7")
        .await;
    let captured = posts.read(&mut capture).await;
    let expected = ["~1 b,?", "~1>7 b,?", "~7 b,text[9000]", "~7>8 b,0"];
    assert_eq!(briefs(&captured), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_replica_identity_fills_unchanged_values_in() {
    let posts = posts().await;
    posts
        .execute("alter table posts replica identity full")
        .await;
    posts
        .execute("insert into posts values (1, 'a', repeat('x', 9000))")
        .await;
    let (mut capture, _) = posts.start().await;
    posts.execute("update posts set title = 'b'").await;
    posts.execute("update posts set id = 2").await;
    posts.execute("delete from posts").await;
    let captured = posts.read(&mut capture).await;
    assert_eq!(
        briefs(&captured),
        ["~1 b,text[9000]", "~1>2 b,text[9000]", "-2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_several_columns_comes_in_key_order_even_when_out_of_line() {
    let ddl = "create table files (name text, part int, note text, primary key (part, name)); \
               alter table files alter name set storage external;";
    let files = Stream::new("files", ddl, &[("files", &["note"])]).await;
    let name = "repeat('n', 2100)";
    // The row is too wide for a page, so that even the key's value moves out of line.
    files
        .execute(&format!("insert into files values ({name}, 3, 'a')"))
        .await;
    let (mut capture, _) = files.start().await;
    files.execute("update files set note = 'b'").await;
    files.execute("update files set part = 4").await;
    files.execute("delete from files").await;
    let captured = files.read(&mut capture).await;
    let long = "n".repeat(2100);
    let expected = [
        format!("~3,{long} b"),
        format!("~3,{long}>4,{long} b"),
        format!("-4,{long}"),
    ];
    assert_eq!(briefs(&captured), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_moves_between_partitions_is_gone_and_there_again() {
    let ddl = "create table logs (id int, region text, note text, primary key (id, region)) \
                   partition by list (region); \
               create table logs_a partition of logs for values in ('a'); \
               create table logs_b partition of logs for values in ('b');";
    let logs = Stream::new("logs", ddl, &[("logs", &["region", "note"])]).await;
    let (mut capture, _) = logs.start().await;
    logs.execute("insert into logs values (1, 'a', 'x')").await;
    logs.execute("insert into logs_b values (2, 'b', 'leaf')")
        .await;
    logs.execute("update logs set region = 'b' where id = 1")
        .await;
    logs.execute("create table logs_c partition of logs for values in ('c')")
        .await;
    logs.execute("insert into logs values (3, 'c', 'new leaf')")
        .await;
    let captured = logs.read(&mut capture).await;
    let expected = [
        "+1,a a,x",
        "+2,b b,leaf",
        "-1,a",
        "+1,b b,x",
        "+3,c c,new leaf",
    ];
    assert_eq!(briefs(&captured), expected);
    logs.execute("truncate logs").await;
    let captured = logs.read(&mut capture).await;
    assert_eq!(captured.reconcile.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_savepoints_leave_nothing() {
    let posts = posts().await;
    let (mut capture, _) = posts.start().await;
    posts
        .execute(
            "begin; insert into posts values (1, 'kept'); \
             savepoint a; insert into posts values (2, 'lost'); \
             savepoint b; insert into posts values (3, 'lost'); release b; \
             rollback to a; insert into posts values (4, 'kept'); commit; \
             begin; insert into posts values (5, 'lost'); rollback;",
        )
        .await;
    let captured = posts.read(&mut capture).await;
    assert_eq!(briefs(&captured), ["+1 kept,0", "+4 kept,0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_covers_its_whole_transaction_and_everything_after() {
    let ddl = "create table posts (id int primary key, title text); \
               create table audit (id int primary key, note text); \
               create table other (id int primary key); \
               create function note() returns trigger language plpgsql as $$ begin \
                   insert into audit values (new.id, 'by trigger'); return new; end $$; \
               create trigger note after insert on posts for each row execute function note();";
    let tables: &[(&str, &[&str])] = &[("posts", &["title"]), ("audit", &["note"])];
    let both = Stream::new("marker", ddl, tables).await;
    let (mut capture, _) = both.start().await;
    let batch = BatchId::of_run(1, 2);
    let marker = both.names.marker(batch);
    let emit =
        |content: &str| format!("select pg_logical_emit_message(true, 'tidegate', '{content}')");
    both.execute("insert into posts values (1, 'before')").await;
    let ours = format!(
        "begin; {}; insert into posts values (2, 'ours'); commit",
        emit(&marker)
    );
    both.execute(&ours).await;
    both.execute("insert into posts values (3, 'after')").await;
    // Markers of another side, of another sync, of the past, and garbage.
    for content in [marker.replace(":l:", ":r:"), "x:l:9".into(), "?".into()] {
        both.execute(&format!(
            "begin; {}; insert into other values (1); rollback",
            emit(&content)
        ))
        .await;
        both.execute(&emit(&content)).await;
    }
    both.execute("insert into posts values (4, 'end')").await;
    let captured = both.read(&mut capture).await;
    let none = BatchId::NONE;
    let seen: Vec<_> = captured
        .changes
        .iter()
        .map(|change| (change.key.to_string(), change.passed))
        .collect();
    let expected = [1, 1, 2, 2, 3, 3, 4, 4]
        .map(|key: u32| (key.to_string(), if key == 1 { none } else { batch }));
    assert_eq!(seen, expected);
    assert_eq!(captured.position.passed, batch);

    capture.acknowledge(&captured.position);
    drop(capture);
    let mut capture = both.resume(&captured.position).await.unwrap();
    both.execute("insert into posts values (5, 'resumed')")
        .await;
    let resumed = both.read(&mut capture).await;
    assert_eq!(resumed.changes[0].passed, batch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_change_is_handed_over_at_once() {
    let posts = posts().await;
    let (mut capture, _) = posts.start().await;
    posts
        .execute("insert into posts values (0, 'warm up')")
        .await;
    posts.read(&mut capture).await;
    let mut best = std::time::Duration::MAX;
    for id in 1..20 {
        let began = std::time::Instant::now();
        posts
            .execute(&format!("insert into posts values ({id}, 'x')"))
            .await;
        while next(&mut capture).await.unwrap().changes.is_empty() {}
        best = best.min(began.elapsed());
    }
    // No timer of ours may be in the way: the idle interval alone is 100 ms.
    assert!(best < std::time::Duration::from_millis(80), "{best:?}");
}

//! Consistent views: complete, bounded, and at a position.

use tidegate_sync::model::{BatchId, PairId};
use tokio::sync::mpsc;

use crate::support::postgres::Server;
use crate::support::side::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_view_does_not_see_what_comes_later_and_knows_our_newest_batch() {
    let database = Server::shared().database("view").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table t (id int primary key, n text); insert into t values (1, E'a\\tb\\\\N\\n');
             create table none (id int primary key)",
        )
        .await
        .unwrap();
    let mut side = open(&database, 1, &[("t", &["n"]), ("none", &["id"])]).await;
    let mut writer = side.writer().await.unwrap();
    let before = row(&[text("a\tb\\N\n")]);
    let mut view = side.view().await.unwrap();
    assert_eq!(view.position().passed, BatchId::NONE);
    apply(&mut writer, 1, &[update(key(1), &[(0, text("ours"))], &[])]).await;
    assert_eq!(scan(&mut view, 0).await, [(key(1), before)]);

    let mut view = side.view().await.unwrap();
    assert_eq!(view.position().passed, BatchId::of_run(1, 1));
    client
        .batch_execute("update t set n = 'later'; insert into none values (1)")
        .await
        .unwrap();
    let ours = row(&[text("ours")]);
    assert_eq!(scan(&mut view, 0).await, [(key(1), ours.clone())]);
    assert_eq!(scan(&mut view, 1).await, []);
    let fetched = view.fetch(PairId(0), &[key(9), key(1)]).await.unwrap();
    assert_eq!(fetched, [None, Some(ours)]);
    assert!(view.position().offset > 0);
    assert!(view.estimate(PairId(0)).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_table_arrives_complete_through_a_narrow_channel() {
    let database = Server::shared().database("view").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table t (id bigint primary key, pad text) with (fillfactor = 10);
             insert into t select n, repeat('x', 700) from generate_series(1, 20000) n;
             analyze t",
        )
        .await
        .unwrap();
    // More blocks than one COPY takes.
    let blocks = client
        .query_one("select pg_relation_size('t') / 8192", &[])
        .await
        .unwrap();
    assert!(blocks.get::<_, i64>(0) > 16_384);
    let mut side = open(&database, 1, &[("t", &["pad"])]).await;
    let mut view = side.view().await.unwrap();
    let records = scan(&mut view, 0).await;
    assert_eq!(records.len(), 20_000);
    let estimate = view.estimate(PairId(0)).await.unwrap();
    assert!((15_000..25_000).contains(&estimate), "{estimate}");

    // Whoever goes away ends the copy.
    let (sink, source) = mpsc::channel(1);
    drop(source);
    let error = view.scan(PairId(0), sink).await.unwrap_err();
    assert_eq!(error.code, "copy-stopped");
}

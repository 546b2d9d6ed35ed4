//! Consistent views: complete, bounded, and at a position.

use tidegate_relay::endpoint::{Place, Wanted};
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
    let wanted = [key(9), key(1)].map(|key| Wanted { key, place: None });
    let fetched = view.fetch(PairId(0), &wanted).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn several_readers_share_one_view_and_find_records_where_they_were() {
    let database = Server::shared().database("view").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table t (id bigint primary key, pad text) with (fillfactor = 10);
             insert into t select n, repeat('x', 700) from generate_series(1, 20000) n",
        )
        .await
        .unwrap();
    let sync = database.name.as_str();
    let mut side = open_as(sync, &database, 1, &[("t", &["id", "pad"])]).await;
    for exported in [true, false] {
        let mut view = if exported {
            side.snapshot().await.unwrap()
        } else {
            side.view().await.unwrap()
        };
        let sessions = "select count(*) from pg_stat_activity
             where datname = current_database() and state = 'idle in transaction'
               and application_name = 'tidegate/' || current_database() || '/snapshot'";
        let sessions = client.query_one(sessions, &[]).await.unwrap();
        assert_eq!(sessions.get::<_, i64>(0), 3);
        // Moves every record, and adds one to the end of the last range.
        client
            .batch_execute("update t set pad = 'later'; insert into t values (0, 'later')")
            .await
            .unwrap();
        let records = scan_with_places(&mut view, 0).await;
        assert_eq!(records.len(), 20_000);
        let before = records[0].row[1].clone();
        assert!(records.iter().all(|record| record.row[1] == before));

        // By place, by key, and by a place that is another record's or nobody's by now.
        let mut wanted: Vec<Wanted> = records
            .iter()
            .rev()
            .step_by(7)
            .map(|record| Wanted {
                key: record.key.clone(),
                place: record.place,
            })
            .collect();
        wanted[0].place = None;
        wanted[1].place = wanted[2].place;
        wanted[3].place = Some(Place(u64::from(u32::MAX - 1) << 16 | 1));
        let fetched = view.fetch(PairId(0), &wanted).await.unwrap();
        for (wanted, row) in wanted.iter().zip(fetched) {
            let record = records.iter().find(|record| record.key == wanted.key);
            assert_eq!(row.as_ref(), record.map(|record| &record.row));
        }
        drop(view);
        client
            .batch_execute("delete from t where id = 0; update t set pad = repeat('x', 700)")
            .await
            .unwrap();
    }
}

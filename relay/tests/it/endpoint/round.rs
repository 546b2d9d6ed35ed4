//! All parts of a side together: snapshot, capture, writes, marker and fence.

use std::time::Duration;

use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{Capture, Captured, Endpoint, Writer};
use tidegate_sync::model::{BatchId, Change, ChangeKind, Outcome, PairId};
use tidegate_sync::value::Value;

use crate::support::postgres::{Database, Server};
use crate::support::side::*;

const PATIENCE: Duration = Duration::from_secs(60);

async fn next(capture: &mut Box<dyn Capture>) -> Captured {
    let next = tokio::time::timeout(PATIENCE, capture.next()).await;
    next.expect("the stream stands still").unwrap()
}

/// The next batch that is more than a position.
async fn next_changes(capture: &mut Box<dyn Capture>) -> Vec<Change> {
    loop {
        let captured = next(capture).await;
        if !captured.changes.is_empty() {
            return captured.changes;
        }
    }
}

/// Reads until the stream has passed `offset`.
async fn until(capture: &mut Box<dyn Capture>, offset: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let captured = next(capture).await;
        changes.extend(captured.changes);
        if captured.end.is_some_and(|end| end.offset >= offset) {
            return changes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_is_not_streamed_and_our_own_writes_carry_their_batch() {
    let database = Server::shared().database("round").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table t (id int primary key, n text, at text);
             create function touch() returns trigger language plpgsql as
                 $$ begin new.at := 'touched'; return new; end $$;
             create trigger touch before insert or update on t
                 for each row execute function touch();
             insert into t values (1, 'copied')",
        )
        .await
        .unwrap();
    let sync = database.name.as_str();
    let mut side = open_as(sync, &database, 1, &[("t", &["id", "n", "at"])]).await;
    let mut view = side.snapshot().await.unwrap();
    let position = view.position();
    client
        .batch_execute("insert into t values (2, 'streamed')")
        .await
        .unwrap();
    let copied = scan(&mut view, 0).await;
    assert_eq!(copied.len(), 1);
    drop(view);

    assert_eq!(side.check_position(&position).await.unwrap(), Ok(()));
    let mut capture = side.capture(&position).await.unwrap();
    let changes = next_changes(&mut capture).await;
    let streamed = [Value::Int(2), text("streamed"), text("touched")];
    assert_eq!(changes.len(), 1);
    let change = &changes[0];
    assert_eq!((&change.key, change.passed), (&key(2), BatchId::NONE));
    assert!(!change.ours && change.at > 0 && change.at < change.offset);
    let present = ChangeKind::Present {
        row: row(&streamed),
        inserted: true,
    };
    assert_eq!(change.kind, present);

    // Our own write comes back as we read it back, under its batch.
    let mut writer = side.writer().await.unwrap();
    let steps = [update(key(2), &[(1, text("ours"))], &streamed)];
    let done = apply(&mut writer, 1, &steps).await;
    let changes = next_changes(&mut capture).await;
    let change = &changes[0];
    assert_eq!(change.passed, BatchId::of_run(1, 1));
    assert!(change.ours);
    let ChangeKind::Present { row: echoed, .. } = &change.kind else {
        panic!("{change:?}");
    };
    assert_eq!(echoed, &written(&done[0]).row);

    a_batch_that_changes_nothing_passes_too(&mut writer, &mut capture).await;
    stale_is_passed_at_once(&client, &mut writer, &mut capture, &streamed).await;

    let (read, fence) = writer.read(PairId(0), &[key(2)]).await.unwrap();
    assert_eq!(read[0].as_ref().unwrap()[1], row(&[text("theirs")])[0]);
    until(&mut capture, fence).await;

    // Nothing is left behind, and forgetting twice does no harm.
    drop((capture, writer));
    forget_twice(&database).await;
}

/// A delete of what is not there: the transaction holds nothing but our marker, and nobody writes
/// after it.
async fn a_batch_that_changes_nothing_passes_too(
    writer: &mut Box<dyn Writer>,
    capture: &mut Box<dyn Capture>,
) {
    let done = apply(writer, 2, &[delete(key(99), &[])]).await;
    assert!(matches!(done[0], Outcome::Missing { .. }), "{done:?}");
    loop {
        let captured = next(capture).await;
        assert!(captured.changes.is_empty());
        if captured
            .end
            .is_some_and(|end| end.passed == BatchId::of_run(1, 2))
        {
            return;
        }
    }
}

/// A stale write's fence is behind the change that made it stale, and is passed at once.
async fn stale_is_passed_at_once(
    client: &tokio_postgres::Client,
    writer: &mut Box<dyn Writer>,
    capture: &mut Box<dyn Capture>,
    streamed: &[Value],
) {
    client
        .batch_execute("update t set n = 'theirs' where id = 2")
        .await
        .unwrap();
    let done = apply(writer, 3, &[update(key(2), &[(1, text("x"))], streamed)]).await;
    let Outcome::Stale { fence, .. } = done[0] else {
        panic!("{:?}", done[0]);
    };
    let began = std::time::Instant::now();
    let changes = until(capture, fence).await;
    assert!(
        changes
            .iter()
            .any(|change| change.key == key(2) && change.offset <= fence)
    );
    assert!(began.elapsed() < Duration::from_secs(1));
}

async fn forget_twice(database: &Database) {
    let client = database.client().await;
    let endpoint = PostgresEndpoint::new(database.dial());
    for _ in 0..2 {
        endpoint.forget(&database.name).await.unwrap();
        let left = "select (select count(*) from pg_replication_slots
                            where database = current_database())
                         + (select count(*) from pg_publication)
                         + (select count(*) from tidegate.progress)";
        assert_eq!(
            client.query_one(left, &[]).await.unwrap().get::<_, i64>(0),
            0
        );
    }
}

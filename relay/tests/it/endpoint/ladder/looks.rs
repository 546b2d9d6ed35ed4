//! The traps of looks: what lies between two of them, and that they need no right but to read.

use std::sync::Arc;

use tidegate_relay::endpoint::level::{Level, choose};
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{Captured, Dial, Endpoint};
use tidegate_sync::model::{ChangeKind, Outcome, PairId, Position};
use tidegate_sync::value::Value;

use crate::support::bench::Bench;
use crate::support::postgres::{PASSWORD, ROLE, Server};
use crate::support::side::{apply, create, delete, key, text, update};

const POSTS: &str = "create table posts (id int primary key, title text)";
const TITLES: &[(&str, &[&str])] = &[("posts", &["title"])];
const LEVELS: [Level; 2] = [Level::Poll, Level::Compare];

async fn posts(level: Level) -> Bench {
    Bench::new(level, POSTS, TITLES).await
}

/// The last that was told of each record: `None` for a deletion.
fn last(captured: &Captured, id: i32) -> Option<Option<String>> {
    let mut of_it = captured.changes.iter().filter(|c| c.key == key(id));
    of_it.next_back().map(|change| match &change.kind {
        ChangeKind::Present { row, .. } => match row[0].value() {
            Some(Value::Text(title)) => Some(title.clone()),
            other => panic!("{other:?}"),
        },
        ChangeKind::Gone => None,
    })
}

fn told(title: &str) -> Option<Option<String>> {
    Some(Some(title.to_owned()))
}

/// It began before a look, and its number is lower than that of others that the look has shown;
/// neither a clock nor the highest number seen would find it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_after_later_ones_were_seen_is_not_missed() {
    for level in LEVELS {
        let mut bench = posts(level).await;
        bench.execute("insert into posts values (1, 'a')").await;
        let (mut copy, mut capture) = bench.start().await;
        let late = bench.database.client().await;
        late.batch_execute(
            "begin; insert into posts values (2, 'late'); savepoint s; \
             update posts set title = 'late' where id = 1; release s",
        )
        .await
        .unwrap();
        for id in 10..15 {
            let insert = format!("insert into posts values ({id}, 'soon')");
            bench.execute(&insert).await;
            bench.catch_up(&mut copy, &mut capture).await;
        }
        late.batch_execute("commit").await.unwrap();
        let captured = bench.catch_up(&mut copy, &mut capture).await;
        assert_eq!(captured.changes.len(), 2, "{level:?}: {captured:?}");
    }
}

/// A poll reads new versions only, which a deleted record has not: it is found because records are
/// counted, also when as many have come as have gone.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_found_by_the_number_of_records() {
    for level in LEVELS {
        let mut bench = posts(level).await;
        bench
            .execute("insert into posts select n, 'x' from generate_series(1, 9) n")
            .await;
        let (mut copy, mut capture) = bench.start().await;
        bench.execute("delete from posts where id < 3").await;
        bench.catch_up(&mut copy, &mut capture).await;
        bench
            .execute(
                "begin; delete from posts where id = 3; insert into posts values (20, 'y'); commit",
            )
            .await;
        let captured = bench.catch_up(&mut copy, &mut capture).await;
        assert_eq!(
            (last(&captured, 3), last(&captured, 20)),
            (Some(None), told("y"))
        );
        assert_eq!(copy.records.len(), 7);
    }
}

/// Our write is `b`; somebody makes it `a` again, as the look before has seen it.
#[tokio::test(flavor = "multi_thread")]
async fn what_undoes_a_write_of_ours_before_the_next_look_is_told() {
    for level in LEVELS {
        let mut bench = posts(level).await;
        bench
            .execute("insert into posts values (1, 'a'), (2, 'a')")
            .await;
        let (mut copy, capture) = bench.start().await;
        // No look of its own comes in between.
        drop(capture);
        let steps = [
            update(key(1), &[(0, text("b"))], &[text("a")]),
            delete(key(2), &[text("a")]),
        ];
        let done = apply(&mut bench.writer, 1, &steps).await;
        assert!(matches!(
            done[..],
            [Outcome::Written(..), Outcome::Deleted(_)]
        ));
        bench
            .execute("update posts set title = 'a'; insert into posts values (2, 'a')")
            .await;
        let mut capture = bench.resume(&copy.position).await;
        let captured = bench.catch_up(&mut copy, &mut capture).await;
        assert_eq!(
            (last(&captured, 1), last(&captured, 2)),
            (told("a"), told("a"))
        );
    }
}

/// It was never in a look.
#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_a_record_that_we_made_since_the_last_look_is_told() {
    for level in LEVELS {
        let ddl = "create table posts (id serial primary key, title text)";
        let mut bench = Bench::new(level, ddl, TITLES).await;
        let (mut copy, capture) = bench.start().await;
        drop(capture);
        let done = apply(&mut bench.writer, 1, &[create(&[text("ours")])]).await;
        assert!(matches!(done[..], [Outcome::Written(..)]));
        bench.execute("delete from posts").await;
        let mut capture = bench.resume(&copy.position).await;
        let captured = bench.catch_up(&mut copy, &mut capture).await;
        assert_eq!(last(&captured, 1), Some(None));
    }
}

/// A read has seen `b`, and before the look that its fence stands for it is `a` again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_told_even_if_it_is_as_it_was_told_before() {
    for level in LEVELS {
        let mut bench = posts(level).await;
        bench.execute("insert into posts values (1, 'a')").await;
        let (mut copy, capture) = bench.start().await;
        drop(capture);
        bench.execute("update posts set title = 'b'").await;
        // The look of the read's fence waits for this, as for another look.
        let holder = bench.database.client().await;
        let looks = format!("tidegate.looks_{}_l", bench.sync);
        holder
            .batch_execute(&format!("begin; lock table {looks} in exclusive mode"))
            .await
            .unwrap();
        let asked = [key(1)];
        let (read, ()) = tokio::join!(bench.writer.read(PairId(0), &asked), async {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            loop {
                let row = bench.client.query_one(waiting, &[]).await.unwrap();
                if row.get::<_, i64>(0) > 0 {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let back = "update posts set title = 'a'";
            bench.client.batch_execute(back).await.unwrap();
            holder.batch_execute("commit").await.unwrap();
        });
        let (rows, fence) = read.unwrap();
        let row = rows[0].as_ref().unwrap();
        assert_eq!(row[0].value(), Some(&text("b")));
        let mut capture = bench.resume(&copy.position).await;
        let captured = bench.catch_up(&mut copy, &mut capture).await;
        let told_at = captured.changes.iter().find(|c| c.key == key(1));
        assert_eq!(last(&captured, 1), told("a"), "{level:?}");
        assert!(told_at.is_some_and(|change| change.offset <= fence));
    }
}

/// A partition's records are older than any look, and a detached one's are not deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_attached_partition_is_read_and_a_detached_one_reconciled() {
    for level in LEVELS {
        let ddl = "create table old (id int, region text not null, primary key (id, region)); \
                   insert into old values (1, 'old'); \
                   create table logs (id int, region text, primary key (id, region)) \
                       partition by list (region);";
        let mut bench = Bench::new(level, ddl, &[("logs", &["region"])]).await;
        let (mut copy, mut capture) = bench.start().await;
        bench
            .execute("alter table logs attach partition old for values in ('old')")
            .await;
        bench.catch_up(&mut copy, &mut capture).await;
        assert_eq!(copy.records.len(), 1);
        bench.execute("vacuum full old").await;
        let captured = bench.catch_up(&mut copy, &mut capture).await;
        assert!(captured.changes.is_empty(), "{captured:?}");
        bench.execute("alter table logs detach partition old").await;
        let captured = bench.read(&mut capture).await;
        assert_eq!((captured.changes.len(), captured.reconcile.len()), (0, 1));
    }
}

/// Neither owner of the table nor free to change the schema: it reads and writes, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_and_write_is_served_by_polls() {
    let server = Server::start_with(&["wal_level = replica"]);
    let database = server.database("guest").await;
    let admin = database.admin().await;
    admin
        .batch_execute(&format!(
            "create table posts (id int primary key, title text); \
             insert into posts values (1, 'a'); \
             grant select, insert, update, delete on posts to {ROLE}; \
             alter database {} owner to postgres; \
             create schema tidegate authorization {ROLE}",
            database.name
        ))
        .await
        .unwrap();
    let dial: Arc<dyn Dial> = {
        let mut dial = database.dial_as(ROLE, PASSWORD);
        dial.allows_ddl = false;
        Arc::new(dial)
    };
    let catalog = PostgresEndpoint::new(dial).inspect().await.unwrap();
    let chosen = choose(&catalog.captures, None).unwrap();
    assert_eq!(chosen.level, Level::Poll);
    for part in ["wal_level", "make triggers", "can't see deletions"] {
        assert!(chosen.reason.contains(part), "{}", chosen.reason);
    }
    for level in LEVELS {
        let mut bench = Bench::on(database.clone(), level, "select 1", TITLES).await;
        let (mut copy, mut capture) = bench.start().await;
        for sql in [
            "update posts set title = title || '!'",
            "delete from posts where id = 2",
            "insert into posts values (2, 'b')",
        ] {
            admin.batch_execute(sql).await.unwrap();
            bench.catch_up(&mut copy, &mut capture).await;
        }
        drop(capture);
        bench.forget().await;
    }
}

/// Hidden records would look like deleted ones.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_row_security_hides_are_no_deletions() {
    let database = Server::shared().database("hidden").await;
    let admin = database.admin().await;
    let ddl = format!(
        "create table posts (id int primary key, title text); \
         insert into posts values (1, 'a'), (2, 'b'); \
         grant select, insert, update, delete on posts to {ROLE}"
    );
    admin.batch_execute(&ddl).await.unwrap();
    let mut bench = Bench::on(database, Level::Poll, "select 1", TITLES).await;
    let (_, mut capture) = bench.start().await;
    admin
        .batch_execute(
            "create policy half on posts using (id = 1); \
             alter table posts enable row level security",
        )
        .await
        .unwrap();
    let refused = loop {
        match capture.next().await {
            Ok(captured) => assert!(captured.changes.is_empty(), "{captured:?}"),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code, "permission-denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_and_compare_take_over_from_each_other_without_a_reconcile() {
    let mut bench = posts(Level::Poll).await;
    let (mut copy, capture) = bench.start().await;
    drop(capture);
    for (number, level) in [Level::Compare, Level::Poll].into_iter().enumerate() {
        bench
            .execute(&format!("insert into posts values ({number}, 'x')"))
            .await;
        bench.reopen(level).await;
        let position: Position = copy.position.clone();
        let mut capture = bench.resume(&position).await;
        bench.catch_up(&mut copy, &mut capture).await;
    }
    assert_eq!(copy.records.len(), 2);
}

//! The traps of triggers, and that they need neither right nor setting of logical replication.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_relay::endpoint::level::{Asked, Level, choose};
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{Dial, Endpoint};
use tidegate_sync::model::{Position, Side};

use crate::support::bench::{Bench, next};
use crate::support::postgres::{PASSWORD, ROLE, Server};

const POSTS: &str = "create table posts (id int primary key, title text)";
const TITLES: &[(&str, &[&str])] = &[("posts", &["title"])];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_logical_wal_is_read_by_triggers_and_says_why() {
    let server = Server::start_with(&["wal_level = replica"]);
    let database = server.database("plain").await;
    let admin = database.admin().await;
    admin
        .batch_execute("alter role tidegate noreplication")
        .await
        .unwrap();
    let catalog = PostgresEndpoint::new(database.dial()).inspect().await;
    let chosen = choose(&catalog.unwrap().captures, None).unwrap();
    assert_eq!(chosen.level, Level::Triggers);
    assert!(chosen.reason.contains("wal_level"), "{}", chosen.reason);
    let mut bench = Bench::on(database, Level::Triggers, POSTS, TITLES).await;
    bench.execute("insert into posts values (1, 'a')").await;
    let (mut copy, mut capture) = bench.start().await;
    bench.execute("insert into posts values (2, 'b')").await;
    bench.catch_up(&mut copy, &mut capture).await;
    drop(capture);
    bench.forget().await;
}

/// While nobody reads, one tick gathers many transactions: each is settled on its own, and told
/// again as it was.
#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_between_the_transactions_of_one_tick() {
    let mut bench = Bench::new(Level::Triggers, POSTS, TITLES).await;
    let (mut copy, capture) = bench.start().await;
    drop(capture);
    for from in [0, 3_000, 6_000, 9_000] {
        bench
            .execute(&format!(
                "insert into posts select n, 'x' from generate_series({from}, {from} + 2999) n"
            ))
            .await;
    }
    let mut capture = bench.resume(&copy.position).await;
    let mut positions: Vec<Position> = Vec::new();
    let mut changes = Vec::new();
    while changes.len() < 12_000 {
        let captured = next(&mut capture).await;
        positions.extend(captured.end.clone());
        copy.take_in(&captured);
        changes.extend(captured.changes);
    }
    drop(capture);
    assert!(positions.len() >= 3, "{positions:?}");
    for position in &positions {
        let rest = changes
            .iter()
            .filter(|change| change.offset > position.offset);
        let rest: Vec<_> = rest.cloned().collect();
        let mut capture = bench.resume(position).await;
        assert_eq!(bench.read(&mut capture).await.changes, rest);
    }
    let offsets: BTreeSet<u64> = changes.iter().map(|change| change.offset).collect();
    assert_eq!(offsets.len(), 4);
}

/// Two transactions whose statements alternate: each is told as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_run_at_once_are_told_one_after_the_other() {
    let mut bench = Bench::new(Level::Triggers, POSTS, TITLES).await;
    let (mut copy, mut capture) = bench.start().await;
    let (a, b) = (bench.database.client().await, bench.database.client().await);
    let insert = |id: i32| format!("insert into posts values ({id}, 'x')");
    a.batch_execute(&format!("begin; {}", insert(1)))
        .await
        .unwrap();
    b.batch_execute(&format!("begin; {}", insert(2)))
        .await
        .unwrap();
    a.batch_execute(&insert(3)).await.unwrap();
    b.batch_execute(&insert(4)).await.unwrap();
    b.batch_execute("commit").await.unwrap();
    a.batch_execute("commit").await.unwrap();
    let captured = bench.catch_up(&mut copy, &mut capture).await;
    let told: Vec<String> = captured.changes.iter().map(|c| c.key.to_string()).collect();
    assert_eq!(told, ["1", "3", "2", "4"]);
    let offsets: Vec<u64> = captured.changes.iter().map(|c| c.offset).collect();
    assert!(offsets[0] == offsets[1] && offsets[2] == offsets[3] && offsets[1] < offsets[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_changes_are_forgotten_even_while_a_transaction_stays_open() {
    let mut bench = Bench::new(Level::Triggers, POSTS, TITLES).await;
    let (mut copy, mut capture) = bench.start().await;
    let open = bench.database.client().await;
    open.batch_execute("begin; insert into posts values (0, 'open')")
        .await
        .unwrap();
    bench
        .execute("insert into posts select n, 'x' from generate_series(1, 11000) n")
        .await;
    bench.catch_up(&mut copy, &mut capture).await;
    capture.acknowledge(&copy.position);
    let left = format!("select count(*) from tidegate.outbox_{}_l", bench.sync);
    while bench.count(&left).await > 0 {
        tokio::task::yield_now().await;
    }
    open.batch_execute("commit").await.unwrap();
    bench.catch_up(&mut copy, &mut capture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_were_disabled_for_a_while_are_a_hole() {
    let mut bench = Bench::new(Level::Triggers, POSTS, TITLES).await;
    let (copy, capture) = bench.start().await;
    drop(capture);
    let trigger = |how: &str| format!("alter table posts {how} trigger user");
    // As `pg_restore --disable-triggers` does it.
    bench.execute(&trigger("disable")).await;
    bench
        .execute("insert into posts values (1, 'unseen')")
        .await;
    bench.execute(&trigger("enable")).await;
    let checked = bench.side.check_position(&copy.position).await.unwrap();
    assert!(checked.unwrap_err().contains("disabled"));
    let (copy, _) = bench.start().await;
    assert_eq!(copy.records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_is_a_hole_until_it_has_its_triggers() {
    let ddl = "create table logs (id int, region text, primary key (id, region)) \
                   partition by list (region); \
               create table logs_a partition of logs for values in ('a');";
    let mut bench = Bench::new(Level::Triggers, ddl, &[("logs", &["region"])]).await;
    let (copy, capture) = bench.start().await;
    drop(capture);
    bench
        .execute(
            "create table logs_b partition of logs for values in ('b'); \
             insert into logs_b values (1, 'b')",
        )
        .await;
    assert!(
        bench
            .side
            .check_position(&copy.position)
            .await
            .unwrap()
            .is_err()
    );
    let (mut copy, mut capture) = bench.start().await;
    bench.execute("insert into logs_b values (2, 'b')").await;
    bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(copy.records.len(), 2);
}

/// The function does not look where whoever writes looks, nor where the type's operators are.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_extension_s_type_are_compared_by_its_operators() {
    let database = Server::shared().database("citext").await;
    database
        .admin()
        .await
        .batch_execute(
            "create schema extensions; create extension citext schema extensions; \
             grant usage on schema extensions to tidegate",
        )
        .await
        .unwrap();
    let ddl = "create table words (word extensions.citext primary key, note text)";
    let mut bench = Bench::on(database, Level::Triggers, ddl, &[("words", &["note"])]).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute(
            "insert into words values ('A', 'x'), ('b', 'y'), ('c', 'z'); \
             update words set word = 'a' where note = 'x'; \
             delete from words where note = 'z'",
        )
        .await;
    bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(copy.records.len(), 2);
}

/// Whoever writes the table needs no right to the outbox, and can't lead the trigger astray.
#[tokio::test(flavor = "multi_thread")]
async fn another_role_writes_without_any_right_to_the_outbox() {
    let mut bench = Bench::new(Level::Triggers, POSTS, TITLES).await;
    let (mut copy, mut capture) = bench.start().await;
    let role = format!("writer_{}", bench.sync);
    let admin = bench.database.admin().await;
    admin
        .batch_execute(&format!(
            "create role {role}; grant insert, update, select on posts to {role}; \
             create schema trap authorization {role}; \
             set role {role}; \
             create table trap.pg_attribute (attrelid integer); \
             set search_path = trap, pg_catalog, public; \
             insert into public.posts values (1, 'theirs')"
        ))
        .await
        .unwrap();
    bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(copy.records.len(), 1);
    admin
        .batch_execute(&format!(
            "reset role; drop schema trap cascade; drop owned by {role}; drop role {role}"
        ))
        .await
        .unwrap();
}

/// `allow_ddl = false`: none are made, and those that are there are left to their owner, with the SQL.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_change_the_schema_there_are_no_triggers() {
    let mut bench = Bench::new(Level::Triggers, POSTS, TITLES).await;
    let by_hand = || -> Arc<dyn Dial> {
        let mut dial = bench.database.dial_as(ROLE, PASSWORD);
        dial.allows_ddl = false;
        Arc::new(dial)
    };
    let endpoint = PostgresEndpoint::new(by_hand());
    let catalog = endpoint.inspect().await.unwrap();
    let (level, by) = (Level::Triggers, "the sync file");
    let refused = choose(&catalog.captures, Some(Asked { level, by })).unwrap_err();
    assert_eq!(refused[0].code, "ddl-not-allowed");
    let mut side = endpoint.open(bench.binding()).await.unwrap();
    let refused = side.snapshot().await.err().unwrap();
    assert_eq!(refused.code, "ddl-not-allowed");

    let (_, capture) = bench.start().await;
    drop(capture);
    let refused = endpoint.forget(&bench.sync).await.unwrap_err();
    assert!(refused.message.contains("drop function"), "{refused}");
    for sql in PostgresEndpoint::forget_sql(&bench.sync, Side::Left).unwrap() {
        bench.execute(&sql).await;
    }
    endpoint.forget(&bench.sync).await.unwrap();
    let left = "select (select count(*) from pg_trigger where not tgisinternal)
                     + (select count(*) from pg_namespace where nspname = 'tidegate')";
    assert_eq!(bench.count(left).await, 0);
}

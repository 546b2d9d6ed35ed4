//! Creates by the thousand: the same outcomes as one by one.

use std::time::{Duration, Instant};

use tidegate_sync::model::{FindingCode, Outcome, Step};
use tidegate_sync::value::Value;

use crate::support::postgres::{Database, Server};
use crate::support::side::*;

/// As large as batches get; several statements' worth.
const MANY: i64 = 5_000;
/// Longest until no transaction of another test sees what was deleted.
const VACUUM_MAX: Duration = Duration::from_secs(120);

async fn database(sql: &str) -> Database {
    let database = Server::shared().database("bulk").await;
    database.client().await.batch_execute(sql).await.unwrap();
    database
}

fn named(ids: std::ops::Range<i64>) -> Vec<Step> {
    ids.map(|id| create(&[Value::Int(id), text(&format!("n{id}"))]))
        .collect()
}

async fn count(database: &Database, sql: &str) -> i64 {
    let client = database.client().await;
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_generated_columns_and_defaults_show_in_the_read_back() {
    let database = database(
        "create table t (id int primary key, n text,
                         twice int generated always as (id * 2) stored, at text default 'own');
         create table log (id int);
         create function trim_n() returns trigger language plpgsql as
             $$ begin new.n := trim(new.n); return new; end $$;
         create function write_log() returns trigger language plpgsql as
             $$ begin insert into log values (new.id); return null; end $$;
         create trigger b before insert on t for each row execute function trim_n();
         create trigger a after insert on t for each row execute function write_log()",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["id", "n", "twice", "at"])]).await;
    let steps: Vec<Step> = (0..MANY)
        .map(|id| create(&[Value::Int(id), text(&format!("  n{id} "))]))
        .collect();
    let done = apply(&mut writer, 1, &steps).await;
    for (id, outcome) in (0..).zip(&done) {
        let n = text(&format!("n{id}"));
        let expected = [Value::Int(id), n, Value::Int(id * 2), text("own")];
        assert_eq!(written(outcome).key, key(id));
        assert_eq!(written(outcome).row, row(&expected));
    }
    assert_eq!(count(&database, "select count(*) from log").await, MANY);
    let done = apply(&mut writer, 2, &named(MANY..2 * MANY)).await;
    assert_eq!(written(&done[0]).key, key(MANY));
    assert_eq!(count(&database, "select count(*) from t").await, 2 * MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_side_itself_belong_to_their_records() {
    let database = database(
        "create table t (id int primary key generated always as identity, n int unique);
         create table u (id int primary key generated always as identity, n int)",
    )
    .await;
    let tables: &[Table<'_>] = &[("t", &["n"]), ("u", &["id", "n"])];
    let mut writer = writer(&database, 1, tables).await;
    // Mixed, and in an order that no index has.
    let steps: Vec<Step> = (0..MANY)
        .flat_map(|n| {
            let n = n * 7_919 % MANY;
            let given = [Value::Int(n + 10), Value::Int(-n)];
            [
                create_in(0, &[Value::Int(n)], &[0]),
                create_in(1, &given, &[]),
            ]
        })
        .collect();
    let done = apply(&mut writer, 1, &steps).await;
    let client = database.client().await;
    let rows = client.query("select n, id from t", &[]).await.unwrap();
    let ids: std::collections::HashMap<i32, i32> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(ids.len(), MANY as usize);
    for (place, pair) in done.chunks(2).enumerate() {
        let n = place as i64 * 7_919 % MANY;
        assert_eq!(written(&pair[0]).row, row(&[Value::Int(n)]));
        assert_eq!(written(&pair[0]).key, key(ids[&(n as i32)]));
        assert_eq!(written(&pair[1]).key, key(n + 10));
        assert_eq!(written(&pair[1]).row[1], row(&[Value::Int(-n)])[0]);
    }
    // The side's own next number is past the explicit ones.
    let next = "insert into u (n) values (0) returning id::bigint";
    assert_eq!(count(&database, next).await, MANY + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_in_a_text_arrives() {
    let database = database("create table t (id int primary key, a text, b varchar(40))").await;
    let mut writer = writer(&database, 1, &[("t", &["id", "a", "b"])]).await;
    let odd = [
        Value::Null,
        text(""),
        text("\\N"),
        text("\\."),
        text("\n\\.\n"),
        text("a\tb\\tc\r\n\\"),
        text("\u{1}\u{8}\u{b}\u{c}\u{7f}\u{85}\u{2028}"),
        text("Größe 漢字 🦀 e\u{301}"),
        text("'; drop table t; --"),
        text("null"),
    ];
    let record = |id: i64| {
        let at = id as usize;
        let (a, b) = (&odd[at % odd.len()], &odd[at / odd.len() % odd.len()]);
        [Value::Int(id), a.clone(), b.clone()]
    };
    let steps: Vec<Step> = (0..MANY).map(|id| create(&record(id))).collect();
    let done = apply(&mut writer, 1, &steps).await;
    for (id, outcome) in (0..).zip(&done) {
        assert_eq!(written(outcome).row, row(&record(id)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_in_the_middle_is_rejected_alone() {
    let database = database(
        "create table t (id int primary key, n text check (n <> 'n2500'));
         insert into t values (4000, 'theirs')",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["id", "n"])]).await;
    let done = apply(&mut writer, 1, &named(0..MANY)).await;
    for (id, outcome) in (0..).zip(&done) {
        match (id, outcome) {
            (2500, Outcome::Rejected { code, .. }) => {
                assert_eq!(*code, FindingCode::CheckViolation);
            }
            (4000, Outcome::Rejected { code, .. }) => {
                assert_eq!(*code, FindingCode::UniqueViolation);
            }
            _ => assert_eq!(written(outcome).key, key(id)),
        }
    }
    // The session goes on as if nothing had been.
    let done = apply(&mut writer, 2, &named(MANY..2 * MANY)).await;
    assert_eq!(written(&done[0]).key, key(MANY));
    let rows = 2 * MANY - 1;
    assert_eq!(count(&database, "select count(*) from t").await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_between_look_and_write_exists() {
    let database = database(
        "create table t (id int primary key generated always as identity, slug text unique,
                         mail text unique)",
    )
    .await;
    let other = database.client().await;
    other
        .batch_execute("begin; insert into t (slug, mail) values ('s700', 'theirs'), ('x', 'm3')")
        .await
        .unwrap();
    let mut writer = writer(&database, 1, &[("t", &["slug", "mail"])]).await;
    let steps: Vec<Step> = (0..1_000)
        .map(|n| {
            let set = [text(&format!("s{n}")), text(&format!("m{n}"))];
            create_in(0, &set, &[0])
        })
        .collect();
    let let_go = async {
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
                         and datname = current_database()";
        while count(&database, waits).await == 0 {
            tokio::task::yield_now().await;
        }
        other.batch_execute("commit").await.unwrap();
    };
    let (done, ()) = tokio::join!(apply(&mut writer, 1, &steps), let_go);
    let Outcome::Exists { stored, fence } = &done[700] else {
        panic!("{:?}", done[700]);
    };
    assert_eq!(stored.row, row(&[text("s700"), text("theirs")]));
    assert!(*fence > 0);
    // Taken is another field than the one that it is matched by.
    let Outcome::Rejected { code, .. } = &done[3] else {
        panic!("{:?}", done[3]);
    };
    assert_eq!(*code, FindingCode::UniqueViolation);
    let made = done.iter().filter(|o| matches!(o, Outcome::Written(..)));
    assert_eq!(made.count(), 998);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_while_records_are_written_one_by_one_exists_too() {
    // What a trigger adds comes after the guard's look, however often the batch is tried.
    let database = database(
        "create table t (id int primary key generated always as identity, slug text unique,
                         mail text unique);
         create function add_next() returns trigger language plpgsql as $$ begin
             if new.slug = 'first' then
                 insert into t (slug, mail) values ('next', 'own'), ('own', 'taken');
             end if;
             return null; end $$;
         create trigger a after insert on t for each row execute function add_next()",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["slug", "mail"])]).await;
    let steps = [("first", "a"), ("next", "b"), ("other", "taken")]
        .map(|(slug, mail)| create_in(0, &[text(slug), text(mail)], &[0]));
    let done = apply(&mut writer, 1, &steps).await;
    written(&done[0]);
    let Outcome::Exists { stored, fence } = &done[1] else {
        panic!("{:?}", done[1]);
    };
    assert_eq!(stored.row, row(&[text("next"), text("own")]));
    assert!(*fence > 0);
    // Doubled is another field than the match key: that is for a person.
    let Outcome::Rejected { code, .. } = &done[2] else {
        panic!("{:?}", done[2]);
    };
    assert_eq!(*code, FindingCode::UniqueViolation);
}

/// Statements that wrote to `t`, as the server logged them.
fn logged(server: &Server, what: &str) -> usize {
    let log = std::fs::read_to_string(server.socket_dir().join("log")).unwrap();
    log.lines().filter(|line| line.contains(what)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_are_copied_only_where_copy_does_what_an_insert_does() {
    let server = Server::start_with(&["log_statement=mod"]);
    let database = server.database("copied").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table plain (id int primary key, n text);
             create table ruled (id int primary key, n text);
             create table log (id int);
             create rule r as on insert to ruled do also insert into log values (new.id);
             create table guarded (id int primary key, n text);
             alter table guarded enable row level security;
             create policy all_of_them on guarded using (true);
             create table padded (id char(12) primary key, n text);
             create table parts (id int primary key, n text) partition by range (id);
             create table part partition of parts for values from (0) to (100000)",
        )
        .await
        .unwrap();
    let names = ["plain", "ruled", "guarded", "padded", "parts"];
    let tables: Vec<Table<'_>> = names.iter().map(|name| (*name, &["id", "n"][..])).collect();
    let mut writer = writer(&database, 1, &tables).await;
    for (table, name) in names.iter().enumerate() {
        let record = |id: i64| {
            let key = match *name {
                "padded" => text(&id.to_string()),
                _ => Value::Int(id),
            };
            [key, text(&format!("n{id}"))]
        };
        let steps: Vec<Step> = (0..MANY)
            .map(|id| create_in(table as u32, &record(id), &[]))
            .collect();
        let done = apply(&mut writer, table as u32 + 1, &steps).await;
        for (id, outcome) in (0..).zip(&done) {
            assert_eq!(written(outcome).row[1], row(&record(id))[1], "{name}");
        }
        let sql = format!("select count(*) from {name}");
        assert_eq!(count(&database, &sql).await, MANY, "{name}");
    }
    assert_eq!(count(&database, "select count(*) from log").await, MANY);
    assert_eq!(logged(&server, "copy \"public\".\"plain\""), 1);
    assert_eq!(logged(&server, "insert into \"public\".\"plain\""), 0);
    for name in ["ruled", "parts"] {
        assert_eq!(logged(&server, &format!("copy \"public\".\"{name}\"")), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_on_single_columns_are_enough() {
    let database = Server::shared().database("bulk").await;
    let admin = database.admin().await;
    admin
        .batch_execute(
            "create table t (id int primary key, n text, secret text);
             grant insert (id, n), select (id, n), update (id, n) on t to tidegate",
        )
        .await
        .unwrap();
    let mut writer = writer(&database, 1, &[("t", &["id", "n"])]).await;
    for batch in 0..2 {
        let ids = i64::from(batch) * MANY..i64::from(batch + 1) * MANY;
        let done = apply(&mut writer, batch + 1, &named(ids.clone())).await;
        for (id, outcome) in ids.zip(&done) {
            assert_eq!(written(outcome).key, key(id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_records_are_found_again_where_deleted_ones_left_room() {
    let database = database(
        "create table t (id int primary key, n text) with (autovacuum_enabled = off);
         insert into t select n, repeat('x', 100) from generate_series(100001, 120000) n;
         delete from t where id between 100001 and 119999",
    )
    .await;
    let client = database.client().await;
    // Whatever snapshot a slot of another test is just made with may still see the deleted ones.
    let dead = "select n_dead_tup from pg_stat_all_tables where relid = 't'::regclass";
    let began = Instant::now();
    loop {
        client.batch_execute("vacuum t").await.unwrap();
        if count(&database, dead).await == 0 {
            break;
        }
        assert!(began.elapsed() < VACUUM_MAX, "deleted rows stay");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let size = "select pg_relation_size('t')";
    let before = count(&database, size).await;
    let mut writer = writer(&database, 1, &[("t", &["id", "n"])]).await;
    let done = apply(&mut writer, 1, &named(0..MANY)).await;
    for (id, outcome) in (0..).zip(&done) {
        assert_eq!(written(outcome).key, key(id));
        assert_eq!(
            written(outcome).row,
            row(&[Value::Int(id), text(&format!("n{id}"))])
        );
    }
    // They went into old blocks, so they were not where a grown table has them.
    assert_eq!(count(&database, size).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_comes_later_is_seen() {
    let database = database("create table t (id int primary key, n text)").await;
    let mut writer = writer(&database, 1, &[("t", &["id", "n"])]).await;
    apply(&mut writer, 1, &named(0..MANY)).await;
    let client = database.client().await;
    client
        .batch_execute(
            "create function shout() returns trigger language plpgsql as
                 $$ begin new.n := upper(new.n); return new; end $$;
             create trigger b before insert on t for each row execute function shout()",
        )
        .await
        .unwrap();
    let done = apply(&mut writer, 2, &named(MANY..2 * MANY)).await;
    let shouted = format!("N{MANY}");
    assert_eq!(written(&done[0]).row[1], row(&[text(&shouted)])[0]);
}

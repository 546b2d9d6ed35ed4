//! The claims of the conformance suite, each for a level that the caller names.

use tidegate_relay::endpoint::level::Level;
use tidegate_sync::model::{BatchId, ChangeKind, Outcome, PairId};
use tidegate_sync::value::Value;

use crate::support::bench::{Bench, next};
use crate::support::postgres::Server;
use crate::support::side::{apply, key, text, update};

const POSTS: &str = "create table posts (id int primary key, title text)";
const TITLES: &[(&str, &[&str])] = &[("posts", &["title"])];

async fn posts(level: Level) -> Bench {
    Bench::new(level, POSTS, TITLES).await
}

fn keys(captured: &tidegate_relay::endpoint::Captured) -> Vec<String> {
    let keys = captured.changes.iter().map(|change| change.key.to_string());
    keys.collect()
}

/// Tells how records are, and not what has happened to them.
fn is_look(level: Level) -> bool {
    matches!(level, Level::Poll | Level::Compare)
}

/// Writers are at work before, while and after the view is taken; one transaction spans it.
pub async fn view_and_changes_meet_without_gap_or_double(level: Level) {
    let mut bench = posts(level).await;
    let writers: Vec<_> = (0..3).map(|_| bench.database.clone()).collect();
    let (stop, _) = tokio::sync::watch::channel(false);
    let mut work = tokio::task::JoinSet::new();
    for (number, database) in writers.into_iter().enumerate() {
        let stop = stop.subscribe();
        work.spawn(async move {
            let client = database.client().await;
            let mut id = number * 1_000_000;
            while !*stop.borrow() {
                id += 2;
                let sql = format!(
                    "begin; insert into posts values ({id}, 'a'), ({id} + 1, 'b'); \
                     update posts set title = 'c' where id = {id}; commit; \
                     delete from posts where id = {id} - 1"
                );
                client.batch_execute(&sql).await.unwrap();
            }
        });
    }
    let spanning = bench.database.client().await;
    if level == Level::Triggers {
        // The first time, the triggers are put in place, which waits for writers; then they are.
        drop(bench.side.snapshot().await.unwrap());
        spanning
            .batch_execute("begin; insert into posts values (-1, 'open')")
            .await
            .unwrap();
    }
    let (mut copy, mut capture) = bench.start().await;
    if level == Level::Triggers {
        spanning.batch_execute("commit").await.unwrap();
    }
    for _ in 0..5 {
        let captured = bench.read(&mut capture).await;
        copy.take_in(&captured);
    }
    stop.send_replace(true);
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    bench.catch_up(&mut copy, &mut capture).await;
    assert!(copy.records.len() > 10);
}

/// The gap: it draws its number first and commits last.
pub async fn an_open_transaction_is_neither_missed_nor_waited_for(level: Level) {
    let mut bench = posts(level).await;
    let (mut copy, mut capture) = bench.start().await;
    let open = bench.database.client().await;
    open.batch_execute("begin; insert into posts values (1, 'open')")
        .await
        .unwrap();
    bench.execute("insert into posts values (2, 'short')").await;
    assert_eq!(keys(&bench.catch_up(&mut copy, &mut capture).await), ["2"]);
    bench.execute("insert into posts values (3, 'later')").await;
    assert_eq!(keys(&bench.catch_up(&mut copy, &mut capture).await), ["3"]);
    open.batch_execute("insert into posts values (4, 'open'); commit")
        .await
        .unwrap();
    let last = bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(keys(&last), ["1", "4"]);
}

/// The older transaction changes the record last, while a third one, numbered in between, is open:
/// an order by transactions would report the older value last.
pub async fn changes_of_one_record_come_in_their_order(level: Level) {
    let mut bench = posts(level).await;
    bench
        .execute("insert into posts values (1, 'a'), (2, 'a'), (3, 'a')")
        .await;
    let (mut copy, mut capture) = bench.start().await;
    let (old, middle) = (bench.database.client().await, bench.database.client().await);
    old.batch_execute("begin; update posts set title = 'old' where id = 2")
        .await
        .unwrap();
    middle
        .batch_execute("begin; update posts set title = 'middle' where id = 3")
        .await
        .unwrap();
    bench
        .execute("update posts set title = 'first' where id = 1")
        .await;
    old.batch_execute("update posts set title = 'last' where id = 1; commit")
        .await
        .unwrap();
    bench.catch_up(&mut copy, &mut capture).await;
    middle.batch_execute("commit").await.unwrap();
    bench.catch_up(&mut copy, &mut capture).await;
}

pub async fn what_is_rolled_back_leaves_nothing(level: Level) {
    let mut bench = posts(level).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute(
            "begin; insert into posts values (1, 'kept'); savepoint a; \
             insert into posts values (2, 'lost'); rollback to a; \
             insert into posts values (3, 'kept'); commit; \
             begin; insert into posts values (4, 'lost'); rollback;",
        )
        .await;
    let captured = bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(keys(&captured), ["1", "3"]);
}

pub async fn a_prepared_transaction_comes_when_it_is_committed(level: Level) {
    let server = Server::start_with(&["max_prepared_transactions = 5"]);
    let database = server.database("prepared").await;
    let mut bench = Bench::on(database, level, POSTS, TITLES).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute("begin; insert into posts values (1, 'prepared'); prepare transaction 'p'")
        .await;
    bench.execute("insert into posts values (2, 'short')").await;
    assert_eq!(keys(&bench.catch_up(&mut copy, &mut capture).await), ["2"]);
    bench.execute("commit prepared 'p'").await;
    assert_eq!(keys(&bench.catch_up(&mut copy, &mut capture).await), ["1"]);
}

pub async fn own_writes_carry_their_batch_and_fences_are_passed(level: Level) {
    let mut bench = posts(level).await;
    bench
        .execute("insert into posts values (1, 'a'), (2, 'a')")
        .await;
    let (mut copy, mut capture) = bench.start().await;
    bench.execute("update posts set title = 'b'").await;
    let steps = [update(key(1), &[(0, text("ours"))], &[text("b")])];
    let done = apply(&mut bench.writer, 1, &steps).await;
    assert!(matches!(done[0], Outcome::Written(..)), "{done:?}");
    bench.execute("update posts set title = 'after'").await;
    let done = apply(&mut bench.writer, 2, &steps).await;
    let Outcome::Stale { fence, .. } = done[0] else {
        panic!("{:?}", done[0]);
    };
    let captured = bench.catch_up(&mut copy, &mut capture).await;
    let end = captured.end.unwrap();
    assert!(fence <= end.offset);
    let (ours, second) = (BatchId::of_run(1, 1), BatchId::of_run(1, 2));
    let of_first: Vec<_> = captured
        .changes
        .iter()
        .filter(|change| change.key == key(1))
        .map(|change| {
            assert!(change.offset <= fence);
            let ChangeKind::Present { row, .. } = &change.kind else {
                panic!("{change:?}");
            };
            let Some(Value::Text(title)) = row[0].value() else {
                panic!("{change:?}");
            };
            (title.clone(), change.passed)
        })
        .collect();
    assert_eq!(end.passed, second);
    let told = |text: &str, passed| (text.to_owned(), passed);
    let expected = [
        told("b", BatchId::NONE),
        told("ours", ours),
        told("after", ours),
    ];
    if is_look(level) {
        // Each state may be passed over but the last, which may be told again.
        let last = told("after", second);
        assert!(of_first.last().is_some_and(|told| told.0 == "after"));
        let is_known = |told| expected.contains(told) || *told == last;
        assert!(of_first.iter().all(is_known), "{of_first:?}");
        return;
    }
    assert_eq!(of_first, expected);
    let ours_alone = captured.changes.iter().filter(|change| change.ours);
    assert_eq!(ours_alone.count(), 1);
}

/// The batch has begun, and waits for a record: what commits meanwhile is before it.
pub async fn what_commits_before_our_batch_has_not_passed_it(level: Level) {
    let mut bench = posts(level).await;
    bench
        .execute("insert into posts values (1, 'a'), (2, 'a'), (3, 'a')")
        .await;
    let (mut copy, mut capture) = bench.start().await;
    let holder = bench.database.client().await;
    holder
        .batch_execute("begin; update posts set title = 'held' where id = 2")
        .await
        .unwrap();
    let ours = |id| update(key(id), &[(0, text("ours"))], &[text("a")]);
    let steps = [ours(1), ours(2)];
    let (done, ()) = tokio::join!(apply(&mut bench.writer, 1, &steps), async {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        while bench
            .client
            .query_one(waiting, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::task::yield_now().await;
        }
        let theirs = "update posts set title = 'theirs' where id = 3";
        bench.client.batch_execute(theirs).await.unwrap();
        holder.batch_execute("commit").await.unwrap();
    });
    assert!(matches!(done[0], Outcome::Written(..)), "{done:?}");
    assert!(matches!(done[1], Outcome::Stale { .. }), "{done:?}");
    let captured = bench.catch_up(&mut copy, &mut capture).await;
    if is_look(level) {
        let of_ours = captured.changes.iter().filter(|c| c.key == key(1));
        let passed: Vec<BatchId> = of_ours.map(|change| change.passed).collect();
        assert_eq!(passed, [BatchId::of_run(1, 1)]);
        return;
    }
    let told = captured.changes.iter().map(|c| (c.key.to_string(), c.ours));
    let mut told: Vec<_> = told.collect();
    assert_eq!(told.pop(), Some(("1".into(), true)));
    told.sort();
    assert_eq!(told, [("2".into(), false), ("3".into(), false)]);
    let (last, before) = captured.changes.split_last().unwrap();
    assert_eq!(last.passed, BatchId::of_run(1, 1));
    assert!(before.iter().all(|change| change.passed == BatchId::NONE));
}

/// One changes the record before it is written, one changes it again right after.
pub async fn triggers_of_the_customer_do_not_hide_the_last_state(level: Level) {
    let ddl = format!(
        "{POSTS};
         create function before() returns trigger language plpgsql as
             $$ begin new.title := new.title || '!'; return new; end $$;
         create trigger before before insert or update on posts
             for each row execute function before();
         create function again() returns trigger language plpgsql as $$ begin
             if new.title not like '%again%' then
                 update posts set title = new.title || ' again' where id = new.id;
             end if;
             return null; end $$;
         create trigger again after insert or update on posts
             for each row execute function again();
         create function revive() returns trigger language plpgsql as $$ begin
             if old.id = 2 then insert into posts values (2, 'revived'); end if;
             return null; end $$;
         create trigger revive after delete on posts for each row execute function revive();"
    );
    let mut bench = Bench::new(level, &ddl, TITLES).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute("insert into posts values (1, 'a'), (2, 'b'), (3, 'c')")
        .await;
    bench.catch_up(&mut copy, &mut capture).await;
    bench.execute("update posts set title = 'x'").await;
    bench.execute("delete from posts where id in (2, 3)").await;
    bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(copy.records.len(), 2);
}

pub async fn a_cascade_is_reported_for_each_table(level: Level) {
    let ddl = format!(
        "{POSTS};
         create table notes (id int primary key, post int references posts on delete cascade
                                                           on update cascade, text text)"
    );
    let tables: &[(&str, &[&str])] = &[("posts", &["title"]), ("notes", &["post", "text"])];
    let mut bench = Bench::new(level, &ddl, tables).await;
    bench
        .execute("insert into posts values (1, 'a'), (2, 'b'); insert into notes values (1, 1, 'x'), (2, 2, 'y')")
        .await;
    let (mut copy, mut capture) = bench.start().await;
    bench.execute("update posts set id = 7 where id = 1").await;
    bench.catch_up(&mut copy, &mut capture).await;
    bench.execute("delete from posts").await;
    bench.catch_up(&mut copy, &mut capture).await;
    assert!(copy.records.is_empty());
}

pub async fn partitions_written_directly_are_reported(level: Level) {
    let ddl = "create table logs (id int, region text, note text, primary key (id, region)) \
                   partition by list (region); \
               create table logs_a partition of logs for values in ('a'); \
               create table logs_b (note text, region text not null, id int not null); \
               alter table logs attach partition logs_b for values in ('b');";
    let mut bench = Bench::new(level, ddl, &[("logs", &["region", "note"])]).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute("insert into logs values (1, 'a', 'root'), (2, 'b', 'root')")
        .await;
    bench
        .execute("insert into logs_b values ('leaf', 'b', 3)")
        .await;
    bench
        .execute("update logs_b set note = 'leaf again' where id = 3")
        .await;
    bench.catch_up(&mut copy, &mut capture).await;
    bench
        .execute("update logs set region = 'b' where id = 1")
        .await;
    bench.execute("delete from logs_b where id = 2").await;
    bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(copy.records.len(), 2);
}

pub async fn a_new_key_keeps_the_record(level: Level) {
    let mut bench = posts(level).await;
    bench
        .execute("insert into posts values (1, 'a'), (5, 'b'), (6, 'c')")
        .await;
    let (mut copy, mut capture) = bench.start().await;
    bench.execute("update posts set id = 2 where id = 1").await;
    let captured = bench.catch_up(&mut copy, &mut capture).await;
    if is_look(level) {
        assert_eq!(keys(&captured), ["1", "2"]);
    } else {
        assert_eq!(captured.changes.len(), 1);
        assert_eq!(captured.changes[0].old_key, Some(key(1)));
    }
    // Several at once: what is told may differ, what is there may not.
    bench.execute("update posts set id = id + 10").await;
    bench.catch_up(&mut copy, &mut capture).await;
}

/// More than is held at once: parts without a position, the last one with it.
pub async fn a_big_transaction_comes_in_parts_and_whole(level: Level) {
    let mut bench = posts(level).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute("insert into posts values (-1, 'before')")
        .await;
    bench
        .execute(
            "begin; insert into posts select n, 'x' from generate_series(1, 12000) n; \
             delete from posts where id between 1 and 10; commit",
        )
        .await;
    let mut parts = Vec::new();
    while copy.records.len() != 11_991 {
        let captured = next(&mut capture).await;
        copy.take_in(&captured);
        parts.push((captured.changes.len(), captured.end.is_some()));
    }
    assert!(parts.iter().any(|(_, is_end)| !is_end), "{parts:?}");
    assert!(
        parts.iter().all(|(changes, _)| *changes <= 10_000),
        "{parts:?}"
    );
    bench.catch_up(&mut copy, &mut capture).await;
}

pub async fn writes_in_replica_role_are_reported(level: Level) {
    let mut bench = posts(level).await;
    let (mut copy, mut capture) = bench.start().await;
    let admin = bench.database.admin().await;
    admin
        .batch_execute(
            "set session_replication_role = replica; insert into posts values (1, 'replicated')",
        )
        .await
        .unwrap();
    assert_eq!(keys(&bench.catch_up(&mut copy, &mut capture).await), ["1"]);
}

/// Whatever the writer's session is set to.
pub async fn values_read_as_the_view_reads_them(level: Level) {
    let ddl = "create type mood as enum ('ok', 'so so');
               create table kinds (id int primary key, b bool, c char(5), n numeric, d float8,
                   at timestamptz, day date, span interval, bytes bytea, doc jsonb, list text[],
                   m mood, money money, note text)";
    let fields: &[&str] = &[
        "b", "c", "n", "d", "at", "day", "span", "bytes", "doc", "list", "m", "money", "note",
    ];
    let mut bench = Bench::new(level, ddl, &[("kinds", fields)]).await;
    let (mut copy, mut capture) = bench.start().await;
    bench
        .execute(
            r#"set datestyle = 'german'; set timezone = 'Asia/Tokyo'; set bytea_output = 'escape';
               set intervalstyle = 'postgres_verbose'; set extra_float_digits = -10;
               insert into kinds values
               (1, true, 'ab', 1.500, 0.1, '2026-03-01 12:00+01', '2026-03-01', '1 mon 2 days',
                '\x00ff', '{"b": 1, "a": [null]}', '{"a b",NULL,""}', 'so so', 12.5, e'l\n\t\\'),
               (2, null, null, 'NaN', 'infinity', 'infinity', '-infinity', null, '', 'null', '{}',
                null, null, '');
               update kinds set note = note || 'x' where id = 1;"#,
        )
        .await;
    bench.catch_up(&mut copy, &mut capture).await;
    assert_eq!(copy.records.len(), 2);
}

pub async fn truncate_and_lost_columns_ask_for_a_reconcile(level: Level) {
    let mut bench = posts(level).await;
    bench.execute("insert into posts values (1, 'a')").await;
    let (_, mut capture) = bench.start().await;
    bench.execute("truncate posts").await;
    assert_eq!(bench.read(&mut capture).await.reconcile.len(), 1);
    bench
        .execute("alter table posts rename column title to heading")
        .await;
    // The customer's own write must not suffer.
    bench.execute("insert into posts values (2, 'b')").await;
    assert_eq!(bench.read(&mut capture).await.reconcile.len(), 1);
}

pub async fn reading_goes_on_where_it_was_settled(level: Level) {
    let mut bench = posts(level).await;
    let (mut copy, mut capture) = bench.start().await;
    let start = copy.position.clone();
    bench.execute("insert into posts values (1, 'a')").await;
    bench.catch_up(&mut copy, &mut capture).await;
    let first = copy.position.clone();
    bench.execute("insert into posts values (2, 'b')").await;
    let second = bench.catch_up(&mut copy, &mut capture).await;
    drop(capture);

    // Nothing was acknowledged: all of it is there, with the offsets that it had.
    let mut capture = bench.resume(&start).await;
    let again = bench.read(&mut capture).await;
    assert_eq!(keys(&again), ["1", "2"]);
    assert_eq!(again.changes[1], second.changes[0]);
    drop(capture);
    let mut capture = bench.resume(&first).await;
    assert_eq!(bench.read(&mut capture).await.changes, second.changes);

    // What is acknowledged can be forgotten, and reading goes on behind it.
    capture.acknowledge(&copy.position);
    bench.execute("insert into posts values (3, 'c')").await;
    bench.catch_up(&mut copy, &mut capture).await;
    drop(capture);
    let position = copy.position.clone();
    let mut capture = bench.resume(&position).await;
    let read = bench.writer.read(PairId(0), &[key(1)]).await.unwrap();
    assert!(read.0[0].is_some());
    bench.execute("insert into posts values (4, 'd')").await;
    let mut told = keys(&bench.catch_up(&mut copy, &mut capture).await);
    if is_look(level) {
        // What was read may be told again.
        told.retain(|key| key != "1");
    }
    assert_eq!(told, ["4"]);
}

pub async fn forgetting_leaves_nothing(level: Level) {
    let mut bench = posts(level).await;
    let (copy, capture) = bench.start().await;
    drop(capture);
    for _ in 0..2 {
        bench.forget().await;
        let left = bench
            .count(
                "select (select count(*) from pg_replication_slots
                         where database = current_database())
                      + (select count(*) from pg_publication)
                      + (select count(*) from pg_trigger where not tgisinternal)
                      + (select count(*) from pg_proc
                         where pronamespace = 'tidegate'::regnamespace)
                      + (select count(*) from pg_class c
                         where relnamespace = 'tidegate'::regnamespace and relkind = 'r'
                           and relname <> 'progress')
                      + (select count(*) from tidegate.progress)",
            )
            .await;
        assert_eq!(left, 0);
    }
    bench
        .execute("insert into posts values (1, 'still works')")
        .await;
    bench.reopen(level).await;
    let checked = bench.side.check_position(&copy.position).await.unwrap();
    assert!(checked.is_err());
}

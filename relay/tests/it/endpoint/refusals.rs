//! One bad record stops no other, and says why without showing values.

use tidegate_relay::endpoint::Class;
use tidegate_sync::model::{BatchId, FindingCode, Outcome, Step};
use tidegate_sync::value::Value;

use crate::support::postgres::{Database, Server};
use crate::support::side::*;

async fn database(sql: &str) -> Database {
    let database = Server::shared().database("refusals").await;
    database.client().await.batch_execute(sql).await.unwrap();
    database
}

#[track_caller]
fn rejected(outcome: &Outcome) -> (FindingCode, &str) {
    match outcome {
        Outcome::Rejected { code, detail } => (*code, detail),
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_among_a_thousand_is_rejected_alone() {
    let database = database("create table t (id int primary key, slug text unique)").await;
    let client = database.client().await;
    client
        .batch_execute("insert into t values (5000, 'taken-geheim')")
        .await
        .unwrap();
    let mut writer = writer(&database, 1, &[("t", &["id", "slug"])]).await;
    let slug = |n: i64| {
        if n == 777 {
            "taken-geheim".to_owned()
        } else {
            format!("s{n}")
        }
    };
    let steps: Vec<Step> = (0..1000)
        .map(|n| create(&[Value::Int(n), text(&slug(n))]))
        .collect();
    let done = apply(&mut writer, 1, &steps).await;
    let (code, detail) = rejected(&done[777]);
    assert_eq!(code, FindingCode::UniqueViolation);
    assert!(
        detail.contains("t_slug_key") && !detail.contains("geheim"),
        "{detail}"
    );
    assert_eq!(
        done.iter()
            .filter(|o| matches!(o, Outcome::Written(..)))
            .count(),
        999
    );
    let count = client
        .query_one("select count(*) from t", &[])
        .await
        .unwrap();
    assert_eq!(count.get::<_, i64>(0), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_refusal_has_its_code() {
    let database = database(
        "create domain small as int check (value < 10);
         create table parent (id int primary key);
         create table t (
             id int primary key, must text not null default 'x', n int check (n <> 13),
             d small, p int references parent, late int references parent
                 deferrable initially deferred, g int generated always as (id) stored,
             short varchar(3), num numeric(4,2));
         create function refuse() returns trigger language plpgsql as $$ begin
             if new.must = 'raise' then raise exception 'the house says no'; end if;
             if new.must = 'drop' then return null; end if;
             return new; end $$;
         create trigger r before insert on t for each row execute function refuse();
         insert into t values (100)",
    )
    .await;
    let fields = &["id", "must", "n", "d", "p", "late", "g", "short", "num"];
    let mut writer = writer(&database, 1, &[("t", fields)]).await;
    let id = std::cell::Cell::new(0);
    let with = |field: usize, value: Value| {
        id.set(id.get() + 1);
        let mut step = create(&[Value::Int(id.get()), text("ok")]);
        if let tidegate_sync::model::StepKind::Create { set, .. } = &mut step.kind {
            set.retain(|(f, _)| *f != field);
            set.push((field, value));
            set.sort_by_key(|(f, _)| *f);
        }
        step
    };
    use FindingCode::*;
    let cases = [
        (with(0, Value::Int(100)), UniqueViolation),
        (with(1, Value::Null), NotNullViolation),
        (with(2, Value::Int(13)), CheckViolation),
        (with(3, Value::Int(10)), CheckViolation),
        (with(4, Value::Int(7)), ForeignKeyViolation),
        (with(5, Value::Int(7)), ForeignKeyViolation),
        (with(6, Value::Int(7)), RejectedBySide),
        (with(7, text("long")), ValueOutOfRange),
        (with(8, Value::Decimal("1.005".into())), ValueOutOfRange),
        (with(0, Value::Int(1 << 40)), ValueOutOfRange),
        (with(1, text("raise")), CheckViolation),
        (with(1, text("drop")), RejectedBySide),
    ];
    let mut steps: Vec<Step> = cases.iter().map(|(step, _)| step.clone()).collect();
    steps.push(with(2, Value::Int(14)));
    let done = apply(&mut writer, 1, &steps).await;
    for (number, (_, expected)) in cases.iter().enumerate() {
        let (code, detail) = rejected(&done[number]);
        assert_eq!(code, *expected, "case {number}: {detail}");
    }
    assert!(rejected(&done[10]).1.contains("the house says no"));
    written(&done[cases.len()]);
    // All of them recorded as not done.
    let recovered = writer
        .recover(BatchId::of_run(1, 1), 2)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(recovered.len(), steps.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_freed_in_the_same_batch_can_be_taken() {
    let database = database(
        "create table t (id int primary key, slug text unique); insert into t values (1, 'a')",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["id", "slug"])]).await;
    let steps = [create(&[Value::Int(2), text("a")]), delete(key(1), &[])];
    let done = apply(&mut writer, 1, &steps).await;
    written(&done[0]);
    assert!(matches!(done[1], Outcome::Deleted(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_under_deferred_constraints_is_one_batch() {
    let database = database(
        "create table a (id int primary key, b int);
         create table b (id int primary key, a int references a deferrable initially deferred);
         alter table a add foreign key (b) references b deferrable initially deferred",
    )
    .await;
    let tables: &[Table<'_>] = &[("a", &["id", "b"]), ("b", &["id", "a"])];
    let mut writer = writer(&database, 1, tables).await;
    let one = [Value::Int(1), Value::Int(1)];
    let done = apply(
        &mut writer,
        1,
        &[create_in(0, &one, &[]), create_in(1, &one, &[])],
    )
    .await;
    written(&done[0]);
    written(&done[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_somebody_else_is_an_error_to_retry_and_nothing_is_written() {
    let database = database("create table t (id int primary key); insert into t values (1)").await;
    let other = database.client().await;
    other
        .batch_execute("begin; lock table t in access exclusive mode")
        .await
        .unwrap();
    let mut writer = writer(&database, 1, &[("t", &["id"])]).await;
    // Whoever waits less than the lock's limit sees nothing; the session then ends.
    let error = writer
        .apply(BatchId::of_run(1, 1), &[delete(key(1), &[])], true)
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.code, "lock-timeout");
    assert!(matches!(error.class, Class::Retry(_)));
    other.batch_execute("rollback").await.unwrap();
    assert_eq!(
        writer.recover(BatchId::of_run(1, 1), 2).await.unwrap(),
        None
    );
    let done = apply(&mut writer, 1, &[delete(key(1), &[])]).await;
    assert!(matches!(done[0], Outcome::Deleted(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_written_refuses_each_record_and_stops_no_other_table() {
    let database = database(
        "create table open (id int primary key); create table closed (id int primary key)",
    )
    .await;
    let admin = database.admin().await;
    admin
        .batch_execute("alter table closed owner to postgres; grant select on closed to tidegate")
        .await
        .unwrap();
    let tables: &[Table<'_>] = &[("closed", &["id"]), ("open", &["id"])];
    let mut writer = writer(&database, 1, tables).await;
    let steps: Vec<Step> = (0..200)
        .map(|n| create_in(n % 2, &[Value::Int(n.into())], &[]))
        .collect();
    let done = apply(&mut writer, 1, &steps).await;
    for pair in done.chunks(2) {
        assert_eq!(rejected(&pair[0]).0, FindingCode::PermissionDenied);
        written(&pair[1]);
    }
}

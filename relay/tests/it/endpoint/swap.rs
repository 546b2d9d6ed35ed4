//! Records that swap unique values in one batch.

use tidegate_sync::model::{FindingCode, Outcome, Step};
use tidegate_sync::value::Value;

use crate::support::postgres::{Database, Server};
use crate::support::side::*;

async fn database(sql: &str) -> Database {
    let database = Server::shared().database("swap").await;
    database.client().await.batch_execute(sql).await.unwrap();
    database
}

/// `column` of all records, by id.
async fn values(database: &Database, column: &str) -> String {
    let sql = format!("select string_agg({column}::text, ',' order by id) from t");
    let client = database.client().await;
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

fn set(id: i64, field: usize, value: Value) -> Step {
    update(key(id), &[(field, value)], &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_swap_values_of_any_unique_column_that_can_be_parked() {
    for (column, first, second) in [
        ("text not null", text("a"), text("b")),
        ("text", text("a"), text("b")),
        ("varchar(40) not null", text("a"), text("b")),
        ("int not null", Value::Int(1), Value::Int(2)),
        ("smallint not null", Value::Int(1), Value::Int(2)),
        ("uuid not null", Value::Uuid([1; 16]), Value::Uuid([2; 16])),
        ("date", Value::Date(1), Value::Date(2)),
    ] {
        let sql = format!("create table t (id int primary key, u {column} unique)");
        let database = database(&sql).await;
        let mut writer = writer(&database, 1, &[("t", &["id", "u"])]).await;
        let records = [
            create(&[Value::Int(1), first.clone()]),
            create(&[Value::Int(2), second.clone()]),
        ];
        apply(&mut writer, 1, &records).await;
        let before = values(&database, "u").await;
        let steps = [set(1, 1, second.clone()), set(2, 1, first.clone())];
        let done = apply(&mut writer, 2, &steps).await;
        assert_eq!(
            written(&done[0]).row,
            row(&[Value::Int(1), second]),
            "{column}"
        );
        assert_eq!(
            written(&done[1]).row,
            row(&[Value::Int(2), first]),
            "{column}"
        );
        let (one, two) = before.split_once(',').unwrap();
        assert_eq!(
            values(&database, "u").await,
            format!("{two},{one}"),
            "{column}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_goes_through_beside_what_is_refused_for_good() {
    let database = database(
        "create table t (id int primary key, u text not null unique, n int);
         insert into t select n, 'u' || n, n from generate_series(1, 9) n",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["id", "u", "n"])]).await;
    let steps = [
        // Three in a circle.
        set(1, 1, text("u2")),
        set(2, 1, text("u3")),
        set(3, 1, text("u1")),
        // Wants what nobody gives up.
        set(4, 1, text("u9")),
        // Two that swap, the other way round in the batch.
        set(6, 1, text("u5")),
        set(5, 1, text("u6")),
        // A chain: needs no room.
        set(7, 1, text("u8")),
        set(8, 1, text("free")),
        set(9, 2, Value::Int(-9)),
    ];
    let done = apply(&mut writer, 1, &steps).await;
    for (at, outcome) in done.iter().enumerate() {
        match (at, outcome) {
            (3, Outcome::Rejected { code, .. }) => {
                assert_eq!(*code, FindingCode::UniqueViolation);
            }
            _ => {
                written(outcome);
            }
        }
    }
    let expected = "u2,u3,u1,u4,u6,u5,u8,free,u9";
    assert_eq!(values(&database, "u").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_of_two_columns_in_one_index_and_of_two_indexes_goes_through() {
    let database = database(
        "create table t (id int primary key, a text not null, b text not null, c text not null unique,
                         unique (a, b));
         insert into t values (1, 'x', '1', 'c1'), (2, 'x', '2', 'c2')",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["id", "a", "b", "c"])]).await;
    let to = |id, b: &str, c: &str| update(key(id), &[(2, text(b)), (3, text(c))], &[]);
    let done = apply(&mut writer, 1, &[to(1, "2", "c2"), to(2, "1", "c1")]).await;
    written(&done[0]);
    written(&done[1]);
    assert_eq!(values(&database, "a || b || c").await, "x2c2,x1c1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_that_has_no_room_stays_refused_and_leaves_nothing_behind() {
    // No date is out of the way, and the constraint forbids to park a text.
    let database = database(
        "create table t (id int primary key, d date not null unique,
                         u text not null unique check (length(u) < 3), n int);
         insert into t values (1, '2024-01-01', 'a', 0), (2, '2024-01-02', 'b', 0), (3, 'today', 'c', 0)",
    )
    .await;
    let mut writer = writer(&database, 1, &[("t", &["id", "d", "u", "n"])]).await;
    for (field, one, two) in [
        (1, Value::Date(8767), Value::Date(8766)),
        (2, text("b"), text("a")),
    ] {
        let batch = field as u32;
        let other = set(3, 3, Value::Int(7));
        let done = apply(
            &mut writer,
            batch,
            &[set(1, field, one), set(2, field, two), other],
        )
        .await;
        for outcome in &done[..2] {
            let Outcome::Rejected { code, .. } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(*code, FindingCode::UniqueViolation);
        }
        written(&done[2]);
    }
    assert_eq!(values(&database, "u").await, "a,b,c");
}

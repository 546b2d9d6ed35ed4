//! Every listed type against a real server: what the catalog says of it, its values on every path,
//! and from each type's column into each other type's. `CODEC_CASES` sets the number of random
//! values for each type.

pub mod literals;
mod pairs;

#[path = "../../../../sync/tests/codec/any.rs"]
pub mod any;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::postgres::type_list::{EXAMPLES, ListedType, listed_types};
use tidegate_relay::endpoint::{Endpoint, Writer};
use tidegate_sync::codec::FieldType;
use tidegate_sync::model::{Cell, Key, Outcome, PairId, Row, Step};
use tidegate_sync::value::Value;
use tokio_postgres::Client;

use crate::support::postgres::{Database, Server};
use crate::support::side::*;

/// Random values of each type.
pub fn cases() -> usize {
    let wanted = std::env::var("CODEC_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(16)
}

pub fn sample<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &BoxedStrategy<T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// A database with the example types, and in `tables` one column `c0`, `c1`, … of each listed type.
pub async fn database(tables: &[&str]) -> (Database, Client, Vec<ListedType>) {
    let database = Server::shared().database("values").await;
    // `hstore` and `citext` are trusted, but PostgreSQL 12 and some builds want a superuser.
    database
        .admin()
        .await
        .batch_execute(EXAMPLES)
        .await
        .unwrap();
    let client = database.client().await;
    let listed = listed_types_of(&client).await;
    let columns: Vec<String> = listed
        .iter()
        .enumerate()
        .map(|(number, of)| format!("c{number} {}", of.sql))
        .collect();
    for table in tables {
        let sql = format!(
            "create table {table} (id int primary key generated always as identity, l int, {})",
            columns.join(", ")
        );
        client.batch_execute(&sql).await.unwrap();
    }
    client
        .batch_execute("set lc_monetary = 'C'; set timezone = 'Asia/Kathmandu'")
        .await
        .unwrap();
    (database, client, listed)
}

/// The listed types whose every value this server takes. PostgreSQL 14 has no negative scale, and
/// takes no text of an interval of so many hours as later versions do.
async fn listed_types_of(client: &Client) -> Vec<ListedType> {
    let sql = "select current_setting('server_version_num')::int";
    let version: i32 = client.query_one(sql, &[]).await.unwrap().get(0);
    let mut listed = listed_types();
    if version < 150_000 {
        listed.retain(|of| !["numeric(3,-2)", "interval", "interval(3)"].contains(&of.sql));
    }
    listed
}

/// Inserts literals of each type into its column of `table`, one for each record.
pub async fn insert_literals(client: &Client, table: &str, listed: &[ListedType]) {
    let mut runner = TestRunner::deterministic();
    for (number, of) in listed.iter().enumerate() {
        let (edges, random) = literals::literals(of.sql);
        let mut texts: Vec<String> = edges.iter().map(|text| (*text).to_owned()).collect();
        if let Some(random) = random {
            texts.extend((0..cases()).map(|_| sample(&mut runner, &random)));
        }
        for text in &texts {
            let literal = text.replace('\'', "''");
            let sql = format!("insert into {table} (c{number}) values ('{literal}')");
            let done = client.batch_execute(&sql).await;
            done.unwrap_or_else(|error| panic!("{}: {text}: {error:?}", of.sql));
        }
    }
}

pub fn canonical(cell: &Cell) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Cell::Value(value) = cell {
        value.canonical(&mut bytes);
    }
    bytes
}

#[track_caller]
pub fn same(path: &str, found: &Row, sent: &[Value], listed: &[ListedType]) {
    for (column, (found, sent)) in found.iter().zip(sent).enumerate() {
        let is_same = canonical(found) == canonical(&Cell::Value(sent.clone()));
        let of = column
            .checked_sub(1)
            .map_or("l", |column| listed[column].sql);
        assert!(is_same, "{path}, {of}: sent {sent:?}, found {found:?}");
    }
}

/// Field names: `l`, then one for each listed type.
fn fields(listed: &[ListedType]) -> Vec<String> {
    let columns = (0..listed.len()).map(|number| format!("c{number}"));
    std::iter::once("l".to_owned()).chain(columns).collect()
}

/// Rows of values of each type (null for what only literals can make): edges, then random ones.
fn rows(listed: &[ListedType]) -> Vec<Vec<Value>> {
    let mut runner = TestRunner::deterministic();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let is_made = |of: &FieldType| !matches!(of, FieldType::Opaque { .. });
    for row in 0..12 + cases() {
        let value = |of: &ListedType| {
            if !is_made(&of.field_type) {
                return Value::Null;
            }
            let edges = any::edges(&of.field_type);
            let edge = edges.get(row).cloned();
            edge.unwrap_or_else(|| sample(&mut runner, &any::values(&of.field_type)))
        };
        let mut values = vec![Value::Int(row as i64)];
        values.extend(listed.iter().map(value));
        rows.push(values);
    }
    rows.push(vec![Value::Null; listed.len() + 1]);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_says_of_every_listed_type_what_the_list_says() {
    let (database, _, listed) = database(&["a"]).await;
    let catalog = PostgresEndpoint::new(database.dial())
        .inspect()
        .await
        .unwrap();
    let table = catalog.table("a").unwrap();
    for (number, of) in listed.iter().enumerate() {
        let column = table.column(&format!("c{number}")).unwrap();
        assert_eq!(column.field_type, of.field_type, "{}", of.sql);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_round_trips_on_every_path() {
    let (database, client, listed) = database(&["a", "b"]).await;
    let names = fields(&listed);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut side = open(&database, 1, &[("a", &names), ("b", &names)]).await;
    let mut writer = side.writer().await.unwrap();

    let sent = rows(&listed);
    let steps: Vec<Step> = sent.iter().map(|values| create(values)).collect();
    let done = apply(&mut writer, 1, &steps).await;
    let stored: Vec<_> = done.iter().map(written).collect();
    let keys: Vec<Key> = stored.iter().map(|stored| stored.key.clone()).collect();
    for (stored, sent) in stored.iter().zip(&sent) {
        same("insert", &stored.row, sent, &listed);
    }
    let (read, _) = writer.read(PairId(0), &keys).await.unwrap();
    for (found, sent) in read.iter().zip(&sent) {
        same("read", found.as_ref().unwrap(), sent, &listed);
    }
    insert_literals(&client, "a", &listed).await;
    let copied = scan(&mut side.view().await.unwrap(), 0).await;
    for (key, sent) in keys.iter().zip(&sent) {
        let (_, found) = copied.iter().find(|(found, _)| found == key).unwrap();
        same("copy", found, sent, &listed);
    }
    copy_and_compare(&client, &mut writer, &copied, &listed).await;

    // The guard takes what was read for what is there, and an update writes every type.
    let all: Vec<(usize, Value)> = sent[0].iter().cloned().enumerate().collect();
    let steps: Vec<Step> = keys
        .iter()
        .zip(&sent)
        .map(|(key, saw)| update(key.clone(), &all, saw))
        .collect();
    for outcome in &apply(&mut writer, 3, &steps).await {
        same("update", &written(outcome).row, &sent[0], &listed);
    }
}

/// Writes what was read from `a` to `b` and asks the server whether all of it is the same.
async fn copy_and_compare(
    client: &Client,
    writer: &mut Box<dyn Writer>,
    copied: &[(Key, Row)],
    listed: &[ListedType],
) {
    let record = |(key, row): &(Key, Row)| {
        let mut values: Vec<Value> = row.iter().map(present).collect();
        values[0] = Value::Int(key.0[0].parse().unwrap());
        create_in(1, &values, &[])
    };
    let steps: Vec<Step> = copied.iter().map(record).collect();
    let done = apply(writer, 2, &steps).await;
    assert!(
        done.iter()
            .all(|outcome| matches!(outcome, Outcome::Written(..))),
        "{done:?}"
    );
    for (number, of) in listed.iter().enumerate() {
        let c = format!("c{number}");
        let differs = match of.sql {
            // Without an operator for equality.
            "json" | "xml" | "point" | "box[]" => String::new(),
            _ => format!("a.{c} is distinct from b.{c} or "),
        };
        let sql = format!(
            "select count(*), min(concat(a.{c}) || ' is ' || concat(b.{c})) filter (where {differs}
                 num_nulls(a.{c}) <> num_nulls(b.{c}) or concat(a.{c}) <> concat(b.{c}))
             from a join b on b.l = a.id"
        );
        let found = client.query_one(&sql, &[]).await.unwrap();
        assert_eq!(found.get::<_, i64>(0) as usize, copied.len());
        let difference: Option<String> = found.get(1);
        assert_eq!(difference, None, "{}", of.sql);
    }
}

pub fn present(cell: &Cell) -> Value {
    match cell {
        Cell::Value(value) => value.clone(),
        Cell::Unchanged => panic!("a copy leaves nothing out"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_eight_megabytes_travels_whole() {
    let database = Server::shared().database("values").await;
    let client = database.client().await;
    client
        .batch_execute("create table t (id int primary key, body text)")
        .await
        .unwrap();
    let mut side = open(&database, 1, &[("t", &["id", "body"])]).await;
    let mut writer = side.writer().await.unwrap();
    let big = "ä\\\n\t😀x".repeat(8 * 1024 * 1024 / 10);
    let steps: Vec<Step> = (0..3)
        .map(|n| create(&[Value::Int(n), text(&big)]))
        .collect();
    let done = apply(&mut writer, 1, &steps).await;
    assert!(
        done.iter()
            .all(|o| written(o).row[1] == Cell::Value(text(&big)))
    );
    let copied = scan(&mut side.view().await.unwrap(), 0).await;
    assert!(
        copied
            .iter()
            .all(|(_, row)| row[1] == Cell::Value(text(&big)))
    );
}

//! From each listed type into each other one, on a real server: what is let through arrives.

use tidegate_relay::endpoint::postgres::type_list::{ListedType, listed_types};
use tidegate_sync::codec::{FieldType, Travel, holds, travel};
use tidegate_sync::model::{BatchId, Outcome, Step};
use tidegate_sync::value::Value;

use super::{any, canonical, database, insert_literals, present, sample};
use crate::support::postgres::{Database, Server};
use crate::support::side::*;
use proptest::test_runner::TestRunner;
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{Endpoint, Writer};
use tidegate_sync::model::Cell;

/// A value and the type of the column that it comes from.
struct Sent {
    from: usize,
    value: Value,
}

/// Edges, random values, and what the server made of literals.
async fn values(
    database: &Database,
    client: &tokio_postgres::Client,
    listed: &[ListedType],
) -> Vec<Sent> {
    let mut runner = TestRunner::deterministic();
    let mut sent = Vec::new();
    for (from, of) in listed.iter().enumerate() {
        if matches!(of.field_type, FieldType::Opaque { .. }) {
            continue;
        }
        let random = (0..4).map(|_| sample(&mut runner, &any::values(&of.field_type)));
        let values = any::edges(&of.field_type).into_iter().chain(random);
        sent.extend(values.map(|value| Sent { from, value }));
    }
    insert_literals(client, "a", listed).await;
    let names: Vec<String> = (0..listed.len())
        .map(|number| format!("c{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut side = open(database, 1, &[("a", &names)]).await;
    for (_, row) in scan(&mut side.view().await.unwrap(), 0).await {
        for (from, cell) in row.iter().enumerate() {
            let value = present(cell);
            if !value.is_null() {
                sent.push(Sent { from, value });
            }
        }
    }
    sent.retain(|sent| format!("{:?}", sent.value).len() < 20_000);
    sent
}

/// Only where it comes from tells what is carried as text apart.
fn may_come(from: &FieldType, to: &FieldType) -> bool {
    !matches!(travel(from, to), Travel::None { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_type_lets_through_to_another_is_read_back_the_same() {
    let (database, client, listed) = database(&["a"]).await;
    let sent = values(&database, &client, &listed).await;
    let mut tables = Vec::new();
    for (number, of) in listed.iter().enumerate() {
        let sql = format!(
            "create table public.t{number} (id int primary key generated always as identity, v {})",
            of.sql
        );
        client.batch_execute(&sql).await.unwrap();
        tables.push(format!("t{number}"));
    }
    let bound: Vec<(&str, &[&str])> = tables
        .iter()
        .map(|table| (table.as_str(), &["v"][..]))
        .collect();
    let mut writer = writer(&database, 2, &bound).await;
    let mut tried = 0;
    for (to, of) in listed.iter().enumerate() {
        let here: Vec<&Sent> = sent
            .iter()
            .filter(|sent| may_come(&listed[sent.from].field_type, &of.field_type))
            .filter(|sent| holds(&of.field_type, &sent.value).is_ok())
            .collect();
        tried += here.len();
        let steps: Vec<Step> = here
            .iter()
            .map(|sent| create_in(to as u32, std::slice::from_ref(&sent.value), &[]))
            .collect();
        check(&mut writer, to, &steps, &here, &listed).await;
    }
    assert!(tried > 1_000, "{tried}");
}

async fn check(
    writer: &mut Box<dyn Writer>,
    to: usize,
    steps: &[Step],
    here: &[&Sent],
    listed: &[ListedType],
) {
    let batch = BatchId::of_run(2, to as u32 + 1);
    let done = writer.apply(batch, steps, true).await.unwrap();
    for (sent, outcome) in here.iter().zip(&done) {
        let (from, to) = (listed[sent.from].sql, listed[to].sql);
        let Outcome::Written(stored, _) = outcome else {
            panic!("{from} to {to}: {:?}: {outcome:?}", sent.value);
        };
        let is_same = canonical(&stored.row[0]) == canonical(&Cell::Value(sent.value.clone()));
        let found = &stored.row[0];
        assert!(is_same, "{from} to {to}: {:?} is {found:?}", sent.value);
    }
}

/// The type of `public.t.v` after `sql`.
async fn column_type(sql: &str) -> FieldType {
    let database = Server::shared().database("types").await;
    database.admin().await.batch_execute(sql).await.unwrap();
    let catalog = PostgresEndpoint::new(database.dial())
        .inspect()
        .await
        .unwrap();
    let table = catalog.table("t").unwrap();
    table.column("v").unwrap().field_type.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn made_types_are_the_same_when_their_parts_are_and_not_when_their_names_are() {
    let row = |parts: &str| {
        format!("create type pair as ({parts}); create table t (id int primary key, v pair)")
    };
    let one = column_type(&row("a text, b integer")).await;
    let turned = column_type(&row("b integer, a text")).await;
    assert_eq!(travel(&one, &one), Travel::All);
    assert!(
        matches!(travel(&one, &turned), Travel::None { .. }),
        "{one:?} {turned:?}"
    );
    let named = "create schema s; create type s.couple as (a text, b integer);
                 create table t (id int primary key, v s.couple)";
    assert_eq!(column_type(named).await, one);

    let range = |of: &str| {
        format!(
            "create type span as range (subtype = {of}); create table t (id int primary key, v span)"
        )
    };
    let floats = column_type(&range("float8")).await;
    assert!(matches!(
        travel(&floats, &column_type(&range("time")).await),
        Travel::None { .. }
    ));

    let moved = "create schema extensions; create extension hstore schema extensions;
                 create table t (id int primary key, v extensions.hstore)";
    let hstore = listed_types()
        .into_iter()
        .find(|of| of.sql == "hstore")
        .unwrap();
    assert_eq!(column_type(moved).await, hstore.field_type);

    let few = "create type mood as enum ('a'); create table t (id int primary key, v mood[])";
    let many = "create type mood as enum ('a', 'b'); create table t (id int primary key, v mood[])";
    let (few, many) = (column_type(few).await, column_type(many).await);
    assert_eq!(travel(&few, &many), Travel::All);
    assert!(matches!(travel(&many, &few), Travel::Most { .. }));
}

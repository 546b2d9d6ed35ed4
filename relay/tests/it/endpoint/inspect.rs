//! The catalog, the problems with their remedies, and the fixes.

use std::sync::Arc;

use tidegate_relay::endpoint::catalog::{Catalog, Fix};
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{Class, Endpoint};
use tidegate_sync::codec::FieldType;

use crate::support::postgres::{Database, ROLE, Server};
use crate::support::side;

async fn inspect(database: &Database) -> Catalog {
    PostgresEndpoint::new(database.dial())
        .inspect()
        .await
        .unwrap()
}

fn codes(problems: &[tidegate_relay::endpoint::catalog::Problem]) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_columns_keys_and_triggers_are_found() {
    let database = Server::shared().database("inspect").await;
    database
        .client()
        .await
        .batch_execute(
            "create type mood as enum ('fine', 'sad');
             create domain price as numeric(10,2) not null check (value >= 0);
             create table authors (id int primary key, mail text unique);
             create table posts (
                 author int references authors, id bigint generated always as identity,
                 title varchar(80) not null default '', m mood, cost price, tags text[],
                 twice int generated always as (1 + 1) stored,
                 primary key (id, title));
             create function f() returns trigger language plpgsql as $$ begin return new; end $$;
             create trigger touch before update on posts for each row execute function f();
             create view seen as select * from posts;
             create table parts (id int primary key) partition by range (id);
             create table parts_1 partition of parts for values from (0) to (9)",
        )
        .await
        .unwrap();
    let catalog = inspect(&database).await;
    assert!(catalog.server.starts_with("PostgreSQL "));
    assert_eq!(codes(&catalog.problems), ["slot-unlimited"]);
    let names: Vec<&str> = catalog.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["authors", "parts", "posts", "seen"]);

    let posts = catalog.table("posts").unwrap();
    assert_eq!(posts.primary_key, ["id", "title"]);
    assert_eq!(posts.triggers, ["touch"]);
    assert_eq!(posts.foreign_keys[0].table, "public.authors");
    assert_eq!(posts.foreign_keys[0].references, ["id"]);
    assert_eq!(posts.replica_identity, "default");
    assert!(posts.problems.is_empty() && posts.fixes.is_empty() && posts.is_owner);
    let column = |name: &str| posts.column(name).unwrap();
    assert_eq!(column("id").identity, "always");
    assert!(column("title").has_default && !column("title").nullable);
    assert_eq!(column("title").type_name, "character varying(80)");
    assert_eq!(column("m").enum_labels, ["fine", "sad"]);
    assert!(!column("cost").nullable);
    let decimal = FieldType::Decimal {
        precision: Some(10),
        scale: Some(2),
    };
    assert_eq!(column("cost").field_type, decimal);
    let FieldType::Array { of } = &column("tags").field_type else {
        panic!("{:?}", column("tags"));
    };
    assert_eq!(of.name(), "text");
    assert!(column("twice").generated && !column("twice").has_default);
    assert_eq!(catalog.table("authors").unwrap().unique_keys, [["mail"]]);
    assert_eq!(catalog.table("parts").unwrap().kind, "partitioned");
    assert_eq!(
        codes(&catalog.table("seen").unwrap().problems),
        ["not-a-table"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_gets_fixes_that_work() {
    let database = Server::shared().database("inspect").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table a (id text, code int, n int);
             insert into a values ('x', 1, 1), ('x', 2, null);
             create table b (n float8)",
        )
        .await
        .unwrap();
    let catalog = inspect(&database).await;
    let a = catalog.table("a").unwrap();
    assert_eq!(codes(&a.problems), ["no-primary-key"]);
    let [
        Fix::IdentityColumn { column, sql },
        Fix::ExistingColumn { column: code, .. },
    ] = a.fixes.as_slice()
    else {
        panic!("{:?}", a.fixes);
    };
    assert_eq!(
        (column.as_str(), code.as_str(), sql.len()),
        ("tidegate_id", "code", 2)
    );

    let endpoint = PostgresEndpoint::new(database.dial());
    let bad = |column: &str| Fix::ExistingColumn {
        column: column.into(),
        sql: vec!["drop table a".into()],
    };
    let error = endpoint.fix_key("a", &bad("id")).await.unwrap_err();
    assert_eq!(
        (error.code, error.class),
        ("key-not-unique", Class::Operator)
    );
    assert_eq!(
        endpoint.fix_key("a", &bad("n")).await.unwrap_err().code,
        "key-has-nulls"
    );
    assert!(endpoint.fix_key("a", &bad("gone")).await.is_err());
    assert_eq!(
        endpoint.fix_key("c", &bad("x")).await.unwrap_err().code,
        "table-missing"
    );
    endpoint.fix_key("a", &a.fixes[1]).await.unwrap();
    let b = catalog.table("b").unwrap();
    assert_eq!(b.fixes.len(), 1);
    endpoint.fix_key("b", &b.fixes[0]).await.unwrap();
    let fixed = inspect(&database).await;
    assert_eq!(fixed.table("a").unwrap().primary_key, ["code"]);
    assert_eq!(fixed.table("b").unwrap().primary_key, ["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_is_told_what_to_grant() {
    let server = Server::shared();
    let database = server.database("inspect").await;
    database
        .admin()
        .await
        .batch_execute(&format!(
            "create role {0} login password 'secret-of-weak';
             create table t (id int primary key);
             create table n (id int primary key); alter table n replica identity nothing;
             grant select on t to {0}",
            weak(&database)
        ))
        .await
        .unwrap();
    let dial = Arc::new(database.dial_as(&weak(&database), "secret-of-weak"));
    let catalog = PostgresEndpoint::new(dial.clone()).inspect().await.unwrap();
    let found = codes(&catalog.problems);
    for code in ["no-progress-schema", "no-create-right"] {
        assert!(found.contains(&code), "{found:?}");
    }
    assert_eq!(
        codes(&catalog.captures[0].obstacles),
        ["no-replication-right"]
    );
    let t = catalog.table("t").unwrap();
    assert_eq!(codes(&t.problems), ["not-writable", "not-owner"]);
    assert!(
        t.problems[0]
            .remedy
            .contains("grant insert, update, delete on \"public\".\"t\"")
    );
    let n = catalog.table("n").unwrap();
    assert!(codes(&n.problems).contains(&"replica-identity"));

    let refused = side::open_over(dial, 1, &[("t", &["id"])]).await;
    let error = refused.err().unwrap();
    assert_eq!(error.code, "no-progress-schema");
    assert!(
        error
            .message
            .contains("create schema tidegate authorization"),
        "{error}"
    );
}

fn weak(database: &Database) -> String {
    format!("weak_{}", database.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_tables_and_columns_say_what_to_do() {
    let database = Server::shared().database("inspect").await;
    let client = database.client().await;
    client
        .batch_execute("create table t (id int primary key); create table k (n int)")
        .await
        .unwrap();
    let wrong = PostgresEndpoint::new(Arc::new(database.dial_as(ROLE, "wrong-geheim")));
    let error = wrong.inspect().await.unwrap_err();
    assert_eq!(
        (error.code, error.class),
        ("login-refused", Class::Operator)
    );
    assert!(!format!("{error:?}").contains("geheim"));
    let mut elsewhere = database.clone();
    elsewhere.name = "nowhere".into();
    let error = PostgresEndpoint::new(elsewhere.dial())
        .inspect()
        .await
        .unwrap_err();
    assert_eq!(error.code, "database-missing");

    let code = async |tables: &[side::Table<'_>]| {
        side::open_over(database.dial(), 1, tables)
            .await
            .err()
            .unwrap()
            .code
    };
    assert_eq!(code(&[("gone", &["id"])]).await, "table-missing");
    assert_eq!(code(&[("t", &["gone"])]).await, "column-missing");
    assert_eq!(code(&[("k", &["n"])]).await, "no-primary-key");
}

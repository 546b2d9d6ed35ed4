//! What looks remember: makes the tables, fills them from a view, takes them away.

use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::super::connect::Connected;
use super::super::outbox::{self, OutboxName};
use super::super::shape::Shape;
use super::super::sqlstate::endpoint_error;
use super::{Looks, compare};
use crate::endpoint::EndpointError;

pub(super) fn seen(name: &OutboxName) -> String {
    format!("tidegate.seen_{}", name.stem)
}

pub(super) fn touched(name: &OutboxName) -> String {
    format!("tidegate.touched_{}", name.stem)
}

pub(super) fn looks(name: &OutboxName) -> String {
    format!("tidegate.looks_{}", name.stem)
}

pub(super) fn all(name: &OutboxName) -> [String; 5] {
    [
        name.outbox(),
        name.ticks(),
        seen(name),
        touched(name),
        looks(name),
    ]
}

/// Makes them anew, empty.
pub(in super::super) async fn prepare(
    session: &Connected,
    name: &OutboxName,
) -> Result<(), EndpointError> {
    let (seen, touched, looks) = (seen(name), touched(name), looks(name));
    // A hash of null: unknown, to be told.
    let sql = format!(
        "begin;
         drop table if exists {all};
         {outbox}
         create table {seen} (pair integer, key text[], hash bigint, primary key (pair, key));
         comment on table {seen} is 'What Tidegate has told of each record. Keep it.';
         create table {touched} (pair integer not null, key text[] not null);
         comment on table {touched} is 'What Tidegate has written or read itself. Keep it.';
         create table {looks} (
             pair integer primary key,
             shape text not null,
             files text not null,
             horizon xid8 not null,
             passed bigint not null,
             is_lost boolean not null default false,
             complete_at timestamptz not null default now()
         );
         comment on table {looks} is 'When Tidegate has looked for changes. Keep it.';
         commit",
        all = all(name).join(", "),
        outbox = name.tables_sql(),
    );
    let make = session.batch_execute(&sql);
    let made = session.bounded("make the tables for looks", make).await;
    if made.is_err() {
        let _ = session.batch_execute("rollback").await;
    }
    made
}

/// Remembers every record that the exported view `snapshot` shows. It must have been taken after
/// [`prepare`].
pub(in super::super) async fn fill(
    session: &Connected,
    looks: &Looks,
    snapshot: &str,
) -> Result<(), EndpointError> {
    if !snapshot.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err(EndpointError::bug("snapshot-name", "odd snapshot name"));
    }
    let doing = "remember the records";
    match tokio::time::timeout(FILL_MAX, fill_all(session, looks, snapshot)).await {
        Ok(filled) => filled.map_err(|error| endpoint_error(doing, error)),
        Err(_) => Err(session.give_up(doing).await),
    }
}

async fn fill_all(session: &Connected, looks: &Looks, snapshot: &str) -> Result<(), Error> {
    let begin = format!(
        "begin isolation level repeatable read read write;
         set transaction snapshot '{snapshot}';
         {}",
        compare::locks(looks)
    );
    session.batch_execute(&begin).await?;
    let batch = looks.progress.batch(session).await?.0.cast_signed();
    for shape in looks.shapes.iter() {
        session
            .batch_execute(&compare::remember(looks, shape))
            .await?;
        let sql = format!(
            "insert into {} (pair, shape, files, horizon, passed)
             select {}, $1, ({}), pg_snapshot_xmin(pg_current_snapshot()), $2",
            looks.looks(),
            shape.pair.0,
            compare::files(shape)
        );
        let shape = compare::columns(shape);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&shape, Type::TEXT), (&batch, Type::INT8)];
        session.execute_typed(&sql, &parameters).await?;
    }
    session.batch_execute("commit").await?;
    let analyze = format!("analyze {}", looks.seen());
    session.batch_execute(&analyze).await
}

/// Is what is remembered of the table of these columns, and whole?
pub(super) async fn is_remembered(
    session: &Connected,
    looks: &Looks,
    shape: &Shape,
) -> Result<bool, EndpointError> {
    let sql = format!(
        "select exists (select from {} where pair = $1 and shape = $2 and not is_lost)",
        looks.looks()
    );
    let (pair, columns) = (shape.pair.0.cast_signed(), compare::columns(shape));
    let answer = async {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&pair, Type::INT4), (&columns, Type::TEXT)];
        session.query_typed_one(&sql, &parameters).await?.try_get(0)
    };
    session.bounded("look for what is remembered", answer).await
}

/// Drops what looks left on one side.
pub(in super::super) async fn forget_side(
    session: &Connected,
    name: &OutboxName,
) -> Result<(), EndpointError> {
    if !outbox::exist(session, &[looks(name)]).await? {
        return Ok(());
    }
    let sql = format!("drop table if exists {}", all(name).join(", "));
    session
        .bounded("drop the tables for looks", session.batch_execute(&sql))
        .await
}

/// What [`forget_side`] runs, as SQL for a person.
pub(in super::super) fn forget_sql(name: &OutboxName) -> String {
    let mut sql = "drop table if exists ".to_owned();
    let _ = write!(
        sql,
        "{}",
        [seen(name), touched(name), looks(name)].join(", ")
    );
    sql
}

/// Longest time for remembering all records of a start.
const FILL_MAX: Duration = Duration::from_secs(6 * 3_600);

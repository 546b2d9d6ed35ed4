//! The outbox: changes that wait beside the data until they are read, whoever put them there.
//!
//! Triggers fill it as the data changes (`triggers`), looks fill it with what they find (`looks`). It
//! is read in *ticks* (`ticks`, `read`): a tick is a number and the snapshot of the moment when it
//! was made, and its changes are those of the transactions which its snapshot shows and the one
//! before does not. So a transaction that stays open for long holds nobody up and is never
//! skipped, whatever numbers it drew, and reading a tick again gives the same.

mod chunk;
pub(super) mod read;
mod rows;
pub(super) mod ticks;

use async_trait::async_trait;
use tidegate_sync::model::{BatchId, PairId, Position, Side};
use tokio_postgres::types::Type;

use super::ask::Ask;
use super::connect::Connected;
use super::slots;
use crate::endpoint::EndpointError;

/// What things are called on one side of one sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxName {
    /// `blog_l`.
    pub(super) stem: String,
}

impl OutboxName {
    /// `sync` is a [`Binding::sync`](crate::endpoint::Binding): `[a-z0-9_]{1,40}`.
    pub(super) fn new(sync: &str, side: Side) -> OutboxName {
        let letter = match side {
            Side::Left => 'l',
            Side::Right => 'r',
        };
        OutboxName {
            stem: format!("{sync}_{letter}"),
        }
    }

    pub(super) fn outbox(&self) -> String {
        format!("tidegate.outbox_{}", self.stem)
    }

    pub(super) fn ticks(&self) -> String {
        format!("tidegate.ticks_{}", self.stem)
    }

    pub(super) fn tables_sql(&self) -> String {
        let (outbox, ticks) = (self.outbox(), self.ticks());
        format!(
            "create table {outbox} (
                 seq bigint generated always as identity,
                 xid xid8 not null default pg_current_xact_id(),
                 at timestamptz not null default clock_timestamp(),
                 pair integer, op text not null, key text[], old_key text[], fields text[],
                 batch bigint
             ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
             create index outbox_{stem}_xid on {outbox} (xid, seq);
             comment on table {outbox} is 'Changes for Tidegate, until it has read them.';
             create table {ticks} (
                 id bigint primary key,
                 shown pg_snapshot not null,
                 at timestamptz not null default now()
             );
             comment on table {ticks} is 'How far Tidegate has read its outbox. Keep it.';",
            stem = self.stem,
        )
    }
}

/// What keeps the outbox filled while it is read.
#[async_trait]
pub(super) trait Filler: Send + Sync {
    /// Does what is due. Pairs of which changes may have been missed need a reconcile.
    async fn tend(
        &mut self,
        session: &Connected,
    ) -> Result<Vec<(PairId, &'static str)>, EndpointError>;
}

/// Makes `snapshot`, a view's own (`10:20:10,14`), the first tick: changes are told from there on.
pub(super) async fn anchor(
    session: &Connected,
    (name, filled_by): (&OutboxName, &str),
    snapshot: &str,
) -> Result<Position, EndpointError> {
    Ok(Position {
        cursor: cursor(session, filled_by).await?,
        offset: ticks::begin(session, name, snapshot).await?,
        passed: BatchId::NONE,
    })
}

/// Which server, and in what way its outbox is filled.
async fn cursor(mut session: &Connected, filled_by: &str) -> Result<String, EndpointError> {
    let identity = session.identity().await?;
    Ok(format!("{filled_by} {}", slots::cursor(&identity)))
}

/// Can an outbox with these tables be read on from `position`? `Err(reason)` when it can't.
pub(super) async fn check(
    session: &Connected,
    (name, filled_by): (&OutboxName, &str),
    tables: &[String],
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    if position.cursor != cursor(session, filled_by).await? {
        return Ok(Err(
            "changes were read in another way before, or the server is another one than before"
                .into(),
        ));
    }
    if !exist(session, tables).await? {
        return Ok(Err(format!("{} is gone", tables.join(" or "))));
    }
    if !ticks::knows(session, name, position.offset).await? {
        return Ok(Err(format!(
            "{} does not know where reading stopped: the server lost data",
            name.ticks()
        )));
    }
    Ok(Ok(()))
}

/// Are all of these tables there?
pub(super) async fn exist(session: &Connected, tables: &[String]) -> Result<bool, EndpointError> {
    let sql =
        "select coalesce(bool_and(to_regclass(t) is not null), true) from unnest($1) as n (t)";
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let answer = async {
        let row = session
            .query_typed_one(sql, &[(&tables, Type::TEXT_ARRAY)])
            .await?;
        row.try_get(0)
    };
    session.bounded("look for the outbox", answer).await
}

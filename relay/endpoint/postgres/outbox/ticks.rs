//! Ticks: the numbered moments between which the outbox is read.
//!
//! Made by the capture when there is something new, and by writers as fences; one after the other,
//! under a lock that the transaction holds, so that a later number always has a later snapshot.

use futures_util::future::join4;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::super::connect::Connected;
use super::OutboxName;
use crate::endpoint::EndpointError;

/// A tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub id: u64,
    /// `pg_snapshot` as text.
    pub shown: String,
}

/// Makes a tick of now.
pub(in super::super) async fn make(
    session: &Connected,
    name: &OutboxName,
) -> Result<u64, EndpointError> {
    insert(session, name, "pg_current_snapshot()").await
}

/// Makes the first tick, of a view that was taken before.
pub(in super::super) async fn begin(
    session: &Connected,
    name: &OutboxName,
    snapshot: &str,
) -> Result<u64, EndpointError> {
    let is_snapshot = |b: u8| b.is_ascii_digit() || b == b':' || b == b',';
    if !snapshot.bytes().all(is_snapshot) {
        return Err(EndpointError::bug("snapshot-name", "odd snapshot"));
    }
    insert(session, name, &format!("'{snapshot}'::pg_snapshot")).await
}

/// A tick's number is above that of the one before by more than its own rows, which are numbered
/// in between, and at least the WAL's position: there is always room for both, since each row
/// takes more than one byte.
async fn insert(
    session: &Connected,
    name: &OutboxName,
    snapshot: &str,
) -> Result<u64, EndpointError> {
    let (outbox, ticks) = (name.outbox(), name.ticks());
    let lock = format!("select pg_advisory_xact_lock({LOCK}, '{ticks}'::regclass::oid::integer)");
    let sql = format!(
        "insert into {ticks} (id, shown)
         select greatest(
                    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint,
                    coalesce((select max(id) from {ticks}), 0) + 1 + (
                        select count(*)
                        from (select shown from {ticks} order by id desc limit 1) l
                        join {outbox} o on {new}
                    )),
                {snapshot}
         returning id",
        new = not_shown("o", "l.shown"),
    );
    let made = async {
        let (begun, locked, inserted, committed) = join4(
            session.batch_execute("begin isolation level read committed read write"),
            session.batch_execute(&lock),
            session.query_typed_one(&sql, &[]),
            session.batch_execute("commit"),
        )
        .await;
        begun?;
        locked?;
        let id: i64 = inserted?.try_get(0)?;
        committed?;
        Ok::<i64, Error>(id)
    };
    let id = session.bounded("mark a moment in the outbox", made).await?;
    Ok(id.cast_unsigned())
}

/// The first key of our advisory locks: nobody else's.
const LOCK: i32 = 0x7469_6465;

/// SQL: is the row's transaction not in the snapshot? The first half is what the index is for.
pub(super) fn not_shown(row: &str, snapshot: &str) -> String {
    format!(
        "{row}.xid >= pg_snapshot_xmin({snapshot}) \
         and not pg_visible_in_snapshot({row}.xid, {snapshot})"
    )
}

/// The tick that `offset` is at or within, and the one after it.
pub(super) async fn around(
    session: &Connected,
    name: &OutboxName,
    offset: u64,
) -> Result<(Option<Tick>, Option<Tick>), EndpointError> {
    let ticks = name.ticks();
    let before =
        format!("select id, shown::text from {ticks} where id <= $1 order by id desc limit 1");
    let after = format!("select id, shown::text from {ticks} where id > $1 order by id limit 1");
    let offset = offset.cast_signed();
    let tick = async |sql: &str| {
        let row = session
            .query_typed_opt(sql, &[(&offset, Type::INT8)])
            .await?;
        row.map(|row| {
            Ok(Tick {
                id: row.try_get::<_, i64>(0)?.cast_unsigned(),
                shown: row.try_get(1)?,
            })
        })
        .transpose()
    };
    let both = async { tokio::try_join!(tick(&before), tick(&after)) };
    session.bounded("read the outbox's ticks", both).await
}

/// Can reading go on at `offset`?
pub(super) async fn knows(
    session: &Connected,
    name: &OutboxName,
    offset: u64,
) -> Result<bool, EndpointError> {
    let (before, after) = around(session, name, offset).await?;
    Ok(before.is_some_and(|tick| tick.id == offset || after.is_some()))
}

//! What a sync leaves on the server to read its changes: one slot and one publication per side.
//!
//! Makes them (the publication: see [`super::publication`]), checks at every start that the slot
//! still continues what was read, takes it back from a connection that nobody listens to any more,
//! and drops both. All of it is SQL, over whichever session [`Ask`] is.

use std::time::Duration;

use tidegate_sync::model::{BatchId, PairId, Position, Side};

use super::super::{Dial, EndpointError, StreamLabel};
use super::ask::Ask;
use super::mapping::CaptureTable;
use super::publication::{self, Ddl, drop_publication, drop_sql, publish};
use super::replication::{
    Connection, Identity, Lifetime, SlotSnapshot, format_lsn, parse_lsn, quote_literal,
};
use super::shown::Shown;

/// Prefix of the logical messages with which a sync marks its own transactions.
pub const MARKER_PREFIX: &str = "tidegate";
/// Prefix of the messages after which somebody waits for the stream's position: it is handed out
/// at once. Best in a transaction of its own: the server flushes that at once, while it takes up
/// to 200 ms (`wal_writer_delay`, measured) for a message outside of transactions.
pub const FENCE_PREFIX: &str = "tidegate.fence";

/// How long an old connection may take to let go of the slot after it was told to.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// What things are called on one side of one sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub slot: String,
    pub publication: String,
    marker: String,
}

impl Names {
    /// `sync` is a [`Binding::sync`](super::super::Binding): `[a-z0-9_]{1,40}`.
    pub fn new(sync: &str, side: Side) -> Names {
        let letter = match side {
            Side::Left => 'l',
            Side::Right => 'r',
        };
        let name = format!("tidegate_{sync}_{letter}");
        Names {
            slot: name.clone(),
            publication: name,
            marker: format!("{sync}:{letter}:"),
        }
    }

    /// Content of the message that the writer of this side emits first in the transaction of
    /// `batch`, with [`MARKER_PREFIX`] and `transactional` true.
    pub fn marker(&self, batch: BatchId) -> String {
        format!("{}{}", self.marker, batch.0)
    }

    /// The batch that a message's content names; `None` for another sync's or side's.
    pub fn batch_of(&self, content: &[u8]) -> Option<BatchId> {
        let content = std::str::from_utf8(content).ok()?;
        content
            .strip_prefix(&self.marker)?
            .parse()
            .ok()
            .map(BatchId)
    }
}

/// Starts over: publication, then a new slot in place of the old one, with a snapshot of the data
/// at the position that is returned. The order matters: decoding needs a publication that existed
/// before the slot.
pub async fn start_over(
    dial: &dyn Dial,
    label: &StreamLabel,
    names: &Names,
    tables: &[CaptureTable],
) -> Result<(SlotSnapshot, Position), EndpointError> {
    let ddl = ddl_of(dial).await?;
    let mut connection = Connection::open(dial, label).await?;
    let identity = connection.identity().await?;
    drop_slot(&mut connection, &names.slot).await?;
    publish(&mut connection, &names.publication, tables, ddl).await?;
    let snapshot = connection.create_slot(&names.slot, Lifetime::Kept).await?;
    let position = Position {
        offset: snapshot.lsn,
        passed: BatchId::NONE,
        cursor: cursor(&identity),
    };
    Ok((snapshot, position))
}

/// A snapshot of the data at the position that is returned, while the sync's slot stays where it is:
/// that of a slot of its own, which goes with the snapshot. A slot is consistent when all
/// transactions that ran have ended, so whatever committed later began after it was asked for.
pub(super) async fn look(
    dial: &dyn Dial,
    label: &StreamLabel,
    names: &Names,
) -> Result<(SlotSnapshot, Position), EndpointError> {
    let mut connection = Connection::open(dial, label).await?;
    let identity = connection.identify_system().await?;
    let name = format!("{}_look", names.slot);
    release(&mut connection, &name).await?;
    let snapshot = connection.create_slot(&name, Lifetime::Session).await?;
    let position = Position {
        offset: snapshot.lsn,
        passed: BatchId::NONE,
        cursor: cursor(&identity),
    };
    Ok((snapshot, position))
}

/// Lets the publication report exactly these tables, of which those of the pairs `due` may be new
/// to it. One that lacks any other table is left as it is, for [`check`] to find.
pub(super) async fn publish_more(
    dial: &dyn Dial,
    label: &StreamLabel,
    names: &Names,
    tables: &[CaptureTable],
    due: &[PairId],
) -> Result<(), EndpointError> {
    let ddl = ddl_of(dial).await?;
    let mut connection = Connection::open(dial, label).await?;
    let known: Vec<CaptureTable> = tables
        .iter()
        .filter(|table| !due.contains(&table.pair))
        .cloned()
        .collect();
    match publication::check(&mut connection, &names.publication, &known).await? {
        Ok(()) => publication::change(&mut connection, &names.publication, tables, ddl).await,
        Err(_) => Ok(()),
    }
}

/// Can the slot continue from `position` without a hole? `Err(reason)` when it can't.
///
/// A slot that is asked for what it has forgotten starts later without an error (PostgreSQL 15),
/// so this is checked before every start.
pub async fn check(
    connection: &mut dyn Ask,
    names: &Names,
    tables: &[CaptureTable],
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    let identity = connection.identity().await?;
    if Shown::split(&position.cursor).0 != cursor(&identity) {
        return Ok(Err(
            "the server is another one than before, or was restored or promoted".into(),
        ));
    }
    if position.offset > identity.flushed {
        return Ok(Err(format!(
            "the server's history ends at {}, before {} where reading stopped: it lost data",
            format_lsn(identity.flushed),
            format_lsn(position.offset)
        )));
    }
    if let Err(reason) = check_slot(connection, &names.slot, position).await? {
        return Ok(Err(reason));
    }
    publication::check(connection, &names.publication, tables).await
}

/// Starts over by SQL alone: publication, then a new slot. The answer is the slot's position,
/// without a snapshot: `shown` says how the data that is read afterwards fits to it.
pub(super) async fn start_over_by_sql(
    connection: &mut dyn Ask,
    names: &Names,
    tables: &[CaptureTable],
    ddl: Ddl,
) -> Result<Position, EndpointError> {
    let identity = connection.identity().await?;
    drop_slot(connection, &names.slot).await?;
    publish(connection, &names.publication, tables, ddl).await?;
    let sql = format!(
        "select lsn::text from pg_create_logical_replication_slot({}, 'pgoutput')",
        quote_literal(&names.slot)
    );
    let rows = connection.ask(&sql).await?;
    let lsn = rows.first().and_then(|row| row.first()?.as_deref());
    let missing = || EndpointError::bug("protocol-violation", "a new slot without a position");
    Ok(Position {
        offset: lsn.and_then(parse_lsn).ok_or_else(missing)?,
        passed: BatchId::NONE,
        cursor: cursor(&identity),
    })
}

/// Drops slots and publications that `sync` left in this database, whichever side it was.
pub async fn forget(connection: &mut dyn Ask, sync: &str, ddl: Ddl) -> Result<(), EndpointError> {
    // Slots first: what is left of them makes the server keep its log.
    for side in Side::BOTH {
        drop_slot(connection, &Names::new(sync, side).slot).await?;
    }
    for side in Side::BOTH {
        let publication = Names::new(sync, side).publication;
        drop_publication(connection, &publication, ddl).await?;
    }
    Ok(())
}

/// Drops one side's slot and publication, when its changes are read in another way.
pub(super) async fn forget_side(
    connection: &mut dyn Ask,
    names: &Names,
    ddl: Ddl,
) -> Result<(), EndpointError> {
    drop_slot(connection, &names.slot).await?;
    drop_publication(connection, &names.publication, ddl).await
}

/// What [`forget`] would have run for this side, as SQL for a person: the slot first, because what
/// is left of it makes the server keep its log.
pub fn forget_sql(names: &Names) -> Vec<String> {
    vec![drop_slot_sql(&names.slot), drop_sql(&names.publication)]
}

/// Takes the slot back from a connection that still streams it: that of a relay that was killed,
/// whose server process has not noticed yet. A relay that lives is kept away by its lease.
pub async fn release(connection: &mut dyn Ask, slot: &str) -> Result<(), EndpointError> {
    let sql = format!(
        "select pg_terminate_backend(active_pid, {}) from pg_replication_slots \
         where slot_name = {} and active_pid is not null",
        RELEASE_MAX.as_millis(),
        quote_literal(slot)
    );
    connection.ask(&sql).await.map(drop)
}

/// System identifier and timeline, as kept in [`Position::cursor`]: an LSN means nothing elsewhere.
pub(super) fn cursor(identity: &Identity) -> String {
    format!("{}:{}", identity.system_id, identity.timeline)
}

async fn check_slot(
    connection: &mut dyn Ask,
    slot: &str,
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    let sql = format!(
        "select plugin, database = current_database(), wal_status, confirmed_flush_lsn \
         from pg_replication_slots where slot_name = {}",
        quote_literal(slot)
    );
    let rows = connection.ask(&sql).await?;
    let Some(row) = rows.first() else {
        return Ok(Err(format!("replication slot {slot} is gone")));
    };
    let column = |index: usize| {
        row.get(index)
            .and_then(Option::as_deref)
            .unwrap_or_default()
    };
    if column(0) != "pgoutput" || column(1) != "t" {
        return Ok(Err(format!(
            "replication slot {slot} belongs to something else"
        )));
    }
    if column(2) == "lost" {
        return Ok(Err(format!(
            "replication slot {slot} was invalidated: the server removed WAL that was not read yet"
        )));
    }
    match parse_lsn(column(3)) {
        Some(confirmed) if confirmed <= position.offset => Ok(Ok(())),
        _ => Ok(Err(format!(
            "replication slot {slot} has moved on to {}, past {} where reading stopped",
            column(3),
            format_lsn(position.offset)
        ))),
    }
}

async fn drop_slot(connection: &mut dyn Ask, slot: &str) -> Result<(), EndpointError> {
    // Whoever reads its changes by triggers may have no right to end sessions, nor a slot.
    let sql = format!(
        "select 1 from pg_replication_slots where slot_name = {} and active_pid is not null",
        quote_literal(slot)
    );
    if !connection.ask(&sql).await?.is_empty() {
        release(connection, slot).await?;
    }
    connection.ask(&drop_slot_sql(slot)).await.map(drop)
}

fn drop_slot_sql(slot: &str) -> String {
    format!(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
         where slot_name = {} and database = current_database()",
        quote_literal(slot)
    )
}

/// What the agent lets us do to the schema.
pub(super) async fn ddl_of(dial: &dyn Dial) -> Result<Ddl, EndpointError> {
    let allowed = dial.allows_ddl().await?;
    Ok(if allowed { Ddl::Allowed } else { Ddl::ByHand })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_only_by_its_own_sync_and_side() {
        let names = Names::new("blog", Side::Left);
        assert_eq!(names.slot, "tidegate_blog_l");
        let batch = BatchId::of_run(3, 7);
        let content = names.marker(batch);
        assert_eq!(content, format!("blog:l:{}", batch.0));
        assert_eq!(names.batch_of(content.as_bytes()), Some(batch));
        for other in [
            Names::new("blog", Side::Right),
            Names::new("log", Side::Left),
        ] {
            assert_eq!(other.batch_of(content.as_bytes()), None);
        }
        for bad in [
            "blog:l:",
            "blog:l:x",
            "blog:l:1 ",
            "",
            "blog:l:99999999999999999999",
        ] {
            assert_eq!(names.batch_of(bad.as_bytes()), None, "{bad}");
        }
    }
}

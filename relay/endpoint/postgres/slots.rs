//! What a sync leaves on the server to read its changes: one slot and one publication per side.
//!
//! Makes them, checks at every start that the slot still continues what was read, takes it back
//! from a connection that nobody listens to any more, and drops both. Everything runs as SQL on a
//! replication connection, so that it needs the same right as the stream and no second session.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate_sync::model::{BatchId, Position, Side};

use super::super::{Dial, EndpointError, StreamLabel};
use super::mapping::CaptureTable;
use super::replication::{
    Connection, Identity, SlotSnapshot, format_lsn, parse_lsn, quote_identifier, quote_literal,
};

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
    let mut connection = Connection::open(dial, label).await?;
    let identity = connection.identify_system().await?;
    drop_slot(&mut connection, &names.slot).await?;
    publish(&mut connection, &names.publication, tables).await?;
    let snapshot = connection.create_slot(&names.slot).await?;
    let position = Position {
        offset: snapshot.lsn,
        passed: BatchId::NONE,
        cursor: cursor(&identity),
    };
    Ok((snapshot, position))
}

/// Can the slot continue from `position` without a hole? `Err(reason)` when it can't.
///
/// A slot that is asked for what it has forgotten starts later without an error (PostgreSQL 15),
/// so this is checked before every start.
pub async fn check(
    connection: &mut Connection,
    names: &Names,
    tables: &[CaptureTable],
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    let identity = connection.identify_system().await?;
    if position.cursor != cursor(&identity) {
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
    check_publication(connection, &names.publication, tables).await
}

/// Drops slots and publications that `sync` left in this database, whichever side it was.
pub async fn forget(dial: &dyn Dial, label: &StreamLabel, sync: &str) -> Result<(), EndpointError> {
    let mut connection = Connection::open(dial, label).await?;
    // Slots first: what is left of them makes the server keep its log.
    for side in Side::BOTH {
        drop_slot(&mut connection, &Names::new(sync, side).slot).await?;
    }
    for side in Side::BOTH {
        drop_publication(&mut connection, &Names::new(sync, side).publication).await?;
    }
    Ok(())
}

async fn drop_publication(
    connection: &mut Connection,
    publication: &str,
) -> Result<(), EndpointError> {
    let sql = format!(
        "drop publication if exists {}",
        quote_identifier(publication)
    );
    connection.query(&sql).await.map(drop).map_err(|error| {
        // An owner of the tables made it, for a role that may not.
        let message = format!("the role may not drop the publication: let its owner run `{sql}`");
        match error.code {
            "no-right" => EndpointError::operator("no-right", message).caused_by(error),
            _ => error,
        }
    })
}

/// Takes the slot back from a connection that still streams it: that of a relay that was killed,
/// whose server process has not noticed yet. A relay that lives is kept away by its lease.
pub async fn release(connection: &mut Connection, slot: &str) -> Result<(), EndpointError> {
    let sql = format!(
        "select pg_terminate_backend(active_pid, {}) from pg_replication_slots \
         where slot_name = {} and active_pid is not null",
        RELEASE_MAX.as_millis(),
        quote_literal(slot)
    );
    connection.query(&sql).await.map(drop)
}

/// System identifier and timeline, as kept in [`Position::cursor`]: an LSN means nothing elsewhere.
fn cursor(identity: &Identity) -> String {
    format!("{}:{}", identity.system_id, identity.timeline)
}

async fn check_slot(
    connection: &mut Connection,
    slot: &str,
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    let sql = format!(
        "select plugin, database = current_database(), wal_status, confirmed_flush_lsn \
         from pg_replication_slots where slot_name = {}",
        quote_literal(slot)
    );
    let rows = connection.query(&sql).await?;
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

async fn check_publication(
    connection: &mut Connection,
    publication: &str,
    tables: &[CaptureTable],
) -> Result<Result<(), String>, EndpointError> {
    Ok(match read_publication(connection, publication).await? {
        None => Err(format!("publication {publication} is gone")),
        Some(found) if !found.is_complete => Err(format!(
            "publication {publication} was changed and leaves changes out"
        )),
        Some(found) => match tables.iter().find(|table| !found.has(table)) {
            Some(table) => Err(format!("{table} was not in publication {publication}")),
            None => Ok(()),
        },
    })
}

struct Publication {
    all_tables: bool,
    /// All kinds of changes, partitions as their root, no filter.
    is_complete: bool,
    /// Schema and name.
    tables: Vec<(String, String)>,
}

impl Publication {
    fn has(&self, table: &CaptureTable) -> bool {
        self.all_tables
            || self.tables.iter().any(|(schema, name)| {
                (schema.as_str(), name.as_str()) == (&table.schema, &table.name)
            })
    }
}

async fn read_publication(
    connection: &mut Connection,
    publication: &str,
) -> Result<Option<Publication>, EndpointError> {
    // Filters and column lists exist since PostgreSQL 15; as JSON the query also runs on 14.
    let sql = format!(
        "select p.puballtables, \
                p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate and p.pubviaroot \
                and to_jsonb(r) ->> 'prqual' is null and to_jsonb(r) ->> 'prattrs' is null, \
                n.nspname, c.relname \
         from pg_publication p \
         left join pg_publication_rel r on r.prpubid = p.oid \
         left join pg_class c on c.oid = r.prrelid \
         left join pg_namespace n on n.oid = c.relnamespace \
         where p.pubname = {}",
        quote_literal(publication)
    );
    let rows = connection.query(&sql).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let is_true = |cell: &Option<String>| cell.as_deref() == Some("t");
    let tables = rows
        .iter()
        .filter_map(|row| Some((row[2].clone()?, row[3].clone()?)));
    Ok(Some(Publication {
        all_tables: rows.iter().any(|row| is_true(&row[0])),
        is_complete: rows.iter().all(|row| is_true(&row[1])),
        tables: tables.collect(),
    }))
}

/// Makes the publication hold exactly these tables. Does nothing when it does already, so that an
/// administrator can create it for a role that may not.
async fn publish(
    connection: &mut Connection,
    publication: &str,
    tables: &[CaptureTable],
) -> Result<(), EndpointError> {
    let found = read_publication(connection, publication).await?;
    let exists = found.is_some();
    if let Some(found) = found
        && found.is_complete
        && tables.iter().all(|table| found.has(table))
        && (found.all_tables || found.tables.len() == distinct(tables).len())
    {
        return Ok(());
    }
    let sql = publication_sql(publication, tables, exists);
    connection.query(&sql).await.map(drop).map_err(|error| {
        let message = format!(
            "the role may not make the publication: let the tables' owner run `{}`",
            sql.trim_end_matches(';')
        );
        match error.code {
            "no-right" => EndpointError::operator("no-right", message).caused_by(error),
            _ => error,
        }
    })
}

fn publication_sql(publication: &str, tables: &[CaptureTable], exists: bool) -> String {
    let publication = quote_identifier(publication);
    let tables = distinct(tables).join(", ");
    let options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
    let mut sql = String::new();
    let written = if exists {
        write!(
            sql,
            "alter publication {publication} set table {tables}; \
             alter publication {publication} set ({options});"
        )
    } else {
        write!(
            sql,
            "create publication {publication} for table {tables} with ({options});"
        )
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    sql
}

/// Quoted names; a table that two pairs share is named once.
fn distinct(tables: &[CaptureTable]) -> Vec<String> {
    let mut names: Vec<String> = tables.iter().map(CaptureTable::quoted).collect();
    names.sort();
    names.dedup();
    names
}

async fn drop_slot(connection: &mut Connection, slot: &str) -> Result<(), EndpointError> {
    release(connection, slot).await?;
    let sql = format!(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
         where slot_name = {} and database = current_database()",
        quote_literal(slot)
    );
    connection.query(&sql).await.map(drop)
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

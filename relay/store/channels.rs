//! Channels: where a workspace wants to be told what waits for a person. Target and keys are one sealed
//! document, which listing never opens.

use secrecy::{ExposeSecret, SecretString};

use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};
use super::{Sealer, StoreError};

const LABEL: &str = "channels.target";
const COLUMNS: &str = "id, workspace, name, kind, shown, events, enabled, allow_private, version, \
                       created_at, changed_at";

/// Channels of one workspace: each gets every message.
pub const CHANNELS_MAX: i64 = 50;

/// A channel without its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    pub id: i64,
    pub workspace: String,
    pub name: String,
    /// `webhook`, `slack` or `email`.
    pub kind: String,
    /// What people may see of its target.
    pub shown: String,
    /// Names of the events that it wants, as JSON; `None`: all.
    pub events: Option<String>,
    pub enabled: bool,
    /// Its target may be at a private address.
    pub allow_private: bool,
    pub version: i64,
    pub created_at_ms: i64,
    pub changed_at_ms: i64,
}

/// What a channel is.
#[derive(Clone, Debug)]
pub struct Content {
    pub kind: String,
    /// To be sealed.
    pub target: SecretString,
    pub shown: String,
    pub events: Option<String>,
    pub enabled: bool,
    pub allow_private: bool,
}

/// Adds a channel, which is told what begins from now on. Refuses a name that is taken.
pub fn add(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    (workspace, name): (&str, &str),
    content: &Content,
    now_ms: i64,
) -> Result<ChannelRecord, StoreError> {
    let sql = "select count(*) from channels where workspace = ?1";
    let count: i64 = tx.query_row(sql, [workspace], |row| row.get(0))?;
    if count >= CHANNELS_MAX {
        return Err(StoreError::Full {
            noun: "channels",
            max: CHANNELS_MAX,
        });
    }
    let inserted = tx.execute(
        "insert into channels (workspace, name, kind, target, shown, events, enabled, allow_private,
             told_to, added_at_news, created_at, changed_at)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, newest, newest, ?9, ?9
         from (select coalesce(max(id), 0) as newest from news) as latest",
        params![
            workspace,
            name,
            content.kind,
            sealed(sealer, content),
            content.shown,
            content.events,
            content.enabled,
            content.allow_private,
            now_ms
        ],
    );
    StoreError::named(inserted, "channel", name)?;
    by_name(tx, workspace, name)
}

/// The channels of a workspace, by name.
pub fn list(conn: &Connection, workspace: &str) -> Result<Vec<ChannelRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from channels where workspace = ?1 order by name");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([workspace], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of all workspaces that are enabled.
pub fn enabled(conn: &Connection) -> Result<Vec<ChannelRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from channels where enabled = 1 order by id");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The channel of that name.
pub fn by_name(
    conn: &Connection,
    workspace: &str,
    name: &str,
) -> Result<ChannelRecord, StoreError> {
    let sql = format!("select {COLUMNS} from channels where workspace = ?1 and name = ?2");
    conn.query_row(&sql, [workspace, name], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("channel", name))
}

/// A channel's target, as [`Content::target`] was.
pub fn target(conn: &Connection, sealer: &Sealer, id: i64) -> Result<SecretString, StoreError> {
    let sql = "select target from channels where id = ?1";
    let sealed: Option<Vec<u8>> = conn.query_row(sql, [id], |row| row.get(0)).optional()?;
    let sealed = sealed.ok_or_else(|| StoreError::not_found("channel", id))?;
    let plain = sealer.open(LABEL, &sealed)?;
    let text = std::str::from_utf8(&plain).map_err(|_| StoreError::Malformed(LABEL))?;
    Ok(SecretString::from(text))
}

/// Replaces the version that was read, or any where none is named. What could not be delivered is tried
/// again at once: the change may be what helps. One that is turned off gets nothing any more, and one
/// that is turned on again is not told of what was.
pub fn replace(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    (id, version): (i64, Option<i64>),
    content: &Content,
    now_ms: i64,
) -> Result<ChannelRecord, StoreError> {
    let sql = format!(
        "update channels set kind = ?3, target = ?4, shown = ?5, events = ?6, allow_private = ?8,
             changed_at = ?9, version = version + 1, enabled = ?7,
             told_to = case when enabled = 1 then told_to
                 else (select coalesce(max(id), 0) from news) end
         where id = ?1 and version = coalesce(?2, version) returning {COLUMNS}"
    );
    let values = params![
        id,
        version,
        content.kind,
        sealed(sealer, content),
        content.shown,
        content.events,
        content.enabled,
        content.allow_private,
        now_ms
    ];
    let replaced = tx.query_row(&sql, values, from_row).optional()?;
    let replaced = replaced.ok_or(StoreError::Changed { noun: "channel" })?;
    let sql = match content.enabled {
        true => "update deliveries set next_at = ?2 where channel = ?1 and state = 'pending'",
        false => "delete from deliveries where channel = ?1 and state = 'pending' and ?2 > 0",
    };
    tx.execute(sql, params![id, now_ms])?;
    Ok(replaced)
}

/// Removes the version that was read, or any where none is named, with what was to be delivered.
pub fn remove(
    tx: &Transaction<'_>,
    (workspace, name, version): (&str, &str, Option<i64>),
) -> Result<(), StoreError> {
    let id = by_name(tx, workspace, name)?.id;
    let sql = "delete from channels where id = ?1 and version = coalesce(?2, version)";
    match tx.execute(sql, params![id, version])? {
        0 => Err(StoreError::Changed { noun: "channel" }),
        _ => Ok(()),
    }
}

fn sealed(sealer: &Sealer, content: &Content) -> Vec<u8> {
    sealer.seal(LABEL, content.target.expose_secret().as_bytes())
}

fn from_row(row: &Row<'_>) -> sql::Result<ChannelRecord> {
    Ok(ChannelRecord {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
        kind: row.get(3)?,
        shown: row.get(4)?,
        events: row.get(5)?,
        enabled: row.get(6)?,
        allow_private: row.get(7)?,
        version: row.get(8)?,
        created_at_ms: row.get(9)?,
        changed_at_ms: row.get(10)?,
    })
}

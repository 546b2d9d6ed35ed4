//! Connections: the databases and apps that syncs have as sides.
//!
//! A connection through an agent names the agent and its target and holds no secret. A direct one
//! holds its URL with the password in it, sealed; listing never opens it.

use secrecy::{ExposeSecret, SecretString};

use super::sql::{self, Connection as Session, OptionalExtension, Row, Transaction, params};
use super::{Sealer, StoreError};

const URL_LABEL: &str = "connections.url";
const COLUMNS: &str = "id, workspace, name, kind, agent, target, created_at, capture";

/// How a connection is reached.
#[derive(Debug)]
pub enum Route {
    /// Through an agent, which logs in itself.
    Agent { agent: String, target: String },
    /// Straight from the relay's egress address. Of an app the URL is its account as a document.
    Direct { url: SecretString },
}

/// A route without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Agent { agent: String, target: String },
    Direct,
}

/// A stored connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    pub id: i64,
    pub workspace: String,
    pub name: String,
    /// `postgres`, or the name of a connector manifest.
    pub kind: String,
    pub via: Via,
    /// The name of the level by which its changes are to be read; `None`: the best there is.
    pub capture: Option<String>,
    /// Milliseconds since 1970 UTC, like every time in the store.
    pub created_at_ms: i64,
}

/// Adds a connection; refuses a name that is taken.
pub fn add(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    workspace: &str,
    (name, kind): (&str, &str),
    route: &Route,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let (agent, target, url) = match route {
        Route::Agent { agent, target } => (Some(agent), Some(target), None),
        Route::Direct { url } => {
            let sealed = sealer.seal(URL_LABEL, url.expose_secret().as_bytes());
            (None, None, Some(sealed))
        }
    };
    let inserted = tx.insert(
        "insert into connections (workspace, name, kind, agent, target, url_sealed, created_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![workspace, name, kind, agent, target, url, now_ms],
    );
    StoreError::named(inserted, "connection", name)
}

/// All connections of a workspace, by name.
pub fn list(conn: &Session, workspace: &str) -> Result<Vec<ConnectionRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from connections where workspace = ?1 order by name");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([workspace], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All connections of all workspaces.
pub fn list_everywhere(conn: &Session) -> Result<Vec<ConnectionRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from connections order by id");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The connection of that name.
pub fn by_name(
    conn: &Session,
    workspace: &str,
    name: &str,
) -> Result<ConnectionRecord, StoreError> {
    let sql = format!("select {COLUMNS} from connections where workspace = ?1 and name = ?2");
    conn.query_row(&sql, [workspace, name], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("connection", name))
}

/// The connection with that number.
pub fn by_id(conn: &Session, id: i64) -> Result<ConnectionRecord, StoreError> {
    let sql = format!("select {COLUMNS} from connections where id = ?1");
    conn.query_row(&sql, [id], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("connection", id))
}

/// The URL of a direct connection, with its password; `None` for one through an agent.
pub fn url(conn: &Session, sealer: &Sealer, id: i64) -> Result<Option<SecretString>, StoreError> {
    let sealed: Option<Option<Vec<u8>>> = conn
        .query_row(
            "select url_sealed from connections where id = ?1",
            [id],
            |row| row.get(0),
        )
        .optional()?;
    let Some(sealed) = sealed.ok_or_else(|| StoreError::not_found("connection", id))? else {
        return Ok(None);
    };
    let plain = sealer.open(URL_LABEL, &sealed)?;
    let text = std::str::from_utf8(&plain).map_err(|_| StoreError::Malformed(URL_LABEL))?;
    Ok(Some(SecretString::from(text)))
}

/// Changes how a connection's changes are to be read.
pub fn set_capture(
    tx: &Transaction<'_>,
    workspace: &str,
    name: &str,
    capture: Option<&str>,
) -> Result<(), StoreError> {
    let id = by_name(tx, workspace, name)?.id;
    let sql = "update connections set capture = ?2 where id = ?1";
    tx.execute(sql, params![id, capture])?;
    Ok(())
}

/// Removes a connection that no sync uses.
pub fn remove(tx: &Transaction<'_>, workspace: &str, name: &str) -> Result<(), StoreError> {
    let id = by_name(tx, workspace, name)?.id;
    if let Some(sync) = first_user(tx, id)? {
        return Err(StoreError::InUseBy {
            noun: "connection",
            name: name.to_owned(),
            by: format!("sync {sync}"),
        });
    }
    tx.execute("delete from connections where id = ?1", [id])?;
    Ok(())
}

/// Name of a sync that uses the connection.
fn first_user(conn: &Session, id: i64) -> Result<Option<String>, StoreError> {
    let name = conn
        .query_row(
            "select name from syncs where left_conn = ?1 or right_conn = ?1 order by name limit 1",
            [id],
            |row| row.get(0),
        )
        .optional()?;
    Ok(name)
}

fn from_row(row: &Row<'_>) -> sql::Result<ConnectionRecord> {
    let agent: Option<String> = row.get(4)?;
    let target: Option<String> = row.get(5)?;
    Ok(ConnectionRecord {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
        kind: row.get(3)?,
        via: match (agent, target) {
            (Some(agent), Some(target)) => Via::Agent { agent, target },
            _ => Via::Direct,
        },
        created_at_ms: row.get(6)?,
        capture: row.get(7)?,
    })
}

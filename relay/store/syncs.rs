//! Syncs: what a person configured, what it is doing, and which run may write.
//!
//! Each run of a sync takes the next epoch in one update. Everything a run writes to the store
//! goes through [`check_epoch`] in the same transaction, so that a run that was replaced can
//! change nothing, however late its writes arrive.

use zeroize::Zeroizing;

use super::sealer::fill_random;
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};
use super::{Sealer, StoreError};

const KEY_LABEL: &str = "syncs.key";
const COLUMNS: &str = "id, workspace, name, left_conn, right_conn, definition, state, wanted, \
                       epoch, live, last_error, counters, created_at, changed_at, \
                       layout";

/// Number of a sync in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(pub i64);

/// Does a person want the sync to run?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Running,
    Paused,
}

impl Wanted {
    /// As stored, and as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Wanted::Running => "running",
            Wanted::Paused => "paused",
        }
    }
}

/// A stored sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRecord {
    pub id: SyncId,
    pub workspace: String,
    pub name: String,
    pub left_conn: i64,
    pub right_conn: i64,
    /// The sync file's text.
    pub definition: String,
    /// `planning`, `copying`, `live`, `paused`, `waiting` or `failed`; for people.
    pub state: String,
    pub wanted: Wanted,
    pub epoch: u32,
    /// True while changes are streamed from settled positions; false while a reconcile is due.
    pub live: bool,
    pub last_error: Option<String>,
    /// One JSON document, for people.
    pub counters: String,
    pub created_at_ms: i64,
    pub changed_at_ms: i64,
    /// How the links are laid out, see [`super::layouts`]; `None` as the definition says.
    pub layout: Option<String>,
}

/// What a person configures.
#[derive(Clone, Debug)]
pub struct NewSync<'a> {
    pub workspace: &'a str,
    pub name: &'a str,
    pub left_conn: i64,
    pub right_conn: i64,
    pub definition: &'a str,
    /// Its fingerprint key, see [`new_key`].
    pub key: &'a [u8; 32],
}

/// A fingerprint key for a new sync.
pub fn new_key() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0u8; 32]);
    fill_random(key.as_mut());
    key
}

/// Adds a sync; refuses a name that is taken.
pub fn add(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    new: &NewSync<'_>,
    now_ms: i64,
) -> Result<SyncId, StoreError> {
    let sealed = sealer.seal(KEY_LABEL, new.key);
    let inserted = tx.insert(
        "insert into syncs
             (workspace, name, left_conn, right_conn, definition, key_sealed, created_at, changed_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        params![
            new.workspace,
            new.name,
            new.left_conn,
            new.right_conn,
            new.definition,
            sealed,
            now_ms
        ],
    );
    StoreError::named(inserted, "sync", new.name).map(SyncId)
}

/// All syncs of a workspace, by name.
pub fn list(conn: &Connection, workspace: &str) -> Result<Vec<SyncRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from syncs where workspace = ?1 order by name");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([workspace], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All syncs that should run, of all workspaces: what a starting relay takes up.
pub fn list_wanted(conn: &Connection) -> Result<Vec<SyncRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from syncs where wanted = 'running' order by id");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All syncs of all workspaces.
pub fn list_everywhere(conn: &Connection) -> Result<Vec<SyncRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from syncs order by id");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The sync of that name.
pub fn by_name(conn: &Connection, workspace: &str, name: &str) -> Result<SyncRecord, StoreError> {
    let sql = format!("select {COLUMNS} from syncs where workspace = ?1 and name = ?2");
    conn.query_row(&sql, [workspace, name], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("sync", name))
}

/// The sync with that number.
pub fn by_id(conn: &Connection, id: SyncId) -> Result<SyncRecord, StoreError> {
    let sql = format!("select {COLUMNS} from syncs where id = ?1");
    conn.query_row(&sql, [id.0], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("sync", id.0))
}

/// The sync's fingerprint key: 32 bytes that never leave the relay.
pub fn fingerprint_key(
    conn: &Connection,
    sealer: &Sealer,
    id: SyncId,
) -> Result<Zeroizing<[u8; 32]>, StoreError> {
    let sealed: Option<Vec<u8>> = conn
        .query_row(
            "select key_sealed from syncs where id = ?1",
            [id.0],
            |row| row.get(0),
        )
        .optional()?;
    let sealed = sealed.ok_or_else(|| StoreError::not_found("sync", id.0))?;
    let plain = sealer.open(KEY_LABEL, &sealed)?;
    let key =
        <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| StoreError::Malformed(KEY_LABEL))?;
    Ok(Zeroizing::new(key))
}

/// Starts a run: takes the next epoch, from which on older runs can settle nothing.
pub fn begin_run(tx: &Transaction<'_>, id: SyncId, now_ms: i64) -> Result<u32, StoreError> {
    let epoch: Option<i64> = tx
        .query_row(
            "update syncs set epoch = epoch + 1, changed_at = ?2 where id = ?1 returning epoch",
            params![id.0, now_ms],
            |row| row.get(0),
        )
        .optional()?;
    let epoch = epoch.ok_or_else(|| StoreError::not_found("sync", id.0))?;
    u32::try_from(epoch).map_err(|_| StoreError::Malformed("syncs.epoch"))
}

/// Makes sure that epochs continue above `seen`, which an agent or a side has seen: after a
/// restore of an older backup.
pub fn raise_epoch(tx: &Transaction<'_>, id: SyncId, seen: u32) -> Result<(), StoreError> {
    tx.execute(
        "update syncs set epoch = ?2 where id = ?1 and epoch < ?2",
        params![id.0, seen],
    )?;
    Ok(())
}

/// Refuses a run that was replaced.
pub fn check_epoch(tx: &Transaction<'_>, id: SyncId, epoch: u32) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("select epoch from syncs where id = ?1")?;
    let held: Option<u32> = statement.query_row([id.0], |row| row.get(0)).optional()?;
    match held {
        Some(held) if held == epoch => Ok(()),
        Some(held) => Err(StoreError::StaleEpoch { held, given: epoch }),
        None => Err(StoreError::not_found("sync", id.0)),
    }
}

/// Are changes streamed from settled positions?
pub(super) fn is_live(tx: &Transaction<'_>, id: SyncId) -> Result<bool, StoreError> {
    let mut statement = tx.prepare_cached("select live from syncs where id = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get(0))?)
}

/// Notes what the sync is doing, for people.
pub fn set_state(
    tx: &Transaction<'_>,
    id: SyncId,
    state: &str,
    last_error: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "update syncs set state = ?2, last_error = ?3, changed_at = ?4 where id = ?1",
        params![id.0, state, last_error, now_ms],
    )?;
    Ok(())
}

/// Notes whether the sync should run.
pub fn set_wanted(
    tx: &Transaction<'_>,
    id: SyncId,
    wanted: Wanted,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "update syncs set wanted = ?2, changed_at = ?3 where id = ?1",
        params![id.0, wanted.name(), now_ms],
    )?;
    Ok(())
}

/// Replaces the sync file's text, and the layout by that of the former text.
pub fn set_definition(
    tx: &Transaction<'_>,
    id: SyncId,
    (definition, layout): (&str, &str),
    now_ms: i64,
) -> Result<(), StoreError> {
    // What runs until now were of.
    tx.execute(
        "insert into definitions (sync, epoch, text) select id, 0, definition from syncs
         where id = ?1 on conflict do nothing",
        [id.0],
    )?;
    tx.execute(
        "update syncs set definition = ?2, layout = ?3, changed_at = ?4
         where id = ?1",
        params![id.0, definition, layout, now_ms],
    )?;
    Ok(())
}

/// Keeps the counters that people see across a restart.
pub fn set_counters(tx: &Transaction<'_>, id: SyncId, json: &str) -> Result<(), StoreError> {
    tx.execute(
        "update syncs set counters = ?2 where id = ?1",
        params![id.0, json],
    )?;
    Ok(())
}

/// Removes the sync with everything that is remembered about its records.
pub fn remove(tx: &Transaction<'_>, id: SyncId) -> Result<(), StoreError> {
    let removed = tx.execute("delete from syncs where id = ?1", [id.0])?;
    if removed == 0 {
        return Err(StoreError::not_found("sync", id.0));
    }
    Ok(())
}

fn from_row(row: &Row<'_>) -> sql::Result<SyncRecord> {
    let wanted: String = row.get(7)?;
    Ok(SyncRecord {
        id: SyncId(row.get(0)?),
        workspace: row.get(1)?,
        name: row.get(2)?,
        left_conn: row.get(3)?,
        right_conn: row.get(4)?,
        definition: row.get(5)?,
        state: row.get(6)?,
        wanted: if wanted == "paused" {
            Wanted::Paused
        } else {
            Wanted::Running
        },
        epoch: row.get(8)?,
        live: row.get(9)?,
        last_error: row.get(10)?,
        counters: row.get(11)?,
        created_at_ms: row.get(12)?,
        changed_at_ms: row.get(13)?,
        layout: row.get(14)?,
    })
}

//! What API and CLI can ask of the engine.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use tidegate_sync::model::Side;
use tokio::sync::broadcast;

use super::news::Round;
use super::report::{
    ConflictFilter, ConflictReport, FindingFilter, FindingReport, HistoryEntry, PickMany,
    PickedMany, Preview, Removed, RunReport, SyncStatus, TableRepair, UndoPlan, UndoReport,
    VerifyReport, WriteFilter,
};
use super::suggest::{FieldMap, TableSuggestion};
use super::verify::How;
use crate::endpoint::Account;
use crate::endpoint::catalog::Catalog;
use crate::endpoint::level::Level;

/// What kind of answer an error is; the API maps it to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlErrorKind {
    NotFound,
    /// The request or the sync file is wrong.
    Invalid,
    /// It contradicts what is there (a name is taken, the preview's counts changed).
    Conflict,
    /// A side can't be reached now.
    Unavailable,
    Internal,
}

/// An error for the caller. `message` says what to do next and holds no secret.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{message}")]
pub struct ControlError {
    pub kind: ControlErrorKind,
    /// Stable code, part of the API.
    pub code: &'static str,
    pub message: String,
}

impl ControlError {
    pub fn new(kind: ControlErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        ControlError {
            kind,
            code,
            message: message.into(),
        }
    }
}

/// Which part of a long list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The place of the last item of the part before; see the items' own places.
    pub after: Option<i64>,
    /// At least 1.
    pub limit: u32,
}

/// A part of a long list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// There may be another part behind it.
    pub more: bool,
}

impl<T> Listed<T> {
    /// A full part may have another behind it.
    pub fn up_to(limit: u32, items: Vec<T>) -> Listed<T> {
        let more = items.len() >= limit as usize;
        Listed { items, more }
    }
}

/// Syncs, by name.
#[async_trait]
pub trait SyncControl: Send + Sync {
    /// What `apply` of this sync file would do. Reads both sides, writes nothing.
    async fn plan(&self, file: &str) -> Result<Preview, ControlError>;

    /// Starts the sync of this file, or changes a running one. With `expected`, the start refuses
    /// to do anything but what that preview said.
    async fn apply(
        &self,
        file: &str,
        expected: Option<Preview>,
    ) -> Result<SyncStatus, ControlError>;

    async fn list(&self) -> Result<Vec<SyncStatus>, ControlError>;
    async fn status(&self, name: &str) -> Result<SyncStatus, ControlError>;

    /// Stops at the next settle; changes wait on their sides.
    async fn pause(&self, name: &str) -> Result<SyncStatus, ControlError>;
    async fn resume(&self, name: &str) -> Result<SyncStatus, ControlError>;

    /// Goes on although many records will be deleted: a person looked at it.
    async fn approve(&self, name: &str) -> Result<SyncStatus, ControlError>;

    /// Stops it and drops what it left on both sides (slot, publication, progress row). No record
    /// is touched. When a side can't be cleaned up the sync stays, stopped; with `force` it is
    /// removed all the same, and the answer says what was left behind.
    async fn remove(&self, name: &str, force: bool) -> Result<Removed, ControlError>;

    /// Compares both sides completely.
    async fn verify(&self, name: &str, how: How) -> Result<VerifyReport, ControlError>;

    /// Has what differs planned and written by the running sync, and verifies again. With
    /// `expected`, it refuses to do anything but what that said.
    async fn repair(
        &self,
        name: &str,
        expected: Option<Vec<TableRepair>>,
    ) -> Result<VerifyReport, ControlError>;

    /// Of one sync or of all, the oldest first.
    async fn findings(
        &self,
        which: &FindingFilter,
        part: Part,
    ) -> Result<Listed<FindingReport>, ControlError>;

    /// Of one sync or of all: those that wait for a person first, then the newest.
    async fn conflicts(
        &self,
        which: &ConflictFilter,
        part: Part,
    ) -> Result<Listed<ConflictReport>, ControlError>;

    /// Has the value of `side` written where the other one is; refused if that changed since.
    async fn pick(&self, name: &str, id: i64, side: Side) -> Result<ConflictReport, ControlError>;

    /// The same for all that wait and that this means, as far as they can be picked.
    async fn pick_many(&self, name: &str, which: &PickMany) -> Result<PickedMany, ControlError>;

    /// Tries all findings again now, or the one of this number.
    async fn retry(&self, name: &str, finding: Option<i64>) -> Result<(), ControlError>;

    /// The newest writes first; fewer than asked for where values are long.
    async fn history(
        &self,
        name: &str,
        filter: &WriteFilter,
        part: Part,
    ) -> Result<Listed<HistoryEntry>, ControlError>;

    /// Runs that wrote something, newest first.
    async fn runs(&self, name: &str, part: Part) -> Result<Listed<RunReport>, ControlError>;

    /// What putting back what these writes did to one side would do. Reads that side, writes nothing.
    async fn plan_undo(&self, name: &str, filter: &WriteFilter) -> Result<UndoPlan, ControlError>;

    /// Does what the plan said, or refuses. Each record is put back only if it still is what the plan saw.
    async fn undo(
        &self,
        name: &str,
        filter: &WriteFilter,
        expected: &UndoPlan,
    ) -> Result<UndoReport, ControlError>;

    /// The sync file.
    async fn export(&self, name: &str) -> Result<String, ControlError>;

    /// Rounds as they cross, from now on. A slow receiver loses the oldest.
    fn rounds(&self) -> broadcast::Receiver<Arc<Round>>;
}

/// How a connection reaches its database.
#[derive(Clone, Debug)]
pub enum ConnectionTarget {
    Agent {
        agent: String,
        target: String,
    },
    /// `postgres://user:password@host:port/database?sslmode=…`; sealed at rest.
    Direct {
        url: secrecy::SecretString,
    },
    /// An app of one of the connectors' kinds; sealed at rest.
    App(Account),
}

/// A connection as lists show it; never with a password.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ConnectionInfo {
    pub name: String,
    /// `postgres`, or the name of a connector.
    pub kind: String,
    pub agent: Option<String>,
    pub target: Option<String>,
    /// Host, port and database of a direct connection.
    pub address: Option<String>,
    /// How its changes are to be read, unless a sync file says otherwise: `auto`, or a level.
    #[serde(default)]
    pub capture: String,
}

/// The answer of `connection test`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ConnectionTest {
    pub server: String,
    pub user: String,
    pub database: String,
    pub tables: usize,
    /// Of these, those that may be written.
    #[serde(default)]
    pub writable: usize,
    /// False when one of the problems prevents every sync.
    pub ok: bool,
    /// What stands in a sync's way.
    pub problems: Vec<ConnectionProblem>,
    /// How a sync would read its changes, and why so: `stream (the best there is)`.
    #[serde(default)]
    pub capture: String,
}

/// Something that prevents a sync of any table, or makes it worse.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ConnectionProblem {
    /// Stable code: `wal-level`, `no-replication-right` …
    pub code: String,
    pub message: String,
    /// What to do; may hold SQL to copy.
    pub remedy: String,
    /// True when no sync can run before it is gone.
    pub blocking: bool,
}

/// A kind of app that connections can be made to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct AppKind {
    /// What a new connection calls it: `airtable`.
    pub kind: String,
    /// The app's name, for people.
    pub title: String,
    /// Where it is when a connection does not say; absent where each has an address of its own.
    pub base_url: Option<String>,
    pub sign_in: SignIn,
}

/// What an app's `token` is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AppSignIn)]
pub enum SignIn {
    Token,
    /// `user:password`.
    UserAndPassword,
}

/// A connection, and one of its schemas where only that one is meant.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    pub connection: &'a str,
    pub schema: Option<&'a str>,
}

/// How many records a table has.
#[derive(
    Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct RowCount {
    /// Records for which the filter holds; all that were read where there is none.
    pub matching: u64,
    pub read: u64,
    /// False when there was not enough time: there are more.
    pub complete: bool,
    /// About how many records there are, as the side says without reading them.
    pub estimate: u64,
}

/// Connections, by name.
#[async_trait]
pub trait ConnectionControl: Send + Sync {
    async fn add(
        &self,
        name: &str,
        kind: &str,
        target: ConnectionTarget,
    ) -> Result<ConnectionInfo, ControlError>;
    async fn list(&self) -> Result<Vec<ConnectionInfo>, ControlError>;
    async fn show(&self, name: &str) -> Result<ConnectionInfo, ControlError>;
    /// Refused while a sync uses it.
    async fn remove(&self, name: &str) -> Result<(), ControlError>;
    /// How its changes are to be read; `None`: the best there is. Syncs take it at their next start.
    async fn choose_capture(
        &self,
        name: &str,
        capture: Option<Level>,
    ) -> Result<ConnectionInfo, ControlError>;
    async fn test(&self, name: &str) -> Result<ConnectionTest, ControlError>;
    async fn tables(&self, name: &str) -> Result<Catalog, ControlError>;
    /// The apps that connections can be made to, by name.
    fn app_kinds(&self) -> Vec<AppKind>;
    /// Tables of two connections that may hold the same things, the likest first.
    async fn suggest_tables(
        &self,
        left: Within<'_>,
        right: Within<'_>,
    ) -> Result<Vec<TableSuggestion>, ControlError>;
    /// The fields of two tables, each named with its connection, and which of them fit; `only`: the
    /// fits of this left field alone.
    async fn suggest_fields(
        &self,
        left: (&str, &str),
        right: (&str, &str),
        only: Option<&str>,
    ) -> Result<FieldMap, ControlError>;
    /// Reads a table for some seconds and counts its records, and those for which the filter holds.
    async fn count(
        &self,
        name: &str,
        table: &str,
        filter: Option<&str>,
    ) -> Result<RowCount, ControlError>;
    /// Gives `table` a primary key: `column` for an existing one, `None` for an identity column.
    /// Returns the SQL that was run. `expected`: refused if that would be other SQL.
    async fn fix_key(
        &self,
        name: &str,
        table: &str,
        column: Option<&str>,
        expected: Option<&[String]>,
    ) -> Result<Vec<String>, ControlError>;
}

//! A side of a sync: what the engine can ask of a database or an app.
//!
//! One [`Endpoint`] per connection, the same for a tunnelled and a direct PostgreSQL and for apps. A
//! PostgreSQL's is handed a [`Dial`] and can't tell a tunnel from a socket. The engine calls
//! [`Endpoint::open`] once per run of a sync and then owns three independent parts, each with its
//! own stream: a [`Capture`], a [`Writer`] and, while data is copied or compared, a [`Snapshot`].

mod account;
pub mod address;
pub mod catalog;
mod cost;
pub mod digest;
mod error;
pub mod expression;
pub mod lens;
pub mod level;
pub mod log_guard;
pub mod postgres;
pub mod rest;
pub mod type_matrix;

use std::path::PathBuf;

pub use account::Account;
use async_trait::async_trait;
pub use cost::{Cost, Work};
pub use error::{Class, EndpointError};
use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{
    BatchId, Change, Key, Outcome, PairId, Position, Recovered, Row, Side, Step,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use self::catalog::Catalog;
use self::digest::{Blocks, Digest, Digestible};
use self::lens::Lens;
use self::level::Level;
use self::log_guard::LogGuard;

/// Any byte stream that carries a PostgreSQL session.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// What a stream will be used for; the agent's gate may allow some and not others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Session,
    Replication,
    Cancel,
}

/// Who proves the role's password.
#[derive(Clone)]
pub enum Login {
    /// The stream is logged in by the agent; user and database are the agent's.
    ByAgent,
    /// A direct connection: the relay logs in itself.
    Password {
        user: String,
        password: secrecy::SecretString,
        database: String,
    },
}

/// Opens streams to one PostgreSQL server, through an agent or directly (TLS already done).
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// `run` labels the stream at the agent and in `application_name`; `epoch` is the run's lease
    /// epoch, 0 for what is no sync run (test, inspect).
    async fn dial(
        &self,
        purpose: Purpose,
        label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError>;

    fn login(&self) -> Login;

    /// Whether the relay may change the schema through it: make and drop publications, give tables
    /// a key. Our own schema `tidegate` is not meant. It is what the agent's configuration asks of
    /// us; what really holds is the database role's rights.
    async fn allows_ddl(&self) -> Result<bool, EndpointError> {
        Ok(true)
    }

    /// How much a slot may make the server keep before somebody there drops it, bytes.
    async fn slot_bound(&self) -> Result<Option<u64>, EndpointError> {
        Ok(None)
    }
}

/// Why a stream is opened, as the agent and `pg_stat_activity` see it.
#[derive(Clone, Debug, Default)]
pub struct StreamLabel {
    /// The sync's name; empty when no sync is involved.
    pub sync: String,
    /// What within it: `inspect`, `control`, `capture`, `snapshot`, `apply`.
    pub run: String,
    pub epoch: u32,
}

/// One side of one run of a sync.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Stable identifier of the sync, `[a-z0-9_]{1,40}`: slot, publication and progress row are
    /// named after it.
    pub sync: String,
    pub side: Side,
    pub epoch: u32,
    /// How its changes are read.
    pub level: Level,
    pub tables: Vec<TableBinding>,
    pub fingerprinter: Fingerprinter,
    /// A directory of this run's own, for big transactions staged on disk.
    pub staging: PathBuf,
}

/// One mapped table of a side.
#[derive(Clone, Debug)]
pub struct TableBinding {
    pub pair: PairId,
    /// As in the sync file: `schema.table`, or `table` for schema `public`.
    pub table: String,
    /// The columns that are read or written.
    pub columns: Vec<String>,
    /// Join tables that say which records one of the table's names. Its rows have them behind the
    /// columns, each a set of keys.
    pub joins: Vec<Through>,
    /// How they make the pair's fields.
    pub lens: Lens,
    /// Numbers of the fields that make the match key.
    pub match_key: Vec<usize>,
}

/// A join table as one of the tables that it joins sees it: `from` has its records' keys, `to` those
/// of the records that they name. Both together are its primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// As in the sync file: `schema.table`, or `table` for schema `public`.
    pub table: String,
    pub from: String,
    pub to: String,
}

/// A database or app that can be one side of a sync.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// Reads tables, columns, keys, rights and what stands in the way of a sync.
    async fn inspect(&self) -> Result<Catalog, EndpointError>;

    /// Checks the binding against the catalog and prepares the writer. Creates nothing yet but
    /// the progress table.
    async fn open(&self, binding: Binding) -> Result<Box<dyn OpenSide>, EndpointError>;

    /// Drops everything that a sync left on this side (slot, publication, progress row).
    async fn forget(&self, sync: &str) -> Result<(), EndpointError>;

    /// About what this work would take; `None` where calls are not counted.
    fn cost(&self, work: &[Work]) -> Option<Cost> {
        let _ = work;
        None
    }

    /// Looks after what syncs make this side keep, beside their runs. Connects when it is used.
    fn guard(&self) -> Box<dyn LogGuard>;

    /// Runs one of the offered fixes (see [`catalog::Fix`]) after the person confirmed it.
    async fn fix_key(&self, table: &str, fix: &catalog::Fix) -> Result<(), EndpointError>;
}

/// An opened side. Its parts use streams of their own, so that a copy can't block the changes.
#[async_trait]
pub trait OpenSide: Send {
    /// What a person must do before [`OpenSide::snapshot`] can start over. Changes nothing.
    async fn check_start(&mut self) -> Result<Vec<catalog::Problem>, EndpointError>;

    /// Can the change log be continued from `position` without a hole? `Err(reason)` in the inner
    /// result asks for a fresh snapshot and a reconcile (slot lost, other server, other timeline).
    async fn check_position(
        &mut self,
        position: &Position,
    ) -> Result<Result<(), String>, EndpointError>;

    /// Starts over: creates the change log's position anew (slot with exported snapshot), together
    /// with a consistent view of the data at exactly that position.
    async fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, EndpointError>;

    /// Before [`OpenSide::check_position`], when pairs are `due` to be reconciled while the change
    /// log goes on: lets it report exactly the bound tables from now on.
    async fn publish(&mut self, due: &[PairId]) -> Result<(), EndpointError> {
        let _ = due;
        Ok(())
    }

    /// A consistent view at exactly the position it says, while the change log goes on where it is.
    /// What the log reports after that position of the pairs that were published is complete. `None`
    /// when the side has no such view.
    async fn snapshot_aside(&mut self) -> Result<Option<Box<dyn Snapshot>>, EndpointError> {
        Ok(None)
    }

    /// A consistent view without touching the change log (preview, verify). `position` of the
    /// result is a fence: everything visible is at or before it.
    async fn view(&mut self) -> Result<Box<dyn Snapshot>, EndpointError>;

    /// Streams changes committed after `position`.
    async fn capture(&mut self, position: &Position) -> Result<Box<dyn Capture>, EndpointError>;

    async fn writer(&mut self) -> Result<Box<dyn Writer>, EndpointError>;
}

/// One record of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct Viewed {
    pub key: Key,
    pub row: Row,
    /// Where the view found it.
    pub place: Option<Place>,
    /// About how long the record is.
    pub bytes: u32,
}

/// Where a view found a record. Means something only to that view, which finds it faster there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// A record to read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: Key,
    pub place: Option<Place>,
}

/// A consistent view of all bound tables. May be read by several at the same time.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The position at which the view was taken.
    fn position(&self) -> Position;

    /// Estimated number of records, for progress.
    async fn estimate(&self, pair: PairId) -> Result<u64, EndpointError>;

    /// Sends every record of the table once, in chunks, with bounded memory. Order is not defined.
    async fn scan(
        &self,
        pair: PairId,
        sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError>;

    /// How the side hashes this table by itself; `None` where its records must be read.
    async fn digestible(&self, pair: PairId) -> Result<Option<Digestible>, EndpointError>;

    /// Sends what the side says of the table's blocks, in parts that add up.
    async fn digest(
        &self,
        pair: PairId,
        blocks: Blocks,
        sink: mpsc::Sender<Vec<(i32, Digest)>>,
    ) -> Result<(), EndpointError>;

    /// [`Snapshot::scan`] of these blocks alone.
    async fn scan_blocks(
        &self,
        pair: PairId,
        blocks: Blocks,
        numbers: &[i32],
        sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError>;

    /// Reads these records within the same view, in the order asked.
    async fn fetch(
        &self,
        pair: PairId,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Row>>, EndpointError>;
}

/// A batch of changes in commit order.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    pub changes: Vec<Change>,
    /// The position after them, where a transaction ends; `None` while more of the same transaction
    /// follows: a big one comes in parts, so that nobody has to hold it whole.
    pub end: Option<Position>,
    /// Tables that were truncated or whose shape changed: their pairs need a reconcile.
    pub reconcile: Vec<(PairId, String)>,
    /// The changes that follow were made after the side described a bound table anew: its columns may
    /// be others under the same names, which the catalog tells.
    pub described: bool,
}

/// A running change stream.
#[async_trait]
pub trait Capture: Send {
    /// The next batch: returns as soon as something is there (a position alone counts, at most
    /// every 100 ms while idle). Cancel safe.
    async fn next(&mut self) -> Result<Captured, EndpointError>;

    /// Everything up to `position` is settled: the side may forget it. Never blocks.
    fn acknowledge(&self, position: &Position);
}

/// Writes batches to one side, one at a time.
#[async_trait]
pub trait Writer: Send {
    /// Writes one batch in one transaction, guarded as invariant I8 says: rows are locked and read,
    /// only those that still have the expected fingerprints are written. One outcome per step, in
    /// order. With `recorded`, the outcomes are committed beside the data, so that
    /// [`Writer::recover`] finds them. Refused when a newer epoch has written.
    ///
    /// An error means that the outcome is unknown: the caller recovers.
    async fn apply(
        &mut self,
        batch: BatchId,
        steps: &[Step],
        recorded: bool,
    ) -> Result<Vec<Outcome>, EndpointError>;

    /// Fences older epochs off and tells whether `batch` was committed: `None` if it was not (and
    /// now never will be). A side that keeps no record of our writes waits until none of them can be
    /// carried out any more, and says of each of the batch's `steps` that it is unknown.
    async fn recover(
        &mut self,
        batch: BatchId,
        steps: usize,
    ) -> Result<Option<Vec<Recovered>>, EndpointError>;

    /// Reads records as they are now, in the order asked, and a fence: whatever made them so is in
    /// the change log at or before it.
    async fn read(
        &mut self,
        pair: PairId,
        keys: &[Key],
    ) -> Result<(Vec<Option<Row>>, u64), EndpointError>;

    /// Looks whether the bound tables are still there under their names: no change log tells that one was
    /// dropped, or that another one has its name. Asked now and then; an error ends the run.
    async fn check_tables(&mut self) -> Result<(), EndpointError> {
        Ok(())
    }

    /// Before the other side is told by these steps what was read here: looks whether fields that were read
    /// as empty are there at all, where a record looks the same without them. Reads nothing where no step
    /// empties a field. An error ends the run, and the next one maps what is there.
    async fn check_emptied(&mut self, steps: &[Step]) -> Result<(), EndpointError> {
        let _ = steps;
        Ok(())
    }
}

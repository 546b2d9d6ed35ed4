//! The relay's memory: what was agreed, what was observed, and who may do what.
//!
//! One file per noun, each a set of named functions over a transaction or connection of [`sql`], so
//! that callers can combine several nouns in one transaction. This room never talks to a
//! database of a customer and decides nothing about data; `engine`, `api`, `pairing` and `app`
//! call it.
//!
//! Row values and record keys are sealed before they reach SQLite (see [`sealer`]).

pub mod connections;
pub mod syncs;

pub mod layouts;
pub mod pairs;

pub mod scans;

mod tombstones;

pub mod links;
pub mod positions;

mod intents;

pub mod conflicts;
pub mod findings;
pub mod history;
pub mod mappings;
pub mod runs;
pub mod standing;
pub mod verifications;

mod settle;

mod ledger;

pub mod agents;
pub mod answers;
pub mod audit;
pub mod backup;
pub mod channels;
pub mod deliveries;
pub mod drafts;
pub mod identities;
pub mod matters;
pub mod roles;
pub mod secret;
pub mod sessions;
pub mod tokens;
pub mod users;
pub mod workspaces;

mod error;
mod keys;
mod migrations;
mod moments;
mod sealer;
pub mod sql;
mod sqlite;

pub use error::{Class, StoreError};
pub use keys::RecordKeys;
pub use ledger::Ledger;
pub use sealer::{KeySource, Sealer};
pub use sqlite::Store;

/// Bounds of this room.
pub mod limits {
    use std::time::Duration;

    /// Writes that may wait for the writer thread before `write` makes its caller wait. Enough for
    /// every sync of a busy relay to have one settle under way; each entry is one boxed closure.
    pub const WRITE_QUEUE_LEN: usize = 64;
    /// Connections that read at the same time. Reads are short, and each holds a page cache.
    pub const READERS_MAX: usize = 4;
    /// How long SQLite waits for a lock of another process (a backup, an operator's shell).
    pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// Page cache of the writer, KiB. Holds the upper levels of the indexes of a few million
    /// links, so that a bulk settle does not read each leaf's path again.
    pub const WRITER_CACHE_KIB: i64 = 32 * 1024;
    /// Page cache of each reader, KiB.
    pub const READER_CACHE_KIB: i64 = 4 * 1024;
    /// Page cache of a reconcile's scan table, KiB: the index by key of a million records.
    pub const SCAN_CACHE_KIB: i64 = 48 * 1024;
    /// Bytes of records that one page of matches stands for: whoever asked for the page reads them
    /// all at once. One record may be longer.
    pub const PAGE_BYTES: u64 = 16 * 1024 * 1024;
    /// Links of a copy that are entered into the index of keys in one transaction. More of them
    /// touch each page of the index less often; other writers wait for about a second.
    pub const LINKS_INDEXED_AT_ONCE: u32 = 100_000;
    /// Longest values of one write that history keeps, bytes, as JSON: a few long texts. The store would
    /// else grow by the size of every document that is edited, twice.
    pub const HISTORY_VALUE_BYTES_MAX: usize = 256 * 1024;
    /// Writes that history forgets in one transaction: other writers wait for some ten milliseconds.
    pub const HISTORY_FORGOTTEN_AT_ONCE: u32 = 5_000;
    /// Pages of 4 KiB in the write-ahead log before they are moved to the database: a page that
    /// several settlements change is moved once.
    pub const WAL_PAGES_MAX: i64 = 8_000;
    /// Size to which the write-ahead log is cut back after a checkpoint, bytes.
    pub const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;
    /// Prepared statements kept per connection: more than the number of statements in this room.
    pub const STATEMENTS_CACHED: usize = 192;
}

/// The workspace of a relay that serves one team. Every record names its workspace all the same.
pub const DEFAULT_WORKSPACE: &str = "default";

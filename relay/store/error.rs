//! What can go wrong in the store, and what the caller should do next.
//!
//! Texts name files and nouns, never row values, keys or secrets.

use std::path::PathBuf;

use super::sql;

/// What a caller does with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try the same call again after a moment.
    Retry,
    /// A person must act; the text says how.
    Operator(&'static str),
    /// The relay broke one of its own rules. Stop this piece of work and report it.
    Bug,
}

/// Errors of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the data directory could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// Another relay holds the data directory.
    #[error("another relay is using the data directory {}: stop it, or set another data_dir", .0.display())]
    InUse(PathBuf),
    /// The data directory holds a state already.
    #[error(
        "{} holds a state already: stop the relay and move tidegate.db, tidegate.db-wal and \
         tidegate.db-shm away, then restore again",
        .0.display()
    )]
    Occupied(PathBuf),
    /// The data directory holds none.
    #[error("{} holds no state of a relay: set data_dir, or name the relay's --config", .0.display())]
    NoState(PathBuf),
    /// Not a file that a backup wrote, or not all of it.
    #[error("{} is no complete backup of a relay: {why}", path.display())]
    NoBackup { path: PathBuf, why: String },
    /// A statement was refused or failed.
    #[error("state database: {0}")]
    Sql(#[from] sql::Error),
    /// The schema could not be brought up to date.
    #[error("bring the state database up to date: {0}")]
    Migration(Box<refinery::Error>),
    /// The database was sealed with a key that is not there.
    #[error(
        "the master key {} is missing, but this data directory was sealed with one: put the file \
         back from a backup or set TIDEGATE_MASTER_KEY. Only sealed secrets are lost without it \
         (connection URLs, sync keys, remembered record keys): both sides' data is untouched, and \
         the syncs can be set up again in a new data directory",
        .0.display()
    )]
    MasterKeyMissing(PathBuf),
    /// The key is there, but it is not the one this database was sealed with.
    #[error(
        "the master key from {0} is not the one this data directory was sealed with: restore the \
         right key"
    )]
    MasterKeyWrong(String),
    /// The key file or variable does not hold 32 bytes in base64.
    #[error("the master key from {0} is not 32 bytes in base64")]
    MasterKeyMalformed(String),
    /// A sealed column could not be opened: damaged, moved to another column, or another key.
    #[error("a sealed value of {0} cannot be opened")]
    Unsealable(&'static str),
    /// A stored value has a shape that this version does not write.
    #[error("stored {0} is malformed")]
    Malformed(&'static str),
    /// The named thing does not exist.
    #[error("there is no {noun} named {name}")]
    NotFound { noun: &'static str, name: String },
    /// The name is in use.
    #[error("there already is a {noun} named {name}: remove it first, or choose another name")]
    Taken { noun: &'static str, name: String },
    /// The thing is still needed by something else.
    #[error("{noun} {name} is still used by {by}")]
    InUseBy {
        noun: &'static str,
        name: String,
        by: String,
    },
    /// There are as many as there may be.
    #[error("there are {max} {noun} already: remove one first")]
    Full { noun: &'static str, max: i64 },
    /// It is not the version that the caller read.
    #[error("somebody has changed this {noun} since it was read: read it again")]
    Changed { noun: &'static str },
    /// A run that was replaced tried to write.
    #[error("run {given} of this sync was replaced by run {held}; its writes are refused")]
    StaleEpoch { held: u32, given: u32 },
    /// A link would give one record two partners.
    #[error("table pair {pair}: a record would get a second link")]
    LinkTaken { pair: u32 },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// A closure panicked. Its transaction was rolled back.
    #[error("a database operation panicked and was rolled back: {0}")]
    Panicked(String),
}

impl StoreError {
    /// What the caller does next.
    pub fn class(&self) -> Class {
        match self {
            Self::Sql(error) => error.class(),
            Self::File { .. } => {
                Class::Operator("check that the data directory exists, is writable and has space")
            }
            Self::Occupied(_) => Class::Operator("move the state that is there away first"),
            Self::NoState(_) => Class::Operator("name the relay's configuration"),
            Self::NoBackup { .. } => Class::Operator("take another backup"),
            Self::InUse(_) => Class::Operator("stop the other relay, or use another data_dir"),
            Self::Migration(_) => Class::Operator(
                "this data directory may come from a newer version: install that version, or \
                 restore a backup",
            ),
            Self::MasterKeyMissing(_) | Self::MasterKeyWrong(_) | Self::MasterKeyMalformed(_) => {
                Class::Operator("restore the master key that belongs to this data directory")
            }
            Self::NotFound { .. } => Class::Operator("check the name"),
            Self::Taken { .. } => Class::Operator("choose another name"),
            Self::InUseBy { .. } => Class::Operator("remove what uses it first"),
            Self::Full { .. } => Class::Operator("remove one first"),
            Self::Changed { .. } => Class::Operator("read it again"),
            Self::Unsealable(_) => {
                Class::Operator("the state database is damaged: restore a backup")
            }
            Self::Closed => Class::Retry,
            Self::StaleEpoch { .. }
            | Self::LinkTaken { .. }
            | Self::Malformed(_)
            | Self::Panicked(_) => Class::Bug,
        }
    }

    pub(super) fn not_found(noun: &'static str, name: impl ToString) -> Self {
        Self::NotFound {
            noun,
            name: name.to_string(),
        }
    }

    /// Tells a taken name from other failures of an insert.
    pub(super) fn named<T>(
        result: sql::Result<T>,
        noun: &'static str,
        name: &str,
    ) -> Result<T, Self> {
        result.map_err(|error| {
            if error.is_unique_violation() {
                let name = name.to_owned();
                Self::Taken { noun, name }
            } else {
                Self::Sql(error)
            }
        })
    }

    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error.into())
    }
}

impl From<refinery::Error> for StoreError {
    fn from(error: refinery::Error) -> Self {
        Self::Migration(Box::new(error))
    }
}

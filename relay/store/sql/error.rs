//! What a statement can end with, and what the caller can do about it.
//!
//! Texts name tables and columns, never values.

use rusqlite::ErrorCode;

use super::super::Class;

/// Result of a statement.
pub type Result<T> = std::result::Result<T, Error>;

/// A statement that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite refused or failed.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    /// A row was asked for, and there is none.
    #[error("no row")]
    NoRow,
}

impl Error {
    /// True when a unique constraint refused the write.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Error::Sqlite(error) => matches!(
                error.sqlite_error().map(|e| e.extended_code),
                Some(
                    rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                        | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                        | rusqlite::ffi::SQLITE_CONSTRAINT_ROWID
                )
            ),
            Error::NoRow => false,
        }
    }

    /// What the caller does next.
    pub fn class(&self) -> Class {
        match self {
            Error::Sqlite(error) => class_of_sqlite(error),
            Error::NoRow => Class::Bug,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Error::NoRow,
            error => Error::Sqlite(error),
        }
    }
}

/// Tells a row that is not there from other failures.
pub trait OptionalExtension<T> {
    /// `None` where there is no row.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn class_of_sqlite(error: &rusqlite::Error) -> Class {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Class::Retry,
        Some(ErrorCode::DiskFull) => Class::Operator("the disk of the data directory is full"),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Class::Operator("the data directory must be writable by the relay")
        }
        Some(ErrorCode::SystemIoFailure) => {
            Class::Operator("the disk of the data directory reports errors")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Class::Operator("the state database is damaged: restore a backup")
        }
        _ => Class::Bug,
    }
}

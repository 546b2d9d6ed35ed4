//! What the nouns need of SQL, in the shape of rusqlite's API: connections, transactions, cached
//! statements, rows. Nouns write each statement once, for every engine that is behind it.
//!
//! Values are those of SQLite (integer, text, blob, null), read and bound by rusqlite's traits, so
//! that SQLite itself is reached without any detour. Parameters are numbered: `?1`, `?2`.

mod error;
mod params;

use std::ops::Deref;

use rusqlite::CachedStatement;
pub use rusqlite::params;
pub use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

pub use self::error::{Error, OptionalExtension, Result};
pub use self::params::Params;

/// One session with the database of a store.
pub struct Connection {
    engine: Engine,
}

enum Engine {
    Sqlite(rusqlite::Connection),
}

impl Connection {
    pub(super) fn sqlite(conn: rusqlite::Connection) -> Connection {
        Connection {
            engine: Engine::Sqlite(conn),
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        match &self.engine {
            Engine::Sqlite(conn) => params.with(|all| Ok(conn.execute(sql, all)?)),
        }
    }

    /// Runs statements without parameters.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        match &self.engine {
            Engine::Sqlite(conn) => Ok(conn.execute_batch(sql)?),
        }
    }

    /// Inserts one row into a table that numbers its rows by `id`; says which number it got.
    pub fn insert(&self, sql: &str, params: impl Params) -> Result<i64> {
        match &self.engine {
            Engine::Sqlite(conn) => {
                params.with(|all| conn.execute(sql, all))?;
                Ok(conn.last_insert_rowid())
            }
        }
    }

    /// The first row of a query; an error where there is none, see [`OptionalExtension`].
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        match &self.engine {
            Engine::Sqlite(conn) => {
                params.with(|all| conn.query_row(sql, all, |row| Ok(read(&Row::Sqlite(row)))))?
            }
        }
    }

    /// A statement that is prepared once for each session.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        match &self.engine {
            Engine::Sqlite(conn) => Ok(Statement::Sqlite(conn.prepare_cached(sql)?)),
        }
    }

    /// Begins a transaction by this statement.
    pub(super) fn begin(&self, sql: &'static str) -> Result<Transaction<'_>> {
        self.execute_batch(sql)?;
        Ok(Transaction {
            conn: self,
            is_open: true,
        })
    }
}

/// A transaction, which is rolled back unless it is committed.
pub struct Transaction<'c> {
    conn: &'c Connection,
    is_open: bool,
}

impl Transaction<'_> {
    pub(super) fn commit(mut self) -> Result<()> {
        self.conn.execute_batch("commit")?;
        self.is_open = false;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // An error that ended the transaction already leaves nothing to roll back.
            let _ = self.conn.execute_batch("rollback");
        }
    }
}

/// A prepared statement of one connection.
pub enum Statement<'c> {
    #[doc(hidden)]
    Sqlite(CachedStatement<'c>),
}

impl Statement<'_> {
    /// Runs it; says how many rows it changed.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        match self {
            Statement::Sqlite(statement) => params.with(|all| Ok(statement.execute(all)?)),
        }
    }

    /// Whether it finds any row.
    pub fn exists(&mut self, params: impl Params) -> Result<bool> {
        match self {
            Statement::Sqlite(statement) => params.with(|all| Ok(statement.exists(all)?)),
        }
    }

    /// See [`Connection::query_row`].
    pub fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        match self {
            Statement::Sqlite(statement) => {
                params.with(|all| statement.query_row(all, |row| Ok(read(&Row::Sqlite(row)))))?
            }
        }
    }

    /// Its rows, one after the other.
    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        match self {
            Statement::Sqlite(statement) => {
                params.with(|all| Ok(Rows::Sqlite(statement.query(all)?)))
            }
        }
    }

    /// What `read` makes of its rows.
    pub fn query_map<T, F>(&mut self, params: impl Params, read: F) -> Result<Mapped<'_, F>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        let rows = self.query(params)?;
        Ok(Mapped { rows, read })
    }
}

/// The rows of a query.
pub enum Rows<'s> {
    #[doc(hidden)]
    Sqlite(rusqlite::Rows<'s>),
}

impl Rows<'_> {
    /// The next one, if there is one.
    #[allow(clippy::should_implement_trait)] // A row is borrowed from its rows.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Rows::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
        }
    }
}

/// See [`Statement::query_map`].
pub struct Mapped<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for Mapped<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let row = self.rows.next().transpose()?;
        Some(row.and_then(|row| (self.read)(&row)))
    }
}

/// One row of a query.
pub enum Row<'r> {
    #[doc(hidden)]
    Sqlite(&'r rusqlite::Row<'r>),
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    pub fn get<T: FromSql>(&self, index: usize) -> Result<T> {
        match self {
            Row::Sqlite(row) => Ok(row.get(index)?),
        }
    }

    /// [`Row::get`] without a copy.
    pub fn get_ref(&self, index: usize) -> Result<ValueRef<'_>> {
        match self {
            Row::Sqlite(row) => Ok(row.get_ref(index)?),
        }
    }
}

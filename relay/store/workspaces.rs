//! Workspaces: every record belongs to one. One exists as soon as somebody or something is in it.

use super::StoreError;
use super::sql::Connection;

/// All workspaces that hold anything, by name.
pub fn all(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select workspace from tokens union select workspace from users
         union select workspace from agents union select workspace from connections
         union select workspace from syncs order by 1",
    )?;
    let rows = statement.query_map((), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

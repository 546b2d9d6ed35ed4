//! People who may sign in. Passwords are kept as argon2id hashes, which the caller makes.

use super::StoreError;
use super::roles::Role;
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};

const COLUMNS: &str = "id, workspace, name, role, password is not null, created_at";

/// A person, without the hash of the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    pub id: i64,
    pub workspace: String,
    /// Lower case.
    pub name: String,
    pub role: Role,
    /// False for whoever signs in elsewhere only.
    pub has_password: bool,
    pub created_at_ms: i64,
}

/// Adds a person; refuses a name that is taken in any workspace.
pub fn add(
    tx: &Transaction<'_>,
    workspace: &str,
    (name, role): (&str, Role),
    password_hash: Option<&str>,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let inserted = tx.insert(
        "insert into users (workspace, name, role, password, created_at)
         values (?1, ?2, ?3, ?4, ?5)",
        params![workspace, name, role.name(), password_hash, now_ms],
    );
    StoreError::named(inserted, "user", name)
}

/// Whether anybody can sign in at all.
pub fn any(conn: &Connection) -> Result<bool, StoreError> {
    let sql = "select exists (select 1 from users)";
    Ok(conn.query_row(sql, (), |row| row.get(0))?)
}

/// The people of a workspace, by name.
pub fn list(conn: &Connection, workspace: &str) -> Result<Vec<UserRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from users where workspace = ?1 order by name");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([workspace], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whoever has this name, in whichever workspace, and the hash of the password.
pub fn to_sign_in(
    conn: &Connection,
    name: &str,
) -> Result<Option<(UserRecord, Option<String>)>, StoreError> {
    let sql = format!("select {COLUMNS}, password from users where name = ?1");
    let read = |row: &Row<'_>| Ok((from_row(row)?, row.get(6)?));
    Ok(conn.query_row(&sql, [name], read).optional()?)
}

/// The person of this name in a workspace.
pub fn by_name(conn: &Connection, workspace: &str, name: &str) -> Result<UserRecord, StoreError> {
    let sql = format!("select {COLUMNS} from users where workspace = ?1 and name = ?2");
    conn.query_row(&sql, [workspace, name], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("user", name))
}

/// The person with this number.
pub fn by_id(conn: &Connection, id: i64) -> Result<UserRecord, StoreError> {
    let sql = format!("select {COLUMNS} from users where id = ?1");
    conn.query_row(&sql, [id], from_row)
        .optional()?
        .ok_or_else(|| StoreError::not_found("user", id))
}

/// Gives a person another role, from the next request on. The last administrator stays one.
pub fn set_role(tx: &Transaction<'_>, user: &UserRecord, role: Role) -> Result<(), StoreError> {
    if role != Role::Admin {
        not_the_last(tx, user)?;
    }
    tx.execute(
        "update users set role = ?2 where id = ?1",
        params![user.id, role.name()],
    )?;
    Ok(())
}

/// Replaces the password's hash, and ends every session: whoever knew the old one is out.
pub fn set_password(tx: &Transaction<'_>, id: i64, hash: &str) -> Result<(), StoreError> {
    tx.execute(
        "update users set password = ?2 where id = ?1",
        params![id, hash],
    )?;
    tx.execute(r#"delete from sessions where "user" = ?1"#, [id])?;
    Ok(())
}

/// Removes a person, and with the person the sessions. The last administrator stays.
pub fn remove(tx: &Transaction<'_>, user: &UserRecord) -> Result<(), StoreError> {
    not_the_last(tx, user)?;
    tx.execute("delete from users where id = ?1", [user.id])?;
    Ok(())
}

fn not_the_last(tx: &Transaction<'_>, user: &UserRecord) -> Result<(), StoreError> {
    let sql = "select count(*) from users where workspace = ?1 and role = 'admin'";
    let admins: u32 = tx.query_row(sql, [&user.workspace], |row| row.get(0))?;
    if user.role == Role::Admin && admins == 1 {
        return Err(StoreError::InUseBy {
            noun: "user",
            name: user.name.clone(),
            by: "the workspace, as its last admin: make another one first".to_owned(),
        });
    }
    Ok(())
}

pub(super) fn from_row(row: &Row<'_>) -> sql::Result<UserRecord> {
    let role: String = row.get(3)?;
    Ok(UserRecord {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
        // The table's check allows no other.
        role: Role::parse(&role).unwrap_or(Role::Viewer),
        has_password: row.get(4)?,
        created_at_ms: row.get(5)?,
    })
}

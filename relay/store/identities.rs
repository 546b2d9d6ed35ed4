//! Who a person is at a provider of identities: an issuer and a subject there lead to one user.

use super::StoreError;
use super::sql::{Connection, OptionalExtension, Transaction, params};
use super::users::{self, UserRecord};

/// Somebody who was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub user: UserRecord,
    /// The role follows the relay's rules; otherwise somebody chose it here.
    pub by_rule: bool,
}

/// Who this subject of an issuer is.
pub fn whose(
    conn: &Connection,
    (issuer, subject): (&str, &str),
) -> Result<Option<Known>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select u.id, u.workspace, u.name, u.role, u.password is not null, u.created_at, i.by_rule
         from identities i join users u on u.id = i.user where i.issuer = ?1 and i.subject = ?2",
    )?;
    let found = statement.query_row([issuer, subject], |row| {
        Ok(Known {
            user: users::from_row(row)?,
            by_rule: row.get(6)?,
        })
    });
    Ok(found.optional()?)
}

/// Lets this subject of an issuer in as that person from now on. Refuses one that is somebody already.
pub fn bind(
    tx: &Transaction<'_>,
    (issuer, subject): (&str, &str),
    (user, by_rule): (&UserRecord, bool),
    now_ms: i64,
) -> Result<(), StoreError> {
    let inserted = tx.execute(
        "insert into identities (issuer, subject, user, by_rule, created_at)
         values (?1, ?2, ?3, ?4, ?5)",
        params![issuer, subject, user.id, by_rule, now_ms],
    );
    StoreError::named(inserted, "identity", &user.name)?;
    Ok(())
}

/// Whoever has this name, in whichever workspace, and whether the person comes in by any provider.
pub fn namesake(conn: &Connection, name: &str) -> Result<Option<(UserRecord, bool)>, StoreError> {
    let Some((user, _)) = users::to_sign_in(conn, name)? else {
        return Ok(None);
    };
    let sql = "select exists (select 1 from identities where user = ?1)";
    let is_connected = conn.query_row(sql, [user.id], |row| row.get(0))?;
    Ok(Some((user, is_connected)))
}

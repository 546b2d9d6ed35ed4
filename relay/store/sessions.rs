//! Sessions of people who signed in. Only the hash of a session's cookie is stored.

use zeroize::Zeroizing;

use super::StoreError;
use super::secret::{hash, random_text};
use super::sql::{Connection, OptionalExtension, Transaction, params};
use super::users::{self, UserRecord};

/// Prefix of every session's text, for secret scanners.
pub const SESSION_PREFIX: &str = "tg_ses_";

/// Begins a session and gives its text, which is not stored. Forgets those that have expired.
pub fn begin(
    tx: &Transaction<'_>,
    user: i64,
    expires_at_ms: i64,
    now_ms: i64,
) -> Result<Zeroizing<String>, StoreError> {
    let text = random_text(SESSION_PREFIX);
    tx.execute("delete from sessions where expires_at <= ?1", [now_ms])?;
    tx.execute(
        r#"insert into sessions (hash, "user", created_at, expires_at) values (?1, ?2, ?3, ?4)"#,
        params![hash(&text), user, now_ms, expires_at_ms],
    )?;
    Ok(text)
}

/// Whose session this is, if it has not expired.
pub fn whose(conn: &Connection, text: &str, now_ms: i64) -> Result<Option<UserRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        r#"select u.id, u.workspace, u.name, u.role, u.password is not null, u.created_at
           from sessions s join users u on u.id = s."user"
           where s.hash = ?1 and s.expires_at > ?2"#,
    )?;
    let found = statement.query_row(params![hash(text), now_ms], users::from_row);
    Ok(found.optional()?)
}

/// Ends a session.
pub fn end(tx: &Transaction<'_>, text: &str) -> Result<(), StoreError> {
    tx.execute("delete from sessions where hash = ?1", [hash(text)])?;
    Ok(())
}

//! API tokens, and the operator token that the relay's own host uses.
//!
//! Only hashes are stored. The operator token's text is in a file that only the relay's user can read.

use std::fs;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use zeroize::Zeroizing;

use super::roles::Role;
use super::sealer::write_secret_file;
use super::secret::{hash, random_text};
use super::{DEFAULT_WORKSPACE, Store, StoreError};

/// Prefix of every API token, for secret scanners.
pub const TOKEN_PREFIX: &str = "tg_api_";
/// Name of the operator token's file in the data directory.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";
/// Name of the operator token among the tokens.
pub const OPERATOR_TOKEN_NAME: &str = "operator";

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: i64,
    pub workspace: String,
    pub name: String,
    pub role: Role,
    pub expires_at_ms: Option<i64>,
    pub created_at_ms: i64,
    pub used_at_ms: Option<i64>,
}

/// Makes a token and gives its text, which is not stored and cannot be shown again.
pub fn create(
    tx: &Transaction<'_>,
    workspace: &str,
    (name, role): (&str, Role),
    expires_at_ms: Option<i64>,
    now_ms: i64,
) -> Result<Zeroizing<String>, StoreError> {
    let text = random_text(TOKEN_PREFIX);
    let inserted = tx.execute(
        "insert into tokens (workspace, name, hash, scope, expires_at, created_at)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            workspace,
            name,
            hash(&text),
            role.name(),
            expires_at_ms,
            now_ms
        ],
    );
    StoreError::named(inserted, "token", name)?;
    Ok(text)
}

/// The token with this text, if it exists and has not expired.
pub fn verify(
    conn: &Connection,
    text: &str,
    now_ms: i64,
) -> Result<Option<TokenRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select id, workspace, name, scope, expires_at, created_at, used_at from tokens
         where hash = ?1 and (expires_at is null or expires_at > ?2)",
    )?;
    let found = statement.query_row(params![hash(text), now_ms], from_row);
    Ok(found.optional()?)
}

/// All tokens of a workspace, by name.
pub fn list(conn: &Connection, workspace: &str) -> Result<Vec<TokenRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select id, workspace, name, scope, expires_at, created_at, used_at from tokens
         where workspace = ?1 order by name",
    )?;
    let rows = statement.query_map([workspace], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that the token was used.
pub fn touch(tx: &Transaction<'_>, id: i64, now_ms: i64) -> Result<(), StoreError> {
    tx.execute(
        "update tokens set used_at = ?2 where id = ?1",
        params![id, now_ms],
    )?;
    Ok(())
}

/// Removes the token: it is refused from the next request on.
pub fn revoke(tx: &Transaction<'_>, workspace: &str, name: &str) -> Result<(), StoreError> {
    let removed = tx.execute(
        "delete from tokens where workspace = ?1 and name = ?2",
        [workspace, name],
    )?;
    if removed == 0 {
        return Err(StoreError::not_found("token", name));
    }
    Ok(())
}

/// Makes sure that `operator.token` in the data directory holds a valid token (mode 0600). A lost
/// or foreign file is replaced, and the token that was in force before is no longer accepted.
pub async fn ensure_operator_token(store: &Store, now_ms: i64) -> Result<(), StoreError> {
    let path = store.data_dir().join(OPERATOR_TOKEN_FILE);
    let known = fs::read_to_string(&path).map(Zeroizing::new).ok();
    store
        .transact(move |tx| {
            if let Some(text) = &known
                && verify(tx, text.trim(), now_ms)?.is_some()
            {
                return Ok(());
            }
            tx.execute(
                "delete from tokens where workspace = ?1 and name = ?2",
                [DEFAULT_WORKSPACE, OPERATOR_TOKEN_NAME],
            )?;
            let names = (OPERATOR_TOKEN_NAME, Role::Admin);
            let text = create(tx, DEFAULT_WORKSPACE, names, None, now_ms)?;
            // Before the commit: a crash in between leaves a file that the next start replaces.
            write_secret_file(&path, &Zeroizing::new(format!("{}\n", *text)))
        })
        .await
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    let scope: String = row.get(3)?;
    Ok(TokenRecord {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
        // A scope of another version gives the least.
        role: Role::parse(&scope).unwrap_or(Role::Viewer),
        expires_at_ms: row.get(4)?,
        created_at_ms: row.get(5)?,
        used_at_ms: row.get(6)?,
    })
}

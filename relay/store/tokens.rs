//! API tokens, and the operator token that the relay's own host uses.
//!
//! Only hashes are stored. The operator token's text is in a file that only the relay's user can read.

use std::fs;

use zeroize::Zeroizing;

use super::roles::Role;
use super::sealer::write_secret_file;
use super::secret::{hash, random_text};
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};
use super::{DEFAULT_WORKSPACE, Store, StoreError};

/// Prefix of every API token, for secret scanners.
pub const TOKEN_PREFIX: &str = "tg_api_";
/// Name of the operator token's file in the data directory.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";
/// Name of the operator token among the tokens.
pub const OPERATOR_TOKEN_NAME: &str = "operator";

/// What stands behind the role of a token that may forward.
const FORWARD: &str = "+forward";

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub role: Role,
    /// Whether it opens sessions for people's own tools.
    pub may_forward: bool,
}

impl Scope {
    /// As it is stored. A relay from before there was more than a role takes what it does not know
    /// for the least.
    fn text(self) -> String {
        let more = if self.may_forward { FORWARD } else { "" };
        format!("{}{more}", self.role)
    }

    fn parse(text: &str) -> Scope {
        let (role, may_forward) = match text.strip_suffix(FORWARD) {
            Some(role) => (role, true),
            None => (text, false),
        };
        // A scope of another version gives the least.
        Role::parse(role).map_or(Role::Viewer.into(), |role| Scope { role, may_forward })
    }
}

impl From<Role> for Scope {
    fn from(role: Role) -> Scope {
        Scope {
            role,
            may_forward: false,
        }
    }
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: i64,
    pub workspace: String,
    pub name: String,
    pub scope: Scope,
    pub expires_at_ms: Option<i64>,
    pub created_at_ms: i64,
    pub used_at_ms: Option<i64>,
}

/// Makes a token and gives its text, which is not stored and cannot be shown again.
pub fn create(
    tx: &Transaction<'_>,
    workspace: &str,
    (name, scope): (&str, Scope),
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
            scope.text(),
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
            let all = Scope {
                role: Role::Admin,
                may_forward: true,
            };
            if let Some(text) = &known
                && let Some(token) = verify(tx, text.trim(), now_ms)?
            {
                let sql = "update tokens set scope = ?2 where id = ?1 and scope <> ?2";
                tx.execute(sql, params![token.id, all.text()])?;
                return Ok(());
            }
            tx.execute(
                "delete from tokens where workspace = ?1 and name = ?2",
                [DEFAULT_WORKSPACE, OPERATOR_TOKEN_NAME],
            )?;
            let operator = (OPERATOR_TOKEN_NAME, all);
            let text = create(tx, DEFAULT_WORKSPACE, operator, None, now_ms)?;
            // Before the commit: a crash in between leaves a file that the next start replaces.
            write_secret_file(&path, &Zeroizing::new(format!("{}\n", *text)))
        })
        .await
}

fn from_row(row: &Row<'_>) -> sql::Result<TokenRecord> {
    let scope: String = row.get(3)?;
    Ok(TokenRecord {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
        scope: Scope::parse(&scope),
        expires_at_ms: row.get(4)?,
        created_at_ms: row.get(5)?,
        used_at_ms: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_stored_with_its_role_and_an_unknown_one_gives_the_least() {
        for role in Role::ALL {
            for may_forward in [false, true] {
                let scope = Scope { role, may_forward };
                assert_eq!(Scope::parse(&scope.text()), scope);
            }
        }
        assert_eq!(
            Scope::from(Role::Admin).text(),
            "admin",
            "as before there was more"
        );
        for unknown in ["", "owner", "owner+forward", "admin+all"] {
            assert_eq!(Scope::parse(unknown), Role::Viewer.into(), "{unknown}");
        }
    }
}

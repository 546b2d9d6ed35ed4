//! Answers to requests that carried a key of their caller's: whoever sends the same again, because the
//! answer got lost, gets the same answer, and nothing is made twice. Sealed, since some hold a secret
//! that is shown once; kept for a day.

use super::secret::hash;
use super::sql::{Connection, OptionalExtension, Transaction, params};
use super::{Sealer, StoreError};

const LABEL: &str = "answers.body";

/// How long an answer is kept, milliseconds.
pub const KEPT_MS: i64 = 24 * 3600 * 1000;

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyOwner {
    pub workspace: String,
    pub actor: String,
    pub key: String,
}

/// An answer, and the hash of the request that it was given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub request: Vec<u8>,
    pub body: Vec<u8>,
}

/// The answer that was given to the request with this key.
pub fn find(
    conn: &Connection,
    sealer: &Sealer,
    owner: &KeyOwner,
    now_ms: i64,
) -> Result<Option<Answer>, StoreError> {
    let KeyOwner {
        workspace,
        actor,
        key,
    } = owner;
    let mut statement = conn.prepare_cached(
        "select request, body from answers
         where workspace = ?1 and actor = ?2 and key_hash = ?3 and at > ?4",
    )?;
    let since = now_ms - KEPT_MS;
    let found = statement.query_row(params![workspace, actor, hash(key), since], |row| {
        Ok((row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?))
    });
    let Some((request, sealed)) = found.optional()? else {
        return Ok(None);
    };
    let body = sealer.open(LABEL, &sealed)?.to_vec();
    Ok(Some(Answer { request, body }))
}

/// Keeps an answer, and forgets those that are too old.
pub fn keep(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    owner: &KeyOwner,
    answer: &Answer,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute("delete from answers where at <= ?1", [now_ms - KEPT_MS])?;
    tx.execute(
        "insert into answers (workspace, actor, key_hash, request, at, body)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            owner.workspace,
            owner.actor,
            hash(&owner.key),
            answer.request,
            now_ms,
            sealer.seal(LABEL, &answer.body),
        ],
    )?;
    Ok(())
}

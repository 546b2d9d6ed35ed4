//! Passwords: argon2id with the parameters that OWASP names first (19 MiB, two passes), as PHC strings.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use axum::http::StatusCode;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::super::Problem;

/// Fewest characters (NIST SP 800-63B, section 3.1.1.2, for passwords that are the only factor).
const CHARS_MIN: usize = 12;
/// Most bytes: what is hashed has a bound.
const BYTES_MAX: usize = 1024;

/// Hashes under way. Each takes 19 MiB and a core for tens of milliseconds.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Compared with when there is no such user, so that the time tells nothing about names.
static NOBODY: LazyLock<String> = LazyLock::new(|| digest(b"nobody").unwrap_or_default());

/// The hash of a new password. Refuses one that is too short or too long.
pub(super) async fn hash(password: Zeroizing<String>) -> Result<String, Problem> {
    if password.chars().count() < CHARS_MIN || password.len() > BYTES_MAX {
        let detail = format!("a password has {CHARS_MIN} characters or more: a sentence will do");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "weak-password", detail));
    }
    blocking(move || digest(password.as_bytes())).await?
}

/// Whether this is the password of that hash; takes as long where there is none.
pub(super) async fn is_right(
    password: Zeroizing<String>,
    hash: Option<String>,
) -> Result<bool, Problem> {
    if password.len() > BYTES_MAX {
        return Ok(false);
    }
    blocking(move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.clone());
        let parsed = PasswordHash::new(&hash).map_err(|_| internal())?;
        let verified = Argon2::default().verify_password(password.as_bytes(), &parsed);
        Ok(known && verified.is_ok())
    })
    .await?
}

fn digest(password: &[u8]) -> Result<String, Problem> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = Argon2::default().hash_password(password, &salt);
    Ok(hash.map_err(|_| internal())?.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let _permit = AT_ONCE.acquire().await.map_err(|_| internal())?;
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| internal())
}

fn internal() -> Problem {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, "internal", "a password could not be checked")
}

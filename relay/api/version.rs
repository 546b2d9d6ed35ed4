//! Versions of what can be edited: `ETag` says which one was read, `If-Match` which one is meant
//! (RFC 9110, sections 8.8.3 and 13.1.1).

use std::fmt::Display;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};

use super::Problem;

/// The version as `ETag` writes it.
pub(super) fn etag(version: impl Display) -> [(header::HeaderName, HeaderValue); 1] {
    // Versions are numbers and hexadecimal digests.
    let value = HeaderValue::try_from(format!("\"{version}\""));
    [(
        header::ETAG,
        value.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
    )]
}

/// The version that a request means; `None`: whatever is there.
#[derive(Clone, Debug)]
pub(super) struct IfMatch(pub Option<String>);

impl IfMatch {
    /// The version's number, where versions are numbers.
    pub(super) fn number(&self) -> Result<Option<i64>, Problem> {
        let number = |text: &String| text.parse().map_err(|_| changed("it"));
        self.0.as_ref().map(number).transpose()
    }

    /// Refuses a request that does not say which version it changes.
    pub(super) fn required(&self) -> Result<i64, Problem> {
        self.number()?.ok_or_else(|| {
            let detail =
                "say which version this replaces: `If-Match` with the `ETag` of what was read";
            Problem::new(StatusCode::PRECONDITION_REQUIRED, "version-needed", detail)
        })
    }
}

/// Somebody else has changed it since it was read.
pub(super) fn changed(what: &str) -> Problem {
    let detail = format!("somebody has changed {what} since you read it: read it again");
    Problem::new(StatusCode::PRECONDITION_FAILED, "version-changed", detail)
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(given) = parts.headers.get(header::IF_MATCH) else {
            return Ok(IfMatch(None));
        };
        let given = given.to_str().unwrap_or_default().trim();
        if given == "*" {
            return Ok(IfMatch(None));
        }
        let quoted = given
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match quoted.filter(|version| !version.contains('"')) {
            Some(version) => Ok(IfMatch(Some(version.to_owned()))),
            None => {
                let detail = "`If-Match` takes one `ETag`, with its quotation marks";
                Err(Problem::new(StatusCode::BAD_REQUEST, "bad-version", detail))
            }
        }
    }
}

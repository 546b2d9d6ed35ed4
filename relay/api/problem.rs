//! Errors as problem documents (RFC 9457) with stable codes.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::store::StoreError;

/// Media type of problem documents (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Bytes that are read of a refusal's plain text: extractors and layers write one line.
const PLAIN_BYTES_MAX: usize = 4096;

/// A problem document. `code` is stable; `detail` is for people and says what to do next.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code tells.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Problem {
        let status = match error.kind {
            ControlErrorKind::NotFound => StatusCode::NOT_FOUND,
            ControlErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ControlErrorKind::Conflict => StatusCode::CONFLICT,
            ControlErrorKind::Unavailable => StatusCode::BAD_GATEWAY,
            ControlErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, error.code, error.message)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let (status, code) = match &error {
            StoreError::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            StoreError::Taken { .. } => (StatusCode::CONFLICT, "taken"),
            StoreError::InUseBy { .. } => (StatusCode::CONFLICT, "in-use"),
            StoreError::Full { .. } => (StatusCode::CONFLICT, "too-many"),
            StoreError::Changed { .. } => (StatusCode::PRECONDITION_FAILED, "version-changed"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
        };
        Problem::new(status, code, error.to_string())
    }
}

/// The answer to a path that does not exist.
pub(super) async fn no_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-route",
        "no such path: see /api/v1/openapi.json",
    )
}

/// Makes a problem document of every refusal under `/api/` that is none yet: those of extractors
/// (a body that is no JSON), of the router (a wrong method) and of layers (too large, too late).
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    let media_type = response.headers().get(header::CONTENT_TYPE);
    if !is_api || !is_refusal || media_type.is_some_and(|found| found == MEDIA_TYPE) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, PLAIN_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let (code, detail) = of_status(status, words.join(" "));
    let problem = Problem::new(status, code, detail);
    let body = serde_json::to_string(&problem).unwrap_or_default();
    // What else was answered stays: `Allow` says which methods there are.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Response::from_parts(parts, body.into())
}

fn of_status(status: StatusCode, text: String) -> (&'static str, String) {
    let see = "see /api/v1/openapi.json";
    match status {
        StatusCode::METHOD_NOT_ALLOWED => (
            "method-not-allowed",
            format!("this address does not take that method: {see}"),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = super::limits::BODY_BYTES_MAX;
            (
                "body-too-large",
                format!("a request has at most {most} bytes"),
            )
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            "media-type",
            "send JSON with \"content-type: application/json\"".to_owned(),
        ),
        StatusCode::GATEWAY_TIMEOUT => ("timeout", "there was no answer in time: try again".into()),
        _ if text.is_empty() => ("refused", format!("the request was refused: {see}")),
        _ if status.is_client_error() => ("bad-request", text),
        _ => ("internal", "the relay failed: see its log".to_owned()),
    }
}

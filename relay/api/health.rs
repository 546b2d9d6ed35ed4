//! Health, readiness, the OpenAPI document, and the egress address.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::access::Caller;

/// The process is there.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Everything that the relay needs is there, and each running sync reached its databases.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let missing = api.readiness.missing().await;
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

pub(super) async fn openapi(
    document: Arc<utoipa::openapi::OpenApi>,
) -> Json<utoipa::openapi::OpenApi> {
    Json((*document).clone())
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct Egress {
    /// What to allow in firewalls and in the database's host rules.
    pub public: Vec<String>,
    /// Whether connections and channels of this workspace may lead to private addresses.
    #[serde(default)]
    pub allow_private: bool,
}

/// The address that apps and firewalls see.
#[utoipa::path(get, path = "/api/v1/egress", operation_id = "egress",
    responses((status = 200, body = Egress), (status = 401, body = super::Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn egress(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Json<Egress> {
    Json(Egress {
        public: api.egress.clone(),
        allow_private: api.allow_private.holds_for(&caller.workspace),
    })
}

//! The relay's certificate authorities, and their replacement while agents are paired. For admins of the
//! default workspace, who host the relay.

use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::{Api, Problem};
use crate::engine::handle::ControlError;
use crate::store::DEFAULT_WORKSPACE;

/// One of the two authorities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Authority {
    /// Whom it signs for: `agents` or `relays`.
    pub kind: String,
    /// Of its public key, as `tidegate-agent` prints that of its own.
    pub fingerprint: String,
    /// RFC 3339: when it ends.
    pub until: String,
    /// While it is being replaced.
    pub roll_over: Option<AuthorityRollOver>,
}

/// An authority that is being replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuthorityRollOver {
    /// Of `agents`: of the authority before, whose certificates are still accepted. Of `relays`: of the
    /// one to come, which agents are told of.
    pub fingerprint: String,
    /// RFC 3339: when it began.
    pub since: String,
    /// Agents that would have to be paired again if it were finished now: they have not been connected
    /// since it began, or have not renewed their certificate.
    pub waiting_for: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct FinishAuthority {
    /// Whether agents that are waited for may be lost.
    #[serde(default)]
    pub force: bool,
}

/// What the API asks about authorities; `app` implements it over pairing.
#[async_trait]
pub trait AuthorityControl: Send + Sync {
    async fn list(&self) -> Result<Vec<Authority>, ControlError>;
    async fn renew(&self, kind: &str) -> Result<Authority, ControlError>;
    async fn finish(&self, kind: &str, force: bool) -> Result<Authority, ControlError>;
}

/// Both authorities.
#[utoipa::path(get, path = "/api/v1/authorities", operation_id = "list_authorities",
    responses((status = 200, body = Vec<Authority>), (status = 401, body = Problem),
        (status = 403, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_authorities(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<Authority>>, Problem> {
    Ok(Json(hosts(&caller, &api)?.list().await?))
}

/// Begins to replace an authority.
#[utoipa::path(post, path = "/api/v1/authorities/{kind}/renew", operation_id = "renew_authority",
    params(("kind" = String, Path)),
    responses((status = 200, body = Authority), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn renew_authority(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(kind): Path<String>,
) -> Result<Json<Authority>, Problem> {
    Ok(Json(hosts(&caller, &api)?.renew(&kind).await?))
}

/// Ends the replacement: the former authority is dropped. Refused while that would lose agents.
#[utoipa::path(post, path = "/api/v1/authorities/{kind}/finish", operation_id = "finish_authority",
    params(("kind" = String, Path)), request_body = FinishAuthority,
    responses((status = 200, body = Authority), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn finish_authority(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(kind): Path<String>,
    Json(how): Json<FinishAuthority>,
) -> Result<Json<Authority>, Problem> {
    Ok(Json(hosts(&caller, &api)?.finish(&kind, how.force).await?))
}

fn hosts(caller: &Caller, api: &Api) -> Result<std::sync::Arc<dyn AuthorityControl>, Problem> {
    if caller.workspace != DEFAULT_WORKSPACE {
        let detail = "agents of all workspaces trust the authorities: only admins of the default \
                      workspace may see and replace them";
        return Err(Problem::new(StatusCode::FORBIDDEN, "workspace", detail));
    }
    Ok(api.rooms.authorities(caller))
}

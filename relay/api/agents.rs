//! Agents: invite, list, show, revoke.

use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::forward::{Duplex, ForwardPurpose, ForwardView};
use super::page::{Page, Paged};
use super::workspace::Workspace;
use crate::engine::handle::ControlError;

/// One agent, paired or not, connected or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatus {
    pub name: String,
    /// `invited`, `offline`, `online` or `revoked`.
    pub state: String,
    pub host: Option<String>,
    pub version: Option<String>,
    pub remote: Option<String>,
    /// RFC 3339.
    pub since: Option<String>,
    pub rtt_ms: Option<f64>,
    /// Databases that the agent offers.
    pub targets: Vec<AgentTarget>,
    /// RFC 3339: end of the agent's certificate.
    pub certificate_until: Option<String>,
    pub sessions: u64,
    /// `writes` or `everything`, while the agent holds that back by itself.
    #[serde(default)]
    pub held: Option<String>,
    /// Why it does, in its operator's words.
    #[serde(default)]
    pub held_reason: Option<String>,
    /// What the tunnel to a connected agent travels on: `quic` or `tcp`.
    #[serde(default)]
    pub transport: Option<String>,
    /// Share of the packets that were lost on the way to the agent, percent; over QUIC only.
    #[serde(default)]
    pub loss_percent: Option<f64>,
    /// Largest packet that the way takes, bytes; over QUIC only.
    #[serde(default)]
    pub mtu_bytes: Option<u16>,
    /// Since the agent connected.
    #[serde(default)]
    pub sent_bytes: Option<u64>,
    #[serde(default)]
    pub received_bytes: Option<u64>,
    /// How its identity stands: `good`, `expired` (it gets another certificate when it comes back) or
    /// `lapsed` (it was away for too long and must be paired again). Absent until it is paired.
    #[serde(default)]
    pub identity: Option<String>,
    /// How often its key got a certificate only after the end of the one before: an agent that is always
    /// on renews itself before that.
    #[serde(default)]
    pub reissues: u32,
    /// Of the agent's key, as `tidegate-agent pair` and `status` print it on its host. Absent until it is
    /// paired.
    #[serde(default)]
    pub key_fingerprint: Option<String>,
    /// RFC 3339: when this relay last saw two agents with this identity drive each other out.
    #[serde(default)]
    pub cloned_at: Option<String>,
    /// Sessions of people's own tools (`agent forward`) that are open through it.
    #[serde(default)]
    pub forwards: Vec<ForwardView>,
}

impl AgentStatus {
    /// Whether two agents with this identity have driven each other out within the last hour.
    pub fn is_cloned(&self) -> bool {
        let at = self.cloned_at.as_ref().and_then(|at| at.parse().ok());
        at.is_some_and(|at: jiff::Timestamp| {
            jiff::Timestamp::now().as_second() - at.as_second() < 3600
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentTarget {
    pub name: String,
    pub database: String,
    pub read_only: bool,
    /// Whether the relay may make publications and give tables a key through it.
    #[serde(default)]
    pub allow_ddl: bool,
    /// The agent drops a sync's slot before it makes the server keep this much WAL, bytes; absent
    /// for an agent that drops none.
    #[serde(default)]
    pub slot_wal_max: Option<u64>,
    /// Whether a forwarded session logs in with the person's own name and password.
    #[serde(default)]
    pub passthrough: bool,
    /// Whether people's own tools may come through (`forward` in agent.toml); absent for an agent that
    /// does not tell.
    #[serde(default)]
    pub forward: Option<bool>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InviteRequest {
    pub name: String,
    /// Life of the token, seconds; an hour unless given.
    pub expires_s: Option<u64>,
}

/// A pairing token. Shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Invited {
    pub name: String,
    pub token: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// What the API asks about agents; `app` implements it over pairing and tunnel.
#[async_trait]
pub trait AgentControl: Send + Sync {
    async fn invite(&self, name: &str, expires_s: Option<u64>) -> Result<Invited, ControlError>;
    async fn list(&self) -> Result<Vec<AgentStatus>, ControlError>;
    async fn show(&self, name: &str) -> Result<AgentStatus, ControlError>;
    async fn revoke(&self, name: &str) -> Result<AgentStatus, ControlError>;
    /// Opens a stream to a target for a person's own tool; the agent decides.
    async fn forward(
        &self,
        name: &str,
        target: &str,
        purpose: ForwardPurpose,
    ) -> Result<Box<dyn Duplex>, ControlError>;
}

/// All agents.
#[utoipa::path(get, path = "/api/v1/agents", operation_id = "list_agents", params(Page),
    responses((status = 200, body = Vec<AgentStatus>), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_agents(
    work: Workspace,
    Query(page): Query<Page>,
) -> Result<Paged<AgentStatus>, Problem> {
    page.by_name(work.agents.list().await?, |agent| &agent.name)
}

/// Makes a pairing token for a new agent, or for one that was never paired.
#[utoipa::path(post, path = "/api/v1/agents", operation_id = "invite_agent",
    request_body = InviteRequest,
    responses((status = 201, body = Invited), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn invite_agent(
    work: Workspace,
    Json(request): Json<InviteRequest>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    let invited = work.agents.invite(&request.name, request.expires_s).await?;
    Ok((StatusCode::CREATED, Json(invited)))
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/agents/{name}", operation_id = "show_agent",
    params(("name" = String, Path)),
    responses((status = 200, body = AgentStatus), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn show_agent(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<AgentStatus>, Problem> {
    Ok(Json(work.agents.show(&name).await?))
}

/// Takes the agent's identity away and cuts its connection.
#[utoipa::path(post, path = "/api/v1/agents/{name}/revoke", operation_id = "revoke_agent",
    params(("name" = String, Path)),
    responses((status = 200, body = AgentStatus), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn revoke_agent(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<AgentStatus>, Problem> {
    Ok(Json(work.agents.revoke(&name).await?))
}

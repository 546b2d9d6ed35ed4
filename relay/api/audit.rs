//! The audit log: who did what in this workspace, and whether the whole log is as it was written.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{Caller, rfc3339};
use super::page::{Page, Paged};
use super::{Api, Problem};
use crate::store::DEFAULT_WORKSPACE;
use crate::store::audit::{self, AuditRecord, Chain};

/// Entries on a page unless asked otherwise.
const PAGE: u32 = 100;

/// Something that somebody did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number in the relay's log, which all workspaces share.
    pub seq: i64,
    /// RFC 3339.
    pub at: String,
    /// `user:ada`, `token:ci`, an agent's name, or `relay`.
    pub actor: String,
    /// `noun.verb`: `sync.apply`, `agent.revoke`.
    pub action: String,
    /// The object's name.
    pub object: String,
}

/// Whether the log is as it was written.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditCheck {
    pub intact: bool,
    /// Entries, of all workspaces. Compare with an earlier count: the end can be cut off.
    pub entries: Option<i64>,
    /// The first entry that was changed, or before which one is missing.
    pub broken_at: Option<i64>,
}

/// What was done in this workspace, the newest first.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit",
    params(Page),
    responses((status = 200, body = Vec<AuditEntry>), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_audit(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(page): Query<Page>,
) -> Result<Paged<AuditEntry>, Problem> {
    let (limit, before) = (page.limit(PAGE)?, page.number()?);
    let found = api
        .store
        .view(move |conn| audit::list(conn, &caller.workspace, before, limit))
        .await?;
    Ok(Paged::up_to(limit, found, |record| record.seq).map(entry))
}

/// Recomputes the chain of the whole log. For admins of the default workspace, who host the relay.
#[utoipa::path(get, path = "/api/v1/audit/verify", operation_id = "verify_audit",
    responses((status = 200, body = AuditCheck), (status = 401, body = Problem),
        (status = 403, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn verify_audit(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<AuditCheck>, Problem> {
    if caller.workspace != DEFAULT_WORKSPACE {
        let detail = "the log is of all workspaces: only admins of the default one may check it";
        return Err(Problem::new(StatusCode::FORBIDDEN, "workspace", detail));
    }
    let sealer = api.store.sealer().clone();
    let found = api
        .store
        .view(move |conn| audit::verify(conn, &sealer))
        .await?;
    let (entries, broken_at) = match found {
        Chain::Intact { records } => (Some(records), None),
        Chain::Broken { seq } => (None, Some(seq)),
    };
    Ok(Json(AuditCheck {
        intact: broken_at.is_none(),
        entries,
        broken_at,
    }))
}

fn entry(record: AuditRecord) -> AuditEntry {
    AuditEntry {
        seq: record.seq,
        at: rfc3339(record.event.at_ms),
        actor: record.event.actor,
        action: record.event.action,
        object: record.event.object,
    }
}

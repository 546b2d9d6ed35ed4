//! Syncs: plan, apply, status, pause, resume, verify, findings, export, remove.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::workspace::Workspace;
use crate::engine::report::{
    FindingReport, Preview, Removed, SyncStatus, TableRepair, VerifyReport,
};
use crate::engine::verify::How;

/// A sync file to start, and the preview that was confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApplyRequest {
    /// The text of `sync.toml`.
    pub file: String,
    /// The start does exactly this, or refuses.
    pub expected: Option<Preview>,
}

/// What applying this sync file would do. Writes nothing.
#[utoipa::path(post, path = "/api/v1/syncs/plan", operation_id = "plan_sync",
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = Preview), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn plan_sync(work: Workspace, file: String) -> Result<Json<Preview>, Problem> {
    Ok(Json(work.syncs.plan(&file).await?))
}

/// Starts the sync of this file.
#[utoipa::path(post, path = "/api/v1/syncs/apply", operation_id = "apply_sync",
    request_body = ApplyRequest,
    responses((status = 200, body = SyncStatus), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn apply_sync(
    work: Workspace,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<SyncStatus>, Problem> {
    Ok(Json(
        work.syncs.apply(&request.file, request.expected).await?,
    ))
}

/// All syncs.
#[utoipa::path(get, path = "/api/v1/syncs", operation_id = "list_syncs",
    responses((status = 200, body = Vec<SyncStatus>), (status = 401, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_syncs(work: Workspace) -> Result<Json<Vec<SyncStatus>>, Problem> {
    Ok(Json(work.syncs.list().await?))
}

/// How a sync goes.
#[utoipa::path(get, path = "/api/v1/syncs/{name}", operation_id = "sync_status",
    params(("name" = String, Path)),
    responses((status = 200, body = SyncStatus), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn sync_status(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<SyncStatus>, Problem> {
    Ok(Json(work.syncs.status(&name).await?))
}

#[derive(Deserialize, IntoParams)]
pub(super) struct HowRemoved {
    /// Remove it even if a side can't be cleaned up.
    #[serde(default)]
    force: bool,
}

/// Stops the sync and drops what it left on both sides. Touches no record.
#[utoipa::path(delete, path = "/api/v1/syncs/{name}", operation_id = "remove_sync",
    params(("name" = String, Path), HowRemoved),
    responses((status = 200, body = Removed), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn remove_sync(
    work: Workspace,
    Path(name): Path<String>,
    Query(how): Query<HowRemoved>,
) -> Result<Json<Removed>, Problem> {
    Ok(Json(work.syncs.remove(&name, how.force).await?))
}

/// Stops at the next settle; changes wait on their sides.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/pause", operation_id = "pause_sync",
    params(("name" = String, Path)),
    responses((status = 200, body = SyncStatus), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn pause_sync(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<SyncStatus>, Problem> {
    Ok(Json(work.syncs.pause(&name).await?))
}

/// Goes on where it stopped.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/resume", operation_id = "resume_sync",
    params(("name" = String, Path)),
    responses((status = 200, body = SyncStatus), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn resume_sync(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<SyncStatus>, Problem> {
    Ok(Json(work.syncs.resume(&name).await?))
}

/// Goes on although many records will be deleted.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/approve", operation_id = "approve_sync",
    params(("name" = String, Path)),
    responses((status = 200, body = SyncStatus), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn approve_sync(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<SyncStatus>, Problem> {
    Ok(Json(work.syncs.approve(&name).await?))
}

#[derive(Deserialize, IntoParams)]
pub(super) struct HowVerified {
    /// Read every record, also where the sides can compare hashes.
    #[serde(default)]
    full: bool,
    /// Say what a repair would do. It does nothing yet.
    #[serde(default)]
    repair: bool,
}

/// Compares both sides completely.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/verify", operation_id = "verify_sync",
    params(("name" = String, Path), HowVerified),
    responses((status = 200, body = VerifyReport), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn verify_sync(
    work: Workspace,
    Path(name): Path<String>,
    Query(asked): Query<HowVerified>,
) -> Result<Json<VerifyReport>, Problem> {
    let HowVerified { full, repair } = asked;
    let how = How { full, repair };
    Ok(Json(work.syncs.verify(&name, how).await?))
}

/// The repair that was confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct RepairRequest {
    /// It does exactly this, or refuses.
    pub expected: Option<Vec<TableRepair>>,
}

/// Has what differs planned and written by the running sync, and compares both sides again.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/repair", operation_id = "repair_sync",
    params(("name" = String, Path)), request_body = RepairRequest,
    responses((status = 200, body = VerifyReport), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn repair_sync(
    work: Workspace,
    Path(name): Path<String>,
    Json(request): Json<RepairRequest>,
) -> Result<Json<VerifyReport>, Problem> {
    Ok(Json(work.syncs.repair(&name, request.expected).await?))
}

/// Tries all findings again now.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/retry", operation_id = "retry_findings",
    params(("name" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn retry_findings(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    work.syncs.retry(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Records that could not be synced.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/findings", operation_id = "list_findings",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<FindingReport>), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_findings(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<Vec<FindingReport>>, Problem> {
    Ok(Json(work.syncs.findings(&name).await?))
}

/// The sync file.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/export", operation_id = "export_sync",
    params(("name" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 401, body = Problem), (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn export_sync(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<String, Problem> {
    Ok(work.syncs.export(&name).await?)
}

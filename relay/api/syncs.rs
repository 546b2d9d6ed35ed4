//! Syncs: plan, apply, status, pause, resume, verify, export, remove.

use axum::Json;
use axum::extract::{FromRequest, Path, Query, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::page::{Page, Paged};
use super::workspace::Workspace;
use crate::engine::definition::SyncDefinition;
use crate::engine::report::{Preview, Removed, SyncStatus, TableRepair, VerifyReport};
use crate::engine::syncfile::SyncFile;
use crate::engine::verify::How;

/// A sync file to start, and the preview that was confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApplyRequest {
    /// The text of `sync.toml`; this or `definition`.
    #[serde(default)]
    pub file: Option<String>,
    /// The same as a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<SyncDefinition>,
    /// The start does exactly this, or refuses.
    pub expected: Option<Preview>,
}

/// What applying this sync would do. Writes nothing. Takes a sync file, or the same as a document.
#[utoipa::path(post, path = "/api/v1/syncs/plan", operation_id = "plan_sync",
    request_body(content((SyncDefinition = "application/json"), (String = "text/plain"))),
    responses((status = 200, body = Preview), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn plan_sync(
    work: Workspace,
    SyncText(file): SyncText,
) -> Result<Json<Preview>, Problem> {
    Ok(Json(work.syncs.plan(&file).await?))
}

/// Starts the sync of this file or document.
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
    let file = match (request.file, request.definition) {
        (Some(file), None) => file,
        (None, Some(definition)) => text_of(&definition)?,
        _ => {
            let detail = "give either `file` or `definition`";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "bad-request", detail));
        }
    };
    let status = work.syncs.apply(&file, request.expected).await?;
    work.did("sync.apply", &status.name).await;
    Ok(Json(status))
}

/// All syncs.
#[utoipa::path(get, path = "/api/v1/syncs", operation_id = "list_syncs", params(Page),
    responses((status = 200, body = Vec<SyncStatus>), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_syncs(
    work: Workspace,
    Query(page): Query<Page>,
) -> Result<Paged<SyncStatus>, Problem> {
    page.by_name(work.syncs.list().await?, |sync| &sync.name)
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
    let removed = work.syncs.remove(&name, how.force).await?;
    work.did("sync.remove", &name).await;
    Ok(Json(removed))
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
    let status = work.syncs.pause(&name).await?;
    work.did("sync.pause", &name).await;
    Ok(Json(status))
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
    let status = work.syncs.resume(&name).await?;
    work.did("sync.resume", &name).await;
    Ok(Json(status))
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
    let status = work.syncs.approve(&name).await?;
    work.did("sync.approve", &name).await;
    Ok(Json(status))
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
    let report = work.syncs.repair(&name, request.expected).await?;
    work.did("sync.repair", &name).await;
    Ok(Json(report))
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

/// The sync as a document, whose keys are those of the sync file.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/definition", operation_id = "sync_definition",
    params(("name" = String, Path)),
    responses((status = 200, body = SyncDefinition), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn sync_definition(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<SyncDefinition>, Problem> {
    let file = work.syncs.export(&name).await?;
    SyncDefinition::of_file(&file).map(Json).map_err(unreadable)
}

/// The sync file of a document, as `sync.toml`. Reads no side.
#[utoipa::path(post, path = "/api/v1/definitions/file", operation_id = "write_file",
    request_body = SyncDefinition,
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 401, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn write_file(Json(definition): Json<SyncDefinition>) -> Result<String, Problem> {
    text_of(&definition)
}

/// The document of a sync file. Reads no side.
#[utoipa::path(post, path = "/api/v1/definitions/document", operation_id = "read_file",
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, body = SyncDefinition), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn read_file(file: String) -> Result<Json<SyncDefinition>, Problem> {
    SyncFile::parse(&file).map_err(unreadable)?;
    SyncDefinition::of_file(&file).map(Json).map_err(unreadable)
}

/// The text of a sync, however it came.
pub(super) struct SyncText(String);

impl<S: Send + Sync> FromRequest<S> for SyncText {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|found| found.to_str().ok());
        if media_type.is_some_and(|found| found.starts_with("application/json")) {
            let read = Json::<SyncDefinition>::from_request(request, state).await;
            let Json(definition) = read.map_err(IntoResponse::into_response)?;
            let text = text_of(&definition);
            return text.map(SyncText).map_err(IntoResponse::into_response);
        }
        let read = String::from_request(request, state).await;
        read.map(SyncText).map_err(IntoResponse::into_response)
    }
}

/// The file that the store keeps of a document: as the console's export writes it.
fn text_of(definition: &SyncDefinition) -> Result<String, Problem> {
    let text = definition.to_file().map_err(unreadable)?;
    Ok(SyncFile::parse(&text).map_err(unreadable)?.render())
}

fn unreadable(reason: impl ToString) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "sync-file", reason.to_string())
}

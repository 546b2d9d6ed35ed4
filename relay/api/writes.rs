//! What syncs wrote: history, runs, and undo.

use axum::Json;
use axum::extract::{Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::page::{Page, Paged};
use super::workspace::Workspace;
use crate::engine::report::{HistoryEntry, RunReport, UndoPlan, UndoReport, WriteFilter};

/// Writes, or runs, on a page unless asked otherwise.
const PAGE: u32 = 100;

/// What was written, newest first. A page has fewer than `limit` where values are long.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/history", operation_id = "sync_history",
    params(("name" = String, Path), WriteFilter, Page),
    responses((status = 200, body = Vec<HistoryEntry>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn sync_history(
    work: Workspace,
    Path(name): Path<String>,
    Query(filter): Query<WriteFilter>,
    Query(page): Query<Page>,
) -> Result<Paged<HistoryEntry>, Problem> {
    let listed = work.syncs.history(&name, &filter, page.part(PAGE)?).await?;
    Ok(Paged::of(listed, |entry| entry.id))
}

/// Runs that wrote something, newest first.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/runs", operation_id = "sync_runs",
    params(("name" = String, Path), Page),
    responses((status = 200, body = Vec<RunReport>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn sync_runs(
    work: Workspace,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Paged<RunReport>, Problem> {
    let listed = work.syncs.runs(&name, page.part(PAGE)?).await?;
    Ok(Paged::of(listed, |run| i64::from(run.run)))
}

/// Writes to put back, and the plan that was confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UndoRequest {
    pub filter: WriteFilter,
    /// It does exactly this, or refuses.
    pub expected: UndoPlan,
}

/// What putting back what these writes did to one side would do. Writes nothing.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/undo/plan", operation_id = "plan_undo",
    params(("name" = String, Path)),
    request_body = WriteFilter,
    responses((status = 200, body = UndoPlan), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn plan_undo(
    work: Workspace,
    Path(name): Path<String>,
    Json(filter): Json<WriteFilter>,
) -> Result<Json<UndoPlan>, Problem> {
    Ok(Json(work.syncs.plan_undo(&name, &filter).await?))
}

/// Puts back what these writes did to one side, as if a person did; the sync's rules carry it on.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/undo", operation_id = "undo_writes",
    params(("name" = String, Path)),
    request_body = UndoRequest,
    responses((status = 200, body = UndoReport), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn undo_writes(
    work: Workspace,
    Path(name): Path<String>,
    Json(request): Json<UndoRequest>,
) -> Result<Json<UndoReport>, Problem> {
    let UndoRequest { filter, expected } = request;
    let report = work.syncs.undo(&name, &filter, &expected).await?;
    work.did("sync.undo", &name).await;
    Ok(Json(report))
}

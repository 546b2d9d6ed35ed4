//! Findings: records that could not be synced, of one sync or of all, and trying them again.

use axum::extract::{Path, Query};
use axum::http::StatusCode;

use super::Problem;
use super::page::{Page, Paged};
use super::workspace::Workspace;
use crate::engine::report::{FindingFilter, FindingReport};

/// Findings on a page of all syncs' unless asked otherwise.
const PAGE: u32 = 50;
/// Of one sync's: as many as may be, as before there were pages.
const PAGE_OF_SYNC: u32 = 1000;

/// Records that could not be synced, of all syncs or of one, the oldest first.
#[utoipa::path(get, path = "/api/v1/findings", operation_id = "list_all_findings",
    params(FindingFilter, Page),
    responses((status = 200, body = Vec<FindingReport>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_all_findings(
    work: Workspace,
    Query(which): Query<FindingFilter>,
    Query(page): Query<Page>,
) -> Result<Paged<FindingReport>, Problem> {
    let listed = work.syncs.findings(&which, page.part(PAGE)?).await?;
    Ok(Paged::of(listed, |finding| finding.id))
}

/// Records of a sync that could not be synced, the oldest first.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/findings", operation_id = "list_findings",
    params(("name" = String, Path), Page),
    responses((status = 200, body = Vec<FindingReport>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_findings(
    work: Workspace,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Paged<FindingReport>, Problem> {
    let which = FindingFilter {
        sync: Some(name),
        code: None,
    };
    let listed = work.syncs.findings(&which, page.part(PAGE_OF_SYNC)?);
    Ok(Paged::of(listed.await?, |finding| finding.id))
}

/// Tries all findings of a sync again now.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/retry", operation_id = "retry_findings",
    params(("name" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn retry_findings(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    work.syncs.retry(&name, None).await?;
    work.did("sync.retry", &name).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries one finding again now.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/findings/{id}/retry",
    operation_id = "retry_finding",
    params(("name" = String, Path), ("id" = i64, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn retry_finding(
    work: Workspace,
    Path((name, id)): Path<(String, i64)>,
) -> Result<StatusCode, Problem> {
    work.syncs.retry(&name, Some(id)).await?;
    work.did("sync.retry", &format!("{name} {id}")).await;
    Ok(StatusCode::NO_CONTENT)
}

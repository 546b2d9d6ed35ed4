//! Drafts of syncs: what a person has configured and not started yet, kept for when they come back.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::access::{Caller, now_ms, rfc3339};
use super::page::{Page, Paged};
use super::version::{IfMatch, etag};
use super::{Api, Problem};
use crate::store::drafts::{self, Content, DraftRecord};

/// Longest content, bytes as JSON: a mapping of many hundred fields.
const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Longest name, characters.
const NAME_CHARS_MAX: usize = 200;
/// Drafts on a page unless asked otherwise.
const PAGE: u32 = 100;

/// A draft, without what it holds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DraftInfo {
    pub id: i64,
    pub name: String,
    /// Grows with each change; the same as `ETag`.
    pub version: i64,
    /// Who changed it last.
    pub author: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub changed_at: String,
}

/// A draft.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Draft {
    #[serde(flatten)]
    pub info: DraftInfo,
    /// As it was given.
    pub content: Value,
}

/// What to keep.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DraftContent {
    /// For people; drafts may have the same.
    pub name: String,
    /// Anything, up to 256 KiB.
    #[schema(value_type = Object)]
    pub content: Value,
}

impl DraftContent {
    fn checked(self, caller: &Caller) -> Result<Content, Problem> {
        let refused =
            |code, detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        if self.name.chars().count() > NAME_CHARS_MAX {
            let detail = format!("a draft's name has at most {NAME_CHARS_MAX} characters");
            return Err(refused("bad-name", detail));
        }
        let body = serde_json::to_vec(&self.content).unwrap_or_default();
        if body.len() > CONTENT_BYTES_MAX {
            let detail = format!("a draft holds at most {CONTENT_BYTES_MAX} bytes");
            return Err(refused("draft-too-large", detail));
        }
        Ok(Content {
            name: self.name,
            body,
            author: caller.actor(),
        })
    }
}

/// Drafts of this workspace, the oldest first.
#[utoipa::path(get, path = "/api/v1/drafts", operation_id = "list_drafts",
    params(Page),
    responses((status = 200, body = Vec<DraftInfo>), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_drafts(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(page): Query<Page>,
) -> Result<Paged<DraftInfo>, Problem> {
    let (limit, after) = (page.limit(PAGE)?, page.number()?.unwrap_or(0));
    let found = api
        .store
        .view(move |conn| drafts::list(conn, &caller.workspace, after, limit))
        .await?;
    Ok(Paged::up_to(limit, found, |draft| draft.id).map(info))
}

/// Keeps a draft.
#[utoipa::path(post, path = "/api/v1/drafts", operation_id = "add_draft",
    request_body = DraftContent,
    responses((status = 201, body = DraftInfo), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn add_draft(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(given): Json<DraftContent>,
) -> Result<impl IntoResponse, Problem> {
    let (content, sealer) = (given.checked(&caller)?, api.store.sealer().clone());
    let added = api
        .store
        .transact(move |tx| drafts::add(tx, &sealer, &caller.workspace, &content, now_ms()))
        .await?;
    Ok((StatusCode::CREATED, etag(added.version), Json(info(added))))
}

/// One draft with what it holds.
#[utoipa::path(get, path = "/api/v1/drafts/{id}", operation_id = "show_draft",
    params(("id" = i64, Path)),
    responses((status = 200, body = Draft), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn show_draft(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    let sealer = api.store.sealer().clone();
    let (record, body) = api
        .store
        .view(move |conn| drafts::by_id(conn, &sealer, &caller.workspace, id))
        .await?;
    let version = etag(record.version);
    let content = serde_json::from_slice(&body).unwrap_or_default();
    let info = info(record);
    Ok((version, Json(Draft { info, content })))
}

/// Replaces the version that `If-Match` names.
#[utoipa::path(put, path = "/api/v1/drafts/{id}", operation_id = "replace_draft",
    params(("id" = i64, Path), ("if-match" = String, Header, description = "the version that was read")),
    request_body = DraftContent,
    responses((status = 200, body = DraftInfo), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem),
        (status = 428, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn replace_draft(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
    version: IfMatch,
    Json(given): Json<DraftContent>,
) -> Result<impl IntoResponse, Problem> {
    let version = version.required()?;
    let (content, sealer) = (given.checked(&caller)?, api.store.sealer().clone());
    let replaced = api
        .store
        .transact(move |tx| {
            let which = (caller.workspace.as_str(), id, version);
            drafts::replace(tx, &sealer, which, &content, now_ms())
        })
        .await?;
    Ok((etag(replaced.version), Json(info(replaced))))
}

/// Throws a draft away.
#[utoipa::path(delete, path = "/api/v1/drafts/{id}", operation_id = "remove_draft",
    params(("id" = i64, Path),
        ("if-match" = Option<String>, Header, description = "only if it is this version")),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 412, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn remove_draft(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
    version: IfMatch,
) -> Result<StatusCode, Problem> {
    let version = version.number()?;
    api.store
        .transact(move |tx| drafts::remove(tx, (&caller.workspace, id, version)))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn info(draft: DraftRecord) -> DraftInfo {
    DraftInfo {
        id: draft.id,
        name: draft.name,
        version: draft.version,
        author: draft.author,
        created_at: rfc3339(draft.created_at_ms),
        changed_at: rfc3339(draft.changed_at_ms),
    }
}

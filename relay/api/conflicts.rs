//! Conflicts: listed with both values, and one of them picked.

use axum::Json;
use axum::extract::{Path, Query};
use serde::{Deserialize, Serialize};
use tidegate_sync::model::Side;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::page::{Page, Paged};
use super::workspace::Workspace;
use crate::engine::report::{ConflictFilter, ConflictReport, PickMany, PickedMany};
use crate::store::conflicts;

/// Conflicts on a page of all syncs' unless asked otherwise.
const PAGE: u32 = 50;
/// Of one sync's: as many as may be, as before there were pages.
const PAGE_OF_SYNC: u32 = 1000;

/// Fields that both sides changed to different values, of all syncs or of one, with both: those that
/// wait for a person first, then the newest.
#[utoipa::path(get, path = "/api/v1/conflicts", operation_id = "list_all_conflicts",
    params(ConflictFilter, Page),
    responses((status = 200, body = Vec<ConflictReport>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_all_conflicts(
    work: Workspace,
    Query(which): Query<ConflictFilter>,
    Query(page): Query<Page>,
) -> Result<Paged<ConflictReport>, Problem> {
    let listed = work.syncs.conflicts(&which, page.part(PAGE)?).await?;
    Ok(Paged::of(listed, place_of))
}

#[derive(Deserialize, IntoParams)]
pub(super) struct WhichConflicts {
    /// Only those that wait for a person.
    #[serde(default)]
    waiting: bool,
}

/// Fields of a sync that both sides changed to different values, with both: those that wait for a
/// person first, then the newest.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/conflicts", operation_id = "list_conflicts",
    params(("name" = String, Path), WhichConflicts, Page),
    responses((status = 200, body = Vec<ConflictReport>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_conflicts(
    work: Workspace,
    Path(name): Path<String>,
    Query(which): Query<WhichConflicts>,
    Query(page): Query<Page>,
) -> Result<Paged<ConflictReport>, Problem> {
    let which = ConflictFilter {
        sync: Some(name),
        waiting: which.waiting,
        base: false,
    };
    let listed = work.syncs.conflicts(&which, page.part(PAGE_OF_SYNC)?);
    Ok(Paged::of(listed.await?, place_of))
}

fn place_of(conflict: &ConflictReport) -> i64 {
    conflicts::place(conflict.id, conflict.waiting)
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PickedSide {
    Left,
    Right,
}

/// Whose value both sides shall have.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct PickRequest {
    pub side: PickedSide,
}

/// Has one of two conflicting values written where the other one is.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/conflicts/{id}/pick", operation_id = "pick_value",
    params(("name" = String, Path), ("id" = i64, Path)), request_body = PickRequest,
    responses((status = 200, body = ConflictReport), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn pick_value(
    work: Workspace,
    Path((name, id)): Path<(String, i64)>,
    Json(request): Json<PickRequest>,
) -> Result<Json<ConflictReport>, Problem> {
    let side = match request.side {
        PickedSide::Left => Side::Left,
        PickedSide::Right => Side::Right,
    };
    let picked = work.syncs.pick(&name, id, side).await?;
    work.did("conflict.pick", &format!("{name} {id}")).await;
    Ok(Json(picked))
}

/// Has the values of one side written wherever they wait for a pick and are meant; at most a thousand
/// at once.
#[utoipa::path(post, path = "/api/v1/syncs/{name}/conflicts/pick", operation_id = "pick_values",
    params(("name" = String, Path)), request_body = PickMany,
    responses((status = 200, body = PickedMany), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn pick_values(
    work: Workspace,
    Path(name): Path<String>,
    Json(which): Json<PickMany>,
) -> Result<Json<PickedMany>, Problem> {
    let picked = work.syncs.pick_many(&name, &which).await?;
    let object = format!("{name} {} {}", which.side, picked.picked);
    work.did("conflict.pick-many", &object).await;
    Ok(Json(picked))
}

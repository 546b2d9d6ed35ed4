//! Conflicts: listed with both values, and one of them picked.

use axum::Json;
use axum::extract::{Path, Query};
use serde::{Deserialize, Serialize};
use tidegate_sync::model::Side;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::workspace::Workspace;
use crate::engine::report::ConflictReport;

#[derive(Deserialize, IntoParams)]
pub(super) struct WhichConflicts {
    /// Only those that wait for a person.
    #[serde(default)]
    waiting: bool,
}

/// Fields that both sides changed to different values, with both: those that wait for a person first,
/// then the newest.
#[utoipa::path(get, path = "/api/v1/syncs/{name}/conflicts", operation_id = "list_conflicts",
    params(("name" = String, Path), WhichConflicts),
    responses((status = 200, body = Vec<ConflictReport>), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_conflicts(
    work: Workspace,
    Path(name): Path<String>,
    Query(which): Query<WhichConflicts>,
) -> Result<Json<Vec<ConflictReport>>, Problem> {
    Ok(Json(work.syncs.conflicts(&name, which.waiting).await?))
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

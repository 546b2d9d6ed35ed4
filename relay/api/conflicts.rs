//! Conflicts, with both values.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Api, Problem};
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
    security(("token" = [])))]
pub(super) async fn list_conflicts(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<WhichConflicts>,
) -> Result<Json<Vec<ConflictReport>>, Problem> {
    Ok(Json(api.syncs.conflicts(&name, which.waiting).await?))
}

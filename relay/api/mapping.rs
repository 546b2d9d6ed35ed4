//! What a person who maps two sides asks: which tables and fields go together, how many records there are.

use axum::Json;
use axum::extract::{Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::workspace::Workspace;
use crate::engine::handle::{RowCount, Within};
use crate::engine::suggest::{FieldMap, TableSuggestion};

#[derive(Deserialize, IntoParams)]
pub(super) struct Connections {
    /// Name of the left connection.
    left: String,
    /// Name of the right connection.
    right: String,
    /// Only tables of this schema.
    left_schema: Option<String>,
    /// Only tables of this schema.
    right_schema: Option<String>,
}

#[derive(Deserialize, IntoParams)]
pub(super) struct Tables {
    /// Name of the left connection.
    left: String,
    /// Name of the right connection.
    right: String,
    left_table: String,
    right_table: String,
    /// Only what this left field fits.
    left_field: Option<String>,
}

/// Tables of two connections that may hold the same things, by their names: the likest first, each
/// table once.
#[utoipa::path(get, path = "/api/v1/mapping/tables", operation_id = "suggest_tables",
    params(Connections),
    responses((status = 200, body = Vec<TableSuggestion>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn suggest_tables(
    work: Workspace,
    Query(between): Query<Connections>,
) -> Result<Json<Vec<TableSuggestion>>, Problem> {
    let left = Within {
        connection: &between.left,
        schema: between.left_schema.as_deref(),
    };
    let right = Within {
        connection: &between.right,
        schema: between.right_schema.as_deref(),
    };
    Ok(Json(work.connections.suggest_tables(left, right).await?))
}

/// The fields of two tables, which way values can travel between each two of them, and a mapping by
/// name and type.
#[utoipa::path(get, path = "/api/v1/mapping/fields", operation_id = "suggest_fields",
    params(Tables),
    responses((status = 200, body = FieldMap), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn suggest_fields(
    work: Workspace,
    Query(of): Query<Tables>,
) -> Result<Json<FieldMap>, Problem> {
    let left = (of.left.as_str(), of.left_table.as_str());
    let right = (of.right.as_str(), of.right_table.as_str());
    let only = of.left_field.as_deref();
    Ok(Json(
        work.connections.suggest_fields(left, right, only).await?,
    ))
}

/// A table, and which of its records.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CountRequest {
    pub table: String,
    /// An expression as in `filter_left`; all records unless given.
    #[serde(default)]
    pub filter: Option<String>,
}

/// Counts a table's records. Reads for five seconds at most and says whether that was enough.
#[utoipa::path(post, path = "/api/v1/connections/{name}/count", operation_id = "count_records",
    params(("name" = String, Path)), request_body = CountRequest,
    responses((status = 200, body = RowCount), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn count_records(
    work: Workspace,
    Path(name): Path<String>,
    Json(request): Json<CountRequest>,
) -> Result<Json<RowCount>, Problem> {
    let filter = request.filter.as_deref();
    let filter = filter.filter(|filter| !filter.trim().is_empty());
    let counted = work.connections.count(&name, &request.table, filter);
    Ok(Json(counted.await?))
}

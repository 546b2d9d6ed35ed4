//! Connections: add, list, show, test, tables, fix a missing key, remove.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::page::{Page, Paged};
use super::workspace::Workspace;
use crate::endpoint::Account;
use crate::endpoint::catalog::Catalog;
use crate::endpoint::level::Level;
use crate::engine::handle::{AppKind, ConnectionInfo, ConnectionTarget, ConnectionTest};

/// A new connection: through an agent (`agent`, `target`), direct (`url`), or to an app (`token`).
#[derive(Deserialize, Serialize, ToSchema)]
pub struct NewConnection {
    pub name: String,
    /// `postgres`, or the name of a connector.
    pub kind: String,
    pub agent: Option<String>,
    pub target: Option<String>,
    /// `postgres://user:password@host:port/database?sslmode=verify-full`; sealed at rest.
    pub url: Option<String>,
    /// How its changes are to be read: `auto`, `stream`, `peek`, `triggers`, `poll` or `compare`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<String>,
    /// Where the app is, unless its connector knows; sealed with it.
    #[serde(default)]
    pub base_url: Option<String>,
    /// What the app's sign-in needs: a token, or `user:password`; sealed at rest.
    #[serde(default)]
    pub token: Option<String>,
    /// The app may be at a private address, and may be spoken to without TLS. For workspaces that may
    /// (`allow_private` of `/egress`).
    #[serde(default)]
    pub allow_private: bool,
}

/// How a connection's changes are to be read, unless a sync file says otherwise.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CaptureChoice {
    /// `auto`, `stream`, `peek`, `triggers`, `poll` or `compare`.
    pub capture: String,
}

#[derive(Deserialize, Serialize, ToSchema)]
pub struct FixKey {
    pub table: String,
    /// An existing column to make the key; an identity column is added when absent.
    pub column: Option<String>,
    /// The SQL that was confirmed: refused if it would be other SQL by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Vec<String>>,
}

/// The SQL that was run.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Fixed {
    pub sql: Vec<String>,
}

/// All connections, without their secrets.
#[utoipa::path(get, path = "/api/v1/connections", operation_id = "list_connections", params(Page),
    responses((status = 200, body = Vec<ConnectionInfo>), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_connections(
    work: Workspace,
    Query(page): Query<Page>,
) -> Result<Paged<ConnectionInfo>, Problem> {
    page.by_name(work.connections.list().await?, |one| &one.name)
}

/// The apps that connections can be made to, beside PostgreSQL.
#[utoipa::path(get, path = "/api/v1/app-kinds", operation_id = "list_app_kinds",
    responses((status = 200, body = Vec<AppKind>), (status = 401, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_app_kinds(work: Workspace) -> Json<Vec<AppKind>> {
    Json(work.connections.app_kinds())
}

/// Adds a connection. It is not dialled: test it.
#[utoipa::path(post, path = "/api/v1/connections", operation_id = "add_connection",
    request_body = NewConnection,
    responses((status = 201, body = ConnectionInfo), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn add_connection(
    work: Workspace,
    Json(new): Json<NewConnection>,
) -> Result<(StatusCode, Json<ConnectionInfo>), Problem> {
    let target = match (new.agent, new.target, new.url, new.token) {
        (Some(agent), Some(target), None, None) => ConnectionTarget::Agent { agent, target },
        (None, None, Some(url), None) => ConnectionTarget::Direct {
            url: SecretString::from(url),
        },
        (None, None, None, Some(token)) => ConnectionTarget::App(Account {
            base_url: new.base_url,
            token: SecretString::from(token),
            allow_private: new.allow_private,
        }),
        _ => {
            let detail = "give either `agent` and `target`, or `url`, or for an app `token`";
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-target",
                detail,
            ));
        }
    };
    let capture = new.capture.as_deref().map(level_of).transpose()?;
    let added = work.connections.add(&new.name, &new.kind, target).await?;
    let added = match capture {
        Some(capture) => work.connections.choose_capture(&new.name, capture).await?,
        None => added,
    };
    work.did("connection.add", &added.name).await;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Changes how its changes are read. Syncs take it at their next start.
#[utoipa::path(patch, path = "/api/v1/connections/{name}", operation_id = "choose_capture",
    params(("name" = String, Path)), request_body = CaptureChoice,
    responses((status = 200, body = ConnectionInfo), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn choose_capture(
    work: Workspace,
    Path(name): Path<String>,
    Json(choice): Json<CaptureChoice>,
) -> Result<Json<ConnectionInfo>, Problem> {
    let capture = level_of(&choice.capture)?;
    let changed = work.connections.choose_capture(&name, capture).await?;
    work.did("connection.capture", &name).await;
    Ok(Json(changed))
}

/// `None` for `auto`.
fn level_of(name: &str) -> Result<Option<Level>, Problem> {
    if name == "auto" {
        return Ok(None);
    }
    let unknown = || {
        let known: Vec<&str> = Level::ALL.into_iter().map(Level::name).collect();
        let detail = format!("capture is auto, {}, not `{name}`", known.join(", "));
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-capture", detail)
    };
    Level::of_name(name).map(Some).ok_or_else(unknown)
}

/// One connection.
#[utoipa::path(get, path = "/api/v1/connections/{name}", operation_id = "show_connection",
    params(("name" = String, Path)),
    responses((status = 200, body = ConnectionInfo), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn show_connection(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<ConnectionInfo>, Problem> {
    Ok(Json(work.connections.show(&name).await?))
}

/// Removes a connection that no sync uses.
#[utoipa::path(delete, path = "/api/v1/connections/{name}", operation_id = "remove_connection",
    params(("name" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn remove_connection(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    work.connections.remove(&name).await?;
    work.did("connection.remove", &name).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Dials it and tells what was found.
#[utoipa::path(post, path = "/api/v1/connections/{name}/test", operation_id = "test_connection",
    params(("name" = String, Path)),
    responses((status = 200, body = ConnectionTest), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn test_connection(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<ConnectionTest>, Problem> {
    Ok(Json(work.connections.test(&name).await?))
}

/// Tables, columns, keys, and what stands in a sync's way.
#[utoipa::path(get, path = "/api/v1/connections/{name}/tables", operation_id = "connection_tables",
    params(("name" = String, Path)),
    responses((status = 200, body = Catalog), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn connection_tables(
    work: Workspace,
    Path(name): Path<String>,
) -> Result<Json<Catalog>, Problem> {
    Ok(Json(work.connections.tables(&name).await?))
}

/// Gives a table a primary key.
#[utoipa::path(post, path = "/api/v1/connections/{name}/fix-key", operation_id = "fix_key",
    params(("name" = String, Path)), request_body = FixKey,
    responses((status = 200, body = Fixed), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 502, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn fix_key(
    work: Workspace,
    Path(name): Path<String>,
    Json(fix): Json<FixKey>,
) -> Result<Json<Fixed>, Problem> {
    let sql = work
        .connections
        .fix_key(
            &name,
            &fix.table,
            fix.column.as_deref(),
            fix.expected.as_deref(),
        )
        .await?;
    let object = format!("{name} {}", fix.table);
    work.did("connection.fix-key", &object).await;
    Ok(Json(Fixed { sql }))
}

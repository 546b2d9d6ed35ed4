//! People of a workspace: list, add, change, remove.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{Caller, now_ms, password};
use crate::api::page::{Page, Paged};
use crate::api::{Api, Problem};
use crate::store::audit;
use crate::store::roles::Role;
use crate::store::users::{self, UserRecord};

/// Longest name, bytes: an e-mail address (RFC 5321, section 4.5.3.1) fits.
const NAME_BYTES_MAX: usize = 254;

/// Somebody who may sign in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UserInfo {
    pub name: String,
    pub role: Role,
    /// False for whoever signs in elsewhere only.
    pub has_password: bool,
    /// RFC 3339.
    pub since: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewUser {
    /// A name or an e-mail address; in lower case it is unique on this relay.
    pub name: String,
    pub role: Role,
    /// Without one the person signs in with the provider, whose verified e-mail address has to be the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Zeroizing<String>>,
    /// The caller's own unless given.
    #[serde(default)]
    pub workspace: Option<String>,
}

/// What changes; the rest stays.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UserChange {
    pub role: Option<Role>,
    /// Ends the person's sessions.
    #[schema(value_type = Option<String>)]
    pub password: Option<Zeroizing<String>>,
}

/// Everybody of this workspace.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", params(Page),
    responses((status = 200, body = Vec<UserInfo>), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(in crate::api) async fn list_users(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(page): Query<Page>,
) -> Result<Paged<UserInfo>, Problem> {
    let found = api
        .store
        .view(move |conn| users::list(conn, &caller.workspace))
        .await?;
    page.by_name(found.into_iter().map(info).collect(), |user| &user.name)
}

/// Adds somebody to this workspace.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "add_user",
    request_body = NewUser,
    responses((status = 201, body = UserInfo), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(in crate::api) async fn add_user(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, Json<UserInfo>), Problem> {
    let (name, workspace) = (named(&new.name)?, caller.chosen(new.workspace)?);
    let hash = match new.password {
        Some(password) => Some(password::hash(password).await?),
        None if api.access.provider.is_some() => None,
        None => {
            let detail = "give a password: no provider signs people in here";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "no-provider", detail));
        }
    };
    let (sealer, event) = (api.store.sealer().clone(), caller.did("user.add", &name));
    let added = api
        .store
        .transact(move |tx| {
            let who = (name.as_str(), new.role);
            users::add(tx, &workspace, who, hash.as_deref(), now_ms())?;
            audit::append(tx, &sealer, &event)?;
            users::by_name(tx, &workspace, &name)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(info(added))))
}

/// Gives somebody another role or another password.
#[utoipa::path(patch, path = "/api/v1/users/{name}", operation_id = "change_user",
    params(("name" = String, Path)), request_body = UserChange,
    responses((status = 200, body = UserInfo), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(in crate::api) async fn change_user(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Json(change): Json<UserChange>,
) -> Result<Json<UserInfo>, Problem> {
    let hash = match change.password {
        Some(new) => Some(password::hash(new).await?),
        None => None,
    };
    let (sealer, event) = (api.store.sealer().clone(), caller.did("user.change", &name));
    let changed = api
        .store
        .transact(move |tx| {
            let user = users::by_name(tx, &caller.workspace, &name)?;
            if let Some(role) = change.role {
                users::set_role(tx, &user, role)?;
            }
            if let Some(hash) = &hash {
                users::set_password(tx, user.id, hash)?;
            }
            audit::append(tx, &sealer, &event)?;
            users::by_name(tx, &caller.workspace, &name)
        })
        .await?;
    Ok(Json(info(changed)))
}

/// Removes somebody. The last administrator stays.
#[utoipa::path(delete, path = "/api/v1/users/{name}", operation_id = "remove_user",
    params(("name" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(in crate::api) async fn remove_user(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let (sealer, event) = (api.store.sealer().clone(), caller.did("user.remove", &name));
    api.store
        .transact(move |tx| {
            let user = users::by_name(tx, &caller.workspace, &name)?;
            users::remove(tx, &user)?;
            audit::append(tx, &sealer, &event)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name as it is stored: trimmed, in lower case, one line.
pub(super) fn named(name: &str) -> Result<String, Problem> {
    let name = name.trim().to_lowercase();
    let is_fine = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(|c: char| c.is_control() || c.is_whitespace());
    if is_fine {
        return Ok(name);
    }
    let detail = "a name is a word or an e-mail address, without spaces";
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Err(Problem::new(status, "bad-name", detail))
}

fn info(user: UserRecord) -> UserInfo {
    let since = jiff::Timestamp::from_millisecond(user.created_at_ms);
    UserInfo {
        name: user.name,
        role: user.role,
        has_password: user.has_password,
        since: since.map(|at| at.to_string()).unwrap_or_default(),
    }
}

//! API tokens: list, create, revoke.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::page::{Page, Paged};
use super::{Api, Problem};
use crate::store::audit;
use crate::store::roles::Role;
use crate::store::tokens::{self, Scope};

#[derive(Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    pub name: String,
    pub role: Role,
    /// Whether it opens sessions for people's own tools (`agent forward`).
    #[serde(default)]
    pub may_forward: bool,
    /// RFC 3339; absent for a token that does not expire.
    pub expires_at: Option<String>,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    pub name: String,
    /// What it may do; everything unless given.
    #[serde(default)]
    pub role: Option<Role>,
    /// Whether it opens sessions for people's own tools (`agent forward`); an editor at least.
    #[serde(default)]
    pub may_forward: bool,
    /// Its life, seconds; for ever unless given.
    #[serde(default)]
    pub expires_s: Option<u64>,
    /// The caller's own unless given.
    #[serde(default)]
    pub workspace: Option<String>,
}

/// A new token. Shown once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub name: String,
    pub token: String,
}

/// All tokens, without their text.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", params(Page),
    responses((status = 200, body = Vec<TokenInfo>), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_tokens(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(page): Query<Page>,
) -> Result<Paged<TokenInfo>, Problem> {
    let found = api
        .store
        .view(move |conn| tokens::list(conn, &caller.workspace))
        .await?;
    let info = |token: tokens::TokenRecord| TokenInfo {
        name: token.name,
        role: token.scope.role,
        may_forward: token.scope.may_forward,
        expires_at: token.expires_at_ms.and_then(rfc3339),
    };
    page.by_name(found.into_iter().map(info).collect(), |token| &token.name)
}

/// Makes a token for a program.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token",
    request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn create_token(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let (name, sealer) = (new.name.clone(), api.store.sealer().clone());
    let workspace = caller.chosen(new.workspace)?;
    let scope = Scope {
        role: new.role.unwrap_or(Role::Admin),
        may_forward: new.may_forward,
    };
    if scope.may_forward && scope.role < Role::Editor {
        let detail = "a token that may forward needs the role editor or admin";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "bad-scope", detail));
    }
    let event = caller.did("token.create", &name);
    let expires = new.expires_s.map(|life| after(event.at_ms, life));
    let token = api
        .store
        .transact(move |tx| {
            let who = (name.as_str(), scope);
            let token = tokens::create(tx, &workspace, who, expires, event.at_ms)?;
            audit::append(tx, &sealer, &event)?;
            Ok(token)
        })
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(CreatedToken {
            name: new.name,
            token: token.to_string(),
        }),
    ))
}

/// Takes a token back.
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", operation_id = "revoke_token",
    params(("name" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn revoke_token(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let (sealer, event) = (
        api.store.sealer().clone(),
        caller.did("token.revoke", &name),
    );
    api.store
        .transact(move |tx| {
            tokens::revoke(tx, &caller.workspace, &name)?;
            audit::append(tx, &sealer, &event)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn rfc3339(at_ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
    Some(at.to_string())
}

/// So many seconds after a moment; one that is too far away is the last there is.
fn after(at_ms: i64, life_s: u64) -> i64 {
    let life_ms = i64::try_from(life_s)
        .unwrap_or(i64::MAX)
        .saturating_mul(1000);
    at_ms.saturating_add(life_ms)
}

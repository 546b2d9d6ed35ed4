//! API tokens: list, create, revoke.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Problem};
use crate::store::DEFAULT_WORKSPACE;
use crate::store::audit::{self, AuditEvent};
use crate::store::tokens::{self, SCOPE_ADMIN};

#[derive(Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    pub name: String,
    pub scope: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    pub name: String,
}

/// A new token. Shown once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub name: String,
    pub token: String,
}

/// All tokens, without their text.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens",
    responses((status = 200, body = Vec<TokenInfo>), (status = 401, body = Problem)),
    security(("token" = [])))]
pub(super) async fn list_tokens(State(api): State<Api>) -> Result<Json<Vec<TokenInfo>>, Problem> {
    let found = api
        .store
        .view(|conn| tokens::list(conn, DEFAULT_WORKSPACE))
        .await?;
    let info = |token: tokens::TokenRecord| TokenInfo {
        name: token.name,
        scope: token.scope,
    };
    Ok(Json(found.into_iter().map(info).collect()))
}

/// Makes a token that may do everything.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token",
    request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 401, body = Problem),
        (status = 409, body = Problem)),
    security(("token" = [])))]
pub(super) async fn create_token(
    State(api): State<Api>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let (name, sealer) = (new.name.clone(), api.store.sealer().clone());
    let event = event("token.create", &name);
    let token = api
        .store
        .transact(move |tx| {
            let names = (name.as_str(), SCOPE_ADMIN);
            let token = tokens::create(tx, DEFAULT_WORKSPACE, names, None, event.at_ms)?;
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
    security(("token" = [])))]
pub(super) async fn revoke_token(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let (sealer, event) = (api.store.sealer().clone(), event("token.revoke", &name));
    api.store
        .transact(move |tx| {
            tokens::revoke(tx, DEFAULT_WORKSPACE, &name)?;
            audit::append(tx, &sealer, &event)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For the audit log. Whoever holds a token may do everything, so far.
fn event(action: &str, token: &str) -> AuditEvent {
    AuditEvent {
        at_ms: jiff::Timestamp::now().as_millisecond(),
        workspace: DEFAULT_WORKSPACE.to_owned(),
        actor: "api".to_owned(),
        action: action.to_owned(),
        object: token.to_owned(),
    }
}

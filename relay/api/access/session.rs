//! Signing in and out, and who one is.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::throttle::tries_from;
use super::{COOKIE, Caller, now_ms, password};
use crate::api::{Api, Problem};
use crate::store::audit;
use crate::store::roles::Role;
use crate::store::users::UserRecord;
use crate::store::{sessions, users};

/// A session ends this long after it began, whatever happens in it.
const LIFE_MS: i64 = 12 * 3600 * 1000;

/// A name and its password.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SignIn {
    pub name: String,
    #[schema(value_type = String)]
    pub password: Zeroizing<String>,
}

/// Who is asking.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    pub name: String,
    pub role: Role,
    pub workspace: String,
    /// False for a token.
    pub is_person: bool,
}

/// A new password and the one before it.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewPassword {
    #[schema(value_type = String)]
    pub old: Zeroizing<String>,
    #[schema(value_type = String)]
    pub new: Zeroizing<String>,
}

/// Signs in: the answer sets the session's cookie.
#[utoipa::path(post, path = "/api/v1/session", operation_id = "sign_in",
    request_body = SignIn,
    responses((status = 200, body = Me), (status = 401, body = Problem),
        (status = 429, body = Problem)),
    security(()))]
pub(in crate::api) async fn sign_in(
    State(api): State<Api>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    jar: CookieJar,
    Json(given): Json<SignIn>,
) -> Result<(CookieJar, Json<Me>), Problem> {
    let name = given.name.trim().to_lowercase();
    api.access
        .sign_ins
        .take(tries_from(from.ip(), &headers), &name)?;
    let found = api
        .store
        .view(move |conn| users::to_sign_in(conn, &name))
        .await?;
    let (user, hash) = found.unzip();
    let is_right = password::is_right(given.password, hash.flatten()).await?;
    let Some(user) = user.filter(|_| is_right) else {
        let detail = "no user has this name and password: check both, or ask an admin";
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "wrong-sign-in",
            detail,
        ));
    };
    let cookie = begin(&api, &user, came_by_tls(&headers)).await?;
    Ok((jar.add(cookie), Json(me(&of(&user)))))
}

/// Ends the session.
#[utoipa::path(delete, path = "/api/v1/session", operation_id = "sign_out",
    responses((status = 204), (status = 401, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(in crate::api) async fn sign_out(
    State(api): State<Api>,
    jar: CookieJar,
) -> Result<(StatusCode, CookieJar), Problem> {
    if let Some(cookie) = jar.get(COOKIE) {
        let text = Zeroizing::new(cookie.value().to_owned());
        api.store
            .transact(move |tx| sessions::end(tx, &text))
            .await?;
    }
    let gone = Cookie::build((COOKIE, "")).path("/");
    Ok((StatusCode::NO_CONTENT, jar.remove(gone)))
}

/// Who is asking.
#[utoipa::path(get, path = "/api/v1/session", operation_id = "who_am_i",
    responses((status = 200, body = Me), (status = 401, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(in crate::api) async fn who_am_i(Extension(caller): Extension<Caller>) -> Json<Me> {
    Json(me(&caller))
}

/// Replaces one's own password. Every session ends; the answer begins a new one.
#[utoipa::path(post, path = "/api/v1/session/password", operation_id = "change_password",
    request_body = NewPassword,
    responses((status = 200, body = Me), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 422, body = Problem)),
    security(("session" = [])))]
pub(in crate::api) async fn change_password(
    State(api): State<Api>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    jar: CookieJar,
    Json(given): Json<NewPassword>,
) -> Result<(CookieJar, Json<Me>), Problem> {
    api.access
        .sign_ins
        .take(tries_from(from.ip(), &headers), &caller.name)?;
    let name = caller.name.clone();
    let found = api
        .store
        .view(move |conn| users::to_sign_in(conn, &name))
        .await?;
    let (user, hash) = found.filter(|_| caller.is_person).unzip();
    let is_right = password::is_right(given.old, hash.flatten()).await?;
    let Some(user) = user.filter(|_| is_right) else {
        let detail = "this is not your password: nothing was changed";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "wrong-password",
            detail,
        ));
    };
    let (id, hash) = (user.id, password::hash(given.new).await?);
    let (sealer, event) = (
        api.store.sealer().clone(),
        caller.did("user.password", &user.name),
    );
    api.store
        .transact(move |tx| {
            users::set_password(tx, id, &hash)?;
            audit::append(tx, &sealer, &event)
        })
        .await?;
    let cookie = begin(&api, &user, came_by_tls(&headers)).await?;
    Ok((jar.add(cookie), Json(me(&caller))))
}

/// Begins a session and makes its cookie.
pub(super) async fn begin(
    api: &Api,
    user: &UserRecord,
    by_tls: bool,
) -> Result<Cookie<'static>, Problem> {
    let (id, sealer) = (user.id, api.store.sealer().clone());
    let event = of(user).did("session.begin", &user.name);
    let text = api
        .store
        .transact(move |tx| {
            let now = now_ms();
            let text = sessions::begin(tx, id, now + LIFE_MS, now)?;
            audit::append(tx, &sealer, &event)?;
            Ok(text)
        })
        .await?;
    let cookie = Cookie::build((COOKIE, text.to_string()))
        .path("/")
        .http_only(true)
        // Lax: whoever follows a link to the console from elsewhere is still signed in. Writes
        // are refused from other sites in any case.
        .same_site(SameSite::Lax)
        .secure(by_tls);
    Ok(cookie.build())
}

/// Whether the browser speaks TLS with us or with the proxy in front of us: it names the page's
/// origin with each request that writes.
pub(super) fn came_by_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}

pub(super) fn of(user: &UserRecord) -> Caller {
    Caller {
        workspace: user.workspace.clone(),
        name: user.name.clone(),
        role: user.role,
        is_person: true,
        may_forward: false,
    }
}

pub(super) fn me(caller: &Caller) -> Me {
    Me {
        name: caller.name.clone(),
        role: caller.role,
        workspace: caller.workspace.clone(),
        is_person: caller.is_person,
    }
}

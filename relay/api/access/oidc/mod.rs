//! Signing in with a provider of identities: OpenID Connect Core 1.0, the code flow with PKCE.
//!
//! [`begin_oidc`] sends the browser to the provider, which sends it back to [`finish_oidc`]. What was
//! sent along is in [`trips`], what the provider says is asked in [`provider`] and checked in
//! [`id_token`], whom that lets in is decided in [`admission`]. Refusals are shown by the console, which
//! is told a code and nothing else: a URL ends in histories and logs.

mod admission;
mod id_token;
mod provider;
mod trips;

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::admission::{Facts, Person, Refusal, Step, decide};
use self::provider::Failed;
pub use self::provider::Provider;
use self::trips::Trip;
pub(in crate::api) use self::trips::Trips;
use super::throttle::tries_from;
use super::{Caller, now_ms, session};
use crate::api::{Api, Problem};
use crate::store::audit;
use crate::store::identities;
use crate::store::roles::Role;
use crate::store::users::{self, UserRecord};

/// The cookie of a browser that is on its way through the provider.
const COOKIE: &str = "tidegate_oidc";
/// Where it is sent.
const COOKIE_PATH: &str = "/api/v1/session/oidc";

/// Where to go after signing in.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct OidcBegin {
    /// A page of the console, such as `/syncs/blog`; the first one unless given.
    #[serde(default)]
    pub to: Option<String>,
}

/// Where the browser goes now.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct OidcDoor {
    /// The provider's page.
    pub location: String,
}

/// What the provider sends back (RFC 6749, section 4.1.2, and RFC 9207).
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct OidcAnswer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Begins to sign in with the provider: the browser goes to `location` next.
#[utoipa::path(post, path = "/api/v1/session/oidc", operation_id = "begin_oidc",
    request_body = OidcBegin,
    responses((status = 200, body = OidcDoor), (status = 404, body = Problem),
        (status = 429, body = Problem), (status = 502, body = Problem)),
    security(()))]
pub(in crate::api) async fn begin_oidc(
    State(api): State<Api>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    jar: CookieJar,
    Json(begin): Json<OidcBegin>,
) -> Result<(CookieJar, Json<OidcDoor>), Problem> {
    let address = tries_from(from.ip(), &headers);
    api.access.sign_ins.take_from(address)?;
    set_off(&api, jar, page(begin.to), None).await
}

/// Lets whoever is signed in come in by the provider, too: the browser goes to `location` next.
#[utoipa::path(post, path = "/api/v1/session/oidc/connect", operation_id = "connect_oidc",
    request_body = OidcBegin,
    responses((status = 200, body = OidcDoor), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 502, body = Problem)),
    security(("session" = [])))]
pub(in crate::api) async fn connect_oidc(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    jar: CookieJar,
    Json(begin): Json<OidcBegin>,
) -> Result<(CookieJar, Json<OidcDoor>), Problem> {
    if !caller.is_person {
        let detail = "a token is no person: sign in to the console, and connect there";
        return Err(Problem::new(StatusCode::FORBIDDEN, "no-person", detail));
    }
    let name = caller.name.clone();
    let user = api
        .store
        .view(move |conn| users::by_name(conn, &caller.workspace, &name))
        .await?;
    set_off(&api, jar, page(begin.to), Some(user.id)).await
}

/// Where the provider sends the browser back to: signs in, and leads on to a page of the console.
#[utoipa::path(get, path = "/api/v1/session/oidc/callback", operation_id = "finish_oidc",
    params(OidcAnswer),
    responses((status = 303, description = "To the page that was asked for, signed in; or to the \
        sign-in page with `refused`, a code that says why not")),
    security(()))]
pub(in crate::api) async fn finish_oidc(
    State(api): State<Api>,
    headers: HeaderMap,
    jar: CookieJar,
    Query(answer): Query<OidcAnswer>,
) -> Response {
    let browser = jar.get(COOKIE).map(|cookie| cookie.value().to_owned());
    let state = answer.state.as_deref().unwrap_or_default();
    let trip = browser.and_then(|browser| api.access.trips.end(state, &browser, now_ms()));
    let (Some(provider), Some(trip)) = (&api.access.provider, trip) else {
        return away(jar, &refused_at(Refusal::Stale, false));
    };
    let jar = jar.remove(Cookie::build((COOKIE, "")).path(COOKIE_PATH));
    let connects = trip.connects.is_some();
    if !is_still_here(&api, &headers, trip.connects).await {
        return away(jar, &refused_at(Refusal::Stale, false));
    }
    match arrive(&api, provider, &trip, answer).await {
        Ok(cookie) => away(jar.add(cookie), &trip.to),
        Err(refusal) => away(jar, &refused_at(refusal, connects)),
    }
}

async fn set_off(
    api: &Api,
    jar: CookieJar,
    to: String,
    connects: Option<i64>,
) -> Result<(CookieJar, Json<OidcDoor>), Problem> {
    let provider = api.access.provider.as_ref().ok_or_else(|| {
        let detail = "no provider signs people in here: sign in with a name and a password";
        Problem::new(StatusCode::NOT_FOUND, "no-provider", detail)
    })?;
    let now = now_ms();
    let trip = Trip::new(to, connects, now);
    let cookie = Cookie::build((COOKIE, trip.browser.to_string()))
        .path(COOKIE_PATH)
        .http_only(true)
        // Lax: the provider's page leads back here.
        .same_site(SameSite::Lax)
        .secure(provider.is_by_tls())
        .build();
    // Asked before anything is remembered.
    let state = crate::store::secret::random_text("");
    let location = provider.door(&trip, &state).await.map_err(|failed| {
        refuse(&failed);
        let name = &provider.config.name;
        let detail = format!("{name} can't be asked at present: try again, or see the relay's log");
        Problem::new(StatusCode::BAD_GATEWAY, "provider", detail)
    })?;
    api.access.trips.begin(&state, trip, now);
    Ok((jar.add(cookie), Json(OidcDoor { location })))
}

/// Whether the one who asked to be connected is still signed in here. Somebody else may sit there by now.
async fn is_still_here(api: &Api, headers: &HeaderMap, connects: Option<i64>) -> bool {
    let Some(id) = connects else {
        return true;
    };
    let user = api.store.view(move |conn| users::by_id(conn, id)).await;
    let caller = super::of_session(api, headers).await;
    matches!((user, caller), (Ok(user), Ok(caller)) if user.name == caller.name)
}

/// Finds out who came back, lets them in, and makes the cookie of the session.
async fn arrive(
    api: &Api,
    provider: &Provider,
    trip: &Trip,
    answer: OidcAnswer,
) -> Result<Cookie<'static>, Refusal> {
    let config = &provider.config;
    if answer.iss.is_some_and(|iss| iss != config.issuer) {
        return Err(refuse(&Failed::Answer("another issuer answers".to_owned())));
    }
    let code = match (answer.code, answer.error) {
        (Some(code), None) => code,
        (_, Some(error)) if error == "access_denied" => return Err(Refusal::Cancelled),
        _ => {
            return Err(refuse(&Failed::Answer(
                "it answers with an error".to_owned(),
            )));
        }
    };
    let now = now_ms();
    let claims = provider
        .who(&code, trip, now / 1000)
        .await
        .map_err(|failed| refuse(&failed))?;
    let person = Person::of(claims, &config.groups_claim);
    let user = let_in(api, provider, person, trip.connects).await?;
    let cookie = session::begin(api, &user, provider.is_by_tls()).await;
    cookie.map_err(|_| Refusal::Internal)
}

/// Decides and does it, in one transaction.
async fn let_in(
    api: &Api,
    provider: &Provider,
    person: Person,
    connects: Option<i64>,
) -> Result<UserRecord, Refusal> {
    let (issuer, rules) = (
        provider.config.issuer.clone(),
        provider.config.admit.clone(),
    );
    let sealer = api.store.sealer().clone();
    let done = api.store.transact(move |tx| {
        let who = (issuer.as_str(), person.subject.as_str());
        let email = person.email.as_deref();
        let namesake = email.map(|email| identities::namesake(tx, email));
        let facts = Facts {
            known: identities::whose(tx, who)?,
            namesake: namesake.transpose()?.flatten(),
            anybody: users::any(tx)?,
            connects: connects.map(|id| users::by_id(tx, id)).transpose()?,
        };
        let did = |user: &UserRecord, action: &str| {
            let event = session::of(user).did(action, &user.name);
            audit::append(tx, &sealer, &event)
        };
        let now = now_ms();
        let step = match decide(facts, &person, &rules) {
            Ok(step) => step,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let user = match step {
            Step::Enter(user) => user,
            Step::EnterAs(user, role) => match users::set_role(tx, &user, role) {
                Ok(()) => {
                    did(&user, "user.change")?;
                    users::by_id(tx, user.id)?
                }
                // The last administrator stays one.
                Err(error) if user.role == Role::Admin => {
                    tracing::warn!(%error, "A role that the provider took away was kept.");
                    user
                }
                Err(error) => return Err(error),
            },
            Step::Connect(user) => {
                identities::bind(tx, who, (&user, false), now)?;
                did(&user, "user.connect")?;
                user
            }
            Step::Add {
                name,
                role,
                workspace,
            } => {
                let id = users::add(tx, &workspace, (&name, role), None, now)?;
                let user = users::by_id(tx, id)?;
                identities::bind(tx, who, (&user, true), now)?;
                did(&user, "user.add")?;
                user
            }
        };
        Ok(Ok(user))
    });
    done.await.unwrap_or_else(|error| {
        tracing::error!(%error, "Somebody who signed in elsewhere could not be let in.");
        Err(Refusal::Internal)
    })
}

/// Tells the log what the page won't.
fn refuse(failed: &Failed) -> Refusal {
    tracing::warn!(reason = %failed, "The provider of identities did not sign somebody in.");
    match failed {
        Failed::Unreachable(_) => Refusal::ProviderUnreachable,
        Failed::Answer(_) => Refusal::ProviderAnswer,
    }
}

/// Of whoever is signed in already the first page tells; of others the sign-in page.
fn refused_at(refusal: Refusal, connects: bool) -> String {
    let page = if connects { "/" } else { "/sign-in" };
    format!("{page}?refused={}", refusal.code())
}

/// A page of ours, or the first one: never another site's.
fn page(to: Option<String>) -> String {
    let is_ours = |to: &String| {
        let is_plain = to.chars().all(|c| c.is_ascii_graphic() && c != '\\');
        to.starts_with('/') && !to.starts_with("//") && is_plain && to.len() <= 1024
    };
    to.filter(is_ours).unwrap_or_else(|| "/".to_owned())
}

/// Leads on. The address that is left held a code: nobody is to keep or to be told it.
fn away(jar: CookieJar, to: &str) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::LOCATION, to),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (StatusCode::SEE_OTHER, jar, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_ours_are_led_to() {
        let led = |to: &str| page(Some(to.to_owned()));
        assert_eq!(led("/syncs/blog?x=1#a"), "/syncs/blog?x=1#a");
        for wrong in [
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "/a\r\nb",
            "",
            "x",
        ] {
            assert_eq!(led(wrong), "/", "{wrong}");
        }
        assert_eq!(page(None), "/");
    }
}

//! Who is asking, and what they may do.
//!
//! A caller is a program with a bearer token, or a person with a session's cookie; either has a role
//! in one workspace. [`check`] finds out who it is, [`require`] refuses those whose role does not
//! reach; which routes need which role is told where the routes are listed.

pub mod oidc;
pub mod password;
pub mod session;
pub mod setup;
mod throttle;
pub mod users;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use zeroize::Zeroizing;

use self::oidc::{Provider, Trips};
use self::setup::Setup;
use self::throttle::Throttle;
use super::{Api, Problem};
use crate::store::audit::AuditEvent;
use crate::store::roles::Role;
use crate::store::{DEFAULT_WORKSPACE, sessions, tokens};

/// The cookie of a session.
pub(super) const COOKIE: &str = "tidegate_session";

/// What is remembered between requests, and not in the store.
#[derive(Default)]
pub struct Access {
    /// The link by which the first administrator comes in.
    pub setup: Setup,
    sign_ins: Throttle,
    /// Signs people in beside the relay's own passwords.
    provider: Option<Provider>,
    trips: Trips,
}

impl Access {
    pub fn new(provider: Option<Provider>) -> Access {
        Access {
            provider,
            ..Access::default()
        }
    }

    /// As the button says it.
    fn provider_name(&self) -> Option<String> {
        let provider = self.provider.as_ref()?;
        Some(provider.config.name.clone())
    }
}

/// Whoever sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub workspace: String,
    /// Name of the person or of the token.
    pub name: String,
    pub role: Role,
    pub is_person: bool,
    /// Whether people's own tools come through agents; tokens alone may have it.
    pub may_forward: bool,
}

impl Caller {
    /// How the audit log names the caller.
    pub fn actor(&self) -> String {
        let kind = if self.is_person { "user" } else { "token" };
        format!("{kind}:{}", self.name)
    }

    /// The workspace that the caller names for somebody new; the own one unless one is named. Only
    /// whoever hosts the relay opens workspaces: its admins are those of the default one.
    pub(super) fn chosen(&self, workspace: Option<String>) -> Result<String, Problem> {
        match workspace {
            None => Ok(self.workspace.clone()),
            Some(own) if own == self.workspace => Ok(own),
            Some(other) if self.workspace == DEFAULT_WORKSPACE => users::named(&other),
            Some(_) => {
                let detail = "only admins of the default workspace may name another one";
                Err(Problem::new(StatusCode::FORBIDDEN, "workspace", detail))
            }
        }
    }

    /// What the caller did just now to an object, for the audit log.
    pub(super) fn did(&self, action: &str, object: &str) -> AuditEvent {
        AuditEvent {
            at_ms: now_ms(),
            workspace: self.workspace.clone(),
            actor: self.actor(),
            action: action.to_owned(),
            object: object.to_owned(),
        }
    }
}

/// Lets a request pass that has a valid token or session, and notes whose it is.
pub(super) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let found = who(&api, request.headers()).await;
    let found = found.and_then(|caller| {
        if caller.is_person && !request.method().is_safe() {
            from_our_page(request.method(), request.headers())?;
        }
        Ok(caller)
    });
    match found {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whose token or session these headers hold.
pub(super) async fn who(api: &Api, headers: &HeaderMap) -> Result<Caller, Problem> {
    match bearer(headers) {
        Some(token) => of_token(api, token).await,
        None => of_session(api, headers).await,
    }
}

/// Refuses callers with a smaller role.
pub(super) async fn require(least: Role, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    match caller {
        Some(caller) if caller.role >= least => next.run(request).await,
        caller => {
            let has = caller.map_or("no role", |caller| caller.role.name());
            let detail = format!("this needs the role {least}, and you have {has}: ask an admin");
            Problem::new(StatusCode::FORBIDDEN, "role", detail).into_response()
        }
    }
}

async fn of_token(api: &Api, token: Zeroizing<String>) -> Result<Caller, Problem> {
    let found = api
        .store
        .view(move |conn| tokens::verify(conn, &token, now_ms()))
        .await?;
    let token = found.ok_or_else(|| {
        unauthorized("this token is unknown or has expired: make one with `token create`")
    })?;
    Ok(Caller {
        workspace: token.workspace,
        name: token.name,
        role: token.scope.role,
        is_person: false,
        may_forward: token.scope.may_forward,
    })
}

async fn of_session(api: &Api, headers: &HeaderMap) -> Result<Caller, Problem> {
    let jar = CookieJar::from_headers(headers);
    let Some(cookie) = jar.get(COOKIE) else {
        let detail = "sign in, or send a token: `Authorization: Bearer …` (TIDEGATE_TOKEN)";
        return Err(unauthorized(detail));
    };
    let text = Zeroizing::new(cookie.value().to_owned());
    let found = api
        .store
        .view(move |conn| sessions::whose(conn, &text, now_ms()))
        .await?;
    let user = found.ok_or_else(|| unauthorized("the session has ended: sign in again"))?;
    Ok(Caller {
        workspace: user.workspace,
        name: user.name,
        role: user.role,
        is_person: true,
        may_forward: false,
    })
}

/// Refuses what another site's page had the browser send (cross-site request forgery): a cookie
/// comes with it. Browsers say where a request comes from (Fetch Metadata, W3C, section 2), and
/// let no other site's page set a header of its own without asking this server first.
fn from_our_page(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers
        .get("sec-fetch-site")
        .and_then(|site| site.to_str().ok());
    let is_ours = matches!(site, None | Some("same-origin" | "none"));
    if is_ours && headers.contains_key("x-tidegate") {
        return Ok(());
    }
    let detail =
        format!("{method} with a session needs the header `x-tidegate`, from our own page");
    Err(Problem::new(StatusCode::FORBIDDEN, "cross-site", detail))
}

fn bearer(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = value.strip_prefix("Bearer ")?;
    Some(Zeroizing::new(token.trim().to_owned()))
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "no-token", detail)
}

/// A moment as documents have it.
pub(super) fn rfc3339(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms);
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// Milliseconds since 1970 UTC.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

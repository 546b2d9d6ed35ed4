//! A person's own tool (psql, pg_dump) through an agent: the request becomes a connection that
//! carries one PostgreSQL session.
//!
//! It needs a permission of its own, which only tokens have. The agent decides as for every stream
//! and logs in; the relay carries bytes, counts them, and ends what may not go on: after its time,
//! when the token is taken back, when it stops. `cli::forward` is the other end.

mod carry;
pub mod frame;
mod places;

use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval_at, sleep};
use utoipa::{IntoParams, ToSchema};

pub use self::places::{Counts, ForwardView, Forwards};

use self::carry::carry;
use self::frame::{End, PROTOCOL, Why};
use self::places::{Opened, Place};
use super::access::{self, Caller, now_ms};
use super::workspace::Workspace;
use super::{Api, Problem};
use crate::engine::handle::ControlErrorKind;

/// A session lasts this long unless asked otherwise, seconds.
const LIFE_S: u64 = 3600;
/// And never longer, seconds.
pub const LIFE_MAX_S: u64 = 24 * 3600;
/// How often it is looked whether the caller still may have it.
const RECHECK: Duration = Duration::from_secs(4);

/// Bytes to and from a database.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a forwarded stream is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForwardPurpose {
    #[default]
    Session,
    /// One cancel request for a session that was forwarded before.
    Cancel,
}

#[derive(Debug, Serialize, Deserialize, IntoParams)]
pub struct ForwardQuery {
    /// A database that the agent offers.
    pub target: String,
    #[serde(default)]
    #[param(inline)]
    pub purpose: ForwardPurpose,
    /// Life of the session, seconds; an hour unless given, a day at most.
    pub for_s: Option<u64>,
}

/// Turns the connection into one PostgreSQL session with a database behind an agent. The request asks for an
/// upgrade to `tidegate-forward/1`; `tidegate-relay agent forward` is its client. It needs a token
/// that was made with `may_forward`.
#[utoipa::path(post, path = "/api/v1/agents/{name}/forward", operation_id = "forward_agent",
    params(("name" = String, Path), ForwardQuery),
    responses((status = 101), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 426, body = Problem), (status = 502, body = Problem),
        (status = 503, body = Problem)),
    security(("token" = [])))]
pub(super) async fn forward_agent(
    State(api): State<Api>,
    work: Workspace,
    Path(name): Path<String>,
    Query(asked): Query<ForwardQuery>,
    mut request: Request,
) -> Result<Response, Problem> {
    check(&work.caller, &asked, request.headers())?;
    let life_s = asked.for_s.unwrap_or(LIFE_S);
    let now = now_ms();
    let place = api.forwards.enter(Opened {
        workspace: work.caller.workspace.clone(),
        agent: name.clone(),
        target: asked.target.clone(),
        by: work.caller.actor(),
        since_ms: now,
        // At most a day: see `check`.
        until_ms: now + life_s as i64 * 1000,
    })?;
    let opened = work
        .agents
        .forward(&name, &asked.target, asked.purpose)
        .await;
    let object = format!("{name}/{}", asked.target);
    let session = match opened {
        Ok(session) => session,
        Err(error) => {
            // Names that do not exist are no objects of the log.
            if error.kind != ControlErrorKind::NotFound {
                let denied = format!("{object}: {}", error.code);
                work.did("forward.deny", &denied).await;
            }
            return Err(error.into());
        }
    };
    work.did("forward.open", &object).await;
    let headers = request.headers().clone();
    let upgrade = hyper::upgrade::on(&mut request);
    let tasks = api.forwards.tasks.clone();
    let forward = Forward {
        api,
        work,
        headers,
        object,
        life: Duration::from_secs(life_s),
        place,
    };
    // The tracker is waited for by whoever stops the relay.
    tasks.spawn(forward.run(upgrade, session));
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn check(caller: &Caller, asked: &ForwardQuery, headers: &HeaderMap) -> Result<(), Problem> {
    if !caller.may_forward {
        let detail = "this needs a token that may forward: an admin makes one with `token create \
                      NAME --role editor --may-forward`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "scope", detail));
    }
    if !(1..=LIFE_MAX_S).contains(&asked.for_s.unwrap_or(LIFE_S)) {
        let detail = "a forwarded session lasts from one second to one day";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "bad-time", detail));
    }
    if !asks_upgrade(headers) {
        let detail = format!(
            "this address takes an upgrade to {PROTOCOL} alone: use `tidegate-relay agent forward`"
        );
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(Problem::new(status, "upgrade-required", detail));
    }
    Ok(())
}

fn asks_upgrade(headers: &HeaderMap) -> bool {
    let asked = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    asked.is_some_and(|protocol| protocol.eq_ignore_ascii_case(PROTOCOL))
}

/// One session that was opened.
struct Forward {
    api: Api,
    work: Workspace,
    /// To find out whether the caller still may have it.
    headers: HeaderMap,
    object: String,
    life: Duration,
    place: Place,
}

impl Forward {
    async fn run(self, upgrade: hyper::upgrade::OnUpgrade, mut session: Box<dyn Duplex>) {
        let end = match upgrade.await {
            Ok(upgraded) => {
                let over = self.over();
                carry(
                    TokioIo::new(upgraded),
                    &mut session,
                    &self.place.counts,
                    over,
                )
                .await
            }
            Err(_) => End::new(Why::Cut, "the caller went away"),
        };
        drop(session);
        let (to, from) = self.place.counts.both();
        let why = serde_json::to_string(&end.why).unwrap_or_default();
        let told = format!(
            "{}: {to} bytes to it, {from} from it, ended as {}",
            self.object,
            why.trim_matches('"')
        );
        self.work.did("forward.close", &told).await;
    }

    /// Why it must end, when it must.
    async fn over(&self) -> End {
        tokio::select! {
            () = self.api.stop.cancelled() => {
                let text = "the relay is shutting down: connect again in a moment";
                End::new(Why::Stopping, text)
            }
            () = sleep(self.life) => {
                let text = "the time of this forward is over: start `agent forward` again";
                End::new(Why::Time, text)
            }
            () = self.forbidden() => {
                let text = "the token was taken back or has expired: an admin makes a new one with \
                            `token create`";
                End::new(Why::Refused, text)
            }
        }
    }

    /// Resolves when the token is not good for this any more. A store that can't be read says nothing.
    async fn forbidden(&self) {
        let mut looks = interval_at(Instant::now() + RECHECK, RECHECK);
        loop {
            looks.tick().await;
            match access::who(&self.api, &self.headers).await {
                Ok(caller) if caller == self.work.caller => {}
                Err(problem) if problem.status >= 500 => {}
                _ => return,
            }
        }
    }
}

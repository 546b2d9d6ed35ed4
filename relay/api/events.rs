//! Live news as server-sent events: rounds as they cross, and how syncs and agents go.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::access::{self, Caller};
use super::news::{Desk, News, Newsroom};
use super::workspace::Workspace;
use super::{Api, Problem, limits};
use crate::engine::news::Round;

/// Comment lines keep proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a stream may outlive the session or the token that it was opened with.
const RECHECK: Duration = Duration::from_secs(30);

/// The streams that are open, and what feeds them.
#[derive(Clone)]
pub(super) struct Streams {
    /// An open stream holds a permit.
    places: Arc<Semaphore>,
    newsroom: Arc<Newsroom>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            places: Arc::new(Semaphore::new(limits::EVENT_STREAMS_MAX)),
            newsroom: Arc::default(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
pub(super) struct Which {
    /// Only what concerns this sync.
    sync: Option<String>,
    /// Only these, with commas between: `change`, `activity`, `sync`, `agent`.
    kinds: Option<String>,
}

impl Which {
    fn has(&self, kind: &str) -> bool {
        let kinds = self.kinds.as_deref();
        kinds.is_none_or(|kinds| kinds.split(',').any(|known| known.trim() == kind))
    }

    fn is_about(&self, sync: &str) -> bool {
        self.sync.as_deref().is_none_or(|wanted| wanted == sync)
    }
}

/// Something that is no more.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    pub name: String,
}

/// What happens, as it happens. Events by name:
///
/// * `activity`: what one round wrote to one side of a table pair, an `Activity`;
/// * without a name: each change of a round, a `LiveEvent`; the first 200 of a big round;
/// * `sync`: how a sync goes, a `SyncStatus`, whenever that changes, at most once a second; `sync-gone`,
///   a `Gone`, when it was removed;
/// * `agent`: an `AgentStatus`, when one comes, goes or holds back; `agent-gone`, a `Gone`;
/// * `lagged`: so many messages were lost, because they were not read in time: load anew what you show.
///
/// Comments keep the stream open. It ends when the relay stops, and when the session or the token
/// that opened it does.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "live_events", params(Which),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = 401, body = Problem), (status = 503, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn live_events(
    State(api): State<Api>,
    work: Workspace,
    Extension(streams): Extension<Streams>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>>, Problem> {
    let permit = streams.places.try_acquire_owned().map_err(|_| {
        let most = limits::EVENT_STREAMS_MAX;
        let detail = format!("{most} event streams are open already: close one first");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail)
    })?;
    let (desk, news) = streams.newsroom.read(&work);
    let reader = Reader {
        which,
        rounds: work.syncs.rounds(),
        news,
        pending: VecDeque::new(),
        recheck: interval_at(Instant::now() + RECHECK, RECHECK),
        stop: api.stop.clone(),
        asked_by: (api, work.caller, headers),
        _held: (desk, permit),
    };
    let stream = futures_util::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One open stream.
struct Reader {
    which: Which,
    rounds: Receiver<Arc<Round>>,
    news: Receiver<News>,
    pending: VecDeque<Event>,
    recheck: Interval,
    stop: CancellationToken,
    /// To find out whether the caller still may read.
    asked_by: (Api, Caller, HeaderMap),
    _held: (Arc<Desk>, OwnedSemaphorePermit),
}

impl Reader {
    /// `None`: the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                round = self.rounds.recv() => match told(round)? {
                    Ok(round) => self.take_round(&round),
                    Err(lagged) => self.pending.push_back(lagged),
                },
                news = self.news.recv() => match told(news)? {
                    Ok(news) => self.take_news(&news),
                    Err(lagged) => self.pending.push_back(lagged),
                },
                _ = self.recheck.tick() => {
                    let (api, caller, headers) = &self.asked_by;
                    if access::who(api, headers).await.ok().as_ref() != Some(caller) {
                        return None;
                    }
                }
            }
        }
    }

    fn take_round(&mut self, round: &Round) {
        if !self.which.is_about(&round.sync) {
            return;
        }
        if self.which.has("activity") {
            let activity = round.activity.iter();
            self.pending
                .extend(activity.map(|activity| event("activity", activity)));
        }
        if self.which.has("change") {
            self.pending.extend(round.changes.iter().map(unnamed));
        }
    }

    fn take_news(&mut self, news: &News) {
        let gone = |name: &String| Gone { name: name.clone() };
        let which = &self.which;
        let event = match news {
            News::Sync(sync) if which.has("sync") && which.is_about(&sync.name) => {
                event("sync", sync)
            }
            News::SyncGone(name) if which.has("sync") && which.is_about(name) => {
                event("sync-gone", &gone(name))
            }
            News::Agent(agent) if which.has("agent") => event("agent", agent),
            News::AgentGone(name) if which.has("agent") => event("agent-gone", &gone(name)),
            _ => return,
        };
        self.pending.push_back(event);
    }
}

/// What was received, or that some was lost; `None` when nothing comes any more.
fn told<T>(received: Result<T, RecvError>) -> Option<Result<T, Event>> {
    match received {
        Ok(received) => Some(Ok(received)),
        Err(RecvError::Lagged(missed)) => Some(Err(Event::default()
            .event("lagged")
            .data(missed.to_string()))),
        Err(RecvError::Closed) => None,
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    unnamed(data).event(name)
}

/// Strings, numbers and lists of them always serialise.
fn unnamed(data: &impl Serialize) -> Event {
    Event::default().json_data(data).unwrap_or_default()
}

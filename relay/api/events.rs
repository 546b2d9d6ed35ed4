//! Live changes as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::workspace::Workspace;
use super::{Problem, limits};

/// Comment lines keep proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Places for event streams; an open one holds a permit.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Streams(Arc::new(Semaphore::new(limits::EVENT_STREAMS_MAX)))
    }
}

#[derive(Deserialize, IntoParams)]
pub(super) struct Which {
    /// Only this sync's changes.
    sync: Option<String>,
}

/// Each change as it crosses: `data` is a `LiveEvent`. A slow reader loses the oldest, and is told
/// how many by an event named `lagged`.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "live_events", params(Which),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = 401, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn live_events(
    work: Workspace,
    Extension(streams): Extension<Streams>,
    Query(which): Query<Which>,
) -> Result<Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>>, Problem> {
    let permit = streams.0.try_acquire_owned().map_err(|_| {
        let most = limits::EVENT_STREAMS_MAX;
        let detail = format!("{most} event streams are open already: close one first");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail)
    })?;
    let receiver = work.syncs.events();
    let stream = futures_util::stream::unfold(
        (receiver, which.sync, permit),
        |(mut receiver, sync, permit)| async move {
            loop {
                let event = match receiver.recv().await {
                    Ok(event) if sync.as_ref().is_some_and(|name| *name != event.sync) => continue,
                    // Strings and numbers always serialise.
                    Ok(event) => Event::default().json_data(&event).unwrap_or_default(),
                    Err(RecvError::Lagged(missed)) => {
                        Event::default().event("lagged").data(missed.to_string())
                    }
                    Err(RecvError::Closed) => return None,
                };
                return Some((Ok(event), (receiver, sync, permit)));
            }
        },
    );
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

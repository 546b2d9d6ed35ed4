//! Live changes as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::{Api, Problem};

/// Comment lines keep proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
pub(super) struct Which {
    /// Only this sync's changes.
    sync: Option<String>,
}

/// Each change as it crosses: `data` is a `LiveEvent`. A slow reader loses the oldest.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "live_events", params(Which),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = 401, body = Problem)),
    security(("token" = [])))]
pub(super) async fn live_events(
    State(api): State<Api>,
    Query(which): Query<Which>,
) -> Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>> {
    let receiver = api.syncs.events();
    let stream = futures_util::stream::unfold(
        (receiver, which.sync),
        |(mut receiver, sync)| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => {
                        if sync.as_ref().is_some_and(|name| *name != event.sync) {
                            continue;
                        }
                        let event = Event::default().json_data(&event).unwrap_or_default();
                        return Some((Ok(event), (receiver, sync)));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        },
    );
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

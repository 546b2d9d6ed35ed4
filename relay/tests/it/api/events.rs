//! Live news: what reaches a reader, what a slow one is told, and when a stream ends.

use std::sync::Arc;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tidegate_relay::engine::news::{Activity, Round};
use tidegate_relay::engine::report::LiveEvent;

use super::{ask, refusal};
use crate::support::desk::Desk;

/// An open stream, read event by event.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(desk: &Desk, query: &str, token: &str) -> Stream {
        let path = format!("/api/v1/events{query}");
        let response = ask(desk, Method::GET, &path, Some(token)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream {
            response,
            text: String::new(),
        }
    }

    /// The next event's name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut name = "message".to_owned();
                let mut data = None;
                for line in event.lines() {
                    match line.split_once(": ") {
                        Some(("event", text)) => text.clone_into(&mut name),
                        Some(("data", text)) => data = serde_json::from_str(text).ok(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if let Some(data) = data {
                    return Some((name, data));
                }
                continue;
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn round(sync: &str, key: &str) -> Arc<Round> {
    Arc::new(Round {
        sync: sync.into(),
        activity: vec![Activity {
            sync: sync.into(),
            side: "right".into(),
            creates: 3,
            latency_ms: Some(12),
            ..Activity::default()
        }],
        changes: vec![LiveEvent {
            sync: sync.into(),
            key: key.into(),
            ..LiveEvent::default()
        }],
    })
}

#[tokio::test]
async fn rounds_reach_a_reader_of_that_sync_and_no_other() {
    let desk = Desk::start().await;
    let query = "?sync=blog&kinds=activity,change";
    let mut stream = Stream::open(&desk, query, &desk.token).await;
    for (sync, key) in [("other", "1"), ("blog", "2")] {
        desk.rounds.send(round(sync, key)).unwrap();
    }
    let (name, activity) = stream.next().await.unwrap();
    assert_eq!(name, "activity");
    assert_eq!(activity["sync"], "blog");
    assert_eq!(activity["creates"], 3);
    assert_eq!(activity["latency_ms"], 12);
    let (name, change) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &change["key"]), ("message", &json!("2")));
}

#[tokio::test]
async fn a_reader_is_told_how_syncs_go_at_once_and_when_it_changes() {
    let desk = Desk::start().await;
    let mut first = Stream::open(&desk, "?kinds=sync", &desk.token).await;
    let (name, status) = first.next().await.unwrap();
    assert_eq!((name.as_str(), &status["state"]), ("sync", &json!("live")));
    desk.set(|script| script.states = ["failed"].into());
    let (name, status) = first.next().await.unwrap();
    assert_eq!(
        (name.as_str(), &status["state"]),
        ("sync", &json!("failed"))
    );
    assert_eq!(status["last_error"], "the slot is lost");
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed() {
    let desk = Desk::start().await;
    let mut stream = Stream::open(&desk, "?kinds=change", &desk.token).await;
    // The channel of the desk holds 16; nothing is read in between.
    for key in 0..40 {
        desk.rounds.send(round("blog", &key.to_string())).unwrap();
    }
    let (mut seen, mut missed) = (0, 0);
    loop {
        let (name, data) = stream.next().await.unwrap();
        match name.as_str() {
            "lagged" => missed += data.as_u64().unwrap(),
            _ => seen += 1,
        }
        if data["key"] == "39" {
            break;
        }
    }
    assert_eq!(seen + missed, 40);
    assert!(missed > 0);
}

#[tokio::test]
async fn streams_end_when_the_relay_stops() {
    let desk = Desk::start().await;
    let mut stream = Stream::open(&desk, "?kinds=change", &desk.token).await;
    desk.stop.cancel();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_stream_gives_its_place_back_and_too_many_are_refused() {
    let desk = Desk::start().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(Stream::open(&desk, "?kinds=change", &desk.token).await);
    }
    let path = "/api/v1/events";
    let refused = ask(&desk, Method::GET, path, Some(&desk.token)).await;
    assert_eq!(refusal(refused, 503).await, "too-many-streams");
    drop(open);
    // The relay notices a closed connection when it gets to it.
    loop {
        let again = ask(&desk, Method::GET, path, Some(&desk.token)).await;
        if again.status() == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

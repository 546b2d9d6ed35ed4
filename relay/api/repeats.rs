//! Requests that make something may carry `Idempotency-Key`, a text that their caller chose for this
//! one: sent again with the same key, because an answer got lost, they get the same answer.
//!
//! Only an answer that says that something was made (201) is kept: after a refusal nothing was, and the
//! same may be tried anew. What was begun is finished even if the caller goes away.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use super::access::{Caller, now_ms};
use super::{Problem, limits};
use crate::store::answers::{self, Answer, KeyOwner};
use crate::store::{Store, StoreError};

/// The header, as documents name it.
pub(super) const HEADER: &str = "idempotency-key";
/// Says of an answer that it was given before.
const REPEATED: &str = "x-tidegate-repeated";
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 255;
/// Largest answer that is kept, bytes: what was made, and its secret.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Requests with keys, and those of them that are under way.
#[derive(Clone)]
pub(super) struct Repeats {
    store: Store,
    under_way: Arc<Mutex<HashSet<KeyOwner>>>,
    /// What goes on without its caller.
    tasks: TaskTracker,
}

impl Repeats {
    pub(super) fn new(store: Store) -> Repeats {
        Repeats {
            store,
            under_way: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }
}

/// Answers a request with a key once.
pub(super) async fn once(
    State(repeats): State<Repeats>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let is_making = request.method() == Method::POST;
    let caller = request.extensions().get::<Caller>();
    let (Some(key), Some(caller), true) = (key_of(request.headers())?, caller, is_making) else {
        return Ok(next.run(request).await);
    };
    let owner = KeyOwner {
        workspace: caller.workspace.clone(),
        actor: caller.actor(),
        key,
    };
    let task = repeats
        .tasks
        .spawn(repeats.clone().answer(owner, request, next));
    task.await.unwrap_or_else(|_| {
        let detail = "the request failed: see the relay's log";
        Err(refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            detail,
        ))
    })
}

impl Repeats {
    async fn answer(
        self,
        owner: KeyOwner,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, limits::BODY_BYTES_MAX).await.map_err(|_| {
            let detail = format!("a request has at most {} bytes", limits::BODY_BYTES_MAX);
            refused(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", &detail)
        })?;
        let print = print(&parts.uri.to_string(), &body);
        let _turn = self.turn(&owner)?;
        if let Some(answer) = self.known(&owner).await? {
            if answer.request != print {
                let detail = "this idempotency key was sent with another request: choose a new one";
                return Err(refused(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "key-reused",
                    detail,
                ));
            }
            return Kept::read(&answer.body)?.response();
        }
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        if response.status() != StatusCode::CREATED {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|_| {
            let detail = "something was made, and its answer is too long to be kept: look for it";
            refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
        })?;
        let kept = Kept::of(&parts.headers, &body);
        self.keep(owner, print, &kept).await?;
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    async fn known(&self, owner: &KeyOwner) -> Result<Option<Answer>, StoreError> {
        let (sealer, owner) = (self.store.sealer().clone(), owner.clone());
        self.store
            .view(move |conn| answers::find(conn, &sealer, &owner, now_ms()))
            .await
    }

    async fn keep(&self, owner: KeyOwner, request: Vec<u8>, kept: &Kept) -> Result<(), StoreError> {
        let sealer = self.store.sealer().clone();
        let body = serde_json::to_vec(kept).unwrap_or_default();
        let answer = Answer { request, body };
        self.store
            .transact(move |tx| answers::keep(tx, &sealer, &owner, &answer, now_ms()))
            .await
    }

    /// Refuses a request while another one with its key is under way.
    fn turn(&self, owner: &KeyOwner) -> Result<Turn, Problem> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !under_way.insert(owner.clone()) {
            let detail = "a request with this idempotency key is under way: wait for its answer";
            return Err(refused(StatusCode::CONFLICT, "request-under-way", detail));
        }
        Ok(Turn {
            owner: owner.clone(),
            under_way: self.under_way.clone(),
        })
    }
}

/// A request's turn, until it is answered.
struct Turn {
    owner: KeyOwner,
    under_way: Arc<Mutex<HashSet<KeyOwner>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.owner);
    }
}

/// What is kept of an answer: that something was made, as JSON, and its version.
#[derive(Serialize, Deserialize)]
struct Kept {
    etag: Option<String>,
    body: String,
}

impl Kept {
    fn of(headers: &HeaderMap, body: &Bytes) -> Kept {
        let etag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        Kept {
            etag: etag.map(str::to_owned),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn read(bytes: &[u8]) -> Result<Kept, StoreError> {
        serde_json::from_slice(bytes).map_err(|_| StoreError::Malformed("answers.body"))
    }

    fn response(self) -> Result<Response, Problem> {
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (StatusCode::CREATED, json, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(REPEATED, HeaderValue::from_static("1"));
        if let Some(etag) = self.etag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
            headers.insert(header::ETAG, etag);
        }
        Ok(response)
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let fits = (1..=KEY_BYTES_MAX).contains(&value.len());
    match value.to_str() {
        Ok(key) if fits => Ok(Some(key.to_owned())),
        _ => {
            let detail = format!("`Idempotency-Key` is a text of 1 to {KEY_BYTES_MAX} characters");
            Err(refused(StatusCode::BAD_REQUEST, "bad-key", &detail))
        }
    }
}

/// Two requests with the same print are the same request.
fn print(uri: &str, body: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(uri.as_bytes());
    context.update(b"\n");
    context.update(body);
    context.finish().as_ref().to_vec()
}

fn refused(status: StatusCode, code: &str, detail: &str) -> Problem {
    Problem::new(status, code, detail)
}

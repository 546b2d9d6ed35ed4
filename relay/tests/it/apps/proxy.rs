//! Stands between the relay and an app: counts calls, and loses answers when told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const BODY_MAX: usize = 64 << 20;

pub struct Proxy {
    base_url: String,
    way: Arc<Way>,
    server: JoinHandle<()>,
}

struct Way {
    client: reqwest::Client,
    /// Scheme, host and port of the app.
    origin: String,
    reads: AtomicU64,
    writes: AtomicU64,
    refusals: AtomicU64,
    /// Answers to so many more writes are lost, after the app has carried them out.
    losing: Mutex<u32>,
}

impl Proxy {
    /// `base_url` is the app's, with a path.
    pub async fn start(base_url: &str) -> Proxy {
        let url = reqwest::Url::parse(base_url).unwrap();
        let origin = url.origin().ascii_serialization();
        let way = Arc::new(Way {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            origin,
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            losing: Mutex::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(pass).with_state(Arc::clone(&way));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Proxy {
            base_url: format!("http://{address}{}", url.path().trim_end_matches('/')),
            way,
            server,
        }
    }

    pub fn base_url(&self) -> String {
        self.base_url.clone()
    }

    /// Calls that read nothing but may write.
    pub fn writes(&self) -> u64 {
        self.way.writes.load(Ordering::SeqCst)
    }

    pub fn reads(&self) -> u64 {
        self.way.reads.load(Ordering::SeqCst)
    }

    /// Calls that the app refused for their number.
    pub fn refusals(&self) -> u64 {
        self.way.refusals.load(Ordering::SeqCst)
    }

    pub fn lose_answers(&self, count: u32) {
        *self.way.losing.lock().unwrap() = count;
    }

    /// How many of them are still to be lost.
    pub fn to_lose(&self) -> u32 {
        *self.way.losing.lock().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(way): State<Arc<Way>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let mut searches = ["/listRecords", "/query", "/search", "/batch/read"].iter();
    let is_search = searches.any(|end| path.ends_with(end));
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD || is_search;
    let counter = if is_read { &way.reads } else { &way.writes };
    counter.fetch_add(1, Ordering::SeqCst);
    let url = format!("{}{}", way.origin, parts.uri);
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let call = way
        .client
        .request(parts.method, url)
        .headers(passed_on(&parts.headers))
        .body(body);
    let Ok(answer) = call.send().await else {
        return status(StatusCode::BAD_GATEWAY);
    };
    let (code, headers) = (answer.status(), passed_on(answer.headers()));
    let Ok(bytes) = answer.bytes().await else {
        return status(StatusCode::BAD_GATEWAY);
    };
    if code == StatusCode::TOO_MANY_REQUESTS {
        way.refusals.fetch_add(1, Ordering::SeqCst);
    }
    if !is_read && take_one(&way.losing) {
        return status(StatusCode::GATEWAY_TIMEOUT);
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response
}

fn take_one(losing: &Mutex<u32>) -> bool {
    let mut losing = losing.lock().unwrap();
    let is_lost = *losing > 0;
    *losing = losing.saturating_sub(1);
    is_lost
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

/// All but what concerns one connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in ["host", "connection", "transfer-encoding", "content-length"] {
        headers.remove(name);
    }
    headers
}

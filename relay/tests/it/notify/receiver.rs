//! Whoever is notified: takes what is posted, answers as it is told to, and verifies signatures with the
//! library of Standard Webhooks.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::python::program;

/// Longest wait for what must come.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Something that was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Posted {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the library takes it for ours.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let given = json!({"secret": secret, "headers": self.headers, "body": self.body});
        let mut child = Command::new(python())
            .arg(script("verify.py"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(given.to_string().as_bytes()).unwrap();
        drop(input);
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.success() || said.starts_with("refused"),
            "{said}"
        );
        done.status.success()
    }
}

#[derive(Default)]
struct Heard {
    posted: Vec<Posted>,
    /// Answers to come; 200 when there are none left.
    answers: VecDeque<u16>,
}

/// Listens on a port of its own until it is dropped.
pub struct Receiver {
    pub url: String,
    heard: Arc<Mutex<Heard>>,
    server: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::<Mutex<Heard>>::default();
        let router = Router::new().fallback(take).with_state(Arc::clone(&heard));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Receiver { url, heard, server }
    }

    /// The next posts get these answers.
    pub fn answer(&self, statuses: &[u16]) {
        self.heard.lock().unwrap().answers.extend(statuses);
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.heard.lock().unwrap().posted.clone()
    }

    /// Waits until so many were posted.
    pub async fn wait(&self, count: usize) -> Vec<Posted> {
        let began = Instant::now();
        loop {
            let posted = self.posted();
            if posted.len() >= count {
                return posted;
            }
            assert!(began.elapsed() < WAIT_MAX, "{count} posts: {posted:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(heard): State<Arc<Mutex<Heard>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let posted = Posted {
        path: uri.to_string(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut heard = heard.lock().unwrap();
    heard.posted.push(posted);
    let status = heard.answers.pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

/// The interpreter beside the programs from PyPI.
pub fn python() -> PathBuf {
    Path::new(&program("aiosmtpd")).with_file_name("python")
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/notify")
        .join(name)
}

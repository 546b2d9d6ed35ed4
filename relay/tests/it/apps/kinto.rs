//! Kinto itself, from PyPI: one server for all tests that run now, a bucket for each.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{App, Row, Rows};
use crate::support::port::free_port;
use crate::support::python::program;

/// Who may make buckets, as `kinto init` has it.
const USER: &str = "admin";
const PASSWORD: &str = "throwaway-secret";
const START_MAX: Duration = Duration::from_secs(60);
/// Kinto's own bound on a batch.
const BATCH: usize = 25;

struct Server {
    dir: TempDir,
    child: Child,
    base_url: String,
    buckets: AtomicU32,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Server::start().await);
        *shared = Arc::downgrade(&server);
        server
    }

    async fn start() -> Server {
        let program = program("kinto");
        let dir = tempfile::Builder::new()
            .prefix("tidegate-kinto-")
            .tempdir()
            .unwrap();
        let ini = dir.path().join("kinto.ini");
        let made = Command::new(&program)
            .args(["init", "--backend", "memory", "--cache-backend", "memory"])
            .args(["--host", "127.0.0.1", "--ini"])
            .arg(&ini)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Records are held to their collection's schema, so that something can be refused.
        let text = fs::read_to_string(&ini).unwrap();
        let more = "[app:main]\nkinto.experimental_collection_schema_validation = true\n";
        fs::write(&ini, text.replacen("[app:main]\n", more, 1)).unwrap();
        let port = free_port();
        let log = fs::File::create(dir.path().join("kinto.log")).unwrap();
        let child = Command::new(&program)
            .args(["start", "--port", &port.to_string(), "--ini"])
            .arg(&ini)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server {
            base_url: format!("http://127.0.0.1:{port}/v1"),
            dir,
            child,
            buckets: AtomicU32::new(0),
        };
        server.wait().await;
        server
    }

    /// Until it answers; then the user is made.
    async fn wait(&self) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/accounts/{USER}", self.base_url);
        let began = Instant::now();
        loop {
            let user = json!({"data": {"password": PASSWORD}});
            let made = client.put(&url).json(&user).send().await;
            if made.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let log = fs::read_to_string(self.dir.path().join("kinto.log"));
            assert!(began.elapsed() < START_MAX, "{}", log.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub struct Kinto {
    server: Arc<Server>,
    bucket: String,
    client: reqwest::Client,
}

impl Kinto {
    pub async fn start() -> Kinto {
        let server = Server::shared().await;
        let number = server.buckets.fetch_add(1, Ordering::SeqCst);
        let kinto = Kinto {
            server,
            bucket: format!("office-{number}"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let bucket = format!("buckets/{}", kinto.bucket);
        kinto.call("PUT", &bucket, Value::Null).await;
        let schema = json!({"type": "object", "properties": {
            "slug": {"type": ["string", "null"]},
            "title": {"type": ["string", "null"], "pattern": "^(?!refuse)"},
            "qty": {"type": ["integer", "null"], "minimum": -2147483648, "maximum": 2147483647},
            "done": {"type": ["boolean", "null"]},
        }});
        let collection = json!({"data": {"schema": schema}});
        kinto
            .call("PUT", &format!("{bucket}/collections/things"), collection)
            .await;
        kinto
    }

    fn records(&self) -> String {
        format!("buckets/{}/collections/things/records", self.bucket)
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.server.base_url);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let call = self
            .client
            .request(method, url)
            .basic_auth(USER, Some(PASSWORD));
        let call = if body.is_null() {
            call
        } else {
            call.json(&body)
        };
        let answer = call.send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    async fn found(&self, slug: &str) -> String {
        let query = format!("{}?eq_slug=%22{slug}%22", self.records());
        let found = self.call("GET", &query, Value::Null).await;
        found["data"][0]["id"].as_str().unwrap().to_owned()
    }
}

fn fields(slug: Option<&str>, row: &Row) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    set("slug", slug.map(Value::from));
    set("title", row.title.clone().map(Value::from));
    set("qty", row.qty.map(Value::from));
    set("done", row.done.map(Value::from));
    Value::Object(fields)
}

#[async_trait]
impl App for Kinto {
    fn kind(&self) -> &'static str {
        "kinto"
    }

    fn base_url(&self) -> String {
        self.server.base_url.clone()
    }

    fn token(&self) -> String {
        format!("{USER}:{PASSWORD}")
    }

    fn table(&self) -> String {
        format!("{}.things", self.bucket)
    }

    fn user(&self) -> String {
        format!("account:{USER}")
    }

    async fn seed(&self, rows: &Rows) {
        let rows: Vec<(&String, &Row)> = rows.iter().collect();
        let path = format!("/{}", self.records());
        for chunk in rows.chunks(BATCH) {
            let request = |(slug, row): &(&String, &Row)| json!({"method": "POST", "path": path, "body": {"data": fields(Some(slug), row)}});
            let requests: Vec<Value> = chunk.iter().map(request).collect();
            self.call("POST", "batch", json!({"requests": requests}))
                .await;
        }
    }

    async fn edit(&self, slug: &str, row: &Row) {
        let path = format!("{}/{}", self.records(), self.found(slug).await);
        self.call("PATCH", &path, json!({"data": fields(None, row)}))
            .await;
    }

    async fn delete(&self, slug: &str) {
        let path = format!("{}/{}", self.records(), self.found(slug).await);
        self.call("DELETE", &path, Value::Null).await;
    }

    async fn all(&self) -> Rows {
        let found = self.call("GET", &self.records(), Value::Null).await;
        let mut rows = Rows::new();
        for record in found["data"].as_array().unwrap() {
            let row = Row {
                title: record["title"].as_str().map(str::to_owned),
                qty: record["qty"].as_i64().map(|qty| qty as i32),
                done: record["done"].as_bool(),
            };
            let slug = record["slug"].as_str().unwrap().to_owned();
            assert_eq!(
                rows.insert(slug, row),
                None,
                "two records with one slug: {record}"
            );
        }
        rows
    }
}

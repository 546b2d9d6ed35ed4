//! NocoDB itself, on a database of the tests' PostgreSQL: one server for all tests that run now, a base
//! for each.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::support::port::free_port;
use crate::support::postgres::{Database, PASSWORD, ROLE, Server as Postgres};

/// Path of the program that `packaging/fetch-nocodb.sh` prints.
const PROGRAM: &str = "TIDEGATE_NOCODB";
pub const USER: &str = "admin@example.com";
/// NocoDB wants capitals and signs in it.
const USER_PASSWORD: &str = "Throwaway-Secret-1";
/// It makes some hundred tables first.
const START_MAX: Duration = Duration::from_secs(300);

pub struct Server {
    pub base_url: String,
    pub token: String,
    /// Where all tables are.
    pub database: Database,
    dir: TempDir,
    child: Child,
    bases: AtomicU32,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub async fn shared() -> Arc<Server> {
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
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| {
            panic!("{PROGRAM} names no NocoDB: run these tests by `make test-nocodb`, which installs it")
        });
        let dir = tempfile::Builder::new()
            .prefix("tidegate-nocodb-")
            .tempdir()
            .unwrap();
        let database = Postgres::shared().database("nocodb").await;
        let (port, sql_port) = (free_port(), database.server.port());
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let name = &database.name;
        let child = Command::new(program)
            .current_dir(dir.path())
            .env("PORT", port.to_string())
            .env(
                "NC_DB",
                format!("pg://127.0.0.1:{sql_port}?u={ROLE}&p={PASSWORD}&d={name}"),
            )
            .env("NC_TOOL_DIR", dir.path())
            .env("NC_AUTH_JWT_SECRET", PASSWORD)
            .env("NC_ADMIN_EMAIL", USER)
            .env("NC_ADMIN_PASSWORD", USER_PASSWORD)
            .env("NC_DISABLE_TELE", "true")
            .env("NC_DISABLE_ERR_REPORTS", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Server {
            base_url: format!("http://127.0.0.1:{port}"),
            token: String::new(),
            database,
            dir,
            child,
            bases: AtomicU32::new(0),
        };
        let session = server.sign_in().await;
        let token = json!({"description": "tests"});
        let made = server.call("POST", "api/v1/tokens", token, ("xc-auth", &session));
        server.token = made.await["token"].as_str().unwrap().to_owned();
        server
    }

    /// Until it answers.
    async fn sign_in(&mut self) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/api/v2/auth/user/signin", self.base_url);
        let user = json!({"email": USER, "password": USER_PASSWORD});
        let began = Instant::now();
        loop {
            if let Ok(answer) = client.post(&url).json(&user).send().await
                && let Ok(Value::Object(said)) = answer.json().await
                && let Some(token) = said.get("token").and_then(Value::as_str)
            {
                return token.to_owned();
            }
            let has_ended = self.child.try_wait().unwrap().is_some();
            if has_ended || began.elapsed() > START_MAX {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                panic!("NocoDB does not start: {log}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A new base: its id and its name.
    pub async fn base(&self) -> (String, String) {
        let number = self.bases.fetch_add(1, Ordering::SeqCst);
        let title = format!("Office {number}");
        let made = self.post("api/v2/meta/bases", json!({"title": title}));
        (made.await["id"].as_str().unwrap().to_owned(), title)
    }

    /// A new table, with its fields.
    pub async fn table(&self, base: &str, title: &str, fields: Value) -> Value {
        let path = format!("api/v3/meta/bases/{base}/tables");
        let table = json!({"title": title, "fields": fields});
        self.post(&path, table).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path, body).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        self.call(method, path, body, ("xc-token", &self.token))
            .await
    }

    /// Whatever it answers.
    pub async fn send(&self, method: &str, path: &str, body: Value) {
        self.answer(method, path, body, ("xc-token", &self.token))
            .await;
    }

    async fn answer(
        &self,
        method: &str,
        path: &str,
        body: Value,
        proof: (&str, &str),
    ) -> (StatusCode, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/{path}", self.base_url);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let call = client.request(method, url).header(proof.0, proof.1);
        let call = match body {
            Value::Null => call,
            body => call.json(&body),
        };
        let answer = call.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn call(&self, method: &str, path: &str, body: Value, proof: (&str, &str)) -> Value {
        let (status, said) = self.answer(method, path, body, proof).await;
        assert!(status.is_success(), "{path}: {status} {said}");
        serde_json::from_str(&said).unwrap()
    }
}

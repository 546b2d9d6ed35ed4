//! A stage: a private PostgreSQL behind an agent, a relay, and a second PostgreSQL as the other
//! app.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_shared::pairing::RelayAddr;

use crate::support::port::free_port;
use crate::support::postgres::{Database, PASSWORD, ROLE, Server};

/// Longest wait for anything that must come, on the busiest machine.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Variables by which somebody asks for the long form of some tests.
const LONG_FORMS: [&str; 3] = ["CHAOS", "COPY_ROWS", "SOAK_SECONDS"];

/// Everything that a two-way sync needs, running.
pub struct Stage {
    pub dir: TempDir,
    /// The private database: only the agent dials it.
    pub left: Database,
    pub right: Database,
    pub http: u16,
    pub metrics: u16,
    /// Variables that relay and agent get at their next start, beside the test's own.
    pub environment: Vec<(String, String)>,
    /// Where the relay listens for agents.
    listen: u16,
    /// Where agents dial it.
    dialled: u16,
    relay: Option<Child>,
    agent: Option<Child>,
    client: reqwest::Client,
}

/// As whom the agent signs in, and the SQL that makes it.
struct Role<'a> {
    sql: &'a str,
    user: &'a str,
    password: &'a str,
}

impl Stage {
    /// Starts servers, relay and agent; pairs them; adds connections `office-db` and `marketing`.
    pub async fn start(hint: &str) -> Stage {
        Stage::start_on(&Server::shared(), &Server::shared(), hint).await
    }

    /// With the agent dialling another port than the relay listens on: what lies between is the caller's.
    pub async fn start_between(hint: &str, dialled: u16, listen: u16) -> Stage {
        let (left, right) = (Server::shared(), Server::shared());
        let role = Role {
            sql: "",
            user: ROLE,
            password: PASSWORD,
        };
        Stage::start_with(&left, &right, hint, role, (dialled, listen)).await
    }

    pub async fn start_on(left: &Arc<Server>, right: &Arc<Server>, hint: &str) -> Stage {
        Stage::start_with_role(left, right, hint, "", ROLE, PASSWORD).await
    }

    /// With `role_sql` run on the private server first, and the agent signing in as `user`.
    pub async fn start_with_role(
        left: &Arc<Server>,
        right: &Arc<Server>,
        hint: &str,
        role_sql: &str,
        user: &str,
        password: &str,
    ) -> Stage {
        let (port, role) = (
            free_port(),
            Role {
                sql: role_sql,
                user,
                password,
            },
        );
        Stage::start_with(left, right, hint, role, (port, port)).await
    }

    async fn start_with(
        left: &Arc<Server>,
        right: &Arc<Server>,
        hint: &str,
        role: Role<'_>,
        (dialled, listen): (u16, u16),
    ) -> Stage {
        let dir = tempfile::Builder::new()
            .prefix("tidegate-e2e-")
            .tempdir()
            .unwrap();
        let left = left.database(&format!("{hint}_left")).await;
        let right = right.database(&format!("{hint}_right")).await;
        let mut stage = Stage {
            dir,
            left,
            right,
            http: free_port(),
            metrics: free_port(),
            environment: Vec::new(),
            listen,
            dialled,
            relay: None,
            agent: None,
            client: reqwest::Client::builder()
                .timeout(longest())
                .build()
                .unwrap(),
        };
        stage
            .left
            .admin()
            .await
            .batch_execute(role.sql)
            .await
            .unwrap();
        stage.write_files(role.user, role.password);
        stage.start_relay().await;
        let invited = stage.post("agents", json!({"name": "office-db"})).await;
        stage.pair(invited["token"].as_str().unwrap());
        stage.start_agent();
        stage.wait_agent().await;
        let through = json!({"name": "office-db", "kind": "postgres", "agent": "office-db",
            "target": "main"});
        stage.post("connections", through).await;
        let url = stage.right_url();
        let direct = json!({"name": "marketing", "kind": "postgres", "url": url});
        stage.post("connections", direct).await;
        stage
    }

    fn right_url(&self) -> String {
        let (port, name) = (self.right.server.port(), &self.right.name);
        format!("postgres://{ROLE}:{PASSWORD}@127.0.0.1:{port}/{name}?sslmode=disable")
    }

    fn write_files(&self, user: &str, secret: &str) {
        let dir = self.dir.path();
        let relay = format!(
            "data_dir = \"{}\"\n[tunnel]\nlisten = \"127.0.0.1:{}\"\nnames = [\"localhost:{}\"]\n\
             [http]\nlisten = \"127.0.0.1:{}\"\n[metrics]\nlisten = \"127.0.0.1:{}\"\n",
            dir.join("relay").display(),
            self.listen,
            self.dialled,
            self.http,
            self.metrics,
        );
        fs::write(dir.join("relay.toml"), relay).unwrap();
        let password = dir.join("main.password");
        fs::write(&password, format!("{secret}\n")).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let agent = format!(
            "state_dir = \"{}\"\n[[target]]\nname = \"main\"\naddress = \"127.0.0.1:{}\"\n\
             database = \"{}\"\nuser = \"{user}\"\npassword_file = \"{}\"\nsslmode = \"disable\"\n\
             allow_ddl = true\n",
            dir.join("agent").display(),
            self.left.server.port(),
            self.left.name,
            password.display(),
        );
        fs::write(dir.join("agent.toml"), agent).unwrap();
    }

    pub async fn start_relay(&mut self) {
        self.spawn_relay(None);
        self.wait("the relay to answer", async |stage: &Stage| {
            let url = format!("http://127.0.0.1:{}/healthz", stage.http);
            stage
                .client
                .get(url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Adds to the relay's configuration and starts it anew.
    pub async fn restart_relay_with(&mut self, more: &str) {
        self.kill_relay();
        let path = self.dir.path().join("relay.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + more).unwrap();
        self.start_relay().await;
        self.wait_agent().await;
    }

    async fn wait_agent(&self) {
        self.wait("the agent to come online", async |stage: &Stage| {
            stage.get("agents/office-db").await["state"] == "online"
        })
        .await;
    }

    /// Starts the relay so that it dies by itself at a crash point (`applied:3`), and waits for it.
    pub async fn relay_crashes_at(&mut self, point: &str) {
        self.kill_relay();
        self.spawn_relay(Some(point));
        let began = Instant::now();
        while self.relay.as_mut().unwrap().try_wait().unwrap().is_none() {
            assert!(
                began.elapsed() < WAIT_MAX,
                "{point} was never reached\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.relay = None;
    }

    fn spawn_relay(&mut self, crash: Option<&str>) {
        let log = self.log("relay.log");
        let mut command = Command::new(relay_binary());
        if let Some(point) = crash {
            command.env("TIDEGATE_CRASH", point);
        }
        let child = command
            .args(["serve", "--config"])
            .envs(self.environment.iter().cloned())
            .arg(self.dir.path().join("relay.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.relay = Some(child);
    }

    pub fn start_agent(&mut self) {
        let log = self.log("agent.log");
        let child = Command::new(agent_binary())
            .args(["run", "--config"])
            .envs(self.environment.iter().cloned())
            .arg(self.dir.path().join("agent.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    fn pair(&self, token: &str) {
        let mut child = Command::new(agent_binary())
            .args(["pair", "-", "--config"])
            .arg(self.dir.path().join("agent.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(token.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// Runs a command of the agent's beside the running one; its output.
    pub fn agent_command(&self, arguments: &[&str]) -> String {
        let done = Command::new(agent_binary())
            .args(arguments)
            .arg("--config")
            .arg(self.dir.path().join("agent.toml"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            text(&done.stderr)
        );
        text(&done.stdout)
    }

    /// Runs a command of the relay's that needs no running one, in the stage's directory; its output.
    pub fn relay_command(&self, arguments: &[&str]) -> String {
        let done = Command::new(relay_binary())
            .args(arguments)
            .arg("--config")
            .arg(self.dir.path().join("relay.toml"))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            text(&done.stderr)
        );
        text(&done.stdout)
    }

    /// `kill -9`.
    pub fn kill_relay(&mut self) {
        kill(&mut self.relay);
    }

    pub fn kill_agent(&mut self) {
        kill(&mut self.agent);
    }

    /// SIGTERM, and how the relay exited.
    pub async fn drain_relay(&mut self) -> std::process::ExitStatus {
        let pid = self.relay_pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        let began = Instant::now();
        let mut relay = self.relay.take().unwrap();
        loop {
            if let Some(status) = relay.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < WAIT_MAX, "no drain\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What agents dial.
    pub fn relay_address(&self) -> RelayAddr {
        RelayAddr {
            host: "localhost".to_owned(),
            port: self.dialled,
        }
    }

    pub fn relay_pid(&self) -> u32 {
        self.relay.as_ref().unwrap().id()
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// Applies a sync file and waits until it is live.
    pub async fn apply(&self, file: &str) {
        self.post("syncs/apply", json!({"file": file})).await;
        self.wait_live(&sync_name(file)).await;
    }

    pub async fn wait_live(&self, sync: &str) {
        self.wait("the sync to be live", async |stage: &Stage| {
            stage
                .try_get(&format!("syncs/{sync}"))
                .await
                .is_some_and(|s| s["state"] == "live")
        })
        .await;
    }

    /// `sync verify`, which waits for what is under way.
    pub async fn assert_equal(&self, sync: &str) -> u64 {
        let report = self.post(&format!("syncs/{sync}/verify"), json!({})).await;
        assert_eq!(report["equal"], true, "{report:#}\n{}", self.logs());
        report["records"].as_u64().unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path)
            .await
            .unwrap_or_else(|| panic!("GET {path} failed\n{}", self.logs()))
    }

    pub async fn try_get(&self, path: &str) -> Option<Value> {
        let answer = self
            .client
            .get(self.url(path))
            .bearer_auth(self.token()?)
            .send()
            .await
            .ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.json().await.ok()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (ok, answer) = self.try_post(path, body).await;
        assert!(ok, "POST {path}: {answer:#}\n{}", self.logs());
        answer
    }

    pub async fn try_post(&self, path: &str, body: Value) -> (bool, Value) {
        let request = self
            .client
            .post(self.url(path))
            .bearer_auth(self.token().unwrap());
        answer_of(request.json(&body)).await
    }

    pub async fn try_patch(&self, path: &str, body: Value) -> (bool, Value) {
        let request = self
            .client
            .patch(self.url(path))
            .bearer_auth(self.token().unwrap());
        answer_of(request.json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        let (ok, answer) = self.try_delete(path).await;
        assert!(ok, "DELETE {path}: {answer:#}\n{}", self.logs());
        answer
    }

    pub async fn try_delete(&self, path: &str) -> (bool, Value) {
        let request = self.client.delete(self.url(path));
        answer_of(request.bearer_auth(self.token().unwrap())).await
    }

    /// `sync plan`.
    pub async fn plan(&self, file: &str) -> Value {
        let request = self.client.post(self.url("syncs/plan"));
        let request = request.bearer_auth(self.token().unwrap());
        let (ok, plan) = answer_of(request.body(file.to_owned())).await;
        assert!(ok, "{plan:#}\n{}", self.logs());
        plan
    }

    /// Changes the agent's configuration and starts it anew.
    pub async fn restart_agent_with(&mut self, from: &str, to: &str) {
        self.kill_agent();
        self.wait("the agent to be gone", async |stage: &Stage| {
            stage.get("agents/office-db").await["state"] == "offline"
        })
        .await;
        self.configure_agent(from, to);
        self.start_agent();
        self.wait_agent().await;
    }

    /// Changes the agent's configuration; it is read at the next start.
    pub fn configure_agent(&self, from: &str, to: &str) {
        let path = self.dir.path().join("agent.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// The document that `tidegate-agent COMMAND --json` prints.
    pub fn agent_says(&self, command: &str) -> Value {
        let done = Command::new(agent_binary())
            .args([command, "--json", "--config"])
            .arg(self.dir.path().join("agent.toml"))
            .output()
            .unwrap();
        serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}\n{}", self.logs()))
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics);
        let answer = self.client.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/api/v1/{path}", self.http)
    }

    pub fn token(&self) -> Option<String> {
        let file = self.dir.path().join("relay/operator.token");
        fs::read_to_string(file)
            .ok()
            .map(|text| text.trim().to_owned())
    }

    /// Polls until `met`; what can be awaited has no other way to be seen from outside.
    pub async fn wait(&self, what: &str, met: impl AsyncFn(&Stage) -> bool) {
        let began = Instant::now();
        while !met(self).await {
            assert!(
                began.elapsed() < WAIT_MAX,
                "waited in vain for {what}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// [`Stage::wait`] for what takes as long as there is data; the test's caller knows how long.
    pub async fn wait_long(&self, what: &str, met: impl AsyncFn(&Stage) -> bool) {
        let began = Instant::now();
        while !met(self).await {
            assert!(
                began.elapsed() < longest(),
                "waited in vain for {what}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self, name: &str) -> fs::File {
        let path = self.dir.path().join(name);
        fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    /// The ends of both logs, for a failure's message.
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(40);
            format!("--- {name}\n{}\n", lines[from..].join("\n"))
        };
        tail("relay.log") + &tail("agent.log")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        kill(&mut self.agent);
        kill(&mut self.relay);
    }
}

/// The longest wait for what takes as long as there is data: a test that hangs must fail, and say what
/// relay and agent said.
pub fn longest() -> Duration {
    let is_long = LONG_FORMS
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    Duration::from_secs(if is_long { 3 * 3600 } else { 600 })
}

/// Whether it succeeded, and the document that was answered.
async fn answer_of(request: reqwest::RequestBuilder) -> (bool, Value) {
    let answer = request.send().await.unwrap();
    let ok = answer.status().is_success();
    let text = answer.text().await.unwrap();
    (ok, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub fn relay_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tidegate-relay"))
}

/// Built beside the relay's: `make test` builds the whole workspace.
pub fn agent_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_tidegate-relay")).with_file_name("tidegate-agent");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

fn sync_name(file: &str) -> String {
    let line = file
        .lines()
        .find(|line| line.trim_start().starts_with("name"))
        .unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

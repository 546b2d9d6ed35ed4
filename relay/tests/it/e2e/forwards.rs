//! `agent forward`: people's own tools through the tunnel, in both forms, and everything that ends it.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use tidegate_relay::api::forward::frame::PROTOCOL;

use super::stage::{Stage, relay_binary};
use super::two_way::{FILE, POSTS};
use crate::support::postgres::{PASSWORD, ROLE, clients};

/// A stage whose target is open to people's tools.
async fn start(hint: &str) -> Stage {
    let mut stage = Stage::start(hint).await;
    let open = "allow_ddl = true\nforward = \"yes\"\n";
    stage.restart_agent_with("allow_ddl = true\n", open).await;
    stage
}

fn command(stage: &Stage, token: &str, more: &[&str]) -> Command {
    let mut command = Command::new(relay_binary());
    command
        .args(["agent", "forward", "office-db", "main", "--json"])
        .args(more)
        .env("TIDEGATE_API", format!("http://127.0.0.1:{}", stage.http))
        .env("TIDEGATE_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// A forward that listens. Ends when dropped.
struct Forward {
    child: Child,
    ready: Value,
    log: PathBuf,
}

impl Forward {
    fn start(stage: &Stage, more: &[&str]) -> Forward {
        Forward::start_with(stage, &stage.token().unwrap(), more)
    }

    fn start_with(stage: &Stage, token: &str, more: &[&str]) -> Forward {
        let log = stage.dir.path().join("forward.log");
        let stderr = std::fs::File::create(&log).unwrap();
        let mut command = command(stage, token, more);
        let mut child = command.stderr(stderr).spawn().unwrap();
        let mut document = String::new();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        while !document.ends_with("}\n") {
            let Some(line) = lines.next() else {
                panic!("{}", std::fs::read_to_string(&log).unwrap());
            };
            document += &(line.unwrap() + "\n");
        }
        let ready = serde_json::from_str(&document).unwrap();
        Forward { child, ready, log }
    }

    /// On a port that is free.
    fn on_port(stage: &Stage, more: &[&str]) -> Forward {
        Forward::start(stage, &[&["--listen", "127.0.0.1:0"][..], more].concat())
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap()
    }

    fn port(&self) -> u16 {
        self.ready["port"].as_u64().unwrap().try_into().unwrap()
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config.user("ada").dbname(self.text("database"));
        match self.ready["password"].as_str() {
            Some(password) => config.host("127.0.0.1").password(password),
            None => config.host_path(self.text("host")),
        };
        config.port(self.port());
        config
    }

    /// A session, and how its connection ends.
    async fn connect(&self) -> (Client, tokio::task::JoinHandle<Option<Ended>>) {
        let connected = self.config().connect(NoTls).await;
        let (client, connection) = connected.unwrap_or_else(|error| {
            panic!("{error:?}\n{}", std::fs::read_to_string(&self.log).unwrap())
        });
        (
            client,
            tokio::spawn(async { connection.await.err().map(ended) }),
        )
    }

    /// Why nobody gets in.
    async fn refusal(&self, config: &Config) -> Ended {
        ended(config.connect(NoTls).await.err().expect("nobody gets in"))
    }

    /// One of PostgreSQL's own programs, and what it printed.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let port = self.port().to_string();
        let mut command = Command::new(clients().join(program));
        command.args([
            "-h",
            self.text("host"),
            "-p",
            &port,
            "-d",
            self.text("database"),
        ]);
        command.args(arguments).env_remove("PGPASSWORD");
        if let Some(password) = self.ready["password"].as_str() {
            command.env("PGPASSWORD", password);
        }
        let done = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{program}: {}", text(&done.stderr));
        text(&done.stdout)
    }

    /// SIGTERM, and the exit code.
    fn end(&mut self) -> i32 {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Code and text of the server's last word.
type Ended = (SqlState, String);

fn ended(error: tokio_postgres::Error) -> Ended {
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("no last word: {error:?}"));
    (error.code().clone(), error.message().to_owned())
}

/// The exit code of a forward that must not start, and its error.
fn refused(stage: &Stage, token: &str, more: &[&str]) -> (i32, String) {
    let mut child = command(stage, token, more)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

async fn token(stage: &Stage, body: Value) -> String {
    let made = stage.post("tokens", body).await;
    made["token"].as_str().unwrap().to_owned()
}

/// Until so many sessions are forwarded; that of the try at the start may still be ending.
async fn wait_open(stage: &Stage, count: usize) {
    let is_so = async |stage: &Stage| {
        let agent = stage.get("agents/office-db").await;
        agent["forwards"].as_array().unwrap().len() == count
    };
    stage.wait("the sessions to be as many", is_so).await;
}

async fn value(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn within<T>(waited: impl Future<Output = T>) -> T {
    let most = Duration::from_secs(60);
    tokio::time::timeout(most, waited)
        .await
        .expect("it comes within a minute")
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_and_pg_dump_work_through_a_port_and_through_a_socket() {
    let stage = start("forwarded_tools").await;
    let left = stage.left.client().await;
    left.batch_execute(
        "create table posts (id int primary key, title text);
         insert into posts select n, repeat('x', 500) || n from generate_series(1, 4000) n",
    )
    .await
    .unwrap();
    let own = stage.dir.path().join("own");
    let port = Forward::on_port(&stage, &[]);
    let socket = Forward::start(&stage, &["--socket", own.to_str().unwrap()]);
    assert!(port.ready["password"].is_string() && socket.ready["password"].is_null());
    for forward in [&port, &socket] {
        let who = "select current_user || ' in ' || current_database() || ' as ' ||
                   current_setting('application_name')";
        let expected = format!(
            "{ROLE} in {} as tidegate/@forward/token:operator\n",
            stage.left.name
        );
        assert_eq!(forward.run("psql", &["-U", "ada", "-Atc", who]), expected);
        let dump = forward.run("pg_dump", &["-t", "posts"]);
        assert_eq!(
            dump.lines().filter(|line| line.contains("\txxxx")).count(),
            4000
        );
        assert!(dump.contains("PostgreSQL database dump complete"));
    }
    // Two at once, one of which writes.
    let ((one, _one), (two, _two)) = (port.connect().await, socket.connect().await);
    one.batch_execute("insert into posts values (0, 'by hand')")
        .await
        .unwrap();
    let title = "select title from posts where id = 0";
    assert_eq!(value(&two, title).await, "by hand");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_with_a_wrong_password_or_to_another_database() {
    let stage = start("forwarded_doors").await;
    let forward = Forward::on_port(&stage, &[]);
    let mut wrong = forward.config();
    wrong.password("guessed");
    let (code, text) = forward.refusal(&wrong).await;
    assert_eq!(code, SqlState::INVALID_PASSWORD, "{text}");
    assert!(text.contains("printed when it started"), "{text}");
    let mut other = forward.config();
    other.dbname("postgres");
    let (code, text) = forward.refusal(&other).await;
    assert_eq!(code, SqlState::INVALID_CATALOG_NAME, "{text}");
    let log = stage.get("audit").await.to_string();
    let opened = log.matches("forward.open").count();
    assert_eq!(
        opened, 1,
        "only its own try at the start reached the relay: {log}"
    );
    let (code, text) = refused(&stage, &stage.token().unwrap(), &["--listen", "0.0.0.0:0"]);
    assert!(code == 2 && text.contains("loopback"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shown_cancelled_and_noted_at_both_ends() {
    let stage = start("forwarded_record").await;
    let mut forward = Forward::on_port(&stage, &[]);
    let (client, connection) = forward.connect().await;
    assert_eq!(value(&client, "select 'here'").await, "here");
    wait_open(&stage, 1).await;
    let agent = stage.get("agents/office-db").await;
    let shown = &agent["forwards"][0];
    assert_eq!(
        (&shown["target"], &shown["by"]),
        (&json!("main"), &json!("token:operator"))
    );
    assert!(
        shown["from_database_bytes"].as_u64().unwrap() > 0,
        "{agent:#}"
    );
    let told = stage.agent_says("status");
    assert_eq!(told["sessions"][0]["purpose"], "forward", "{told:#}");

    let cancel = client.cancel_token();
    let sleeping = tokio::spawn(async move {
        let slept = client.batch_execute("select pg_sleep(600)").await;
        (client, slept)
    });
    let is_running = "select count(*) = 1 from pg_stat_activity where query like 'select pg_sleep%'
                      and application_name like 'tidegate/@forward/%'";
    let admin = stage.left.admin().await;
    stage
        .wait("the query to run", async |_: &Stage| {
            admin.query_one(is_running, &[]).await.unwrap().get(0)
        })
        .await;
    cancel.cancel_query(NoTls).await.unwrap();
    let (client, slept) = within(sleeping).await.unwrap();
    assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    assert_eq!(value(&client, "select 'still here'").await, "still here");
    drop(client);
    assert_eq!(within(connection).await.unwrap(), None, "a clean end");

    stage
        .wait("both records", async |stage: &Stage| {
            let relay = stage.get("audit").await.to_string();
            let log = std::fs::read_to_string(stage.dir.path().join("agent/audit.log")).unwrap();
            relay.contains("from it, ended as done")
                && log.contains("stream.close")
                && log.contains("bytes to the database")
        })
        .await;
    assert_eq!(stage.get("audit/verify").await["intact"], true);
    assert!(
        stage
            .agent_command(&["audit", "verify"])
            .contains("none changed")
    );
    assert_eq!(forward.end(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_plain_tokens_closed_targets_and_paused_agents_forward_nothing() {
    let stage = start("forwarded_no").await;
    let viewer = token(&stage, json!({"name": "v", "role": "viewer"})).await;
    let (code, text) = refused(&stage, &viewer, &["--listen", "127.0.0.1:0"]);
    assert!(
        code == 1 && text.contains("needs the role editor"),
        "{text}"
    );
    let plain = token(&stage, json!({"name": "p", "role": "admin"})).await;
    let (code, text) = refused(&stage, &plain, &["--listen", "127.0.0.1:0"]);
    assert!(code == 1 && text.contains("--may-forward"), "{text}");
    let body = json!({"name": "x", "role": "viewer", "may_forward": true});
    let (ok, problem) = stage.try_post("tokens", body).await;
    assert!(!ok && problem["code"] == "bad-scope", "{problem}");

    let forward = Forward::on_port(&stage, &[]);
    let (client, connection) = forward.connect().await;
    stage.agent_command(&["pause", "--reason", "month end"]);
    let (code, text) = within(connection).await.unwrap().expect("it is cut");
    assert_eq!(code, SqlState::CONNECTION_FAILURE, "{text}");
    drop(client);
    let (code, text) = forward.refusal(&forward.config()).await;
    assert_eq!(code, SqlState::CONNECTION_FAILURE, "{text}");
    assert!(
        text.contains("month end") && text.contains("resume"),
        "{text}"
    );
    stage.agent_command(&["resume"]);
    let (client, _connection) = forward.connect().await;
    assert_eq!(value(&client, "select 'again'").await, "again");
}

/// The answer to a request for a session that the API refuses.
async fn upgrade(stage: &Stage, target: &str) -> serde_json::Value {
    let answer = request_upgrade(stage, target).await;
    assert!(!answer.status().is_success(), "{answer:?}");
    answer.json().await.unwrap()
}

async fn request_upgrade(stage: &Stage, target: &str) -> reqwest::Response {
    let url = stage.url(&format!("agents/office-db/forward?target={target}"));
    let request = reqwest::Client::new().post(url);
    let request = request.bearer_auth(stage.token().unwrap());
    let request = request.header("connection", "upgrade");
    request.header("upgrade", PROTOCOL).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_open_or_passes_logins_on_is_told_at_once() {
    let mut stage = Stage::start("forwarded_targets").await;
    let operator = stage.token().unwrap();
    let (code, text) = refused(&stage, &operator, &["--listen", "127.0.0.1:0"]);
    assert!(code == 1 && text.contains("forward = \"yes\""), "{text}");
    let agent = stage.get("agents/office-db").await;
    assert_eq!(agent["targets"][0]["forward"], false, "{agent:#}");
    // The API refuses by what the agent's hello said, without asking it.
    let told = upgrade(&stage, "main").await;
    assert_eq!(told["code"], "forward-closed", "{told:#}");
    let denied = stage.agent_command(&["audit", "show", "--last", "50"]);
    assert!(!denied.contains("stream.deny"), "{denied}");
    let open = "allow_ddl = true\nforward = \"passthrough\"\n";
    stage.restart_agent_with("allow_ddl = true\n", open).await;
    let (code, text) = refused(&stage, &operator, &["--listen", "127.0.0.1:0"]);
    assert!(code == 2 && text.contains("--socket"), "{text}");
    let own = stage.dir.path().join("own");
    let forward = Forward::start(&stage, &["--socket", own.to_str().unwrap()]);
    let mut person = forward.config();
    person.user("postgres").password(PASSWORD);
    let (client, connection) = person.connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(
        value(&client, "select session_user::text").await,
        "postgres"
    );
    drop(client);
    within(connection).await.unwrap().unwrap();
    person.password("guessed");
    let (code, _) = forward.refusal(&person).await;
    assert_eq!(code, SqlState::INVALID_PASSWORD);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_opens_is_told_while_a_sync_is_live() {
    let stage = Stage::start("forwarded_reload").await;
    for client in [stage.left.client().await, stage.right.client().await] {
        client.batch_execute(POSTS).await.unwrap();
    }
    stage.apply(FILE).await;
    let before = stage.get("agents/office-db").await;
    // A second target, as its operator opens it to people.
    let path = stage.dir.path().join("agent.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, first) = text.split_once("[[target]]").unwrap();
    let second = first.replace("name = \"main\"", "name = \"people\"");
    let text = format!("{text}[[target]]{second}forward = \"yes\"\n");
    std::fs::write(&path, text).unwrap();
    let told = upgrade(&stage, "people").await;
    assert_eq!(told["code"], "forward-closed", "{told:#}");
    let pid = stage.agent_pid().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(sent.success());
    let is_open = async |stage: &Stage| {
        let agent = stage.get("agents/office-db").await;
        agent["targets"][1]["forward"] == true
    };
    stage
        .wait("the relay to know the new target", is_open)
        .await;
    let after = stage.get("agents/office-db").await;
    assert_eq!(before["since"], after["since"], "the session was cut");
    let opened = request_upgrade(&stage, "people").await;
    assert_eq!(opened.status(), reqwest::StatusCode::SWITCHING_PROTOCOLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_time_and_with_its_token() {
    let stage = start("forwarded_time").await;
    let mut brief = Forward::on_port(&stage, &["--for", "3s"]);
    let (_client, connection) = brief.connect().await;
    let (code, text) = within(connection).await.unwrap().expect("its time is over");
    assert_eq!(code, SqlState::ADMIN_SHUTDOWN, "{text}");
    assert!(text.contains("time"), "{text}");
    assert_eq!(brief.child.wait().unwrap().code(), Some(0));

    let body = json!({"name": "lent", "role": "editor", "may_forward": true});
    let lent = token(&stage, body).await;
    let forward = Forward::start_with(&stage, &lent, &["--listen", "127.0.0.1:0"]);
    let (_client, connection) = forward.connect().await;
    let began = Instant::now();
    stage.delete("tokens/lent").await;
    let (code, text) = within(connection)
        .await
        .unwrap()
        .expect("the token is gone");
    assert_eq!(code, SqlState::ADMIN_SHUTDOWN, "{text}");
    assert!(text.contains("token was taken back"), "{text}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let (_, text) = forward.refusal(&forward.config()).await;
    assert!(text.contains("token"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_drains_or_dies_is_told_and_the_next_session_comes_through() {
    let mut stage = start("forwarded_restart").await;
    let forward = Forward::on_port(&stage, &[]);
    for drains in [true, false] {
        let (client, connection) = forward.connect().await;
        client.batch_execute("begin").await.unwrap();
        if drains {
            assert!(stage.drain_relay().await.success());
        } else {
            stage.kill_relay();
        }
        let (code, text) = within(connection).await.unwrap().expect("a last word");
        let (expected, words) = match drains {
            true => (SqlState::ADMIN_SHUTDOWN, "the relay is shutting down"),
            false => (
                SqlState::CONNECTION_FAILURE,
                "connection to the relay broke",
            ),
        };
        assert!(code == expected && text.contains(words), "{code:?} {text}");
        let (_, text) = forward.refusal(&forward.config()).await;
        assert!(text.contains("does not answer"), "{text}");
        stage.start_relay().await;
        stage
            .wait("the agent to come back", async |stage: &Stage| {
                stage.get("agents/office-db").await["state"] == "online"
            })
            .await;
        let (client, _connection) = forward.connect().await;
        assert_eq!(value(&client, "select 'back'").await, "back");
    }
}

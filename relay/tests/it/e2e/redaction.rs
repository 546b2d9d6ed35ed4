//! Known secrets in every input, then everything that the programs say or keep is searched for them:
//! logs at their most talkative, answers, metrics, diagnostics, argument lists and files.
//!
//! Environments are not searched: a proxy's password comes in by one, and only the process's own user
//! and root can read it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::postgres::{ROLE, Server};

use super::stage::{Stage, agent_binary, relay_binary};
use super::two_way::{FILE, POSTS};

const OFFICE: &str = "planted-office-5b1de0c7a94f";
const DIRECT: &str = "planted-direct-c02f9e6b71d8";
const WRONG: &str = "planted-wrong-18e4a7d35c90";
const APP: &str = "planted-app-7d60b2f9c3e1";
const PERSON: &str = "planted-person-e93c5a10f84d";
const PROXY: &str = "planted-proxy-4fa8d1762b0e";
const HOOK: &str = "planted-hook-2d7c40e8b915";
const MAIL: &str = "planted-mail-b83f6a1c52d0";
const STRANGER: &str = "planted-stranger-a61f0c9d827b";
const ROW: &str = "planted-row-f30b7e52d9c6";

/// What must not be found, by what it is.
type Needles = Vec<(String, String)>;

/// Texts that the programs gave, by where.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, place: &str, text: impl ToString) {
        self.0.push((place.to_owned(), text.to_string()));
    }

    fn add_output(&mut self, place: &str, done: &Output) {
        for (stream, bytes) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
            self.add(
                &format!("{place}, {stream}"),
                String::from_utf8_lossy(bytes),
            );
        }
    }

    /// Every place that holds one of them.
    fn leaks(&self, needles: &Needles) -> Vec<String> {
        let mut found = Vec::new();
        for (place, text) in &self.0 {
            for (what, needle) in needles {
                if let Some(at) = text.find(needle.as_str()) {
                    let line = text[..at].rsplit('\n').next().unwrap_or_default();
                    let line: String = line.chars().take(300).collect();
                    found.push(format!("{place} holds {what}: {line}"));
                }
            }
        }
        found
    }
}

/// A stage whose private role, other role and programs' environment are what is searched for.
async fn planted(format: &str) -> Stage {
    let other = Server::shared();
    let role = |name: &str, password: &str| {
        format!("create role {name} login replication password '{password}' in role {ROLE};")
    };
    let (office, direct) = (format!("office_{format}"), format!("direct_{format}"));
    let private = Server::start_with(&[]);
    let hint = format!("redaction_{format}");
    let sql = role(&office, OFFICE);
    let mut stage = Stage::start_with_role(&private, &other, &hint, &sql, &office, OFFICE).await;
    let admin = stage.right.admin().await;
    admin.batch_execute(&role(&direct, DIRECT)).await.unwrap();
    stage.kill_agent();
    stage.kill_relay();
    stage.environment = vec![
        ("TIDEGATE_LOG".into(), "trace".into()),
        ("TIDEGATE_LOG_FORMAT".into(), format.into()),
        ("RUST_BACKTRACE".into(), "full".into()),
    ];
    stage.start_relay().await;
    stage.start_agent();
    let online = async |stage: &Stage| stage.get("agents/office-db").await["state"] == "online";
    stage.wait("the agent to come online", online).await;
    let (port, name) = (stage.right.server.port(), &stage.right.name);
    for (connection, password) in [("direct", DIRECT), ("wrong", WRONG)] {
        let url = format!("postgres://{direct}:{password}@127.0.0.1:{port}/{name}?sslmode=disable");
        let new = json!({"name": connection, "kind": "postgres", "url": url});
        stage.post("connections", new).await;
    }
    let gone = format!("postgres://{direct}:{WRONG}@127.0.0.1:1/{name}?sslmode=disable");
    let new = json!({"name": "gone", "kind": "postgres", "url": gone});
    stage.post("connections", new).await;
    stage
}

/// An app that refuses every sign-in and repeats it in its answer. What it was sent is kept.
async fn repeating_app() -> (String, Arc<Mutex<Option<String>>>) {
    type Heard = Arc<Mutex<Option<String>>>;
    async fn refuse(State(heard): State<Heard>, headers: HeaderMap) -> (StatusCode, String) {
        let sent = headers["authorization"].to_str().unwrap().to_owned();
        let answer = json!({"errno": 104, "error": sent, "message": format!("{sent} is wrong")});
        *heard.lock().unwrap() = Some(sent);
        (StatusCode::UNAUTHORIZED, answer.to_string())
    }
    let heard = Heard::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(refuse)
        .with_state(Arc::clone(&heard));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (base_url, heard)
}

/// Records cross, one is refused with its value in the database's words, and one is asked about.
async fn rows_cross(stage: &Stage) {
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    for client in [&left, &right] {
        client.batch_execute(POSTS).await.unwrap();
    }
    // A customer's own trigger, which talks.
    right
        .batch_execute(
            "create function tell() returns trigger language plpgsql as $$ begin
               raise notice 'got %', new.title; raise warning 'got %', new.title; return new;
             end $$;
             create trigger tell before insert or update on posts for each row
               execute function tell();
             alter table posts add check (title not like '%refused%')",
        )
        .await
        .unwrap();
    let sql = format!("insert into posts (slug, title) values ('a', '{ROW}'), ('b', '{ROW}')");
    left.batch_execute(&sql).await.unwrap();
    let file = FILE.replace("marketing", "direct");
    stage.apply(&file).await;
    stage.assert_equal("blog").await;
    let sql = format!("update posts set title = '{ROW} refused' where slug = 'a'");
    left.batch_execute(&sql).await.unwrap();
    let found = async |stage: &Stage| stage.get("syncs/blog/findings").await[0].is_object();
    stage.wait("the refused record", found).await;
    stage.post("syncs/blog/pause", json!({})).await;
    for (client, title) in [(&left, "left"), (&right, "right")] {
        let sql = format!("update posts set title = '{ROW} {title}' where slug = 'b'");
        client.batch_execute(&sql).await.unwrap();
    }
    stage.post("syncs/blog/resume", json!({})).await;
    let found = async |stage: &Stage| stage.get("syncs/blog/conflicts").await[0].is_object();
    stage.wait("the conflict", found).await;
}

/// Sign-ins, tokens and connections, right ones and wrong ones. Gives what they made up.
async fn people_come_and_go(stage: &Stage, said: &mut Said) -> Needles {
    let person = json!({"name": "ada", "role": "admin", "password": PERSON});
    said.add("add_user", stage.post("users", person).await);
    let sign_in = async |password: &str| {
        let body = json!({"name": "ada", "password": password});
        let request = Client::new().post(stage.url("session")).json(&body);
        request.header("x-tidegate", "1").send().await.unwrap()
    };
    let refused = sign_in(WRONG).await;
    assert_eq!(refused.status(), 401);
    said.add("sign_in, refused", refused.text().await.unwrap());
    let let_in = sign_in(PERSON).await;
    let cookie = let_in.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    said.add("sign_in", let_in.text().await.unwrap());
    let ask = |path: &str| Client::new().get(stage.url(path)).header("x-tidegate", "1");
    let me = ask("session").header("cookie", &cookie).send().await;
    let me = me.unwrap().error_for_status().unwrap();
    said.add("who_am_i", me.text().await.unwrap());

    let made = stage.post("tokens", json!({"name": "script"})).await;
    let token = made["token"].as_str().unwrap().to_owned();
    let used = ask("syncs").bearer_auth(&token).send().await.unwrap();
    said.add(
        "list_syncs",
        used.error_for_status().unwrap().text().await.unwrap(),
    );
    let stranger = ask("syncs")
        .bearer_auth(format!("tg_api_{STRANGER}"))
        .send();
    let stranger = stranger.await.unwrap();
    assert_eq!(stranger.status(), 401);
    said.add("list_syncs, refused", stranger.text().await.unwrap());
    let secret = cookie.split_once('=').unwrap().1.to_owned();
    vec![
        ("the session".into(), secret),
        ("the API token".into(), token),
    ]
}

/// Everything that goes wrong with a connection.
async fn connections_fail(stage: &Stage, said: &mut Said) -> Needles {
    let (base_url, heard) = repeating_app().await;
    let app = json!({"name": "app", "kind": "kinto", "base_url": base_url,
        "token": format!("admin:{APP}"), "allow_private": true});
    said.add("add_connection", stage.post("connections", app).await);
    for name in ["app", "wrong", "gone", "direct", "office-db"] {
        let (_, answer) = stage
            .try_post(&format!("connections/{name}/test"), json!({}))
            .await;
        said.add(&format!("test_connection {name}"), answer);
    }
    for url in [
        format!("postgres://u:{WRONG}@[::1/db"),
        format!("postgres://u:{WRONG}@h:port/db"),
        format!("postgres://u:{WRONG}@h/db?sslmode=some"),
        format!("mysql://u:{WRONG}@h/db"),
        format!("host=h password={WRONG} nonsense"),
    ] {
        let new = json!({"name": "bad", "kind": "postgres", "url": url});
        let (ok, answer) = stage.try_post("connections", new).await;
        assert!(!ok, "{answer}");
        said.add("add_connection, refused", answer);
    }
    let file = FILE.replace("marketing", "wrong").replace("blog", "never");
    let (ok, answer) = stage.try_post("syncs/apply", json!({"file": file})).await;
    said.add(&format!("apply_sync, {ok}"), answer);
    let sent = heard.lock().unwrap().clone();
    let sent = sent.expect("the app was asked");
    vec![(
        "the app's sign-in".into(),
        sent.rsplit(' ').next().unwrap().to_owned(),
    )]
}

/// Somebody is told, at addresses that lead nowhere. Gives the secret that was made.
async fn somebody_is_notified(stage: &Stage, said: &mut Said) -> Needles {
    let url = format!("http://127.0.0.1:1/{HOOK}?token={HOOK}");
    let hook = json!({"name": "hook", "webhook": {"url": url}, "allow_private": true});
    let made = stage.post("channels", hook).await;
    let mail = json!({"name": "mail", "allow_private": true, "email": {"host": "127.0.0.1", "port": 1,
        "security": "none", "user": "relay", "password": MAIL, "from": "a@example.com",
        "to": ["b@example.com"]}});
    said.add("add_channel", stage.post("channels", mail).await);
    for name in ["hook", "mail"] {
        let test = stage
            .post(&format!("channels/{name}/test"), json!({}))
            .await;
        assert_eq!(test["delivered"], false);
        said.add("test_channel", test);
    }
    let secret = made["secret"].as_str().unwrap().to_owned();
    vec![("the webhook's secret".into(), secret)]
}

/// A second agent: one token that is refused and one that is taken, and a proxy that nobody answers.
async fn agents_pair(stage: &Stage, said: &mut Said) -> Needles {
    let dir = stage.dir.path();
    let config = fs::read_to_string(dir.join("agent.toml")).unwrap();
    let config = config.replace(&dir.join("agent").display().to_string(), "branch");
    fs::write(dir.join("branch.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(agent_binary());
        command.args(arguments).args(["--config", "branch.toml"]);
        command.current_dir(dir).env("TIDEGATE_LOG", "trace");
        command.output().unwrap()
    };
    let invited = stage.post("agents", json!({"name": "branch"})).await;
    let token = invited["token"].as_str().unwrap().to_owned();
    let used = stage.post("agents", json!({"name": "used"})).await;
    let used = used["token"].as_str().unwrap().to_owned();
    fs::write(dir.join("token"), token.replace("tg_pair_1", "tg_pair_1A")).unwrap();
    let refused = run(&["pair", "token"]);
    assert!(!refused.status.success());
    said.add_output("pair with a mistyped token", &refused);
    fs::write(dir.join("token"), &used).unwrap();
    stage.post("agents/used/revoke", json!({})).await;
    let refused = run(&["pair", "token"]);
    assert!(!refused.status.success());
    said.add_output("pair with a revoked token", &refused);
    fs::write(dir.join("token"), &token).unwrap();
    let paired = run(&["pair", "token"]);
    assert!(paired.status.success(), "{paired:?}");
    said.add_output("pair", &paired);
    fs::remove_file(dir.join("token")).unwrap();
    for arguments in [
        ["check", "--json"],
        ["status", "--json"],
        ["check", "--bundle=branch.tar.gz"],
    ] {
        let mut command = Command::new(agent_binary());
        command.args(arguments).args(["--config", "branch.toml"]);
        command.current_dir(dir).env("TIDEGATE_LOG", "trace");
        command.env("HTTPS_PROXY", format!("http://office:{PROXY}@127.0.0.1:1"));
        said.add_output(arguments[0], &command.output().unwrap());
    }
    // Unpacked into what is searched afterwards.
    let bundle = dir.join("bundle");
    fs::create_dir(&bundle).unwrap();
    let unpacked = Command::new("tar")
        .args(["-xzf", "branch.tar.gz", "-C", "bundle"])
        .current_dir(dir)
        .status();
    assert!(unpacked.unwrap().success());
    assert!(bundle.join("tidegate-agent/check.json").exists());
    // The end of a token holds its secret and a checksum; its beginning says where the relay is.
    let secret = |token: &str| token[token.len() - 24..].to_owned();
    vec![
        ("the pairing token".into(), secret(&token)),
        ("the revoked pairing token".into(), secret(&used)),
    ]
}

/// What every reading operation answers, and metrics, diagnostics and argument lists.
async fn everything_is_asked(stage: &Stage, said: &mut Said) {
    let document = stage.get("openapi.json").await;
    for (path, item) in document["paths"].as_object().unwrap() {
        if item["get"].is_null() || path.ends_with("/live") {
            continue;
        }
        let name = match path.split('/').nth(3).unwrap() {
            "syncs" => "blog",
            "agents" => "office-db",
            "channels" => "hook",
            _ => "direct",
        };
        let path = path.replace("{name}", name).replace("{id}", "1");
        let token = fs::read_to_string(stage.dir.path().join("relay/operator.token")).unwrap();
        let answer = Client::new()
            .request(Method::GET, stage.url(path.trim_start_matches("/api/v1/")))
            .query(&[("left", "office-db"), ("right", "direct"), ("run", "1")])
            .timeout(std::time::Duration::from_secs(20))
            .bearer_auth(token.trim());
        // A stream of events does not end.
        if let Ok(answer) = answer.send().await
            && !answer.headers()["content-type"]
                .to_str()
                .unwrap()
                .contains("event-stream")
        {
            said.add(&format!("GET {path}"), answer.text().await.unwrap());
        }
    }
    said.add("/metrics", stage.metrics().await);
    said.add("agent check", stage.agent_says("check"));
    said.add("agent status", stage.agent_says("status"));
    said.add("agent audit", stage.agent_command(&["audit", "show"]));
    for pid in [stage.relay_pid(), stage.agent_pid()] {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        said.add("arguments", String::from_utf8_lossy(&arguments));
    }
}

/// All files but those whose purpose is to hold a secret.
fn read_files(dir: &Path, said: &mut Said) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            read_files(&path, said);
        } else if !["main.password", "master.key", "operator.token"].contains(&name.as_str())
            // A socket can't be read.
            && let Ok(bytes) = fs::read(&path)
        {
            said.add(&path.display().to_string(), String::from_utf8_lossy(&bytes));
        }
    }
}

async fn nothing_leaks(format: &str) {
    let stage = planted(format).await;
    let mut said = Said::default();
    rows_cross(&stage).await;
    let mut needles = people_come_and_go(&stage, &mut said).await;
    needles.extend(connections_fail(&stage, &mut said).await);
    needles.extend(somebody_is_notified(&stage, &mut said).await);
    needles.extend(agents_pair(&stage, &mut said).await);
    everything_is_asked(&stage, &mut said).await;
    let data = stage.dir.path().join("relay");
    for (what, file) in [
        ("the master key", "master.key"),
        ("the operator token", "operator.token"),
    ] {
        let secret = fs::read_to_string(data.join(file)).unwrap();
        needles.push((what.into(), secret.trim().to_owned()));
    }
    for (what, secret) in [
        ("the private password", OFFICE),
        ("the direct password", DIRECT),
        ("a wrong password", WRONG),
        ("the app's token", APP),
        ("a person's password", PERSON),
        ("the proxy's password", PROXY),
        ("an unknown token", STRANGER),
        ("a webhook's URL", HOOK),
        ("a mail server's password", MAIL),
    ] {
        needles.push((what.into(), secret.into()));
    }
    let logs = |name: &str| fs::read_to_string(stage.dir.path().join(name)).unwrap();
    for log in ["relay.log", "agent.log"] {
        let text = logs(log);
        assert!(text.contains("TRACE"), "{log} is talkative");
        assert_eq!(
            text.contains("\"level\":\"TRACE\""),
            format == "json" && log == "relay.log"
        );
    }
    read_files(stage.dir.path(), &mut said);
    // Whoever may read conflicts and history is shown values; nothing else shows them.
    let rows = vec![("a row's value".to_owned(), ROW.to_owned())];
    let shown = ["conflicts", "history", "writes", "findings"];
    let mut leaks = said.leaks(&needles);
    said.0
        .retain(|(place, _)| !shown.iter().any(|shown| place.ends_with(shown)));
    leaks.extend(said.leaks(&rows));
    assert!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_row_is_in_logs_answers_metrics_arguments_or_files() {
    nothing_leaks("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_logs_hold_no_secret_and_no_row_either() {
    nothing_leaks("json").await;
}

#[test]
fn a_refused_configuration_is_told_without_the_secret_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    let target = "[[target]]\nname = \"main\"\ndatabase = \"db\"\nuser = \"u\"\n";
    let mut said = Said::default();
    for (program, command, text) in [
        (
            agent_binary(),
            "run",
            format!("{target}address = \"h:1\"\npassword = \"{WRONG}\"\n"),
        ),
        (
            agent_binary(),
            "run",
            format!("{target}address = \"postgres://u:{WRONG}@h:1/db\"\n"),
        ),
        (
            agent_binary(),
            "run",
            format!("{target}address = \"h:1\"\npassword_file = {WRONG}\n"),
        ),
        (
            agent_binary(),
            "run",
            format!("proxy = \"http://u:{WRONG}@h:1\"\n"),
        ),
        (
            agent_binary(),
            "run",
            format!("proxy = \"http://u:{WRONG}@h:port\"\n"),
        ),
        (
            agent_binary(),
            "run",
            format!("proxy = \"http://u:{WRONG}@h\n{target}"),
        ),
        (
            relay_binary(),
            "serve",
            format!("master_key = \"{WRONG}\"\n"),
        ),
        (relay_binary(), "serve", format!("data_dir = {WRONG}\n")),
        (
            relay_binary(),
            "serve",
            format!("[http]\nlisten = \"u:{WRONG}@127.0.0.1:8080\"\n"),
        ),
        (
            relay_binary(),
            "serve",
            format!("[tunnel]\nnames = [\"https://u:{WRONG}@relay.example.com\"]\n"),
        ),
        (
            relay_binary(),
            "serve",
            format!("[egress]\npublic = [\"{WRONG}\"]\n"),
        ),
    ] {
        fs::write(&file, &text).unwrap();
        let mut run = Command::new(program);
        let done = run.args([command, "--config"]).arg(&file).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{text}: {done:?}");
        said.add_output(&text.replace(WRONG, "…"), &done);
    }
    let leaks = said.leaks(&vec![("the secret".into(), WRONG.into())]);
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

#[test]
fn the_search_finds_what_is_there_and_says_where() {
    let mut said = Said::default();
    said.add("a log", format!("one\ntwo {WRONG} three"));
    said.add("another", Value::Null);
    let leaks = said.leaks(&vec![("a secret".into(), WRONG.into())]);
    assert_eq!(leaks, ["a log holds a secret: two "]);
}

//! The program itself: arguments, exit codes, what is printed and what is not.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tidegate_agent::identity::keystore::Keystore;

use super::relay::{HOUR, Relay, pair};
use super::server::{PASSWORD, server};

const TOKEN: &str = "tg_pair_1AbCdEfGhIjKlMnOp";

/// Runs the agent with a configuration of `targets` in `directory`; `stdin` is its input.
fn agent(directory: &Path, targets: &str, arguments: &[&str], stdin: &str) -> Output {
    let config = directory.join("agent.toml");
    std::fs::write(&config, format!("state_dir = \"state\"\n{targets}")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate-agent"))
        .args(arguments)
        .env("TIDEGATE_AGENT_CONFIG", &config)
        .env_remove("TIDEGATE_PAIRING_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn run(arguments: &[&str], stdin: &str) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    texts(&agent(directory.path(), "", arguments, stdin))
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn token_is_never_taken_from_the_command_line() {
    let option = format!("--token={TOKEN}");
    for arguments in [
        vec!["pair", TOKEN],
        vec!["pair", &option],
        vec!["run", TOKEN],
        vec![TOKEN],
    ] {
        let (code, out, err) = run(&arguments, "");
        assert_eq!(code, 2, "{arguments:?}");
        assert!(
            err.contains("tidegate-agent pair -") && err.contains("revoke"),
            "{err}"
        );
        assert!(!err.contains(TOKEN) && !out.contains(TOKEN), "{err}");
    }
}

#[test]
fn wrong_token_is_one_line_that_doesnt_repeat_it() {
    for (stdin, expected) in [
        ("", "it is empty"),
        ("hello", "does not start with tg_pair_"),
        (TOKEN, "cut off"),
    ] {
        let (code, _, err) = run(&["pair", "-"], stdin);
        assert_eq!(code, 2);
        assert!(
            err.contains(expected) && err.lines().count() == 1,
            "{stdin}: {err}"
        );
        assert!(!err.contains(TOKEN));
    }
}

#[test]
fn wrong_configuration_exits_with_the_usage_code_and_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let output = agent(
        directory.path(),
        "[[target]]\nnam = \"x\"\n",
        &["check"],
        "",
    );
    let (code, _, err) = texts(&output);
    assert_eq!(code, 2);
    assert!(err.contains("agent.toml:3:1: unknown field `nam`"), "{err}");
    let (code, _, err) = run(&["--config", "/nonexistent", "run"], "");
    assert!(
        code == 2 && err.contains("can't read /nonexistent"),
        "{err}"
    );
}

#[test]
fn unpaired_or_stopped_agent_says_what_to_do_next() {
    let (code, _, err) = run(&["run"], "");
    assert!(
        code == 1 && err.contains("run `tidegate-agent pair`"),
        "{err}"
    );
    let (code, _, err) = run(&["status"], "");
    assert!(code == 1 && err.contains("no agent is running"), "{err}");
}

#[tokio::test]
async fn an_agent_that_is_paired_is_left_alone_where_that_is_asked() {
    let (directory, relay) = (tempfile::tempdir().unwrap(), Relay::start());
    let asked = ["pair", "--unless-paired", "no-such-token"];
    let (code, _, err) = texts(&agent(directory.path(), "", &asked, ""));
    assert!(code == 2 && err.contains("no-such-token"), "{err}");

    let store = Keystore::new(&directory.path().join("state"));
    pair(&relay, &store, Duration::ZERO, HOUR).await;
    let before = store.current().unwrap().key.fingerprint();
    let (code, out, err) = texts(&agent(directory.path(), "", &asked, ""));
    assert!(code == 0 && out.contains("Already paired as"), "{out}{err}");
    assert_eq!(store.current().unwrap().key.fingerprint(), before);
}

#[test]
fn help_of_every_command_has_an_example() {
    for command in ["pair", "run", "check", "status", "pause", "resume", "grant"] {
        let (code, out, _) = run(&[command, "--help"], "");
        assert!(code == 0 && out.contains("Example: "), "{out}");
    }
}

#[test]
fn doctor_looks_at_every_target_down_to_its_role() {
    let directory = tempfile::tempdir().unwrap();
    let server = server();
    let password = server.directory.join("password");
    let target = |name: &str, user: &str, database: &str| {
        format!(
            "[[target]]\nname=\"{name}\"\naddress=\"127.0.0.1:{}\"\ndatabase=\"{database}\"\n\
             user=\"{user}\"\npassword_file=\"{}\"\n",
            server.port,
            password.display()
        )
    };
    let targets = [
        target("good", "tidegate", "shop"),
        target("super", "postgres", "shop"),
        target("weak", "reader", "shop"),
        target("gone", "tidegate", "nowhere"),
    ];
    let output = agent(
        directory.path(),
        &targets.concat(),
        &["check", "--json"],
        "",
    );
    let (code, out, err) = texts(&output);
    assert_eq!(code, 1, "{err}");
    assert!(!out.contains(PASSWORD) && !err.contains(PASSWORD));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let state = |subject: &str, check: &str| {
        let is = |c: &&serde_json::Value| c["subject"] == subject && c["check"] == check;
        let found = report["checks"].as_array().unwrap().iter().find(is);
        found.map(|c| c["state"].as_str().unwrap().to_owned())
    };
    let is = |subject, check, expected: &str| {
        assert_eq!(
            state(subject, check).as_deref(),
            Some(expected),
            "{subject} {check}: {out}"
        );
    };
    is("agent", "identity", "failed");
    for check in [
        "connect",
        "tls",
        "login",
        "server",
        "wal_level",
        "replication",
        "slots",
        "role",
        "idle time",
        "connections",
        "replica identity",
    ] {
        is("target good", check, "ok");
    }
    is("target super", "role", "warning");
    is("target weak", "replication", "failed");
    is("target gone", "login", "failed");
}

/// The archive's parts, by name.
fn unpacked(archive: &Path, into: &Path) -> Vec<(String, String)> {
    std::fs::create_dir(into).unwrap();
    let done = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(into)
        .status()
        .unwrap();
    assert!(done.success());
    let parts = std::fs::read_dir(into.join("tidegate-agent")).unwrap();
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    let mut parts: Vec<_> = parts.map(read).collect();
    parts.sort();
    parts
}

#[test]
fn bundle_has_what_helps_and_no_secret_wherever_it_was_written() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let server = server();
    let planted = "proxy-pass-7c1e90";
    std::fs::write(here.join("proxy.password"), planted).unwrap();
    let password = server.directory.join("password");
    let targets = format!(
        "proxy = \"http://ada@127.0.0.1:1\"\nproxy_password_file = \"proxy.password\"\n\
         # {PASSWORD}\n[[target]]\nname=\"main\"\naddress=\"127.0.0.1:{}\"\ndatabase=\"shop\"\n\
         user=\"tidegate\"\npassword_file=\"{}\"\n",
        server.port,
        password.display()
    );
    std::fs::create_dir(here.join("state")).unwrap();
    // Somebody typed both, and a token, where no secret belongs.
    let typed = format!("it is {PASSWORD} or {planted} or {TOKEN}");
    let paused = agent(here, &targets, &["pause", "--reason", &typed], "");
    // Paused or refused for the token on its command line.
    assert_eq!(paused.status.code(), Some(2));
    let typed = format!("it is {PASSWORD} or {planted}");
    let paused = agent(here, &targets, &["pause", "--reason", &typed], "");
    assert!(paused.status.success(), "{paused:?}");

    let archive = here.join("support.tar.gz");
    let arguments = ["check", "--bundle", archive.to_str().unwrap()];
    let (code, _, err) = texts(&agent(here, &targets, &arguments, ""));
    assert!(code == 1 && err.contains("look through it"), "{err}");
    let mode = std::fs::metadata(&archive).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let parts = unpacked(&archive, &here.join("unpacked"));
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "README.txt",
        "audit.jsonl",
        "check.json",
        "configuration.json",
        "log.txt",
        "status.json",
        "versions.json",
    ];
    assert_eq!(names, expected);
    for (name, text) in &parts {
        for secret in [PASSWORD, planted, "1AbCdEfGh"] {
            assert!(!text.contains(secret), "{name}: {text}");
        }
    }
    let part = |name: &str| &parts.iter().find(|(found, _)| found == name).unwrap().1;
    assert!(part("audit.jsonl").contains("it is [removed] or [removed]"));
    assert!(part("configuration.json").contains("\"shop\""));
    let check: serde_json::Value = serde_json::from_str(part("check.json")).unwrap();
    assert!(check["checks"].as_array().unwrap().len() > 5, "{check}");

    // An older one is not replaced.
    let (code, _, err) = texts(&agent(here, &targets, &arguments, ""));
    assert!(code == 1 && err.contains("--bundle: "), "{err}");
}

/// What `grant` prints must run, and give exactly what it says.
#[tokio::test]
async fn printed_grants_run_and_give_no_more_than_they_say() {
    let server = server();
    let admin = server.superuser().await;
    let tables = "create table orders (id serial primary key, note text);
                  create table secrets (id int primary key)";
    admin.batch_execute(tables).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let target = "[[target]]\nname=\"main\"\naddress=\"127.0.0.1:1\"\ndatabase=\"shop\"\n\
                  user=\"granted\"\n";
    let output = agent(directory.path(), target, &["grant", "orders"], "");
    let (code, sql, err) = texts(&output);
    assert_eq!(code, 0, "{err}");
    admin.batch_execute(&sql).await.unwrap();
    let may = "select has_table_privilege('granted', 'orders', 'insert')
                  and has_sequence_privilege('granted', 'orders_id_seq', 'usage')
                  and not has_database_privilege('granted', 'shop', 'create')
                  and has_schema_privilege('granted', 'tidegate', 'create')
                  and not has_table_privilege('granted', 'secrets', 'select')
                  and not rolsuper and rolreplication and rolcanlogin
               from pg_roles where rolname = 'granted'";
    assert!(
        admin.query_one(may, &[]).await.unwrap().get::<_, bool>(0),
        "{sql}"
    );

    let with_ddl = format!("{target}allow_ddl=true\n").replace("granted", "creator");
    let output = agent(directory.path(), &with_ddl, &["grant", "orders"], "");
    let (code, sql, err) = texts(&output);
    assert_eq!(code, 0, "{err}");
    admin.batch_execute(&sql).await.unwrap();
    let may = "select has_database_privilege('creator', 'shop', 'create')";
    let row = admin.query_one(may, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "{sql}");
}

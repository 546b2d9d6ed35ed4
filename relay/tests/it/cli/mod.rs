//! The command line as scripts see it: exit codes, stdout and stderr of the real binary.

mod types;

use std::collections::VecDeque;
use std::process::Stdio;

use serde_json::Value;
use tidegate_relay::engine::handle::ConnectionProblem;
use tidegate_relay::engine::report::{UndoPlan, UndoTable, Writes};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::desk::Desk;

/// How a command ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs the binary without a terminal, against the desk's API.
async fn run(desk: &Desk, args: &[&str]) -> Ran {
    run_with(desk, args, "").await
}

async fn run_with(desk: &Desk, args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-relay"));
    command
        .args(args)
        .env_clear()
        .env("TIDEGATE_API", &desk.base)
        .env("TIDEGATE_TOKEN", &desk.token)
        .env("TIDEGATE_DATA_DIR", desk.dir.path());
    finish(command, input).await
}

async fn finish(mut command: Command, input: &str) -> Ran {
    let mut child = command
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may be gone already.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .await;
    let output = child.wait_with_output().await.unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The one document on stdout.
fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test]
async fn a_system_without_certificate_authorities_reaches_the_relay_on_its_own_host() {
    let desk = Desk::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-relay"));
    command
        .args(["agent", "list"])
        .env_clear()
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .env("TIDEGATE_API", &desk.base)
        .env("TIDEGATE_TOKEN", &desk.token);
    let ran = finish(command, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn a_plan_with_something_to_do_ends_with_3_and_one_without_with_0() {
    let desk = Desk::start().await;
    let file = desk.sync_file();
    let file = file.to_str().unwrap();
    assert_eq!(run(&desk, &["sync", "plan", file]).await.code, 0);
    desk.set(|script| script.preview.tables[0].create_right = 4);
    let ran = run(&desk, &["sync", "plan", file]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("public.posts"), "{ran:?}");
    let ran = run(&desk, &["sync", "plan", file, "--json"]).await;
    assert_eq!(
        (ran.code, &document(&ran)["tables"][0]["create_right"]),
        (3, &Value::from(4))
    );
    desk.set(|script| {
        script
            .preview
            .problems
            .push("table Posts has no primary key".into())
    });
    let ran = run(&desk, &["sync", "plan", file]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no primary key"), "{ran:?}");
}

#[tokio::test]
async fn a_wrong_sync_file_ends_with_2_and_the_place() {
    let desk = Desk::start().await;
    let file = desk.file("wrong.toml", "name = \"blog\"\nlfet = \"a\"\n");
    let ran = run(&desk, &["sync", "plan", file.to_str().unwrap()]).await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .contains("wrong.toml: line 2, column 1: unknown field `lfet`"),
        "{ran:?}"
    );
    let ran = run(&desk, &["sync", "plan", "/nowhere/at-all.toml"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("/nowhere/at-all.toml"), "{ran:?}");
}

#[tokio::test]
async fn apply_starts_only_what_was_approved() {
    let desk = Desk::start().await;
    desk.set(|script| script.preview.tables[0].create_right = 4);
    let file = desk.sync_file();
    let file = file.to_str().unwrap();
    let ran = run(&desk, &["sync", "apply", file]).await;
    assert_eq!(ran.code, 3, "there is nobody to ask: {ran:?}");
    assert!(
        ran.err.contains("--yes") && desk.orders().is_empty(),
        "{ran:?}"
    );
    assert_eq!(run(&desk, &["sync", "apply", file, "--yes"]).await.code, 0);
    assert_eq!(desk.orders(), ["apply, as planned: true"]);
    desk.set(|script| script.plan_changed = true);
    let ran = run(&desk, &["sync", "apply", file, "--yes"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("plan again"), "{ran:?}");
}

#[tokio::test]
async fn apply_waits_until_the_sync_is_live_or_has_failed() {
    let desk = Desk::start().await;
    let file = desk.sync_file();
    let args = ["sync", "apply", file.to_str().unwrap(), "--yes", "--wait"];
    let states = ["planning", "planning", "copying", "live"];
    desk.set(|script| script.states = VecDeque::from(states));
    let ran = run(&desk, &args).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("blog: copying") && ran.out.contains("blog: live"),
        "{ran:?}"
    );
    desk.set(|script| script.states = VecDeque::from(["planning", "failed"]));
    let ran = run(&desk, &args).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the slot is lost"), "{ran:?}");
}

#[tokio::test]
async fn verify_ends_with_3_when_the_sides_differ() {
    let desk = Desk::start().await;
    let ran = run(&desk, &["sync", "verify", "blog"]).await;
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with("equal as of"), "{ran:?}");
    desk.set(|script| script.equal = false);
    assert_eq!(run(&desk, &["sync", "verify", "blog"]).await.code, 3);
    let ran = run(&desk, &["--json", "sync", "verify", "blog"]).await;
    assert_eq!(
        (ran.code, &document(&ran)["equal"]),
        (3, &Value::from(false))
    );
}

#[tokio::test]
async fn a_repair_is_shown_and_written_only_when_approved() {
    let desk = Desk::start().await;
    desk.set(|script| script.equal = false);
    let repair = ["sync", "verify", "blog", "--repair"];
    let ran = run(&desk, &repair).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("A repair would write:"), "{ran:?}");
    assert!(ran.err.contains("--yes"), "{ran:?}");
    let is_repair = |order: &String| order.starts_with("repair");
    assert!(!desk.orders().iter().any(is_repair));
    let ran = run(&desk, &[&repair[..], &["--yes"]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(desk.orders().contains(&"repair blog, 1 tables".to_owned()));
}

#[tokio::test]
async fn an_undo_shows_its_plan_asks_and_does_that_one() {
    let desk = Desk::start().await;
    let args = ["sync", "undo", "blog", "12", "--side", "right"];
    let ran = run(&desk, &args).await;
    assert_eq!(ran.code, 0, "nothing to put back: {ran:?}");
    desk.set(|script| {
        script.undo = UndoPlan {
            upto: 77,
            tables: vec![UndoTable {
                table: "public.posts".into(),
                puts_back: Writes {
                    deletes: 2,
                    ..Writes::default()
                },
                ..UndoTable::default()
            }],
            ..UndoPlan::default()
        }
    });
    let ran = run(&desk, &args).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("public.posts"), "{ran:?}");
    let planned = "plan undo blog Some(\"12\") Some(\"right\")";
    assert_eq!(
        desk.orders(),
        [planned, planned],
        "nothing is written unasked"
    );
    let ran = run(&desk, &[&args[..], &["--yes", "--json"]].concat()).await;
    assert_eq!(
        (ran.code, &document(&ran)["done"]["deletes"]),
        (0, &Value::from(2))
    );
    assert_eq!(desk.orders().last().unwrap(), "undo blog up to 77");
}

#[tokio::test]
async fn the_other_sync_commands_end_with_0_and_print_documents() {
    let desk = Desk::start().await;
    for args in [
        vec!["sync", "list"],
        vec!["sync", "status", "blog"],
        vec!["sync", "pause", "blog"],
        vec!["sync", "resume", "blog"],
        vec!["sync", "findings", "blog", "--retry"],
        vec!["sync", "history", "blog", "--record", "17", "--since", "2h"],
        vec!["sync", "history", "blog", "--runs"],
        vec!["sync", "export", "blog"],
        vec!["sync", "remove", "blog"],
        vec!["agent", "list"],
        vec!["connection", "list"],
        vec!["connection", "tables", "x"],
        vec!["token", "list"],
        vec!["egress"],
    ] {
        let ran = run(&desk, &args).await;
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        let ran = run(&desk, &[args, vec!["--json"]].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        document(&ran);
    }
}

#[tokio::test]
async fn an_invitation_is_the_token_alone_on_stdout() {
    let desk = Desk::start().await;
    let ran = run(&desk, &["agent", "invite", "office-db", "--expires", "30m"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "tg_pair_1abc\n"));
    assert_eq!(desk.orders(), ["invite office-db Some(1800)"]);
    let ran = run(
        &desk,
        &["agent", "invite", "office-db", "--expires", "soon"],
    )
    .await;
    assert_eq!(ran.code, 2);
}

#[tokio::test]
async fn a_direct_connection_takes_its_url_from_a_file_or_stdin_and_never_prints_it() {
    let desk = Desk::start().await;
    let url = "postgres://u:hunter2@db.example/shop";
    let file = desk.file("db.url", &format!("{url}\n"));
    let file = file.to_str().unwrap();
    for (source, input) in [(file, ""), ("-", url)] {
        let ran = run_with(
            &desk,
            &["connection", "add", "m", "--url-file", source],
            input,
        )
        .await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            !ran.out.contains("hunter2") && !ran.err.contains("hunter2"),
            "{ran:?}"
        );
    }
    let orders = desk.orders();
    assert!(
        orders.len() == 2 && orders.iter().all(|o| o.contains("Direct")),
        "{orders:?}"
    );
    assert!(!orders.concat().contains("hunter2"), "{orders:?}");
    assert_eq!(run(&desk, &["connection", "add", "m"]).await.code, 2);
    let args = ["connection", "add", "m", "--agent", "a"];
    assert_eq!(run(&desk, &args).await.code, 2, "a target belongs to it");
}

#[tokio::test]
async fn a_table_without_a_key_is_shown_with_both_fixes_and_fixed_after_a_yes() {
    let desk = Desk::start().await;
    let ran = run(&desk, &["connection", "tables", "db"]).await;
    for said in [
        "--identity",
        "--column nr",
        "alter table public.log add column id bigint;",
    ] {
        assert!(ran.out.contains(said), "{said}: {ran:?}");
    }
    let fix = ["connection", "fix-key", "db", "public.log"];
    assert_eq!(run(&desk, &fix).await.code, 3, "one must be chosen");
    let args = [&fix[..], &["--identity"]].concat();
    assert_eq!(run(&desk, &args).await.code, 3, "it must be confirmed");
    assert!(desk.orders().is_empty());
    assert_eq!(
        run(&desk, &[&fix[..], &["--identity", "--yes"]].concat())
            .await
            .code,
        0
    );
    assert_eq!(
        run(&desk, &[&fix[..], &["--column", "nr", "--yes"]].concat())
            .await
            .code,
        0
    );
    let expected = ["fix db public.log None", "fix db public.log Some(\"nr\")"];
    assert_eq!(desk.orders(), expected);
}

#[tokio::test]
async fn failures_end_with_1_and_one_line_that_says_what_to_do() {
    let desk = Desk::start().await;
    for args in [
        vec!["sync", "status", "nope"],
        vec!["connection", "test", "x"],
        vec!["agent", "revoke", "x"],
    ] {
        let ran = run(&desk, &args).await;
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        assert!(
            ran.err.starts_with("error: ") && ran.out.is_empty(),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn a_forced_removal_prints_the_sql_of_what_was_left_behind() {
    let desk = Desk::start().await;
    let ran = run(&desk, &["sync", "remove", "blog"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    let ran = run(&desk, &["sync", "remove", "blog", "--force"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "-- left: office-db\ndrop publication if exists p;\n"
    );
    assert!(ran.err.contains("there is no agent"), "{ran:?}");
    let ran = run(&desk, &["sync", "remove", "blog", "--force", "--json"]).await;
    assert_eq!(document(&ran)["left_behind"][0]["side"], "left");
    let force = |order: &String| order.ends_with("true");
    assert_eq!(desk.orders().iter().filter(|order| force(order)).count(), 2);
}

#[tokio::test]
async fn a_connection_test_fails_on_what_prevents_a_sync_and_not_on_notes() {
    let problem = |code: &str, blocking| ConnectionProblem {
        code: code.into(),
        message: format!("{code} is wrong"),
        remedy: format!("set {code}"),
        blocking,
    };
    let desk = Desk::start().await;
    desk.set(|script| script.problems = Some(vec![problem("slot-unlimited", false)]));
    let ran = run(&desk, &["connection", "test", "db"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.contains("note: slot-unlimited is wrong"), "{ran:?}");

    let found = vec![
        problem("slot-unlimited", false),
        problem("wal-level", true),
        problem("no-replication-right", true),
    ];
    desk.set(|script| script.problems = Some(found));
    let ran = run(&desk, &["connection", "test", "db"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = "error: no sync can run on db: wal-level is wrong: set wal-level (and 1 more)\n";
    assert_eq!(ran.err, said);
    assert!(ran.out.contains("problem: no-replication-right"), "{ran:?}");

    let ran = run(&desk, &["connection", "test", "db", "--json"]).await;
    let document = document(&ran);
    assert_eq!((ran.code, &document["ok"]), (1, &Value::from(false)));
    let blocking = |at: usize| &document["problems"][at]["blocking"];
    assert_eq!(
        (blocking(0), blocking(1)),
        (&Value::from(false), &Value::from(true))
    );
}

#[tokio::test]
async fn a_relay_that_is_not_there_and_a_wrong_token_are_told_apart() {
    let desk = Desk::start().await;
    // Bound and closed again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ran = run(&desk, &["sync", "list", "--api", &format!("http://{free}")]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("does not answer"), "{ran:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-relay"));
    command
        .args(["sync", "list", "--api", &desk.base])
        .env_clear();
    command.env("TIDEGATE_TOKEN", "tg_api_wrong");
    let ran = finish(command, "").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("token"), "{ran:?}");
}

#[tokio::test]
async fn on_the_relays_host_the_operator_token_is_found_and_sent_nowhere_else() {
    let desk = Desk::start().await;
    let command = |api: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-relay"));
        command.args(["sync", "list", "--api", api]).env_clear();
        command.env("TIDEGATE_DATA_DIR", desk.dir.path());
        command
    };
    assert_eq!(finish(command(&desk.base), "").await.code, 0);
    let ran = finish(command("https://relay.example.com"), "").await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("TIDEGATE_TOKEN"), "{ran:?}");
}

#[tokio::test]
async fn a_channels_secret_is_alone_on_stdout_and_a_test_that_fails_ends_with_1() {
    let desk = Desk::start().await;
    let url = desk.file("hook.url", "https://127.0.0.1:1/planted-path\n");
    let url = url.to_str().unwrap();
    let add = ["channel", "add", "pager", "--webhook-url-file", url];
    let refused = run(&desk, &add).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("allow_private"), "{refused:?}");
    let ran = run(&desk, &[&add[..], &["--allow-private"]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.starts_with("whsec_") && ran.out.lines().count() == 1,
        "{ran:?}"
    );
    let ran = run(&desk, &["channel", "test", "pager"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("can't be reached"), "{ran:?}");
    let ran = run(&desk, &["channel", "list"]).await;
    assert!(ran.out.contains("127.0.0.1:1"), "{ran:?}");
    assert!(!ran.out.contains("planted-path"), "{ran:?}");
    assert_eq!(run(&desk, &["channel", "add", "x"]).await.code, 2);
    assert_eq!(run(&desk, &["channel", "change", "pager"]).await.code, 2);
}

#[tokio::test]
async fn a_channel_is_added_changed_listed_and_removed() {
    let desk = Desk::start().await;
    let password = desk.file("mail.password", "hunter2\n");
    let password = password.to_str().unwrap();
    let mail = [
        [
            "channel",
            "add",
            "mail",
            "--smtp",
            "mail.example.com:465",
            "--user",
        ],
        [
            "relay",
            "--password-file",
            password,
            "--from",
            "a@example.com",
            "--to",
        ],
    ];
    let ran = run(
        &desk,
        &[&mail.concat()[..], &["b@example.com,c@example.com"]].concat(),
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let change = [
        "channel",
        "change",
        "mail",
        "--events",
        "sync.stopped,agent.offline",
        "--disable",
    ];
    assert_eq!(run(&desk, &change).await.code, 0);
    let ran = run(&desk, &["channel", "list"]).await;
    for told in [
        "b@example.com, c@example.com",
        "sync.stopped, agent.offline",
        "off",
    ] {
        assert!(ran.out.contains(told), "{told}: {ran:?}");
    }
    assert!(!ran.out.contains("hunter2"), "{ran:?}");
    for args in [
        vec!["channel", "list"],
        vec!["channel", "show", "mail"],
        vec!["channel", "deliveries", "mail"],
        vec!["channel", "change", "mail", "--enable", "--events", "all"],
        vec!["channel", "remove", "mail"],
    ] {
        let ran = run(&desk, &[args, vec!["--json"]].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        document(&ran);
    }
}

#[tokio::test]
async fn bad_usage_and_bad_configuration_end_with_2() {
    let desk = Desk::start().await;
    for args in [
        vec!["frobnicate"],
        vec![],
        vec!["sync", "plan"],
        vec!["--api", "x", "egress"],
    ] {
        assert_eq!(run(&desk, &args).await.code, 2, "{args:?}");
    }
    let file = desk.file("relay.toml", "[http]\nlisten = \"here\"\n");
    for verb in ["check", "serve"] {
        let ran = run(&desk, &[verb, "--config", file.to_str().unwrap()]).await;
        assert_eq!(ran.code, 2);
        assert!(
            ran.err
                .contains("relay.toml: line 2, column 10: expected an address"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn check_prints_a_configuration_that_checks_again() {
    let desk = Desk::start().await;
    let ran = run(&desk, &["check"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let file = desk.file("again.toml", &ran.out);
    let again = run(&desk, &["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!((again.code, again.out), (0, ran.out));
}

//! The API does what its document says, whatever it is sent: Schemathesis makes requests of the
//! document, right ones and wrong ones, and checks the answers.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use super::stage::Stage;
use crate::support::python::program;

/// How long requests are made, seconds.
const BUDGET_S: u64 = 60;
const ENDS_BUDGET_S: u64 = 10;
/// Longest run.
const RUN_MAX: Duration = Duration::from_secs(300);

const FILE: &str = "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
                    left = \"t\"\nright = \"t\"\nkey = [[\"id\", \"id\"]]\n\
                    fields = [{ left = \"title\", right = \"title\" }]\n";

/// What would take away what the others name: sent things that are not there, in a run of its own.
const ENDS: &str = r#"["revoke_token", "revoke_agent", "remove_sync", "remove_connection",
    "remove_user", "remove_channel"]"#;

/// Those that name something are asked about things that are there. The endless stream is left out.
const SETTINGS: &str = r#"
headers = { Authorization = "Bearer ${TIDEGATE_TOKEN}" }
continue-on-failure = true
request-timeout = 60
seed = 1
warnings = false

[phases]
stateful.enabled = false

[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_schema_conformance.enabled = true

[[operations]]
include-operation-id = "live_events"
enabled = false

[[operations]]
include-path-regex = "/syncs/\\{name\\}"
parameters = { "path.name" = "t" }

[[operations]]
include-path-regex = "/connections/\\{name\\}"
parameters = { "path.name" = "office-db" }

[[operations]]
include-path-regex = "/channels/\\{name\\}"
parameters = { "path.name" = "ops" }

[[operations]]
include-path-regex = "/mapping/"
parameters = { left = "office-db", right = "marketing" }

[[operations]]
include-operation-id = "show_agent"
parameters = { "path.name" = "office-db" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_names() {
    let stage = Stage::start("contract").await;
    for client in [stage.left.client().await, stage.right.client().await] {
        let sql = "create table t (id int primary key, title text);
                   insert into t select n, 'title ' || n from generate_series(1, 20) n";
        client.batch_execute(sql).await.unwrap();
    }
    stage.apply(FILE).await;
    let draft = json!({"name": "d", "content": {}});
    stage.post("drafts", draft).await;
    // Nobody listens there: a test of it fails at once.
    let ops =
        json!({"name": "ops", "slack": {"url": "http://127.0.0.1:1/x"}, "allow_private": true});
    stage.post("channels", ops).await;

    let report = run(&stage, &format!("include-operation-id = {ENDS}"), BUDGET_S).await;
    let tested = report
        .lines()
        .find_map(|line| line.trim().strip_prefix("Tested: "));
    assert!(tested.unwrap().parse::<u32>().unwrap() > 50, "{report}");
    // It was let in to the end, and the sync was there.
    assert_eq!(stage.get("syncs/t").await["name"], "t", "{report}");
    let others = format!("exclude-operation-id = {ENDS}");
    run(&stage, &others, ENDS_BUDGET_S).await;
    assert!(!stage.logs().contains("panicked"), "{}", stage.logs());
}

/// Sends requests to all operations but those that `without` names, and gives the report.
async fn run(stage: &Stage, without: &str, budget_s: u64) -> String {
    let settings = stage.dir.path().join("schemathesis.toml");
    let off = format!("[[operations]]\n{without}\nenabled = false\n");
    fs::write(&settings, format!("{SETTINGS}{off}")).unwrap();
    let token = fs::read_to_string(stage.dir.path().join("relay/operator.token")).unwrap();
    let run = Command::new(program("schemathesis"))
        .current_dir(stage.dir.path())
        .env("TIDEGATE_TOKEN", token.trim())
        .arg("--config-file")
        .arg(&settings)
        .args(["run", "--max-time", &budget_s.to_string()])
        .arg(stage.url("openapi.json"))
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(RUN_MAX, run).await;
    let run = run.expect("the run ends by itself").unwrap();
    let report = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{report}\n{}", stage.logs());
    report
}

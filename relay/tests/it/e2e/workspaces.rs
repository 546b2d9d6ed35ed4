//! Two workspaces on one relay can never see each other.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tidegate_relay::engine::report::{UndoPlan, WriteFilter};

use super::stage::Stage;

const TABLE: &str = "create table t (id int primary key, title text)";
const FILE: &str = "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
                    left = \"t\"\nright = \"t\"\nkey = [[\"id\", \"id\"]]\n\
                    fields = [{ left = \"title\", right = \"title\" }]\n";

/// Operations that name something of a workspace elsewhere than in their path.
const NAMED_INSIDE: [&str; 5] = [
    "plan_sync",
    "apply_sync",
    "add_connection",
    "suggest_tables",
    "suggest_fields",
];

/// Operations that list what a workspace has.
const LISTS: [&str; 9] = [
    "list_agents",
    "list_channels",
    "list_connections",
    "list_syncs",
    "list_users",
    "list_drafts",
    "list_audit",
    "list_all_findings",
    "list_all_conflicts",
];

/// What an operation is sent, so that it is not refused for its form alone.
fn body(operation: &str) -> Value {
    match operation {
        "add_connection" => {
            json!({"name": "thief", "kind": "postgres", "agent": "office-db", "target": "main"})
        }
        "replace_draft" | "add_draft" => json!({"name": "d", "content": {}}),
        "count_records" => json!({"table": "t"}),
        "fix_key" => json!({"table": "t", "column": null}),
        "apply_sync" => json!({"file": FILE, "expected": null}),
        "choose_capture" => json!({"capture": "auto"}),
        "pick_value" => json!({"side": "left"}),
        "pick_values" => json!({"side": "left", "upto": 1}),
        "repair_sync" => json!({"expected": null}),
        "change_user" => json!({"role": "viewer"}),
        "change_channel" => json!({"enabled": false}),
        "undo_writes" => json!({"filter": WriteFilter::default(), "expected": UndoPlan::default()}),
        _ => json!({}),
    }
}

/// Sends an operation as the other workspace's admin, and gives status and answer.
async fn cross(
    stage: &Stage,
    token: &str,
    (method, path): (&str, &str),
    operation: &str,
) -> (u16, Value) {
    let method: Method = method.to_uppercase().parse().unwrap();
    let mut request = Client::new()
        .request(
            method.clone(),
            stage.url(path.trim_start_matches("/api/v1/")),
        )
        .query(&[("run", "1"), ("side", "left")])
        .query(&[("left", "office-db"), ("right", "marketing")])
        .query(&[("left_table", "t"), ("right_table", "t")])
        .query(&[("target", "main")])
        .header("if-match", "\"1\"")
        .bearer_auth(token);
    if operation == "forward_agent" {
        let protocol = ("upgrade", "tidegate-forward/1");
        request = request
            .header("connection", "upgrade")
            .header(protocol.0, protocol.1);
    }
    if operation == "plan_sync" {
        request = request.body(FILE);
    } else if method != Method::GET {
        request = request.json(&body(operation));
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// The path of something that the default workspace has.
fn with_known_names(path: &str) -> String {
    let known = match path.split('/').nth(3).unwrap() {
        "syncs" => "t",
        "tokens" => "operator",
        "users" => "ada",
        "channels" => "ops",
        _ => "office-db",
    };
    let path = path.replace("{name}", known).replace("{id}", "1");
    path.replace("{kind}", "relays")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_one_workspace_is_known_in_another_at_any_endpoint() {
    let stage = Stage::start("workspaces").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(TABLE).await.unwrap();
    right.batch_execute(TABLE).await.unwrap();
    stage.apply(FILE).await;
    let ada = json!({"name": "ada", "role": "editor", "password": "correct horse battery"});
    stage.post("users", ada).await;
    let draft = json!({"name": "ours", "content": {"left": "office-db"}});
    assert_eq!(stage.post("drafts", draft).await["id"], 1);
    let ops = json!({"name": "ops", "slack": {"url": "https://hooks.example.com/x"}});
    stage.post("channels", ops).await;
    let made = json!({"name": "acme-admin", "workspace": "acme", "may_forward": true});
    let made = stage.post("tokens", made).await;
    let token = made["token"].as_str().unwrap();

    let document = stage.get("openapi.json").await;
    let mut crossed = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            let is_named = path.contains('{') || NAMED_INSIDE.contains(&name);
            let is_list = LISTS.contains(&name);
            if !is_named && !is_list {
                continue;
            }
            // What belongs to the relay is told apart from what is not there.
            let is_hosts = path.contains("/authorities");
            let path = with_known_names(path);
            let (status, answer) = cross(&stage, token, (method, &path), name).await;
            if is_list {
                assert_eq!((status, &answer), (200, &json!([])), "{method} {path}");
            } else {
                let refused = if is_hosts { 403 } else { 404 };
                assert_eq!(status, refused, "{method} {path}: {answer:#}");
            }
            crossed += 1;
        }
    }
    assert!(crossed >= 40, "{crossed} operations were crossed");

    // Everything is as it was, and the other workspace may use the same names.
    assert_eq!(stage.get("syncs/t").await["state"], "live");
    assert_eq!(stage.get("agents/office-db").await["state"], "online");
    assert_eq!(stage.get("users").await[0]["role"], "editor");
    assert_eq!(stage.get("drafts/1").await["content"]["left"], "office-db");
    assert_eq!(stage.get("channels/ops").await["enabled"], true);
    assert_eq!(stage.get("audit/verify").await["intact"], true);
    reaches_nothing_inside(&stage, token).await;
    let removed = Client::new()
        .delete(stage.url("connections/marketing"))
        .bearer_auth(token);
    assert_eq!(removed.send().await.unwrap().status(), 204);
    left.batch_execute("insert into t values (1, 'still syncing')")
        .await
        .unwrap();
    let crossed = async |_: &Stage| {
        let rows = right.query("select 1 from t where id = 1", &[]).await;
        rows.unwrap().len() == 1
    };
    stage.wait("the new record", crossed).await;
}

/// A guest has the relay reach nothing of its own network, and may have a connection of a name of others.
async fn reaches_nothing_inside(stage: &Stage, token: &str) {
    let add = async |connection: Value| {
        let request = Client::new()
            .post(stage.url("connections"))
            .bearer_auth(token);
        request.json(&connection).send().await.unwrap()
    };
    let kinto = json!({"name": "marketing", "kind": "kinto", "base_url": "http://127.0.0.1:1/v1",
                       "token": "a:b", "allow_private": true});
    let url = "postgres://nobody@127.0.0.1:1/none";
    let direct = json!({"name": "marketing", "kind": "postgres", "url": url});
    for inside in [direct, kinto] {
        let refused: Value = add(inside).await.json().await.unwrap();
        assert_eq!(refused["code"], "private-address", "{refused}");
    }
    let egress = Client::new().get(stage.url("egress")).bearer_auth(token);
    let egress: Value = egress.send().await.unwrap().json().await.unwrap();
    assert_eq!(egress["allow_private"], false);
    assert_eq!(stage.get("egress").await["allow_private"], true);
    let url = "postgres://nobody@db.example.com/none";
    let same = json!({"name": "marketing", "kind": "postgres", "url": url});
    assert_eq!(add(same).await.status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whoever_hosts_the_relay_opens_workspaces() {
    let stage = Stage::start("hosts").await;
    let made = json!({"name": "acme-admin", "workspace": "acme"});
    let made = stage.post("tokens", made).await;
    let token = made["token"].as_str().unwrap();
    for (workspace, expected) in [("acme", 201), ("other", 403), ("default", 403)] {
        let body = json!({"name": format!("of-{workspace}"), "workspace": workspace});
        let request = Client::new().post(stage.url("tokens")).bearer_auth(token);
        let status = request.json(&body).send().await.unwrap().status();
        assert_eq!(status, expected, "{workspace}");
    }
}

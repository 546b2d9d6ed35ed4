//! What the host does to every app's calls.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_apps::{Airtable, Fault, Harm, Options};

use crate::Client;

async fn airtable() -> (tidegate_apps::Running, String) {
    let app = Airtable::start(Options::new().trap("limits=off"))
        .await
        .expect("starts");
    let found = app.hand("base", Value::Null).expect("a base");
    let path = format!("/v0/{}/Contacts", found.as_str().expect("an id"));
    (app, path)
}

#[tokio::test]
async fn answer_is_lost_after_the_write_was_done() {
    let (app, path) = airtable().await;
    let client = Client::new(&app);
    let before = app.rows("Contacts").unwrap().len();
    let body = json!({ "records": [{ "fields": { "Name": "Lost" } }] });
    for (harm, is_done) in [
        (Harm::CutAfter, true),
        (Harm::HalfAnswer, true),
        (Harm::CutBefore, false),
    ] {
        let rows = app.rows("Contacts").unwrap().len();
        app.fault(Fault::new(harm).at("POST"));
        client.send("POST", &path, body.clone()).await.unwrap_err();
        let after = app.rows("Contacts").unwrap().len();
        assert_eq!(after - rows, usize::from(is_done), "{harm:?}");
    }
    app.fault(Fault::new(Harm::StatusAfter(502)).at("POST"));
    assert_eq!(client.call("POST", &path, body.clone()).await.0, 502);
    app.fault(Fault::new(Harm::Status(503)).at("POST"));
    assert_eq!(client.call("POST", &path, body).await.0, 503);
    assert_eq!(app.rows("Contacts").unwrap().len(), before + 3);
}

#[tokio::test]
async fn late_answer_comes_after_the_client_gave_up() {
    let (app, path) = airtable().await;
    let client = Client::new(&app);
    app.fault(Fault::new(Harm::LateAnswer(Duration::from_secs(60))).at("POST"));
    let body = json!({ "fields": { "Name": "Late" } });
    let call = client.send("POST", &path, body);
    let gave_up = tokio::time::timeout(Duration::from_millis(300), call).await;
    assert!(gave_up.is_err());
    assert_eq!(app.rows("Contacts").unwrap().len(), 4);
}

#[tokio::test]
async fn calls_are_counted_by_endpoint() {
    let (app, path) = airtable().await;
    let client = Client::new(&app);
    client.get(&path).await;
    client.get(&format!("{path}?pageSize=1")).await;
    client.get("/nowhere/at/all").await;
    assert_eq!(app.calls()["GET /v0/{base}/{table}"], 2);
    assert_eq!(app.calls()["unknown"], 1);
    app.clear_calls();
    assert!(app.calls().is_empty());
}

#[tokio::test]
async fn tokens_and_rights_can_be_taken_away() {
    let (app, path) = airtable().await;
    let client = Client::new(&app);
    app.trap("read-only").unwrap();
    assert_eq!(client.get(&path).await.0, 200);
    let body = json!({ "fields": { "Name": "x" } });
    assert_eq!(client.call("POST", &path, body).await.0, 403);
    app.trap("token-revoked").unwrap();
    assert_eq!(client.get(&path).await.0, 401);
}

#[tokio::test]
async fn controls_are_there_over_http() {
    let (app, path) = airtable().await;
    let client = Client::new(&app);
    let fault = json!({ "harm": "status=500", "at": "GET", "times": 1 });
    assert_eq!(client.call("POST", "/_double/faults", fault).await.0, 200);
    assert_eq!(client.get(&path).await.0, 500);
    let wrong = json!({ "harm": "earthquake" });
    assert_eq!(client.call("POST", "/_double/faults", wrong).await.0, 400);
    let edit = json!({ "table": "Contacts", "fields": { "Name": "By hand" } });
    assert_eq!(client.call("POST", "/_double/rows", edit).await.0, 200);
    let (_, rows) = client.get("/_double/rows?table=Contacts").await;
    assert_eq!(rows[3]["fields"]["Name"], "By hand");
    let (_, calls) = client.get("/_double/calls").await;
    assert_eq!(calls["GET /v0/{base}/{table}"], 1);
}

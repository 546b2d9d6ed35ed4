//! A sync as a document and as a file: the same to plan, to start and to read.

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::refusal;
use crate::support::desk::Desk;

fn document() -> Value {
    json!({"name": "blog", "left": "a", "right": "b", "table": [{
        "left": "public.posts", "right": "Posts", "key": [["id", "id"]], "filter_left": null,
        "fields": [{"left": "title", "right": "Title", "direction": "left-to-right"}]}]})
}

async fn post(desk: &Desk, path: &str, body: &Value) -> Response {
    let url = format!("{}/api/v1/{path}", desk.base);
    let request = Client::new().post(url).bearer_auth(&desk.token);
    request.json(body).send().await.unwrap()
}

async fn post_text(desk: &Desk, path: &str, body: String) -> Response {
    let url = format!("{}/api/v1/{path}", desk.base);
    let request = Client::new().post(url).bearer_auth(&desk.token);
    request.body(body).send().await.unwrap()
}

#[tokio::test]
async fn a_document_is_planned_and_started_like_a_file() {
    let desk = Desk::start().await;
    let plan = post(&desk, "syncs/plan", &document()).await;
    assert_eq!(plan.status(), 200);
    let plan: Value = plan.json().await.unwrap();
    assert_eq!(plan["sync"], "blog");
    let apply = json!({"definition": document(), "expected": plan});
    assert_eq!(post(&desk, "syncs/apply", &apply).await.status(), 200);
    assert_eq!(desk.orders(), ["apply, as planned: true"]);
    for wrong in [json!({}), json!({"file": "", "definition": document()})] {
        let refused = post(&desk, "syncs/apply", &wrong).await;
        assert_eq!(refusal(refused, 422).await, "bad-request");
    }
}

#[tokio::test]
async fn documents_and_files_are_written_as_each_other() {
    let desk = Desk::start().await;
    let file = post(&desk, "definitions/file", &document()).await;
    let file = file.text().await.unwrap();
    assert!(
        file.contains("[[table]]") && file.contains("existing = \"merge\""),
        "{file}"
    );
    let read = post_text(&desk, "definitions/document", file.clone()).await;
    let read: Value = read.json().await.unwrap();
    assert_eq!(
        read["table"][0]["fields"][0],
        json!({"left": "id", "right": "id", "direction": "both"})
    );
    let again = post(&desk, "definitions/file", &read).await;
    assert_eq!(again.text().await.unwrap(), file);
}

#[tokio::test]
async fn what_no_sync_file_may_say_no_document_may() {
    let desk = Desk::start().await;
    let mut wrong = document();
    wrong["table"][0]["deletes"] = "maybe".into();
    for path in ["syncs/plan", "definitions/file"] {
        let refused = post(&desk, path, &wrong).await;
        assert_eq!(refusal(refused, 422).await, "sync-file", "{path}");
    }
    let refused = post_text(&desk, "definitions/document", "name = 1".into()).await;
    assert_eq!(refusal(refused, 422).await, "sync-file");
    let refused = post(&desk, "syncs/plan", &json!({"name": "blog"})).await;
    assert_eq!(refusal(refused, 422).await, "bad-request");
}

//! Requests that carry a key of their caller's are carried out once.

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::{ask, refusal};
use crate::support::desk::Desk;

async fn post(desk: &Desk, path: &str, key: &str, body: &Value) -> Response {
    let url = format!("{}/api/v1/{path}", desk.base);
    let request = Client::new().post(url).bearer_auth(&desk.token);
    let request = request.header("idempotency-key", key).json(body);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_and_makes_nothing() {
    let desk = Desk::start().await;
    let body = json!({"name": "ci"});
    let first = post(&desk, "tokens", "k-1", &body).await;
    assert_eq!(first.status(), 201);
    assert!(!first.headers().contains_key("x-tidegate-repeated"));
    let first: Value = first.json().await.unwrap();
    let again = post(&desk, "tokens", "k-1", &body).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["x-tidegate-repeated"], "1");
    let again: Value = again.json().await.unwrap();
    assert_eq!(again, first, "with the secret that is shown once");

    let draft = json!({"name": "d", "content": {}});
    let first = post(&desk, "drafts", "k-2", &draft).await;
    let again = post(&desk, "drafts", "k-2", &draft).await;
    assert_eq!(first.headers()["etag"], again.headers()["etag"]);
    let list = ask(
        &desk,
        reqwest::Method::GET,
        "/api/v1/drafts",
        Some(&desk.token),
    )
    .await;
    let list: Vec<Value> = list.json().await.unwrap();
    assert_eq!(list.len(), 1);

    let other = json!({"name": "other"});
    let other = post(&desk, "tokens", "k-1", &other).await;
    assert_eq!(refusal(other, 422).await, "key-reused");
    let elsewhere = post(&desk, "drafts", "k-1", &draft).await;
    assert_eq!(refusal(elsewhere, 422).await, "key-reused");
    let long = post(&desk, "tokens", &"k".repeat(256), &body).await;
    assert_eq!(refusal(long, 400).await, "bad-key");
}

#[tokio::test]
async fn what_was_refused_may_be_tried_again_with_the_same_key() {
    let desk = Desk::start().await;
    let wrong = json!({"name": "d", "content": "x".repeat(300_000)});
    let refused = post(&desk, "drafts", "k", &wrong).await;
    assert_eq!(refusal(refused, 422).await, "draft-too-large");
    let right = json!({"name": "d", "content": {}});
    assert_eq!(post(&desk, "drafts", "k", &right).await.status(), 201);
}

#[tokio::test]
async fn the_same_key_of_somebody_else_is_another_one_and_answers_are_sealed() {
    let desk = Desk::start().await;
    let made = json!({"name": "ci", "role": "admin"});
    let made: Value = post(&desk, "tokens", "k", &made)
        .await
        .json()
        .await
        .unwrap();
    let token = made["token"].as_str().unwrap();
    let url = format!("{}/api/v1/drafts", desk.base);
    let draft = json!({"name": "d", "content": {}});
    let request = Client::new().post(url).bearer_auth(token);
    let request = request.header("idempotency-key", "k").json(&draft);
    assert_eq!(request.send().await.unwrap().status(), 201);
    for file in std::fs::read_dir(desk.dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(path).unwrap();
            assert!(
                !bytes
                    .windows(token.len())
                    .any(|part| part == token.as_bytes())
            );
        }
    }
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one() {
    let desk = Desk::start().await;
    let draft = json!({"name": "d", "content": {}});
    let sent = (0..8).map(|_| post(&desk, "drafts", "k", &draft));
    for answer in futures_util::future::join_all(sent).await {
        // Whoever comes while the first is under way is told to wait.
        if answer.status() != 201 {
            assert_eq!(refusal(answer, 409).await, "request-under-way");
        }
    }
    let list = ask(
        &desk,
        reqwest::Method::GET,
        "/api/v1/drafts",
        Some(&desk.token),
    )
    .await;
    let list: Vec<Value> = list.json().await.unwrap();
    assert_eq!(list.len(), 1);
}

//! Drafts: kept, read, replaced by whoever read the last version, and sealed at rest.

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::{ask, refusal};
use crate::support::desk::Desk;

async fn send(
    desk: &Desk,
    method: Method,
    path: &str,
    version: Option<&str>,
    body: Value,
) -> Response {
    let url = format!("{}/api/v1/drafts{path}", desk.base);
    let mut request = Client::new().request(method, url).bearer_auth(&desk.token);
    if let Some(version) = version {
        request = request.header("if-match", version);
    }
    request.json(&body).send().await.unwrap()
}

fn etag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_draft_is_replaced_only_by_whoever_read_its_last_version() {
    let desk = Desk::start().await;
    let content = json!({"name": "Blog", "content": {"left": "office", "step": 3}});
    let added = send(&desk, Method::POST, "", None, content).await;
    assert_eq!(
        (added.status().as_u16(), etag(&added)),
        (201, "\"1\"".into())
    );
    let added: Value = added.json().await.unwrap();
    assert_eq!(added["author"], "token:operator");
    let path = format!("/{}", added["id"]);

    let shown = ask(
        &desk,
        Method::GET,
        &format!("/api/v1/drafts{path}"),
        Some(&desk.token),
    )
    .await;
    let read = etag(&shown);
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(shown["content"], json!({"left": "office", "step": 3}));
    assert_eq!(shown["name"], "Blog");

    let next = json!({"name": "Blog", "content": {"step": 4}});
    let unsaid = send(&desk, Method::PUT, &path, None, next.clone()).await;
    assert_eq!(refusal(unsaid, 428).await, "version-needed");
    let replaced = send(&desk, Method::PUT, &path, Some(&read), next.clone()).await;
    assert_eq!(
        (replaced.status().as_u16(), etag(&replaced)),
        (200, "\"2\"".into())
    );
    let late = send(&desk, Method::PUT, &path, Some(&read), next.clone()).await;
    assert_eq!(refusal(late, 412).await, "version-changed");
    for wrong in ["2", "\"2\", \"3\"", "W/\"2\""] {
        let wrong = send(&desk, Method::PUT, &path, Some(wrong), next.clone()).await;
        assert_eq!(refusal(wrong, 400).await, "bad-version");
    }
    let late = send(&desk, Method::DELETE, &path, Some(&read), json!({})).await;
    assert_eq!(refusal(late, 412).await, "version-changed");
    let removed = send(&desk, Method::DELETE, &path, Some("\"2\""), json!({})).await;
    assert_eq!(removed.status(), 204);
    let gone = send(&desk, Method::DELETE, &path, None, json!({})).await;
    assert_eq!(refusal(gone, 404).await, "not-found");
}

#[tokio::test]
async fn drafts_are_listed_in_pages_and_hold_nothing_readable_at_rest() {
    let desk = Desk::start().await;
    for number in 0..5 {
        let content =
            json!({"name": format!("d{number}"), "content": "filter by alice@example.com"});
        assert_eq!(
            send(&desk, Method::POST, "", None, content).await.status(),
            201
        );
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/drafts?limit=2{cursor}");
        let page = ask(&desk, Method::GET, &path, Some(&desk.token)).await;
        let next = page.headers().get("x-next-cursor").cloned();
        let page: Vec<Value> = page.json().await.unwrap();
        assert!(page.len() <= 2);
        names.extend(
            page.iter()
                .map(|draft| draft["name"].as_str().unwrap().to_owned()),
        );
        match next {
            Some(next) => cursor = format!("&cursor={}", next.to_str().unwrap()),
            None => break,
        }
    }
    assert_eq!(names, ["d0", "d1", "d2", "d3", "d4"]);
    for query in ["limit=0", "limit=1001", "cursor=x"] {
        let path = format!("/api/v1/drafts?{query}");
        let refused = ask(&desk, Method::GET, &path, Some(&desk.token)).await;
        let code = refusal(refused, 422).await;
        assert!(
            ["bad-limit", "bad-cursor"].contains(&code.as_str()),
            "{code}"
        );
    }
    for file in std::fs::read_dir(desk.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let value = b"alice@example.com";
        assert!(!bytes.windows(value.len()).any(|part| part == value));
    }
}

#[tokio::test]
async fn a_draft_that_is_too_large_is_refused() {
    let desk = Desk::start().await;
    let large = json!({"name": "x", "content": "x".repeat(300_000)});
    let refused = send(&desk, Method::POST, "", None, large).await;
    assert_eq!(refusal(refused, 422).await, "draft-too-large");
    let long = json!({"name": "x".repeat(201), "content": {}});
    let refused = send(&desk, Method::POST, "", None, long).await;
    assert_eq!(refusal(refused, 422).await, "bad-name");
}

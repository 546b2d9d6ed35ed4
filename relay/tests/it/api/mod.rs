//! The API: who may call, how it refuses, and what it says about itself.

mod access;
mod channels;
mod definitions;
mod drafts;
mod events;
mod oidc;
mod repeats;

use std::collections::BTreeSet;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

use crate::support::desk::Desk;

async fn ask(desk: &Desk, method: Method, path: &str, token: Option<&str>) -> Response {
    let mut request = Client::new().request(method, format!("{}{path}", desk.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

/// Checks that the answer is a problem document of this status, and gives its code.
async fn refusal(response: Response, status: u16) -> String {
    assert_eq!(response.status().as_u16(), status);
    let media_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(media_type, "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    for key in ["type", "title", "detail", "code"] {
        let text = problem[key].as_str().unwrap_or_default();
        assert!(
            !text.is_empty() && !text.contains('\n'),
            "{key} of {problem}"
        );
    }
    problem["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_valid_token_every_route_answers_401_as_a_problem_document() {
    let desk = Desk::start().await;
    let document = ask(&desk, Method::GET, "/api/v1/openapi.json", None).await;
    let document: Value = document.json().await.unwrap();
    let mut open = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "x").replace("{id}", "1");
        for (method, operation) in item.as_object().unwrap() {
            // Where one signs in: no security is needed, and the document says so.
            if operation["security"] == serde_json::json!([{}]) {
                open.push(path.clone());
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            for token in [None, Some("tg_api_wrong"), Some("")] {
                let response = ask(&desk, method.clone(), &path, token).await;
                assert_eq!(response.headers()["www-authenticate"], "Bearer", "{path}");
                refusal(response, 401).await;
            }
        }
    }
    let expected = [
        "/api/v1/entrance",
        "/api/v1/session",
        "/api/v1/session/oidc",
        "/api/v1/session/oidc/callback",
        "/api/v1/setup",
    ];
    assert_eq!(open, expected);
    assert!(desk.orders().is_empty(), "nothing was done");
}

#[tokio::test]
async fn a_created_token_works_until_it_is_revoked() {
    let desk = Desk::start().await;
    let url = format!("{}/api/v1/tokens", desk.base);
    let body = serde_json::json!({"name": "ci"});
    let created = Client::new()
        .post(&url)
        .bearer_auth(&desk.token)
        .json(&body)
        .send()
        .await;
    let created: Value = created.unwrap().json().await.unwrap();
    let token = created["token"].as_str().unwrap();
    assert_eq!(
        ask(&desk, Method::GET, "/api/v1/syncs", Some(token))
            .await
            .status(),
        200
    );
    let listed = ask(&desk, Method::GET, "/api/v1/tokens", Some(token))
        .await
        .text()
        .await
        .unwrap();
    assert!(
        listed.contains("\"ci\"") && !listed.contains("tg_api_"),
        "{listed}"
    );
    let revoked = ask(
        &desk,
        Method::DELETE,
        "/api/v1/tokens/ci",
        Some(&desk.token),
    )
    .await;
    assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
    refusal(
        ask(&desk, Method::GET, "/api/v1/syncs", Some(token)).await,
        401,
    )
    .await;
}

#[tokio::test]
async fn a_list_by_name_comes_whole_or_in_pages_to_its_end() {
    let desk = Desk::start().await;
    for name in ["c", "a", "b"] {
        let made = Client::new()
            .post(format!("{}/api/v1/tokens", desk.base))
            .bearer_auth(&desk.token)
            .json(&serde_json::json!({"name": name}));
        assert_eq!(made.send().await.unwrap().status(), 201);
    }
    let page = async |query: &str| {
        let path = format!("/api/v1/tokens{query}");
        let answer = ask(&desk, Method::GET, &path, Some(&desk.token)).await;
        let next = answer.headers().get("x-next-cursor");
        let next = next.map(|next| next.to_str().unwrap().to_owned());
        let items: Vec<Value> = answer.json().await.unwrap();
        let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
        (items.iter().map(name).collect::<Vec<_>>(), next)
    };
    let all = ["a", "b", "c", "operator"];
    assert_eq!(page("").await, (all.map(str::to_owned).to_vec(), None));
    let (first, next) = page("?limit=3").await;
    assert_eq!(first, all[..3]);
    let rest = format!("?limit=3&cursor={}", next.unwrap());
    assert_eq!(page(&rest).await, (vec!["operator".to_owned()], None));
    for list in ["syncs", "agents", "connections", "users", "channels"] {
        let path = format!("/api/v1/{list}?limit=0");
        let refused = ask(&desk, Method::GET, &path, Some(&desk.token)).await;
        assert_eq!(refusal(refused, 422).await, "bad-limit", "{list}");
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let desk = Desk::start().await;
    let token = Some(desk.token.as_str());
    let none = ask(&desk, Method::GET, "/api/v1/nothing", token).await;
    assert_eq!(refusal(none, 404).await, "no-route");
    let none = ask(&desk, Method::GET, "/api/v1/syncs/nope", token).await;
    assert_eq!(refusal(none, 404).await, "not-found");
    let wrong = ask(&desk, Method::PUT, "/api/v1/syncs", token).await;
    assert!(wrong.headers().contains_key("allow"));
    assert_eq!(refusal(wrong, 405).await, "method-not-allowed");
    let offline = ask(&desk, Method::POST, "/api/v1/connections/x/test", token).await;
    assert_eq!(refusal(offline, 502).await, "agent-offline");

    let post = |body: Vec<u8>| {
        let url = format!("{}/api/v1/agents", desk.base);
        let request = Client::new().post(url).bearer_auth(&desk.token);
        request
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    assert_eq!(
        refusal(post(b"{".to_vec()).await.unwrap(), 400).await,
        "bad-request"
    );
    assert_eq!(
        refusal(post(b"{}".to_vec()).await.unwrap(), 422).await,
        "bad-request"
    );
    assert_eq!(
        refusal(post(vec![b' '; 3 << 20]).await.unwrap(), 413).await,
        "body-too-large"
    );
    let url = format!("{}/api/v1/agents", desk.base);
    let plain = Client::new()
        .post(url)
        .bearer_auth(&desk.token)
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(refusal(plain, 415).await, "media-type");
}

#[tokio::test]
async fn the_openapi_document_names_every_operation_and_its_refusals() {
    let desk = Desk::start().await;
    let document = ask(&desk, Method::GET, "/api/v1/openapi.json", None).await;
    let document: Value = document.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(
                !name.is_empty() && names.insert(name),
                "{method} {path}: {name:?}"
            );
            let responses = operation["responses"].as_object().unwrap();
            let is_open = operation["security"] == serde_json::json!([{}]);
            assert!(is_open || responses.contains_key("401"), "{name}");
            assert!(responses.contains_key("default"), "{name}");
            for (status, response) in responses
                .iter()
                .filter(|(key, _)| !key.starts_with(['2', '3']))
            {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{name} {status}");
            }
        }
    }
    assert!(names.contains("plan_sync") && names.len() > 20, "{names:?}");
    check_references(&document, &document);
}

/// The console's types are made from the document in the repository. `UPDATE_OPENAPI=1` writes it.
#[tokio::test]
async fn the_console_is_built_from_the_document_that_is_served() {
    let desk = Desk::start().await;
    let served = ask(&desk, Method::GET, "/api/v1/openapi.json", None).await;
    let served: Value = served.json().await.unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/console/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        let text = serde_json::to_string_pretty(&served).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(
        kept == served,
        "run this test with UPDATE_OPENAPI=1 and commit relay/console/openapi.json"
    );
}

/// Every `$ref` leads to something that is there.
fn check_references(part: &Value, document: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                let pointer = target.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{target} is missing");
            }
            members
                .values()
                .for_each(|member| check_references(member, document));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| check_references(item, document)),
        _ => {}
    }
}

#[tokio::test]
async fn health_needs_no_token_and_readiness_says_what_is_missing() {
    let desk = Desk::start().await;
    assert_eq!(
        ask(&desk, Method::GET, "/healthz", None).await.status(),
        200
    );
    assert_eq!(ask(&desk, Method::GET, "/readyz", None).await.status(), 200);
    desk.set(|script| {
        script
            .missing
            .push("running syncs with a side not reached: 1".into())
    });
    let unready = ask(&desk, Method::GET, "/readyz", None).await;
    assert_eq!(unready.status(), 503);
    assert!(unready.text().await.unwrap().contains("not reached: 1"));
}

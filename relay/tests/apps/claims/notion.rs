//! Notion's traps.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_apps::{Notion, Options, Running};

use crate::Client;

async fn start(options: Options) -> (Running, String) {
    let table = json!({ "name": "Tasks", "properties": [
        { "name": "Name", "type": "title" },
        { "name": "Notes", "type": "rich_text" },
        { "name": "State", "type": "status", "options": ["Open", "Done"] },
        { "name": "Kind", "type": "select", "options": ["A"] },
        { "name": "Linked", "type": "relation" },
    ] });
    let options = options.trap("limits=off");
    let app = Notion::start(options).await.expect("starts");
    let id = app.hand("create-data-source", table).expect("a table");
    let id = id.as_str().expect("an id").to_owned();
    (app, id)
}

fn titles(page: &Value) -> Vec<String> {
    let results = page["results"].as_array().cloned().unwrap_or_default();
    let title = |page: &Value| page["properties"]["Name"]["title"][0]["plain_text"].clone();
    let texts = results.iter().map(title);
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

async fn query(client: &Client<'_>, id: &str, wish: Value) -> Value {
    let path = format!("/v1/data_sources/{id}/query");
    let (status, page) = client.call("POST", &path, wish).await;
    assert_eq!(status, 200, "{page}");
    page
}

#[tokio::test]
async fn a_query_that_is_capped_says_so_and_looks_finished() {
    let (app, id) = start(Options::empty().trap("query-cap=3")).await;
    let client = Client::new(&app);
    for n in 0..5 {
        app.create("Tasks", json!({ "Name": format!("{n}") }))
            .unwrap();
    }
    let first = query(&client, &id, json!({ "page_size": 2 })).await;
    assert_eq!(first["request_status"]["type"], "incomplete");
    let next = json!({ "page_size": 2, "start_cursor": first["next_cursor"] });
    let last = query(&client, &id, next).await;
    assert_eq!(last["has_more"], false);
    assert_eq!(titles(&first).len() + titles(&last).len(), 3);
}

#[tokio::test]
async fn stamps_are_whole_minutes() {
    let (app, id) = start(Options::empty()).await;
    let client = Client::new(&app);
    app.create("Tasks", json!({ "Name": "x" })).unwrap();
    let page = query(&client, &id, json!({})).await;
    let edited = page["results"][0]["last_edited_time"].as_str().unwrap();
    assert!(edited.ends_with(":00.000Z"), "{edited}");
}

#[tokio::test]
async fn what_is_in_the_trash_is_in_no_query_and_is_still_answered() {
    let (app, id) = start(Options::empty()).await;
    let client = Client::new(&app);
    let page = app.create("Tasks", json!({ "Name": "x" })).unwrap();
    let path = format!("/v1/pages/{page}");
    let (_, gone) = client
        .call("PATCH", &path, json!({ "in_trash": true }))
        .await;
    assert_eq!(gone["in_trash"], true);
    assert!(titles(&query(&client, &id, json!({})).await).is_empty());
    assert_eq!(client.get(&path).await.1["in_trash"], true);
    let edit = json!({ "properties": { "title": { "title": [] } } });
    assert_eq!(client.call("PATCH", &path, edit).await.0, 400);
}

#[tokio::test]
async fn sizes_are_bounded_and_only_selects_grow_choices() {
    let (app, id) = start(Options::empty()).await;
    let client = Client::new(&app);
    let make = async |properties: Value| {
        let parent = json!({ "type": "data_source_id", "data_source_id": id });
        let wish = json!({ "parent": parent, "properties": properties });
        client.call("POST", "/v1/pages", wish).await
    };
    let text = |count: usize| json!({ "Notes": { "rich_text": [{ "text": { "content": "x".repeat(count) } }] } });
    assert_eq!(make(text(2_000)).await.0, 200);
    assert_eq!(make(text(2_001)).await.1["code"], "validation_error");
    let status = json!({ "State": { "status": { "name": "New" } } });
    assert_eq!(make(status).await.0, 400);
    let select = json!({ "Kind": { "select": { "name": "B" } } });
    assert_eq!(make(select).await.0, 200);
    let (_, source) = client.get(&format!("/v1/data_sources/{id}")).await;
    let options = source["properties"]["Kind"]["select"]["options"].as_array();
    assert_eq!(options.map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_page_shows_25_references_and_says_that_there_are_more() {
    let (app, id) = start(Options::empty()).await;
    let client = Client::new(&app);
    let linked: Vec<String> = (0..30).map(|n| format!("page-{n}")).collect();
    app.create("Tasks", json!({ "Name": "x", "Linked": linked }))
        .unwrap();
    let page = query(&client, &id, json!({})).await;
    let cell = &page["results"][0]["properties"]["Linked"];
    assert_eq!(cell["relation"].as_array().map(Vec::len), Some(25));
    assert_eq!(cell["has_more"], true);
}

#[tokio::test]
async fn a_refusal_for_rate_is_429_or_529_and_tells_the_wait() {
    for (setting, status) in [("overloaded=off", 429), ("overloaded=on", 529)] {
        let (app, _) = start(Options::empty().trap(setting)).await;
        app.trap("limits=1").unwrap();
        let client = Client::new(&app);
        let mut met = None;
        for _ in 0..200 {
            let (code, wait, _) = client
                .send_raw("GET", "/v1/users/me", Value::Null)
                .await
                .unwrap();
            if code != 200 {
                met = Some((code, wait));
                break;
            }
        }
        assert_eq!(met, Some((status, Some("1".to_owned()))));
        app.advance(Duration::from_secs(2));
        assert_eq!(client.get("/v1/users/me").await.0, 200);
    }
}

#[tokio::test]
async fn a_call_without_a_version_is_refused() {
    let (app, _) = start(Options::empty()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/users/me", app.address);
    let answer = http.get(url).bearer_auth(&app.token).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
}

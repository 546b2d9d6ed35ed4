//! Webflow's traps.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_apps::{Options, Running, Webflow};

use crate::Client;

async fn start(setting: &str) -> (Running, String) {
    let fields = json!([
        { "displayName": "Notes", "type": "PlainText" },
        { "displayName": "Body", "type": "RichText" },
        { "displayName": "Score", "type": "Number", "validations": { "format": "integer" } },
        { "displayName": "Stage", "type": "Option", "metadata": { "options": [{ "name": "Lead" }] } },
    ]);
    let options = Options::empty().trap("limits=off").trap(setting);
    let app = Webflow::start(options).await.expect("starts");
    let collection = json!({ "name": "Posts", "fields": fields });
    let id = app.hand("create-collection", collection).expect("made");
    let items = format!("/v2/collections/{}/items", id.as_str().expect("an id"));
    (app, items)
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let ids = items.iter().filter_map(|item| item["id"].as_str());
    ids.map(str::to_owned).collect()
}

fn posts(count: usize) -> Value {
    let items = (0..count).map(|n| json!({ "fieldData": { "name": format!("Post {n}") } }));
    json!({ "items": items.collect::<Vec<_>>() })
}

#[tokio::test]
async fn an_item_is_a_draft_until_it_is_published_and_a_change_shows_when_it_is_published() {
    let (app, items) = start("publish-refused=off").await;
    let client = Client::new(&app);
    let wish = json!({ "fieldData": { "name": "A b!", "notes": "one" } });
    let (status, made) = client.call("POST", &items, wish).await;
    assert_eq!((status, &made["isDraft"]), (202, &json!(true)));
    assert_eq!(made["fieldData"]["slug"], "a-b");
    let id = made["id"].as_str().unwrap();
    let live = format!("{items}/{id}/live");
    assert_eq!(client.get(&live).await.0, 404);
    let publish = format!("{items}/publish");
    let wish = json!({ "itemIds": [id, "000000000000000000000000"] });
    let (status, told) = client.call("POST", &publish, wish).await;
    assert_eq!((status, &told["publishedItemIds"]), (202, &json!([id])));
    assert_eq!(told["errors"].as_array().map(Vec::len), Some(1));
    let change = json!({ "items": [{ "id": id, "fieldData": { "notes": "two" } }] });
    let (_, changed) = client.call("PATCH", &items, change).await;
    assert_eq!(changed["items"][0]["fieldData"]["name"], "A b!");
    let notes = async || client.get(&live).await.1["fieldData"]["notes"].clone();
    assert_eq!(notes().await, "one");
    client
        .call("POST", &publish, json!({ "itemIds": [id] }))
        .await;
    assert_eq!(notes().await, "two");
    app.trap("publish-refused").unwrap();
    let (status, _) = client
        .call("POST", &publish, json!({ "itemIds": [id] }))
        .await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_live_item_that_is_deleted_keeps_its_slug_until_the_site_is_published() {
    let (app, items) = start("refuses=off").await;
    let client = Client::new(&app);
    let wish = json!({ "fieldData": { "name": "x", "slug": "mine" } });
    let id = client.call("POST", &items, wish.clone()).await.1["id"].clone();
    let publish = format!("{items}/publish");
    client
        .call("POST", &publish, json!({ "itemIds": [id] }))
        .await;
    let gone = json!({ "items": [{ "id": id }] });
    assert_eq!(client.call("DELETE", &items, gone.clone()).await.0, 204);
    let (status, refused) = client.call("POST", &items, wish.clone()).await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("validation_error"))
    );
    assert_eq!(refused["details"][0]["param"], "slug");
    app.hand("publish-site", Value::Null).unwrap();
    let id = client.call("POST", &items, wish.clone()).await.1["id"].clone();
    client
        .call("POST", &publish, json!({ "itemIds": [id] }))
        .await;
    // Withdrawn first, it leaves nothing behind.
    let gone = json!({ "items": [{ "id": id }] });
    let live = format!("{items}/live");
    assert_eq!(client.call("DELETE", &live, gone.clone()).await.0, 204);
    assert_eq!(client.call("DELETE", &live, gone.clone()).await.0, 404);
    client.call("DELETE", &items, gone).await;
    assert_eq!(client.call("POST", &items, wish).await.0, 202);
}

#[tokio::test]
async fn a_call_has_a_hundred_items_counted_with_their_locales_and_is_done_whole_or_not_at_all() {
    let (app, items) = start("locales=1").await;
    let client = Client::new(&app);
    assert_eq!(client.call("POST", &items, posts(101)).await.0, 400);
    let mut bad = posts(3);
    bad["items"][1]["fieldData"]["score"] = json!(1.5);
    let (status, refused) = client.call("POST", &items, bad).await;
    assert_eq!(
        (status, &refused["details"][0]["param"]),
        (400, &json!("score"))
    );
    assert_eq!(client.call("POST", &items, posts(100)).await.0, 202);
    app.trap("locales=3").unwrap();
    assert_eq!(client.call("POST", &items, posts(34)).await.0, 400);
    assert_eq!(app.rows("Posts").unwrap().len(), 100);
}

#[tokio::test]
async fn lists_are_filtered_and_sorted_and_end_with_a_total() {
    let (app, items) = start("refuses=off").await;
    let client = Client::new(&app);
    let (_, made) = client.call("POST", &items, posts(30)).await;
    let made = ids(&made);
    let page = client.get(&format!("{items}?limit=20&offset=20")).await.1;
    assert_eq!(
        (ids(&page).len(), &page["pagination"]["total"]),
        (10, &json!(30))
    );
    let find = async |filter: &str| ids(&client.get(&format!("{items}?{filter}")).await.1).len();
    let two = format!("filter[id][in]={},{},0", made[3], made[7]);
    assert_eq!(find(&two).await, 2);
    assert_eq!(find("filter[name][in]=Post%203,Post%204,post%205").await, 2);
    assert_eq!(find("filter[name][contains]=POST%201").await, 11);
    assert_eq!(find("slug=post-9").await, 1);
    assert_eq!(
        client.get(&format!("{items}?filter[body][eq]=x")).await.0,
        400
    );
    assert_eq!(
        client.get(&format!("{items}?filter[what][eq]=x")).await.0,
        400
    );
    app.advance(Duration::from_secs(60));
    app.update("Posts", &made[5], json!({ "notes": "later" }))
        .unwrap();
    let all = client
        .get(&format!("{items}?sortBy=lastUpdated&sortOrder=asc"))
        .await
        .1;
    assert_eq!(ids(&all).last(), Some(&made[5]));
    let since = all["items"][29]["lastUpdated"].as_str().unwrap();
    assert_eq!(find(&format!("lastUpdated[gte]={since}")).await, 1);
    app.trap("page-cap=7").unwrap();
    let page = client.get(&items).await.1;
    assert_eq!(
        (ids(&page).len(), &page["pagination"]["total"]),
        (7, &json!(30))
    );
}

#[tokio::test]
async fn lists_may_be_behind_and_an_item_by_itself_is_not() {
    let (app, items) = start("stale-reads=10s").await;
    let client = Client::new(&app);
    let id = client.call("POST", &items, posts(1)).await.1["items"][0]["id"].clone();
    assert!(ids(&client.get(&items).await.1).is_empty());
    let path = format!("{items}/{}", id.as_str().unwrap());
    assert_eq!(client.get(&path).await.0, 200);
    app.advance(Duration::from_secs(11));
    assert_eq!(ids(&client.get(&items).await.1).len(), 1);
}

#[tokio::test]
async fn orders_are_their_own_where_they_are_shuffled() {
    let (app, items) = start("shuffled-results").await;
    let client = Client::new(&app);
    let (_, made) = client.call("POST", &items, posts(50)).await;
    let names = made["items"].as_array().unwrap().iter();
    let names: Vec<&Value> = names.map(|item| &item["fieldData"]["name"]).collect();
    let in_order: Vec<Value> = (0..50).map(|n| format!("Post {n}").into()).collect();
    assert_ne!(names, in_order.iter().collect::<Vec<_>>());
    app.trap("shuffled-ties").unwrap();
    let rows: Vec<Value> = (0..50)
        .map(|n| json!({ "name": format!("tie {n}") }))
        .collect();
    app.hand("import", json!({ "table": "Posts", "rows": rows }))
        .unwrap();
    let path = format!("{items}?sortBy=createdOn");
    let (first, second) = (client.get(&path).await.1, client.get(&path).await.1);
    assert_ne!(ids(&first), ids(&second));
}

#[tokio::test]
async fn rich_text_comes_back_as_the_editor_writes_it_and_publishing_may_count_as_a_change() {
    let (app, items) = start("publishing-updates").await;
    let client = Client::new(&app);
    let wish = json!({ "fieldData": { "name": "x", "body": "<p>a</p>" } });
    let (_, made) = client.call("POST", &items, wish).await;
    assert_eq!(made["fieldData"]["body"], "<p id=\"\">a</p>");
    app.advance(Duration::from_secs(5));
    let publish = json!({ "itemIds": [made["id"]] });
    client
        .call("POST", &format!("{items}/publish"), publish)
        .await;
    let path = format!("{items}/{}", made["id"].as_str().unwrap());
    let published = client.get(&path).await.1;
    assert_ne!(published["lastUpdated"], made["lastUpdated"]);
    app.trap("html-rewritten=off").unwrap();
    app.trap("refuses").unwrap();
    let plain = json!({ "fieldData": { "body": "<p>b</p>" } });
    let (_, plain) = client.call("PATCH", &path, plain).await;
    assert_eq!(plain["fieldData"]["body"], "<p>b</p>");
    let refused = json!({ "fieldData": { "notes": "refuse" } });
    assert_eq!(client.call("PATCH", &path, refused).await.0, 400);
}

#[tokio::test]
async fn every_answer_tells_the_rate_and_a_refusal_the_wait() {
    let (app, _) = start("refuses=off").await;
    app.trap("limits=1").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v2/sites", app.address);
    for n in 0..61 {
        let answer = http.get(&url).bearer_auth(&app.token).send().await.unwrap();
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .map(|text| text.to_str().unwrap())
        };
        assert_eq!(header("x-ratelimit-limit"), Some("60"));
        let left = 59_u32.saturating_sub(n).to_string();
        assert_eq!(header("x-ratelimit-remaining"), Some(left.as_str()));
        match n {
            60 => {
                assert_eq!(answer.status().as_u16(), 429);
                let wait: u32 = header("retry-after").unwrap().parse().unwrap();
                assert!((50..=60).contains(&wait), "{wait}");
            }
            _ => assert_eq!(answer.status().as_u16(), 200),
        }
    }
}

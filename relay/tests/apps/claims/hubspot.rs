//! HubSpot's traps.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_apps::{HubSpot, Options, Running};

use crate::Client;

const CONTACTS: &str = "/crm/v3/objects/contacts";

async fn start(setting: &str) -> Running {
    let slug = json!({ "table": "contacts", "name": "slug", "type": "string", "fieldType": "text",
        "hasUniqueValue": true });
    let options = Options::empty().made("create-property", slug);
    let options = options.trap("limits=off").trap("search-lag=off");
    HubSpot::start(options.trap(setting)).await.expect("starts")
}

fn seed(app: &Running, count: usize) -> Vec<String> {
    let made = (0..count).map(|n| json!({ "slug": format!("slug-{n}"), "firstname": "x" }));
    made.map(|fields| app.create("contacts", fields).unwrap())
        .collect()
}

async fn search(client: &Client<'_>, wish: Value) -> (u16, Value) {
    let path = format!("{CONTACTS}/search");
    client.call("POST", &path, wish).await
}

async fn batch(client: &Client<'_>, what: &str, inputs: Value) -> (u16, Value) {
    let path = format!("{CONTACTS}/batch/{what}");
    let wish = json!({ "inputs": inputs, "properties": ["slug"] });
    client.call("POST", &path, wish).await
}

fn ids(page: &Value) -> Vec<String> {
    let results = page["results"].as_array().cloned().unwrap_or_default();
    let ids = results.iter().filter_map(|record| record["id"].as_str());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_search_lags_and_reads_by_id_do_not() {
    let app = start("search-lag=10s").await;
    let client = Client::new(&app);
    let made = seed(&app, 1);
    assert_eq!(search(&client, json!({})).await.1["total"], 0);
    let read = batch(&client, "read", json!([{ "id": made[0] }])).await.1;
    assert_eq!(ids(&read), made);
    app.advance(Duration::from_secs(11));
    assert_eq!(search(&client, json!({})).await.1["total"], 1);
}

#[tokio::test]
async fn a_search_ends_at_its_cap_with_a_refusal() {
    let app = start("search-cap=3").await;
    let client = Client::new(&app);
    seed(&app, 5);
    let first = search(&client, json!({ "limit": 2 })).await.1;
    assert_eq!(first["paging"]["next"]["after"], "2");
    let second = search(&client, json!({ "limit": 2, "after": "2" })).await.1;
    assert_eq!((ids(&second).len(), &second["total"]), (1, &json!(5)));
    let (status, refused) = search(&client, json!({ "limit": 2, "after": "3" })).await;
    assert_eq!(
        (status, &refused["category"]),
        (400, &json!("VALIDATION_ERROR"))
    );
}

#[tokio::test]
async fn texts_are_sought_in_lower_case_among_several() {
    let app = start("refuses=off").await;
    let client = Client::new(&app);
    app.create("contacts", json!({ "slug": "Ada" })).unwrap();
    for (sought, found) in [("Ada", 0), ("ada", 1)] {
        let filter = json!({ "propertyName": "slug", "operator": "IN", "values": [sought] });
        let wish = json!({ "filterGroups": [{ "filters": [filter] }] });
        assert_eq!(search(&client, wish).await.1["total"], found, "{sought}");
    }
    let long = json!({ "filterGroups": [], "query": "x".repeat(3_000) });
    assert_eq!(search(&client, long).await.0, 400);
}

#[tokio::test]
async fn a_batch_of_creates_is_done_in_part_where_its_items_are_traced() {
    let app = start("refuses").await;
    let client = Client::new(&app);
    let input = |n: usize, name: &str| {
        let properties = json!({ "slug": format!("s{n}"), "firstname": name });
        json!({ "properties": properties, "associations": [], "objectWriteTraceId": n.to_string() })
    };
    let inputs = json!([input(0, "a"), input(1, "refuse"), input(2, "b")]);
    let (status, told) = batch(&client, "create", inputs).await;
    assert_eq!((status, &told["numErrors"]), (207, &json!(1)));
    assert_eq!(ids(&told).len(), 2);
    assert_eq!(
        told["errors"][0]["context"]["objectWriteTraceId"],
        json!(["1"])
    );
    let untraced = json!([{ "properties": { "slug": "s8" } }, { "properties": { "slug": "s0" } }]);
    let (status, refused) = batch(&client, "create", untraced).await;
    assert_eq!(status, 400);
    assert_eq!(refused["errors"][0]["code"], "CONFLICTING_UNIQUE_VALUE");
    assert_eq!(app.rows("contacts").unwrap().len(), 2);
}

#[tokio::test]
async fn results_of_a_batch_come_in_an_order_of_their_own() {
    let app = start("shuffled-results").await;
    let client = Client::new(&app);
    let made = seed(&app, 50);
    let inputs: Vec<Value> = made.iter().map(|id| json!({ "id": id })).collect();
    let read = batch(&client, "read", inputs.into()).await.1;
    let mut answered = ids(&read);
    assert_ne!(answered, made);
    answered.sort_by_key(|id| id.parse::<u64>().unwrap());
    assert_eq!(answered, made);
}

#[tokio::test]
async fn what_is_merged_away_is_archived_nowhere_and_its_id_is_the_survivors() {
    for (setting, keeps) in [("merges-keep-id=off", false), ("merges-keep-id=on", true)] {
        let app = start(setting).await;
        let client = Client::new(&app);
        let made = seed(&app, 2);
        let with = json!({ "table": "contacts", "primary": made[0], "other": made[1] });
        let new = app.hand("merge", with).unwrap();
        assert_eq!(new == made[0].as_str(), keeps);
        let archived = client.get(&format!("{CONTACTS}?archived=true")).await.1;
        assert!(ids(&archived).is_empty());
        let (status, read) = batch(&client, "read", json!([{ "id": made[1] }])).await;
        assert_eq!((status, &read["results"][0]["id"]), (200, &new));
        let found = search(&client, json!({ "properties": ["hs_merged_object_ids"] }))
            .await
            .1;
        let merged = found["results"][0]["properties"]["hs_merged_object_ids"].as_str();
        assert!(merged.unwrap().contains(&made[1]), "{found}");
    }
}

#[tokio::test]
async fn what_is_archived_is_in_a_list_of_its_own_and_what_is_purged_in_none() {
    let app = start("refuses=off").await;
    let client = Client::new(&app);
    let made = seed(&app, 3);
    batch(
        &client,
        "archive",
        json!([{ "id": made[0] }, { "id": "12345" }]),
    )
    .await;
    let purged = json!({ "table": "contacts", "id": made[1] });
    app.hand("purge", purged).unwrap();
    let archived = client.get(&format!("{CONTACTS}?archived=true")).await.1;
    assert_eq!(ids(&archived), [made[0].as_str()]);
    assert_eq!(ids(&client.get(CONTACTS).await.1), [made[2].as_str()]);
    let (status, read) = batch(
        &client,
        "read",
        json!([{ "id": made[0] }, { "id": made[2] }]),
    )
    .await;
    assert_eq!(status, 207);
    assert_eq!(read["errors"][0]["category"], "OBJECT_NOT_FOUND");
    assert_eq!(read["errors"][0]["context"]["ids"], json!([made[0]]));
}

#[tokio::test]
async fn values_are_texts_and_become_what_hubspot_makes_of_them() {
    let app = start("refuses=off").await;
    let client = Client::new(&app);
    let tags = json!({ "table": "contacts", "name": "tags", "type": "enumeration",
        "fieldType": "checkbox", "options": [{ "value": "a" }, { "value": "b" }] });
    app.hand("create-property", tags).unwrap();
    let day = json!({ "table": "contacts", "name": "day", "type": "date", "fieldType": "date" });
    app.hand("create-property", day).unwrap();
    let given = json!({ "email": " Ada@Example.COM ", "day": "1767225600000", "tags": "b;a" });
    let made = client
        .call("POST", CONTACTS, json!({ "properties": given }))
        .await
        .1;
    let has = &made["properties"];
    assert_eq!(has["email"], "ada@example.com");
    assert_eq!(
        (&has["day"], &has["tags"]),
        (&json!("2026-01-01"), &json!("b;a"))
    );
    let path = format!("{CONTACTS}/{}", made["id"].as_str().unwrap());
    for (name, value) in [
        ("tags", "c"),
        ("day", "2026-01-01T10:00:00Z"),
        ("nobody", "x"),
        ("createdate", "1"),
    ] {
        let wish = json!({ "properties": { name: value } });
        assert_eq!(client.call("PATCH", &path, wish).await.0, 400, "{name}");
    }
    // A write answers what was written, and nothing else of the record.
    let wish = json!({ "properties": { "firstname": "Ada" } });
    let written = client.call("PATCH", &path, wish).await.1;
    assert_eq!(written["properties"].get("email"), None);
    let again = client.call(
        "POST",
        CONTACTS,
        json!({ "properties": { "email": "ADA@example.com" } }),
    );
    let (status, refused) = again.await;
    assert_eq!((status, &refused["category"]), (409, &json!("CONFLICT")));
}

#[tokio::test]
async fn a_person_is_right_behind_a_write_and_its_answer_does_not_show_it() {
    let app = start("edited-behind").await;
    let client = Client::new(&app);
    let size = json!({ "table": "contacts", "name": "size", "type": "number" });
    app.hand("create-property", size).unwrap();
    let input = json!({ "properties": { "slug": "s", "size": "7" } });
    let made = batch(&client, "create", json!([input])).await.1;
    let (id, answered) = (&ids(&made)[0], &made["results"][0]);
    assert_eq!(answered["properties"]["size"], "7");
    let path = format!("{CONTACTS}/{id}?properties=size");
    let read = client.get(&path).await.1;
    assert_eq!(read["properties"]["size"], "8");
    assert_ne!(read["updatedAt"], answered["updatedAt"]);
}

#[tokio::test]
async fn three_budgets_are_told_by_their_policies_and_no_wait() {
    for (setting, path, policy) in [
        ("daily-calls=3", CONTACTS, "DAILY"),
        ("refuses=off", CONTACTS, "TEN_SECONDLY_ROLLING"),
        ("refuses=off", "/crm/v3/objects/contacts/search", "SECONDLY"),
    ] {
        let app = start(setting).await;
        app.trap("limits=1").unwrap();
        let client = Client::new(&app);
        let method = if path == CONTACTS { "GET" } else { "POST" };
        let mut met = None;
        for _ in 0..150 {
            let (status, wait, body) = client.send_raw(method, path, Value::Null).await.unwrap();
            if status == 429 {
                let body: Value = serde_json::from_slice(&body).unwrap();
                met = Some((wait, body["policyName"].clone()));
                break;
            }
        }
        assert_eq!(met, Some((None, policy.into())));
    }
}

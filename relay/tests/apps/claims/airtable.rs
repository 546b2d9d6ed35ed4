//! Airtable's traps.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_apps::{Airtable, Options, Running};

use crate::Client;

async fn start(options: Options) -> (Running, String) {
    let app = Airtable::start(options).await.expect("starts");
    let found = app.hand("base", Value::Null).expect("a base");
    let base = found.as_str().expect("an id").to_owned();
    (app, base)
}

async fn list(client: &Client<'_>, path: &str, size: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut offset = String::new();
    loop {
        let (status, page) = client.get(&format!("{path}?pageSize={size}{offset}")).await;
        assert_eq!(status, 200, "{page}");
        let records = page["records"].as_array().unwrap();
        ids.extend(
            records
                .iter()
                .map(|record| record["id"].as_str().unwrap().to_owned()),
        );
        match page["offset"].as_str() {
            Some(next) => offset = format!("&offset={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn sixth_call_in_a_second_locks_the_base() {
    let (app, base) = start(Options::new()).await;
    let client = Client::new(&app);
    let path = format!("/v0/{base}/Contacts");
    let mut met = 0;
    // On a busy machine five calls may take longer than a second.
    for _ in 0..200 {
        let (status, body) = client.get(&path).await;
        if status == 429 {
            assert_eq!(body["errors"][0]["error"], "RATE_LIMIT_REACHED");
            met += 1;
            break;
        }
    }
    assert_eq!(met, 1);
    app.advance(Duration::from_secs(29));
    assert_eq!(client.get(&path).await.0, 429);
    app.advance(Duration::from_secs(2));
    assert_eq!(client.get(&path).await.0, 200);
}

#[tokio::test]
async fn empty_cells_are_left_out_and_numbers_are_floats() {
    let (app, base) = start(Options::new().trap("limits=off")).await;
    let client = Client::new(&app);
    let fields = json!({ "Name": "x", "Notes": "", "Score": 9_007_199_254_740_993_i64 });
    let (_, made) = client
        .call(
            "POST",
            &format!("/v0/{base}/Contacts"),
            json!({ "fields": fields }),
        )
        .await;
    assert_eq!(made["fields"]["Notes"], Value::Null);
    assert_eq!(made["fields"]["Score"], 9_007_199_254_740_992_i64);
    assert!(made["createdTime"].as_str().unwrap().ends_with(".000Z"));
}

#[tokio::test]
async fn reads_are_stale_for_as_long_as_the_trap_says() {
    let (app, base) = start(Options::new().trap("limits=off").trap("stale-reads=1m")).await;
    app.advance(Duration::from_secs(120));
    let client = Client::new(&app);
    let path = format!("/v0/{base}/Contacts");
    let id = app.rows("Contacts").unwrap()[0].id.clone();
    let body = json!({ "fields": { "Name": "New" } });
    let (_, answer) = client.call("PATCH", &format!("{path}/{id}"), body).await;
    assert_eq!(answer["fields"]["Name"], "New");
    assert_eq!(
        client.get(&format!("{path}/{id}")).await.1["fields"]["Name"],
        "Contact 0"
    );
    app.advance(Duration::from_secs(61));
    assert_eq!(
        client.get(&format!("{path}/{id}")).await.1["fields"]["Name"],
        "New"
    );
}

#[tokio::test]
async fn pages_shift_only_where_the_trap_is_set() {
    for (setting, is_whole) in [("shifting-pages=off", true), ("shifting-pages=on", false)] {
        let (app, base) = start(Options::new().rows(6).trap("limits=off").trap(setting)).await;
        let client = Client::new(&app);
        let path = format!("/v0/{base}/Contacts?pageSize=2");
        let (_, first) = client.get(&path).await;
        let ids = |page: &Value| {
            let records = page["records"].as_array().cloned().unwrap_or_default();
            records
                .iter()
                .map(|record| record["id"].to_string())
                .collect::<Vec<_>>()
        };
        app.create("Contacts", json!({ "Name": "Between" }))
            .unwrap();
        let offset = first["offset"].as_str().unwrap();
        let (_, second) = client.get(&format!("{path}&offset={offset}")).await;
        let is_doubled = ids(&second).iter().any(|id| ids(&first).contains(id));
        assert_eq!(is_doubled, !is_whole, "{setting}");
    }
}

#[tokio::test]
async fn page_token_dies_in_mid_scan() {
    let (app, base) = start(Options::new().rows(5).trap("limits=off")).await;
    let client = Client::new(&app);
    let path = format!("/v0/{base}/Contacts?pageSize=2");
    let (_, page) = client.get(&path).await;
    app.advance(Duration::from_secs(301));
    let offset = page["offset"].as_str().unwrap();
    let (status, error) = client.get(&format!("{path}&offset={offset}")).await;
    assert_eq!(status, 422);
    assert_eq!(
        error["error"]["type"],
        "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"
    );
    assert_eq!(
        list(&client, &format!("/v0/{base}/Contacts"), 2)
            .await
            .len(),
        5
    );
}

#[tokio::test]
async fn log_of_payloads_tells_what_was_deleted_and_expires() {
    let (app, base) = start(Options::new().trap("limits=off")).await;
    let client = Client::new(&app);
    let hooks = format!("/v0/bases/{base}/webhooks");
    let wish =
        json!({ "specification": { "options": { "filters": { "dataTypes": ["tableData"] } } } });
    let (_, hook) = client.call("POST", &hooks, wish).await;
    let id = app.rows("Contacts").unwrap()[0].id.clone();
    app.update("Contacts", &id, json!({ "Stage": "Lead" }))
        .unwrap();
    app.delete("Contacts", &id).unwrap();
    let log = format!("{hooks}/{}/payloads", hook["id"].as_str().unwrap());
    let (_, read) = client.get(&log).await;
    assert_eq!(read["cursor"], 3);
    let table = |at: usize| {
        let tables = read["payloads"][at]["changedTablesById"]
            .as_object()
            .unwrap();
        tables.values().next().unwrap().clone()
    };
    let changed = &table(0)["changedRecordsById"][&id]["current"]["cellValuesByFieldId"];
    let stage = changed.as_object().unwrap().values().next().unwrap();
    assert_eq!(stage["name"], "Lead", "choices are objects in payloads");
    assert_eq!(table(1)["destroyedRecordIds"][0], id);
    app.advance(Duration::from_secs(8 * 86_400));
    let (_, late) = client.get(&log).await;
    assert_eq!(late["payloads"].as_array().unwrap().len(), 0);
    app.create("Contacts", json!({ "Name": "Unseen" })).unwrap();
    assert_eq!(
        client.get(&log).await.1["payloads"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(
        client.get(&hooks).await.1["webhooks"][0]["isHookEnabled"],
        false
    );
}

#[tokio::test]
async fn links_of_files_expire() {
    let field = json!({ "table": "Contacts", "name": "Files", "type": "multipleAttachments" });
    let (app, base) = start(
        Options::new()
            .trap("limits=off")
            .made("create-field", field),
    )
    .await;
    let client = Client::new(&app);
    let files = json!([{ "url": "http://127.0.0.1:1/a.txt" }]);
    let body = json!({ "fields": { "Name": "f", "Files": files } });
    let (_, made) = client
        .call("POST", &format!("/v0/{base}/Contacts"), body)
        .await;
    let url = made["fields"]["Files"][0]["url"].as_str().unwrap();
    assert_eq!(client.get(url).await.0, 200);
    app.advance(Duration::from_secs(2 * 3_600 + 1));
    assert_eq!(client.get(url).await.0, 410);
}

#[tokio::test]
async fn values_are_changed_in_silence_where_the_traps_are_set() {
    let options = Options::new().trap("limits=off").trap("cuts-text=3");
    let (app, base) = start(options.trap("rounds-numbers").trap("drops-unknown")).await;
    let client = Client::new(&app);
    let body = json!({ "fields": { "Name": "long", "Score": 1.6, "Nme": "typo" } });
    let (status, made) = client
        .call("POST", &format!("/v0/{base}/Contacts"), body)
        .await;
    assert_eq!(status, 200);
    assert_eq!(made["fields"]["Name"], "lon");
    assert_eq!(made["fields"]["Score"], 2);
    assert_eq!(made["fields"].as_object().unwrap().len(), 3, "{made}");
}

#[tokio::test]
async fn missing_ids_refuse_a_batch_or_are_skipped_by_trap() {
    let (app, base) = start(Options::new().trap("limits=off")).await;
    let client = Client::new(&app);
    let path = format!("/v0/{base}/Contacts");
    let id = app.rows("Contacts").unwrap()[0].id.clone();
    let body = json!({ "records": [
        { "id": id, "fields": { "Name": "A" } },
        { "id": "recGone0000000000", "fields": { "Name": "B" } },
    ] });
    let (status, error) = client.call("PATCH", &path, body.clone()).await;
    assert_eq!(
        (status, &error["error"]["type"]),
        (422, &json!("ROW_DOES_NOT_EXIST"))
    );
    assert_eq!(app.rows("Contacts").unwrap()[0].fields["Name"], "Contact 0");
    app.trap("skips-missing").unwrap();
    let (status, done) = client.call("PATCH", &path, body).await;
    assert_eq!(
        (status, done["records"].as_array().unwrap().len()),
        (200, 1)
    );
}

#[tokio::test]
async fn schema_changes_by_hand_are_seen() {
    let (app, base) = start(Options::new().trap("limits=off")).await;
    let client = Client::new(&app);
    let field = |name: &str| json!({ "table": "Contacts", "field": name, "name": "Title" });
    app.hand("rename-field", field("Name")).unwrap();
    let retyped = json!({ "table": "Contacts", "field": "Email", "type": "number", "options": {} });
    app.hand("retype-field", retyped).unwrap();
    let (_, read) = client.get(&format!("/v0/{base}/Contacts")).await;
    let fields = &read["records"][0]["fields"];
    assert_eq!(fields["Title"], "Contact 0");
    assert_eq!(fields["Email"], Value::Null, "a text is no number");
}

//! Airtable's double: the claims that every connector keeps, and what is unpleasant about Airtable.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tidegate_apps::{Airtable as Double, Fault, Harm, Options, Running};

use super::claims::edits_of_both_sides_cross;
use super::doubled::{TABLE, THINGS, typed};
use super::{App, Row, Rows, Scene};
use crate::e2e::stage::Stage;

pub struct Airtable {
    double: Running,
}

impl Airtable {
    pub async fn start() -> Airtable {
        let fields = json!([
            { "name": "slug", "type": "singleLineText" },
            { "name": "title", "type": "multilineText" },
            { "name": "qty", "type": "number", "options": { "precision": 0 } },
            { "name": "done", "type": "checkbox" },
            { "name": "Changed", "type": "lastModifiedTime", "options": {} },
        ]);
        let table = json!({ "name": TABLE, "fields": fields });
        let options = Options::empty().made("create-table", table).trap("refuses");
        let double = Double::start(options).await.unwrap();
        Airtable { double }
    }

    fn calls(&self, endpoint: &str) -> u64 {
        self.double.calls().get(endpoint).copied().unwrap_or(0)
    }

    /// Somebody takes away what the relay asked for.
    async fn delete_hooks(&self) {
        // The relay has the calls of this second.
        self.double.trap("limits=off").unwrap();
        let base = self.double.hand("base", Value::Null).unwrap();
        let hooks = format!(
            "{}/v0/bases/{}/webhooks",
            self.double.address,
            base.as_str().unwrap()
        );
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let token = &self.double.token;
        let answer = client.get(&hooks).bearer_auth(token).send().await.unwrap();
        let found: Value = answer.json().await.unwrap();
        for hook in found["webhooks"].as_array().unwrap() {
            let one = format!("{hooks}/{}", hook["id"].as_str().unwrap());
            let answer = client.delete(one).bearer_auth(token).send().await.unwrap();
            assert!(answer.status().is_success());
        }
        self.double.trap("limits=1").unwrap();
    }
}

#[async_trait]
impl App for Airtable {
    fn kind(&self) -> &'static str {
        "airtable"
    }

    fn base_url(&self) -> String {
        self.double.address.clone()
    }

    fn token(&self) -> String {
        self.double.token.clone()
    }

    fn table(&self) -> String {
        format!("Double.{TABLE}")
    }

    fn user(&self) -> String {
        "someone@example.com".to_owned()
    }

    // A box that is not ticked is no cell at all: it is never null.
    fn done_column(&self) -> &'static str {
        "bool not null default false"
    }

    fn refusal(&self) -> &'static str {
        "value-out-of-range"
    }

    // At 5 calls a second, 10 records each.
    fn many(&self) -> i32 {
        1_000
    }

    async fn seed(&self, rows: &Rows) {
        THINGS.seed(&self.double, rows);
    }

    async fn edit(&self, slug: &str, row: &Row) {
        THINGS.edit(&self.double, slug, row);
    }

    async fn delete(&self, slug: &str) {
        THINGS.delete(&self.double, slug);
    }

    async fn all(&self) -> Rows {
        THINGS.all(&self.double, typed)
    }
}

/// Equal, with `count` records on both sides.
async fn synced(hint: &str, count: i32) -> Scene<Airtable> {
    let scene = Scene::start(Airtable::start().await, hint).await;
    scene
        .sql(&format!(
            "insert into things (slug, title, qty) select 'row-' || n, 'left', n
             from generate_series(1, {count}) n"
        ))
        .await;
    scene.stage.apply(&scene.file("")).await;
    scene.wait_equal().await;
    scene.quiet().await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_offset_expired_is_read_from_its_start() {
    let scene = Scene::start(Airtable::start().await, "expired").await;
    let rows = (1..=350).map(|n| (format!("row-{n}"), Row::titled("app")));
    scene.app.seed(&rows.collect()).await;
    scene.app.double.trap("page-tokens-live=1ms").unwrap();
    let file = scene.file("");
    scene.stage.post("syncs/apply", json!({"file": file})).await;
    let is_refused = async |_: &Stage| scene.app.calls("GET /v0/{base}/{table}") >= 2;
    scene.stage.wait("an offset to expire", is_refused).await;
    scene.app.double.trap("page-tokens-live=5m").unwrap();
    assert_eq!(scene.wait_equal().await.len(), 350);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_the_log_expired_is_found_by_comparing_everything() {
    let mut scene = synced("log_expired", 30).await;
    scene.stage.kill_relay();
    scene.app.edit("row-3", &Row::titled("while away")).await;
    scene.app.delete("row-4").await;
    scene.app.double.advance(Duration::from_secs(8 * 86_400));
    scene.stage.start_relay().await;
    let met = |rows: &Rows| {
        rows["row-3"].title.as_deref() == Some("while away") && !rows.contains_key("row-4")
    };
    scene.wait_left("what was missed", met).await;
    edits_of_both_sides_cross(&scene, "after").await;
    assert_eq!(scene.wait_equal().await.len(), 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_somebody_deleted_is_opened_anew() {
    let scene = synced("log_deleted", 30).await;
    scene.app.delete_hooks().await;
    scene.app.edit("row-3", &Row::titled("unlogged")).await;
    scene.app.delete("row-4").await;
    let met = |rows: &Rows| {
        rows["row-3"].title.as_deref() == Some("unlogged") && !rows.contains_key("row-4")
    };
    scene.wait_left("what no log has", met).await;
    edits_of_both_sides_cross(&scene, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_serves_a_base_and_is_kept_across_restarts() {
    let mut scene = synced("one_log", 5).await;
    for round in ["first", "second"] {
        scene.stage.kill_relay();
        scene.stage.start_relay().await;
        edits_of_both_sides_cross(&scene, round).await;
    }
    assert_eq!(scene.app.calls("POST /v0/bases/{base}/webhooks"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_for_rate_nothing_is_sent_for_thirty_seconds() {
    let scene = synced("limited", 5).await;
    let fault = Fault::new(Harm::Limited(None)).at("POST /v0/{base}/{table}");
    let began = Instant::now();
    scene.app.double.fault(fault);
    scene
        .sql("insert into things (slug, title) values ('late', 'x')")
        .await;
    scene
        .wait_app("the create", |rows| rows.contains_key("late"))
        .await;
    assert!(began.elapsed() >= Duration::from_secs(30));
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_are_behind_lose_and_revert_nothing() {
    let scene = synced("stale", 20).await;
    scene.app.double.trap("stale-reads=1500ms").unwrap();
    let fresh = Rows::from([("fresh".to_owned(), Row::titled("app"))]);
    scene.app.seed(&fresh).await;
    scene.app.delete("row-5").await;
    for round in ["one", "two", "three"] {
        edits_of_both_sides_cross(&scene, round).await;
    }
    let rows = scene.wait_equal().await;
    assert!(rows.contains_key("fresh") && !rows.contains_key("row-5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_renamed_keeps_its_values_going() {
    let scene = synced("renamed", 5).await;
    let renamed = json!({"table": TABLE, "field": "title", "name": "Headline"});
    scene.app.double.hand("rename-field", renamed).unwrap();
    scene
        .sql("update things set title = 'by id' where slug = 'row-1'")
        .await;
    let is_there = async |_: &Stage| {
        let rows = scene.app.double.rows(TABLE).unwrap();
        rows.iter().any(|row| row.fields["Headline"] == "by id")
    };
    scene
        .stage
        .wait("the edit under the new name", is_there)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_right_to_a_log_is_told_what_it_needs() {
    let scene = Scene::start(Airtable::start().await, "no_log").await;
    scene.app.double.trap("read-only").unwrap();
    let file = scene.file("");
    scene.stage.post("syncs/apply", json!({"file": file})).await;
    let is_told = async |stage: &Stage| {
        let status = stage.get("syncs/things").await.to_string();
        status.contains("webhook:manage")
    };
    scene.stage.wait("the advice", is_told).await;
}

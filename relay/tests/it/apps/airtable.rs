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

/// A record looks the same when a cell was emptied and when its field was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_removed_while_the_sync_runs_empties_nothing() {
    let scene = synced("removed_field", 3).await;
    let field = json!({ "table": TABLE, "field": "title" });
    scene.app.double.hand("delete-field", field).unwrap();
    let touched = Row {
        qty: Some(77),
        ..scene.left().await["row-1"].clone()
    };
    let rows = scene.app.double.rows(TABLE).unwrap();
    let touched_id = &rows
        .iter()
        .find(|row| row.fields["slug"] == "row-1")
        .unwrap()
        .id;
    let qty = json!({ "qty": touched.qty });
    scene.app.double.update(TABLE, touched_id, qty).unwrap();
    let has_crossed = async |_: &Stage| scene.left().await["row-1"].qty == touched.qty;
    scene.stage.wait("the other field", has_crossed).await;
    scene.quiet().await;
    let left = scene.left().await;
    for (slug, row) in &left {
        assert_eq!(row.title.as_deref(), Some("left"), "{slug}");
    }
    let paused = scene.stage.get("syncs/things").await["paused_fields"].to_string();
    assert!(
        paused.contains("field-paused") && paused.contains("title"),
        "{paused}"
    );
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

/// Synced, with a field for prices that, where numbers are rounded, keeps tens; and the record `a`.
async fn priced(hint: &str) -> Scene<Airtable> {
    let scene = Scene::start(Airtable::start().await, hint).await;
    let price = json!({ "table": TABLE, "name": "price", "type": "number",
        "options": { "precision": -1 } });
    scene.app.double.hand("create-field", price).unwrap();
    scene
        .sql(
            "alter table things add column price int;
             insert into things (slug, title) values ('a', 'a')",
        )
        .await;
    let price = "fields = [\n  { left = \"price\", right = \"price\", \
        direction = \"left-to-right\" },";
    let file = scene.file("").replace("fields = [", price);
    scene.stage.apply(&file).await;
    scene.wait_equal().await;
    scene.quiet().await;
    scene
}

impl Scene<Airtable> {
    /// The one finding is that a value was altered, and says how.
    async fn wait_altered(&self, how: &str) {
        self.wait_findings(&["value-altered"]).await;
        self.quiet().await;
        let findings = self.stage.get("syncs/things/findings").await;
        assert_eq!(findings[0]["detail"], how, "{findings}");
        assert!(!self.stage.logs().contains("secret"));
    }

    fn cell(&self, slug: &str, name: &str) -> Value {
        THINGS.find(&self.app.double, slug).unwrap().fields[name].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_was_cut_is_told_until_it_is_carried_whole() {
    let scene = priced("cut").await;
    scene.app.double.trap("cuts-text=5").unwrap();
    let title = Some("a long secret".to_owned());
    scene
        .sql("update things set title = 'a long secret' where slug = 'a'")
        .await;
    let how = "`title` holds 5 of 13 characters";
    scene.wait_altered(how).await;
    assert_eq!(scene.cell("a", "title"), "a lon");
    // Neither another field's edit, of either side, nor a retry is a reason to forget it.
    scene
        .sql("update things set qty = 7 where slug = 'a'")
        .await;
    scene
        .wait_app("the left's edit", |rows| rows["a"].qty == Some(7))
        .await;
    let done = Row {
        done: Some(true),
        ..Row::default()
    };
    scene.app.edit("a", &done).await;
    scene
        .wait_left("the app's edit", |rows| rows["a"].done == Some(true))
        .await;
    scene.stage.post("syncs/things/retry", Value::Null).await;
    scene.wait_altered(how).await;
    assert_eq!(scene.left().await["a"].title, title);
    scene.app.double.trap("cuts-text=off").unwrap();
    scene
        .sql("update things set title = 'a longer secret' where slug = 'a'")
        .await;
    scene.wait_equal().await;
    scene.wait_findings(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_rounded_is_told_until_it_is_carried_whole() {
    let scene = priced("rounded").await;
    scene.app.double.trap("rounds-numbers").unwrap();
    scene
        .sql("update things set price = 26 where slug = 'a'")
        .await;
    scene.wait_altered("`price` holds another value").await;
    assert_eq!(scene.cell("a", "price"), 30);
    let client = scene.stage.left.client().await;
    let row = client.query_one("select price from things", &[]).await;
    assert_eq!(row.unwrap().get::<_, i32>(0), 26);
    scene
        .sql("update things set price = 40 where slug = 'a'")
        .await;
    scene.wait_findings(&[]).await;
    assert_eq!(scene.cell("a", "price"), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_dropped_with_its_field_is_told_and_kept() {
    let scene = priced("dropped").await;
    scene.app.double.trap("drops-unknown").unwrap();
    let field = json!({ "table": TABLE, "field": "title" });
    scene.app.double.hand("delete-field", field).unwrap();
    scene
        .sql("insert into things (slug, title) values ('b', 'a secret')")
        .await;
    scene.wait_altered("`title` holds nothing of it").await;
    assert_eq!(scene.cell("b", "slug"), "b");
    let title = scene.left().await["b"].title.clone();
    assert_eq!(title.as_deref(), Some("a secret"));
}

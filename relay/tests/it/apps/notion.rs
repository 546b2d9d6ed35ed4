//! Notion's double: the claims that every connector keeps, and what is unpleasant about Notion.
//!
//! Its stamps are whole minutes, so a change is told one to two minutes after it was made. The tests
//! let the double's clock run ahead: the relay goes by the app's clock alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidegate_apps::{Fault, Harm, Notion as Double, Options, Running};

use super::claims::edits_of_both_sides_cross;
use super::doubled::{Clock, TABLE, THINGS, typed};
use super::{App, Row, Rows, Scene};
use crate::e2e::stage::Stage;

const MINUTE: Duration = Duration::from_secs(60);

pub struct Notion {
    double: Arc<Running>,
    clock: Clock,
}

impl Notion {
    pub async fn start() -> Notion {
        let properties = json!([
            { "name": "slug", "type": "title" },
            { "name": "title", "type": "rich_text" },
            { "name": "qty", "type": "number" },
            { "name": "done", "type": "checkbox" },
        ]);
        let source = |name: &str| json!({ "name": name, "properties": properties });
        let options = Options::empty()
            .made("create-data-source", source(TABLE))
            .made("create-data-source", source("elsewhere"))
            .trap("refuses");
        let double = Arc::new(Double::start(options).await.unwrap());
        let clock = Clock::run(&double, Duration::from_secs(10));
        Notion { double, clock }
    }

    fn hand(&self, what: &str, with: Value) {
        self.double.hand(what, with).unwrap();
    }
}

#[async_trait]
impl App for Notion {
    fn kind(&self) -> &'static str {
        "notion"
    }

    fn base_url(&self) -> String {
        self.double.address.clone()
    }

    fn token(&self) -> String {
        self.double.token.clone()
    }

    fn table(&self) -> String {
        TABLE.to_owned()
    }

    fn user(&self) -> String {
        "Double".to_owned()
    }

    // A box that is not ticked is never null.
    fn done_column(&self) -> &'static str {
        "bool not null default false"
    }

    fn refusal(&self) -> &'static str {
        "value-out-of-range"
    }

    // At 3 calls a second, one record each.
    fn many(&self) -> i32 {
        150
    }

    fn crowd(&self) -> i32 {
        40
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

async fn synced(hint: &str, count: i32) -> Scene<Notion> {
    Scene::synced(Notion::start().await, hint, count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_ends_at_its_cap_is_gone_on_with() {
    let scene = Scene::start(Notion::start().await, "capped").await;
    scene.app.double.trap("query-cap=100").unwrap();
    for part in 0..4 {
        let rows = (1..=70).map(|n| (format!("row-{part}-{n}"), Row::titled("app")));
        scene.app.seed(&rows.collect()).await;
        scene.app.double.advance(MINUTE);
    }
    scene.stage.apply(&scene.file("")).await;
    assert_eq!(scene.wait_equal().await.len(), 280);
    // The sweeps, too, see all of them.
    scene.app.delete("row-3-70").await;
    scene
        .wait_left("a deletion", |rows| rows.len() == 279)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_and_edited_while_the_relay_was_away_is_found() {
    let mut scene = synced("away", 30).await;
    scene.stage.kill_relay();
    scene.app.edit("row-3", &Row::titled("while away")).await;
    scene.app.delete("row-4").await;
    scene.stage.start_relay().await;
    let met = |rows: &Rows| {
        rows["row-3"].title.as_deref() == Some("while away") && !rows.contains_key("row-4")
    };
    scene.wait_left("what was missed", met).await;
    edits_of_both_sides_cross(&scene, "after").await;
    assert_eq!(scene.wait_equal().await.len(), 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_moved_is_gone_and_one_that_is_restored_is_back() {
    let scene = synced("moved", 10).await;
    scene.app.double.trap("restores-unstamped").unwrap();
    let (moved, restored) = (
        THINGS.id(&scene.app.double, "row-1"),
        THINGS.id(&scene.app.double, "row-2"),
    );
    let to = json!({ "table": TABLE, "id": moved, "to": "elsewhere" });
    scene.app.hand("move", to);
    scene.app.delete("row-2").await;
    let are_gone = |rows: &Rows| !rows.contains_key("row-1") && !rows.contains_key("row-2");
    scene.wait_left("both to go", are_gone).await;
    let back = json!({ "table": TABLE, "id": restored });
    scene.app.hand("restore", back);
    scene
        .wait_left("the restored one", |rows| rows.contains_key("row-2"))
        .await;
    assert_eq!(scene.wait_equal().await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_is_renamed_goes_on_and_one_that_is_gone_empties_nothing() {
    let scene = synced("renamed", 5).await;
    let renamed = json!({ "table": TABLE, "property": "title", "name": "Headline" });
    scene.app.hand("rename-property", renamed);
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
    let gone = json!({ "table": TABLE, "property": "Headline" });
    scene.app.hand("delete-property", gone);
    let is_told = async |stage: &Stage| {
        let status = stage.get("syncs/things").await.to_string();
        status.contains("has no field")
    };
    scene.stage.wait("the advice", is_told).await;
    let left = scene.left().await;
    assert!(left.values().all(|row| row.title.is_some()), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_crosses_in_pieces_and_one_that_is_too_long_is_a_finding() {
    let scene = synced("long", 2).await;
    scene
        .sql(
            "update things set title = repeat('🙂', 1200) || repeat('x', 5000) where slug = 'row-1';
             update things set title = repeat('x', 200001) where slug = 'row-2'",
        )
        .await;
    let left = scene.left().await["row-1"].title.clone();
    let has_it = |rows: &Rows| rows["row-1"].title == left;
    scene.wait_app("the long text", has_it).await;
    let is_told = async |stage: &Stage| {
        let findings = stage.get("syncs/things/findings").await;
        let found = findings.as_array().cloned().unwrap_or_default();
        found.len() == 1 && found[0]["code"] == "value-out-of-range"
    };
    scene.stage.wait("a finding", is_told).await;
    scene.quiet().await;
    assert_eq!(scene.left().await["row-1"].title, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_for_rate_and_overload_are_waited_for_and_nothing_is_made_twice() {
    let scene = synced("limited", 2).await;
    for harm in [Harm::Limited(Some(2)), Harm::Status(529)] {
        scene
            .app
            .double
            .fault(Fault::new(harm).at("POST /v1/pages"));
    }
    scene
        .sql("insert into things (slug, title) values ('late', 'x')")
        .await;
    scene
        .wait_app("the create", |rows| rows.contains_key("late"))
        .await;
    assert_eq!(scene.app.double.calls()["POST /v1/pages"], 3);
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_that_notion_allows_is_never_exceeded() {
    let scene = Scene::start(Notion::start().await, "rate").await;
    // Time passes as it does elsewhere, or the double would never see too many calls.
    scene.app.clock.stop();
    scene
        .sql("insert into things (slug) select 'row-' || n from generate_series(1, 20) n")
        .await;
    let file = scene.file("");
    scene
        .stage
        .post("syncs/apply", json!({ "file": file }))
        .await;
    scene.wait_app("all of them", |rows| rows.len() == 20).await;
    assert_eq!(scene.proxy.refusals(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_are_behind_lose_and_revert_nothing() {
    let scene = synced("stale", 10).await;
    scene.app.double.trap("stale-reads=4s").unwrap();
    let fresh = Rows::from([("fresh".to_owned(), Row::titled("app"))]);
    scene.app.seed(&fresh).await;
    scene.app.delete("row-5").await;
    for round in ["one", "two"] {
        edits_of_both_sides_cross(&scene, round).await;
    }
    let rows = scene.wait_equal().await;
    assert!(rows.contains_key("fresh") && !rows.contains_key("row-5"));
}

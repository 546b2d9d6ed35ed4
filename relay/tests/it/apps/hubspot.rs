//! HubSpot's double: the claims that every connector keeps, and what is unpleasant about HubSpot.
//!
//! A change shows in searches seconds later, and a look waits for that. The tests let the double's
//! clock run ahead: the relay goes by the app's clock alone. It begins a week ago, so that edits of
//! the private side are the newer ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidegate_apps::{Fault, Harm, HubSpot as Double, Options, Running};

use super::claims::{assert_no_echo, edits_of_both_sides_cross};
use super::doubled::{Clock, Table};
use super::{App, Row, Rows, Scene};
use crate::e2e::stage::Stage;

/// Of the double's clock.
const STEP: Duration = Duration::from_secs(4);
const TABLE: &str = "contacts";
const CONTACTS: Table = Table {
    name: TABLE,
    slug: "slug",
};

pub struct HubSpot {
    double: Arc<Running>,
    clock: Clock,
}

impl HubSpot {
    pub async fn start() -> HubSpot {
        HubSpot::with(HubSpot::contacts()).await
    }

    fn contacts() -> Options {
        let property = |name: &str, kind: &str, more: Value| {
            let mut property =
                json!({ "table": TABLE, "name": name, "type": kind, "fieldType": "text" });
            let more = more.as_object().unwrap().clone();
            property.as_object_mut().unwrap().extend(more);
            property
        };
        let hint = json!({ "numberDisplayHint": "unformatted" });
        Options::empty()
            .made(
                "create-property",
                property("slug", "string", json!({ "hasUniqueValue": true })),
            )
            .made("create-property", property("title", "string", json!({})))
            .made("create-property", property("qty", "number", hint))
            .made("create-property", property("done", "bool", json!({})))
            .trap("refuses")
    }

    async fn with(options: Options) -> HubSpot {
        let options = options.trap("clock-skew=-7d");
        let double = Arc::new(Double::start(options).await.unwrap());
        let clock = Clock::run(&double, STEP);
        HubSpot { double, clock }
    }

    fn id(&self, slug: &str) -> String {
        CONTACTS.id(&self.double, slug)
    }

    fn hand(&self, what: &str, with: Value) {
        self.double.hand(what, with).unwrap();
    }
}

impl Scene<HubSpot> {
    /// The primary key of the left's record.
    async fn left_key(&self, slug: &str) -> i64 {
        let client = self.stage.left.client().await;
        let sql = "select id from things where slug = $1";
        client.query_one(sql, &[&slug]).await.unwrap().get(0)
    }
}

#[async_trait]
impl App for HubSpot {
    fn kind(&self) -> &'static str {
        "hubspot"
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
        "62515".to_owned()
    }

    fn refusal(&self) -> &'static str {
        "value-out-of-range"
    }

    async fn seed(&self, rows: &Rows) {
        CONTACTS.seed(&self.double, rows);
    }

    async fn edit(&self, slug: &str, row: &Row) {
        CONTACTS.edit(&self.double, slug, row);
    }

    async fn delete(&self, slug: &str) {
        CONTACTS.delete(&self.double, slug);
    }

    // All cells are texts.
    async fn all(&self) -> Rows {
        CONTACTS.all(&self.double, |cells| {
            let text = |name: &str| cells[name].as_str();
            Row {
                title: text("title").map(str::to_owned),
                qty: text("qty").map(|qty| qty.parse().unwrap()),
                done: text("done").map(|done| done == "true"),
            }
        })
    }
}

async fn synced(hint: &str, count: i32) -> Scene<HubSpot> {
    Scene::synced(HubSpot::start().await, hint, count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn more_changes_than_a_search_shows_cross_all_the_same() {
    let scene = synced("capped", 5).await;
    scene.app.double.trap("search-cap=1000").unwrap();
    let rows = (1..=1_500).map(|n| (format!("many-{n}"), Row::titled("at once")));
    scene.app.seed(&rows.collect()).await;
    assert_eq!(scene.wait_equal().await.len(), 1_505);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_more_than_a_search_shows_at_one_moment_is_compared_whole() {
    let scene = synced("import", 5).await;
    let rows: Vec<Value> = (1..=10_300)
        .map(|n| json!({ "slug": format!("imported-{n}") }))
        .collect();
    scene
        .app
        .hand("import", json!({ "table": TABLE, "rows": rows }));
    // Counted, not compared: ten thousand records twice a second would keep a core busy.
    let are_there = async |stage: &Stage| {
        let client = stage.left.client().await;
        let row = client.query_one("select count(*) from things", &[]);
        row.await.unwrap().get::<_, i64>(0) == 10_305
    };
    scene.stage.wait_long("all of them", are_there).await;
    scene.wait_equal().await;
}

/// A look breaks a long list off and tells what was before. Here that is nothing: all have one stamp, which
/// the comparison that a run begins with may have seen. Such looks came again and again, to the same end.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_just_before_the_first_look_does_not_hold_up_what_comes_later() {
    let mut scene = synced("first_look", 5).await;
    scene.app.clock.stop();
    scene.stage.post("syncs/things/pause", json!({})).await;
    let rows: Vec<Value> = (1..=5_300)
        .map(|n| json!({ "slug": format!("imported-{n}") }))
        .collect();
    scene
        .app
        .hand("import", json!({ "table": TABLE, "rows": rows }));
    scene.stage.post("syncs/things/resume", json!({})).await;
    let compared = async |stage: &Stage| {
        let sync = stage.get("syncs/things").await;
        sync["state"] == "live" && sync["tables"][0]["linked"] == 5_305
    };
    scene.stage.wait_long("the comparison", compared).await;
    scene.app.clock = Clock::run(&scene.app.double, STEP);
    edits_of_both_sides_cross(&scene, "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_is_behind_loses_and_reverts_nothing() {
    let scene = synced("lag", 10).await;
    // The second is more than a look waits for.
    for (round, lag) in [("one", "9s"), ("two", "50s")] {
        let setting = format!("search-lag={lag}");
        scene.app.double.trap(&setting).unwrap();
        let fresh = Rows::from([(format!("fresh-{round}"), Row::titled("app"))]);
        scene.app.seed(&fresh).await;
        edits_of_both_sides_cross(&scene, round).await;
        let rows = scene.wait_equal().await;
        assert!(rows.contains_key(&format!("fresh-{round}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_are_merged_are_one_and_the_private_record_stays_what_it_is() {
    for (setting, hint) in [
        ("merges-keep-id=off", "merged"),
        ("merges-keep-id=on", "kept"),
    ] {
        let scene = synced(hint, 10).await;
        scene.app.double.trap(setting).unwrap();
        let note = "alter table things add column note text;
                    update things set note = slug || '''s own'";
        scene.sql(note).await;
        let (primary, other) = (scene.app.id("row-1"), scene.app.id("row-2"));
        let key = scene.left_key("row-1").await;
        let merge = json!({ "table": TABLE, "primary": primary, "other": other });
        scene.app.hand("merge", merge);
        scene
            .wait_left("the other to go", |rows| !rows.contains_key("row-2"))
            .await;
        assert_eq!(scene.left_key("row-1").await, key, "{setting}");
        scene
            .app
            .edit("row-1", &Row::titled("after the merge"))
            .await;
        let met = |rows: &Rows| rows["row-1"].title.as_deref() == Some("after the merge");
        scene.wait_left("an edit of the survivor", met).await;
        scene
            .sql("update things set qty = 7 where slug = 'row-1'")
            .await;
        scene
            .wait_app("an edit for the survivor", |rows| {
                rows["row-1"].qty == Some(7)
            })
            .await;
        assert_eq!(scene.wait_equal().await.len(), 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_is_gone_and_what_is_restored_is_back() {
    let scene = synced("archived", 10).await;
    let id = scene.app.id("row-1");
    scene.app.delete("row-1").await;
    scene
        .wait_left("it to go", |rows| !rows.contains_key("row-1"))
        .await;
    scene
        .app
        .hand("restore", json!({ "table": TABLE, "id": id }));
    scene
        .wait_left("it to come back", |rows| rows.contains_key("row-1"))
        .await;
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_while_the_relay_was_away_is_found() {
    let mut scene = synced("purged", 10).await;
    let purged = json!({ "table": TABLE, "id": scene.app.id("row-1") });
    scene.stage.kill_relay();
    scene.app.hand("purge", purged);
    scene.app.edit("row-3", &Row::titled("while away")).await;
    scene.stage.start_relay().await;
    let met = |rows: &Rows| {
        !rows.contains_key("row-1") && rows["row-3"].title.as_deref() == Some("while away")
    };
    scene.wait_left("what was missed", met).await;
    assert_eq!(scene.wait_equal().await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_done_in_part_leaves_the_bad_record_out_and_makes_none_twice() {
    let scene = synced("partly", 2).await;
    scene.app.double.clear_calls();
    scene
        .sql(
            "insert into things (slug, title) select 'new-' || n,
             case n when 7 then 'refuse this' else 'fine' end from generate_series(1, 20) n",
        )
        .await;
    scene
        .wait_app("the good ones", |rows| rows.len() == 21)
        .await;
    scene.wait_findings(&["value-out-of-range"]).await;
    let created = "POST /crm/v3/objects/{object}/batch/create";
    assert_eq!(scene.app.double.calls()[created], 1);
    scene.app.double.trap("partial-updates").unwrap();
    scene
        .sql(
            "update things set title = case slug when 'new-3' then 'refuse that' else 'edited' end
             where slug like 'new-%'",
        )
        .await;
    let edited = |rows: &Rows| {
        let titles = rows.values().filter_map(|row| row.title.as_deref());
        titles.filter(|title| *title == "edited").count() == 19
    };
    scene.wait_app("the good edits", edited).await;
    scene.wait_findings(&["value-out-of-range"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_could_not_be_read_are_not_taken_for_deleted() {
    let scene = synced("unread", 20).await;
    scene.app.double.trap("reads-fail-partly").unwrap();
    let all = (1..=20).map(|n| format!("row-{n}"));
    for slug in all {
        scene.app.edit(&slug, &Row::titled("edited")).await;
    }
    scene.app.delete("row-20").await;
    let is_told = async |stage: &Stage| {
        let status = stage.get("syncs/things").await.to_string();
        status.contains("could not read some records")
    };
    scene.stage.wait("the reason", is_told).await;
    assert_eq!(scene.left().await.len(), 20);
    scene.app.double.trap("reads-fail-partly=off").unwrap();
    assert_eq!(scene.wait_equal().await.len(), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_days_calls_that_are_used_up_are_told_and_not_asked_for_again() {
    let mut scene = synced("daily", 2).await;
    scene.app.double.trap("daily-calls=1").unwrap();
    scene.app.edit("row-1", &Row::titled("meanwhile")).await;
    let is_told = async |stage: &Stage| {
        let status = stage.get("syncs/things").await.to_string();
        status.contains("calls of this period are used up")
    };
    scene.stage.wait("the reason", is_told).await;
    let refused = scene.proxy.refusals();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(scene.proxy.refusals(), refused);
    scene.app.double.trap("daily-calls=250000").unwrap();
    scene.stage.kill_relay();
    scene.stage.start_relay().await;
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_rate_is_waited_for_as_its_policy_says_and_nothing_is_made_twice() {
    let scene = synced("limited", 2).await;
    let created = "POST /crm/v3/objects/{object}/batch/create";
    let fault = Fault::new(Harm::Limited(None)).at(created);
    scene.app.double.fault(fault);
    let began = std::time::Instant::now();
    scene
        .sql("insert into things (slug, title) values ('late', 'x')")
        .await;
    scene
        .wait_app("the create", |rows| rows.contains_key("late"))
        .await;
    assert!(began.elapsed() >= Duration::from_secs(10));
    assert_eq!(scene.app.double.calls()[created], 2);
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rates_that_hubspot_allows_are_never_exceeded() {
    let scene = Scene::start(HubSpot::start().await, "rate").await;
    // Time passes as it does elsewhere, or the double would never see too many calls.
    scene.app.clock.stop();
    scene
        .sql("insert into things (slug) select 'row-' || n from generate_series(1, 3000) n")
        .await;
    let file = scene.file("");
    scene
        .stage
        .post("syncs/apply", json!({ "file": file }))
        .await;
    scene
        .wait_app("all of them", |rows| rows.len() == 3_000)
        .await;
    assert_eq!(scene.proxy.refusals(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hubspot_makes_of_a_value_stays_there_and_is_written_once() {
    let scene = Scene::start(HubSpot::start().await, "normal").await;
    scene.app.double.trap("trims").unwrap();
    scene.sql("alter table things add column mail text").await;
    let mail = "fields = [\n  { left = \"mail\", right = \"email\" },";
    let file = scene.file("").replace("fields = [", mail);
    scene.stage.apply(&file).await;
    scene
        .sql("insert into things (slug, title, mail) values ('a', ' padded ', ' Ada@Example.COM')")
        .await;
    scene
        .wait_app("the record", |rows| rows.contains_key("a"))
        .await;
    let there = async || {
        let rows = scene.app.double.rows(TABLE).unwrap();
        let fields = &rows[0].fields;
        (fields["title"].clone(), fields["email"].clone())
    };
    assert_eq!(there().await, ("padded".into(), "ada@example.com".into()));
    scene.quiet().await;
    let writes = scene.proxy.writes();
    scene
        .app
        .edit(
            "a",
            &Row {
                qty: Some(5),
                ..Row::default()
            },
        )
        .await;
    scene
        .wait_left("an edit of another field", |rows| rows["a"].qty == Some(5))
        .await;
    scene.quiet().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.proxy.writes(), writes);
    assert_eq!(scene.left().await["a"].title.as_deref(), Some(" padded "));
    // The same address in other letters is somebody else's already.
    scene
        .sql("insert into things (slug, mail) values ('b', 'ADA@example.com')")
        .await;
    scene.wait_findings(&["unique-violation"]).await;
    assert_eq!(there().await.1, "ada@example.com");
}

/// The record is read once more after a write. What was changed by then, in a field that was written, passed
/// for what HubSpot had made of the write, and never crossed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_changes_before_a_write_is_read_back_crosses() {
    let scene = synced("behind", 1).await;
    scene.app.double.trap("trims").unwrap();
    scene.app.double.trap("edited-behind").unwrap();
    scene
        .sql(
            "update things set title = ' padded ', qty = 5 where slug = 'row-1';
             insert into things (slug, title, qty) values ('new', ' padded ', 50)",
        )
        .await;
    let met = |rows: &Rows| rows["row-1"].qty == Some(6) && rows["new"].qty == Some(51);
    scene.wait_left("what the person made of it", met).await;
    scene.quiet().await;
    // What HubSpot made of the texts stays there, as ever.
    let title = Some(" padded ".to_owned());
    let rows = scene.left().await;
    assert!(rows.values().all(|row| row.title == title), "{rows:?}");
    let rows = scene.app.all().await;
    assert_eq!((rows["row-1"].qty, rows["new"].qty), (Some(6), Some(51)));
    assert_no_echo(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn companies_with_choices_and_dates_and_without_a_unique_key_cross() {
    let mut options = Options::empty();
    for (name, kind, field_type) in [
        ("tags", "enumeration", "checkbox"),
        ("size", "enumeration", "select"),
        ("founded", "date", "date"),
        ("seen", "datetime", "date"),
    ] {
        let choices = json!([{ "value": "a" }, { "value": "b" }, { "value": "c" }]);
        let property = json!({ "table": "companies", "name": name, "type": kind,
            "fieldType": field_type, "options": choices });
        options = options.made("create-property", property);
    }
    let scene = Scene::start(HubSpot::with(options.trap("no-deals")).await, "types").await;
    let tables = scene.stage.get("connections/app/tables").await.to_string();
    assert!(tables.contains("this token may not read deals"), "{tables}");
    scene
        .sql(
            "create type size as enum ('a', 'b', 'c');
             create table firms (id int primary key, name text, size size, tags text[],
                 founded date, seen timestamptz)",
        )
        .await;
    let both = ["name", "size"].map(|name| format!("{{ left = \"{name}\", right = \"{name}\" }}"));
    let from_app = ["tags", "founded", "seen"].map(|name| {
        format!("{{ left = \"{name}\", right = \"{name}\", direction = \"right-to-left\" }}")
    });
    let file = format!(
        "name = \"things\"\nleft = \"office-db\"\nright = \"app\"\n[[table]]\nleft = \"firms\"\n\
         right = \"companies\"\nkey = [[\"name\", \"name\"]]\nfields = [{}, {}]\n",
        both.join(", "),
        from_app.join(", ")
    );
    scene.stage.apply(&file).await;
    scene
        .sql("insert into firms (id, name, size) values (1, 'Ada, \"Ltd\"', 'b')")
        .await;
    let find = async || {
        let rows = scene.app.double.rows("companies").unwrap();
        rows.into_iter().find(|row| row.fields["size"] == "b")
    };
    let crossed = async |_: &Stage| find().await.is_some();
    scene.stage.wait("a company", crossed).await;
    let made = find().await.unwrap();
    assert_eq!(made.fields["name"], "Ada, \"Ltd\"");
    scene.quiet().await;
    let edit = json!({ "tags": "c;a", "size": null, "founded": "1767225600000",
        "seen": "2026-01-02T03:04:05.678Z" });
    scene
        .app
        .double
        .update("companies", &made.id, edit)
        .unwrap();
    let back = async |_: &Stage| {
        let client = scene.stage.left.client().await;
        let sql = "select 1 from firms where tags = '{c,a}' and size is null
            and founded = '2026-01-01' and seen = '2026-01-02 03:04:05.678Z'";
        client.query_opt(sql, &[]).await.unwrap().is_some()
    };
    scene.stage.wait("its edits", back).await;
    assert_eq!(scene.app.double.rows("companies").unwrap().len(), 1);
}

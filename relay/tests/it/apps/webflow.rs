//! Webflow's double: the claims that every connector keeps, and what is unpleasant about Webflow.
//!
//! The match key is an item's name: its slug, which Webflow makes itself, has no blanks. A change is told
//! when it is some seconds old and calls are counted by the minute, so the tests let the double's
//! clock run ahead: the relay goes by the app's clock alone. It begins a week ago, so that edits of
//! the private side are the newer ones. The double takes a hundred times as many calls as Webflow's
//! smaller plans, and says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidegate_apps::{Fault, Harm, Options, Running, Webflow as Double};

use super::claims::edits_of_both_sides_cross;
use super::doubled::{Clock, TABLE, Table, typed};
use super::{App, Row, Rows, Scene};
use crate::e2e::stage::Stage;

const ITEMS: Table = Table {
    name: TABLE,
    slug: "name",
};
const CREATE: &str = "POST /v2/collections/{collection}/items";
const UPDATE: &str = "PATCH /v2/collections/{collection}/items";
const PUBLISH: &str = "POST /v2/collections/{collection}/items/publish";

pub struct Webflow {
    double: Arc<Running>,
    clock: Clock,
}

fn field(name: &str, kind: &str) -> Value {
    let validations = json!({ "format": "integer" });
    json!({ "displayName": name, "type": kind, "validations": validations })
}

impl Webflow {
    pub async fn start() -> Webflow {
        let fields = [
            field("title", "PlainText"),
            field("qty", "Number"),
            field("done", "Switch"),
            field("body", "RichText"),
        ];
        let collection = json!({ "name": TABLE, "fields": fields });
        let options = Options::empty().made("create-collection", collection);
        Webflow::with(options).await
    }

    async fn with(options: Options) -> Webflow {
        let options = options.trap("refuses").trap("limits=100");
        let options = options.trap("clock-skew=-7d");
        let double = Arc::new(Double::start(options).await.unwrap());
        let clock = Clock::run(&double, Duration::from_secs(4));
        Webflow { double, clock }
    }

    fn find(&self, slug: &str) -> Option<tidegate_apps::Row> {
        ITEMS.find(&self.double, slug)
    }

    fn id(&self, slug: &str) -> String {
        ITEMS.id(&self.double, slug)
    }

    fn hand(&self, what: &str, with: Value) -> Value {
        self.double.hand(what, with).unwrap()
    }

    /// The title of the live copy.
    fn live_title(&self, slug: &str) -> Value {
        let with = json!({ "table": TABLE, "id": self.id(slug) });
        self.hand("live", with)["title"].clone()
    }

    fn has_live(&self, slug: &str) -> bool {
        let with = json!({ "table": TABLE, "id": self.id(slug) });
        !self.hand("live", with).is_null()
    }
}

#[async_trait]
impl App for Webflow {
    fn kind(&self) -> &'static str {
        "webflow"
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
        "Double".to_owned()
    }

    fn slug_field(&self) -> &'static str {
        "name"
    }

    // A switch is never null.
    fn done_column(&self) -> &'static str {
        "bool not null default false"
    }

    fn refusal(&self) -> &'static str {
        "value-out-of-range"
    }

    async fn seed(&self, rows: &Rows) {
        ITEMS.seed(&self.double, rows);
    }

    async fn edit(&self, slug: &str, row: &Row) {
        ITEMS.edit(&self.double, slug, row);
    }

    async fn delete(&self, slug: &str) {
        ITEMS.delete(&self.double, slug);
    }

    async fn all(&self) -> Rows {
        ITEMS.all(&self.double, typed)
    }
}

async fn synced(hint: &str, count: i32) -> Scene<Webflow> {
    Scene::synced(Webflow::start().await, hint, count).await
}

impl Scene<Webflow> {
    async fn wait_for(&self, what: &str, met: impl Fn(&Webflow) -> bool) {
        self.stage.wait(what, async |_| met(&self.app)).await;
    }

    async fn wait_told(&self, text: &str) {
        let is_told = async |stage: &Stage| {
            let status = stage.get("syncs/things").await.to_string();
            status.contains(text)
        };
        self.stage.wait(text, is_told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_or_live_is_published_and_what_a_person_holds_back_is_not() {
    let scene = synced("publish", 4).await;
    scene
        .sql("insert into things (slug, title) values ('fresh', 'new')")
        .await;
    scene
        .wait_for("the new one to be live", |app| {
            app.find("fresh").is_some() && app.live_title("fresh") == "new"
        })
        .await;
    // Queued by a person: not ours to publish.
    assert!(!scene.app.has_live("row-1"));
    scene.app.hand("publish-site", Value::Null);
    let draft = json!({ "table": TABLE, "id": scene.app.id("row-2") });
    scene.app.hand("draft", draft);
    let archived = json!({ "table": TABLE, "id": scene.app.id("row-3") });
    scene.app.hand("archive", archived);
    scene.sql("update things set title = 'edited'").await;
    let edited = |rows: &Rows| {
        let all = rows.values();
        all.filter(|row| row.title.as_deref() == Some("edited"))
            .count()
            == 5
    };
    scene.wait_app("the edits", edited).await;
    scene
        .wait_for("what is live to be published", |app| {
            app.live_title("row-1") == "edited" && app.live_title("fresh") == "edited"
        })
        .await;
    scene.quiet().await;
    for held in ["row-2", "row-3"] {
        assert_eq!(scene.app.live_title(held), "app", "{held}");
    }
    // An archived one is there all the same.
    assert_eq!(scene.wait_equal().await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_no_longer_live_and_its_slug_is_free() {
    let scene = Scene::start(Webflow::start().await, "slugs").await;
    scene
        .sql("alter table things add column place text unique")
        .await;
    let place = "fields = [\n  { left = \"place\", right = \"slug\" },";
    let file = scene.file("").replace("fields = [", place);
    scene.stage.apply(&file).await;
    scene
        .sql("insert into things (slug, place) values ('one', 'here'), ('bad', 'not so'), ('two', 'There')")
        .await;
    scene
        .wait_app("the good ones", |rows| rows.len() == 2)
        .await;
    scene.wait_findings(&["value-out-of-range"]).await;
    let findings = scene.stage.get("syncs/things/findings").await.to_string();
    assert!(findings.contains("Validation Error (slug)"), "{findings}");
    scene
        .wait_for("them to be live", |app| {
            app.has_live("one") && app.has_live("two")
        })
        .await;
    scene.quiet().await;
    scene
        .sql(
            "delete from things where slug in ('one', 'bad');
             insert into things (slug, place) values ('other', 'here'), ('third', 'There-2')",
        )
        .await;
    scene
        .wait_app("the slug's new owner", |rows| {
            rows.len() == 3 && rows.contains_key("other")
        })
        .await;
    assert_eq!(scene.app.find("other").unwrap().fields["slug"], "here");
    scene.wait_findings(&[]).await;
    // A slug that another item has is a finding, and holds nobody up.
    let elsewhere = json!({ "name": "elsewhere", "slug": "taken" });
    scene.app.double.create(TABLE, elsewhere).unwrap();
    scene
        .wait_left("a person's", |rows| rows.contains_key("elsewhere"))
        .await;
    scene
        .sql(
            "delete from things where slug = 'elsewhere';
             insert into things (slug, place) values ('late', 'late')",
        )
        .await;
    scene
        .wait_app("the others", |rows| {
            rows.contains_key("late") && !rows.contains_key("elsewhere")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_published_everything_is_written_all_the_same() {
    let scene = synced("unpublished", 2).await;
    scene.app.double.trap("publish-refused").unwrap();
    scene
        .sql(
            "insert into things (slug, title) select 'new-' || n, 'x' from generate_series(1, 5) n",
        )
        .await;
    scene.wait_app("the creates", |rows| rows.len() == 7).await;
    edits_of_both_sides_cross(&scene, "round").await;
    assert_eq!(scene.wait_equal().await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_published_is_published_when_it_can_be() {
    let scene = synced("later", 2).await;
    let fault = Fault::new(Harm::Status(503)).at(PUBLISH);
    scene.app.double.fault(fault);
    scene
        .sql("insert into things (slug, title) values ('fresh', 'new')")
        .await;
    scene
        .wait_for("it to be live", |app| {
            app.find("fresh").is_some() && app.live_title("fresh") == "new"
        })
        .await;
    assert_eq!(scene.app.double.calls()[CREATE], 1);
    // The answer to an edit is lost: it is published by the next run.
    let fault = Fault::new(Harm::CutAfter).at(UPDATE);
    scene.app.double.fault(fault);
    scene
        .sql("update things set title = 'edited' where slug = 'fresh'")
        .await;
    scene
        .wait_for("the edit to be live", |app| {
            app.live_title("fresh") == "edited"
        })
        .await;
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_is_no_edit_even_where_it_counts_as_one() {
    let scene = synced("stamped", 2).await;
    scene.app.double.trap("publishing-updates").unwrap();
    scene
        .sql("insert into things (slug, title) values ('fresh', 'new')")
        .await;
    scene
        .wait_for("it to be live", |app| {
            app.find("fresh").is_some() && app.has_live("fresh")
        })
        .await;
    scene.quiet().await;
    let writes = scene.proxy.writes();
    edits_of_both_sides_cross(&scene, "round").await;
    scene.quiet().await;
    // Row 2 was never public, and row 1 came from the app.
    assert_eq!(scene.proxy.writes(), writes + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_any_order_are_known_by_what_they_hold() {
    let scene = synced("shuffled", 2).await;
    scene.app.double.trap("shuffled-results").unwrap();
    scene
        .sql(
            "insert into things (slug, title, qty)
             select 'new-' || n, 'left', n from generate_series(1, 90) n",
        )
        .await;
    scene.wait_app("the creates", |rows| rows.len() == 92).await;
    scene.wait_equal().await;
    scene.quiet().await;
    scene.sql("update things set qty = qty + 1000").await;
    let rows = scene.wait_equal().await;
    assert_eq!(rows["new-7"].qty, Some(1_007));
    scene.app.edit("new-7", &Row::titled("the seventh")).await;
    scene
        .wait_left("the right one to change", |rows| {
            rows["new-7"].title.as_deref() == Some("the seventh")
        })
        .await;
    assert_eq!(scene.wait_equal().await.len(), 92);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_order_is_not_the_same_twice_makes_no_deletions() {
    let mut scene = synced("ties", 1).await;
    let rows: Vec<Value> = (1..=250)
        .map(|n| json!({ "name": format!("same-{n}") }))
        .collect();
    scene
        .app
        .hand("import", json!({ "table": TABLE, "rows": rows }));
    assert_eq!(scene.wait_equal().await.len(), 251);
    scene.quiet().await;
    scene.stage.kill_relay();
    scene.app.double.trap("shuffled-ties").unwrap();
    scene.stage.start_relay().await;
    scene.wait_told("is read again").await;
    assert_eq!(scene.left().await.len(), 251);
    scene.app.double.trap("shuffled-ties=off").unwrap();
    scene.app.delete("same-200").await;
    assert_eq!(scene.wait_equal().await.len(), 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_shorter_than_asked_for_makes_no_deletions() {
    let mut scene = synced("short", 120).await;
    scene.stage.kill_relay();
    scene.app.double.trap("page-cap=80").unwrap();
    scene.stage.start_relay().await;
    scene.wait_told("listed 80 of 120 records").await;
    assert_eq!(scene.left().await.len(), 120);
    scene.app.double.trap("page-cap=100").unwrap();
    scene.app.delete("row-20").await;
    assert_eq!(scene.wait_equal().await.len(), 119);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_behind_lose_and_revert_nothing() {
    let scene = synced("stale", 10).await;
    // Some ten seconds of the test's time.
    scene.app.double.trap("stale-reads=200s").unwrap();
    for round in 0..3 {
        scene
            .sql(&format!(
                "insert into things (slug, title) values ('new-{round}', 'made')"
            ))
            .await;
        let slug = format!("new-{round}");
        scene
            .wait_app("a create", |rows| rows.contains_key(&slug))
            .await;
        // At once, while lists show neither the record nor the edit before.
        for turn in 0..3 {
            scene
                .sql(&format!(
                    "update things set title = 'turn {turn}' where slug in ('{slug}', 'row-3')"
                ))
                .await;
            let title = format!("turn {turn}");
            scene
                .wait_app("an edit", |rows| {
                    rows[&slug].title.as_deref() == Some(&title)
                        && rows["row-3"].title.as_deref() == Some(&title)
                })
                .await;
        }
    }
    scene.app.double.trap("stale-reads=off").unwrap();
    let rows = scene.wait_equal().await;
    assert_eq!(rows.len(), 13);
    assert_eq!(rows["row-3"].title.as_deref(), Some("turn 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_and_edited_while_the_relay_was_away_is_found() {
    let mut scene = synced("away", 30).await;
    scene.stage.kill_relay();
    scene.app.edit("row-3", &Row::titled("while away")).await;
    // More than are asked for one by one.
    for n in 4..=24 {
        scene.app.delete(&format!("row-{n}")).await;
    }
    scene.stage.start_relay().await;
    let met = |rows: &Rows| rows["row-3"].title.as_deref() == Some("while away") && rows.len() == 9;
    scene.wait_left("what was missed", met).await;
    edits_of_both_sides_cross(&scene, "after").await;
    for n in 25..=30 {
        scene.app.delete(&format!("row-{n}")).await;
    }
    assert_eq!(scene.wait_equal().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_locales_make_too_large_is_halved() {
    let scene = synced("locales", 2).await;
    scene.app.double.trap("locales=3").unwrap();
    scene
        .sql("insert into things (slug, title) select 'new-' || n, 'x' from generate_series(1, 90) n")
        .await;
    scene.wait_app("all of them", |rows| rows.len() == 92).await;
    // Fewer than a person is asked about, and more than one call takes.
    scene
        .sql("delete from things where slug ~ '^new-[1-4].$'")
        .await;
    assert_eq!(scene.wait_equal().await.len(), 52);
}

#[tokio::test(flavor = "multi_thread")]
async fn html_is_what_webflow_makes_of_it_and_is_written_once() {
    let scene = Scene::start(Webflow::start().await, "html").await;
    scene.sql("alter table things add column body text").await;
    let body = "fields = [\n  { left = \"body\", right = \"body\" },";
    let file = scene.file("").replace("fields = [", body);
    scene.stage.apply(&file).await;
    scene
        .sql("insert into things (slug, body) values ('a', '<h3>A</h3><p>b</p>')")
        .await;
    scene
        .wait_app("the record", |rows| rows.contains_key("a"))
        .await;
    let there = "<h3 id=\"\">A</h3><p id=\"\">b</p>";
    assert_eq!(scene.app.find("a").unwrap().fields["body"], there);
    scene.quiet().await;
    let writes = scene.proxy.writes();
    let qty = Row {
        qty: Some(5),
        ..Row::default()
    };
    scene.app.edit("a", &qty).await;
    scene
        .wait_left("an edit of another field", |rows| rows["a"].qty == Some(5))
        .await;
    scene.quiet().await;
    assert_eq!(scene.proxy.writes(), writes);
    let client = scene.stage.left.client().await;
    let row = client
        .query_one("select body from things", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "<h3>A</h3><p>b</p>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_rate_is_waited_for_and_nothing_is_made_twice() {
    let scene = synced("limited", 2).await;
    let fault = Fault::new(Harm::Limited(Some(2))).at(CREATE);
    scene.app.double.fault(fault);
    let began = std::time::Instant::now();
    scene
        .sql("insert into things (slug, title) values ('late', 'x')")
        .await;
    scene
        .wait_app("the create", |rows| rows.contains_key("late"))
        .await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(scene.app.double.calls()[CREATE], 2);
    scene.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_that_webflow_tells_is_never_exceeded_whoever_else_uses_it() {
    let scene = synced("rate", 2).await;
    // Time passes as it does elsewhere, or the double would never see too many calls.
    scene.app.clock.stop();
    scene.app.double.trap("limits=1").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v2/sites", scene.app.double.address);
    loop {
        let call = http.get(&url).bearer_auth(&scene.app.double.token);
        let answer = call.send().await.unwrap();
        let left = answer.headers()["x-ratelimit-remaining"].to_str().unwrap();
        if left.parse::<u32>().unwrap() <= 4 {
            break;
        }
    }
    scene
        .sql("insert into things (slug) select 'new-' || n from generate_series(1, 5) n")
        .await;
    scene.wait_app("all of them", |rows| rows.len() == 7).await;
    edits_of_both_sides_cross(&scene, "round").await;
    assert_eq!(scene.proxy.refusals(), 0);
}

const SHELF: &str = r#"name = "shelf"
left = "office-db"
right = "app"
[[table]]
left = "books"
right = "Double.Books"
key = [["title", "name"]]
fields = [
  { left = "shelf", right = "shelf" },
  { left = "writer_id", right = "writer", link = "writers" },
  { left_links = { through = "book_tags", from = "book_id", to = "tag_id" }, right = "tags", link = "tags" },
]
[[table]]
left = "writers"
right = "Double.Writers"
key = [["name", "name"]]
fields = []
[[table]]
left = "tags"
right = "Double.Tags"
key = [["name", "name"]]
fields = []
"#;

const LEFT: &str = "
    create type shelf as enum ('Upper', 'Lower');
    create table writers (id int primary key, name text not null unique);
    create table tags (id int primary key, name text not null unique);
    create table books (
        id int generated by default as identity primary key, title text not null unique,
        shelf shelf, writer_id int references writers on delete set null
    );
    create table book_tags (
        book_id int references books on delete cascade, tag_id int references tags on delete cascade,
        primary key (book_id, tag_id)
    );
    insert into writers values (1, 'ann'), (2, 'bob');
    insert into tags values (1, 'art'), (2, 'chess');
    insert into books (title, shelf, writer_id) values ('one', 'Lower', 1), ('two', null, null);
    insert into book_tags values (1, 1), (1, 2)";

/// Collections of books, their writers and their tags.
async fn library() -> Scene<Webflow> {
    let app = Webflow::with(Options::empty()).await;
    let id = |name: &str| app.hand("create-collection", json!({ "name": name }));
    let (writers, tags) = (id("Writers"), id("Tags"));
    let options = json!({ "options": [{ "name": "Upper" }, { "name": "Lower" }] });
    let fields = json!([
        { "displayName": "shelf", "type": "Option", "metadata": options },
        { "displayName": "writer", "type": "Reference", "metadata": { "collectionId": writers } },
        { "displayName": "tags", "type": "MultiReference", "metadata": { "collectionId": tags } },
    ]);
    let books = json!({ "name": "Books", "fields": fields });
    app.hand("create-collection", books);
    let scene = Scene::start(app, "shelf").await;
    scene.sql(LEFT).await;
    scene.stage.apply(SHELF).await;
    scene
}

/// What a book of the app has: its shelf, and its writer and its tags by their names.
fn book(app: &Running, title: &str) -> Option<(Value, Vec<String>)> {
    let names = |table: &str, ids: &Value| -> Vec<String> {
        let is_named = |row: &&tidegate_apps::Row| {
            let id = json!(row.id);
            *ids == id || ids.as_array().is_some_and(|all| all.contains(&id))
        };
        let rows = app.rows(table).unwrap();
        let names = rows.iter().filter(is_named);
        let names = names.map(|row| row.fields["name"].as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let rows = app.rows("Books").unwrap();
    let row = rows.iter().find(|row| row.fields["name"] == title)?;
    let mut named = names("Writers", &row.fields["writer"]);
    named.extend(names("Tags", &row.fields["tags"]));
    Some((row.fields["shelf"].clone(), named))
}

/// As [`book`] tells it.
fn told(shelf: Value, names: &[&str]) -> Option<(Value, Vec<String>)> {
    let names = names.iter().map(|name| (*name).to_owned());
    Some((shelf, names.collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_links_and_options_are_choices() {
    let scene = library().await;
    let double = &scene.app.double;
    let one = told(json!("Lower"), &["ann", "art", "chess"]);
    scene
        .wait_for("the copy", |_| book(double, "one") == one)
        .await;
    assert_eq!(book(double, "two"), told(Value::Null, &[]));
    scene
        .sql(
            "update books set writer_id = 2, shelf = 'Upper' where title = 'two';
             update books set writer_id = null, shelf = null where title = 'one';
             delete from book_tags where tag_id = 1",
        )
        .await;
    let one = told(Value::Null, &["chess"]);
    let two = told(json!("Upper"), &["bob"]);
    scene
        .wait_for("the left's links", |_| {
            book(double, "one") == one && book(double, "two") == two
        })
        .await;
    let id = |table: &str, name: &str| {
        let rows = double.rows(table).unwrap();
        let row = rows.into_iter().find(|row| row.fields["name"] == name);
        row.unwrap().id
    };
    let edit = json!({ "shelf": "Lower", "writer": id("Writers", "ann"),
        "tags": [id("Tags", "art"), id("Tags", "chess")] });
    double.update("Books", &id("Books", "one"), edit).unwrap();
    let crossed = async |stage: &Stage| {
        let sql = "select 1 from books b join writers w on w.id = b.writer_id
            where b.title = 'one' and b.shelf = 'Lower' and w.name = 'ann'
            and (select count(*) from book_tags where book_id = b.id) = 2";
        let client = stage.left.client().await;
        client.query_opt(sql, &[]).await.unwrap().is_some()
    };
    scene.stage.wait("the app's links", crossed).await;
    scene.stage.assert_equal("shelf").await;
}

//! NocoDB itself, from npm: the claims that every connector keeps, and what is unpleasant about NocoDB.
//!
//! It takes minutes to install and is no open source, so these tests are run by `make test-nocodb` alone.

mod server;
mod types;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use self::server::{Server, USER};
use super::claims::assert_no_echo;
use super::{App, Row, Rows, Scene};
use crate::e2e::stage::Stage;
use crate::support::chance::Chance;

const TABLE: &str = "things";
/// NocoDB's own bounds on records of a page, and of a call of its older API.
const PAGE: usize = 1_000;
const BATCH: usize = 100;

pub struct NocoDb {
    server: Arc<Server>,
    /// Id and name.
    base: (String, String),
    table: String,
}

fn field(title: &str, kind: &str) -> Value {
    json!({"title": title, "type": kind})
}

impl NocoDb {
    pub async fn start() -> NocoDb {
        let app = NocoDb::with(&[]).await;
        // A rule of the database, as NocoDB's users have them in databases of their own.
        let sql = format!(
            "alter table \"{}\".\"{TABLE}\" add check (title not like 'refuse%')",
            app.base.0
        );
        let client = app.server.database.client().await;
        client.batch_execute(&sql).await.unwrap();
        app
    }

    /// With more fields.
    async fn with(more: &[Value]) -> NocoDb {
        let server = Server::shared().await;
        let base = server.base().await;
        let mut fields = vec![
            field("slug", "SingleLineText"),
            field("title", "SingleLineText"),
            field("qty", "Number"),
            field("done", "Checkbox"),
        ];
        fields.extend_from_slice(more);
        let table = server.table(&base.0, TABLE, Value::from(fields)).await;
        let table = table["id"].as_str().unwrap().to_owned();
        NocoDb {
            server,
            base,
            table,
        }
    }

    fn records(&self) -> String {
        format!("api/v3/data/{}/{}/records", self.base.0, self.table)
    }

    async fn found(&self, slug: &str) -> Option<Value> {
        let path = format!("{}?where=(slug,eq,\"{slug}\")", self.records());
        let found = self.server.get(&path).await;
        let records = found["records"].as_array().unwrap();
        assert!(records.len() <= 1, "{slug}: {records:?}");
        records.first().cloned()
    }

    async fn find(&self, slug: &str) -> Value {
        let found = self.found(slug).await;
        found.unwrap_or_else(|| panic!("no {slug}"))
    }

    /// Where it is still there.
    async fn try_edit(&self, slug: &str, row: &Row) {
        if let Some(record) = self.found(slug).await {
            let record = json!([{"id": record["id"], "fields": fields(None, row)}]);
            self.server.send("PATCH", &self.records(), record).await;
        }
    }

    async fn set(&self, slug: &str, fields: Value) {
        let record = json!([{"id": self.find(slug).await["id"], "fields": fields}]);
        self.server.ask("PATCH", &self.records(), record).await;
    }

    /// Every record, in the order of their ids.
    async fn list(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let last = all.last().map_or(Value::from(0), |last| last["id"].clone());
            let path = format!(
                "{}?pageSize={PAGE}&where=(Id,gt,{last})&sort={{\"field\":\"Id\",\"direction\":\"asc\"}}",
                self.records()
            );
            let page = self.server.get(&path).await;
            all.extend(page["records"].as_array().unwrap().iter().cloned());
            if page["next"].is_null() {
                return all;
            }
        }
    }
}

fn fields(slug: Option<&str>, row: &Row) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    set("slug", slug.map(Value::from));
    set("title", row.title.clone().map(Value::from));
    set("qty", row.qty.map(Value::from));
    set("done", row.done.map(Value::from));
    Value::Object(fields)
}

#[async_trait]
impl App for NocoDb {
    fn kind(&self) -> &'static str {
        "nocodb"
    }

    fn base_url(&self) -> String {
        self.server.base_url.clone()
    }

    fn token(&self) -> String {
        self.server.token.clone()
    }

    fn table(&self) -> String {
        format!("{}.{TABLE}", self.base.1)
    }

    fn user(&self) -> String {
        USER.to_owned()
    }

    async fn seed(&self, rows: &Rows) {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(slug, row)| fields(Some(slug), row))
            .collect();
        let path = format!("api/v2/tables/{}/records", self.table);
        for chunk in rows.chunks(BATCH) {
            self.server.post(&path, Value::from(chunk)).await;
        }
    }

    async fn edit(&self, slug: &str, row: &Row) {
        self.set(slug, fields(None, row)).await;
    }

    async fn delete(&self, slug: &str) {
        let record = json!([{"id": self.find(slug).await["id"]}]);
        self.server.ask("DELETE", &self.records(), record).await;
    }

    async fn all(&self) -> Rows {
        let mut rows = Rows::new();
        for record in self.list().await {
            let fields = &record["fields"];
            let row = Row {
                title: fields["title"].as_str().map(str::to_owned),
                qty: fields["qty"].as_i64().map(|qty| qty as i32),
                done: fields["done"].as_bool(),
            };
            let slug = fields["slug"].as_str().unwrap().to_owned();
            assert_eq!(
                rows.insert(slug, row),
                None,
                "two records with one slug: {record}"
            );
        }
        rows
    }
}

/// NocoDB says that it has written a batch of updates of which it has written none, where one of them
/// breaks a rule of its database. That one is a finding, and the others are written.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_told_as_success_is_found() {
    let app =
        NocoDb::with(&[json!({"title": "code", "type": "SingleLineText", "unique": true})]).await;
    let scene = Scene::start(app, "nocodb_hidden").await;
    let more = scene.file("");
    let file = more.replace(
        "fields = [",
        "fields = [\n  { left = \"code\", right = \"code\" },",
    );
    scene
        .sql(
            "alter table things add code text;
             insert into things (slug, code) select 'row-' || n, 'code ' || n from generate_series(1, 25) n",
        )
        .await;
    scene.stage.apply(&file).await;
    scene.wait_equal().await;
    scene.quiet().await;
    scene
        .sql(
            "update things set title = 'edited', code = case slug when 'row-7' then 'code 8' else code end",
        )
        .await;
    scene
        .wait_app("the other edits to cross", |rows| {
            let edited = rows
                .values()
                .filter(|row| row.title.as_deref() == Some("edited"));
            edited.count() == 24
        })
        .await;
    scene.wait_findings(&["rejected-by-side"]).await;
    let findings = scene.stage.get("syncs/things/findings").await.to_string();
    assert!(
        findings.contains("was written, and it was not"),
        "{findings}"
    );
    scene
        .sql("update things set code = 'mended' where slug = 'row-7'")
        .await;
    scene.wait_equal().await;
    scene.wait_findings(&[]).await;
    assert_eq!(scene.app.find("row-7").await["fields"]["code"], "mended");
}

/// Records have no field of that name any more, as if it had been emptied everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_field_stops_the_sync_and_empties_nothing() {
    let app = NocoDb::start().await;
    let scene = Scene::synced(app, "nocodb_renamed", 20).await;
    let app = &scene.app;
    let meta = format!("api/v3/meta/bases/{}/tables/{}", app.base.0, app.table);
    let table = app.server.get(&meta).await;
    let mut fields = table["fields"].as_array().unwrap().iter();
    let title = fields.find(|field| field["title"] == "title").unwrap();
    let path = format!(
        "api/v3/meta/bases/{}/fields/{}",
        app.base.0,
        title["id"].as_str().unwrap()
    );
    let rename = |name: &str| json!({"title": name, "type": "SingleLineText"});
    app.server.ask("PATCH", &path, rename("heading")).await;
    scene
        .sql("update things set qty = 5 where slug = 'row-1'")
        .await;
    let is_told = async |stage: &Stage| {
        let status = stage.get("syncs/things").await.to_string();
        status.contains("any more")
    };
    scene.stage.wait("the sync to stop", is_told).await;
    let titles = |row: &Row| row.title.as_deref() == Some("app");
    assert!(scene.left().await.values().all(titles));
    let file = scene
        .file("")
        .replace("right = \"title\"", "right = \"heading\"");
    scene.stage.apply(&file).await;
    let crossed = async |_: &Stage| {
        let record = scene.app.find("row-1").await;
        record["fields"]["qty"] == 5 && record["fields"]["heading"] == "app"
    };
    scene.stage.wait("the sync to go on", crossed).await;
    assert!(scene.left().await.values().all(titles));
}

/// What NocoDB links goes to a foreign key and to an array of ids.
#[tokio::test(flavor = "multi_thread")]
async fn links_are_carried_over_from_nocodb() {
    let app = NocoDb::with(&[]).await;
    let (server, base) = (Arc::clone(&app.server), app.base.0.clone());
    let tags = server
        .table(&base, "tags", json!([field("name", "SingleLineText")]))
        .await;
    let tags = tags["id"].as_str().unwrap();
    for (title, relation) in [("tags", "mm"), ("main", "oo")] {
        let options = json!({"relation_type": relation, "related_table_id": tags});
        let link = json!({"title": title, "type": "Links", "options": options});
        let path = format!("api/v3/meta/bases/{base}/tables/{}/fields", app.table);
        server.post(&path, link).await;
    }
    let named = json!([{"fields": {"name": "art"}}, {"fields": {"name": "chess"}}]);
    let path = format!("api/v3/data/{base}/{tags}/records");
    let made = server.post(&path, named).await;
    let ids: Vec<String> = (0..2)
        .map(|n| made["records"][n]["id"].to_string())
        .collect();
    let linked = |ids: &[String]| ids.iter().map(|id| json!({"id": id})).collect::<Value>();
    let thing = json!({"slug": "one", "tags": linked(&ids), "main": {"id": ids[1]}});
    server
        .post(&app.records(), json!([{"fields": thing}]))
        .await;
    let scene = Scene::start(app, "nocodb_links").await;
    scene
        .sql(
            "create table tags (id bigint generated by default as identity primary key, name text unique);
             alter table things add tags text[], add main bigint references tags",
        )
        .await;
    let table = scene.app.table().replace(TABLE, "tags");
    let more = "fields = [
  { left = \"tags\", right = \"tags\", direction = \"right-to-left\" },
  { left = \"main\", right = \"main\", direction = \"right-to-left\", link = \"public.tags\" },";
    let file = scene.file("").replace("fields = [", more)
        + &format!(
            "[[table]]\nleft = \"public.tags\"\nright = \"{table}\"\nkey = [[\"name\", \"name\"]]\n\
             fields = [{{ left = \"name\", right = \"name\" }}]\n"
        );
    scene.stage.apply(&file).await;
    let told = async |tags: &[String], main: &str| {
        let client = scene.stage.left.client().await;
        let sql = "select t.tags, m.name from things t left join tags m on m.id = t.main";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.first().is_some_and(|row| {
            let there: Option<Vec<String>> = row.get(0);
            there.as_deref() == Some(tags) && row.get::<_, Option<&str>>(1) == Some(main)
        })
    };
    let copied = async |_: &Stage| told(&ids, "chess").await;
    scene.stage.wait("the links", copied).await;
    let record = scene.app.find("one").await["id"].clone();
    let meta = format!("api/v3/meta/bases/{base}/tables/{}", scene.app.table);
    let table = server.get(&meta).await;
    let mut fields = table["fields"].as_array().unwrap().iter();
    let links = fields.find(|field| field["title"] == "tags").unwrap();
    let path = format!(
        "api/v3/data/{base}/{}/links/{}/{record}",
        scene.app.table,
        links["id"].as_str().unwrap()
    );
    server.ask("DELETE", &path, linked(&ids[..1])).await;
    let fewer = async |_: &Stage| told(&ids[1..], "chess").await;
    scene.stage.wait("the link to go", fewer).await;
    assert_no_echo(&scene).await;
}

/// Both sides are edited at random while the relay is killed at any moment, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn random_edits_of_both_sides_and_kills_leave_them_equal() {
    const ROWS: usize = 5_000;
    const ROUNDS: usize = 3;
    let mut chance = Chance::seeded(20_261_127);
    let app = NocoDb::start().await;
    let mut scene = Scene::start(app, "nocodb_two_way").await;
    let half = ROWS / 2;
    scene
        .sql(&format!(
            "insert into things (slug, title, qty) select 'left-' || n, 'Title ' || n, n
             from generate_series(1, {half}) n"
        ))
        .await;
    let rows = (1..=half).map(|n| (format!("app-{n}"), Row::titled("app")));
    scene.app.seed(&rows.collect()).await;
    scene.stage.apply(&scene.file("existing = \"merge\"")).await;
    let rows = scene.wait_equal().await;
    assert_eq!(rows.len(), 2 * half);
    for round in 0..ROUNDS {
        let mut ours = String::new();
        for edit in 0..40 {
            let (side, n) = (*chance.one_of(&["left", "app"]), 1 + chance.below(half));
            ours += &match chance.below(6) {
                0 => format!("delete from things where slug = '{side}-{n}';"),
                1 => format!("insert into things (slug, qty) values ('new-{round}-{edit}', {n});"),
                _ => format!("update things set qty = {n} + {round} where slug = '{side}-{n}';"),
            };
        }
        scene.sql(&ours).await;
        let there: Vec<String> = scene.app.all().await.into_keys().collect();
        for edit in 0..40 {
            if edit == 20 {
                let moment = Duration::from_millis(chance.next() % 2_000);
                tokio::time::sleep(moment).await;
                scene.stage.kill_relay();
            }
            let slug = chance.one_of(&there);
            let title = format!("round {round} edit {edit}");
            // The sync may have deleted it meanwhile.
            scene.app.try_edit(slug, &Row::titled(&title)).await;
        }
        let new = (0..5).map(|n| (format!("made-{round}-{n}"), Row::titled("made")));
        scene.app.seed(&new.collect()).await;
        scene.stage.start_relay().await;
        scene.stage.wait_live("things").await;
    }
    let rows = scene.wait_equal().await;
    assert!(rows.contains_key("made-2-4"), "{}", rows.len());
    assert_no_echo(&scene).await;
    scene.stage.assert_equal("things").await;
}

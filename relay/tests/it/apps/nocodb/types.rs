//! Fields of every type: those that go both ways, and those that NocoDB alone may change.

use serde_json::{Value, json};

use super::{NocoDb, field};
use crate::apps::Scene;
use crate::apps::claims::assert_no_echo;
use crate::e2e::stage::Stage;

const BOTH_WAYS: [&str; 7] = ["body", "mail", "page", "phone", "stars", "year", "color"];
const FROM_APP: [&str; 11] = [
    "amount", "price", "share", "lasts", "day", "moment", "clock", "colors", "data", "made", "sum",
];
const LEFT: &str = "
    create type color as enum ('red', 'light blue');
    alter table things add body text, add mail text, add page text, add phone text, add stars int,
        add year int, add color color, add amount float8, add price float8, add share float8,
        add lasts float8, add day date, add moment timestamptz(0), add clock text,
        add colors text[], add data jsonb, add made timestamptz(0), add sum jsonb";

async fn app() -> NocoDb {
    let choices = json!({"choices": [{"title": "red"}, {"title": "light blue"}]});
    let chosen =
        |title: &str, kind: &str| json!({"title": title, "type": kind, "options": choices});
    NocoDb::with(&[
        field("body", "LongText"),
        field("mail", "Email"),
        field("page", "URL"),
        field("phone", "PhoneNumber"),
        field("stars", "Rating"),
        field("year", "Year"),
        chosen("color", "SingleSelect"),
        field("amount", "Decimal"),
        field("price", "Currency"),
        field("share", "Percent"),
        field("lasts", "Duration"),
        field("day", "Date"),
        field("moment", "DateTime"),
        field("clock", "Time"),
        chosen("colors", "MultiSelect"),
        field("data", "JSON"),
        field("made", "CreatedTime"),
        json!({"title": "sum", "type": "Formula", "options": {"formula": "{qty} + 1"}}),
    ])
    .await
}

/// With a record of the app's that has all of them, and equal.
async fn synced(hint: &str, there: &Value) -> Scene<NocoDb> {
    let scene = Scene::start(app().await, hint).await;
    scene.sql(LEFT).await;
    let line =
        |name: &str, more: &str| format!("  {{ left = \"{name}\", right = \"{name}\"{more} }},\n");
    let both_ways = BOTH_WAYS.map(|name| line(name, "")).concat();
    let from_app = FROM_APP.map(|name| line(name, ", direction = \"right-to-left\""));
    let fields = format!("fields = [\n{both_ways}{}", from_app.concat());
    let records = json!([{"fields": there}]);
    scene.app.server.post(&scene.app.records(), records).await;
    let file = scene.file("").replace("fields = [", &fields);
    scene.stage.apply(&file).await;
    scene.wait_equal().await;
    scene
}

/// The left's record.
async fn left(scene: &Scene<NocoDb>, slug: &str) -> Value {
    let client = scene.stage.left.client().await;
    let sql = "select (to_jsonb(t) - 'id')::text from things t where slug = $1";
    let row = client.query_one(sql, &[&slug]).await.unwrap();
    serde_json::from_str(row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nocodb_holds_arrives_as_it_is() {
    let there = json!({
        "slug": "there", "title": "", "qty": -7, "done": false,
        "body": "two\nlines \u{2603}", "mail": "a@b.example", "page": "https://b.example/?a=\"b\"",
        "phone": "+49 1", "stars": 4, "year": 1999, "color": "light blue", "amount": 0.1,
        "price": 12.5, "share": 50.25, "lasts": 3_661, "day": "2026-02-28",
        "moment": "2026-02-28T23:59:58Z", "clock": "23:59:58", "colors": ["light blue", "red"],
        "data": {"a": [1, null, {"b": "c"}]},
    });
    let scene = synced("nocodb_types", &there).await;
    let mut arrived = left(&scene, "there").await;
    let made = arrived["made"].take();
    assert!(
        made.as_str().is_some_and(|made| made.starts_with("20")),
        "{made}"
    );
    let mut expected = there.clone();
    expected["made"] = Value::Null;
    expected["sum"] = json!(-6);
    expected["moment"] = json!("2026-02-28T23:59:58+00:00");
    assert_eq!(arrived, expected);
    // None is chosen any more: NocoDB has an empty text then, and not null.
    scene.app.set("there", json!({"colors": []})).await;
    let emptied = async |_: &Stage| left(&scene, "there").await["colors"].is_null();
    scene.stage.wait("no color", emptied).await;
    assert_no_echo(&scene).await;
    assert_eq!(scene.stage.get("syncs/things").await["findings"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_left_holds_arrives_as_it_is() {
    let there = json!({"slug": "there", "body": "x", "stars": 4, "color": "red"});
    let scene = synced("nocodb_values", &there).await;
    scene
        .sql(
            "insert into things (slug, title, body, mail, page, phone, stars, year, color)
             values ('here', 'x', '', 'no address', 'no page', '', 0, 2001, 'red');
             update things set body = null, stars = null, color = null where slug = 'there'",
        )
        .await;
    let crossed = async |_: &Stage| {
        let fields = scene.app.find("there").await["fields"].take();
        fields["body"].is_null() && scene.app.found("here").await.is_some()
    };
    scene.stage.wait("the left's values", crossed).await;
    let of = async |slug: &str| {
        let fields = scene.app.find(slug).await["fields"].take();
        Value::from(BOTH_WAYS.map(|name| fields[name].clone()).to_vec())
    };
    let here = json!(["", "no address", "no page", "", 0, 2001, "red"]);
    assert_eq!(of("here").await, here);
    let there = json!([null, null, null, null, null, null, null]);
    assert_eq!(of("there").await, there);
    assert_no_echo(&scene).await;
    assert_eq!(scene.stage.get("syncs/things").await["findings"], 0);
}

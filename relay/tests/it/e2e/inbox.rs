//! What waits for a person, of all syncs at once: in pages, with the value before, picked by the dozen.

use reqwest::Client as Http;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::stage::Stage;

/// Records in conflict.
const RECORDS: usize = 30;

fn file(name: &str) -> String {
    format!(
        "name = \"{name}\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
         left = \"public.{name}\"\nright = \"public.{name}\"\nkey = [[\"id\", \"id\"]]\n\
         conflict = \"ask\"\nfields = [{{ left = \"title\", right = \"title\" }}, \
         {{ left = \"note\", right = \"note\" }}]\n"
    )
}

/// A live sync whose records both sides then edit in both fields. Before that, one edit of each title
/// has crossed, so that history has what was agreed on.
async fn clash(stage: &Stage, name: &str, sides: [&Client; 2]) {
    let table =
        format!("create table public.{name} (id int primary key, title text unique, note text)");
    for side in sides {
        side.batch_execute(&table).await.unwrap();
    }
    let insert = format!(
        "insert into {name} select n, 'old ' || n, 'note' from generate_series(1, {RECORDS}) n"
    );
    sides[0].batch_execute(&insert).await.unwrap();
    stage.apply(&file(name)).await;
    stage.assert_equal(name).await;
    let agreed = format!("update {name} set title = 'agreed ' || id");
    sides[0].batch_execute(&agreed).await.unwrap();
    stage.assert_equal(name).await;
    stage.post(&format!("syncs/{name}/pause"), json!({})).await;
    for (side, word) in sides.iter().zip(["left", "right"]) {
        let edit = format!("update {name} set title = '{word} ' || id, note = '{word}'");
        side.batch_execute(&edit).await.unwrap();
    }
    stage.post(&format!("syncs/{name}/resume"), json!({})).await;
    wait_asked(stage, name, 2 * RECORDS).await;
}

async fn wait_asked(stage: &Stage, name: &str, count: usize) {
    let path = format!("syncs/{name}");
    let asked = async |stage: &Stage| stage.get(&path).await["asked"] == count;
    stage.wait("the questions", asked).await;
}

/// All pages of a list.
async fn pages(stage: &Stage, path: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = Http::new()
            .get(stage.url(&format!("{path}{cursor}")))
            .bearer_auth(stage.token().unwrap());
        let page = page.send().await.unwrap();
        let next = page.headers().get("x-next-cursor").cloned();
        let items: Vec<Value> = page.json().await.unwrap();
        assert!(items.len() <= 25);
        all.extend(items);
        match next {
            Some(next) => cursor = format!("&cursor={}", next.to_str().unwrap()),
            None => return all,
        }
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_of_all_syncs_come_in_pages_with_the_value_before_and_are_picked_together() {
    let stage = Stage::start("inbox").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    for name in ["posts", "pages"] {
        clash(&stage, name, [&left, &right]).await;
    }
    let all = pages(&stage, "conflicts?waiting=true&base=true&limit=25").await;
    assert_eq!(all.len(), 4 * RECORDS);
    let mut ids: Vec<i64> = all.iter().map(|one| one["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "the newest first: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 4 * RECORDS, "each once");
    for one in &all {
        let key = one["left_key"].as_str().unwrap();
        // The first copy's values are not kept, and nobody edited the notes since.
        let expected = match one["left_field"].as_str().unwrap() {
            "title" => (json!(true), json!(format!("agreed {key}"))),
            _ => (json!(false), Value::Null),
        };
        assert_eq!(
            (&one["base_known"], &one["base"]),
            (&expected.0, &expected.1)
        );
    }
    assert_eq!(
        pages(&stage, "conflicts?sync=pages&waiting=true&limit=25")
            .await
            .len(),
        2 * RECORDS
    );
    let (done, refusal) = stage
        .try_post(
            "syncs/pages/conflicts/pick",
            json!({"side": "both", "upto": 1}),
        )
        .await;
    assert!(!done && refusal["code"] == "bad-filter", "{refusal:#}");

    // All titles of one sync at once; what came after the look is left alone.
    let titles = json!({"side": "right", "table": "public.posts", "field": "title",
        "upto": all[0]["id"]});
    let picked = stage.post("syncs/posts/conflicts/pick", titles).await;
    assert_eq!(
        picked,
        json!({"picked": RECORDS, "refused": [], "more": false})
    );
    wait_asked(&stage, "posts", RECORDS).await;
    let right_titles = "select count(*) from posts where title = 'right ' || id";
    assert_eq!(count(&left, right_titles).await, RECORDS as i64);
    let none = json!({"side": "left", "upto": 0});
    let picked = stage.post("syncs/posts/conflicts/pick", none).await;
    assert_eq!(picked["picked"], 0);

    // The rest of that sync: two fields of one record never in one write.
    let rest = json!({"side": "left", "upto": all[0]["id"]});
    stage.post("syncs/pages/conflicts/pick", rest).await;
    wait_asked(&stage, "pages", 0).await;
    let left_all = "select count(*) from pages where title = 'left ' || id and note = 'left'";
    assert_eq!(count(&right, left_all).await, RECORDS as i64);
    stage.assert_equal("pages").await;
    let audit = stage.get("audit").await;
    let logged = |entry: &Value| entry["action"] == "conflict.pick-many";
    assert!(audit.as_array().unwrap().iter().any(logged), "{audit:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_of_all_syncs_are_listed_and_tried_again_one_by_one() {
    let stage = Stage::start("inbox_findings").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute("create table t (id int primary key, title text, note text)")
        .await
        .unwrap();
    right
        .batch_execute(
            "create table t (id int primary key, title text check (title not like 'bad%'), note text)",
        )
        .await
        .unwrap();
    left.batch_execute("insert into t values (1, 'bad 1'), (2, 'bad 2'), (3, 'good')")
        .await
        .unwrap();
    stage.apply(&file("t")).await;
    let found = async |stage: &Stage| stage.get("syncs/t").await["findings"] == 2;
    stage.wait("the findings", found).await;
    let all = pages(&stage, "findings?limit=1").await;
    let told: Vec<_> = all.iter().map(|one| (&one["sync"], &one["code"])).collect();
    let expected = (&json!("t"), &json!("check-violation"));
    assert_eq!(told, [expected, expected]);
    assert_eq!(
        pages(&stage, "findings?code=no-counterpart&limit=5")
            .await
            .len(),
        0
    );

    right
        .batch_execute("alter table t drop constraint t_title_check")
        .await
        .unwrap();
    let path = format!("syncs/t/findings/{}/retry", all[0]["id"]);
    stage.post(&path, json!({})).await;
    let one_left = async |stage: &Stage| stage.get("syncs/t").await["findings"] == 1;
    stage.wait("the first one", one_left).await;
    let left_over = pages(&stage, "findings?limit=5").await;
    assert_eq!(left_over[0]["id"], all[1]["id"]);
    let (done, refusal) = stage.try_post(&path, json!({})).await;
    assert!(!done && refusal["code"] == "not-found", "{refusal:#}");
}

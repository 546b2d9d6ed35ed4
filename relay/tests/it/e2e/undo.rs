//! Undo: what a sync wrote to one side is put back there, and the other side follows.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

/// `slug=title` of every record, in the order of the slugs.
async fn titles(client: &Client) -> String {
    let sql =
        "select coalesce(string_agg(slug || '=' || coalesce(title, '-'), ' ' order by slug), '')
               from posts";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn wait_for(stage: &Stage, client: &Client, expected: &str) {
    stage
        .wait(expected, async |_| titles(client).await == expected)
        .await;
}

async fn now(client: &Client) -> String {
    let sql =
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn plan(stage: &Stage, filter: &Value) -> Value {
    stage.post("syncs/blog/undo/plan", filter.clone()).await
}

/// A sync of four posts, and when their copy was over.
async fn copied(stage: &Stage) -> (Client, Client, String) {
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    for client in [&left, &right] {
        client.batch_execute(POSTS).await.unwrap();
    }
    left.batch_execute(
        "insert into posts (slug, title) select s, s from unnest(array['a', 'b', 'c', 'd']) s",
    )
    .await
    .unwrap();
    stage.apply(FILE).await;
    let since = now(&left).await;
    (left, right, since)
}

/// What somebody did by mistake on the left, and the sync carried over; with an edit of the right since.
async fn mistake(stage: &Stage, (left, right): (&Client, &Client)) {
    left.batch_execute(
        "update posts set title = 'oops'; delete from posts where slug = 'd';
         insert into posts (slug, title) values ('e', 'oops')",
    )
    .await
    .unwrap();
    wait_for(stage, right, "a=oops b=oops c=oops e=oops").await;
    right
        .batch_execute("update posts set title = 'mine' where slug = 'b'")
        .await
        .unwrap();
    wait_for(stage, left, "a=oops b=mine c=oops e=oops").await;
}

fn counts(creates: u32, updates: u32, deletes: u32) -> Value {
    json!({"creates": creates, "updates": updates, "deletes": deletes})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_puts_one_side_back_but_for_what_changed_since_and_the_other_follows() {
    let stage = Stage::start("undo").await;
    let (left, right, since) = copied(&stage).await;
    mistake(&stage, (&left, &right)).await;
    let filter = json!({"since": since, "side": "right"});
    let planned = plan(&stage, &filter).await;
    let table = &planned["tables"][0];
    assert_eq!(table["puts_back"], counts(1, 2, 1));
    assert_eq!(table["then"], counts(1, 2, 1));
    assert_eq!(table["reasons"][0]["reason"], "changed since");
    assert_eq!(
        (&table["cannot"], &table["as_before"]),
        (&json!(1), &json!(0))
    );
    let unwritten = "a=oops b=mine c=oops e=oops";
    assert_eq!(titles(&right).await, unwritten, "a plan writes nothing");

    let request = json!({"filter": filter, "expected": planned});
    let report = stage.post("syncs/blog/undo", request.clone()).await;
    assert_eq!(report["done"], counts(1, 2, 1));
    assert_eq!(report["cannot"], json!([]));
    let back = "a=a b=mine c=c d=d";
    assert_eq!(titles(&right).await, back);
    wait_for(&stage, &left, back).await;
    assert_eq!(stage.assert_equal("blog").await, 4, "{}", stage.logs());

    // The same again finds all as it was.
    let (ok, refused) = stage.try_post("syncs/blog/undo", request).await;
    assert!(!ok && refused["code"] == "plan-changed", "{refused:#}");
    let planned = plan(&stage, &filter).await;
    let table = &planned["tables"][0];
    assert_eq!(table["puts_back"], counts(0, 0, 0));
    assert_eq!(
        (&table["cannot"], &table["as_before"]),
        (&json!(1), &json!(4))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_is_in_the_history_and_can_be_undone() {
    let stage = Stage::start("undo_undo").await;
    let (left, right, since) = copied(&stage).await;
    mistake(&stage, (&left, &right)).await;
    let filter = json!({"since": since, "side": "right"});
    let planned = plan(&stage, &filter).await;
    let request = json!({"filter": filter, "expected": planned});
    stage.post("syncs/blog/undo", request).await;
    wait_for(&stage, &left, "a=a b=mine c=c d=d").await;

    let undone = stage.get("syncs/blog/history?side=right&limit=4").await;
    let undone = undone.as_array().unwrap();
    assert!(
        undone.iter().all(|entry| entry["why"] == "undo"),
        "{undone:#?}"
    );
    let (run, batch) = (undone[0]["run"].to_string(), undone[0]["batch"].to_string());
    let filter = json!({"run": format!("{run}.{batch}")});
    let planned = plan(&stage, &filter).await;
    assert_eq!(planned["tables"][0]["puts_back"], counts(1, 2, 1));
    let request = json!({"filter": filter, "expected": planned});
    stage.post("syncs/blog/undo", request).await;
    let again = "a=oops b=mine c=oops e=oops";
    wait_for(&stage, &left, again).await;
    wait_for(&stage, &right, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_copy_of_a_run_can_be_undone_and_what_has_no_values_cannot() {
    let stage = Stage::start("undo_copy").await;
    let (left, right, since) = copied(&stage).await;
    let runs = stage.get("syncs/blog/runs").await;
    let run = runs[0]["run"].to_string();
    right
        .batch_execute("update posts set body = 'edited' where slug = 'a'")
        .await
        .unwrap();
    stage
        .wait("the edit to cross", async |stage: &Stage| {
            let found = stage.get("syncs/blog/history?side=left").await;
            found.as_array().unwrap().len() == 1
        })
        .await;
    let (ok, refused) = stage
        .try_post("syncs/blog/undo/plan", json!({"run": run}))
        .await;
    assert!(!ok && refused["code"] == "both-sides", "{refused:#}");
    let (ok, refused) = stage
        .try_post("syncs/blog/undo/plan", json!({"side": "left"}))
        .await;
    assert!(!ok && refused["code"] == "bad-filter", "{refused:#}");

    let filter = json!({"run": run, "side": "right", "until": since});
    let planned = plan(&stage, &filter).await;
    let table = &planned["tables"][0];
    assert_eq!(table["puts_back"], counts(0, 0, 3));
    assert_eq!(
        table["then"]["deletes"], 3,
        "the other side's are deleted with them"
    );
    assert_eq!(table["cannot"], 1);
    let request = json!({"filter": filter, "expected": planned});
    stage.post("syncs/blog/undo", request.clone()).await;
    wait_for(&stage, &left, "a=a").await;
    assert_eq!(stage.assert_equal("blog").await, 1);

    stage.post("syncs/blog/pause", json!({})).await;
    let (ok, refused) = stage.try_post("syncs/blog/undo", request).await;
    assert!(!ok && refused["code"] == "sync-not-live", "{refused:#}");
}

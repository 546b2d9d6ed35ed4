//! What a sync wrote: with the values that it replaced and left, why, and by which run.

use serde_json::{Value, json};

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

/// Writes to `side`, newest first, without what differs from run to run.
async fn writes(stage: &Stage, query: &str) -> Vec<Value> {
    let found = stage.get(&format!("syncs/blog/history?{query}")).await;
    let found = found.as_array().unwrap().clone();
    let mut found: Vec<Value> = found.into_iter().collect();
    for entry in &mut found {
        for volatile in ["id", "at", "run", "batch", "table"] {
            entry.as_object_mut().unwrap().remove(volatile);
        }
    }
    found
}

async fn wait_for_writes(stage: &Stage, count: usize) {
    stage
        .wait("writes in the history", async |stage: &Stage| {
            let found = stage.get("syncs/blog/history").await;
            found.as_array().unwrap().len() >= count
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_the_values_before_and_after_and_why() {
    let stage = Stage::start("history").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    for client in [&left, &right] {
        client.batch_execute(POSTS).await.unwrap();
    }
    left.batch_execute("insert into posts (slug, title, body) values ('a', 'one', 'text')")
        .await
        .unwrap();
    stage.apply(FILE).await;
    let copied = writes(&stage, "").await;
    assert_eq!(copied.len(), 1);
    assert_eq!(copied[0]["why"], "copy");
    assert_eq!(copied[0]["changes"], json!([]));
    assert_eq!(copied[0]["no_values"], "created by the first copy");

    left.batch_execute("update posts set title = E'two\\u001b', body = null")
        .await
        .unwrap();
    wait_for_writes(&stage, 2).await;
    let updated = &writes(&stage, "limit=1").await[0];
    let expected = json!({
        "side": "right", "kind": "update", "why": "change", "left_key": "1", "right_key": "1",
        "fields": ["title", "body"], "no_values": null, "changes": [
            {"field": "title", "before": "one", "after": "two\u{1b}"},
            {"field": "body", "before": "text", "after": null},
        ],
    });
    assert_eq!(*updated, expected);

    right.batch_execute("delete from posts").await.unwrap();
    wait_for_writes(&stage, 3).await;
    let deleted = &writes(&stage, "side=left").await[0];
    assert_eq!(
        (&deleted["kind"], &deleted["why"]),
        (&json!("delete"), &json!("change"))
    );
    let of = |field: &str| {
        let changes = deleted["changes"].as_array().unwrap();
        let found = changes.iter().find(|change| change["field"] == field);
        found.unwrap()["before"].clone()
    };
    assert_eq!((of("slug"), of("title")), (json!("a"), json!("two\u{1b}")));
    assert_eq!(writes(&stage, "key=1").await.len(), 3);
    assert_eq!(writes(&stage, "key=2").await.len(), 0);
    assert_eq!(writes(&stage, "until=2020-01-01T00:00:00Z").await.len(), 0);

    let runs = stage.get("syncs/blog/runs").await;
    let run = &runs[0];
    assert_eq!(
        run["left"],
        json!({"creates": 0, "updates": 0, "deletes": 1})
    );
    assert_eq!(
        run["right"],
        json!({"creates": 1, "updates": 1, "deletes": 0})
    );
    let number = run["run"].as_u64().unwrap();
    assert_eq!(writes(&stage, &format!("run={number}")).await.len(), 3);
    assert_eq!(
        writes(&stage, &format!("run={}", number + 1)).await.len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_losing_value_of_a_conflict_is_told_as_such_and_off_keeps_no_values() {
    let stage = Stage::start("history_off").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    for client in [&left, &right] {
        client.batch_execute(POSTS).await.unwrap();
    }
    left.batch_execute("insert into posts (slug, title) values ('a', 'left')")
        .await
        .unwrap();
    right
        .batch_execute("insert into posts (slug, title) values ('a', 'right')")
        .await
        .unwrap();
    stage
        .apply(&FILE.replacen("[[table]]", "history = \"off\"\n[[table]]", 1))
        .await;
    let writes = writes(&stage, "").await;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0]["why"], "conflict");
    assert_eq!(writes[0]["no_values"], "the sync kept no values");
    assert_eq!(writes[0]["changes"], json!([]));
}

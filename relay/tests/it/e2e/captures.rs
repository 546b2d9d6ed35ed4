//! A connection's choice of how its changes are read.

use serde_json::{Value, json};

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_chooses_how_its_changes_are_read_unless_the_file_does() {
    let stage = Stage::start("captures").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    for client in [&left, &right] {
        client.batch_execute(POSTS).await.unwrap();
    }
    let (changed, refused) = stage
        .try_patch("connections/marketing", json!({"capture": "log"}))
        .await;
    assert!(!changed && refused["code"] == "bad-capture", "{refused:#}");
    let chosen = choose(&stage, "triggers").await;
    assert_eq!(chosen["capture"], "triggers", "{chosen:#}");
    let tested = stage.post("connections/marketing/test", json!({})).await;
    let reason = "triggers (the connection asks for it)";
    assert_eq!(tested["capture"], reason, "{tested:#}");
    stage.apply(FILE).await;
    assert_eq!(levels(&stage).await, ["stream", "triggers"]);
    for (from, to, slug) in [(&left, &right, "a"), (&right, &left, "b")] {
        let sql = format!("insert into posts (slug, title) values ('{slug}', 'text')");
        from.batch_execute(&sql).await.unwrap();
        let count = format!("select count(*) from posts where slug = '{slug}'");
        let crossed = async |_: &Stage| {
            let found = to.query_one(&count, &[]).await.unwrap();
            found.get::<_, i64>(0) == 1
        };
        stage.wait("the record", crossed).await;
    }

    // It is taken at the next start, and the file goes first.
    choose(&stage, "peek").await;
    assert_eq!(levels(&stage).await, ["stream", "triggers"]);
    stage.post("syncs/blog/resume", json!({})).await;
    stage.wait_live("blog").await;
    assert_eq!(levels(&stage).await, ["stream", "peek"]);
    let file = FILE.replacen("[[table]]", "capture_right = \"stream\"\n[[table]]", 1);
    stage.apply(&file).await;
    assert_eq!(levels(&stage).await, ["stream", "stream"]);
    assert_eq!(stage.assert_equal("blog").await, 2);
}

async fn choose(stage: &Stage, level: &str) -> Value {
    let choice = json!({"capture": level});
    let (changed, info) = stage.try_patch("connections/marketing", choice).await;
    assert!(changed, "{info:#}");
    info
}

/// By side.
async fn levels(stage: &Stage) -> Vec<String> {
    let status = stage.get("syncs/blog").await;
    let captures = status["capture"].as_array().unwrap();
    let level = |capture: &Value| capture["level"].as_str().unwrap().to_owned();
    captures.iter().map(level).collect()
}

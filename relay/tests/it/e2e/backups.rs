//! A relay that goes back to an older state of its own, while its databases and its agent do not.

use std::fs;

use super::editors::Edits;
use super::lost_slots::{assert_equal_and_quiet, start_sync};
use super::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_taken_amid_edits_ends_equal_and_without_doubles() {
    let mut stage = Stage::start("old_backup").await;
    start_sync(&stage).await;
    let edits = Edits::start(&stage, 0);
    edits.more(200).await;
    stage.relay_command(&["backup", "old.db"]);
    // What comes after the backup: creates and deletes that cross, and runs that end.
    edits.more(300).await;
    stage.kill_relay();
    stage.start_relay().await;
    stage.wait_live("blog").await;
    edits.more(200).await;
    let epoch = progress_epoch(&stage).await;
    stage.kill_relay();
    edits.more(100).await;

    lose_state(&stage);
    stage.relay_command(&["restore", "old.db"]);
    stage.start_relay().await;
    stage.wait_live("blog").await;
    edits.more(100).await;
    edits.finish().await;
    assert_equal_and_quiet(&stage).await;
    assert!(
        progress_epoch(&stage).await > epoch,
        "what ran before is fenced"
    );
    let audit = stage.get("audit").await;
    let done: Vec<&str> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert!(done.contains(&"relay.restore"), "{audit:#}");
    let check = stage.get("audit/verify").await;
    assert_eq!(check["broken_at"], serde_json::Value::Null, "{check:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_relay_that_shall_wait_starts_no_sync_and_knows_its_agent() {
    let mut stage = Stage::start("paused_backup").await;
    start_sync(&stage).await;
    stage.relay_command(&["backup", "old.db"]);
    stage.kill_relay();
    lose_state(&stage);
    stage.relay_command(&["restore", "old.db", "--paused"]);
    stage.start_relay().await;
    stage
        .wait("the agent to come back", async |stage: &Stage| {
            stage.get("agents/office-db").await["state"] == "online"
        })
        .await;
    assert_eq!(stage.get("syncs/blog").await["state"], "paused");
    stage.post("syncs/blog/resume", serde_json::json!({})).await;
    assert_equal_and_quiet(&stage).await;
}

/// The disk is gone; the master key was kept somewhere else.
fn lose_state(stage: &Stage) {
    let data = stage.dir.path().join("relay");
    let key = fs::read(data.join("master.key")).unwrap();
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("master.key"), key).unwrap();
}

async fn progress_epoch(stage: &Stage) -> i64 {
    let admin = stage.left.admin().await;
    let sql = "select max(epoch) from tidegate.progress";
    admin.query_one(sql, &[]).await.unwrap().get(0)
}

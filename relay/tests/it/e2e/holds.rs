//! What an agent's operator holds back: seen in the relay, and the sync goes on by itself afterwards.

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

async fn start(hint: &str) -> (Stage, tokio_postgres::Client, tokio_postgres::Client) {
    let stage = Stage::start(hint).await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(POSTS).await.unwrap();
    right.batch_execute(POSTS).await.unwrap();
    stage.apply(FILE).await;
    (stage, left, right)
}

async fn wait_held(stage: &Stage, held: Option<&str>) {
    stage
        .wait("the relay to know what is held", async |stage: &Stage| {
            stage.get("agents/office-db").await["held"].as_str() == held
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_agent_is_seen_in_the_relay_and_the_sync_goes_on_after_resume() {
    let (stage, left, _right) = start("paused_agent").await;
    stage.agent_command(&["pause", "--reason", "month end"]);
    wait_held(&stage, Some("everything")).await;
    let agent = stage.get("agents/office-db").await;
    assert_eq!(agent["held_reason"], "month end");
    assert_eq!(agent["sessions"], 0, "{agent:#}");
    left.batch_execute("insert into posts (slug) values ('while-paused')")
        .await
        .unwrap();
    stage
        .wait("the sync to say why it waits", async |stage: &Stage| {
            let status = stage.get("syncs/blog").await.to_string();
            status.contains("paused by its operator")
        })
        .await;
    assert!(
        stage
            .agent_command(&["status"])
            .contains("held     everything")
    );
    stage.agent_command(&["resume"]);
    wait_held(&stage, None).await;
    stage.wait_live("blog").await;
    assert_eq!(stage.assert_equal("blog").await, 1);
    let verified = stage.agent_command(&["audit", "verify"]);
    assert!(verified.contains("none changed or missing"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_writes_let_nothing_into_the_database_and_cross_after_resume() {
    let (stage, left, right) = start("held_writes").await;
    stage.agent_command(&["pause", "--writes"]);
    wait_held(&stage, Some("writes")).await;
    right
        .batch_execute("insert into posts (slug) values ('from-the-app')")
        .await
        .unwrap();
    stage
        .wait("the sync to say why it waits", async |stage: &Stage| {
            stage
                .get("syncs/blog")
                .await
                .to_string()
                .contains("read-only")
        })
        .await;
    let count = "select count(*) from posts";
    assert_eq!(
        left.query_one(count, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
    stage.agent_command(&["resume"]);
    wait_held(&stage, None).await;
    stage.wait_live("blog").await;
    assert_eq!(stage.assert_equal("blog").await, 1);
}

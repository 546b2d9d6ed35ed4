//! A sync whose agent may not use UDP.

use super::stage::Stage;

const TABLE: &str = "create table t (id bigint primary key, v text)";
const FILE: &str = "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
                    left = \"t\"\nright = \"t\"\nkey = [[\"id\", \"id\"]]\nfields = [\n\
                    { left = \"id\", right = \"id\" }, { left = \"v\", right = \"v\" }]\n";
const ROWS: u64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_over_tcp_copies_carries_edits_both_ways_and_outlives_the_relay() {
    let mut stage = Stage::start("over_tcp").await;
    stage
        .restart_agent_with("state_dir", "transport = \"tcp\"\nstate_dir")
        .await;
    let agent = stage.get("agents/office-db").await;
    assert_eq!(agent["transport"], "tcp", "{agent:#}");
    assert_eq!(agent["loss_percent"], serde_json::Value::Null);
    assert_eq!(stage.agent_says("status")["transport"], "tcp");
    let check = stage.agent_says("check");
    let found = |subject: &str, check_name: &str| {
        let checks = check["checks"].as_array().unwrap().iter();
        let mut named = checks.filter(|line| line["check"] == check_name);
        named.any(|line| {
            line["state"] == "ok" && line["subject"].as_str().unwrap().starts_with(subject)
        })
    };
    assert!(found("relay", "tcp") && !found("relay", "udp"), "{check:#}");

    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(TABLE).await.unwrap();
    right.batch_execute(TABLE).await.unwrap();
    let fill =
        format!("insert into t select n, repeat(n::text, 20) from generate_series(1, {ROWS}) n");
    left.batch_execute(&fill).await.unwrap();
    stage.apply(FILE).await;
    right
        .batch_execute("update t set v = 'from the right' where id % 100 = 0")
        .await
        .unwrap();
    left.batch_execute("delete from t where id % 100 = 1")
        .await
        .unwrap();
    stage.kill_relay();
    left.batch_execute("update t set v = 'while it was away' where id % 100 = 2")
        .await
        .unwrap();
    stage.start_relay().await;
    stage.wait_live("t").await;
    assert_eq!(stage.assert_equal("t").await, ROWS - ROWS / 100);
    let agent = stage.get("agents/office-db").await;
    assert_eq!(agent["transport"], "tcp", "{agent:#}");
    assert!(agent["received_bytes"].as_u64().unwrap() > 0);
    assert!(agent["rtt_ms"].as_f64().unwrap() > 0.0);
}

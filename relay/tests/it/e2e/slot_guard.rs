//! The guardian: what a sync makes its databases keep is shown and stays bounded, whether it runs,
//! idles beside a busy neighbour or is paused.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::editors::Edits;
use super::lost_slots::{assert_equal_and_quiet, slot, start_sync};
use super::stage::Stage;
use crate::support::postgres::Server;

const MB: i64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn paused_sync_warns_then_gives_its_slots_up_before_the_bound_and_reconciles() {
    let server = Server::start_with(&[]);
    let mut stage = Stage::start_on(&server, &server, "guardian").await;
    let bound = 96 * MB;
    stage
        .restart_relay_with("[sync]\nslot_wal_max = \"96MB\"\n")
        .await;
    start_sync(&stage).await;
    let slots = looked(&stage).await;
    for (slot, side) in slots.as_array().unwrap().iter().zip(["left", "right"]) {
        assert_eq!(
            (&slot["side"], &slot["state"]),
            (&json!(side), &json!("reading"))
        );
        assert_eq!(slot["bound_bytes"], bound, "{slot:#}");
        assert!(slot["retained_bytes"].as_i64() < Some(bound), "{slot:#}");
        assert!(slot["runway_bytes"].as_i64() > Some(0), "{slot:#}");
    }
    stage.post("syncs/blog/pause", json!({})).await;
    let edits = Edits::start(&stage, 300);
    edits.finish().await;

    let metrics = stage.metrics().await;
    let line = "tidegate_slot_retained_bytes{workspace=\"default\",sync=\"blog\",side=\"left\"}";
    assert!(metrics.contains(line), "{metrics}");

    let admin = stage.left.admin().await;
    let mut warned = false;
    let mut retained = 0;
    // Slowly past the half, so that the warning has its time.
    for segments in [2, 1, 2, 1, 1, 1].into_iter().chain(std::iter::repeat(0)) {
        grow(&admin, segments).await;
        let slots = looked(&stage).await;
        let left = &slots[0];
        if left["state"] == "none" {
            assert_eq!(left["dropped"], 1, "{left:#}");
            break;
        }
        assert_eq!(left["state"], "idle", "{left:#}");
        assert!(left["retained_bytes"].as_i64() < Some(bound), "{left:#}");
        retained = left["retained_bytes"].as_i64().unwrap_or(0);
        warned |= left["warning"]
            .as_str()
            .is_some_and(|text| text.contains("more than half"));
    }
    // A checkpoint may pass the half and the bound at once.
    let has_jumped = retained <= bound / 2;
    assert!(warned || has_jumped, "no warning came at {retained} bytes");
    stage
        .wait("the right slot to be dropped", async |stage: &Stage| {
            slot(&stage.right).await.is_none()
        })
        .await;
    assert!(slot(&stage.left).await.is_none());
    let metrics = stage.metrics().await;
    let line = "tidegate_slot_drops_total{workspace=\"default\",sync=\"blog\",side=\"left\"} 1";
    assert!(metrics.contains(line), "{metrics}");

    stage.post("syncs/blog/resume", json!({})).await;
    stage
        .wait("new slots", async |stage: &Stage| {
            slot(&stage.left).await.is_some() && slot(&stage.right).await.is_some()
        })
        .await;
    assert_equal_and_quiet(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sync_beside_a_busy_database_keeps_little() {
    let server = Server::start_with(&["max_wal_size=64MB"]);
    let stage = Stage::start_on(&server, &server, "busy").await;
    start_sync(&stage).await;
    let other = server.database("neighbour").await.admin().await;
    other
        .batch_execute("create table work (x text)")
        .await
        .unwrap();
    for _ in 0..2 {
        let work = "insert into work select repeat('x', 1000) from generate_series(1, 64000)";
        other.batch_execute(work).await.unwrap();
        stage
            .wait("the slots to follow", async |stage: &Stage| {
                // Only the servers' own notes of running transactions move a slot's start.
                other.batch_execute("checkpoint").await.unwrap();
                let mut kept = Vec::new();
                for database in [&stage.left, &stage.right] {
                    kept.push(slot(database).await.expect("a slot").retained_bytes);
                }
                kept.iter().all(|kept| *kept < 17 * MB)
            })
            .await;
    }
    let slots = looked(&stage).await;
    assert_eq!(slots[0]["dropped"], 0, "{slots:#}");
    assert!(
        slots[0]["wal_bytes_per_s"].as_f64() > Some(1000.0),
        "{slots:#}"
    );
    assert!(slots[0]["runway_hours"].as_f64() > Some(0.0), "{slots:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_drops_a_slot_before_its_bound_while_no_relay_is_there_and_tells_leftovers() {
    let server = Server::start_with(&[]);
    let mut stage = Stage::start_on(&server, &server, "agent_guard").await;
    start_sync(&stage).await;
    stage.kill_relay();
    stage.kill_agent();
    stage.configure_agent(
        "allow_ddl = true",
        "allow_ddl = true\nslot_wal_max = \"64MB\"",
    );
    Edits::start(&stage, 300).finish().await;
    let admin = stage.left.admin().await;
    grow(&admin, 5).await;
    assert!(slot(&stage.left).await.expect("a slot").retained_bytes > 64 * MB);
    stage.start_agent();
    stage
        .wait("the agent to drop the slot", async |stage: &Stage| {
            slot(&stage.left).await.is_none()
        })
        .await;
    stage
        .wait("the agent to tell it", async |stage: &Stage| {
            stage.agent_says("status")["slots_dropped"] == 1
        })
        .await;
    assert_eq!(stage.agent_says("status")["slots"], json!([]));
    // It is the left database's agent.
    assert!(slot(&stage.right).await.is_some());
    let leftover = "create publication tidegate_gone_1_l for table posts";
    stage
        .left
        .client()
        .await
        .batch_execute(leftover)
        .await
        .unwrap();
    let told = stage.agent_says("check").to_string();
    assert!(
        told.contains("drop publication \\\"tidegate_gone_1_l\\\""),
        "{told}"
    );
    assert!(told.contains("max_slot_wal_keep_size = '128MB'"), "{told}");

    stage.start_relay().await;
    stage
        .wait("a new slot", async |stage: &Stage| {
            slot(&stage.left).await.is_some()
        })
        .await;
    assert_equal_and_quiet(&stage).await;
    let slots = looked(&stage).await;
    assert_eq!(
        slots[0]["bound_bytes"],
        64 * MB,
        "the agent's bound: {slots:#}"
    );
    assert_eq!(slots[1]["bound_bytes"], 10 * 1024 * MB, "{slots:#}");
    let target = &stage.get("agents/office-db").await["targets"][0];
    assert_eq!(target["slot_wal_max"], 64 * MB);

    stage.post("agents/office-db/revoke", json!({})).await;
    assert!(
        slot(&stage.left).await.is_none(),
        "a revoked agent leaves no slot"
    );
    let left_behind = "select count(*) from pg_publication where pubname like 'tidegate%'";
    let count: i64 = admin.query_one(left_behind, &[]).await.unwrap().get(0);
    assert_eq!(count, 1, "only the one that no sync of this relay made");
}

/// Moves the server's WAL on by so many segments of 16 MB, at little cost.
async fn grow(admin: &Client, segments: u32) {
    for _ in 0..segments {
        admin.batch_execute("select pg_switch_wal()").await.unwrap();
        let something = "create table wal (); drop table wal";
        admin.batch_execute(something).await.unwrap();
    }
}

/// The slots of the sync, looked at anew on both sides.
async fn looked(stage: &Stage) -> Value {
    let times = |slots: &Value| [slots[0]["at"].clone(), slots[1]["at"].clone()];
    let before = times(&stage.get("syncs/blog").await["slots"]);
    stage
        .wait("a look at the slots", async |stage: &Stage| {
            let now = times(&stage.get("syncs/blog").await["slots"]);
            (0..2).all(|side| now[side] != before[side] && !now[side].is_null())
        })
        .await;
    stage.get("syncs/blog").await["slots"].clone()
}

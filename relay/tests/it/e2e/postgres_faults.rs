//! `kill -9` of PostgreSQL on either side while data is copied and edited: nothing lost, doubled or
//! echoed.

use std::sync::Arc;

use super::editors::{Edits, assert_no_doubles, assert_quiet, fill};
use super::stage::Stage;
use super::two_way::{FILE, POSTS};
use crate::support::postgres::Server;

/// Rows that exist on the left before the sync starts.
const ROWS: i64 = 60_000;
/// Edits between two deaths.
const EDITS: u64 = 250;

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_killed_in_copy_and_live_loses_doubles_and_echoes_nothing() {
    let servers = [Server::start_with(&[]), Server::start_with(&[])];
    let stage = Stage::start_on(&servers[0], &servers[1], "pg_faults").await;
    let left = stage.left.client().await;
    left.batch_execute(POSTS).await.unwrap();
    stage
        .right
        .client()
        .await
        .batch_execute(POSTS)
        .await
        .unwrap();
    fill(&left, ROWS).await;
    stage
        .post("syncs/apply", serde_json::json!({"file": FILE}))
        .await;
    for (server, copied) in [(&servers[0], 5_000), (&servers[1], 20_000)] {
        copied_more_than(&stage, copied).await;
        die_and_rise(server);
    }
    stage.wait_live("blog").await;
    assert_eq!(stage.assert_equal("blog").await, ROWS as u64);

    let edits = Edits::start(&stage, 0);
    for server in [0, 1, 0, 1] {
        edits.more(EDITS).await;
        die_and_rise(&servers[server]);
    }
    // Once more when it is surely live again, both at the same moment.
    stage.wait_live("blog").await;
    edits.more(EDITS).await;
    servers.iter().for_each(|server| server.kill());
    servers.iter().for_each(|server| server.start());
    edits.more(EDITS).await;
    edits.finish().await;
    stage.wait_live("blog").await;
    stage.assert_equal("blog").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    assert_no_doubles(&left, &right).await;
    assert_quiet(&stage).await;
}

fn die_and_rise(server: &Arc<Server>) {
    server.kill();
    server.start();
}

/// Waits for a page of the copy that is settled; it must not be the last one.
async fn copied_more_than(stage: &Stage, records: i64) {
    stage
        .wait("the copy to be under way", async |stage: &Stage| {
            let status = stage.get("syncs/blog").await;
            status["tables"][0]["linked"].as_i64() > Some(records)
        })
        .await;
    let status = stage.get("syncs/blog").await;
    assert_eq!(
        status["state"], "copying",
        "the copy was too fast: {status:#}"
    );
}

//! Deaths at chosen and at random points while data is copied and edited: nothing lost, doubled or
//! echoed.

use std::time::Duration;

use super::editors::{Edits, Random, assert_no_doubles, assert_quiet, fill};
use super::stage::Stage;
use super::two_way::{FILE, POSTS};

/// Rows that exist on the left before the sync starts.
const ROWS: i64 = 100_000;
/// Edits on both sides together.
const EDITS: u64 = 5_000;
/// `kill -9` at random, besides the deaths at chosen points.
const RANDOM_KILLS: u32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_every_point_lose_double_and_echo_nothing() {
    let mut stage = Stage::start("faults").await;
    let left = stage.left.client().await;
    let right = stage.right.client().await;
    left.batch_execute(POSTS).await.unwrap();
    right.batch_execute(POSTS).await.unwrap();
    fill(&left, ROWS).await;

    // The copy: the relay dies twice after settled pages, the agent once.
    stage
        .post("syncs/apply", serde_json::json!({"file": FILE}))
        .await;
    stage.relay_crashes_at("copied:3").await;
    stage.relay_crashes_at("copied:5").await;
    stage.start_relay().await;
    stage.kill_agent();
    stage.start_agent();
    stage.wait_live("blog").await;
    assert_eq!(stage.assert_equal("blog").await, ROWS as u64);

    let edits = Edits::start(&stage, EDITS);
    for point in [
        "applying:2",
        "applied:2",
        "settled:2",
        "applying:4",
        "applied:3",
        "settled:4",
    ] {
        stage.relay_crashes_at(point).await;
    }
    stage.start_relay().await;
    let mut seed = Random::new(0x5eed);
    for _ in 0..RANDOM_KILLS {
        tokio::time::sleep(Duration::from_millis(100 + seed.below(900))).await;
        if seed.below(2) == 0 {
            stage.kill_agent();
            stage.start_agent();
        } else {
            stage.kill_relay();
            stage.start_relay().await;
        }
    }
    edits.finish().await;
    stage.wait_live("blog").await;
    stage.assert_equal("blog").await;
    assert_no_doubles(&left, &right).await;
    assert_quiet(&stage).await;
}

//! The way to the relay is blocked, or changes, while a sync runs.

use std::time::Instant;

use super::{Linked, is_long};
use crate::e2e::stage::Stage;
use crate::support::link::{FOUR_G, GOOD_WIFI, Link};
use crate::support::port::free_port;

#[tokio::test(flavor = "multi_thread")]
async fn udp_blocked_from_the_start_and_in_mid_session_loses_nothing() {
    let (front, listen) = (free_port(), free_port());
    let link = Link::start(front, listen, GOOD_WIFI).await;
    link.pass_udp(false);
    let stage = Stage::start_between("blocked_udp", front, listen).await;
    let mut linked = Linked::over(link, stage).await;
    assert_eq!(linked.agent().await["transport"], "tcp");
    linked.edit("from-the-start", 50).await;
    linked.assert_equal().await;

    // A new start forgets what worked.
    linked.link.pass_udp(true);
    linked.stage.kill_agent();
    linked.stage.start_agent();
    linked.wait_transport("quic").await;
    linked.edit("before", 50).await;
    linked.link.pass_udp(false);
    linked.edit("in-mid-session", 50).await;
    let began = Instant::now();
    linked.wait_transport("tcp").await;
    println!(
        "UDP blocked: on TCP after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    linked.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_changes_in_mid_copy_costs_neither_a_row_nor_the_session() {
    let rows = if is_long() { 300_000 } else { 20_000 };
    let (front, listen) = (free_port(), free_port());
    let link = Link::start(front, listen, FOUR_G).await;
    let stage = Stage::start_between("moving_copy", front, listen).await;
    let left = stage.left.client().await;
    left.batch_execute(crate::e2e::two_way::POSTS)
        .await
        .unwrap();
    crate::e2e::editors::fill(&left, rows).await;
    stage
        .right
        .client()
        .await
        .batch_execute(crate::e2e::two_way::POSTS)
        .await
        .unwrap();
    let before = stage.get("agents/office-db").await;
    let file = serde_json::json!({"file": crate::e2e::two_way::FILE});
    stage.post("syncs/apply", file).await;
    for part in 1..=4 {
        let copied = async |stage: &Stage| {
            let sync = stage.get("syncs/blog").await;
            sync["writes"].as_u64().unwrap_or(0) >= rows as u64 * part / 6
        };
        stage.wait_long("the copy to get on", copied).await;
        link.rebind();
    }
    stage
        .wait_long("the copy's end", async |stage: &Stage| {
            stage.get("syncs/blog").await["state"] == "live"
        })
        .await;
    assert_eq!(stage.assert_equal("blog").await, rows as u64);
    let after = stage.get("agents/office-db").await;
    assert_ne!(before["remote"], after["remote"], "it was never moved");
    assert_eq!(before["since"], after["since"], "the session was lost");
}

//! Slots that are lost while nobody asks: dropped by hand, invalidated by the server. The sync finds
//! the differences by itself and makes no record twice.

use super::editors::{Edits, assert_no_doubles, assert_quiet, fill};
use super::stage::Stage;
use super::two_way::{FILE, POSTS};
use crate::support::postgres::{Database, Server};

const ROWS: i64 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn slot_dropped_by_hand_while_edits_run_heals_by_itself() {
    let stage = Stage::start("slot_by_hand").await;
    start_sync(&stage).await;
    let edits = Edits::start(&stage, 0);
    for database in [&stage.left, &stage.right, &stage.left] {
        edits.more(200).await;
        drop_by_hand(database).await;
        edits.more(50).await;
        stage
            .wait("a new slot", async |stage: &Stage| {
                slot(database).await.is_some() && stage.get("syncs/blog").await["state"] == "live"
            })
            .await;
    }
    edits.finish().await;
    assert_equal_and_quiet(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_invalidated_by_the_server_while_the_sync_is_stopped_heals_by_itself() {
    let small = ["max_slot_wal_keep_size=32MB", "max_wal_size=64MB"];
    let server = Server::start_with(&small);
    let mut stage = Stage::start_on(&server, &server, "slot_invalidated").await;
    start_sync(&stage).await;
    // A relay that lives would drop it first.
    stage.kill_relay();
    let admin = stage.left.admin().await;
    let edits = Edits::start(&stage, 500);
    for _ in 0..6 {
        admin
            .batch_execute("select pg_switch_wal(); checkpoint")
            .await
            .unwrap();
        edits.more(20).await;
    }
    edits.finish().await;
    for database in [&stage.left, &stage.right] {
        let slot = slot(database).await.expect("an invalidated slot stays");
        assert_eq!(slot.wal_status, "lost");
    }
    stage.start_relay().await;
    assert_equal_and_quiet(&stage).await;
    for database in [&stage.left, &stage.right] {
        assert_ne!(slot(database).await.expect("a new slot").wal_status, "lost");
    }
}

/// Until it is live with [`ROWS`] equal records.
pub async fn start_sync(stage: &Stage) {
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
    stage.apply(FILE).await;
    assert_eq!(stage.assert_equal("blog").await, ROWS as u64);
}

pub async fn assert_equal_and_quiet(stage: &Stage) {
    stage.wait_live("blog").await;
    stage.assert_equal("blog").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    assert_no_doubles(&left, &right).await;
    assert_quiet(stage).await;
}

/// What the server says of the only slot of a database.
pub struct Slot {
    pub wal_status: String,
    pub retained_bytes: i64,
}

pub async fn slot(database: &Database) -> Option<Slot> {
    let sql = "select coalesce(wal_status, ''),
                      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8
               from pg_replication_slots where database = current_database()";
    let row = database.admin().await.query_opt(sql, &[]).await.unwrap()?;
    Some(Slot {
        wal_status: row.get(0),
        retained_bytes: row.get(1),
    })
}

/// As an administrator would who does not know what it is for.
async fn drop_by_hand(database: &Database) {
    let admin = database.admin().await;
    let mut dropped = false;
    while !dropped {
        let _ = admin
            .execute(
                "select pg_terminate_backend(active_pid, 5000) from pg_replication_slots
                 where database = current_database() and active_pid is not null",
                &[],
            )
            .await
            .unwrap();
        // The relay may have been faster and read it again.
        let drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots
                    where database = current_database()";
        dropped = admin.execute(drop, &[]).await.is_ok_and(|count| count == 1);
    }
}

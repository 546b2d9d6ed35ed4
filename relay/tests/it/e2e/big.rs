//! A transaction that is bigger than what the relay may hold.

use std::fs;

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

/// Rows that one transaction updates.
const ROWS: i64 = 200_000;
/// What it writes into each: 300 MB together.
const UPDATE: &str = "update posts set body = repeat(md5(id::text), 48)";
/// Peak of the relay's resident memory, kB. An unoptimized build took 344 to 470 MB in six runs;
/// with a single malloc arena it took 234 MB, level while most of the transaction crossed.
const MEMORY_KB_MAX: u64 = 600_000;

/// Counts what reaches the right side's rows.
const COUNT: &str = "create table hits (n int not null);
    create function hit() returns trigger language plpgsql as
        $$ begin insert into hits select count(*) from changed; return null; end $$;
    create trigger hit after update on posts referencing new table as changed
        for each statement execute function hit()";

#[tokio::test(flavor = "multi_thread")]
async fn a_big_transaction_crosses_in_parts_and_a_crash_within_it_repeats_nothing() {
    let mut stage = Stage::start("big").await;
    let left = stage.left.client().await;
    let right = stage.right.client().await;
    left.batch_execute(POSTS).await.unwrap();
    right.batch_execute(POSTS).await.unwrap();
    let fill = format!(
        "insert into posts (slug, title, body) select 'left-' || n, 'Title', ''
         from generate_series(1, {ROWS}) n"
    );
    left.batch_execute(&fill).await.unwrap();
    stage.apply(FILE).await;
    right.batch_execute(COUNT).await.unwrap();

    stage.kill_relay();
    left.batch_execute(UPDATE).await.unwrap();
    stage.relay_crashes_at("applied:10").await;
    let crossed = hits(&right).await;
    assert!(crossed > 0 && crossed < ROWS, "{crossed}");
    stage.start_relay().await;
    for part in [ROWS / 4, ROWS / 2, ROWS * 3 / 4, ROWS] {
        stage
            .wait("the transaction to cross", async |_: &Stage| {
                hits(&right).await >= part
            })
            .await;
    }
    let peak = peak_memory_kb(stage.relay_pid());
    stage.assert_equal("blog").await;
    assert_eq!(hits(&right).await, ROWS, "each row is written once");
    assert!(peak < MEMORY_KB_MAX, "the relay took {peak} kB");
}

async fn hits(right: &tokio_postgres::Client) -> i64 {
    let sum = "select coalesce(sum(n), 0)::int8 from hits";
    right.query_one(sum, &[]).await.unwrap().get(0)
}

fn peak_memory_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

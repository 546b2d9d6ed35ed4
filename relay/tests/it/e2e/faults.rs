//! Deaths at chosen and at random points while data is copied and edited: nothing lost, doubled or
//! echoed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::Client;

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
    fill(&left).await;

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

    let edits = Edits::start(&stage).await;
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
    let mut seed = Random(0x5eed);
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
    let done = edits.finish().await;
    assert!(done >= EDITS, "only {done} edits were made");
    stage.wait_live("blog").await;
    stage.assert_equal("blog").await;
    assert_no_doubles(&left, &right).await;
    assert_quiet(&stage).await;
}

async fn fill(left: &Client) {
    let sql = format!(
        "insert into posts (slug, title, body, rating)
         select 'left-' || n, 'Title ' || n, repeat('lorem ipsum ', 8), n / 7.0
         from generate_series(1, {ROWS}) n"
    );
    left.batch_execute(&sql).await.unwrap();
}

async fn assert_no_doubles(left: &Client, right: &Client) {
    let sql = "select count(*), count(distinct slug) from posts";
    let mut counts = Vec::new();
    for client in [left, right] {
        let row = client.query_one(sql, &[]).await.unwrap();
        assert_eq!(
            row.get::<_, i64>(0),
            row.get::<_, i64>(1),
            "a record exists twice"
        );
        counts.push(row.get::<_, i64>(0));
    }
    assert_eq!(counts[0], counts[1]);
}

/// After quiet nothing is written any more: no echo goes round.
async fn assert_quiet(stage: &Stage) {
    stage
        .wait("the sync to be quiet", async |stage: &Stage| {
            stage.get("syncs/blog").await["quiet"] == true
        })
        .await;
    let before = stage.get("syncs/blog").await["writes"].clone();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        stage.get("syncs/blog").await["writes"],
        before,
        "something echoes"
    );
}

/// Two people who edit both sides at random.
struct Edits {
    enough: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Edits {
    async fn start(stage: &Stage) -> Edits {
        let enough = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for (side, client) in [
            ("l", stage.left.client().await),
            ("r", stage.right.client().await),
        ] {
            let (enough, count) = (enough.clone(), count.clone());
            tasks.push(tokio::spawn(async move {
                let mut random = Random(u64::from(side.as_bytes()[0]));
                while !enough.load(Ordering::Relaxed) || count.load(Ordering::Relaxed) < EDITS {
                    edit(&client, side, &mut random).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1 + random.below(4))).await;
                }
            }));
        }
        Edits {
            enough,
            count,
            tasks,
        }
    }

    async fn finish(self) -> u64 {
        self.enough.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.count.load(Ordering::Relaxed)
    }
}

async fn edit(client: &Client, side: &str, random: &mut Random) {
    let token = format!("{side}-{:016x}", random.next());
    // Few enough records that both people often meet on one.
    let slug = format!("left-{}", 1 + random.below(2_000));
    let (sql, values): (&str, [&str; 2]) = match random.below(10) {
        0 => (
            "insert into posts (slug, title) values ($1, $2)",
            [&token, &token],
        ),
        1 => (
            "delete from posts where slug = $1 and $2 <> ''",
            [&slug, &token],
        ),
        2..=5 => (
            "update posts set title = $2 where slug = $1",
            [&slug, &token],
        ),
        6..=8 => (
            "update posts set body = $2 where slug = $1",
            [&slug, &token],
        ),
        _ => (
            "update posts set rating = length($2) where slug = $1",
            [&slug, &token],
        ),
    };
    // A deadlock with an apply ends one of the two; the person would try again.
    let _ = client.execute(sql, &[&values[0], &values[1]]).await;
}

/// SplitMix64: the test's only randomness, from a fixed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

//! People who edit both sides at random, and what must be true when they are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::Client;

use super::stage::Stage;
use crate::support::postgres::Database;

/// Posts `left-1` … `left-<rows>`.
pub async fn fill(left: &Client, rows: i64) {
    let sql = format!(
        "insert into posts (slug, title, body, rating)
         select 'left-' || n, 'Title ' || n, repeat('lorem ipsum ', 8), n / 7.0
         from generate_series(1, {rows}) n"
    );
    left.batch_execute(&sql).await.unwrap();
}

pub async fn assert_no_doubles(left: &Client, right: &Client) {
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
pub async fn assert_quiet(stage: &Stage) {
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
pub struct Edits {
    enough: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    wanted: u64,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Edits {
    /// Begins; there will be at least `wanted` edits.
    pub fn start(stage: &Stage, wanted: u64) -> Edits {
        let enough = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for (side, database) in [("l", stage.left.clone()), ("r", stage.right.clone())] {
            let (enough, count) = (enough.clone(), count.clone());
            tasks.push(tokio::spawn(async move {
                let mut random = Random::new(u64::from(side.as_bytes()[0]));
                let mut client = connected(&database).await;
                while !enough.load(Ordering::Relaxed) || count.load(Ordering::Relaxed) < wanted {
                    if edit(&client, side, &mut random).await {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    if client.is_closed() {
                        client = connected(&database).await;
                    }
                    tokio::time::sleep(Duration::from_millis(1 + random.below(4))).await;
                }
            }));
        }
        Edits {
            enough,
            count,
            wanted,
            tasks,
        }
    }

    /// Waits until so many more are made.
    pub async fn more(&self, edits: u64) {
        let until = self.count.load(Ordering::Relaxed) + edits;
        while self.count.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn finish(self) {
        self.enough.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let done = self.count.load(Ordering::Relaxed);
        assert!(done >= self.wanted, "only {done} edits were made");
    }
}

/// A session, as soon as the server takes one.
async fn connected(database: &Database) -> Client {
    loop {
        if let Some(client) = database.try_client().await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// False when it was not made: a deadlock with an apply ends one of the two, and a server may be
/// killed. The person would try again.
async fn edit(client: &Client, side: &str, random: &mut Random) -> bool {
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
    client.execute(sql, &[&values[0], &values[1]]).await.is_ok()
}

/// SplitMix64: the test's only randomness, from a fixed seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

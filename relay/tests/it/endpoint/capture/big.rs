//! Transactions that the server streams before they commit.

use std::path::Path;
use std::time::Duration;

use crate::support::postgres::Server;
use crate::support::stream::{Stream, briefs};

const DDL: &str = "create table posts (id int primary key, title text)";
const FIELDS: &[(&str, &[&str])] = &[("posts", &["title"])];

/// A batch that is not full takes a part of at most the same size in.
const PART_MAX: usize = 10_000;

/// More than what staging keeps in memory.
const ROWS: usize = 20_000;

async fn streaming() -> Stream {
    let server = Server::start_with(&["logical_decoding_work_mem = '64kB'"]);
    Stream::on(server.database("big").await, DDL, FIELDS).await
}

fn insert(from: usize, rows: usize, text: &str) -> String {
    let to = from + rows - 1;
    format!(
        "insert into posts select n, rpad('{text}', 1000, 'x') from generate_series({from}, {to}) n"
    )
}

fn staged(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// The file appears without any other sign, while the transaction still runs.
async fn until_staged(dir: &Path, files: usize) {
    while staged(dir) < files {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn big_transactions_are_staged_on_disk_and_delivered_whole_at_commit() {
    let big = streaming().await;
    let (mut capture, _) = big.start().await;
    let dir = big.staging.path().join("left");
    let other = big.database.client().await;
    big.execute("begin").await;
    big.execute(&insert(1, ROWS, "first")).await;
    other.batch_execute("begin").await.unwrap();
    other
        .batch_execute(&insert(100_001, ROWS, "second"))
        .await
        .unwrap();
    until_staged(&dir, 2).await;
    // The second commits first; a small one of a third session comes in between.
    other.batch_execute("commit").await.unwrap();
    other
        .batch_execute("insert into posts values (0, 'small')")
        .await
        .unwrap();
    big.execute("commit").await;
    let captured = big.read(&mut capture).await;
    let keys: Vec<usize> = captured
        .changes
        .iter()
        .map(|change| change.key.to_string().parse().unwrap())
        .collect();
    let expected: Vec<usize> = (100_001..=100_000 + ROWS)
        .chain([0])
        .chain(1..=ROWS)
        .collect();
    assert_eq!(keys, expected);
    assert!(
        captured.sizes.iter().all(|&size| size <= PART_MAX),
        "{:?}",
        captured.sizes
    );
    let offsets = |at: usize| captured.changes[at].offset;
    assert!(offsets(0) == offsets(ROWS - 1) && offsets(0) < offsets(ROWS));
    assert!(offsets(ROWS) < offsets(ROWS + 1));
    assert!(captured.changes.iter().all(|change| change.time.is_some()));
    assert_eq!(staged(&dir), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_come_whole_are_given_in_parts_too() {
    // The shared server streams nothing of this size.
    let database = Server::shared().database("whole").await;
    let big = Stream::on(database, DDL, FIELDS).await;
    let (mut capture, _) = big.start().await;
    big.execute(&insert(1, ROWS, "x")).await;
    big.execute("insert into posts values (0, 'small')").await;
    let captured = big.read(&mut capture).await;
    assert_eq!(captured.changes.len(), ROWS + 1);
    assert!(
        captured.sizes.iter().all(|&size| size <= PART_MAX),
        "{:?}",
        captured.sizes
    );
    assert_eq!(staged(&big.staging.path().join("left")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_big_transactions_and_parts_leave_nothing() {
    let big = streaming().await;
    let (mut capture, _) = big.start().await;
    let dir = big.staging.path().join("left");
    big.execute("begin").await;
    big.execute(&insert(1, ROWS, "lost")).await;
    until_staged(&dir, 1).await;
    big.execute("rollback").await;
    assert_eq!(briefs(&big.read(&mut capture).await).len(), 0);
    assert_eq!(staged(&dir), 0);

    // The table is described to us within the part that is rolled back.
    let marker = big.names.marker(tidegate_sync::model::BatchId(5));
    big.execute(&format!(
        "begin; select pg_logical_emit_message(true, 'tidegate', '{marker}'); savepoint a"
    ))
    .await;
    big.execute(&insert(1, 500, "lost")).await;
    big.execute("savepoint b").await;
    big.execute(&insert(501, 500, "lost")).await;
    big.execute("release b; rollback to a").await;
    big.execute(&insert(1001, 500, "kept")).await;
    big.execute("savepoint c").await;
    big.execute(&insert(2001, 500, "kept")).await;
    big.execute("release c; commit").await;
    let captured = big.read(&mut capture).await;
    let keys: Vec<usize> = captured
        .changes
        .iter()
        .map(|change| change.key.to_string().parse().unwrap())
        .collect();
    let expected: Vec<usize> = (1001..=1500).chain(2001..=2500).collect();
    assert_eq!(keys, expected);
    assert!(captured.changes.iter().all(|change| change.passed.0 == 5));
    assert_eq!(staged(&dir), 0);
}

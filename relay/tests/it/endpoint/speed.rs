//! How fast batches are written. Prints figures; asserts only what would be a blunder.
//!
//! Measured with `cargo test -- --nocapture speed`.

use std::time::Instant;

use tidegate_sync::model::{BatchId, Step};
use tidegate_sync::value::Value;

use crate::support::postgres::Server;
use crate::support::side::*;

const ROWS: i64 = 20_000;
const BATCH: i64 = 5_000;

fn record(id: i64, round: i64) -> Vec<Value> {
    vec![
        Value::Int(id),
        Value::Int(id * 7 + round),
        Value::Float(id as f64 / 3.0),
        text(&format!("title number {id}")),
        text(&format!(
            "a somewhat longer text, record {id}, round {round}"
        )),
        Value::TimestampTz(700_000_000_000_000 + id * 1_000_003),
        Value::Bool(id % 2 == 0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_five_thousand_are_written_at_thousands_of_rows_a_second() {
    let database = Server::shared().database("speed").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table t (id bigint primary key, n int, f float8, title text, body text,
                             at timestamptz, flag boolean)",
        )
        .await
        .unwrap();
    let fields = &["id", "n", "f", "title", "body", "at", "flag"];
    let mut side = open(&database, 1, &[("t", fields)]).await;
    let mut writer = side.writer().await.unwrap();
    let mut batch = 0;
    for (what, recorded) in [("create", true), ("update", true), ("delete", false)] {
        let began = Instant::now();
        for first in (0..ROWS).step_by(BATCH as usize) {
            batch += 1;
            let steps: Vec<Step> = (first..first + BATCH)
                .map(|id| match what {
                    "create" => create(&record(id, 0)),
                    "update" => {
                        let new = record(id, 1);
                        let set = [(1, new[1].clone()), (4, new[4].clone())];
                        update(key(id), &set, &record(id, 0))
                    }
                    _ => delete(key(id), &record(id, 1)),
                })
                .collect();
            let done = writer
                .apply(BatchId::of_run(1, batch), &steps, recorded)
                .await;
            assert_eq!(done.unwrap().len(), steps.len());
        }
        let speed = ROWS as f64 / began.elapsed().as_secs_f64();
        println!("{what}: {speed:.0} rows/s in batches of {BATCH}");
        // Row by row it would be a few hundred.
        assert!(speed > 1_000.0, "{what}: {speed:.0} rows/s");
        if what == "update" {
            let began = Instant::now();
            let records = scan(&mut side.view().await.unwrap(), 0).await;
            let speed = records.len() as f64 / began.elapsed().as_secs_f64();
            println!("copy: {speed:.0} rows/s");
        }
    }
}

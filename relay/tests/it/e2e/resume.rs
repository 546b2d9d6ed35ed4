//! A copy of a table of any size survives restarts and goes on where it was. `make copy ROWS=10000000`.

use std::time::Instant;

use tokio_postgres::Client;

use super::speed::peak_mb;
use super::stage::Stage;

const TABLE: &str = "create table t (id bigint primary key, v int)";
const FILE: &str = "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
                    left = \"t\"\nright = \"t\"\nkey = [[\"id\", \"id\"]]\nfields = [\n\
                    { left = \"id\", right = \"id\" }, { left = \"v\", right = \"v\" }]\n";
/// What one death may have made undone: a page under way and the next one, as it was inserted.
const UNDONE_MAX: i64 = 2 * 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_goes_on_where_it_was_in_bounded_memory() {
    let rows: i64 = match std::env::var("COPY_ROWS") {
        Ok(rows) => rows.parse().unwrap(),
        Err(_) => 60_000,
    };
    let mut stage = Stage::start("resume").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(TABLE).await.unwrap();
    right.batch_execute(TABLE).await.unwrap();
    let fill = format!("insert into t select n, n % 1000 from generate_series(1, {rows}) n");
    left.batch_execute(&fill).await.unwrap();
    let began = Instant::now();
    stage
        .post("syncs/apply", serde_json::json!({"file": FILE}))
        .await;
    let mut peaks = Vec::new();
    let parts = [rows / 3, rows * 2 / 3];
    for part in parts {
        let copied = async |_: &Stage| estimate(&right).await >= part;
        stage.wait_long("a part of the copy", copied).await;
        peaks.push(peak_mb(stage.relay_pid()));
        let seconds = began.elapsed().as_secs_f64();
        println!("{part} rows after {seconds:.0} s, then kill -9");
        stage.kill_relay();
        stage.start_relay().await;
    }
    let live = async |stage: &Stage| stage.get("syncs/t").await["state"] == "live";
    stage.wait_long("the sync to be live", live).await;
    peaks.push(peak_mb(stage.relay_pid()));
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{rows} rows copied with {} restarts in {seconds:.0} s; the relay's peaks: {peaks:?} MB",
        parts.len()
    );
    assert_eq!(stage.assert_equal("t").await, rows as u64);
    let inserted = estimate(&right).await;
    let most = rows + UNDONE_MAX * parts.len() as i64;
    assert!(inserted <= most, "{inserted} inserts for {rows} rows");
    let peak = peaks.into_iter().max().unwrap();
    assert!(peak < 600, "{peak} MB");
}

/// Rows inserted so far, those of transactions that were undone included.
async fn estimate(client: &Client) -> i64 {
    let sql = "select coalesce(sum(n_tup_ins), 0)::int8 from pg_stat_user_tables
               where relname = 't'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

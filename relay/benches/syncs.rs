//! The sync engine at work: a first copy beside `psql | psql`, live changes, verify, and what memory it
//! takes. Both databases are on one server, the left one behind an agent.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};
use tokio_util::task::AbortOnDropHandle;

use crate::place::{make_dir, output_of};
use crate::postgres::{PASSWORD, ROLE, SEARCH_PATH, Server, typical_rows, typical_table};
use crate::relay::{LEFT, RIGHT, Relay};
use crate::results::{Figure, Results};
use crate::statistics::percentile;

/// How it is named in tables.
const SHAPE: &str = "sync engine, loopback";
const COPY: &str = "first copy of 8 columns";
const LIVE: &str = "live changes";
const PACED: &str = "1,000 changes/s";
const VERIFY: &str = "verify of equal tables";
const TIDEGATE: &str = "tidegate";
/// What a first copy and a verify are compared with.
pub const PIPED: &str = "psql into psql";
pub const HASHED: &str = "SQL: sha256 of all rows";

/// Changes of the burst, and how many a transaction holds.
const BURST_CHANGES: u64 = 100_000;
const BURST_PER_TRANSACTION: u64 = 1_000;
/// Rows that are changed live.
const LIVE_ROWS: u64 = 10_000;
/// One transaction of ten rows in 10 ms.
const PACE: Duration = Duration::from_millis(10);
const BURST_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy)]
pub struct Plan {
    pub rounds: u32,
    pub rows: u64,
    /// Transactions at the pace.
    pub paced: u32,
}

pub async fn run(
    results: &mut Results,
    server: &Server,
    binaries: &Path,
    dir: &Path,
    plan: Plan,
) -> anyhow::Result<()> {
    let dir = dir.join("syncs");
    make_dir(&dir)?;
    for database in [LEFT, RIGHT] {
        server.sql("postgres", &format!("create database {database}"))?;
    }
    let relay = Relay::start(binaries, &dir, server).await?;
    for (name, end) in [("relay", &relay.relay), ("agent", &relay.agent)] {
        let size = std::fs::metadata(binaries.join(format!("tidegate-{name}")))?.len();
        let row = [
            Figure::new(&format!("{name}, program"), "MB", size as f64 / 1e6),
            Figure::new(
                &format!("{name}, idle"),
                "MB",
                end.resident_bytes() as f64 / 1e6,
            ),
        ];
        results.add(SHAPE, TIDEGATE, 1, row.to_vec());
    }
    for round in 1..=plan.rounds {
        copies(results, server, &relay, (round, plan.rows)).await?;
    }
    let table = "lively";
    make_tables(server, table, LIVE_ROWS)?;
    relay.sync(table).await?;
    let (left, _left) = connect(server, LEFT).await?;
    let (right, _right) = connect(server, RIGHT).await?;
    for round in 1..=plan.rounds {
        burst(results, &relay, (&left, &right), round).await?;
        paced(results, &relay, (&left, &right), (round, plan.paced)).await?;
    }
    Ok(())
}

fn make_tables(server: &Server, table: &str, rows: u64) -> anyhow::Result<()> {
    for database in [LEFT, RIGHT] {
        server.sql(database, &typical_table(table))?;
    }
    server.sql(LEFT, &typical_rows(table, rows))?;
    server
        .sql(LEFT, &format!("vacuum analyze {table}"))
        .map(drop)
}

/// The same rows by `psql | psql` and by a sync, and the verify of what came of it.
async fn copies(
    results: &mut Results,
    server: &Server,
    relay: &Relay,
    (round, rows): (u32, u64),
) -> anyhow::Result<()> {
    let table = format!("round{round}");
    make_tables(server, &table, rows)?;
    let began = Instant::now();
    piped(server, &table)?;
    let rate = rows as f64 / began.elapsed().as_secs_f64();
    results.add(SHAPE, PIPED, round, vec![Figure::new(COPY, "rows/s", rate)]);
    server.sql(RIGHT, &format!("truncate {table}"))?;

    relay.relay.forget_peak()?;
    relay.agent.forget_peak()?;
    let (before, began) = (relay.cpu_s(), Instant::now());
    relay.sync(&table).await?;
    let rate = rows as f64 / began.elapsed().as_secs_f64();
    let cpu_us = (relay.cpu_s() - before) * 1e6 / rows as f64;
    let figures = vec![
        Figure::new(COPY, "rows/s", rate),
        Figure::new(COPY, "CPU us/row", cpu_us),
        Figure::new(
            "relay, peak under the copy",
            "MB",
            relay.relay.peak_bytes() as f64 / 1e6,
        ),
        Figure::new(
            "agent, peak under the copy",
            "MB",
            relay.agent.peak_bytes() as f64 / 1e6,
        ),
    ];
    results.add(SHAPE, TIDEGATE, round, figures);

    let began = Instant::now();
    hash_both(server, &table)?;
    let hashed = vec![Figure::new(VERIFY, "s", began.elapsed().as_secs_f64())];
    results.add(SHAPE, HASHED, round, hashed);
    let began = Instant::now();
    let report = relay
        .post(&format!("syncs/{table}/verify"), json!({}))
        .await?;
    ensure!(
        report["equal"] == true && report["records"] == rows,
        "the copy differs: {report}"
    );
    let verified = vec![Figure::new(VERIFY, "s", began.elapsed().as_secs_f64())];
    results.add(SHAPE, TIDEGATE, round, verified);
    relay
        .send(Method::DELETE, &format!("syncs/{table}"), Value::Null)
        .await?;
    for database in [LEFT, RIGHT] {
        server.sql(database, &format!("drop table {table}"))?;
    }
    Ok(())
}

fn piped(server: &Server, table: &str) -> anyhow::Result<()> {
    let mut from = server.psql(LEFT);
    from.args(["-c", &format!("copy {table} to stdout")])
        .stdout(Stdio::piped());
    let mut from = from.spawn().context("start psql")?;
    let read = from.stdout.take().context("psql's output is read")?;
    let mut to = server.psql(RIGHT);
    to.args(["-c", &format!("copy {table} from stdin")])
        .stdin(read);
    let written = to.status().context("run psql")?;
    ensure!(
        from.wait()?.success() && written.success(),
        "psql | psql failed"
    );
    Ok(())
}

/// Both sides at once, as a verify does it.
fn hash_both(server: &Server, table: &str) -> anyhow::Result<()> {
    let sql = format!("select count(sha256(convert_to(t::text, 'UTF8'))) from {table} t");
    let mut left = server.psql(LEFT);
    let mut left = left.args(["-c", &sql]).stdout(Stdio::null()).spawn()?;
    output_of(server.psql(RIGHT).args(["-c", &sql]))?;
    ensure!(left.wait()?.success(), "the hashes of the left side failed");
    Ok(())
}

/// Many changes at once: from the first commit to the last one's arrival.
async fn burst(
    results: &mut Results,
    relay: &Relay,
    (left, right): (&Client, &Client),
    round: u32,
) -> anyhow::Result<()> {
    let (before, began) = (relay.cpu_s(), Instant::now());
    let transactions = BURST_CHANGES / BURST_PER_TRANSACTION;
    for transaction in 0..transactions {
        let first = transaction * BURST_PER_TRANSACTION % LIVE_ROWS;
        let stamp = u64::from(round) * 1_000_000 + transaction;
        let sql = format!(
            "update lively set n = {stamp} where id between {} and {}",
            first + 1,
            first + BURST_PER_TRANSACTION
        );
        left.batch_execute(&sql).await?;
    }
    let last = u64::from(round) * 1_000_000 + transactions - 1;
    let at_last = format!("select count(*) from lively where n = {last}");
    loop {
        let arrived: i64 = right.query_one(&at_last, &[]).await?.get(0);
        if arrived as u64 == BURST_PER_TRANSACTION {
            break;
        }
        ensure!(began.elapsed() < BURST_MAX, "the burst does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rate = BURST_CHANGES as f64 / began.elapsed().as_secs_f64();
    let cpu_us = (relay.cpu_s() - before) * 1e6 / BURST_CHANGES as f64;
    let figures = vec![
        Figure::new(LIVE, "changes/s", rate),
        Figure::new(LIVE, "CPU us/change", cpu_us),
    ];
    results.add(SHAPE, TIDEGATE, round, figures);
    Ok(())
}

/// From each commit on the left until a reader on the right sees it, at a steady pace.
async fn paced(
    results: &mut Results,
    relay: &Relay,
    (left, right): (&Client, &Client),
    (round, count): (u32, u32),
) -> anyhow::Result<()> {
    let base = i64::from(round) * 1_000_000 + 500_000;
    let change = left
        .prepare("update lively set n = $1::bigint::int where id = 1 or id between $2 and $2 + 8")
        .await?;
    let look = right
        .prepare("select n::bigint from lively where id = 1")
        .await?;
    let before = relay.cpu_s();
    let began = Instant::now();
    let write = async {
        let mut committed = Vec::new();
        let mut tick = tokio::time::interval(PACE);
        for number in 0..i64::from(count) {
            tick.tick().await;
            let first = 2 + number * 9 % (LIVE_ROWS as i64 - 20);
            left.execute(&change, &[&(base + number), &first]).await?;
            committed.push(Instant::now());
        }
        anyhow::Ok(committed)
    };
    let read = async {
        let mut seen: Vec<Instant> = Vec::new();
        while seen.len() < count as usize {
            let newest: i64 = right.query_one(&look, &[]).await?.get(0);
            let (now, reached) = (Instant::now(), (newest - base + 1).max(0) as usize);
            if reached > seen.len() {
                seen.resize(reached, now);
            }
            ensure!(
                began.elapsed() < BURST_MAX,
                "the paced changes do not arrive"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(seen)
    };
    let (committed, seen) = tokio::try_join!(write, read)?;
    let cpu = (relay.cpu_s() - before) / began.elapsed().as_secs_f64() * 100.0;
    let waits = committed.iter().zip(&seen);
    let mut waits: Vec<f64> = waits
        .map(|(from, to)| to.saturating_duration_since(*from).as_secs_f64() * 1e3)
        .collect();
    let mut figures = vec![Figure::new(PACED, "CPU % of a core", cpu)];
    for (unit, share) in [("p50 ms", 0.5), ("p99 ms", 0.99)] {
        if let Some(value) = percentile(&mut waits, share) {
            figures.push(Figure::new(PACED, unit, value));
        }
    }
    results.add(SHAPE, TIDEGATE, round, figures);
    Ok(())
}

async fn connect(
    server: &Server,
    database: &str,
) -> anyhow::Result<(Client, AbortOnDropHandle<()>)> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(server.port)
        .user(ROLE)
        .password(PASSWORD)
        .dbname(database)
        .options(SEARCH_PATH);
    let (client, connection) = config.connect(NoTls).await?;
    let task = tokio::spawn(async move {
        // What fails is told to whoever asks next.
        let _ = connection.await;
    });
    Ok((client, AbortOnDropHandle::new(task)))
}

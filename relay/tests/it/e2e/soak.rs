//! pgbench on the left and random edits on the right at once, through relay and agent: ends equal,
//! nothing is lost, no write comes back, and the relay's memory is bounded.
//!
//! A short run by default; `make soak` takes `SOAK_SECONDS` (300).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio_postgres::Client;

use super::speed::peak_mb;
use super::stage::{Stage, longest};
use crate::support::chance::Chance;

const SECONDS: u64 = 20;
const ACCOUNTS: usize = 2_000;
/// Events of the left side that are there before: so many that what both sides delete of them within
/// a minute is far from the bound above which a person is asked.
const EVENTS: usize = 20_000;
/// Transactions of pgbench, a second: an unoptimized relay on a busy machine keeps up.
const LEFT_RATE: u64 = 100;
/// Time between two edits on the right.
const RIGHT_EVERY: Duration = Duration::from_millis(15);
/// The relay's peak memory, MB. Unoptimized builds took up to 150.
const MEMORY_MB_MAX: u64 = 400;

/// Each side edits a column of its own in the same accounts, and makes and deletes events of its
/// own; whatever a sync's session writes of the side's own kind has come back.
const TABLES: &str = "
    create table accounts (id int primary key, balance bigint not null default 0, note text);
    create table events (token text primary key, at timestamptz not null default now());
    create table echoes (what text not null);
    create function is_ours() returns bool language sql stable as
        $$ select current_setting('application_name') like 'tidegate%' $$;
    create function echo() returns trigger language plpgsql as
        $$ begin insert into echoes values (tg_op || ' ' || new::text); return new; end $$";

const LEFT: &str = "
    create table moves (id bigint generated always as identity, account int, delta bigint);
    create table dropped (token text not null);
    create trigger echo before update on accounts for each row
        when (is_ours() and new.balance is distinct from old.balance) execute function echo();
    create trigger echo before insert on events for each row
        when (is_ours() and new.token like 'l-%') execute function echo()";

const RIGHT: &str = "
    create trigger echo before update on accounts for each row
        when (is_ours() and new.note is distinct from old.note) execute function echo();
    create trigger echo before insert on events for each row
        when (is_ours() and new.token like 'r-%') execute function echo()";

/// What pgbench runs. Everything that it does is told by `moves` and `dropped`, which stay at home.
const SCRIPT: &str = r"\set account random(1, :accounts)
\set delta random(-5000, 5000)
\set dice random(1, 10)
begin;
update accounts set balance = balance + :delta where id = :account;
insert into moves (account, delta) values (:account, :delta);
insert into events (token) values ('l-' || gen_random_uuid());
\if :dice = 1
with gone as (
    delete from events where token = (
        select token from events where token like 'l-%' limit 1 for update skip locked)
    returning token)
insert into dropped select token from gone;
\endif
end;
";

const FILE: &str = r#"
name = "soak"
left = "office-db"
right = "marketing"

[[table]]
left = "accounts"
right = "accounts"
key = [["id", "id"]]
fields = [{ left = "balance", right = "balance" }, { left = "note", right = "note" }]

[[table]]
left = "events"
right = "events"
key = [["token", "token"]]
fields = [{ left = "at", right = "at" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_and_edits_of_the_other_side_end_equal_with_nothing_lost_or_echoed() {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let stage = Stage::start("soak").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(TABLES).await.unwrap();
    right.batch_execute(TABLES).await.unwrap();
    left.batch_execute(LEFT).await.unwrap();
    right.batch_execute(RIGHT).await.unwrap();
    let fill = format!(
        "insert into accounts (id) select generate_series(1, {ACCOUNTS});
         insert into events (token) select 'l-' || gen_random_uuid()
         from generate_series(1, {EVENTS})"
    );
    left.batch_execute(&fill).await.unwrap();
    stage.apply(FILE).await;
    let copied = stage.get("syncs/soak").await["writes"].as_u64().unwrap();

    let pgbench = start_pgbench(&stage, seconds);
    let (edits, done) = edit_both(&stage, pgbench, &right, seconds).await;
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );

    let records = stage.assert_equal("soak").await;
    let moves = count(&left, "select count(*) from moves").await;
    check_left(&left, &right).await;
    check_right(&left, &right, &edits).await;
    for (side, client) in [("left", &left), ("right", &right)] {
        let echoes = client.query("select what from echoes limit 3", &[]).await;
        let echoes: Vec<String> = echoes.unwrap().iter().map(|row| row.get(0)).collect();
        assert!(
            echoes.is_empty(),
            "came back to the {side} side: {echoes:?}"
        );
    }
    let status = stage.get("syncs/soak").await;
    let counted = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        (counted("findings"), counted("conflicts")),
        (0, 0),
        "{status:#}"
    );
    // Each edit is at most one write on the other side.
    let writes = counted("writes") - copied;
    let made = 2 * moves as u64 + count(&left, "select count(*) from dropped").await as u64;
    assert!(
        writes <= made + edits.count,
        "{writes} writes of {made} + {}",
        edits.count
    );
    let peak = peak_mb(stage.relay_pid());
    let rate = said.lines().find(|line| line.starts_with("tps"));
    println!("pgbench: {}", rate.unwrap_or_default());
    println!(
        "{seconds} s: {moves} pgbench transactions on the left, {} edits on the right, {writes} \
         writes, {records} records equal, no echo; relay's peak memory {peak} MB",
        edits.count
    );
    assert!(
        moves > 100 && edits.count > 100,
        "{moves} and {}",
        edits.count
    );
    assert!(peak < MEMORY_MB_MAX, "{peak} MB");
}

/// Edits of the right until pgbench has ended on the left.
async fn edit_both(stage: &Stage, pgbench: Child, right: &Client, seconds: u64) -> (Edits, Output) {
    let both = async {
        let edits = edit(right, Duration::from_secs(seconds)).await;
        (edits, pgbench.wait_with_output().await.unwrap())
    };
    let both = tokio::time::timeout(longest(), both).await;
    both.unwrap_or_else(|_| panic!("one hangs\n{}", stage.logs()))
}

fn start_pgbench(stage: &Stage, seconds: u64) -> Child {
    // In the server's directory: pgbench runs as the server's user.
    let script = stage.left.server.socket_dir().join("soak.sql");
    fs::write(&script, SCRIPT).unwrap();
    let mut command = Command::from(stage.left.server.pgbench(&stage.left.name));
    command
        .kill_on_drop(true)
        .args(["-n", "-c", "4", "-T", &seconds.to_string()])
        .args(["-R", &LEFT_RATE.to_string()])
        .args(["-D", &format!("accounts={ACCOUNTS}"), "-f"])
        .arg(&script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What was done on the right side.
#[derive(Default)]
struct Edits {
    count: u64,
    /// The last note of each account.
    notes: HashMap<i32, String>,
    events: HashSet<String>,
}

async fn edit(right: &Client, time: Duration) -> Edits {
    let mut chance = Chance::seeded(7);
    let mut edits = Edits::default();
    let began = Instant::now();
    let mut pace = tokio::time::interval(RIGHT_EVERY);
    while began.elapsed() < time {
        pace.tick().await;
        let token = format!("r-{}", edits.count);
        match chance.below(12) {
            0..=5 => {
                let account = 1 + chance.below(ACCOUNTS) as i32;
                let sql = "update accounts set note = $2 where id = $1";
                let done = right.execute(sql, &[&account, &token]).await.unwrap();
                assert_eq!(done, 1);
                edits.notes.insert(account, token);
            }
            6..=10 => {
                let sql = "insert into events (token) values ($1)";
                right.execute(sql, &[&token]).await.unwrap();
                edits.events.insert(token);
            }
            _ => {
                let Some(token) = edits.events.iter().next().cloned() else {
                    continue;
                };
                let sql = "delete from events where token = $1";
                assert_eq!(right.execute(sql, &[&token]).await.unwrap(), 1);
                edits.events.remove(&token);
            }
        }
        edits.count += 1;
    }
    edits
}

/// Every move of pgbench is in the balances of both sides, and every event that it kept.
async fn check_left(left: &Client, right: &Client) {
    let moved = "select count(*) from accounts a left join (
            select account, sum(delta) as sum from moves group by account) m on m.account = a.id
         where a.balance <> coalesce(m.sum, 0)";
    assert_eq!(
        count(left, moved).await,
        0,
        "balances that do not follow from the moves"
    );
    let sum = "select sum(balance)::bigint from accounts";
    assert_eq!(count(left, sum).await, count(right, sum).await);
    let made = "select (select count(*) from moves) - (select count(*) from dropped)";
    let made = EVENTS as i64 + count(left, made).await;
    let kept = "select count(*) from events where token like 'l-%'";
    assert_eq!(
        (count(left, kept).await, count(right, kept).await),
        (made, made)
    );
}

/// Every last note and every kept event of the right side is on both sides.
async fn check_right(left: &Client, right: &Client, edits: &Edits) {
    for client in [left, right] {
        let notes = client.query("select id, note from accounts where note is not null", &[]);
        let notes = notes.await.unwrap();
        let notes: HashMap<i32, String> = notes.iter().map(|r| (r.get(0), r.get(1))).collect();
        assert_eq!(notes, edits.notes);
        let events = client.query("select token from events where token like 'r-%'", &[]);
        let events: HashSet<String> = events.await.unwrap().iter().map(|r| r.get(0)).collect();
        assert_eq!(events, edits.events);
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

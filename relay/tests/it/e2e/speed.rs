//! How fast existing data is copied, and in how much memory. Prints figures; asserts only what
//! would be a blunder.
//!
//! Measured with `COPY_ROWS=300000 cargo test --release -p tidegate-relay --test it e2e::speed --
//! --nocapture` after `cargo build --release --workspace`.

use std::time::Instant;

use super::stage::Stage;

pub const TABLE: &str =
    "create table t (id bigint primary key, code text not null, n int, f float8,
                     title text, body text, at timestamptz, flag boolean)";

pub const FILE: &str = r#"
name = "speed"
left = "office-db"
right = "marketing"

[[table]]
left = "public.t"
right = "public.t"
key = [["id", "id"]]
fields = [
  { left = "id", right = "id" },
  { left = "code", right = "code" },
  { left = "n", right = "n" },
  { left = "f", right = "f" },
  { left = "title", right = "title" },
  { left = "body", right = "body" },
  { left = "at", right = "at" },
  { left = "flag", right = "flag" },
]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn existing_rows_are_copied_at_thousands_a_second_in_bounded_memory() {
    let rows: u64 = match std::env::var("COPY_ROWS") {
        Ok(rows) => rows.parse().unwrap(),
        Err(_) => 30_000,
    };
    let stage = Stage::start("speed").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(TABLE).await.unwrap();
    right.batch_execute(TABLE).await.unwrap();
    left.batch_execute(&fill(rows)).await.unwrap();
    let (began, used) = (Instant::now(), cpu_seconds(stage.relay_pid()));
    stage.apply(FILE).await;
    let speed = rows as f64 / began.elapsed().as_secs_f64();
    let per_cpu = rows as f64 / (cpu_seconds(stage.relay_pid()) - used);
    let peak = peak_mb(stage.relay_pid());
    println!(
        "first copy: {speed:.0} rows/s of 8 columns, {per_cpu:.0} for each second of the relay's \
         computing; its peak memory {peak} MB"
    );
    assert_eq!(stage.assert_equal("speed").await, rows);
    // Row by row it would be some hundred. Other load costs time, and hardly any of the relay's own computing,
    // which was 10,000 rows a second in an unoptimized build.
    assert!(speed > 400.0, "{speed:.0} rows/s");
    assert!(
        per_cpu > 3_000.0,
        "{per_cpu:.0} rows for each second of computing"
    );
    // Pages, caches and queues have bounds, so it does not grow with the number of rows.
    assert!(peak < 400, "{peak} MB");
}

/// SQL that fills the table.
pub fn fill(rows: u64) -> String {
    format!(
        "insert into t select n, 'c-' || n, n * 7 % 1000000, n / 3.0, 'title number ' || n,
             'a somewhat longer text, record ' || n || ', round 0',
             '2024-01-01'::timestamptz + n * interval '1.000003 s', n % 2 = 0
         from generate_series(1, {rows}) n"
    )
}

pub fn peak_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

/// What a program's threads have computed so far, in user and kernel mode (proc_pid_stat(5), fields 14 and 15: in
/// hundredths of a second).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the program's name, in brackets.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |number: usize| fields[number - 3].parse::<f64>().unwrap();
    (ticks(14) + ticks(15)) / 100.0
}

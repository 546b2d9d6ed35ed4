//! What is done through each transport, and what it cost. Clients are PostgreSQL's own programs.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::place::{Running, output_of};
use crate::results::Figure;
use crate::statistics::percentile;
use crate::transports::{Site, Transport};

/// Clients of the workload for which many sessions are busy at once.
const MANY: &str = "16";
/// COPYs and pgbench clients of the crowded workload.
const CROWD: usize = 8;

/// How long the timed ones go on.
#[derive(Clone, Copy)]
pub struct Durations {
    pub pgbench: Duration,
    pub copy: Duration,
    pub crowd: Duration,
}

/// COPY of a whole table to the client: MB/s, CPU of both ends per GB.
pub fn copy_out(
    site: &Site,
    transport: &Transport,
    table: &str,
    bytes: u64,
) -> anyhow::Result<Vec<Figure>> {
    let sql = format!("copy {table} to stdout");
    let mut client = site.server.client("psql", &transport.address);
    client.args(["-Xq", "-c", &sql]).stdout(Stdio::null());
    let (before, began) = (transport.cpu_s(), Instant::now());
    let status = client.status().context("run psql")?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{sql}: {status}");
    let cpu_s = transport.cpu_s() - before;
    let workload = format!("COPY {table}");
    Ok(vec![
        Figure::new(&workload, "MB/s", bytes as f64 / 1e6 / seconds),
        Figure::new(&workload, "CPU s/GB", cpu_s / (bytes as f64 / 1e9)),
    ])
}

/// `pgbench -S`: transactions per second, mean latency, CPU of both ends per transaction.
pub fn select_only(
    site: &Site,
    transport: &Transport,
    many: bool,
    durations: Durations,
) -> anyhow::Result<Vec<Figure>> {
    let clients = if many { MANY } else { "1" };
    let workload = format!("pgbench -S -c {clients}");
    let mut command = pgbench(site, transport, durations.pgbench);
    command.args(["-S", "-c", clients]);
    let before = transport.cpu_s();
    let said = output_of(&mut command)?;
    let cpu_s = transport.cpu_s() - before;
    let done = number_after(&said, "number of transactions actually processed:")?;
    Ok(vec![
        Figure::new(&workload, "tps", number_after(&said, "tps =")?),
        Figure::new(&workload, "ms", number_after(&said, "latency average =")?),
        Figure::new(&workload, "CPU us/txn", cpu_s * 1e6 / done),
    ])
}

/// Connect, one query, leave; four at once.
pub fn set_up(
    site: &Site,
    transport: &Transport,
    durations: Durations,
) -> anyhow::Result<Vec<Figure>> {
    let script = site.dir.join("one.sql");
    fs::write(&script, "select 1;\n")?;
    let mut command = pgbench(site, transport, durations.pgbench);
    command.args(["-C", "-c", "4", "-f"]).arg(&script);
    let before = transport.cpu_s();
    let said = output_of(&mut command)?;
    let cpu_s = transport.cpu_s() - before;
    let done = number_after(&said, "number of transactions actually processed:")?;
    Ok(vec![
        Figure::new("session set-up", "/s", number_after(&said, "tps =")?),
        Figure::new("session set-up", "CPU us/session", cpu_s * 1e6 / done),
    ])
}

/// One COPY for a time: for paths on which a whole table takes too long.
pub fn timed_copy(
    site: &Site,
    transport: &Transport,
    durations: Durations,
) -> anyhow::Result<Vec<Figure>> {
    let copied = Copying::start(site, transport)?.during(durations.copy)?;
    let seconds = durations.copy.as_secs_f64();
    let figure = Figure::new("one COPY", "MB/s", copied as f64 / 1e6 / seconds);
    Ok(vec![figure])
}

/// Eight COPYs beside `pgbench -S -c 8`: who shares one connection waits.
pub fn crowded(
    site: &Site,
    transport: &Transport,
    durations: Durations,
) -> anyhow::Result<Vec<Figure>> {
    let log = site.dir.join(format!("crowd-{}", std::process::id()));
    let copies: Vec<Copying> = (0..CROWD)
        .map(|_| Copying::start(site, transport))
        .collect::<anyhow::Result<_>>()?;
    let lasting = durations.crowd;
    let (copied, said) = thread::scope(|scope| -> anyhow::Result<(u64, String)> {
        let readers: Vec<_> = copies
            .into_iter()
            .map(|copy| scope.spawn(move || copy.during(lasting)))
            .collect();
        let mut command = pgbench(site, transport, lasting.mul_f64(0.8));
        command
            .args(["-S", "-c", &CROWD.to_string(), "-l", "--log-prefix"])
            .arg(&log);
        let said = output_of(&mut command);
        let mut copied = 0;
        for reader in readers {
            copied += reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        Ok((copied, said?))
    })?;
    let mut latencies = take_latencies_ms(&log)?;
    let workload = "8 COPYs + pgbench -c 8";
    let mbits = copied as f64 * 8.0 / 1e6 / lasting.as_secs_f64();
    let mut figures = vec![
        Figure::new(workload, "Mbit/s", mbits),
        Figure::new(workload, "tps", tps_of(&said)?),
    ];
    for (unit, share) in [("p50 ms", 0.5), ("p95 ms", 0.95), ("p99 ms", 0.99)] {
        if let Some(value) = percentile(&mut latencies, share) {
            figures.push(Figure::new(workload, unit, value));
        }
    }
    Ok(figures)
}

/// A COPY that would go on for hours, of wide rows that cost PostgreSQL little.
struct Copying(Running);

impl Copying {
    fn start(site: &Site, transport: &Transport) -> anyhow::Result<Copying> {
        let sql = "copy (select generate_series(1, 2000000000), repeat('0123456789abcdef', 112)) to stdout";
        let mut command = site.server.client("psql", &transport.address);
        command
            .args(["-Xq", "-c", sql])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(Copying(Running::start_as_is(&mut command)?))
    }

    /// Bytes that came within a time, from now on.
    fn during(mut self, lasting: Duration) -> anyhow::Result<u64> {
        let mut stdout = self
            .0
            .child()
            .stdout
            .take()
            .context("psql's output is read")?;
        let until = Instant::now() + lasting;
        // A stalled path must not hold the reader: its end ends the client.
        let stop = thread::spawn(move || {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            drop(self);
        });
        let (mut bytes, mut buffer) = (0, vec![0; 256 * 1024]);
        while let Ok(read @ 1..) = stdout.read(&mut buffer) {
            if Instant::now() < until {
                bytes += read as u64;
            }
        }
        stop.join()
            .map_err(|_| anyhow::anyhow!("the COPY's end panicked"))?;
        Ok(bytes)
    }
}

fn pgbench(site: &Site, transport: &Transport, lasting: Duration) -> Command {
    let mut command = site.server.client("pgbench", &transport.address);
    command
        .args(["-n", "-T", &lasting.as_secs().max(1).to_string()])
        .current_dir(&site.dir);
    command
}

/// Reads and removes pgbench's log of transactions: the third column is the time in microseconds.
fn take_latencies_ms(prefix: &std::path::Path) -> anyhow::Result<Vec<f64>> {
    let (dir, name) = (prefix.parent(), prefix.file_name());
    let (dir, name) = (dir.context("a directory")?, name.context("a name")?);
    let mut latencies = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_log = entry
            .file_name()
            .to_string_lossy()
            .starts_with(&*name.to_string_lossy());
        if !is_log {
            continue;
        }
        let text = fs::read_to_string(entry.path())?;
        let times = text
            .lines()
            .filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
        latencies.extend(times.map(|us| us / 1e3));
        fs::remove_file(entry.path())?;
    }
    Ok(latencies)
}

/// It says no rate where no transaction came to its end.
fn tps_of(said: &str) -> anyhow::Result<f64> {
    match number_after(said, "number of transactions actually processed:")? {
        0.0 => Ok(0.0),
        _ => number_after(said, "tps ="),
    }
}

/// The number that follows a phrase in what pgbench says.
fn number_after(said: &str, phrase: &str) -> anyhow::Result<f64> {
    let rest = said.split(phrase).nth(1);
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    let digits = word.map(|word| word.split('/').next().unwrap_or(word));
    digits
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("pgbench said no {phrase:?}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn pgbench_is_understood() {
        let said = "number of transactions actually processed: 41 (of which)\n\
                    latency average = 0.210 ms\ntps = 9171.123 (without initial connection time)\n";
        let read = |phrase| number_after(said, phrase).ok();
        assert_eq!(read("processed:"), Some(41.0));
        assert_eq!(read("latency average ="), Some(0.21));
        assert_eq!(read("tps ="), Some(9171.123));
        assert_eq!(read("absent"), None);
    }
}

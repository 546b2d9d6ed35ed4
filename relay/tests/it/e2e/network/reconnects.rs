//! Thousands of reconnects leave the memory of both ends as it was.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::{Duration, Instant};

use super::is_long;
use crate::e2e::stage::Stage;

/// One takes some ten milliseconds.
const EACH: Duration = Duration::from_secs(30);
/// Until it is told again.
const AGAIN: Duration = Duration::from_secs(2);
/// So long memory must not have become less.
const QUIET: Duration = Duration::from_secs(4);
const NOISE_KB: u64 = 64;
/// Memory that grew in each of so many rounds is lost.
const ROUNDS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn memory_after_many_reconnects_is_what_it_was_before() {
    let (warm, count) = if is_long() {
        (2_000, 10_000)
    } else {
        (150, 300)
    };
    for over in ["quic", "tcp"] {
        let mut stage = Stage::start(&format!("reconnects_{over}")).await;
        let transport = format!("transport = \"{over}\"\nstate_dir");
        stage.restart_agent_with("state_dir", &transport).await;
        let log = File::open(stage.dir.path().join("relay.log")).unwrap();
        let mut log = BufReader::new(log);
        let mut session = Connected(&mut log);
        // The stage's own, and the one over the other transport.
        session.wait().await;
        session.wait().await;
        reconnect(&stage, &mut session, warm).await;
        // A busy machine makes allocators keep more, once; what is lost is lost in each round.
        let mut rounds = 0;
        while grows(&stage, &mut session, (over, count)).await {
            rounds += 1;
            assert!(rounds < ROUNDS, "{over}: memory grows and grows");
        }
        let agent = stage.get("agents/office-db").await;
        assert_eq!(agent["transport"], over, "{agent:#}");
    }
}

/// Whether relay or agent have more memory after so many reconnects than before.
async fn grows(stage: &Stage, session: &mut Connected<'_>, (over, count): (&str, u32)) -> bool {
    let before = settled(stage).await;
    let began = Instant::now();
    reconnect(stage, session, count).await;
    let took = began.elapsed();
    let after = settled(stage).await;
    println!(
        "{count} reconnects over {over} in {:.0} s: relay {} to {} kB, agent {} to {} kB",
        took.as_secs_f64(),
        before[0],
        after[0],
        before[1],
        after[1],
    );
    // Few reconnects don't fill what allocators keep for themselves.
    let share = if is_long() { 1.05 } else { 1.2 };
    let mut both = before.iter().zip(after);
    both.any(|(before, after)| after as f64 > *before as f64 * share)
}

/// A reload has the agent connect anew, with everything that belongs to it; where the relay just looks at
/// its database, the next one.
async fn reconnect(stage: &Stage, session: &mut Connected<'_>, times: u32) {
    let pid = stage.agent_pid().to_string();
    for _ in 0..times {
        let began = Instant::now();
        loop {
            let sent = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
            assert!(sent.success());
            if tokio::time::timeout(AGAIN, session.wait()).await.is_ok() {
                break;
            }
            assert!(began.elapsed() < EACH, "the agent did not come back");
        }
    }
}

/// What relay and agent have in memory when connections that were closed have let go of it, kB. A machine
/// that is busy has more of these at a time.
async fn settled(stage: &Stage) -> [u64; 2] {
    let (mut least, mut since) = (memory(stage), Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for (least, now) in least.iter_mut().zip(memory(stage)) {
            if now + NOISE_KB < *least {
                since = Instant::now();
            }
            *least = now.min(*least);
        }
    }
    least
}

/// What relay and agent have in memory, kB.
fn memory(stage: &Stage) -> [u64; 2] {
    [stage.relay_pid(), stage.agent_pid()].map(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let text = line.unwrap().trim().trim_end_matches(" kB");
        text.parse().unwrap()
    })
}

/// The relay's log, read on to the next session.
struct Connected<'a>(&'a mut BufReader<File>);

impl Connected<'_> {
    async fn wait(&mut self) {
        let (began, mut line) = (Instant::now(), String::new());
        loop {
            // Half of a line stays until its rest is there.
            if self.0.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                if line.contains("An agent connected") {
                    return;
                }
                line.clear();
                continue;
            }
            assert!(began.elapsed() < EACH, "the agent did not come back");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

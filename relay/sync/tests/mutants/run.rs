//! Runs the tests against each mutant, and counts those that nobody notices.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::judged::JUDGED;
use crate::mutant::{Mutant, Source};
use crate::scratch::{self, Programs};

/// A run that computes for longer has lost its way, which is noticed, too. Not by the clock: on a busy machine
/// any run takes long.
const PATIENCE: Duration = Duration::from_secs(90);

/// One that hangs does not compute.
const HANGS: Duration = Duration::from_secs(3_600);

/// Of `/proc`, wherever Linux runs: USER_HZ, see proc_pid_stat(5).
const TICKS_PER_SECOND: u64 = 100;

/// Worlds of each kind: first a few, then more.
const FEW: &str = "150";
const MANY: &str = "1500";

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Noticed,
    Survived,
}

/// Runs the mutants whose names contain `wanted` (all: `all`). True when those that survive are
/// judged.
pub fn run(sources: &BTreeMap<&'static str, Source>, mutants: &[Mutant], wanted: &str) -> bool {
    let began = Instant::now();
    let programs = scratch::build(sources, mutants);
    assert!(
        !is_noticed(&programs, usize::MAX),
        "the tests fail without a mutant"
    );
    let from = std::env::var("MUTANTS_FROM").ok();
    let from = from.and_then(|from| from.parse::<usize>().ok());
    let numbers: Vec<usize> = (0..mutants.len())
        .filter(|&number| wanted == "all" || mutants[number].name.contains(wanted))
        .skip(from.map_or(0, |first| first.saturating_sub(1)))
        .collect();
    println!(
        "built in {} s; {} to run",
        began.elapsed().as_secs(),
        numbers.len()
    );
    let fates = try_all(&programs, mutants, &numbers);
    let mut is_fine = true;
    for (&number, fate) in numbers.iter().zip(&fates) {
        let name = &mutants[number].name;
        let judgement = JUDGED.iter().find(|(judged, _)| name.starts_with(judged));
        match (fate, judgement) {
            (Fate::Noticed, _) => {}
            (Fate::Survived, Some((_, why))) => println!("survives: {name}\n    {why}"),
            (Fate::Survived, None) => {
                println!("NOT NOTICED: {name}");
                is_fine = false;
            }
        }
    }
    let noticed = fates.iter().filter(|fate| **fate == Fate::Noticed).count();
    println!(
        "{noticed} of {} mutants noticed, in {} s",
        fates.len(),
        began.elapsed().as_secs()
    );
    is_fine
}

fn try_all(programs: &Programs, mutants: &[Mutant], numbers: &[usize]) -> Vec<Fate> {
    let next = Mutex::new(0);
    let fates = Mutex::new(vec![Fate::Survived; numbers.len()]);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = {
                        let mut next = next.lock().expect("no thread panics here");
                        *next += 1;
                        *next - 1
                    };
                    let Some(&number) = numbers.get(place) else {
                        return;
                    };
                    let is_noticed = is_noticed(programs, number);
                    if is_noticed {
                        fates.lock().expect("no thread panics here")[place] = Fate::Noticed;
                    }
                    let fate = if is_noticed { "noticed" } else { "NOT NOTICED" };
                    println!(
                        "{} of {} {fate}: {}",
                        place + 1,
                        numbers.len(),
                        mutants[number].name
                    );
                }
            });
        }
    });
    fates.into_inner().expect("no thread panics here")
}

/// From the quickest test to the slowest one.
fn is_noticed(programs: &Programs, number: usize) -> bool {
    let fails = |program: &Path, seeds: &str, arguments: &[&str]| {
        let child = Command::new(program)
            .args(arguments)
            .env("MUTANT", number.to_string())
            .env("SIM_SEEDS", seeds)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        is_failure(child.expect("the test program runs"))
    };
    // The planted bugs and the same seed run twice say nothing about the sources.
    let worlds = ["--test-threads=1", "--skip", "plants::"];
    fails(&programs.unit, FEW, &[])
        || fails(&programs.sim, FEW, &worlds)
        || fails(&programs.sim, MANY, &["--test-threads=1", "_worlds_hold_"])
}

fn is_failure(mut child: std::process::Child) -> bool {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return !status.success();
        }
        let is_lost = computed(child.id()).is_none_or(|time| time > PATIENCE);
        if is_lost || began.elapsed() > HANGS {
            child.kill().expect("the child is ours");
            child.wait().expect("the child is ours");
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// How long a child has computed.
fn computed(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold spaces. After it come the state and, as 12th and 13th, the times.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(2);
    let ticks = times
        .map(|ticks| ticks.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

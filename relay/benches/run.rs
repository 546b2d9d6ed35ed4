//! The order of a run: loopback, then the link, then the sync engine; transports take turns within each
//! round, so that the machine's moods meet all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::link::{FAR_IP, Link, NEAR_IP, SHAPE};
use crate::place::{Place, make_dir, output_of};
use crate::plot;
use crate::postgres::{Server, Sizes};
use crate::report;
use crate::results::{Figure, Results};
use crate::syncs;
use crate::transports::{Kind, Site, Transport};
use crate::workloads::{self, Durations};

const LOOPBACK: &str = "loopback";
/// Percent of the link's packets.
const LOSSES: [f64; 3] = [0.0, 0.1, 1.0];
/// The link's rounds take twenty seconds for each, so fewer transports take part.
const ON_THE_LINK: [Kind; 5] = [
    Kind::Direct,
    Kind::TidegateQuic,
    Kind::TidegateTcp,
    Kind::RatholeTls,
    Kind::Ssh,
];

#[derive(clap::Args)]
pub struct Run {
    /// Fewer rounds and rows, within five minutes
    #[arg(long)]
    quick: bool,
    /// Only these parts: loopback, link, sync
    #[arg(long, value_delimiter = ',', default_value = "loopback,link,sync")]
    parts: Vec<String>,
    #[arg(long)]
    rounds: Option<u32>,
    /// The directory of PostgreSQL's programs
    #[arg(long)]
    postgres: PathBuf,
    /// The directory of the peers that cargo installed
    #[arg(long)]
    peers: PathBuf,
    /// Where results.json, table.md and bench.svg go
    #[arg(long)]
    out: PathBuf,
    /// A document that gets the table between its marks
    #[arg(long)]
    readme: Option<PathBuf>,
    /// Where its picture goes
    #[arg(long)]
    picture: Option<PathBuf>,
}

impl Run {
    pub fn start(self, runtime: &Runtime) -> anyhow::Result<()> {
        let temporary = tempfile::Builder::new()
            .prefix("tidegate-bench-")
            .tempdir()?;
        make_dir(temporary.path())?;
        let began = Instant::now();
        let mut results = Results {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            machine: machine(&self.postgres),
            quick: self.quick,
            rounds: self.rounds.unwrap_or(if self.quick { 2 } else { 5 }),
            ..Results::default()
        };
        if self.wants("loopback") {
            self.loopback(&mut results, &temporary.path().join("loopback"))?;
        }
        if self.wants("link")
            && let Err(error) = self.link(&mut results, &temporary.path().join("link"))
        {
            results.missing.push(format!("{SHAPE}: {error:#}"));
        }
        if self.wants("sync")
            && let Err(error) = self.syncs(&mut results, &temporary.path().join("sync"), runtime)
        {
            results.missing.push(format!("sync engine: {error:#}"));
        }
        results.machine.push(format!("load at the end {}", load()));
        eprintln!("Measured in {:.0} s.", began.elapsed().as_secs_f64());
        self.write(&results)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }

    fn durations(&self) -> Durations {
        let seconds = |quick, full| Duration::from_secs(if self.quick { quick } else { full });
        Durations {
            pgbench: seconds(1, 3),
            copy: seconds(3, 6),
            crowd: seconds(4, 8),
        }
    }

    fn sizes(&self) -> Sizes {
        match self.quick {
            true => Sizes {
                typical_rows: 200_000,
                wide_rows: 60_000,
            },
            false => Sizes {
                typical_rows: 500_000,
                wide_rows: 200_000,
            },
        }
    }

    fn site(&self, dir: &Path, ends: [(Place, &str); 2]) -> anyhow::Result<Site> {
        make_dir(dir)?;
        let [(near, near_ip), (far, far_ip)] = ends;
        let server = Server::start(&self.postgres, &dir.join("postgres"), &near)?;
        server.fill(self.sizes())?;
        Ok(Site {
            dir: dir.to_owned(),
            server,
            near,
            far,
            near_ip: near_ip.to_owned(),
            far_ip: far_ip.to_owned(),
            binaries: binaries()?,
            peers: self.peers.clone(),
        })
    }

    fn loopback(&self, results: &mut Results, dir: &Path) -> anyhow::Result<()> {
        let here = || (Place::Here, "127.0.0.1");
        let site = self.site(dir, [here(), here()])?;
        let transports = start_all(&site, &Kind::ALL, LOOPBACK, results);
        let bytes = [
            ("typical", site.server.copy_bytes("typical")?),
            ("wide", site.server.copy_bytes("wide")?),
        ];
        for round in 1..=results.rounds {
            for transport in turned(&transports, round) {
                let mut figures = Vec::new();
                for (table, bytes) in bytes {
                    figures.extend(workloads::copy_out(&site, transport, table, bytes)?);
                }
                let durations = self.durations();
                figures.extend(workloads::select_only(&site, transport, false, durations)?);
                figures.extend(workloads::select_only(&site, transport, true, durations)?);
                figures.extend(workloads::set_up(&site, transport, durations)?);
                note(results, LOOPBACK, transport.kind, round, figures);
            }
        }
        Ok(())
    }

    fn link(&self, results: &mut Results, dir: &Path) -> anyhow::Result<()> {
        let link = Link::make()?;
        let site = self.site(dir, [(link.near(), NEAR_IP), (link.far(), FAR_IP)])?;
        let transports = start_all(&site, &ON_THE_LINK, SHAPE, results);
        let rounds = if self.quick { 1 } else { results.rounds };
        for round in 1..=rounds {
            for loss in LOSSES {
                // For want of time.
                if self.quick && loss == LOSSES[1] {
                    continue;
                }
                link.lose(loss);
                let shape = format!("{SHAPE}, {loss} % loss");
                for transport in turned(&transports, round) {
                    let durations = self.durations();
                    let mut figures = Vec::new();
                    for measured in [
                        workloads::timed_copy(&site, transport, durations),
                        workloads::set_up(&site, transport, durations),
                        workloads::crowded(&site, transport, durations),
                    ] {
                        match measured {
                            Ok(more) => figures.extend(more),
                            // A peer that stalls under loss is a result, not the end of the run.
                            Err(error) => results.miss(&shape, transport.kind.name(), &error),
                        }
                    }
                    note(results, &shape, transport.kind, round, figures);
                }
            }
        }
        Ok(())
    }

    fn syncs(&self, results: &mut Results, dir: &Path, runtime: &Runtime) -> anyhow::Result<()> {
        make_dir(dir)?;
        let server = Server::start(&self.postgres, &dir.join("postgres"), &Place::Here)?;
        let plan = syncs::Plan {
            rounds: results.rounds,
            rows: if self.quick { 100_000 } else { 1_000_000 },
            paced: if self.quick { 300 } else { 1_000 },
        };
        runtime.block_on(syncs::run(results, &server, &binaries()?, dir, plan))
    }

    fn write(&self, results: &Results) -> anyhow::Result<()> {
        fs::create_dir_all(&self.out)?;
        let (text, svg) = (report::markdown(results), plot::svg(results));
        fs::write(
            self.out.join("results.json"),
            serde_json::to_string_pretty(results)?,
        )?;
        fs::write(self.out.join("table.md"), &text)?;
        fs::write(self.out.join("bench.svg"), &svg)?;
        if let Some(readme) = &self.readme {
            report::write_between_marks(readme, &text)?;
        }
        if let Some(picture) = &self.picture {
            fs::write(picture, &svg).with_context(|| format!("write {}", picture.display()))?;
        }
        println!("{text}");
        Ok(())
    }
}

/// Starts what can be started; the others say why not.
fn start_all(site: &Site, kinds: &[Kind], shape: &str, results: &mut Results) -> Vec<Transport> {
    let mut all = Vec::new();
    for kind in kinds {
        match Transport::start(*kind, site) {
            Ok(transport) => all.push(transport),
            Err(error) => {
                let text = format!("{shape}, {}: {error:#}", kind.name());
                eprintln!("{text}");
                results.missing.push(text);
            }
        }
    }
    all
}

/// Each round begins with another one, the first with the first.
fn turned(transports: &[Transport], round: u32) -> impl Iterator<Item = &Transport> {
    let first = (round as usize).saturating_sub(1) % transports.len().max(1);
    let (before, after) = transports.split_at(first.min(transports.len()));
    after.iter().chain(before)
}

fn note(results: &mut Results, shape: &str, kind: Kind, round: u32, figures: Vec<Figure>) {
    let said = figures
        .iter()
        .map(|figure| format!("{} {:.2} {}", figure.workload, figure.value, figure.unit));
    let said: Vec<String> = said.collect();
    eprintln!(
        "{shape}, round {round}, {}: {}",
        kind.name(),
        said.join("; ")
    );
    results.add(shape, kind.name(), round, figures);
}

/// This program's directory: the build puts the others beside it.
fn binaries() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().context("this program's directory")?;
    for name in ["tidegate-relay", "tidegate-agent"] {
        let file = dir.join(name);
        anyhow::ensure!(
            file.exists(),
            "{} is missing: run `make bench`",
            file.display()
        );
    }
    Ok(dir.to_owned())
}

fn machine(postgres: &Path) -> Vec<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("processor", |model| model.trim_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel
        .split('-')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let version = output_of(
        Place::Here
            .command(postgres.join("postgres"))
            .arg("--version"),
    );
    let version = version.unwrap_or_default();
    let version = version.split(") ").nth(1).unwrap_or_default();
    let version = version.split_whitespace().next().unwrap_or_default();
    vec![
        format!("{cores} cores of {model}"),
        format!("Linux {kernel}"),
        format!("PostgreSQL {version}"),
        format!("load at the start {}", load()),
    ]
}

/// Of the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

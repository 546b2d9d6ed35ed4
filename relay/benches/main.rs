//! `tidegate-bench`: what Tidegate costs and how fast it is, beside what its users would take instead, in
//! the same minutes on the same machine. `make bench` builds and runs it; nothing ships with it.

mod far_end;
mod link;
mod peers;
mod place;
mod plot;
mod postgres;
mod relay;
mod report;
mod results;
mod run;
mod statistics;
mod syncs;
mod transports;
mod workloads;

use clap::Parser;

#[derive(Parser)]
#[command(name = "tidegate-bench", about)]
enum Wanted {
    /// Measures everything that can be measured here
    Run(run::Run),
    /// The relay's end of a tunnel behind a plain port; `run` starts it
    FarEnd(far_end::FarEnd),
}

fn main() -> anyhow::Result<()> {
    // Before anything can ask for TLS. Nothing ran before it, so it cannot have been installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    match Wanted::parse() {
        Wanted::Run(run) => run.start(&runtime),
        Wanted::FarEnd(end) => runtime.block_on(end.run()),
    }
}

//! One double on loopback, for whoever wants to try without an account, and for tests in other
//! languages.

use std::io::Write;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use tidegate_apps::{Airtable, App, HubSpot, Notion, Options, Running, Trap, Webflow};

/// Test doubles of apps: `tidegate-apps airtable --port 4010`, then
/// `curl -H 'Authorization: Bearer double-token' http://127.0.0.1:4010/v0/meta/bases`
#[derive(Parser)]
#[command(name = "tidegate-apps", version)]
struct Args {
    #[command(subcommand)]
    app: Wanted,
}

#[derive(Subcommand)]
enum Wanted {
    Airtable(Start),
    Hubspot(Start),
    Notion(Start),
    Webflow(Start),
}

#[derive(clap::Args)]
struct Start {
    /// On loopback; 0: one that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What every call must bring as a bearer token
    #[arg(long, default_value = "double-token")]
    token: String,
    /// Records of the sample
    #[arg(long, default_value_t = 3)]
    rows: usize,
    /// An account without the sample
    #[arg(long)]
    empty: bool,
    /// Switches a trap, as `stale-reads=2s` or `limits=off`; several times if need be
    #[arg(long)]
    trap: Vec<String>,
    /// Lists the traps and leaves
    #[arg(long)]
    traps: bool,
}

impl Start {
    fn options(self) -> Options {
        let options = if self.empty {
            Options::empty()
        } else {
            Options::new()
        };
        let options = options.port(self.port).token(&self.token).rows(self.rows);
        self.trap
            .iter()
            .fold(options, |options, trap| options.trap(trap))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().app {
        Wanted::Airtable(start) => serve::<Airtable, _>(start, Airtable::start).await,
        Wanted::Hubspot(start) => serve::<HubSpot, _>(start, HubSpot::start).await,
        Wanted::Notion(start) => serve::<Notion, _>(start, Notion::start).await,
        Wanted::Webflow(start) => serve::<Webflow, _>(start, Webflow::start).await,
    }
}

async fn serve<A: App, F>(start: Start, run: impl FnOnce(Options) -> F) -> anyhow::Result<()>
where
    F: Future<Output = std::io::Result<Running>>,
{
    if start.traps {
        for Trap { name, usual, what } in A::TRAPS.iter().chain(tidegate_apps::EVERYWHERE) {
            println!("{name}={usual}\n    {what}");
        }
        return Ok(());
    }
    let running = run(start.options()).await.context("can't start")?;
    // One line each, which scripts read.
    println!("address {}", running.address);
    println!("token {}", running.token);
    println!("control {}/_double", running.address);
    std::io::stdout().flush()?;
    tokio::select! {
        () = running.wait() => bail!("the double ended by itself"),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

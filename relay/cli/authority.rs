//! `authority`: list, renew, finish.

use clap::Subcommand;

use super::client::Client;
use super::{CliError, Exit, output};
use crate::api::authorities::{Authority, FinishAuthority};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List both authorities, and which agents a replacement waits for.
    #[command(after_help = "Example:\n  tidegate-relay authority list")]
    List,
    /// Begin to replace an authority (`agents` or `relays`) while agents stay paired.
    #[command(after_help = "Example:\n  tidegate-relay authority renew relays")]
    Renew { kind: String },
    /// Drop the authority that was replaced, once no agent needs it any more.
    #[command(after_help = "Example:\n  tidegate-relay authority finish relays")]
    Finish {
        kind: String,
        /// Agents that are waited for must be paired again.
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::List => {
            let authorities: Vec<Authority> = api.get(&["authorities"]).await?;
            if json {
                output::json(&authorities)?;
            } else {
                authorities.iter().for_each(show);
            }
        }
        Command::Renew { kind } => {
            let path = ["authorities", kind.as_str(), "renew"];
            let renewed: Authority = api.act(&path).await?;
            tell(&renewed, json)?;
        }
        Command::Finish { kind, force } => {
            let path = ["authorities", kind.as_str(), "finish"];
            let finished: Authority = api.post(&path, &FinishAuthority { force }).await?;
            tell(&finished, json)?;
            output::note("Make a backup now: older ones hold the authority that is gone.");
        }
    }
    Ok(Exit::Done)
}

fn tell(authority: &Authority, json: bool) -> Result<(), CliError> {
    if json {
        return output::json(authority);
    }
    show(authority);
    if authority.roll_over.is_some() {
        output::note(&format!(
            "When `authority list` waits for nobody any more: tidegate-relay authority finish {}",
            authority.kind
        ));
    }
    Ok(())
}

fn show(authority: &Authority) {
    let mut facts = vec![
        ("authority", format!("for {}", authority.kind)),
        ("fingerprint", authority.fingerprint.clone()),
        ("until", authority.until.clone()),
    ];
    if let Some(roll_over) = &authority.roll_over {
        let role = match authority.kind.as_str() {
            "agents" => "before it",
            _ => "next",
        };
        facts.push((role, roll_over.fingerprint.clone()));
        facts.push(("replaced since", roll_over.since.clone()));
        let waiting = match roll_over.waiting_for.is_empty() {
            true => "nobody".to_owned(),
            false => roll_over.waiting_for.join(", "),
        };
        facts.push(("waits for", waiting));
    }
    output::facts(&facts);
}

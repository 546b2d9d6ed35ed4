//! `audit`: list what was done, verify that the log is as it was written.

use clap::Subcommand;

use super::client::Client;
use super::{CliError, Exit, output};
use crate::api::audit::{AuditCheck, AuditEntry};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what was done in this workspace, the newest first.
    #[command(after_help = "Example:\n  tidegate-relay audit list --limit 20")]
    List {
        /// At most so many, up to 1000.
        #[arg(long, value_name = "COUNT", default_value = "100")]
        limit: u32,
    },
    /// Check that no entry was changed or taken out. Exits with 3 if one was.
    #[command(after_help = "Example:\n  tidegate-relay audit verify")]
    Verify,
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::List { limit } => list(api, json, limit).await,
        Command::Verify => verify(api, json).await,
    }
}

async fn list(api: &Client, json: bool, limit: u32) -> Result<Exit, CliError> {
    let limit = limit.to_string();
    let query = [("limit", limit.as_str())];
    let entries: Vec<AuditEntry> = api.get_with(&["audit"], &query).await?;
    if json {
        output::json(&entries)?;
        return Ok(Exit::Done);
    }
    let row = |entry: AuditEntry| vec![entry.at, entry.actor, entry.action, entry.object];
    let rows = entries.into_iter().map(row).collect();
    output::table(
        &["AT", "WHO", "DID", "TO"],
        rows,
        "Nothing was done in this workspace yet.",
    );
    Ok(Exit::Done)
}

async fn verify(api: &Client, json: bool) -> Result<Exit, CliError> {
    let check: AuditCheck = api.get(&["audit", "verify"]).await?;
    if json {
        output::json(&check)?;
    } else if let Some(seq) = check.broken_at {
        output::say(&format!(
            "Entry {seq} was changed, or an entry before it was removed."
        ));
        output::note(
            "Compare with a backup, and find out who could write the relay's data directory.",
        );
    } else {
        let entries = check.entries.unwrap_or_default();
        output::say(&format!("All {entries} entries are as they were written."));
    }
    Ok(if check.intact {
        Exit::Done
    } else {
        Exit::Differs
    })
}

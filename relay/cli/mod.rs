//! The command line: one file per command group, over the relay's HTTP API.
//!
//! Only `serve`, `check`, `backup`, `restore`, `connector` and `connection types` work without a running relay. What is
//! data goes to stdout, with `--json` as one document; advice and errors go to stderr. The binary calls
//! [`start`].

mod agent;
mod audit;
mod authority;
mod backup;
mod channel;
mod client;
mod conflicts;
mod connection;
mod connector;
mod error;
mod forward;
mod output;
mod serve;
mod slots;
mod sync;
mod token;
mod types;
mod user;
mod verify;
mod watch;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::error::{CliError, Exit};
use crate::config::Config;

/// Syncs a private PostgreSQL with other apps, through agents that dial out.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate-relay",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 done and there is \
                  a difference or something to approve.\n\nExample:\n  tidegate-relay serve \
                  --config /etc/tidegate-relay/relay.toml"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Configuration file [default: /etc/tidegate-relay/relay.toml, if it exists].
    #[arg(long, global = true, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The relay's API [default: http:// and the configured http.listen, 127.0.0.1:8080].
    #[arg(long, global = true, value_name = "URL", env = "TIDEGATE_API")]
    api: Option<String>,
    /// Print data as one JSON document.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay.
    #[command(after_help = "Example:\n  TIDEGATE_HTTP_LISTEN=127.0.0.1:8081 tidegate-relay serve")]
    Serve,
    /// Validate the configuration and print the effective one.
    #[command(after_help = "Example:\n  tidegate-relay check --config relay.toml")]
    Check,
    /// Print the addresses that apps and firewalls will see.
    #[command(after_help = "Example:\n  tidegate-relay egress")]
    Egress,
    /// Invite, list and revoke agents.
    #[command(subcommand)]
    Agent(agent::Command),
    /// Add and inspect the databases that syncs have as sides.
    #[command(subcommand)]
    Connection(connection::Command),
    /// Choose who is told what waits for a person: by webhook, in Slack, by e-mail.
    #[command(subcommand)]
    Channel(channel::Command),
    /// Write the relay's whole state into one new file, while it runs.
    #[command(
        after_help = "Run it as the relay's user or as root, on the relay's host.\n\nExample:\n  \
                      tidegate-relay backup /var/backups/relay-2026-11-26.db"
    )]
    Backup(backup::BackupArgs),
    /// Put a backup in place of the state. Afterwards every sync compares both sides completely.
    #[command(
        after_help = "The relay must not run, and tidegate.db must not be there any more.\n\n\
                      Example:\n  tidegate-relay restore /var/backups/relay-2026-11-26.db --paused"
    )]
    Restore(backup::RestoreArgs),
    /// List the apps that can be sides, and check manifests of others.
    #[command(subcommand)]
    Connector(connector::Command),
    /// Plan, start and watch syncs.
    #[command(subcommand)]
    Sync(sync::Command),
    /// Add and remove people who may sign in to the console.
    #[command(subcommand)]
    User(user::Command),
    /// See what was done, and that the log of it is whole.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Replace the certificate authorities that agents and relay trust each other by.
    #[command(subcommand)]
    Authority(authority::Command),
    /// Create and revoke API tokens.
    #[command(subcommand)]
    Token(token::Command),
}

/// Parses the command line and does what it says; `serve` is handed in, because this room does not
/// know the relay. Bad usage ends the process with exit code 2.
pub fn start(serve: impl FnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let done = match command {
        Command::Serve => serve::serve(&global, serve),
        Command::Check => serve::check(&global),
        Command::Backup(args) => backup::back_up(&global, &args),
        Command::Restore(args) => backup::restore(&global, &args),
        Command::Connection(connection::Command::Types(args)) => types::run(global.json, &args),
        Command::Connector(command) => connector::run(global.json, command),
        command => on_api(&global, command),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::note(&format!("error: {error}"));
            error.exit().into()
        }
    }
}

/// Runs a command that talks to the relay.
fn on_api(global: &Global, command: Command) -> Result<Exit, CliError> {
    let api = client::Client::new(global)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let json = global.json;
    runtime.block_on(async {
        match command {
            Command::Egress => serve::egress(&api, json).await,
            Command::Agent(command) => agent::run(&api, json, command).await,
            Command::Connection(command) => connection::run(&api, json, command).await,
            Command::Channel(command) => channel::run(&api, json, command).await,
            Command::Sync(command) => sync::run(&api, json, command).await,
            Command::User(command) => user::run(&api, json, command).await,
            Command::Audit(command) => audit::run(&api, json, command).await,
            Command::Authority(command) => authority::run(&api, json, command).await,
            Command::Token(command) => token::run(&api, json, command).await,
            // Handled by the caller.
            Command::Serve
            | Command::Check
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Connector(_) => Ok(Exit::Done),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|sub| check(sub, &path));
                return;
            }
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Example:\n  tidegate-relay ") || help.contains("serve"),
                "{path}"
            );
        }
        check(&Cli::command(), "");
    }
}

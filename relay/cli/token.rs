//! `token`: create, list, revoke.

use clap::Subcommand;
use serde_json::json;

use super::agent::seconds;
use super::client::Client;
use super::user::RoleArg;
use super::{CliError, Exit, output};
use crate::api::tokens::{CreatedToken, NewToken, TokenInfo};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token; it is printed once, alone on stdout.
    #[command(after_help = "Example:\n  tidegate-relay token create ci --role viewer > ci.token")]
    Create {
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "admin")]
        role: RoleArg,
        /// It also opens sessions for people's own tools (`agent forward`).
        #[arg(long)]
        may_forward: bool,
        /// Its life, such as 90m or 24h; for ever unless given.
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        expires: Option<u64>,
        /// Whose it is; your own unless given.
        #[arg(long, value_name = "NAME")]
        workspace: Option<String>,
    },
    /// List the tokens, without their text.
    #[command(after_help = "Example:\n  tidegate-relay token list")]
    List,
    /// Revoke a token: it is refused from the next request on.
    #[command(after_help = "Example:\n  tidegate-relay token revoke ci")]
    Revoke { name: String },
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Create {
            name,
            role,
            may_forward,
            expires,
            workspace,
        } => {
            let new = NewToken {
                name,
                role: Some(role.into()),
                may_forward,
                expires_s: expires,
                workspace,
            };
            let created: CreatedToken = api.post(&["tokens"], &new).await?;
            if json {
                output::json(&created)?;
            } else {
                output::say(&created.token);
                output::note("Keep it: it is not shown again. Use it as TIDEGATE_TOKEN.");
            }
        }
        Command::List => {
            let tokens: Vec<TokenInfo> = api.get(&["tokens"]).await?;
            if json {
                output::json(&tokens)?;
            } else {
                let row = |token: TokenInfo| {
                    let expires = output::or_dash(token.expires_at);
                    let more = if token.may_forward {
                        ", may forward"
                    } else {
                        ""
                    };
                    vec![token.name, format!("{}{more}", token.role), expires]
                };
                let rows = tokens.into_iter().map(row).collect();
                output::table(&["NAME", "ROLE", "EXPIRES"], rows, "There are no tokens.");
            }
        }
        Command::Revoke { name } => {
            api.delete(&["tokens", &name]).await?;
            if json {
                output::json(&json!({"name": name, "revoked": true}))?;
            } else {
                output::note(&format!("Token {} is revoked.", output::plain(&name)));
            }
        }
    }
    Ok(Exit::Done)
}

//! `token`: create, list, revoke.

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::{CliError, Exit, output};
use crate::api::tokens::{CreatedToken, NewToken, TokenInfo};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token; it is printed once, alone on stdout.
    #[command(after_help = "Example:\n  tidegate-relay token create ci > ci.token")]
    Create { name: String },
    /// List the tokens, without their text.
    #[command(after_help = "Example:\n  tidegate-relay token list")]
    List,
    /// Revoke a token: it is refused from the next request on.
    #[command(after_help = "Example:\n  tidegate-relay token revoke ci")]
    Revoke { name: String },
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Create { name } => {
            let created: CreatedToken = api.post(&["tokens"], &NewToken { name }).await?;
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
                let rows = tokens
                    .into_iter()
                    .map(|token| vec![token.name, token.scope])
                    .collect();
                output::table(&["NAME", "SCOPE"], rows, "There are no tokens.");
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

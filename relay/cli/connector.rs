//! `connector`: which apps are known, and help for whoever writes a manifest. Needs no running relay.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::output::plain;
use super::{CliError, Exit, output};
use crate::endpoint::rest::connectors;
use crate::endpoint::rest::manifest::{json_schema, load};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the apps that this version has a connector for.
    #[command(after_help = "Example:\n  tidegate-relay connector list")]
    List,
    /// Print a connector's manifest, to start another one from.
    #[command(after_help = "Example:\n  tidegate-relay connector show kinto > mine.toml")]
    Show { name: String },
    /// Check a manifest; what is wrong is told with its line and column.
    #[command(after_help = "Example:\n  tidegate-relay connector check mine.toml")]
    Check { file: PathBuf },
    /// Print the JSON Schema of manifests, for editors.
    #[command(after_help = "Example:\n  tidegate-relay connector schema > connector.schema.json")]
    Schema,
}

pub(super) fn run(as_json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::List if as_json => output::json(&connectors::names())?,
        Command::List => {
            let known = connectors::names()
                .into_iter()
                .filter_map(connectors::built_in);
            let row = |manifest: std::sync::Arc<crate::endpoint::rest::manifest::Manifest>| {
                vec![manifest.name.clone(), manifest.title.clone()]
            };
            output::table(
                &["KIND", "APP"],
                known.map(row).collect(),
                "There are none.",
            );
        }
        Command::Show { name } => {
            let text = connectors::text(&name).ok_or_else(|| {
                let text = format!(
                    "there is no connector `{}`: see `connector list`",
                    plain(&name)
                );
                CliError::Failed(text)
            })?;
            output::say(text);
        }
        Command::Check { file } => {
            let text = output::read_text(&file)?;
            let manifest = load(&text).map_err(|error| {
                CliError::Failed(plain(&format!("{}: {error}", file.display())))
            })?;
            match as_json {
                true => output::json(&json!({"name": manifest.name, "valid": true}))?,
                false => {
                    let name = plain(&manifest.name);
                    output::note(&format!("{} is valid: kind {name}.", file.display()));
                }
            }
        }
        Command::Schema => output::json(&json_schema())?,
    }
    Ok(Exit::Done)
}

//! `serve`, `check` and `egress`: the relay itself.

use serde::Serialize;

use super::client::Client;
use super::{CliError, Exit, Global, output};
use crate::api::health::Egress;
use crate::config::Config;
use crate::observe;

/// Runs the relay until it is told to stop.
pub(super) fn serve(
    global: &Global,
    serve: impl FnOnce(Config) -> anyhow::Result<()>,
) -> Result<Exit, CliError> {
    let config = Config::load(global.config.as_deref())?;
    let log = observe::start().map_err(|error| CliError::Usage(error.to_string()))?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let served = serve(config);
    // Before what is said of a failure.
    drop(log);
    served.map_err(|error| CliError::Failed(one_line(&error)))?;
    Ok(Exit::Done)
}

/// The answer of `check --json`.
#[derive(Serialize)]
struct Checked {
    /// The effective configuration as a file.
    config: String,
    warnings: Vec<String>,
}

/// Prints the effective configuration. It holds no secrets.
pub(super) fn check(global: &Global) -> Result<Exit, CliError> {
    let config = Config::load(global.config.as_deref())?;
    let checked = Checked {
        config: config.render(),
        warnings: config.warnings(),
    };
    if global.json {
        output::json(&checked)?;
        return Ok(Exit::Done);
    }
    output::say(checked.config.trim_end());
    for warning in &checked.warnings {
        output::note(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

/// The error and its causes; an error that tells its cause itself does not tell it twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

pub(super) async fn egress(api: &Client, json: bool) -> Result<Exit, CliError> {
    let egress: Egress = api.get(&["egress"]).await?;
    if json {
        output::json(&egress)?;
        return Ok(Exit::Done);
    }
    if egress.public.is_empty() {
        let message = "the relay does not know its public address: set egress.public in relay.toml";
        return Err(CliError::Failed(message.into()));
    }
    egress
        .public
        .iter()
        .for_each(|address| output::say(address));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::one_line;

    #[test]
    fn a_cause_is_told_once() {
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("port 443: taken: in use"));
        let error = plain.context("start").unwrap_err();
        assert_eq!(one_line(&error), "start: port 443: taken: in use");
        let io = std::io::Error::other("taken");
        let told = anyhow::Error::new(io).context("listen: taken");
        assert_eq!(one_line(&told), "listen: taken");
    }
}

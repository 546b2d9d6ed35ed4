//! Logs: to stderr, for people or as JSON lines. Metrics are not here; the binary calls it once.
//!
//! `TIDEGATE_LOG` is a filter such as `info,tidegate_relay::engine=debug`; `TIDEGATE_LOG_FORMAT`
//! is `text` (the default) or `json`.

use std::io::IsTerminal as _;

use tidegate_shared::log_writer::{self, LeftOut, LogEnd};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Filter unless told otherwise: what an operator acts on, and the connections' coming and going.
const DEFAULT_FILTER: &str = "info";

/// Why logging could not be set up. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error(
        "TIDEGATE_LOG: {0}; expected a filter such as \"info\" or \"warn,tidegate_relay=debug\""
    )]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("TIDEGATE_LOG_FORMAT: expected \"text\" or \"json\", found {0:?}")]
    Format(String),
    #[error("logging was set up twice")]
    Twice,
    #[error("start the log: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts logging to stderr as the environment says. Call it once. What is returned is dropped at the
/// end, after the last line.
pub fn start() -> Result<LogEnd, ObserveError> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let filter = match variable("TIDEGATE_LOG") {
        text if text.is_empty() => EnvFilter::new(DEFAULT_FILTER),
        text => EnvFilter::try_new(text)?,
    };
    let format = variable("TIDEGATE_LOG_FORMAT");
    let say: LeftOut = if format == "json" { in_json } else { in_text };
    let (log, end) = log_writer::start(std::io::stderr(), say)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || log.clone())
        .with_ansi(std::io::stderr().is_terminal());
    // It repeats what a database's triggers say, at `info`: that may be any row.
    let no_database_text = filter_fn(|metadata| !metadata.target().starts_with("tokio_postgres"));
    let started = match format.as_str() {
        "" | "text" => logs.finish().with(no_database_text).try_init(),
        "json" => {
            let logs = logs.json().flatten_event(true).finish();
            logs.with(no_database_text).try_init()
        }
        other => return Err(ObserveError::Format(other.to_owned())),
    };
    started.map_err(|_| ObserveError::Twice)?;
    Ok(end)
}

fn in_text(count: u64) -> String {
    format!("WARN tidegate_relay: {count} lines were left out: whoever reads this log is slow\n")
}

fn in_json(count: u64) -> String {
    format!(
        "{{\"level\":\"WARN\",\"message\":\"Lines were left out: whoever reads this log is slow.\",\
         \"count\":{count},\"target\":\"tidegate_relay\"}}\n"
    )
}

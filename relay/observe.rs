//! Logs: to stderr, for people or as JSON lines. Metrics are not here; the binary calls it once.
//!
//! `TIDEGATE_LOG` is a filter such as `info,tidegate_relay::engine=debug`; `TIDEGATE_LOG_FORMAT`
//! is `text` (the default) or `json`.

use std::io::IsTerminal as _;

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
}

/// Starts logging to stderr as the environment says. Call it once.
pub fn start() -> Result<(), ObserveError> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let filter = match variable("TIDEGATE_LOG") {
        text if text.is_empty() => EnvFilter::new(DEFAULT_FILTER),
        text => EnvFilter::try_new(text)?,
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // It repeats what a database's triggers say, at `info`: that may be any row.
    let no_database_text = filter_fn(|metadata| !metadata.target().starts_with("tokio_postgres"));
    let started = match variable("TIDEGATE_LOG_FORMAT").as_str() {
        "" | "text" => logs.finish().with(no_database_text).try_init(),
        "json" => {
            let logs = logs.json().flatten_event(true).finish();
            logs.with(no_database_text).try_init()
        }
        other => return Err(ObserveError::Format(other.to_owned())),
    };
    started.map_err(|_| ObserveError::Twice)
}

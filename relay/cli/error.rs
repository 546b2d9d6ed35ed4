//! How a command ends: exit codes, and errors of one line.

use std::process::ExitCode;

use crate::api::Problem;
use crate::config::ConfigError;

/// How a command ended. The numbers are a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// Done, and there is a difference or something to approve.
    Differs = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed; the text is one line that says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command makes no sense as it was given.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("read {name}: {source}")]
    File {
        name: String,
        source: std::io::Error,
    },
    #[error(
        "the relay at {url} does not answer ({cause}): is it running? Start it with `tidegate-relay serve`, or name another one with --api"
    )]
    Unreachable { url: String, cause: String },
    #[error("the relay's answer is not understood ({0}): are both of the same version?")]
    Answer(String),
    /// The relay refused.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The relay refused the sync file.
    #[error("{file}: {}", .problem.detail)]
    SyncFile { file: String, problem: Box<Problem> },
    #[error("{0}")]
    Failed(String),
    #[error("start: {0}")]
    Io(#[from] std::io::Error),
    /// A person must look at something first.
    #[error("{0}")]
    Approve(String),
}

impl CliError {
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Usage(_) | CliError::Config(_) | CliError::File { .. } => Exit::Usage,
            CliError::Refused(problem) | CliError::SyncFile { problem, .. } => of_problem(problem),
            CliError::Approve(_) => Exit::Differs,
            CliError::Unreachable { .. }
            | CliError::Answer(_)
            | CliError::Failed(_)
            | CliError::Io(_) => Exit::Failed,
        }
    }
}

fn of_problem(problem: &Problem) -> Exit {
    match (problem.status, problem.code.as_str()) {
        (_, "plan-changed") => Exit::Differs,
        (400 | 413 | 415 | 422, _) => Exit::Usage,
        _ => Exit::Failed,
    }
}

//! `backup` and `restore`: the state of the relay on this host, without asking a running one.

use std::path::PathBuf;

use jiff::Timestamp;
use tidegate_shared::size;

use super::{CliError, Exit, Global, output};
use crate::config::Config;
use crate::store::{StoreError, backup};

#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// The file to write; it must not exist.
    file: PathBuf,
    /// Put the master key into it. Whoever has the file can then read everything that is sealed.
    #[arg(long)]
    with_master_key: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// A file that `backup` wrote.
    file: PathBuf,
    /// Start no sync until somebody resumes it.
    #[arg(long)]
    paused: bool,
}

pub(super) fn back_up(global: &Global, args: &BackupArgs) -> Result<Exit, CliError> {
    let config = Config::load(global.config.as_deref())?;
    let done = backup::back_up(
        &config.data_dir,
        &args.file,
        args.with_master_key,
        Timestamp::now().as_millisecond(),
    )
    .map_err(failed)?;
    if global.json {
        output::json(&done)?;
        return Ok(Exit::Done);
    }
    let (file, bytes) = (args.file.display(), size::rounded(done.bytes));
    let syncs = done.syncs.len();
    output::say(&format!("Wrote {file}: {bytes}, syncs: {syncs}."));
    output::note(if done.master_key {
        "The master key is in it: whoever has the file can read everything that is sealed."
    } else {
        "The master key is not in it, and nothing of it opens without: keep a copy of the key \
         somewhere else."
    });
    Ok(Exit::Done)
}

pub(super) fn restore(global: &Global, args: &RestoreArgs) -> Result<Exit, CliError> {
    let config = Config::load(global.config.as_deref())?;
    let done = backup::restore(
        &args.file,
        &config.data_dir,
        args.paused,
        Timestamp::now().as_millisecond(),
    )
    .map_err(failed)?;
    if global.json {
        output::json(&done)?;
        return Ok(Exit::Done);
    }
    let taken_at = Timestamp::from_millisecond(done.taken_at_ms)
        .map_or_else(|_| done.taken_at_ms.to_string(), |at| at.to_string());
    let (directory, syncs) = (config.data_dir.display(), done.syncs.join(", "));
    output::say(&format!(
        "Restored the state of {taken_at} to {directory}; syncs: {syncs}."
    ));
    output::note(&format!(
        "Each of them compares both sides completely when it runs next, and writes what differs.\n\
         Look at what was done after {taken_at}: agents, people and tokens that were taken away \
         since are back (`agent list`, `user list`, `token list`), syncs that were removed too, \
         and agents that were paired since must be paired again."
    ));
    Ok(Exit::Done)
}

fn failed(error: StoreError) -> CliError {
    CliError::Failed(error.to_string())
}

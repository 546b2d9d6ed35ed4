//! `sync`: plan, apply, list, status, pause, resume, verify, findings, history, undo, export, remove.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::output::{or_dash, plain};
use super::slots;
use super::watch::{self, Until};
use super::writes::{self, Selected};
use super::{CliError, Exit, conflicts, output, verify};
use crate::api::syncs::ApplyRequest;
use crate::engine::report::{
    FindingReport, LastVerify, Preview, Removed, RemovedTable, Sample, SideCost, SyncStatus,
    TablePreview, TableStatus,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what applying a sync file would do. Writes nothing. Exit code 3: there is something to
    /// do.
    #[command(after_help = "Example:\n  tidegate-relay sync plan blog.toml")]
    Plan {
        /// The sync file, - for stdin.
        file: PathBuf,
    },
    /// Show the plan, ask, and start the sync with exactly that plan.
    #[command(after_help = "Example:\n  tidegate-relay sync apply blog.toml --yes --wait")]
    Apply {
        /// The sync file, - for stdin (then with --yes).
        file: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Show the progress until the sync is live.
        #[arg(long)]
        wait: bool,
    },
    /// List the syncs.
    #[command(after_help = "Example:\n  tidegate-relay sync list")]
    List,
    /// Show how a sync goes.
    #[command(after_help = "Example:\n  tidegate-relay sync status blog --watch")]
    Status {
        name: String,
        /// Keep showing it, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Print each change as it crosses, until Ctrl-C.
    #[command(after_help = "Example:\n  tidegate-relay sync events blog")]
    Events {
        /// Only this sync's.
        name: Option<String>,
    },
    /// Stop a sync; changes wait on their sides.
    #[command(after_help = "Example:\n  tidegate-relay sync pause blog")]
    Pause { name: String },
    /// Let a paused sync go on.
    #[command(after_help = "Example:\n  tidegate-relay sync resume blog")]
    Resume { name: String },
    /// Let a sync go on that stopped because it would delete many records.
    #[command(
        after_help = "Example:\n  tidegate-relay sync status blog\n  tidegate-relay sync \
                            approve blog"
    )]
    Approve { name: String },
    /// Compare both sides completely. Exit code 3: they differ.
    #[command(after_help = "Example:\n  tidegate-relay sync verify blog")]
    Verify(verify::Args),
    /// List the records that could not be synced, and what to do.
    #[command(after_help = "Example:\n  tidegate-relay sync findings blog --retry")]
    Findings {
        name: String,
        /// Try them all again now.
        #[arg(long)]
        retry: bool,
    },
    /// List the fields that both sides changed to different values, or pick one of the values.
    #[command(
        after_help = "Example:\n  tidegate-relay sync conflicts blog --waiting\n  \
                            tidegate-relay sync conflicts blog --pick left 17 18"
    )]
    Conflicts(conflicts::Conflicts),
    /// List what was written, newest first, with the values that were replaced and left.
    #[command(
        after_help = "Example:\n  tidegate-relay sync history blog --record 17\n  tidegate-relay \
                      sync history blog --since 2h --side right\n  tidegate-relay sync history \
                      blog --runs"
    )]
    History {
        name: String,
        /// Only of this run (12), or of one batch of it (12.345).
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        #[command(flatten)]
        selected: Selected,
        /// How many, at most 1000 (100 unless given).
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// List the runs instead: when each wrote, and how much.
        #[arg(long, conflicts_with_all = ["run", "side", "table", "since", "until", "record", "limit"])]
        runs: bool,
    },
    /// Put back what a run, or some of its writes, did to one side. Shows the plan and asks; exit code 3:
    /// there is something to approve, or not all was possible.
    #[command(
        after_help = "What is put back counts as an edit of that side: the sync carries it to the \
                      other side by its rules.\n\nExample:\n  tidegate-relay sync history blog \
                      --runs\n  tidegate-relay sync undo blog 12 --side right\n  tidegate-relay \
                      sync undo blog --since 2h --table public.posts --yes"
    )]
    Undo {
        name: String,
        /// A run (12) or one batch of it (12.345), as `history` names them.
        #[arg(value_name = "RUN")]
        run: Option<String>,
        #[command(flatten)]
        selected: Selected,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Print the file of a sync.
    #[command(after_help = "Example:\n  tidegate-relay sync export blog > blog.toml")]
    Export { name: String },
    /// Stop a sync and drop what it left on both sides; no record is touched.
    #[command(
        after_help = "Example:\n  tidegate-relay sync remove blog\n  tidegate-relay sync remove \
                      blog --force > leftovers.sql"
    )]
    Remove {
        name: String,
        /// Remove it even if a side can't be cleaned up; prints the SQL that does.
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Plan { file } => {
            let preview = plan(api, &file, output::read_text(&file)?).await?;
            if json {
                output::json(&preview)?
            } else {
                show_preview(&preview)
            }
            exit_of(&preview)
        }
        Command::Apply { file, yes, wait } => apply(api, json, &file, (yes, wait)).await,
        Command::List => list(api, json).await,
        Command::Status { name, watch: true } => {
            watch::status(api, json, &name, Until::Stopped).await
        }
        Command::Status { name, watch: false } => {
            let status: SyncStatus = api.get(&["syncs", &name]).await?;
            if json {
                output::json(&status)?
            } else {
                show_status(&status)
            }
            Ok(Exit::Done)
        }
        Command::Events { name } => watch::events(api, json, name.as_deref()).await,
        Command::Pause { name } => act(api, json, &name, "pause").await,
        Command::Resume { name } => act(api, json, &name, "resume").await,
        Command::Approve { name } => act(api, json, &name, "approve").await,
        Command::Verify(args) => verify::run(api, json, &args).await,
        Command::Findings { name, retry } => findings(api, json, &name, retry).await,
        Command::Conflicts(args) => conflicts::run(api, json, &args).await,
        Command::History {
            name, runs: true, ..
        } => writes::runs(api, json, &name).await,
        Command::History {
            name,
            run,
            selected,
            limit,
            ..
        } => writes::history(api, json, &name, &selected.filter(run)?, limit).await,
        Command::Undo {
            name,
            run,
            selected,
            yes,
        } => writes::undo(api, json, &name, selected.filter(run)?, yes).await,
        Command::Export { name } => export(api, json, &name).await,
        Command::Remove { name, force } => remove(api, json, &name, force).await,
    }
}

async fn remove(api: &Client, json: bool, name: &str, force: bool) -> Result<Exit, CliError> {
    let query: &[(&str, &str)] = if force { &[("force", "true")] } else { &[] };
    let removed: Removed = api.delete_with(&["syncs", name], query).await?;
    if json {
        let left_behind = &removed.left_behind;
        let document = json!({"name": name, "removed": true, "left_behind": left_behind});
        output::json(&document)?;
        return Ok(Exit::Done);
    }
    let name = plain(name);
    output::note(&format!("Sync {name} is removed; no record was touched."));
    for left in &removed.left_behind {
        output::note(&plain(&format!(
            "Its slot, publication and progress stay in the {} database ({}): {}. Run there, as \
             an administrator:",
            left.side, left.connection, left.reason
        )));
        output::say(&plain(&format!("-- {}: {}", left.side, left.connection)));
        for statement in &left.sql {
            output::say(&plain(&format!("{statement};")));
        }
    }
    Ok(Exit::Done)
}

/// The preview of a file's text; what is wrong with the file is told with the file's name.
async fn plan(api: &Client, file: &Path, text: String) -> Result<Preview, CliError> {
    let planned = api.post_text(&["syncs", "plan"], text).await;
    planned.map_err(|error| in_file(file, error))
}

fn in_file(file: &Path, error: CliError) -> CliError {
    match error {
        CliError::Refused(problem) if problem.code == "sync-file" => CliError::SyncFile {
            file: file.display().to_string(),
            problem,
        },
        other => other,
    }
}

/// 3 when there is something to do; an error when it cannot be started.
fn exit_of(preview: &Preview) -> Result<Exit, CliError> {
    if let Some(problem) = preview.problems.first() {
        return Err(CliError::Failed(plain(&format!(
            "the sync cannot start: {problem}"
        ))));
    }
    let is_quiet = preview.edits.is_empty() && preview.tables.iter().all(TablePreview::is_quiet);
    Ok(if is_quiet { Exit::Done } else { Exit::Differs })
}

async fn apply(
    api: &Client,
    json: bool,
    file: &Path,
    (yes, wait): (bool, bool),
) -> Result<Exit, CliError> {
    let text = output::read_text(file)?;
    let preview = plan(api, file, text.clone()).await?;
    if !json {
        show_preview(&preview);
    }
    exit_of(&preview)?;
    if !yes {
        let question = match preview.edits.is_empty() {
            true => "Start this sync?",
            false => "Change this sync?",
        };
        match output::ask(question) {
            Some(true) => {}
            Some(false) => return Err(CliError::Approve("nothing was started".into())),
            None => {
                let message = "nothing was started: approve the plan with --yes";
                return Err(CliError::Approve(message.into()));
            }
        }
    }
    let request = ApplyRequest {
        file: Some(text),
        definition: None,
        expected: Some(preview),
    };
    let started = api.post(&["syncs", "apply"], &request).await;
    let status: SyncStatus = started.map_err(|error| in_file(file, error))?;
    if wait {
        return watch::status(api, json, &status.name, Until::Live).await;
    }
    if json {
        output::json(&status)?;
    } else {
        let name = plain(&status.name);
        output::note(&format!(
            "Sync {name} is started. Watch it: sync status {name} --watch"
        ));
    }
    Ok(Exit::Done)
}

async fn list(api: &Client, json: bool) -> Result<Exit, CliError> {
    let syncs: Vec<SyncStatus> = api.get(&["syncs"]).await?;
    if json {
        output::json(&syncs)?;
        return Ok(Exit::Done);
    }
    let row = |sync: &SyncStatus| {
        let linked: u64 = sync.tables.iter().map(|table| table.linked).sum();
        vec![
            sync.name.clone(),
            sync.state.clone(),
            sync.left.clone(),
            sync.right.clone(),
            linked.to_string(),
            sync.findings.to_string(),
            or_dash(sync.lag_ms.map(|lag| format!("{lag} ms"))),
        ]
    };
    let headers = [
        "NAME", "STATE", "LEFT", "RIGHT", "LINKED", "FINDINGS", "LAG",
    ];
    let empty = "There are no syncs: start one with `sync apply FILE`.";
    output::table(&headers, syncs.iter().map(row).collect(), empty);
    Ok(Exit::Done)
}

async fn act(api: &Client, json: bool, name: &str, verb: &str) -> Result<Exit, CliError> {
    let status: SyncStatus = api.act(&["syncs", name, verb]).await?;
    if json {
        output::json(&status)?;
    } else {
        output::note(&plain(&format!(
            "Sync {} is {}.",
            status.name, status.state
        )));
    }
    Ok(Exit::Done)
}

async fn findings(api: &Client, json: bool, name: &str, retry: bool) -> Result<Exit, CliError> {
    if retry {
        api.order(&["syncs", name, "retry"]).await?;
        output::note("All findings are tried again now.");
    }
    let findings: Vec<FindingReport> = api.get(&["syncs", name, "findings"]).await?;
    if json {
        output::json(&findings)?;
        return Ok(Exit::Done);
    }
    let row = |finding: &FindingReport| {
        vec![
            finding.table.clone(),
            finding.side.clone(),
            finding.key.clone(),
            finding.code.clone(),
            finding.detail.clone(),
            finding.advice.clone(),
        ]
    };
    let headers = ["TABLE", "SIDE", "KEY", "CODE", "DETAIL", "WHAT TO DO"];
    output::table(
        &headers,
        findings.iter().map(row).collect(),
        "There are no findings.",
    );
    Ok(Exit::Done)
}

async fn export(api: &Client, json: bool, name: &str) -> Result<Exit, CliError> {
    let file = api.text(&["syncs", name, "export"]).await?;
    if json {
        output::json(&json!({"name": name, "file": file}))?;
    } else {
        output::say(file.trim_end());
    }
    Ok(Exit::Done)
}

const PREVIEW_COLUMNS: [&str; 16] = [
    "LEFT",
    "RIGHT",
    "IN LEFT",
    "IN RIGHT",
    "EQUAL",
    "LINK",
    "UNLINK",
    "CREATE LEFT",
    "CREATE RIGHT",
    "UPDATE LEFT",
    "UPDATE RIGHT",
    "DELETE LEFT",
    "DELETE RIGHT",
    "ALONE",
    "OUTSIDE",
    "FINDINGS",
];

fn show_preview(preview: &Preview) {
    let row = |table: &TablePreview| {
        let mut row = vec![table.left.clone(), table.right.clone()];
        if table.untouched {
            row.resize(PREVIEW_COLUMNS.len(), "-".to_owned());
            return row;
        }
        row.extend(
            [
                table.left_count,
                table.right_count,
                table.unchanged,
                table.link,
                table.unlink,
                table.create_left,
                table.create_right,
                table.update_left,
                table.update_right,
                table.delete_left,
                table.delete_right,
                table.detached,
                table.outside,
                table.findings,
            ]
            .map(|count| count.to_string()),
        );
        row
    };
    for edit in &preview.edits {
        output::say(&plain(&format!("edit: {edit}")));
    }
    let rows = preview.tables.iter().map(row).collect();
    if preview.problems.is_empty() {
        output::table(&PREVIEW_COLUMNS, rows, "The file has no tables.");
    }
    for table in &preview.tables {
        table
            .samples
            .iter()
            .for_each(|sample| show_sample((&table.left, &table.right), sample));
    }
    for removed in &preview.removed {
        let RemovedTable {
            left,
            right,
            unlink,
        } = removed;
        output::say(&plain(&format!(
            "unlink {unlink} records of left {left} and right {right}"
        )));
    }
    for SideCost {
        side,
        calls,
        seconds,
    } in &preview.costs
    {
        output::say(&plain(&format!(
            "{side}: about {calls} calls, in {seconds} s or more"
        )));
    }
    for warning in &preview.warnings {
        output::say(&plain(&format!("note: {warning}")));
    }
    for problem in &preview.problems {
        output::say(&plain(&format!("problem: {problem}")));
    }
}

pub(super) fn show_sample((left, right): (&str, &str), sample: &Sample) {
    let of = if sample.side == "left" { left } else { right };
    output::say(&plain(&format!(
        "{} in {} {}: {}",
        sample.kind, sample.side, of, sample.key
    )));
    let value = |value: &Option<String>| {
        value
            .as_ref()
            .map_or_else(|| "null".to_owned(), |text| format!("{text:?}"))
    };
    for field in &sample.fields {
        let name = if sample.side == "left" {
            &field.left_field
        } else {
            &field.right_field
        };
        let (left, right) = (value(&field.left), value(&field.right));
        output::say(&plain(&format!("    {name}: left {left}, right {right}")));
    }
}

fn show_status(status: &SyncStatus) {
    output::facts(&[
        ("sync", status.name.clone()),
        ("state", status.state.clone()),
        ("left", status.left.clone()),
        ("right", status.right.clone()),
        ("lag", or_dash(status.lag_ms.map(|lag| format!("{lag} ms")))),
        ("pending", status.pending.to_string()),
        ("last error", or_dash(status.last_error.as_ref())),
        ("verified", or_dash(status.verified.as_ref().map(verified))),
    ]);
    output::say("");
    output::say(&status_table(&status.tables));
    let paused = status.paused_tables.iter().chain(&status.paused_fields);
    for sentence in paused.chain(&status.drift) {
        output::say(&plain(sentence));
    }
    if !status.slots.is_empty() {
        output::say("");
        slots::show(&status.slots);
    }
}

fn verified(last: &LastVerify) -> String {
    if last.equal {
        return format!("equal at {}, {} records", last.at, last.records);
    }
    format!(
        "warning: {} differences at {}; `sync verify` lists them, --repair shows what to do",
        last.difference_count, last.at
    )
}

fn status_table(tables: &[TableStatus]) -> String {
    let row = |table: &TableStatus| {
        let mut row = vec![table.left.clone(), table.right.clone()];
        let counts = [table.left_count, table.right_count, table.linked];
        row.extend(counts.map(|count| count.to_string()));
        row.push(match table.total {
            0 => "-".to_owned(),
            total => format!("{}/{total}", table.copied),
        });
        row.extend([table.findings, table.conflicts, table.asked].map(|count| count.to_string()));
        row
    };
    let headers = [
        "LEFT",
        "RIGHT",
        "IN LEFT",
        "IN RIGHT",
        "LINKED",
        "COPIED",
        "FINDINGS",
        "CONFLICTS",
        "ASKED",
    ];
    output::render_table(&headers, tables.iter().map(row).collect())
}

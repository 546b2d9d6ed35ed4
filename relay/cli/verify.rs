//! `sync verify`: compares both sides, says what differs, and has it repaired.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::client::Client;
use super::output::{or_dash, plain};
use super::{CliError, Exit, output, sync};
use crate::api::syncs::RepairRequest;
use crate::engine::report::{SyncStatus, TableRepair, VerifyReport};

/// How often the progress is asked for.
const REFRESH: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    name: String,
    /// Read every record, also where the sides can compare hashes.
    #[arg(long)]
    full: bool,
    /// Show what a repair would write, ask, and have the sync write it.
    #[arg(long)]
    repair: bool,
    /// Do not ask.
    #[arg(long, requires = "repair")]
    yes: bool,
}

pub(super) async fn run(api: &Client, json: bool, args: &Args) -> Result<Exit, CliError> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(args.full.then_some(("full", "true")));
    query.extend(args.repair.then_some(("repair", "true")));
    let path = ["syncs", &args.name, "verify"];
    let report: VerifyReport = watched(api, &args.name, api.act_with(&path, &query)).await?;
    let repair = report.repair.as_deref().unwrap_or_default();
    let writes: u64 = repair.iter().map(TableRepair::writes).sum();
    if report.equal || writes == 0 || (json && !args.yes) {
        return told(json, &report);
    }
    if !json {
        show(&report);
    }
    if !args.yes {
        match output::ask("Repair this?") {
            Some(true) => {}
            Some(false) => return Err(CliError::Approve("nothing was written".into())),
            None => {
                let message = "nothing was written: approve the repair with --yes";
                return Err(CliError::Approve(message.into()));
            }
        }
    }
    let request = RepairRequest {
        expected: Some(repair.to_vec()),
    };
    let path = ["syncs", &args.name, "repair"];
    let repaired = watched(api, &args.name, api.post(&path, &request)).await?;
    told(json, &repaired)
}

fn told(json: bool, report: &VerifyReport) -> Result<Exit, CliError> {
    if json {
        output::json(report)?;
    } else {
        show(report);
    }
    Ok(if report.equal {
        Exit::Done
    } else {
        Exit::Differs
    })
}

/// Waits for an answer, and says on a terminal how far the comparison is.
async fn watched<T>(
    api: &Client,
    name: &str,
    answer: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let mut answer = std::pin::pin!(answer);
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.tick().await;
    let is_shown = std::io::stderr().is_terminal();
    loop {
        tokio::select! {
            answer = &mut answer => {
                if is_shown {
                    line("");
                }
                return answer;
            }
            _ = ticks.tick(), if is_shown => {}
        }
        let asked: Result<SyncStatus, CliError> = api.get(&["syncs", name]).await;
        if let Some(progress) = asked.ok().and_then(|status| status.verifying) {
            let (compared, total) = (progress.compared, progress.total);
            line(&format!("{compared} of about {total} records compared"));
        }
    }
}

/// Replaces the terminal's last line.
fn line(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush());
}

fn show(report: &VerifyReport) {
    let positions = format!(
        "(left {}, right {})",
        report.left_position, report.right_position
    );
    if report.equal {
        let text = format!("equal as of {positions}, {} records", report.records);
        output::say(&plain(&text));
        return;
    }
    let count = report.difference_count;
    output::say(&plain(&format!(
        "{count} differences as of {positions}, {} records",
        report.records
    )));
    let rows: Vec<Vec<String>> = report
        .differences
        .iter()
        .map(|one| {
            vec![
                one.table.clone(),
                one.kind.clone(),
                or_dash(one.left_key.as_ref()),
                or_dash(one.right_key.as_ref()),
                one.fields.join(", "),
            ]
        })
        .collect();
    let shown = rows.len() as u64;
    let headers = ["TABLE", "DIFFERENCE", "LEFT KEY", "RIGHT KEY", "FIELDS"];
    output::table(&headers, rows, "None of them is listed.");
    if shown < count {
        output::note(&format!("The first {shown} are listed."));
    }
    if let Some(repair) = &report.repair {
        show_repair(repair);
    }
}

fn show_repair(repair: &[TableRepair]) {
    let row = |table: &TableRepair| {
        let counts = [
            table.create_left,
            table.create_right,
            table.update_left,
            table.update_right,
            table.delete_left,
            table.delete_right,
            table.untouched,
        ];
        let names = [table.left.clone(), table.right.clone()];
        names
            .into_iter()
            .chain(counts.map(|count| count.to_string()))
            .collect()
    };
    let is_anything = |table: &&TableRepair| table.writes() + table.untouched > 0;
    let rows: Vec<Vec<String>> = repair.iter().filter(is_anything).map(row).collect();
    let headers = [
        "LEFT",
        "RIGHT",
        "CREATE LEFT",
        "CREATE RIGHT",
        "UPDATE LEFT",
        "UPDATE RIGHT",
        "DELETE LEFT",
        "DELETE RIGHT",
        "LEFT AS IT IS",
    ];
    output::say("");
    output::say("A repair would write:");
    output::table(&headers, rows, "Nothing.");
    for table in repair {
        for sample in &table.samples {
            sync::show_sample((&table.left, &table.right), sample);
        }
    }
}

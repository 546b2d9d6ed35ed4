//! `sync verify`: compares both sides and says what differs.

use super::client::Client;
use super::output::{or_dash, plain};
use super::{CliError, Exit, output};
use crate::engine::report::VerifyReport;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    name: String,
    /// Read every record, also where the sides can compare hashes.
    #[arg(long)]
    full: bool,
}

pub(super) async fn run(api: &Client, json: bool, args: &Args) -> Result<Exit, CliError> {
    let query: &[(&str, &str)] = if args.full { &[("full", "true")] } else { &[] };
    let path = ["syncs", &args.name, "verify"];
    let report: VerifyReport = api.act_with(&path, query).await?;
    if json {
        output::json(&report)?;
    } else {
        show(&report);
    }
    Ok(if report.equal {
        Exit::Done
    } else {
        Exit::Differs
    })
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
}

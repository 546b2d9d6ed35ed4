//! `sync history` and `sync undo`: what a sync wrote, its runs, and putting writes back.

use clap::Args;

use super::client::Client;
use super::output::{or_dash, plain};
use super::{CliError, Exit, output};
use crate::api::writes::UndoRequest;
use crate::engine::report::{
    FieldChange, HistoryEntry, RunReport, UndoCannot, UndoPlan, UndoReport, UndoSample, UndoTable,
    WriteFilter, Writes,
};

/// Characters of a value in a table; `--json` shows it whole.
const VALUE_CHARS: usize = 40;
/// Changed fields of a record in a table.
const CHANGES: usize = 4;

/// Which writes.
#[derive(Args, Clone, Debug)]
pub(super) struct Selected {
    /// Only writes to this side.
    #[arg(long, value_name = "left|right")]
    side: Option<String>,
    /// Only this table, by its name on either side.
    #[arg(long)]
    table: Option<String>,
    /// Only from this time on: 2026-11-25T14:32:00Z, or 30m, 2h, 1d ago.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only the record of this key, of either side.
    #[arg(long, value_name = "KEY")]
    record: Option<String>,
}

impl Selected {
    pub(super) fn filter(self, run: Option<String>) -> Result<WriteFilter, CliError> {
        Ok(WriteFilter {
            run,
            side: self.side,
            table: self.table,
            since: self.since.map(|text| moment(&text)).transpose()?,
            until: self.until.map(|text| moment(&text)).transpose()?,
            key: self.record,
        })
    }
}

/// A time of day as it is, or what is so long ago as one.
fn moment(text: &str) -> Result<String, CliError> {
    let unit = match text.chars().next_back() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Ok(text.to_owned()),
    };
    let count: i64 = text[..text.len() - 1].parse().map_err(|_| {
        CliError::Usage(format!("`{text}` is no time: write 30m, 2h or 1d for ago"))
    })?;
    let ago = jiff::SignedDuration::from_secs(count.saturating_mul(unit));
    let at = jiff::Timestamp::now().checked_sub(ago);
    let at = at.map_err(|_| CliError::Usage(format!("`{text}` is too long ago")))?;
    Ok(at.to_string())
}

/// Entries of one answer.
const LIMIT_MAX: u32 = 1000;

pub(super) async fn history(
    api: &Client,
    json: bool,
    name: &str,
    filter: &WriteFilter,
    limit: Option<u32>,
) -> Result<Exit, CliError> {
    let limit = limit.map(|limit| limit.min(LIMIT_MAX).to_string());
    let query: Vec<(&str, &str)> = [
        ("run", &filter.run),
        ("side", &filter.side),
        ("table", &filter.table),
        ("since", &filter.since),
        ("until", &filter.until),
        ("key", &filter.key),
        ("limit", &limit),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    let entries: Vec<HistoryEntry> = api.get_with(&["syncs", name, "history"], &query).await?;
    if json {
        output::json(&entries)?;
        return Ok(Exit::Done);
    }
    let row = |entry: &HistoryEntry| {
        vec![
            entry.at.clone(),
            format!("{}.{}", entry.run, entry.batch),
            entry.side.clone(),
            entry.table.clone(),
            entry.kind.clone(),
            entry.why.clone(),
            or_dash(entry.left_key.as_ref()),
            or_dash(entry.right_key.as_ref()),
            entry_text(entry),
        ]
    };
    let headers = [
        "AT",
        "RUN",
        "SIDE",
        "TABLE",
        "WRITE",
        "WHY",
        "LEFT KEY",
        "RIGHT KEY",
        "CHANGES",
    ];
    let rows = entries.iter().map(row).collect();
    output::table(&headers, rows, "Nothing like that was written.");
    Ok(Exit::Done)
}

fn entry_text(entry: &HistoryEntry) -> String {
    match &entry.no_values {
        Some(why) => format!("{} ({why})", entry.fields.join(", ")),
        None => changes_text(&entry.changes, &entry.kind),
    }
}

/// `title: "old" -> "new"; …`.
pub(super) fn changes_text(changes: &[FieldChange], kind: &str) -> String {
    let text = |change: &FieldChange| {
        let (before, after) = (value_text(&change.before), value_text(&change.after));
        match kind {
            "create" => format!("{}: {after}", change.field),
            "delete" => format!("{}: {before}", change.field),
            _ => format!("{}: {before} -> {after}", change.field),
        }
    };
    let mut texts: Vec<String> = changes.iter().take(CHANGES).map(text).collect();
    if changes.len() > CHANGES {
        texts.push(format!("and {} more", changes.len() - CHANGES));
    }
    texts.join("; ")
}

/// In quotes, with control characters as escapes; cut where it is long.
fn value_text(value: &Option<String>) -> String {
    let Some(value) = value else {
        return "null".to_owned();
    };
    let mut chars = value.chars();
    let start: String = chars.by_ref().take(VALUE_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("{start:?}{rest}")
}

pub(super) async fn runs(api: &Client, json: bool, name: &str) -> Result<Exit, CliError> {
    let runs: Vec<RunReport> = api.get(&["syncs", name, "runs"]).await?;
    if json {
        output::json(&runs)?;
        return Ok(Exit::Done);
    }
    let row = |run: &RunReport| {
        vec![
            run.run.to_string(),
            run.from.clone(),
            run.to.clone(),
            writes_text(&run.left),
            writes_text(&run.right),
        ]
    };
    let headers = ["RUN", "FROM", "TO", "TO THE LEFT", "TO THE RIGHT"];
    output::table(
        &headers,
        runs.iter().map(row).collect(),
        "Nothing was written yet.",
    );
    Ok(Exit::Done)
}

fn writes_text(writes: &Writes) -> String {
    let Writes {
        creates,
        updates,
        deletes,
    } = writes;
    format!("{creates} created, {updates} updated, {deletes} deleted")
}

pub(super) async fn undo(
    api: &Client,
    json: bool,
    name: &str,
    filter: WriteFilter,
    yes: bool,
) -> Result<Exit, CliError> {
    let plan: UndoPlan = api.post(&["syncs", name, "undo", "plan"], &filter).await?;
    let count: u64 = plan
        .tables
        .iter()
        .map(|table| table.puts_back.total())
        .sum();
    if !json {
        show_plan(&plan);
    } else if !yes || count == 0 {
        output::json(&plan)?;
    }
    if count == 0 {
        output::note("There is nothing to put back.");
        return Ok(Exit::Done);
    }
    if !yes {
        match (!json)
            .then(|| output::ask("Put these records back?"))
            .flatten()
        {
            Some(true) => {}
            Some(false) => return Err(CliError::Approve("nothing was written".into())),
            None => {
                let message = "nothing was written: approve the plan with --yes";
                return Err(CliError::Approve(message.into()));
            }
        }
    }
    let request = UndoRequest {
        filter,
        expected: plan,
    };
    let report: UndoReport = api.post(&["syncs", name, "undo"], &request).await?;
    if json {
        output::json(&report)?;
    } else {
        output::say(&writes_text(&report.done));
        report.cannot.iter().for_each(show_cannot);
    }
    Ok(match report.cannot.is_empty() {
        true => Exit::Done,
        false => Exit::Differs,
    })
}

fn show_plan(plan: &UndoPlan) {
    let side = plan.side.as_deref().unwrap_or("-");
    let note = format!("{} writes to the {side} side are taken back.", plan.writes);
    output::note(&plain(&note));
    let row = |table: &UndoTable| {
        let Writes {
            creates,
            updates,
            deletes,
        } = table.puts_back;
        vec![
            table.table.clone(),
            creates.to_string(),
            updates.to_string(),
            deletes.to_string(),
            table.as_before.to_string(),
            table.cannot.to_string(),
            format!("{}: {}", table.counterpart, writes_text(&table.then)),
        ]
    };
    let headers = [
        "TABLE",
        "CREATE",
        "UPDATE",
        "DELETE",
        "AS IT WAS",
        "CANNOT",
        "THEN, ON THE OTHER SIDE",
    ];
    let rows = plan.tables.iter().map(row).collect();
    output::table(&headers, rows, "Nothing like that was written.");
    plan.samples.iter().for_each(show_sample);
    let reasons = plan.tables.iter().flat_map(|table| &table.reasons);
    reasons.for_each(show_cannot);
}

fn show_sample(sample: &UndoSample) {
    let UndoSample { kind, key, changes } = sample;
    output::say(&plain(&format!(
        "{kind} {key}: {}",
        changes_text(changes, kind)
    )));
}

fn show_cannot(cannot: &UndoCannot) {
    let UndoCannot {
        reason,
        count,
        keys,
    } = cannot;
    let keys = keys.join(" ");
    output::say(&plain(&format!(
        "{count} can't be put back ({keys} …): {reason}"
    )));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_and_cannot_steer_a_terminal() {
        let change = |before: &str, after: Option<&str>| FieldChange {
            field: "title".into(),
            before: Some(before.into()),
            after: after.map(str::to_owned),
        };
        let long = "x".repeat(41);
        assert_eq!(
            changes_text(
                &[change("a\u{1b}[2J", None), change(&long, Some(""))],
                "update"
            ),
            format!(
                "title: \"a\\u{{1b}}[2J\" -> null; title: \"{}\"… -> \"\"",
                "x".repeat(40)
            )
        );
        let many = vec![change("a", None); 6];
        let text = changes_text(&many, "delete");
        assert!(text.ends_with("title: \"a\"; and 2 more"), "{text}");
    }

    #[test]
    fn a_time_ago_is_a_time() {
        let now = jiff::Timestamp::now();
        let ago: jiff::Timestamp = moment("2h").unwrap().parse().unwrap();
        let hours = (now.as_second() - ago.as_second()) as f64 / 3600.0;
        assert!((1.9..2.1).contains(&hours), "{hours}");
        assert_eq!(
            moment("2026-11-25T14:32:00Z").unwrap(),
            "2026-11-25T14:32:00Z"
        );
        assert!(moment("xd").is_err());
    }
}

//! `sync conflicts`: the fields that both sides changed, with both values, and picking one.

use clap::{Args, ValueEnum};

use super::client::Client;
use super::output::{self, or_dash};
use super::{CliError, Exit};
use crate::api::conflicts::{PickRequest, PickedSide};
use crate::engine::report::ConflictReport;

#[derive(Debug, Args)]
pub(super) struct Conflicts {
    name: String,
    /// Only those that wait for you (`conflict = "ask"`).
    #[arg(long)]
    waiting: bool,
    /// Give both sides this side's value, in the conflicts with these numbers; of a deletion: have both
    /// delete the record, or keep it, as this side did.
    #[arg(long, value_name = "SIDE", requires = "ids")]
    pick: Option<Pick>,
    /// Numbers of conflicts.
    #[arg(requires = "pick", value_name = "ID")]
    ids: Vec<i64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pick {
    Left,
    Right,
}

pub(super) async fn run(api: &Client, json: bool, args: &Conflicts) -> Result<Exit, CliError> {
    match args.pick {
        Some(side) => pick(api, json, args, side).await,
        None => list(api, json, &args.name, args.waiting).await,
    }
}

async fn pick(api: &Client, json: bool, args: &Conflicts, side: Pick) -> Result<Exit, CliError> {
    let mut picked: Vec<ConflictReport> = Vec::new();
    for id in &args.ids {
        let side = match side {
            Pick::Left => PickedSide::Left,
            Pick::Right => PickedSide::Right,
        };
        let path = ["syncs", &args.name, "conflicts", &id.to_string(), "pick"];
        picked.push(api.post(&path, &PickRequest { side }).await?);
    }
    if json {
        output::json(&picked)?;
    } else {
        output::note(&format!("Picked in {} conflicts.", picked.len()));
    }
    Ok(Exit::Done)
}

async fn list(api: &Client, json: bool, name: &str, waiting: bool) -> Result<Exit, CliError> {
    let query: &[(&str, &str)] = if waiting { &[("waiting", "true")] } else { &[] };
    let found: Vec<ConflictReport> = api.get_with(&["syncs", name, "conflicts"], query).await?;
    if json {
        output::json(&found)?;
        return Ok(Exit::Done);
    }
    let headers = [
        "ID",
        "AT",
        "TABLE",
        "LEFT KEY",
        "RIGHT KEY",
        "FIELD",
        "LEFT",
        "RIGHT",
        "RESULT",
    ];
    let rows = found.iter().map(row).collect();
    output::table(&headers, rows, "There are no conflicts on record.");
    Ok(Exit::Done)
}

fn row(conflict: &ConflictReport) -> Vec<String> {
    let field = match (&conflict.left_field, &conflict.right_field) {
        (Some(left), Some(right)) if left != right => format!("{left} / {right}"),
        (Some(left), _) => left.clone(),
        _ => "(deletion)".to_owned(),
    };
    let result = match (&conflict.picked, &conflict.winner) {
        _ if conflict.waiting => "waits for you".to_owned(),
        (Some(side), _) => format!("{side}, picked"),
        (None, Some(side)) => side.clone(),
        (None, None) => "both agreed".to_owned(),
    };
    vec![
        conflict.id.to_string(),
        conflict.at.clone(),
        conflict.table.clone(),
        or_dash(conflict.left_key.as_ref()),
        or_dash(conflict.right_key.as_ref()),
        field,
        or_dash(conflict.left.as_deref().map(brief)),
        or_dash(conflict.right.as_deref().map(brief)),
        result,
    ]
}

/// The beginning of a value, for a table's cell.
fn brief(value: &str) -> String {
    let mut text: String = value.chars().take(CELL_CHARS_MAX).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

const CELL_CHARS_MAX: usize = 40;

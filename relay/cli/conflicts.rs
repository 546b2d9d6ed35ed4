//! `sync conflicts`: the fields that both sides changed, with both values.

use super::client::Client;
use super::output::{self, or_dash};
use super::{CliError, Exit};
use crate::engine::report::ConflictReport;

pub(super) async fn list(
    api: &Client,
    json: bool,
    name: &str,
    waiting: bool,
) -> Result<Exit, CliError> {
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

//! What commands print: tables and lines for people, JSON for scripts.
//!
//! Data goes to stdout, everything else to stderr. Texts from databases and agents are shown with
//! their control characters replaced, so that none of them can steer a terminal.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, TableStyle};
use serde::Serialize;

use super::CliError;

/// Prints one line of data. A reader that went away is no error of ours.
pub(super) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints one line that is no data.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a document.
pub(super) fn json(document: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(document);
    say(&text.map_err(|error| CliError::Answer(error.to_string()))?);
    Ok(())
}

/// Prints a document on one line, for streams of them.
pub(super) fn json_line(document: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(document);
    say(&text.map_err(|error| CliError::Answer(error.to_string()))?);
    Ok(())
}

/// Prints a table, or `empty` where it would have no rows.
pub(super) fn table(headers: &[&str], rows: Vec<Vec<String>>, empty: &str) {
    if rows.is_empty() {
        note(empty);
        return;
    }
    say(&render_table(headers, rows));
}

pub(super) fn render_table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(headers.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)).collect::<Vec<_>>());
    }
    table.trim_fmt()
}

/// Prints `name: value` lines with the values in one column.
pub(super) fn facts(facts: &[(&str, String)]) {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    for (name, value) in facts {
        say(&format!("{:width$} {}", format!("{name}:"), plain(value)));
    }
}

/// Replaces control characters, which could move the cursor or change the terminal's state.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// `-` for what is not known.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Asks a yes-or-no question on the terminal; `None` when there is nobody to ask.
pub(super) fn ask(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Reads a text from a file, or from stdin for `-`.
pub(super) fn read_text(name: &std::path::Path) -> Result<String, CliError> {
    let read = if name.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(name)
    };
    read.map_err(|source| CliError::File {
        name: name.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
        let rows = vec![vec!["x\u{1b}c".to_owned()]];
        assert!(!render_table(&["NAME"], rows).contains('\u{1b}'));
    }
}

//! The run as Markdown: one table per path, medians with the ratio to the reference behind them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::results::Results;
use crate::syncs;
use crate::transports::{DIRECT, RATHOLE};

pub const BEGIN: &str = "<!-- bench: written by `make bench` -->";
pub const END: &str = "<!-- /bench -->";

pub fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let quick = if results.quick { ", quick" } else { "" };
    // Writing into a string does not fail.
    let _ = writeln!(
        text,
        "Measured {}, {} rounds{quick}, transports interleaved; {}. Medians; in brackets the median of \
         the rounds' ratios, of CPU to {RATHOLE}, else to {DIRECT} (\"{}\", \"{}\").\n",
        results.date,
        results.rounds,
        results.machine.join("; "),
        syncs::PIPED,
        syncs::HASHED,
    );
    for shape in results.shapes() {
        text.push_str(&table(results, shape));
        text.push('\n');
    }
    if !results.missing.is_empty() {
        text.push_str("Not measured:\n\n");
        for missing in &results.missing {
            let _ = writeln!(text, "* {missing}");
        }
    }
    text
}

fn table(results: &Results, shape: &str) -> String {
    let transports = results.transports(shape);
    let mut text = format!("**{shape}**\n\n| | {} |\n|---|", transports.join(" | "));
    text.push_str(&"---|".repeat(transports.len()));
    text.push('\n');
    for row in results.rows(shape) {
        let cells = transports
            .iter()
            .map(|transport| cell(results, shape, transport, row));
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(text, "| {}, {} | {} |", row.0, row.1, cells.join(" | "));
    }
    text
}

fn cell(results: &Results, shape: &str, transport: &str, row: (&str, &str)) -> String {
    let Some(value) = results.median_of(shape, transport, row) else {
        return "–".to_owned();
    };
    let Some(to) = reference(results, shape, row).filter(|to| *to != transport) else {
        return short(value);
    };
    let ratio = results.ratio_of(shape, (transport, to), row);
    match ratio.filter(|ratio| ratio.is_finite() && *ratio > 0.0) {
        Some(ratio) => format!("{} ({ratio:.2})", short(value)),
        None => short(value),
    }
}

/// What the others are compared with. Where there is no tunnel, none takes CPU.
fn reference(results: &Results, shape: &str, row: (&str, &str)) -> Option<&'static str> {
    let candidates = match row.1.starts_with("CPU") {
        true => [RATHOLE].as_slice(),
        false => [DIRECT, syncs::PIPED, syncs::HASHED].as_slice(),
    };
    let is_measured = |name: &&&str| results.median_of(shape, name, row).is_some();
    candidates.iter().find(is_measured).copied()
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Replaces what stands between the marks of a document.
pub fn write_between_marks(file: &Path, text: &str) -> anyhow::Result<()> {
    let old = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let Some(new) = between_marks(&old, text) else {
        bail!("{} has no {BEGIN} … {END}", file.display());
    };
    fs::write(file, new).with_context(|| format!("write {}", file.display()))
}

fn between_marks(old: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        text.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Figure;

    fn measured() -> Results {
        let mut results = Results::default();
        for (round, direct, peer) in [(1, 100.0, 50.0), (2, 200.0, 160.0), (3, 10.0, 7.0)] {
            let figures = |value| vec![Figure::new("COPY t", "MB/s", value)];
            results.add("loopback", "direct", round, figures(direct));
            results.add("loopback", "peer", round, figures(peer));
        }
        results
    }

    #[test]
    fn a_cell_shows_the_median_and_the_rounds_ratio() {
        let text = markdown(&measured());
        assert!(text.contains("| | direct | peer |"), "{text}");
        assert!(
            text.contains("| COPY t, MB/s | 100 | 50.0 (0.70) |"),
            "{text}"
        );
    }

    #[test]
    fn cpu_is_compared_with_a_tunnels() {
        let mut results = Results::default();
        for (name, value) in [(DIRECT, 0.0), (RATHOLE, 4.0), ("mine", 2.0)] {
            let figures = vec![Figure::new("t", "CPU s/GB", value)];
            results.add("loopback", name, 1, figures);
        }
        let text = markdown(&results);
        let row = "| t, CPU s/GB | 0 | 4.00 | 2.00 (0.50) |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let old = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between_marks(&old, "new\n").unwrap_or_default();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(between_marks("a", "new"), None);
    }
}

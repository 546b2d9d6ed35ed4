//! Live views: a sync's status as bars on a terminal or as lines elsewhere, and changes as they
//! cross.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::client::Client;
use super::output::{or_dash, plain};
use super::{CliError, Exit, output};
use crate::engine::report::{LiveEvent, SlotStatus, SyncStatus, TableStatus};

/// How often the status is asked for.
const REFRESH: Duration = Duration::from_millis(500);

/// When a watch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// By Ctrl-C.
    Stopped,
    /// When the sync is live; a failed or paused one is an error.
    Live,
}

/// Shows a sync's status again and again. A relay that restarts meanwhile is waited for.
pub(super) async fn status(
    api: &Client,
    json: bool,
    name: &str,
    until: Until,
) -> Result<Exit, CliError> {
    let mut view: Box<dyn View> = match (json, std::io::stdout().is_terminal()) {
        (false, true) => Box::new(Bars::new()),
        _ => Box::new(Lines { json, last: None }),
    };
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first answer must come: a wrong address or name should not be waited for.
    let mut was_reached = false;
    loop {
        ticks.tick().await;
        let status: SyncStatus = match api.get(&["syncs", name]).await {
            Ok(status) => status,
            Err(error @ CliError::Unreachable { .. }) if was_reached => {
                view.show_lost(&error);
                continue;
            }
            Err(error) => return Err(error),
        };
        was_reached = true;
        view.show(&status)?;
        if until == Until::Live {
            match status.state.as_str() {
                "live" => return Ok(Exit::Done),
                "failed" | "paused" => return Err(stopped(&status)),
                _ => {}
            }
        }
    }
}

fn stopped(status: &SyncStatus) -> CliError {
    let why = status.last_error.as_deref().unwrap_or("see `sync status`");
    CliError::Failed(plain(&format!(
        "sync {} is {}: {why}",
        status.name, status.state
    )))
}

trait View {
    fn show(&mut self, status: &SyncStatus) -> Result<(), CliError>;
    fn show_lost(&mut self, error: &CliError);
}

/// One line whenever something changed.
struct Lines {
    json: bool,
    last: Option<SyncStatus>,
}

impl View for Lines {
    fn show(&mut self, status: &SyncStatus) -> Result<(), CliError> {
        let steady = steady(status);
        if self.last.as_ref() == Some(&steady) {
            return Ok(());
        }
        self.last = Some(steady);
        if self.json {
            return output::json_line(status);
        }
        let tables: Vec<String> = status.tables.iter().map(table_text).collect();
        output::say(&format!("{}; {}", headline(status), tables.join("; ")));
        Ok(())
    }

    fn show_lost(&mut self, error: &CliError) {
        // Once, until it is back.
        if self.last.take().is_some() {
            output::note(&format!("{error}; trying again"));
        }
    }
}

/// What makes a status worth a line: the figures of slots change with every look at them.
fn steady(status: &SyncStatus) -> SyncStatus {
    let mut steady = status.clone();
    for slot in &mut steady.slots {
        *slot = SlotStatus {
            side: slot.side.clone(),
            state: slot.state.clone(),
            warning: slot.warning.clone(),
            ..SlotStatus::default()
        };
    }
    steady
}

/// A headline and one bar per table pair, redrawn in place.
struct Bars {
    all: MultiProgress,
    headline: ProgressBar,
    tables: Vec<ProgressBar>,
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let headline = all.add(ProgressBar::no_length());
        headline.set_style(style("{msg}"));
        Bars {
            all,
            headline,
            tables: Vec::new(),
        }
    }
}

/// A template of ours; a wrong one would show the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl View for Bars {
    fn show(&mut self, status: &SyncStatus) -> Result<(), CliError> {
        self.headline.set_message(headline(status));
        while self.tables.len() < status.tables.len() {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_style(style("  [{bar:24}] {percent:>3} %  {msg}"));
            self.tables.push(bar);
        }
        for (bar, table) in self.tables.iter().zip(&status.tables) {
            let is_live = status.state == "live";
            // A table with nothing to copy is complete once the sync is live.
            let (done, total) = match table.total {
                0 => (u64::from(is_live), 1),
                total => (
                    if is_live {
                        total
                    } else {
                        table.copied.min(total)
                    },
                    total,
                ),
            };
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(table_text(table));
        }
        Ok(())
    }

    fn show_lost(&mut self, _error: &CliError) {
        self.headline
            .set_message("the relay does not answer; trying again");
    }
}

fn headline(status: &SyncStatus) -> String {
    let mut text = format!(
        "{}: {}, lag {}, {} pending",
        status.name,
        status.state,
        or_dash(status.lag_ms.map(|lag| format!("{lag} ms"))),
        status.pending
    );
    if let Some(error) = &status.last_error {
        text += &format!(", {error}");
    }
    for slot in &status.slots {
        if let Some(warning) = &slot.warning {
            text += &format!(", {} slot: {warning}", slot.side);
        }
    }
    plain(&text)
}

fn table_text(table: &TableStatus) -> String {
    let mut text = format!("{} <-> {}: ", table.left, table.right);
    if table.total > 0 {
        text += &format!("copied {}/{}, ", table.copied, table.total);
    }
    text += &format!("left {}, right {}, ", table.left_count, table.right_count);
    text += &format!("linked {}", table.linked);
    for (count, noun) in [
        (table.findings, "findings"),
        (table.conflicts, "conflicts"),
        (table.asked, "questions"),
    ] {
        if count > 0 {
            text += &format!(", {count} {noun}");
        }
    }
    plain(&text)
}

/// Prints each change as it crosses. Ends when the relay stops.
pub(super) async fn events(api: &Client, json: bool, name: Option<&str>) -> Result<Exit, CliError> {
    let mut query = vec![("kinds", "change")];
    query.extend(name.iter().map(|name| ("sync", *name)));
    let mut unreadable = None;
    api.events(&query, |name, data| {
        if name == "lagged" {
            output::note(&plain(&format!(
                "{data} changes crossed faster than they were read"
            )));
            return true;
        }
        match serde_json::from_str::<LiveEvent>(data) {
            Ok(event) if json => output::json_line(&event).is_ok(),
            Ok(event) => {
                output::say(&event_text(&event));
                true
            }
            Err(error) => {
                unreadable = Some(CliError::Answer(error.to_string()));
                false
            }
        }
    })
    .await?;
    match unreadable {
        Some(error) => Err(error),
        None => Err(CliError::Failed(
            "the relay ended the stream: it is stopping".into(),
        )),
    }
}

fn event_text(event: &LiveEvent) -> String {
    let arrow = if event.side == "left" { "<-" } else { "->" };
    let latency = or_dash(event.latency_ms.map(|latency| format!("{latency} ms")));
    let LiveEvent {
        sync,
        table,
        kind,
        key,
        ..
    } = event;
    let fields = event.fields.join(", ");
    plain(&format!(
        "{sync} {arrow} {kind} {table} {key} [{fields}] {latency}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_without_a_terminal() {
        let status = SyncStatus {
            name: "blog".into(),
            state: "copying".into(),
            lag_ms: Some(12),
            pending: 3,
            tables: vec![TableStatus {
                left: "posts".into(),
                right: "Posts".into(),
                copied: 5,
                total: 10,
                findings: 1,
                ..TableStatus::default()
            }],
            ..SyncStatus::default()
        };
        assert_eq!(headline(&status), "blog: copying, lag 12 ms, 3 pending");
        let text = table_text(&status.tables[0]);
        assert_eq!(
            text,
            "posts <-> Posts: copied 5/10, left 0, right 0, linked 0, 1 findings"
        );
    }

    #[test]
    fn an_event_says_where_it_went_and_how_fast() {
        let event = LiveEvent {
            sync: "blog".into(),
            table: "posts".into(),
            side: "right".into(),
            kind: "update".into(),
            key: "7".into(),
            fields: vec!["title".into()],
            latency_ms: Some(9),
        };
        assert_eq!(event_text(&event), "blog -> update posts 7 [title] 9 ms");
    }
}

//! `/metrics` in Prometheus' text format, on a listener of its own and without a token: it holds
//! names of syncs and tables and counts, never a record. Called by `app` where it is configured.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::access::Caller;
use super::agents::AgentStatus;
use super::{Api, Problem};
use crate::engine::report::{SlotStatus, SyncStatus, TableStatus};
use crate::store::roles::Role;
use crate::store::workspaces;

/// Text format 0.0.4 of Prometheus.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const AGENT_STATES: [&str; 3] = ["invited", "offline", "online"];
const SYNC_STATES: [&str; 6] = ["planning", "copying", "live", "paused", "waiting", "failed"];

/// The one route of the metrics listener.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(api)
}

async fn metrics(State(api): State<Api>) -> Response {
    match everything(&api).await {
        Ok((agents, syncs)) => {
            let page = render(&agents, &syncs);
            ([(header::CONTENT_TYPE, MEDIA_TYPE)], page).into_response()
        }
        // A scrape that fails is what Prometheus takes for "down".
        Err(error) => {
            tracing::warn!(error = error.detail, "The metrics could not be read.");
            let text = "the metrics could not be read: see the relay's log\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// An agent and whose it is.
type Owned = (String, AgentStatus);

/// Agents and syncs of all workspaces.
async fn everything(api: &Api) -> Result<(Vec<Owned>, Vec<SyncStatus>), Problem> {
    let (mut agents, mut syncs) = (Vec::new(), Vec::new());
    for workspace in api.store.view(workspaces::all).await? {
        let scraper = Caller {
            workspace,
            name: "metrics".to_owned(),
            role: Role::Viewer,
            is_person: false,
            may_forward: false,
        };
        syncs.extend(api.rooms.syncs(&scraper.workspace).list().await?);
        let listed = api.rooms.agents(&scraper).list().await?;
        agents.extend(
            listed
                .into_iter()
                .map(|agent| (scraper.workspace.clone(), agent)),
        );
    }
    Ok((agents, syncs))
}

fn render(agents: &[Owned], syncs: &[SyncStatus]) -> String {
    let mut page = Page::default();
    page.family("tidegate_up", "gauge", "The relay answers.");
    page.sample("tidegate_up", &[], 1);
    page.family("tidegate_build_info", "gauge", "The relay's version.");
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.sample("tidegate_build_info", &version, 1);
    page.family("tidegate_agents", "gauge", "Agents by state.");
    for state in AGENT_STATES {
        let count = agents.iter().filter(|(_, agent)| agent.state == state);
        let count = count.count();
        page.sample("tidegate_agents", &[("state", state)], count);
    }
    page.family("tidegate_syncs", "gauge", "Syncs by state.");
    for state in SYNC_STATES {
        let count = syncs.iter().filter(|sync| sync.state == state).count();
        page.sample("tidegate_syncs", &[("state", state)], count);
    }
    if !agents.is_empty() {
        of_agents(&mut page, agents);
    }
    if !syncs.is_empty() {
        of_syncs(&mut page, syncs);
        of_tables(&mut page, syncs);
        of_slots(&mut page, syncs);
    }
    page.0
}

/// What is told of each agent, where it is known: name, kind, help, value.
type AgentFigure = (
    &'static str,
    &'static str,
    &'static str,
    fn(&AgentStatus) -> Option<f64>,
);

const AGENT_FIGURES: [AgentFigure; 10] = [
    (
        "tidegate_agent_online",
        "gauge",
        "1 while the agent is connected; absent until it is paired.",
        |agent| (agent.state != "invited").then_some(f64::from(agent.state == "online")),
    ),
    (
        "tidegate_agent_held",
        "gauge",
        "1 while the agent holds sessions or writes back by itself; absent while it is away.",
        |agent| (agent.state == "online").then_some(f64::from(agent.held.is_some())),
    ),
    (
        "tidegate_agent_sessions",
        "gauge",
        "Database sessions that are open through the agent.",
        |agent| Some(agent.sessions as f64),
    ),
    (
        "tidegate_agent_rtt_seconds",
        "gauge",
        "Time of a packet to the agent and back; absent while it is away.",
        |agent| agent.rtt_ms.map(|rtt_ms| rtt_ms / 1000.0),
    ),
    (
        "tidegate_agent_lost_packets_ratio",
        "gauge",
        "Share of the packets to the agent that were lost; absent while it is away.",
        |agent| agent.loss_percent.map(|percent| percent / 100.0),
    ),
    (
        "tidegate_agent_sent_bytes_total",
        "counter",
        "Sent to the agent since it connected; absent while it is away.",
        |agent| agent.sent_bytes.map(|bytes| bytes as f64),
    ),
    (
        "tidegate_agent_received_bytes_total",
        "counter",
        "Received from the agent since it connected; absent while it is away.",
        |agent| agent.received_bytes.map(|bytes| bytes as f64),
    ),
    (
        "tidegate_agent_certificate_end_timestamp_seconds",
        "gauge",
        "When the agent's certificate ends, in seconds since 1970. It renews itself before.",
        |agent| seconds(agent.certificate_until.as_deref()?),
    ),
    (
        "tidegate_agent_reissues",
        "gauge",
        "How often the agent's key got a certificate only after the end of the one before.",
        |agent| (agent.state != "invited").then_some(f64::from(agent.reissues)),
    ),
    (
        "tidegate_agent_cloned",
        "gauge",
        "1 when two agents with this identity have driven each other out within the last hour.",
        |agent| (agent.state != "invited").then_some(f64::from(agent.is_cloned())),
    ),
];

fn of_agents(page: &mut Page, agents: &[Owned]) {
    for (name, kind, help, figure) in AGENT_FIGURES {
        page.family(name, kind, help);
        for (workspace, agent) in agents {
            if let Some(value) = figure(agent) {
                let labels = [("workspace", workspace.as_str()), ("agent", &agent.name)];
                page.sample(name, &labels, value);
            }
        }
    }
}

/// An RFC 3339 time in seconds since 1970.
fn seconds(at: &str) -> Option<f64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    Some(at.as_second() as f64)
}

/// What a sync leaves out until its file is applied again.
type Paused = (&'static str, &'static str, fn(&SyncStatus) -> usize);

const PAUSED: [Paused; 2] = [
    (
        "tidegate_paused_tables",
        "Table pairs that are not synced until the sync file is applied again.",
        |sync| sync.paused_tables.len(),
    ),
    (
        "tidegate_paused_fields",
        "The same of field pairs, of the tables that are synced.",
        |sync| sync.paused_fields.len(),
    ),
];

fn of_syncs(page: &mut Page, syncs: &[SyncStatus]) {
    let help = "1 while changes cross as they come.";
    page.family("tidegate_sync_live", "gauge", help);
    for sync in syncs {
        let live = usize::from(sync.state == "live");
        page.sample("tidegate_sync_live", &named(sync), live);
    }
    let help = "1 for the state that the sync is in, 0 for the others.";
    page.family("tidegate_sync_state", "gauge", help);
    for (sync, state) in syncs
        .iter()
        .flat_map(|sync| SYNC_STATES.map(|state| (sync, state)))
    {
        let [workspace, name] = named(sync);
        let is_in = usize::from(sync.state == state);
        page.sample(
            "tidegate_sync_state",
            &[workspace, name, ("state", state)],
            is_in,
        );
    }
    let help = "Records written since the sync was started on this relay.";
    page.family("tidegate_sync_writes_total", "counter", help);
    for sync in syncs {
        let labels = named(sync);
        page.sample("tidegate_sync_writes_total", &labels, sync.writes);
    }
    for (name, help, count) in PAUSED {
        page.family(name, "gauge", help);
        for sync in syncs {
            page.sample(name, &named(sync), count(sync));
        }
    }
    let help = "Records that differed in the last verify; absent until there was one.";
    page.family("tidegate_verify_differences", "gauge", help);
    let verified = || {
        syncs
            .iter()
            .filter_map(|sync| Some((sync, sync.verified.as_ref()?)))
    };
    for (sync, last) in verified() {
        let labels = named(sync);
        let name = "tidegate_verify_differences";
        page.sample(name, &labels, last.difference_count);
    }
    let help = "When the last verify ended, in seconds since 1970.";
    page.family("tidegate_verify_timestamp_seconds", "gauge", help);
    for (sync, last) in verified() {
        let labels = named(sync);
        if let Some(at) = seconds(&last.at) {
            page.sample("tidegate_verify_timestamp_seconds", &labels, at);
        }
    }
}

/// What is counted for each table pair.
type Count = (&'static str, &'static str, fn(&TableStatus) -> u64);

const COUNTS: [Count; 5] = [
    (
        "tidegate_linked_records",
        "Records that are linked.",
        |table| table.linked,
    ),
    (
        "tidegate_findings",
        "Records that could not be synced; `sync findings` lists them.",
        |table| table.findings,
    ),
    ("tidegate_conflicts", "Conflicts that are kept.", |table| {
        table.conflicts
    }),
    (
        "tidegate_conflicts_waiting",
        "Conflicts that wait for a person to pick.",
        |table| table.asked,
    ),
    (
        "tidegate_pending_changes",
        "Changes taken in and not settled yet.",
        |table| table.pending,
    ),
];

fn of_tables(page: &mut Page, syncs: &[SyncStatus]) {
    for (name, help, count) in COUNTS {
        page.family(name, "gauge", help);
        for (sync, table) in tables(syncs) {
            page.sample(name, &labels(sync, table), count(table));
        }
    }
    let name = "tidegate_lag_seconds";
    let help = "From the newest change until it was settled on the other side; absent until then.";
    page.family(name, "gauge", help);
    for (sync, table) in tables(syncs) {
        if let Some(lag_ms) = table.lag_ms {
            page.sample(name, &labels(sync, table), lag_ms as f64 / 1000.0);
        }
    }
}

/// What is told of each slot, where it is known.
type Figure = (&'static str, &'static str, fn(&SlotStatus) -> Option<f64>);

const FIGURES: [Figure; 6] = [
    (
        "tidegate_slot_retained_bytes",
        "WAL that the database keeps for the slot.",
        |slot| slot.retained_bytes.map(|bytes| bytes as f64),
    ),
    (
        "tidegate_slot_bound_bytes",
        "The slot is dropped before it keeps this much.",
        |slot| slot.bound_bytes.map(|bytes| bytes as f64),
    ),
    (
        "tidegate_slot_runway_bytes",
        "WAL that may be written before the slot is dropped, if nobody reads it.",
        |slot| slot.runway_bytes.map(|bytes| bytes as f64),
    ),
    (
        "tidegate_slot_runway_seconds",
        "The same in time, as fast as the server writes now.",
        |slot| slot.runway_hours.map(|hours| hours * 3600.0),
    ),
    (
        "tidegate_slot_reading",
        "1 while the relay reads the slot; absent while it can't be looked at.",
        |slot| (slot.state != "unknown").then_some(f64::from(slot.state == "reading")),
    ),
    (
        "tidegate_slot_lost",
        "1 when the server invalidated the slot; absent while it can't be looked at.",
        |slot| (slot.state != "unknown").then_some(f64::from(slot.state == "lost")),
    ),
];

fn of_slots(page: &mut Page, syncs: &[SyncStatus]) {
    for (name, help, figure) in FIGURES {
        page.family(name, "gauge", help);
        for (labels, slot) in slots(syncs) {
            if let Some(value) = figure(slot) {
                page.sample(name, &labels, value);
            }
        }
    }
    let name = "tidegate_slot_drops_total";
    let help = "How often this relay dropped the slot before it reached its bound.";
    page.family(name, "counter", help);
    for (labels, slot) in slots(syncs) {
        page.sample(name, &labels, slot.dropped);
    }
}

/// All slots with their labels.
fn slots(syncs: &[SyncStatus]) -> impl Iterator<Item = ([(&'static str, &str); 3], &SlotStatus)> {
    syncs.iter().flat_map(|sync| {
        sync.slots.iter().map(|slot| {
            let [workspace, name] = named(sync);
            let labels = [workspace, name, ("side", slot.side.as_str())];
            (labels, slot)
        })
    })
}

fn tables(syncs: &[SyncStatus]) -> impl Iterator<Item = (&SyncStatus, &TableStatus)> {
    let of = |sync| -> (&SyncStatus, _) { (sync, &sync.tables) };
    syncs
        .iter()
        .map(of)
        .flat_map(|(sync, tables)| tables.iter().map(move |table| (sync, table)))
}

fn labels<'a>(sync: &'a SyncStatus, table: &'a TableStatus) -> [(&'static str, &'a str); 4] {
    let [workspace, name] = named(sync);
    let sides = [("left", table.left.as_str()), ("right", &table.right)];
    [workspace, name, sides[0], sides[1]]
}

/// Names are unique within a workspace only.
fn named(sync: &SyncStatus) -> [(&'static str, &str); 2] {
    [("workspace", &sync.workspace), ("sync", &sync.name)]
}

/// The text so far. Writing to a string doesn't fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            let opening = if number == 0 { '{' } else { ',' };
            let text = escaped(text);
            let _ = write!(self.0, "{opening}{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

/// A label's value between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_cannot_leave_their_quotes() {
        let table = TableStatus {
            left: "public.\"a\\b\"\nx{} 1".into(),
            ..TableStatus::default()
        };
        let sync = SyncStatus {
            workspace: "default".into(),
            name: "blog".into(),
            tables: vec![table],
            ..SyncStatus::default()
        };
        let text = render(&[], &[sync]);
        let line = r#"tidegate_findings{workspace="default",sync="blog",left="public.\"a\\b\"\nx{} 1",right=""} 0"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(
            !text.contains("tidegate_lag_seconds{"),
            "no lag is not zero"
        );
    }
}

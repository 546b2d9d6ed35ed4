//! What happens in a world, in one line each, without values but for tokens.

use tidegate_sync::model::{
    BySide, ChangeKind, Key, Link, Outcome, PairId, Row, Side, Since, StepKind, Trace,
};
use tidegate_sync::session::{Command, Event, Settlement};

use crate::values::normal;

pub fn brief(event: &Event) -> String {
    match event {
        Event::Loaded { lookups } => {
            let linked = lookups.iter().filter(|l| !l.links.is_empty()).count();
            format!("Loaded {} ({linked} linked)", lookups.len())
        }
        Event::Matches { found, done } => format!("Matches {} {done}", found.len()),
        Event::Applied { side, .. } => format!("Applied {}", side.name()),
        Event::ReadDone { rows, fence } => {
            let rows: Vec<String> = rows
                .iter()
                .map(|row| row.as_ref().map_or("none".to_owned(), brief_row))
                .collect();
            format!("ReadDone @{fence} {rows:?}")
        }
        Event::Fetched { rows } => format!("Fetched {}+{}", rows.left.len(), rows.right.len()),
        other => format!("{other:?}"),
    }
}

pub fn brief_change(change: &tidegate_sync::model::Change) -> String {
    let what = match &change.kind {
        ChangeKind::Gone => "gone".to_owned(),
        ChangeKind::Present { row, .. } => brief_row(row),
    };
    let old = change.old_key.as_ref().map(|key| format!("(was {key})"));
    format!(
        "[{}/{}{} {what} @{} {:x}]",
        change.pair.0,
        change.key,
        old.unwrap_or_default(),
        change.offset,
        change.passed.0
    )
}

fn brief_row(row: &Row) -> String {
    let cells: Vec<String> = row
        .iter()
        .map(|cell| cell.value().map_or("~".to_owned(), normal))
        .collect();
    cells.join(",")
}

fn brief_set(set: &[(usize, tidegate_sync::value::Value)]) -> String {
    let cells: Vec<String> = set
        .iter()
        .map(|(f, v)| format!("{f}={}", normal(v)))
        .collect();
    cells.join(",")
}

pub fn brief_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written(stored, _) => format!(" +{}({})", stored.key, brief_row(&stored.row)),
        Outcome::Deleted(_) => " deleted".to_owned(),
        Outcome::Stale { fence, row } => format!(" stale@{fence}({})", brief_row(row)),
        Outcome::Missing { fence } => format!(" missing@{fence}"),
        Outcome::Exists { stored, fence } => format!(" exists@{fence} {}", stored.key),
        Outcome::Rejected { code, .. } => format!(" {}", code.name()),
    }
}

pub fn brief_command(command: &Command) -> String {
    match command {
        Command::Apply {
            side, batch, steps, ..
        } => {
            let text: String = steps.iter().map(|step| brief_step(&step.kind)).collect();
            format!("Apply {} {:x}:{text}", side.name(), batch.0)
        }
        Command::Intend(_) => "Intend".to_owned(),
        Command::Settle(settlement) => brief_settlement(settlement),
        Command::Load { keys } => {
            let keys: String = keys
                .iter()
                .map(|(side, pair, key)| format!(" {}/{} {key}", pair.0, side.name()))
                .collect();
            format!("Load{keys}")
        }
        Command::Acknowledge { side, position } => {
            format!("Acknowledge {} {}", side.name(), position.offset)
        }
        other => format!("{other:?}"),
    }
}

fn brief_step(kind: &StepKind) -> String {
    match kind {
        StepKind::Create { set, .. } => format!(" create({})", brief_set(set)),
        StepKind::Update { key, set, .. } => format!(" update {key}({})", brief_set(set)),
        StepKind::Delete { key, .. } => format!(" delete {key}"),
    }
}

fn brief_settlement(settlement: &Settlement) -> String {
    let links: String = settlement
        .links
        .iter()
        .map(|(pair, link)| brief_link(*pair, link))
        .collect();
    let named = |pair: PairId, side: Side, key: &Key| format!(" {}/{} {key}", pair.0, side.name());
    let findings: String = settlement
        .findings
        .iter()
        .map(|f| named(f.pair, f.side, &f.key) + " " + f.code.name())
        .collect();
    let gone: String = settlement
        .gone
        .iter()
        .map(|g| {
            let Trace {
                since,
                seen,
                written,
            } = g.trace;
            let since = brief_since(since);
            named(g.pair, g.side, &g.key) + &format!(" {since}..@{} {:x}", seen.offset, written.0)
        })
        .collect();
    let dropped: String = settlement
        .dropped
        .iter()
        .map(|(pair, id)| format!(" {}/#{}", pair.0, id.0))
        .collect();
    let resolved: String = settlement
        .resolved
        .iter()
        .map(|(pair, side, key)| named(*pair, *side, key))
        .collect();
    let at = BySide::from_fn(|side| settlement.positions[side].as_ref().map(|p| p.offset));
    format!(
        "Settle to {:?}:{:?} links[{links}] dropped[{dropped}] gone[{gone}] findings[{findings}] \
         resolved[{resolved}] conflicts {}",
        at.left,
        at.right,
        settlement.conflicts.len()
    )
}

fn brief_since(since: Since) -> String {
    format!("{:x}@{}", since.batch.0, since.place.offset)
}

fn brief_link(pair: PairId, link: &Link) -> String {
    let key = |side: Side| {
        link.keys[side]
            .as_ref()
            .map_or("-".to_owned(), |key| key.to_string())
    };
    format!(
        " {}/#{} {}:{} since {}:{} seen {}:{} written {:x}:{:x}",
        pair.0,
        link.id.0,
        key(Side::Left),
        key(Side::Right),
        brief_since(link.since.left),
        brief_since(link.since.right),
        link.seen.left.offset,
        link.seen.right.offset,
        link.written.left.0,
        link.written.right.0
    )
}

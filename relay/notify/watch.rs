//! How everything goes, as what is the matter: each thing that could be told is judged at each look.
//! Pure; `app` hands the views in.

use std::collections::HashMap;

use super::event::{Detail, Event, Subject};
use super::limits::{FAILING_ATTEMPTS, TABLES_MAX};
use crate::engine::report::{SlotStatus, SyncStatus, TableStatus};

/// A certificate that ends so soon should have been renewed long before.
const CERTIFICATE_HOURS: i64 = 24;
/// Agents need some days to get to know another authority.
const AUTHORITY_HOURS: i64 = 90 * 24;
/// A slot's bound is near from here on, of what it may keep; and when it is this near in time.
const NEAR_SHARE: f64 = 0.75;
const NEAR_HOURS: f64 = 4.0;

/// A workspace at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub workspace: String,
    pub syncs: Vec<SyncStatus>,
    pub agents: Vec<AgentSeen>,
    /// Of the default workspace.
    pub authorities: Vec<AuthoritySeen>,
    pub channels: Vec<ChannelSeen>,
}

/// An agent that is paired.
#[derive(Clone, Debug, Default)]
pub struct AgentSeen {
    pub name: String,
    pub online: bool,
    pub held: bool,
    pub cloned: bool,
    /// Milliseconds since 1970.
    pub certificate_until_ms: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct AuthoritySeen {
    /// `agents` or `relays`.
    pub kind: String,
    pub until_ms: i64,
    pub replaced: bool,
}

#[derive(Clone, Debug, Default)]
pub struct ChannelSeen {
    pub name: String,
    /// Of its last message, if that has not arrived.
    pub failed_attempts: u32,
}

/// How one thing is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Bad(Detail),
    Well,
    /// It can't be told at present: as before.
    Unknown,
}

/// One judged thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sight {
    pub event: Event,
    pub subject: Subject,
    pub verdict: Verdict,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Writes of each live sync at the last look.
    writes: HashMap<(String, String), u64>,
}

impl Watch {
    /// Judges everything of one workspace.
    pub(super) fn sights(&mut self, seen: &Seen, now_ms: i64) -> Vec<Sight> {
        let mut sights = Vec::new();
        for sync in &seen.syncs {
            let subject = Subject::new("sync", &sync.name);
            let before = self
                .writes
                .insert((seen.workspace.clone(), sync.name.clone()), sync.writes);
            let of_sync = [
                (Event::SyncStopped, stopped(sync, false)),
                (Event::SyncApproval, stopped(sync, true)),
                (Event::SyncWaiting, waiting(sync)),
                (Event::SyncStuck, stuck(sync, before)),
                (Event::SyncPartPaused, part_paused(sync)),
                (Event::SyncFindings, counted(sync, |table| table.findings)),
                (Event::SyncConflicts, counted(sync, |table| table.asked)),
                (Event::SyncDifferences, differences(sync)),
            ];
            push(&mut sights, &subject, of_sync);
            for side in ["left", "right"] {
                let slot = sync.slots.iter().find(|slot| slot.side == side);
                let subject = Subject {
                    side: Some(side.to_owned()),
                    ..Subject::new("slot", &sync.name)
                };
                let of_slot = [
                    (Event::SlotNearBound, near_bound(slot)),
                    (Event::SlotLost, lost(slot)),
                ];
                push(&mut sights, &subject, of_slot);
            }
        }
        for agent in &seen.agents {
            let of_agent = [
                (Event::AgentOffline, bad_if(!agent.online)),
                (Event::AgentHeld, while_online(agent, bad_if(agent.held))),
                (Event::AgentCertificate, certificate(agent, now_ms)),
                (Event::AgentCloned, bad_if(agent.cloned)),
            ];
            push(&mut sights, &Subject::new("agent", &agent.name), of_agent);
        }
        for authority in &seen.authorities {
            let left = (authority.until_ms - now_ms) / HOUR_MS;
            let verdict = match left < AUTHORITY_HOURS && !authority.replaced {
                true => within(left),
                false => Verdict::Well,
            };
            let subject = Subject::new("authority", &authority.kind);
            push(&mut sights, &subject, [(Event::AuthorityEnds, verdict)]);
        }
        for channel in &seen.channels {
            let failing = channel.failed_attempts >= FAILING_ATTEMPTS;
            let verdict = match channel.failed_attempts {
                0 => Verdict::Well,
                _ if failing => Verdict::Bad(Detail::default()),
                _ => Verdict::Unknown,
            };
            let subject = Subject::new("channel", &channel.name);
            push(&mut sights, &subject, [(Event::ChannelFailing, verdict)]);
        }
        sights
    }
}

const HOUR_MS: i64 = 3_600_000;

fn push<const N: usize>(sights: &mut Vec<Sight>, subject: &Subject, judged: [(Event, Verdict); N]) {
    sights.extend(judged.map(|(event, verdict)| Sight {
        event,
        subject: subject.clone(),
        verdict,
    }));
}

fn bad_if(is_bad: bool) -> Verdict {
    match is_bad {
        true => Verdict::Bad(Detail::default()),
        false => Verdict::Well,
    }
}

fn within(hours: i64) -> Verdict {
    Verdict::Bad(Detail {
        hours_left: Some(hours.max(0) as u64),
        ..Detail::default()
    })
}

fn stopped(sync: &SyncStatus, by_approval: bool) -> Verdict {
    match sync.state.as_str() {
        "failed" => bad_if(sync.needs_approval == by_approval),
        // It goes on, or a person has it in hand.
        "live" | "paused" | "copying" => Verdict::Well,
        _ => Verdict::Unknown,
    }
}

/// Between two attempts it opens its sides: that alone does not say whether it reaches them.
fn waiting(sync: &SyncStatus) -> Verdict {
    match sync.state.as_str() {
        "planning" => Verdict::Unknown,
        state => bad_if(state == "waiting"),
    }
}

fn stuck(sync: &SyncStatus, writes_before: Option<u64>) -> Verdict {
    match sync.state.as_str() {
        "planning" => Verdict::Unknown,
        state => bad_if(state == "live" && sync.pending > 0 && writes_before == Some(sync.writes)),
    }
}

/// Known of a run alone.
fn part_paused(sync: &SyncStatus) -> Verdict {
    if sync.state != "live" {
        return Verdict::Unknown;
    }
    match (sync.paused_tables.len() + sync.paused_fields.len()) as u64 {
        0 => Verdict::Well,
        count => Verdict::Bad(Detail {
            count: Some(count),
            ..Detail::default()
        }),
    }
}

fn counted(sync: &SyncStatus, of: fn(&TableStatus) -> u64) -> Verdict {
    let count: u64 = sync.tables.iter().map(of).sum();
    if count == 0 {
        return Verdict::Well;
    }
    let with_some = sync.tables.iter().filter(|table| of(table) > 0);
    Verdict::Bad(Detail {
        count: Some(count),
        tables: with_some
            .take(TABLES_MAX)
            .map(|table| table.left.clone())
            .collect(),
        ..Detail::default()
    })
}

fn differences(sync: &SyncStatus) -> Verdict {
    match sync
        .verified
        .as_ref()
        .map_or(0, |last| last.difference_count)
    {
        0 => Verdict::Well,
        count => Verdict::Bad(Detail {
            count: Some(count),
            ..Detail::default()
        }),
    }
}

fn near_bound(slot: Option<&SlotStatus>) -> Verdict {
    let Some(slot) = slot.filter(|slot| slot.state != "unknown") else {
        return Verdict::Unknown;
    };
    let is_full = match (slot.retained_bytes, slot.bound_bytes) {
        (Some(kept), Some(bound)) => kept as f64 > bound as f64 * NEAR_SHARE,
        _ => false,
    };
    let hours = slot.runway_hours.filter(|hours| *hours < NEAR_HOURS);
    match hours {
        Some(hours) => within(hours as i64),
        None => bad_if(is_full),
    }
}

fn lost(slot: Option<&SlotStatus>) -> Verdict {
    let Some(slot) = slot else {
        return Verdict::Unknown;
    };
    match slot.state.as_str() {
        "lost" => bad_if(true),
        // The guardian leaves a warning where it has dropped one.
        "none" => bad_if(slot.warning.is_some()),
        "reading" | "idle" => Verdict::Well,
        _ => Verdict::Unknown,
    }
}

fn while_online(agent: &AgentSeen, verdict: Verdict) -> Verdict {
    match agent.online {
        true => verdict,
        false => Verdict::Unknown,
    }
}

/// An agent that is away gets another one when it comes back.
fn certificate(agent: &AgentSeen, now_ms: i64) -> Verdict {
    let left = agent
        .certificate_until_ms
        .map(|until| (until - now_ms) / HOUR_MS);
    let verdict = match left {
        Some(left) if left < CERTIFICATE_HOURS => within(left),
        _ => Verdict::Well,
    };
    while_online(agent, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(seen: &Seen, event: Event) -> Verdict {
        let sights = Watch::default().sights(seen, 0);
        let found = sights.into_iter().find(|sight| sight.event == event);
        found.unwrap().verdict
    }

    fn of_sync(sync: SyncStatus) -> Seen {
        Seen {
            syncs: vec![sync],
            ..Seen::default()
        }
    }

    fn in_state(state: &str) -> SyncStatus {
        SyncStatus {
            name: "blog".into(),
            state: state.into(),
            ..SyncStatus::default()
        }
    }

    #[test]
    fn a_sync_that_opens_its_sides_again_is_neither_well_nor_bad() {
        for event in [Event::SyncStopped, Event::SyncWaiting, Event::SyncStuck] {
            let verdict = judged(&of_sync(in_state("planning")), event);
            assert_eq!(verdict, Verdict::Unknown, "{event}");
        }
        let waiting = of_sync(in_state("waiting"));
        assert_eq!(judged(&waiting, Event::SyncWaiting), bad_if(true));
        let paused = of_sync(in_state("paused"));
        assert_eq!(judged(&paused, Event::SyncStopped), Verdict::Well);
    }

    #[test]
    fn an_approval_is_told_apart_from_other_stops() {
        let mut sync = in_state("failed");
        assert_eq!(
            judged(&of_sync(sync.clone()), Event::SyncStopped),
            bad_if(true)
        );
        sync.needs_approval = true;
        assert_eq!(
            judged(&of_sync(sync.clone()), Event::SyncStopped),
            Verdict::Well
        );
        assert_eq!(judged(&of_sync(sync), Event::SyncApproval), bad_if(true));
    }

    #[test]
    fn a_sync_is_stuck_when_it_has_changes_and_wrote_none_since_the_last_look() {
        let mut sync = in_state("live");
        (sync.pending, sync.writes) = (3, 10);
        let mut watch = Watch::default();
        let mut look = |sync: &SyncStatus| {
            let sights = watch.sights(&of_sync(sync.clone()), 0);
            let stuck = |sight: &&Sight| sight.event == Event::SyncStuck;
            sights.iter().find(stuck).unwrap().verdict.clone()
        };
        assert_eq!(look(&sync), Verdict::Well, "the first look");
        assert_eq!(look(&sync), bad_if(true));
        sync.writes += 1;
        assert_eq!(look(&sync), Verdict::Well);
        sync.pending = 0;
        assert_eq!(look(&sync), Verdict::Well);
    }

    #[test]
    fn tables_with_findings_are_named_up_to_a_bound() {
        let table = |number: usize| TableStatus {
            left: format!("public.t{number}"),
            findings: 2,
            ..TableStatus::default()
        };
        let mut sync = in_state("live");
        sync.tables = (0..20).map(table).collect();
        let Verdict::Bad(detail) = judged(&of_sync(sync), Event::SyncFindings) else {
            panic!("bad");
        };
        assert_eq!((detail.count, detail.tables.len()), (Some(40), TABLES_MAX));
    }

    #[test]
    fn a_slot_that_was_not_looked_at_says_nothing() {
        let slot = |state: &str, kept: u64, hours: Option<f64>| SlotStatus {
            side: "left".into(),
            state: state.into(),
            retained_bytes: Some(kept),
            bound_bytes: Some(100),
            runway_hours: hours,
            ..SlotStatus::default()
        };
        assert_eq!(near_bound(None), Verdict::Unknown);
        assert_eq!(
            near_bound(Some(&slot("unknown", 99, None))),
            Verdict::Unknown
        );
        assert_eq!(near_bound(Some(&slot("idle", 76, None))), bad_if(true));
        assert_eq!(near_bound(Some(&slot("idle", 10, Some(3.5)))), within(3));
        assert_eq!(
            near_bound(Some(&slot("idle", 10, Some(30.0)))),
            Verdict::Well
        );
        assert_eq!(lost(Some(&slot("lost", 0, None))), bad_if(true));
        assert_eq!(lost(Some(&slot("unknown", 0, None))), Verdict::Unknown);
        let mut dropped = slot("none", 0, None);
        assert_eq!(lost(Some(&dropped)), bad_if(false));
        dropped.warning = Some("it was dropped".into());
        assert_eq!(lost(Some(&dropped)), bad_if(true));
    }

    #[test]
    fn certificates_of_agents_that_are_away_are_not_told() {
        let agent = |online| AgentSeen {
            online,
            certificate_until_ms: Some(5 * HOUR_MS),
            ..AgentSeen::default()
        };
        assert_eq!(certificate(&agent(true), 0), within(5));
        assert_eq!(certificate(&agent(false), 0), Verdict::Unknown);
        assert_eq!(certificate(&agent(true), -100 * HOUR_MS), Verdict::Well);
    }
}

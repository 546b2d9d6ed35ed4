//! What can be told: each kind of event with its name, how long it must last before anybody is told, and
//! what it says. docs/notifications.md has the same list; a test compares them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A kind of event. Its name is a promise.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[schema(as = ChannelEvent)]
pub enum Event {
    /// The sync has stopped and does not go on by itself.
    #[serde(rename = "sync.stopped")]
    SyncStopped,
    /// It would delete many records and waits for an approval.
    #[serde(rename = "sync.approval")]
    SyncApproval,
    /// One of its sides is not reached.
    #[serde(rename = "sync.waiting")]
    SyncWaiting,
    /// Changes are taken in and none is written.
    #[serde(rename = "sync.stuck")]
    SyncStuck,
    /// Pairs of tables or fields are left out.
    #[serde(rename = "sync.part-paused")]
    SyncPartPaused,
    /// Records can't be synced.
    #[serde(rename = "sync.findings")]
    SyncFindings,
    /// Conflicts wait for somebody to pick a side.
    #[serde(rename = "sync.conflicts")]
    SyncConflicts,
    /// The last verify found differences.
    #[serde(rename = "sync.differences")]
    SyncDifferences,
    /// A database keeps nearly as much for a slot as it may.
    #[serde(rename = "slot.near-bound")]
    SlotNearBound,
    /// A slot was dropped or invalidated.
    #[serde(rename = "slot.lost")]
    SlotLost,
    #[serde(rename = "agent.offline")]
    AgentOffline,
    /// An agent holds sessions or writes back by itself.
    #[serde(rename = "agent.held")]
    AgentHeld,
    /// An agent's certificate ends within a day, and it did not renew it.
    #[serde(rename = "agent.certificate")]
    AgentCertificate,
    /// Two agents use one identity.
    #[serde(rename = "agent.cloned")]
    AgentCloned,
    /// One of the relay's authorities ends within 90 days. In the default workspace only.
    #[serde(rename = "authority.ends")]
    AuthorityEnds,
    /// Notifications can't be delivered to a channel.
    #[serde(rename = "channel.failing")]
    ChannelFailing,
}

/// What is told of a kind of event. `{name}` is the subject's name, `{side}` its side, `{count:thing}` how many
/// things.
struct Words {
    name: &'static str,
    hold: Duration,
    open: &'static str,
    over: &'static str,
    advice: &'static str,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

impl Event {
    pub const ALL: [Event; 16] = [
        Event::SyncStopped,
        Event::SyncApproval,
        Event::SyncWaiting,
        Event::SyncStuck,
        Event::SyncPartPaused,
        Event::SyncFindings,
        Event::SyncConflicts,
        Event::SyncDifferences,
        Event::SlotNearBound,
        Event::SlotLost,
        Event::AgentOffline,
        Event::AgentHeld,
        Event::AgentCertificate,
        Event::AgentCloned,
        Event::AuthorityEnds,
        Event::ChannelFailing,
    ];

    /// As stored, and as in the API.
    pub fn name(self) -> &'static str {
        self.words().name
    }

    pub fn parse(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == name)
    }

    /// How long it must last before it is told.
    pub fn hold(self) -> Duration {
        self.words().hold
    }

    /// While it is the matter.
    pub(super) fn open(self) -> &'static str {
        self.words().open
    }

    /// When it is over.
    pub(super) fn over(self) -> &'static str {
        self.words().over
    }

    /// What to do.
    pub(super) fn advice(self) -> &'static str {
        self.words().advice
    }

    fn words(self) -> Words {
        match self {
            Event::SyncStopped
            | Event::SyncApproval
            | Event::SyncWaiting
            | Event::SyncStuck
            | Event::SyncPartPaused
            | Event::SyncFindings
            | Event::SyncConflicts
            | Event::SyncDifferences => self.words_of_a_sync(),
            _ => self.words_of_others(),
        }
    }

    fn words_of_a_sync(self) -> Words {
        let (name, hold, open, over, advice) = match self {
            Event::SyncApproval => (
                "sync.approval",
                Duration::ZERO,
                "Sync {name} would delete many records and waits for an approval",
                "Sync {name} does not wait for an approval any more",
                "`tidegate-relay sync status {name}` says how many; `sync approve {name}` lets it go on.",
            ),
            Event::SyncWaiting => (
                "sync.waiting",
                minutes(10),
                "Sync {name} does not reach one of its sides",
                "Sync {name} reaches both its sides again",
                "`tidegate-relay sync status {name}` names the side and the reason.",
            ),
            Event::SyncStuck => (
                "sync.stuck",
                minutes(15),
                "Sync {name} takes changes in and writes none",
                "Sync {name} does not stand still any more",
                "Mostly a lock: look for blocked sessions in the database that is written to.",
            ),
            Event::SyncPartPaused => (
                "sync.part-paused",
                minutes(5),
                "Sync {name} leaves out {count:pair} of tables or fields",
                "Sync {name} leaves nothing out any more",
                "A mapped table or column was changed. `tidegate-relay sync status {name}` says which.",
            ),
            Event::SyncFindings => (
                "sync.findings",
                minutes(10),
                "Sync {name}: {count:record} can't be synced",
                "No record of sync {name} is kept from being synced any more",
                "`tidegate-relay sync findings {name}` says why and what to do.",
            ),
            Event::SyncConflicts => (
                "sync.conflicts",
                minutes(10),
                "Sync {name}: {count:conflict} waiting for somebody to pick a side",
                "No conflict of sync {name} waits any more",
                "`tidegate-relay sync conflicts {name} --waiting` shows both values.",
            ),
            Event::SyncDifferences => (
                "sync.differences",
                minutes(1),
                "The last verify of sync {name} found differences in {count:record}",
                "The last verify of sync {name} found no difference",
                "`tidegate-relay sync verify {name} --repair` shows what would make them equal.",
            ),
            _ => (
                "sync.stopped",
                minutes(2),
                "Sync {name} has stopped and waits for a person",
                "Sync {name} does not wait for a person any more",
                "`tidegate-relay sync status {name}` says what it waits for.",
            ),
        };
        Words {
            name,
            hold,
            open,
            over,
            advice,
        }
    }

    fn words_of_others(self) -> Words {
        let (name, hold, open, over, advice) = match self {
            Event::SlotNearBound => (
                "slot.near-bound",
                minutes(10),
                "The database on the {side} side of sync {name} keeps nearly as much for its slot as it may",
                "The slot on the {side} side of sync {name} is far from its bound again",
                "Resume the sync, or mend what it waits for; else the slot is dropped and the sync \
                 compares both sides afterwards.",
            ),
            Event::SlotLost => (
                "slot.lost",
                Duration::ZERO,
                "Sync {name} lost its slot on the {side} side",
                "Sync {name} has a slot on its {side} side again",
                "Nothing is lost: the sync compares both sides when it runs again.",
            ),
            Event::AgentHeld => (
                "agent.held",
                minutes(15),
                "Agent {name} holds sessions or writes back",
                "Agent {name} holds nothing back any more",
                "`tidegate-relay agent show {name}` tells why; `tidegate-agent resume` on its host ends it.",
            ),
            Event::AgentCertificate => (
                "agent.certificate",
                minutes(15),
                "The certificate of agent {name} ends within a day, and it did not renew it",
                "Agent {name} has a new certificate",
                "`journalctl -u tidegate-agent` on its host says why.",
            ),
            Event::AgentCloned => (
                "agent.cloned",
                Duration::ZERO,
                "Two agents with the identity of {name} drive each other out",
                "Agent {name} was not driven out for an hour",
                "A copy of its state directory is in use elsewhere, or somebody took its key.",
            ),
            Event::AuthorityEnds => (
                "authority.ends",
                Duration::ZERO,
                "The relay's authority for {name} ends within 90 days",
                "The relay's authority for {name} was replaced",
                "`tidegate-relay authority renew {name}` begins to replace it.",
            ),
            Event::ChannelFailing => (
                "channel.failing",
                Duration::ZERO,
                "Notifications can't be delivered to channel {name}",
                "Channel {name} takes notifications again",
                "`tidegate-relay channel show {name}` says why.",
            ),
            _ => (
                "agent.offline",
                minutes(5),
                "Agent {name} is not connected",
                "Agent {name} is connected again",
                "`tidegate-agent check` on its host names the first thing that is wrong.",
            ),
        };
        Words {
            name,
            hold,
            open,
            over,
            advice,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// `sync`, `slot` (named after its sync), `agent`, `authority` or `channel`.
    pub kind: String,
    pub name: String,
    /// Of a slot: `left` or `right`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
}

impl Subject {
    pub(super) fn new(kind: &str, name: &str) -> Subject {
        Subject {
            kind: kind.to_owned(),
            name: name.to_owned(),
            side: None,
        }
    }
}

/// What is told beside that. No row values, and no text that a database gave but names of tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Hours until a slot is dropped, or a certificate or an authority ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours_left: Option<u64>,
    /// It is over because what it was about is no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_api_and_each_event_has_its_own() {
        for event in Event::ALL {
            let told = serde_json::to_value(event).unwrap();
            assert_eq!(told, event.name());
            assert_eq!(Event::parse(event.name()), Some(event));
        }
        assert_eq!(Event::parse("sync"), None);
    }

    #[test]
    fn the_documentation_lists_each_event_and_no_other() {
        let page = include_str!("../../docs/notifications.md");
        let listed: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|name| name.contains('.'))
            .collect();
        let names: Vec<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(listed, names);
    }
}

//! What the API asks about agents, answered by pairing, store and tunnel.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tidegate_shared::identity::fingerprint_text;
use tidegate_shared::identity::limits::REISSUE;
use tidegate_shared::tunnel::IdentityFault;
use tidegate_shared::wire::{self, Held, OpenRequest};

use crate::api::agents::{AgentControl, AgentStatus, AgentTarget, Invited};
use crate::api::forward::{Duplex, ForwardPurpose, Forwards};
use crate::endpoint::{Class, EndpointError};
use crate::engine::Engine;
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::identity::CustodyError;
use crate::pairing::limits::REISSUES_PER_KEY_MAX;
use crate::pairing::{Asker, Pairing, PairingError};
use crate::store::agents::{AgentRecord, Standing};
use crate::store::{Store, agents};
use crate::tunnel::{AgentLive, Agents};

use super::reach::not_opened;

/// Life of a pairing token unless told otherwise.
const INVITATION_LIFE: Duration = Duration::from_secs(3600);
/// What stands for a sync's name where a person's tool has a session; no sync can have it.
const FORWARD: &str = "@forward";
/// PostgreSQL cuts `application_name` at 63 bytes anyway.
const LABEL_CHARS_MAX: usize = 63;

/// The agents of one workspace, for one caller.
#[derive(Clone)]
pub(super) struct AgentDesk {
    pub(super) store: Store,
    pub(super) pairing: Arc<Pairing>,
    pub(super) agents: Agents,
    /// Of the same workspace.
    pub(super) engine: Engine,
    pub(super) forwards: Arc<Forwards>,
    pub(super) workspace: String,
    /// For the audit log.
    pub(super) actor: String,
}

impl AgentDesk {
    fn asker(&self) -> Asker<'_> {
        Asker {
            workspace: &self.workspace,
            actor: &self.actor,
        }
    }

    /// An agent of this workspace, and how its certificates stand.
    async fn find(&self, name: &str) -> Result<(AgentRecord, Option<Standing>), ControlError> {
        let (workspace, wanted) = (self.workspace.clone(), name.to_owned());
        let found = self.store.view(move |conn| {
            let Some(record) = agents::find_by_name(conn, &workspace, &wanted)? else {
                let all = agents::list(conn, &workspace, true)?;
                return Ok(Err(all.iter().any(|former| former.name == wanted)));
            };
            let standing = agents::standing(conn, &workspace, &record.id)?;
            Ok(Ok((record, standing)))
        });
        let found = found.await.map_err(|error| refused(error.into()))?;
        found.map_err(|was_revoked| match was_revoked {
            true => revoked(name),
            false => refused(PairingError::NoAgent(name.to_owned())),
        })
    }

    fn status(&self, record: &AgentRecord, standing: Option<Standing>) -> AgentStatus {
        let live = self.agents.live(&record.id);
        let state = match (&live, record.revoked_at, record.paired_at) {
            (_, Some(_), _) => "revoked",
            (Some(_), _, _) => "online",
            (None, _, Some(_)) => "offline",
            (None, _, None) => "invited",
        };
        let mut status = AgentStatus {
            name: record.name.clone(),
            state: state.to_owned(),
            host: record.host.clone(),
            version: record.version.clone(),
            since: record.last_seen_at.and_then(rfc3339),
            certificate_until: standing.and_then(|standing| rfc3339(standing.until)),
            identity: standing.map(|standing| word(standing).to_owned()),
            key_fingerprint: standing.map(|standing| fingerprint_text(&standing.key)),
            cloned_at: self.agents.cloned(&record.id).and_then(|at| {
                let at = jiff::Timestamp::try_from(at).ok()?;
                Some(at.to_string())
            }),
            reissues: standing.map_or(0, |standing| standing.reissues),
            forwards: self.forwards.of(&record.workspace, &record.name),
            ..AgentStatus::default()
        };
        if let Some(live) = live {
            fill_live(&mut status, &live);
        }
        status
    }
}

fn fill_live(status: &mut AgentStatus, live: &AgentLive) {
    status.host = Some(live.host.clone());
    status.version = Some(live.version.clone());
    status.remote = Some(live.remote.to_string());
    status.transport = Some(live.transport.as_str().to_owned());
    status.rtt_ms = Some(live.rtt().as_secs_f64() * 1000.0);
    let since = jiff::Timestamp::try_from(live.since).ok();
    status.since = since.map(|since| since.to_string());
    status.sessions = live.streams as u64;
    let stats = live.stats;
    if let Some(path) = stats.path {
        let lost = 100.0 * path.lost_packets as f64 / path.sent_packets.max(1) as f64;
        status.loss_percent = Some(lost);
        status.mtu_bytes = Some(path.mtu_bytes);
    }
    status.sent_bytes = Some(stats.sent_bytes);
    status.received_bytes = Some(stats.received_bytes);
    let held = match live.holding.held {
        Held::Nothing => None,
        Held::Writes => Some("writes"),
        Held::Everything => Some("everything"),
    };
    status.held = held.map(ToOwned::to_owned);
    let reason = &live.holding.reason;
    status.held_reason = (held.is_some() && !reason.is_empty()).then(|| reason.clone());
    status.targets = live
        .targets
        .iter()
        .map(|target| AgentTarget {
            name: target.name.clone(),
            database: target.database.clone(),
            read_only: target.read_only,
            allow_ddl: live.allows_ddl(&target.name),
            slot_wal_max: live.slot_bound(&target.name),
            passthrough: live.passthrough_targets.contains(&target.name),
            forward: live
                .forward_targets
                .as_ref()
                .map(|open| open.contains(&target.name)),
        })
        .collect();
}

#[async_trait]
impl AgentControl for AgentDesk {
    async fn invite(&self, name: &str, expires_s: Option<u64>) -> Result<Invited, ControlError> {
        let expires = expires_s.map_or(INVITATION_LIFE, Duration::from_secs);
        let invited = self
            .pairing
            .invite(self.asker(), name, expires, SystemTime::now())
            .await
            .map_err(refused)?;
        let expires_at = jiff::Timestamp::try_from(invited.expires_at);
        Ok(Invited {
            name: invited.name,
            token: invited.token.to_string(),
            expires_at: expires_at.map(|at| at.to_string()).unwrap_or_default(),
        })
    }

    async fn list(&self) -> Result<Vec<AgentStatus>, ControlError> {
        let workspace = self.workspace.clone();
        let records = self
            .store
            .view(move |conn| {
                let records = agents::list(conn, &workspace, false)?.into_iter();
                let with_end = |record: AgentRecord| {
                    let standing = agents::standing(conn, &workspace, &record.id)?;
                    Ok((record, standing))
                };
                records.map(with_end).collect::<Result<Vec<_>, _>>()
            })
            .await
            .map_err(|error| refused(error.into()))?;
        let status =
            |(record, standing): &(AgentRecord, Option<Standing>)| self.status(record, *standing);
        Ok(records.iter().map(status).collect())
    }

    async fn show(&self, name: &str) -> Result<AgentStatus, ControlError> {
        let (record, standing) = self.find(name).await?;
        Ok(self.status(&record, standing))
    }

    async fn revoke(&self, name: &str) -> Result<AgentStatus, ControlError> {
        let stopped = self.engine.leave_agent(name).await;
        let revoked = self
            .pairing
            .revoke(self.asker(), name, SystemTime::now())
            .await;
        self.engine.take_up(&stopped).await;
        revoked.map_err(refused)?;
        Ok(AgentStatus {
            name: name.to_owned(),
            state: "revoked".to_owned(),
            ..AgentStatus::default()
        })
    }

    async fn forward(
        &self,
        name: &str,
        target: &str,
        purpose: ForwardPurpose,
    ) -> Result<Box<dyn Duplex>, ControlError> {
        let (record, _) = self.find(name).await?;
        let live = self.agents.live(&record.id);
        // A session that is there may be cancelled whatever has changed since.
        if purpose == ForwardPurpose::Session && live.is_some_and(|live| live.forwards_not(target))
        {
            return Err(not_forwarded(name, target));
        }
        let request = OpenRequest {
            target: target.to_owned(),
            sync: FORWARD.to_owned(),
            run: label(&self.actor),
            // Of no run: no gate compares it.
            epoch: 0,
            purpose: match purpose {
                ForwardPurpose::Session => wire::Purpose::Forward,
                ForwardPurpose::Cancel => wire::Purpose::Cancel,
            },
        };
        let opened = self.agents.open(&record.id, request).await;
        let stream = opened.map_err(|error| closed(not_opened(name, error)))?;
        Ok(Box::new(stream))
    }
}

/// As the agent shows it to its database and in its log: printable, and not long.
fn label(actor: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    actor.chars().map(printable).take(LABEL_CHARS_MAX).collect()
}

fn closed(error: EndpointError) -> ControlError {
    let kind = match error.class {
        Class::Retry(_) | Class::Operator => ControlErrorKind::Unavailable,
        Class::Bug => ControlErrorKind::Internal,
    };
    ControlError::new(kind, error.code, error.message)
}

/// Refused before the agent is asked; it would say the same.
fn not_forwarded(agent: &str, target: &str) -> ControlError {
    let text = format!(
        "agent `{agent}` has no target `{target}` that is open to people's tools: on its host, \
         `forward = \"yes\"` for the target in agent.toml and `systemctl reload tidegate-agent` open it"
    );
    ControlError::new(ControlErrorKind::Unavailable, "forward-closed", text)
}

fn revoked(name: &str) -> ControlError {
    let text = format!(
        "agent {name} was revoked: `tidegate-relay agent invite {name}` makes a token for a new one"
    );
    ControlError::new(
        ControlErrorKind::NotFound,
        IdentityFault::Revoked.code(),
        text,
    )
}

/// How an identity stands.
fn word(standing: Standing) -> &'static str {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let lapses_ms = (standing.until).saturating_add_unsigned(REISSUE.as_millis() as u64);
    if now_ms <= standing.until {
        "good"
    } else if now_ms <= lapses_ms && standing.reissues < REISSUES_PER_KEY_MAX {
        "expired"
    } else {
        "lapsed"
    }
}

pub(super) fn refused(error: PairingError) -> ControlError {
    let (kind, code) = match &error {
        PairingError::Name(_) => (ControlErrorKind::Invalid, "bad-name"),
        PairingError::Expires => (ControlErrorKind::Invalid, "bad-expiry"),
        PairingError::NoAgent(_) => (ControlErrorKind::NotFound, "no-agent"),
        PairingError::Addresses(_) => (ControlErrorKind::Invalid, "bad-relay-names"),
        PairingError::WouldLose(_) => (ControlErrorKind::Conflict, "would-lose-agents"),
        PairingError::Custody(CustodyError::RollingOver(_) | CustodyError::NotRollingOver(_)) => {
            (ControlErrorKind::Conflict, "authority-roll-over")
        }
        _ => (ControlErrorKind::Internal, "pairing"),
    };
    let text = match error.class() {
        tidegate_shared::Class::Operator(advice) => format!("{error}: {advice}"),
        _ => error.to_string(),
    };
    ControlError::new(kind, code, text)
}

fn rfc3339(at_ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(at_ms)
        .ok()
        .map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_lapsed_when_no_other_certificate_is_given() {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let hour_ms = 3_600_000;
        let away_ms = REISSUE.as_millis() as i64;
        for (until, reissues, expected) in [
            (now_ms + hour_ms, 0, "good"),
            (now_ms + hour_ms, REISSUES_PER_KEY_MAX, "good"),
            (now_ms - hour_ms, REISSUES_PER_KEY_MAX - 1, "expired"),
            (now_ms - hour_ms, REISSUES_PER_KEY_MAX, "lapsed"),
            (now_ms - away_ms + hour_ms, 0, "expired"),
            (now_ms - away_ms - hour_ms, 0, "lapsed"),
        ] {
            let standing = Standing {
                until,
                reissues,
                key: [0; 32],
            };
            assert_eq!(word(standing), expected, "{standing:?}");
        }
    }
}

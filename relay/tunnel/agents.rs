//! Who is here: the registry of live sessions, and streams through them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tidegate_shared::Class;
use tidegate_shared::identity::AgentIdentity;
use tidegate_shared::tunnel::{
    CloseCode, Transport, Tunnel, TunnelError, TunnelStats, TunnelStream,
};
use tidegate_shared::wire::{
    self, Hello, Holding, Offer, OpenAnswer, OpenDenial, OpenRequest, Purpose, RelayMessage,
    TargetInfo, Trust, WireError,
};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::instances::Instances;
use super::limits;

/// The registry. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    instances: Mutex<Instances>,
    /// Counts arrivals and departures; who waits for one watches it.
    changes: watch::Sender<u64>,
    session_last: AtomicU64,
    draining: AtomicBool,
}

/// One live session, as its own task and the registry share it.
pub(super) struct Session {
    pub(super) number: u64,
    identity: AgentIdentity,
    tunnel: Tunnel,
    hello: Hello,
    /// What of the hello the agent has changed since.
    told: Mutex<Told>,
    since: SystemTime,
    commands: mpsc::Sender<Command>,
    /// Streams that are open through it.
    streams: Arc<AtomicUsize>,
    /// The agent said goodbye: it ends what is open and takes nothing new.
    leaving: Arc<AtomicBool>,
}

/// What an agent may tell anew within a session.
struct Told {
    holding: Holding,
    offer: Offer,
}

/// Counts one open stream until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the registry asks of a session's task.
#[derive(Debug)]
pub(super) enum Command {
    Goodbye {
        delay: Duration,
    },
    /// Agents shall trust other authorities from now on.
    Trust(Trust),
}

/// An agent that is connected now.
#[derive(Debug, Clone)]
pub struct AgentLive {
    /// The agent's id, not its name.
    pub agent: String,
    pub workspace: String,
    pub session: u64,
    pub host: String,
    pub version: String,
    pub remote: SocketAddr,
    pub transport: Transport,
    pub since: SystemTime,
    pub targets: Vec<TargetInfo>,
    /// Names of those through which the relay may change the schema.
    pub ddl_targets: Vec<String>,
    /// What a slot may keep in each target's server before the agent drops it, bytes.
    pub slot_bounds: Vec<u64>,
    /// The newest lease epoch that the agent had admitted when it connected.
    pub epoch_counter: u64,
    /// What the agent holds back by order of its own operator or its write brake.
    pub holding: Holding,
    /// Names of the targets whose logins are a person's own.
    pub passthrough_targets: Vec<String>,
    /// Names of those that are open to people's own tools, if the agent told.
    pub forward_targets: Option<Vec<String>>,
    /// Streams that are open through the agent.
    pub streams: usize,
    pub stats: TunnelStats,
}

impl AgentLive {
    /// Whether the agent lets the relay change the schema through this target.
    pub fn allows_ddl(&self, target: &str) -> bool {
        self.ddl_targets.iter().any(|allowed| allowed == target)
    }

    /// How much WAL a slot may make this target's server keep before the agent drops it, bytes.
    pub fn slot_bound(&self, target: &str) -> Option<u64> {
        let place = self.targets.iter().position(|known| known.name == target)?;
        self.slot_bounds.get(place).copied()
    }

    /// Whether the target is known to be closed to people's own tools.
    pub fn forwards_not(&self, target: &str) -> bool {
        let told = self.forward_targets.as_ref();
        told.is_some_and(|open| !open.iter().any(|name| name == target))
    }

    pub fn rtt(&self) -> Duration {
        self.stats.rtt
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the agent is not connected")]
    Offline,
    #[error("the relay is shutting down")]
    Draining,
    #[error("the agent refused: {text}")]
    Denied { code: OpenDenial, text: String },
    #[error("the agent did not answer in time")]
    Timeout,
    #[error("the tunnel broke: {0}")]
    Tunnel(#[from] TunnelError),
    #[error("talk to the agent: {0}")]
    Wire(#[from] WireError),
}

impl OpenError {
    pub fn class(&self) -> Class {
        match self {
            OpenError::Denied { code, .. } => match code {
                OpenDenial::UnknownTarget => {
                    Class::Operator("name a target that is in the agent's agent.toml")
                }
                OpenDenial::NotAllowed => {
                    Class::Operator("the agent's own configuration forbids it: see agent.toml")
                }
                OpenDenial::LoginFailed => {
                    Class::Operator("check user and password of this target on the agent's host")
                }
                OpenDenial::BadRequest => Class::Bug,
                OpenDenial::StaleEpoch
                | OpenDenial::TooMany
                | OpenDenial::Unreachable
                | OpenDenial::Paused => Class::Retry,
                OpenDenial::Unknown(_) => Class::Operator("update tidegate-relay"),
            },
            OpenError::Wire(error) => error.class(),
            _ => Class::Retry,
        }
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self::new()
    }
}

impl Agents {
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                sessions: Mutex::default(),
                instances: Mutex::default(),
                changes: watch::Sender::new(0),
                session_last: AtomicU64::new(0),
                draining: AtomicBool::new(false),
            }),
        }
    }

    /// Opens a stream to a target through an agent. After this the stream carries PostgreSQL's
    /// protocol; dropping it resets it. Fails at once when the agent is not connected or is
    /// leaving. Cancel safe: a stream whose opening was given up is reset.
    pub async fn open(
        &self,
        agent_id: &str,
        request: OpenRequest,
    ) -> Result<TunnelStream, OpenError> {
        if self.inner.draining.load(Ordering::Relaxed) {
            return Err(OpenError::Draining);
        }
        let session = self
            .lock()
            .get(agent_id)
            .filter(|session| session.takes(request.purpose))
            .cloned()
            .ok_or(OpenError::Offline)?;
        let opening = async {
            let mut stream = session.tunnel.open().await?;
            stream.attach(Arc::new(Counted::new(&session.streams)));
            wire::write_message(&mut stream, &request).await?;
            match wire::read_message::<OpenAnswer, _>(&mut stream).await? {
                OpenAnswer::Opened => Ok(stream),
                OpenAnswer::Denied { code, text } => Err(OpenError::Denied { code, text }),
            }
        };
        match timeout(limits::OPEN, opening).await {
            Ok(Err(OpenError::Wire(error))) => {
                // A broken tunnel says more than the broken stream.
                Err(session
                    .tunnel
                    .close_reason()
                    .map_or(OpenError::Wire(error), OpenError::Tunnel))
            }
            Ok(result) => result,
            Err(_) => Err(OpenError::Timeout),
        }
    }

    /// Everybody who is here, by id.
    pub fn list(&self) -> Vec<AgentLive> {
        let mut all: Vec<_> = self.lock().values().map(|session| session.live()).collect();
        all.sort_by(|a, b| a.agent.cmp(&b.agent));
        all
    }

    /// One agent, if it is here.
    pub fn live(&self, agent_id: &str) -> Option<AgentLive> {
        self.lock().get(agent_id).map(|session| session.live())
    }

    /// Cuts an agent's live session at once: it was revoked. Returns whether there was one.
    pub fn disconnect(&self, agent_id: &str) -> bool {
        let session = self.lock().remove(agent_id);
        let Some(session) = session else { return false };
        session.tunnel.close(CloseCode::REVOKED);
        self.note_change();
        true
    }

    /// Waits until an agent is here and takes streams. Cancel safe.
    pub async fn wait_online(&self, agent_id: &str) {
        let mut changes = self.changes();
        while !self.takes_streams(agent_id) {
            // The sender lives as long as `self`.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until an agent is not here. Cancel safe.
    pub async fn wait_offline(&self, agent_id: &str) {
        let mut changes = self.changes();
        while self.live(agent_id).is_some() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn takes_streams(&self, agent_id: &str) -> bool {
        let sessions = self.lock();
        let session = sessions.get(agent_id);
        session.is_some_and(|session| session.takes(Purpose::Session))
    }

    /// A number that changes whenever somebody comes, says goodbye, goes, or comes back.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Tells everybody to go and come back after `delay`, each a little later than the one before,
    /// and waits (bounded) until they are gone. No stream is opened from now on.
    pub async fn goodbye_all(&self, delay: Duration) {
        self.inner.draining.store(true, Ordering::Relaxed);
        let mut changes = self.changes();
        let sessions: Vec<_> = self.lock().values().cloned().collect();
        for (place, session) in (0u32..).zip(&sessions) {
            let delay = delay + limits::GOODBYE_PACE * place;
            if session
                .commands
                .try_send(Command::Goodbye { delay })
                .is_err()
            {
                session.tunnel.close(CloseCode::GOODBYE);
            }
        }
        let gone = async {
            while !self.lock().is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(limits::GOODBYE, gone).await;
        for session in self.lock().values() {
            session.tunnel.close(CloseCode::GOODBYE);
        }
    }

    /// Tells everybody which authorities to trust. Who does not know of it, or is too busy to hear it,
    /// hears of it with its next hello.
    pub fn trust_all(&self, trust: &Trust) {
        for session in self.lock().values().filter(|session| session.knows_trust()) {
            let _ = session.commands.try_send(Command::Trust(trust.clone()));
        }
    }

    /// When an agent's identity was last seen to be in use at two places, if it was.
    pub fn cloned(&self, agent_id: &str) -> Option<SystemTime> {
        self.instances().cloned(agent_id)
    }

    /// Enters a session; an older one of the same agent is closed at once. Nothing when the relay
    /// is full or drains.
    pub(super) fn register(
        &self,
        identity: AgentIdentity,
        tunnel: Tunnel,
        hello: Hello,
        since: SystemTime,
    ) -> Option<(Registration, mpsc::Receiver<Command>)> {
        if self.inner.draining.load(Ordering::Relaxed) {
            return None;
        }
        let (commands, inbox) = mpsc::channel(limits::COMMANDS_MAX);
        let number = self.inner.session_last.fetch_add(1, Ordering::Relaxed) + 1;
        let agent = identity.agent().to_owned();
        let leaving = Arc::<AtomicBool>::default();
        let instance = hello.instance.0;
        let session = Arc::new(Session {
            number,
            identity,
            tunnel,
            told: Mutex::new(Told {
                holding: hello.holding.0.clone(),
                offer: hello.offer(),
            }),
            hello,
            since,
            commands,
            streams: Arc::default(),
            leaving: Arc::clone(&leaving),
        });
        let former = {
            let mut sessions = self.lock();
            let workspace = session.identity.workspace();
            let of_workspace = || {
                let all = sessions.values();
                all.filter(|other| other.identity.workspace() == workspace)
                    .count()
            };
            if !sessions.contains_key(&agent) && is_full(sessions.len(), of_workspace) {
                return None;
            }
            sessions.insert(agent.clone(), session)
        };
        let is_clone = self.instances().arrived(&agent, instance, since);
        if let Some(former) = former {
            tracing::info!(
                agent = %former.identity,
                session = former.number,
                remote = %former.tunnel.remote(),
                "The agent connected again; its older session is closed."
            );
            former.tunnel.close(CloseCode::REPLACED);
        }
        self.note_change();
        Some((
            Registration {
                agents: self.clone(),
                agent,
                number,
                leaving,
                is_clone,
            },
            inbox,
        ))
    }

    fn unregister(&self, agent: &str, number: u64) {
        let mut sessions = self.lock();
        // A newer session of the same agent stays.
        if sessions
            .get(agent)
            .is_some_and(|session| session.number == number)
        {
            sessions.remove(agent);
        }
        drop(sessions);
        self.note_change();
    }

    fn note_change(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }

    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.inner
            .instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        // The map is never left half changed, so a panic elsewhere does not spoil it.
        self.inner
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// An agent that leaves still lets queries be cancelled, so that its streams end sooner.
    fn takes(&self, purpose: Purpose) -> bool {
        purpose == Purpose::Cancel || !self.leaving.load(Ordering::Relaxed)
    }

    fn knows_trust(&self) -> bool {
        self.hello.knows.0 >= RelayMessage::KINDS_WITH_TRUST
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> AgentLive {
        let Told { holding, offer } = &*self.told();
        let offer = offer.clone();
        AgentLive {
            agent: self.identity.agent().to_owned(),
            workspace: self.identity.workspace().to_owned(),
            session: self.number,
            host: self.hello.host.clone(),
            version: self.hello.agent_version.clone(),
            remote: self.tunnel.remote(),
            transport: self.tunnel.transport(),
            since: self.since,
            targets: offer.targets,
            ddl_targets: offer.ddl_targets,
            slot_bounds: offer.slot_bounds,
            epoch_counter: self.hello.epoch_counter,
            holding: holding.clone(),
            passthrough_targets: offer.passthrough_targets,
            forward_targets: offer.forward_targets,
            streams: self.streams.load(Ordering::Relaxed),
            stats: self.tunnel.stats(),
        }
    }
}

/// Whether there is no place for one more agent. The last ones are for workspaces that have few, so that
/// none can keep the others out.
fn is_full(sessions: usize, of_workspace: impl FnOnce() -> usize) -> bool {
    let share = limits::SESSIONS_MAX / 10;
    let left = limits::SESSIONS_MAX.saturating_sub(sessions);
    left == 0 || (left <= share && of_workspace() >= share)
}

/// Keeps a session in the registry; dropping it, in whatever way its task ends, takes it out.
pub(super) struct Registration {
    agents: Agents,
    agent: String,
    pub(super) number: u64,
    leaving: Arc<AtomicBool>,
    /// Another process with the same identity was here between two sessions of this one.
    pub(super) is_clone: bool,
}

impl Registration {
    /// The agent holds something else back from now on.
    pub(super) fn note_holding(&self, holding: Holding) {
        self.note(|told| told.holding = holding);
    }

    /// Something else may be reached through the agent from now on.
    pub(super) fn note_offer(&self, offer: Offer) {
        self.note(|told| told.offer = offer);
    }

    fn note(&self, change: impl FnOnce(&mut Told)) {
        if let Some(session) = self.agents.lock().get(&self.agent)
            && session.number == self.number
        {
            change(&mut session.told());
        }
        self.agents.note_change();
    }

    /// The agent said goodbye: nothing new is opened through this session. It stays listed, so
    /// that a revocation still cuts it.
    pub(super) fn note_leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.agents.note_change();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.agents.unregister(&self.agent, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_workspace_takes_the_last_places_from_the_others() {
        let share = limits::SESSIONS_MAX / 10;
        let nearly = limits::SESSIONS_MAX - share;
        assert!(!is_full(nearly - 1, || unreachable!(
            "there is room for all"
        )));
        assert!(is_full(nearly, || nearly), "who has most of them");
        assert!(!is_full(nearly, || 0), "who has none");
        assert!(!is_full(limits::SESSIONS_MAX - 1, || share - 1));
        assert!(is_full(limits::SESSIONS_MAX, || 0));
    }
}

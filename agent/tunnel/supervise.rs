//! The agent's main loop: dial, serve, lose the relay, wait, dial again, for ever.
//!
//! Owns every task: streams live in one `JoinSet` per session, so that losing the tunnel ends
//! them all. Certificates are looked at by wall clock before each dial and once a minute.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_shared::Class;
use tidegate_shared::identity::fingerprint_text;
use tidegate_shared::tunnel::{Backoff, CloseCode, IdentityFault, Transport, Tunnel, TunnelError};
use tidegate_shared::wire::{
    AgentMessage, Goodbye, RelayMessage, RenewRefusal, Trust, WireError, write_message,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::causes::Causes;
use super::dial::{self, Connected, DialError, printable};
use super::serve;
use super::status::{Board, State};
use crate::identity::enroll;
use crate::identity::keystore::{Identity, Keystore, KeystoreError};
use crate::identity::renew::{self, Standing};
use crate::origin::hold::Hold;
use crate::origin::{Origin, unix_ms};
use crate::route::Routes;

mod limits {
    use super::Duration;

    /// Sessions may end by themselves for this long after SIGTERM; service managers give more.
    pub(super) const DRAIN: Duration = Duration::from_secs(10);
    /// The close frame gets out, or doesn't.
    pub(super) const CLOSE: Duration = Duration::from_secs(1);
    /// How often certificates are compared with the wall clock.
    pub(super) const LOOK: Duration = Duration::from_secs(60);
    /// A session of this length was a good one: the next dial starts without waiting long. Long
    /// enough that a relay which drops every session at once isn't dialled in a tight loop.
    pub(super) const GOOD_SESSION: Duration = Duration::from_secs(5);
    /// Between two asks for renewal, at least; with hours left there is no hurry.
    pub(super) const RENEW_AGAIN: Duration = Duration::from_secs(300);
    /// A relay can't send us away for longer, however it words its goodbye.
    pub(super) const GOODBYE_DELAY_MAX: Duration = Duration::from_secs(600);
    /// Above this difference of clocks certificates get into danger.
    pub(super) const SKEW_WARNING_MS: i64 = 60_000;
    /// A control message is small; a relay that doesn't take it is gone.
    pub(super) const CONTROL_WRITE: Duration = Duration::from_secs(10);
}

/// Everything that the loop needs.
pub struct Supervisor {
    pub store: Keystore,
    pub origin: Arc<Origin>,
    pub routes: Arc<Routes>,
    pub board: Board,
    pub backoff: Backoff,
    /// Uniform in 0..1, drawn once: spreads renewals of agents that were paired together.
    pub jitter: f64,
    /// Cancelled by the first SIGTERM: drain and return.
    pub shutdown: CancellationToken,
    /// The targets changed: the relay learns of it with a new hello, or, while sessions are open, from a
    /// message.
    pub reloaded: Arc<Notify>,
    /// What was logged since the last good session.
    pub causes: Causes,
}

/// How a session ended.
enum Ended {
    Lost(TunnelError),
    /// The relay sent us away for this long.
    Goodbye(Duration),
    /// A renewed certificate, a changed list of targets or a better transport wants a new handshake
    /// and hello.
    Reconnect,
    Shutdown,
}

impl Supervisor {
    /// Runs until shutdown. Fails only on what waiting can't mend: no identity on disk.
    pub async fn run(mut self) -> Result<(), KeystoreError> {
        let mut attempts = 0;
        loop {
            let (identity, is_next) = self.choose_identity().await?;
            self.note_dial(&identity, attempts);
            let dialled = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                dialled = dial::dial(&identity, &self.origin, &self.routes) => dialled,
            };
            let wait = match dialled {
                Ok(connected) => {
                    attempts = 0;
                    if is_next {
                        self.store.promote_next()?;
                    }
                    match self.hold(connected, &identity).await {
                        Some(wait) => wait,
                        None => return Ok(()),
                    }
                }
                Err(error) => {
                    attempts += 1;
                    self.on_dial_error(&error, &identity, is_next, attempts)
                        .await?
                }
            };
            self.board.update(|status| {
                status.state = State::Waiting;
                status.since_ms = unix_ms(SystemTime::now());
            });
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The renewed identity if there is one, else the current one; re-issued first when the wall
    /// clock says that it expired. The second value tells whether it still has to prove itself.
    async fn choose_identity(&mut self) -> Result<(Identity, bool), KeystoreError> {
        let (identity, is_next) = match self.store.next()? {
            Some(next) => (next, true),
            None => (self.store.current()?, false),
        };
        match renew::standing(&identity.facts()?, self.jitter, SystemTime::now()) {
            Standing::Expired => Ok(self.reissue(&identity).await.unwrap_or((identity, is_next))),
            Standing::NotYetValid => {
                warn!("the certificate is not valid yet: this host's clock is behind, set it");
                Ok((identity, is_next))
            }
            Standing::Good | Standing::RenewalDue => Ok((identity, is_next)),
        }
    }

    async fn reissue(&mut self, identity: &Identity) -> Option<(Identity, bool)> {
        match enroll::reissue(identity, &self.store, &self.routes).await {
            Ok(renewed) => {
                info!(
                    "the certificate was good no more; the relay issued a new one for the same key"
                );
                let audit = self.origin.audit();
                audit.note("certificate.reissue", &renewed.agent_name, "");
                Some((renewed, true))
            }
            Err(error) => {
                let code = error.code().unwrap_or(IdentityFault::Expired.code());
                if self.causes.is_new(&error.to_string()) {
                    error!(code, %error, "the certificate expired and the relay issued no new one");
                }
                self.board.update(|status| {
                    status.last_error = Some(error.to_string());
                    status.last_error_code = Some(code.to_owned());
                });
                None
            }
        }
    }

    fn note_dial(&self, identity: &Identity, attempts: u32) {
        let until = identity.facts().ok().map(|facts| unix_ms(facts.not_after));
        self.board.update(|status| {
            status.state = State::Connecting;
            status.since_ms = unix_ms(SystemTime::now());
            status.agent = Some(identity.agent_name.clone());
            status.workspace = Some(identity.workspace.clone());
            status.key_fingerprint = Some(fingerprint_text(&identity.key.fingerprint()));
            status.relay = identity.relays.first().map(ToString::to_string);
            status.remote = None;
            status.transport = None;
            status.rtt_ms = None;
            status.mtu_bytes = None;
            status.certificate_until_ms = until;
            status.attempts = attempts;
        });
    }

    /// Logs once per cause, forgets a renewed certificate that the relay refuses, and returns how
    /// long to wait.
    async fn on_dial_error(
        &mut self,
        error: &DialError,
        identity: &Identity,
        is_next: bool,
        attempts: u32,
    ) -> Result<Duration, KeystoreError> {
        let text = error.to_string();
        let fault = error.identity_fault();
        let code = fault.map(IdentityFault::code);
        let is_new = self.causes.is_new(&text);
        self.board.update(|status| {
            status.last_error = Some(text);
            status.last_error_code = code.map(str::to_owned);
            status.attempts = attempts;
        });
        match error.class() {
            _ if !is_new => debug!(%error, attempts, "still can't reach the relay"),
            // Its text may hold the advice already.
            Class::Operator(advice) if !error.to_string().contains(advice) => {
                error!(code, %error, advice, "the relay can't be reached; trying again for ever");
            }
            Class::Operator(_) => {
                error!(code, %error, "the relay can't be reached; trying again for ever");
            }
            _ => warn!(code, %error, "the relay can't be reached; trying again for ever"),
        }
        if is_next && error.refuses_certificate() {
            self.store.discard_next()?;
        } else if fault == Some(IdentityFault::Expired) || error.is_of_another_authority() {
            // The relay's clock decides; ours may be behind. So does it who signs for agents.
            let _ = self.reissue(identity).await;
        }
        Ok(self.backoff.next_wait())
    }

    /// Serves one session. Returns how long to wait before the next dial, `None` on shutdown.
    async fn hold(&mut self, connected: Connected, identity: &Identity) -> Option<Duration> {
        self.note_session(&connected);
        let started = Instant::now();
        let mut session = Session::new(connected, self, identity);
        let ended = session.run().await;
        let Session {
            connected, streams, ..
        } = session;
        let is_good = started.elapsed() >= limits::GOOD_SESSION;
        if is_good {
            self.causes.forget();
        }
        let wait = match ended {
            Ended::Shutdown => {
                self.board.update(|status| status.state = State::Draining);
                drain(connected, streams, &self.origin).await;
                return None;
            }
            Ended::Goodbye(delay) => {
                info!(delay_ms = delay.as_millis(), "the relay said goodbye");
                self.backoff.reset();
                self.backoff.after_hint(delay)
            }
            Ended::Reconnect => {
                info!("reconnecting for a renewed certificate, changed targets or QUIC");
                connected.tunnel.close(CloseCode::GOODBYE);
                return Some(Duration::ZERO);
            }
            Ended::Lost(error) => {
                let relay = connected.relay.to_string();
                self.origin
                    .audit()
                    .note("relay.lost", &relay, &error.to_string());
                let fault = error.identity_fault();
                let code = fault.map(IdentityFault::code);
                match error.class() {
                    _ if !self.causes.is_new(&error.to_string()) => {
                        debug!(%error, "lost the relay again");
                    }
                    Class::Operator(advice) => error!(code, %error, advice, "lost the relay"),
                    _ => warn!(code, %error, "lost the relay; dialling again"),
                }
                self.board.update(|status| {
                    status.last_error = Some(error.to_string());
                    status.last_error_code = code.map(str::to_owned);
                });
                // Two agents with one identity drive each other out: ever more slowly.
                if is_good && fault != Some(IdentityFault::Elsewhere) {
                    self.backoff.reset();
                }
                self.backoff.next_wait()
            }
        };
        Some(wait)
    }

    fn note_session(&self, connected: &Connected) {
        let now_ms = unix_ms(SystemTime::now());
        let skew_ms = (i64::try_from(connected.ack.relay_time_ms).unwrap_or(i64::MAX))
            .saturating_sub_unsigned(now_ms);
        if skew_ms.abs() > limits::SKEW_WARNING_MS {
            warn!(
                skew_ms,
                "this host's clock differs from the relay's: set it (NTP)"
            );
        }
        info!(
            relay = %connected.relay, remote = %connected.tunnel.remote(),
            transport = connected.tunnel.transport().as_str(),
            session = connected.ack.session, protocol = connected.ack.protocol, "connected"
        );
        let transport = connected.tunnel.transport().as_str();
        let detail = format!("session {} over {transport}", connected.ack.session);
        self.origin
            .audit()
            .note("relay.connect", &connected.relay.to_string(), &detail);
        self.board.update(|status| {
            status.state = State::Connected;
            status.since_ms = now_ms;
            status.relay = Some(connected.relay.to_string());
            status.remote = Some(connected.tunnel.remote().to_string());
            status.transport = Some(connected.tunnel.transport().as_str().to_owned());
            status.rtt_ms = Some(millis(connected.tunnel.stats().rtt));
            status.clock_skew_ms = Some(skew_ms);
            status.mtu_bytes = mtu_bytes(&connected.tunnel);
            status.relay_version =
                Some(connected.ack.relay_version.0.clone()).filter(|version| !version.is_empty());
            status.attempts = 0;
            status.last_error = None;
            status.last_error_code = None;
        });
    }
}

fn mtu_bytes(tunnel: &Tunnel) -> Option<u16> {
    tunnel.stats().path.map(|path| path.mtu_bytes)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One session: the tunnel, its control stream, and the tasks of its streams.
struct Session<'a> {
    connected: Connected,
    streams: JoinSet<()>,
    supervisor: &'a Supervisor,
    identity: &'a Identity,
    goodbye: Option<Duration>,
    /// The renewed identity. The relay counts this session on with it, so that nothing has to be
    /// cut for it; a new handshake proves it at the next quiet moment, while the old one is good.
    newest: Option<Identity>,
    reloaded: bool,
    /// Comes when QUIC passes again, which this session is not on.
    better: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// It came.
    is_better_known: bool,
    asked_renewal: Option<Instant>,
    holds: watch::Receiver<Hold>,
}

/// What happens in a session.
enum Event {
    Shutdown,
    Control(Result<RelayMessage, WireError>),
    Stream(Result<tidegate_shared::tunnel::TunnelStream, TunnelError>),
    StreamEnded,
    Reloaded,
    /// QUIC passes, and this session is on TCP.
    Better,
    /// What the agent holds back changed.
    Holds,
    Look,
}

/// Waits for what `Routes::quic_is_back` waits for.
fn better_transport(
    connected: &Connected,
    routes: &Arc<Routes>,
    identity: &Identity,
) -> impl Future<Output = ()> + Send + use<> {
    let (relay, used) = (connected.relay.clone(), connected.tunnel.transport());
    let (routes, tls) = (Arc::clone(routes), identity.pairing_config());
    async move {
        match tls {
            Ok(tls) => routes.quic_is_back(&relay, used, &tls).await,
            Err(_) => std::future::pending().await,
        }
    }
}

impl<'a> Session<'a> {
    fn new(connected: Connected, supervisor: &'a Supervisor, identity: &'a Identity) -> Self {
        let better = Box::pin(better_transport(&connected, &supervisor.routes, identity));
        Session {
            connected,
            streams: JoinSet::new(),
            supervisor,
            identity,
            goodbye: None,
            newest: None,
            reloaded: false,
            better,
            is_better_known: false,
            asked_renewal: None,
            holds: supervisor.origin.holds(),
        }
    }

    async fn run(&mut self) -> Ended {
        // The first tick comes at once: a certificate may be due right after connecting.
        let mut look = tokio::time::interval(limits::LOOK);
        // What changed between the hello and now was told to nobody.
        if self.holds.borrow().told() != self.connected.told {
            self.holds.mark_changed();
        }
        loop {
            let ended = match self.next_event(&mut look).await {
                Event::Shutdown => Some(Ended::Shutdown),
                Event::Control(message) => self.on_control(message).await,
                Event::Stream(Ok(stream)) => {
                    self.streams
                        .spawn(serve::serve(self.supervisor.origin.clone(), stream));
                    None
                }
                Event::Stream(Err(error)) => Some(self.lost(error)),
                Event::StreamEnded => self.reconnect_if_quiet(),
                Event::Reloaded => {
                    self.reloaded = true;
                    match self.reconnect_if_quiet() {
                        None => self.tell_offer().await,
                        ended => ended,
                    }
                }
                Event::Better => {
                    info!("QUIC passes: moving to it when no session is open");
                    self.is_better_known = true;
                    self.reconnect_if_quiet()
                }
                Event::Holds => {
                    let told = self.holds.borrow_and_update().told();
                    self.send(&AgentMessage::Holds(told)).await
                }
                Event::Look => self.look().await,
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// What may be reached has changed, and what is open shall not be cut for it. A relay that does not
    /// know this hears of it with the next hello.
    async fn tell_offer(&mut self) -> Option<Ended> {
        if self.connected.ack.knows.0 < AgentMessage::KINDS_WITH_OFFERS {
            return None;
        }
        self.reloaded = false;
        let offer = dial::offer(&self.supervisor.origin);
        self.send(&AgentMessage::Offers(offer)).await
    }

    /// Leaving comes first, then what the relay says, then its streams.
    async fn next_event(&mut self, look: &mut tokio::time::Interval) -> Event {
        tokio::select! {
            biased;
            () = self.supervisor.shutdown.cancelled() => Event::Shutdown,
            message = self.connected.control.reader.next() => Event::Control(message),
            stream = self.connected.tunnel.accept() => Event::Stream(stream),
            Some(_) = self.streams.join_next() => Event::StreamEnded,
            () = self.supervisor.reloaded.notified() => Event::Reloaded,
            () = &mut self.better, if !self.is_better_known => Event::Better,
            // The sender lives in the origin.
            Ok(()) = self.holds.changed() => Event::Holds,
            _ = look.tick() => Event::Look,
        }
    }

    async fn on_control(&mut self, message: Result<RelayMessage, WireError>) -> Option<Ended> {
        match message {
            Ok(RelayMessage::Ping { nonce }) => self.send(&AgentMessage::Pong { nonce }).await,
            Ok(RelayMessage::Pong { .. }) => None,
            Ok(RelayMessage::Goodbye(goodbye)) => {
                let delay = Duration::from_millis(goodbye.delay_ms);
                self.goodbye = Some(delay.min(limits::GOODBYE_DELAY_MAX));
                info!(reason = %printable(&goodbye.reason), "the relay is going away");
                None
            }
            Ok(RelayMessage::Renewed { chain_der }) => self.on_renewed(chain_der),
            Ok(RelayMessage::Trust(trust)) => self.on_trust(&trust).await,
            Ok(RelayMessage::RenewRefused { code }) => {
                match code {
                    RenewRefusal::Revoked => {
                        let (audit, agent) =
                            (self.supervisor.origin.audit(), &self.identity.agent_name);
                        audit.note("certificate.revoked", agent, "");
                        error!(
                            "the relay revoked this agent and renews no certificate: pair it again"
                        );
                    }
                    code => warn!(
                        ?code,
                        "the relay did not renew the certificate; asking again"
                    ),
                }
                None
            }
            Ok(RelayMessage::HelloAck(_) | RelayMessage::Refused { .. }) => {
                self.connected.tunnel.close(CloseCode::PROTOCOL);
                Some(Ended::Lost(TunnelError::ClosedHere))
            }
            Err(error) => {
                debug!(%error, "the control stream ended");
                let reason = self.connected.tunnel.close_reason();
                self.connected.tunnel.close(CloseCode::PROTOCOL);
                Some(self.lost(reason.unwrap_or(TunnelError::ClosedHere)))
            }
        }
    }

    fn on_renewed(&mut self, chain_der: Vec<Vec<u8>>) -> Option<Ended> {
        let store = &self.supervisor.store;
        // As it is kept: whom it trusts may have changed in this session.
        let kept = store.current();
        let saved = kept
            .and_then(|kept| Ok(kept.with_chain(chain_der)?))
            .and_then(|renewed| store.save_next(&renewed).map(|()| renewed));
        match saved {
            Ok(renewed) => {
                info!("the certificate was renewed");
                let (audit, agent) = (self.supervisor.origin.audit(), &renewed.agent_name);
                audit.note("certificate.renew", agent, "");
                let until = renewed.facts().ok().map(|facts| unix_ms(facts.not_after));
                self.supervisor
                    .board
                    .update(|status| status.certificate_until_ms = until);
                self.newest = Some(renewed);
                self.reconnect_if_quiet()
            }
            Err(error) => {
                error!(%error, "the renewed certificate can't be used");
                None
            }
        }
    }

    /// The relay's authority is being replaced, or was.
    async fn on_trust(&mut self, trust: &Trust) -> Option<Ended> {
        let generation = trust.generation;
        let audit = self.supervisor.origin.audit();
        let agent = &self.identity.agent_name;
        let taken = match self.supervisor.store.take_trust(trust) {
            Ok(taken) => taken,
            Err(error) => {
                audit.note("authority.refuse", agent, &error.to_string());
                error!(%error, generation, "the relay wants other authorities to be trusted; refused");
                return None;
            }
        };
        if let Some(identity) = &taken {
            let count = identity.relay_authorities.len();
            let detail = format!("list {generation}, authorities: {count}");
            audit.note("authority.trust", agent, &detail);
            info!(
                generation,
                count, "the relay's authorities have changed, signed by one trusted so far"
            );
        }
        let told = self.send(&AgentMessage::Trusts { generation }).await;
        // Over TCP more connections would be dialled with what was trusted at the session's start.
        let is_dialling = self.connected.tunnel.transport() == Transport::Tcp;
        told.or((taken.is_some() && is_dialling).then_some(Ended::Reconnect))
    }

    /// Once a minute: is it time to renew?
    async fn look(&mut self) -> Option<Ended> {
        self.supervisor.board.update(|status| {
            status.rtt_ms = Some(millis(self.connected.tunnel.stats().rtt));
            status.mtu_bytes = mtu_bytes(&self.connected.tunnel);
        });
        let Ok(facts) = self.newest.as_ref().unwrap_or(self.identity).facts() else {
            return None;
        };
        let standing = renew::standing(&facts, self.supervisor.jitter, SystemTime::now());
        let due = standing != Standing::Good;
        let asked = self
            .asked_renewal
            .is_some_and(|at| at.elapsed() < limits::RENEW_AGAIN);
        if !due || asked {
            return None;
        }
        self.asked_renewal = Some(Instant::now());
        match self.identity.key.csr_der() {
            Ok(csr_der) => self.send(&AgentMessage::Renew { csr_der }).await,
            Err(error) => {
                error!(%error, "can't ask for a new certificate");
                None
            }
        }
    }

    fn reconnect_if_quiet(&self) -> Option<Ended> {
        let wanted = self.newest.is_some() || self.reloaded || self.is_better_known;
        (wanted && self.streams.is_empty()).then_some(Ended::Reconnect)
    }

    async fn send(&mut self, message: &AgentMessage) -> Option<Ended> {
        let write = write_message(&mut self.connected.control.writer, message);
        match timeout(limits::CONTROL_WRITE, write).await {
            Ok(Ok(())) => None,
            _ => Some(Ended::Lost(
                self.connected
                    .tunnel
                    .close_reason()
                    .unwrap_or(TunnelError::TimedOut),
            )),
        }
    }

    /// A loss after a goodbye was announced.
    fn lost(&self, error: TunnelError) -> Ended {
        match (self.goodbye, error) {
            (Some(delay), _) => Ended::Goodbye(delay),
            (None, TunnelError::ClosedByPeer(CloseCode::GOODBYE)) => Ended::Goodbye(Duration::ZERO),
            (None, error) => Ended::Lost(error),
        }
    }
}

/// Says goodbye, opens nothing new, lets sessions end for a while, and closes.
async fn drain(mut connected: Connected, mut streams: JoinSet<()>, origin: &Arc<Origin>) {
    origin.drain();
    let goodbye = Goodbye {
        delay_ms: 0,
        reason: "the agent is shutting down".to_owned(),
    };
    let message = AgentMessage::Goodbye(goodbye);
    let _ = timeout(
        limits::CLOSE,
        write_message(&mut connected.control.writer, &message),
    )
    .await;
    info!(sessions = streams.len(), "waiting for open sessions to end");
    let finish = async {
        loop {
            tokio::select! {
                biased;
                ended = streams.join_next() => if ended.is_none() { return },
                // Denied with a reason, and cancel requests still pass.
                stream = connected.tunnel.accept() => match stream {
                    Ok(stream) => drop(streams.spawn(serve::serve(origin.clone(), stream))),
                    Err(_) => return,
                },
            }
        }
    };
    let _ = timeout(limits::DRAIN, finish).await;
    // A close overtakes what isn't delivered yet, the goodbye too.
    let writer = &mut connected.control.writer;
    let delivered = async {
        if writer.shutdown().await.is_ok() {
            writer.drained().await;
        }
    };
    let _ = timeout(limits::CLOSE, delivered).await;
    connected.tunnel.close(CloseCode::GOODBYE);
    let _ = timeout(limits::CLOSE, connected.dialer.wait_idle()).await;
}

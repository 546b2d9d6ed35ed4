//! One agent's session: hello, then the control stream until the end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_shared::identity::AgentLeaf;
use tidegate_shared::identity::limits::CLOCK_SKEW;
use tidegate_shared::tunnel::{CloseCode, IdentityFault, Tunnel, TunnelReader, TunnelWriter};
use tidegate_shared::wire::{
    self, AgentMessage, FrameReader, Goodbye, Grown, Hello, HelloAck, Holding, Offer, RelayMessage,
    SessionRefusal, WireError,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::agents::{Command, Registration};
use super::{Agents, Clock, Doorkeeper, NotAdmitted, limits};

/// Control goes ahead of table rows.
const CONTROL_PRIORITY: i32 = 100;

/// Serves an agent's connection to its end, and closes it.
pub(super) async fn serve<D: Doorkeeper>(
    tunnel: Tunnel,
    door: Arc<D>,
    agents: Agents,
    clock: Clock,
) {
    // The identity comes from the leaf that TLS verified, and from nowhere else.
    let leaf = tunnel.peer_leaf().map(AgentLeaf::from_verified);
    let Some(Ok(leaf)) = leaf else {
        tracing::info!(remote = %tunnel.remote(), "Closed a connection without a certificate.");
        tunnel.close(CloseCode::NO_CERTIFICATE);
        return;
    };
    let session = Serving {
        tunnel: tunnel.clone(),
        door,
        agents,
        clock,
        leaf,
    };
    let code = session.run().await;
    tunnel.close(code);
}

struct Serving<D> {
    tunnel: Tunnel,
    door: Arc<D>,
    agents: Agents,
    clock: Clock,
    leaf: AgentLeaf,
}

struct Control {
    reader: FrameReader<TunnelReader>,
    writer: TunnelWriter,
}

impl Control {
    async fn send(&mut self, message: &RelayMessage) -> Result<(), CloseCode> {
        match timeout(
            limits::CONTROL_WRITE,
            wire::write_message(&mut self.writer, message),
        )
        .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CloseCode::PROTOCOL),
            Err(_) => Err(CloseCode::TIMEOUT),
        }
    }

    /// Says a last word and waits, bounded, until the agent has it.
    async fn send_last(&mut self, message: &RelayMessage) {
        let last = async {
            if self.send(message).await.is_ok() && self.writer.shutdown().await.is_ok() {
                self.writer.drained().await;
            }
        };
        let _ = timeout(limits::GOODBYE, last).await;
    }
}

impl<D: Doorkeeper> Serving<D> {
    /// Returns the code to close with.
    async fn run(mut self) -> CloseCode {
        // Asked before any work is done for the peer, and again below.
        if let Err(code) = self.admitted().await {
            return code;
        }
        let Ok(greeting) = timeout(limits::HELLO, self.greeting()).await else {
            return CloseCode::TIMEOUT;
        };
        let (mut control, hello) = match greeting {
            Ok(greeting) => greeting,
            Err(code) => return code,
        };
        let Some(protocol) = wire::negotiate(hello.protocol_min, hello.protocol_max) else {
            refuse_protocol(&mut control, &hello).await;
            return CloseCode::PROTOCOL;
        };
        let (host, version) = (hello.host.clone(), hello.agent_version.clone());
        let (knows, trusts) = (hello.knows.0, hello.trust_generation.0);
        let now = (self.clock)();
        let identity = self.leaf.identity.clone();
        let entered = self
            .agents
            .register(identity.clone(), self.tunnel.clone(), hello, now);
        let Some((registration, commands)) = entered else {
            let text = "the relay is full or shutting down".to_owned();
            let code = SessionRefusal::Busy;
            control
                .send_last(&RelayMessage::Refused { code, text })
                .await;
            return CloseCode::BUSY;
        };
        // A revocation between the first question and the registration found nobody to cut.
        if let Err(code) = self.admitted().await {
            return code;
        }
        let ack = acknowledgement(protocol, registration.number, now);
        if let Err(code) = control.send(&ack).await {
            return code;
        }
        self.door.note_seen(&identity, &host, &version, now).await;
        if registration.is_clone {
            self.note_clone(now).await;
        }
        if knows >= RelayMessage::KINDS_WITH_TRUST
            && let Err(code) = self.tell_trust(&mut control, trusts).await
        {
            return code;
        }
        tracing::info!(
            agent = %identity,
            session = registration.number,
            remote = %self.tunnel.remote(),
            transport = self.tunnel.transport().as_str(),
            version,
            "An agent connected."
        );
        let code = self.converse(&mut control, commands, &registration).await;
        tracing::info!(
            agent = %identity,
            session = registration.number,
            reason = %self.tunnel.close_reason().map_or(code.to_string(), |end| end.to_string()),
            "An agent's session ended."
        );
        code
    }

    async fn note_clone(&self, now: SystemTime) {
        let (identity, remote) = (&self.leaf.identity, self.tunnel.remote());
        tracing::error!(
            agent = %identity,
            %remote,
            "An agent's identity is in use at two places, which drive each other out: stop one, and pair \
             each with a token of its own; if you don't know of the other one, revoke the agent."
        );
        self.door.note_clone(identity, remote, now).await;
    }

    /// Hands over the authorities to trust, unless the agent has them.
    async fn tell_trust(&self, control: &mut Control, trusts: u64) -> Result<(), CloseCode> {
        self.door.note_trust(&self.leaf.identity, trusts);
        match self.door.trust() {
            Some(trust) if trust.generation > trusts => {
                control.send(&RelayMessage::Trust(trust)).await
            }
            _ => Ok(()),
        }
    }

    async fn admitted(&self) -> Result<(), CloseCode> {
        match self.door.admit(&self.leaf).await {
            Ok(()) => Ok(()),
            Err(NotAdmitted::Revoked) => Err(self.refused(IdentityFault::Revoked)),
            Err(NotAdmitted::Unknown) => Err(self.refused(IdentityFault::Unknown)),
            Err(NotAdmitted::Unavailable) => Err(CloseCode::BUSY),
        }
    }

    fn refused(&self, fault: IdentityFault) -> CloseCode {
        tracing::warn!(
            code = fault.code(),
            agent = %self.leaf.identity,
            serial = self.leaf.facts.serial,
            remote = %self.tunnel.remote(),
            "Refused an agent's identity."
        );
        match fault {
            IdentityFault::Expired => CloseCode::EXPIRED,
            IdentityFault::Revoked => CloseCode::REVOKED,
            IdentityFault::Unknown => CloseCode::UNKNOWN,
            IdentityFault::Elsewhere => CloseCode::REPLACED,
        }
    }

    /// The control stream and the hello that must come first on it.
    async fn greeting(&self) -> Result<(Control, Hello), CloseCode> {
        let stream = self.tunnel.accept().await.map_err(|_| CloseCode::DONE)?;
        stream.set_priority(CONTROL_PRIORITY);
        let (reader, writer) = stream.into_split();
        let mut control = Control {
            reader: FrameReader::new(reader),
            writer,
        };
        match control.reader.next::<AgentMessage>().await {
            Ok(AgentMessage::Hello(hello)) => Ok((control, hello)),
            _ => Err(CloseCode::PROTOCOL),
        }
    }

    async fn converse(
        &mut self,
        control: &mut Control,
        mut commands: mpsc::Receiver<Command>,
        registration: &Registration,
    ) -> CloseCode {
        let mut pings = interval_at(Instant::now() + limits::PING_EVERY, limits::PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        let mut nonce = registration.number << 32;
        let mut not_after = self.leaf.facts.not_after;
        loop {
            // The end first, then our own orders, so that a talkative agent can't delay either.
            let outcome = tokio::select! {
                biased;
                _ = self.tunnel.closed() => return CloseCode::DONE,
                command = commands.recv() => match command {
                    Some(Command::Goodbye { delay }) => {
                        say_goodbye(control, delay).await;
                        return CloseCode::GOODBYE;
                    }
                    Some(Command::Trust(trust)) => {
                        control.send(&RelayMessage::Trust(trust)).await
                    }
                    None => return CloseCode::DONE,
                },
                // Counted anew each time: a machine may have slept, or its clock been set.
                () = sleep(self.left_until(not_after)) => {
                    return self.refused(IdentityFault::Expired);
                }
                _ = pings.tick() => {
                    if unanswered >= limits::PINGS_UNANSWERED_MAX {
                        return CloseCode::TIMEOUT;
                    }
                    unanswered += 1;
                    nonce += 1;
                    control.send(&RelayMessage::Ping { nonce }).await
                }
                message = control.reader.next::<AgentMessage>() => match message {
                    Ok(AgentMessage::Pong { nonce: answered }) if answered == nonce => {
                        unanswered = 0;
                        Ok(())
                    }
                    Ok(AgentMessage::Renew { csr_der }) => {
                        self.renew(control, &csr_der, &mut not_after).await
                    }
                    Ok(AgentMessage::Goodbye(goodbye)) => {
                        tracing::info!(reason = goodbye.reason, "The agent says goodbye.");
                        registration.note_leaving();
                        return self.see_off(commands, not_after).await;
                    }
                    Ok(news) if self.note(registration, &news) => Ok(()),
                    other => answer(control, other).await,
                },
            };
            if let Err(code) = outcome {
                return code;
            }
        }
    }

    /// Notes what the agent tells of itself; whether it was that.
    fn note(&self, registration: &Registration, news: &AgentMessage) -> bool {
        match news {
            AgentMessage::Holds(holding) => self.note_holding(registration, holding),
            AgentMessage::Offers(offer) => self.note_offer(registration, offer),
            AgentMessage::Trusts { generation } => {
                self.door.note_trust(&self.leaf.identity, *generation);
            }
            _ => return false,
        }
        true
    }

    /// Waits, bounded, until the agent closes: closing here would cut the streams that it still
    /// lets end. It says nothing more and answers no ping meanwhile.
    async fn see_off(
        &self,
        mut commands: mpsc::Receiver<Command>,
        not_after: SystemTime,
    ) -> CloseCode {
        tokio::select! {
            biased;
            _ = self.tunnel.closed() => CloseCode::DONE,
            // The relay goes too, or nobody lists this session any more.
            _ = commands.recv() => CloseCode::GOODBYE,
            () = sleep(self.left_until(not_after)) => CloseCode::EXPIRED,
            () = sleep(limits::LEAVING) => CloseCode::GOODBYE,
        }
    }

    fn note_offer(&self, registration: &Registration, offer: &Offer) {
        tracing::info!(
            agent = %self.leaf.identity,
            targets = offer.targets.len(),
            "What may be reached through an agent has changed."
        );
        registration.note_offer(offer.clone());
    }

    fn note_holding(&self, registration: &Registration, holding: &Holding) {
        tracing::info!(
            agent = %self.leaf.identity,
            held = ?holding.held,
            reason = %holding.reason.escape_debug(),
            "What an agent holds back has changed."
        );
        registration.note_holding(holding.clone());
    }

    async fn renew(
        &mut self,
        control: &mut Control,
        csr_der: &[u8],
        not_after: &mut SystemTime,
    ) -> Result<(), CloseCode> {
        match self.door.renew(&self.leaf, csr_der, (self.clock)()).await {
            Ok(renewal) => {
                *not_after = renewal.not_after;
                let chain_der = renewal.chain.iter().map(|part| part.to_vec()).collect();
                control.send(&RelayMessage::Renewed { chain_der }).await
            }
            Err(code) => control.send(&RelayMessage::RenewRefused { code }).await,
        }
    }

    /// What is left of the session unless it is renewed. An identity that ran out must not go on
    /// working on a connection that happens to be open.
    fn left_until(&self, not_after: SystemTime) -> Duration {
        (not_after + CLOCK_SKEW)
            .duration_since((self.clock)())
            .unwrap_or(Duration::ZERO)
    }
}

async fn refuse_protocol(control: &mut Control, hello: &Hello) {
    let text = format!(
        "this relay speaks protocol {} to {}, the agent {} to {}",
        wire::PROTOCOL_MIN,
        wire::PROTOCOL_MAX,
        hello.protocol_min,
        hello.protocol_max
    );
    let code = SessionRefusal::Protocol;
    control
        .send_last(&RelayMessage::Refused { code, text })
        .await;
}

fn acknowledgement(protocol: u16, session: u64, now: SystemTime) -> RelayMessage {
    RelayMessage::HelloAck(HelloAck {
        protocol,
        session,
        relay_time_ms: since_epoch_ms(now),
        relay_version: Grown(env!("CARGO_PKG_VERSION").to_owned()),
        knows: Grown(AgentMessage::KINDS),
    })
}

/// Answers what needs no state.
async fn answer(
    control: &mut Control,
    message: Result<AgentMessage, WireError>,
) -> Result<(), CloseCode> {
    match message {
        Ok(AgentMessage::Ping { nonce }) => control.send(&RelayMessage::Pong { nonce }).await,
        // A late answer to an older ping.
        Ok(AgentMessage::Pong { .. }) => Ok(()),
        Err(WireError::Closed { .. } | WireError::Io(_)) => Err(CloseCode::DONE),
        // The others were handled; a second hello is out of turn.
        Ok(
            AgentMessage::Hello(_)
            | AgentMessage::Renew { .. }
            | AgentMessage::Goodbye(_)
            | AgentMessage::Holds(_)
            | AgentMessage::Offers(_)
            | AgentMessage::Trusts { .. },
        )
        | Err(_) => Err(CloseCode::PROTOCOL),
    }
}

async fn say_goodbye(control: &mut Control, delay: Duration) {
    let goodbye = Goodbye {
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        reason: "the relay restarts".to_owned(),
    };
    control.send_last(&RelayMessage::Goodbye(goodbye)).await;
}

fn since_epoch_ms(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

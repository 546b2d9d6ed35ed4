//! One attempt at a session with the relay: resolve, shake hands, exchange hello. Called by
//! `supervise`.

use std::time::Duration;

use tidegate_shared::Class;
use tidegate_shared::identity::IdentityError;
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::tunnel::{
    CertificateFault, CloseCode, IdentityFault, Tunnel, TunnelDialer, TunnelError, TunnelReader,
    TunnelWriter,
};
use tidegate_shared::wire::{
    AgentMessage, FrameReader, Grown, Hello, HelloAck, Holding, Offer, PROTOCOL_MAX, PROTOCOL_MIN,
    RelayMessage, SessionRefusal, TargetInfo, WireError, write_message,
};

use crate::identity::enroll;
use crate::identity::keystore::Identity;
use crate::origin::Origin;
use crate::route::{Route, RouteError, Routes};

/// The relay answers a hello at once.
const HELLO: Duration = Duration::from_secs(10);
/// Control messages go ahead of table data.
const CONTROL_PRIORITY: i32 = 10;

/// A session with the relay, after its hello. Fields drop in order: the socket last.
pub struct Connected {
    pub control: Control,
    pub tunnel: Tunnel,
    pub ack: HelloAck,
    /// What the hello said is held back.
    pub told: Holding,
    pub relay: RelayAddr,
    pub dialer: TunnelDialer,
}

/// The control stream's two directions.
pub struct Control {
    pub reader: FrameReader<TunnelReader>,
    pub writer: TunnelWriter,
}

/// Why no session came to be.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{relay} ended the session at hello: {source}")]
    Ended {
        relay: RelayAddr,
        source: TunnelError,
    },
    #[error("hello with {relay}: {source}")]
    Hello { relay: RelayAddr, source: WireError },
    #[error("{relay} did not answer the hello within 10 s")]
    Silent { relay: RelayAddr },
    #[error("{relay} refused the session: {text}")]
    Refused {
        relay: RelayAddr,
        code: SessionRefusal,
        text: String,
    },
}

impl DialError {
    pub fn class(&self) -> Class {
        match self {
            DialError::Route(error) => error.class(),
            DialError::Identity(error) => error.class(),
            DialError::Ended { source, .. } => source.class(),
            DialError::Hello { source, .. } => source.class(),
            DialError::Silent { .. } => Class::Retry,
            DialError::Refused { code, .. } => match code {
                SessionRefusal::Protocol => {
                    Class::Operator("update the older of tidegate-agent and tidegate-relay")
                }
                SessionRefusal::NotAccepted => {
                    Class::Operator("the relay revoked this agent: pair it again with a new token")
                }
                SessionRefusal::Busy => Class::Retry,
                SessionRefusal::Unknown(_) => Class::Operator("update tidegate-agent"),
            },
        }
    }

    /// Whether the relay refused the certificate, so that an older one may still be good.
    pub fn refuses_certificate(&self) -> bool {
        if let DialError::Refused {
            code: SessionRefusal::NotAccepted,
            ..
        } = self
        {
            return true;
        }
        matches!(
            self.tunnel_error(),
            Some(
                TunnelError::RefusedByPeer(_)
                    | TunnelError::ClosedByPeer(
                        CloseCode::REVOKED
                            | CloseCode::UNKNOWN
                            | CloseCode::NO_CERTIFICATE
                            | CloseCode::EXPIRED
                    )
            )
        )
    }

    /// What the relay has against the identity: its clock and its records decide, not ours.
    pub fn identity_fault(&self) -> Option<IdentityFault> {
        self.tunnel_error().and_then(TunnelError::identity_fault)
    }

    /// Whether the authority that signed our certificate is none of the relay's any more. Another one may
    /// be had for the key.
    pub fn is_of_another_authority(&self) -> bool {
        let unknown = TunnelError::RefusedByPeer(CertificateFault::UnknownAuthority);
        self.tunnel_error() == Some(&unknown)
    }

    fn tunnel_error(&self) -> Option<&TunnelError> {
        match self {
            DialError::Ended { source, .. } => Some(source),
            DialError::Route(error) => error.tunnel_error(),
            _ => None,
        }
    }
}

/// Dials the relays in order until one gives a session. A refusal by one doesn't stop the next.
pub async fn dial(
    identity: &Identity,
    origin: &Origin,
    routes: &Routes,
) -> Result<Connected, DialError> {
    let tls = identity.client_config()?;
    let mut last = None;
    for relay in &identity.relays {
        match dial_relay(relay, (identity, &tls), origin, routes).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| IdentityError::RelayName(String::new()).into()))
}

async fn dial_relay(
    relay: &RelayAddr,
    (identity, tls): (&Identity, &rustls::ClientConfig),
    origin: &Origin,
    routes: &Routes,
) -> Result<Connected, DialError> {
    let Route { tunnel, dialer } = routes.connect(relay, tls).await?;
    let hello = hello(identity, origin);
    let told = hello.holding.0.clone();
    let greeted = tokio::time::timeout(HELLO, greet(&tunnel, hello)).await;
    let failed = match greeted {
        Ok(Ok((control, RelayMessage::HelloAck(ack)))) => {
            let relay = relay.clone();
            return Ok(Connected {
                control,
                tunnel,
                ack,
                told,
                relay,
                dialer,
            });
        }
        Ok(Ok((_, RelayMessage::Refused { code, text }))) => DialError::Refused {
            relay: relay.clone(),
            code,
            text: printable(&text),
        },
        Ok(Ok(_)) => {
            let source = WireError::Malformed {
                message: "HelloAck",
            };
            DialError::Hello {
                relay: relay.clone(),
                source,
            }
        }
        // In TLS 1.3 the relay judges our certificate after our handshake is done, so that its
        // refusal shows as the end of the connection: that is the cause, not the broken stream.
        Ok(Err(source)) => match tunnel.close_reason() {
            Some(source) => DialError::Ended {
                relay: relay.clone(),
                source,
            },
            None => DialError::Hello {
                relay: relay.clone(),
                source,
            },
        },
        Err(_) => DialError::Silent {
            relay: relay.clone(),
        },
    };
    tunnel.close(CloseCode::DONE);
    Err(failed)
}

async fn greet(tunnel: &Tunnel, hello: Hello) -> Result<(Control, RelayMessage), WireError> {
    let stream = tunnel
        .open()
        .await
        .map_err(|error| WireError::Io(std::io::Error::other(error)))?;
    stream.set_priority(CONTROL_PRIORITY);
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    write_message(&mut writer, &AgentMessage::Hello(hello)).await?;
    let answer = reader.next().await?;
    Ok((Control { reader, writer }, answer))
}

/// What may be reached, as it is configured now.
pub(super) fn offer(origin: &Origin) -> Offer {
    let info = |target: &std::sync::Arc<crate::config::Target>| TargetInfo {
        name: target.name.clone(),
        database: target.database.clone(),
        read_only: target.read_only,
    };
    let targets = origin.targets();
    let is_passed_through = |target: &&std::sync::Arc<crate::config::Target>| {
        target.forward == crate::config::Forward::Passthrough
    };
    let passed_through = targets.iter().filter(is_passed_through);
    let is_open = |target: &&std::sync::Arc<crate::config::Target>| {
        target.forward != crate::config::Forward::No
    };
    let open = targets.iter().filter(is_open);
    let ddl_targets = targets.iter().filter(|target| target.allow_ddl);
    Offer {
        targets: targets.iter().map(info).collect(),
        ddl_targets: ddl_targets.map(|target| target.name.clone()).collect(),
        slot_bounds: targets.iter().map(|target| target.slot_wal_max).collect(),
        passthrough_targets: passed_through.map(|target| target.name.clone()).collect(),
        forward_targets: Some(open.map(|target| target.name.clone()).collect()),
    }
}

fn hello(identity: &Identity, origin: &Origin) -> Hello {
    let offer = offer(origin);
    Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: enroll::host_name(),
        targets: offer.targets,
        epoch_counter: origin.largest_epoch(),
        ddl_targets: Grown(offer.ddl_targets),
        slot_bounds: Grown(offer.slot_bounds),
        holding: Grown(origin.held().told()),
        passthrough_targets: Grown(offer.passthrough_targets),
        forward_targets: Grown(offer.forward_targets),
        knows: Grown(RelayMessage::KINDS),
        instance: Grown(origin.instance()),
        trust_generation: Grown(identity.trust_generation),
    }
}

/// Text of the relay, made safe for a terminal and a log line.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

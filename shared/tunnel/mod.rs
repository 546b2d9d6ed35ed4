//! One authenticated connection between an agent and a relay, carrying many byte streams.
//!
//! `Tunnel` hides the transport: QUIC, or TLS over TCP where UDP does not pass, with the same
//! promises. The agent dials, the relay listens; both open and accept streams. What the streams
//! mean is not known here: see `wire`, the relay's `tunnel` and the agent's `tunnel` rooms.

mod backoff;
mod congestion;
mod dial;
mod error;
mod listen;
mod quic;
mod runtime;
mod settings;
mod stream;
mod tcp;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

pub use backoff::Backoff;
pub use dial::TunnelDialer;
pub use error::{CertificateFault, IdentityFault, TunnelError};
pub use listen::{Arriving, TunnelListener};
pub use quic::{QuicDialer, QuicListener, QuicSockets};
pub use settings::{QuicSettings, StableKeys, UdpBuffers, limits};
pub use stream::{TunnelReader, TunnelStream, TunnelWriter};
pub use tcp::{Connect, TcpTunnelDialer, TcpTunnelListener, limits as tcp_limits};

use crate::identity::tls::{ALPN_AGENT, ALPN_PAIRING};

/// Which conversation was agreed on during the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// An agent's session (ALPN `tidegate/1`). The peer must have shown a certificate.
    Agent,
    /// Redeeming a token (ALPN `tidegate-pair/1`). The peer is unknown.
    Pairing,
}

impl Protocol {
    fn of_alpn(alpn: Option<&[u8]>) -> Result<Self, TunnelError> {
        match alpn {
            Some(ALPN_AGENT) => Ok(Protocol::Agent),
            Some(ALPN_PAIRING) => Ok(Protocol::Pairing),
            _ => Err(TunnelError::NoCommonProtocol),
        }
    }
}

/// What a tunnel travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Quic,
    /// TLS over TCP.
    Tcp,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Quic => "quic",
            Transport::Tcp => "tcp",
        }
    }
}

/// A connection whose handshake is done. Cloning is cheap; the connection ends when it is closed,
/// when it times out, or when the last clone and the last stream are dropped.
#[derive(Clone)]
pub struct Tunnel {
    link: Link,
    protocol: Protocol,
    peer_leaf: Option<CertificateDer<'static>>,
}

/// The two transports.
#[derive(Clone)]
enum Link {
    Quic(quinn::Connection),
    Tcp(tcp::Link),
}

impl Tunnel {
    /// Opens a stream. Waits when the peer's limit of open streams is reached: over TCP an agent
    /// has one, and a relay as many as the agent lends it. The peer sees the stream with its first
    /// byte. Cancel safe.
    pub async fn open(&self) -> Result<TunnelStream, TunnelError> {
        match &self.link {
            Link::Quic(connection) => {
                let (send, receive) = connection.open_bi().await?;
                Ok(TunnelStream::of_quic(send, receive))
            }
            Link::Tcp(link) => link.open().await,
        }
    }

    /// The next stream that the peer opened. Cancel safe.
    pub async fn accept(&self) -> Result<TunnelStream, TunnelError> {
        match &self.link {
            Link::Quic(connection) => {
                let (send, receive) = connection.accept_bi().await?;
                Ok(TunnelStream::of_quic(send, receive))
            }
            Link::Tcp(link) => link.accept().await,
        }
    }

    /// Ends the connection at once; all its streams fail on both sides. Data not yet delivered
    /// is lost. The first call wins.
    pub fn close(&self, code: CloseCode) {
        match &self.link {
            Link::Quic(connection) => {
                connection.close(quinn::VarInt::from_u32(code.0), code.text().as_bytes());
            }
            Link::Tcp(link) => link.close(code),
        }
    }

    /// Waits for the end, whoever caused it.
    pub async fn closed(&self) -> TunnelError {
        match &self.link {
            Link::Quic(connection) => connection.closed().await.into(),
            Link::Tcp(link) => link.closed().await,
        }
    }

    /// The end, if it has come.
    pub fn close_reason(&self) -> Option<TunnelError> {
        match &self.link {
            Link::Quic(connection) => connection.close_reason().map(TunnelError::from),
            Link::Tcp(link) => link.close_reason(),
        }
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn transport(&self) -> Transport {
        match &self.link {
            Link::Quic(_) => Transport::Quic,
            Link::Tcp(_) => Transport::Tcp,
        }
    }

    /// The peer's own certificate, verified by TLS. Never a certificate from further up the chain
    /// that the peer sent.
    pub fn peer_leaf(&self) -> Option<&CertificateDer<'static>> {
        self.peer_leaf.as_ref()
    }

    /// Where the peer is now; over QUIC it changes when the peer moves to another network.
    pub fn remote(&self) -> SocketAddr {
        match &self.link {
            Link::Quic(connection) => connection.remote_address(),
            Link::Tcp(link) => link.remote(),
        }
    }

    pub fn stats(&self) -> TunnelStats {
        match &self.link {
            Link::Quic(connection) => quic::stats(connection),
            Link::Tcp(link) => link.stats(),
        }
    }
}

/// The first certificate is the one that TLS verified; what follows it is the peer's claim.
fn leaf_of(chain: Option<&[CertificateDer<'static>]>) -> Option<CertificateDer<'static>> {
    chain.and_then(|chain| chain.first()).cloned()
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (remote, transport) = (self.remote(), self.transport().as_str());
        write!(f, "Tunnel({remote} {transport} {:?})", self.protocol)
    }
}

/// Counters since the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelStats {
    /// Zero until it was measured.
    pub rtt: Duration,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// What only QUIC tells: over TCP packets are the kernel's own business.
    pub path: Option<PathStats>,
}

/// The packets of a connection and their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathStats {
    pub lost_packets: u64,
    pub sent_packets: u64,
    pub congestion_window_bytes: u64,
    pub mtu_bytes: u16,
}

/// Why one side ended the connection. Numbers are part of the protocol: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u32);

impl CloseCode {
    /// Everything was said; also the end of every pairing connection.
    pub const DONE: CloseCode = CloseCode(0);
    /// The relay or the agent goes away on purpose.
    pub const GOODBYE: CloseCode = CloseCode(1);
    /// The same agent connected again; this is the older connection.
    pub const REPLACED: CloseCode = CloseCode(2);
    /// The agent or its certificate is revoked.
    pub const REVOKED: CloseCode = CloseCode(3);
    /// An agent's connection without a certificate.
    pub const NO_CERTIFICATE: CloseCode = CloseCode(4);
    /// A message was malformed, out of turn, or of no common version.
    pub const PROTOCOL: CloseCode = CloseCode(5);
    /// Too slow: a deadline passed.
    pub const TIMEOUT: CloseCode = CloseCode(6);
    /// A limit is reached; try again later.
    pub const BUSY: CloseCode = CloseCode(7);
    /// The certificate ran out and was not renewed.
    pub const EXPIRED: CloseCode = CloseCode(8);
    /// The certificate is well signed, but the relay knows no such agent or key.
    pub const UNKNOWN: CloseCode = CloseCode(9);

    pub fn text(self) -> &'static str {
        match self {
            CloseCode::DONE => "done",
            CloseCode::GOODBYE => "goodbye",
            CloseCode::REPLACED => "replaced by a newer connection of the same agent",
            CloseCode::REVOKED => "this agent is revoked",
            CloseCode::NO_CERTIFICATE => "no certificate",
            CloseCode::PROTOCOL => "protocol error",
            CloseCode::TIMEOUT => "timed out",
            CloseCode::BUSY => "busy",
            CloseCode::EXPIRED => "certificate expired",
            CloseCode::UNKNOWN => "this agent is unknown",
            _ => "unknown reason",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

//! One authenticated connection between an agent and a relay, carrying many byte streams.
//!
//! `Tunnel` hides the transport: QUIC today, TLS over TCP later, with the same promises. The
//! agent dials, the relay listens; both open and accept streams. What the streams mean is not
//! known here: see `wire`, the relay's `tunnel` and the agent's `tunnel` rooms.

mod backoff;
mod quic;
mod settings;
mod stream;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

pub use backoff::Backoff;
pub use quic::{Arriving, QuicDialer, QuicListener};
pub use settings::{QuicSettings, StableKeys, limits};
pub use stream::{TunnelReader, TunnelStream, TunnelWriter};

use crate::Class;

/// Which conversation was agreed on during the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// An agent's session (ALPN `tidegate/1`). The peer must have shown a certificate.
    Agent,
    /// Redeeming a token (ALPN `tidegate-pair/1`). The peer is unknown.
    Pairing,
}

/// A connection whose handshake is done. Cloning is cheap; the connection ends when it is closed,
/// when it times out, or when the last clone and the last stream are dropped.
#[derive(Clone)]
pub struct Tunnel {
    connection: quinn::Connection,
    protocol: Protocol,
    peer_leaf: Option<CertificateDer<'static>>,
}

impl Tunnel {
    /// Opens a stream. Waits when the peer's limit of open streams is reached. The peer sees the
    /// stream with its first byte. Cancel safe.
    pub async fn open(&self) -> Result<TunnelStream, TunnelError> {
        let (send, receive) = self.connection.open_bi().await?;
        Ok(TunnelStream::new(send, receive))
    }

    /// The next stream that the peer opened. Cancel safe.
    pub async fn accept(&self) -> Result<TunnelStream, TunnelError> {
        let (send, receive) = self.connection.accept_bi().await?;
        Ok(TunnelStream::new(send, receive))
    }

    /// Ends the connection at once; all its streams fail on both sides. Data not yet delivered
    /// is lost. The first call wins.
    pub fn close(&self, code: CloseCode) {
        self.connection
            .close(quinn::VarInt::from_u32(code.0), code.text().as_bytes());
    }

    /// Waits for the end, whoever caused it.
    pub async fn closed(&self) -> TunnelError {
        self.connection.closed().await.into()
    }

    /// The end, if it has come.
    pub fn close_reason(&self) -> Option<TunnelError> {
        self.connection.close_reason().map(TunnelError::from)
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The peer's own certificate, verified by TLS. Never a certificate from further up the chain
    /// that the peer sent.
    pub fn peer_leaf(&self) -> Option<&CertificateDer<'static>> {
        self.peer_leaf.as_ref()
    }

    /// Where the peer is now; it changes when the peer moves to another network.
    pub fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub fn stats(&self) -> TunnelStats {
        let stats = self.connection.stats();
        TunnelStats {
            rtt: stats.path.rtt,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            lost_packets: stats.path.lost_packets,
            sent_packets: stats.path.sent_packets,
            congestion_window_bytes: stats.path.cwnd,
            mtu_bytes: stats.path.current_mtu,
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tunnel({} {:?})", self.remote(), self.protocol)
    }
}

/// Counters since the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelStats {
    pub rtt: Duration,
    pub sent_bytes: u64,
    pub received_bytes: u64,
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
    /// The agent or its certificate is revoked or unknown.
    pub const NOT_ACCEPTED: CloseCode = CloseCode(3);
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

    pub fn text(self) -> &'static str {
        match self {
            CloseCode::DONE => "done",
            CloseCode::GOODBYE => "goodbye",
            CloseCode::REPLACED => "replaced by a newer connection of the same agent",
            CloseCode::NOT_ACCEPTED => "not accepted",
            CloseCode::NO_CERTIFICATE => "no certificate",
            CloseCode::PROTOCOL => "protocol error",
            CloseCode::TIMEOUT => "timed out",
            CloseCode::BUSY => "busy",
            CloseCode::EXPIRED => "certificate expired",
            _ => "unknown reason",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a tunnel could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    #[error("the peer closed the connection: {0}")]
    ClosedByPeer(CloseCode),
    #[error("the connection was closed on this side")]
    ClosedHere,
    #[error("nothing was heard from the peer in time")]
    TimedOut,
    /// The peer restarted and forgot the connection (RFC 9000 section 10.3).
    #[error("the peer restarted")]
    PeerRestarted,
    #[error("the peer's certificate is not trusted: {0}")]
    PeerNotTrusted(CertificateFault),
    #[error("the peer does not accept our certificate: {0}")]
    RefusedByPeer(CertificateFault),
    #[error("the peer does not speak this protocol")]
    NoCommonProtocol,
    #[error("the peer does not take new connections now")]
    RefusedNow,
    #[error("'{0}' can't be dialled")]
    Address(String),
    #[error("the socket can't be used: {0}")]
    Socket(String),
    #[error("transport error: {0}")]
    Transport(String),
}

/// What is wrong with a certificate, from the TLS alert (RFC 8446 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// Not signed by the expected authority, or not matching the pin.
    UnknownAuthority,
    /// Expired, or not valid yet: look at both clocks.
    Expired,
    /// Not for the dialled name, or malformed.
    WrongName,
    /// Not meant for this purpose, for example an agent's certificate shown by a relay.
    WrongPurpose,
    Missing,
    Other,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertificateFault::UnknownAuthority => "not signed by the expected authority",
            CertificateFault::Expired => "expired or not valid yet; compare both clocks",
            CertificateFault::WrongName => "not for this name",
            CertificateFault::WrongPurpose => "not meant for this purpose",
            CertificateFault::Missing => "missing",
            CertificateFault::Other => "refused",
        })
    }
}

impl TunnelError {
    pub fn class(&self) -> Class {
        match self {
            TunnelError::ClosedByPeer(CloseCode::NOT_ACCEPTED | CloseCode::NO_CERTIFICATE) => {
                Class::Operator("the relay revoked this agent: pair it again with a new token")
            }
            TunnelError::ClosedByPeer(CloseCode::PROTOCOL) => {
                Class::Operator("update the older of tidegate-agent and tidegate-relay")
            }
            TunnelError::NoCommonProtocol => Class::Operator(
                "check that this address is a Tidegate relay's, else update the older of \
                 tidegate-agent and tidegate-relay",
            ),
            TunnelError::PeerNotTrusted(CertificateFault::UnknownAuthority) => Class::Operator(
                "this is not the relay that the agent was paired with: check address and proxy",
            ),
            TunnelError::PeerNotTrusted(CertificateFault::WrongName) => {
                Class::Operator("the relay's certificate has another name: check [tunnel] names")
            }
            TunnelError::PeerNotTrusted(_) => {
                Class::Operator("check the relay's certificate and both clocks")
            }
            TunnelError::RefusedByPeer(CertificateFault::Expired) => {
                Class::Operator("the agent's certificate expired: check the clock, or pair again")
            }
            TunnelError::RefusedByPeer(_) => {
                Class::Operator("the relay does not know this agent: pair it again")
            }
            TunnelError::Address(_) => Class::Operator("correct the relay's address"),
            _ => Class::Retry,
        }
    }
}

impl From<quinn::ConnectionError> for TunnelError {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        match error {
            E::ApplicationClosed(close) => TunnelError::ClosedByPeer(CloseCode(
                u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX),
            )),
            E::LocallyClosed => TunnelError::ClosedHere,
            E::TimedOut => TunnelError::TimedOut,
            E::Reset => TunnelError::PeerRestarted,
            E::ConnectionClosed(close) => from_code(close.error_code, true),
            E::TransportError(error) => from_code(error.code, false),
            E::VersionMismatch => TunnelError::NoCommonProtocol,
            E::CidsExhausted => TunnelError::Transport("no connection ids left".into()),
        }
    }
}

/// Sorts a transport error code; those of TLS alerts are `0x100 + alert` (RFC 9001 section 4.8).
fn from_code(code: quinn::TransportErrorCode, by_peer: bool) -> TunnelError {
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    let number = u64::from(code);
    if code == quinn::TransportErrorCode::CONNECTION_REFUSED {
        return TunnelError::RefusedNow;
    }
    let Some(alert) = number.checked_sub(0x100).filter(|alert| *alert <= 0xff) else {
        return TunnelError::Transport(code.to_string());
    };
    if alert == NO_APPLICATION_PROTOCOL {
        return TunnelError::NoCommonProtocol;
    }
    let fault = match alert {
        // 51: an authority of the same name but with another key, as all of ours are called alike.
        48 | 51 => CertificateFault::UnknownAuthority,
        45 => CertificateFault::Expired,
        42 => CertificateFault::WrongName,
        43 => CertificateFault::WrongPurpose,
        116 => CertificateFault::Missing,
        44 | 46 | 49 => CertificateFault::Other,
        _ => return TunnelError::Transport(code.to_string()),
    };
    if by_peer {
        TunnelError::RefusedByPeer(fault)
    } else {
        TunnelError::PeerNotTrusted(fault)
    }
}

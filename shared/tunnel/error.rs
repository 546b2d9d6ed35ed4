//! Why a tunnel could not be made, or ended, over either transport.

use std::fmt;

use super::CloseCode;
use crate::Class;

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
    /// No TCP connection to the peer, or to the proxy on the way.
    #[error("no connection over TCP: {0}")]
    Unreachable(String),
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

/// What a relay has against an agent's identity. Told apart, because different things help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityFault {
    /// The agent asks for another certificate with its key by itself.
    Expired,
    /// For good.
    Revoked,
    /// Of another relay, or of one that lost its state.
    Unknown,
    /// Another agent came with the same one.
    Elsewhere,
}

impl IdentityFault {
    /// The stable code, in logs, `status`, `check` and the API.
    pub fn code(self) -> &'static str {
        match self {
            IdentityFault::Expired => "identity-expired",
            IdentityFault::Revoked => "identity-revoked",
            IdentityFault::Unknown => "identity-unknown",
            IdentityFault::Elsewhere => "identity-elsewhere",
        }
    }
}

impl TunnelError {
    /// Whether it was our identity that the peer did not want.
    pub fn identity_fault(&self) -> Option<IdentityFault> {
        match self {
            TunnelError::ClosedByPeer(CloseCode::EXPIRED)
            | TunnelError::RefusedByPeer(CertificateFault::Expired) => Some(IdentityFault::Expired),
            TunnelError::ClosedByPeer(CloseCode::REVOKED) => Some(IdentityFault::Revoked),
            TunnelError::ClosedByPeer(CloseCode::UNKNOWN | CloseCode::NO_CERTIFICATE)
            | TunnelError::RefusedByPeer(CertificateFault::UnknownAuthority) => {
                Some(IdentityFault::Unknown)
            }
            TunnelError::ClosedByPeer(CloseCode::REPLACED) => Some(IdentityFault::Elsewhere),
            _ => None,
        }
    }

    pub fn class(&self) -> Class {
        match self {
            TunnelError::ClosedByPeer(CloseCode::REVOKED) => {
                Class::Operator("the relay revoked this agent: pair it again with a new token")
            }
            TunnelError::ClosedByPeer(CloseCode::UNKNOWN | CloseCode::NO_CERTIFICATE) => {
                Class::Operator("the relay does not know this agent: pair it again")
            }
            TunnelError::ClosedByPeer(CloseCode::REPLACED) => Class::Operator(
                "another agent runs with this one's identity: stop it, and pair it with a token of its own",
            ),
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

/// What a TLS alert says (RFC 8446 section 6), if it is about a certificate or the protocol.
pub(super) fn from_alert(alert: u8, by_peer: bool) -> Option<TunnelError> {
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let fault = match alert {
        NO_APPLICATION_PROTOCOL => return Some(TunnelError::NoCommonProtocol),
        // 51: an authority of the same name but with another key, as all of ours are called alike.
        48 | 51 => CertificateFault::UnknownAuthority,
        45 => CertificateFault::Expired,
        42 => CertificateFault::WrongName,
        43 => CertificateFault::WrongPurpose,
        116 => CertificateFault::Missing,
        44 | 46 | 49 => CertificateFault::Other,
        _ => return None,
    };
    Some(if by_peer {
        TunnelError::RefusedByPeer(fault)
    } else {
        TunnelError::PeerNotTrusted(fault)
    })
}

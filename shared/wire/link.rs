//! Messages of a tunnel over TCP. The relay's and the agent's own messages travel inside `Data`;
//! after `Joined` a connection carries one stream's bytes and no more messages.
//!
//! The dialling side speaks first: an opening says what the connection is for. The relay answers
//! `Welcome` on a control connection, `Joined` on one that lends itself to a session.

use std::fmt;

use bincode::{Decode, Encode};
use subtle::ConstantTimeEq;

use super::{limits, message};

/// The first frame of every TLS connection over TCP, from the side that dialled.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum LinkOpening {
    /// A new session; this connection carries its control stream.
    Control,
    /// One stream more for a session that is there.
    Stream(LinkTicket),
}

/// The answer to an opening of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LinkJoined;

/// What a control connection carries, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum LinkMessage {
    /// The relay's first: with this ticket the other connections join.
    Welcome(LinkTicket),
    /// Bytes of the control stream.
    Data(Vec<u8>),
    /// The control stream's direction ends cleanly.
    End,
    /// An `End` has arrived, with all that came before it.
    Taken,
    /// The control stream's direction is given up.
    Reset,
    /// A sign of life, with the last measured round trip, microseconds; zero when there is none.
    Ping {
        nonce: u64,
        rtt_us: u64,
    },
    Pong {
        nonce: u64,
    },
    /// The tunnel ends, with a number of `CloseCode`.
    Close {
        code: u32,
    },
}

/// Binds a connection to its session, together with the certificate that both must show.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LinkTicket {
    pub session: u64,
    pub secret: LinkSecret,
}

/// Uniformly random, told over the control connection alone.
#[derive(Clone, Eq, Encode, Decode)]
pub struct LinkSecret([u8; 32]);

impl LinkSecret {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// In constant time.
impl PartialEq for LinkSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(hidden)")
    }
}

message!(LinkOpening, limits::LINK_OPENING_BYTES_MAX);
message!(LinkJoined, limits::LINK_OPENING_BYTES_MAX);
message!(LinkMessage, limits::LINK_BYTES_MAX);

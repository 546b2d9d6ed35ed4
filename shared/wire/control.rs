//! Messages of the control stream: the first bidirectional stream, opened by the agent.
//!
//! The agent's first message is `Hello`; the relay answers `HelloAck` or `Refused` and closes.
//! After that either side may ping at any time, and the other must answer with the same number.

use bincode::{Decode, Encode};

use super::{Grown, limits, message};

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AgentMessage {
    Hello(Hello),
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    /// The agent leaves on purpose; not an outage.
    Goodbye(Goodbye),
    /// A PKCS#10 request for the next certificate. A new key is welcome: only the key is read.
    Renew {
        csr_der: Vec<u8>,
    },
    /// What is held back has changed since the hello.
    Holds(Holding),
}

/// What the relay says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RelayMessage {
    HelloAck(HelloAck),
    Refused {
        code: SessionRefusal,
        text: String,
    },
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    /// The relay goes away; come back after the delay.
    Goodbye(Goodbye),
    /// The agent's certificate first, then its authority; DER each.
    Renewed {
        chain_der: Vec<Vec<u8>>,
    },
    RenewRefused {
        code: RenewRefusal,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    pub protocol_min: u16,
    pub protocol_max: u16,
    pub agent_version: String,
    /// Host name, for people to read.
    pub host: String,
    pub targets: Vec<TargetInfo>,
    /// The newest lease epoch that this agent admitted, over all its targets. A relay restored
    /// from an old backup continues above it.
    pub epoch_counter: u64,
    /// Names of the targets through which the relay may change the schema (make publications, run
    /// the fixes that it offers). None for an agent from before this was told.
    pub ddl_targets: Grown<Vec<String>>,
    /// How much WAL a slot may make each target's server keep before the agent drops it, bytes, in
    /// the order of `targets`. None for an agent that drops no slots.
    pub slot_bounds: Grown<Vec<u64>>,
    /// What the agent holds back. Nothing for an agent that can't.
    pub holding: Grown<Holding>,
    /// Names of the targets through which a person may be let in with their own name and password:
    /// the agent then passes the login on instead of logging in itself.
    pub passthrough_targets: Grown<Vec<String>>,
    /// Names of the targets that are open to people's own tools. Nothing for an agent from before
    /// this was told: it answers each request by itself.
    pub forward_targets: Grown<Option<Vec<String>>>,
}

/// What an agent holds back by order of its own operator or of its write brake. The agent enforces
/// it; the relay is told so that people see why nothing moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Holding {
    pub held: Held,
    /// One line for people; empty when nothing is held.
    pub reason: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Held {
    #[default]
    Nothing,
    /// Sessions are read-only.
    Writes,
    /// No session is opened.
    Everything,
}

/// A database that the agent's own configuration lets the relay reach. No address: the relay
/// names the target, the agent knows where it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TargetInfo {
    pub name: String,
    pub database: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HelloAck {
    /// The negotiated version.
    pub protocol: u16,
    /// Identifies this session in both logs.
    pub session: u64,
    /// The relay's clock, milliseconds since 1970; the agent warns about a skew.
    pub relay_time_ms: u64,
    /// Empty for a relay from before this was told.
    pub relay_version: Grown<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Goodbye {
    /// How long to stay away, milliseconds; zero leaves it to the usual backoff.
    pub delay_ms: u64,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SessionRefusal {
    /// No protocol version in common.
    Protocol,
    /// The certificate or the agent is revoked, or was never issued here. Since close codes tell
    /// these apart, no relay says it any more.
    NotAccepted,
    /// The relay is full or shutting down; try again later.
    Busy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RenewRefusal {
    /// This agent is revoked: never again.
    Revoked,
    /// The request can't be used.
    BadRequest,
    /// The relay could not issue it now; try again later.
    Unavailable,
}

message!(AgentMessage, limits::CONTROL_BYTES_MAX);
message!(RelayMessage, limits::CONTROL_BYTES_MAX);

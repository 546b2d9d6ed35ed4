//! Messages of the control stream: the first bidirectional stream, opened by the agent.
//!
//! The agent's first message is `Hello`; the relay answers `HelloAck` or `Refused` and closes.
//! After that either side may ping at any time, and the other must answer with the same number.

use bincode::{Decode, Encode};

use super::{Grown, codes, limits, message};

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
    /// What may be reached has changed since the hello.
    Offers(Offer),
    /// The authorities of this generation are trusted from now on, over restarts too.
    Trusts {
        generation: u64,
    },
}

impl AgentMessage {
    /// Kinds that this build knows.
    pub const KINDS: u32 = 8;
    /// From so many on, a relay knows `Offers` and `Trusts`.
    pub const KINDS_WITH_OFFERS: u32 = 8;
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
    /// Which authorities sign relay certificates from now on.
    Trust(Trust),
}

impl RelayMessage {
    /// Kinds that this build knows.
    pub const KINDS: u32 = 8;
    /// From so many on, an agent knows `Trust`.
    pub const KINDS_WITH_TRUST: u32 = 8;
}

/// The authorities that an agent shall trust a relay by. Whoever only holds a relay's certificate can't
/// make one: it counts with a signature by an authority that the agent trusts already
/// (`identity::trust`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Trust {
    /// Of two lists the one with the larger number is the later one.
    pub generation: u64,
    /// One, or two while they roll over; DER.
    pub authorities_der: Vec<Vec<u8>>,
    /// By each of them.
    pub signatures: Vec<Vec<u8>>,
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
    /// How many kinds of [`RelayMessage`] the agent knows; zero if it is from before this was told.
    pub knows: Grown<u32>,
    /// Random, of this process of the agent: a copy of its identity that runs elsewhere has another
    /// one. Zero if it is from before this was told.
    pub instance: Grown<u64>,
    /// Which list of authorities the agent trusts ([`Trust`]).
    pub trust_generation: Grown<u64>,
}

impl Hello {
    /// What may be reached.
    pub fn offer(&self) -> Offer {
        Offer {
            targets: self.targets.clone(),
            ddl_targets: self.ddl_targets.0.clone(),
            slot_bounds: self.slot_bounds.0.clone(),
            passthrough_targets: self.passthrough_targets.0.clone(),
            forward_targets: self.forward_targets.0.clone(),
        }
    }
}

/// What may be reached through an agent, by its own configuration; field by field as in [`Hello`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Offer {
    pub targets: Vec<TargetInfo>,
    pub ddl_targets: Vec<String>,
    pub slot_bounds: Vec<u64>,
    pub passthrough_targets: Vec<String>,
    pub forward_targets: Option<Vec<String>>,
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
    /// How many kinds of [`AgentMessage`] the relay knows; zero if it is from before this was told.
    pub knows: Grown<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Goodbye {
    /// How long to stay away, milliseconds; zero leaves it to the usual backoff.
    pub delay_ms: u64,
    pub reason: String,
}

codes! {
    pub enum SessionRefusal {
        /// No protocol version in common.
        Protocol = 0,
        /// The certificate or the agent is revoked, or was never issued here. Since close codes tell
        /// these apart, no relay says it any more.
        NotAccepted = 1,
        /// The relay is full or shutting down; try again later.
        Busy = 2,
    }
}

codes! {
    pub enum RenewRefusal {
        /// This agent is revoked: never again.
        Revoked = 0,
        /// The request can't be used.
        BadRequest = 1,
        /// The relay could not issue it now; try again later.
        Unavailable = 2,
    }
}

message!(AgentMessage, limits::CONTROL_BYTES_MAX);
message!(RelayMessage, limits::CONTROL_BYTES_MAX);

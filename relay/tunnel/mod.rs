//! The relay's side of the tunnels: who is here, and a stream to a target of theirs.
//!
//! `Listener` accepts agents and pairing hosts on one port, UDP and TCP; `Agents` is the registry that
//! `app` hands to whoever needs a stream. This room moves bytes: it knows no database, no store
//! and no sync. Who may come in is asked of a [`Doorkeeper`], which `pairing` implements.

mod agents;
mod door;
mod enrol;
mod instances;
mod listen;
mod session;

pub use agents::{AgentLive, Agents, OpenError};
pub use door::{Doorkeeper, NotAdmitted, Renewal};
pub use listen::{Clock, ListenError, Listener, ListenerConfig, system_clock};

/// Bounds of this room.
pub mod limits {
    use std::time::Duration;

    /// From the first packet to the end of the TLS handshake, and over TCP to the first frame.
    pub const HANDSHAKE: Duration = Duration::from_secs(5);
    /// From the handshake to a complete hello.
    pub const HELLO: Duration = Duration::from_secs(5);
    /// A whole pairing conversation, the store's part included.
    pub const PAIRING: Duration = Duration::from_secs(10);
    /// Handshakes under way above which senders must prove their address first.
    pub const HANDSHAKES_BEFORE_RETRY: usize = 64;
    /// Handshakes under way above which new ones are refused. At about 1,200 handshakes a second
    /// and core, this is less than a second of work.
    pub const HANDSHAKES_MAX: usize = 1024;
    /// The same for one address; many agents may sit behind one translator.
    pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 256;
    /// Pairing conversations at the same time: they are the only work for unknown peers.
    pub const PAIRINGS_MAX: usize = 32;
    /// Sessions of agents on one relay: 25,000 idle ones take about 1 GiB.
    pub const SESSIONS_MAX: usize = 25_000;
    /// One message on the control stream may take this long to be taken by the agent.
    pub const CONTROL_WRITE: Duration = Duration::from_secs(10);
    /// How often the relay asks an agent for a sign of life above the transport.
    pub const PING_EVERY: Duration = Duration::from_secs(20);
    /// Unanswered pings after which the agent counts as hung.
    pub const PINGS_UNANSWERED_MAX: u32 = 3;
    /// From the request for a stream to the agent's answer; it connects and logs in meanwhile.
    pub const OPEN: Duration = Duration::from_secs(30);
    /// From an agent's goodbye to the end of its connection. The agent lets its streams end for
    /// 10 s and then takes up to 2 s to close; the rest is for a slow path.
    pub const LEAVING: Duration = Duration::from_secs(15);
    /// Commands that may wait for a session's task.
    pub const COMMANDS_MAX: usize = 8;
    /// Spread of a goodbye's delays: agents come back at most this fast, one after another.
    pub const GOODBYE_PACE: Duration = Duration::from_millis(2);
    /// How long a goodbye waits for the agents to have heard it.
    pub const GOODBYE: Duration = Duration::from_secs(3);
    /// How often the relay looks whether its own certificate is due.
    pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(6 * 3600);
}

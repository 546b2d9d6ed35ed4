//! What the tunnels must ask before they let anybody in. `pairing` answers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tidegate_shared::identity::{AgentIdentity, AgentLeaf};
use tidegate_shared::wire::{PairAnswer, PairAsk, RenewRefusal, Trust};

/// Decides who comes in. Every answer is asked for anew: nothing is remembered here.
pub trait Doorkeeper: Send + Sync + 'static {
    /// Whether this verified certificate is good: issued here, and neither it nor its agent
    /// revoked.
    fn admit(&self, leaf: &AgentLeaf) -> impl Future<Output = Result<(), NotAdmitted>> + Send;

    /// Notes what an admitted agent says about itself.
    fn note_seen(
        &self,
        identity: &AgentIdentity,
        host: &str,
        version: &str,
        now: SystemTime,
    ) -> impl Future<Output = ()> + Send;

    /// Notes that an identity is in use at two places at once.
    fn note_clone(
        &self,
        identity: &AgentIdentity,
        remote: SocketAddr,
        now: SystemTime,
    ) -> impl Future<Output = ()> + Send;

    /// The authorities that agents shall trust, if they are not the first ones.
    fn trust(&self) -> Option<Trust>;

    /// Notes that an agent trusts the authorities of that generation.
    fn note_trust(&self, identity: &AgentIdentity, generation: u64);

    /// Issues the next certificate for an agent with a live session.
    fn renew(
        &self,
        leaf: &AgentLeaf,
        csr_der: &[u8],
        now: SystemTime,
    ) -> impl Future<Output = Result<Renewal, RenewRefusal>> + Send;

    /// Answers an unknown peer.
    fn pair(
        &self,
        ask: PairAsk,
        from: IpAddr,
        now: SystemTime,
    ) -> impl Future<Output = PairAnswer> + Send;
}

/// A certificate for a live session.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The leaf first, then its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// When it ends; the session may last as long.
    pub not_after: SystemTime,
}

/// Why an agent may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The agent, its key or this certificate is revoked.
    Revoked,
    /// Signed by this relay's authority, but of no agent or key that it knows.
    Unknown,
    /// The store could not be asked; the agent should try again.
    Unavailable,
}

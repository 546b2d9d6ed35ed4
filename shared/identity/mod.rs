//! Who is who: certificate authorities, certificates, and the TLS configurations of both ends.
//!
//! There are two authorities, one for agents and one for relays, so that neither can stand in
//! for the other. An identity is read only from the leaf that TLS verified. Files and custody of
//! keys are not here: see the relay's and the agent's own `identity` rooms.

mod authority;
mod key;
mod leaf;
pub mod tls;
pub mod trust;

pub use authority::{
    AuthorityKind, CertificateAuthority, Issued, Validity, pem_of, relay_chain_names_match,
    requested_key_pin,
};
pub use key::{AgentKey, fingerprint_text, key_fingerprint};
pub use leaf::{AgentIdentity, AgentLeaf, CertificateFacts, spki_pin};

use crate::Class;

/// Bounds of this room.
pub mod limits {
    use std::time::Duration;

    /// Life of a certificate authority. Roll-over is possible at any time with two pins.
    pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    /// Certificates start this much in the past, for agents whose clock is behind.
    pub const CLOCK_SKEW: Duration = Duration::from_secs(300);
    /// Life of an agent's certificate unless the relay is told otherwise.
    pub const AGENT_LIFE: Duration = Duration::from_secs(72 * 3600);
    /// How long after its certificate ran out an agent may ask for another one with its key: a
    /// host that was off for some weeks need not be paired again.
    pub const REISSUE: Duration = Duration::from_secs(30 * 24 * 3600);
    /// Bytes of a CSR: one with an ECDSA P-256 key and no names has about 250.
    pub const CSR_BYTES_MAX: usize = 4 * 1024;
    /// Characters of a workspace or agent id.
    pub const ID_CHARS_MAX: usize = 64;
}

/// Why an identity can't be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the certificate request can't be used: {0}")]
    Request(&'static str),
    #[error("the certificate can't be used: {0}")]
    Certificate(&'static str),
    #[error("'{0}' is not a valid id: 1 to 64 letters, digits, '-' or '_'")]
    Id(String),
    #[error("'{0}' is not a DNS name or an IP address")]
    RelayName(String),
    #[error("no PEM block with {0} was found")]
    Pem(&'static str),
    #[error("this authority signs for {found}, not for {wanted}")]
    WrongAuthority {
        found: AuthorityKind,
        wanted: AuthorityKind,
    },
    #[error("none of the certificates that the relay sent matches the pinned authority")]
    PinMismatch,
    #[error("no authority that is trusted here signed the list of authorities that the relay sent")]
    NotVouchedFor,
    #[error("create certificate: {0}")]
    Create(#[from] rcgen::Error),
    #[error("configure TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("configure certificate verification: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl IdentityError {
    pub fn class(&self) -> Class {
        match self {
            IdentityError::RelayName(_) => {
                Class::Operator("give the relay a DNS name or an IP address as its name")
            }
            IdentityError::Id(_) => Class::Operator("choose another id"),
            IdentityError::Pem(_) | IdentityError::Certificate(_) => {
                Class::Operator("restore the identity files from a backup, or pair again")
            }
            IdentityError::NotVouchedFor => Class::Operator(
                "look at who had access to the relay; agents keep trusting what they did before",
            ),
            IdentityError::PinMismatch => Class::Operator(
                "this is not the relay that made the token: check the address, ask for a new token",
            ),
            _ => Class::Bug,
        }
    }
}

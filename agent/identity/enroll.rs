//! Redeems a pairing token: from a token to an identity on disk.
//!
//! TLS checks the relay's authority against the token's pins before anything is sent, so that the
//! secret reaches only the relay that made it. The key is on disk before it is used: a lost answer
//! is asked for again with the same key. Also asks for a new certificate when the old one ran out
//! while the agent was away. Called by `cli` and `tunnel::supervise`.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tidegate_shared::Class;
use tidegate_shared::identity::{AgentKey, AgentLeaf, IdentityError, fingerprint_text, tls};
use tidegate_shared::pairing::{PairingToken, RelayAddr};
use tidegate_shared::tunnel::{CloseCode, IdentityFault, Tunnel, TunnelError};
use tidegate_shared::wire::{
    PairAnswer, PairAsk, PairRefusal, PairRequest, Paired, ReissueRequest, WireError, read_message,
    write_message,
};
use tokio::io::AsyncWriteExt;
use tracing::info;

use super::keystore::{Identity, Keystore, KeystoreError, check_chain};
use crate::route::{Route, RouteError, Routes};

mod limits {
    use super::Duration;

    /// The relay writes its store before it answers.
    pub(super) const ANSWER: Duration = Duration::from_secs(15);
    /// Attempts whose answer got lost, before the operator is told.
    pub(super) const ATTEMPTS_MAX: u32 = 3;
    pub(super) const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
}

/// The stable code of an identity that was away for too long, or too often, to be given another
/// certificate.
pub const LAPSED: &str = "identity-lapsed";

/// Why pairing failed; each is one line that says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("the relay's answer got lost ({0}): run the same command with the same token again")]
    Lost(String),
    #[error("{0}")]
    Refused(PairRefusal),
    #[error("the relay does not know this agent's key: pair it again with a new token")]
    UnknownKey,
    #[error("the relay's answer can't be used: {0}")]
    Answer(#[from] IdentityError),
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

impl EnrollError {
    pub fn class(&self) -> Class {
        match self {
            EnrollError::Route(error) => error.class(),
            EnrollError::Lost(_) => Class::Retry,
            EnrollError::Refused(PairRefusal::Busy | PairRefusal::Unavailable) => Class::Retry,
            EnrollError::Refused(PairRefusal::NotAccepted) => {
                Class::Operator("ask for a new token with `tidegate-relay agent invite`")
            }
            EnrollError::Refused(PairRefusal::BadRequest | PairRefusal::Unknown(_)) => {
                Class::Operator("update tidegate-agent")
            }
            EnrollError::Refused(PairRefusal::Revoked | PairRefusal::Lapsed)
            | EnrollError::UnknownKey => Class::Operator("pair this agent again with a new token"),
            EnrollError::Answer(error) => error.class(),
            EnrollError::Keystore(error) => error.class(),
        }
    }

    /// The stable code where the relay decided about an identity.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            EnrollError::Refused(PairRefusal::Revoked) => Some(IdentityFault::Revoked.code()),
            EnrollError::Refused(PairRefusal::Lapsed) => Some(LAPSED),
            EnrollError::UnknownKey => Some(IdentityFault::Unknown.code()),
            _ => None,
        }
    }

    /// Whether the same may be tried at once: nothing was decided by the relay.
    fn is_lost(&self) -> bool {
        matches!(
            self,
            EnrollError::Lost(_) | EnrollError::Refused(PairRefusal::Unavailable)
        )
    }
}

/// This host's name, for people to read in the relay's list.
pub fn host_name() -> String {
    let name = hostname::get().unwrap_or_default();
    name.to_string_lossy()
        .chars()
        .filter(|c| !c.is_control())
        .take(253)
        .collect()
}

/// Redeems `token` and makes the answer this agent's identity. An identity from before is replaced
/// only after the new one is complete.
pub async fn pair(
    token: &PairingToken,
    store: &Keystore,
    routes: &Routes,
) -> Result<Identity, EnrollError> {
    let key = store.pending_key(&token.id)?;
    let tls = tls::pairing_client(&token.ca_pins)?;
    let request = PairRequest {
        token_id: token.id,
        secret: token.secret.clone(),
        csr_der: key.csr_der()?,
        host: host_name(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let paired = ask(&token.relays, &tls, &PairAsk::Redeem(request), routes).await?;
    let identity = identity_of(paired, key, token)?;
    store.save_current(&identity)?;
    Ok(identity)
}

/// Asks for a new certificate for the key of an expired one. Keeps it as the next identity.
pub async fn reissue(
    identity: &Identity,
    store: &Keystore,
    routes: &Routes,
) -> Result<Identity, EnrollError> {
    let request = ReissueRequest {
        csr_der: identity.key.csr_der()?,
        host: host_name(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let tls = identity.pairing_config()?;
    let asked = ask(&identity.relays, &tls, &PairAsk::Reissue(request), routes).await;
    let paired = asked.map_err(|error| match error {
        // Its text is about tokens.
        EnrollError::Refused(PairRefusal::NotAccepted) => EnrollError::UnknownKey,
        error => error,
    })?;
    let renewed = identity.with_chain(paired.chain_der)?;
    store.save_next(&renewed)?;
    Ok(renewed)
}

fn identity_of(
    paired: Paired,
    key: AgentKey,
    token: &PairingToken,
) -> Result<Identity, EnrollError> {
    let chain: Vec<_> = paired
        .chain_der
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    check_chain(&key, &chain)?;
    let leaf = chain
        .first()
        .ok_or(IdentityError::Certificate("the relay sent none"))?;
    let identity = AgentLeaf::from_verified(leaf)?.identity;
    let sent: Vec<_> = paired
        .relay_ca_der
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let sent_count = sent.len();
    let relay_authorities = tls::pinned_of(sent, &token.ca_pins)?;
    // What the token does not pin comes signed, with the first session.
    let is_whole = relay_authorities.len() == sent_count;
    let trust_generation = if is_whole {
        paired.trust_generation.0
    } else {
        0
    };
    let fingerprint = fingerprint_text(&key.fingerprint());
    info!(agent = identity.agent(), %fingerprint, "paired");
    Ok(Identity {
        agent_name: paired.agent_name,
        workspace: paired.workspace,
        relays: token.relays.clone(),
        key,
        chain,
        relay_authorities,
        trust_generation,
    })
}

/// Asks the relays in order until one answers; the last failure is told.
async fn ask(
    relays: &[RelayAddr],
    tls: &rustls::ClientConfig,
    question: &PairAsk,
    routes: &Routes,
) -> Result<Paired, EnrollError> {
    let mut last = EnrollError::Lost("no relay is known".into());
    for attempt in 0..limits::ATTEMPTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(limits::BETWEEN_ATTEMPTS).await;
        }
        for relay in relays {
            match ask_one(relay, tls, question, routes).await {
                Ok(paired) => return Ok(paired),
                Err(
                    error @ EnrollError::Refused(
                        PairRefusal::NotAccepted | PairRefusal::Revoked | PairRefusal::Lapsed,
                    ),
                ) => return Err(error),
                Err(error) => last = error,
            }
        }
        if !last.is_lost() {
            break;
        }
    }
    Err(last)
}

async fn ask_one(
    relay: &RelayAddr,
    tls: &rustls::ClientConfig,
    question: &PairAsk,
    routes: &Routes,
) -> Result<Paired, EnrollError> {
    let Route { tunnel, dialer } = routes.connect(relay, tls).await?;
    let answer = tokio::time::timeout(limits::ANSWER, converse(&tunnel, question)).await;
    let reason = tunnel.close_reason();
    tunnel.close(CloseCode::DONE);
    // Lets the relay see the close instead of waiting for its timeout; best effort.
    let _ = tokio::time::timeout(Duration::from_secs(1), dialer.wait_idle()).await;
    match answer {
        Ok(Ok(PairAnswer::Paired(paired))) => Ok(paired),
        Ok(Ok(PairAnswer::Refused { code })) => Err(EnrollError::Refused(code)),
        Ok(Err(error)) => match reason {
            Some(TunnelError::ClosedByPeer(CloseCode::BUSY)) => {
                Err(EnrollError::Refused(PairRefusal::Busy))
            }
            Some(source) => Err(EnrollError::Lost(source.to_string())),
            None => Err(EnrollError::Lost(error.to_string())),
        },
        Err(_) => Err(EnrollError::Lost("no answer within 15 s".into())),
    }
}

async fn converse(tunnel: &Tunnel, question: &PairAsk) -> Result<PairAnswer, WireError> {
    let mut stream = match tunnel.open().await {
        Ok(stream) => stream,
        Err(error) => return Err(WireError::Io(std::io::Error::other(error))),
    };
    write_message(&mut stream, question).await?;
    stream.shutdown().await?;
    read_message(&mut stream).await
}

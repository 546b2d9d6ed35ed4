//! Pairing: minting tokens, redeeming them for certificates, renewing, revoking.
//!
//! Decides who comes in, over the store's statements in `store::agents` and the authorities in
//! `identity`. Knows the tunnels only as a registry to cut a revoked agent out of, and answers
//! them as their [`Doorkeeper`]. The API calls `invite` and `revoke`.

mod authorities;
mod issue;
mod redeem;
mod throttle;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tidegate_shared::Class;
use tidegate_shared::identity::IdentityError;
use tidegate_shared::pairing::{PairingToken, RelayAddr, TokenError, TokenSecret};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::identity::{Custody, CustodyError};
use crate::store::agents::Owner;
use crate::store::audit::{self, AuditEvent};
use crate::store::{self, Store, StoreError, agents};
use crate::tunnel::Agents;
pub use authorities::AuthorityView;
use throttle::Throttle;

/// Bounds of this room.
pub mod limits {
    use std::time::Duration;

    /// Life of a token unless `--expires` says otherwise.
    pub const EXPIRES_DEFAULT: Duration = Duration::from_secs(3600);
    pub const EXPIRES_MIN: Duration = Duration::from_secs(60);
    /// A token that lies around for longer than this is a password.
    pub const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
    /// How long a lost answer may be asked for again, with the same key.
    pub const REPEAT: Duration = Duration::from_secs(600);
    /// How often one key may get a certificate after the end of its last one, as far back as
    /// certificates are remembered ([`KEEP_EXPIRED`]): an agent that is on for some hours of each
    /// week needs half of it.
    pub const REISSUES_PER_KEY_MAX: u32 = 30;
    /// Certificates for one key within an hour; an agent needs one per half life.
    pub const CERTIFICATES_PER_HOUR: u32 = 20;
    /// Characters of an agent's name.
    pub const NAME_CHARS_MAX: usize = 63;
    /// Expired tokens and certificates are kept this long, for questions about the past.
    pub const KEEP_EXPIRED: Duration = Duration::from_secs(90 * 24 * 3600);
}

/// What pairing needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct PairingConfig {
    /// What agents dial; goes into tokens.
    pub relays: Vec<RelayAddr>,
    /// Life of agents' certificates.
    pub agent_life: Duration,
}

/// Who asks, in which workspace: both come from the caller's own authentication.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub workspace: &'a str,
    /// For the audit log.
    pub actor: &'a str,
}

/// A minted token, shown once.
pub struct Invitation {
    pub token: Zeroizing<String>,
    pub agent_id: String,
    pub name: String,
    pub expires_at: SystemTime,
}

/// Why an operator's order can't be carried out. What strangers are told is `PairRefusal`.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    #[error("'{0}' is not a good name: use 1 to 63 letters, digits, '.', '-' or '_'")]
    Name(String),
    #[error("a token may live from one minute to seven days")]
    Expires,
    #[error("there is no agent named {0}")]
    NoAgent(String),
    /// With all of them, for who wants a list.
    #[error(
        "the old authority can't be dropped yet: {} have not connected since the new one is there",
        Owner::text(.0)
    )]
    WouldLose(Vec<Owner>),
    #[error("the relay's addresses don't fit into a token: {0}")]
    Addresses(#[from] TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Custody(#[from] CustodyError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the system gives no randomness")]
    Randomness,
}

impl PairingError {
    pub fn class(&self) -> Class {
        match self {
            PairingError::Name(_) => Class::Operator("choose another name"),
            PairingError::Expires => Class::Operator("give --expires between 1m and 7d"),
            PairingError::NoAgent(_) => Class::Operator("see `tidegate-relay agent list`"),
            PairingError::WouldLose(_) => {
                Class::Operator("wait for them, or finish with --force and pair them again")
            }
            PairingError::Addresses(_) => Class::Operator("check [tunnel] names in relay.toml"),
            PairingError::Store(error) => match error.class() {
                store::Class::Retry => Class::Retry,
                store::Class::Operator(advice) => Class::Operator(advice),
                store::Class::Bug => Class::Bug,
            },
            PairingError::Custody(error) => error.class(),
            PairingError::Identity(error) => error.class(),
            PairingError::Randomness => Class::Bug,
        }
    }
}

/// The room's one object.
pub struct Pairing {
    store: Store,
    custody: Arc<Custody>,
    agents: Agents,
    config: PairingConfig,
    throttle: Mutex<Throttle>,
    /// Which list of authorities agents said they trust since this relay started, by their ids.
    trusts: Mutex<HashMap<String, u64>>,
}

impl Pairing {
    pub fn new(store: Store, custody: Arc<Custody>, agents: Agents, config: PairingConfig) -> Self {
        Self {
            store,
            custody,
            agents,
            config,
            throttle: Mutex::default(),
            trusts: Mutex::default(),
        }
    }

    /// Mints a token for the agent of that name, which is made if there is none. An earlier token
    /// of the same agent that was not used stops working. Pairing an agent again with a new key
    /// retires its old key.
    pub async fn invite(
        &self,
        asker: Asker<'_>,
        name: &str,
        expires: Duration,
        now: SystemTime,
    ) -> Result<Invitation, PairingError> {
        check_name(name)?;
        if !(limits::EXPIRES_MIN..=limits::EXPIRES_MAX).contains(&expires) {
            return Err(PairingError::Expires);
        }
        let mut id = [0; 16];
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut id).map_err(|_| PairingError::Randomness)?;
        aws_lc_rs::rand::fill(&mut *secret).map_err(|_| PairingError::Randomness)?;
        let token = PairingToken {
            relays: self.config.relays.clone(),
            ca_pins: self.custody.relay_pins()?,
            id,
            secret: TokenSecret::new(*secret),
        };
        let text = token.encode()?;
        let expires_at = now + expires;
        let row = agents::TokenRow {
            id,
            workspace: asker.workspace.to_owned(),
            agent: String::new(),
            secret_hash: token.secret.hash(),
            created_at: unix_ms(now),
            expires_at: unix_ms(expires_at),
            redeemed: None,
        };
        let agent_id = self
            .store_invitation(asker, name, row, unix_ms(now))
            .await?;
        Ok(Invitation {
            token: text,
            agent_id,
            name: name.to_owned(),
            expires_at,
        })
    }

    async fn store_invitation(
        &self,
        asker: Asker<'_>,
        name: &str,
        mut row: agents::TokenRow,
        now_ms: i64,
    ) -> Result<String, StoreError> {
        let store = self.store.clone();
        let name = name.to_owned();
        let event = event(asker, "agent.invite", &name, now_ms);
        self.store
            .transact(move |tx| {
                let found = agents::find_by_name(tx, &row.workspace, &name)?;
                let agent = match found {
                    Some(agent) => agent,
                    None => {
                        let id = Uuid::now_v7().to_string();
                        agents::add(tx, &row.workspace, &name, &id, now_ms)?
                    }
                };
                row.agent = agent.id.clone();
                agents::add_token(tx, &row)?;
                let keep = i64::try_from(limits::KEEP_EXPIRED.as_millis()).unwrap_or(i64::MAX);
                agents::forget_before(tx, now_ms.saturating_sub(keep))?;
                audit::append(tx, store.sealer(), &event)?;
                Ok(agent.id)
            })
            .await
    }

    /// Revokes an agent for good: its certificates, its tokens, and its live session, which is cut
    /// before this returns. Its name is free again. Returns its id.
    pub async fn revoke(
        &self,
        asker: Asker<'_>,
        name: &str,
        now: SystemTime,
    ) -> Result<String, PairingError> {
        let store = self.store.clone();
        let event = event(asker, "agent.revoke", name, unix_ms(now));
        let revoked = self
            .store
            .transact(move |tx| {
                let id = agents::revoke(tx, &event.workspace, &event.object, event.at_ms)?;
                if id.is_some() {
                    audit::append(tx, store.sealer(), &event)?;
                }
                Ok(id)
            })
            .await?;
        let id = revoked.ok_or_else(|| PairingError::NoAgent(name.to_owned()))?;
        // Durable first: a session that comes in between is refused by the second question.
        self.agents.disconnect(&id);
        Ok(id)
    }
}

fn event(asker: Asker<'_>, action: &str, object: &str, at_ms: i64) -> AuditEvent {
    AuditEvent {
        at_ms,
        workspace: asker.workspace.to_owned(),
        actor: asker.actor.to_owned(),
        action: action.to_owned(),
        object: object.to_owned(),
    }
}

fn check_name(name: &str) -> Result<(), PairingError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > limits::NAME_CHARS_MAX || !name.chars().all(allowed) {
        return Err(PairingError::Name(
            name.chars().take(limits::NAME_CHARS_MAX).collect(),
        ));
    }
    Ok(())
}

/// Milliseconds since 1970, as the store keeps them.
fn unix_ms(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

//! Replacing an authority while agents are paired: what has begun, who is not ready for its end, and
//! the end. The API calls this for whoever hosts the relay.

use std::sync::PoisonError;
use std::time::SystemTime;

use tidegate_shared::identity::AuthorityKind;
use tidegate_shared::identity::limits::REISSUE;

use super::{Asker, Pairing, PairingError, event, millis, unix_ms};
use crate::identity::{AuthorityState, RollOver};
use crate::store::agents::{self, Owner};

/// How an authority stands, and who would be lost if its roll-over ended now.
#[derive(Debug, Clone)]
pub struct AuthorityView {
    pub state: AuthorityState,
    /// Agents that must have connected once more before. They would have to be paired again.
    pub waiting_for: Vec<Owner>,
}

impl Pairing {
    /// Both authorities.
    pub async fn authorities(&self, now: SystemTime) -> Result<Vec<AuthorityView>, PairingError> {
        let mut views = Vec::with_capacity(2);
        for kind in [AuthorityKind::Agents, AuthorityKind::Relays] {
            views.push(self.authority(kind, now).await?);
        }
        Ok(views)
    }

    /// One of them.
    pub async fn authority(
        &self,
        kind: AuthorityKind,
        now: SystemTime,
    ) -> Result<AuthorityView, PairingError> {
        let state = self.custody.state(kind)?;
        let waiting_for = match &state.roll_over {
            None => Vec::new(),
            Some(roll_over) => self.waiting_for(kind, roll_over, now).await?,
        };
        Ok(AuthorityView { state, waiting_for })
    }

    async fn waiting_for(
        &self,
        kind: AuthorityKind,
        roll_over: &RollOver,
        now: SystemTime,
    ) -> Result<Vec<Owner>, PairingError> {
        let now_ms = unix_ms(now);
        match kind {
            AuthorityKind::Agents => {
                let since_ms = unix_ms(roll_over.since);
                let look = move |conn: &_| agents::certified_before(conn, since_ms, now_ms);
                Ok(self.store.view(look).await?)
            }
            AuthorityKind::Relays => {
                // Who was away for longer must be paired again anyway.
                let ended_ms = now_ms.saturating_sub(millis(REISSUE));
                let look = move |conn: &_| agents::certified_until(conn, ended_ms);
                let mut all = self.store.view(look).await?;
                let generation = self.custody.trust_generation();
                let trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
                all.retain(|agent| trusts.get(&agent.id).is_none_or(|of| *of < generation));
                Ok(all)
            }
        }
    }

    /// Makes the authority that shall take another one's place, and tells those who must know.
    pub async fn renew_authority(
        &self,
        asker: Asker<'_>,
        kind: AuthorityKind,
        now: SystemTime,
    ) -> Result<AuthorityView, PairingError> {
        self.custody.renew(kind, now)?;
        self.tell(asker, "authority.renew", kind, now).await;
        self.authority(kind, now).await
    }

    /// Drops the authority that was replaced. Refuses while that would lose agents, unless forced.
    pub async fn finish_authority(
        &self,
        asker: Asker<'_>,
        kind: AuthorityKind,
        force: bool,
        now: SystemTime,
    ) -> Result<AuthorityView, PairingError> {
        let lost = self.authority(kind, now).await?.waiting_for;
        if !lost.is_empty() && !force {
            return Err(PairingError::WouldLose(lost));
        }
        self.custody.finish(kind)?;
        self.tell(asker, "authority.finish", kind, now).await;
        self.authority(kind, now).await
    }

    async fn tell(&self, asker: Asker<'_>, action: &str, kind: AuthorityKind, now: SystemTime) {
        tracing::warn!(%kind, action, by = asker.actor, "A certificate authority is replaced.");
        self.note(event(asker, action, &kind.to_string(), unix_ms(now)))
            .await;
        match self.custody.trust() {
            Ok(Some(trust)) if kind == AuthorityKind::Relays => self.agents.trust_all(&trust),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "Agents can't be told which authorities to trust.")
            }
        }
    }
}

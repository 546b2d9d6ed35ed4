//! Answers to strangers: a token for a certificate, or an old key for a new certificate. Whatever
//! is wrong with a token, the answer is the same.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::SystemTime;

use subtle::ConstantTimeEq;
use tidegate_shared::identity::limits::REISSUE;
use tidegate_shared::identity::{AgentIdentity, requested_key_pin};
use tidegate_shared::wire::{
    Grown, PairAnswer, PairAsk, PairRefusal, PairRequest, Paired, ReissueRequest,
};

use super::issue::NewCertificate;
use super::{Asker, Pairing, event, limits, millis, unix_ms};
use crate::store::agents::{self, AgentRecord, TokenRow};
use crate::store::{StoreError, audit};

/// Compared against when there is no such token, so that both cases do the same work.
const NO_HASH: [u8; 32] = [0; 32];

impl Pairing {
    /// Answers an unknown peer.
    pub(super) async fn answer(&self, ask: PairAsk, from: IpAddr, now: SystemTime) -> PairAnswer {
        let token_id = match &ask {
            PairAsk::Redeem(request) => Some(request.token_id),
            PairAsk::Reissue(_) => None,
        };
        let allowed = self
            .throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(from, token_id, now);
        let answer = if !allowed {
            Err(PairRefusal::Busy)
        } else {
            match ask {
                PairAsk::Redeem(request) => self.redeem(request, now).await,
                PairAsk::Reissue(request) => self.reissue(request, now).await,
            }
        };
        match answer {
            Ok(paired) => {
                tracing::info!(agent = paired.agent_name, %from, "Paired an agent.");
                PairAnswer::Paired(paired)
            }
            Err(code) => {
                tracing::warn!(%from, ?code, "Refused a pairing attempt.");
                PairAnswer::Refused { code }
            }
        }
    }

    /// Redeems a token. With the same key it may be asked again for a while, since an answer can
    /// get lost; with another key it is used up.
    async fn redeem(&self, request: PairRequest, now: SystemTime) -> Result<Paired, PairRefusal> {
        let key = requested_key_pin(&request.csr_der).map_err(|_| PairRefusal::BadRequest)?;
        let (id, hash) = (request.token_id, request.secret.hash());
        // Looked at without the writer first: strangers must not be able to keep it busy.
        let seen = self.store.view(move |conn| agents::token(conn, &id)).await;
        if !secret_matches(seen.map_err(unavailable)?.as_ref(), &hash) {
            return Err(PairRefusal::NotAccepted);
        }
        let agent = self
            .use_token(&request, key, now)
            .await
            .map_err(unavailable)?;
        let agent = agent.ok_or(PairRefusal::NotAccepted)?;
        self.give_certificate(agent, key, &request.csr_der, now)
            .await
    }

    async fn use_token(
        &self,
        request: &PairRequest,
        key: [u8; 32],
        now: SystemTime,
    ) -> Result<Option<AgentRecord>, StoreError> {
        let store = self.store.clone();
        let (id, hash, now_ms) = (request.token_id, request.secret.hash(), unix_ms(now));
        let (host, version) = (short(&request.host), short(&request.agent_version));
        self.store
            .transact(move |tx| {
                let Some(token) = agents::token(tx, &id)? else {
                    return Ok(None);
                };
                if !secret_matches(Some(&token), &hash) {
                    return Ok(None);
                }
                let Some(agent) = agents::find(tx, &token.workspace, &token.agent)? else {
                    return Ok(None);
                };
                if agent.revoked_at.is_some() {
                    return Ok(None);
                }
                if !agents::redeem_token(tx, &id, &key, now_ms)? {
                    return Ok(is_repeat(&token, &key, now_ms).then_some(agent));
                }
                agents::pair_with_key(tx, &token.workspace, &agent.id, &key, now_ms)?;
                agents::note_seen(tx, &token.workspace, &agent.id, &host, &version, now_ms)?;
                let asker = Asker {
                    workspace: &token.workspace,
                    actor: &agent.name,
                };
                let event = event(asker, "agent.pair", &agent.name, now_ms);
                audit::append(tx, store.sealer(), &event)?;
                Ok(Some(agent))
            })
            .await
    }

    /// Another certificate for a key whose certificate ran out while the agent was away. The
    /// request's signature proves the key; a revoked agent or a retired key gets nothing. Whoever
    /// has the key may know why: that is no secret to the agent.
    async fn reissue(
        &self,
        request: ReissueRequest,
        now: SystemTime,
    ) -> Result<Paired, PairRefusal> {
        let key = requested_key_pin(&request.csr_der).map_err(|_| PairRefusal::BadRequest)?;
        let found = self.store.view(move |conn| {
            let Some(last) = agents::newest_certificate_of_key(conn, &key)? else {
                return Ok(None);
            };
            let agent = agents::find(conn, &last.workspace, &last.agent)?;
            Ok(Some((last, agent, agents::count_reissues(conn, &key)?)))
        });
        let found = found.await.map_err(unavailable)?;
        let (last, agent, reissues) = found.ok_or(PairRefusal::NotAccepted)?;
        let agent = agent.filter(|agent| agent.revoked_at.is_none() && last.revoked_at.is_none());
        let agent = agent.ok_or(PairRefusal::Revoked)?;
        let since_end = unix_ms(now).saturating_sub(last.not_after);
        let is_lapsed = since_end > millis(REISSUE) || reissues >= limits::REISSUES_PER_KEY_MAX;
        tracing::warn!(
            agent = agent.name,
            reissues,
            is_lapsed,
            "An agent whose certificate ran out asks for another one with its key."
        );
        if is_lapsed {
            return Err(PairRefusal::Lapsed);
        }
        let (workspace, name) = (agent.workspace.clone(), agent.name.clone());
        let paired = self.give_certificate(agent, key, &request.csr_der, now);
        let paired = paired.await?;
        let by = Asker {
            workspace: &workspace,
            actor: &name,
        };
        self.note(event(by, "agent.reissue", &name, unix_ms(now)))
            .await;
        Ok(paired)
    }

    async fn give_certificate(
        &self,
        agent: AgentRecord,
        key: [u8; 32],
        csr_der: &[u8],
        now: SystemTime,
    ) -> Result<Paired, PairRefusal> {
        let identity = AgentIdentity::new(&agent.workspace, &agent.id)
            .map_err(|_| PairRefusal::Unavailable)?;
        let new = NewCertificate {
            identity: &identity,
            key,
            csr_der,
            now,
        };
        let issued = self.issue(new).await.map_err(|error| {
            tracing::error!(agent = agent.name, %error, "A certificate can't be issued.");
            PairRefusal::Unavailable
        })?;
        let issued = issued.ok_or(PairRefusal::NotAccepted)?;
        Ok(Paired {
            agent_name: agent.name,
            workspace: agent.workspace,
            chain_der: issued.chain.iter().map(|part| part.to_vec()).collect(),
            relay_ca_der: self
                .custody
                .relay_authorities()
                .iter()
                .map(|ca| ca.to_vec())
                .collect(),
            trust_generation: Grown(self.custody.trust_generation()),
        })
    }
}

fn secret_matches(token: Option<&TokenRow>, hash: &[u8; 32]) -> bool {
    let expected = token.map_or(&NO_HASH, |token| &token.secret_hash);
    bool::from(expected.ct_eq(hash)) && token.is_some()
}

fn is_repeat(token: &TokenRow, key: &[u8; 32], now_ms: i64) -> bool {
    token.redeemed.is_some_and(|(at, used_with)| {
        bool::from(used_with.ct_eq(key)) && now_ms.saturating_sub(at) <= millis(limits::REPEAT)
    })
}

fn unavailable(error: StoreError) -> PairRefusal {
    tracing::error!(%error, "Pairing can't reach the store.");
    PairRefusal::Unavailable
}

/// What a stranger wrote, cut to what is worth keeping.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 128;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

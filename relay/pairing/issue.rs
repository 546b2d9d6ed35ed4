//! Issuing certificates, and the answers to the tunnels' questions.

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use tidegate_shared::identity::{
    AgentIdentity, AgentLeaf, IdentityError, Issued, Validity, requested_key_pin,
};
use tidegate_shared::wire::{PairAnswer, PairAsk, RenewRefusal, Trust};

use super::{Asker, Pairing, PairingError, event, limits, unix_ms};
use crate::identity::CustodyError;
use crate::store::agents::{self, CertificateRow, Known, Presented};
use crate::store::audit::{self, AuditEvent};
use crate::tunnel::{Doorkeeper, NotAdmitted, Renewal};

const HOUR: Duration = Duration::from_secs(3600);

/// What a certificate is made from. The key is that of the request.
pub(super) struct NewCertificate<'a> {
    pub(super) identity: &'a AgentIdentity,
    pub(super) key: [u8; 32],
    pub(super) csr_der: &'a [u8],
    pub(super) now: SystemTime,
}

impl Pairing {
    /// Issues and notes a certificate. Nothing when the agent was revoked meanwhile, or asks too
    /// often; then what was signed is thrown away.
    pub(super) async fn issue(
        &self,
        new: NewCertificate<'_>,
    ) -> Result<Option<Issued>, PairingError> {
        let validity = Validity {
            now: new.now,
            life: self.config.agent_life,
        };
        let issued = self
            .custody
            .issue_agent(new.csr_der, new.identity, validity)?;
        let row = CertificateRow {
            serial: issued.facts.serial.clone(),
            workspace: new.identity.workspace().to_owned(),
            agent: new.identity.agent().to_owned(),
            key: new.key,
            not_before: unix_ms(issued.facts.not_before),
            not_after: unix_ms(issued.facts.not_after),
            issued_at: unix_ms(new.now),
            revoked_at: None,
        };
        let since = unix_ms(new.now.checked_sub(HOUR).unwrap_or(SystemTime::UNIX_EPOCH));
        let noted = self
            .store
            .transact(move |tx| {
                let often = agents::count_issued_since(tx, &row.key, since)?;
                Ok(often < limits::CERTIFICATES_PER_HOUR && agents::add_certificate(tx, &row)?)
            })
            .await?;
        Ok(noted.then_some(issued))
    }

    async fn known(&self, leaf: &AgentLeaf) -> Result<Known, PairingError> {
        let presented = Presented {
            workspace: leaf.identity.workspace().to_owned(),
            agent: leaf.identity.agent().to_owned(),
            serial: leaf.facts.serial.clone(),
            key: leaf.facts.key_pin,
        };
        let look = move |conn: &_| agents::known(conn, &presented);
        Ok(self.store.view(look).await?)
    }

    async fn renewal(
        &self,
        leaf: &AgentLeaf,
        csr_der: &[u8],
        now: SystemTime,
    ) -> Result<Renewal, RenewRefusal> {
        let failed = |error: PairingError| {
            tracing::error!(agent = %leaf.identity, %error, "A certificate can't be renewed.");
            match error {
                PairingError::Custody(CustodyError::Identity(IdentityError::Request(_))) => {
                    RenewRefusal::BadRequest
                }
                _ => RenewRefusal::Unavailable,
            }
        };
        let key = requested_key_pin(csr_der).map_err(|_| RenewRefusal::BadRequest)?;
        if self.known(leaf).await.map_err(failed)? != Known::Good {
            return Err(RenewRefusal::Revoked);
        }
        let new = NewCertificate {
            identity: &leaf.identity,
            key,
            csr_der,
            now,
        };
        let Some(issued) = self.issue(new).await.map_err(failed)? else {
            // Revoked between the two, or too often: the next question tells.
            return Err(RenewRefusal::Unavailable);
        };
        let identity = &leaf.identity;
        let by = Asker {
            workspace: identity.workspace(),
            actor: identity.agent(),
        };
        self.note(event(by, "agent.renew", identity.agent(), unix_ms(now)))
            .await;
        Ok(Renewal {
            not_after: issued.facts.not_after,
            chain: issued.chain,
        })
    }

    /// Appends to the audit log what has happened already.
    pub(super) async fn note(&self, event: AuditEvent) {
        let store = self.store.clone();
        let (action, object) = (event.action.clone(), event.object.clone());
        let noted = self
            .store
            .transact(move |tx| audit::append(tx, store.sealer(), &event))
            .await;
        if let Err(error) = noted {
            tracing::error!(action, object, %error, "This is not in the audit log.");
        }
    }
}

impl Doorkeeper for Pairing {
    async fn admit(&self, leaf: &AgentLeaf) -> Result<(), NotAdmitted> {
        match self.known(leaf).await {
            Ok(Known::Good) => Ok(()),
            Ok(Known::Revoked) => Err(NotAdmitted::Revoked),
            Ok(Known::Nothing) => Err(NotAdmitted::Unknown),
            Err(error) => {
                tracing::error!(agent = %leaf.identity, %error, "Can't tell who may come in.");
                Err(NotAdmitted::Unavailable)
            }
        }
    }

    async fn note_seen(
        &self,
        identity: &AgentIdentity,
        host: &str,
        version: &str,
        now: SystemTime,
    ) {
        let (workspace, agent) = (identity.workspace().to_owned(), identity.agent().to_owned());
        let (host, version) = (host.to_owned(), version.to_owned());
        let noted = self
            .store
            .transact(move |tx| {
                agents::note_seen(tx, &workspace, &agent, &host, &version, unix_ms(now))
            })
            .await;
        if let Err(error) = noted {
            tracing::warn!(agent = %identity, %error, "The agent's visit is not noted.");
        }
    }

    async fn note_clone(&self, identity: &AgentIdentity, remote: SocketAddr, now: SystemTime) {
        let remote = remote.to_string();
        let by = Asker {
            workspace: identity.workspace(),
            actor: &remote,
        };
        self.note(event(by, "agent.clone", identity.agent(), unix_ms(now)))
            .await;
    }

    fn trust(&self) -> Option<Trust> {
        self.custody.trust().unwrap_or_else(|error| {
            tracing::error!(%error, "Agents can't be told which authorities to trust.");
            None
        })
    }

    fn note_trust(&self, identity: &AgentIdentity, generation: u64) {
        let mut trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
        trusts.insert(identity.agent().to_owned(), generation);
    }

    async fn renew(
        &self,
        leaf: &AgentLeaf,
        csr_der: &[u8],
        now: SystemTime,
    ) -> Result<Renewal, RenewRefusal> {
        self.renewal(leaf, csr_der, now).await
    }

    async fn pair(&self, ask: PairAsk, from: IpAddr, now: SystemTime) -> PairAnswer {
        self.answer(ask, from, now).await
    }
}

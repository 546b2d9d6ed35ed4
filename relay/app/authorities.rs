//! What the API asks about authorities, answered by pairing.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tidegate_shared::identity::{AuthorityKind, fingerprint_text};

use super::agents::refused;
use crate::api::authorities::{Authority, AuthorityControl, AuthorityRollOver};
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::pairing::{Asker, AuthorityView, Pairing};
use crate::store::DEFAULT_WORKSPACE;

/// For one caller.
pub(super) struct AuthorityDesk {
    pub(super) pairing: Arc<Pairing>,
    /// For the audit log.
    pub(super) actor: String,
}

impl AuthorityDesk {
    fn asker(&self) -> Asker<'_> {
        Asker {
            workspace: DEFAULT_WORKSPACE,
            actor: &self.actor,
        }
    }
}

#[async_trait]
impl AuthorityControl for AuthorityDesk {
    async fn list(&self) -> Result<Vec<Authority>, ControlError> {
        let views = self.pairing.authorities(SystemTime::now()).await;
        Ok(views.map_err(refused)?.into_iter().map(shown).collect())
    }

    async fn renew(&self, kind: &str) -> Result<Authority, ControlError> {
        let (kind, now) = (kind_of(kind)?, SystemTime::now());
        let renewed = self.pairing.renew_authority(self.asker(), kind, now).await;
        renewed.map(shown).map_err(refused)
    }

    async fn finish(&self, kind: &str, force: bool) -> Result<Authority, ControlError> {
        let (kind, now) = (kind_of(kind)?, SystemTime::now());
        let finished = self
            .pairing
            .finish_authority(self.asker(), kind, force, now)
            .await;
        finished.map(shown).map_err(refused)
    }
}

fn kind_of(name: &str) -> Result<AuthorityKind, ControlError> {
    let known = [AuthorityKind::Agents, AuthorityKind::Relays];
    let found = known.into_iter().find(|kind| kind.to_string() == name);
    found.ok_or_else(|| {
        let text = "there are two authorities: `agents` and `relays`";
        ControlError::new(ControlErrorKind::NotFound, "no-authority", text)
    })
}

fn shown(view: AuthorityView) -> Authority {
    let at = |time: SystemTime| {
        let at = jiff::Timestamp::try_from(time);
        at.map(|at| at.to_string()).unwrap_or_default()
    };
    Authority {
        kind: view.state.kind.to_string(),
        fingerprint: fingerprint_text(&view.state.pin),
        until: at(view.state.until),
        roll_over: view.state.roll_over.map(|roll_over| AuthorityRollOver {
            fingerprint: fingerprint_text(&roll_over.pin),
            since: at(roll_over.since),
            waiting_for: view.waiting_for.iter().map(ToString::to_string).collect(),
        }),
    }
}

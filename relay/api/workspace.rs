//! A caller's workspace: the part of everything that the caller can reach, and no more.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::access::Caller;
use super::agents::AgentControl;
use super::authorities::AuthorityControl;
use super::{Api, Problem};
use crate::engine::handle::{ConnectionControl, SyncControl};
use crate::store::{Store, audit};

/// What the API works on, by workspace; `app` hands it in.
pub trait Rooms: Send + Sync {
    fn syncs(&self, workspace: &str) -> Arc<dyn SyncControl>;
    fn connections(&self, workspace: &str) -> Arc<dyn ConnectionControl>;
    /// What is done to agents is noted as done by this caller.
    fn agents(&self, caller: &Caller) -> Arc<dyn AgentControl>;
    /// The relay's own, of no workspace; noted as above.
    fn authorities(&self, caller: &Caller) -> Arc<dyn AuthorityControl>;
}

/// What a request works on. Handlers have no other way to a sync, a connection or an agent.
pub(super) struct Workspace {
    pub syncs: Arc<dyn SyncControl>,
    pub connections: Arc<dyn ConnectionControl>,
    pub agents: Arc<dyn AgentControl>,
    pub caller: Caller,
    store: Store,
}

impl Workspace {
    /// Notes in the audit log what the caller just did. What was done is done: a log that can't be
    /// written is for whoever runs the relay, and no failure of the request.
    pub(super) async fn did(&self, action: &str, object: &str) {
        let (sealer, event) = (self.store.sealer().clone(), self.caller.did(action, object));
        let noted = self
            .store
            .transact(move |tx| audit::append(tx, &sealer, &event));
        if let Err(error) = noted.await {
            tracing::error!(%error, action, "An action could not be noted in the audit log.");
        }
    }
}

impl FromRequestParts<Api> for Workspace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().ok_or_else(|| {
            let detail = "the relay does not know who asks: see its log";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
        })?;
        Ok(Workspace {
            syncs: api.rooms.syncs(&caller.workspace),
            connections: api.rooms.connections(&caller.workspace),
            agents: api.rooms.agents(caller),
            caller: caller.clone(),
            store: api.store.clone(),
        })
    }
}

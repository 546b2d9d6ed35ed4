//! A caller's workspace: the part of everything that the caller can reach, and no more.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::access::Caller;
use super::agents::AgentControl;
use super::{Api, Problem};
use crate::engine::handle::{ConnectionControl, SyncControl};

/// What the API works on, by workspace; `app` hands it in.
pub trait Rooms: Send + Sync {
    fn syncs(&self, workspace: &str) -> Arc<dyn SyncControl>;
    fn connections(&self, workspace: &str) -> Arc<dyn ConnectionControl>;
    /// What is done to agents is noted as done by this caller.
    fn agents(&self, caller: &Caller) -> Arc<dyn AgentControl>;
}

/// What a request works on. Handlers have no other way to a sync, a connection or an agent.
pub(super) struct Workspace {
    pub syncs: Arc<dyn SyncControl>,
    pub connections: Arc<dyn ConnectionControl>,
    pub agents: Arc<dyn AgentControl>,
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
        })
    }
}

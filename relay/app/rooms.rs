//! The engine's and pairing's parts of a workspace, as the API asks for them.

use std::sync::Arc;

use super::agents::AgentDesk;
use super::authorities::AuthorityDesk;
use crate::api::access::Caller;
use crate::api::agents::AgentControl;
use crate::api::authorities::AuthorityControl;
use crate::api::forward::Forwards;
use crate::api::workspace::Rooms;
use crate::engine::Engine;
use crate::engine::handle::{ConnectionControl, SyncControl};
use crate::pairing::Pairing;
use crate::store::Store;
use crate::tunnel::Agents;

pub(super) struct House {
    pub(super) store: Store,
    pub(super) pairing: Arc<Pairing>,
    pub(super) agents: Agents,
    pub(super) engine: Arc<Engine>,
    pub(super) forwards: Arc<Forwards>,
}

impl Rooms for House {
    fn syncs(&self, workspace: &str) -> Arc<dyn SyncControl> {
        Arc::new(self.engine.of(workspace))
    }

    fn connections(&self, workspace: &str) -> Arc<dyn ConnectionControl> {
        Arc::new(self.engine.of(workspace))
    }

    fn agents(&self, caller: &Caller) -> Arc<dyn AgentControl> {
        Arc::new(AgentDesk {
            store: self.store.clone(),
            pairing: self.pairing.clone(),
            agents: self.agents.clone(),
            engine: self.engine.of(&caller.workspace),
            forwards: self.forwards.clone(),
            workspace: caller.workspace.clone(),
            actor: caller.actor(),
        })
    }

    fn authorities(&self, caller: &Caller) -> Arc<dyn AuthorityControl> {
        Arc::new(AuthorityDesk {
            pairing: self.pairing.clone(),
            actor: caller.actor(),
        })
    }
}

//! What notifications are made of: syncs, agents and authorities as the API shows them.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::api::access::Caller;
use crate::api::agents::AgentStatus;
use crate::api::authorities::Authority;
use crate::api::workspace::Rooms;
use crate::engine::handle::ControlError;
use crate::notify::Lookout;
use crate::notify::watch::{AgentSeen, AuthoritySeen, Seen};
use crate::store::DEFAULT_WORKSPACE;
use crate::store::roles::Role;

pub(super) struct WholeHouse(pub(super) Arc<dyn Rooms>);

#[async_trait]
impl Lookout for WholeHouse {
    async fn look(&self, workspaces: &BTreeSet<String>) -> Result<Vec<Seen>, String> {
        let mut seen = Vec::with_capacity(workspaces.len());
        for workspace in workspaces {
            let looked = self.look_into(workspace).await;
            seen.push(looked.map_err(|error| error.message)?);
        }
        Ok(seen)
    }
}

impl WholeHouse {
    async fn look_into(&self, workspace: &str) -> Result<Seen, ControlError> {
        let caller = Caller {
            workspace: workspace.to_owned(),
            name: "notifications".to_owned(),
            role: Role::Viewer,
            is_person: false,
            may_forward: false,
        };
        let agents = self.0.agents(&caller).list().await?;
        let authorities = match workspace == DEFAULT_WORKSPACE {
            true => self.0.authorities(&caller).list().await?,
            false => Vec::new(),
        };
        Ok(Seen {
            workspace: workspace.to_owned(),
            syncs: self.0.syncs(workspace).list().await?,
            agents: agents.iter().filter_map(agent).collect(),
            authorities: authorities.iter().filter_map(authority).collect(),
            ..Seen::default()
        })
    }
}

/// `None` until it is paired: nobody expects it yet.
fn agent(agent: &AgentStatus) -> Option<AgentSeen> {
    let is_paired = matches!(agent.state.as_str(), "online" | "offline");
    is_paired.then(|| AgentSeen {
        name: agent.name.clone(),
        online: agent.state == "online",
        held: agent.held.is_some(),
        cloned: agent.is_cloned(),
        certificate_until_ms: agent.certificate_until.as_deref().and_then(millis),
    })
}

fn authority(authority: &Authority) -> Option<AuthoritySeen> {
    Some(AuthoritySeen {
        kind: authority.kind.clone(),
        until_ms: millis(&authority.until)?,
        replaced: authority.roll_over.is_some(),
    })
}

fn millis(at: &str) -> Option<i64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    Some(at.as_millisecond())
}

//! How syncs and agents go, told whenever it changes: one task per workspace while somebody reads.
//!
//! It looks once a second and tells differences, so that a page that shows all of it costs one look
//! and not one per reader. [`super::events`] carries it to the readers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::agents::{AgentControl, AgentStatus};
use super::forward::ForwardView;
use super::workspace::Workspace;
use crate::engine::handle::{ControlError, SyncControl};
use crate::engine::report::SyncStatus;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// News that a slow reader may lag behind before it loses the oldest: several looks at a workspace of
/// a hundred syncs.
const NEWS_MAX: usize = 512;

/// Something that is different from before.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    Sync(Box<SyncStatus>),
    SyncGone(String),
    Agent(Box<AgentStatus>),
    AgentGone(String),
}

/// The workspaces that somebody watches.
#[derive(Default)]
pub(super) struct Newsroom(Mutex<HashMap<String, Weak<Desk>>>);

/// What tells the news of one workspace; ends with its last reader.
pub(super) struct Desk {
    news: broadcast::Sender<News>,
    _task: AbortOnDropHandle<()>,
}

impl Newsroom {
    /// News from now on. A new desk tells first how everything is.
    pub(super) fn read(&self, of: &Workspace) -> (Arc<Desk>, broadcast::Receiver<News>) {
        let workspace = &of.caller.workspace;
        let mut desks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|_, desk| desk.strong_count() > 0);
        if let Some(desk) = desks.get(workspace).and_then(Weak::upgrade) {
            let receiver = desk.news.subscribe();
            return (desk, receiver);
        }
        let (news, receiver) = broadcast::channel(NEWS_MAX);
        let watched = watch(of.syncs.clone(), of.agents.clone(), news.clone());
        let desk = Arc::new(Desk {
            news,
            _task: AbortOnDropHandle::new(tokio::spawn(watched)),
        });
        desks.insert(workspace.clone(), Arc::downgrade(&desk));
        (desk, receiver)
    }
}

async fn watch(
    syncs: Arc<dyn SyncControl>,
    agents: Arc<dyn AgentControl>,
    news: broadcast::Sender<News>,
) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Known::default();
    loop {
        looks.tick().await;
        match look(&*syncs, &*agents).await {
            // Readers that went away between two looks are no error.
            Ok((syncs, agents)) => known
                .differences(syncs, agents)
                .into_iter()
                .for_each(|one| {
                    let _ = news.send(one);
                }),
            Err(error) => tracing::warn!(%error, "The state of syncs could not be told."),
        }
    }
}

async fn look(
    syncs: &dyn SyncControl,
    agents: &dyn AgentControl,
) -> Result<(Vec<SyncStatus>, Vec<AgentStatus>), ControlError> {
    Ok((syncs.list().await?, agents.list().await?))
}

/// What was told last.
#[derive(Default)]
struct Known {
    syncs: BTreeMap<String, SyncStatus>,
    agents: BTreeMap<String, AgentStatus>,
}

impl Known {
    fn differences(&mut self, syncs: Vec<SyncStatus>, agents: Vec<AgentStatus>) -> Vec<News> {
        let syncs = syncs.into_iter().map(|sync| (sync.name.clone(), sync));
        let syncs: BTreeMap<String, SyncStatus> = syncs.collect();
        let agents = agents.into_iter().map(|agent| (agent.name.clone(), agent));
        let agents: BTreeMap<String, AgentStatus> = agents.collect();
        let mut news = Vec::new();
        for (name, sync) in &syncs {
            if self.syncs.get(name) != Some(sync) {
                news.push(News::Sync(Box::new(sync.clone())));
            }
        }
        for (name, agent) in &agents {
            let before = self.agents.get(name).map(steady);
            if before != Some(steady(agent)) {
                news.push(News::Agent(Box::new(agent.clone())));
            }
        }
        let gone = self.syncs.keys().filter(|name| !syncs.contains_key(*name));
        news.extend(gone.cloned().map(News::SyncGone));
        let gone = self
            .agents
            .keys()
            .filter(|name| !agents.contains_key(*name));
        news.extend(gone.cloned().map(News::AgentGone));
        (self.syncs, self.agents) = (syncs, agents);
        news
    }
}

/// An agent without what moves all the time while nothing happens.
fn steady(agent: &AgentStatus) -> AgentStatus {
    AgentStatus {
        rtt_ms: None,
        sessions: 0,
        loss_percent: None,
        mtu_bytes: None,
        sent_bytes: None,
        received_bytes: None,
        forwards: agent.forwards.iter().map(still).collect(),
        ..agent.clone()
    }
}

fn still(forward: &ForwardView) -> ForwardView {
    ForwardView {
        to_database_bytes: 0,
        from_database_bytes: 0,
        ..forward.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(state: &str) -> SyncStatus {
        SyncStatus {
            name: "blog".into(),
            state: state.into(),
            ..SyncStatus::default()
        }
    }

    fn agent(state: &str, rtt_ms: f64) -> AgentStatus {
        AgentStatus {
            name: "office".into(),
            state: state.into(),
            rtt_ms: Some(rtt_ms),
            ..AgentStatus::default()
        }
    }

    #[test]
    fn what_is_as_before_is_no_news_and_what_is_gone_is() {
        let mut known = Known::default();
        let first = known.differences(vec![sync("copying")], vec![agent("online", 1.0)]);
        assert_eq!(first.len(), 2, "a new desk tells how everything is");
        let none = known.differences(vec![sync("copying")], vec![agent("online", 2.0)]);
        assert_eq!(none, [], "a round trip's time is no news");
        let live = known.differences(vec![sync("live")], vec![agent("offline", 2.0)]);
        let expected = [
            News::Sync(Box::new(sync("live"))),
            News::Agent(Box::new(agent("offline", 2.0))),
        ];
        assert_eq!(live, expected);
        let gone = known.differences(Vec::new(), Vec::new());
        let expected = [
            News::SyncGone("blog".into()),
            News::AgentGone("office".into()),
        ];
        assert_eq!(gone, expected);
    }
}

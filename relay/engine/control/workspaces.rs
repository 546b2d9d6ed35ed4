//! One engine, and a view of it for each workspace: whoever holds a view reaches nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::engine::report::LiveEvent;

/// Live events that a slow receiver may lag behind before it loses the oldest.
const EVENTS_MAX: usize = 1024;

/// Each workspace's live events.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<String, broadcast::Sender<LiveEvent>>>);

impl Channels {
    pub(super) fn of(&self, workspace: &str) -> broadcast::Sender<LiveEvent> {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = channels.get(workspace).cloned();
        known.unwrap_or_else(|| {
            let (sender, _) = broadcast::channel(EVENTS_MAX);
            channels.insert(workspace.to_owned(), sender.clone());
            sender
        })
    }
}

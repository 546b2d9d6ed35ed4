//! One engine, and a view of it for each workspace: whoever holds a view reaches nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::engine::news::{ROUNDS_MAX, Rounds};

/// Where each workspace's rounds are told.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<String, Rounds>>);

impl Channels {
    pub(super) fn of(&self, workspace: &str) -> Rounds {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = channels.get(workspace).cloned();
        known.unwrap_or_else(|| {
            let (sender, _) = broadcast::channel(ROUNDS_MAX);
            channels.insert(workspace.to_owned(), sender.clone());
            sender
        })
    }
}

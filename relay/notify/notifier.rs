//! Looks how everything goes, and writes down what is to be told. The outbox tells it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::courier::{Courier, now_ms};
use super::event::{Event, Subject};
use super::limits::LOOK_EVERY;
use super::matters::{Change, Matters};
use super::watch::{ChannelSeen, Seen, Watch};
use crate::store::matters::{self as kept, MatterRecord};
use crate::store::{StoreError, channels, deliveries};

/// Sees how everything goes.
#[async_trait]
pub trait Lookout: Send + Sync {
    /// Of these workspaces, without their channels.
    ///
    /// # Errors
    /// Why it can't be told at present.
    async fn look(&self, workspaces: &BTreeSet<String>) -> Result<Vec<Seen>, String>;
}

/// Looks until `stop`.
pub async fn run(courier: Arc<Courier>, lookout: Arc<dyn Lookout>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(courier.capped(LOOK_EVERY).max(LOOK_EVERY / 20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut notifier = Notifier {
        courier,
        watch: Watch::default(),
        matters: None,
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = notifier.look(&*lookout).await {
            tracing::warn!(error, "What is to be told could not be found out.");
        }
    }
}

struct Notifier {
    courier: Arc<Courier>,
    watch: Watch,
    /// `None` until it is read from the store, and again when that failed.
    matters: Option<Matters>,
}

impl Notifier {
    async fn look(&mut self, lookout: &dyn Lookout) -> Result<(), String> {
        let told = self.told().await.map_err(|error| error.to_string())?;
        if told.is_empty() {
            return Ok(());
        }
        let seen = lookout.look(&told).await?;
        let mut matters = match self.matters.take() {
            Some(matters) => matters,
            None => self.remembered().await.map_err(|error| error.to_string())?,
        };
        matters.retain(|workspace| told.contains(workspace));
        let mut changes = Vec::new();
        for mut seen in seen {
            let channels = self.channels(&seen.workspace).await;
            seen.channels = channels.map_err(|error| error.to_string())?;
            let now = now_ms();
            let sights = self.watch.sights(&seen, now);
            changes.extend(matters.take(&seen.workspace, sights, now));
        }
        let noted = self.note(changes).await;
        noted.map_err(|error| error.to_string())?;
        self.matters = Some(matters);
        Ok(())
    }

    /// Workspaces in which somebody is told. What is the matter in the others is forgotten, and told as
    /// new when somebody is.
    async fn told(&mut self) -> Result<BTreeSet<String>, StoreError> {
        let enabled = self.courier.store.view(channels::enabled).await?;
        let told: BTreeSet<String> = enabled.into_iter().map(|one| one.workspace).collect();
        let known = self.courier.store.view(kept::all).await?;
        if known.iter().any(|matter| !told.contains(&matter.workspace)) {
            self.courier.store.transact(kept::forget_untold).await?;
        }
        if told.is_empty() {
            self.matters = None;
        }
        Ok(told)
    }

    async fn remembered(&self) -> Result<Matters, StoreError> {
        let mut matters = Matters::new(self.courier.settings.delay_max);
        for matter in self.courier.store.view(kept::all).await? {
            let subject: Option<Subject> = serde_json::from_str(&matter.subject).ok();
            if let (Some(event), Some(subject)) = (Event::parse(&matter.event), subject) {
                matters.remember((matter.workspace, event, subject), matter.since_ms);
            }
        }
        Ok(matters)
    }

    async fn channels(&self, workspace: &str) -> Result<Vec<ChannelSeen>, StoreError> {
        let workspace = workspace.to_owned();
        let seen = self.courier.store.view(move |conn| {
            let mut seen = Vec::new();
            for channel in channels::list(conn, &workspace)? {
                // Nobody expects anything of one that is turned off.
                if channel.enabled {
                    let standing = deliveries::standing(conn, channel.id, i64::MAX)?;
                    seen.push(ChannelSeen {
                        name: channel.name,
                        failed_attempts: standing.failed_attempts,
                    });
                }
            }
            Ok(seen)
        });
        seen.await
    }

    async fn note(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let noted = self.courier.store.transact(move |tx| {
            let now = now_ms();
            kept::forget_news(tx, now)?;
            for change in &changes {
                let (workspace, event, subject) = &change.thing;
                let matter = MatterRecord {
                    workspace: workspace.clone(),
                    event: event.name().to_owned(),
                    subject: serde_json::to_string(subject).unwrap_or_default(),
                    since_ms: change.since_ms,
                };
                let detail = serde_json::to_string(&change.detail).unwrap_or_default();
                match change.is_over {
                    false => kept::begin(tx, &matter, &detail, now)?,
                    true => kept::end(tx, &matter, &detail, now)?,
                }
            }
            Ok(())
        });
        noted.await?;
        self.courier.wake();
        Ok(())
    }
}

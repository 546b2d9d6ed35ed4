//! Takes a sync away: stopped first, then what it left on both sides, then its record.
//!
//! A side that is gone for good (its agent was revoked, its server is no more) must not keep the
//! record for ever: on request the sync is forgotten all the same, and what stays behind is told
//! together with the SQL that drops it.

use std::time::Duration;

use tidegate_sync::model::Side;

use super::errors::internal;
use super::{Engine, parse};
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::engine::report::{LeftBehind, Removed};
use crate::store::connections::Via;
use crate::store::syncs::{self, SyncRecord, Wanted};

/// How long a revocation waits for databases to be cleaned up.
const LEAVE_MAX: Duration = Duration::from_secs(10);

impl Engine {
    /// `force`: remove the record even if a side can't be cleaned up.
    pub(super) async fn remove_sync(
        &self,
        name: &str,
        force: bool,
    ) -> Result<Removed, ControlError> {
        let record = self.record(name).await?;
        let file = parse(&record.definition)?;
        let slug = self.slug_of(&record).await?;
        // A relay that starts again before it is removed must not make a slot anew.
        self.set_wanted(record.id, Wanted::Paused).await?;
        self.stop_sync(record.id).await;
        let mut removed = Removed {
            name: name.to_owned(),
            left_behind: Vec::new(),
        };
        let mut first_code = None;
        // Both sides, whatever the first one says: a slot that stays keeps its server's log.
        for (side, connection) in [(Side::Left, &file.left), (Side::Right, &file.right)] {
            if let Err(error) = self.forget_on(connection, &slug).await {
                first_code.get_or_insert(error.code);
                removed.left_behind.push(LeftBehind {
                    side: side.name().to_owned(),
                    connection: connection.clone(),
                    reason: error.message,
                    sql: self.sources.leftovers(&slug, side),
                });
            }
        }
        match first_code {
            Some(code) if !force => Err(not_removed(&removed, code)),
            _ => {
                let id = record.id;
                let remove = self.store.transact(move |tx| syncs::remove(tx, id));
                remove.await.map_err(internal)?;
                Ok(removed)
            }
        }
    }

    /// Before an agent is revoked, since nobody can afterwards: drops what syncs left in the
    /// databases behind it, as far as they are reached in time. Returns the syncs that were stopped
    /// for it; see [`Engine::take_up`].
    pub async fn leave_agent(&self, agent: &str) -> Vec<SyncRecord> {
        let mut stopped = Vec::new();
        let left = tokio::time::timeout(LEAVE_MAX, self.leave_targets(agent, &mut stopped)).await;
        let reason = match left {
            Ok(Ok(())) => return stopped,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {} s", LEAVE_MAX.as_secs()),
        };
        tracing::warn!(
            agent,
            reason,
            "Slots may stay in databases behind the agent: `tidegate-agent check` there shows them."
        );
        stopped
    }

    /// Starts again what an agent's leave has stopped: it waits for another way to its side.
    pub async fn take_up(&self, syncs: &[SyncRecord]) {
        for record in syncs {
            if let Err(error) = self.start_sync(record).await {
                tracing::warn!(sync = record.name, %error, "The sync could not be started.");
            }
        }
    }

    async fn leave_targets(
        &self,
        agent: &str,
        stopped: &mut Vec<SyncRecord>,
    ) -> Result<(), ControlError> {
        let connections = self.all_connections().await?;
        let is_behind = |id: i64| {
            let found = connections.iter().find(|connection| connection.id == id)?;
            let behind = matches!(&found.via, Via::Agent { agent: name, .. } if name == agent);
            behind.then(|| found.name.clone())
        };
        let mut failed = None;
        for record in self.all_records().await? {
            let behind = [record.left_conn, record.right_conn].map(is_behind);
            if behind.iter().all(Option::is_none) {
                continue;
            }
            self.stop_sync(record.id).await;
            let slug = self.slug_of(&record).await?;
            if record.wanted == Wanted::Running {
                stopped.push(record);
            }
            for connection in behind.iter().flatten() {
                failed = self.forget_on(connection, &slug).await.err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn forget_on(&self, connection: &str, slug: &str) -> Result<(), ControlError> {
        let endpoint = self.endpoint(&self.connection(connection).await?).await?;
        endpoint.forget(slug).await.map_err(super::unreachable)
    }
}

fn not_removed(removed: &Removed, code: &'static str) -> ControlError {
    let name = &removed.name;
    let reasons: Vec<String> = removed
        .left_behind
        .iter()
        .map(|left| format!("{} ({}): {}", left.side, left.connection, left.reason))
        .collect();
    let text = format!(
        "the sync is stopped, but not everything it left behind could be dropped: {}; then run \
         `sync remove {name}` again, or `sync remove {name} --force` to remove it all the same and \
         get the SQL that drops the rest",
        reasons.join("; ")
    );
    ControlError::new(ControlErrorKind::Unavailable, code, text)
}

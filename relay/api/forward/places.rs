//! Which sessions are forwarded now: a place for each, bounds, and what `agent show` tells of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::api::Problem;
use crate::api::access::rfc3339;

mod limits {
    use super::Duration;

    /// Sessions of one workspace, so that none takes all places: `pg_dump -j 8` takes nine.
    pub(super) const OF_A_WORKSPACE_MAX: usize = 32;
    /// Sessions of all workspaces: each holds 256 KiB and two sockets.
    pub(super) const OF_ALL_MAX: usize = 128;
    /// How long a stop waits for the sessions to have heard it.
    pub(super) const DRAIN: Duration = Duration::from_secs(3);
}

/// Bytes that passed.
#[derive(Debug, Default)]
pub struct Counts {
    to_database: AtomicU64,
    from_database: AtomicU64,
}

impl Counts {
    pub(super) fn note_to_database(&self, count: usize) {
        self.to_database.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn note_from_database(&self, count: usize) {
        self.from_database
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    /// To the database, and from it.
    pub(super) fn both(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.to_database), read(&self.from_database))
    }
}

/// A session that a person's own tool has through an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForwardView {
    pub target: String,
    /// Who opened it, as the audit log names them.
    pub by: String,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339: the relay ends it then.
    pub until: String,
    pub to_database_bytes: u64,
    pub from_database_bytes: u64,
}

/// What is known of a session when it is opened.
pub(super) struct Opened {
    pub(super) workspace: String,
    pub(super) agent: String,
    pub(super) target: String,
    pub(super) by: String,
    pub(super) since_ms: i64,
    pub(super) until_ms: i64,
}

/// The sessions, and the tasks that carry them.
#[derive(Default)]
pub struct Forwards {
    open: Mutex<Open>,
    pub(super) tasks: TaskTracker,
}

#[derive(Default)]
struct Open {
    last: u64,
    sessions: BTreeMap<u64, (Opened, Arc<Counts>)>,
}

/// A session's place; dropping it gives it back.
pub(super) struct Place {
    forwards: Arc<Forwards>,
    number: u64,
    pub(super) counts: Arc<Counts>,
}

impl Forwards {
    pub(super) fn enter(self: &Arc<Self>, opened: Opened) -> Result<Place, Problem> {
        let mut open = self.lock();
        let of_workspace = open.sessions.values();
        let of_workspace = of_workspace.filter(|(other, _)| other.workspace == opened.workspace);
        let is_full = of_workspace.count() >= limits::OF_A_WORKSPACE_MAX
            || open.sessions.len() >= limits::OF_ALL_MAX;
        if is_full {
            let detail = "too many forwarded sessions are open: end one first (`agent show` lists \
                          them)";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(status, "too-many-forwards", detail));
        }
        open.last += 1;
        let (number, counts) = (open.last, Arc::<Counts>::default());
        open.sessions.insert(number, (opened, counts.clone()));
        Ok(Place {
            forwards: self.clone(),
            number,
            counts,
        })
    }

    /// What is open through one agent, the oldest first.
    pub fn of(&self, workspace: &str, agent: &str) -> Vec<ForwardView> {
        let open = self.lock();
        let through = open
            .sessions
            .values()
            .filter(|(opened, _)| opened.workspace == workspace && opened.agent == agent);
        let view = |(opened, counts): &(Opened, Arc<Counts>)| {
            let (to_database_bytes, from_database_bytes) = counts.both();
            ForwardView {
                target: opened.target.clone(),
                by: opened.by.clone(),
                since: rfc3339(opened.since_ms),
                until: rfc3339(opened.until_ms),
                to_database_bytes,
                from_database_bytes,
            }
        };
        through.map(view).collect()
    }

    /// After the stop: waits, bounded, until every session was told.
    pub async fn drained(&self) {
        self.tasks.close();
        if tokio::time::timeout(limits::DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("Forwarded sessions are cut: they did not end in time.");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The map is never left half changed, so a panic elsewhere does not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.forwards.lock().sessions.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(workspace: &str) -> Opened {
        Opened {
            workspace: workspace.to_owned(),
            agent: "office".to_owned(),
            target: "main".to_owned(),
            by: "token:ci".to_owned(),
            since_ms: 0,
            until_ms: 1000,
        }
    }

    #[test]
    fn no_workspace_takes_the_places_of_another_and_a_dropped_place_is_free() {
        let forwards = Arc::<Forwards>::default();
        let mut taken = Vec::new();
        while let Ok(place) = forwards.enter(opened("a")) {
            taken.push(place);
        }
        assert_eq!(taken.len(), limits::OF_A_WORKSPACE_MAX);
        let other = forwards
            .enter(opened("b"))
            .unwrap_or_else(|_| panic!("full"));
        other.counts.note_to_database(7);
        let seen = forwards.of("b", "office");
        assert_eq!((seen.len(), seen[0].to_database_bytes), (1, 7));
        assert_eq!(forwards.of("b", "other"), []);
        taken.pop();
        assert!(forwards.enter(opened("a")).is_ok());
        drop(other);
        assert_eq!(forwards.of("b", "office"), []);
    }
}

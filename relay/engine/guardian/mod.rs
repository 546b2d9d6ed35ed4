//! Keeps what syncs leave on their sides from filling those sides' disks.
//!
//! A change log is kept until it is read: while a sync runs, and also while it is paused, waits for
//! its other side or is refused. So the guardian looks at the logs of *all* syncs, beside their runs:
//! one task and one session per connection. It warns, moves logs on whose readers stand still, and
//! gives a log up before its bound is reached; the sync's next start finds that its position is
//! lost and reconciles, as after any other loss. `runway` judges, `views` tells.

mod runway;
mod views;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tidegate_sync::model::Side;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::runway::{Judgement, Level, Runway, Verdict};
pub(super) use self::views::Views;
use super::control::Engine;
use super::handle::ControlError;
use crate::endpoint::EndpointError;
use crate::endpoint::log_guard::{LogGuard, LogState};
use crate::store::connections::ConnectionRecord;
use crate::store::syncs::{SyncId, SyncRecord};

mod limits {
    use std::time::Duration;

    /// How often each log is looked at: one small query. What is written between two looks is kept
    /// free below the bound.
    pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
    /// A log that could not be given up is left alone this long.
    pub(super) const RETRY_AFTER: Duration = Duration::from_secs(30);
    /// How long a look counts in the mean rate of writing: longer than a burst, shorter than a
    /// working day's change of load.
    pub(super) const RATE_MEMORY: Duration = Duration::from_secs(600);
    /// A reader that stands still is given something to read when so much was written meanwhile.
    pub(super) const BEAT_BEHIND_BYTES: u64 = 1024 * 1024;
}

/// A log to look at.
#[derive(Clone, Debug)]
struct Guarded {
    sync: SyncId,
    name: String,
    slug: String,
    side: Side,
}

/// The logs on one connection.
struct Post {
    engine: Arc<Engine>,
    connection: ConnectionRecord,
    bound_bytes: u64,
    guard: Option<Box<dyn LogGuard>>,
    runways: HashMap<(SyncId, Side), (Runway, Instant)>,
    /// Told once and not at every look.
    last_failure: Option<String>,
    /// What could not be given up is left alone until then: a drop may wait for locks, and others
    /// then wait for the drop.
    retry_at: Option<Instant>,
}

impl Engine {
    /// Guards all logs until `stop`. `bound_bytes`: what each may keep at most.
    pub async fn guard(self: Arc<Self>, bound_bytes: u64, stop: CancellationToken) {
        let mut posts: JoinSet<i64> = JoinSet::new();
        let mut posted: Vec<i64> = Vec::new();
        let mut ticks = tokio::time::interval(limits::LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // One that panicked is posted anew with all others that have ended.
                Some(ended) = posts.join_next() => {
                    match ended {
                        Ok(connection) => posted.retain(|known| *known != connection),
                        Err(_) => {
                            posts.shutdown().await;
                            posted.clear();
                        }
                    }
                }
                _ = ticks.tick() => {
                    let connections = match self.guarded_connections().await {
                        Ok(connections) => connections,
                        Err(error) => {
                            tracing::warn!(%error, "The slots could not be looked at.");
                            continue;
                        }
                    };
                    for connection in connections {
                        if !posted.contains(&connection.id) {
                            posted.push(connection.id);
                            posts.spawn(Post::new(&self, connection, bound_bytes).run());
                        }
                    }
                }
            }
        }
    }

    /// Connections that a sync uses.
    async fn guarded_connections(&self) -> Result<Vec<ConnectionRecord>, ControlError> {
        let syncs = self.records_everywhere().await?;
        self.slots
            .retain(|sync| syncs.iter().any(|record| record.id == sync));
        let mut connections = self.connections_everywhere().await?;
        connections.retain(|connection| {
            let uses = |sync: &SyncRecord| [sync.left_conn, sync.right_conn];
            syncs.iter().any(|sync| uses(sync).contains(&connection.id))
        });
        Ok(connections)
    }

    /// The logs on one connection.
    async fn guarded_logs(&self, connection: i64) -> Result<Vec<Guarded>, ControlError> {
        let mut logs = Vec::new();
        for record in self.records_everywhere().await? {
            let sides = [
                (Side::Left, record.left_conn),
                (Side::Right, record.right_conn),
            ];
            for (side, _) in sides.into_iter().filter(|(_, used)| *used == connection) {
                logs.push(Guarded {
                    sync: record.id,
                    name: record.name.clone(),
                    slug: self.slug_of(&record).await?,
                    side,
                });
            }
        }
        Ok(logs)
    }
}

impl Post {
    fn new(engine: &Arc<Engine>, connection: ConnectionRecord, bound_bytes: u64) -> Post {
        Post {
            engine: engine.clone(),
            connection,
            bound_bytes,
            guard: None,
            runways: HashMap::new(),
            last_failure: None,
            retry_at: None,
        }
    }

    /// Looks until no sync uses the connection any more; returns the connection's number.
    async fn run(mut self) -> i64 {
        let mut ticks = tokio::time::interval(limits::LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let logs = match self.engine.guarded_logs(self.connection.id).await {
                Ok(logs) if logs.is_empty() => return self.connection.id,
                Ok(logs) => logs,
                Err(error) => {
                    tracing::warn!(%error, "The slots could not be looked at.");
                    continue;
                }
            };
            let is_known =
                |key: &(SyncId, Side)| logs.iter().any(|log| (log.sync, log.side) == *key);
            self.runways.retain(|key, _| is_known(key));
            for log in &logs {
                self.look(log).await;
            }
        }
    }

    async fn look(&mut self, log: &Guarded) {
        let found = match self.guard().await {
            Ok(guard) => guard.look(&log.slug, log.side).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(state)) => self.judge(log, state).await,
            Ok(None) => {
                self.runways.remove(&(log.sync, log.side));
                self.engine.slots.note_none(log.sync, log.side);
            }
            // The runs tell that a side is away, and louder.
            Err(error) => {
                tracing::debug!(sync = log.name, side = log.side.name(), %error, "No look.");
                self.engine.slots.note_unknown(log.sync, log.side, &error);
            }
        }
    }

    async fn guard(&mut self) -> Result<&mut Box<dyn LogGuard>, EndpointError> {
        if self.guard.is_none() {
            let endpoint = self.engine.endpoint(&self.connection).await;
            let endpoint = endpoint
                .map_err(|error| EndpointError::operator("connection", error.to_string()))?;
            self.guard = Some(endpoint.guard());
        }
        let missing = || EndpointError::bug("no-guard", "a guard that was just made is gone");
        self.guard.as_mut().ok_or_else(missing)
    }

    async fn judge(&mut self, log: &Guarded, state: LogState) {
        let key = (log.sync, log.side);
        let (runway, looked) = self
            .runways
            .entry(key)
            .or_insert_with(|| (Runway::default(), Instant::now()));
        let judged = runway.judge(&state, self.bound_bytes, looked.elapsed());
        *looked = Instant::now();
        self.engine.slots.note(log.sync, log.side, &state, &judged);
        if judged.is_rising {
            warn_of(log, &state, &judged);
        }
        let Some(guard) = &mut self.guard else { return };
        let done = match judged.verdict {
            Verdict::Keep => return,
            Verdict::Beat => guard.beat().await.map(|_| false),
            Verdict::GiveUp { .. } if self.retry_at.is_some_and(|at| at > Instant::now()) => return,
            Verdict::GiveUp { above_bytes } => {
                guard.give_up(&log.slug, log.side, above_bytes).await
            }
        };
        match done {
            Ok(false) => self.last_failure = None,
            Ok(true) => {
                self.last_failure = None;
                self.runways.remove(&key);
                self.engine.slots.note_dropped(log.sync, log.side);
                tracing::warn!(
                    sync = log.name,
                    side = log.side.name(),
                    slot = state.name,
                    retained_bytes = state.retained_bytes,
                    bound_bytes = judged.bound_bytes,
                    "The slot is dropped before it fills the database's disk: the sync \
                     reconciles when both sides are reached again."
                );
            }
            Err(error) => {
                let failure = Some(error.to_string());
                if failure != self.last_failure {
                    let (sync, side) = (&log.name, log.side.name());
                    tracing::warn!(sync, side, %error, "The slot could not be looked after.");
                    self.last_failure = failure;
                }
                self.retry_at = Some(Instant::now() + limits::RETRY_AFTER);
            }
        }
    }
}

fn warn_of(log: &Guarded, state: &LogState, judged: &Judgement) {
    let share = match judged.level {
        Level::Near => "three quarters",
        _ => "half",
    };
    tracing::warn!(
        sync = log.name,
        side = log.side.name(),
        slot = state.name,
        active = state.active,
        retained_bytes = state.retained_bytes,
        bound_bytes = judged.bound_bytes,
        hours_left = judged.left.map(|left| left.as_secs() / 3600),
        "The slot keeps {share} of what it may keep."
    );
}

//! Changes by statement triggers: needs neither the replication right nor a logical WAL.
//!
//! Triggers write each statement's records into the outbox (`install`, `body`), which is read in
//! ticks.
//!
//! * *Order*: within a tick, transactions are in the order of their last rows in the outbox's sequence,
//!   each as a whole. A record (and a unique value) is locked from its change to the commit, and the
//!   trigger fires in between: of two transactions that touch the same record, the one that was
//!   first committed before the other one's row was written. So this is a history in which
//!   everything happened in the order in which it did, within a tick and across ticks.
//! * *Position*: the tick's number, which is made from the WAL's position, so that it grows together
//!   with the positions of the other levels; within a tick, transactions count their rows on.
//! * *Fence*: a tick made after the read; all that the read could see is in it or before.
//! * *Echo*: each of our transactions puts a mark into the outbox at its end.
//!
//! Weaker than the stream: a change's time is that of its statement, not of its commit; a statement
//! that gives several records other keys is reported as deletions and new records; what is written
//! while the triggers are disabled is not seen, but noticed, and reconciled.

mod body;
pub(super) mod bounded;
mod install;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_sync::model::{BatchId, PairId, Position};
use tokio::time::Instant;

pub(super) use install::{forget_side, forget_sql};

use super::capture::PgCapture;
use super::connect::Connected;
use super::outbox::{self, Filler, OutboxName, read};
use super::publication::Ddl;
use super::shape::Shape;
use crate::endpoint::EndpointError;

impl OutboxName {
    /// The trigger function of one table pair.
    fn function(&self, shape: &Shape) -> String {
        format!("tidegate.capture_{}_{}", self.stem, shape.pair.0)
    }

    fn trigger(&self, shape: &Shape, event: &str) -> String {
        format!("tidegate_{}_{}_{event}", self.stem, shape.pair.0)
    }

    /// SQL that marks the running transaction as that of `batch`.
    pub(super) fn mark(&self, batch: BatchId) -> String {
        let outbox = self.outbox();
        format!("insert into {outbox} (op, batch) values ('m', {})", batch.0)
    }
}

fn tables(name: &OutboxName) -> [String; 2] {
    [name.outbox(), name.ticks()]
}

/// Makes `snapshot`, a view's own (`10:20:10,14`), the first tick. The view must have been taken
/// after [`prepare`].
pub(super) async fn anchor(
    session: &Connected,
    name: &OutboxName,
    snapshot: &str,
) -> Result<Position, EndpointError> {
    outbox::anchor(session, (name, FILLED_BY), snapshot).await
}

/// From here on, every change of these tables is in the outbox.
pub(super) async fn prepare(
    session: &Connected,
    name: &OutboxName,
    shapes: &[Shape],
    ddl: Ddl,
) -> Result<(), EndpointError> {
    install::install(session, name, shapes, ddl).await
}

/// Can the outbox be read on from `position` without a hole? `Err(reason)` when it can't.
pub(super) async fn check(
    session: &Connected,
    name: &OutboxName,
    shapes: &[Shape],
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    let kept = outbox::check(session, (name, FILLED_BY), &tables(name), position).await?;
    if kept.is_err() {
        return Ok(kept);
    }
    for shape in shapes {
        if !install::is_installed(session, name, shape).await? {
            return Ok(Err(format!(
                "the triggers of {} are missing, were disabled, or were made for other fields",
                shape.label()
            )));
        }
    }
    Ok(Ok(()))
}

/// Starts to read what was committed after `position`.
pub(super) async fn start(
    session: Connected,
    name: OutboxName,
    shapes: Arc<Vec<Shape>>,
    position: &Position,
) -> Result<PgCapture, EndpointError> {
    if let Err(reason) = check(&session, &name, &shapes, position).await? {
        return Err(EndpointError::retry("position-lost", reason));
    }
    let watch = Watch {
        name: name.clone(),
        shapes: Arc::clone(&shapes),
        check_at: Instant::now() + CHECK_INTERVAL,
    };
    Ok(read::start(
        session,
        name,
        shapes,
        Box::new(watch),
        position,
    ))
}

/// Sees that the triggers stay as they were made.
struct Watch {
    name: OutboxName,
    shapes: Arc<Vec<Shape>>,
    check_at: Instant,
}

#[async_trait]
impl Filler for Watch {
    /// New partitions, and triggers that somebody dropped or disabled: the next run puts them in
    /// place and reconciles.
    async fn tend(
        &mut self,
        session: &Connected,
    ) -> Result<Vec<(PairId, &'static str)>, EndpointError> {
        let mut found = Vec::new();
        if Instant::now() < self.check_at {
            return Ok(found);
        }
        self.check_at = Instant::now() + CHECK_INTERVAL;
        for shape in self.shapes.iter() {
            if !install::is_installed(session, &self.name, shape).await? {
                let reason = "its triggers are not as they were made, or it has a new partition";
                found.push((shape.pair, reason));
            }
        }
        Ok(found)
    }
}

const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// In a position's cursor.
const FILLED_BY: &str = "triggers";

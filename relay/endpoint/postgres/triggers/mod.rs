//! Changes by statement triggers: needs neither the replication right nor a logical WAL.
//!
//! Triggers write each statement's records into an *outbox* beside the data (`install`, `body`). The
//! capture (`outbox`) reads it in *ticks* (`ticks`): a tick is a number and the snapshot of the moment
//! when it was made, and its changes are those of the transactions which its snapshot shows and
//! the one before does not. So a transaction that stays open for long holds nobody up and is never
//! skipped, whatever numbers it drew, and reading a tick again gives the same.
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
mod chunk;
mod install;
mod outbox;
mod rows;
mod ticks;

use tidegate_sync::model::{BatchId, Position, Side};

pub(super) use install::{forget, forget_side, forget_sql};
pub(super) use outbox::start;

use super::ask::Ask;
use super::connect::Connected;
use super::publication::Ddl;
use super::shape::Shape;
use super::slots;
use crate::endpoint::EndpointError;

/// What things are called on one side of one sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxName {
    /// `blog_l`.
    stem: String,
}

impl OutboxName {
    /// `sync` is a [`Binding::sync`](crate::endpoint::Binding): `[a-z0-9_]{1,40}`.
    pub(super) fn new(sync: &str, side: Side) -> OutboxName {
        let letter = match side {
            Side::Left => 'l',
            Side::Right => 'r',
        };
        OutboxName {
            stem: format!("{sync}_{letter}"),
        }
    }

    fn outbox(&self) -> String {
        format!("tidegate.outbox_{}", self.stem)
    }

    fn ticks(&self) -> String {
        format!("tidegate.ticks_{}", self.stem)
    }

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

    /// A position that whatever can be seen by now is at or before.
    pub(super) async fn fence(&self, session: &Connected) -> Result<u64, EndpointError> {
        ticks::make(session, self).await
    }
}

/// Installs what is missing, and makes `snapshot`, a view's own (`10:20:10,14`), the first tick.
/// The view must have been taken after [`prepare`].
pub(super) async fn anchor(
    session: &Connected,
    name: &OutboxName,
    snapshot: &str,
) -> Result<Position, EndpointError> {
    let cursor = cursor(session).await?;
    let offset = ticks::begin(session, name, snapshot).await?;
    Ok(Position {
        offset,
        passed: BatchId::NONE,
        cursor,
    })
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
    if position.cursor != cursor(session).await? {
        return Ok(Err(
            "changes were read in another way before, or the server is another one than before"
                .into(),
        ));
    }
    if !install::tables_exist(session, name).await? {
        return Ok(Err(format!("{} is gone", name.outbox())));
    }
    if !ticks::knows(session, name, position.offset).await? {
        return Ok(Err(format!(
            "{} does not know where reading stopped: the server lost data",
            name.ticks()
        )));
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

/// Which server, and that its changes are read by triggers.
async fn cursor(mut session: &Connected) -> Result<String, EndpointError> {
    let identity = session.identity().await?;
    Ok(format!("triggers {}", slots::cursor(&identity)))
}

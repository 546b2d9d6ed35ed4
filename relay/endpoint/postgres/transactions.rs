//! Puts the stream's messages together to whole transactions, in commit order.
//!
//! Takes one message after the other ([`Transactions::handle`], [`Transactions::handle_keepalive`])
//! and gives batches ([`Transactions::take_ready`]). Nothing of a transaction is given before its
//! commit has arrived; what the server streams earlier waits in `staging`. Does no network.

use std::mem;

use tidegate_sync::model::{BatchId, Position};

use super::super::{Captured, EndpointError};
use super::mapping::{Effects, Mapping};
use super::pgoutput::{Commit, Message, decode};
use super::queue::Batch;
use super::slots::{FENCE_PREFIX, MARKER_PREFIX, Names};
use super::staging::Staging;

pub(super) struct Transactions {
    names: Names,
    mapping: Mapping,
    staging: Staging,
    /// What committed at or before this was delivered by an earlier run.
    start: u64,
    position: Position,
    /// Between Begin and Commit.
    open: Option<Open>,
    /// Between StreamStart and StreamStop: of which transaction.
    chunk: Option<u32>,
    ready: Effects,
    ready_bytes: usize,
    /// The position has moved since the last batch was taken.
    moved: bool,
    /// A fence message came: the position is waited for.
    is_awaited: bool,
}

#[derive(Default)]
struct Open {
    effects: Effects,
    /// The batch of ours that this transaction is.
    batch: Option<BatchId>,
    is_awaited: bool,
    bytes: usize,
}

impl Transactions {
    pub(super) fn new(
        names: Names,
        mapping: Mapping,
        staging: Staging,
        position: Position,
    ) -> Transactions {
        Transactions {
            names,
            mapping,
            staging,
            start: position.offset,
            position,
            open: None,
            chunk: None,
            ready: Effects::default(),
            ready_bytes: 0,
            moved: false,
            is_awaited: false,
        }
    }

    /// Takes one pgoutput message.
    pub(super) async fn handle(&mut self, bytes: &[u8]) -> Result<(), EndpointError> {
        let (subxid, message) = decode(bytes, self.chunk.is_some())?;
        if let Some(xid) = self.chunk {
            return match message {
                Message::StreamStop => {
                    self.chunk = None;
                    Ok(())
                }
                // It carries no xid and says nothing that is needed.
                Message::Origin { .. } => Ok(()),
                Message::Begin { .. }
                | Message::Commit(_)
                | Message::StreamStart { .. }
                | Message::StreamCommit { .. }
                | Message::StreamAbort { .. } => Err(out_of_order()),
                _ => self.staging.put(xid, subxid.unwrap_or(xid), bytes).await,
            };
        }
        match message {
            Message::Begin { .. } if self.open.is_none() => {
                self.open = Some(Open::default());
                Ok(())
            }
            Message::Commit(commit) => {
                let open = self.open.take().ok_or_else(out_of_order)?;
                self.close(open, commit);
                Ok(())
            }
            Message::StreamStart { xid, .. } if self.open.is_none() => {
                self.chunk = Some(xid);
                Ok(())
            }
            Message::StreamAbort { xid, subxid } => self.staging.abort(xid, subxid).await,
            Message::StreamCommit { xid, commit } => self.deliver(xid, commit).await,
            Message::Emitted {
                transactional: false,
                lsn,
                prefix,
                ..
            } => {
                self.is_awaited |= prefix == FENCE_PREFIX;
                self.move_to(lsn);
                Ok(())
            }
            Message::Begin { .. } | Message::StreamStart { .. } | Message::StreamStop => {
                Err(out_of_order())
            }
            message => {
                let open = self.open.as_mut().ok_or_else(out_of_order)?;
                open.bytes += bytes.len();
                open.take_in(&message, &self.names, &mut self.mapping)
            }
        }
    }

    /// The server has read its history up to `wal_end`: whatever committed before has been sent.
    pub(super) fn handle_keepalive(&mut self, wal_end: u64) {
        self.move_to(wal_end);
    }

    /// How much waits to be taken: changes and the bytes they came in.
    pub(super) fn ready_size(&self) -> (usize, usize) {
        (self.ready.changes.len(), self.ready_bytes)
    }

    /// Everything that has committed since the last call; `None` when not even the position has
    /// moved.
    pub(super) fn take_ready(&mut self) -> Option<Batch> {
        if !mem::take(&mut self.moved) {
            return None;
        }
        let ready = mem::take(&mut self.ready);
        Some(Batch {
            captured: Captured {
                changes: ready.changes,
                position: self.position.clone(),
                reconcile: ready.reconcile,
            },
            bytes: mem::take(&mut self.ready_bytes),
            is_awaited: mem::take(&mut self.is_awaited),
        })
    }

    /// A streamed transaction has committed.
    async fn deliver(&mut self, xid: u32, commit: Commit) -> Result<(), EndpointError> {
        if self.open.is_some() {
            return Err(out_of_order());
        }
        let mut open = Open::default();
        let mut replay = self.staging.replay(xid).await?;
        while let Some(entry) = replay.next().await? {
            let (_, message) = decode(&entry.message, true)?;
            // The server sends a table's description once per transaction, even if it was first
            // needed by a part that was rolled back.
            if entry.aborted && !matches!(message, Message::Relation(_)) {
                continue;
            }
            open.bytes += entry.message.len();
            open.take_in(&message, &self.names, &mut self.mapping)?;
        }
        self.close(open, commit);
        Ok(())
    }

    fn close(&mut self, open: Open, commit: Commit) {
        if commit.end_lsn <= self.start {
            return;
        }
        if let Some(batch) = open.batch {
            self.position.passed = self.position.passed.max(batch);
        }
        self.move_to(commit.end_lsn);
        for mut change in open.effects.changes {
            change.time = Some(commit.time);
            change.offset = commit.end_lsn;
            change.passed = self.position.passed;
            self.ready.changes.push(change);
        }
        for request in open.effects.reconcile {
            if !self
                .ready
                .reconcile
                .iter()
                .any(|(pair, _)| *pair == request.0)
            {
                self.ready.reconcile.push(request);
            }
        }
        self.ready_bytes += open.bytes;
        self.is_awaited |= open.is_awaited;
    }

    /// Only between transactions: within one, its own commit is still to come.
    fn move_to(&mut self, lsn: u64) {
        if self.open.is_none() && self.chunk.is_none() && lsn > self.position.offset {
            self.position.offset = lsn;
            self.moved = true;
        }
    }
}

impl Open {
    fn take_in(
        &mut self,
        message: &Message<'_>,
        names: &Names,
        mapping: &mut Mapping,
    ) -> Result<(), EndpointError> {
        match message {
            Message::Emitted {
                prefix: FENCE_PREFIX,
                ..
            } => self.is_awaited = true,
            Message::Emitted {
                prefix: MARKER_PREFIX,
                content,
                ..
            } => {
                let batch = names.batch_of(content);
                self.batch = self.batch.max(batch);
                // The engine waits for its own writes to pass.
                self.is_awaited |= batch.is_some();
            }
            message => mapping.apply(message, &mut self.effects)?,
        }
        Ok(())
    }
}

fn out_of_order() -> EndpointError {
    EndpointError::bug("protocol-violation", "a change outside of its transaction")
}

#[cfg(test)]
#[path = "transactions_tests.rs"]
mod tests;

//! Puts the stream's messages together to committed transactions, in commit order.
//!
//! Takes one message after the other ([`Transactions::handle`], [`Transactions::handle_keepalive`])
//! and gives batches ([`Transactions::take_ready`]). Nothing of a transaction is given before its
//! commit has arrived; what the server streams earlier waits in `staging`, and so does what is too
//! much to be held. A transaction that waited there is given in parts: while
//! [`Transactions::is_delivering`], each [`Transactions::deliver_part`] makes the next one ready.
//! Does no network.

use std::mem;

use tidegate_sync::model::{BatchId, Position};

use super::super::{Captured, EndpointError};
use super::mapping::{Effects, Mapping};
use super::pgoutput::{Commit, Message, decode};
use super::queue::{self, Batch};
use super::shown::Shown;
use super::slots::{FENCE_PREFIX, MARKER_PREFIX, Names};
use super::staging::{Replay, Staging};

pub(super) mod limits {
    use super::queue;

    /// A transaction with more changes is given in parts of this many, or of
    /// [`PART_BYTES_MAX`] where they are long. As big as other batches are.
    pub(crate) const PART_CHANGES_MAX: usize = queue::limits::BATCH_CHANGES;
    pub(crate) const PART_BYTES_MAX: usize = queue::limits::BATCH_BYTES;
}

pub(super) struct Transactions {
    names: Names,
    mapping: Mapping,
    staging: Staging,
    /// What committed at or before this was delivered by an earlier run.
    start: u64,
    position: Position,
    /// What the first view of the data shows, until the position is past it.
    shown: Option<Shown>,
    /// Between Begin and Commit.
    open: Option<Open>,
    /// Between StreamStart and StreamStop: of which transaction.
    chunk: Option<u32>,
    /// A committed transaction of which more is to be given.
    delivery: Option<Delivery>,
    ready: Effects,
    ready_bytes: usize,
    /// What is ready ends within a transaction.
    in_part: bool,
    /// The position has moved since the last batch was taken.
    moved: bool,
    /// A fence message came: the position is waited for.
    is_awaited: bool,
}

/// A transaction, or the part of it that is not given yet.
#[derive(Default)]
struct Open {
    xid: u32,
    effects: Effects,
    /// The batch of ours that this transaction is. Its marker is its first record.
    batch: Option<BatchId>,
    is_awaited: bool,
    bytes: usize,
    /// The place of the last change.
    at: u64,
    /// What follows is in `staging`.
    is_staged: bool,
}

/// A committed transaction that is read from `staging`.
struct Delivery {
    open: Open,
    commit: Commit,
    /// Its messages say which subtransaction they are of.
    is_streamed: bool,
    /// Whether it is news.
    news: News,
    replay: Replay,
}

/// Whether a committed transaction is news.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    New,
    /// The first view of the data shows it.
    Shown,
    /// It was given before.
    Old,
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
            shown: Shown::split(&position.cursor).1,
            position,
            open: None,
            chunk: None,
            delivery: None,
            ready: Effects::default(),
            ready_bytes: 0,
            in_part: false,
            moved: false,
            is_awaited: false,
        }
    }

    /// Takes one pgoutput message, whose record is `at` this place of the WAL.
    pub(super) async fn handle(&mut self, at: u64, bytes: &[u8]) -> Result<(), EndpointError> {
        let (subxid, message) = decode(bytes, self.chunk.is_some())?;
        if let Some(xid) = self.chunk {
            return self
                .handle_chunk((xid, subxid.unwrap_or(xid)), at, message, bytes)
                .await;
        }
        match message {
            Message::Begin { xid, .. } if self.open.is_none() => {
                self.open = Some(Open::of(xid));
                Ok(())
            }
            Message::Commit(commit) => {
                let open = self.open.take().ok_or_else(out_of_order)?;
                self.commit(open, commit, false).await
            }
            Message::StreamStart { xid, .. } if self.open.is_none() => {
                self.chunk = Some(xid);
                Ok(())
            }
            Message::StreamAbort { xid, subxid } => self.staging.abort(xid, subxid).await,
            Message::StreamCommit { xid, commit } if self.open.is_none() => {
                let open = Open {
                    is_staged: true,
                    ..Open::of(xid)
                };
                self.commit(open, commit, true).await
            }
            Message::Emitted {
                transactional: false,
                lsn,
                prefix,
                ..
            } => {
                self.is_awaited |= prefix == FENCE_PREFIX && lsn > self.position.offset;
                self.move_to(lsn);
                Ok(())
            }
            Message::Begin { .. }
            | Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. } => Err(out_of_order()),
            message => {
                let open = self.open.as_mut().ok_or_else(out_of_order)?;
                open.is_staged |= open.is_full();
                if open.is_staged {
                    return self.staging.put((open.xid, open.xid), at, bytes).await;
                }
                open.bytes += bytes.len();
                open.take_in((at, &message), &self.names, &mut self.mapping)
            }
        }
    }

    /// A message within a chunk of a transaction that is streamed before its commit.
    async fn handle_chunk(
        &mut self,
        xids: (u32, u32),
        at: u64,
        message: Message<'_>,
        bytes: &[u8],
    ) -> Result<(), EndpointError> {
        match message {
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
            _ => self.staging.put(xids, at, bytes).await,
        }
    }

    /// The server has read its history up to `wal_end`: whatever committed before has been sent.
    pub(super) fn handle_keepalive(&mut self, wal_end: u64) {
        self.move_to(wal_end);
    }

    /// The history is read again from what was acknowledged last: what was given since is left out.
    pub(super) fn begin_again(&mut self) {
        self.start = self.position.offset;
    }

    /// How far the history was taken in.
    pub(super) fn offset(&self) -> u64 {
        self.position.offset
    }

    /// How much waits to be taken: changes and the bytes they came in.
    pub(super) fn ready_size(&self) -> (usize, usize) {
        (self.ready.changes.len(), self.ready_bytes)
    }

    /// Everything that has committed since the last call; `None` when not even the position has
    /// moved.
    pub(super) fn take_ready(&mut self) -> Option<Batch> {
        let end = if mem::take(&mut self.in_part) {
            None
        } else if mem::take(&mut self.moved) {
            Some(self.position.clone())
        } else {
            return None;
        };
        let ready = mem::take(&mut self.ready);
        Some(Batch {
            is_awaited: end.is_some() && mem::take(&mut self.is_awaited),
            captured: Captured {
                changes: ready.changes,
                end,
                reconcile: ready.reconcile,
                described: self.mapping.take_described(),
            },
            bytes: mem::take(&mut self.ready_bytes),
        })
    }

    /// True while more of a committed transaction is to be given. What was ready before it must be
    /// taken before its first part is delivered, and each part before the next.
    pub(super) fn is_delivering(&self) -> bool {
        self.delivery.is_some()
    }

    /// Reads the next part of the transaction that is being delivered.
    pub(super) async fn deliver_part(&mut self) -> Result<(), EndpointError> {
        let Some(mut delivery) = self.delivery.take() else {
            return Ok(());
        };
        while !delivery.open.is_full() {
            let Some(entry) = delivery.replay.next().await? else {
                self.close(delivery.open, delivery.commit, delivery.news);
                return Ok(());
            };
            let (_, message) = decode(&entry.message, delivery.is_streamed)?;
            // The server sends a table's description once per transaction, even if it was first
            // needed by a part that was rolled back.
            let is_wanted = delivery.news == News::New && !entry.aborted;
            if !is_wanted && !matches!(message, Message::Relation(_)) {
                continue;
            }
            let open = &mut delivery.open;
            open.bytes += entry.message.len();
            open.take_in((entry.at, &message), &self.names, &mut self.mapping)?;
        }
        self.give(&mut delivery.open, delivery.commit);
        self.in_part = true;
        self.delivery = Some(delivery);
        Ok(())
    }

    async fn commit(
        &mut self,
        mut open: Open,
        commit: Commit,
        is_streamed: bool,
    ) -> Result<(), EndpointError> {
        let news = self.news_of(open.xid, commit.end_lsn);
        if news != News::New {
            // It is only looked through for tables' descriptions.
            (open.effects, open.bytes) = (Effects::default(), 0);
        }
        if open.is_staged {
            self.delivery = Some(Delivery {
                replay: self.staging.replay(open.xid).await?,
                open,
                commit,
                is_streamed,
                news,
            });
        } else {
            self.close(open, commit, news);
        }
        Ok(())
    }

    fn news_of(&self, xid: u32, end_lsn: u64) -> News {
        let is_shown = |shown: &Shown| shown.shows(xid, end_lsn);
        if end_lsn <= self.start {
            News::Old
        } else if self.shown.as_ref().is_some_and(is_shown) {
            News::Shown
        } else {
            News::New
        }
    }

    /// Gives what is left of a transaction.
    fn close(&mut self, mut open: Open, commit: Commit, news: News) {
        match news {
            News::Old => return,
            News::Shown => {}
            News::New => self.give(&mut open, commit),
        }
        if let Some(batch) = open.batch {
            self.position.passed = self.position.passed.max(batch);
        }
        self.move_to(commit.end_lsn);
        self.moved = true;
        self.in_part = false;
        self.is_awaited |= open.is_awaited;
    }

    /// Makes ready what was taken in of a committed transaction.
    fn give(&mut self, open: &mut Open, commit: Commit) {
        let passed = self
            .position
            .passed
            .max(open.batch.unwrap_or(BatchId::NONE));
        let effects = mem::take(&mut open.effects);
        for mut change in effects.changes {
            change.time = Some(commit.time);
            change.offset = commit.end_lsn;
            change.passed = passed;
            change.ours = open.batch == Some(passed);
            self.ready.changes.push(change);
        }
        for request in effects.reconcile {
            if !self
                .ready
                .reconcile
                .iter()
                .any(|(pair, _)| *pair == request.0)
            {
                self.ready.reconcile.push(request);
            }
        }
        self.ready_bytes += mem::take(&mut open.bytes);
    }

    /// Only between transactions: within one, its own commit is still to come.
    fn move_to(&mut self, lsn: u64) {
        let is_between = self.open.is_none() && self.chunk.is_none() && self.delivery.is_none();
        if is_between && lsn > self.position.offset {
            self.position.offset = lsn;
            self.moved = true;
            if self.shown.as_ref().is_some_and(|shown| lsn > shown.until) {
                self.shown = None;
                self.position.cursor = Shown::split(&self.position.cursor).0.to_owned();
            }
        }
    }
}

impl Open {
    fn of(xid: u32) -> Open {
        Open {
            xid,
            ..Open::default()
        }
    }

    /// True when it is as much as is given at once.
    fn is_full(&self) -> bool {
        self.effects.changes.len() >= limits::PART_CHANGES_MAX
            || self.bytes >= limits::PART_BYTES_MAX
    }

    fn take_in(
        &mut self,
        (at, message): (u64, &Message<'_>),
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
            message => {
                let before = self.effects.changes.len();
                mapping.apply(message, &mut self.effects)?;
                self.at = self.at.max(at);
                for change in &mut self.effects.changes[before..] {
                    change.at = self.at;
                }
            }
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

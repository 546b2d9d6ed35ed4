//! The queue between the task that reads the stream and the engine: bounded by bytes.
//!
//! What the engine has not taken yet is joined with what arrives, so that a slow engine gets fewer
//! and bigger batches, and positions without changes take no room at all. One producer, one
//! consumer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::{Captured, EndpointError};

pub(super) mod limits {
    /// The reader stops reading, and so at last the server stops sending, when this much waits.
    pub(crate) const QUEUE_BYTES_MAX: usize = 32 << 20;
    /// A batch that has as many changes is not joined with the next. One apply handles it well,
    /// and it is small enough to be settled within a second.
    pub(crate) const BATCH_CHANGES: usize = 5_000;
    /// Nor one that took as many bytes of the stream, however few its changes are.
    pub(crate) const BATCH_BYTES: usize = 4 << 20;
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    taken: Notify,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// Set when the reader has ended; handed out after the batches.
    ended: Option<EndpointError>,
}

/// What the reader hands over at once.
#[derive(Default)]
pub(super) struct Batch {
    pub captured: Captured,
    /// How much of the stream it took.
    pub bytes: usize,
    /// The position answers a fence that somebody waits for.
    pub is_awaited: bool,
}

impl Queue {
    /// Adds a batch; waits while the queue is full. A batch bigger than the whole queue is let in
    /// when the queue is empty.
    pub(super) async fn push(&self, batch: Batch) {
        loop {
            let room = self.taken.notified();
            {
                let mut state = self.lock();
                let fits = state.bytes + batch.bytes <= limits::QUEUE_BYTES_MAX;
                if fits || state.bytes == 0 || batch.bytes == 0 {
                    state.add(batch);
                    break;
                }
            }
            room.await;
        }
        self.arrived.notify_one();
    }

    /// The reader ended with this error.
    pub(super) fn end(&self, error: EndpointError) {
        self.lock().ended.get_or_insert(error);
        self.arrived.notify_one();
    }

    /// Takes the oldest batch; waits for one. Cancel safe.
    pub(super) async fn pop(&self) -> Result<Batch, EndpointError> {
        loop {
            {
                let mut state = self.lock();
                if let Some(batch) = state.batches.pop_front() {
                    state.bytes -= batch.bytes;
                    self.taken.notify_one();
                    return Ok(batch);
                }
                if let Some(error) = state.ended.take() {
                    state.ended = Some(EndpointError::retry(
                        "connection-lost",
                        "the change stream has ended",
                    ));
                    return Err(error);
                }
            }
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, batch: Batch) {
        self.bytes += batch.bytes;
        match self.batches.back_mut() {
            Some(last) if last.takes(&batch) => last.join(batch),
            _ => self.batches.push_back(batch),
        }
    }
}

impl Batch {
    /// True when it is small enough to be joined with what came after it. A part of a big
    /// transaction would hide the end of those before it.
    fn takes(&self, later: &Batch) -> bool {
        self.captured.changes.len() < limits::BATCH_CHANGES
            && self.bytes < limits::BATCH_BYTES
            && (self.captured.end.is_none() || later.captured.end.is_some())
    }

    /// Appends what came after it.
    pub(super) fn join(&mut self, later: Batch) {
        let captured = &mut self.captured;
        captured.changes.extend(later.captured.changes);
        captured.end = later.captured.end;
        captured.described |= later.captured.described;
        for request in later.captured.reconcile {
            if !captured
                .reconcile
                .iter()
                .any(|(pair, _)| *pair == request.0)
            {
                captured.reconcile.push(request);
            }
        }
        self.bytes += later.bytes;
        self.is_awaited |= later.is_awaited;
    }

    /// Nothing but a position, for which nobody waits.
    pub(super) fn can_wait(&self) -> bool {
        self.captured.changes.is_empty() && self.captured.reconcile.is_empty() && !self.is_awaited
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_sync::model::{BatchId, Change, ChangeKind, Key, PairId, Position};

    use super::*;

    fn batch(offset: u64, changes: usize, bytes: usize) -> Batch {
        let change = Change {
            pair: PairId(0),
            key: Key::single("1"),
            old_key: None,
            kind: ChangeKind::Gone,
            time: None,
            offset,
            at: 0,
            passed: BatchId::NONE,
            ours: false,
        };
        let captured = Captured {
            changes: vec![change; changes],
            end: Some(Position {
                offset,
                ..Position::default()
            }),
            ..Captured::default()
        };
        Batch {
            captured,
            bytes,
            is_awaited: false,
        }
    }

    fn end_of(popped: Result<Batch, EndpointError>) -> Option<u64> {
        popped.unwrap().captured.end.map(|end| end.offset)
    }

    #[tokio::test]
    async fn waiting_batches_are_joined_up_to_a_size() {
        let queue = Queue::default();
        queue.push(batch(1, 3, 10)).await;
        queue.push(batch(2, limits::BATCH_CHANGES, 10)).await;
        queue.push(batch(3, 1, 10)).await;
        let first = queue.pop().await.unwrap().captured;
        assert_eq!(first.changes.len(), limits::BATCH_CHANGES + 3);
        assert_eq!(first.end.map(|end| end.offset), Some(2));
        assert_eq!(end_of(queue.pop().await), Some(3));
    }

    #[tokio::test]
    async fn a_part_of_a_transaction_does_not_hide_the_end_of_those_before_it() {
        let queue = Queue::default();
        queue.push(batch(1, 3, 10)).await;
        for (offset, is_last) in [(2, false), (2, false), (2, true), (3, true)] {
            let mut part = batch(offset, 1, 10);
            part.captured.end.take_if(|_| !is_last);
            queue.push(part).await;
        }
        assert_eq!(end_of(queue.pop().await), Some(1));
        let rest = queue.pop().await.unwrap().captured;
        assert_eq!(rest.end.map(|end| end.offset), Some(3));
        assert_eq!(rest.changes.len(), 4);
        queue.push(batch(4, 1, limits::BATCH_BYTES)).await;
        queue.push(batch(5, 1, 10)).await;
        assert_eq!(end_of(queue.pop().await), Some(4));
    }

    #[tokio::test]
    async fn a_full_queue_stops_the_reader_until_something_is_taken() {
        let queue = Arc::new(Queue::default());
        let full = batch(1, limits::BATCH_CHANGES, limits::QUEUE_BYTES_MAX);
        queue.push(full).await;
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move { queue.push(batch(2, 1, 1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        assert_eq!(end_of(queue.pop().await), Some(1));
        reader.await.unwrap();
        assert_eq!(end_of(queue.pop().await), Some(2));
    }

    #[tokio::test]
    async fn what_was_read_is_handed_out_before_the_error_that_ended_it() {
        let queue = Queue::default();
        queue.push(batch(1, 1, 1)).await;
        queue.end(EndpointError::operator("no-right", "x"));
        assert!(queue.pop().await.is_ok());
        let error = queue.pop().await.err().map(|error| error.code);
        assert_eq!(error, Some("no-right"));
        let error = queue.pop().await.err().map(|error| error.code);
        assert_eq!(error, Some("connection-lost"));
    }
}

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

struct Batch {
    captured: Captured,
    bytes: usize,
}

impl Queue {
    /// Adds a batch that took `bytes` of the stream; waits while the queue is full. A batch bigger
    /// than the whole queue is let in when the queue is empty.
    pub(super) async fn push(&self, captured: Captured, bytes: usize) {
        loop {
            let room = self.taken.notified();
            {
                let mut state = self.lock();
                let fits = state.bytes + bytes <= limits::QUEUE_BYTES_MAX;
                if fits || state.bytes == 0 || bytes == 0 {
                    state.add(captured, bytes);
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
    pub(super) async fn pop(&self) -> Result<Captured, EndpointError> {
        loop {
            {
                let mut state = self.lock();
                if let Some(batch) = state.batches.pop_front() {
                    state.bytes -= batch.bytes;
                    self.taken.notify_one();
                    return Ok(batch.captured);
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
    fn add(&mut self, captured: Captured, bytes: usize) {
        self.bytes += bytes;
        if let Some(last) = self.batches.back_mut()
            && last.captured.changes.len() < limits::BATCH_CHANGES
        {
            last.bytes += bytes;
            join(&mut last.captured, captured);
            return;
        }
        self.batches.push_back(Batch { captured, bytes });
    }
}

/// Appends `later` to `batch`.
pub(super) fn join(batch: &mut Captured, later: Captured) {
    batch.changes.extend(later.changes);
    batch.position = later.position;
    for request in later.reconcile {
        if !batch.reconcile.iter().any(|(pair, _)| *pair == request.0) {
            batch.reconcile.push(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_sync::model::{BatchId, Change, ChangeKind, Key, PairId, Position};

    use super::*;

    fn batch(offset: u64, changes: usize) -> Captured {
        let change = Change {
            pair: PairId(0),
            key: Key::single("1"),
            old_key: None,
            kind: ChangeKind::Gone,
            time: None,
            offset,
            passed: BatchId::NONE,
        };
        Captured {
            changes: vec![change; changes],
            position: Position {
                offset,
                ..Position::default()
            },
            reconcile: Vec::new(),
        }
    }

    #[tokio::test]
    async fn waiting_batches_are_joined_up_to_a_size() {
        let queue = Queue::default();
        queue.push(batch(1, 3), 10).await;
        queue.push(batch(2, limits::BATCH_CHANGES), 10).await;
        queue.push(batch(3, 1), 10).await;
        let first = queue.pop().await.unwrap();
        assert_eq!(
            (first.changes.len(), first.position.offset),
            (limits::BATCH_CHANGES + 3, 2)
        );
        assert_eq!(queue.pop().await.unwrap().position.offset, 3);
    }

    #[tokio::test]
    async fn a_full_queue_stops_the_reader_until_something_is_taken() {
        let queue = Arc::new(Queue::default());
        queue
            .push(batch(1, limits::BATCH_CHANGES), limits::QUEUE_BYTES_MAX)
            .await;
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move { queue.push(batch(2, 1), 1).await }
        });
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        assert_eq!(queue.pop().await.unwrap().position.offset, 1);
        reader.await.unwrap();
        assert_eq!(queue.pop().await.unwrap().position.offset, 2);
    }

    #[tokio::test]
    async fn what_was_read_is_handed_out_before_the_error_that_ended_it() {
        let queue = Queue::default();
        queue.push(batch(1, 1), 1).await;
        queue.end(EndpointError::operator("no-right", "x"));
        assert!(queue.pop().await.is_ok());
        assert_eq!(queue.pop().await.unwrap_err().code, "no-right");
        assert_eq!(queue.pop().await.unwrap_err().code, "connection-lost");
    }
}

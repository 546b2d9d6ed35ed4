//! Where in the app's history our batches are: what a log would tell by itself.
//!
//! A batch is several calls, and people write in between. No position may be within one, else what a
//! person changed between two of its calls would count as older than the batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_sync::model::BatchId;

use super::clock::Micros;

/// The batches of one run, shared by its writer and its capture.
#[derive(Debug)]
pub(super) struct Batches {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Not passed yet, in their order.
    spans: Vec<Span>,
    passed: BatchId,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    batch: BatchId,
    /// Everything that it changes has a later stamp …
    start: Micros,
    /// … and none later than this; `None` while calls are under way.
    end: Option<Micros>,
}

impl Batches {
    /// All batches of former runs are over.
    pub(super) fn of_run(epoch: u32) -> Batches {
        let state = State {
            spans: Vec::new(),
            passed: BatchId::of_run(epoch, 0),
        };
        Batches {
            state: Mutex::new(state),
        }
    }

    /// Before the first call of a batch.
    pub(super) fn begin(&self, batch: BatchId, start: Micros) {
        let end = None;
        self.lock().spans.push(Span { batch, start, end });
    }

    /// After its last answer. `start` may be closer than was known before.
    pub(super) fn end(&self, batch: BatchId, start: Micros, end: Micros) {
        let mut state = self.lock();
        let mut spans = state.spans.iter_mut();
        if let Some(span) = spans.rfind(|span| span.batch == batch) {
            span.start = start;
            span.end = Some(end.max(start));
        }
    }

    /// The last position up to `shown` that is within no batch.
    pub(super) fn outside(&self, shown: Micros) -> Micros {
        let state = self.lock();
        let mut position = shown;
        loop {
            let within =
                |span: &&Span| span.start < position && span.end.is_none_or(|end| position < end);
            match state.spans.iter().find(within) {
                Some(span) => position = span.start,
                None => return position,
            }
        }
    }

    /// The newest batch that a position has passed. Positions only grow.
    pub(super) fn passed(&self, position: Micros) -> BatchId {
        let mut state = self.lock();
        let State { spans, passed } = &mut *state;
        spans.retain(|span| {
            let is_over = span.end.is_some_and(|end| end <= position);
            if is_over {
                *passed = span.batch.max(*passed);
            }
            !is_over
        });
        *passed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_position_is_within_a_batch_or_in_a_chain_of_them() {
        let batches = Batches::of_run(3);
        let batch = |count| BatchId::of_run(3, count);
        batches.begin(batch(1), 100);
        assert_eq!(batches.outside(500), 100);
        batches.end(batch(1), 150, 200);
        batches.begin(batch(2), 180);
        assert_eq!(batches.outside(500), 150);
        batches.end(batch(2), 180, 300);
        assert_eq!(batches.outside(250), 150);
        assert_eq!(batches.passed(150), batch(0));
        assert_eq!(batches.outside(300), 300);
        assert_eq!(batches.passed(300), batch(2));
        assert_eq!(batches.outside(160), 160);
    }
}

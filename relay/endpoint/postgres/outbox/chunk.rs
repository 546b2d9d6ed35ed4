//! What gathers of a tick until it is handed over: whole transactions together, a big one in parts.
//!
//! Pure.

use std::mem;

use tidegate_sync::model::{Change, PairId, Position};

use super::super::queue::{Batch, limits};
use crate::endpoint::Captured;

#[derive(Default)]
pub(super) struct Chunk {
    changes: Vec<Change>,
    reconcile: Vec<(PairId, String)>,
    bytes: usize,
    /// How much of it is of transactions that have ended, and where the last one did.
    ended: Option<Ended>,
}

struct Ended {
    changes: usize,
    bytes: usize,
    position: Position,
}

impl Chunk {
    pub(super) fn add(&mut self, change: Change, bytes: usize) {
        self.changes.push(change);
        self.bytes += bytes;
    }

    pub(super) fn reconcile(&mut self, pair: PairId, why: &str) {
        self.reconcile.push((pair, why.to_owned()));
    }

    /// A transaction has ended.
    pub(super) fn end(&mut self, position: Position) {
        self.ended = Some(Ended {
            changes: self.changes.len(),
            bytes: self.bytes,
            position,
        });
    }

    /// What is to be handed over now: transactions that have ended, or if there are none, a part of
    /// the one that has not.
    pub(super) fn take_full(&mut self) -> Option<Batch> {
        let is_full =
            self.changes.len() >= limits::BATCH_CHANGES || self.bytes >= limits::BATCH_BYTES;
        is_full.then(|| self.take())
    }

    /// The rest, as somebody waits for it.
    pub(super) fn take_rest(mut self, position: Position) -> Batch {
        self.end(position);
        let mut batch = self.take();
        batch.is_awaited = true;
        batch
    }

    fn take(&mut self) -> Batch {
        let reconcile = mem::take(&mut self.reconcile);
        let (changes, bytes, end) = match self.ended.take() {
            Some(ended) => {
                let open = self.changes.split_off(ended.changes);
                let changes = mem::replace(&mut self.changes, open);
                (changes, ended.bytes, Some(ended.position))
            }
            None => (mem::take(&mut self.changes), self.bytes, None),
        };
        self.bytes -= bytes;
        Batch {
            captured: Captured {
                changes,
                end,
                reconcile,
                // Who fills the outbox looks at the columns itself.
                described: false,
            },
            bytes,
            is_awaited: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sync::model::{BatchId, ChangeKind, Key};

    use super::*;

    fn add(chunk: &mut Chunk, count: usize) {
        for _ in 0..count {
            let change = Change {
                pair: PairId(0),
                key: Key::single("1"),
                old_key: None,
                kind: ChangeKind::Gone,
                time: None,
                offset: 0,
                at: 0,
                passed: BatchId::NONE,
                ours: false,
            };
            chunk.add(change, 1);
        }
    }

    fn at(offset: u64) -> Position {
        Position {
            offset,
            ..Position::default()
        }
    }

    fn sizes(batch: &Batch) -> (usize, usize, Option<u64>) {
        let end = batch.captured.end.as_ref();
        let changes = batch.captured.changes.len();
        (changes, batch.bytes, end.map(|end| end.offset))
    }

    #[test]
    fn a_part_of_a_transaction_is_never_given_with_those_before_it() {
        let mut chunk = Chunk::default();
        add(&mut chunk, 3);
        chunk.end(at(3));
        assert!(chunk.take_full().is_none());
        add(&mut chunk, limits::BATCH_CHANGES);
        let first = chunk.take_full().unwrap();
        assert_eq!(sizes(&first), (3, 3, Some(3)));
        let part = chunk.take_full().unwrap();
        let full = limits::BATCH_CHANGES;
        assert_eq!(sizes(&part), (full, full, None));
        add(&mut chunk, 2);
        let rest = chunk.take_rest(at(9));
        assert_eq!(sizes(&rest), (2, 2, Some(9)));
        assert!(rest.is_awaited);
    }

    /// Its last rows may be a mark, which is no change.
    #[test]
    fn a_transaction_that_ends_without_another_change_has_ended_before_the_next_begins() {
        let mut chunk = Chunk::default();
        add(&mut chunk, limits::BATCH_CHANGES);
        assert_eq!(sizes(&chunk.take_full().unwrap()).2, None);
        chunk.end(at(7));
        add(&mut chunk, limits::BATCH_CHANGES);
        assert_eq!(sizes(&chunk.take_full().unwrap()), (0, 0, Some(7)));
    }
}

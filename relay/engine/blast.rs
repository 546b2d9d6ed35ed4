//! Blast radius: what would empty a good part of a table at once waits for a person's approval.

use std::collections::HashMap;
use std::time::Instant;

use tidegate_sync::model::{PairId, Side};
use tidegate_sync::session::Round;

use super::limits::DELETES_WINDOW;
use super::mapping::Mapping;
use super::syncfile::Unasked;

/// Deletions of a live sync within a while.
#[derive(Default)]
pub(super) struct Blast {
    begun: Option<Instant>,
    counts: HashMap<(PairId, Side), u64>,
    /// A person approved what is under way.
    approved: bool,
}

impl Blast {
    /// A person approved the deletions that are under way; it holds until they are through.
    pub(super) fn approve(&mut self) {
        self.approved = true;
    }

    /// Nothing is under way.
    pub(super) fn note_quiet(&mut self) {
        self.approved = false;
    }

    /// Counts a round's deletions; true when there are enough for a look at the tables' sizes.
    pub(super) fn count(&mut self, round: &Round, mapping: &Mapping, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now - begun > DELETES_WINDOW) {
            self.begun = Some(now);
            self.counts.clear();
        }
        for deleted in round.deletes() {
            *self.counts.entry(deleted).or_default() += 1;
        }
        let is_many = |((pair, _), count): (&(PairId, Side), &u64)| {
            *count > u64::from(unasked(mapping, *pair).records)
        };
        !self.approved && self.counts.iter().any(is_many)
    }

    /// Why the round must wait, if so. `linked` are the records of each pair before it.
    pub(super) fn refusal(&self, mapping: &Mapping, linked: &[u64]) -> Option<String> {
        let mut counts = self.counts.iter();
        let ((pair, side), count) = counts.find(|((pair, _), count)| {
            let records = linked.get(pair.0 as usize).copied().unwrap_or(0) + **count;
            is_too_much(**count, records, unasked(mapping, *pair))
        })?;
        let table = &mapping.pairs[pair.0 as usize].tables[*side];
        Some(refusal(*count, table, *side))
    }
}

fn unasked(mapping: &Mapping, pair: PairId) -> Unasked {
    let pair = mapping.pairs.get(pair.0 as usize);
    pair.map(|pair| pair.unasked).unwrap_or_default()
}

/// True for a part of a table that is not deleted unasked.
pub(super) fn is_too_much(deletes: u64, records: u64, unasked: Unasked) -> bool {
    let share = u128::from(records) * u128::from(unasked.percent) / 100;
    deletes > u64::from(unasked.records) && u128::from(deletes) > share
}

/// What a person is told and has to do.
pub(super) fn refusal(deletes: u64, table: &str, side: Side) -> String {
    format!(
        "{deletes} or more records of {table} ({}) would be deleted: check that the other side is as \
         it should be, then `sync approve`",
        side.name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_must_be_passed_before_a_person_is_asked() {
        let unasked = Unasked::default();
        assert!(is_too_much(51, 1000, unasked));
        assert!(!is_too_much(50, 60, unasked), "few records");
        assert!(!is_too_much(51, 2000, unasked), "a small part");
        let never = Unasked {
            records: 0,
            percent: 100,
        };
        assert!(!is_too_much(1000, 1000, never));
        let each = Unasked {
            records: 0,
            percent: 0,
        };
        assert!(is_too_much(1, u64::MAX, each));
    }
}

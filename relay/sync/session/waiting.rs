//! What each open case waits for, indexed, so that no round looks at all of them.

use std::collections::{BTreeSet, HashMap};

use crate::model::{BySide, Side};

/// What one case waits for and relies on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wait {
    /// A record must be read, or another case closed.
    pub is_held_up: bool,
    pub wants_read: bool,
    /// Per side the highest offset that its history must reach.
    pub fences: BySide<Option<u64>>,
    /// Per side the lowest offset of its news, 0 for none.
    pub relies: BySide<u64>,
}

/// The cases by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waits: HashMap<u64, Wait>,
    reads: BTreeSet<u64>,
    /// Cases that nothing holds up and whose fences the histories have reached.
    due: BTreeSet<u64>,
    fenced: BySide<BTreeSet<(u64, u64)>>,
    relied: BySide<BTreeSet<(u64, u64)>>,
    /// How far the histories have come.
    reached: BySide<u64>,
}

impl Waiting {
    /// Notes what a case waits for now; `None` when it is closed.
    pub fn note(&mut self, case: u64, wait: Option<Wait>) {
        if self.waits.get(&case) == wait.as_ref() {
            return;
        }
        if let Some(before) = self.waits.remove(&case) {
            self.reads.remove(&case);
            self.due.remove(&case);
            for side in Side::BOTH {
                self.relied[side].remove(&(before.relies[side], case));
                if let Some(fence) = before.fences[side] {
                    self.fenced[side].remove(&(fence, case));
                }
            }
        }
        let Some(wait) = wait else { return };
        self.waits.insert(case, wait);
        if wait.wants_read {
            self.reads.insert(case);
        }
        for side in Side::BOTH {
            if wait.relies[side] != 0 {
                self.relied[side].insert((wait.relies[side], case));
            }
            if let Some(fence) = wait.fences[side] {
                self.fenced[side].insert((fence, case));
            }
        }
        self.note_due(case);
    }

    fn note_due(&mut self, case: u64) {
        let Some(wait) = self.waits.get(&case) else {
            return;
        };
        let is_reached = |side: &Side| {
            let fence = wait.fences[*side];
            fence.is_none_or(|fence| fence <= self.reached[*side])
        };
        if !wait.is_held_up && Side::BOTH.iter().all(is_reached) {
            self.due.insert(case);
        }
    }

    /// `side`'s history has come to `offset`.
    pub fn reach(&mut self, side: Side, offset: u64) {
        let before = self.reached[side];
        if offset <= before {
            return;
        }
        self.reached[side] = offset;
        let passed = self.fenced[side].range((before + 1, 0)..=(offset, u64::MAX));
        let passed: Vec<u64> = passed.map(|(_, case)| *case).collect();
        for case in passed {
            self.note_due(case);
        }
    }

    pub fn due(&self) -> impl Iterator<Item = u64> {
        self.due.iter().copied()
    }

    pub fn reads(&self) -> impl Iterator<Item = u64> {
        self.reads.iter().copied()
    }

    pub fn lowest_relied(&self, side: Side) -> Option<u64> {
        self.relied[side].first().map(|(offset, _)| *offset)
    }

    pub fn highest_fence(&self, side: Side) -> Option<u64> {
        self.fenced[side].last().map(|(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_due_once_both_histories_have_reached_its_fences() {
        let mut waiting = Waiting::default();
        let wait = Wait {
            fences: BySide::new(Some(10), Some(20)),
            relies: BySide::new(5, 0),
            ..Wait::default()
        };
        waiting.note(7, Some(wait));
        waiting.reach(Side::Left, 10);
        assert_eq!(waiting.due().count(), 0);
        waiting.reach(Side::Right, 25);
        assert_eq!(waiting.due().collect::<Vec<_>>(), [7]);
        assert_eq!(waiting.lowest_relied(Side::Left), Some(5));
        assert_eq!(waiting.highest_fence(Side::Right), Some(20));
        waiting.note(7, None);
        assert_eq!(waiting.due().count(), 0);
        assert_eq!(waiting.lowest_relied(Side::Left), None);
        assert_eq!(waiting.highest_fence(Side::Right), None);
    }

    #[test]
    fn a_case_that_is_held_up_is_not_due() {
        let mut waiting = Waiting::default();
        let wait = Wait {
            is_held_up: true,
            wants_read: true,
            ..Wait::default()
        };
        waiting.note(1, Some(wait));
        assert_eq!(waiting.due().count(), 0);
        assert_eq!(waiting.reads().collect::<Vec<_>>(), [1]);
        waiting.note(1, Some(Wait::default()));
        assert_eq!(waiting.due().collect::<Vec<_>>(), [1]);
        assert_eq!(waiting.reads().count(), 0);
    }
}

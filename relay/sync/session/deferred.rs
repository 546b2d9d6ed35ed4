//! Cases that wait: their target changed under the plan, or a record must be read first.
//!
//! A value read now may be newer than what the change stream has delivered, so it must not be
//! planned at once: older changes still on their way would look like edits. Each read therefore
//! comes with a *fence*, a position at or after everything that the read could see. A case is
//! released when its side's stream has passed the fence; whatever the stream brought in the
//! meantime wins over the read.

use std::collections::HashMap;

use crate::inbox::{fill, fold};
use crate::model::{BySide, Change, Key, PairId, Row, Side};
use crate::plan::{Case, Seen};

/// What a read found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    Row(Row),
    Absent,
}

/// One waiting case.
#[derive(Clone, Debug)]
pub(super) struct Deferred {
    pub case: Case,
    held: BySide<Option<(Held, u64)>>,
    fresh: BySide<Seen>,
    /// Sides that must be read before the case can be planned.
    pub to_read: BySide<bool>,
    /// The lowest offset that the case relies on, per side: not to be acknowledged. 0 for none.
    pub relies_on: BySide<u64>,
}

impl Deferred {
    pub fn new(case: Case) -> Deferred {
        let relies_on = BySide::from_fn(|side| case.seen[side].offset());
        Deferred {
            case,
            held: BySide::default(),
            fresh: BySide::default(),
            to_read: BySide::default(),
            relies_on,
        }
    }

    pub fn hold(&mut self, side: Side, held: Held, fence: u64) {
        self.held[side] = Some((held, fence));
        self.to_read[side] = false;
    }

    /// Takes in a change that the stream brought while the case waits.
    pub fn absorb(&mut self, side: Side, change: Change) {
        if self.relies_on[side] == 0 {
            self.relies_on[side] = change.offset;
        }
        self.case.keys[side] = Some(change.key.clone());
        fold(&mut self.fresh[side], change);
    }

    fn is_released(&self, consumed: &BySide<u64>) -> bool {
        Side::BOTH.iter().all(|&side| {
            !self.to_read[side]
                && self.held[side]
                    .as_ref()
                    .is_none_or(|(_, fence)| consumed[side] >= *fence)
        })
    }

    /// The case with the newest that is known of both sides.
    fn release(mut self) -> Case {
        for side in Side::BOTH {
            let fresh = std::mem::take(&mut self.fresh[side]);
            let held = self.held[side].take();
            let before = std::mem::take(&mut self.case.seen[side]);
            self.case.seen[side] = newest(before, held, fresh);
        }
        self.case
    }
}

fn newest(before: Seen, held: Option<(Held, u64)>, fresh: Seen) -> Seen {
    let fence = held.as_ref().map_or(0, |(_, fence)| *fence);
    match (fresh, held) {
        (
            Seen::Present {
                mut row,
                time,
                offset,
            },
            held,
        ) => {
            match (&held, &before) {
                (Some((Held::Row(older), _)), _) | (None, Seen::Present { row: older, .. }) => {
                    fill(&mut row, older);
                }
                _ => {}
            }
            Seen::Present {
                row,
                time,
                offset: offset.max(fence),
            }
        }
        (Seen::Gone { time, offset }, _) => Seen::Gone {
            time,
            offset: offset.max(fence),
        },
        (Seen::Unseen, Some((Held::Row(row), fence))) => Seen::Present {
            row,
            time: before.time(),
            offset: fence.max(before.offset()),
        },
        (Seen::Unseen, Some((Held::Absent, fence))) => Seen::Gone {
            time: before.time(),
            offset: fence.max(before.offset()),
        },
        (Seen::Unseen, None) => before,
    }
}

/// All waiting cases of a session, found by either key.
#[derive(Default)]
pub(super) struct Waiting {
    next: u64,
    cases: std::collections::BTreeMap<u64, Deferred>,
    by_key: HashMap<(Side, PairId, Key), u64>,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Adds a case, unless one of its records waits already (then the first one goes on).
    pub fn add(&mut self, deferred: Deferred) {
        let keys = keys_of(&deferred.case);
        if keys.iter().any(|key| self.by_key.contains_key(key)) {
            return;
        }
        for key in keys {
            self.by_key.insert(key, self.next);
        }
        self.cases.insert(self.next, deferred);
        self.next += 1;
    }

    pub fn contains(&self, side: Side, pair: PairId, key: &Key) -> bool {
        self.by_key.contains_key(&(side, pair, key.clone()))
    }

    /// The waiting case of the record, which the change names by its former or its new key.
    pub fn absorb(&mut self, side: Side, change: Change) {
        let old = change.old_key.clone().unwrap_or_else(|| change.key.clone());
        let Some(&number) = self
            .by_key
            .get(&(side, change.pair, old))
            .or_else(|| self.by_key.get(&(side, change.pair, change.key.clone())))
        else {
            return;
        };
        self.by_key
            .insert((side, change.pair, change.key.clone()), number);
        if let Some(deferred) = self.cases.get_mut(&number) {
            deferred.absorb(side, change);
        }
    }

    /// Every case whose fences both streams have passed, in the order in which they began to wait.
    pub fn release(&mut self, consumed: &BySide<u64>) -> Vec<Case> {
        let ready: Vec<u64> = self
            .cases
            .iter()
            .filter(|(_, deferred)| deferred.is_released(consumed))
            .map(|(&number, _)| number)
            .collect();
        if !ready.is_empty() {
            let ready: std::collections::HashSet<u64> = ready.iter().copied().collect();
            self.by_key.retain(|_, number| !ready.contains(number));
        }
        ready
            .iter()
            .filter_map(|number| self.cases.remove(number))
            .map(Deferred::release)
            .collect()
    }

    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        self.cases.values().map(|deferred| &deferred.case)
    }

    /// The cases that [`Waiting::release`] would give, as far as is known yet.
    pub fn released_cases(&self, consumed: &BySide<u64>) -> impl Iterator<Item = &Case> {
        let consumed = *consumed;
        self.cases
            .values()
            .filter(move |deferred| deferred.is_released(&consumed))
            .map(|deferred| &deferred.case)
    }

    pub fn has_released(&self, consumed: &BySide<u64>) -> bool {
        self.cases
            .values()
            .any(|deferred| deferred.is_released(consumed))
    }

    /// Records to be read, at most `limit`, all of one side and one table pair.
    pub fn next_read(&self, limit: usize) -> Option<(Side, PairId, Vec<Key>)> {
        let mut found: Option<(Side, PairId, Vec<Key>)> = None;
        for deferred in self.cases.values() {
            for side in Side::BOTH {
                let (true, Some(key)) = (deferred.to_read[side], &deferred.case.keys[side]) else {
                    continue;
                };
                let pair = deferred.case.pair;
                match &mut found {
                    None => found = Some((side, pair, vec![key.clone()])),
                    Some((s, p, keys)) if *s == side && *p == pair && keys.len() < limit => {
                        keys.push(key.clone());
                    }
                    Some(_) => {}
                }
            }
        }
        found
    }

    pub fn hold(&mut self, side: Side, pair: PairId, key: &Key, held: Held, fence: u64) {
        if let Some(number) = self.by_key.get(&(side, pair, key.clone()))
            && let Some(deferred) = self.cases.get_mut(number)
        {
            deferred.hold(side, held, fence);
        }
    }

    /// The lowest offset of `side` that a waiting case relies on.
    pub fn relies_on(&self, side: Side) -> Option<u64> {
        self.cases
            .values()
            .map(|deferred| deferred.relies_on[side])
            .filter(|&at| at != 0)
            .min()
    }

    /// The highest fence of `side` that a case waits for.
    pub fn highest_fence(&self, side: Side) -> Option<u64> {
        self.cases
            .values()
            .filter_map(|deferred| deferred.held[side].as_ref().map(|(_, fence)| *fence))
            .max()
    }
}

fn keys_of(case: &Case) -> Vec<(Side, PairId, Key)> {
    Side::BOTH
        .iter()
        .filter_map(|&side| case.keys[side].clone().map(|key| (side, case.pair, key)))
        .collect()
}

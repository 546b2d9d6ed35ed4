//! Cases that wait: their target changed under the plan, or a record must be read first.
//!
//! A value read now may be newer than what the change stream has delivered, so it must not be
//! planned at once: older changes still on their way would look like edits. Each read therefore
//! comes with a *fence*, a position at or after everything that the read could see. A case is
//! released when its side's stream has passed the fence; whatever the stream brought in the
//! meantime wins over the read.

use std::collections::HashMap;

use crate::inbox::{fill, fold};
use crate::model::{BatchId, BySide, Change, Key, Link, PairId, Row, Side};
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
    /// The last batch sent before each held record was read.
    observed: BySide<BatchId>,
    fresh: BySide<Seen>,
    fresh_passed: BySide<BatchId>,
    /// Sides whose history told of the record's deletion.
    told_gone: BySide<bool>,
    /// Sides that must be read before the case can be planned.
    pub to_read: BySide<bool>,
    /// Another case holds one of its keys: what is known here may be old by the time it is free.
    blocked: bool,
}

impl Deferred {
    pub fn new(case: Case) -> Deferred {
        Deferred {
            case,
            held: BySide::default(),
            observed: BySide::default(),
            fresh: BySide::default(),
            fresh_passed: BySide::default(),
            told_gone: BySide::default(),
            to_read: BySide::default(),
            blocked: false,
        }
    }

    /// A case that can't be planned before `side`'s record was read.
    pub fn to_read(case: Case, side: Side) -> Deferred {
        let mut deferred = Deferred::new(case);
        deferred.to_read[side] = true;
        deferred
    }

    pub fn hold(&mut self, side: Side, held: Held, fence: u64, observed: BatchId) {
        self.held[side] = Some((held, fence));
        self.observed[side] = observed;
        self.to_read[side] = false;
    }

    /// Takes in a change that the stream brought while the case waits.
    pub fn absorb(&mut self, side: Side, change: Change) {
        self.case.rely_on(side, change.offset);
        self.case.keys[side] = Some(change.key.clone());
        self.fresh_passed[side] = change.passed;
        fold(&mut self.fresh[side], change);
    }

    fn is_released(&self, consumed: &BySide<u64>) -> bool {
        !self.blocked
            && Side::BOTH.iter().all(|&side| {
                !self.to_read[side]
                    && self.held[side]
                        .as_ref()
                        .is_none_or(|(_, fence)| consumed[side] >= *fence)
            })
    }

    /// True when both cases may be about the same pair of records.
    fn agrees_with(&self, other: &Deferred) -> bool {
        Side::BOTH.iter().all(
            |&side| match (&self.case.keys[side], &other.case.keys[side]) {
                (Some(own), Some(others)) => own == others,
                _ => true,
            },
        )
    }

    /// Takes over another case of the same records. Which of the two knows the newer state is not
    /// said: both records are read again.
    fn merge(&mut self, other: Deferred) {
        for (side, key) in Side::BOTH.into_iter().zip(keys_by_side(other.case.keys)) {
            let keys = &mut self.case.keys[side];
            *keys = keys.take().or(key);
            if other.case.since[side] != 0 {
                self.case.rely_on(side, other.case.since[side]);
            }
        }
        if self.case.link.is_none() {
            self.case.link = other.case.link;
        }
        self.read_again();
    }

    fn note_gone(&mut self, side: Side) {
        let is_told = self.case.seen[side].is_gone() && !self.case.vanished[side];
        self.told_gone[side] |= is_told || self.fresh[side].is_gone();
    }

    /// Drops what is known: every record of the case is read.
    pub fn read_again(&mut self) {
        for side in Side::BOTH {
            self.note_gone(side);
        }
        self.case.seen = BySide::default();
        self.held = BySide::default();
        self.to_read = BySide::from_fn(|side| self.case.keys[side].is_some());
    }

    /// The case with the newest that is known of both sides.
    fn release(mut self) -> Case {
        for side in Side::BOTH {
            self.note_gone(side);
            let is_absent = matches!(self.held[side], Some((Held::Absent, _)));
            let fresh = std::mem::take(&mut self.fresh[side]);
            self.case.vanished[side] = is_absent && fresh == Seen::Unseen && !self.told_gone[side];
            let held = self.held[side].take();
            let before = std::mem::take(&mut self.case.seen[side]);
            if fresh != Seen::Unseen {
                self.case.passed[side] = self.fresh_passed[side];
            } else if held.is_some() {
                self.case.passed[side] = self.observed[side];
            }
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

    /// Adds a case. One whose records wait already is merged with it; one that shares a record
    /// with another pair of records waits until that one is through.
    pub fn add(&mut self, mut deferred: Deferred) {
        let keys = keys_of(&deferred.case);
        let mut others = keys.iter().filter_map(|key| self.by_key.get(key).copied());
        let first = others.next();
        let is_one = others.all(|other| Some(other) == first);
        if let Some(number) = first
            && is_one
            && let Some(waiting) = self.cases.get_mut(&number)
            && waiting.agrees_with(&deferred)
        {
            waiting.merge(deferred);
            self.claim(keys, number);
            return;
        }
        deferred.blocked = first.is_some();
        if !deferred.blocked {
            self.claim(keys, self.next);
        }
        self.cases.insert(self.next, deferred);
        self.next += 1;
    }

    fn claim(&mut self, keys: Vec<(Side, PairId, Key)>, number: u64) {
        for key in keys {
            self.by_key.insert(key, number);
        }
    }

    /// Lets blocked cases go on whose records nobody holds any more.
    fn unblock(&mut self) {
        let blocked = self.cases.iter().filter(|(_, deferred)| deferred.blocked);
        let numbers: Vec<u64> = blocked.map(|(&number, _)| number).collect();
        for number in numbers {
            let Some(deferred) = self.cases.get_mut(&number) else {
                continue;
            };
            let keys = keys_of(&deferred.case);
            if keys.iter().any(|key| self.by_key.contains_key(key)) {
                continue;
            }
            deferred.blocked = false;
            deferred.read_again();
            self.claim(keys, number);
        }
    }

    pub fn contains(&self, side: Side, pair: PairId, key: &Key) -> bool {
        self.by_key.contains_key(&(side, pair, key.clone()))
    }

    /// The case that waits for the record, or for the one that it is linked to.
    pub fn home(&self, side: Side, change: &Change, link: Option<&Link>) -> Option<u64> {
        let of = |side: Side, key: &Key| self.by_key.get(&(side, change.pair, key.clone()));
        let former = change.old_key.as_ref().unwrap_or(&change.key);
        let is_moved = change.old_key.is_some() && link.is_some();
        let own = of(side, former).or_else(|| of(side, &change.key).filter(|_| !is_moved));
        own.copied().or_else(|| {
            let link = link?;
            let number = of(side.other(), link.key(side.other())?)?;
            // A case that came by a match key holds another record on this side.
            let holds = &self.cases.get(number)?.case.keys[side];
            let is_same = holds.is_none() || holds.as_ref() == link.key(side);
            is_same.then_some(*number)
        })
    }

    /// Another record came to have this key: the case that waits for the key reads it again.
    pub fn key_moved(&mut self, side: Side, pair: PairId, key: &Key) {
        if let Some(number) = self.by_key.get(&(side, pair, key.clone()))
            && let Some(deferred) = self.cases.get_mut(number)
        {
            deferred.read_again();
        }
    }

    /// Gives a change to the case that waits for it.
    pub fn absorb(&mut self, number: u64, side: Side, change: Change) {
        if let Some(former) = &change.old_key {
            self.by_key.remove(&(side, change.pair, former.clone()));
        }
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
        let released = ready
            .iter()
            .filter_map(|number| self.cases.remove(number))
            .map(Deferred::release)
            .collect();
        self.unblock();
        released
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
                let wanted = deferred.to_read[side] && !deferred.blocked;
                let (true, Some(key)) = (wanted, &deferred.case.keys[side]) else {
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

    pub fn hold(
        &mut self,
        (side, pair, key): (Side, PairId, &Key),
        (held, fence): (Held, u64),
        observed: BatchId,
    ) {
        if let Some(number) = self.by_key.get(&(side, pair, key.clone()))
            && let Some(deferred) = self.cases.get_mut(number)
        {
            deferred.hold(side, held, fence, observed);
        }
    }

    /// The lowest offset of `side` that a waiting case relies on.
    pub fn relies_on(&self, side: Side) -> Option<u64> {
        self.cases
            .values()
            .map(|deferred| deferred.case.since[side])
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

fn keys_by_side(keys: BySide<Option<Key>>) -> [Option<Key>; 2] {
    [keys.left, keys.right]
}

fn keys_of(case: &Case) -> Vec<(Side, PairId, Key)> {
    Side::BOTH
        .iter()
        .filter_map(|&side| case.keys[side].clone().map(|key| (side, case.pair, key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cell, ChangeKind};
    use crate::value::Value;

    const PAIR: PairId = PairId(0);
    const BATCH: BatchId = BatchId(1 << 32 | 7);

    fn row(text: &str) -> Row {
        vec![Cell::Value(Value::Text(text.into()))]
    }

    fn case(left: Option<&str>, right: Option<&str>) -> Case {
        Case {
            pair: PAIR,
            link: None,
            keys: BySide::new(left.map(Key::single), right.map(Key::single)),
            seen: BySide::default(),
            since: BySide::default(),
            vanished: BySide::default(),
            passed: BySide::default(),
            existing: None,
        }
    }

    fn change(key: &str, kind: ChangeKind, offset: u64) -> Change {
        Change {
            pair: PAIR,
            key: Key::single(key),
            old_key: None,
            kind,
            time: None,
            offset,
            passed: BatchId::NONE,
        }
    }

    fn present(text: &str) -> ChangeKind {
        ChangeKind::Present {
            row: row(text),
            inserted: false,
        }
    }

    fn at(left: u64, right: u64) -> BySide<u64> {
        BySide::new(left, right)
    }

    #[test]
    fn a_read_waits_for_its_fence_and_a_change_wins_over_it() {
        let mut waiting = Waiting::default();
        let mut deferred = Deferred::new(case(Some("a"), None));
        deferred.hold(Side::Left, Held::Row(row("read")), 50, BATCH);
        waiting.add(deferred);
        assert!(!waiting.has_released(&at(49, 0)));
        waiting.absorb(0, Side::Left, change("a", present("newer"), 40));
        let released = waiting.release(&at(50, 0));
        assert_eq!(released[0].seen.left.row(), Some(&row("newer")));
        assert_eq!(released[0].since, at(40, 0));
    }

    #[test]
    fn a_record_that_is_not_there_is_gone_only_if_its_history_says_so() {
        let absent = |told: bool| {
            let mut waiting = Waiting::default();
            waiting.add(Deferred::new(case(Some("a"), None)));
            if told {
                waiting.absorb(0, Side::Left, change("a", ChangeKind::Gone, 40));
            }
            waiting.hold(
                (Side::Left, PAIR, &Key::single("a")),
                (Held::Absent, 50),
                BATCH,
            );
            waiting.release(&at(50, 0)).remove(0).vanished.left
        };
        assert!(absent(false));
        assert!(!absent(true));
    }

    #[test]
    fn cases_of_the_same_records_become_one_that_reads_both() {
        let mut waiting = Waiting::default();
        waiting.add(Deferred::new(case(Some("a"), None)));
        waiting.add(Deferred::new(case(Some("a"), Some("b"))));
        assert_eq!(waiting.len(), 1);
        assert_eq!(
            waiting.next_read(9),
            Some((Side::Left, PAIR, vec![Key::single("a")]))
        );
        assert!(waiting.contains(Side::Right, PAIR, &Key::single("b")));
    }

    #[test]
    fn a_case_about_another_pair_waits_until_the_shared_record_is_free() {
        let mut waiting = Waiting::default();
        waiting.add(Deferred::new(case(Some("a"), Some("b"))));
        waiting.add(Deferred::new(case(Some("c"), Some("b"))));
        assert_eq!(waiting.release(&at(0, 0)).len(), 1);
        assert_eq!(
            waiting.next_read(9),
            Some((Side::Left, PAIR, vec![Key::single("c")]))
        );
    }

    #[test]
    fn a_waiting_case_holds_the_position_below_what_it_relies_on() {
        let mut waiting = Waiting::default();
        waiting.add(Deferred::new(case(Some("a"), None)));
        assert_eq!(waiting.relies_on(Side::Left), None);
        waiting.absorb(0, Side::Left, change("a", present("x"), 30));
        waiting.absorb(0, Side::Left, change("a", present("y"), 40));
        assert_eq!(waiting.relies_on(Side::Left), Some(30));
    }
}

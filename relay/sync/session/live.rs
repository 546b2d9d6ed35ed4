//! The live phase: rounds of changes from both sides' streams.

use std::collections::{HashMap, HashSet};

use super::deferred::Held;
use super::draft::{self, Drafts};
use super::{Command, Config, Session, Settlement, State};
use crate::baseline::Fingerprint;
use crate::model::{BySide, Key, Lookup, PairId, Position, Row, Side, StepKind};
use crate::plan::Case;

/// Records read at once for cases that wait.
const READ_MAX: usize = 500;

impl Session {
    /// Starts what there is to do, if the session is idle: reads first, then a round.
    pub(super) fn next_live(&mut self) {
        let State::Idle = self.state else { return };
        if let Some((side, pair, keys)) = self.waiting.next_read(READ_MAX) {
            self.state = State::Reading {
                side,
                pair,
                keys: keys.clone(),
            };
            self.commands.push_back(Command::Read { side, pair, keys });
            return;
        }
        self.take_units();
        let consumed = BySide::from_fn(|side| self.consumed[side].offset);
        let has_changes = Side::BOTH.iter().any(|&side| !self.taken[side].is_empty());
        if has_changes || self.waiting.has_released(&consumed) {
            self.load();
            return;
        }
        // Positions alone: settle them when they have moved, so that idle sides can advance.
        self.finish_settlement(Settlement::default());
    }

    fn take_units(&mut self) {
        for side in Side::BOTH {
            let mut count = 0;
            while count < self.config.round_max {
                let Some(unit) = self.inbox[side].pop_front() else {
                    break;
                };
                count += unit.changes.len();
                self.taken[side].extend(unit.changes);
                self.consumed[side] = unit.position.clone();
                self.unsettled[side].push_back(unit.position);
            }
        }
    }

    fn load(&mut self) {
        let mut keys: Vec<(Side, PairId, Key)> = Vec::new();
        let mut known: HashSet<(Side, PairId, Key)> = HashSet::new();
        let mut want = |side: Side, pair: PairId, key: &Key| {
            let entry = (side, pair, key.clone());
            if known.insert(entry.clone()) {
                keys.push(entry);
            }
        };
        for side in Side::BOTH {
            for change in &self.taken[side] {
                want(side, change.pair, &change.key);
                if let Some(old) = &change.old_key {
                    want(side, change.pair, old);
                }
            }
        }
        let consumed = BySide::from_fn(|side| self.consumed[side].offset);
        for case in self.waiting.released_cases(&consumed) {
            for side in Side::BOTH {
                if let Some(key) = &case.keys[side] {
                    want(side, case.pair, key);
                }
            }
        }
        self.state = State::Loading { keys: keys.clone() };
        self.commands.push_back(Command::Load { keys });
    }

    pub(super) fn handle_loaded(&mut self, lookups: Vec<Lookup>) {
        let State::Loading { keys } = &mut self.state else {
            return;
        };
        let lookups = Session::lookups(std::mem::take(keys), lookups);
        let mut drafts = Drafts::new(&lookups);
        let mut taken = std::mem::take(&mut self.taken);
        // Changes of waiting records go to them first: a release must not miss one.
        let (waits, news): (Vec<_>, Vec<_>) = Side::BOTH
            .into_iter()
            .flat_map(|side| {
                std::mem::take(&mut taken[side])
                    .into_iter()
                    .map(move |c| (side, c))
            })
            .partition(|(side, change)| drafts.goes_first(*side, change, &self.waiting));
        for (side, change) in waits {
            drafts.add_change(side, change, &mut self.waiting);
        }
        let consumed = BySide::from_fn(|side| self.consumed[side].offset);
        for case in self.waiting.release(&consumed) {
            drafts.add_released(case, &mut self.waiting);
        }
        for (side, change) in news {
            drafts.add_change(side, change, &mut self.waiting);
        }
        let drafts = drafts.finish(&self.config.policies, &self.config.prints);
        let drafts = draft::set_aside_shared(drafts, &mut self.waiting);
        self.start_round(drafts, Settlement::default(), false);
    }

    pub(super) fn handle_read(&mut self, rows: Vec<Option<Row>>, fence: u64) {
        let State::Reading { side, pair, keys } = &mut self.state else {
            return;
        };
        let (side, pair, keys) = (*side, *pair, std::mem::take(keys));
        for (key, row) in keys.iter().zip(rows) {
            let held = row.map_or(Held::Absent, Held::Row);
            let observed = self.last_batch();
            self.waiting
                .hold((side, pair, key), (held, fence), observed);
        }
        self.go_idle();
    }

    /// Sends a settlement, with the positions that may be acknowledged once it is durable. With
    /// nothing to make durable, goes on at once.
    pub(super) fn finish_settlement(&mut self, mut settlement: Settlement) {
        if self.copying.is_none() {
            for side in Side::BOTH {
                settlement.positions[side] = self.settleable(side);
            }
            self.to_acknowledge = settlement.positions.clone();
        }
        if !settlement.is_empty() {
            self.state = State::Settling;
            self.commands
                .push_back(Command::Settle(Box::new(settlement)));
        } else if self.copying.is_some() {
            self.next_page();
        } else {
            self.go_idle();
        }
    }

    pub(super) fn go_idle(&mut self) {
        self.state = State::Idle;
        let consumed = BySide::from_fn(|side| self.consumed[side].offset);
        let has_work = Side::BOTH.iter().any(|&side| !self.inbox[side].is_empty())
            || self.waiting.next_read(1).is_some()
            || self.waiting.has_released(&consumed);
        if has_work {
            self.next_live();
        }
    }

    /// The newest unit end that no waiting case relies on.
    fn settleable(&mut self, side: Side) -> Option<Position> {
        let bound = self.waiting.relies_on(side).unwrap_or(u64::MAX);
        let mut found = None;
        while let Some(end) = self.unsettled[side].front() {
            if end.offset >= bound {
                break;
            }
            found = self.unsettled[side].pop_front();
        }
        found.filter(|position| *position != self.settled[side])
    }
}

/// Cases whose create takes over the match key of a record that the same round deletes.
pub(super) fn reused_match_keys(
    config: &Config,
    cases: &[Case],
    planned: &[(usize, Side, StepKind, Vec<usize>)],
) -> HashSet<usize> {
    let mut freed: HashMap<(Side, PairId, Vec<Fingerprint>), ()> = HashMap::new();
    for (number, side, kind, _) in planned {
        let case = &cases[*number];
        if let (StepKind::Delete { .. }, Some(link)) = (kind, &case.link) {
            let policy = &config.policies[case.pair.0 as usize];
            let prints = policy
                .match_key
                .iter()
                .map(|&f| link.baseline[*side][f])
                .collect();
            freed.insert((*side, case.pair, prints), ());
        }
    }
    if freed.is_empty() {
        return HashSet::new();
    }
    let mut reused = HashSet::new();
    for (number, side, kind, _) in planned {
        if let StepKind::Create { matching, .. } = kind {
            let prints: Vec<Fingerprint> = matching
                .iter()
                .map(|(_, value)| config.prints.value(value))
                .collect();
            if freed.contains_key(&(*side, cases[*number].pair, prints)) {
                reused.insert(*number);
            }
        }
    }
    reused
}

//! The live phase: rounds of changes from both sides' streams.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::book::{Found, Slot};
use super::open::{Fence, Open};
use super::{Command, Config, Current, Lookups, Planned, Session, Settlement, State};
use crate::baseline::Fingerprint;
use crate::inbox::tenant;
use crate::model::{BatchId, Key, Lookup, PairId, Place, Position, Row, Side, Since, StepKind};

/// Records read at once for cases that wait.
const READ_MAX: usize = 500;

impl Session {
    /// Changes taken in and not planned yet, per side: the driver stops reading a side above a
    /// bound of its own.
    pub fn backlog(&self, side: Side) -> usize {
        self.inbox[side].iter().map(|unit| unit.changes.len()).sum()
    }

    /// The same in bytes, about.
    pub fn backlog_bytes(&self, side: Side) -> usize {
        self.inbox[side].iter().map(|unit| unit.bytes).sum()
    }

    /// [`Session::backlog`] of both sides, by table pair.
    pub fn backlog_by_pair(&self, pairs: usize) -> Vec<u64> {
        let mut counts = vec![0; pairs];
        for side in Side::BOTH {
            for change in self.inbox[side].iter().flat_map(|unit| &unit.changes) {
                counts[change.pair.0 as usize] += 1;
            }
        }
        counts
    }

    pub(super) fn handle_retry(&mut self, side: Side, pair: PairId, keys: Vec<Key>) {
        self.retries
            .extend(keys.into_iter().map(|key| (side, pair, key)));
        self.next_live();
    }

    /// Starts what there is to do, if the session is idle: edits and reads first, then a round.
    pub(super) fn next_live(&mut self) {
        let State::Idle = self.state else { return };
        if self.start_edits() {
            return;
        }
        if let Some((side, pair, keys)) = self.book.next_read(READ_MAX) {
            self.state = State::Reading {
                side,
                pair,
                keys: keys.clone(),
            };
            self.commands.push_back(Command::Read { side, pair, keys });
            return;
        }
        self.take_units();
        let has_changes = Side::BOTH.iter().any(|&side| !self.taken[side].is_empty());
        if has_changes || !self.retries.is_empty() || self.book.has_ready(&self.reach) {
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
                self.reach[side].advance(unit.changes.last(), unit.end.as_ref());
                self.taken[side].extend(unit.changes);
                self.unsettled[side].extend(unit.end);
            }
        }
    }

    fn load(&mut self) {
        let mut keys: Vec<Slot> = Vec::new();
        let mut known: HashSet<Slot> = HashSet::new();
        let mut want = |slot: Slot| {
            if known.insert(slot.clone()) {
                keys.push(slot);
            }
        };
        for side in Side::BOTH {
            for change in &self.taken[side] {
                want((side, change.pair, change.key.clone()));
                if let Some(old) = &change.old_key {
                    want((side, change.pair, old.clone()));
                }
            }
        }
        let retries = std::mem::take(&mut self.retries);
        for slot in retries
            .iter()
            .cloned()
            .chain(self.book.questions(&self.reach))
        {
            want(slot);
        }
        let loaded = keys.clone();
        self.state = State::Loading {
            keys: loaded,
            retries,
        };
        self.commands.push_back(Command::Load { keys });
    }

    pub(super) fn handle_loaded(&mut self, found: Vec<Lookup>) {
        match &mut self.state {
            State::Loading { keys, retries } => {
                let (keys, retries) = (std::mem::take(keys), std::mem::take(retries));
                self.take_in(keys.into_iter().zip(found).collect(), retries);
            }
            State::Asking { keys, lookups } => {
                let mut lookups = std::mem::take(lookups);
                lookups.extend(std::mem::take(keys).into_iter().zip(found));
                self.plan_ready(&lookups);
            }
            _ => {}
        }
    }

    fn take_in(&mut self, lookups: Lookups, retries: Vec<Slot>) {
        let taken = std::mem::take(&mut self.taken);
        for (side, changes) in [(Side::Left, taken.left), (Side::Right, taken.right)] {
            for change in changes {
                self.book.report(side, change, &lookups);
            }
            self.book.now[side] = self.reach[side].moment();
            self.given.pass(side, self.reach[side].moment().batch);
        }
        for slot in retries {
            self.open_retried(slot, &lookups);
        }
        let keys = self.unasked(&lookups);
        if keys.is_empty() {
            self.plan_ready(&lookups);
            return;
        }
        self.state = State::Asking {
            keys: keys.clone(),
            lookups,
        };
        self.commands.push_back(Command::Load { keys });
    }

    fn plan_ready(&mut self, lookups: &Lookups) {
        self.given.learn(lookups);
        self.name_ready(lookups);
        let drafts = self.draft_ready(lookups);
        let mut extra = Settlement::default();
        self.book.move_findings(&mut extra);
        self.start_round(drafts, extra, false);
    }

    /// A record with a finding, or in doubt, is seen whole on both sides.
    fn open_retried(&mut self, slot: Slot, lookups: &Lookups) {
        let is_doubted = self.doubted.remove(&slot);
        let lookup = lookups.get(&slot).unwrap_or(Lookup::nobody());
        let now = Since {
            batch: BatchId(u64::MAX),
            place: Place::end_of(u64::MAX),
        };
        let reached = self.reach[slot.0].moment();
        // Who has the key by a write of ours that its side's history has not told of yet.
        let given = tenant(lookup, slot.0, now).filter(|link| link.since[slot.0] > reached);
        let found = match given {
            Some(link) => self.book.of_link(slot.1, link),
            None => match self.book.find(&slot, lookup, reached) {
                // Its record is gone: another one may have the key, and the finding.
                Found::Open(number) if !self.book.is_alive(number, slot.0) => Found::New,
                found => found,
            },
        };
        let number = match found {
            Found::Known(_) => return,
            Found::Open(number) => number,
            Found::Linked(link) => self.book.open_link(slot.1, *link, lookups),
            Found::New => self.book.open_lone(slot.clone(), reached, lookups),
        };
        let has_finding = lookup.has_finding && !self.book.is_moot(&slot);
        let finding = (slot.0, slot.2);
        if let Some(open) = self.book.case(number) {
            open.want(Side::Left);
            open.want(Side::Right);
            if has_finding && !open.findings.contains(&finding) {
                open.altered.extend(lookup.altered(&finding));
                open.findings.push(finding);
            }
            open.is_doubted |= is_doubted;
        }
    }

    pub(super) fn handle_read(&mut self, rows: Vec<Option<Row>>, fence: u64) {
        let State::Reading { side, pair, keys } = &mut self.state else {
            return;
        };
        let (side, pair, keys) = (*side, *pair, std::mem::take(keys));
        let fence = Fence {
            offset: fence,
            batch: BatchId::NONE,
        };
        let rows: HashMap<Key, Option<Row>> = keys.into_iter().zip(rows).collect();
        self.book.hold(side, pair, &rows, fence);
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

    /// A record that takes over the match key of one deleted in the same round is created in the
    /// next round: creates come before deletes within a batch.
    pub(super) fn hold_back_reused_keys(
        &mut self,
        current: &mut Current,
        planned: &mut Vec<Planned>,
    ) {
        let reused = reused_match_keys(&self.config, &current.cases, planned);
        for &number in &reused {
            self.book.put(current.cases[number].clone());
        }
        planned.retain(|(case, ..)| !reused.contains(case));
        for &number in &reused {
            current.round.cases[number].forget();
        }
    }

    pub(super) fn go_idle(&mut self) {
        self.state = State::Idle;
        let has_work = Side::BOTH.iter().any(|&side| !self.inbox[side].is_empty())
            || !self.retries.is_empty()
            || !self.edits.is_empty()
            || self.book.next_read(1).is_some()
            || self.book.has_ready(&self.reach);
        if has_work {
            self.next_live();
        }
    }

    /// The newest unit end that no waiting case relies on.
    fn settleable(&mut self, side: Side) -> Option<Position> {
        let bound = self.book.relies_on(side).unwrap_or(u64::MAX);
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
fn reused_match_keys(
    config: &Config,
    cases: &[Open],
    planned: &[(usize, Side, StepKind, Vec<usize>)],
) -> BTreeSet<usize> {
    let mut freed: HashMap<(Side, PairId, Vec<Fingerprint>), ()> = HashMap::new();
    for (number, side, kind, _) in planned {
        let case = &cases[*number].case;
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
        return BTreeSet::new();
    }
    let mut reused = BTreeSet::new();
    for (number, side, kind, _) in planned {
        if let StepKind::Create { matching, .. } = kind {
            let prints: Vec<Fingerprint> = matching
                .iter()
                .map(|(_, value)| config.prints.value(value))
                .collect();
            if freed.contains_key(&(*side, cases[*number].case.pair, prints)) {
                reused.insert(*number);
            }
        }
    }
    reused
}

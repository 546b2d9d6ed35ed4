//! The open cases, found by link and by what the sides' histories call their records by now.
//!
//! A side's history is taken in in order, so at every moment a key names one record at most. The
//! store knows the keys as they were when they were settled, and those that our writes gave ahead
//! of the history; the book knows what the history has said since. Whoever got the key last has it.

mod since;

use std::collections::{BTreeMap, HashMap};

use self::since::{has_finding, is_own_move, is_past};

use super::open::{Fence, Former, Open};
use super::reach::Reach;
use super::waiting::Waiting;
use super::{Lookups, Settlement};
use crate::inbox::{former, held_since, is_traced, tenant};
use crate::model::{
    BatchId, BySide, Change, ChangeKind, Finding, FindingCode, Key, Link, LinkId, Lookup, PairId,
    Place, Row, Side, Since,
};
use crate::plan::Case;

pub(super) type Slot = (Side, PairId, Key);

/// Whose a key is, or was last, among the open cases.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    case: u64,
    since: Since,
    /// The record took another key.
    has_left: bool,
}

/// How far a side's history of a record is accounted for: what comes again is a replay of what was
/// settled, or a report from before the commit of a write of ours.
///
/// A write of ours locks and reads the record first, so whatever was committed before it was known
/// to the plan; the side's history shows commits in order, so "before it" is "before its marker".
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    seen: Place,
    written: BatchId,
}

impl Known {
    fn covers(&self, change: &Change) -> bool {
        change.place() <= self.seen || change.passed < self.written
    }
}

/// Whose record a key names.
#[derive(Debug)]
pub(super) enum Found {
    /// What is said of it is accounted for already; by a link whose record it is, or was then.
    Known(Option<Known>),
    Open(u64),
    Linked(Box<Link>),
    /// Nobody's that is linked.
    New,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    next: u64,
    cases: BTreeMap<u64, Open>,
    /// Whose each key was, one after the other.
    tenants: HashMap<Slot, Vec<Tenant>>,
    links: HashMap<(PairId, LinkId), u64>,
    /// Keys of candidates, and the cases that wait for them.
    watched: HashMap<Slot, Vec<u64>>,
    waiting: Waiting,
    /// Cases that may have changed since they were noted there.
    stale: Vec<u64>,
    /// Cases that wait until another one is closed, by that one.
    blocked: HashMap<u64, Vec<u64>>,
    /// Keys that a record passed through before it came back to where its link knows it.
    passing: HashMap<Slot, Known>,
    /// Findings whose records are gone or have another key.
    moot: Vec<Slot>,
    /// The new keys.
    renamed: Vec<Slot>,
    /// How far the sides' histories were taken in.
    pub now: BySide<Since>,
    /// How often a key was taken over from a record that was not known to have given it up.
    pub surprises: u64,
}

impl Book {
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    pub fn len(&self) -> usize {
        self.cases.len()
    }

    pub fn cases(&self) -> impl Iterator<Item = (&u64, &Open)> {
        self.cases.iter()
    }

    pub fn cases_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.stale.extend(self.cases.keys());
        self.cases.values_mut()
    }

    pub fn case(&mut self, number: u64) -> Option<&mut Open> {
        self.stale.push(number);
        self.cases.get_mut(&number)
    }

    /// Opens a case. Keys that name its records only later in a side's history are found through
    /// the link when that time has come, if it has them.
    pub fn put(&mut self, open: Open) -> u64 {
        let number = self.next;
        self.next += 1;
        let pair = open.case.pair;
        for link in open.links() {
            self.links.insert((pair, link), number);
        }
        for Former {
            side, key, since, ..
        } in &open.former
        {
            self.enter((*side, pair, key.clone()), number, *since, true);
        }
        for side in Side::BOTH {
            let since = open.case.since[side];
            let stored = open.link_of(side).and_then(|link| link.key(side));
            if let Some(key) = &open.case.keys[side]
                && (since <= self.now[side] || stored != Some(key))
            {
                self.enter((side, pair, key.clone()), number, since, false);
            }
        }
        if let Some(found) = &open.candidate {
            let slot = (found.side, pair, found.stored.key.clone());
            self.watched.entry(slot).or_default().push(number);
        }
        self.cases.insert(number, open);
        self.stale.push(number);
        number
    }

    fn enter(&mut self, slot: Slot, case: u64, since: Since, has_left: bool) {
        let side = slot.0;
        let tenants = self.tenants.entry(slot).or_default();
        tenants.retain(|tenant| tenant.case != case || tenant.since != since);
        // Of two at the same moment, the one that did not leave has the key.
        let place = match has_left {
            true => tenants.partition_point(|tenant| tenant.since < since),
            false => tenants.partition_point(|tenant| tenant.since <= since),
        };
        let before = tenants.last().copied().filter(|_| place == tenants.len());
        let tenant = Tenant {
            case,
            since,
            has_left,
        };
        tenants.insert(place, tenant);
        // What the history has not come to is not told in order.
        if let Some(before) = before
            && since <= self.now[side]
            && before.case != case
            && !before.has_left
            && self
                .cases
                .get(&before.case)
                .is_some_and(|open| open.has_kept(side, since))
        {
            self.surprises += 1;
        }
    }

    /// Closes a case: it is planned, or another one takes it over.
    pub fn take(&mut self, number: u64) -> Option<Open> {
        let open = self.cases.remove(&number)?;
        self.stale.push(number);
        let pair = open.case.pair;
        self.forget_links(number, &open);
        let now = Side::BOTH
            .into_iter()
            .filter_map(|side| Some((side, open.case.keys[side].clone()?)));
        let before = open.former.iter().map(|f| (f.side, f.key.clone()));
        for (side, key) in now.chain(before) {
            let slot = (side, pair, key);
            if let Some(tenants) = self.tenants.get_mut(&slot) {
                tenants.retain(|tenant| tenant.case != number);
                if tenants.is_empty() {
                    self.tenants.remove(&slot);
                }
            }
        }
        for waiting in self.blocked.remove(&number).into_iter().flatten() {
            if let Some(waiting) = self.case(waiting) {
                waiting.is_blocked = false;
            }
        }
        if let Some(found) = &open.candidate {
            let slot = (found.side, pair, found.stored.key.clone());
            if let Some(cases) = self.watched.get_mut(&slot) {
                cases.retain(|case| *case != number);
                if cases.is_empty() {
                    self.watched.remove(&slot);
                }
            }
        }
        Some(open)
    }

    /// Lets `number` wait until `other` is closed.
    pub fn block(&mut self, number: u64, other: u64) {
        if let Some(open) = self.case(number) {
            open.is_blocked = true;
            self.blocked.entry(other).or_default().push(number);
        }
    }

    pub fn is_alive(&self, number: u64, side: Side) -> bool {
        let open = self.cases.get(&number);
        open.is_some_and(|open| open.is_alive(side))
    }

    pub fn waits_for(&self, number: u64, other: u64) -> bool {
        let waiting = self.blocked.get(&other);
        waiting.is_some_and(|waiting| waiting.contains(&number))
    }

    /// The stored link got its number.
    pub fn number_link(&mut self, case: u64, link: Link) {
        let Some(mut open) = self.cases.remove(&case) else {
            return;
        };
        self.forget_links(case, &open);
        self.links.insert((open.case.pair, link.id), case);
        open.settle_link(link);
        self.cases.insert(case, open);
    }

    fn forget_links(&mut self, number: u64, open: &Open) {
        for link in open.links() {
            let slot = (open.case.pair, link);
            if self.links.get(&slot) == Some(&number) {
                self.links.remove(&slot);
            }
        }
    }

    /// Whose record `side`'s history calls by the key at `moment`; `lookup` is the store's answer.
    pub fn find(&self, slot: &Slot, lookup: &Lookup, moment: Since) -> Found {
        let side = slot.0;
        let own = self.tenants.get(slot).into_iter().flatten();
        let own = own.filter(|own| own.since <= moment);
        let own = own.max_by_key(|own| self.held_since(own, slot, moment));
        let stored = tenant(lookup, side, moment);
        let ended = former(lookup, moment).map(|trace| trace.since);
        let stored_since = stored.map(|link| held_since(link, side, moment));
        let own_since = own.map(|own| self.held_since(own, slot, moment));
        match (own, stored) {
            (Some(own), _) if own_since >= stored_since && own_since >= ended => match own.has_left
            {
                true => Found::New,
                false => Found::Open(own.case),
            },
            (_, Some(link)) if stored_since >= ended => self.of_stored(slot, link),
            _ => Found::New,
        }
    }

    /// From when on, as far as is known at `moment`, the tenant has had the key without a break.
    fn held_since(&self, tenant: &Tenant, (side, _, key): &Slot, moment: Since) -> Since {
        let open = self.cases.get(&tenant.case);
        let link = open.and_then(|open| open.link_of(*side));
        let link = link.filter(|link| !tenant.has_left && link.keys[*side].as_ref() == Some(key));
        link.map_or(tenant.since, |link| {
            held_since(link, *side, moment).max(tenant.since)
        })
    }

    /// A link's record, unless the history has said that it gave the key up.
    fn of_stored(&self, (side, pair, key): &Slot, link: &Link) -> Found {
        let found = self.of_link(*pair, link);
        match &found {
            Found::Open(case) if self.cases[case].case.keys[*side].as_ref() != Some(key) => {
                Found::New
            }
            _ => found,
        }
    }

    pub fn of_link(&self, pair: PairId, link: &Link) -> Found {
        match self.links.get(&(pair, link.id)) {
            Some(&case) => Found::Open(case),
            None => Found::Linked(Box::new(link.clone())),
        }
    }

    /// Whose record a change is about, if it is news.
    fn find_news(&self, slot: &Slot, lookups: &Lookups, change: &Change) -> Found {
        let passing = self.passing.get(slot).copied();
        if let Some(known) = passing.filter(|known| known.covers(change)) {
            return Found::Known(Some(known));
        }
        let lookup = lookups.get(slot).unwrap_or(Lookup::nobody());
        let found = match self.find(slot, lookup, change.moment()) {
            // A case that was opened to look a key up has not got it from the history.
            Found::Open(n) if self.cases[&n].is_unheard(slot.0) && is_traced(lookup, change) => {
                Found::New
            }
            found => found,
        };
        let link = match &found {
            Found::Open(case) => self.cases[case].link_of(slot.0),
            Found::Linked(link) => Some(&**link),
            Found::New if is_traced(lookup, change) => {
                // Keys that the record passes through before it gives this one up for good are
                // known, too.
                let trace = former(lookup, change.moment());
                let passes = trace
                    .filter(|trace| change.place() != trace.seen || change.passed < trace.written);
                return Found::Known(passes.map(|trace| Known {
                    seen: trace.seen,
                    written: trace.written,
                }));
            }
            Found::New if is_past(lookup, slot.0, change) => return Found::Known(None),
            Found::New | Found::Known(_) => None,
        };
        let known = link.map(|link| Known {
            seen: link.seen[slot.0],
            written: link.written[slot.0],
        });
        match known.filter(|known| known.covers(change)) {
            Some(known) => Found::Known(Some(known)),
            None => found,
        }
    }

    /// Takes in what `side`'s history says next.
    pub fn report(&mut self, side: Side, mut change: Change, lookups: &Lookups) {
        self.now[side] = self.now[side].max(change.moment());
        let pair = change.pair;
        for key in change.old_key.iter().chain([&change.key]) {
            self.touch((side, pair, key.clone()));
        }
        let slot = (side, pair, change.key.clone());
        let lookup = lookups.get(&slot).unwrap_or(Lookup::nobody());
        let mut at_key = self.find_news(&slot, lookups, &change);
        if self.is_successor(&at_key, &change, side) {
            at_key = Found::New;
        }
        let Some(former) = change.old_key.clone() else {
            self.give(side, at_key, change, lookups);
            return;
        };
        if is_own_move(lookup, side, &change) {
            change.old_key = None;
            self.give(side, at_key, change, lookups);
            return;
        }
        let at_former = self.find_news(&(side, pair, former.clone()), lookups, &change);
        self.passing.remove(&(side, pair, former.clone()));
        match (&at_former, &at_key) {
            (Found::Known(_), Found::Known(_)) => {}
            (Found::Known(Some(known)), Found::New) => {
                self.passing.insert(slot, *known);
            }
            (Found::New, Found::New) => {
                let slot = (side, pair, former);
                let (since, ended) = (
                    self.unlinked_since(&slot, change.moment(), lookups),
                    change.place(),
                );
                change.old_key = None;
                let case = self.give(side, at_key, change, lookups);
                if let (Some(case), Some(since)) = (case, since) {
                    self.leave(case, slot, since, ended);
                }
            }
            (Found::Known(_) | Found::New, _) => {
                change.old_key = None;
                self.give(side, at_key, change, lookups);
            }
            // It has the key until the record that the store knows there gets it.
            (_, Found::Known(None)) if !is_traced(lookup, &change) => {
                self.give(side, at_former, change, lookups);
            }
            (_, Found::Known(_)) => {
                change.old_key = None;
                change.key = former;
                change.kind = ChangeKind::Gone;
                self.give(side, at_former, change, lookups);
            }
            _ => {
                self.give(side, at_former, change, lookups);
            }
        }
    }

    /// True for a record that takes over the key of one that is gone. Deleted and inserted again
    /// under its key, a record that the other side still has counts as changed.
    fn is_successor(&self, found: &Found, change: &Change, side: Side) -> bool {
        let Found::Open(number) = found else {
            return false;
        };
        let open = &self.cases[number];
        let is_new = change.old_key.is_some() || !open.is_alive(side.other());
        change.kind != ChangeKind::Gone && is_new && !open.is_alive(side)
    }

    /// The case's record had this key before. Should its history be replayed from then, it is still this
    /// record.
    fn leave(&mut self, case: u64, slot: Slot, since: Since, ended: Place) {
        if let Some(open) = self.cases.get_mut(&case) {
            open.former.push(Former {
                side: slot.0,
                key: slot.2.clone(),
                since,
                written: BatchId::NONE,
                ended: Some(ended),
            });
            self.enter(slot, case, since, true);
        }
    }

    /// The case that the change was given to.
    fn give(&mut self, side: Side, found: Found, change: Change, lookups: &Lookups) -> Option<u64> {
        let pair = change.pair;
        let number = match found {
            Found::Known(_) => return None,
            Found::Open(number) => number,
            Found::Linked(link) => self.open_link(pair, *link, lookups),
            Found::New => {
                let key = change.old_key.as_ref().unwrap_or(&change.key);
                let slot = (side, pair, key.clone());
                let since = self.earliest(&slot, &change, lookups);
                self.open_lone(slot, since, lookups)
            }
        };
        self.stale.push(number);
        self.overtake(&(side, pair, change.key.clone()), number);
        let open = self.cases.get_mut(&number)?;
        let since_before = open.case.since[side];
        let ended = match (&change.kind, &change.old_key) {
            (ChangeKind::Gone, _) => Some(&change.key),
            (_, old_key) => old_key.as_ref(),
        };
        let slot = ended.map(|key| (side, key.clone()));
        if let Some(finding) = slot.filter(|finding| open.findings.contains(finding)) {
            open.findings.retain(|other| *other != finding);
            self.moot.push((side, pair, finding.1));
            if change.kind != ChangeKind::Gone {
                open.findings.push((side, change.key.clone()));
                self.renamed.push((side, pair, change.key.clone()));
            }
        }
        let former = change.old_key.clone();
        let key = change.key.clone();
        open.report(side, change);
        let since = open.case.since[side];
        if let Some(former) = former {
            self.enter((side, pair, former), number, since_before, true);
        }
        self.enter((side, pair, key), number, since, false);
        Some(number)
    }

    /// Whoever has only looked the key up learns that its record is the case `by`'s.
    fn overtake(&mut self, slot: &Slot, by: u64) {
        for tenant in self.tenants.get(slot).into_iter().flatten() {
            if tenant.case != by
                && let Some(open) = self.cases.get_mut(&tenant.case)
            {
                open.overtake(slot.0);
            }
        }
    }

    /// Opens a case for a link.
    pub fn open_link(&mut self, pair: PairId, link: Link, lookups: &Lookups) -> u64 {
        self.open_case(Case::of(pair, link), lookups)
    }

    /// Opens a case for a record without a link.
    pub fn open_lone(&mut self, (side, pair, key): Slot, since: Since, lookups: &Lookups) -> u64 {
        self.open_case(Case::lone(pair, side, key, since), lookups)
    }

    fn open_case(&mut self, case: Case, lookups: &Lookups) -> u64 {
        let mut open = Open::new(case);
        for side in Side::BOTH {
            let Some(key) = open.case.keys[side].clone() else {
                continue;
            };
            let slot = (side, open.case.pair, key);
            let lookup = lookups.get(&slot).unwrap_or(Lookup::nobody());
            if has_finding(lookup, side, open.case.since[side]) {
                let finding = (side, slot.2);
                open.altered.extend(lookup.altered(&finding));
                open.findings.push(finding);
            }
        }
        self.put(open)
    }

    /// Whoever waits for the record of this key looks again.
    fn touch(&mut self, slot: Slot) {
        for number in self.watched.get(&slot).into_iter().flatten() {
            if let Some(found) = self
                .cases
                .get_mut(number)
                .and_then(|o| o.candidate.as_mut())
            {
                found.is_touched = true;
            }
        }
    }

    /// The finding is about another record from now on.
    pub fn disown(&mut self, slot: &Slot) {
        for tenant in self.tenants.get(slot).into_iter().flatten() {
            if let Some(open) = self.cases.get_mut(&tenant.case) {
                let finding = (slot.0, slot.2.clone());
                open.findings.retain(|other| *other != finding);
            }
        }
    }

    /// True when the finding's record has just been told to be gone, or to have another key.
    pub fn is_moot(&self, slot: &Slot) -> bool {
        self.moot.contains(slot)
    }

    /// Findings go with their records: another record may get the key, and a finding of its own.
    pub fn move_findings(&mut self, out: &mut Settlement) {
        let moot = self.moot.drain(..);
        out.resolved
            .extend(moot.map(|(side, pair, key)| (pair, side, key)));
        let renamed = self.renamed.drain(..);
        out.findings.extend(renamed.map(|(side, pair, key)| {
            Finding::of((pair, side, key), FindingCode::ChangedWhileCopied)
        }));
    }

    /// Brings what the cases wait for up to date.
    pub fn refresh(&mut self) {
        for number in std::mem::take(&mut self.stale) {
            let wait = self.cases.get(&number).map(Open::wait);
            self.waiting.note(number, wait);
        }
    }

    fn due(&mut self, reach: &BySide<Reach>) -> impl Iterator<Item = u64> {
        self.refresh();
        for side in Side::BOTH {
            self.waiting.reach(side, reach[side].position.offset);
        }
        let due = self.waiting.due();
        due.filter(|number| self.cases[number].is_ready(reach))
    }

    /// Cases that wait for nothing, in the order in which they were opened.
    pub fn ready(&mut self, reach: &BySide<Reach>) -> Vec<u64> {
        self.due(reach).collect()
    }

    pub fn has_ready(&mut self, reach: &BySide<Reach>) -> bool {
        self.due(reach).next().is_some()
    }

    /// Keys about which the store is asked before the ready cases are planned.
    pub fn questions(&mut self, reach: &BySide<Reach>) -> Vec<Slot> {
        let ready = self.ready(reach);
        let mut slots: Vec<Slot> = Vec::new();
        for number in ready {
            slots.extend(self.looked_up(number));
            let open = &self.cases[&number];
            slots.extend(open.asks.iter().cloned());
            if let Some(found) = &open.candidate {
                slots.push((found.side, open.case.pair, found.stored.key.clone()));
            }
        }
        slots
    }

    /// Records that the references of the ready cases name.
    pub fn asked(&mut self, reach: &BySide<Reach>) -> Vec<Slot> {
        let ready = self.ready(reach).into_iter();
        ready
            .flat_map(|number| self.cases[&number].asks.clone())
            .collect()
    }

    /// Keys by which a record without a link was looked up.
    pub fn looked_up(&self, number: u64) -> Vec<Slot> {
        let open = self
            .cases
            .get(&number)
            .filter(|open| open.case.link.is_none());
        let slots = open.into_iter().flat_map(|open| {
            let held = Side::BOTH.into_iter().filter(|&side| open.is_held(side));
            held.filter_map(|side| Some((side, open.case.pair, open.case.keys[side].clone()?)))
        });
        slots.collect()
    }

    /// A key by which the case's record was looked up is not its own: see [`Open::lose`].
    pub fn lose(&mut self, number: u64, side: Side) {
        let Some(open) = self.cases.get_mut(&number) else {
            return;
        };
        self.stale.push(number);
        let pair = open.case.pair;
        let slot = open.lose(side).map(|key| (side, pair, key));
        if let Some(tenants) = slot.and_then(|slot| self.tenants.get_mut(&slot)) {
            tenants.retain(|tenant| tenant.case != number);
        }
    }

    /// What a read of `side`'s records found.
    pub fn hold(
        &mut self,
        side: Side,
        pair: PairId,
        rows: &HashMap<Key, Option<Row>>,
        fence: Fence,
    ) {
        self.refresh();
        for number in self.waiting.reads() {
            if let Some(open) = self.cases.get_mut(&number)
                && open.case.pair == pair
                && let Some(key) = open.wanted(side).cloned()
                && let Some(row) = rows.get(&key)
            {
                open.hold(side, key, row.clone(), fence);
                self.stale.push(number);
            }
        }
    }

    /// Records to be read, at most `limit`, all of one side and one table pair.
    pub fn next_read(&mut self, limit: usize) -> Option<(Side, PairId, Vec<Key>)> {
        self.refresh();
        let mut found: Option<(Side, PairId, Vec<Key>)> = None;
        for open in self.waiting.reads().map(|number| &self.cases[&number]) {
            for side in Side::BOTH {
                let Some(key) = open.wanted(side) else {
                    continue;
                };
                let pair = open.case.pair;
                match &mut found {
                    None => found = Some((side, pair, vec![key.clone()])),
                    Some((s, p, keys)) if *s == side && *p == pair && keys.len() < limit => {
                        keys.push(key.clone());
                    }
                    Some(_) => {}
                }
            }
            if found.as_ref().is_some_and(|(.., keys)| keys.len() >= limit) {
                break;
            }
        }
        found
    }

    /// The lowest offset of `side` that an open case relies on.
    pub fn relies_on(&mut self, side: Side) -> Option<u64> {
        self.refresh();
        self.waiting.lowest_relied(side)
    }

    /// The highest fence of `side` that a case waits for, as of the last refresh.
    pub fn highest_fence(&self, side: Side) -> Option<u64> {
        self.waiting.highest_fence(side)
    }
}

//! Turns a round's changes and look-ups into cases: one per record, both sides together.

use std::collections::{HashMap, HashSet};

use super::deferred::{Deferred, Waiting};
use crate::baseline::Fingerprinter;
use crate::inbox::{fold, is_stale};
use crate::model::{
    BySide, Cell, Change, ChangeKind, FindingCode, Key, Link, LinkId, Lookup, PairId, Side,
};
use crate::plan::{Case, Seen};
use crate::policy::PairPolicy;

/// Look-ups of a round by side, pair and key.
pub(super) type Lookups = HashMap<(Side, PairId, Key), Lookup>;

/// A case and which of its keys have an open finding.
pub(super) struct Draft {
    pub case: Case,
    pub has_finding: BySide<bool>,
    /// Set when the case cannot be planned at all.
    pub problem: Option<(Side, FindingCode)>,
}

impl Draft {
    /// A record that could not be synced before is seen whole on both sides before it is planned:
    /// what a side does not send, because it did not change, may be what the other never got.
    pub fn unknown_side(&self) -> Option<Side> {
        if !self.has_finding.left && !self.has_finding.right {
            return None;
        }
        let link = self.case.link.as_ref().filter(|link| !link.is_detached());
        let is_unknown = |side: &Side| {
            let seen = &self.case.seen[*side];
            seen.is_partial() || (link.is_some() && *seen == Seen::Unseen)
        };
        Side::BOTH.into_iter().find(is_unknown)
    }
}

/// Collects drafts; the order of the first news of each record is kept.
pub(super) struct Drafts<'a> {
    lookups: &'a Lookups,
    drafts: Vec<Draft>,
    by_key: HashMap<(Side, PairId, Key), usize>,
    by_link: HashMap<(PairId, LinkId), usize>,
    /// Keys whose record took another one: what comes under them now is another record.
    vacated: HashSet<(Side, PairId, Key)>,
}

impl<'a> Drafts<'a> {
    pub fn new(lookups: &'a Lookups) -> Self {
        Drafts {
            lookups,
            drafts: Vec::new(),
            by_key: HashMap::new(),
            by_link: HashMap::new(),
            vacated: HashSet::new(),
        }
    }

    /// A released case: its link is looked up anew, since it may have changed while it waited.
    pub fn add_released(&mut self, mut case: Case, waiting: &mut Waiting) {
        let left = self.lookup(Side::Left, case.pair, &case.keys.left);
        let right = self.lookup(Side::Right, case.pair, &case.keys.right);
        let has_finding = BySide::new(left.has_finding, right.has_finding);
        let links = BySide::new(left.link.clone(), right.link.clone());
        if is_outdated(&case, &left, &links, Side::Left)
            || is_outdated(&case, &right, &links, Side::Right)
        {
            // A write of ours came after what is known of it, or its key was given up.
            let own = case.link.as_ref().map(|link| link.id);
            for link in [&links.left, &links.right].into_iter().flatten() {
                if own == Some(link.id) {
                    renew_keys(&mut case, link, [&left, &right]);
                }
            }
            let mut deferred = Deferred::new(case);
            deferred.read_again();
            waiting.add(deferred);
            return;
        }
        let known = case.link.as_ref().map(|link| link.id);
        let mut problem = None;
        match one_of(&links) {
            Ok(link) => {
                // A key that differs from the link's is a moved record if the case came from it.
                if let Some(link) = link
                    && known != Some(link.id)
                {
                    problem = taken(&case, link);
                }
                case.link = link.cloned();
                if let Some((side, _)) = problem {
                    self.part(&mut case, side.other(), &links, waiting);
                }
            }
            Err(()) => {
                // The counterpart that one of them should have is taken: it came by its match key.
                let is_own = |side: &Side| links[*side].as_ref().map(|link| link.id) == known;
                let own = Side::BOTH.into_iter().find(is_own);
                problem = own.map(|side| (side, FindingCode::MatchKeyTaken));
                for side in Side::BOTH.into_iter().filter(|&side| Some(side) != own) {
                    self.part(&mut case, side, &links, waiting);
                }
                if problem.is_none() {
                    return;
                }
            }
        }
        if let Some(link) = &case.link {
            for side in Side::BOTH {
                if case.keys[side].is_none() {
                    case.keys[side] = link.keys[side].clone();
                }
                // What waited may have been settled meanwhile. At the same offset it is as new.
                let is_same = case.keys[side] == link.keys[side];
                let offset = case.seen[side].offset();
                if is_same && offset != 0 && offset < link.seen[side] {
                    case.seen[side] = Seen::Unseen;
                }
            }
        }
        self.push(Draft {
            case,
            has_finding,
            problem,
        });
    }

    /// `side`'s record does not belong to the case: it takes its own news along. What is left has
    /// the problem.
    fn part(
        &mut self,
        case: &mut Case,
        side: Side,
        links: &BySide<Option<Link>>,
        waiting: &mut Waiting,
    ) {
        case.link = None;
        case.seen[side] = Seen::Unseen;
        let since = std::mem::take(&mut case.since[side]);
        let key = case.keys[side].take();
        // Without changes of its own, all that is known of it is that it has the match key.
        let Some(link) = links[side].as_ref().filter(|_| since != 0) else {
            return;
        };
        let mut own = Case {
            pair: case.pair,
            keys: link.keys.clone(),
            seen: BySide::default(),
            since: BySide::default(),
            passed: BySide::default(),
            vanished: BySide::default(),
            link: Some(link.clone()),
            existing: None,
        };
        own.keys[side] = key;
        own.since[side] = since;
        // It may have been written meanwhile: read it again.
        let mut deferred = Deferred::new(own);
        deferred.to_read[side] = true;
        waiting.add(deferred);
    }

    /// The case that waits for the change's record, if any.
    fn home(&self, side: Side, change: &Change, waiting: &Waiting) -> Option<u64> {
        let former = change.old_key.as_ref().unwrap_or(&change.key);
        let by_former = self.lookup(side, change.pair, &Some(former.clone()));
        let by_key = self.lookup(side, change.pair, &Some(change.key.clone()));
        let link = by_former.link.as_ref().or(by_key.link.as_ref());
        waiting.home(side, change, link)
    }

    /// True when a change must be taken in before the cases that wait are released.
    pub fn goes_first(&self, side: Side, change: &Change, waiting: &Waiting) -> bool {
        let moved = change.old_key.is_some();
        self.home(side, change, waiting).is_some()
            || (moved && waiting.contains(side, change.pair, &change.key))
    }

    /// What is news of a change. A record that took another key left its former one, even when
    /// what came after it at the new key is known already; and the other way round.
    fn news_of(&self, side: Side, mut change: Change) -> Option<Change> {
        let at_key = self.lookup(side, change.pair, &Some(change.key.clone()));
        let is_known = is_stale(&change, &at_key, side);
        let Some(former) = change.old_key.clone() else {
            return (!is_known).then_some(change);
        };
        let at_former = self.lookup(side, change.pair, &Some(former.clone()));
        match (is_stale(&change, &at_former, side), is_known) {
            (true, true) => None,
            (true, false) => {
                change.old_key = None;
                Some(change)
            }
            (false, true) => Some(Change {
                key: former,
                old_key: None,
                kind: ChangeKind::Gone,
                ..change
            }),
            (false, false) => Some(change),
        }
    }

    /// A change from the stream. `waiting` takes those of records that wait.
    pub fn add_change(&mut self, side: Side, change: Change, waiting: &mut Waiting) {
        let pair = change.pair;
        let Some(change) = self.news_of(side, change) else {
            return;
        };
        let former = change.old_key.as_ref().unwrap_or(&change.key);
        let by_former = self.lookup(side, pair, &Some(former.clone()));
        let by_key = self.lookup(side, pair, &Some(change.key.clone()));
        let moved = change.old_key.is_some();
        let link = by_former.link.as_ref().or(by_key.link.as_ref());
        if let Some(former) = &change.old_key {
            self.vacated.insert((side, pair, former.clone()));
        }
        if let Some(number) = waiting.home(side, &change, link) {
            waiting.absorb(number, side, change);
            return;
        }
        if moved {
            waiting.key_moved(side, pair, &change.key);
        }
        let is_linked_move = moved && by_former.link.is_some();
        let by_new_key = self.by_key.get(&(side, pair, change.key.clone()));
        let known = self
            .by_key
            .get(&(side, pair, former.clone()))
            .or(by_new_key.filter(|_| !is_linked_move))
            .copied();
        let lookup = if by_former.link.is_some() {
            by_former
        } else {
            by_key
        };
        let number = known.unwrap_or_else(|| self.draft_of(side, pair, former, lookup));
        self.by_key.remove(&(side, pair, former.clone()));
        self.by_key.insert((side, pair, change.key.clone()), number);
        let draft = &mut self.drafts[number];
        if moved || draft.case.keys[side].is_none() {
            draft.case.keys[side] = Some(change.key.clone());
        }
        draft.case.rely_on(side, change.offset);
        draft.case.passed[side] = change.passed;
        fold(&mut draft.case.seen[side], change);
    }

    fn draft_of(&mut self, side: Side, pair: PairId, key: &Key, lookup: Lookup) -> usize {
        let mut has_finding = BySide::default();
        has_finding[side] = lookup.has_finding;
        if let Some(link) = &lookup.link
            && let Some(&number) = self.by_link.get(&(pair, link.id))
        {
            self.drafts[number].has_finding[side] |= lookup.has_finding;
            self.by_key.insert((side, pair, key.clone()), number);
            return number;
        }
        let mut keys = BySide::default();
        if let Some(link) = &lookup.link {
            keys = link.keys.clone();
        }
        if keys[side].is_none() {
            keys[side] = Some(key.clone());
        }
        let case = Case {
            pair,
            link: lookup.link,
            keys,
            seen: BySide::default(),
            since: BySide::default(),
            passed: BySide::default(),
            vanished: BySide::default(),
            existing: None,
        };
        self.push(Draft {
            case,
            has_finding,
            problem: None,
        })
    }

    fn push(&mut self, draft: Draft) -> usize {
        let number = self.drafts.len();
        let pair = draft.case.pair;
        if let Some(link) = &draft.case.link {
            self.by_link.insert((pair, link.id), number);
        }
        for side in Side::BOTH {
            if let Some(key) = &draft.case.keys[side] {
                self.by_key.insert((side, pair, key.clone()), number);
            }
        }
        self.drafts.push(draft);
        number
    }

    fn lookup(&self, side: Side, pair: PairId, key: &Option<Key>) -> Lookup {
        let Some(key) = key else {
            return Lookup::default();
        };
        let slot = (side, pair, key.clone());
        if self.vacated.contains(&slot) {
            return Lookup::default();
        }
        self.lookups.get(&slot).cloned().unwrap_or_default()
    }

    /// The drafts, with new records of both sides that share a match key joined into one.
    pub fn finish(self, policies: &[PairPolicy], prints: &Fingerprinter) -> Vec<Draft> {
        let mut by_match: HashMap<(PairId, [u8; 16]), usize> = HashMap::new();
        let mut drafts: Vec<Option<Draft>> = self.drafts.into_iter().map(Some).collect();
        for side in Side::BOTH {
            for number in 0..drafts.len() {
                let Some(draft) = &drafts[number] else {
                    continue;
                };
                let policy = &policies[draft.case.pair.0 as usize];
                let Some(print) = new_match_key(draft, side, policy, prints) else {
                    continue;
                };
                let slot = (draft.case.pair, print);
                if side == Side::Left {
                    by_match.insert(slot, number);
                } else if let Some(left) = by_match.remove(&slot)
                    && left != number
                    && let Some(right) = drafts[number].take()
                    && let Some(left) = &mut drafts[left]
                {
                    left.case.keys.right = right.case.keys.right;
                    left.case.seen.right = right.case.seen.right;
                    left.case.since.right = right.case.since.right;
                    left.case.passed.right = right.case.passed.right;
                    left.has_finding.right |= right.has_finding.right;
                }
            }
        }
        drafts.into_iter().flatten().collect()
    }
}

/// Puts aside drafts about a record that another draft of the round has: they are read again when
/// that one is settled.
pub(super) fn set_aside_shared(drafts: Vec<Draft>, waiting: &mut Waiting) -> Vec<Draft> {
    let mut held: HashSet<(Side, PairId, Key)> = HashSet::new();
    let mut kept = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let case = &draft.case;
        let keys: Vec<_> = Side::BOTH
            .into_iter()
            .filter(|&side| !case.seen[side].is_gone())
            .filter_map(|side| Some((side, case.pair, case.keys[side].clone()?)))
            .collect();
        if keys.iter().any(|key| held.contains(key)) {
            let mut deferred = Deferred::new(draft.case);
            deferred.read_again();
            waiting.add(deferred);
            continue;
        }
        held.extend(keys);
        kept.push(draft);
    }
    kept
}

/// The match key of a record that only `side` has and that is not linked.
fn new_match_key(
    draft: &Draft,
    side: Side,
    policy: &PairPolicy,
    prints: &Fingerprinter,
) -> Option<[u8; 16]> {
    let case = &draft.case;
    if case.link.is_some() || case.seen[side.other()] != Seen::Unseen || draft.problem.is_some() {
        return None;
    }
    let row = case.seen[side].row()?;
    let cells: Vec<&Cell> = policy.match_key.iter().map(|&field| &row[field]).collect();
    prints.match_key(&cells)
}

/// Takes the keys that the case's link has now, but for those that the stream moved meanwhile.
fn renew_keys(case: &mut Case, now: &Link, lookups: [&Lookup; 2]) {
    let Some(then) = case.link.replace(now.clone()) else {
        return;
    };
    for (side, lookup) in Side::BOTH.into_iter().zip(lookups) {
        let is_given_up = lookup.link.is_none() && case.seen[side].offset() <= lookup.gone_seen;
        if now.keys[side] != then.keys[side] || (is_given_up && lookup.gone_seen != 0) {
            case.keys[side] = now.keys[side].clone();
        }
    }
}

/// True when a write of ours came after the news that the case has of `side`'s record, or when the
/// news is about a key that no longer names it.
fn is_outdated(case: &Case, lookup: &Lookup, links: &BySide<Option<Link>>, side: Side) -> bool {
    let own = case.link.as_ref().map(|link| link.id);
    let others = links[side.other()].as_ref();
    if let (Some(now), Some(then)) = (others, &case.link)
        && now.id == then.id
        && now.keys[side] != then.keys[side]
    {
        // Another case was linked anew meanwhile.
        return true;
    }
    let moved = others.filter(|link| lookup.link.is_none() && own == Some(link.id));
    let link = lookup.link.as_ref().or(moved);
    if case.seen[side] == Seen::Unseen {
        return false;
    }
    let written = link.map(|link| link.written[side]).unwrap_or_default();
    let is_given_up = moved.is_some() && case.seen[side].offset() <= lookup.gone_seen;
    case.passed[side] < written.max(lookup.gone_written) || is_given_up
}

/// The one link of a case, if its records do not have two.
fn one_of(links: &BySide<Option<Link>>) -> Result<Option<&Link>, ()> {
    match (&links.left, &links.right) {
        (Some(a), Some(b)) if a.id == b.id => Ok(Some(a)),
        // One of the two is alone on purpose, or the link lacks the key we know: adopt it.
        (Some(a), Some(b)) if b.is_detached() && !a.is_detached() => Ok(Some(a)),
        (Some(a), Some(b)) if a.is_detached() => Ok(Some(b)),
        (Some(_), Some(_)) => Err(()),
        (link, None) => Ok(link.as_ref()),
        (None, link) => Ok(link.as_ref()),
    }
}

/// A record that was matched to one which another record is linked to has no place in that link.
fn taken(case: &Case, link: &Link) -> Option<(Side, FindingCode)> {
    if link.is_detached() {
        return None;
    }
    let differs = |side: &Side| case.keys[*side].is_some() && case.keys[*side] != link.keys[*side];
    Side::BOTH
        .into_iter()
        .find(differs)
        .map(|side| (side, FindingCode::MatchKeyTaken))
}

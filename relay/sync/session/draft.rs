//! Turns a round's changes and look-ups into cases: one per record, both sides together.

use std::collections::HashMap;

use super::deferred::{Deferred, Waiting};
use crate::baseline::Fingerprinter;
use crate::inbox::{fold, is_stale};
use crate::model::{BySide, Cell, Change, FindingCode, Key, Link, LinkId, Lookup, PairId, Side};
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

/// Collects drafts; the order of the first news of each record is kept.
pub(super) struct Drafts<'a> {
    lookups: &'a Lookups,
    drafts: Vec<Draft>,
    by_key: HashMap<(Side, PairId, Key), usize>,
    by_link: HashMap<(PairId, LinkId), usize>,
}

impl<'a> Drafts<'a> {
    pub fn new(lookups: &'a Lookups) -> Self {
        Drafts {
            lookups,
            drafts: Vec::new(),
            by_key: HashMap::new(),
            by_link: HashMap::new(),
        }
    }

    /// A released case: its link is looked up anew, since it may have changed while it waited.
    pub fn add_released(&mut self, mut case: Case, waiting: &mut Waiting) {
        let left = self.lookup(Side::Left, case.pair, &case.keys.left);
        let right = self.lookup(Side::Right, case.pair, &case.keys.right);
        let has_finding = BySide::new(left.has_finding, right.has_finding);
        if read_again(&case, &left, Side::Left) || read_again(&case, &right, Side::Right) {
            // A write of ours came after what is known of it.
            let mut deferred = Deferred::new(case);
            deferred.read_again();
            waiting.add(deferred);
            return;
        }
        let links = BySide::new(left.link, right.link);
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
                if case.seen[side].offset() != 0 && case.seen[side].offset() < link.seen[side] {
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
        let seen = std::mem::take(&mut case.seen[side]);
        let since = std::mem::take(&mut case.since[side]);
        let key = case.keys[side].take();
        let Some(link) = links[side].as_ref().filter(|_| seen != Seen::Unseen) else {
            return;
        };
        let mut own = Case {
            pair: case.pair,
            keys: link.keys.clone(),
            seen: BySide::default(),
            since: BySide::default(),
            passed: BySide::default(),
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
    pub fn home(&self, side: Side, change: &Change, waiting: &Waiting) -> Option<u64> {
        let former = change.old_key.as_ref().unwrap_or(&change.key);
        let by_former = self.lookup(side, change.pair, &Some(former.clone()));
        let by_key = self.lookup(side, change.pair, &Some(change.key.clone()));
        let link = by_former.link.as_ref().or(by_key.link.as_ref());
        waiting.home(side, change, link)
    }

    /// A change from the stream. `waiting` takes those of records that wait.
    pub fn add_change(&mut self, side: Side, change: Change, waiting: &mut Waiting) {
        let pair = change.pair;
        let former = change.old_key.as_ref().unwrap_or(&change.key);
        let by_former = self.lookup(side, pair, &Some(former.clone()));
        let by_key = self.lookup(side, pair, &Some(change.key.clone()));
        if is_stale(&change, &by_former, side) || is_stale(&change, &by_key, side) {
            return;
        }
        let link = by_former.link.as_ref().or(by_key.link.as_ref());
        if let Some(number) = waiting.home(side, &change, link) {
            waiting.absorb(number, side, change);
            return;
        }
        let known = self
            .by_key
            .get(&(side, pair, former.clone()))
            .or_else(|| self.by_key.get(&(side, pair, change.key.clone())))
            .copied();
        let moved = change.old_key.is_some();
        let lookup = if by_former.link.is_some() {
            by_former
        } else {
            by_key
        };
        let number = known.unwrap_or_else(|| self.draft_of(side, pair, former, lookup));
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
        self.lookups
            .get(&(side, pair, key.clone()))
            .cloned()
            .unwrap_or_default()
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

/// True when a write of ours came after the news that the case has of its record.
fn read_again(case: &Case, lookup: &Lookup, side: Side) -> bool {
    let written = lookup.link.as_ref().map(|link| link.written[side]);
    let last = lookup.gone_written.max(written.unwrap_or_default());
    case.seen[side] != Seen::Unseen && case.passed[side] < last
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

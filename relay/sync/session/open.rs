//! One open case: a record with news that is not settled yet, and what it waits for.
//!
//! A value read now may be newer than what the change stream has delivered, so it must not be
//! planned at once: older changes still on their way would look like edits. Each read therefore
//! comes with a *fence*, a position at or after everything that the read could see, and counts once
//! its side's stream has passed the fence. What the stream brought meanwhile wins over the read.

use super::reach::Reach;
use super::waiting::Wait;
use crate::baseline::Fingerprinter;
use crate::doubt::doubt;
use crate::inbox::{fill, fold};
use crate::model::{
    BatchId, BySide, Change, ChangeKind, Key, Link, LinkId, Outcome, Place, Row, Side, Since,
    Stored,
};
use crate::plan::{Case, Named, Seen};
use crate::policy::PairPolicy;

/// When a side's stream has told everything that a look at the side could see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub offset: u64,
    /// What was seen in a batch of ours: its own effects come with its commit.
    pub batch: BatchId,
}

impl Fence {
    fn is_passed(&self, reach: &Reach) -> bool {
        reach.position.offset >= self.offset && reach.position.passed >= self.batch
    }
}

/// What a look at a record found. `None`: there was none with that key.
#[derive(Clone, Debug)]
struct Held {
    key: Key,
    row: Option<Row>,
    fence: Fence,
}

/// A record on the other side that has the match key of this one.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub side: Side,
    pub stored: Stored,
    pub fence: Fence,
    /// Its side's history told of it (or of another record with its key) since it was found.
    pub is_touched: bool,
}

/// A key that a record of the case had.
#[derive(Clone, Debug)]
pub(super) struct Former {
    pub side: Side,
    pub key: Key,
    pub since: Since,
    /// The last batch that wrote the record before it gave the key up.
    pub written: BatchId,
    /// Where the history says that it gave the key up.
    pub ended: Option<Place>,
}

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub case: Case,
    /// Findings that name a record of the case: its success closes them.
    pub findings: Vec<(Side, Key)>,
    /// Those of them that are about a value that was altered.
    pub altered: Vec<(Side, Key)>,
    /// Per side the lowest offset of its news, 0 for none: a position at or after it must not be
    /// settled before the case is.
    pub relies: BySide<u64>,
    pub former: Vec<Former>,
    /// Keys of which the store must be asked before it is planned: of records that its references
    /// name, or its own.
    pub asks: Vec<Named>,
    /// Sides whose record must be read before the case can be planned.
    wanted: BySide<bool>,
    held: BySide<Option<Held>>,
    /// News since the record was looked at.
    fresh: BySide<Seen>,
    pub candidate: Option<Candidate>,
    /// Another case must be closed first.
    pub is_blocked: bool,
    /// What both sides have counts, not what they are said to have agreed on.
    pub is_doubted: bool,
    /// The record that came to take the place of one that is gone, on this side, with its former
    /// link, which ends when the two are linked.
    newcomer: Option<(Side, Option<Link>)>,
    /// Where the sides' histories say that the records are gone.
    pub gone_at: BySide<Option<Place>>,
    /// Links of newcomers that are gone, too.
    ended: Vec<LinkId>,
    /// Sides whose record was deleted and inserted again under its key since the link was settled.
    reborn: BySide<bool>,
    /// Per side the moment that its history has told of once the record is read: see [`super::given`].
    heard: BySide<Since>,
    /// Sides whose history has told of another record with the key that was looked up.
    overtaken: BySide<bool>,
}

impl Open {
    pub fn new(case: Case) -> Open {
        Open {
            case,
            findings: Vec::new(),
            altered: Vec::new(),
            relies: BySide::default(),
            former: Vec::new(),
            asks: Vec::new(),
            wanted: BySide::default(),
            held: BySide::default(),
            fresh: BySide::default(),
            candidate: None,
            is_blocked: false,
            is_doubted: false,
            newcomer: None,
            gone_at: BySide::default(),
            ended: Vec::new(),
            reborn: BySide::default(),
            heard: BySide::default(),
            overtaken: BySide::default(),
        }
    }

    /// In short, without values.
    pub fn describe(&self) -> String {
        let link = self.case.link.as_ref().map_or(0, |link| link.id.0);
        let half = |side: Side| {
            let key = self.case.keys[side].as_ref();
            let key = key.map_or("-".to_owned(), |key| key.to_string());
            let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
            format!(
                "{key}{}{}{}",
                mark(!self.is_alive(side), "(gone)"),
                mark(self.wanted[side], "(wanted)"),
                mark(self.held[side].is_some(), "(held)")
            )
        };
        let found = self.candidate.as_ref();
        let found = found.map_or(String::new(), |f| format!(" ?{}", f.stored.key));
        let blocked = if self.is_blocked { " blocked" } else { "" };
        let (left, right) = (half(Side::Left), half(Side::Right));
        format!(
            "{}/#{link} {left}:{right}{found}{blocked}",
            self.case.pair.0
        )
    }

    /// Has `side`'s record read, if it has one.
    pub fn want(&mut self, side: Side) {
        self.wanted[side] = self.is_alive(side);
    }

    /// Has the store asked for these keys.
    pub fn ask(&mut self, slots: impl IntoIterator<Item = Named>) {
        for slot in slots {
            if !self.asks.contains(&slot) {
                self.asks.push(slot);
            }
        }
    }

    /// Waits until `side`'s history has told of this moment, which is past. False when it has.
    pub fn hear(&mut self, side: Side, moment: Since) -> bool {
        if self.heard[side] >= moment {
            return false;
        }
        self.heard[side] = moment;
        self.want(side);
        self.wanted[side]
    }

    /// True when nobody else can have got the key of `side`'s record at `moment`: the history has
    /// told of no end of it. One without a link may be the same as a link's that was made of it
    /// later, and before a write of ours the record may have passed through other keys.
    pub fn has_kept(&self, side: Side, moment: Since) -> bool {
        let link = self.link_of(side);
        self.is_alive(side) && link.is_some_and(|link| link.written[side] <= moment.batch)
    }

    /// True for a record without a link of which `side`'s history has told nothing.
    pub fn is_unheard(&self, side: Side) -> bool {
        self.case.link.is_none() && self.relies[side] == 0
    }

    /// `side`'s history has told of the record with the key that was looked up: it has a case of its own, which
    /// may be closed when this one is planned.
    pub fn overtake(&mut self, side: Side) {
        self.overtaken[side] |= self.is_unheard(side);
    }

    pub fn is_overtaken(&self, side: Side) -> bool {
        self.overtaken[side] && self.is_unheard(side)
    }

    /// True when `side` has the record as far as its history has told.
    pub fn is_alive(&self, side: Side) -> bool {
        let is_gone = match &self.fresh[side] {
            Seen::Unseen => self.case.seen[side].is_gone(),
            fresh => fresh.is_gone(),
        };
        self.case.keys[side].is_some() && !is_gone
    }

    /// The key of the record that is linked with `side`'s, if that has this key by now.
    pub fn partner(&self, side: Side, key: &Key) -> Option<&Key> {
        let is_linked = self.case.link.is_some() && !self.case.is_renewed;
        let is_whole = self.is_alive(Side::Left) && self.is_alive(Side::Right);
        let own = self.case.keys[side].as_ref();
        let partner = self.case.keys[side.other()].as_ref();
        partner.filter(|_| is_linked && is_whole && own == Some(key))
    }

    /// True when a look at `side`'s record is to be taken in.
    pub fn is_held(&self, side: Side) -> bool {
        self.held[side].is_some()
    }

    /// True when the look at `side` found a record.
    pub fn found_any(&self, side: Side) -> bool {
        let held = self.held[side].as_ref();
        held.is_some_and(|held| held.row.is_some())
    }

    /// What was looked at on `side` was another record: this one is not there, and the key is not
    /// its own. Returns the key.
    pub fn lose(&mut self, side: Side) -> Option<Key> {
        self.held[side] = None;
        self.fresh[side] = Seen::Unseen;
        self.case.seen[side] = Seen::Gone { time: None };
        self.case.keys[side].take()
    }

    /// The key to read on `side`, if that is wanted.
    pub fn wanted(&self, side: Side) -> Option<&Key> {
        self.case.keys[side].as_ref().filter(|_| self.wanted[side])
    }

    /// What a look at `side` found.
    pub fn hold(&mut self, side: Side, key: Key, row: Option<Row>, fence: Fence) {
        self.wanted[side] = false;
        self.settle_fresh(side);
        self.held[side] = Some(Held { key, row, fence });
    }

    /// What the case waits for, as far as it can be indexed.
    pub fn wait(&self) -> Wait {
        Wait {
            is_held_up: self.is_blocked || self.wanted.left || self.wanted.right,
            wants_read: self.wanted.left || self.wanted.right,
            fences: BySide::from_fn(|side| self.fence(side)),
            relies: self.relies,
        }
    }

    /// The highest offset of `side` that the case waits for.
    fn fence(&self, side: Side) -> Option<u64> {
        let held = self.held[side].as_ref().map(|held| held.fence.offset);
        let candidate = self.candidate.as_ref().filter(|found| found.side == side);
        held.max(candidate.map(|found| found.fence.offset))
    }

    /// True when nothing has to be read or waited for.
    pub fn is_ready(&self, reach: &BySide<Reach>) -> bool {
        let candidate = self.candidate.as_ref();
        !self.is_blocked
            && self.is_read(reach)
            && candidate.is_none_or(|found| found.fence.is_passed(&reach[found.side]))
    }

    /// True when all that is known of the records may be used.
    pub fn is_read(&self, reach: &BySide<Reach>) -> bool {
        Side::BOTH.into_iter().all(|side| {
            let held = self.held[side].as_ref();
            held.is_none_or(|held| held.fence.is_passed(&reach[side])) && !self.wanted[side]
        })
    }

    /// Takes in what `side`'s history says of its record.
    pub fn report(&mut self, side: Side, change: Change) {
        let is_first = self.relies[side] == 0;
        self.case.echoes[side] = change.ours && (is_first || self.case.echoes[side]);
        self.rely_on(side, change.offset);
        let is_gone = change.kind == ChangeKind::Gone;
        let is_reborn = !is_gone
            && change.old_key.is_none()
            && self.case.keys[side].as_ref() == Some(&change.key)
            && !self.is_alive(side);
        let former = match is_reborn {
            true => Some((change.key.clone(), self.gone_at[side])),
            false => change
                .old_key
                .clone()
                .map(|key| (key, Some(change.place()))),
        };
        self.reborn[side] |= is_reborn;
        if let Some((key, ended)) = former {
            self.leave(side, key, ended);
            self.case.since[side] = change.moment();
        } else if self.case.keys[side].as_ref() != Some(&change.key) {
            self.case.since[side] = change.moment();
        }
        let is_back = !self.is_alive(side) && self.case.link.is_some();
        self.gone_at[side] = is_gone.then(|| change.place());
        self.case.keys[side] = Some(change.key);
        if is_gone {
            self.wanted[side] = false;
            self.held[side] = None;
            self.fresh[side] = Seen::Unseen;
        }
        let news = match self.held[side] {
            Some(_) => &mut self.fresh[side],
            None => &mut self.case.seen[side],
        };
        fold(news, change.kind, change.time);
        if is_back && self.case.seen[side].is_partial() {
            // What the side left out as unchanged is not what the two had agreed on.
            self.want(side);
        }
    }

    /// The record gave a key up.
    fn leave(&mut self, side: Side, key: Key, ended: Option<Place>) {
        let since = self.case.since[side];
        let link = self.case.link.as_ref();
        let written = link.map_or(BatchId::NONE, |link| link.written[side]);
        self.former.push(Former {
            side,
            key,
            since,
            written,
            ended,
        });
    }

    /// Once ready: what was held and what came since become what is seen.
    pub fn take_held(&mut self) {
        for side in Side::BOTH {
            let Some(held) = self.held[side].take() else {
                continue;
            };
            if self.case.keys[side].as_ref() != Some(&held.key) {
                // The record has moved, and the look was at another one.
                self.settle_fresh(side);
                continue;
            }
            let fresh = std::mem::take(&mut self.fresh[side]);
            let before = std::mem::take(&mut self.case.seen[side]);
            self.case.seen[side] = match (fresh, held.row) {
                (Seen::Present { mut row, time }, read) => {
                    if let Some(older) = read.as_ref().or(before.row()) {
                        fill(&mut row, older);
                    }
                    Seen::Present { row, time }
                }
                (Seen::Gone { time }, _) => Seen::Gone { time },
                (Seen::Unseen, Some(row)) => {
                    let time = before.time();
                    Seen::Present { row, time }
                }
                (Seen::Unseen, None) => Seen::Gone {
                    time: before.time(),
                },
            };
        }
    }

    /// Forgets the baseline where it is in doubt and the sides contradict it.
    pub fn doubt_baseline(&mut self, prints: &Fingerprinter, policies: &[PairPolicy]) {
        let seen = &self.case.seen;
        let rows = (seen.left.row(), seen.right.row());
        if let (true, Some(link), (Some(left), Some(right))) =
            (self.is_doubted, &mut self.case.link, rows)
        {
            let (left, right) = (prints.row(left), prints.row(right));
            let policy = &policies[self.case.pair.0 as usize];
            doubt(link, BySide::new(&left, &right), policy);
        }
    }

    /// News since a look that does not count is news like any other.
    fn settle_fresh(&mut self, side: Side) {
        match std::mem::take(&mut self.fresh[side]) {
            Seen::Unseen => {}
            Seen::Gone { time } => fold(&mut self.case.seen[side], ChangeKind::Gone, time),
            Seen::Present { row, time } => {
                let inserted = false;
                let kind = ChangeKind::Present { row, inserted };
                fold(&mut self.case.seen[side], kind, time);
            }
        }
    }

    /// Takes in what came of the steps. True when the case must be planned again.
    pub fn take_back(
        &mut self,
        results: Vec<(Side, Outcome)>,
        batches: &BySide<Option<BatchId>>,
    ) -> bool {
        let mut waits = false;
        self.case.existing = None;
        self.case.is_scanned = false;
        for (side, outcome) in results {
            let batch = batches[side].unwrap_or_default();
            let fence = |offset| Fence { offset, batch };
            let key = self.case.keys[side].clone();
            match (outcome, key) {
                (Outcome::Stale { row, fence: at }, Some(key)) => {
                    self.hold(side, key, Some(row), fence(at));
                }
                (Outcome::Missing { fence: at }, Some(key)) => {
                    self.hold(side, key, None, fence(at));
                }
                (Outcome::Exists { stored, fence: at }, _) => {
                    self.candidate = Some(Candidate {
                        side,
                        stored,
                        fence: fence(at),
                        is_touched: false,
                    });
                }
                (Outcome::Written(stored, _), key) => {
                    if let Some(former) = key.filter(|key| *key != stored.key) {
                        self.findings
                            .retain(|finding| *finding != (side, former.clone()));
                    }
                    self.case.wrote(side, stored, batch);
                    continue;
                }
                _ => continue,
            }
            waits = true;
        }
        waits
    }

    /// A record that could not be synced before is seen whole on both sides before it is planned:
    /// what a side does not send, because it did not change, may be what the other never got.
    pub fn unknown_side(&self) -> Option<Side> {
        if self.findings.is_empty() {
            return None;
        }
        let is_unknown = |side: &Side| {
            let seen = &self.case.seen[*side];
            self.is_alive(*side) && (seen.is_partial() || *seen == Seen::Unseen)
        };
        Side::BOTH.into_iter().find(is_unknown)
    }

    /// The candidate is the counterpart; `link` is the one that it has.
    pub fn adopt(&mut self, found: Candidate, link: Option<Link>, since: Since) {
        let side = found.side;
        self.meet(link, side);
        self.show(found, since);
    }

    /// The candidate is what there is on its side.
    pub fn show(&mut self, found: Candidate, since: Since) {
        let side = found.side;
        self.case.keys[side] = Some(found.stored.key);
        self.case.since[side] = since;
        let row = found.stored.row;
        self.case.seen[side] = Seen::Present { row, time: None };
    }

    /// Takes over a case that has only a record on `side`, which is this one's counterpart.
    pub fn join(&mut self, mut other: Open, side: Side) {
        if let Some(key) = other.case.keys[side.other()].take() {
            other.leave(side.other(), key, other.gone_at[side.other()]);
        }
        self.ended.extend(other.ending());
        self.reborn[side] = other.reborn[side];
        self.case.keys[side] = other.case.keys[side].clone();
        self.case.since[side] = other.case.since[side];
        self.case.seen[side] = other.case.seen[side].clone();
        self.wanted[side] = other.wanted[side];
        self.held[side] = other.held[side].clone();
        self.fresh[side] = other.fresh[side].clone();
        self.gone_at[side] = other.gone_at[side];
        for side in Side::BOTH {
            self.rely_on(side, other.relies[side]);
        }
        self.findings.extend(other.findings);
        self.altered.extend(other.altered);
        self.is_doubted |= other.is_doubted;
        self.former.extend(other.former);
        self.meet(other.case.link, side);
    }

    /// The record on `side`, with this link, is the counterpart.
    fn meet(&mut self, theirs: Option<Link>, side: Side) {
        match (&self.case.link, theirs) {
            (None, None) => {}
            (Some(_), theirs) => self.welcome(side, theirs),
            (None, theirs) => {
                self.case.link = theirs;
                self.welcome(side.other(), None);
            }
        }
    }

    /// The record on `side` takes the place of one that is gone.
    pub fn welcome(&mut self, side: Side, theirs: Option<Link>) {
        self.newcomer = Some((side, theirs));
        self.case.is_renewed = true;
    }

    /// The two records of a newcomer's case have a link of their own from now on.
    pub fn settle_link(&mut self, link: Link) {
        self.case.link = Some(link);
        self.case.is_renewed = false;
        self.newcomer = None;
        self.ended.clear();
        self.reborn = BySide::default();
    }

    /// The link that accounts for `side`'s record: a newcomer's own one, if it had any.
    pub fn link_of(&self, side: Side) -> Option<&Link> {
        match &self.newcomer {
            Some((newcomer, theirs)) if *newcomer == side => theirs.as_ref(),
            _ => self.case.link.as_ref(),
        }
    }

    /// The stored links whose records the case is about: its own and those that end with it.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        let own = self.case.link.iter().map(|link| link.id);
        let own = own.filter(|id| *id != LinkId(0));
        own.chain(self.ending())
    }

    /// Links that end when the case's link is settled.
    pub fn ending(&self) -> Vec<LinkId> {
        let theirs = self.newcomer.iter().filter_map(|(_, link)| link.as_ref());
        theirs
            .map(|link| link.id)
            .chain(self.ended.iter().copied())
            .collect()
    }

    /// When one of two records that were to be linked anew is gone, the other is alone again. Returns
    /// the newcomer if it is the one that is left.
    pub fn part(&mut self) -> Option<Open> {
        let (side, theirs) = self.newcomer.clone()?;
        let (old, new) = (self.is_alive(side.other()), self.is_alive(side));
        if old && new {
            return None;
        }
        let key = self.case.keys[side].clone()?;
        let since = self.case.since[side];
        let seen = std::mem::take(&mut self.case.seen[side]);
        let is_reborn = std::mem::take(&mut self.reborn[side]);
        self.newcomer = None;
        self.case.is_renewed = false;
        if let Some(link) = &self.case.link {
            self.case.keys[side] = link.keys[side].clone();
            self.case.since[side] = link.since[side];
            if !link.is_detached() {
                self.case.seen[side] = Seen::Gone { time: None };
            }
        }
        if !new {
            let written = theirs
                .as_ref()
                .map_or(BatchId::NONE, |link| link.written[side]);
            self.former.push(Former {
                side,
                key,
                since,
                written,
                ended: self.gone_at[side],
            });
            self.ended.extend(theirs.map(|link| link.id));
            return None;
        }
        let pair = self.case.pair;
        let mut case = match theirs {
            Some(link) => Case::of(pair, link),
            None => Case::lone(pair, side, key.clone(), since),
        };
        case.keys[side] = Some(key);
        case.since[side] = since;
        case.seen[side] = seen;
        if case.keys[side.other()].is_some() {
            // It came because its own counterpart was gone.
            case.seen[side.other()] = Seen::Gone { time: None };
        }
        let mut other = Open::new(case);
        other.reborn[side] = is_reborn;
        self.hand_over(&mut other, side);
        Some(other)
    }

    /// A record that was deleted and inserted again counts as changed while the other side has its
    /// counterpart. When that is gone, too, both deleted the same record, and this is a new one.
    /// Returns it.
    pub fn part_reborn(&mut self) -> Option<Open> {
        let is_alone = |side: &Side| self.case.only_side() == Some(*side);
        let mut reborn = Side::BOTH.into_iter().filter(|&side| self.reborn[side]);
        let side = reborn.find(is_alone)?;
        let link = self.case.link.as_ref()?;
        let (old, since) = (link.keys[side].clone(), link.since[side]);
        let key = std::mem::replace(&mut self.case.keys[side], old)?;
        let since = std::mem::replace(&mut self.case.since[side], since);
        let mut other = Open::new(Case::lone(self.case.pair, side, key, since));
        other.case.seen[side] =
            std::mem::replace(&mut self.case.seen[side], Seen::Gone { time: None });
        self.reborn[side] = false;
        self.hand_over(&mut other, side);
        Some(other)
    }

    /// What was known of `side`'s record is the business of its own case from now on.
    fn hand_over(&mut self, other: &mut Open, side: Side) {
        other.relies = self.relies;
        self.relies[side] = 0;
        let key = other.case.keys[side].clone();
        let is_theirs = |(s, k): &(Side, Key)| *s == side && Some(k) == key.as_ref();
        let findings = std::mem::take(&mut self.findings);
        (other.findings, self.findings) = findings.into_iter().partition(is_theirs);
    }

    /// The link as it is remembered while a deletion can't be carried over.
    pub fn widowed_link(&self) -> Option<Link> {
        let rest = self.case.only_side()?;
        let mut link = self.case.link.clone().filter(|link| !link.is_detached())?;
        link.keys = BySide::default();
        link.keys[rest] = self.case.keys[rest].clone();
        link.since[rest] = self.case.since[rest];
        link.gone[rest.other()] = true;
        Some(link)
    }

    pub fn rely_on(&mut self, side: Side, offset: u64) {
        let relies = &mut self.relies[side];
        if offset != 0 && (*relies == 0 || offset < *relies) {
            *relies = offset;
        }
    }
}

//! The reconcile phase: existing data, an interrupted copy, a lost position, or a pair whose mapping
//! has changed.
//!
//! Both sides are scanned at known positions. Page by page the matches are decided; what needs
//! values is fetched from the same views, planned by the same planner as live changes, and
//! settled. Interrupted anywhere, it starts over and finds what is linked already.

use std::collections::VecDeque;

use super::counterpart::Draft;
use super::open::Open;
use super::settlement::Gone;
use super::{Command, Session, Settlement, State, round};
use crate::baseline::Fingerprint;
use crate::decide::{Decision, Match, Scanned, decide};
use crate::model::{
    BatchId, BySide, Finding, FindingCode, Key, Link, LinkId, PairId, Place, Position, Row, Side,
    Since, Trace,
};
use crate::plan::{Case, Seen, new_field};
use crate::policy::{Direction, Existing, PairPolicy};

/// A reconcile in progress.
#[derive(Debug)]
pub(super) struct Copying {
    /// Where both sides were scanned.
    positions: BySide<Position>,
    /// The pairs that were scanned and are not complete yet, in their order.
    pub pairs: VecDeque<PairId>,
    page_done: bool,
    /// Matches whose values are being fetched.
    fetching: Vec<Match>,
    /// What the page settles without a step.
    extra: Settlement,
}

/// When the records that a scan found have their keys.
fn scanned_at(position: &Position) -> Since {
    Since {
        batch: position.passed,
        place: Place::end_of(position.offset),
    }
}

impl Session {
    pub(super) fn pairs_to_scan(&self) -> Vec<PairId> {
        let mut pairs: Vec<PairId> = match &self.resume.positions {
            Some(_) => self.resume.pairs_due().collect(),
            None => (0..self.config.policies.len() as u32).map(PairId).collect(),
        };
        // Those that others refer to come first.
        pairs.sort_by_key(|pair| self.config.ranks[pair.0 as usize]);
        pairs
    }

    pub(super) fn handle_scanned(&mut self, mut positions: BySide<Position>) {
        let State::Scanning = self.state else { return };
        for side in Side::BOTH {
            let passed = &mut positions[side].passed;
            match &self.resume.positions {
                // Every batch of an earlier run was committed before the scan, or never will be.
                None => *passed = BatchId::of_run(self.config.epoch, 0),
                // As the stream will have it when it comes to the scan's position.
                Some(settled) => *passed = settled[side].passed.max(*passed),
            }
        }
        self.start_from(&positions);
        self.copying = Some(Copying {
            positions,
            pairs: self.pairs_to_scan().into(),
            page_done: false,
            fetching: Vec::new(),
            extra: Settlement::default(),
        });
        self.next_page();
    }

    /// Asks for the pair's next matches, or goes live after the last pair.
    pub(super) fn next_page(&mut self) {
        let Some(copying) = &mut self.copying else {
            return;
        };
        if std::mem::take(&mut copying.page_done) {
            copying.pairs.pop_front();
        }
        if let Some(&pair) = copying.pairs.front() {
            self.state = State::Matching;
            let limit = self.config.copy_round_max;
            self.commands
                .push_back(Command::NextMatches { pair, limit });
            return;
        }
        let positions = copying.positions.clone();
        let mut settlement = match &self.resume.positions {
            None => Settlement {
                positions: BySide::new(Some(positions.left), Some(positions.right)),
                live: true,
                ..Settlement::default()
            },
            Some(_) => Settlement {
                reconciled: self.reconciled_at(&positions),
                ..Settlement::default()
            },
        };
        self.remember_waiting(&mut settlement);
        self.state = State::SettlingCopy;
        self.commands
            .push_back(Command::Settle(Box::new(settlement)));
    }

    /// The pairs that were scanned beside the streams, and where.
    fn reconciled_at(&self, positions: &BySide<Position>) -> Vec<(PairId, BySide<u64>)> {
        let known = BySide::from_fn(|side| positions[side].offset);
        self.resume.pairs_due().map(|pair| (pair, known)).collect()
    }

    /// Records that wait rely on the scan, which no stream repeats: a crash must not forget them.
    fn remember_waiting(&mut self, out: &mut Settlement) {
        let seen = BySide::from_fn(|side| self.reach[side].place);
        for open in self.book.cases_mut() {
            round::settle_widowed(open, seen, out);
            remember_moved(open, seen, out);
            for side in Side::BOTH {
                let key = open.case.keys[side].clone();
                let Some(key) = key.filter(|_| open.is_alive(side)) else {
                    continue;
                };
                out.findings.push(Finding::of(
                    (open.case.pair, side, key.clone()),
                    FindingCode::ChangedWhileCopied,
                ));
                open.findings.push((side, key));
            }
        }
    }

    pub(super) fn handle_copy_settled(&mut self) {
        let Some(copying) = self.copying.take() else {
            return;
        };
        match self.resume.positions.clone() {
            None => self.resume.positions = Some(copying.positions.clone()),
            Some(_) => self.note_known(&copying.positions),
        }
        self.resume.due.clear();
        let from = self.resume.positions.clone();
        self.open_streams(from.unwrap_or(copying.positions));
    }

    /// What the histories say of the scanned pairs up to the scan is not taken in.
    fn note_known(&mut self, positions: &BySide<Position>) {
        for (pair, at) in self.reconciled_at(positions) {
            let known = &mut self.resume.known;
            let count = known.len().max(pair.0 as usize + 1);
            known.resize(count, BySide::default());
            known[pair.0 as usize] = at;
        }
    }

    pub(super) fn handle_matches(&mut self, found: Vec<Match>, done: bool) {
        let (State::Matching, Some(copying)) = (&self.state, &mut self.copying) else {
            return;
        };
        let Some(&pair) = copying.pairs.front() else {
            return;
        };
        let policy = &self.config.policies[pair.0 as usize];
        let prints = &self.config.prints;
        let first_run = self
            .resume
            .first_run
            .get(pair.0 as usize)
            .copied()
            .unwrap_or(true);
        copying.page_done = done;
        let mut keys: BySide<Vec<Key>> = BySide::default();
        for found in found {
            match decide(&found, policy, prints, first_run) {
                Decision::Nothing | Decision::Outside => {}
                Decision::Link | Decision::Detach => {
                    let link = link_of(&found, policy, &copying.positions);
                    copying.extra.links.push((pair, link));
                }
                Decision::Finding(side, code) => {
                    if let Some(scanned) = &found.scanned[side] {
                        let key = scanned.key.clone();
                        let detail = code.advice().to_owned();
                        copying.extra.findings.push(Finding {
                            pair,
                            side,
                            key,
                            code,
                            detail,
                        });
                    }
                }
                Decision::Unlink => {
                    if let Some(link) = &found.link {
                        copying.extra.dropped.push((pair, link.id));
                    }
                }
                Decision::Plan { fetch, .. } => {
                    for side in Side::BOTH {
                        if let (true, Some(scanned)) = (fetch[side], &found.scanned[side]) {
                            keys[side].push(scanned.key.clone());
                        }
                    }
                    copying.fetching.push(found);
                }
            }
        }
        if keys.left.is_empty() && keys.right.is_empty() && copying.fetching.is_empty() {
            let extra = std::mem::take(&mut copying.extra);
            self.start_round(Vec::new(), extra, true);
            return;
        }
        self.state = State::Fetching;
        self.commands.push_back(Command::Fetch { pair, keys });
    }

    pub(super) fn handle_fetched(&mut self, rows: BySide<Vec<Option<Row>>>) {
        let (State::Fetching, Some(copying)) = (&self.state, &mut self.copying) else {
            return;
        };
        let Some(&pair) = copying.pairs.front() else {
            return;
        };
        let policy = &self.config.policies[pair.0 as usize];
        let prints = &self.config.prints;
        let first_run = self
            .resume
            .first_run
            .get(pair.0 as usize)
            .copied()
            .unwrap_or(true);
        let existing = first_run.then_some(policy.existing);
        let positions = copying.positions.clone();
        let mut rows = BySide::new(rows.left.into_iter(), rows.right.into_iter());
        let mut drafts = Vec::new();
        for found in std::mem::take(&mut copying.fetching) {
            let Decision::Plan { fetch, .. } = decide(&found, policy, prints, first_run) else {
                continue;
            };
            let newcomer = found.newcomer();
            let mut case = Case {
                pair,
                link: found.link,
                keys: BySide::default(),
                since: BySide::default(),
                seen: BySide::default(),
                is_renewed: false,
                existing,
                is_scanned: true,
                echoes: BySide::default(),
                masks: BySide::default(),
            };
            let mut relies = BySide::default();
            for side in Side::BOTH {
                let former = case.link.as_ref().and_then(|link| link.keys[side].clone());
                let scanned = found.scanned[side].as_ref().map(|s| s.key.clone());
                case.since[side] = match &case.link {
                    Some(link) if scanned.is_none() || scanned == former => link.since[side],
                    _ => scanned_at(&positions[side]),
                };
                if fetch[side] && scanned.is_some() {
                    if let Some(row) = rows[side].next().flatten() {
                        case.seen[side] = Seen::Present { row, time: None };
                    }
                } else if case.link.is_some() && scanned.is_none() {
                    case.seen[side] = Seen::Gone { time: None };
                }
                if case.seen[side] != Seen::Unseen {
                    relies[side] = positions[side].offset;
                }
                case.keys[side] = scanned.or(former);
            }
            let mut open = Open::new(case);
            open.relies = relies;
            if let Some(side) = newcomer {
                open.welcome(side, None);
            }
            drafts.push(Draft {
                open,
                problem: None,
            });
        }
        let extra = std::mem::take(&mut copying.extra);
        self.name_copied(drafts, extra);
    }
}

/// The scan has found a linked record under another key. No stream tells of the move, and somebody else
/// may get the former key.
fn remember_moved(open: &mut Open, seen: BySide<Place>, out: &mut Settlement) {
    let is_whole = open.is_alive(Side::Left) && open.is_alive(Side::Right);
    let case = &mut open.case;
    let Some(link) = case.link.as_mut().filter(|_| is_whole && !case.is_renewed) else {
        return;
    };
    let mut has_moved = false;
    for side in Side::BOTH {
        let now = case.keys[side].clone();
        if link.keys[side].is_none() || link.keys[side] == now {
            continue;
        }
        let trace = Trace {
            since: link.since[side],
            seen: seen[side],
            written: link.written[side],
        };
        let former = std::mem::replace(&mut link.keys[side], now);
        link.since[side] = case.since[side];
        out.gone.extend(former.map(|key| Gone {
            pair: case.pair,
            side,
            key,
            trace,
        }));
        has_moved = true;
    }
    if has_moved {
        out.links.push((case.pair, link.clone()));
    }
}

/// The link that two scanned records (or one that stays alone) make as they are.
fn link_of(found: &Match, policy: &PairPolicy, positions: &BySide<Position>) -> Link {
    let prints = |side: Side| -> Vec<Fingerprint> {
        match (&found.scanned[side], &found.scanned[side.other()]) {
            (Some(scanned), _) => scanned.fingerprints.clone(),
            (None, Some(other)) => vec![Fingerprint::UNKNOWN; other.fingerprints.len()],
            (None, None) => Vec::new(),
        }
    };
    let link = found.link.as_ref();
    if let (Some(link), Some(left), Some(right)) = (link, &found.scanned.left, &found.scanned.right)
        && found.newcomer().is_none()
    {
        return settled_link(link, policy, BySide::new(left, right), positions);
    }
    Link {
        id: link.map_or(LinkId(0), |link| link.id),
        keys: BySide::from_fn(|side| found.scanned[side].as_ref().map(|s| s.key.clone())),
        since: BySide::from_fn(|side| since_of(link, &found.scanned[side], side, positions)),
        gone: BySide::default(),
        baseline: BySide::from_fn(prints),
        seen: BySide::from_fn(|side| Place::end_of(positions[side].offset)),
        written: BySide::from_fn(|side| link.map_or(BatchId::NONE, |link| link.written[side])),
    }
}

/// A link whose records both changed to the same: the other fields stay as they were agreed.
fn settled_link(
    link: &Link,
    policy: &PairPolicy,
    now: BySide<&Scanned>,
    positions: &BySide<Position>,
) -> Link {
    let mut link = link.clone();
    for field in 0..link.baseline.left.len() {
        let prints = BySide::from_fn(|side| now[side].fingerprints[field]);
        let is_looked_at = policy.fields[field].direction == Direction::Neither;
        let baseline = BySide::from_fn(|side| link.baseline[side][field]);
        let is_taken_over = new_field(policy, &baseline) == Some(Existing::LinkOnly);
        if is_looked_at || is_taken_over || prints.left == prints.right {
            for side in Side::BOTH {
                link.baseline[side][field] = prints[side];
            }
        }
    }
    for side in Side::BOTH {
        link.since[side] = since_of(Some(&link), &Some(now[side].clone()), side, positions);
        link.keys[side] = Some(now[side].key.clone());
        link.seen[side] = Place::end_of(positions[side].offset);
    }
    link
}

/// From when on a scanned record has its key: as before where its link has it already.
fn since_of(
    link: Option<&Link>,
    scanned: &Option<Scanned>,
    side: Side,
    positions: &BySide<Position>,
) -> Since {
    match (link, scanned) {
        (Some(link), Some(scanned)) if link.keys[side].as_ref() == Some(&scanned.key) => {
            link.since[side]
        }
        _ => scanned_at(&positions[side]),
    }
}

//! The simulated store: settlements are atomic, links a bijection, traces purged as the positions
//! pass them, and the join of scans with links and match keys as the real store does it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::{Match, Scanned};
use tidegate_sync::model::{
    BySide, Conflict, Finding, FindingCode, Key, Link, LinkId, Lookup, PairId, Place, Position,
    Side, Since, Trace,
};
use tidegate_sync::session::{Resume, Round, Settlement};

use crate::oracle::{self, Check, Violation};

/// A scanned record with its match hash.
#[derive(Clone, Debug)]
pub struct ScanRow {
    pub scanned: Scanned,
    pub hash: Option<[u8; 16]>,
}

#[derive(Clone, Debug, Default)]
pub struct Store {
    pub links: BTreeMap<(PairId, LinkId), Link>,
    by_key: BTreeMap<(Side, PairId, Key), BTreeMap<Since, LinkId>>,
    gone: BTreeMap<(Side, PairId, Key), BTreeMap<Since, Trace>>,
    pub findings: BTreeMap<(PairId, Side, Key), Finding>,
    pub conflicts: Vec<Conflict>,
    /// Links, and fields of links, of which a person was asked.
    pub asked: BTreeSet<(PairId, LinkId, Option<usize>)>,
    pub positions: Option<BySide<Position>>,
    pub was_live: bool,
    /// More than one reconcile began: records were looked for by their keys.
    pub was_scanned_again: bool,
    pub round: Option<Round>,
    /// Pairs that were edited, and those that are new, until they are reconciled.
    pub due: BTreeSet<PairId>,
    pub fresh: BTreeSet<PairId>,
    known: BTreeMap<PairId, BySide<u64>>,
    next_id: u64,
    /// Traces are kept from scan to scan, so that old positions can be replayed.
    pub keeps_traces: bool,
    pub written: u64,
}

impl Store {
    pub fn resume(&self, pairs: usize) -> Resume {
        Resume {
            positions: self.positions.clone(),
            round: self.round.clone(),
            first_run: self.of_pairs(pairs, |pair| !self.was_live || self.fresh.contains(&pair)),
            due: self.of_pairs(pairs, |pair| {
                self.due.contains(&pair) || self.fresh.contains(&pair)
            }),
            known: self.of_pairs(pairs, |pair| {
                self.known.get(&pair).copied().unwrap_or_default()
            }),
        }
    }

    fn of_pairs<T>(&self, pairs: usize, of: impl Fn(PairId) -> T) -> Vec<T> {
        (0..pairs as u32).map(|pair| of(PairId(pair))).collect()
    }

    pub fn lookup(&self, side: Side, pair: PairId, key: &Key) -> Lookup {
        let slot = (side, pair, key.clone());
        let tenants = self.by_key.get(&slot).into_iter().flatten();
        let traces = self.gone.get(&slot).into_iter().flatten();
        let finding = self.findings.get(&(pair, side, key.clone()));
        Lookup {
            links: tenants
                .map(|(_, id)| self.links[&(pair, *id)].clone())
                .collect(),
            traces: traces.map(|(_, trace)| *trace).collect(),
            has_finding: finding.is_some(),
            is_altered: finding.is_some_and(|f| f.code == FindingCode::ValueAltered),
        }
    }

    pub fn intend(&mut self, round: Round) -> Check {
        if self.round.is_some() {
            return Violation::check("I6", "a round was intended over an open one".into());
        }
        self.round = Some(round);
        Ok(())
    }

    /// One transaction.
    pub fn settle(&mut self, settlement: &Settlement) -> Result<Vec<LinkId>, Violation> {
        for (pair, id) in &settlement.dropped {
            self.free(*pair, *id);
        }
        for (pair, link) in &settlement.links {
            if link.id != LinkId(0) {
                self.free(*pair, link.id);
            }
        }
        let mut ids = Vec::new();
        for (pair, link) in &settlement.links {
            ids.push(self.put_link(*pair, link.clone())?);
        }
        for gone in &settlement.gone {
            let slot = (gone.side, gone.pair, gone.key.clone());
            let of_key = self.gone.entry(slot).or_default();
            let trace = of_key.entry(gone.trace.since).or_insert(gone.trace);
            trace.seen = trace.seen.max(gone.trace.seen);
            trace.written = trace.written.max(gone.trace.written);
        }
        for (pair, side, key) in &settlement.resolved {
            self.findings.remove(&(*pair, *side, key.clone()));
        }
        for finding in &settlement.findings {
            let slot = (finding.pair, finding.side, finding.key.clone());
            self.findings.insert(slot, finding.clone());
        }
        self.conflicts.extend(
            settlement
                .conflicts
                .iter()
                .map(|noted| noted.conflict.clone()),
        );
        let open = settlement.conflicts.iter();
        let open = open.filter(|noted| noted.conflict.winner.is_none());
        self.asked.extend(open.filter_map(|noted| {
            let conflict = &noted.conflict;
            Some((conflict.pair, ids[noted.link?], conflict.field))
        }));
        let written = settlement.applied.iter().filter(|a| !a.why.is_edit());
        self.written += written.count() as u64;
        self.put_positions(settlement)?;
        if settlement.round_done {
            self.round = None;
        }
        if settlement.live {
            self.was_live = true;
            self.due.clear();
            self.fresh.clear();
        }
        for (pair, known) in &settlement.reconciled {
            self.due.remove(pair);
            self.fresh.remove(pair);
            self.known.insert(*pair, *known);
        }
        Ok(ids)
    }

    /// A field of the pair was taken out of the mapping and is new in it.
    pub fn renew_field(&mut self, pair: PairId, field: usize) {
        for ((of, _), link) in &mut self.links {
            if *of == pair {
                for side in Side::BOTH {
                    link.baseline[side][field] = Fingerprint::NEW;
                }
            }
        }
        self.due.insert(pair);
    }

    /// The pair was taken out of the sync and is new in it.
    pub fn renew_pair(&mut self, pair: PairId) {
        self.links.retain(|(of, _), _| *of != pair);
        self.by_key.retain(|(_, of, _), _| *of != pair);
        self.gone.retain(|(_, of, _), _| *of != pair);
        self.findings.retain(|(of, ..), _| *of != pair);
        self.fresh.insert(pair);
    }

    fn free(&mut self, pair: PairId, id: LinkId) {
        if let Some(link) = self.links.remove(&(pair, id)) {
            for side in Side::BOTH {
                let Some(key) = &link.keys[side] else {
                    continue;
                };
                if let Some(tenants) = self.by_key.get_mut(&(side, pair, key.clone())) {
                    tenants.remove(&link.since[side]);
                }
            }
        }
    }

    fn put_link(&mut self, pair: PairId, mut link: Link) -> Result<LinkId, Violation> {
        if link.id == LinkId(0) {
            self.next_id += 1;
            link.id = LinkId(self.next_id);
        }
        for side in Side::BOTH {
            let Some(key) = &link.keys[side] else {
                continue;
            };
            let slot = (side, pair, key.clone());
            let tenants = self.by_key.entry(slot).or_default();
            if let Some(other) = tenants.insert(link.since[side], link.id) {
                oracle::link_taken(pair, side, key, other, link.id)?;
            }
        }
        let id = link.id;
        self.links.insert((pair, id), link);
        Ok(id)
    }

    fn put_positions(&mut self, settlement: &Settlement) -> Check {
        for side in Side::BOTH {
            let Some(position) = &settlement.positions[side] else {
                continue;
            };
            let mut positions = self.positions.clone().unwrap_or_default();
            if positions[side].offset > position.offset {
                let text = format!("{} position moved back", side.name());
                return Violation::check("I9", text);
            }
            positions[side] = position.clone();
            self.positions = Some(positions);
            // A scan begins the history anew.
            if !self.keeps_traces || settlement.live {
                let (at, passed) = (position.offset, position.passed);
                for ((s, ..), traces) in &mut self.gone {
                    traces.retain(|_, trace| {
                        *s != side || trace.seen > Place::end_of(at) || trace.written > passed
                    });
                }
            }
        }
        Ok(())
    }

    /// All matches of a pair: linked, then by match key. The same rules as the real store's join.
    pub fn join(&self, pair: PairId, scans: &BySide<Vec<ScanRow>>) -> Vec<Match> {
        let by_key = BySide::from_fn(|side| {
            scans[side]
                .iter()
                .map(|row| (row.scanned.key.clone(), row))
                .collect::<BTreeMap<_, _>>()
        });
        let mut found: Vec<Match> = Vec::new();
        let mut groups: BTreeMap<[u8; 16], Vec<Member>> = BTreeMap::new();
        let mut linked: BySide<BTreeMap<Key, Option<usize>>> = BySide::default();
        for ((of, _), link) in &self.links {
            if *of != pair {
                continue;
            }
            let scanned = BySide::from_fn(|side| {
                let key = link.keys[side].as_ref()?;
                let tenants = self.by_key.get(&(side, pair, key.clone()))?;
                let is_last = tenants
                    .last_key_value()
                    .is_some_and(|(_, id)| *id == link.id);
                let row = by_key[side].get(key).filter(|_| is_last);
                row.map(|row| row.scanned.clone())
            });
            let lonely = scanned.left.is_none() || scanned.right.is_none();
            for side in Side::BOTH {
                if let Some(record) = &scanned[side] {
                    linked[side].insert(record.key.clone(), lonely.then_some(found.len()));
                }
            }
            found.push(Match {
                link: Some(link.clone()),
                scanned,
                problem: None,
            });
        }
        for side in Side::BOTH {
            for row in &scans[side] {
                let member = Member {
                    side,
                    scanned: row.scanned.clone(),
                    link: linked[side].get(&row.scanned.key).copied(),
                };
                match row.hash {
                    Some(hash) => groups.entry(hash).or_default().push(member),
                    None if member.link.is_some() => {}
                    None => found.push(member.alone(Some(FindingCode::NullMatchKey))),
                }
            }
        }
        for group in groups.into_values() {
            classify(group, &mut found);
        }
        found
    }
}

struct Member {
    side: Side,
    scanned: Scanned,
    /// Set when linked; the inner place in `found` when its link has nothing on the other side.
    link: Option<Option<usize>>,
}

impl Member {
    fn alone(&self, problem: Option<FindingCode>) -> Match {
        let mut scanned = BySide::default();
        scanned[self.side] = Some(self.scanned.clone());
        Match {
            link: None,
            scanned,
            problem,
        }
    }
}

fn classify(group: Vec<Member>, found: &mut Vec<Match>) {
    if group.iter().all(|member| member.link.is_some()) {
        return;
    }
    let (left, right): (Vec<_>, Vec<_>) = group.iter().partition(|m| m.side == Side::Left);
    if left.len() > 1 || right.len() > 1 {
        let unlinked = group.iter().filter(|member| member.link.is_none());
        found.extend(unlinked.map(|m| m.alone(Some(FindingCode::DuplicateMatchKey))));
        return;
    }
    match (left.first(), right.first()) {
        (Some(left), Some(right)) if left.link.is_none() && right.link.is_none() => {
            found.push(Match {
                link: None,
                scanned: BySide::new(Some(left.scanned.clone()), Some(right.scanned.clone())),
                problem: None,
            });
        }
        (Some(left), Some(right)) => {
            let (new, old) = if left.link.is_none() {
                (left, right)
            } else {
                (right, left)
            };
            match old.link.flatten() {
                Some(place) => found[place].scanned[new.side] = Some(new.scanned.clone()),
                None => found.push(new.alone(Some(FindingCode::MatchKeyTaken))),
            }
        }
        (Some(alone), None) | (None, Some(alone)) => found.push(alone.alone(None)),
        (None, None) => {}
    }
}

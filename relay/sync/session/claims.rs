//! Keys that a round's writes gave to records, and that another link still claims.
//!
//! A side may use a key again: a person deletes (or rekeys) a record, and before its change
//! arrives a write of ours makes another record with the same key. The former record of that key
//! is certainly gone or moved, so its link is dropped, and its counterpart is tried again like a
//! record with a finding: it is matched by its match key or created anew, never deleted.

use std::collections::HashMap;

use super::deferred::Deferred;
use super::{Command, Session, Settlement, State};
use crate::model::{
    BySide, Finding, FindingCode, Key, Link, LinkId, Lookup, Outcome, PairId, Recovered, Side,
};
use crate::plan::{Case, Seen};

/// What is settled once the claims are looked up.
#[derive(Debug)]
pub(super) enum Claimed {
    Round(BySide<Vec<Outcome>>),
    Recovery(Box<Settlement>),
}

impl Session {
    /// Looks up who claims `keys`, if there are any, before `what` is settled.
    pub(super) fn check_claims(&mut self, keys: Vec<(Side, PairId, Key)>, what: Claimed) {
        if keys.is_empty() {
            self.settle_claimed(what, Vec::new());
            return;
        }
        self.state = State::Claiming {
            keys: keys.clone(),
            what,
        };
        self.commands.push_back(Command::Load { keys });
    }

    pub(super) fn handle_claims(&mut self, lookups: Vec<Lookup>) {
        let State::Claiming { keys, what } = std::mem::replace(&mut self.state, State::Start)
        else {
            return;
        };
        let claimed = keys.into_iter().zip(lookups);
        let claims = claimed
            .filter_map(|((side, pair, key), lookup)| {
                let link = lookup.link?;
                Some(Claim {
                    side,
                    pair,
                    key,
                    link,
                })
            })
            .collect();
        self.settle_claimed(what, claims);
    }

    fn settle_claimed(&mut self, what: Claimed, claims: Vec<Claim>) {
        match what {
            Claimed::Round(outcomes) => self.settle_round(&outcomes, claims),
            Claimed::Recovery(settlement) => self.settle_recovery(*settlement, claims),
        }
    }

    /// Drops the links whose keys a settled link took over.
    pub(super) fn give_up(&mut self, claims: Vec<Claim>, settlement: &mut Settlement) {
        for claim in claims {
            if !claim.is_lost(settlement) {
                continue;
            }
            let Claim {
                side, pair, link, ..
            } = claim;
            settlement
                .links
                .retain(|(p, l)| *p != pair || l.id != link.id);
            settlement.dropped.push((pair, link.id));
            self.try_again(side.other(), pair, &link, settlement);
        }
        self.settle_rivals(settlement);
    }

    /// Two links of one settlement with the same key: the one whose record a later write made has
    /// it, and the other's counterpart is tried again.
    fn settle_rivals(&mut self, settlement: &mut Settlement) {
        for side in Side::BOTH {
            let mut held: HashMap<(PairId, Key), usize> = HashMap::new();
            let mut losers: Vec<usize> = Vec::new();
            for (number, (pair, link)) in settlement.links.iter().enumerate() {
                let Some(key) = link.keys[side].clone() else {
                    continue;
                };
                let Some(rival) = held.insert((*pair, key.clone()), number) else {
                    continue;
                };
                if settlement.links[rival].1.written[side] > link.written[side] {
                    held.insert((*pair, key), rival);
                    losers.push(number);
                } else {
                    losers.push(rival);
                }
            }
            losers.sort_unstable();
            for number in losers.into_iter().rev() {
                let (pair, link) = settlement.links.remove(number);
                if link.id != LinkId(0) {
                    settlement.dropped.push((pair, link.id));
                }
                self.try_again(side.other(), pair, &link, settlement);
            }
        }
    }

    fn try_again(&mut self, side: Side, pair: PairId, link: &Link, settlement: &mut Settlement) {
        if let Some(key) = link.keys[side].clone() {
            settlement.findings.push(Finding {
                pair,
                side,
                key: key.clone(),
                code: FindingCode::KeyReused,
                detail: FindingCode::KeyReused.advice().to_owned(),
            });
            self.wait_for_read(side, pair, key);
        }
    }

    /// Has a record read and planned, whatever is known of it.
    pub(super) fn wait_for_read(&mut self, side: Side, pair: PairId, key: Key) {
        let mut keys = BySide::default();
        keys[side] = Some(key);
        let case = Case {
            pair,
            link: None,
            keys,
            seen: BySide::<Seen>::default(),
            since: BySide::default(),
            passed: BySide::default(),
            vanished: BySide::default(),
            existing: None,
        };
        let mut deferred = Deferred::new(case);
        deferred.to_read[side] = true;
        self.waiting.add(deferred);
    }
}

/// A link that has a key which a write gave to a record.
#[derive(Debug)]
pub(super) struct Claim {
    side: Side,
    pair: PairId,
    key: Key,
    link: Link,
}

impl Claim {
    /// True when another link of the settlement has the key, and this one is not rid of it.
    fn is_lost(&self, settlement: &Settlement) -> bool {
        let id = (self.pair, self.link.id);
        if settlement.dropped.contains(&id) {
            return false;
        }
        let of_pair = |link: &&(PairId, Link)| link.0 == self.pair;
        let links = || {
            settlement
                .links
                .iter()
                .filter(of_pair)
                .map(|(_, link)| link)
        };
        let has_key = |link: &Link| link.keys[self.side].as_ref() == Some(&self.key);
        let kept = links()
            .find(|link| link.id == self.link.id)
            .is_none_or(has_key);
        kept && links().any(|link| link.id != self.link.id && has_key(link))
    }
}

/// True for a key that the record's link does not have yet.
pub(super) fn is_new_key(key: &Key, link: &Link, side: Side) -> bool {
    link.id == LinkId(0) || link.keys[side].as_ref() != Some(key)
}

/// The key that a recovered step gave to its record.
pub(super) fn recovered_key(recovered: &Recovered) -> Option<&Key> {
    match recovered {
        Recovered::Written { key, .. } => Some(key),
        Recovered::Deleted | Recovered::NotDone => None,
    }
}

/// The key that a step gave to its record.
pub(super) fn written_key(outcome: &Outcome) -> Option<&Key> {
    match outcome {
        Outcome::Written(stored) => Some(&stored.key),
        _ => None,
    }
}

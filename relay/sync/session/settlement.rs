//! A settlement: what one store transaction makes durable.

use std::collections::HashSet;

use crate::decide::Write;
use crate::model::{
    BatchId, BySide, Conflict, Finding, FindingCode, Key, Link, LinkId, PairId, Position, Side,
};

/// Everything that both sides confirmed since the last one. Applied in one transaction, all or
/// nothing; only after it is durable are its positions acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settlement {
    /// Inserted where the id is 0, else replaced.
    pub links: Vec<(PairId, Link)>,
    pub dropped: Vec<(PairId, LinkId)>,
    pub gone: Vec<Gone>,
    pub conflicts: Vec<Conflict>,
    /// One per record: a newer one replaces an older one.
    pub findings: Vec<Finding>,
    pub resolved: Vec<(PairId, Side, Key)>,
    /// Traces of gone records at or before these positions may be forgotten.
    pub positions: BySide<Option<Position>>,
    /// The intended round is complete.
    pub round_done: bool,
    /// Every pair was reconciled completely: from here on changes are streamed.
    pub live: bool,
    /// What was written, for history and live events.
    pub applied: Vec<Applied>,
}

impl Settlement {
    /// True when there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self == &Settlement::default()
    }

    /// Lets go of all but one of the links that name the same record, which two cases of one round
    /// can come to: the one that wrote the record last stays, the other record is a finding.
    pub(super) fn keep_one_link_per_key(&mut self) {
        let mut order: Vec<usize> = (0..self.links.len()).collect();
        let newest = |link: &Link| link.written.left.max(link.written.right);
        order.sort_by_key(|&number| std::cmp::Reverse(newest(&self.links[number].1)));
        let mut taken: HashSet<(PairId, Side, Key)> = HashSet::new();
        let mut let_go: Vec<usize> = Vec::new();
        for number in order {
            let (pair, link) = &self.links[number];
            let names = |side: &Side| link.keys[*side].clone().map(|key| (*pair, *side, key));
            let keys: Vec<(PairId, Side, Key)> = Side::BOTH.iter().filter_map(names).collect();
            if keys.iter().any(|key| taken.contains(key)) {
                let free = keys.into_iter().filter(|key| !taken.contains(key));
                self.findings.extend(free.map(|(pair, side, key)| Finding {
                    pair,
                    side,
                    key,
                    code: FindingCode::MatchKeyTaken,
                    detail: FindingCode::MatchKeyTaken.advice().to_owned(),
                }));
                let_go.push(number);
            } else {
                taken.extend(keys);
            }
        }
        let_go.sort_unstable();
        for number in let_go.into_iter().rev() {
            let (pair, link) = self.links.remove(number);
            if link.id != LinkId(0) {
                self.dropped.push((pair, link.id));
            }
        }
    }
}

/// A key that no longer names a record, with how far its side's reports about it are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    pub pair: PairId,
    pub side: Side,
    pub key: Key,
    pub seen: u64,
    pub written: BatchId,
}

/// One successful write.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub pair: PairId,
    /// The side that was written.
    pub side: Side,
    pub write: Write,
    pub keys: BySide<Option<Key>>,
    /// Indices of the fields that were set.
    pub fields: Vec<usize>,
    /// When the other side says that the change happened (µs since 2000-01-01 UTC).
    pub source_time: Option<i64>,
}

//! A settlement: what one store transaction makes durable.

use crate::decide::Write;
use crate::model::{BySide, Conflict, Finding, Key, Link, LinkId, PairId, Position, Side, Trace};

/// Everything that both sides confirmed since the last one. Applied in one transaction, all or
/// nothing; only after it is durable are its positions acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settlement {
    /// Inserted where the id is 0, else replaced.
    pub links: Vec<(PairId, Link)>,
    pub dropped: Vec<(PairId, LinkId)>,
    pub gone: Vec<Gone>,
    pub conflicts: Vec<Noted>,
    /// One per record: a newer one replaces an older one.
    pub findings: Vec<Finding>,
    pub resolved: Vec<(PairId, Side, Key)>,
    /// Traces of gone records at or before these positions may be forgotten.
    pub positions: BySide<Option<Position>>,
    /// The intended round is complete.
    pub round_done: bool,
    /// Every pair was reconciled completely: from here on changes are streamed.
    pub live: bool,
    /// Pairs that were reconciled while the histories of the others are streamed on, and where they
    /// were scanned: what the histories say of them up to there is known.
    pub reconciled: Vec<(PairId, BySide<u64>)>,
    /// What was written, for history and live events.
    pub applied: Vec<Applied>,
}

impl Settlement {
    /// True when there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self == &Settlement::default()
    }
}

/// A conflict, with the place among the settlement's links of the one that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    pub conflict: Conflict,
    /// Always set for a conflict that waits for a person.
    pub link: Option<usize>,
}

/// A key that no longer names a record that was linked.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    pub pair: PairId,
    pub side: Side,
    pub key: Key,
    pub trace: Trace,
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

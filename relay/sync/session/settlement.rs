//! A settlement: what one store transaction makes durable.

use serde::{Deserialize, Serialize};

use crate::baseline::Fingerprint;
use crate::decide::Write;
use crate::model::{
    BatchId, Before, BySide, Cell, Conflict, Finding, Key, Link, LinkId, PairId, Position, Row,
    Side, Trace,
};
use crate::value::Value;

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
    pub why: Why,
    /// The batch of the side that wrote it.
    pub batch: BatchId,
    pub keys: BySide<Option<Key>>,
    /// The key that the record had on the written side, where the write gave it another one.
    pub former_key: Option<Key>,
    /// Indices of the fields that were set.
    pub fields: Vec<usize>,
    pub values: Values,
    /// Of the whole record as the write left it; [`Fingerprint::UNKNOWN`] after a deletion.
    pub print: Fingerprint,
    /// When the other side says that the change happened (µs since 2000-01-01 UTC).
    pub source_time: Option<i64>,
}

impl Applied {
    /// The same for whoever only counts and tells.
    pub fn without_values(&self) -> Applied {
        Applied {
            pair: self.pair,
            side: self.side,
            write: self.write,
            why: self.why,
            batch: self.batch,
            keys: self.keys.clone(),
            former_key: None,
            fields: self.fields.clone(),
            values: Values::Off,
            print: self.print,
            source_time: self.source_time,
        }
    }
}

/// Why a record was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The other side changed.
    #[default]
    Change,
    /// Existing data was copied for the first time.
    Copy,
    /// Both sides changed, and a policy chose.
    Conflict,
    /// A field that flows one way was edited on its far side, and put back.
    Restore,
    /// A person took earlier writes back.
    Undo,
    /// A person picked one of two conflicting values.
    Pick,
}

impl Why {
    /// True for what a person asked the sync to write: news of the side that is written.
    pub fn is_edit(self) -> bool {
        matches!(self, Why::Undo | Why::Pick)
    }
}

/// The values that a write replaced and left.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Kept(Vec<FieldWrite>),
    /// A create of the first copy: by the hundred thousand, and the other side has the same.
    Copied,
    /// The relay died between the write and its settlement: nobody can tell any more.
    Interrupted,
    /// The sync keeps no values.
    Off,
    /// More than history keeps of one write.
    TooLong,
}

impl Values {
    /// Of a write that set `fields`, and left the record as `row`.
    pub(super) fn of(write: Write, fields: &[usize], row: &Row, before: &Before) -> Values {
        let after = |field: usize| row.get(field).and_then(Cell::value).cloned();
        let made = |&field: &usize| FieldWrite {
            field,
            before: None,
            after: after(field),
        };
        let replaced = |(field, value): &(usize, Value)| FieldWrite {
            field: *field,
            before: Some(value.clone()),
            after: after(*field),
        };
        Values::Kept(match write {
            Write::Create => fields.iter().map(made).collect(),
            Write::Update | Write::Delete => before.iter().map(replaced).collect(),
        })
    }
}

/// One field of a write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldWrite {
    pub field: usize,
    /// `None` for a create.
    pub before: Option<Value>,
    /// As it was read back; `None` for a deletion.
    pub after: Option<Value>,
}

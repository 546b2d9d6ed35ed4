//! What one side reports about its records.

use serde::{Deserialize, Serialize};

use super::{BatchId, Key, PairId, Place, Since};
use crate::value::Value;

/// One mapped field of a reported record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    Value(Value),
    /// The side did not send the value because it did not change (PostgreSQL: unchanged TOAST).
    /// Not null, and not to be written.
    Unchanged,
}

impl Cell {
    pub fn value(&self) -> Option<&Value> {
        match self {
            Cell::Value(value) => Some(value),
            Cell::Unchanged => None,
        }
    }
}

/// The mapped fields of one record of one side, in the order of the pair's field pairs.
pub type Row = Vec<Cell>;

#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// The record exists with these fields. `inserted` is true when the side knows that it is new.
    Present { row: Row, inserted: bool },
    /// The side's change log says that the record was deleted.
    Gone,
}

/// One side's report about one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub pair: PairId,
    pub key: Key,
    /// The key that the record had before, when this change gave it another one.
    pub old_key: Option<Key>,
    pub kind: ChangeKind,
    /// When the side says that it happened: microseconds since 2000-01-01 UTC, by the side's own
    /// clock. Used only by the conflict policy `newest`.
    pub time: Option<i64>,
    /// Where in the side's history it was committed: PostgreSQL, the commit's end LSN.
    pub offset: u64,
    /// Its place within its transaction, which never falls: PostgreSQL, the LSN of its WAL record.
    pub at: u64,
    /// The newest of our own batches whose commit the side's history shows at or before this
    /// change (inclusive: a change made by batch `b` itself carries `b`).
    pub passed: BatchId,
    /// True when batch `passed` itself made it (or a trigger, within the batch).
    pub ours: bool,
}

impl Change {
    pub fn place(&self) -> Place {
        Place {
            offset: self.offset,
            at: self.at,
        }
    }

    /// Bytes that it holds, about.
    pub fn heap_bytes(&self) -> usize {
        let ChangeKind::Present { row, .. } = &self.kind else {
            return size_of::<Change>();
        };
        let values = row.iter().filter_map(Cell::value).map(Value::heap_bytes);
        size_of::<Change>() + row.len() * size_of::<Cell>() + values.sum::<usize>()
    }

    /// The moment of the side's history at which it happened.
    pub fn moment(&self) -> Since {
        Since {
            batch: self.passed,
            place: self.place(),
        }
    }
}

/// How far one side's history has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// PostgreSQL: LSN. Other endpoints: a number that grows with every capture.
    pub offset: u64,
    /// The newest of our own batches seen in the history so far.
    pub passed: BatchId,
    /// Opaque text with which an endpoint resumes, where the offset alone is not enough.
    pub cursor: String,
}

//! What became of every value that a person wrote on one side, for the oracles.

use std::collections::{BTreeSet, HashMap, HashSet};

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{Key, PairId};
use tidegate_sync::value::Value;

use crate::values::{normal, token};

/// What became of people's values on this side, for the oracles.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Tokens that a person or a trigger replaced or deleted here, or that may not leave this side.
    pub superseded: HashSet<u64>,
    /// Keys under which we made records, and those that they have taken since.
    pub made: BTreeSet<(PairId, Key)>,
    /// Keys that a person deleted here.
    pub deleted: BTreeSet<(PairId, Key)>,
    /// Keys that a person's record left for another one. A scan that comes after can't tell them from
    /// deleted ones.
    pub left: BTreeSet<(PairId, Key)>,
    /// Tokens that records had since (or when) they took another key.
    pub moved: HashSet<u64>,
    /// Changes of records by people and triggers.
    pub edits: u64,
    /// Every value that a field ever had here, by fingerprint.
    pub had: HashMap<Fingerprint, String>,
    /// Records that people deleted here.
    pub departed: Vec<Departed>,
    /// What we wrote to a record's field since somebody else changed it: never the same twice.
    written: HashMap<(u64, usize), HashSet<u64>>,
    /// What we wrote again all the same.
    pub repeated: Option<Repeated>,
}

/// A value that we wrote to a record twice.
#[derive(Clone, Debug)]
pub struct Repeated {
    pub token: u64,
    /// The record had taken another key.
    pub has_moved: bool,
    pub what: String,
}

/// A record that a person deleted.
#[derive(Clone, Debug)]
pub struct Departed {
    pub number: u64,
    pub pair: PairId,
    pub key: Key,
    pub cells: Vec<Value>,
    /// Every token that one of its fields ever had.
    pub had: Vec<(usize, u64)>,
    /// Every value that one of its fields ever had, in its normal form.
    pub forms: BTreeSet<(usize, String)>,
    /// Set where it was linked to a record of the other side, under the key that it always had.
    pub parted: Option<Parted>,
}

/// What a deleted record was to its counterpart.
#[derive(Clone, Debug)]
pub struct Parted {
    /// The counterpart's number, where it is known for certain.
    pub counterpart: Option<u64>,
    /// Fields that the two had never agreed on.
    pub unmet: Vec<usize>,
}

impl Ledger {
    /// A write of ours gave a field of a record this value.
    pub fn note_written(
        &mut self,
        (record, has_moved): (u64, bool),
        field: usize,
        (former, now): (&Value, &Value),
    ) {
        let Some(token) = token(now).filter(|_| normal(former) != normal(now)) else {
            return;
        };
        let written = self.written.entry((record, field)).or_default();
        let is_known = self
            .repeated
            .as_ref()
            .is_some_and(|repeated| !repeated.has_moved);
        if !written.insert(token) && !is_known {
            self.repeated = Some(Repeated {
                token,
                has_moved,
                what: format!("field {field} of record #{record}: {now:?}"),
            });
        }
    }

    /// Somebody else changed a field of a record.
    pub fn note_changed(&mut self, record: u64, field: usize) {
        self.written.remove(&(record, field));
    }
}

//! One write to one side, and what came of it.

use serde::{Deserialize, Serialize};

use super::{BySide, Cell, Key, PairId, Row, Side};
use crate::baseline::Fingerprint;
use crate::value::Value;

/// One write to one side. Steps of a batch are numbered by their place in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub pair: PairId,
    pub kind: StepKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// Create a record with these fields (index of the field pair, value). `matching` are the
    /// match key's fields: when a record with equal ones exists already, nothing is created and
    /// the outcome is [`Outcome::Exists`]. Empty where matching was decided before.
    Create {
        set: Vec<(usize, Value)>,
        matching: Vec<(usize, Value)>,
    },
    /// Set these fields, if the record still is what the plan saw (`expect`, one fingerprint per
    /// field pair, [`Fingerprint::UNKNOWN`] for "any").
    Update {
        key: Key,
        set: Vec<(usize, Value)>,
        expect: Vec<Fingerprint>,
    },
    /// Delete the record, if it still is what the plan saw.
    Delete { key: Key, expect: Vec<Fingerprint> },
}

/// What a side stored, read back in the same transaction (or from the write's own answer).
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub key: Key,
    pub row: Row,
    /// What of the values that it was given the side does not hold, without naming values; `None` where it
    /// holds all that counts.
    pub altered: Option<String>,
}

impl Stored {
    /// A record that holds what it was given.
    pub fn whole(key: Key, row: Row) -> Stored {
        let altered = None;
        Stored { key, row, altered }
    }
}

/// What fields held before a write, as it locked and read them: index of the field pair, value.
/// Empty for a create; the fields that were set of an update; every field of a deletion.
pub type Before = Vec<(usize, Value)>;

/// What came of one step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Created or updated; the record now reads so.
    Written(Stored, Before),
    Deleted(Before),
    /// Update, delete: the record is no longer what the plan saw. It reads so; whatever made it
    /// so is in the side's history at or before `fence`.
    Stale {
        row: Row,
        fence: u64,
    },
    /// Update, delete: there is no such record; its deletion is in the history at or before `fence`.
    Missing {
        fence: u64,
    },
    /// Create: one record with the same match key is there already.
    Exists {
        stored: Stored,
        fence: u64,
    },
    /// The side refuses this record. Others are not affected.
    Rejected {
        code: FindingCode,
        detail: String,
    },
}

impl Outcome {
    /// The outcome of a write, with what it overwrote.
    pub fn with_before(self, before: Before) -> Outcome {
        match self {
            Outcome::Written(stored, _) => Outcome::Written(stored, before),
            Outcome::Deleted(_) => Outcome::Deleted(before),
            other => other,
        }
    }
}

/// One step's outcome as the side's own progress record remembers it, for recovery after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Recovered {
    Written {
        key: Key,
        fingerprints: Vec<Fingerprint>,
    },
    Deleted,
    /// Nothing was written for this step: it is derived again.
    NotDone,
    /// Nobody can tell: the side keeps no record of our writes, and the answer was lost. It is derived
    /// again, and what it may have overwritten is recorded.
    Unknown,
}

/// Stable codes of findings; part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// Two records of one side have the same match key.
    DuplicateMatchKey,
    /// A field of the match key is null.
    NullMatchKey,
    /// The match key names a record that is linked to another one already.
    MatchKeyTaken,
    /// A unique constraint of the side refuses the record.
    UniqueViolation,
    /// A foreign key of the side refuses the record.
    ForeignKeyViolation,
    /// A not-null constraint of the side refuses the record.
    NotNullViolation,
    /// A check constraint, domain or trigger of the side refuses the record.
    CheckViolation,
    /// The value does not fit the side's type.
    ValueOutOfRange,
    /// The side's permissions forbid the write.
    PermissionDenied,
    /// The record changed while existing data was copied; it is tried again by itself.
    ChangedWhileCopied,
    /// The key of the record that it was linked to names another record now; it is matched again.
    KeyReused,
    /// A value map or an expression has nothing to say for the record's value.
    NoCounterpart,
    /// A field names a record that has no counterpart on the other side (yet). The field waits.
    LinkedRecordMissing,
    /// The same, where the record can't be made without it. The record waits.
    LinkedRecordRequired,
    /// The side took a value without a word, and holds less of it. Both sides keep what they have.
    ValueAltered,
    /// Any other refusal, with the side's own code in the detail.
    RejectedBySide,
}

impl FindingCode {
    pub fn name(self) -> &'static str {
        match self {
            FindingCode::DuplicateMatchKey => "duplicate-match-key",
            FindingCode::NullMatchKey => "null-match-key",
            FindingCode::MatchKeyTaken => "match-key-taken",
            FindingCode::UniqueViolation => "unique-violation",
            FindingCode::ForeignKeyViolation => "foreign-key-violation",
            FindingCode::NotNullViolation => "not-null-violation",
            FindingCode::CheckViolation => "check-violation",
            FindingCode::ValueOutOfRange => "value-out-of-range",
            FindingCode::PermissionDenied => "permission-denied",
            FindingCode::ChangedWhileCopied => "changed-while-copied",
            FindingCode::KeyReused => "key-reused",
            FindingCode::NoCounterpart => "no-counterpart",
            FindingCode::LinkedRecordMissing => "linked-record-missing",
            FindingCode::LinkedRecordRequired => "linked-record-required",
            FindingCode::ValueAltered => "value-altered",
            FindingCode::RejectedBySide => "rejected-by-side",
        }
    }

    /// One sentence that tells a person what to do next.
    pub fn advice(self) -> &'static str {
        match self {
            FindingCode::DuplicateMatchKey => {
                "make the match key unique (change one of the records), then retry"
            }
            FindingCode::NullMatchKey => "fill in the match key's fields, then retry",
            FindingCode::MatchKeyTaken => {
                "another record is linked to the one with this match key: change one of the two"
            }
            FindingCode::UniqueViolation => {
                "change the value that must be unique on one of the sides, then retry"
            }
            FindingCode::ForeignKeyViolation => {
                "the record it refers to is missing on that side: sync its table too, or add it"
            }
            FindingCode::NotNullViolation => {
                "fill in the field, map it, or give the column a default, then retry"
            }
            FindingCode::CheckViolation => "change the value so that the constraint accepts it",
            FindingCode::ValueOutOfRange => "shorten or change the value, or widen the column",
            FindingCode::PermissionDenied => "grant the sync's role this right, then retry",
            FindingCode::ChangedWhileCopied | FindingCode::KeyReused => {
                "nothing: it is tried again by itself"
            }
            FindingCode::NoCounterpart => {
                "add the value to the field's `values`, correct the expression, or change the record"
            }
            FindingCode::LinkedRecordMissing | FindingCode::LinkedRecordRequired => {
                "nothing, if the record that it names will be synced; else sync that, or change the field"
            }
            FindingCode::ValueAltered => {
                "let the field there hold more, or change the value; it is written again when it changes"
            }
            FindingCode::RejectedBySide => "see the detail; correct the record or the table",
        }
    }
}

/// One record that could not be synced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub pair: PairId,
    /// The side whose record cannot be carried over.
    pub side: Side,
    pub key: Key,
    pub code: FindingCode,
    /// What the other side said, without row values where they can be avoided.
    pub detail: String,
}

impl Finding {
    /// A finding that its code says everything about.
    pub(crate) fn of((pair, side, key): (PairId, Side, Key), code: FindingCode) -> Finding {
        let detail = code.advice().to_owned();
        Finding {
            pair,
            side,
            key,
            code,
            detail,
        }
    }
}

/// One field that both sides changed to different values, and what was done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    pub pair: PairId,
    pub keys: BySide<Option<Key>>,
    /// Index of the field pair; `None` when a deletion met an edit.
    pub field: Option<usize>,
    pub values: BySide<Cell>,
    pub times: BySide<Option<i64>>,
    /// `None` while a person is asked.
    pub winner: Option<Side>,
}

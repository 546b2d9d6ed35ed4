//! What came of a step, as far as the settlement goes.

use crate::baseline::{Fingerprint, Fingerprinter};
use crate::model::{FindingCode, Key};
use crate::session::settlement::Values;
use crate::value::Value;

/// What came of a step, as far as remembering it goes.
pub(super) enum StepResult {
    Written {
        key: Key,
        read: ReadBack,
        wrote: Wrote,
    },
    Deleted(Wrote),
    Rejected {
        code: FindingCode,
        detail: String,
    },
    /// Not done; the case is planned again.
    Again,
}

impl StepResult {
    pub(super) fn written(
        key: Key,
        row: Vec<Fingerprint>,
        values: Values,
        prints: &Fingerprinter,
    ) -> Self {
        let print = prints.record(&row);
        let wrote = Wrote { values, print };
        let null = prints.value(&Value::Null);
        let read = ReadBack {
            prints: row,
            null,
            altered: None,
        };
        StepResult::Written { key, read, wrote }
    }

    /// The same, where the side does not hold all of what it was given.
    pub(super) fn with_altered(mut self, altered: Option<String>) -> Self {
        if let StepResult::Written { read, .. } = &mut self {
            read.altered = altered;
        }
        self
    }

    pub(super) fn deleted(values: Values) -> Self {
        let print = Fingerprint::UNKNOWN;
        StepResult::Deleted(Wrote { values, print })
    }
}

/// A record as a write left it.
pub(super) struct ReadBack {
    pub prints: Vec<Fingerprint>,
    /// Of a field that is empty.
    pub null: Fingerprint,
    /// What it does not hold of what it was given.
    pub altered: Option<String>,
}

/// What history keeps of a write.
pub(super) struct Wrote {
    pub values: Values,
    /// Of the whole record.
    pub print: Fingerprint,
}

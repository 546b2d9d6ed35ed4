//! Filters: which records of a pair are in the sync at the moment.
//!
//! A record is *outside* while its side's filter does not hold for it, or can't be told. It is no
//! news then: nothing is created of it, and a link with it rests: neither side's changes are
//! carried over, nor is a deletion, until both of its records are inside. What happened meanwhile is
//! merged then, against the baseline of before.
//!
//! Each side tells it with the record, as the value of a field of its own ([`PairPolicy::scope`]).

use crate::baseline::{Fingerprint, Fingerprinter};
use crate::model::{BySide, Cell, Link, Row, Side};
use crate::policy::PairPolicy;
use crate::value::Value;

/// Where a pair's records tell whether they are inside.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    field: usize,
    inside: Fingerprint,
}

impl Scope {
    /// `None` for a pair without filters.
    pub fn of(policy: &PairPolicy, prints: &Fingerprinter) -> Option<Scope> {
        policy.scope.map(|field| Scope {
            field,
            inside: prints.value(&Value::Bool(true)),
        })
    }

    /// Does a row say that its record is inside? `None` where it does not say.
    pub fn row_is_inside(self, row: &Row) -> Option<bool> {
        match row.get(self.field) {
            Some(Cell::Value(value)) => Some(*value == Value::Bool(true)),
            Some(Cell::Unchanged) | None => None,
        }
    }

    /// The same of a scanned record.
    pub fn scanned_is_inside(self, fingerprints: &[Fingerprint]) -> bool {
        fingerprints.get(self.field) == Some(&self.inside)
    }

    /// Whether the record was inside when the link was last settled; `None` where nobody knows.
    pub fn was_inside(self, link: &Link, side: Side) -> Option<bool> {
        let print = link.baseline[side].get(self.field).copied();
        let print = print.unwrap_or(Fingerprint::UNKNOWN);
        print.is_known().then_some(print == self.inside)
    }

    /// True when the link rested: its records were not both inside.
    pub fn rested(self, link: &Link) -> bool {
        BySide::from_fn(|side| self.was_inside(link, side)) != BySide::new(Some(true), Some(true))
    }
}

//! Folds a side's changes into the newest that is known of each record.

use crate::baseline::Fingerprint;
use crate::model::{Cell, Change, ChangeKind, Link, Lookup, Row};
use crate::plan::Seen;

/// True when the link (or a gone record's trace) already accounts for the change: a replay of what
/// was settled, or a report from before the commit of a write of ours.
///
/// A write of ours locks and reads the record first, so whatever was committed before it was known
/// to the plan; the side's history shows commits in order, so "before it" is "before its marker".
pub fn is_stale(change: &Change, lookup: &Lookup, side: crate::model::Side) -> bool {
    if change.offset <= lookup.gone_seen || change.passed < lookup.gone_written {
        return true;
    }
    lookup
        .link
        .as_ref()
        .is_some_and(|link| change.offset <= link.seen[side] || change.passed < link.written[side])
}

/// Adds a newer change to what was seen of the record so far.
pub fn fold(seen: &mut Seen, change: Change) {
    let Change {
        kind, time, offset, ..
    } = change;
    *seen = match kind {
        ChangeKind::Gone => Seen::Gone { time, offset },
        ChangeKind::Present { mut row, .. } => {
            if let Seen::Present { row: before, .. } = &*seen {
                fill(&mut row, before);
            }
            Seen::Present { row, time, offset }
        }
    };
}

/// Takes cells that the newer row lacks from an older one.
pub fn fill(newer: &mut Row, older: &Row) {
    for (cell, before) in newer.iter_mut().zip(older) {
        if *cell == Cell::Unchanged {
            cell.clone_from(before);
        }
    }
}

/// True when the row says nothing that the link's baseline does not say.
pub fn is_echo(prints: &[Fingerprint], link: &Link, side: crate::model::Side) -> bool {
    prints
        .iter()
        .zip(&link.baseline[side])
        .all(|(now, base)| !now.is_known() || now == base)
}

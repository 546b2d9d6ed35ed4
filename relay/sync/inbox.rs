//! What a side's report says: whose it is, whether it is news, and what is known after it.

use crate::model::{Cell, Change, ChangeKind, Link, Lookup, Row, Side, Since, Trace};
use crate::plan::Seen;

/// From when on, as far as is known at `moment`, the link's record has had its key without a break. It
/// had it when a batch of ours wrote it, even if it had passed through other keys before.
pub fn held_since(link: &Link, side: Side, moment: Since) -> Since {
    let written = Some(Since::written(link.written[side]));
    let since = link.since[side];
    written
        .filter(|written| *written <= moment)
        .map_or(since, |written| written.max(since))
}

/// The link whose record a side's history calls by the looked-up key at `moment`. Nobody says that
/// it has not been given up since: the record may be gone, or have another key by then.
pub fn tenant(lookup: &Lookup, side: Side, moment: Since) -> Option<&Link> {
    let links = lookup.links.iter();
    let begun = links.filter(|link| link.since[side] <= moment);
    begun.max_by_key(|link| held_since(link, side, moment))
}

/// The last record that gave the key up, of those that had got it at `moment`.
pub fn former(lookup: &Lookup, moment: Since) -> Option<&Trace> {
    let begun = lookup.ended().filter(|trace| trace.since <= moment);
    begun.max_by_key(|trace| trace.since)
}

/// True when the change is about a record that gave the key up, and is accounted for. What the batch that
/// took the key from the record did to it before (another write of the batch may change a reference of
/// it) is part of what was read back.
pub fn is_traced(lookup: &Lookup, change: &Change) -> bool {
    former(lookup, change.moment()).is_some_and(|trace| {
        let is_replay = change.place() <= trace.seen || change.passed < trace.written;
        is_replay || (change.ours && change.passed == trace.written)
    })
}

/// Adds a newer change to what was seen of the record so far.
pub fn fold(seen: &mut Seen, kind: ChangeKind, time: Option<i64>) {
    *seen = match kind {
        ChangeKind::Gone => Seen::Gone { time },
        ChangeKind::Present { mut row, .. } => {
            if let Seen::Present { row: before, .. } = &*seen {
                fill(&mut row, before);
            }
            Seen::Present { row, time }
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

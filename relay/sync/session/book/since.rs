//! From when on a key names a record of which a history tells, and what it says of the time before.

use super::{Book, Lookups, Slot};
use crate::model::{Change, ChangeKind, Lookup, Side, Since, Trace};

impl Book {
    /// Since when a record has had its key that the history tells of for the first time with `change`.
    /// An edited one may have had it for ever, if nobody is known to have had it before.
    pub(super) fn earliest(&self, slot: &Slot, change: &Change, lookups: &Lookups) -> Since {
        let is_edited = match change.kind {
            ChangeKind::Present { inserted, .. } => !inserted && change.old_key.is_none(),
            ChangeKind::Gone => false,
        };
        let lookup = lookups.get(slot).unwrap_or(Lookup::nobody());
        let traces = lookup.ended().map(Trace::ended);
        let links = lookup.links.iter().map(|link| link.since[slot.0]);
        let own = self.tenants.get(slot).into_iter().flatten();
        let mut others = traces.chain(links).chain(own.map(|own| own.since));
        if is_edited && others.all(|since| since >= change.moment()) {
            Since::default()
        } else {
            change.moment()
        }
    }

    /// Since when a record that is not linked has had the key that it has at `now`: since the last one is
    /// known to have given it up. `None` where that is not certain.
    pub(in crate::session) fn unlinked_since(
        &self,
        slot: &Slot,
        now: Since,
        lookups: &Lookups,
    ) -> Option<Since> {
        let lookup = lookups.get(slot).unwrap_or(Lookup::nobody());
        // Who gets it later, by a write of ours, is another one.
        let had = |since: Since| since <= now;
        let mut own = self.tenants.get(slot).into_iter().flatten();
        if lookup.links.iter().any(|link| had(link.since[slot.0])) || own.any(|own| had(own.since))
        {
            return None;
        }
        let former = lookup.ended().filter(|trace| had(trace.since));
        let last = former.map(Trace::ended).max().unwrap_or_default();
        (last < now).then_some(last)
    }
}

/// True for the report of a batch of ours that gave a record its key: whose it is, the new key
/// says. The former one may have got another record in the same batch.
pub(super) fn is_own_move(lookup: &Lookup, side: Side, change: &Change) -> bool {
    let given = Since::written(change.passed);
    let links = lookup.links.iter().map(|link| link.since[side]);
    let mut begun = links.chain(lookup.ended().map(|trace| trace.since));
    change.ours && begun.any(|since| since == given)
}

/// True when the key's next record is (or was) known up to after the change, or is one that a batch of ours
/// gave the key later, for which it had to be free: what the change is about has left.
pub(super) fn is_past(lookup: &Lookup, side: Side, change: &Change) -> bool {
    let links = lookup
        .links
        .iter()
        .map(|link| (link.since[side], link.seen[side]));
    let gone = lookup.ended().map(|trace| (trace.since, trace.seen));
    let mut later = links
        .chain(gone)
        .filter(|(since, _)| *since > change.moment());
    later.any(|(since, seen)| since.is_given() || change.place() <= seen)
}

/// True when an open finding of the key is about the record that has it since `since`, and not about one that got
/// it later, by a write of ours: of that one the side's history may not have told yet.
pub(super) fn has_finding(lookup: &Lookup, side: Side, since: Since) -> bool {
    let mut links = lookup.links.iter();
    lookup.has_finding && links.all(|link| link.since[side] <= since)
}

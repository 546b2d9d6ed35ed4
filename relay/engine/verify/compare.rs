//! What differs between the two records of a match.

use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::decide::{Match, Scanned};
use tidegate_sync::model::{BySide, Side};
use tidegate_sync::policy::Direction;
use tidegate_sync::scope::Scope;

use crate::engine::mapping::PairMapping;
use crate::engine::report::Difference;

/// `None` where the two are equal, or one is alone on purpose.
/// `same` are the linked fields that name the same record on both sides.
pub(super) fn difference(
    mapped: &PairMapping,
    found: &Match,
    same: &[usize],
) -> Option<Difference> {
    let key = |scanned: &Option<Scanned>| scanned.as_ref().map(|s| s.key.to_string());
    let of_kind = |kind: &str, fields: Vec<String>| {
        Some(Difference {
            table: mapped.tables.left.clone(),
            kind: kind.to_owned(),
            left_key: key(&found.scanned.left),
            right_key: key(&found.scanned.right),
            fields,
        })
    };
    match (&found.scanned.left, &found.scanned.right) {
        (Some(left), Some(right)) => {
            let fields = differing(mapped, BySide::new(left, right), same);
            match fields.is_empty() {
                true => None,
                false => of_kind("fields", fields),
            }
        }
        (None, None) => None,
        _ if found.problem.is_some() => of_kind("not-matched", Vec::new()),
        _ if is_alone_on_purpose(mapped, found) => None,
        (Some(_), None) => of_kind("only-left", Vec::new()),
        (None, Some(_)) => of_kind("only-right", Vec::new()),
    }
}

fn differing(mapped: &PairMapping, found: BySide<&Scanned>, same: &[usize]) -> Vec<String> {
    let policy = &mapped.policy;
    let pairs = found
        .left
        .fingerprints
        .iter()
        .zip(&found.right.fingerprints)
        .enumerate();
    pairs
        .filter(
            |(field, (left, right)): &(usize, (&Fingerprint, &Fingerprint))| match policy
                .reference(*field)
            {
                Some(_) => !same.contains(field),
                None => left != right,
            },
        )
        // What flows nowhere is each side's own.
        .filter(|(field, _)| policy.fields[*field].direction != Direction::Neither)
        .map(|(field, _)| mapped.field_name(Side::Left, field))
        .collect()
}

/// True when a filter does not hold for one of the records: their link rests, if they have one.
pub(super) fn is_left_out(mapped: &PairMapping, prints: &Fingerprinter, found: &Match) -> bool {
    let Some(scope) = Scope::of(&mapped.policy, prints) else {
        return false;
    };
    Side::BOTH
        .into_iter()
        .any(|side| match &found.scanned[side] {
            Some(scanned) => !scope.scanned_is_inside(&scanned.fingerprints),
            None => {
                let link = found.link.as_ref();
                link.is_some_and(|link| scope.was_inside(link, side) == Some(false))
            }
        })
}

/// A detached record, or one whose kind does not travel to the other side.
fn is_alone_on_purpose(mapped: &PairMapping, found: &Match) -> bool {
    if found.link.as_ref().is_some_and(|link| link.is_detached()) {
        return true;
    }
    let side = if found.scanned.left.is_some() {
        Side::Left
    } else {
        Side::Right
    };
    found.link.is_none() && !mapped.policy.records_flow_to(side.other())
}

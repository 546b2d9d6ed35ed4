//! Whether a field that reads as empty is there at all.
//!
//! Some apps leave empty fields out of their records, so that a record looks the same when somebody
//! emptied a cell and when somebody removed the field. What is read as empty is believed only if the app
//! still lists the field after the reading, else a removed field would empty the other side's column
//! record by record.

use std::collections::BTreeMap;

use tidegate_sync::model::{PairId, Step, StepKind};
use tidegate_sync::value::Value;

use super::discover::field_keys;
use super::manifest::{Fields, Manifest};
use super::side::Bound;
use crate::endpoint::EndpointError;

/// What updates set: numbers of fields, and their values.
type Set<'a> = Vec<(usize, &'a Value)>;

/// Ends with an error if a field that one of the steps empties on the other side is not there any more.
pub(super) async fn check_emptied(bound: &Bound, steps: &[Step]) -> Result<(), EndpointError> {
    let manifest = &bound.client.manifest;
    if !looks_empty_when_gone(manifest) {
        return Ok(());
    }
    for (pair, set) in set_by_pair(steps) {
        let shape = bound.shape(pair)?;
        let doubted = shape.read_as_absent(manifest, &set)?;
        if doubted.is_empty() {
            continue;
        }
        // Who may not read the list any more is told so by the records.
        let Some(present) = field_keys(&bound.client, &shape.place).await? else {
            continue;
        };
        let mut doubted = doubted.into_iter();
        if let Some(gone) = doubted.find(|column| !present.contains(&column.key)) {
            return Err(shape.no_field(gone));
        }
    }
    Ok(())
}

/// Apps that show all fields in each record tell by the record itself that one is gone, and those without
/// a list of fields have none that could be.
fn looks_empty_when_gone(manifest: &Manifest) -> bool {
    let record = &manifest.record;
    let is_listed = matches!(manifest.fields, Fields::Listed { .. });
    is_listed && !record.all_fields && record.cell_id.is_none()
}

fn set_by_pair(steps: &[Step]) -> BTreeMap<PairId, Set<'_>> {
    let mut pairs = BTreeMap::<_, Set<'_>>::new();
    for step in steps {
        // What is created has nothing that could be lost.
        if let StepKind::Update { set, .. } = &step.kind {
            let set = set.iter().map(|(field, value)| (*field, value));
            pairs.entry(step.pair).or_default().extend(set);
        }
    }
    pairs
}

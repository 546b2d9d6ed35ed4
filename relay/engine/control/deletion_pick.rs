//! Picking in a conflict about a deletion: both sides delete the record, or both keep it.

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, Link, PairId, Row, Side, Step, StepKind};
use tidegate_sync::policy::{DeletePolicy, PairPolicy};
use tidegate_sync::session::{Edit, Why};

use super::Engine;
use super::conflict_control::{AGREED, NOT_THERE, refused};
use super::errors::{failed, internal};
use crate::endpoint::Wanted;
use crate::engine::handle::ControlError;
use crate::engine::preview;
use crate::engine::run::{RunError, RunParts, check_mapping};
use crate::store::RecordKeys;
use crate::store::conflicts::{self, ConflictRecord};
use crate::store::syncs::SyncRecord;

impl Engine {
    /// The write by which both sides come to be as `side` is: without the record, or with it.
    pub(super) async fn edit_about_deletion(
        &self,
        record: &SyncRecord,
        parts: &RunParts,
        (found, side): (&ConflictRecord, Side),
    ) -> Result<Edit, ControlError> {
        let keys = RecordKeys::new(self.store.sealer(), record.id);
        let (sync, id, pair) = (record.id, found.id, found.conflict.pair);
        let link = self
            .store
            .view(move |conn| conflicts::link_of(conn, &keys, sync, id))
            .await
            .map_err(internal)?;
        let mapping = check_mapping(parts).await.map_err(failed)?;
        let policy = mapping.pairs.get(pair.0 as usize).map(|pair| &pair.policy);
        let (Some(link), Some(policy)) = (link, policy) else {
            return Err(refused(AGREED));
        };
        let answer = Answer::of(found, side, &link, policy)?;
        let Some(key) = link.keys[answer.read_on].clone() else {
            return Err(refused(NOT_THERE));
        };
        let views = preview::views(parts, &mapping, "pick")
            .await
            .map_err(failed)?;
        let wanted = Wanted { key, place: None };
        let rows = views[answer.read_on].fetch(pair, &[wanted]).await;
        let rows = rows.map_err(|source| {
            let side = answer.read_on;
            failed(RunError::Side { side, source })
        })?;
        match rows.into_iter().next().flatten() {
            Some(row) => answer.edit((pair, link), &row, (policy, &parts.prints)),
            None => Err(refused(NOT_THERE)),
        }
    }
}

/// What a pick comes to.
struct Answer {
    /// The side whose record is looked at and guarded.
    read_on: Side,
    /// False: both sides shall have the record.
    deletes: bool,
}

impl Answer {
    fn of(
        found: &ConflictRecord,
        side: Side,
        link: &Link,
        policy: &PairPolicy,
    ) -> Result<Answer, ControlError> {
        if found.waiting {
            let gone = Side::BOTH.into_iter().find(|&side| link.gone[side]);
            let read_on = gone.ok_or_else(|| refused(AGREED))?.other();
            let deletes = side != read_on;
            return Ok(Answer { read_on, deletes });
        }
        match found.conflict.winner {
            // It was kept, and created anew on the side that had deleted it: that side deletes it
            // again, and no edit is in the way now.
            Some(keeper) if side != keeper && policy.records_flow_to(keeper) => Ok(Answer {
                read_on: side,
                deletes: true,
            }),
            Some(keeper) if side != keeper => Err(refused(
                "records of this table flow to that side only: delete it on the other one",
            )),
            _ => Err(refused(AGREED)),
        }
    }

    fn edit(
        self,
        (pair, link): (PairId, Link),
        row: &Row,
        (policy, prints): (&PairPolicy, &Fingerprinter),
    ) -> Result<Edit, ControlError> {
        let Some(key) = link.keys[self.read_on].clone() else {
            return Err(refused(NOT_THERE));
        };
        let expect = prints.row(row);
        let mark = policy.archive[self.read_on]
            .as_ref()
            .filter(|_| policy.deletes == DeletePolicy::Archive && link.is_half());
        let (side, kind) = match (self.deletes, mark) {
            (false, _) => (self.read_on.other(), create(self.read_on, row, policy)?),
            (true, Some(mark)) => {
                let set = vec![mark.clone()];
                (self.read_on, StepKind::Update { key, set, expect })
            }
            (true, None) => (self.read_on, StepKind::Delete { key, expect }),
        };
        Ok(Edit {
            side,
            step: Step { pair, kind },
            keys: BySide::from_fn(|side| link.keys[side].clone()),
            why: Why::Pick,
        })
    }
}

/// Creates the record of `from` anew on the other side.
fn create(from: Side, row: &Row, policy: &PairPolicy) -> Result<StepKind, ControlError> {
    let value = |field: usize| {
        let value = row.get(field).and_then(|cell| cell.value());
        value.map(|value| (field, value.clone()))
    };
    let mut linked = policy.references.iter().map(|reference| reference.field);
    if linked.any(|field| value(field).is_some_and(|(_, value)| !value.is_null())) {
        return Err(refused(
            "it names other records by links, which have other keys there: edit the record where \
             it is kept, and that creates it anew",
        ));
    }
    let flows = |field: &usize| policy.fields[*field].direction.flows_to(from.other());
    let fields = (0..policy.fields.len()).filter(flows);
    let matching = policy.match_key.iter().copied().filter_map(value);
    let matching: Vec<_> = matching.filter(|(_, value)| !value.is_null()).collect();
    if matching.len() < policy.match_key.len() {
        return Err(refused(
            "a field of the record's match key is null: fill it, then pick again",
        ));
    }
    Ok(StepKind::Create {
        set: fields.filter_map(value).collect(),
        matching,
    })
}

//! Conflicts: one of both values picked. [`super::inbox`] lists them, and picks many at once.

use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::model::{BySide, Side, Step, StepKind};
use tidegate_sync::session::{Edit, Edited, Why};
use tidegate_sync::value::Value;

use super::Engine;
use super::errors::{conflict, internal};
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::engine::report::{ConflictReport, PickRefusal};
use crate::engine::run::{RunParts, now_ms};
use crate::engine::supervisor::Phase;
use crate::engine::syncfile::SyncFile;
use crate::engine::wishes::NotEdited;
use crate::store::conflicts::{self, ConflictRecord};
use crate::store::syncs::{SyncId, SyncRecord};

pub(super) const AGREED: &str = "both sides have that already, or agreed otherwise by themselves";
pub(super) const NOT_THERE: &str = "the record is not there any more";
const LINKED: &str = "it names a record, which has another key on the other side: set it where you \
                      want to change it, and that is carried over";

/// Characters of a value that a list shows.
const VALUE_CHARS_MAX: usize = 1000;

impl Engine {
    /// Has the value of `side` written where the other one is, if that still is what the conflict
    /// says. It is an edit like a person's, which the sync carries over.
    pub(super) async fn pick_value(
        &self,
        name: &str,
        (id, side): (i64, Side),
    ) -> Result<ConflictReport, ControlError> {
        let (record, parts) = self.running_parts(name).await?;
        let found = self.conflict_of(record.id, name, id).await?;
        if parts.progress.view().phase != Phase::Live {
            let text = format!("sync `{name}` is not live: a pick is written by its run");
            return Err(conflict("sync-not-live", text));
        }
        let edit = self.edit_of(&record, &parts, (&found, side)).await?;
        let refused = self
            .write_picks(&parts, (record.id, side), vec![(id, edit)])
            .await?;
        if let Some(PickRefusal { reason, .. }) = refused.into_iter().next() {
            return Err(conflict("pick-refused", reason));
        }
        let found = self.conflict_of(record.id, name, id).await?;
        Ok(report((name, &parts.file), &found))
    }

    /// The write by which both sides come to what `side` says.
    pub(super) async fn edit_of(
        &self,
        record: &SyncRecord,
        parts: &RunParts,
        (found, side): (&ConflictRecord, Side),
    ) -> Result<Edit, ControlError> {
        match found.conflict.field {
            Some(at) => edit((found, at), side, (&parts.file, &parts.prints)),
            None => self.edit_about_deletion(record, parts, (found, side)).await,
        }
    }

    /// Has these written as one round, and notes those that were: conflicts by number, none about the
    /// same record as another. Gives those that were not.
    pub(super) async fn write_picks(
        &self,
        parts: &RunParts,
        (sync, side): (SyncId, Side),
        picks: Vec<(i64, Edit)>,
    ) -> Result<Vec<PickRefusal>, ControlError> {
        let (ids, edits): (Vec<i64>, Vec<Edit>) = picks.into_iter().unzip();
        let edited = parts.requests.edits.ask(edits).await;
        let edited = edited.map_err(|error| {
            let text = match error {
                NotEdited::NotTaken => "the sync is not live any more: nothing was written",
                NotEdited::Interrupted => "the sync was interrupted: look at the conflict again",
            };
            ControlError::new(ControlErrorKind::Unavailable, "pick-interrupted", text)
        })?;
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for (id, edited) in ids.into_iter().zip(&edited) {
            match not_done(edited) {
                None => done.push(id),
                Some(reason) => refused.push(PickRefusal { id, reason }),
            }
        }
        let noted = self.store.transact(move |tx| {
            let note = |id: &i64| conflicts::note_pick(tx, sync, (*id, side), now_ms());
            done.iter().try_for_each(note)
        });
        noted.await.map_err(internal)?;
        Ok(refused)
    }

    async fn conflict_of(
        &self,
        sync: SyncId,
        name: &str,
        id: i64,
    ) -> Result<ConflictRecord, ControlError> {
        let sealer = self.store.sealer().clone();
        let found = self
            .store
            .view(move |conn| conflicts::by_id(conn, &sealer, sync, id))
            .await
            .map_err(internal)?;
        found.ok_or_else(|| {
            let text = format!("sync `{name}` has no conflict {id}: see `sync conflicts {name}`");
            ControlError::new(ControlErrorKind::NotFound, "not-found", text)
        })
    }
}

/// The write by which the value of `side` comes to be on both sides.
fn edit(
    (found, at): (&ConflictRecord, usize),
    side: Side,
    (file, prints): (&SyncFile, &Fingerprinter),
) -> Result<Edit, ControlError> {
    let clash = &found.conflict;
    let table = file.tables.get(clash.pair.0 as usize);
    let Some(field) = table.and_then(|table| table.policy.fields.get(at)) else {
        return Err(refused("its field is not mapped any more"));
    };
    let form = table.and_then(|table| table.forms.get(at));
    if form.is_some_and(|form| form.linked().is_some()) {
        return Err(refused(LINKED));
    }
    if clash.winner == Some(side) || !found.waiting && clash.winner.is_none() {
        return Err(refused(AGREED));
    }
    // Where the other value is: on the far side while a person is asked, by now on both else. A field
    // that flows one way is written where it comes from.
    let target = match found.waiting {
        true => side.other(),
        false if field.direction.flows_to(side.other()) => side,
        false => side.other(),
    };
    let value = |side: Side| clash.values[side].value();
    let (Some(wanted), Some(there)) = (value(side), value(side.other())) else {
        return Err(refused("the value was not kept"));
    };
    let Some(key) = clash.keys[target].clone() else {
        return Err(refused(NOT_THERE));
    };
    let mut expect = vec![Fingerprint::UNKNOWN; at + 1];
    expect[at] = prints.value(there);
    Ok(Edit {
        side: target,
        step: Step {
            pair: clash.pair,
            kind: StepKind::Update {
                key,
                set: vec![(at, wanted.clone())],
                expect,
            },
        },
        keys: clash.keys.clone(),
        why: Why::Pick,
    })
}

pub(super) fn refused(reason: &str) -> ControlError {
    conflict("pick-refused", reason.to_owned())
}

fn not_done(edited: &Edited) -> Option<String> {
    match edited {
        Edited::Done => None,
        Edited::Changed => Some("the record changed since: look at the conflicts again".to_owned()),
        Edited::Missing => Some(NOT_THERE.to_owned()),
        Edited::Exists => Some("a record with its match key is there already".to_owned()),
        Edited::Refused { code, detail } => Some(format!("{}: {detail}", code.name())),
    }
}

pub(super) fn report((sync, file): (&str, &SyncFile), found: &ConflictRecord) -> ConflictReport {
    let conflict = &found.conflict;
    let table = file.tables.get(conflict.pair.0 as usize);
    let field = |side: Side| {
        let fields = &table?.policy.fields;
        let field = fields.get(conflict.field?)?;
        Some(match side {
            Side::Left => field.left.clone(),
            Side::Right => field.right.clone(),
        })
    };
    let key = |side: Side| conflict.keys[side].as_ref().map(ToString::to_string);
    let values = BySide::from_fn(|side| shown(conflict.values[side].value()));
    ConflictReport {
        id: found.id,
        sync: sync.to_owned(),
        at: super::writes::rfc3339(found.at_ms),
        table: table.map(|table| table.left.clone()).unwrap_or_default(),
        left_key: key(Side::Left),
        right_key: key(Side::Right),
        left_field: field(Side::Left),
        right_field: field(Side::Right),
        left: values.left,
        right: values.right,
        base: None,
        base_known: false,
        winner: conflict.winner.map(|side| side.name().to_owned()),
        waiting: found.waiting,
        picked: found.picked.map(|(side, _)| side.name().to_owned()),
        picked_at: found.picked.map(|(_, at_ms)| super::writes::rfc3339(at_ms)),
    }
}

/// `None` for a value that was not sent, and for null.
pub(super) fn shown(value: Option<&Value>) -> Option<String> {
    let value = value.filter(|value| !value.is_null())?;
    Some(value.to_string().chars().take(VALUE_CHARS_MAX).collect())
}

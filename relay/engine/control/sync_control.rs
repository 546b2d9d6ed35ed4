//! Syncs by name: plan, apply, pause, verify and the rest of what a person asks.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_sync::model::Side;
use tokio::sync::broadcast;

use super::errors::{failed, internal, invalid};
use super::{Engine, file_of, parse};
use crate::engine::handle::{ControlError, ControlErrorKind, Listed, Part, SyncControl};
use crate::engine::layout::Layout;
use crate::engine::news::Round;
use crate::engine::preview;
use crate::engine::report::{
    ConflictFilter, ConflictReport, FindingFilter, FindingReport, HistoryEntry, PickMany,
    PickedMany, Preview, Removed, RunReport, SyncStatus, TableRepair, UndoPlan, UndoReport,
    VerifyReport, WriteFilter,
};
use crate::engine::run::{check_mapping, now_ms};
use crate::engine::supervisor::Supervised;
use crate::engine::syncfile::SyncFile;
use crate::engine::verify::{How, periodic, repair};
use crate::store::findings;
use crate::store::syncs::{self, SyncId, SyncRecord, Wanted};

#[async_trait]
impl SyncControl for Engine {
    async fn plan(&self, text: &str) -> Result<Preview, ControlError> {
        let file = parse(text)?;
        let Ok(record) = self.record(&file.name).await else {
            let parts = self.draft_parts(file).await?;
            return preview::preview(&parts, None).await.map_err(failed);
        };
        let is_edit = is_edit(&record, &file)?;
        let parts = self.parts_with(&record, file).await?;
        let edited = is_edit.then_some(&record);
        preview::preview(&parts, edited).await.map_err(failed)
    }

    async fn apply(
        &self,
        text: &str,
        expected: Option<Preview>,
    ) -> Result<SyncStatus, ControlError> {
        let file = parse(text)?;
        let record = match self.record(&file.name).await {
            Ok(record) if is_edit(&record, &file)? => self.edit(&record, &file, text).await?,
            Ok(record) => {
                // The same file again: whoever applies it confirms what stands in the way.
                self.stop_sync(record.id).await;
                self.make_findings_due(record.id, None).await?;
                record
            }
            Err(error) if error.kind == ControlErrorKind::NotFound => {
                self.check_start(&file, text, expected.as_ref()).await?;
                self.add_sync(&file, text).await?
            }
            Err(error) => return Err(error),
        };
        let parts = self.parts(&record).await?;
        parts.requests.approve_deletes();
        if let Some(expected) = expected.filter(|expected| self.is_awaited(&record, expected)) {
            parts.requests.expect(preview::tallies_of(&expected));
        }
        self.set_wanted(record.id, Wanted::Running).await?;
        self.running
            .lock()
            .await
            .insert(record.id, Supervised::start(parts));
        self.status(&file.name).await
    }

    async fn list(&self) -> Result<Vec<SyncStatus>, ControlError> {
        self.statuses_of(self.all_records().await?).await
    }

    async fn status(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.status_of(&record).await
    }

    async fn pause(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.set_wanted(record.id, Wanted::Paused).await?;
        self.stop_sync(record.id).await;
        self.status(name).await
    }

    async fn resume(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.set_wanted(record.id, Wanted::Running).await?;
        self.stop_sync(record.id).await;
        self.start_sync(&record).await?;
        self.status(name).await
    }

    async fn approve(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.set_wanted(record.id, Wanted::Running).await?;
        self.stop_sync(record.id).await;
        let parts = self.parts(&record).await?;
        parts.requests.approve_deletes();
        let started = Supervised::start(parts);
        self.running.lock().await.insert(record.id, started);
        self.status(name).await
    }

    async fn remove(&self, name: &str, force: bool) -> Result<Removed, ControlError> {
        self.remove_sync(name, force).await
    }

    async fn verify(&self, name: &str, how: How) -> Result<VerifyReport, ControlError> {
        let (_, parts) = self.running_parts(name).await?;
        let verified = periodic::verify_and_note(&parts, how).await;
        Ok(verified.map_err(failed)?.report)
    }

    async fn repair(
        &self,
        name: &str,
        expected: Option<Vec<TableRepair>>,
    ) -> Result<VerifyReport, ControlError> {
        let (_, parts) = self.running_parts(name).await?;
        repair::repair(&parts, expected.as_deref()).await
    }

    async fn findings(
        &self,
        which: &FindingFilter,
        part: Part,
    ) -> Result<Listed<FindingReport>, ControlError> {
        self.list_findings(which, part).await
    }

    async fn conflicts(
        &self,
        which: &ConflictFilter,
        part: Part,
    ) -> Result<Listed<ConflictReport>, ControlError> {
        self.list_conflicts(which, part).await
    }

    async fn pick(&self, name: &str, id: i64, side: Side) -> Result<ConflictReport, ControlError> {
        self.pick_value(name, (id, side)).await
    }

    async fn pick_many(&self, name: &str, which: &PickMany) -> Result<PickedMany, ControlError> {
        self.pick_all(name, which).await
    }

    async fn retry(&self, name: &str, finding: Option<i64>) -> Result<(), ControlError> {
        let id = self.record(name).await?.id;
        let due = self.make_findings_due(id, finding).await?;
        if let (0, Some(finding)) = (due, finding) {
            let text =
                format!("sync `{name}` has no finding {finding}: see `sync findings {name}`");
            return Err(ControlError::new(
                ControlErrorKind::NotFound,
                "not-found",
                text,
            ));
        }
        if let Some(sync) = self.running.lock().await.get(&id) {
            sync.parts.requests.retry();
        }
        Ok(())
    }

    async fn history(
        &self,
        name: &str,
        filter: &WriteFilter,
        part: Part,
    ) -> Result<Listed<HistoryEntry>, ControlError> {
        self.list_writes(name, filter, part).await
    }

    async fn runs(&self, name: &str, part: Part) -> Result<Listed<RunReport>, ControlError> {
        self.list_runs(name, part).await
    }

    async fn plan_undo(&self, name: &str, filter: &WriteFilter) -> Result<UndoPlan, ControlError> {
        self.undo_plan(name, filter).await
    }

    async fn undo(
        &self,
        name: &str,
        filter: &WriteFilter,
        expected: &UndoPlan,
    ) -> Result<UndoReport, ControlError> {
        self.undo_writes(name, filter, expected).await
    }

    async fn export(&self, name: &str) -> Result<String, ControlError> {
        Ok(self.record(name).await?.definition)
    }

    fn rounds(&self) -> broadcast::Receiver<Arc<Round>> {
        self.rounds.subscribe()
    }
}

impl Engine {
    /// Stops the sync and gives it the edited file: its next run takes it over.
    async fn edit(
        &self,
        record: &SyncRecord,
        file: &SyncFile,
        text: &str,
    ) -> Result<SyncRecord, ControlError> {
        let parts = self.parts_with(record, file.clone()).await?;
        check_mapping(&parts).await.map_err(failed)?;
        self.stop_sync(record.id).await;
        // The run may have noted another layout meanwhile.
        let laid_out = Layout::of_record(&self.record(&record.name).await?);
        let (id, text, layout) = (record.id, text.to_owned(), laid_out.resumed().text());
        self.store
            .transact(move |tx| syncs::set_definition(tx, id, (&text, &layout), now_ms()))
            .await
            .map_err(internal)?;
        self.record(&file.name).await
    }

    /// True when the next run will count what it does, so that it can be compared with a preview.
    fn is_awaited(&self, record: &SyncRecord, expected: &Preview) -> bool {
        let is_edit = !expected.edits.is_empty();
        !record.live || is_edit && expected.tables.iter().any(|table| !table.untouched)
    }

    /// What was in a record's way may be gone.
    async fn make_findings_due(
        &self,
        sync: SyncId,
        only: Option<i64>,
    ) -> Result<usize, ControlError> {
        self.store
            .transact(move |tx| findings::retry_now(tx, (sync, only), now_ms()))
            .await
            .map_err(internal)
    }

    /// Refuses a new sync that can't be, or that would do something else than was expected. Where
    /// nothing is, the sides are opened but not read: the run reads them anyway.
    async fn check_start(
        &self,
        file: &SyncFile,
        text: &str,
        expected: Option<&Preview>,
    ) -> Result<(), ControlError> {
        let Some(expected) = expected else {
            let parts = self.draft_parts(file.clone()).await?;
            let mapping = check_mapping(&parts).await.map_err(failed)?;
            let views = preview::views(&parts, &mapping, "preview").await;
            return views.map(drop).map_err(failed);
        };
        let preview = self.plan(text).await?;
        if !preview.problems.is_empty() {
            return Err(invalid("sync-refused", preview.problems.join("\n")));
        }
        check_expected(expected, &preview)
    }
}

/// A start does what its preview said, or refuses and shows the difference.
fn check_expected(expected: &Preview, now: &Preview) -> Result<(), ControlError> {
    let tables: Vec<(String, String)> = now
        .tables
        .iter()
        .map(|table| (table.left.clone(), table.right.clone()))
        .collect();
    let (before, found) = (preview::tallies_of(expected), preview::tallies_of(now));
    match preview::difference(&tables, &before, &found) {
        Some(text) => Err(ControlError::new(
            ControlErrorKind::Conflict,
            "plan-changed",
            text,
        )),
        None => Ok(()),
    }
}

/// Is the file another one than the sync's? Refuses other connections: what is known of one
/// database's records means nothing in another.
fn is_edit(record: &SyncRecord, file: &SyncFile) -> Result<bool, ControlError> {
    let before = file_of(record)?;
    if (&before.left, &before.right) == (&file.left, &file.right) {
        return Ok(before != *file);
    }
    let text = format!(
        "sync `{0}` is between `{1}` and `{2}`, and its connections can't be changed: run `sync \
         remove {0}` and apply the new file; records that exist on both sides are matched again",
        file.name, before.left, before.right
    );
    Err(ControlError::new(
        ControlErrorKind::Conflict,
        "sync-exists",
        text,
    ))
}

//! How a sync goes, from its progress and what the store has counted.

use tidegate_sync::model::PairId;

use super::errors::internal;
use super::writes::rfc3339;
use super::{Engine, file_of};
use crate::engine::handle::ControlError;
use crate::engine::report::{BrokenSide, LastVerify, SyncStatus, TableStatus, VerifyProgress};
use crate::engine::supervisor::{Phase, ProgressView};
use crate::engine::syncfile::SyncFile;
use crate::store::standing::{self, Counts, Standing};
use crate::store::syncs::{SyncRecord, Wanted};
use crate::store::verifications::Verification;

impl Engine {
    pub(super) async fn status_of(&self, record: &SyncRecord) -> Result<SyncStatus, ControlError> {
        let mut statuses = self.statuses_of(vec![record.clone()]).await?;
        // One record has one status.
        Ok(statuses.pop().unwrap_or_default())
    }

    /// Looked up in one view of the store: a page that shows all syncs asks often.
    pub(super) async fn statuses_of(
        &self,
        records: Vec<SyncRecord>,
    ) -> Result<Vec<SyncStatus>, ControlError> {
        let stored = self.store.view(move |conn| {
            let of = |record: SyncRecord| Ok((standing::of(conn, record.id)?, record));
            records.into_iter().map(of).collect::<Result<Vec<_>, _>>()
        });
        let stored = stored.await.map_err(internal)?;
        let running = self.running.lock().await;
        let view = |record: &SyncRecord| Some(running.get(&record.id)?.progress().view());
        let with_views: Vec<_> = stored
            .into_iter()
            .map(|(stored, record)| (view(&record), stored, record))
            .collect();
        drop(running);
        let status = |(view, stored, record)| self.status(&record, &stored, view);
        with_views.into_iter().map(status).collect()
    }

    fn status(
        &self,
        record: &SyncRecord,
        stored: &Standing,
        view: Option<ProgressView>,
    ) -> Result<SyncStatus, ControlError> {
        let file = file_of(record)?;
        let counts: Vec<Counts> = (0..file.tables.len())
            .map(|number| stored.counts(PairId(number as u32)))
            .collect();
        let paused = record.wanted == Wanted::Paused;
        let tables = table_statuses(&file, &counts, view.as_ref());
        let mut status = SyncStatus {
            workspace: record.workspace.clone(),
            name: record.name.clone(),
            left: file.left.clone(),
            right: file.right.clone(),
            state: if paused { "paused" } else { "planning" }.to_owned(),
            findings: counts.iter().map(|count| count.findings).sum(),
            conflicts: counts.iter().map(|count| count.conflicts).sum(),
            asked: counts.iter().map(|count| count.asked).sum(),
            tables,
            slots: self.slots.of(record.id),
            verified: stored.last_verify.map(last_verify),
            ..SyncStatus::default()
        };
        if let Some(view) = view {
            status.state = state_name(view.phase, paused).to_owned();
            status.needs_approval = status.state == "failed" && view.needs_approval;
            status.pending = view.pending.iter().sum::<u64>() + view.waiting;
            status.quiet = view.is_quiet;
            status.lag_ms = view.lag_ms;
            status.writes = view.writes;
            status.last_error = view.last_error;
            status.broken = view.broken.map(|(side, code)| BrokenSide {
                side: side.name().to_owned(),
                code: code.to_owned(),
            });
            status.capture = view.captures;
            status.paused_tables = view.paused_tables;
            status.paused_fields = view.paused_fields;
            status.drift = [view.drift.left, view.drift.right].concat();
            let progress = |(compared, total)| VerifyProgress { compared, total };
            status.verifying = view.verifying.map(progress);
        }
        Ok(status)
    }
}

fn last_verify(last: Verification) -> LastVerify {
    LastVerify {
        at: rfc3339(last.at_ms),
        equal: last.difference_count == 0,
        records: last.records,
        difference_count: last.difference_count,
        took_ms: last.took_ms,
    }
}

fn table_statuses(
    file: &SyncFile,
    counts: &[Counts],
    view: Option<&ProgressView>,
) -> Vec<TableStatus> {
    let mut statuses = Vec::new();
    for (number, (table, counts)) in file.tables.iter().zip(counts).enumerate() {
        let at = |list: &[u64]| list.get(number).copied().unwrap_or(0);
        let (copied, total) = view.map_or((0, 0), |view| (at(&view.copied), at(&view.totals)));
        let records = view
            .and_then(|view| view.records.get(number).copied())
            .unwrap_or_default();
        statuses.push(TableStatus {
            left: table.left.clone(),
            right: table.right.clone(),
            // Only a scan counts; a sync that went on without one knows of the linked ones.
            left_count: records.left.max(counts.linked),
            right_count: records.right.max(counts.linked),
            linked: counts.linked,
            findings: counts.findings,
            conflicts: counts.conflicts,
            asked: counts.asked,
            pending: view.map_or(0, |view| at(&view.pending)),
            lag_ms: view.and_then(|view| view.lags_ms.get(number).copied().flatten()),
            copied,
            total,
            last_error: view.and_then(|view| view.last_error.clone()),
        });
    }
    statuses
}

fn state_name(phase: Phase, paused: bool) -> &'static str {
    match phase {
        _ if paused => "paused",
        Phase::Opening | Phase::Scanning => "planning",
        Phase::Copying => "copying",
        Phase::Live => "live",
        Phase::Waiting => "waiting",
        Phase::Refused => "failed",
        Phase::Stopped => "paused",
    }
}

//! How a sync goes, from its progress and what the store has counted.

use tidegate_sync::model::PairId;

use super::errors::internal;
use super::writes::rfc3339;
use super::{Engine, parse};
use crate::engine::handle::ControlError;
use crate::engine::report::{LastVerify, SyncStatus, TableStatus, VerifyProgress};
use crate::engine::supervisor::{Phase, ProgressView};
use crate::engine::syncfile::SyncFile;
use crate::store::syncs::{SyncId, SyncRecord, Wanted};
use crate::store::verifications::{self, Verification};
use crate::store::{conflicts, findings, pairs};

/// What the store has counted for one table pair.
struct Counts {
    linked: u64,
    findings: u64,
    conflicts: u64,
    asked: u64,
}

impl Engine {
    pub(super) async fn status_of(&self, record: &SyncRecord) -> Result<SyncStatus, ControlError> {
        let file = parse(&record.definition)?;
        let counts = self.counts(record.id, file.tables.len()).await?;
        let running = self.running.lock().await;
        let view = running.get(&record.id).map(|sync| sync.progress().view());
        drop(running);
        let sync = record.id;
        let last = self.store.view(move |conn| verifications::last(conn, sync));
        let last = last.await.map_err(internal)?;
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
            verified: last.map(last_verify),
            ..SyncStatus::default()
        };
        if let Some(view) = view {
            status.state = state_name(view.phase, paused).to_owned();
            status.pending = view.pending.iter().sum::<u64>() + view.waiting;
            status.quiet = view.is_quiet;
            status.lag_ms = view.lag_ms;
            status.writes = view.writes;
            status.last_error = view.last_error;
            status.capture = view.captures;
            let progress = |(compared, total)| VerifyProgress { compared, total };
            status.verifying = view.verifying.map(progress);
        }
        Ok(status)
    }

    async fn counts(&self, sync: SyncId, pair_count: usize) -> Result<Vec<Counts>, ControlError> {
        let counted = self.store.view(move |conn| {
            let pairs = pairs::list(conn, sync)?;
            let mut counts = Vec::new();
            for number in 0..pair_count {
                let pair = PairId(number as u32);
                let linked = pairs
                    .iter()
                    .find(|found| found.pair == pair)
                    .map_or(0, |p| p.linked);
                let (conflicts, asked) = conflicts::count(conn, sync, pair)?;
                counts.push(Counts {
                    linked: linked.max(0) as u64,
                    findings: findings::count(conn, sync, pair)?,
                    conflicts,
                    asked,
                });
            }
            Ok(counts)
        });
        counted.await.map_err(internal)
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

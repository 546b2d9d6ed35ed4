//! Verifies a running sync from time to time, where its file asks for that. Called by the
//! supervisor, which ends it with the sync.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{How, Verified, verify};
use crate::engine::run::{RunError, RunParts, as_laid_out, now_ms};
use crate::engine::supervisor::Phase;
use crate::store::StoreError;
use crate::store::verifications::{self, Verification};

/// Verifies whenever it is due, until `stop`.
pub(in crate::engine) async fn run(parts: &RunParts, stop: &CancellationToken) {
    let Some(every) = parts.file.verify else {
        return;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        never = verify_when_due(parts, every) => match never {},
    }
}

async fn verify_when_due(parts: &RunParts, every: Duration) -> std::convert::Infallible {
    let sync = &parts.file.name;
    loop {
        match due_in(parts, every).await {
            Ok(Duration::ZERO) if parts.progress.view().phase == Phase::Live => {
                if let Err(error) = verify_as_it_runs(parts).await {
                    tracing::warn!(sync, %error, "A periodic verify failed.");
                    tokio::time::sleep(limits::AGAIN_AFTER).await;
                }
            }
            Ok(wait) => tokio::time::sleep(wait.clamp(limits::LOOK_MIN, limits::LOOK_MAX)).await,
            Err(error) => {
                tracing::warn!(sync, %error, "The last verify can't be read.");
                tokio::time::sleep(limits::AGAIN_AFTER).await;
            }
        }
    }
}

/// Field pairs may be paused since the sync was started.
async fn verify_as_it_runs(parts: &RunParts) -> Result<Verified, RunError> {
    verify_and_note(&as_laid_out(parts).await?, How::default()).await
}

async fn due_in(parts: &RunParts, every: Duration) -> Result<Duration, StoreError> {
    let Some(sync) = parts.sync else {
        return Ok(Duration::MAX);
    };
    let last = parts
        .store
        .view(move |conn| verifications::last(conn, sync))
        .await?;
    let Some(last) = last else {
        return Ok(Duration::ZERO);
    };
    let passed = Duration::from_millis((now_ms() - last.at_ms).max(0) as u64);
    Ok(every.saturating_sub(passed))
}

/// Verifies and remembers the result.
pub(in crate::engine) async fn verify_and_note(
    parts: &RunParts,
    how: How,
) -> Result<Verified, RunError> {
    let began = std::time::Instant::now();
    let verified = verify(parts, how).await?;
    let report = &verified.report;
    if let Some(sync) = parts.sync {
        let noted = Verification {
            at_ms: now_ms(),
            took_ms: began.elapsed().as_millis() as u64,
            records: report.records,
            difference_count: report.difference_count,
        };
        parts
            .store
            .transact(move |tx| verifications::put(tx, sync, &noted))
            .await?;
    }
    if !report.equal {
        let (sync, count) = (&report.sync, report.difference_count);
        tracing::warn!(
            sync,
            count,
            "The sides differ: `sync verify` lists what does."
        );
    }
    Ok(verified)
}

mod limits {
    use super::Duration;

    /// After a verify that could not be done.
    pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(60);
    /// How often it is looked whether one is due: a sync may go live, or be verified by hand.
    pub(super) const LOOK_MIN: Duration = Duration::from_secs(1);
    pub(super) const LOOK_MAX: Duration = Duration::from_secs(60);
}

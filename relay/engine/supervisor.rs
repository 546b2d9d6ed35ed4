//! Keeps one sync running: starts runs, waits between failures, and tells how it goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_sync::decide::{Tally, Write};
use tidegate_sync::model::{BySide, Key, PairId, Side};
use tidegate_sync::session::Applied;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::{APPROVAL_IDLE_MAX, RESTART_RESET_AFTER, RESTART_WAIT_MAX, RESTART_WAIT_MIN};
use super::mapping::Mapping;
use super::news::{Round, Rounds};
use super::report::CaptureReport;
use super::run::{RunError, RunParts, run};
use super::verify::periodic;
use super::wishes::Edits;

/// What a running sync is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Opening,
    Scanning,
    Copying,
    Live,
    /// A failure passes by itself, or a person must act; `last_error` tells.
    Waiting,
    /// A person must confirm or change something before it starts again.
    Refused,
    Stopped,
}

/// A snapshot of [`Progress`].
#[derive(Clone, Debug, Default)]
pub(super) struct ProgressView {
    pub phase: Phase,
    /// What it is refused for is that many records would be deleted.
    pub needs_approval: bool,
    pub last_error: Option<String>,
    /// The side at which it fails, and with which code.
    pub broken: Option<(Side, &'static str)>,
    /// Per table pair: records written or linked by the copy, and how many there will be.
    pub copied: Vec<u64>,
    pub totals: Vec<u64>,
    /// Per table pair: records of each side, as scanned and moved by what was written since.
    pub records: Vec<BySide<u64>>,
    /// Per table pair: changes taken in and not settled yet.
    pub pending: Vec<u64>,
    /// Records that wait for a stream or a read, of all table pairs.
    pub waiting: u64,
    pub is_quiet: bool,
    /// From a change on one side to its settlement, for the newest change.
    pub lag_ms: Option<u64>,
    /// The same per table pair.
    pub lags_ms: Vec<Option<u64>>,
    pub writes: u64,
    pub captures: Vec<CaptureReport>,
    /// One sentence for each table pair, and for each field pair, that is not synced at present.
    pub paused_tables: Vec<String>,
    pub paused_fields: Vec<String>,
    /// See [`Mapping::drift`].
    pub drift: BySide<Vec<String>>,
    /// While a verify is under way: records of both sides that it hashed or read, and about how many
    /// there are.
    pub verifying: Option<(u64, u64)>,
}

/// What a sync tells about itself while it runs. One per sync; shared with the API.
pub(super) struct Progress {
    view: Mutex<ProgressView>,
    sync: String,
    rounds: Rounds,
    /// Of a verify: whose sync it is.
    verifies: Option<Arc<Progress>>,
}

impl Progress {
    pub(super) fn new(sync: &str, pairs: usize, rounds: Rounds) -> Progress {
        let view = ProgressView {
            copied: vec![0; pairs],
            totals: vec![0; pairs],
            pending: vec![0; pairs],
            lags_ms: vec![None; pairs],
            records: vec![BySide::default(); pairs],
            ..ProgressView::default()
        };
        Progress {
            view: Mutex::new(view),
            sync: sync.to_owned(),
            rounds,
            verifies: None,
        }
    }

    /// A progress for reading beside the sync, of which this one shows how much was read.
    pub(super) fn aside(self: &Arc<Self>) -> Progress {
        let pairs = self.lock().copied.len();
        let mut aside = Progress::new(&self.sync, pairs, self.rounds.clone());
        self.lock().verifying = Some((0, 0));
        aside.verifies = Some(self.clone());
        aside
    }

    /// So many more records are to be read beside the sync.
    pub(super) fn note_expected(&self, records: u64) {
        let Some(of) = &self.verifies else { return };
        if let Some((_, total)) = &mut of.lock().verifying {
            *total += records;
        }
    }

    pub(super) fn end_verify(&self) {
        self.lock().verifying = None;
    }

    pub(super) fn view(&self) -> ProgressView {
        self.lock().clone()
    }

    pub(super) fn set_captures(&self, captures: Vec<CaptureReport>) {
        self.lock().captures = captures;
    }

    pub(super) fn set_paused(&self, tables: Vec<String>, fields: Vec<String>) {
        let mut view = self.lock();
        (view.paused_tables, view.paused_fields) = (tables, fields);
    }

    pub(super) fn set_drift(&self, side: Side, drift: Vec<String>) {
        self.lock().drift[side] = drift;
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        let mut view = self.lock();
        view.phase = phase;
        if phase == Phase::Live {
            view.last_error = None;
            view.broken = None;
        }
        if phase == Phase::Scanning {
            view.records.fill(BySide::default());
            view.copied.fill(0);
        }
    }

    pub(super) fn set_pending(&self, pending: Vec<u64>, waiting: u64, is_quiet: bool) {
        let mut view = self.lock();
        view.pending = pending;
        view.waiting = waiting;
        view.is_quiet = is_quiet;
    }

    pub(super) fn note_scanned(&self, side: Side, pair: usize, rows: u64) {
        if let Some(records) = self.lock().records.get_mut(pair) {
            records[side] += rows;
        }
        if let Some(of) = &self.verifies
            && let Some((compared, _)) = &mut of.lock().verifying
        {
            *compared += rows;
        }
    }

    pub(super) fn set_totals(&self, tallies: &[Tally]) {
        let total = |tally: &Tally| {
            let writes = [&tally.creates, &tally.updates, &tally.deletes];
            writes
                .iter()
                .map(|count| count.left + count.right)
                .sum::<u64>()
        };
        self.lock().totals = tallies.iter().map(total).collect();
    }

    /// Counts writes, and tells whoever watches.
    pub(super) fn note_applied(&self, mapping: &Mapping, applied: &[Applied], live: bool) {
        if applied.is_empty() {
            return;
        }
        let now = micros_since_2000();
        let mut view = self.lock();
        view.writes += applied.len() as u64;
        for write in applied {
            if !live && let Some(copied) = view.copied.get_mut(write.pair.0 as usize) {
                *copied += 1;
            }
            // An edit is news of its side: it counts when it is carried over.
            let records = view.records.get_mut(write.pair.0 as usize);
            if let Some(records) = records.filter(|_| !write.why.is_edit()) {
                // Live, the other side made or lost its record just before; a copy has counted it.
                let sides = if live {
                    &Side::BOTH[..]
                } else {
                    &[write.side][..]
                };
                for &side in sides {
                    records[side] = match write.write {
                        Write::Create => records[side] + 1,
                        Write::Delete => records[side].saturating_sub(1),
                        Write::Update => records[side],
                    };
                }
            }
            if let Some(at) = write.source_time {
                let lag_ms = Some((now - at).max(0) as u64 / 1000);
                view.lag_ms = lag_ms;
                if let Some(lag) = view.lags_ms.get_mut(write.pair.0 as usize) {
                    *lag = lag_ms;
                }
            }
        }
        drop(view);
        if live && self.rounds.receiver_count() > 0 {
            // Nobody listening any more is no error.
            let _ = self
                .rounds
                .send(Arc::new(Round::of(&self.sync, mapping, applied)));
        }
    }

    fn fail(&self, error: &RunError) {
        let mut view = self.lock();
        view.last_error = Some(error.to_string());
        view.broken = match error {
            RunError::Side { side, source } => Some((*side, source.code)),
            _ => None,
        };
        view.needs_approval = matches!(error, RunError::Unapproved(_));
        view.phase = match error {
            RunError::Refused(_) | RunError::Unapproved(_) => Phase::Refused,
            _ => Phase::Waiting,
        };
    }

    fn lock(&self) -> MutexGuard<'_, ProgressView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `create`, `update` or `delete`.
pub(super) fn write_name(write: Write) -> &'static str {
    match write {
        Write::Create => "create",
        Write::Update => "update",
        Write::Delete => "delete",
    }
}

/// Now, in PostgreSQL's unit: microseconds since 2000-01-01 UTC.
pub(super) fn micros_since_2000() -> i64 {
    const UNIX_TO_2000_SECS: i64 = 946_684_800;
    let since_1970 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_micros() as i64);
    since_1970 - UNIX_TO_2000_SECS * 1_000_000
}

/// What a person asked of a running sync.
#[derive(Default)]
pub(super) struct Requests {
    pub edits: Edits,
    retry: Notify,
    expected: Mutex<Option<Vec<Tally>>>,
    deletes_approved: Mutex<Option<tokio::time::Instant>>,
    /// Records that a verify found to differ, to be planned.
    doubts: Mutex<Vec<(Side, PairId, Key)>>,
    verifies: tokio::sync::Mutex<()>,
}

impl Requests {
    /// Try findings again now.
    pub(super) fn retry(&self) {
        self.retry.notify_one();
    }

    pub(super) async fn retry_requested(&self) {
        self.retry.notified().await;
    }

    /// Plan these records, which differ, with doubt in what is remembered of them.
    pub(super) fn doubt(&self, records: Vec<(Side, PairId, Key)>) {
        self.lock_doubts().extend(records);
        self.retry.notify_one();
    }

    pub(super) fn has_doubts(&self) -> bool {
        !self.lock_doubts().is_empty()
    }

    pub(super) fn take_doubts(&self) -> Vec<(Side, PairId, Key)> {
        std::mem::take(&mut self.lock_doubts())
    }

    fn lock_doubts(&self) -> MutexGuard<'_, Vec<(Side, PairId, Key)>> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by a verify while it is under way.
    pub(super) async fn verify_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.verifies.lock().await
    }

    /// The start must do exactly this, or refuse.
    pub(super) fn expect(&self, tallies: Vec<Tally>) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Some(tallies);
    }

    /// The expectation; asked for once, by the first reconcile.
    pub(super) fn take_expected(&self) -> Option<Vec<Tally>> {
        self.expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A person saw how many records would be deleted and confirmed it.
    pub(super) fn approve_deletes(&self) {
        *self.lock_approval() = Some(tokio::time::Instant::now());
    }

    /// True once after an approval.
    pub(super) fn take_approval(&self) -> bool {
        self.lock_approval().take().is_some()
    }

    /// Nothing is under way: an approval that nothing came of for long is not for what comes later.
    pub(super) fn end_old_approval(&self) {
        let mut approval = self.lock_approval();
        if approval.is_some_and(|at| at.elapsed() >= APPROVAL_IDLE_MAX) {
            *approval = None;
        }
    }

    fn lock_approval(&self) -> MutexGuard<'_, Option<tokio::time::Instant>> {
        self.deletes_approved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the sync until `stop`. Failures that pass are waited out with growing, jittered pauses.
pub(super) async fn supervise(parts: RunParts, stop: CancellationToken) {
    let sync = parts.file.name.clone();
    let mut wait = RESTART_WAIT_MIN;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let failure = match run(parts.clone(), stop.clone()).await {
            Ok(()) => break,
            Err(failure) => failure,
        };
        if started.elapsed() >= RESTART_RESET_AFTER {
            wait = RESTART_WAIT_MIN;
        }
        parts.progress.fail(&failure);
        match failure.wait_min() {
            None => {
                tracing::info!(sync, reason = %failure, "The sync reconciles.");
                continue;
            }
            Some(least) => {
                if failure.needs_person() {
                    tracing::warn!(sync, error = %failure, "The sync waits for a person.");
                } else {
                    tracing::info!(sync, error = %failure, "The sync is interrupted.");
                }
                let pause = if least == Duration::MAX {
                    least
                } else {
                    jittered(wait.max(least))
                };
                pause_or_stop(&stop, pause).await;
                wait = (wait * 2).min(RESTART_WAIT_MAX);
            }
        }
    }
    parts.progress.set_phase(Phase::Stopped);
}

async fn pause_or_stop(stop: &CancellationToken, pause: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause), if pause != Duration::MAX => {}
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// One supervised sync.
pub(super) struct Supervised {
    pub parts: RunParts,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

impl Supervised {
    pub(super) fn start(parts: RunParts) -> Supervised {
        let stop = CancellationToken::new();
        let (run, verified) = (parts.clone(), parts.clone());
        let (until, verified_until) = (stop.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let verify = periodic::run(&verified, &verified_until);
            tokio::join!(supervise(run, until), verify);
        });
        Supervised { parts, stop, task }
    }

    /// Stops after the round under way is settled.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // A panic of the task was logged by the runtime's hook; there is nothing left to stop.
        let _ = self.task.await;
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.parts.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_approval_is_for_what_is_under_way_and_not_for_a_later_day() {
        let requests = Requests::default();
        assert!(!requests.take_approval());
        requests.approve_deletes();
        tokio::time::advance(APPROVAL_IDLE_MAX / 2).await;
        requests.end_old_approval();
        assert!(requests.take_approval());
        assert!(!requests.take_approval(), "it is asked for once");

        requests.approve_deletes();
        tokio::time::advance(APPROVAL_IDLE_MAX).await;
        requests.end_old_approval();
        assert!(!requests.take_approval());
    }
}

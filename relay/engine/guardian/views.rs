//! What the guardian saw last, for status and metrics.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_sync::model::{BySide, Side};

use super::runway::{Judgement, Level};
use crate::endpoint::EndpointError;
use crate::endpoint::log_guard::LogState;
use crate::engine::report::SlotStatus;
use crate::store::syncs::SyncId;

/// The last look at each log.
#[derive(Default)]
pub(in crate::engine) struct Views(Mutex<HashMap<SyncId, BySide<Option<SlotStatus>>>>);

impl Views {
    /// The slots of a sync, left first; those that were not looked at yet are missing.
    pub(in crate::engine) fn of(&self, sync: SyncId) -> Vec<SlotStatus> {
        let found = self.lock().get(&sync).cloned().unwrap_or_default();
        [found.left, found.right].into_iter().flatten().collect()
    }

    pub(super) fn retain(&self, keep: impl Fn(SyncId) -> bool) {
        self.lock().retain(|sync, _| keep(*sync));
    }

    pub(super) fn note(&self, sync: SyncId, side: Side, log: &LogState, judged: &Judgement) {
        self.change(sync, side, |status| {
            let state = match log.active {
                _ if log.is_lost() => "lost",
                true => "reading",
                false => "idle",
            };
            *status = SlotStatus {
                side: side.name().to_owned(),
                slot: log.name.clone(),
                state: state.to_owned(),
                wal_status: log.status.clone(),
                invalidation_reason: log.lost_because.clone(),
                retained_bytes: log.retained_bytes,
                safe_wal_bytes: log.safe_bytes,
                bound_bytes: Some(judged.bound_bytes),
                runway_bytes: judged.left_bytes,
                runway_hours: judged.left.map(|left| left.as_secs_f64() / 3600.0),
                wal_bytes_per_s: judged.bytes_per_s,
                dropped: status.dropped,
                warning: warning(log, judged),
                at: String::new(),
            };
        });
    }

    /// There is no log: not yet, or not any more.
    pub(super) fn note_none(&self, sync: SyncId, side: Side) {
        self.change(sync, side, |status| {
            *status = SlotStatus {
                side: side.name().to_owned(),
                state: "none".to_owned(),
                dropped: status.dropped,
                warning: status.warning.take().filter(|_| status.state == "none"),
                ..SlotStatus::default()
            };
        });
    }

    /// The guardian gave it up.
    pub(super) fn note_dropped(&self, sync: SyncId, side: Side) {
        self.change(sync, side, |status| {
            let text = "the slot was dropped before it filled the database's disk; the sync \
                        reconciles when it goes on";
            *status = SlotStatus {
                side: side.name().to_owned(),
                state: "none".to_owned(),
                dropped: status.dropped + 1,
                warning: Some(text.to_owned()),
                ..SlotStatus::default()
            };
        });
    }

    /// The side was not reached: what was seen last stays.
    pub(super) fn note_unknown(&self, sync: SyncId, side: Side, error: &EndpointError) {
        let mut views = self.lock();
        let status = views.entry(sync).or_default()[side].get_or_insert_default();
        status.side = side.name().to_owned();
        status.state = "unknown".to_owned();
        status.warning = Some(format!("the slot can't be looked at: {error}"));
    }

    fn change(&self, sync: SyncId, side: Side, change: impl FnOnce(&mut SlotStatus)) {
        let mut views = self.lock();
        let status = views.entry(sync).or_default()[side].get_or_insert_default();
        change(status);
        status.at = jiff::Timestamp::now().to_string();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SyncId, BySide<Option<SlotStatus>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warning(log: &LogState, judged: &Judgement) -> Option<String> {
    if log.is_lost() {
        let because = log.lost_because.as_deref().unwrap_or("WAL was removed");
        return Some(format!(
            "PostgreSQL invalidated the slot ({because}); the sync reconciles when it goes on"
        ));
    }
    let share = match judged.level {
        Level::Fine => return None,
        Level::Half => "more than half",
        Level::Near => "more than three quarters",
    };
    let advice = match log.active {
        true => "the sync does not keep up: see its last error, or raise slot_wal_max",
        false => "let the sync go on, or it will have to reconcile",
    };
    Some(format!("it keeps {share} of what it may keep: {advice}"))
}

//! What running syncs tell as it happens: each round that crossed, as counts and as changes.
//!
//! A round is one message, however many records it wrote, so that a copy of a thousand records does
//! not push out what a reader has not seen yet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_sync::decide::Write;
use tidegate_sync::model::{PairId, Side};
use tidegate_sync::session::Applied;
use tokio::sync::broadcast;
use utoipa::ToSchema;

use super::mapping::Mapping;
use super::report::LiveEvent;
use super::supervisor::{micros_since_2000, write_name};

/// Rounds that a slow reader may lag behind before it loses the oldest.
pub const ROUNDS_MAX: usize = 256;
/// Changes of one round that are told one by one; its counts tell of all.
const CHANGES_TOLD_MAX: usize = 200;

/// What one round wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub sync: String,
    pub activity: Vec<Activity>,
    /// The first of them where there are many.
    pub changes: Vec<LiveEvent>,
}

/// Where rounds are told.
pub type Rounds = broadcast::Sender<Arc<Round>>;

/// What one round wrote to one side of a table pair. No row values, no keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// RFC 3339: when it was settled.
    pub at: String,
    pub sync: String,
    /// The left table.
    pub left: String,
    /// The right table.
    pub right: String,
    /// The side that was written.
    pub side: String,
    pub creates: u64,
    pub updates: u64,
    pub deletes: u64,
    /// From the commit on the other side until it was settled, of the slowest record; absent where a
    /// side does not tell when it committed.
    pub latency_ms: Option<u64>,
}

impl Round {
    /// What was written now.
    pub(super) fn of(sync: &str, mapping: &Mapping, applied: &[Applied]) -> Round {
        let now = micros_since_2000();
        let at = jiff::Timestamp::now().to_string();
        let mut parts: Vec<((PairId, Side), Activity)> = Vec::new();
        for write in applied {
            let place = (write.pair, write.side);
            let found = parts.iter().position(|(known, _)| *known == place);
            let index = found.unwrap_or_else(|| {
                let pair = &mapping.pairs[write.pair.0 as usize];
                let part = Activity {
                    at: at.clone(),
                    sync: sync.to_owned(),
                    left: pair.tables.left.clone(),
                    right: pair.tables.right.clone(),
                    side: write.side.name().to_owned(),
                    ..Activity::default()
                };
                parts.push((place, part));
                parts.len() - 1
            });
            let part = &mut parts[index].1;
            match write.write {
                Write::Create => part.creates += 1,
                Write::Update => part.updates += 1,
                Write::Delete => part.deletes += 1,
            }
            part.latency_ms = part.latency_ms.max(latency_ms(write, now));
        }
        let told = applied.iter().take(CHANGES_TOLD_MAX);
        Round {
            sync: sync.to_owned(),
            activity: parts.into_iter().map(|(_, part)| part).collect(),
            changes: told
                .map(|write| change(sync, mapping, write, now))
                .collect(),
        }
    }
}

fn latency_ms(write: &Applied, now: i64) -> Option<u64> {
    let at = write.source_time?;
    Some((now - at).max(0) as u64 / 1000)
}

fn change(sync: &str, mapping: &Mapping, write: &Applied, now: i64) -> LiveEvent {
    let pair = &mapping.pairs[write.pair.0 as usize];
    let key = write.keys[write.side]
        .as_ref()
        .or(write.keys[write.side.other()].as_ref());
    LiveEvent {
        sync: sync.to_owned(),
        table: pair.tables[write.side].clone(),
        side: write.side.name().to_owned(),
        kind: write_name(write.write).to_owned(),
        key: key.map(ToString::to_string).unwrap_or_default(),
        fields: write
            .fields
            .iter()
            .map(|&field| pair.field_name(write.side, field))
            .collect(),
        latency_ms: latency_ms(write, now),
    }
}

//! Drops Tidegate's slots before they fill this host's disk, whether or not the relay is reached.
//!
//! The relay looks after its slots itself and gives them up before the bound that this agent tells
//! it. This is for the time in which the relay can't: it only ever drops what has come closer to the
//! bound than the relay lets it. A sync that lost its slot reconciles. Called by `service`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_shared::size;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::config::Target;
use crate::origin::Origin;
use crate::origin::error::OriginError;
use crate::origin::role;
use crate::origin::slots::{self, Found, Slot, SlotView};
use crate::tunnel::status::Board;

mod limits {
    use std::time::Duration;

    /// Between two looks at a target: a login each.
    pub(super) const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);
    /// Where a slot fills fast.
    pub(super) const LOOK_EVERY_MIN: Duration = Duration::from_secs(5);
    /// A slot is looked at this often, at least, before it can have reached its bound.
    pub(super) const LOOKS_BEFORE_BOUND: u32 = 4;
}

/// What is known of one target.
#[derive(Debug, Clone, Default)]
struct Watched {
    /// When it was looked at, and where the server's WAL ended then.
    last: Option<(Instant, u64)>,
    slots: Vec<SlotView>,
    next: Option<Instant>,
}

/// Looks for ever.
pub async fn run(origin: Arc<Origin>, board: Board) {
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    loop {
        let targets = origin.targets();
        watched.retain(|name, _| targets.iter().any(|target| target.name == *name));
        let mut looks = JoinSet::new();
        for target in targets {
            let known = watched.get(&target.name).cloned().unwrap_or_default();
            if known.next.is_none_or(|next| next <= Instant::now()) {
                let origin = origin.clone();
                looks.spawn(
                    async move { (target.name.clone(), look(&origin, &target, known).await) },
                );
            }
        }
        while let Some(looked) = looks.join_next().await {
            // A panic was logged by the runtime's hook; the target is looked at again.
            let Ok((name, (known, dropped))) = looked else {
                continue;
            };
            watched.insert(name, known);
            board.update(|status| status.slots_dropped += dropped);
        }
        let slots = watched
            .values()
            .flat_map(|known| known.slots.clone())
            .collect();
        board.update(|status| status.slots = slots);
        tokio::time::sleep(limits::LOOK_EVERY_MIN).await;
    }
}

/// One look at one target: what is known now, and how many slots were dropped.
async fn look(origin: &Origin, target: &Target, before: Watched) -> (Watched, u64) {
    match try_look(origin, target, &before).await {
        Ok(looked) => looked,
        Err(error) => {
            // The relay's own sessions fail alike and tell it louder.
            debug!(target_name = %target.name, %error, "the slots could not be looked at");
            let next = Some(Instant::now() + limits::LOOK_EVERY_MAX);
            (Watched { next, ..before }, 0)
        }
    }
}

async fn try_look(
    origin: &Origin,
    target: &Target,
    before: &Watched,
) -> Result<(Watched, u64), OriginError> {
    let mut session = origin.own_session(target).await?;
    if before.last.is_none() {
        for power in role::powers(&mut session).await? {
            warn!(
                target_name = %target.name, power,
                "the agent's role may do more than a sync needs: use one that `tidegate-agent \
                 grant` prints"
            );
        }
    }
    let mut found = slots::find(&mut session).await?;
    let above_bytes = give_up_above(target.slot_wal_max);
    let mut dropped = 0;
    for slot in &found.slots {
        if slot.retained_bytes <= Some(above_bytes) {
            continue;
        }
        let kept = size::rounded(slot.retained_bytes.unwrap_or(0));
        let slot_wal_max = size::text(target.slot_wal_max);
        match slots::drop_above(&mut session, &slot.name, above_bytes).await {
            Ok(false) => {}
            Ok(true) => {
                dropped += 1;
                warn!(
                    target_name = %target.name, slot = slot.name, kept, slot_wal_max,
                    "slot dropped before it fills the disk; its sync reconciles later"
                );
            }
            Err(error) => warn!(
                target_name = %target.name, slot = slot.name, kept, slot_wal_max, %error,
                "the slot fills the disk and can't be dropped: drop it by hand"
            ),
        }
    }
    if dropped > 0 {
        found = slots::find(&mut session).await?;
    }
    let view = |slot: &Slot| SlotView {
        target: target.name.clone(),
        slot: slot.name.clone(),
        active: slot.active,
        wal_status: slot.wal_status.clone(),
        retained_bytes: slot.retained_bytes,
        bound_bytes: target.slot_wal_max,
        known: origin.knows_sync(slot.sync()),
    };
    let now = Instant::now();
    let elapsed = before.last.map(|(at, written)| {
        let bytes = found.written_bytes.saturating_sub(written);
        (now - at, bytes)
    });
    let looked = Watched {
        last: Some((now, found.written_bytes)),
        slots: found.slots.iter().map(view).collect(),
        next: Some(now + next_look(&found, above_bytes, elapsed)),
    };
    Ok((looked, dropped))
}

/// Closer to the bound than the relay lets a slot come, which gives it up at nine tenths: the two
/// don't act on the same slot, unless the relay can't.
fn give_up_above(bound_bytes: u64) -> u64 {
    bound_bytes - bound_bytes / 20
}

/// Sooner where the server writes fast. `written`: how long ago the last look was, and how many
/// bytes were written since.
fn next_look(found: &Found, above_bytes: u64, written: Option<(Duration, u64)>) -> Duration {
    let fullest = found
        .slots
        .iter()
        .filter_map(|slot| slot.retained_bytes)
        .max();
    let Some(kept) = fullest else {
        return limits::LOOK_EVERY_MAX;
    };
    let Some((elapsed, bytes)) = written else {
        return limits::LOOK_EVERY_MIN;
    };
    let left = above_bytes.saturating_sub(kept) as f64;
    let seconds = left / bytes.max(1) as f64 * elapsed.as_secs_f64();
    let until_full = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let wait = until_full / limits::LOOKS_BEFORE_BOUND;
    wait.clamp(limits::LOOK_EVERY_MIN, limits::LOOK_EVERY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    fn keeping(retained: u64) -> Found {
        let slot = Slot {
            name: "tidegate_blog_l".into(),
            active: false,
            wal_status: "reserved".into(),
            retained_bytes: Some(retained),
        };
        Found {
            slots: vec![slot],
            ..Found::default()
        }
    }

    #[test]
    fn looks_come_faster_the_sooner_the_bound_is_near() {
        let minute = Duration::from_secs(60);
        let idle = next_look(&keeping(GB), 10 * GB, Some((minute, 1000)));
        assert_eq!(idle, limits::LOOK_EVERY_MAX);
        let filling = next_look(&keeping(8 * GB), 10 * GB, Some((minute, 4 * GB)));
        assert_eq!(filling, minute / 2 / 4);
        let full = next_look(&keeping(10 * GB), 10 * GB, Some((minute, 4 * GB)));
        assert_eq!(full, limits::LOOK_EVERY_MIN);
        let unknown = next_look(&keeping(GB), 10 * GB, None);
        assert_eq!(unknown, limits::LOOK_EVERY_MIN);
        assert_eq!(
            next_look(&Found::default(), 10 * GB, None),
            limits::LOOK_EVERY_MAX
        );
    }

    #[test]
    fn relay_acts_before_the_agent_and_the_agent_before_the_bound() {
        let bound = 10 * GB;
        assert!(give_up_above(bound) > bound / 10 * 9 && give_up_above(bound) < bound);
    }
}

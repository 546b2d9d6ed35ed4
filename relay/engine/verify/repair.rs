//! What a repair of the differences would do, and doing it.
//!
//! A repair writes nothing by itself: it has the running session read the records that differ and
//! plan them, with doubt in baselines that both sides contradict by differing without a change (see
//! [`tidegate_sync::doubt`]). So every invariant of a write holds. A record that one side lacks is
//! missing from the complete looks of two verifies, and from the session's own fenced read, before it
//! is deleted on the other side.

use std::time::Instant;

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::decide::{Decision, Match, Write, decide};
use tidegate_sync::doubt::doubt;
use tidegate_sync::model::{BySide, Key, PairId, Side};

use super::periodic::verify_and_note;
use super::{How, Verified};
use crate::engine::control::failed;
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::engine::limits::{
    PREVIEW_SAMPLES_MAX, REPAIR_PASSES_MAX, REPAIR_RECORDS_MAX, REPAIR_TAKE_MAX, VERIFY_LOOK_EVERY,
};
use crate::engine::mapping::{Mapping, PairMapping};
use crate::engine::named::told_apart;
use crate::engine::preview::Wanted;
use crate::engine::report::{TableRepair, VerifyReport};
use crate::engine::run::RunParts;
use crate::engine::supervisor::Phase;

/// Records to be read and planned.
pub(super) type Doubts = Vec<(Side, PairId, Key)>;

/// What a look collects of its differences.
#[derive(Default)]
pub(super) struct Repairs {
    pub tables: Vec<TableRepair>,
    pub doubts: Doubts,
    /// Records whose values are shown.
    pub wanted: Vec<Wanted>,
}

impl Repairs {
    pub(super) fn of(mapping: &Mapping) -> Repairs {
        let table = |pair: &PairMapping| TableRepair {
            left: pair.tables.left.clone(),
            right: pair.tables.right.clone(),
            ..TableRepair::default()
        };
        Repairs {
            tables: mapping.pairs.iter().map(table).collect(),
            ..Repairs::default()
        }
    }

    /// Notes what would become of two records that differ.
    pub(super) fn add(
        &mut self,
        (pair, mapped): (PairId, &PairMapping),
        prints: &Fingerprinter,
        (found, same): (&Match, &[usize]),
    ) {
        let table = &mut self.tables[pair.0 as usize];
        let (decision, writes) = planned(mapped, prints, (found, same));
        if writes == BySide::default() {
            table.untouched += 1;
            return;
        }
        for (side, write) in [(Side::Left, writes.left), (Side::Right, writes.right)] {
            if let Some(write) = write {
                *count(table, side, write) += 1;
            }
        }
        let shown = self.wanted.iter().filter(|one| one.pair == pair).count();
        if shown < PREVIEW_SAMPLES_MAX {
            self.wanted.extend(Wanted::of(pair, found, &decision));
        }
        if self.doubts.len() >= REPAIR_RECORDS_MAX {
            return;
        }
        let sides = Side::BOTH.into_iter();
        let there = sides.filter_map(|side| Some((side, found.scanned[side].as_ref()?)));
        let slots = there.map(|(side, scanned)| (side, pair, scanned.key.clone()));
        // A link leads to its other record; two that are not linked are both named.
        let named = if found.link.is_some() { 1 } else { 2 };
        self.doubts.extend(slots.take(named));
    }
}

fn planned(
    mapped: &PairMapping,
    prints: &Fingerprinter,
    (found, same): (&Match, &[usize]),
) -> (Decision, BySide<Option<Write>>) {
    let mut found = found.clone();
    told_apart(&mut found, same, &mapped.policy);
    let BySide { left, right } = &found.scanned;
    if let (Some(link), Some(left), Some(right)) = (&mut found.link, left, right) {
        let now = BySide::new(left.fingerprints.as_slice(), &right.fingerprints);
        doubt(link, now, &mapped.policy);
    }
    let decision = decide(&found, &mapped.policy, prints, false);
    let writes = match &decision {
        Decision::Plan { writes, .. } => *writes,
        _ => BySide::default(),
    };
    (decision, writes)
}

fn count(table: &mut TableRepair, side: Side, write: Write) -> &mut u64 {
    match (write, side) {
        (Write::Create, Side::Left) => &mut table.create_left,
        (Write::Create, Side::Right) => &mut table.create_right,
        (Write::Update, Side::Left) => &mut table.update_left,
        (Write::Update, Side::Right) => &mut table.update_right,
        (Write::Delete, Side::Left) => &mut table.delete_left,
        (Write::Delete, Side::Right) => &mut table.delete_right,
    }
}

/// Repairs what differs, if that is `expected`, and verifies it.
pub(in crate::engine) async fn repair(
    parts: &RunParts,
    expected: Option<&[TableRepair]>,
) -> Result<VerifyReport, ControlError> {
    let how = How {
        repair: true,
        ..How::default()
    };
    if parts.progress.view().phase != Phase::Live {
        let text =
            "the sync is not live, and a repair is the work of a running sync: see `sync status`";
        return Err(refused("sync-not-live", text));
    }
    let mut before = u64::MAX;
    let mut pass = 0;
    loop {
        pass += 1;
        let verified = verify_and_note(parts, how).await;
        let Verified { report, doubts } = verified.map_err(failed)?;
        if let (1, Some(expected)) = (pass, expected) {
            check_expected(expected, report.repair.as_deref().unwrap_or_default())?;
        }
        let is_stuck = report.difference_count >= before;
        if doubts.is_empty() || is_stuck || pass > REPAIR_PASSES_MAX {
            return Ok(report);
        }
        before = report.difference_count;
        parts.requests.doubt(doubts);
        let began = Instant::now();
        while parts.requests.has_doubts() {
            if began.elapsed() > REPAIR_TAKE_MAX {
                let text = "the sync does not take the records up: see `sync status`";
                return Err(refused("sync-not-live", text));
            }
            tokio::time::sleep(VERIFY_LOOK_EVERY).await;
        }
    }
}

fn refused(code: &'static str, text: &str) -> ControlError {
    ControlError::new(ControlErrorKind::Conflict, code, text)
}

fn check_expected(expected: &[TableRepair], now: &[TableRepair]) -> Result<(), ControlError> {
    let counts = |tables: &[TableRepair]| -> Vec<TableRepair> {
        let without = |table: &TableRepair| TableRepair {
            samples: Vec::new(),
            ..table.clone()
        };
        tables.iter().map(without).collect()
    };
    if counts(expected) == counts(now) {
        return Ok(());
    }
    let text = "what differs has changed since it was shown: look at `sync verify --repair` again";
    Err(refused("plan-changed", text))
}

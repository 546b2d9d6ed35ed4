//! Compares both sides completely: reads both, never the baseline.
//!
//! Records that differ may be on their way, so they are looked at again until they agree or the
//! bound on looks is reached.

use std::collections::BTreeMap;

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::{Decision, Match, Scanned};
use tidegate_sync::model::{BySide, PairId, Side};
use tidegate_sync::policy::Direction;

use super::limits::{VERIFY_DIFFERENCES_MAX, VERIFY_LOOK_EVERY, VERIFY_LOOKS_MAX};
use super::mapping::PairMapping;
use super::preview::views;
use super::report::{Difference, VerifyReport};
use super::run::{RunError, RunParts, check_mapping};
use super::scan::Scanner;
use crate::store::scans::Scan;

/// Compares the sync's sides.
pub(super) async fn verify(parts: &RunParts) -> Result<VerifyReport, RunError> {
    let mut before = u64::MAX;
    let mut looks = 1;
    loop {
        let looked = look(parts).await;
        // A tunnel that is just coming back, or changes that are still crossing: look again as
        // long as that helps.
        match &looked {
            Ok(report) if report.equal => return looked,
            Ok(report) => {
                let stuck = report.difference_count >= before;
                if stuck && parts.progress.view().is_quiet && looks > 3 {
                    return looked;
                }
                before = report.difference_count;
            }
            Err(error) if error.needs_person() => return looked,
            Err(_) => {}
        }
        if looks >= VERIFY_LOOKS_MAX {
            return looked;
        }
        looks += 1;
        tokio::time::sleep(VERIFY_LOOK_EVERY).await;
    }
}

async fn look(parts: &RunParts) -> Result<VerifyReport, RunError> {
    let mapping = &check_mapping(parts).await?;
    let sides = views(parts, mapping, "verify").await?;
    let positions = BySide::new(sides.left.position(), sides.right.position());
    let scan = Scan::aside(&parts.store, parts.sync, "verify").await?;
    // A progress of its own: what verify reads must not look like the sync's copy.
    let progress = parts.progress.aside();
    let scanner = Scanner {
        mapping,
        prints: &parts.prints,
        progress: &progress,
    };
    scanner.fill(&scan, &sides).await?;
    let mut report = VerifyReport {
        sync: mapping.name.clone(),
        left_position: position(positions.left.offset),
        right_position: position(positions.right.offset),
        ..VerifyReport::default()
    };
    let mut counts: BTreeMap<PairId, usize> = BTreeMap::new();
    scanner
        .decide_all(&scan, &[], |pair, found, decision| {
            let mapped = &mapping.pairs[pair.0 as usize];
            if *decision == Decision::Outside {
                return;
            }
            report.records += 1;
            let Some(difference) = difference(mapped, found) else {
                return;
            };
            report.difference_count += 1;
            let count = counts.entry(pair).or_default();
            if *count < VERIFY_DIFFERENCES_MAX {
                *count += 1;
                report.differences.push(difference);
            }
        })
        .await?;
    report.equal = report.difference_count == 0;
    Ok(report)
}

fn difference(mapped: &PairMapping, found: &Match) -> Option<Difference> {
    let table = mapped.tables.left.clone();
    let key = |scanned: &Option<Scanned>| scanned.as_ref().map(|s| s.key.to_string());
    let kind = match (&found.scanned.left, &found.scanned.right) {
        (Some(left), Some(right)) => {
            let fields = differing(mapped, left, right);
            let kind = if fields.is_empty() {
                return None;
            } else {
                "fields"
            };
            return Some(Difference {
                table,
                kind: kind.to_owned(),
                left_key: key(&found.scanned.left),
                right_key: key(&found.scanned.right),
                fields,
            });
        }
        (None, None) => return None,
        _ if found.problem.is_some() => "not-matched",
        _ if is_alone_on_purpose(mapped, found) => return None,
        (Some(_), None) => "only-left",
        (None, Some(_)) => "only-right",
    };
    Some(Difference {
        table,
        kind: kind.to_owned(),
        left_key: key(&found.scanned.left),
        right_key: key(&found.scanned.right),
        fields: Vec::new(),
    })
}

fn differing(mapped: &PairMapping, left: &Scanned, right: &Scanned) -> Vec<String> {
    let pairs = left
        .fingerprints
        .iter()
        .zip(&right.fingerprints)
        .enumerate();
    pairs
        .filter(|(_, (left, right)): &(usize, (&Fingerprint, &Fingerprint))| left != right)
        .filter(|(field, _)| mapped.policy.fields[*field].direction != Direction::Neither)
        .map(|(field, _)| mapped.field_name(Side::Left, field))
        .collect()
}

/// A detached record, or one whose kind does not travel to the other side.
fn is_alone_on_purpose(mapped: &PairMapping, found: &Match) -> bool {
    if found.link.as_ref().is_some_and(|link| link.is_detached()) {
        return true;
    }
    let side = if found.scanned.left.is_some() {
        Side::Left
    } else {
        Side::Right
    };
    found.link.is_none() && !mapped.policy.records_flow_to(side.other())
}

/// PostgreSQL's way to write a position.
fn position(offset: u64) -> String {
    format!("{:X}/{:X}", offset >> 32, offset & 0xffff_ffff)
}

//! Fills a scan table from both sides' views, and counts what a reconcile of it would do.

use std::sync::Arc;

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::decide::{Decision, Match, Tally, decide};
use tidegate_sync::model::{BySide, Cell, PairId, Side};
use tidegate_sync::policy::PairPolicy;
use tidegate_sync::scope::Scope;
use tokio::sync::mpsc;

use super::limits::{SCAN_CHUNKS_MAX, SCAN_CHUNKS_PRINTED_MAX};
use super::mapping::Mapping;
use super::named::Linked;
use super::run::RunError;
use super::supervisor::Progress;
use crate::endpoint::digest::Blocks;
use crate::endpoint::{Snapshot, Viewed};
use crate::store::StoreError;
use crate::store::scans::{Cursor, Scan, ScanRow};

/// Matches read from the scan table at once, where all of them are looked at.
const PAGE: usize = 10_000;

/// What a scan is filled from.
pub(super) struct Scanner<'a> {
    pub mapping: &'a Mapping,
    pub prints: &'a Fingerprinter,
    pub progress: &'a Progress,
}

/// What is read of one table pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Nothing,
    Whole,
    /// The records of these blocks.
    Blocks(Blocks, Vec<i32>),
}

impl Scanner<'_> {
    /// Scans the tables of these pairs, both sides at once, with bounded memory.
    pub(super) async fn fill_pairs(
        &self,
        scan: &Scan,
        views: &BySide<Arc<dyn Snapshot>>,
        pairs: &[PairId],
    ) -> Result<(), RunError> {
        let mut parts = vec![Part::Nothing; self.mapping.pairs.len()];
        for pair in pairs {
            parts[pair.0 as usize] = Part::Whole;
        }
        self.read(scan, views, &parts).await?;
        scan.finish_pairs(Some(pairs.to_vec())).await?;
        Ok(())
    }

    /// Scans these parts of the tables, by table pair.
    pub(super) async fn read(
        &self,
        scan: &Scan,
        views: &BySide<Arc<dyn Snapshot>>,
        parts: &[Part],
    ) -> Result<(), RunError> {
        tokio::try_join!(
            self.fill_side(scan, &*views.left, Side::Left, parts),
            self.fill_side(scan, &*views.right, Side::Right, parts),
        )?;
        Ok(())
    }

    /// Reading, fingerprinting and storing chunks go on at the same time.
    async fn fill_side(
        &self,
        scan: &Scan,
        view: &dyn Snapshot,
        side: Side,
        parts: &[Part],
    ) -> Result<(), RunError> {
        for ((number, mapped), part) in self.mapping.pairs.iter().enumerate().zip(parts) {
            if let Part::Nothing = part {
                continue;
            }
            let pair = PairId(number as u32);
            let (sender, mut chunks) = mpsc::channel(SCAN_CHUNKS_MAX);
            let read = async {
                let scanned = match part {
                    Part::Nothing => Ok(()),
                    Part::Whole => view.scan(pair, sender).await,
                    Part::Blocks(blocks, numbers) => {
                        view.scan_blocks(pair, *blocks, numbers, sender).await
                    }
                };
                scanned.map_err(|source| RunError::Side { side, source })
            };
            let (printed, mut ready) = mpsc::channel(SCAN_CHUNKS_PRINTED_MAX);
            let print = async {
                let printed = printed;
                while let Some(chunk) = chunks.recv().await {
                    // Nobody takes it: then storing has failed, which says why.
                    let _ = printed.send(self.rows(chunk, &mapped.policy).await?).await;
                }
                Ok::<(), RunError>(())
            };
            let keep = async {
                while let Some(rows) = ready.recv().await {
                    let rows: Vec<ScanRow> = rows;
                    self.progress.note_scanned(side, number, rows.len() as u64);
                    scan.add(pair, side, rows).await?;
                }
                Ok::<(), RunError>(())
            };
            tokio::try_join!(read, print, keep)?;
        }
        Ok(())
    }

    /// Fingerprints a chunk, on a thread of its own.
    async fn rows(
        &self,
        chunk: Vec<Viewed>,
        policy: &PairPolicy,
    ) -> Result<Vec<ScanRow>, RunError> {
        let (prints, match_key) = (self.prints.clone(), policy.match_key.clone());
        let scope = Scope::of(policy, &prints);
        let row = move |viewed: Viewed| {
            let cells: Vec<&Cell> = match_key.iter().map(|&at| &viewed.row[at]).collect();
            // What a filter leaves out matches nobody.
            let is_inside = scope.is_none_or(|s| s.row_is_inside(&viewed.row) == Some(true));
            ScanRow {
                match_key: prints.match_key(&cells).filter(|_| is_inside),
                fingerprints: prints.row(&viewed.row),
                key: viewed.key,
                place: viewed.place.map(|place| place.0),
                bytes: viewed.bytes,
            }
        };
        let rows = tokio::task::spawn_blocking(|| chunk.into_iter().map(row).collect());
        let rows = rows.await;
        Ok(rows.map_err(|error| StoreError::Panicked(error.to_string()))?)
    }

    /// Counts what would be decided.
    pub(super) async fn tally_all(
        &self,
        (scan, views): (&Scan, &BySide<Arc<dyn Snapshot>>),
        first_run: &[bool],
    ) -> Result<Vec<Tally>, RunError> {
        let mut tallies = Vec::new();
        for (number, mapped) in self.mapping.pairs.iter().enumerate() {
            let pair = PairId(number as u32);
            let first = first_run.get(number).copied().unwrap_or(true);
            let mut tally = Tally::default();
            // What is decided of a record that has neither link nor partner depends on nothing of
            // its own, unless a filter asks what it holds.
            let by_groups = mapped.policy.scope.is_none();
            if by_groups {
                for (alone, count) in scan.alone(pair).await? {
                    let decision = decide(&alone, &mapped.policy, self.prints, first);
                    (0..count).for_each(|_| tally.add(&alone, &decision));
                }
            }
            let mut cursor = Cursor::START;
            loop {
                let mut page = match by_groups {
                    true => scan.met(pair, cursor, PAGE).await?,
                    false => scan.matches(pair, cursor, PAGE).await?,
                };
                let linked = self.linked(scan, views);
                linked.tell_apart((pair, &mapped.policy), &mut page).await?;
                for found in &page.found {
                    tally.add(found, &decide(found, &mapped.policy, self.prints, first));
                }
                if page.done {
                    break;
                }
                cursor = page.next;
            }
            tallies.push(tally);
        }
        Ok(tallies)
    }

    fn linked<'a>(&'a self, scan: &'a Scan, views: &'a BySide<Arc<dyn Snapshot>>) -> Linked<'a> {
        Linked {
            scan,
            left: &*views.left,
            prints: self.prints,
        }
    }

    /// Decides every record; `look` sees each one.
    pub(super) async fn decide_all(
        &self,
        (scan, views): (&Scan, &BySide<Arc<dyn Snapshot>>),
        first_run: &[bool],
        mut look: impl FnMut(PairId, &Match, &Decision),
    ) -> Result<Vec<Tally>, RunError> {
        let mut tallies = Vec::new();
        for (number, mapped) in self.mapping.pairs.iter().enumerate() {
            let pair = PairId(number as u32);
            let first = first_run.get(number).copied().unwrap_or(true);
            let mut tally = Tally::default();
            let mut cursor = Cursor::START;
            loop {
                let mut page = scan.matches(pair, cursor, PAGE).await?;
                let linked = self.linked(scan, views);
                linked.tell_apart((pair, &mapped.policy), &mut page).await?;
                for found in &page.found {
                    let decision = decide(found, &mapped.policy, self.prints, first);
                    tally.add(found, &decision);
                    look(pair, found, &decision);
                }
                if page.done {
                    break;
                }
                cursor = page.next;
            }
            tallies.push(tally);
        }
        Ok(tallies)
    }
}

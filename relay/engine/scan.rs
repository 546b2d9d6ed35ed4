//! Fills a scan table from both sides' views, and counts what a reconcile of it would do.

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::decide::{Decision, Match, Tally, decide};
use tidegate_sync::model::{BySide, Cell, Key, PairId, Row, Side};
use tidegate_sync::policy::PairPolicy;
use tokio::sync::mpsc;

use super::limits::SCAN_CHUNKS_MAX;
use super::mapping::Mapping;
use super::run::RunError;
use super::supervisor::Progress;
use crate::endpoint::Snapshot;
use crate::store::scans::{Cursor, Scan, ScanRow};

/// Matches read from the scan table at once, where all of them are looked at.
const PAGE: usize = 10_000;

/// What a scan is filled from.
pub(super) struct Scanner<'a> {
    pub mapping: &'a Mapping,
    pub prints: &'a Fingerprinter,
    pub progress: &'a Progress,
}

impl Scanner<'_> {
    /// Scans all tables of both views, both sides at once, with bounded memory.
    pub(super) async fn fill(
        &self,
        scan: &Scan,
        views: &mut BySide<Box<dyn Snapshot>>,
    ) -> Result<(), RunError> {
        let BySide { left, right } = views;
        tokio::try_join!(
            self.fill_side(scan, left, Side::Left),
            self.fill_side(scan, right, Side::Right),
        )?;
        scan.finish().await?;
        Ok(())
    }

    async fn fill_side(
        &self,
        scan: &Scan,
        view: &mut Box<dyn Snapshot>,
        side: Side,
    ) -> Result<(), RunError> {
        for (number, mapped) in self.mapping.pairs.iter().enumerate() {
            let pair = PairId(number as u32);
            let (sender, mut chunks) = mpsc::channel(SCAN_CHUNKS_MAX);
            let read = async {
                let scanned = view.scan(pair, sender).await;
                scanned.map_err(|source| RunError::Side { side, source })
            };
            let keep = async {
                while let Some(chunk) = chunks.recv().await {
                    let rows = self.rows(chunk, &mapped.policy);
                    self.progress.note_scanned(side, number, rows.len() as u64);
                    scan.add(pair, side, rows).await?;
                }
                Ok::<(), RunError>(())
            };
            tokio::try_join!(read, keep)?;
        }
        Ok(())
    }

    fn rows(&self, chunk: Vec<(Key, Row)>, policy: &PairPolicy) -> Vec<ScanRow> {
        let row = |(key, row): (Key, Row)| {
            let cells: Vec<&Cell> = policy.match_key.iter().map(|&field| &row[field]).collect();
            ScanRow {
                key,
                match_key: self.prints.match_key(&cells),
                fingerprints: self.prints.row(&row),
            }
        };
        chunk.into_iter().map(row).collect()
    }

    /// Decides every record; `look` sees each one.
    pub(super) async fn decide_all(
        &self,
        scan: &Scan,
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
                let page = scan.matches(pair, cursor, PAGE).await?;
                for found in &page.found {
                    let decision = decide(found, &mapped.policy, first);
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

//! Pages of a reconcile, read ahead while the one before is planned, written and settled: the
//! matches, and the values that their plans will ask for.
//!
//! Reading ahead decides nothing. A page's links are read again before it is planned, and a value
//! that nobody foresaw is read then; the views are the same, so the values are too.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::decide::{Decision, decide};
use tidegate_sync::model::{BySide, Key, PairId, Row, Side};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::limits::PAGES_AHEAD_MAX;
use super::mapping::Mapping;
use super::run::RunError;
use crate::endpoint::{Place, Snapshot, Wanted};
use crate::store::scans::{Cursor, Page, Scan};

/// What pages are read from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Source {
    pub scan: Scan,
    pub views: BySide<Arc<dyn Snapshot>>,
    /// The pairs that were scanned, in their order.
    pub pairs: Vec<PairId>,
    pub mapping: Arc<Mapping>,
    pub prints: Fingerprinter,
    /// By table pair.
    pub first_run: Vec<bool>,
    /// Records per page.
    pub limit: usize,
}

/// All pages of a reconcile, in order.
pub(super) struct Pages {
    source: Source,
    ahead: mpsc::Receiver<Result<ReadPage, RunError>>,
    /// Values of the page that was handed out last.
    rows: BySide<HashMap<Key, Row>>,
    _reader: AbortOnDropHandle<()>,
}

struct ReadPage {
    pair: PairId,
    page: Page,
    rows: BySide<HashMap<Key, Row>>,
}

impl Pages {
    pub(super) fn read(source: Source) -> Pages {
        let (sender, ahead) = mpsc::channel(PAGES_AHEAD_MAX);
        let reader = tokio::spawn(source.clone().read_all(sender));
        Pages {
            source,
            ahead,
            rows: BySide::default(),
            _reader: AbortOnDropHandle::new(reader),
        }
    }

    /// The next page of `pair`, with links as they were when it was read. Pages come pair by pair,
    /// each until its last one.
    pub(super) async fn next(&mut self, pair: PairId) -> Result<Page, RunError> {
        let lost = || RunError::Gap("the scan's pages are out of step".to_owned());
        let read = self.ahead.recv().await.ok_or_else(lost)??;
        if read.pair != pair {
            return Err(lost());
        }
        self.rows = read.rows;
        Ok(read.page)
    }

    /// The page with links as they are now.
    pub(super) async fn refresh(&self, page: Page) -> Result<Page, RunError> {
        Ok(self.source.scan.refresh(page).await?)
    }

    /// Values of the page that was handed out last, in the order asked.
    pub(super) async fn rows(
        &mut self,
        pair: PairId,
        keys: &BySide<Vec<Key>>,
    ) -> Result<BySide<Vec<Option<Row>>>, RunError> {
        let source = &self.source;
        let BySide { left, right } = &mut self.rows;
        let (left, right) = tokio::try_join!(
            source.rows_of(Side::Left, pair, &keys.left, left),
            source.rows_of(Side::Right, pair, &keys.right, right),
        )?;
        Ok(BySide::new(left, right))
    }
}

impl Source {
    async fn read_all(self, sender: mpsc::Sender<Result<ReadPage, RunError>>) {
        for &pair in &self.pairs {
            let mut cursor = Cursor::START;
            loop {
                let read = self.read_page(pair, cursor).await;
                let is_last = match &read {
                    Ok(read) => {
                        cursor = read.page.next;
                        read.page.done
                    }
                    Err(_) => true,
                };
                let failed = read.is_err();
                if sender.send(read).await.is_err() || failed {
                    return;
                }
                if is_last {
                    break;
                }
            }
        }
    }

    async fn read_page(&self, pair: PairId, after: Cursor) -> Result<ReadPage, RunError> {
        let page = self.scan.matches(pair, after, self.limit).await?;
        let wanted = self.wanted(pair, &page);
        let (left, right) = tokio::try_join!(
            self.fetch(Side::Left, pair, wanted.left),
            self.fetch(Side::Right, pair, wanted.right),
        )?;
        Ok(ReadPage {
            pair,
            page,
            rows: BySide::new(left, right),
        })
    }

    /// The records whose values the plans of this page will ask for.
    fn wanted(&self, pair: PairId, page: &Page) -> BySide<Vec<Wanted>> {
        let number = pair.0 as usize;
        let policy = &self.mapping.pairs[number].policy;
        let first_run = self.first_run.get(number).copied().unwrap_or(true);
        let mut wanted: BySide<Vec<Wanted>> = BySide::default();
        for (found, places) in page.found.iter().zip(&page.places) {
            let Decision::Plan { fetch, .. } = decide(found, policy, &self.prints, first_run)
            else {
                continue;
            };
            for side in Side::BOTH {
                if let (true, Some(scanned)) = (fetch[side], &found.scanned[side]) {
                    wanted[side].push(Wanted {
                        key: scanned.key.clone(),
                        place: places[side].map(Place),
                    });
                }
            }
        }
        wanted
    }

    async fn fetch(
        &self,
        side: Side,
        pair: PairId,
        wanted: Vec<Wanted>,
    ) -> Result<HashMap<Key, Row>, RunError> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.views[side].fetch(pair, &wanted).await;
        let rows = rows.map_err(|source| RunError::Side { side, source })?;
        let found = wanted.into_iter().zip(rows);
        Ok(found
            .filter_map(|(wanted, row)| Some((wanted.key, row?)))
            .collect())
    }

    async fn rows_of(
        &self,
        side: Side,
        pair: PairId,
        keys: &[Key],
        read: &mut HashMap<Key, Row>,
    ) -> Result<Vec<Option<Row>>, RunError> {
        let unforeseen: Vec<Wanted> = keys
            .iter()
            .filter(|key| !read.contains_key(*key))
            .map(|key| Wanted {
                key: key.clone(),
                place: None,
            })
            .collect();
        read.extend(self.fetch(side, pair, unforeseen).await?);
        Ok(keys.iter().map(|key| read.remove(key)).collect())
    }
}

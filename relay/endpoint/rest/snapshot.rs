//! A look at all records. No view of an app is consistent: its position is from before the first page,
//! and what was changed since is told again by the change feed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidegate_sync::model::{Cell, Key, PairId, Position, Row};
use tidegate_sync::value::Value;
use tokio::sync::mpsc;

use super::discover::count;
use super::reading::by_ids;
use super::shape::Record;
use super::side::Bound;
use super::whole::Whole;
use crate::endpoint::digest::{Blocks, Digest, Digestible};
use crate::endpoint::{EndpointError, Snapshot, Viewed, Wanted};

pub(super) struct RestSnapshot {
    bound: Arc<Bound>,
    position: Position,
    /// What was scanned, as far as there is room: reading it again would be another call.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    rows: HashMap<(PairId, Key), Row>,
    bytes: usize,
}

impl RestSnapshot {
    pub(super) fn new(bound: Arc<Bound>, position: Position) -> RestSnapshot {
        RestSnapshot {
            bound,
            position,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, pair: PairId, viewed: &[Viewed]) {
        let mut kept = self.kept();
        for viewed in viewed {
            kept.bytes += viewed.bytes as usize;
            if kept.bytes > limits::KEPT_BYTES {
                return;
            }
            kept.rows
                .insert((pair, viewed.key.clone()), viewed.row.clone());
        }
    }
}

#[async_trait]
impl Snapshot for RestSnapshot {
    fn position(&self) -> Position {
        self.position.clone()
    }

    async fn estimate(&self, pair: PairId) -> Result<u64, EndpointError> {
        count(&self.bound.client, &self.bound.shape(pair)?.place).await
    }

    async fn scan(
        &self,
        pair: PairId,
        sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        let shape = self.bound.shape(pair)?;
        let mut whole = Whole::new(&self.bound.client, shape);
        while let Some(records) = whole.next().await? {
            let named = records.iter().map(|record| shape.named(record));
            self.bound.known.note(pair, named);
            let viewed: Vec<Viewed> = records.into_iter().map(viewed).collect();
            self.keep(pair, &viewed);
            // Nobody takes it: then storing has failed, which says why.
            let _ = sink.send(viewed).await;
        }
        self.bound.known.note_whole(pair);
        Ok(())
    }

    async fn digestible(&self, _pair: PairId) -> Result<Option<Digestible>, EndpointError> {
        Ok(None)
    }

    async fn digest(
        &self,
        _pair: PairId,
        _blocks: Blocks,
        _sink: mpsc::Sender<Vec<(i32, Digest)>>,
    ) -> Result<(), EndpointError> {
        Err(no_hashes())
    }

    async fn scan_blocks(
        &self,
        _pair: PairId,
        _blocks: Blocks,
        _numbers: &[i32],
        _sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        Err(no_hashes())
    }

    async fn fetch(
        &self,
        pair: PairId,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Row>>, EndpointError> {
        let mut rows: Vec<Option<Row>> = {
            let kept = self.kept();
            let row = |wanted: &Wanted| kept.rows.get(&(pair, wanted.key.clone())).cloned();
            wanted.iter().map(row).collect()
        };
        let missing = wanted.iter().zip(&rows).filter(|(_, row)| row.is_none());
        let ids: Vec<&str> = missing.filter_map(|(wanted, _)| id(&wanted.key)).collect();
        if ids.is_empty() {
            return Ok(rows);
        }
        let mut found = by_ids(&self.bound.client, self.bound.shape(pair)?, &ids).await?;
        for (wanted, row) in wanted.iter().zip(&mut rows) {
            if row.is_none() {
                let record = id(&wanted.key).and_then(|id| found.remove(id));
                *row = record.map(|record| record.row);
            }
        }
        Ok(rows)
    }
}

fn viewed(record: Record) -> Viewed {
    Viewed {
        key: record.key(),
        bytes: bytes(&record.row),
        row: record.row,
        place: None,
    }
}

/// The id in an app's key.
pub(super) fn id(key: &Key) -> Option<&str> {
    key.0.first().map(String::as_str)
}

fn bytes(row: &Row) -> u32 {
    let values = row.iter().filter_map(Cell::value).map(Value::heap_bytes);
    let bytes = values.sum::<usize>() + row.len() * size_of::<Cell>();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn no_hashes() -> EndpointError {
    EndpointError::bug("no-hashes", "an app hashes no records")
}

mod limits {
    /// Bytes of scanned records that are kept for the plans that ask for them.
    pub(super) const KEPT_BYTES: usize = 64 << 20;
}

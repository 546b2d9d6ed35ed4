//! A consistent view of all bound tables: COPY in block ranges, records by place or key, a fence.
//!
//! A few sessions, the readers, each on a stream of its own: the first one imports the snapshot
//! that a new slot exported, or takes a view of now; the others import the same one. Each is one
//! read-only transaction for its whole life. Called by the engine through [`Snapshot`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use tidegate_sync::model::{BatchId, PairId, Position, Row};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connect::{self, Connected, SessionLimits};
use super::copying::{self, Copy};
use super::digest;
use super::progress::ProgressName;
use super::reading;
use super::shape::{Shape, check_same};
use super::statements::Rows;
use crate::endpoint::digest::{Blocks, Digest, Digestible};
use crate::endpoint::{Dial, EndpointError, Snapshot, StreamLabel, Viewed, Wanted};

/// Where the view comes from.
pub enum ViewOf {
    /// A snapshot exported at exactly this position, still exported.
    Exported { name: String, position: Position },
    /// Now; the position is a fence.
    Now,
}

/// A view in use.
pub struct PgSnapshot {
    view: Arc<View>,
    position: Position,
}

struct View {
    /// At least one.
    readers: Vec<Connected>,
    shapes: Arc<Vec<Shape>>,
}

impl PgSnapshot {
    /// Opens the view. When it returns, an exported snapshot has been imported by all readers: its
    /// exporter may go on.
    pub async fn open(
        dial: &Arc<dyn Dial>,
        label: &StreamLabel,
        shapes: Arc<Vec<Shape>>,
        progress: &ProgressName,
        view: ViewOf,
    ) -> Result<PgSnapshot, EndpointError> {
        let exported = match &view {
            ViewOf::Exported { name, .. } => Some(name.as_str()),
            ViewOf::Now => None,
        };
        let session = reader(dial, label, exported).await?;
        // The first statement takes the view; whatever it sees was committed, and so is in the
        // change log, before the position that the second statement reads.
        let passed = passed(&session, progress).await?;
        let doing = "take a consistent view";
        let fence = session.bounded(doing, insert_position(&session)).await?;
        let more = more_readers(&session, &shapes).await?;
        let mut readers = vec![session];
        if more > 0 {
            let name = match exported {
                Some(name) => name.to_owned(),
                None => readers[0].bounded(doing, export(&readers[0])).await?,
            };
            let opening = (0..more).map(|_| reader(dial, label, Some(&name)));
            for opened in join_all(opening).await {
                match opened {
                    Ok(session) => readers.push(session),
                    // The agent or the server allows no more sessions: it takes longer.
                    Err(error) => tracing::debug!(%error, "fewer readers for a table's copy"),
                }
            }
        }
        let position = match view {
            ViewOf::Exported { position, .. } => Position { passed, ..position },
            ViewOf::Now => Position {
                offset: fence,
                passed,
                cursor: String::new(),
            },
        };
        Ok(PgSnapshot {
            view: Arc::new(View { readers, shapes }),
            position,
        })
    }

    pub(super) fn offset(&self) -> u64 {
        self.position.offset
    }

    /// The transactions that the view shows: `10:20:10,14`.
    pub(super) async fn shown(&self) -> Result<String, EndpointError> {
        let session = self.view.first();
        let answer = async {
            let sql = "select pg_current_snapshot()::text";
            session.query_typed_one(sql, &[]).await?.try_get(0)
        };
        session.bounded("look at the view", answer).await
    }

    /// Its name, by which other sessions import it while it is open.
    pub(super) async fn exported(&self) -> Result<String, EndpointError> {
        let session = self.view.first();
        session.bounded("export the view", export(session)).await
    }

    /// The capture goes on from here.
    pub(super) fn anchor(&mut self, offset: u64, cursor: String) {
        self.position.offset = offset;
        self.position.cursor = cursor;
    }
}

impl View {
    fn first(&self) -> &Connected {
        &self.readers[0]
    }

    fn shape(&self, pair: PairId) -> Result<&Shape, EndpointError> {
        self.shapes
            .iter()
            .find(|shape| shape.pair == pair)
            .ok_or_else(|| EndpointError::bug("unknown-pair", "table pair is not bound"))
    }

    /// One reader's part: ranges of blocks until none is left.
    async fn read_ranges(
        &self,
        reader: usize,
        pair: PairId,
        ranges: &Ranges,
        only: Option<&str>,
        sink: &mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        let (session, shape) = (&self.readers[reader], self.shape(pair)?);
        while let Some((from, to)) = ranges.next() {
            let copy = Copy::start(session, shape, &Rows::Blocks(from, to), only).await?;
            copy.send_all(sink).await?;
        }
        Ok(())
    }

    /// One reader's part of [`Snapshot::digest`].
    async fn digest_ranges(
        &self,
        reader: usize,
        pair: PairId,
        ranges: &Ranges,
        blocks: Blocks,
        sink: &mpsc::Sender<Vec<(i32, Digest)>>,
    ) -> Result<(), EndpointError> {
        let (session, shape) = (&self.readers[reader], self.shape(pair)?);
        while let Some((from, to)) = ranges.next() {
            let rows = Rows::Blocks(from, to);
            let digests = digest::digest(session, shape, blocks, &rows).await?;
            send(sink, digests).await?;
        }
        Ok(())
    }
}

impl PgSnapshot {
    /// Sends the table's records, or those for which the SQL condition `only` holds.
    async fn read(
        &self,
        pair: PairId,
        only: Option<Arc<str>>,
        sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        let (session, shape) = (self.view.first(), self.view.shape(pair)?);
        if !shape.has_ranges {
            let copy = Copy::start(session, shape, &Rows::Every, only.as_deref()).await?;
            copy.send_all(&sink).await?;
            return check_same(session, [shape].into_iter()).await;
        }
        let ranges = Arc::new(Ranges::over(
            self.blocks(shape).await?,
            limits::BLOCKS_PER_COPY,
        ));
        let mut readers = JoinSet::new();
        for reader in 0..self.view.readers.len() {
            let (view, ranges, sink) = (self.view.clone(), ranges.clone(), sink.clone());
            let only = only.clone();
            readers.spawn(async move {
                let only = only.as_deref();
                view.read_ranges(reader, pair, &ranges, only, &sink).await
            });
        }
        all_done(readers).await?;
        check_same(session, [shape].into_iter()).await
    }

    async fn blocks(&self, shape: &Shape) -> Result<u64, EndpointError> {
        let session = self.view.first();
        let doing = "read a table's size";
        session.bounded(doing, blocks(session, &[shape])).await
    }
}

/// The first failure ends them all: the set goes, and its tasks with it.
async fn all_done(mut readers: JoinSet<Result<(), EndpointError>>) -> Result<(), EndpointError> {
    while let Some(ended) = readers.join_next().await {
        ended.map_err(|error| EndpointError::bug("reader-died", error.to_string()))??;
    }
    Ok(())
}

async fn send<T>(sink: &mpsc::Sender<Vec<T>>, items: Vec<T>) -> Result<(), EndpointError> {
    let gone = || EndpointError::retry("copy-stopped", "whoever wanted the table's hashes is gone");
    sink.send(items).await.map_err(|_| gone())
}

#[async_trait]
impl Snapshot for PgSnapshot {
    fn position(&self) -> Position {
        self.position.clone()
    }

    async fn estimate(&self, pair: PairId) -> Result<u64, EndpointError> {
        let (session, shape) = (self.view.first(), self.view.shape(pair)?);
        let sql = format!("explain (format json) select 1 from {}", shape.relation);
        let plan = session
            .bounded("estimate a table's size", session.query_typed(&sql, &[]))
            .await?;
        let plan: Option<serde_json::Value> = plan.first().and_then(|row| row.try_get(0).ok());
        let rows = plan.and_then(|plan| plan[0]["Plan"]["Plan Rows"].as_f64());
        Ok(rows.unwrap_or(0.0) as u64)
    }

    async fn scan(
        &self,
        pair: PairId,
        sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        self.read(pair, None, sink).await
    }

    async fn digestible(&self, pair: PairId) -> Result<Option<Digestible>, EndpointError> {
        match digest::digestible(self.view.shape(pair)?) {
            Some(found) if digest::is_utf8_known(self.view.first()).await? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    async fn digest(
        &self,
        pair: PairId,
        blocks: Blocks,
        sink: mpsc::Sender<Vec<(i32, Digest)>>,
    ) -> Result<(), EndpointError> {
        let (session, shape) = (self.view.first(), self.view.shape(pair)?);
        if !shape.has_ranges || blocks.counts_keys {
            let digests = digest::digest(session, shape, blocks, &Rows::Every).await?;
            return send(&sink, digests).await;
        }
        let count = self.blocks(shape).await?;
        let size = count
            .div_ceil(limits::DIGESTS_MAX)
            .max(limits::BLOCKS_PER_COPY);
        let ranges = Arc::new(Ranges::over(count, size));
        let mut readers = JoinSet::new();
        for reader in 0..self.view.readers.len() {
            let (view, ranges, sink) = (self.view.clone(), ranges.clone(), sink.clone());
            readers.spawn(async move {
                view.digest_ranges(reader, pair, &ranges, blocks, &sink)
                    .await
            });
        }
        all_done(readers).await
    }

    async fn scan_blocks(
        &self,
        pair: PairId,
        blocks: Blocks,
        numbers: &[i32],
        sink: mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        let only = digest::in_blocks(self.view.shape(pair)?, blocks, numbers)?;
        self.read(pair, Some(only.into()), sink).await
    }

    async fn fetch(
        &self,
        pair: PairId,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Row>>, EndpointError> {
        let (session, shape) = (self.view.first(), self.view.shape(pair)?);
        let mut rows = copying::fetch_by_place(session, shape, wanted).await?;
        let missing: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].is_none()).collect();
        let keys: Vec<_> = missing.iter().map(|at| wanted[*at].key.clone()).collect();
        let by_key = reading::fetch(session, shape, &keys).await?;
        for (at, row) in missing.into_iter().zip(by_key) {
            rows[at] = row;
        }
        Ok(rows)
    }
}

/// The block ranges of one table that nobody has taken yet.
struct Ranges {
    next: AtomicU64,
    count: u64,
    /// Blocks of one range.
    size: u64,
}

impl Ranges {
    fn over(blocks: u64, size: u64) -> Ranges {
        Ranges {
            next: AtomicU64::new(0),
            count: blocks.div_ceil(size).max(1),
            size,
        }
    }

    fn next(&self) -> Option<(u64, Option<u64>)> {
        let range = self.next.fetch_add(1, Ordering::Relaxed);
        let from = range * self.size;
        // The last range is open: the table may have grown within the view.
        let to = (range + 1 < self.count).then_some(from + self.size);
        (range < self.count).then_some((from, to))
    }
}

/// A session with the view `snapshot`, or one of now.
async fn reader(
    dial: &Arc<dyn Dial>,
    label: &StreamLabel,
    snapshot: Option<&str>,
) -> Result<Connected, EndpointError> {
    let session = connect::client(dial, label, SessionLimits::SNAPSHOT).await?;
    let mut begin = "begin isolation level repeatable read read only".to_owned();
    if let Some(name) = snapshot {
        if !name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Err(EndpointError::bug("snapshot-name", "odd snapshot name"));
        }
        begin.push_str(&format!("; set transaction snapshot '{name}'"));
    }
    let begin = session.batch_execute(&begin);
    session.bounded("take a consistent view", begin).await?;
    Ok(session)
}

/// How many readers the tables are worth beside the first one.
async fn more_readers(session: &Connected, shapes: &[Shape]) -> Result<usize, EndpointError> {
    let plain: Vec<&Shape> = shapes.iter().filter(|shape| shape.has_ranges).collect();
    let doing = "read the tables' sizes";
    let blocks = session.bounded(doing, blocks(session, &plain)).await?;
    let worth = blocks / limits::BLOCKS_PER_COPY;
    Ok((worth as usize).min(limits::READERS_MAX - 1))
}

/// Makes this session's view importable for as long as the session lives.
async fn export(session: &Connected) -> Result<String, Error> {
    let sql = "select pg_export_snapshot()";
    session.query_typed_one(sql, &[]).await?.try_get(0)
}

/// The newest batch of our own within the view.
async fn passed(session: &Connected, progress: &ProgressName) -> Result<BatchId, EndpointError> {
    let doing = "read the progress row";
    let there = session
        .bounded(doing, progress.table_exists(session))
        .await?;
    if !there {
        return Ok(BatchId::NONE);
    }
    session.bounded(doing, progress.batch(session)).await
}

/// The server's insert position: whatever was committed until now is before it.
pub(super) async fn insert_position(session: &Connected) -> Result<u64, Error> {
    let sql = "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    let row = session.query_typed_one(sql, &[]).await?;
    Ok(row.try_get::<_, i64>(0)?.max(0) as u64)
}

async fn blocks(session: &Connected, shapes: &[&Shape]) -> Result<u64, Error> {
    let sql = "
        select coalesce(sum(pg_relation_size(oid)) / current_setting('block_size')::bigint, 0)::bigint
        from unnest($1::oid[]) as t (oid)";
    let oids: Vec<u32> = shapes.iter().map(|shape| shape.oid).collect();
    let row = session
        .query_typed_one(sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    Ok(row.try_get::<_, i64>(0)?.max(0) as u64)
}

mod limits {
    /// 32 MB at 8 kB: one COPY statement each. Small enough that readers end at about the same
    /// time, large enough that starting a statement costs nothing beside it.
    pub(super) const BLOCKS_PER_COPY: u64 = 4_096;
    /// Parts of a table that are hashed one after the other: each part's hashes of all blocks travel.
    pub(super) const DIGESTS_MAX: u64 = 64;
    /// Sessions of one view. A link with delay carries more over several streams; more than a few
    /// only take sessions and processor time from the server's other users.
    pub(super) const READERS_MAX: usize = 3;
}

//! A consistent view of all bound tables: COPY in block ranges, records by key, a fence.
//!
//! One read-only transaction for its whole life. It either imports the snapshot that a new slot
//! exported, or takes a view of now. Called by the engine through [`Snapshot`].

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tidegate_sync::model::{BatchId, Cell, Key, PairId, Position, Row};
use tidegate_sync::value::Value;
use tokio::sync::mpsc;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connect::{self, Connected, SessionLimits};
use super::copy_text::{Lines, cells};
use super::progress::ProgressName;
use super::reading;
use super::shape::Shape;
use super::sqlstate::endpoint_error;
use super::statements;
use crate::endpoint::{Dial, EndpointError, Snapshot, StreamLabel};

/// Where the view comes from.
pub enum ViewOf {
    /// A snapshot exported at exactly this position, still exported.
    Exported { name: String, position: Position },
    /// Now; the position is a fence.
    Now,
}

/// A view in use.
pub struct PgSnapshot {
    session: Connected,
    shapes: Arc<Vec<Shape>>,
    position: Position,
}

impl PgSnapshot {
    /// Opens the view. When it returns, an exported snapshot has been imported: its exporter may
    /// go on.
    pub async fn open(
        dial: &Arc<dyn Dial>,
        label: &StreamLabel,
        shapes: Arc<Vec<Shape>>,
        progress: &ProgressName,
        view: ViewOf,
    ) -> Result<PgSnapshot, EndpointError> {
        let session = connect::client(dial, label, SessionLimits::SNAPSHOT).await?;
        let mut begin = "begin isolation level repeatable read read only".to_owned();
        if let ViewOf::Exported { name, .. } = &view {
            if !name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
                return Err(EndpointError::bug("snapshot-name", "odd snapshot name"));
            }
            begin.push_str(&format!("; set transaction snapshot '{name}'"));
        }
        let doing = "take a consistent view";
        session
            .bounded(doing, session.batch_execute(&begin))
            .await?;
        // The first statement takes the view; whatever it sees was committed, and so is in the
        // change log, before the position that the second statement reads.
        let passed = passed(&session, progress).await?;
        let fence = session.bounded(doing, insert_position(&session)).await?;
        let position = match view {
            ViewOf::Exported { position, .. } => Position { passed, ..position },
            ViewOf::Now => Position {
                offset: fence,
                passed,
                cursor: String::new(),
            },
        };
        Ok(PgSnapshot {
            session,
            shapes,
            position,
        })
    }

    fn shape(&self, pair: PairId) -> Result<&Shape, EndpointError> {
        self.shapes
            .iter()
            .find(|shape| shape.pair == pair)
            .ok_or_else(|| EndpointError::bug("unknown-pair", "table pair is not bound"))
    }

    async fn copy(
        &self,
        shape: &Shape,
        sql: &str,
        sink: &mpsc::Sender<Vec<(Key, Row)>>,
    ) -> Result<(), EndpointError> {
        let doing = "copy a table";
        let stream = self
            .session
            .bounded(doing, self.session.copy_out(sql))
            .await?;
        let mut stream = pin!(stream);
        let mut lines = Lines::default();
        let mut chunk = Vec::new();
        let mut bytes = 0;
        loop {
            let next = tokio::time::timeout(limits::STALL, stream.next()).await;
            let Ok(next) = next else {
                return Err(self.session.give_up(doing).await);
            };
            let Some(data) = next else { break };
            let data = data.map_err(|error| endpoint_error(doing, error))?;
            bytes += data.len();
            lines.push(&data, |line| {
                chunk.push(record(shape, line)?);
                Ok::<(), EndpointError>(())
            })?;
            if chunk.len() >= limits::CHUNK_ROWS || bytes >= limits::CHUNK_BYTES {
                bytes = 0;
                send(sink, std::mem::take(&mut chunk)).await?;
            }
        }
        if !lines.is_complete() {
            let message = "a copied table ended in the middle of a row";
            return Err(EndpointError::retry("copy-truncated", message));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        send(sink, chunk).await
    }
}

#[async_trait]
impl Snapshot for PgSnapshot {
    fn position(&self) -> Position {
        self.position.clone()
    }

    async fn estimate(&mut self, pair: PairId) -> Result<u64, EndpointError> {
        let shape = self.shape(pair)?;
        let sql = format!("explain (format json) select 1 from {}", shape.relation);
        let plan = self
            .session
            .bounded(
                "estimate a table's size",
                self.session.query_typed(&sql, &[]),
            )
            .await?;
        let plan: Option<serde_json::Value> = plan.first().and_then(|row| row.try_get(0).ok());
        let rows = plan.and_then(|plan| plan[0]["Plan"]["Plan Rows"].as_f64());
        Ok(rows.unwrap_or(0.0) as u64)
    }

    async fn scan(
        &mut self,
        pair: PairId,
        sink: mpsc::Sender<Vec<(Key, Row)>>,
    ) -> Result<(), EndpointError> {
        let shape = self.shape(pair)?;
        if !shape.is_plain {
            return self
                .copy(shape, &statements::copy_out(shape, None), &sink)
                .await;
        }
        let blocks = self
            .session
            .bounded("read a table's size", blocks(&self.session, shape))
            .await?;
        let mut from = 0;
        loop {
            // The last range is open: the table may have grown within the view.
            let to = from + limits::BLOCKS_PER_COPY;
            let end = (to < blocks).then_some(to);
            let sql = statements::copy_out(shape, Some((from, end)));
            self.copy(shape, &sql, &sink).await?;
            if end.is_none() {
                return Ok(());
            }
            from = to;
        }
    }

    async fn fetch(
        &mut self,
        pair: PairId,
        keys: &[Key],
    ) -> Result<Vec<Option<Row>>, EndpointError> {
        reading::fetch(&self.session, self.shape(pair)?, keys).await
    }
}

fn record(shape: &Shape, line: &[u8]) -> Result<(Key, Row), EndpointError> {
    let unreadable = || {
        let message = format!("a copied row of {} is unreadable", shape.label());
        EndpointError::bug("undecodable-row", message)
    };
    // A table of no columns at all can't be: the key has at least one.
    let cells = cells(line).ok_or_else(unreadable)?;
    if cells.len() != shape.key.len() + shape.fields.len() {
        return Err(unreadable());
    }
    let mut cells = cells.into_iter();
    let parts: Option<Vec<String>> = cells
        .by_ref()
        .take(shape.key.len())
        .map(|part| part.map(Cow::into_owned))
        .collect();
    let key = Key(parts.ok_or_else(unreadable)?);
    let row = shape
        .fields
        .iter()
        .zip(cells)
        .map(|(column, text)| match text {
            None => Ok(Cell::Value(Value::Null)),
            Some(text) => column.cell(Some(&text)),
        })
        .collect::<Result<Row, EndpointError>>()?;
    Ok((key, row))
}

async fn send(
    sink: &mpsc::Sender<Vec<(Key, Row)>>,
    chunk: Vec<(Key, Row)>,
) -> Result<(), EndpointError> {
    sink.send(chunk).await.map_err(|_| {
        EndpointError::retry("copy-stopped", "whoever wanted the table's copy is gone")
    })
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

async fn blocks(session: &Connected, shape: &Shape) -> Result<u64, Error> {
    let sql = "select pg_relation_size($1::oid::regclass) / current_setting('block_size')::bigint";
    let row = session
        .query_typed_one(sql, &[(&shape.oid, Type::OID)])
        .await?;
    Ok(row.try_get::<_, i64>(0)?.max(0) as u64)
}

mod limits {
    use super::Duration;

    /// 128 MB at 8 kB: one COPY statement each.
    pub(super) const BLOCKS_PER_COPY: u64 = 16_384;
    /// A chunk ends at whichever comes first. With the sink's capacity this bounds memory.
    pub(super) const CHUNK_ROWS: usize = 1_000;
    pub(super) const CHUNK_BYTES: usize = 1 << 20;
    /// Longest wait for the next row: covers skipping a bloated range on a slow disk.
    pub(super) const STALL: Duration = Duration::from_secs(300);
}

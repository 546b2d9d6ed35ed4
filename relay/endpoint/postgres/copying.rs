//! Reads records with COPY, in text form: whole ranges of a table into a queue, or records at known
//! places. Called by [`super::snapshot`].

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tidegate_sync::model::{Cell, Key, Row};
use tidegate_sync::value::Value;
use tokio::sync::mpsc;
use tokio_postgres::CopyOutStream;

use super::connect::Connected;
use super::copy_text::{Lines, cells};
use super::shape::Shape;
use super::sqlstate::endpoint_error;
use super::statements::{Rows, copy_out, place_of};
use crate::endpoint::{EndpointError, Place, Viewed, Wanted};

const DOING: &str = "copy a table";

/// A COPY that has begun.
pub(super) struct Copy<'a> {
    session: &'a Connected,
    shape: &'a Shape,
    stream: Pin<Box<CopyOutStream>>,
    lines: Lines,
    has_places: bool,
}

impl<'a> Copy<'a> {
    pub(super) async fn start(
        session: &'a Connected,
        shape: &'a Shape,
        rows: &Rows<'_>,
        only: Option<&str>,
    ) -> Result<Copy<'a>, EndpointError> {
        let sql = copy_out(shape, rows, only);
        let stream = session.bounded(DOING, session.copy_out(&sql)).await?;
        let has_places = !matches!(rows, Rows::Every);
        Ok(Copy::of(session, shape, stream, has_places))
    }

    /// One whose statement was sent already.
    pub(super) fn of(
        session: &'a Connected,
        shape: &'a Shape,
        stream: CopyOutStream,
        has_places: bool,
    ) -> Copy<'a> {
        Copy {
            session,
            shape,
            stream: Box::pin(stream),
            lines: Lines::default(),
            has_places,
        }
    }

    /// All records at once, for a COPY that is known to be small.
    pub(super) async fn read_all(mut self) -> Result<Vec<Viewed>, EndpointError> {
        let mut records = Vec::new();
        while let Some(data) = self.next().await? {
            self.take(&data, &mut records)?;
        }
        self.check_end()?;
        Ok(records)
    }

    /// Sends all records in chunks of bounded size, and waits for whoever takes them.
    pub(super) async fn send_all(
        mut self,
        sink: &mpsc::Sender<Vec<Viewed>>,
    ) -> Result<(), EndpointError> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while let Some(data) = self.next().await? {
            bytes += data.len();
            self.take(&data, &mut chunk)?;
            if chunk.len() >= limits::CHUNK_ROWS || bytes >= limits::CHUNK_BYTES {
                bytes = 0;
                let next = Vec::with_capacity(limits::CHUNK_ROWS);
                send(sink, std::mem::replace(&mut chunk, next)).await?;
            }
        }
        self.check_end()?;
        if chunk.is_empty() {
            return Ok(());
        }
        send(sink, chunk).await
    }

    async fn next(&mut self) -> Result<Option<Bytes>, EndpointError> {
        match tokio::time::timeout(limits::STALL, self.stream.next()).await {
            Ok(data) => data
                .transpose()
                .map_err(|error| endpoint_error(DOING, error)),
            Err(_) => Err(self.session.give_up(DOING).await),
        }
    }

    fn take(&mut self, data: &[u8], records: &mut Vec<Viewed>) -> Result<(), EndpointError> {
        let (shape, has_places) = (self.shape, self.has_places);
        self.lines.push(data, |line| {
            records.push(record(shape, has_places, line)?);
            Ok(())
        })
    }

    /// A truncated COPY must not look whole.
    fn check_end(&self) -> Result<(), EndpointError> {
        if self.lines.is_complete() {
            return Ok(());
        }
        let message = "a copied table ended in the middle of a row";
        Err(EndpointError::retry("copy-truncated", message))
    }
}

/// Reads the records whose places are known, in the order asked; `None` for the others.
pub(super) async fn fetch_by_place(
    session: &Connected,
    shape: &Shape,
    wanted: &[Wanted],
) -> Result<Vec<Option<Row>>, EndpointError> {
    let mut places: Vec<Place> = wanted.iter().filter_map(|wanted| wanted.place).collect();
    places.sort_unstable();
    let mut found = Vec::new();
    for places in places.chunks(limits::PLACES_PER_COPY) {
        let copy = Copy::start(session, shape, &Rows::At(places), None).await?;
        found.extend(copy.read_all().await?);
    }
    let mut by_place: HashMap<Place, (Key, Row)> = found
        .into_iter()
        .filter_map(|record| Some((record.place?, (record.key, record.row))))
        .collect();
    let mut row_of = |wanted: &Wanted| {
        let (key, row) = by_place.remove(&wanted.place?)?;
        (key == wanted.key).then_some(row)
    };
    Ok(wanted.iter().map(&mut row_of).collect())
}

fn record(shape: &Shape, has_places: bool, line: &[u8]) -> Result<Viewed, EndpointError> {
    let unreadable = || {
        let message = format!("a copied row of {} is unreadable", shape.label());
        EndpointError::bug("undecodable-row", message)
    };
    // A table of no columns at all can't be: the key has at least one.
    let mut cells = cells(line).ok_or_else(unreadable)?;
    let place = if has_places {
        let ctid = cells.next().flatten().flatten();
        Some(
            ctid.and_then(|ctid| place_of(&ctid))
                .ok_or_else(unreadable)?,
        )
    } else {
        None
    };
    let mut key = Vec::with_capacity(shape.key.len());
    for _ in &shape.key {
        let part = cells.next().flatten().flatten().ok_or_else(unreadable)?;
        key.push(part.into_owned());
    }
    let mut row = Vec::with_capacity(shape.fields.len());
    for column in &shape.fields {
        match cells.next().flatten().ok_or_else(unreadable)? {
            None => row.push(Cell::Value(Value::Null)),
            Some(text) => row.push(column.cell(Some(&text))?),
        }
    }
    for join in &shape.joins {
        let text = cells.next().flatten().ok_or_else(unreadable)?;
        row.push(join.cell(text.as_deref())?);
    }
    if cells.next().is_some() {
        return Err(unreadable());
    }
    Ok(Viewed {
        key: Key(key),
        row: shape.lens.row(row),
        place,
        bytes: u32::try_from(line.len()).unwrap_or(u32::MAX),
    })
}

async fn send(sink: &mpsc::Sender<Vec<Viewed>>, chunk: Vec<Viewed>) -> Result<(), EndpointError> {
    sink.send(chunk).await.map_err(|_| {
        EndpointError::retry("copy-stopped", "whoever wanted the table's copy is gone")
    })
}

mod limits {
    use super::Duration;

    /// A chunk ends at whichever comes first. With the sink's capacity this bounds memory.
    pub(super) const CHUNK_ROWS: usize = 1_000;
    pub(super) const CHUNK_BYTES: usize = 1 << 20;
    /// Places named in one statement: 16 bytes of SQL each at most.
    pub(super) const PLACES_PER_COPY: usize = 10_000;
    /// Longest wait for the next row: covers skipping a bloated range on a slow disk.
    pub(super) const STALL: Duration = Duration::from_secs(300);
}

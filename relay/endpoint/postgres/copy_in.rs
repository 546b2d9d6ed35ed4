//! Creates by the thousand: COPY into a temporary table, from which one statement inserts them.
//!
//! The temporary table holds text only, and the insert casts as the arrays of
//! [`super::statements`] are cast: what a record becomes, and why one is refused, can't depend on
//! the way it took. Typed columns would also keep the customer from dropping a type of theirs for
//! as long as the session lives. Defaults, identities, rules, triggers and row security apply as
//! to any insert. Called by [`super::write`], prepared by [`super::apply`].

use std::collections::HashMap;
use std::pin::pin;

use bytes::BytesMut;
use futures_util::SinkExt;
use tidegate_sync::model::{Step, StepKind};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row, Statement};

use super::connect::Connected;
use super::guard::{Fields, Write, WriteKind};
use super::statements;
use crate::endpoint::{Class, EndpointError};

/// The temporary tables of one session, by number of columns, each with its COPY.
#[derive(Default)]
pub(super) struct Copies {
    ready: HashMap<usize, Statement>,
    /// The session may not make temporary tables, or something else is against them.
    is_off: bool,
}

impl Copies {
    /// Makes what the creates of a batch will need; outside of its transaction, so that a refusal
    /// undoes nothing. Where it is refused they go another way; only a session that is lost or
    /// stuck is an error.
    pub(super) async fn prepare(
        &mut self,
        session: &Connected,
        steps: &[Step],
    ) -> Result<(), EndpointError> {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for step in steps {
            if let StepKind::Create { set, .. } = &step.kind {
                *counts.entry(set.len()).or_default() += 1;
            }
        }
        for (width, count) in counts {
            let is_wanted = count >= limits::MIN_ROWS && is_fit(width);
            if self.is_off || !is_wanted || self.ready.contains_key(&width) {
                continue;
            }
            let table = statements::create_staged(width);
            let copy = statements::copy_staged(width);
            let made = session.bounded("make a temporary table", async {
                session.batch_execute(&table).await?;
                session.prepare(&copy).await
            });
            match made.await {
                Ok(copy) => {
                    self.ready.insert(width, copy);
                }
                Err(error) if matches!(error.class, Class::Retry(_)) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "large batches are written without COPY");
                    self.is_off = true;
                }
            }
        }
        Ok(())
    }

    /// For the rest of the session.
    pub(super) fn turn_off(&mut self) {
        self.is_off = true;
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.is_off && !self.ready.is_empty()
    }

    /// How many creates with `width` fields may share a statement, if they go by COPY.
    pub(super) fn rows_at_once(&self, width: usize) -> Option<usize> {
        self.ready.contains_key(&width).then_some(limits::MAX_ROWS)
    }

    /// Is COPY the better way for so many creates of `width` fields and `bytes` of text?
    pub(super) fn suit(&self, width: usize, rows: usize, bytes: usize) -> bool {
        self.ready.contains_key(&width)
            && rows >= limits::MIN_ROWS
            && bytes / rows <= limits::BYTES_PER_ROW
    }

    /// Sends the creates, then inserts them with `sql` ([`statements::insert_staged`]). All have
    /// the same fields. Returns records in the order of `writes`.
    pub(super) async fn insert(
        &self,
        session: &Connected,
        sql: &str,
        writes: &[&Write],
    ) -> Result<Vec<Row>, Error> {
        let (Some(first), Some(copy)) = (writes.first(), self.copy(writes)) else {
            return Ok(Vec::new());
        };
        // Tells it from the other parts of the same transaction: each step is in one part only.
        let part = first.step as i64;
        let mut sink = pin!(session.copy_in::<_, bytes::Bytes>(copy).await?);
        let mut buffer = BytesMut::with_capacity(limits::CHUNK + limits::BYTES_PER_ROW);
        for (place, write) in writes.iter().enumerate() {
            if let WriteKind::Create { set } = &write.kind {
                line(&mut buffer, part, place, set);
            }
            if buffer.len() >= limits::CHUNK {
                sink.send(buffer.split().freeze()).await?;
            }
        }
        sink.send(buffer.freeze()).await?;
        sink.finish().await?;
        session.query_typed(sql, &[(&part, Type::INT8)]).await
    }

    fn copy(&self, writes: &[&Write]) -> Option<&Statement> {
        match &writes.first()?.kind {
            WriteKind::Create { set } => self.ready.get(&set.len()),
            _ => None,
        }
    }
}

/// Rows of more columns don't fit a page of the temporary table.
fn is_fit(width: usize) -> bool {
    (1..=limits::MAX_COLUMNS).contains(&width)
}

/// One line of COPY's text format. Source: PostgreSQL manual, COPY, "Text Format".
fn line(out: &mut BytesMut, part: i64, place: usize, set: &Fields) {
    out.extend_from_slice(part.to_string().as_bytes());
    out.extend_from_slice(b"\t");
    out.extend_from_slice(place.to_string().as_bytes());
    for (_, text) in set {
        out.extend_from_slice(b"\t");
        match text {
            None => out.extend_from_slice(b"\\N"),
            Some(text) => escape(out, text.as_bytes()),
        }
    }
    out.extend_from_slice(b"\n");
}

/// Backslash, tab and line ends mean something to COPY, and nothing else does. In UTF-8 their bytes
/// are part of no other character. An escaped backslash also makes `\N` and `\.` plain text.
fn escape(out: &mut BytesMut, text: &[u8]) {
    let mut rest = text;
    while let Some(end) = rest
        .iter()
        .position(|b| matches!(b, b'\\' | b'\t' | b'\n' | b'\r'))
    {
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(match rest[end] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        rest = &rest[end + 1..];
    }
    out.extend_from_slice(rest);
}

mod limits {
    /// Fewer are as fast as arrays, which take fewer round trips.
    pub(super) const MIN_ROWS: usize = 500;
    /// The answer is buffered in memory; batches are rarely larger.
    pub(super) const MAX_ROWS: usize = 10_000;
    /// Longer rows would be compressed by the server on their way through the temporary table.
    pub(super) const BYTES_PER_ROW: usize = 2_000;
    /// Of 18 bytes each when all are out of line, in a page of 8 KiB, with room to spare.
    pub(super) const MAX_COLUMNS: usize = 200;
    /// Bytes per message.
    pub(super) const CHUNK: usize = 64 << 10;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::postgres::copy_text::{Lines, cells};

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            rows in prop::collection::vec(
                prop::collection::vec(
                    prop::option::of("[\\PC\t\n\r\\\\\\.N\u{1}\u{8}\u{b}\u{c}]{0,9}"), 1..4), 0..6),
        ) {
            let mut wire = BytesMut::new();
            for (place, row) in rows.iter().enumerate() {
                let set: Fields = row.iter().cloned().enumerate().collect();
                line(&mut wire, 7, place, &set);
            }
            let mut read = Vec::new();
            let done: Result<(), ()> = Lines::default().push(&wire, |line| {
                let cells = cells(line).ok_or(())?;
                read.push(cells[2..].iter().map(|c| c.as_deref().map(str::to_owned)).collect());
                Ok(())
            });
            prop_assert!(done.is_ok());
            let read: Vec<Vec<Option<String>>> = read;
            prop_assert_eq!(read, rows);
        }
    }
}

//! The agent's own few questions to PostgreSQL, over a session before the relay gets it.
//!
//! Simple query protocol, text results, small answers only. Called by `role`, `slots`
//! and the doctor; never with text that comes from the relay.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::error::OriginError;
use super::frames::Frames;
use super::login::refusal_of;

/// Rows kept of one answer; every question here asks for fewer.
const ROWS_MAX: usize = 1000;

/// One row of text values; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Runs one statement and returns its rows.
pub async fn ask(frames: &mut Frames, sql: &str) -> Result<Vec<Row>, OriginError> {
    let mut message = BytesMut::new();
    frontend::query(sql, &mut message)?;
    frames.send(&message).await?;
    let (mut rows, mut failure) = (Vec::new(), None);
    loop {
        match frames.next().await?.0 {
            Message::DataRow(body) => {
                let wrong = |error: std::io::Error| OriginError::Protocol(error.to_string());
                let mut row = Row::new();
                let mut ranges = body.ranges();
                while let Some(range) = ranges.next().map_err(wrong)? {
                    let value = range.and_then(|range| body.buffer().get(range));
                    row.push(value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
                }
                if rows.len() < ROWS_MAX {
                    rows.push(row);
                }
            }
            Message::ErrorResponse(body) => failure = Some(refusal_of(body.fields())?),
            Message::ReadyForQuery(_) => return failure.map_or(Ok(rows), Err),
            Message::RowDescription(_)
            | Message::CommandComplete(_)
            | Message::EmptyQueryResponse
            | Message::NoticeResponse(_)
            | Message::ParameterStatus(_) => {}
            _ => {
                return Err(OriginError::Protocol(
                    "an unexpected answer to a query".into(),
                ));
            }
        }
    }
}

//! Frames of the PostgreSQL protocol as the replication client reads them.
//!
//! `postgres_protocol::message::backend` does not know CopyBoth, so frames are cut here by their
//! five-byte header. Source: PostgreSQL manual, "Message Formats".

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::super::EndpointError;

/// One message from the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// What the server says in an ErrorResponse. Shown to nobody but the log: it may name data.
#[derive(Clone, Debug, Default, Error)]
#[error("PostgreSQL answered {code}: {message}")]
pub(super) struct ServerError {
    /// SQLSTATE.
    pub code: String,
    pub message: String,
}

/// The server sent what its protocol does not allow.
#[derive(Clone, Debug, Error)]
#[error("{what}")]
pub(super) struct Malformed {
    pub what: &'static str,
}

impl From<Malformed> for EndpointError {
    fn from(error: Malformed) -> EndpointError {
        let message = format!("PostgreSQL's answer is not understood ({error}): report this");
        EndpointError::bug("protocol-violation", message).caused_by(error)
    }
}

pub(super) mod limits {
    /// A message holds one row version. 256 MiB is far above what a synced row may weigh and far
    /// below what would hurt the relay; PostgreSQL itself allows 1 GiB.
    pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;
    /// Bytes asked of the stream at once: as many as one tunnel read brings.
    pub(crate) const READ_BYTES: usize = 64 << 10;
}

const HEADER: usize = 5;

/// Cuts the next complete frame off `buffer`; `None` when it is not complete yet.
pub(super) fn pop(buffer: &mut BytesMut) -> Result<Option<Frame>, EndpointError> {
    let Some(header) = buffer.get(..HEADER) else {
        buffer.reserve(limits::READ_BYTES);
        return Ok(None);
    };
    let tag = header[0];
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length < 4 {
        return Err(Malformed {
            what: "a frame shorter than its own length",
        }
        .into());
    }
    if length > limits::MESSAGE_BYTES_MAX {
        return Err(EndpointError::operator(
            "row-too-large",
            format!(
                "a change of {} MiB is more than the {} MiB that can be synced: shorten the value \
                 or leave the table out",
                length >> 20,
                limits::MESSAGE_BYTES_MAX >> 20,
            ),
        ));
    }
    let whole = length + 1;
    if buffer.len() < whole {
        buffer.reserve((whole - buffer.len()).max(limits::READ_BYTES));
        return Ok(None);
    }
    let mut body = buffer.split_to(whole).freeze();
    body.advance(HEADER);
    Ok(Some(Frame { tag, body }))
}

/// Reads the fields of an ErrorResponse or NoticeResponse.
pub(super) fn server_error(mut body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    while let Some((&field, rest)) = body.split_first() {
        let Some(end) = rest.iter().position(|byte| *byte == 0) else {
            break;
        };
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        match field {
            b'C' => error.code = text,
            b'M' => error.message = text,
            _ => {}
        }
        body = &rest[end + 1..];
    }
    error
}

/// A DataRow's columns as text.
pub(super) fn data_row(body: &[u8]) -> Result<Vec<Option<String>>, Malformed> {
    parse_row(body).ok_or(Malformed {
        what: "a broken row",
    })
}

fn parse_row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            row.push(None);
            continue;
        }
        let (text, after) = rest.split_at_checked(length as usize)?;
        row.push(Some(String::from_utf8(text.to_vec()).ok()?));
        rest = after;
    }
    rest.is_empty().then_some(row)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_cut_only_when_complete() {
        let mut buffer = BytesMut::from(&b"Z\0\0\0\x05"[..]);
        assert_eq!(pop(&mut buffer).unwrap(), None);
        buffer.extend_from_slice(b"IE");
        let frame = pop(&mut buffer).unwrap().unwrap();
        assert_eq!((frame.tag, &frame.body[..]), (b'Z', &b"I"[..]));
        assert_eq!(&buffer[..], b"E");
    }

    #[test]
    fn absurd_lengths_are_refused_before_anything_is_reserved() {
        for length in [0u32, 3, u32::MAX, limits::MESSAGE_BYTES_MAX as u32 + 1] {
            let mut buffer = BytesMut::from(&b"d"[..]);
            buffer.extend_from_slice(&length.to_be_bytes());
            assert!(pop(&mut buffer).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = pop(&mut buffer) {}
            server_error(&bytes);
            let _ = data_row(&bytes);
        }
    }
}

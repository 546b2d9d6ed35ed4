//! PostgreSQL's messages on a byte stream: bounded reading during login, boundaries afterwards.
//!
//! Message layout: PostgreSQL manual, 55.7. Called by `login`, `ask` and `forward`.

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::{Header, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Duplex;
use super::error::OriginError;

/// Longest message during login or for one of the agent's own queries, bytes. An error message
/// with all its fields is a few hundred; a hostile server must not make the agent buffer more.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Reads whole messages of the server, each with its raw bytes.
pub struct Frames {
    pub stream: Box<dyn Duplex>,
    buffer: BytesMut,
}

impl Frames {
    pub fn new(stream: Box<dyn Duplex>) -> Frames {
        Frames {
            stream,
            buffer: BytesMut::with_capacity(8 * 1024),
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), OriginError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next message and its bytes. Not cancel safe with respect to `stream`, but no byte is
    /// lost: what was read stays buffered.
    pub async fn next(&mut self) -> Result<(Message, Bytes), OriginError> {
        let wrong = |error: std::io::Error| OriginError::Protocol(error.to_string());
        loop {
            if let Some(header) = Header::parse(&self.buffer).map_err(wrong)? {
                let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
                if length >= MESSAGE_BYTES_MAX {
                    return Err(OriginError::Protocol("a message longer than 64 KiB".into()));
                }
                if self.buffer.len() > length {
                    let mut frame = self.buffer.split_to(length + 1);
                    let raw = Bytes::copy_from_slice(&frame);
                    let message = Message::parse(&mut frame).map_err(wrong)?;
                    let message = message.ok_or_else(|| {
                        OriginError::Protocol("a message shorter than its header says".into())
                    })?;
                    return Ok((message, raw));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(OriginError::ClosedEarly);
            }
        }
    }

    /// The stream, and what was read from it beyond the last message.
    pub fn into_parts(self) -> (Box<dyn Duplex>, BytesMut) {
        (self.stream, self.buffer)
    }
}

/// Follows message boundaries in bytes that pass by, without buffering them.
#[derive(Debug, Default)]
pub struct Boundary {
    header: [u8; 5],
    header_bytes: usize,
    /// Bytes of the current message's body still to come.
    body_bytes: u64,
    terminated: bool,
    /// A login passes by as well, with its passwords.
    with_login: bool,
}

/// The bytes are not the frontend's side of PostgreSQL's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFrontend {
    #[error("the relay sent message type 0x{0:02x}, which doesn't pass")]
    Type(u8),
    #[error("the relay sent a message with an impossible length")]
    Length,
    #[error("the relay sent bytes after Terminate")]
    AfterTerminate,
}

impl Boundary {
    /// For a session whose login passes by.
    pub fn with_login(with_login: bool) -> Boundary {
        Boundary {
            with_login,
            ..Boundary::default()
        }
    }

    /// Whether the bytes so far end between two messages.
    pub fn is_between(&self) -> bool {
        self.header_bytes == 0 && self.body_bytes == 0
    }

    /// Whether a whole Terminate message passed.
    pub fn is_terminated(&self) -> bool {
        self.terminated && self.is_between()
    }

    /// Notes bytes of the server. Their types are not judged: they only have to end whole.
    pub fn on_backend(&mut self, bytes: &[u8]) -> Result<(), NotFrontend> {
        self.on_bytes(bytes, |_| true)
    }

    /// Notes bytes of the relay and refuses what no session needs: another password exchange, and
    /// the function call message, which nothing sends since PostgreSQL 7.3.
    pub fn on_frontend(&mut self, bytes: &[u8]) -> Result<(), NotFrontend> {
        let with_login = self.with_login;
        self.on_bytes(bytes, |kind| {
            b"BCDEHPSQXcdf".contains(&kind) || (with_login && kind == b'p')
        })
    }

    fn on_bytes(
        &mut self,
        mut bytes: &[u8],
        passes: impl Fn(u8) -> bool,
    ) -> Result<(), NotFrontend> {
        while !bytes.is_empty() {
            if self.is_terminated() {
                return Err(NotFrontend::AfterTerminate);
            }
            let skipped = usize::try_from(self.body_bytes)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            bytes = &bytes[skipped..];
            self.body_bytes -= skipped as u64;
            if self.body_bytes > 0 || bytes.is_empty() {
                continue;
            }
            let taken = (5 - self.header_bytes).min(bytes.len());
            self.header[self.header_bytes..self.header_bytes + taken]
                .copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if !passes(self.header[0]) {
                return Err(NotFrontend::Type(self.header[0]));
            }
            if self.header_bytes < 5 {
                continue;
            }
            let [kind, a, b, c, d] = self.header;
            let length = i32::from_be_bytes([a, b, c, d]);
            self.body_bytes = u64::try_from(length)
                .ok()
                .filter(|l| *l >= 4)
                .ok_or(NotFrontend::Length)?
                - 4;
            self.header_bytes = 0;
            self.terminated = kind == b'X';
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"Q\0\0\0\x0dselect 1\0";
    const TERMINATE: &[u8] = b"X\0\0\0\x04";

    /// Feeds `bytes` in pieces of every size and returns the agreeing end state.
    fn feed(bytes: &[u8]) -> Result<(bool, bool), NotFrontend> {
        let mut results = (1..=bytes.len()).map(|size| {
            let mut boundary = Boundary::default();
            for piece in bytes.chunks(size) {
                boundary.on_frontend(piece)?;
            }
            Ok((boundary.is_between(), boundary.is_terminated()))
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first));
        first
    }

    #[test]
    fn terminate_is_seen_at_a_boundary_only() {
        assert_eq!(feed(&[QUERY, TERMINATE].concat()), Ok((true, true)));
        assert_eq!(feed(QUERY), Ok((true, false)));
        assert_eq!(feed(&[QUERY, &TERMINATE[..4]].concat()), Ok((false, false)));
        // CopyData whose payload looks like a Terminate message.
        let copy = [&b"d\0\0\0\x09"[..], TERMINATE].concat();
        assert_eq!(feed(&copy), Ok((true, false)));
    }

    #[test]
    fn foreign_messages_do_not_pass() {
        assert_eq!(feed(b"F\0\0\0\x04"), Err(NotFrontend::Type(b'F')));
        assert_eq!(feed(b"p\0\0\0\x04"), Err(NotFrontend::Type(b'p')));
        assert_eq!(feed(b"GET / HTTP/1.1"), Err(NotFrontend::Type(b'G')));
        assert_eq!(feed(b"Q\0\0\0\x03"), Err(NotFrontend::Length));
        assert_eq!(feed(b"Q\xff\xff\xff\xff"), Err(NotFrontend::Length));
        assert_eq!(
            feed(&[TERMINATE, QUERY].concat()),
            Err(NotFrontend::AfterTerminate)
        );
    }
}

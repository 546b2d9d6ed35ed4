//! What crosses the API after its upgrade to [`PROTOCOL`]: one PostgreSQL session, in frames.
//!
//! A frame is `u8 kind | u32 length | payload`, big-endian. The bytes of the session travel as they
//! are; the frames around them tell a whole session from a broken one and why it ended, whatever
//! proxies make of the end of a connection. Used by [`super::carry`] and by `cli::forward`.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// What both sides name in `Upgrade`.
pub const PROTOCOL: &str = "tidegate-forward/1";

mod limits {
    use super::Duration;

    /// Bytes of a session in one frame: one read. Twice this per session is 128 KiB.
    pub(super) const DATA_BYTES_MAX: usize = 64 * 1024;
    /// An end is a word and one line for people.
    pub(super) const END_BYTES_MAX: usize = 4 * 1024;
    /// A frame is sent at least this often: proxies close connections that idle for a minute.
    pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(20);
    /// A peer that sent nothing for this long is gone.
    pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);
}

const HEADER_BYTES: usize = 5;
const DATA: u8 = b'd';
const ALIVE: u8 = b'a';
const FINISHED: u8 = b'f';
const END: u8 = b'e';

/// How a session ended, as the relay tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub why: Why,
    /// One line that says what to do next; empty for a session that ended by itself.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// One of its own sides ended it.
    Done,
    /// Its time is over.
    Time,
    /// The relay shuts down.
    Stopping,
    /// The caller may not have it any more.
    Refused,
    /// The agent or the tunnel cut it.
    Cut,
}

impl End {
    pub fn new(why: Why, text: impl Into<String>) -> End {
        let text = text.into();
        End { why, text }
    }

    pub fn done() -> End {
        End::new(Why::Done, "")
    }
}

/// One frame; `Alive` is taken by the reader itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Data(&'a [u8]),
    /// The sender has nothing more to send.
    Finished,
    End(End),
}

/// Reads frames. Not cancel safe.
pub struct FrameReader<R> {
    stream: BufReader<R>,
    payload: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        FrameReader {
            stream: BufReader::with_capacity(limits::DATA_BYTES_MAX + HEADER_BYTES, stream),
            payload: Vec::new(),
        }
    }

    /// The next frame. `TimedOut` for a peer that gave no sign of life, `UnexpectedEof` for one that
    /// went without an end.
    pub async fn next(&mut self) -> io::Result<Frame<'_>> {
        let kind = loop {
            let kind = timeout(limits::SILENCE_MAX, self.read()).await;
            match kind.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
                ALIVE => {}
                kind => break kind,
            }
        };
        match kind {
            DATA => Ok(Frame::Data(&self.payload)),
            FINISHED => Ok(Frame::Finished),
            END => serde_json::from_slice(&self.payload)
                .map(Frame::End)
                .map_err(|_| wrong("an end that can't be read")),
            _ => Err(wrong("a frame of an unknown kind")),
        }
    }

    /// Reads one frame's payload and gives its kind.
    async fn read(&mut self) -> io::Result<u8> {
        let kind = self.stream.read_u8().await?;
        let length = self.stream.read_u32().await? as usize;
        let most = match kind {
            DATA => limits::DATA_BYTES_MAX,
            END => limits::END_BYTES_MAX,
            _ => 0,
        };
        if length > most {
            return Err(wrong("a frame over its limit"));
        }
        self.payload.resize(length, 0);
        self.stream.read_exact(&mut self.payload).await?;
        Ok(kind)
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes frames. Cancel safe: what was begun is completed before the next one.
pub struct FrameWriter<W> {
    stream: W,
    begun: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(stream: W) -> Self {
        FrameWriter {
            stream,
            begun: BytesMut::new(),
        }
    }

    /// Bytes of the session, at most one read of them.
    pub async fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(DATA, bytes).await
    }

    pub async fn finished(&mut self) -> io::Result<()> {
        self.send(FINISHED, b"").await
    }

    /// The last word: nothing may follow.
    pub async fn end(&mut self, end: &End) -> io::Result<()> {
        let payload = serde_json::to_vec(end)?;
        self.send(END, &payload).await?;
        self.stream.shutdown().await
    }

    async fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.complete().await?;
        self.begun.extend_from_slice(&[kind]);
        // Far below 4 GiB: a read's size or a short text.
        let length = payload.len() as u32;
        self.begun.extend_from_slice(&length.to_be_bytes());
        self.begun.extend_from_slice(payload);
        self.complete().await
    }

    async fn complete(&mut self) -> io::Result<()> {
        while !self.begun.is_empty() {
            match self.stream.write(&self.begun).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.begun.advance(count),
            }
        }
        self.stream.flush().await
    }
}

/// Which side failed.
#[derive(Debug)]
pub enum Failed {
    /// The session's own: the local program, or the agent's stream.
    Session(io::Error),
    /// The API's connection.
    Frames(io::Error),
}

/// Sends what `session` says as frames, until its clean end. `on_bytes` sees all of it first.
pub async fn pack<R, W>(
    session: &mut R,
    frames: &mut FrameWriter<W>,
    mut on_bytes: impl FnMut(&[u8]),
) -> Result<(), Failed>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; limits::DATA_BYTES_MAX];
    loop {
        let Ok(read) = timeout(limits::ALIVE_EVERY, session.read(&mut buffer)).await else {
            frames.send(ALIVE, b"").await.map_err(Failed::Frames)?;
            continue;
        };
        match read.map_err(Failed::Session)? {
            0 => return Ok(()),
            count => {
                on_bytes(&buffer[..count]);
                let sent = frames.data(&buffer[..count]).await;
                sent.map_err(Failed::Frames)?;
            }
        }
    }
}

/// Writes to `session` what the frames hold, until the sender has finished (then the session's
/// direction is ended cleanly) or says how all of it ended. `on_bytes` sees everything first.
pub async fn unpack<R, W>(
    frames: &mut FrameReader<R>,
    session: &mut W,
    mut on_bytes: impl FnMut(&[u8]),
) -> Result<Option<End>, Failed>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        match frames.next().await.map_err(Failed::Frames)? {
            Frame::Data(bytes) => {
                on_bytes(bytes);
                session.write_all(bytes).await.map_err(Failed::Session)?;
                session.flush().await.map_err(Failed::Session)?;
            }
            Frame::Finished => {
                session.shutdown().await.map_err(Failed::Session)?;
                return Ok(None);
            }
            Frame::End(end) => return Ok(Some(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_were_written_whatever_the_pieces() {
        let (near, far) = tokio::io::duplex(3);
        let (mut writer, mut reader) = (FrameWriter::new(near), FrameReader::new(far));
        let end = End::new(Why::Time, "its time is over");
        let write = async {
            writer.data(b"select").await.unwrap();
            writer.send(ALIVE, b"").await.unwrap();
            writer.finished().await.unwrap();
            writer.end(&end).await.unwrap();
        };
        let read = async {
            assert_eq!(reader.next().await.unwrap(), Frame::Data(b"select"));
            assert_eq!(reader.next().await.unwrap(), Frame::Finished);
            assert_eq!(reader.next().await.unwrap(), Frame::End(end.clone()));
            let gone = reader.next().await.unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::UnexpectedEof);
        };
        tokio::join!(write, read);
    }

    #[tokio::test]
    async fn a_frame_that_was_given_up_half_way_is_completed_before_the_next_one() {
        let (near, far) = tokio::io::duplex(4);
        let (mut writer, mut reader) = (FrameWriter::new(near), FrameReader::new(far));
        let given_up = timeout(Duration::ZERO, writer.data(b"a long payload")).await;
        assert!(given_up.is_err());
        let end = End::done();
        let read = async {
            assert_eq!(reader.next().await.unwrap(), Frame::Data(b"a long payload"));
            assert_eq!(reader.next().await.unwrap(), Frame::End(End::done()));
        };
        let (sent, ()) = tokio::join!(writer.end(&end), read);
        sent.unwrap();
    }

    #[tokio::test]
    async fn frames_over_their_limits_and_of_unknown_kinds_are_refused_unread() {
        let long = [&[DATA][..], &u32::MAX.to_be_bytes()].concat();
        let unknown = b"?\0\0\0\0".to_vec();
        let filled = b"a\0\0\0\x01x".to_vec();
        for bytes in [long, unknown, filled] {
            let refused = FrameReader::new(&bytes[..]).next().await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_side_gives_signs_of_life_and_a_silent_one_is_gone() {
        let (near, far) = tokio::io::duplex(64);
        let (mut idle, _kept) = tokio::io::duplex(64);
        let mut writer = FrameWriter::new(near);
        let mut reader = FrameReader::new(far);
        let alive = async {
            let five_minutes = Duration::from_secs(300);
            let _ = timeout(five_minutes, pack(&mut idle, &mut writer, |_| {})).await;
        };
        let (gone, ()) = tokio::join!(timeout(Duration::from_secs(299), reader.next()), alive);
        assert!(gone.is_err(), "it is not taken for gone while it is idle");
        let gone = reader.next().await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::TimedOut);
    }
}

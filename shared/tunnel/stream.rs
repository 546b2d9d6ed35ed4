//! One byte stream of a tunnel. It ends cleanly only if somebody says so: dropping it is a reset,
//! so that a truncated COPY can never look complete.

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Stream error code of a dropped stream. What went wrong is never told this way.
const ABANDONED: quinn::VarInt = quinn::VarInt::from_u32(1);

/// Both directions. `poll_shutdown` ends the outgoing direction cleanly; dropping resets whatever
/// was not ended cleanly.
#[derive(Debug)]
pub struct TunnelStream {
    reader: TunnelReader,
    writer: TunnelWriter,
}

impl TunnelStream {
    pub(super) fn new(send: quinn::SendStream, receive: quinn::RecvStream) -> Self {
        Self {
            reader: TunnelReader {
                receive,
                _guard: None,
            },
            writer: TunnelWriter {
                send,
                finished: false,
                _guard: None,
            },
        }
    }

    /// Halves that may live in two tasks. Each keeps the rule: dropped means reset.
    pub fn into_split(self) -> (TunnelReader, TunnelWriter) {
        (self.reader, self.writer)
    }

    /// Drops `guard` when both halves of the stream are gone, for whoever counts streams.
    pub fn attach(&mut self, guard: Arc<dyn Any + Send + Sync>) {
        self.reader._guard = Some(Arc::clone(&guard));
        self.writer._guard = Some(guard);
    }

    /// Streams with a higher number are sent first; the usual is 0. Control goes ahead of data.
    pub fn set_priority(&self, priority: i32) {
        // It fails only for a stream that is closed already, where it means nothing.
        let _ = self.writer.send.set_priority(priority);
    }

    /// Waits until the peer has taken everything after a clean end, or has given up on it.
    pub async fn drained(&mut self) {
        self.writer.drained().await;
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// The incoming direction. End of file means that the peer ended it cleanly; a reset or a lost
/// connection is an error.
pub struct TunnelReader {
    receive: quinn::RecvStream,
    _guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl AsyncRead for TunnelReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buf)
    }
}

impl Drop for TunnelReader {
    fn drop(&mut self) {
        // Tells the peer to stop sending; an error only says that the direction has ended.
        let _ = self.receive.stop(ABANDONED);
    }
}

impl fmt::Debug for TunnelReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelReader({})", self.receive.id())
    }
}

/// The outgoing direction.
pub struct TunnelWriter {
    send: quinn::SendStream,
    finished: bool,
    _guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl TunnelWriter {
    /// Waits until the peer has taken everything after a clean end, or has given up on it.
    pub async fn drained(&mut self) {
        let _ = self.send.stopped().await;
    }
}

impl AsyncWrite for TunnelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            self.send.finish().map_err(io::Error::from)?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelWriter {
    fn drop(&mut self) {
        // quinn would finish a dropped stream, which looks like a complete one to the peer.
        if !self.finished {
            let _ = self.send.reset(ABANDONED);
        }
    }
}

impl fmt::Debug for TunnelWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelWriter({})", self.send.id())
    }
}

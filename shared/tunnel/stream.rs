//! One byte stream of a tunnel. It ends cleanly only if somebody says so: dropping it is a reset,
//! so that a truncated COPY can never look complete.

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tcp;

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
    pub(super) fn of_quic(send: quinn::SendStream, receive: quinn::RecvStream) -> Self {
        let sender = QuicSender {
            send,
            finished: false,
        };
        Self::new(
            Incoming::Quic(QuicReceiver(receive)),
            Outgoing::Quic(sender),
        )
    }

    pub(super) fn of_control(reader: tcp::ControlReader, writer: tcp::ControlWriter) -> Self {
        Self::new(Incoming::Control(reader), Outgoing::Control(writer))
    }

    pub(super) fn of_connection(reader: tcp::PipeReader, writer: tcp::PipeWriter) -> Self {
        Self::new(Incoming::Pipe(reader), Outgoing::Pipe(writer))
    }

    fn new(incoming: Incoming, outgoing: Outgoing) -> Self {
        Self {
            reader: TunnelReader {
                incoming,
                _guard: None,
            },
            writer: TunnelWriter {
                outgoing,
                _guard: None,
            },
        }
    }

    /// Halves that may live in two tasks. Each keeps the rule: dropped means reset. Over TCP a
    /// reset takes the other direction with it.
    pub fn into_split(self) -> (TunnelReader, TunnelWriter) {
        (self.reader, self.writer)
    }

    /// Drops `guard` when both halves of the stream are gone, for whoever counts streams.
    pub fn attach(&mut self, guard: Arc<dyn Any + Send + Sync>) {
        self.reader._guard = Some(Arc::clone(&guard));
        self.writer._guard = Some(guard);
    }

    /// Streams with a higher number are sent first; the usual is 0. Control goes ahead of data.
    /// Over TCP it has a connection of its own anyway.
    pub fn set_priority(&self, priority: i32) {
        if let Outgoing::Quic(sender) = &self.writer.outgoing {
            // It fails only for a stream that is closed already, where it means nothing.
            let _ = sender.send.set_priority(priority);
        }
    }

    /// Waits until the peer has taken everything after a clean end, or has given up on it.
    /// Nothing can be read any more.
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
    incoming: Incoming,
    _guard: Option<Arc<dyn Any + Send + Sync>>,
}

enum Incoming {
    Quic(QuicReceiver),
    Control(tcp::ControlReader),
    Pipe(tcp::PipeReader),
}

impl AsyncRead for TunnelReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.incoming {
            Incoming::Quic(receiver) => AsyncRead::poll_read(Pin::new(&mut receiver.0), cx, buf),
            Incoming::Control(reader) => reader.poll_read(cx, buf),
            Incoming::Pipe(reader) => reader.poll_read(cx, buf),
        }
    }
}

impl fmt::Debug for TunnelReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.incoming {
            Incoming::Quic(receiver) => write!(f, "TunnelReader({})", receiver.0.id()),
            Incoming::Control(_) => f.write_str("TunnelReader(control)"),
            Incoming::Pipe(_) => f.write_str("TunnelReader(tcp)"),
        }
    }
}

/// The outgoing direction. What was written is on its way only after a flush or a clean end.
pub struct TunnelWriter {
    outgoing: Outgoing,
    _guard: Option<Arc<dyn Any + Send + Sync>>,
}

enum Outgoing {
    Quic(QuicSender),
    Control(tcp::ControlWriter),
    Pipe(tcp::PipeWriter),
}

impl TunnelWriter {
    /// Waits until the peer has taken everything after a clean end, or has given up on it. The
    /// reader must not be waiting for more meanwhile.
    pub async fn drained(&mut self) {
        match &mut self.outgoing {
            Outgoing::Quic(sender) => drop(sender.send.stopped().await),
            Outgoing::Control(writer) => writer.drained().await,
            Outgoing::Pipe(writer) => writer.drained().await,
        }
    }
}

impl AsyncWrite for TunnelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.outgoing {
            Outgoing::Quic(sender) => AsyncWrite::poll_write(Pin::new(&mut sender.send), cx, buf),
            Outgoing::Control(writer) => writer.poll_write(cx, buf),
            Outgoing::Pipe(writer) => writer.poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            Outgoing::Quic(sender) => AsyncWrite::poll_flush(Pin::new(&mut sender.send), cx),
            // What was taken is sent by the session's own task.
            Outgoing::Control(_) => Poll::Ready(Ok(())),
            Outgoing::Pipe(writer) => writer.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            Outgoing::Quic(sender) => Poll::Ready(sender.finish()),
            Outgoing::Control(writer) => writer.poll_shutdown(cx),
            Outgoing::Pipe(writer) => writer.poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for TunnelWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outgoing {
            Outgoing::Quic(sender) => write!(f, "TunnelWriter({})", sender.send.id()),
            Outgoing::Control(_) => f.write_str("TunnelWriter(control)"),
            Outgoing::Pipe(_) => f.write_str("TunnelWriter(tcp)"),
        }
    }
}

struct QuicReceiver(quinn::RecvStream);

impl Drop for QuicReceiver {
    fn drop(&mut self) {
        // Tells the peer to stop sending; an error only says that the direction has ended.
        let _ = self.0.stop(ABANDONED);
    }
}

struct QuicSender {
    send: quinn::SendStream,
    finished: bool,
}

impl QuicSender {
    fn finish(&mut self) -> io::Result<()> {
        if !self.finished {
            self.send.finish().map_err(io::Error::from)?;
            self.finished = true;
        }
        Ok(())
    }
}

impl Drop for QuicSender {
    fn drop(&mut self) {
        // quinn would finish a dropped stream, which looks like a complete one to the peer.
        if !self.finished {
            let _ = self.send.reset(ABANDONED);
        }
    }
}

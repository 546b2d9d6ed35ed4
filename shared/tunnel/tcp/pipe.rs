//! One stream in a connection of its own. TLS's close_notify is its clean end and nothing else is.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::session::Owner;
use super::spare::SpareConnection;
use super::{Connection, reset};

/// What both halves share. Locked for one poll at a time, never across a wait.
struct Pipe {
    tls: Mutex<Connection>,
    /// The tunnel ended, or a half was dropped before its end.
    broken: CancellationToken,
    /// The peer ended its direction cleanly.
    is_read: AtomicBool,
    /// We ended ours.
    is_written: AtomicBool,
    owner: Arc<Owner>,
    _place: Option<OwnedSemaphorePermit>,
}

pub(super) fn halves(connection: SpareConnection, owner: &Arc<Owner>) -> (PipeReader, PipeWriter) {
    let pipe = Arc::new(Pipe {
        tls: Mutex::new(connection.tls),
        broken: owner.0.ended.child_token(),
        is_read: AtomicBool::new(false),
        is_written: AtomicBool::new(false),
        owner: Arc::clone(owner),
        _place: connection.place,
    });
    let break_of = |pipe: &Pipe| Box::pin(pipe.broken.clone().cancelled_owned());
    let reader = PipeReader {
        first: Bytes::from(connection.first),
        breaks: break_of(&pipe),
        pipe: Arc::clone(&pipe),
    };
    let writer = PipeWriter {
        breaks: break_of(&pipe),
        pipe,
    };
    (reader, writer)
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts both directions: TCP can't reset one alone.
    fn break_off(&self) {
        self.broken.cancel();
        let tls = self.lock();
        let socket = SockRef::from(tls.get_ref().0);
        // What is on its way is worth nothing any more. Errors say that the socket is gone.
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_read.load(Ordering::Acquire) || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = ready!(Pin::new(&mut *self.lock()).poll_read(cx, buf));
        match polled {
            Ok(()) if buf.filled().len() == before => {
                self.is_read.store(true, Ordering::Release);
                Poll::Ready(Ok(()))
            }
            // The socket ended, TLS did not: somebody cut it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Err(reset())),
            polled => Poll::Ready(polled),
        }
    }
}

/// The socket ended, TLS did not: somebody cut it.
fn as_reset(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => reset(),
        _ => error,
    }
}

pub(in crate::tunnel) struct PipeReader {
    first: Bytes,
    breaks: Pin<Box<WaitForCancellationFutureOwned>>,
    pipe: Arc<Pipe>,
}

impl PipeReader {
    pub(in crate::tunnel) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.breaks.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(reset()));
        }
        let before = buf.filled().len();
        if self.first.is_empty() {
            ready!(self.pipe.poll_read(cx, buf))?;
        } else {
            let count = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..count]);
            self.first.advance(count);
        }
        let count = (buf.filled().len() - before) as u64;
        let received = &self.pipe.owner.0.traffic.received_bytes;
        received.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        // After our own clean end the peer may still be taking it: then the socket's close is all.
        let is_over = self.pipe.is_read.load(Ordering::Acquire)
            || self.pipe.is_written.load(Ordering::Acquire);
        if !is_over {
            self.pipe.break_off();
        }
    }
}

pub(in crate::tunnel) struct PipeWriter {
    breaks: Pin<Box<WaitForCancellationFutureOwned>>,
    pipe: Arc<Pipe>,
}

impl PipeWriter {
    pub(in crate::tunnel) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.breaks.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(reset()));
        }
        let written = ready!(Pin::new(&mut *self.pipe.lock()).poll_write(cx, buf));
        let count = written.map_err(as_reset)?;
        let sent = &self.pipe.owner.0.traffic.sent_bytes;
        sent.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    pub(in crate::tunnel) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.breaks.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(reset()));
        }
        Pin::new(&mut *self.pipe.lock())
            .poll_flush(cx)
            .map_err(as_reset)
    }

    pub(in crate::tunnel) fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pipe.is_written.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if self.breaks.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(reset()));
        }
        ready!(Pin::new(&mut *self.pipe.lock()).poll_shutdown(cx))?;
        self.pipe.is_written.store(true, Ordering::Release);
        Poll::Ready(Ok(()))
    }

    /// TCP tells nobody what was read; but a peer that has read all ends its own direction.
    pub(in crate::tunnel) async fn drained(&mut self) {
        poll_fn(|cx| {
            let mut rest = [0; 1024];
            loop {
                if self.breaks.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let mut buffer = ReadBuf::new(&mut rest);
                match ready!(self.pipe.poll_read(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => {}
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        if !self.pipe.is_written.load(Ordering::Acquire) {
            self.pipe.break_off();
        }
    }
}

//! The control stream: pieces of bytes between its user and the task that drives the session.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::session::Owner;
use super::{limits, reset};
use crate::wire::{LinkMessage, limits::LINK_DATA_BYTES_MAX};

/// What comes in. A channel that closes before the end is a reset.
pub(super) enum Inbound {
    Data(Bytes),
    End,
}

/// The driving task's ends.
pub(super) struct ControlEnds {
    pub(super) incoming: mpsc::Sender<Inbound>,
    /// `Data` and `End` only. A channel that closes before the end is a reset.
    pub(super) outgoing: mpsc::Receiver<LinkMessage>,
}

/// The user's ends, before they have an owner.
pub(super) struct Halves {
    incoming: mpsc::Receiver<Inbound>,
    outgoing: mpsc::Sender<LinkMessage>,
}

pub(super) fn channel() -> (Halves, ControlEnds) {
    let (incoming, incoming_end) = mpsc::channel(limits::CONTROL_QUEUE_MAX);
    let (outgoing_end, outgoing) = mpsc::channel(limits::CONTROL_QUEUE_MAX);
    let halves = Halves {
        incoming: incoming_end,
        outgoing: outgoing_end,
    };
    let ends = ControlEnds { incoming, outgoing };
    (halves, ends)
}

impl Halves {
    pub(super) fn owned_by(self, owner: &Arc<Owner>) -> (ControlReader, ControlWriter) {
        let reader = ControlReader {
            incoming: self.incoming,
            current: Bytes::new(),
            ended: false,
            owner: Arc::clone(owner),
        };
        let writer = ControlWriter {
            outgoing: PollSender::new(self.outgoing),
            finished: false,
            owner: Arc::clone(owner),
        };
        (reader, writer)
    }
}

pub(in crate::tunnel) struct ControlReader {
    incoming: mpsc::Receiver<Inbound>,
    current: Bytes,
    ended: bool,
    owner: Arc<Owner>,
}

impl ControlReader {
    pub(in crate::tunnel) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.incoming.poll_recv(cx)) {
                Some(Inbound::Data(bytes)) => self.current = bytes,
                Some(Inbound::End) => self.ended = true,
                None => return Poll::Ready(Err(reset())),
            }
        }
        let count = self.current.len().min(buf.remaining());
        buf.put_slice(&self.current[..count]);
        self.current.advance(count);
        let received = &self.owner.0.traffic.received_bytes;
        received.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// Dropping it before its end closes the channel, which resets the direction.
pub(in crate::tunnel) struct ControlWriter {
    outgoing: PollSender<LinkMessage>,
    finished: bool,
    owner: Arc<Owner>,
}

impl ControlWriter {
    pub(in crate::tunnel) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(LINK_DATA_BYTES_MAX);
        ready!(self.poll_send(cx, || LinkMessage::Data(buf[..count].to_vec())))?;
        let sent = &self.owner.0.traffic.sent_bytes;
        sent.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    pub(in crate::tunnel) fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.finished {
            ready!(self.poll_send(cx, || LinkMessage::End))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: impl FnOnce() -> LinkMessage,
    ) -> Poll<io::Result<()>> {
        if self.owner.0.ended.is_cancelled() {
            return Poll::Ready(Err(reset()));
        }
        ready!(Pin::new(&mut self.outgoing).poll_reserve(cx)).map_err(|_| reset())?;
        self.outgoing.send_item(message()).map_err(|_| reset())?;
        Poll::Ready(Ok(()))
    }

    pub(in crate::tunnel) async fn drained(&mut self) {
        let session = &self.owner.0;
        tokio::select! {
            () = session.control_taken.cancelled() => {}
            () = session.ended.cancelled() => {}
        }
    }
}

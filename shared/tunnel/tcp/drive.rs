//! The task behind a session: it carries the control connection both ways until the end, and keeps
//! up what this side has to keep up meanwhile.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::control::{ControlEnds, Inbound};
use super::session::Session;
use super::{Connection, broken, broken_wire, limits};
use crate::tunnel::{CloseCode, TunnelError};
use crate::wire::{FrameReader, LinkMessage, WireError, write_message};

/// The control connection's two directions.
pub(super) struct Wire {
    pub(super) reader: FrameReader<ReadHalf<Connection>>,
    pub(super) writer: WriteHalf<Connection>,
}

impl Wire {
    pub(super) fn new(tls: Connection) -> Self {
        let (reader, writer) = tokio::io::split(tls);
        Self {
            reader: FrameReader::new(reader),
            writer,
        }
    }
}

/// What a side does beside: the agent lends connections, the relay lets old ones go.
pub(super) type Upkeep<'a> = Pin<Box<dyn Future<Output = Infallible> + Send + 'a>>;

/// Whether this side gives the signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pings {
    Sent,
    Answered,
}

/// Returns when the session has ended and the peer was told, or could not be told in time.
pub(super) async fn drive(
    session: &Session,
    wire: Wire,
    control: ControlEnds,
    pings: Pings,
    upkeep: Upkeep<'_>,
) {
    let (answers, answered) = mpsc::channel(limits::CONTROL_QUEUE_MAX);
    let ping = Ping::default();
    let mut reading = pin!(read(session, wire.reader, control.incoming, answers, &ping));
    let outgoing = Outgoing {
        answers: answered,
        control: control.outgoing,
        ping: (pings == Pings::Sent).then_some(&ping),
    };
    let mut writing = pin!(outgoing.write(session, wire.writer));
    let overdue = async {
        session.ended.cancelled().await;
        tokio::time::sleep(limits::CLOSE).await;
    };
    let reason = tokio::select! {
        reason = &mut reading => reason,
        // Closed here, or the peer takes nothing more: what it said last is still read.
        written = &mut writing => {
            let unheard = written.map_or_else(|error| broken_wire(&error), |()| TunnelError::ClosedHere);
            timeout(limits::CLOSE, reading).await.unwrap_or(unheard)
        }
        () = overdue => TunnelError::ClosedHere,
        never = upkeep => match never {},
    };
    if reason == TunnelError::ClosedHere && session.reason().is_none() {
        session.end(reason, Some(CloseCode::PROTOCOL));
        let _ = timeout(limits::CLOSE, writing).await;
    } else {
        session.end(reason, None);
    }
    session.spare.clear();
}

/// The last sign of life that was sent.
#[derive(Default)]
struct Ping(Mutex<Option<(u64, Instant)>>);

impl Ping {
    fn last(&self) -> MutexGuard<'_, Option<(u64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Outgoing<'a> {
    answers: mpsc::Receiver<LinkMessage>,
    control: mpsc::Receiver<LinkMessage>,
    ping: Option<&'a Ping>,
}

impl Outgoing<'_> {
    /// Writes until the session's end, and says why it ended.
    async fn write(
        mut self,
        session: &Session,
        mut writer: WriteHalf<Connection>,
    ) -> Result<(), WireError> {
        let mut ticks = interval(limits::KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut control_open = true;
        while let Some(message) = self.next(session, &mut ticks, &mut control_open).await {
            write_message(&mut writer, &message).await?;
        }
        if let Some(code) = session.close_code() {
            write_message(&mut writer, &LinkMessage::Close { code: code.0 }).await?;
        }
        Ok(writer.shutdown().await?)
    }

    /// `None` at the session's end.
    async fn next(
        &mut self,
        session: &Session,
        ticks: &mut Interval,
        control_open: &mut bool,
    ) -> Option<LinkMessage> {
        tokio::select! {
            biased;
            () = session.ended.cancelled() => None,
            // The other sender lives in the reading half of the task.
            Some(answer) = self.answers.recv() => Some(answer),
            _ = ticks.tick(), if self.ping.is_some() => {
                let mut last = self.ping?.last();
                let nonce = last.map_or(1, |(nonce, _)| nonce + 1);
                *last = Some((nonce, Instant::now()));
                let rtt_us = session.traffic.rtt_us.load(Ordering::Relaxed);
                Some(LinkMessage::Ping { nonce, rtt_us })
            }
            message = self.control.recv(), if *control_open => {
                *control_open = matches!(message, Some(LinkMessage::Data(_)));
                Some(message.unwrap_or(LinkMessage::Reset))
            }
        }
    }
}

/// Reads until the end; why it came.
async fn read(
    session: &Session,
    mut reader: FrameReader<ReadHalf<Connection>>,
    incoming: mpsc::Sender<Inbound>,
    answers: mpsc::Sender<LinkMessage>,
    ping: &Ping,
) -> TunnelError {
    let mut incoming = Some(incoming);
    loop {
        let message = match timeout(limits::IDLE, reader.next::<LinkMessage>()).await {
            Err(_) => return TunnelError::TimedOut,
            Ok(Err(WireError::Io(error))) => return broken(&error),
            Ok(Err(error @ WireError::Closed { .. })) => return broken_wire(&error),
            // Not our protocol; the peer is told.
            Ok(Err(_)) => return TunnelError::ClosedHere,
            Ok(Ok(message)) => message,
        };
        let answer = match message {
            LinkMessage::Data(bytes) => {
                pass(&mut incoming, Inbound::Data(Bytes::from(bytes))).await;
                None
            }
            LinkMessage::End => {
                pass(&mut incoming, Inbound::End).await;
                incoming = None;
                Some(LinkMessage::Taken)
            }
            LinkMessage::Reset => {
                incoming = None;
                None
            }
            LinkMessage::Taken => {
                session.control_taken.cancel();
                None
            }
            LinkMessage::Ping { nonce, rtt_us } => {
                session.traffic.rtt_us.store(rtt_us, Ordering::Relaxed);
                Some(LinkMessage::Pong { nonce })
            }
            LinkMessage::Pong { nonce } => {
                note_pong(session, ping, nonce);
                None
            }
            LinkMessage::Close { code } => return TunnelError::ClosedByPeer(CloseCode(code)),
            LinkMessage::Welcome(_) => return TunnelError::ClosedHere,
        };
        // A peer that asks faster than it takes answers floods us.
        if answer.is_some_and(|answer| answers.try_send(answer).is_err()) {
            return TunnelError::ClosedHere;
        }
    }
}

/// A user that gave up reading changes nothing for the others.
async fn pass(incoming: &mut Option<mpsc::Sender<Inbound>>, piece: Inbound) {
    if let Some(user) = incoming
        && user.send(piece).await.is_err()
    {
        *incoming = None;
    }
}

fn note_pong(session: &Session, ping: &Ping, answered: u64) {
    if let Some((nonce, sent)) = *ping.last()
        && nonce == answered
    {
        let rtt_us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        session.traffic.rtt_us.store(rtt_us, Ordering::Relaxed);
    }
}

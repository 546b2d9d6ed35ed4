//! What all connections of one tunnel share, and the handle that the tunnel's users hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::control::{self, ControlEnds};
use super::pipe;
use super::spare::Spare;
use crate::tunnel::{CloseCode, TunnelError, TunnelStats, TunnelStream, limits};

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The agent: it opens the control stream and takes the others.
    Dialler,
    /// The relay.
    Listener,
}

pub(super) struct Session {
    side: Side,
    remote: SocketAddr,
    /// Cancelled at the end; the reason is there before.
    pub(super) ended: CancellationToken,
    end: Mutex<Option<End>>,
    /// Until it is handed out.
    control: Mutex<Option<control::Halves>>,
    /// The peer has taken the whole control stream.
    pub(super) control_taken: CancellationToken,
    /// Connections for streams: at the relay those that wait for use, at the agent those that the
    /// relay began to use.
    pub(super) spare: Spare,
    /// How many streams there may be beside the control stream.
    pub(super) places: Arc<Semaphore>,
    pub(super) traffic: Traffic,
}

struct End {
    reason: TunnelError,
    /// What the peer is told.
    code: Option<CloseCode>,
}

#[derive(Default)]
pub(super) struct Traffic {
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) rtt_us: AtomicU64,
}

impl Session {
    /// A session, and the ends of its control stream for the task that drives it.
    pub(super) fn new(side: Side, remote: SocketAddr) -> (Arc<Session>, ControlEnds) {
        let (halves, ends) = control::channel();
        let session = Session {
            side,
            remote,
            ended: CancellationToken::new(),
            end: Mutex::default(),
            control: Mutex::new(Some(halves)),
            control_taken: CancellationToken::new(),
            spare: Spare::default(),
            places: Arc::new(Semaphore::new(limits::STREAMS_FROM_RELAY as usize)),
            traffic: Traffic::default(),
        };
        (Arc::new(session), ends)
    }

    /// Ends it. The first call wins.
    pub(super) fn end(&self, reason: TunnelError, code: Option<CloseCode>) {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(End { reason, code });
        self.ended.cancel();
    }

    pub(super) fn reason(&self) -> Option<TunnelError> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.as_ref().map(|end| end.reason.clone())
    }

    /// What the peer has to be told, if this side ended it.
    pub(super) fn close_code(&self) -> Option<CloseCode> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.as_ref().and_then(|end| end.code)
    }

    async fn closed(&self) -> TunnelError {
        self.ended.cancelled().await;
        self.reason().unwrap_or(TunnelError::ClosedHere)
    }
}

/// The tunnel's handle. The session ends when the last one, and the last stream, is dropped.
#[derive(Clone)]
pub(in crate::tunnel) struct Link(Arc<Owner>);

/// Held by handles and streams.
pub(super) struct Owner(pub(super) Arc<Session>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end(TunnelError::ClosedHere, Some(CloseCode::DONE));
    }
}

impl Link {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self(Arc::new(Owner(session)))
    }

    fn session(&self) -> &Session {
        &self.0.0
    }

    pub(in crate::tunnel) async fn open(&self) -> Result<TunnelStream, TunnelError> {
        match self.session().side {
            Side::Dialler => self.control().await,
            Side::Listener => self.connection().await,
        }
    }

    pub(in crate::tunnel) async fn accept(&self) -> Result<TunnelStream, TunnelError> {
        match self.session().side {
            Side::Dialler => self.connection().await,
            Side::Listener => self.control().await,
        }
    }

    /// The control stream, once; there is no second one to wait for.
    async fn control(&self) -> Result<TunnelStream, TunnelError> {
        let session = self.session();
        if let Some(reason) = session.reason() {
            return Err(reason);
        }
        let halves = session
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match halves {
            Some(halves) => {
                let (reader, writer) = halves.owned_by(&self.0);
                Ok(TunnelStream::of_control(reader, writer))
            }
            None => Err(session.closed().await),
        }
    }

    async fn connection(&self) -> Result<TunnelStream, TunnelError> {
        let session = self.session();
        let place = async {
            match session.side {
                // It came with its place.
                Side::Dialler => None,
                Side::Listener => Arc::clone(&session.places).acquire_owned().await.ok(),
            }
        };
        let taken = async {
            let place = place.await;
            let mut connection = session.spare.take().await;
            connection.place = connection.place.or(place);
            connection
        };
        tokio::select! {
            biased;
            reason = session.closed() => Err(reason),
            connection = taken => {
                let (reader, writer) = pipe::halves(connection, &self.0);
                Ok(TunnelStream::of_connection(reader, writer))
            }
        }
    }

    pub(in crate::tunnel) fn close(&self, code: CloseCode) {
        self.session().end(TunnelError::ClosedHere, Some(code));
    }

    pub(in crate::tunnel) async fn closed(&self) -> TunnelError {
        self.session().closed().await
    }

    pub(in crate::tunnel) fn close_reason(&self) -> Option<TunnelError> {
        self.session().reason()
    }

    pub(in crate::tunnel) fn remote(&self) -> SocketAddr {
        self.session().remote
    }

    pub(in crate::tunnel) fn stats(&self) -> TunnelStats {
        let traffic = &self.session().traffic;
        TunnelStats {
            rtt: Duration::from_micros(traffic.rtt_us.load(Ordering::Relaxed)),
            sent_bytes: traffic.sent_bytes.load(Ordering::Relaxed),
            received_bytes: traffic.received_bytes.load(Ordering::Relaxed),
            path: None,
        }
    }
}

//! The relay's end: takes connections, and tells new sessions from streams of those that are here.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::drive::{Pings, Wire, drive};
use super::session::{Link, Session, Side};
use super::spare::SpareConnection;
use super::{Connection, broken, broken_wire, limits, prepare};
use crate::tunnel::{self, Arriving, CloseCode, Protocol, Tunnel, TunnelError};
use crate::wire::{
    LinkJoined, LinkMessage, LinkOpening, LinkSecret, LinkTicket, read_message, write_message,
};

/// Out of file descriptors, for example: it passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The relay's socket. Accepting only hands out arrivals: handshakes belong into own tasks.
pub struct TcpTunnelListener {
    socket: TcpListener,
    tls: RwLock<TlsAcceptor>,
    sessions: Arc<Sessions>,
}

impl TcpTunnelListener {
    /// Binds; must be called inside a tokio runtime.
    pub fn bind(address: SocketAddr, tls: rustls::ServerConfig) -> Result<Self, TunnelError> {
        let failed = |error: io::Error| TunnelError::Socket(format!("TCP {address}: {error}"));
        Ok(Self {
            socket: listen(address).map_err(failed)?,
            tls: RwLock::new(TlsAcceptor::from(Arc::new(tls))),
            sessions: Arc::default(),
        })
    }

    /// The next arrival. Cancel safe.
    pub async fn accept(&self) -> Arriving {
        loop {
            match self.socket.accept().await {
                Ok((socket, remote)) => {
                    let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner);
                    return Arriving::of_tcp(TcpArriving {
                        socket,
                        remote,
                        tls: tls.clone(),
                        sessions: Arc::clone(&self.sessions),
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "A TCP connection could not be accepted.");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    /// Uses another certificate for handshakes from now on.
    pub fn set_tls(&self, tls: rustls::ServerConfig) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) =
            TlsAcceptor::from(Arc::new(tls));
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn local(&self) -> Result<SocketAddr, TunnelError> {
        self.socket
            .local_addr()
            .map_err(|error| TunnelError::Socket(error.to_string()))
    }

    /// Closes every session.
    pub fn close(&self, code: CloseCode) {
        for known in self.sessions.lock().values() {
            known.session.end(TunnelError::ClosedHere, Some(code));
        }
    }

    /// Waits until every peer was told about a `close`, or can't be reached.
    pub async fn wait_idle(&self) {
        self.sessions.tasks.close();
        self.sessions.tasks.wait().await;
    }
}

impl fmt::Debug for TcpTunnelListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpTunnelListener({:?})", self.socket)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of a relay that stopped don't keep its successor from listening.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // One socket for both families where the system allows it.
        let _ = socket.set_only_v6(false);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The sessions that are here, and their tasks.
#[derive(Default)]
struct Sessions {
    known: Mutex<HashMap<u64, Known>>,
    last: AtomicU64,
    tasks: TaskTracker,
}

/// What a connection must show to join a session.
struct Known {
    secret: LinkSecret,
    leaf: Option<CertificateDer<'static>>,
    session: Arc<Session>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        // The map is never left half changed, so a panic elsewhere does not spoil it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that this ticket is for, if the peer showed the session's own certificate.
    /// Nobody without a certificate has one to lend connections to.
    fn find(
        &self,
        ticket: &LinkTicket,
        leaf: Option<&CertificateDer<'static>>,
    ) -> Option<Arc<Session>> {
        let known = self.lock();
        let known = known.get(&ticket.session)?;
        let is_its_own = leaf.is_some() && known.leaf.as_ref() == leaf;
        (known.secret == ticket.secret && is_its_own).then(|| Arc::clone(&known.session))
    }
}

/// A connection whose handshake has not begun. Dropping it cuts it off.
pub(in crate::tunnel) struct TcpArriving {
    socket: TcpStream,
    remote: SocketAddr,
    tls: TlsAcceptor,
    sessions: Arc<Sessions>,
}

impl TcpArriving {
    pub(in crate::tunnel) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// TLS, and the first frame. Sets no deadline: the caller does.
    pub(in crate::tunnel) async fn handshake(self) -> Result<Option<Tunnel>, TunnelError> {
        prepare(&self.socket).map_err(|error| TunnelError::Socket(error.to_string()))?;
        let tls = self.tls.accept(self.socket).await;
        let mut tls = Connection::from(tls.map_err(|error| broken(&error))?);
        let (_, state) = tls.get_ref();
        let protocol = Protocol::of_alpn(state.alpn_protocol())?;
        let leaf = tunnel::leaf_of(state.peer_certificates());
        let opening = read_message(&mut tls).await;
        match opening.map_err(|error| broken_wire(&error))? {
            LinkOpening::Control => {
                let tunnel = begin(self.sessions, self.remote, tls, protocol, leaf).await?;
                Ok(Some(tunnel))
            }
            LinkOpening::Stream(ticket) => {
                join(&self.sessions, &ticket, tls, leaf.as_ref()).await?;
                Ok(None)
            }
        }
    }
}

impl fmt::Debug for TcpArriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpArriving({})", self.remote)
    }
}

/// Enters a new session and starts its task.
async fn begin(
    sessions: Arc<Sessions>,
    remote: SocketAddr,
    tls: Connection,
    protocol: Protocol,
    leaf: Option<CertificateDer<'static>>,
) -> Result<Tunnel, TunnelError> {
    let (session, control) = Session::new(Side::Listener, remote);
    let secret = LinkSecret::new(rand::random());
    let number = sessions.last.fetch_add(1, Ordering::Relaxed) + 1;
    let ticket = LinkTicket {
        session: number,
        secret: secret.clone(),
    };
    let known = Known {
        secret,
        leaf: leaf.clone(),
        session: Arc::clone(&session),
    };
    let mut wire = Wire::new(tls);
    // Entered before the peer knows: it may use its ticket at once.
    sessions.lock().insert(number, known);
    let place = Place {
        sessions: Arc::clone(&sessions),
        number,
    };
    write_message(&mut wire.writer, &LinkMessage::Welcome(ticket))
        .await
        .map_err(|error| broken_wire(&error))?;
    let link = Link::new(Arc::clone(&session));
    sessions.tasks.spawn(async move {
        let _place = place;
        let upkeep = Box::pin(session.spare.expire());
        drive(&session, wire, control, Pings::Answered, upkeep).await;
    });
    Ok(Tunnel {
        link: tunnel::Link::Tcp(link),
        protocol,
        peer_leaf: leaf,
    })
}

/// Adds a connection to the session whose ticket it shows.
async fn join(
    sessions: &Sessions,
    ticket: &LinkTicket,
    mut tls: Connection,
    leaf: Option<&CertificateDer<'static>>,
) -> Result<(), TunnelError> {
    let refused = |why: &str| TunnelError::Transport(why.to_owned());
    let session = sessions
        .find(ticket, leaf)
        .ok_or_else(|| refused("a connection for a session that is not here, or not its own"))?;
    if session.spare.is_full() {
        return Err(refused("a connection more than a session may lend"));
    }
    write_message(&mut tls, &LinkJoined)
        .await
        .map_err(|error| broken_wire(&error))?;
    let connection = SpareConnection::new(tls, Vec::new());
    if !session.spare.add(connection, limits::SPARE_MAX) {
        return Err(refused("a connection more than a session may lend"));
    }
    Ok(())
}

/// Keeps a session known; dropping it, in whatever way its task ends, takes it out.
struct Place {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.number);
    }
}

//! The agent's end: dials a relay and all the connections of a session with it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::drive::{Pings, Upkeep, Wire, drive};
use super::lend::lend;
use super::session::{Link, Session, Side};
use super::{Connection, broken, broken_wire, limits, prepare};
use crate::tunnel::{self, Protocol, Tunnel, TunnelError};
use crate::wire::{LinkMessage, LinkOpening, LinkTicket, write_message};

/// Makes TCP connections to a relay, directly or through a proxy.
pub trait Connect: Send + Sync + fmt::Debug {
    /// One connection; the error says why there is none. Sets no deadline.
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>>;
}

/// Directly.
impl Connect for SocketAddr {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(TcpStream::connect(*self))
    }
}

/// For any number of dials of one relay.
#[derive(Debug)]
pub struct TcpTunnelDialer {
    connect: Arc<dyn Connect>,
    tasks: TaskTracker,
}

impl TcpTunnelDialer {
    pub fn new(connect: Arc<dyn Connect>) -> Self {
        Self {
            connect,
            tasks: TaskTracker::new(),
        }
    }

    /// Dials and runs the handshake. `name` is what the relay's certificate must carry: a DNS
    /// name or an IP address. In contrast to QUIC the relay has accepted our certificate when
    /// this returns. Dropping it gives up.
    pub async fn dial(&self, name: &str, tls: rustls::ClientConfig) -> Result<Tunnel, TunnelError> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| TunnelError::Address(format!("{name}: {error}")))?;
        let dialling = Dialling {
            connect: Arc::clone(&self.connect),
            server,
            tls: TlsConnector::from(Arc::new(tls)),
        };
        timeout(limits::HANDSHAKE, self.establish(dialling))
            .await
            .map_err(|_| TunnelError::TimedOut)?
    }

    async fn establish(&self, dialling: Dialling) -> Result<Tunnel, TunnelError> {
        let tls = dialling.handshake().await?;
        let (socket, state) = tls.get_ref();
        let remote = socket.peer_addr().map_err(|error| broken(&error))?;
        let protocol = Protocol::of_alpn(state.alpn_protocol())?;
        let peer_leaf = tunnel::leaf_of(state.peer_certificates());
        let mut wire = Wire::new(tls);
        let ticket = welcome(&mut wire).await?;
        let (session, control) = Session::new(Side::Dialler, remote);
        let link = Link::new(Arc::clone(&session));
        self.tasks.spawn(async move {
            let upkeep: Upkeep = match protocol {
                Protocol::Agent => Box::pin(lend(&session, Arc::new(dialling), ticket)),
                Protocol::Pairing => Box::pin(std::future::pending()),
            };
            drive(&session, wire, control, Pings::Sent, upkeep).await;
        });
        Ok(Tunnel {
            link: tunnel::Link::Tcp(link),
            protocol,
            peer_leaf,
        })
    }

    /// Waits until every peer was told about closed connections.
    pub async fn wait_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn welcome(wire: &mut Wire) -> Result<LinkTicket, TunnelError> {
    let greeting = async {
        write_message(&mut wire.writer, &LinkOpening::Control).await?;
        wire.reader.next().await
    };
    match greeting.await {
        Ok(LinkMessage::Welcome(ticket)) => Ok(ticket),
        Ok(_) => Err(TunnelError::NoCommonProtocol),
        Err(error) => Err(broken_wire(&error)),
    }
}

/// How one connection of a session is made.
pub(super) struct Dialling {
    connect: Arc<dyn Connect>,
    server: ServerName<'static>,
    tls: TlsConnector,
}

impl Dialling {
    pub(super) async fn handshake(&self) -> Result<Connection, TunnelError> {
        let socket = self.connect.connect().await;
        let socket = socket.map_err(|error| TunnelError::Unreachable(error.to_string()))?;
        prepare(&socket).map_err(|error| TunnelError::Socket(error.to_string()))?;
        match self.tls.connect(self.server.clone(), socket).await {
            Ok(tls) => Ok(tls.into()),
            Err(error) => Err(broken(&error)),
        }
    }
}

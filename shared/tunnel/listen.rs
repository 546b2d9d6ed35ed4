//! Both transports at one port: UDP for QUIC, TCP beside it.

use std::net::SocketAddr;

use super::quic::QuicArriving;
use super::tcp::TcpArriving;
use super::{
    CloseCode, QuicListener, QuicSettings, StableKeys, TcpTunnelListener, Tunnel, TunnelError,
};

/// Ports that the system chooses for UDP may be taken for TCP; so many are tried.
const ANY_PORT_ATTEMPTS: u32 = 16;

/// The relay's two sockets.
#[derive(Debug)]
pub struct TunnelListener {
    quic: QuicListener,
    tcp: TcpTunnelListener,
}

impl TunnelListener {
    /// Binds both; must be called inside a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        tls: &rustls::ServerConfig,
        keys: &StableKeys,
        settings: QuicSettings,
    ) -> Result<Self, TunnelError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let quic = QuicListener::bind(address, tls.clone(), keys, settings)?;
            let chosen = SocketAddr::new(address.ip(), quic.local()?.port());
            match TcpTunnelListener::bind(chosen, tls.clone()) {
                Ok(tcp) => return Ok(Self { quic, tcp }),
                Err(_) if address.port() == 0 && attempts < ANY_PORT_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next arrival; `None` after `close`. Cancel safe.
    pub async fn accept(&self) -> Option<Arriving> {
        tokio::select! {
            arriving = self.quic.accept() => arriving,
            arriving = self.tcp.accept() => Some(arriving),
        }
    }

    /// Uses another certificate for handshakes from now on.
    pub fn set_tls(&self, tls: &rustls::ServerConfig) -> Result<(), TunnelError> {
        self.tcp.set_tls(tls.clone());
        self.quic.set_tls(tls.clone())
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn local(&self) -> Result<SocketAddr, TunnelError> {
        self.quic.local()
    }

    /// Closes every connection. Nothing more may be accepted.
    pub fn close(&self, code: CloseCode) {
        self.quic.close(code);
        self.tcp.close(code);
    }

    /// Waits until every peer was told about a `close`, or can't be reached.
    pub async fn wait_idle(&self) {
        tokio::join!(self.quic.wait_idle(), self.tcp.wait_idle());
    }
}

/// A handshake that has not begun. Dropping it refuses it.
#[derive(Debug)]
pub struct Arriving(Way);

#[derive(Debug)]
enum Way {
    Quic(Box<QuicArriving>),
    Tcp(TcpArriving),
}

impl Arriving {
    pub(super) fn of_quic(arriving: QuicArriving) -> Self {
        Self(Way::Quic(Box::new(arriving)))
    }

    pub(super) fn of_tcp(arriving: TcpArriving) -> Self {
        Self(Way::Tcp(arriving))
    }

    pub fn remote(&self) -> SocketAddr {
        match &self.0 {
            Way::Quic(arriving) => arriving.remote(),
            Way::Tcp(arriving) => arriving.remote(),
        }
    }

    /// Whether the sender proved that it receives at its address. TCP has it prove that first.
    pub fn validated(&self) -> bool {
        match &self.0 {
            Way::Quic(arriving) => arriving.validated(),
            Way::Tcp(_) => true,
        }
    }

    /// Asks the sender to prove its address, without keeping any state for it (RFC 9000 section
    /// 8.1.2). A sender that did so already is refused: ask `validated` first.
    pub fn retry(self) {
        if let Way::Quic(arriving) = self.0 {
            arriving.retry();
        }
    }

    /// Answers that no connection is taken now.
    pub fn refuse(self) {
        if let Way::Quic(arriving) = self.0 {
            arriving.refuse();
        }
    }

    /// Runs the handshake. `None` when it was one of a session that is here already: over TCP each
    /// stream comes in a connection of its own. Sets no deadline: the caller does.
    pub async fn handshake(self) -> Result<Option<Tunnel>, TunnelError> {
        match self.0 {
            Way::Quic(arriving) => arriving.handshake().await.map(Some),
            Way::Tcp(arriving) => arriving.handshake().await,
        }
    }
}

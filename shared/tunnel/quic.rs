//! QUIC (RFC 9000): the relay listens, the agent dials. The only place where endpoints are made.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::error::from_alert;
use super::runtime::TunnelRuntime;
use super::settings::{self, QuicSettings, StableKeys};
use super::{Arriving, CloseCode, Link, PathStats, Protocol, Tunnel, TunnelError, TunnelStats};
use crate::tunnel;

/// The relay's socket. Accepting only hands out arrivals: handshakes belong into own tasks.
#[derive(Debug)]
pub struct QuicListener {
    endpoint: Endpoint,
    settings: QuicSettings,
}

impl QuicListener {
    /// Binds; must be called inside a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        keys: &StableKeys,
        settings: QuicSettings,
    ) -> Result<Self, TunnelError> {
        let endpoint = Endpoint::new(
            settings::relay_endpoint(keys),
            Some(server_config(tls, settings)?),
            settings::bind_udp(address)?,
            Arc::new(TunnelRuntime),
        )
        .map_err(|error| TunnelError::Socket(error.to_string()))?;
        Ok(Self { endpoint, settings })
    }

    /// The next arrival; `None` after `close`. Cancel safe.
    pub async fn accept(&self) -> Option<Arriving> {
        self.endpoint
            .accept()
            .await
            .map(QuicArriving)
            .map(Arriving::of_quic)
    }

    /// Uses another certificate for handshakes from now on.
    pub fn set_tls(&self, tls: rustls::ServerConfig) -> Result<(), TunnelError> {
        self.endpoint
            .set_server_config(Some(server_config(tls, self.settings)?));
        Ok(())
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn local(&self) -> Result<SocketAddr, TunnelError> {
        self.endpoint
            .local_addr()
            .map_err(|error| TunnelError::Socket(error.to_string()))
    }

    /// Connections that exist now, handshakes included.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Closes every connection and takes no new ones.
    pub fn close(&self, code: CloseCode) {
        self.endpoint
            .close(quinn::VarInt::from_u32(code.0), code.text().as_bytes());
    }

    /// Waits until every peer was told about a `close`, or can't be reached.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

fn server_config(
    tls: rustls::ServerConfig,
    settings: QuicSettings,
) -> Result<ServerConfig, TunnelError> {
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|error| TunnelError::Transport(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(settings::relay_transport(settings));
    settings::bound_incoming(&mut config);
    Ok(config)
}

/// A handshake that has not begun. Dropping it refuses it.
#[derive(Debug)]
pub(super) struct QuicArriving(quinn::Incoming);

impl QuicArriving {
    pub(super) fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether the sender proved that it receives at its address.
    pub(super) fn validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Asks the sender to prove its address, without keeping any state for it (RFC 9000 section
    /// 8.1.2). A sender that did so already is refused: ask `validated` first.
    pub(super) fn retry(self) {
        // The error hands the arrival back, and dropping it refuses it.
        let _ = self.0.retry();
    }

    /// Answers that no connection is taken now.
    pub(super) fn refuse(self) {
        self.0.refuse();
    }

    /// Runs the handshake. Sets no deadline: the caller does.
    pub(super) async fn handshake(self) -> Result<Tunnel, TunnelError> {
        let connection = self.0.accept()?.await?;
        established(connection)
    }
}

/// Where the agent's sockets come from. An endpoint has receive buffers of some 2 MB, and allocators
/// keep what they get back of that size: an agent that made one for each dial would have several times
/// the memory after some reconnects. So an endpoint that nothing uses any more is used again, with a new
/// socket.
#[derive(Clone, Debug, Default)]
pub struct QuicSockets {
    /// Of dialers that were dropped. Some may have connections that still say goodbye.
    left: Arc<Mutex<Vec<Endpoint>>>,
}

impl QuicSockets {
    /// Binds a socket of the same family as the relay's address; must be called inside the tokio
    /// runtime in which it was called before.
    pub fn bind(
        &self,
        local: SocketAddr,
        settings: QuicSettings,
    ) -> Result<QuicDialer, TunnelError> {
        let socket = settings::bind_udp(local)?;
        let failed = |error: io::Error| TunnelError::Socket(error.to_string());
        let endpoint = match self.idle() {
            Some(endpoint) => {
                endpoint.rebind(socket).map_err(failed)?;
                endpoint
            }
            None => {
                let config = settings::agent_endpoint();
                Endpoint::new(config, None, socket, Arc::new(TunnelRuntime)).map_err(failed)?
            }
        };
        Ok(QuicDialer {
            endpoint,
            settings,
            sockets: self.clone(),
        })
    }

    fn idle(&self) -> Option<Endpoint> {
        let mut left = self.lock();
        let idle = left.iter().position(|of| of.open_connections() == 0)?;
        Some(left.swap_remove(idle))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Endpoint>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the agent's sockets, for any number of dials.
#[derive(Debug)]
pub struct QuicDialer {
    endpoint: Endpoint,
    settings: QuicSettings,
    sockets: QuicSockets,
}

impl Drop for QuicDialer {
    fn drop(&mut self) {
        let mut left = self.sockets.lock();
        if left.len() < limits::LEFT_MAX {
            left.push(self.endpoint.clone());
        }
    }
}

impl QuicDialer {
    /// Dials and runs the handshake. `name` is what the relay's certificate must carry: a DNS
    /// name or an IP address. Sets no deadline beyond the idle timeout. Dropping it gives up.
    pub async fn dial(
        &self,
        address: SocketAddr,
        name: &str,
        tls: rustls::ClientConfig,
    ) -> Result<Tunnel, TunnelError> {
        let crypto = QuicClientConfig::try_from(tls)
            .map_err(|error| TunnelError::Transport(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(settings::agent_transport(self.settings));
        let connecting = self
            .endpoint
            .connect_with(config, address, name)
            .map_err(|error| TunnelError::Address(format!("{name} ({address}): {error}")))?;
        established(connecting.await?)
    }

    /// Where it sends from.
    pub fn local(&self) -> Result<SocketAddr, TunnelError> {
        self.endpoint
            .local_addr()
            .map_err(|error| TunnelError::Socket(error.to_string()))
    }

    /// Waits until every peer was told about closed connections.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

fn established(connection: quinn::Connection) -> Result<Tunnel, TunnelError> {
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    let protocol = Protocol::of_alpn(alpn.as_deref())?;
    let chain = connection
        .peer_identity()
        .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let peer_leaf = tunnel::leaf_of(chain.as_deref().map(Vec::as_slice));
    Ok(Tunnel {
        link: Link::Quic(connection),
        protocol,
        peer_leaf,
    })
}

pub(super) fn stats(connection: &quinn::Connection) -> TunnelStats {
    let stats = connection.stats();
    TunnelStats {
        rtt: stats.path.rtt,
        sent_bytes: stats.udp_tx.bytes,
        received_bytes: stats.udp_rx.bytes,
        path: Some(PathStats {
            lost_packets: stats.path.lost_packets,
            sent_packets: stats.path.sent_packets,
            congestion_window_bytes: stats.path.cwnd,
            mtu_bytes: stats.path.current_mtu,
        }),
    }
}

impl From<quinn::ConnectionError> for TunnelError {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        match error {
            E::ApplicationClosed(close) => TunnelError::ClosedByPeer(CloseCode(
                u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX),
            )),
            E::LocallyClosed => TunnelError::ClosedHere,
            E::TimedOut => TunnelError::TimedOut,
            E::Reset => TunnelError::PeerRestarted,
            E::ConnectionClosed(close) => from_code(close.error_code, true),
            E::TransportError(error) => from_code(error.code, false),
            E::VersionMismatch => TunnelError::NoCommonProtocol,
            E::CidsExhausted => TunnelError::Transport("no connection ids left".into()),
        }
    }
}

/// Sorts a transport error code; those of TLS alerts are `0x100 + alert` (RFC 9001 section 4.8).
fn from_code(code: quinn::TransportErrorCode, by_peer: bool) -> TunnelError {
    if code == quinn::TransportErrorCode::CONNECTION_REFUSED {
        return TunnelError::RefusedNow;
    }
    u64::from(code)
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok())
        .and_then(|alert| from_alert(alert, by_peer))
        .unwrap_or_else(|| TunnelError::Transport(code.to_string()))
}

mod limits {
    /// Endpoints kept for later.
    pub(super) const LEFT_MAX: usize = 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_nothing_uses_is_used_again_from_another_port() {
        let sockets = QuicSockets::default();
        let bind = || {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            sockets.bind(any, QuicSettings::default()).unwrap()
        };
        let (first, second) = (bind(), bind());
        let port = first.local().unwrap();
        drop(first);
        assert_eq!(sockets.lock().len(), 1);
        let third = bind();
        assert_eq!(sockets.lock().len(), 0);
        assert_ne!(third.local().unwrap(), port);
        assert_ne!(third.local().unwrap(), second.local().unwrap());
        let more: Vec<QuicDialer> = (0..limits::LEFT_MAX).map(|_| bind()).collect();
        drop((second, third, more));
        assert_eq!(sockets.lock().len(), limits::LEFT_MAX);
    }
}

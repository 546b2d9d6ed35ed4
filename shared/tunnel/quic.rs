//! QUIC (RFC 9000): the relay listens, the agent dials. The only place where endpoints are made.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rustls_pki_types::CertificateDer;

use super::settings::{self, QuicSettings, StableKeys};
use super::{CloseCode, Protocol, Tunnel, TunnelError};
use crate::identity::tls::{ALPN_AGENT, ALPN_PAIRING};

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
            Arc::new(TokioRuntime),
        )
        .map_err(|error| TunnelError::Socket(error.to_string()))?;
        Ok(Self { endpoint, settings })
    }

    /// The next arrival; `None` after `close`. Cancel safe.
    pub async fn accept(&self) -> Option<Arriving> {
        self.endpoint.accept().await.map(Arriving)
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
pub struct Arriving(quinn::Incoming);

impl Arriving {
    pub fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether the sender proved that it receives at its address.
    pub fn validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Asks the sender to prove its address, without keeping any state for it (RFC 9000 section
    /// 8.1.2). A sender that did so already is refused: ask `validated` first.
    pub fn retry(self) {
        // The error hands the arrival back, and dropping it refuses it.
        let _ = self.0.retry();
    }

    /// Answers that no connection is taken now.
    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Answers nothing.
    pub fn ignore(self) {
        self.0.ignore();
    }

    /// Runs the handshake. Sets no deadline: the caller does.
    pub async fn handshake(self) -> Result<Tunnel, TunnelError> {
        let connection = self.0.accept()?.await?;
        established(connection)
    }
}

/// The agent's socket, for any number of dials.
#[derive(Debug)]
pub struct QuicDialer {
    endpoint: Endpoint,
    settings: QuicSettings,
}

impl QuicDialer {
    /// Binds a socket of the same family as the relay's address; must be called inside a tokio
    /// runtime.
    pub fn bind(local: SocketAddr, settings: QuicSettings) -> Result<Self, TunnelError> {
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            None,
            settings::bind_udp(local)?,
            Arc::new(TokioRuntime),
        )
        .map_err(|error| TunnelError::Socket(error.to_string()))?;
        Ok(Self { endpoint, settings })
    }

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
    let protocol = match alpn.as_deref() {
        Some(ALPN_AGENT) => Protocol::Agent,
        Some(ALPN_PAIRING) => Protocol::Pairing,
        _ => return Err(TunnelError::NoCommonProtocol),
    };
    // The first certificate is the one that TLS verified; what follows it is the peer's claim.
    let peer_leaf = connection
        .peer_identity()
        .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| chain.into_iter().next());
    Ok(Tunnel {
        connection,
        protocol,
        peer_leaf,
    })
}

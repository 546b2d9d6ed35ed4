//! The agent's end of either transport.

use super::{QuicDialer, TcpTunnelDialer};

/// What made a tunnel; it must outlive it.
#[derive(Debug)]
pub enum TunnelDialer {
    Quic(QuicDialer),
    Tcp(TcpTunnelDialer),
}

impl TunnelDialer {
    /// Waits until every peer was told about closed connections.
    pub async fn wait_idle(&self) {
        match self {
            TunnelDialer::Quic(dialer) => dialer.wait_idle().await,
            TunnelDialer::Tcp(dialer) => dialer.wait_idle().await,
        }
    }
}

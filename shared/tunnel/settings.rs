//! Settings of the QUIC transport, each with its reason, and the UDP socket below it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::{
    EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};
use zeroize::Zeroize;

use super::TunnelError;
use super::congestion::CongestionControl;

/// Bounds of the transport.
pub mod limits {
    use std::time::Duration;

    /// What one stream may have in flight: 250 Mbit/s at 40 ms.
    pub const STREAM_WINDOW_BYTES: u32 = 1_250_000;
    /// What one connection may make its peer buffer, over all streams.
    pub const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
    /// What we buffer for sending: 200 streams. Less brings head-of-line blocking back.
    pub const SEND_WINDOW_BYTES: u64 = 200 * STREAM_WINDOW_BYTES as u64;
    /// Streams that an agent may have open towards the relay: control, and a few to spare. Each
    /// permitted one costs memory up front (31 kB per connection with 8, 117 kB with 1024).
    pub const STREAMS_FROM_AGENT: u32 = 8;
    /// Database sessions that a relay may have open through one agent.
    pub const STREAMS_FROM_RELAY: u32 = 1024;
    /// Only the agent keeps the path alive; address translators forget after 30 s or more.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
    /// Silence after which the peer is gone: three lost keep-alives.
    pub const IDLE: Duration = Duration::from_secs(15);
    /// The largest UDP payload that path MTU discovery tries, bytes: loopback and networks with jumbo frames carry
    /// it at two thirds of the cost. Ten of them are one send with segmentation offload, which takes 64 KiB.
    pub const PAYLOAD_BYTES: u16 = 6_400;
    /// Kernel buffers of the UDP socket; with the usual 208 KiB a fast sender overflows them.
    pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
    /// Handshakes that may wait to be looked at; quinn refuses what is above.
    pub const INCOMING_MAX: usize = 4096;
    /// Early bytes kept for one of them, and for all.
    pub const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;
    pub const INCOMING_BUFFER_TOTAL_BYTES: u64 = 8 * 1024 * 1024;
}

/// What an operator may have to change on a strange network.
#[derive(Debug, Clone, Copy)]
pub struct QuicSettings {
    /// Generic segmentation offload; some network cards announce it and then fail.
    pub segmentation_offload: bool,
}

impl Default for QuicSettings {
    fn default() -> Self {
        Self {
            segmentation_offload: true,
        }
    }
}

/// Keys that must survive a restart of the relay, so that agents learn within seconds that their
/// connection is gone (RFC 9000 section 10.3) instead of waiting for the idle timeout.
pub struct StableKeys {
    /// For stateless resets.
    pub reset: [u8; 64],
    /// For recognising our own connection ids.
    pub connection_id: u64,
}

impl Drop for StableKeys {
    fn drop(&mut self) {
        self.reset.zeroize();
        self.connection_id.zeroize();
    }
}

pub(super) fn agent_transport(settings: QuicSettings) -> Arc<TransportConfig> {
    let mut config = transport(settings, limits::STREAMS_FROM_RELAY);
    config.keep_alive_interval(Some(limits::KEEP_ALIVE));
    Arc::new(config)
}

pub(super) fn relay_transport(settings: QuicSettings) -> Arc<TransportConfig> {
    Arc::new(transport(settings, limits::STREAMS_FROM_AGENT))
}

fn transport(settings: QuicSettings, streams_from_peer: u32) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(limits::PAYLOAD_BYTES);
    let mut config = TransportConfig::default();
    config
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_from_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW_BYTES))
        .send_window(limits::SEND_WINDOW_BYTES)
        .max_idle_timeout(IdleTimeout::try_from(limits::IDLE).ok())
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(CongestionControl))
        .enable_segmentation_offload(settings.segmentation_offload);
    config
}

pub(super) fn bound_incoming(config: &mut ServerConfig) {
    config
        .max_incoming(limits::INCOMING_MAX)
        .incoming_buffer_size(limits::INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(limits::INCOMING_BUFFER_TOTAL_BYTES);
}

pub(super) fn agent_endpoint() -> EndpointConfig {
    with_payload(EndpointConfig::default())
}

pub(super) fn relay_endpoint(keys: &StableKeys) -> EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &keys.reset);
    let connection_id = keys.connection_id;
    let mut config = EndpointConfig::new(Arc::new(reset));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_id)))
        // The default allows 50 resets a second: after a restart 2,000 agents would need 40 s to
        // hear that they must dial again. A reset is never larger than what caused it.
        .min_reset_interval(Duration::ZERO);
    with_payload(config)
}

fn with_payload(mut config: EndpointConfig) -> EndpointConfig {
    // Fails only below 1,200 or above 65,527 bytes.
    let _ = config.max_udp_payload_size(limits::PAYLOAD_BYTES);
    config
}

/// What the kernel gives a UDP socket that asks for [`limits::SOCKET_BUFFER_BYTES`], bytes. Less is no
/// fault: fast transfers lose packets then, which are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpBuffers {
    /// Bounded by `net.core.rmem_max`.
    pub receive_bytes: usize,
    /// Bounded by `net.core.wmem_max`.
    pub send_bytes: usize,
}

impl UdpBuffers {
    /// As for every socket of this host.
    pub fn granted() -> io::Result<UdpBuffers> {
        UdpBuffers::of(&Socket::new(
            Domain::IPV4,
            Type::DGRAM,
            Some(Protocol::UDP),
        )?)
    }

    pub fn are_small(self) -> bool {
        self.receive_bytes.min(self.send_bytes) < limits::SOCKET_BUFFER_BYTES
    }

    /// Asks for them.
    fn of(socket: &Socket) -> io::Result<UdpBuffers> {
        socket.set_recv_buffer_size(limits::SOCKET_BUFFER_BYTES)?;
        socket.set_send_buffer_size(limits::SOCKET_BUFFER_BYTES)?;
        // Linux doubles what was asked for and reports the doubled value (socket(7), SO_RCVBUF).
        let factor = if cfg!(target_os = "linux") { 2 } else { 1 };
        Ok(UdpBuffers {
            receive_bytes: socket.recv_buffer_size()? / factor,
            send_bytes: socket.send_buffer_size()? / factor,
        })
    }
}

/// A UDP socket with buffers as large as the kernel gives.
pub(super) fn bind_udp(address: SocketAddr) -> Result<UdpSocket, TunnelError> {
    let failed = |error: io::Error| TunnelError::Socket(format!("{address}: {error}"));
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(failed)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // One socket for both families where the system allows it.
        let _ = socket.set_only_v6(false);
    }
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    // No warning where the kernel gives less: in a container nobody could do anything about it.
    // `tidegate-agent check` tells.
    if let Ok(buffers) = UdpBuffers::of(&socket) {
        tracing::debug!(
            ?buffers,
            wanted_bytes = limits::SOCKET_BUFFER_BYTES,
            "UDP buffers"
        );
    }
    Ok(socket.into())
}

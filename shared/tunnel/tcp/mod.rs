//! TLS 1.3 over TCP, where UDP does not pass: one control connection, and one connection per stream.
//!
//! Nothing is multiplexed: a lost packet holds back the one stream that it belongs to. The agent
//! dials all connections and keeps a few ready ahead (`lend`); the relay takes one for each stream
//! that it opens. A connection says first what it is for, and one that joins a session shows the
//! session's ticket and the session's certificate. An end without TLS's close_notify is a reset.

mod control;
mod dial;
mod drive;
mod lend;
mod listen;
mod pipe;
mod session;
mod spare;

use std::io;

use rustls::AlertDescription;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

pub(super) use control::{ControlReader, ControlWriter};
pub use dial::{Connect, TcpTunnelDialer};
pub(super) use listen::TcpArriving;
pub use listen::TcpTunnelListener;
pub(super) use pipe::{PipeReader, PipeWriter};
pub(super) use session::Link;

use super::TunnelError;
use super::error::from_alert;
use crate::wire::WireError;

/// A connection of either end.
type Connection = TlsStream<TcpStream>;

/// Bounds of this transport. Those on streams are shared with QUIC.
pub mod limits {
    use std::time::Duration;

    /// Connections that an agent keeps ready: a sync opens four to eight at its start, and what
    /// is taken is dialled again at once.
    pub const SPARE_WANTED: usize = 4;
    /// Connections that a relay keeps of one session, however many an agent dials.
    pub const SPARE_MAX: usize = 16;
    /// A connection that was ready for so long is let go, and the agent dials another: whatever
    /// lies between forgets connections that carry nothing.
    pub const SPARE_IDLE: Duration = Duration::from_secs(300);
    /// How often the relay looks for such ones.
    pub const SPARE_LOOK: Duration = Duration::from_secs(15);
    /// TCP, TLS and the peer's first frame.
    pub const HANDSHAKE: Duration = Duration::from_secs(10);
    /// How often the agent gives a sign of life on the control connection.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
    /// Silence after which the peer is gone: three lost signs.
    pub const IDLE: Duration = Duration::from_secs(15);
    /// From a close to the end of the connection: the peer reads why, or doesn't.
    pub const CLOSE: Duration = Duration::from_secs(1);
    /// Messages of the control stream that may wait in one direction.
    pub const CONTROL_QUEUE_MAX: usize = 16;
    /// The kernel asks a silent peer after this, so often, and then gives up.
    pub const PROBE_AFTER: Duration = Duration::from_secs(15);
    pub const PROBE_EVERY: Duration = Duration::from_secs(5);
    pub const PROBES_MAX: u32 = 3;
    /// Connections that may wait for being accepted.
    pub const BACKLOG: i32 = 1024;
}

/// Small writes go at once, and a peer that vanished is noticed on every connection.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(limits::PROBE_AFTER)
        .with_interval(limits::PROBE_EVERY)
        .with_retries(limits::PROBES_MAX);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// What became of a handshake or a connection, from the error that TLS or the socket gave.
fn broken(error: &io::Error) -> TunnelError {
    let tls = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>());
    let known = match tls {
        Some(rustls::Error::AlertReceived(alert)) => from_alert(u8::from(*alert), true),
        Some(rustls::Error::InvalidCertificate(fault)) => {
            from_alert(u8::from(AlertDescription::from(fault.clone())), false)
        }
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerIncompatible(_),
        ) => Some(TunnelError::NoCommonProtocol),
        _ => None,
    };
    known.unwrap_or_else(|| TunnelError::Transport(error.to_string()))
}

fn broken_wire(error: &WireError) -> TunnelError {
    match error {
        WireError::Io(error) => broken(error),
        WireError::Closed { .. } => TunnelError::Transport("the peer cut it off".to_owned()),
        error => TunnelError::Transport(error.to_string()),
    }
}

/// What a stream's user sees when it ended without a clean end.
fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

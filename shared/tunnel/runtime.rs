//! quinn's runtime, with receive buffers of the size that one receive can have.
//!
//! quinn has room for as many datagrams as the kernel coalesces at most (64 on Linux), each as large as a
//! packet may be: 13 MB for each endpoint, where packets have up to 6,400 bytes. All datagrams of one
//! receive together are never larger than the largest UDP datagram.

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use super::settings::limits::PAYLOAD_BYTES;

/// tokio, with [`Socket`]s.
#[derive(Debug)]
pub(super) struct TunnelRuntime;

impl Runtime for TunnelRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket(TokioRuntime.wrap_udp_socket(socket)?)))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

#[derive(Debug)]
struct Socket(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    /// quinn's buffer for one receive is this many times the largest packet.
    fn max_receive_segments(&self) -> usize {
        let enough = limits::DATAGRAM_BYTES.div_ceil(PAYLOAD_BYTES.into());
        self.0.max_receive_segments().min(enough)
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

mod limits {
    /// Most that a UDP datagram has, and so most that the kernel coalesces (udp(7), `UDP_GRO`).
    pub(super) const DATAGRAM_BYTES: usize = 65_535;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receive_has_room_for_the_largest_datagram_and_not_for_much_more() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = TunnelRuntime.wrap_udp_socket(socket).unwrap();
        let bytes = socket.max_receive_segments() * usize::from(PAYLOAD_BYTES);
        assert!((65_535..65_535 + 6_400).contains(&bytes), "{bytes}");
    }
}

//! Ports for servers that can't choose one themselves.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that outgoing connections are given (`ip_local_port_range`, from 32768 on): a
/// server that starts a second later would find one of those taken.
const FIRST: u32 = 15_000;
const COUNT: u32 = 17_000;

/// A port that nobody uses and that no other test of this process is given, for TCP and UDP.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes that run at the same time begin in different places.
        let from = std::process::id().wrapping_mul(211);
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + from.wrapping_add(step) % COUNT) as u16;
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}

//! Who is nobody yet: connections that never become a session keep nobody out and end by themselves.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_shared::tunnel::{Connect, TcpTunnelDialer, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Duration, Instant, timeout};

use super::world::{At, RELAY, World, connect, hello};
use crate::tunnel::limits;

const SOON: Duration = Duration::from_secs(5);

/// Whether the other end let go of it.
async fn is_cut(stranger: &mut TcpStream) -> bool {
    // A reset is an end, too.
    stranger.read_u8().await.is_err()
}

#[tokio::test]
async fn a_stranger_that_never_finishes_its_greeting_is_cut_off_in_time() {
    let world = World::over(Transport::Tcp);
    let running = world.listen();
    let address = running.address.address;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    // The head of a ClientHello of 512 bytes, and not a byte more.
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252])
        .await
        .unwrap();
    let mut rude = TcpStream::connect(address).await.unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n")
        .await
        .unwrap();
    let began = Instant::now();
    let all = async {
        // TLS answers the last with an alert before it closes.
        let _ = rude.read_to_end(&mut Vec::new()).await;
        assert!(began.elapsed() < limits::HANDSHAKE);
        is_cut(&mut silent).await && is_cut(&mut slow).await
    };
    assert!(timeout(limits::HANDSHAKE + SOON, all).await.unwrap());
    assert!(began.elapsed() >= limits::HANDSHAKE);
}

/// From another address of this host.
#[derive(Debug)]
struct From(SocketAddr, SocketAddr);

impl Connect for From {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(self.0)?;
            socket.connect(self.1).await
        })
    }
}

#[tokio::test]
async fn strangers_of_one_address_keep_no_other_address_out() {
    let world = World::over(Transport::Tcp);
    let running = world.listen();
    let address = running.address.address;
    let mut strangers = Vec::new();
    for _ in 0..limits::HANDSHAKES_PER_ADDRESS_MAX {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    let cut = timeout(SOON, is_cut(&mut one_more)).await;
    assert!(cut.expect("at once"));
    let agent = world.paired("office-db").await;
    let elsewhere = From(SocketAddr::from(([127, 0, 0, 2], 0)), address);
    let dialer = TcpTunnelDialer::new(Arc::new(elsewhere));
    let tunnel = dialer.dial(RELAY, agent.tls()).await.unwrap();
    assert_eq!(tunnel.close_reason(), None);
}

/// Passes datagrams of one agent to the relay and back, and counts Retry packets (RFC 9000 section
/// 17.2.5: a long header of type 3).
async fn pass_on(front: UdpSocket, relay: SocketAddr, retries: Arc<AtomicUsize>) {
    let back = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    back.connect(relay).await.unwrap();
    let (mut there, mut here) = ([0; 65_536], [0; 65_536]);
    let mut agent = None;
    loop {
        tokio::select! {
            Ok((length, from)) = front.recv_from(&mut there) => {
                agent = Some(from);
                let _ = back.send(&there[..length]).await;
            }
            Ok(length) = back.recv(&mut here) => {
                if here[0] & 0xf0 == 0xf0 {
                    retries.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(agent) = agent {
                    let _ = front.send_to(&here[..length], agent).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn senders_prove_their_address_while_many_handshakes_are_under_way() {
    let world = World::new();
    let running = world.listen();
    let relay = running.address.address;
    let front = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let at = At {
        address: front.local_addr().unwrap(),
        transport: Transport::Quic,
    };
    let retries = Arc::<AtomicUsize>::default();
    let passing = tokio::spawn(pass_on(front, relay, Arc::clone(&retries)));
    let _passing = tokio_util::task::AbortOnDropHandle::new(passing);
    let agent = world.paired("office-db").await;
    let calm = connect(at, agent.tls(), hello()).await.unwrap();
    assert_eq!(retries.load(Ordering::Relaxed), 0);
    drop(calm);
    // Strangers are cut off after a while, and a busy machine takes its time: as often as it takes.
    while retries.load(Ordering::Relaxed) == 0 {
        let mut strangers = Vec::new();
        for _ in 0..limits::HANDSHAKES_BEFORE_RETRY + 8 {
            strangers.push(TcpStream::connect(relay).await.unwrap());
        }
        let session = connect(at, agent.tls(), hello()).await.unwrap();
        assert_eq!(session.tunnel.close_reason(), None);
    }
}

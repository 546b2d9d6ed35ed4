//! What only the transport over TCP has: connections that join a session, and those that must not.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tidegate_shared::tunnel::{
    CertificateFault, TcpTunnelDialer, TcpTunnelListener, Tunnel, TunnelError, tcp_limits,
};
use tidegate_shared::wire::{
    FrameReader, LinkJoined, LinkMessage, LinkOpening, LinkSecret, LinkTicket, encode,
    read_message, write_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Credentials, RELAY_NAME, World};

type Raw = TlsStream<TcpStream>;

/// An agent that the test plays byte by byte.
async fn raw(world: &World, address: SocketAddr, agent: Credentials) -> Raw {
    let connector = TlsConnector::from(Arc::new(world.agent_tls(agent)));
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(RELAY_NAME).unwrap();
    connector.connect(name, socket).await.unwrap()
}

async fn arrive(listener: &TcpTunnelListener) -> Result<Option<Tunnel>, TunnelError> {
    listener.accept().await.handshake().await
}

/// A session of such an agent: the relay's end, the control connection, and the ticket.
async fn session(
    world: &World,
    listener: &TcpTunnelListener,
    agent: Credentials,
) -> (Tunnel, Raw, LinkTicket) {
    let dial = async {
        let mut control = raw(world, listener.local().unwrap(), agent).await;
        write_message(&mut control, &LinkOpening::Control)
            .await
            .unwrap();
        let LinkMessage::Welcome(ticket) = read_message(&mut control).await.unwrap() else {
            panic!("the first message is a welcome")
        };
        (control, ticket)
    };
    let (arrived, (control, ticket)) = tokio::join!(arrive(listener), dial);
    (arrived.unwrap().unwrap(), control, ticket)
}

/// Shows a ticket on a connection of its own; what the relay made of it, and the connection.
async fn join(
    world: &World,
    listener: &TcpTunnelListener,
    agent: Credentials,
    ticket: &LinkTicket,
) -> (Result<Option<Tunnel>, TunnelError>, Raw) {
    let dial = async {
        let mut connection = raw(world, listener.local().unwrap(), agent).await;
        let opening = LinkOpening::Stream(ticket.clone());
        write_message(&mut connection, &opening).await.unwrap();
        connection
    };
    tokio::join!(arrive(listener), dial)
}

#[tokio::test]
async fn a_stream_cut_without_close_notify_is_no_clean_end() {
    let world = World::new();
    let (listener, _) = world.listen_tcp();
    let credentials = world.agent("a1");
    let again = credentials.copy();
    let (tunnel, _control, ticket) = session(&world, &listener, credentials).await;
    let (joined, mut connection) = join(&world, &listener, again, &ticket).await;
    assert!(joined.unwrap().is_none());
    let LinkJoined = read_message(&mut connection).await.unwrap();
    let mut stream = tunnel.open().await.unwrap();
    stream.write_all(b"?").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), b'?');
    connection.write_all(b"half a COPY").await.unwrap();
    connection.flush().await.unwrap();
    // FIN, but no word of TLS.
    let (socket, _) = connection.get_mut();
    socket.shutdown().await.unwrap();
    let mut heard = Vec::new();
    let error = stream.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(heard, b"half a COPY");
}

#[tokio::test]
async fn only_the_sessions_own_agent_with_its_ticket_lends_it_connections() {
    let world = World::new();
    let (listener, _) = world.listen_tcp();
    let (first, second) = (world.agent("a1"), world.agent("a2"));
    let copies = (first.copy(), first.copy(), first.copy(), second.copy());
    let (tunnel, control, ticket) = session(&world, &listener, first).await;

    let wrong_secret = LinkTicket {
        secret: LinkSecret::new([0; 32]),
        ..ticket.clone()
    };
    let wrong_session = LinkTicket {
        session: ticket.session + 1,
        ..ticket.clone()
    };
    for (agent, shown, why) in [
        (copies.0, &wrong_secret, "a guessed secret"),
        (copies.1, &wrong_session, "a session that is not here"),
        (copies.3, &ticket, "another agent's session"),
    ] {
        let (joined, mut connection) = join(&world, &listener, agent, shown).await;
        assert!(joined.is_err(), "{why}");
        assert!(connection.read_u8().await.is_err(), "{why}");
    }
    let waiting = tokio::time::timeout(Duration::from_millis(100), tunnel.open()).await;
    assert!(waiting.is_err(), "nothing has joined");

    // Nor once the session has ended.
    drop(control);
    tunnel.closed().await;
    listener.wait_idle().await;
    let (joined, _connection) = join(&world, &listener, copies.2, &ticket).await;
    assert!(joined.is_err());
}

#[tokio::test]
async fn a_foreign_certificate_is_refused_before_anything_is_read() {
    let (world, other) = (World::new(), World::new());
    let (listener, address) = world.listen_tcp();
    let foreign = other.agent("a1");
    let dialer = TcpTunnelDialer::new(Arc::new(address));
    let dial = dialer.dial(RELAY_NAME, world.agent_tls(foreign));
    let (arrived, dialled) = tokio::join!(arrive(&listener), dial);
    assert!(arrived.is_err());
    let refused = TunnelError::RefusedByPeer(CertificateFault::UnknownAuthority);
    assert_eq!(dialled.unwrap_err(), refused);

    // And the other way round: no agent trusts a relay of another authority.
    let dial = dialer.dial(RELAY_NAME, other.agent_tls(other.agent("a1")));
    let (arrived, dialled) = tokio::join!(arrive(&listener), dial);
    assert!(arrived.is_err());
    let untrusted = TunnelError::PeerNotTrusted(CertificateFault::UnknownAuthority);
    assert_eq!(dialled.unwrap_err(), untrusted);
}

#[tokio::test]
async fn a_peer_that_pairs_has_no_session_to_lend_to() {
    let world = World::new();
    let (listener, address) = world.listen_tcp();
    let dialer = TcpTunnelDialer::new(Arc::new(address));
    let dial = dialer.dial(RELAY_NAME, world.pairing_tls());
    let (arrived, dialled) = tokio::join!(arrive(&listener), dial);
    let (relay, agent) = (arrived.unwrap().unwrap(), dialled.unwrap());
    assert!(relay.peer_leaf().is_none());
    let mut asking = agent.open().await.unwrap();
    asking.write_all(b"?").await.unwrap();
    let mut asked = relay.accept().await.unwrap();
    assert_eq!(asked.read_u8().await.unwrap(), b'?');
    // No connection comes, however long one waits for it.
    let more = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn a_message_out_of_turn_ends_the_session() {
    let world = World::new();
    let (listener, _) = world.listen_tcp();
    let (tunnel, control, ticket) = session(&world, &listener, world.agent("a1")).await;
    let (reader, mut writer) = tokio::io::split(control);
    let mut reader = FrameReader::new(reader);
    let frame = encode(&LinkMessage::Welcome(ticket)).unwrap();
    writer.write_all(&frame).await.unwrap();
    writer.flush().await.unwrap();
    tunnel.closed().await;
    let told: LinkMessage = reader.next().await.unwrap();
    assert_eq!(told, LinkMessage::Close { code: 5 });
}

/// The clock is moved, not waited for.
#[tokio::test]
async fn connections_that_nobody_uses_are_let_go_and_dialled_anew() {
    let world = World::new();
    let (listener, address) = world.listen_tcp();
    let dialer = TcpTunnelDialer::new(Arc::new(address));
    let tls = world.agent_tls(world.agent("a1"));
    let (arrived, dialled) = tokio::join!(arrive(&listener), dialer.dial(RELAY_NAME, tls));
    let (relay, agent) = (arrived.unwrap().unwrap(), dialled.unwrap());
    let all_spare = async {
        for _ in 0..tcp_limits::SPARE_WANTED {
            assert!(arrive(&listener).await.unwrap().is_none());
        }
    };
    all_spare.await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    for _ in 0..tcp_limits::SPARE_WANTED {
        assert!(arrive(&listener).await.unwrap().is_none());
    }
    assert!(began.elapsed() >= tcp_limits::SPARE_IDLE);
    assert!(began.elapsed() < tcp_limits::SPARE_IDLE * 2);
    // Signs of life kept the session.
    assert_eq!((relay.close_reason(), agent.close_reason()), (None, None));
    let mut stream = relay.open().await.unwrap();
    stream.write_all(b"!").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(agent.accept().await.unwrap().read_u8().await.unwrap(), b'!');
}

/// The clock is moved, not waited for.
#[tokio::test]
async fn a_peer_that_falls_silent_is_gone() {
    let world = World::new();
    let (listener, _) = world.listen_tcp();
    let (tunnel, _control, _ticket) = session(&world, &listener, world.agent("a1")).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(tunnel.closed().await, TunnelError::TimedOut);
    assert!(began.elapsed() >= tcp_limits::IDLE);
    assert!(began.elapsed() < tcp_limits::IDLE * 2);
}

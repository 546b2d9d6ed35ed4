//! The tunnel over QUIC on loopback: round trip, clean end, reset, close.

use tidegate_shared::tunnel::{CloseCode, Protocol, TunnelError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

#[tokio::test]
async fn streams_travel_both_ways_and_end_cleanly() {
    let world = World::new();
    let (relay, agent, _listener, _dialer) = world.connected().await;
    assert_eq!(relay.protocol(), Protocol::Agent);
    assert!(relay.peer_leaf().is_some());

    let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let ask = async {
        let (mut reader, mut writer) = relay.open().await.unwrap().into_split();
        let mut back = Vec::new();
        let send = async {
            writer.write_all(&payload).await.unwrap();
            writer.shutdown().await.unwrap();
            // A second shutdown, as some callers do it, is no error.
            writer.shutdown().await.unwrap();
        };
        let receive = reader.read_to_end(&mut back);
        tokio::join!(send, receive).1.unwrap();
        back
    };
    let answer = async {
        let stream = agent.accept().await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
        writer.drained().await;
    };
    let (back, ()) = tokio::join!(ask, answer);
    assert!(back == payload);
    assert!(relay.stats().sent_bytes > payload.len() as u64);
    assert!(agent.stats().rtt > std::time::Duration::ZERO);
}

#[tokio::test]
async fn a_dropped_stream_is_a_reset_and_never_a_clean_end() {
    let world = World::new();
    let (relay, agent, _listener, _dialer) = world.connected().await;
    let mut sender = relay.open().await.unwrap();
    sender.write_all(b"half a COPY").await.unwrap();
    let mut receiver = agent.accept().await.unwrap();
    let mut head = [0; 4];
    receiver.read_exact(&mut head).await.unwrap();
    drop(sender);
    let mut rest = Vec::new();
    let error = receiver.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // The other direction was given up as well.
    let error = loop {
        if let Err(error) = receiver.write_all(&[0; 1024]).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_half_resets_only_its_direction() {
    let world = World::new();
    let (relay, agent, _listener, _dialer) = world.connected().await;
    let mut near = relay.open().await.unwrap();
    near.write_all(b"hello").await.unwrap();
    let (mut reader, writer) = agent.accept().await.unwrap().into_split();
    drop(writer);
    assert!(near.read_u8().await.is_err());
    near.shutdown().await.unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"hello");
}

#[tokio::test]
async fn a_panicking_producer_resets_its_stream() {
    let world = World::new();
    let (relay, agent, _listener, _dialer) = world.connected().await;
    let mut sender = relay.open().await.unwrap();
    let task = tokio::spawn(async move {
        sender.write_all(b"partial").await.unwrap();
        panic!("planted");
    });
    let mut receiver = agent.accept().await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    assert!(receiver.read_to_end(&mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn closing_tells_the_peer_why_and_breaks_its_streams() {
    let world = World::new();
    let (relay, agent, _listener, _dialer) = world.connected().await;
    let mut stream = relay.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut far = agent.accept().await.unwrap();
    far.read_u8().await.unwrap();
    relay.close(CloseCode::REPLACED);
    assert_eq!(
        agent.closed().await,
        TunnelError::ClosedByPeer(CloseCode::REPLACED)
    );
    assert_eq!(relay.closed().await, TunnelError::ClosedHere);
    assert!(far.read_u8().await.is_err());
    assert!(agent.open().await.is_err());
    assert_eq!(
        agent.close_reason(),
        Some(TunnelError::ClosedByPeer(CloseCode::REPLACED))
    );
}

#[tokio::test]
async fn a_relay_allows_an_agent_only_few_streams() {
    let world = World::new();
    let (_relay, agent, _listener, _dialer) = world.connected().await;
    let mut streams = Vec::new();
    for _ in 0..tidegate_shared::tunnel::limits::STREAMS_FROM_AGENT {
        streams.push(agent.open().await.unwrap());
    }
    let over = tokio::time::timeout(std::time::Duration::from_millis(200), agent.open()).await;
    assert!(over.is_err(), "the ninth stream must wait");
}

//! What a tunnel promises, over QUIC and over TCP on loopback: round trip, clean end, reset, close.

use std::io::ErrorKind;
use std::time::Duration;

use tidegate_shared::tunnel::{CloseCode, Protocol, Transport, TunnelError, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

/// The same promises over both transports.
macro_rules! over_both {
    ($($promise:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Transport::Quic).await;
            })*
        }

        mod tcp {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Transport::Tcp).await;
            })*
        }
    };
}

over_both!(
    streams_travel_both_ways_and_end_cleanly,
    control_stream_travels_both_ways_and_ends_cleanly,
    a_dropped_stream_is_a_reset_and_never_a_clean_end,
    a_dropped_control_stream_is_a_reset_and_never_a_clean_end,
    a_dropped_half_is_a_reset_of_its_direction,
    a_panicking_producer_resets_its_stream,
    closing_tells_the_peer_why_and_breaks_its_streams,
    dropping_the_last_handle_ends_the_tunnel,
    a_given_up_opening_leaves_the_others_alone,
    more_streams_than_are_ready_all_come,
    the_end_of_one_is_waited_for,
);

async fn streams_travel_both_ways_and_end_cleanly(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    assert_eq!(pair.relay.protocol(), Protocol::Agent);
    assert_eq!(pair.relay.transport(), transport);
    assert!(pair.relay.peer_leaf().is_some());

    let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let ask = async {
        let (mut reader, mut writer) = pair.relay.open().await.unwrap().into_split();
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
        let stream = pair.agent.accept().await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
        writer.drained().await;
    };
    let (back, ()) = tokio::join!(ask, answer);
    assert!(back == payload);
    assert!(pair.relay.stats().sent_bytes >= payload.len() as u64);
    assert!(pair.agent.stats().rtt > Duration::ZERO);
}

async fn control_stream_travels_both_ways_and_ends_cleanly(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let payload = vec![7; 100_000];
    let ask = async {
        let mut stream = pair.agent.open().await.unwrap();
        stream.write_all(&payload).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        back
    };
    let answer = async {
        let mut stream = pair.relay.accept().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.drained().await;
    };
    let (back, ()) = tokio::join!(ask, answer);
    assert!(back == payload);
}

async fn a_dropped_stream_is_a_reset_and_never_a_clean_end(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let mut sender = pair.relay.open().await.unwrap();
    sender.write_all(b"half a COPY").await.unwrap();
    let mut receiver = pair.agent.accept().await.unwrap();
    let mut head = [0; 4];
    receiver.read_exact(&mut head).await.unwrap();
    drop(sender);
    let error = receiver.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // The other direction was given up as well.
    let error = loop {
        if let Err(error) = receiver.write_all(&[0; 1024]).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // The tunnel itself goes on.
    assert_eq!(pair.agent.close_reason(), None);
}

async fn a_dropped_control_stream_is_a_reset_and_never_a_clean_end(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let mut sender = pair.agent.open().await.unwrap();
    sender.write_all(b"half a hello").await.unwrap();
    let mut receiver = pair.relay.accept().await.unwrap();
    receiver.read_exact(&mut [0; 4]).await.unwrap();
    drop(sender);
    let error = receiver.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn a_dropped_half_is_a_reset_of_its_direction(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let mut near = pair.relay.open().await.unwrap();
    near.write_all(b"hello").await.unwrap();
    let (mut reader, mut writer) = pair.agent.accept().await.unwrap().into_split();
    writer.write_all(b"par").await.unwrap();
    drop(writer);
    let error = near.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    if transport == Transport::Quic {
        // TCP can't give up one direction alone.
        near.shutdown().await.unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"hello");
    }
}

async fn a_panicking_producer_resets_its_stream(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let mut sender = pair.relay.open().await.unwrap();
    let task = tokio::spawn(async move {
        sender.write_all(b"partial").await.unwrap();
        sender.flush().await.unwrap();
        panic!("planted");
    });
    assert!(task.await.unwrap_err().is_panic());
    // Over TCP the connection may be gone before anybody took it for a stream.
    let taken = tokio::time::timeout(Duration::from_secs(1), pair.agent.accept()).await;
    if let Ok(receiver) = taken {
        let mut receiver = receiver.unwrap();
        assert!(receiver.read_to_end(&mut Vec::new()).await.is_err());
    }
}

async fn closing_tells_the_peer_why_and_breaks_its_streams(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let mut stream = pair.relay.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut far = pair.agent.accept().await.unwrap();
    far.read_u8().await.unwrap();
    pair.relay.close(CloseCode::REPLACED);
    let told = TunnelError::ClosedByPeer(CloseCode::REPLACED);
    assert_eq!(pair.agent.closed().await, told);
    assert_eq!(pair.relay.closed().await, TunnelError::ClosedHere);
    assert!(far.read_u8().await.is_err());
    assert!(stream.read_u8().await.is_err());
    assert!(pair.agent.open().await.is_err());
    assert!(pair.relay.open().await.is_err());
    assert_eq!(pair.agent.close_reason(), Some(told));
    drop((stream, far));
    pair.listener.close(CloseCode::GOODBYE);
    pair.listener.wait_idle().await;
    pair.dialer.wait_idle().await;
}

async fn dropping_the_last_handle_ends_the_tunnel(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let stream = pair.agent.open().await.unwrap();
    let again = pair.agent.clone();
    drop((pair.agent, again));
    assert_eq!(pair.relay.close_reason(), None);
    drop(stream);
    let told = TunnelError::ClosedByPeer(CloseCode::DONE);
    assert_eq!(pair.relay.closed().await, told);
}

async fn a_given_up_opening_leaves_the_others_alone(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    for _ in 0..50 {
        let opening = pair.relay.open();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = opening => {}
        }
    }
    let mut near = pair.relay.open().await.unwrap();
    near.write_all(b"y").await.unwrap();
    near.flush().await.unwrap();
    let found = async {
        loop {
            let mut far = pair.agent.accept().await.unwrap();
            if far.read_u8().await.is_ok_and(|byte| byte == b'y') {
                return;
            }
        }
    };
    found.await;
}

async fn more_streams_than_are_ready_all_come(transport: Transport) {
    const STREAMS: u8 = 40;
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let ask = async {
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let mut stream = pair.relay.open().await.unwrap();
            stream.write_u8(number).await.unwrap();
            stream.flush().await.unwrap();
            streams.push(stream);
        }
        streams
    };
    let answer = async {
        let (mut numbers, mut streams) = (Vec::new(), Vec::new());
        while streams.len() < usize::from(STREAMS) {
            let mut stream = pair.agent.accept().await.unwrap();
            numbers.push(stream.read_u8().await.unwrap());
            streams.push(stream);
        }
        numbers.sort_unstable();
        (numbers, streams)
    };
    let (_near, (numbers, _far)) = tokio::join!(ask, answer);
    assert_eq!(numbers, (0..STREAMS).collect::<Vec<_>>());
}

/// What was waited for arrives although the tunnel is closed right after.
async fn the_end_of_one_is_waited_for(transport: Transport) {
    let world = World::new();
    let pair = world.connected_over(transport).await;
    let last = async {
        let mut stream = pair.agent.open().await.unwrap();
        stream.write_all(b"goodbye").await.unwrap();
        stream.shutdown().await.unwrap();
        stream.drained().await;
        pair.agent.close(CloseCode::GOODBYE);
    };
    let heard = async {
        let mut stream = pair.relay.accept().await.unwrap();
        let mut heard = [0; 7];
        stream.read_exact(&mut heard).await.unwrap();
        heard
    };
    let ((), heard) = tokio::join!(last, heard);
    assert_eq!(&heard, b"goodbye");
    let told = TunnelError::ClosedByPeer(CloseCode::GOODBYE);
    assert_eq!(pair.relay.closed().await, told);
}

#[tokio::test]
async fn a_relay_allows_an_agent_only_few_streams() {
    let allowed = [
        (Transport::Quic, limits::STREAMS_FROM_AGENT),
        (Transport::Tcp, 1),
    ];
    for (transport, most) in allowed {
        let world = World::new();
        let pair = world.connected_over(transport).await;
        let mut streams = Vec::new();
        for _ in 0..most {
            streams.push(pair.agent.open().await.unwrap());
        }
        let over = tokio::time::timeout(Duration::from_millis(200), pair.agent.open()).await;
        assert!(over.is_err(), "one more must wait");
    }
}

#[tokio::test]
async fn a_path_that_carries_large_packets_is_found_out() {
    let world = World::new();
    let pair = world.connected_over(Transport::Quic).await;
    let mtu = || pair.relay.stats().path.map_or(0, |path| path.mtu_bytes);
    let mut sender = pair.relay.open().await.unwrap();
    sender.write_all(&[0]).await.unwrap();
    let mut receiver = pair.agent.accept().await.unwrap();
    receiver.read_exact(&mut [0; 1]).await.unwrap();
    // It is looked for while something is sent.
    let look = async {
        while mtu() < limits::PAYLOAD_BYTES / 10 * 9 {
            sender.write_all(&[0; 1024]).await.unwrap();
            receiver.read_exact(&mut [0; 1024]).await.unwrap();
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), look).await;
    assert!(found.is_ok(), "{}", mtu());
}

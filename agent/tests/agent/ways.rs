//! The ways to the relay: QUIC, TCP where UDP does not pass, and back.

use std::time::{Duration, Instant};

use tidegate_agent::config::TransportChoice;
use tidegate_agent::identity::enroll;
use tidegate_agent::identity::keystore::Keystore;
use tidegate_agent::route::Routes;
use tidegate_shared::tunnel::{CloseCode, Protocol, Transport, TunnelError};

use super::relay::{
    HOUR, Relay, Session, check_cut_copy, check_whole_copy, pair, redeem, start, start_with,
};
use super::server::server;

/// Far more than the head start of QUIC, and less than its handshake may take.
const SECONDS: Duration = Duration::from_secs(8);

async fn count_posts(session: &Session) -> i64 {
    let client = session.connect().await;
    let sql = "select count(*) from posts";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn where_udp_is_swallowed_the_agent_is_there_over_tcp_within_seconds() {
    let relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    let began = Instant::now();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let agent = start(state, &[server().target("tidegate", "")]);
    let session = relay.session().await;
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    assert_eq!(session.tunnel.transport(), Transport::Tcp);
    tokio::select! {
        count = count_posts(&session) => assert_eq!(count, 1000),
        _ = relay.joins() => {}
    }
    let status = agent.board.read();
    assert_eq!(status.transport.as_deref(), Some("tcp"));
}

#[tokio::test]
async fn a_copy_cut_over_tcp_never_looks_complete() {
    let relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let _agent = start(state, &[server().target("tidegate", "")]);
    let session = relay.session().await;
    tokio::select! {
        () = check_cut_copy(&session) => {}
        _ = relay.joins() => {}
    }
}

#[tokio::test]
async fn what_worked_goes_first_at_the_next_dial() {
    let relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let _agent = start(state, &[]);
    relay.session().await.tunnel.close(CloseCode::GOODBYE);
    while relay.swallowed_anything() {}
    let again = relay.session().await;
    assert_eq!(again.tunnel.transport(), Transport::Tcp);
    assert!(!relay.swallowed_anything(), "QUIC was tried first again");
}

#[tokio::test]
async fn when_udp_passes_again_the_agent_moves_and_cuts_no_session() {
    let mut relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let routes = Routes::looking_again(TransportChoice::Auto, Duration::from_millis(100));
    let _agent = start_with(state, &[server().target("tidegate", "")], routes);
    let session = relay.session().await;
    assert_eq!(session.tunnel.transport(), Transport::Tcp);
    let client = tokio::select! {
        client = session.connect() => client,
        _ = relay.joins() => unreachable!("it goes on for ever"),
    };
    relay.let_udp_pass();
    // The agent looks, says nothing, and leaves the session as it is.
    let look = relay.arrival().await.unwrap();
    assert_eq!(
        (look.protocol(), look.transport()),
        (Protocol::Pairing, Transport::Quic)
    );
    assert_eq!(
        look.closed().await,
        TunnelError::ClosedByPeer(CloseCode::DONE)
    );
    client.simple_query("select 1").await.unwrap();
    assert_eq!(session.tunnel.close_reason(), None);
    // When nothing is open any more, it comes back over QUIC.
    drop(client);
    let better = relay.session().await;
    assert_eq!(better.tunnel.transport(), Transport::Quic);
    assert_eq!(
        session.tunnel.closed().await,
        TunnelError::ClosedByPeer(CloseCode::GOODBYE)
    );
}

#[tokio::test]
async fn an_address_that_changes_in_the_middle_of_a_copy_costs_nothing() {
    const ROWS: u64 = 30_000;
    let relay = Relay::behind_a_middlebox();
    let state = tempfile::tempdir().unwrap();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let _agent = start(state, &[server().target("tidegate", "")]);
    let session = relay.session().await;
    assert_eq!(session.tunnel.transport(), Transport::Quic);
    let before = session.tunnel.remote();
    check_whole_copy(&session, ROWS, || relay.middlebox().rebind()).await;
    assert_ne!(session.tunnel.remote(), before);
    assert_eq!(session.tunnel.close_reason(), None);
}

#[tokio::test]
async fn udp_that_stops_in_mid_session_is_left_for_tcp() {
    /// The agent notices by the silence of three signs of life (15 s), then dials.
    const NOTICED: Duration = Duration::from_secs(30);
    let relay = Relay::behind_a_middlebox();
    let state = tempfile::tempdir().unwrap();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let agent = start(state, &[server().target("tidegate", "")]);
    let former = relay.session().await;
    assert_eq!(former.tunnel.transport(), Transport::Quic);
    relay.middlebox().swallow();
    let began = Instant::now();
    let session = relay.session().await;
    assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
    assert_eq!(session.tunnel.transport(), Transport::Tcp);
    tokio::select! {
        count = count_posts(&session) => assert_eq!(count, 1000),
        _ = relay.joins() => {}
    }
    assert_eq!(agent.board.read().transport.as_deref(), Some("tcp"));
}

#[tokio::test]
async fn an_agent_told_to_use_tcp_sends_nothing_over_udp() {
    let relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    let token = relay.token();
    let only_tcp = Routes::new(TransportChoice::Tcp);
    let store = Keystore::new(state.path());
    let (paired, ()) = tokio::join!(
        enroll::pair(&token, &store, &only_tcp),
        relay.answer(|csr| relay.paired(csr, Duration::ZERO, HOUR)),
    );
    paired.unwrap();
    let _agent = start_with(state, &[], only_tcp);
    relay.session().await;
    assert!(!relay.swallowed_anything());
}

#[tokio::test]
async fn an_agent_told_to_use_quic_does_not_fall_back() {
    let relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    let only_quic = Routes::new(TransportChoice::Quic);
    let (token, store) = (relay.token(), Keystore::new(state.path()));
    let error = enroll::pair(&token, &store, &only_quic).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("does not answer over UDP:"), "{text}");
}

#[tokio::test]
async fn a_relay_that_is_nowhere_is_told_in_one_line_for_both_ways() {
    let relay = Relay::without_udp();
    let state = tempfile::tempdir().unwrap();
    let (token, store) = (relay.token(), Keystore::new(state.path()));
    drop(relay);
    let error = redeem(&token, &store).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("does not answer over UDP or TCP:"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

//! Through real connections: pairing, sessions, streams, revocation, replacement, goodbye.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_shared::identity::{AgentIdentity, AgentKey, AgentLeaf, Validity, tls};
use tidegate_shared::pairing::PairingToken;
use tidegate_shared::tunnel::{
    CloseCode, IdentityFault, QuicSettings, Transport, TunnelError, TunnelStream,
};
use tidegate_shared::wire::{
    self, AgentMessage, Goodbye, OpenAnswer, OpenDenial, OpenRequest, PairAnswer, PairAsk, Purpose,
    RelayMessage, RenewRefusal, SessionRefusal, Trust,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::world::{
    ASKER, At, Credentials, HOUR, SOON, Session, World, connect, dial, hello, request, timeout_soon,
};
use crate::pairing::Pairing;
use crate::tunnel::{
    Agents, Doorkeeper, Listener, ListenerConfig, NotAdmitted, OpenError, Renewal,
};

over_both!(
    expired_revoked_and_unknown_identities_are_told_apart,
    a_host_pairs_connects_and_lends_its_target,
    a_refused_target_and_an_absent_agent_are_told_apart,
    pairing_over_the_port_refuses_a_used_token_and_a_foreign_relay,
    a_client_without_a_certificate_is_closed_at_once,
    revoking_cuts_the_live_session_and_keeps_the_agent_out,
    a_returning_agent_replaces_its_old_session_at_once,
    renewal_travels_through_the_session_and_the_new_key_connects,
    an_agent_of_another_protocol_is_told_why,
    a_silent_agent_is_cut_off_and_a_talker_out_of_turn_too,
    goodbye_reaches_every_agent_with_a_delay_and_ends_the_sessions,
    an_agent_that_says_goodbye_keeps_its_streams_until_it_closes,
    an_agent_that_stays_after_its_goodbye_is_cut_off_or_revoked,
    a_session_ends_with_its_certificate,
);

fn open_request(target: &str) -> OpenRequest {
    OpenRequest {
        target: target.into(),
        sync: "blog".into(),
        run: "1".into(),
        epoch: 42,
        purpose: Purpose::Session,
    }
}

/// Pairs through the port, as a host would.
async fn pair_over(
    at: At,
    token: &PairingToken,
    key: &AgentKey,
) -> Result<PairAnswer, TunnelError> {
    let tls = tls::pairing_client(&token.ca_pins).unwrap();
    let (tunnel, _dialer) = dial(at, tls).await?;
    let mut stream = tunnel.open().await?;
    wire::write_message(&mut stream, &PairAsk::Redeem(request(token, key)))
        .await
        .unwrap();
    let answer = wire::read_message(&mut stream).await.unwrap();
    tunnel.close(CloseCode::DONE);
    Ok(answer)
}

async fn a_host_pairs_connects_and_lends_its_target(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let token = world.invite("office-db").await;
    let key = AgentKey::generate().unwrap();
    let answer = pair_over(running.address, &token, &key).await.unwrap();
    let PairAnswer::Paired(paired) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(paired.agent_name, "office-db");
    let agent = Credentials::new(&paired, &key);
    tls::pinned_of(agent.relay_authorities.clone(), &token.ca_pins).unwrap();

    let id = agent.id();
    let (session, ()) = tokio::join!(
        connect(running.address, agent.tls(), hello()),
        timeout_soon(world.agents.wait_online(&id)),
    );
    let session = session.unwrap();
    assert_eq!(session.ack.protocol, 1);
    let live = world.agents.live(&id).unwrap();
    assert_eq!((live.host.as_str(), live.epoch_counter), ("db1", 41));
    assert_eq!(live.targets[0].name, "main");
    assert_eq!(live.session, session.ack.session);
    assert_eq!(world.agents.list().len(), 1);

    let serve = async {
        let mut stream = session.tunnel.accept().await.unwrap();
        let asked: OpenRequest = wire::read_message(&mut stream).await.unwrap();
        assert_eq!(asked, open_request("main"));
        wire::write_message(&mut stream, &OpenAnswer::Opened)
            .await
            .unwrap();
        stream.write_all(b"R-authentication-ok").await.unwrap();
        stream.shutdown().await.unwrap();
        stream.drained().await;
    };
    let use_it = async {
        let mut stream = world.agents.open(&id, open_request("main")).await.unwrap();
        assert_eq!(world.agents.live(&id).unwrap().streams, 1);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all
    };
    let ((), all) = tokio::join!(serve, use_it);
    assert_eq!(all, b"R-authentication-ok");
    assert_eq!(world.agents.live(&id).unwrap().streams, 0);
}

async fn a_refused_target_and_an_absent_agent_are_told_apart(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let absent = world.agents.open(&agent.id(), open_request("main")).await;
    assert!(matches!(absent, Err(OpenError::Offline)));
    let session = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let serve = async {
        let mut stream = session.tunnel.accept().await.unwrap();
        let _: OpenRequest = wire::read_message(&mut stream).await.unwrap();
        let denied = OpenAnswer::Denied {
            code: OpenDenial::UnknownTarget,
            text: "no such target".into(),
        };
        wire::write_message(&mut stream, &denied).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.drained().await;
    };
    let id = agent.id();
    let ((), opened) = tokio::join!(serve, world.agents.open(&id, open_request("x")));
    assert!(matches!(
        opened,
        Err(OpenError::Denied {
            code: OpenDenial::UnknownTarget,
            ..
        })
    ));
}

async fn pairing_over_the_port_refuses_a_used_token_and_a_foreign_relay(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let mut token = world.invite("office-db").await;
    let key = AgentKey::generate().unwrap();
    pair_over(running.address, &token, &key).await.unwrap();
    let other = AgentKey::generate().unwrap();
    let used = pair_over(running.address, &token, &other).await.unwrap();
    assert!(matches!(used, PairAnswer::Refused { .. }));
    token.ca_pins = vec![[0; 32]];
    let foreign = pair_over(running.address, &token, &key).await;
    assert!(
        matches!(foreign, Err(TunnelError::PeerNotTrusted(_))),
        "{foreign:?}"
    );
}

async fn a_client_without_a_certificate_is_closed_at_once(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(agent.relay_authorities[0].clone()).unwrap();
    let mut bare = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    bare.alpn_protocols = vec![tls::ALPN_AGENT.to_vec()];
    let refused = timeout_soon(connect(running.address, bare.clone(), hello())).await;
    assert!(
        matches!(
            refused,
            Err((TunnelError::ClosedByPeer(CloseCode::NO_CERTIFICATE), None))
        ),
        "{:?}",
        refused.err()
    );
    bare.alpn_protocols = vec![b"h3".to_vec()];
    let refused = timeout_soon(connect(running.address, bare, hello())).await;
    assert!(
        matches!(refused, Err((TunnelError::NoCommonProtocol, None))),
        "{:?}",
        refused.err()
    );
    assert!(world.agents.list().is_empty());
}

async fn revoking_cuts_the_live_session_and_keeps_the_agent_out(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let other = world.paired("other-db").await;
    let session = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let bystander = connect(running.address, other.tls(), hello())
        .await
        .unwrap();
    world
        .pairing
        .revoke(ASKER, "office-db", world.now())
        .await
        .unwrap();
    let end = timeout_soon(session.tunnel.closed()).await;
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::REVOKED));
    timeout_soon(world.agents.wait_offline(&agent.id())).await;
    let again = timeout_soon(connect(running.address, agent.tls(), hello())).await;
    assert!(matches!(
        again,
        Err((TunnelError::ClosedByPeer(CloseCode::REVOKED), None))
    ));
    assert_eq!(bystander.tunnel.close_reason(), None);
    assert!(world.agents.live(&other.id()).is_some());
}

async fn expired_revoked_and_unknown_identities_are_told_apart(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let told = async |agent: &Credentials| {
        let refused = timeout_soon(connect(running.address, agent.tls(), hello())).await;
        match refused {
            Err((error, _)) => error.identity_fault(),
            Ok(session) => timeout_soon(session.tunnel.closed()).await.identity_fault(),
        }
    };
    let other = World::over(transport);
    let mut stranger = other.paired("office-db").await;
    stranger.relay_authorities = world.custody.relay_authorities();
    assert_eq!(told(&stranger).await, Some(IdentityFault::Unknown));
    // Signed by the same authority, of an agent that this store never had.
    let key = AgentKey::generate().unwrap();
    let unheard_of = AgentIdentity::new("default", "never-heard-of").unwrap();
    let validity = Validity {
        now: world.now(),
        life: HOUR,
    };
    let csr = key.csr_der().unwrap();
    let issued = world.custody.issue_agent(&csr, &unheard_of, validity);
    let forgotten = Credentials {
        chain: issued.unwrap().chain,
        key,
        relay_authorities: world.custody.relay_authorities(),
    };
    assert_eq!(told(&forgotten).await, Some(IdentityFault::Unknown));

    let revoked = world.paired("gone-db").await;
    let asked = world.pairing.revoke(ASKER, "gone-db", world.now());
    asked.await.unwrap();
    assert_eq!(told(&revoked).await, Some(IdentityFault::Revoked));

    let expired = world.paired("late-db").await;
    world.pass(73 * HOUR);
    assert_eq!(told(&expired).await, Some(IdentityFault::Expired));
}

async fn a_returning_agent_replaces_its_old_session_at_once(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let first = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let second = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let end = timeout_soon(first.tunnel.closed()).await;
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::REPLACED));
    // The end of the first must not take the second out of the registry.
    let mut changes = world.agents.changes();
    timeout_soon(async {
        while *changes.borrow_and_update() < 3 {
            changes.changed().await.unwrap();
        }
    })
    .await;
    let live = world.agents.live(&agent.id()).unwrap();
    assert_eq!(live.session, second.ack.session);
    assert_eq!(second.tunnel.close_reason(), None);
}

async fn renewal_travels_through_the_session_and_the_new_key_connects(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let mut agent = world.paired("office-db").await;
    let mut session = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let next = AgentKey::generate().unwrap();
    session
        .say(AgentMessage::Renew {
            csr_der: next.csr_der().unwrap(),
        })
        .await;
    let RelayMessage::Renewed { chain_der } = session.hear().await else {
        panic!()
    };
    session
        .say(AgentMessage::Renew {
            csr_der: vec![1, 2, 3],
        })
        .await;
    let refused = RelayMessage::RenewRefused {
        code: RenewRefusal::BadRequest,
    };
    assert_eq!(session.hear().await, refused);
    session.say(AgentMessage::Ping { nonce: 77 }).await;
    assert_eq!(session.hear().await, RelayMessage::Pong { nonce: 77 });
    agent.chain = chain_der.into_iter().map(Into::into).collect();
    agent.key = next;
    connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
}

async fn an_agent_of_another_protocol_is_told_why(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let mut future = hello();
    (future.protocol_min, future.protocol_max) = (90, 99);
    let refused = connect(running.address, agent.tls(), future).await;
    let Err((TunnelError::ClosedByPeer(CloseCode::PROTOCOL), Some(told))) = refused else {
        panic!("it must be refused");
    };
    let RelayMessage::Refused {
        code: SessionRefusal::Protocol,
        text,
    } = told
    else {
        panic!("{told:?}");
    };
    assert!(text.contains("90 to 99"), "{text}");
}

async fn a_silent_agent_is_cut_off_and_a_talker_out_of_turn_too(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let (silent, _first) = dial(running.address, agent.tls()).await.unwrap();
    let (rude, _second) = dial(running.address, agent.tls()).await.unwrap();
    let mut stream = rude.open().await.unwrap();
    wire::write_message(&mut stream, &AgentMessage::Ping { nonce: 1 })
        .await
        .unwrap();
    let end = timeout_soon(rude.closed()).await;
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::PROTOCOL));
    let end = timeout(SOON * 2, silent.closed()).await.unwrap();
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::TIMEOUT));
}

async fn goodbye_reaches_every_agent_with_a_delay_and_ends_the_sessions(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let mut sessions = Vec::new();
    for name in ["a", "b", "c"] {
        let agent = world.paired(name).await;
        sessions.push(
            connect(running.address, agent.tls(), hello())
                .await
                .unwrap(),
        );
    }
    let listen = async {
        let mut delays = Vec::new();
        for session in &mut sessions {
            let RelayMessage::Goodbye(goodbye) = session.hear().await else {
                panic!()
            };
            delays.push(goodbye.delay_ms);
            let end = timeout_soon(session.tunnel.closed()).await;
            assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::GOODBYE));
        }
        delays.sort_unstable();
        delays
    };
    let goodbye = world.agents.goodbye_all(Duration::from_secs(2));
    let (delays, ()) = timeout_soon(async { tokio::join!(listen, goodbye) }).await;
    assert_eq!(delays, [2000, 2002, 2004]);
    assert!(world.agents.list().is_empty());
    let late = world.paired("late").await;
    let refused = connect(running.address, late.tls(), hello()).await;
    assert!(matches!(
        refused,
        Err((
            TunnelError::ClosedByPeer(CloseCode::BUSY),
            Some(RelayMessage::Refused { .. })
        ))
    ));
    running.stop.cancel();
    timeout_soon(running.task).await.unwrap();
}

/// Opens a stream for `purpose`: the relay's end, and the agent's.
async fn opened(
    world: &World,
    id: &str,
    session: &Session,
    purpose: Purpose,
) -> (TunnelStream, TunnelStream) {
    let request = OpenRequest {
        purpose,
        ..open_request("main")
    };
    let serve = async {
        let mut stream = session.tunnel.accept().await.unwrap();
        let _: OpenRequest = wire::read_message(&mut stream).await.unwrap();
        wire::write_message(&mut stream, &OpenAnswer::Opened)
            .await
            .unwrap();
        stream
    };
    let (near, far) = tokio::join!(world.agents.open(id, request), serve);
    (near.unwrap(), far)
}

/// Says the agent's goodbye and waits until the relay has noticed.
async fn leave(world: &World, session: &mut Session) {
    let mut changes = world.agents.changes();
    let goodbye = Goodbye {
        delay_ms: 0,
        reason: "the agent is shutting down".into(),
    };
    session.say(AgentMessage::Goodbye(goodbye)).await;
    timeout_soon(changes.changed()).await.unwrap();
}

async fn an_agent_that_says_goodbye_keeps_its_streams_until_it_closes(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let mut session = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let id = agent.id();
    let (mut near, mut far) = opened(&world, &id, &session, Purpose::Session).await;
    leave(&world, &mut session).await;
    let refused = world.agents.open(&id, open_request("main")).await;
    assert!(matches!(refused, Err(OpenError::Offline)));
    opened(&world, &id, &session, Purpose::Cancel).await;

    // What was open goes on, in both directions and to its orderly end.
    near.write_all(b"commit").await.unwrap();
    near.shutdown().await.unwrap();
    let mut heard = Vec::new();
    timeout_soon(far.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"commit");
    far.write_all(b"done").await.unwrap();
    far.shutdown().await.unwrap();
    heard.clear();
    timeout_soon(near.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"done");
    // The end of the control stream is no end of the session: the agent closes when it is ready.
    session.writer.shutdown().await.unwrap();
    timeout_soon(session.writer.drained()).await;
    assert_eq!(session.tunnel.close_reason(), None);
    assert!(world.agents.live(&id).is_some());
    session.tunnel.close(CloseCode::GOODBYE);
    timeout_soon(world.agents.wait_offline(&id)).await;
}

async fn an_agent_that_stays_after_its_goodbye_is_cut_off_or_revoked(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let mut sessions = Vec::new();
    for name in ["stays", "revoked"] {
        let agent = world.paired(name).await;
        let mut session = connect(running.address, agent.tls(), hello())
            .await
            .unwrap();
        leave(&world, &mut session).await;
        sessions.push(session);
    }
    world
        .pairing
        .revoke(ASKER, "revoked", world.now())
        .await
        .unwrap();
    let end = timeout_soon(sessions[1].tunnel.closed()).await;
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::REVOKED));
    let leaving = crate::tunnel::limits::LEAVING + SOON;
    let end = timeout(leaving, sessions[0].tunnel.closed()).await.unwrap();
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::GOODBYE));
}

async fn a_session_ends_with_its_certificate(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    // The relay's clock stands after the end: what is left of the session is nothing.
    world.pass(73 * HOUR);
    let session = connect(running.address, agent.tls(), hello())
        .await
        .unwrap();
    let end = timeout_soon(session.tunnel.closed()).await;
    assert_eq!(end, TunnelError::ClosedByPeer(CloseCode::EXPIRED));
}

/// Panics for one agent, and asks the real one for all others.
struct Trapdoor {
    pairing: Arc<Pairing>,
    victim: String,
}

impl Doorkeeper for Trapdoor {
    async fn admit(&self, leaf: &AgentLeaf) -> Result<(), NotAdmitted> {
        assert_ne!(leaf.identity.agent(), self.victim, "planted");
        self.pairing.admit(leaf).await
    }

    async fn note_seen(&self, _: &AgentIdentity, _: &str, _: &str, _: SystemTime) {}

    async fn note_clone(&self, _: &AgentIdentity, _: SocketAddr, _: SystemTime) {}

    fn trust(&self) -> Option<Trust> {
        None
    }

    fn note_trust(&self, _: &AgentIdentity, _: u64) {}

    async fn renew(
        &self,
        leaf: &AgentLeaf,
        csr_der: &[u8],
        now: SystemTime,
    ) -> Result<Renewal, RenewRefusal> {
        self.pairing.renew(leaf, csr_der, now).await
    }

    async fn pair(&self, ask: PairAsk, from: IpAddr, now: SystemTime) -> PairAnswer {
        self.pairing.pair(ask, from, now).await
    }
}

#[tokio::test]
async fn a_panic_in_one_connection_does_not_stop_the_others() {
    let world = World::new();
    let victim = world.paired("victim").await;
    let other = world.paired("other").await;
    let door = Trapdoor {
        pairing: world.pairing.clone(),
        victim: victim.id(),
    };
    let running = world.listen_with(Arc::new(door));
    let before = connect(running.address, other.tls(), hello())
        .await
        .unwrap();
    let broken = timeout_soon(connect(running.address, victim.tls(), hello())).await;
    assert!(broken.is_err());
    assert_eq!(before.tunnel.close_reason(), None);
    connect(running.address, other.tls(), hello())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_restarted_relay_tells_agents_at_once_that_it_forgot_them() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    let bind = |address: SocketAddr, agents: Agents| {
        let config = ListenerConfig {
            address,
            quic: QuicSettings::default(),
        };
        let (custody, door) = (world.custody.clone(), world.pairing.clone());
        Listener::bind(&config, custody, door, agents, world.clock()).unwrap()
    };
    // The first life has its own runtime, so that it can die without a word.
    let first_life = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let address = {
        let _inside = first_life.enter();
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), Agents::new());
        let address = listener.local().unwrap();
        first_life.spawn(listener.run(tokio_util::sync::CancellationToken::new()));
        address
    };
    let at = At {
        address,
        transport: Transport::Quic,
    };
    let mut session = connect(at, agent.tls(), hello()).await.unwrap();
    tokio::task::spawn_blocking(move || first_life.shutdown_timeout(SOON))
        .await
        .unwrap();
    let second = bind(address, world.agents.clone());
    let _second = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(
        second.run(tokio_util::sync::CancellationToken::new()),
    ));
    session.say(AgentMessage::Ping { nonce: 1 }).await;
    let end = timeout_soon(session.tunnel.closed()).await;
    assert_eq!(end, TunnelError::PeerRestarted);
}

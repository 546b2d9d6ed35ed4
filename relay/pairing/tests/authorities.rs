//! What changes while agents are paired: the authorities, what agents offer, who else has their identity.
//! Each is a `tokio::test` over both transports.

use std::net::IpAddr;
use std::time::Duration;

use tidegate_shared::identity::{AuthorityKind, trust};
use tidegate_shared::tunnel::{IdentityFault, Transport};
use tidegate_shared::wire::{self, AgentMessage, PairAnswer, PairAsk, RelayMessage};

use super::world::{ASKER, At, Credentials, Session, World, connect, hello, timeout_soon};

use crate::pairing::PairingError;
use crate::tunnel::Doorkeeper;

/// Certificates know seconds, and begin some minutes before they are made.
const MOMENT: Duration = Duration::from_secs(2);

over_both!(
    an_identity_in_use_at_two_places_is_told_and_noted,
    what_an_agent_offers_may_change_within_a_session,
    a_paired_agent_is_told_of_the_relays_next_authority,
    an_agent_of_the_former_authority_comes_in_until_that_is_dropped,
);

async fn an_identity_in_use_at_two_places_is_told_and_noted(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let come = async |instance: u64| {
        let mut hello = hello();
        hello.instance = wire::Grown(instance);
        connect(running.address, agent.tls(), hello).await.unwrap()
    };
    // Restarted, and then connected again.
    let _first = come(1).await;
    let _second = come(2).await;
    let second = come(2).await;
    assert_eq!(world.agents.cloned(&agent.id()), None);
    assert!(!world.audit().await.contains(&"agent.clone".to_owned()));
    // But the first one was there all the time.
    let _first = come(1).await;
    let end = timeout_soon(second.tunnel.closed()).await;
    assert_eq!(end.identity_fault(), Some(IdentityFault::Elsewhere));
    assert_eq!(world.agents.cloned(&agent.id()), Some(world.now()));
    // It is noted after the acknowledgement.
    let noted = async {
        while world.audit().await[0] != "agent.clone" {
            tokio::task::yield_now().await;
        }
    };
    timeout_soon(noted).await;
}

async fn what_an_agent_offers_may_change_within_a_session(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let agent = world.paired("office-db").await;
    let connected = connect(running.address, agent.tls(), hello()).await;
    let mut session = connected.unwrap();
    assert_eq!(session.ack.knows.0, AgentMessage::KINDS);
    let mut offer = hello().offer();
    offer.forward_targets = Some(vec!["main".to_owned()]);
    offer.ddl_targets = vec!["main".to_owned()];
    let mut changes = world.agents.changes();
    changes.borrow_and_update();
    session.say(AgentMessage::Offers(offer)).await;
    timeout_soon(changes.changed()).await.unwrap();
    let live = world.agents.live(&agent.id()).unwrap();
    assert!(!live.forwards_not("main") && live.forwards_not("other"));
    assert!(live.allows_ddl("main"));
    assert_eq!(live.session, session.ack.session);
}

/// Hears a list of authorities and takes it as an agent does.
async fn take_trust(session: &mut Session, agent: &mut Credentials, generation: u64) {
    let trust = loop {
        let RelayMessage::Trust(trust) = timeout_soon(session.hear()).await else {
            panic!("no list")
        };
        // Who connects while a list is made hears of it twice.
        if trust.generation >= generation {
            break trust;
        }
    };
    let der = trust.authorities_der.iter().cloned();
    let list: Vec<_> = der.map(rustls_pki_types::CertificateDer::from).collect();
    trust::check(
        &agent.relay_authorities,
        generation,
        &list,
        &trust.signatures,
    )
    .unwrap();
    agent.relay_authorities = list;
    session.say(AgentMessage::Trusts { generation }).await;
}

/// Until exactly these agents would be lost.
async fn wait_until_lost(world: &World, kind: AuthorityKind, expected: &[&str]) {
    let lost = async {
        loop {
            let view = world.pairing.authority(kind, world.now()).await.unwrap();
            let names = view.waiting_for.iter().map(|agent| agent.name.as_str());
            if names.eq(expected.iter().copied()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout_soon(lost).await;
}

/// The listener takes the change up a moment later.
async fn connect_at_last(at: At, agent: &Credentials, generation: u64) -> Session {
    let connected = async {
        loop {
            let mut hello = hello();
            hello.trust_generation = wire::Grown(generation);
            if let Ok(session) = connect(at, agent.tls(), hello).await {
                return session;
            }
        }
    };
    timeout_soon(connected).await
}

async fn a_paired_agent_is_told_of_the_relays_next_authority(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let (kind, now) = (AuthorityKind::Relays, world.now());
    let mut agent = world.paired("office-db").await;
    let mut away = world.paired("away").await;
    let connected = connect(running.address, agent.tls(), hello()).await;
    let mut session = connected.unwrap();
    world
        .pairing
        .renew_authority(ASKER, kind, now)
        .await
        .unwrap();
    wait_until_lost(&world, kind, &["away", "office-db"]).await;
    let refused = world
        .pairing
        .finish_authority(ASKER, kind, false, now)
        .await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("away, office-db"), "{told}");
    take_trust(&mut session, &mut agent, 1).await;
    wait_until_lost(&world, kind, &["away"]).await;
    // Who was away hears of it at its next hello, over the certificate of the present one.
    let connected = connect(running.address, away.tls(), hello()).await;
    let mut back = connected.unwrap();
    take_trust(&mut back, &mut away, 1).await;
    // Who is paired meanwhile trusts both at once.
    let paired = world.paired("later").await;
    assert_eq!(paired.relay_authorities.len(), 2);
    let later = connect_at_last(running.address, &paired, 1).await;
    wait_until_lost(&world, kind, &[]).await;

    let finished = world
        .pairing
        .finish_authority(ASKER, kind, false, now)
        .await;
    assert!(finished.unwrap().state.roll_over.is_none());
    take_trust(&mut session, &mut agent, 2).await;
    assert_eq!(agent.relay_authorities.len(), 1);
    drop((session, back, later));
    // The certificate that the relay shows from now on is the new one's.
    connect_at_last(running.address, &agent, 2).await;
    let actions = world.audit().await;
    for action in ["authority.renew", "authority.finish"] {
        assert!(actions.contains(&action.to_owned()), "{actions:?}");
    }
}

async fn an_agent_of_the_former_authority_comes_in_until_that_is_dropped(transport: Transport) {
    let world = World::over(transport);
    let running = world.listen();
    let kind = AuthorityKind::Agents;
    // Certified in the same second, and yet before.
    let agent = world.paired("office-db").await;
    let renewed = world
        .pairing
        .renew_authority(ASKER, kind, world.now())
        .await;
    let waits = renewed.unwrap().waiting_for;
    assert_eq!(waits.len(), 1, "its certificate is of the former one");
    world.pass(MOMENT);
    let newer = world.paired("newer").await;
    assert_ne!(newer.chain[1], agent.chain[1]);
    let waits = world.pairing.authority(kind, world.now()).await.unwrap();
    assert_eq!(waits.waiting_for[0].name, "office-db");
    for of_either in [&agent, &newer] {
        connect_at_last(running.address, of_either, 0).await;
    }
    let refused = world
        .pairing
        .finish_authority(ASKER, kind, false, world.now());
    assert!(matches!(refused.await, Err(PairingError::WouldLose(_))));
    let forced = world
        .pairing
        .finish_authority(ASKER, kind, true, world.now());
    assert!(forced.await.unwrap().waiting_for.is_empty());
    let refused = async {
        loop {
            match connect(running.address, agent.tls(), hello()).await {
                Err((error, _)) => return error,
                Ok(session) => drop(session),
            }
        }
    };
    let error = timeout_soon(refused).await;
    assert_eq!(error.identity_fault(), Some(IdentityFault::Unknown));
    connect(running.address, newer.tls(), hello())
        .await
        .unwrap();
    // Its key is still known.
    let ask = PairAsk::Reissue(wire::ReissueRequest {
        csr_der: agent.key.csr_der().unwrap(),
        host: "db1".into(),
        agent_version: "0.1.0".into(),
    });
    let answer = world
        .pairing
        .pair(ask, IpAddr::from([127, 0, 0, 1]), world.now());
    let PairAnswer::Paired(paired) = answer.await else {
        panic!("refused")
    };
    let again = Credentials::new(&paired, &agent.key);
    connect(running.address, again.tls(), hello())
        .await
        .unwrap();
}

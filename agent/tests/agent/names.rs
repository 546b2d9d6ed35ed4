//! Names of relays: several addresses of one, one that moves, several relays, and another authority.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tidegate_agent::config::TransportChoice;
use tidegate_agent::identity::enroll;
use tidegate_agent::identity::keystore::Keystore;
use tidegate_agent::route::{Resolver, Routes};
use tidegate_shared::identity::{AuthorityKind, CertificateAuthority, trust};
use tidegate_shared::pairing::{PairingToken, RelayAddr};
use tidegate_shared::tunnel::{CloseCode, Transport};
use tidegate_shared::wire::{AgentMessage, RelayMessage, Trust, write_message};

use super::relay::{HOUR, Relay, Session, start_with};

const NAME: &str = "relay.test";

/// Where the name leads, which may change.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Vec<SocketAddr>>>);

impl Zone {
    fn leading_to(addresses: &[SocketAddr]) -> Zone {
        let zone = Zone::default();
        zone.lead_to(addresses);
        zone
    }

    fn lead_to(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }

    fn routes(&self, choice: TransportChoice) -> Routes {
        let zone = self.clone();
        let resolver: Resolver = Arc::new(move |relay: &RelayAddr| {
            assert_eq!(relay.host, NAME);
            Ok(zone.0.lock().unwrap().clone())
        });
        Routes::new(choice).resolving(resolver)
    }
}

fn named(relay: &Relay) -> PairingToken {
    let at = RelayAddr {
        host: NAME.into(),
        port: 443,
    };
    PairingToken {
        relays: vec![at],
        ..relay.token()
    }
}

/// Pairs by that token over any relay that answers.
async fn pair(relay: &Relay, token: &PairingToken, routes: &Routes) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let store = Keystore::new(state.path());
    let (paired, ()) = tokio::join!(
        enroll::pair(token, &store, routes),
        relay.answer(|csr| relay.paired(csr, Duration::ZERO, HOUR)),
    );
    paired.unwrap();
    state
}

fn with_udp(name: &str) -> Relay {
    let mut relay = Relay::named(name);
    relay.let_udp_pass();
    relay
}

/// Nothing listens there, or the family leads nowhere: both are silent over UDP.
fn dead() -> [SocketAddr; 2] {
    [
        ([0, 0, 0, 0, 0, 0, 0, 1], 9).into(),
        ([127, 0, 0, 1], 9).into(),
    ]
}

#[tokio::test]
async fn an_address_that_leads_nowhere_costs_a_moment_and_not_the_transport() {
    let relay = with_udp(NAME);
    let [six, four] = dead();
    let zone = Zone::leading_to(&[six, four, relay.local()]);
    let routes = zone.routes(TransportChoice::Auto);
    let state = pair(&relay, &named(&relay), &routes).await;
    let _agent = start_with(state, &[], routes);
    let session = relay.session().await;
    assert_eq!(session.tunnel.transport(), Transport::Quic);
}

#[tokio::test]
async fn a_name_that_moves_is_followed_at_the_next_dial() {
    for choice in [TransportChoice::Quic, TransportChoice::Tcp] {
        let relay = with_udp(NAME);
        let moved = relay.twin(&relay.relays, NAME);
        let zone = Zone::leading_to(&[relay.local()]);
        let state = pair(&relay, &named(&relay), &zone.routes(choice)).await;
        let _agent = start_with(state, &[], zone.routes(choice));
        let session = relay.session().await;
        zone.lead_to(&[moved.local()]);
        session.tunnel.close(CloseCode::BUSY);
        moved.session().await;
    }
}

#[tokio::test]
async fn a_relay_that_is_gone_is_left_for_the_next_of_the_token() {
    let relay = Relay::start();
    let second = relay.twin(&relay.relays, "127.0.0.1");
    let token = PairingToken {
        relays: vec![relay.address(), second.address()],
        ..relay.token()
    };
    let routes = || Routes::new(TransportChoice::Tcp);
    let state = pair(&relay, &token, &routes()).await;
    let agent = start_with(state, &[], routes());
    drop(relay.session().await);
    drop(relay);
    let _session = second.session().await;
    let connected = async {
        let expected = second.address().to_string();
        while agent.board.read().relay.as_deref() != Some(&expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), connected)
        .await
        .expect("`status` names the relay that is connected");

    // Pairing itself goes on to the next one, too.
    let [_, nowhere] = dead();
    let gone = RelayAddr {
        host: nowhere.ip().to_string(),
        port: nowhere.port(),
    };
    let token = PairingToken {
        relays: vec![gone, second.address()],
        ..second.token()
    };
    pair(&second, &token, &routes()).await;
}

fn list(generation: u64, signer: &CertificateAuthority, all: &[&CertificateAuthority]) -> Trust {
    let all: Vec<_> = all.iter().map(|one| one.certificate().clone()).collect();
    Trust {
        generation,
        authorities_der: all.iter().map(|der| der.to_vec()).collect(),
        signatures: vec![trust::sign(signer, generation, &all).unwrap()],
    }
}

async fn tell(session: &mut Session, trust: Trust) {
    let message = RelayMessage::Trust(trust);
    write_message(&mut session.writer, &message).await.unwrap();
}

/// Waits until the agent says that it trusts a list. Over TCP it comes again for it: more connections of
/// the session would be dialled with what was trusted at its start.
async fn taken(relay: &Relay, mut session: Session, generation: u64) -> Session {
    if session.tunnel.transport() == Transport::Tcp {
        let session = relay.session().await;
        assert_eq!(session.hello.trust_generation.0, generation);
        return session;
    }
    assert_eq!(session.hear().await, AgentMessage::Trusts { generation });
    session
}

#[tokio::test]
async fn another_authority_is_trusted_as_far_as_the_present_one_vouches_for_it() {
    for choice in [TransportChoice::Quic, TransportChoice::Tcp] {
        let relay = with_udp(NAME);
        let now = SystemTime::now();
        let next = CertificateAuthority::generate(AuthorityKind::Relays, now).unwrap();
        let renewed = relay.twin(&next, NAME);
        let zone = Zone::leading_to(&[relay.local()]);
        let state = pair(&relay, &named(&relay), &zone.routes(choice)).await;
        let agent = start_with(state, &[], zone.routes(choice));
        let mut session = relay.session().await;
        assert_eq!(session.hello.trust_generation.0, 0);
        // Signed by nobody whom the agent trusts: as if only a relay's certificate was stolen.
        tell(&mut session, list(1, &next, &[&next])).await;
        tell(
            &mut session,
            list(2, &relay.relays, &[&relay.relays, &next]),
        )
        .await;
        session = taken(&relay, session, 2).await;
        assert_eq!(agent.store.current().unwrap().relay_authorities.len(), 2);

        zone.lead_to(&[renewed.local()]);
        session.tunnel.close(CloseCode::GOODBYE);
        let mut session = renewed.session().await;
        tell(&mut session, list(3, &next, &[&next])).await;
        let _session = taken(&renewed, session, 3).await;
        let kept = agent.store.current().unwrap();
        assert_eq!(kept.relay_authorities, [next.certificate().clone()]);
        let noted = agent.origin.audit().tail(100).unwrap();
        let count = |action: &str| noted.iter().filter(|entry| entry.action == action).count();
        assert_eq!(
            (count("authority.trust"), count("authority.refuse")),
            (2, 1)
        );
    }
}

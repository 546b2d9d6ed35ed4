//! Certificates: who may be whom, and what is ignored.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use tidegate_shared::identity::*;
use tidegate_shared::tunnel::{CertificateFault, TunnelError};

use crate::world::{Credentials, RELAY_NAME, World, dialer};

/// What the relay's listener and an agent's dial say about these credentials.
async fn attempt(
    world: &World,
    relay: Credentials,
    client: rustls::ClientConfig,
    name: &str,
) -> (
    Result<Option<AgentLeaf>, TunnelError>,
    Result<(), TunnelError>,
) {
    let (listener, address) = world.listen_as(relay);
    let dialer = dialer();
    let serve = async {
        let arriving = listener.accept().await.unwrap();
        let tunnel = arriving.handshake().await?.unwrap();
        Ok(tunnel
            .peer_leaf()
            .and_then(|leaf| AgentLeaf::from_verified(leaf).ok()))
    };
    let dial = async {
        let tunnel = dialer.dial(address, name, client).await?;
        // TLS 1.3 clients finish first: a refusal of their certificate comes afterwards.
        let mut stream = tunnel.open().await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"x")
            .await
            .ok();
        match tokio::time::timeout(Duration::from_millis(300), tunnel.closed()).await {
            Ok(reason @ TunnelError::RefusedByPeer(_)) => Err(reason),
            _ => Ok(()),
        }
    };
    tokio::join!(serve, dial)
}

/// Both ends in memory.
fn shake_hands(
    client: rustls::ClientConfig,
    server: rustls::ServerConfig,
) -> Result<(), rustls::Error> {
    let name = RELAY_NAME.try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
    let mut server = rustls::ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn nothing_older_than_tls_1_3_is_spoken_and_nothing_comes_early() {
    let world = World::new();
    let server = world.relay_tls(world.relay());
    let tickets_and_early = (server.send_tls13_tickets, server.max_early_data_size);
    assert_eq!(tickets_and_early, (0, 0));
    let ours = world.agent_tls(world.agent("a1"));
    assert!(!ours.enable_early_data);
    shake_hands(ours, server.clone()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.relays.certificate().clone()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut older = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    older.alpn_protocols = vec![tls::ALPN_AGENT.to_vec()];
    let refused = shake_hands(older, server).unwrap_err();
    assert!(
        matches!(refused, rustls::Error::PeerIncompatible(_)),
        "{refused}"
    );
}

#[tokio::test]
async fn a_paired_agent_is_recognised_by_its_leaf() {
    let world = World::new();
    let tls = world.agent_tls(world.agent("a1"));
    let (relay, agent) = attempt(&world, world.relay(), tls, RELAY_NAME).await;
    let leaf = relay.unwrap().unwrap();
    assert_eq!(leaf.identity, AgentIdentity::new("default", "a1").unwrap());
    agent.unwrap();
}

#[tokio::test]
async fn identity_comes_only_from_the_leaf_whatever_fills_the_chain() {
    let world = World::new();
    let mut mine = world.agent("a1");
    let other = world.agent("a2");
    mine.chain.push(other.chain[0].clone());
    mine.chain.swap(1, 2);
    let (relay, _) = attempt(&world, world.relay(), world.agent_tls(mine), RELAY_NAME).await;
    assert_eq!(relay.unwrap().unwrap().identity.agent(), "a1");
}

#[tokio::test]
async fn a_foreign_leaf_is_refused_even_with_a_good_certificate_behind_it() {
    let world = World::new();
    let victim = world.agent("a1");
    // Self-made leaf that claims the victim's identity, with the victim's chain as filler.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let uri = AgentIdentity::new("default", "a1").unwrap().to_uri();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let forged = params.self_signed(&key).unwrap().der().clone();
    let mut chain = vec![forged];
    chain.extend(victim.chain);
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = world.agent_tls(Credentials { chain, key });
    let (relay, agent) = attempt(&world, world.relay(), tls, RELAY_NAME).await;
    assert_eq!(
        relay,
        Err(TunnelError::PeerNotTrusted(
            CertificateFault::UnknownAuthority
        ))
    );
    assert_eq!(
        agent,
        Err(TunnelError::RefusedByPeer(
            CertificateFault::UnknownAuthority
        ))
    );
}

#[tokio::test]
async fn an_agent_certificate_cant_act_as_a_relay() {
    let world = World::new();
    // Against a paired agent: another authority.
    let tls = world.agent_tls(world.agent("a1"));
    let (_, agent) = attempt(&world, world.agent("rogue"), tls, RELAY_NAME).await;
    assert!(
        matches!(agent, Err(TunnelError::PeerNotTrusted(_))),
        "{agent:?}"
    );
    // Even for somebody who trusts the agents' authority: another purpose.
    let trusting = tls::pairing_client(&[world.agents.spki_pin().unwrap()]).unwrap();
    let (_, agent) = attempt(&world, world.agent("rogue"), trusting, RELAY_NAME).await;
    assert!(
        matches!(agent, Err(TunnelError::PeerNotTrusted(_))),
        "{agent:?}"
    );
}

#[tokio::test]
async fn a_relay_certificate_cant_act_as_an_agent() {
    let world = World::new();
    let relay_as_agent = world.agent_tls(world.relay());
    let (relay, _) = attempt(&world, world.relay(), relay_as_agent, RELAY_NAME).await;
    assert!(
        matches!(relay, Err(TunnelError::PeerNotTrusted(_))),
        "{relay:?}"
    );
}

#[tokio::test]
async fn a_wrong_relay_name_is_refused() {
    let world = World::new();
    let tls = world.agent_tls(world.agent("a1"));
    let (_, agent) = attempt(&world, world.relay(), tls, "other.test").await;
    assert_eq!(
        agent,
        Err(TunnelError::PeerNotTrusted(CertificateFault::WrongName))
    );
    let tls = world.agent_tls(world.agent("a1"));
    let (_, agent) = attempt(&world, world.relay(), tls, "127.0.0.1").await;
    agent.unwrap();
}

#[tokio::test]
async fn relay_and_agent_of_another_installation_are_told_as_such() {
    // Authorities of both have the same names: only their keys tell them apart.
    let (world, other) = (World::new(), World::new());
    let tls = world.agent_tls(world.agent("a1"));
    let (_, agent) = attempt(&other, other.relay(), tls, RELAY_NAME).await;
    let unknown = CertificateFault::UnknownAuthority;
    assert_eq!(agent, Err(TunnelError::PeerNotTrusted(unknown)));
    let tls = world.agent_tls(other.agent("a1"));
    let (relay, agent) = attempt(&world, world.relay(), tls, RELAY_NAME).await;
    assert_eq!(relay, Err(TunnelError::PeerNotTrusted(unknown)));
    assert_eq!(agent, Err(TunnelError::RefusedByPeer(unknown)));
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let world = World::new();
    let past = world.now - Duration::from_secs(7200);
    let old = world.agent_valid(
        "a1",
        Validity {
            now: past,
            life: Duration::from_secs(60),
        },
    );
    let (relay, agent) = attempt(&world, world.relay(), world.agent_tls(old), RELAY_NAME).await;
    assert_eq!(
        relay,
        Err(TunnelError::PeerNotTrusted(CertificateFault::Expired))
    );
    assert_eq!(
        agent,
        Err(TunnelError::RefusedByPeer(CertificateFault::Expired))
    );
}

#[tokio::test]
async fn pairing_checks_pin_and_name_before_anything_is_sent() {
    let world = World::new();
    let (relay, agent) = attempt(&world, world.relay(), world.pairing_tls(), RELAY_NAME).await;
    assert_eq!(relay, Ok(None));
    agent.unwrap();

    let wrong_pin = tls::pairing_client(&[[5; 32]]).unwrap();
    let (_, agent) = attempt(&world, world.relay(), wrong_pin, RELAY_NAME).await;
    assert_eq!(
        agent,
        Err(TunnelError::PeerNotTrusted(
            CertificateFault::UnknownAuthority
        ))
    );

    let (_, agent) = attempt(&world, world.relay(), world.pairing_tls(), "other.test").await;
    assert_eq!(
        agent,
        Err(TunnelError::PeerNotTrusted(CertificateFault::WrongName))
    );
}

#[tokio::test]
async fn the_pinned_certificate_alone_does_not_vouch_for_a_foreign_leaf() {
    let world = World::new();
    let intruder = World::new();
    let mut relay = intruder.relay();
    // A man in the middle has seen the true authority's certificate and appends it.
    relay.chain = vec![relay.chain[0].clone(), world.relays.certificate().clone()];
    let (_, agent) = attempt(&world, relay, world.pairing_tls(), RELAY_NAME).await;
    assert!(
        matches!(agent, Err(TunnelError::PeerNotTrusted(_))),
        "{agent:?}"
    );
}

#[test]
fn authorities_in_a_pairing_answer_must_match_the_pins() {
    let world = World::new();
    let pins = [world.relays.spki_pin().unwrap()];
    let pinned = vec![world.relays.certificate().clone()];
    assert_eq!(tls::pinned_of(pinned.clone(), &pins).unwrap(), pinned);
    let other = world.agents.certificate().clone();
    let both = vec![other.clone(), pinned[0].clone()];
    assert_eq!(tls::pinned_of(both, &pins).unwrap(), pinned);
    assert!(tls::pinned_of(vec![other], &pins).is_err());
    assert!(tls::pinned_of(Vec::new(), &pins).is_err());
}

#[test]
fn names_in_a_request_are_ignored() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = params.serialize_request(&key).unwrap();
    let identity = AgentIdentity::new("default", "a1").unwrap();
    let issued = world
        .agents
        .issue_agent(csr.der(), &identity, world.validity())
        .unwrap();
    let leaf = AgentLeaf::from_verified(&issued.chain[0]).unwrap();
    assert_eq!(leaf.identity, identity);
    assert_eq!(leaf.facts, issued.facts);
    assert!(CertificateAuthority::from_pem(&pem_of(&issued.chain[0])).is_err());
}

#[test]
fn bad_requests_are_refused() {
    let world = World::new();
    let identity = AgentIdentity::new("default", "a1").unwrap();
    let mut tampered = AgentKey::generate().unwrap().csr_der().unwrap();
    let end = tampered.len() - 1;
    tampered[end] ^= 1;
    let other_kind = KeyPair::generate_for(&rcgen::PKCS_ED25519).map(|key| {
        CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .der()
            .to_vec()
    });
    for bad in [
        vec![],
        vec![0; 100],
        vec![0x30; 5000],
        tampered,
        other_kind.unwrap(),
    ] {
        let result = world.agents.issue_agent(&bad, &identity, world.validity());
        assert!(matches!(result, Err(IdentityError::Request(_))));
    }
}

#[test]
fn authorities_keep_to_their_kind_and_survive_their_file() {
    let world = World::new();
    let identity = AgentIdentity::new("default", "a1").unwrap();
    let csr = AgentKey::generate().unwrap().csr_der().unwrap();
    assert!(matches!(
        world.relays.issue_agent(&csr, &identity, world.validity()),
        Err(IdentityError::WrongAuthority { .. })
    ));
    let reloaded = CertificateAuthority::from_pem(&world.agents.to_pem()).unwrap();
    assert_eq!(reloaded.kind(), AuthorityKind::Agents);
    assert_eq!(
        reloaded.spki_pin().unwrap(),
        world.agents.spki_pin().unwrap()
    );
    reloaded
        .issue_agent(&csr, &identity, world.validity())
        .unwrap();
    // A certificate beside another authority's key is noticed.
    let mixed = format!(
        "{}{}",
        pem_of(world.relays.certificate()),
        *world.agents.to_pem()
    );
    assert!(CertificateAuthority::from_pem(&mixed).is_err());
    assert!(!format!("{:?}", world.agents).contains("BEGIN"));
}

#[test]
fn agent_keys_survive_their_file_and_hide_in_debug() {
    let key = AgentKey::generate().unwrap();
    let back = AgentKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(back.fingerprint(), key.fingerprint());
    assert_eq!(
        requested_key_pin(&key.csr_der().unwrap()).unwrap(),
        key.fingerprint()
    );
    assert_eq!(format!("{key:?}"), "AgentKey(hidden)");
}

#[test]
fn a_leaf_with_more_than_one_name_is_no_agent() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let uri = AgentIdentity::new("default", "a1").unwrap().to_uri();
    params
        .subject_alt_names
        .push(rcgen::SanType::URI(uri.try_into().unwrap()));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let leaf: CertificateDer = params.self_signed(&key).unwrap().into();
    assert!(AgentLeaf::from_verified(&leaf).is_err());
}

#[test]
fn certificates_know_their_dates_and_names() {
    let world = World::new();
    let issued = world.relay().chain;
    let facts = CertificateFacts::read(&issued[0]).unwrap();
    assert!(facts.not_before < world.now && facts.not_after > world.now);
    assert!(facts.half_life() > facts.not_before && facts.half_life() < facts.not_after);
    let names = ["127.0.0.1".to_owned(), RELAY_NAME.to_owned()];
    assert!(relay_chain_names_match(&issued[0], &names).unwrap());
    assert!(!relay_chain_names_match(&issued[0], &names[..1]).unwrap());
}

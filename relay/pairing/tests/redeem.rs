//! Tokens, certificates and revocation against the store, without connections.

use std::net::IpAddr;
use std::time::Duration;

use tidegate_shared::identity::AgentKey;
use tidegate_shared::identity::limits::REISSUE;
use tidegate_shared::pairing::TokenSecret;
use tidegate_shared::wire::{PairAnswer, PairAsk, PairRefusal, ReissueRequest, RenewRefusal};

use super::world::{ASKER, Credentials, HOUR, World, request};
use crate::pairing::{Asker, PairingError, limits};
use crate::store::agents;
use crate::tunnel::{Doorkeeper, NotAdmitted};

const REFUSED: PairAnswer = PairAnswer::Refused {
    code: PairRefusal::NotAccepted,
};

fn key() -> AgentKey {
    AgentKey::generate().unwrap()
}

#[tokio::test]
async fn a_token_gives_a_certificate_that_is_admitted() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    let leaf = agent.leaf();
    assert_eq!(leaf.identity.workspace(), "default");
    assert_eq!(leaf.facts.key_pin, agent.key.fingerprint());
    assert_eq!(world.pairing.admit(&leaf).await, Ok(()));
    let record = world
        .store
        .view(|conn| agents::find_by_name(conn, "default", "office-db"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.id, agent.id());
    assert!(record.paired_at.is_some());
    assert_eq!(record.host.as_deref(), Some("db1"));
    let id = agent.id();
    let standing = world
        .store
        .view(move |conn| agents::standing(conn, "default", &id))
        .await
        .unwrap();
    let expected = agents::Standing {
        until: crate::pairing::unix_ms(leaf.facts.not_after),
        reissues: 0,
        key: agent.key.fingerprint(),
    };
    assert_eq!(standing, Some(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_parallel_redemptions_with_own_keys_give_one_agent() {
    let world = std::sync::Arc::new(World::new());
    let token = world.invite("office-db").await;
    let mut tasks = tokio::task::JoinSet::new();
    for address in 0..100 {
        let (world, token) = (world.clone(), token.clone());
        tasks.spawn(async move { world.redeem_from(&token, &key(), address).await });
    }
    let answers = tasks.join_all().await;
    let paired = answers
        .iter()
        .filter(|answer| matches!(answer, PairAnswer::Paired(_)))
        .count();
    assert_eq!(paired, 1);
    assert_eq!(
        answers.iter().filter(|answer| **answer == REFUSED).count(),
        99
    );
    let all = world
        .store
        .view(|conn| agents::list(conn, "default", true))
        .await
        .unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_parallel_redemptions_with_one_key_give_one_agent() {
    let world = std::sync::Arc::new(World::new());
    let token = world.invite("office-db").await;
    let pem = key().to_pem().to_string();
    let mut tasks = tokio::task::JoinSet::new();
    for address in 0..100 {
        let (world, token) = (world.clone(), token.clone());
        let key = AgentKey::from_pem(&pem).unwrap();
        tasks.spawn(async move {
            match world.redeem_from(&token, &key, address).await {
                PairAnswer::Paired(paired) => Some(Credentials::new(&paired, &key).id()),
                PairAnswer::Refused { .. } => None,
            }
        });
    }
    let mut ids: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        ids.len(),
        limits::CERTIFICATES_PER_HOUR as usize,
        "the rest asked too often"
    );
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn every_bad_token_gets_the_same_answer() {
    let world = World::new();
    let mut unknown = world.invite("a").await;
    unknown.id[0] ^= 1;
    assert_eq!(world.redeem(&unknown, &key()).await, REFUSED);

    let mut wrong = world.invite("b").await;
    wrong.secret = TokenSecret::new([0; 32]);
    assert_eq!(world.redeem(&wrong, &key()).await, REFUSED);
    let mut nothing = wrong.clone();
    nothing.id = [0; 16];
    assert_eq!(world.redeem(&nothing, &key()).await, REFUSED);

    let used = world.invite("c").await;
    assert!(matches!(
        world.redeem(&used, &key()).await,
        PairAnswer::Paired(_)
    ));
    assert_eq!(world.redeem(&used, &key()).await, REFUSED);

    let superseded = world.invite("d").await;
    let current = world.invite("d").await;
    assert_eq!(world.redeem(&superseded, &key()).await, REFUSED);

    let revoked = world.invite("e").await;
    world.pairing.revoke(ASKER, "e", world.now()).await.unwrap();
    assert_eq!(world.redeem(&revoked, &key()).await, REFUSED);

    world.pass(limits::EXPIRES_DEFAULT + Duration::from_secs(1));
    assert_eq!(world.redeem(&current, &key()).await, REFUSED);
}

#[tokio::test]
async fn a_lost_answer_may_be_asked_again_with_the_same_key_for_ten_minutes() {
    let world = World::new();
    let token = world.invite("office-db").await;
    let mine = key();
    let PairAnswer::Paired(first) = world.redeem(&token, &mine).await else {
        panic!()
    };
    world.pass(limits::REPEAT - Duration::from_secs(1));
    let PairAnswer::Paired(second) = world.redeem(&token, &mine).await else {
        panic!()
    };
    let (first, second) = (
        Credentials::new(&first, &mine),
        Credentials::new(&second, &mine),
    );
    assert_eq!(first.id(), second.id());
    assert_ne!(first.leaf().facts.serial, second.leaf().facts.serial);
    assert_eq!(world.pairing.admit(&first.leaf()).await, Ok(()));
    assert_eq!(world.redeem(&token, &key()).await, REFUSED);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.redeem(&token, &mine).await, REFUSED);
}

#[tokio::test]
async fn a_bad_request_uses_nothing_up() {
    let world = World::new();
    let token = world.invite("office-db").await;
    let mut bad = request(&token, &key());
    let end = bad.csr_der.len() - 1;
    bad.csr_der[end] ^= 1;
    let from = IpAddr::from([127, 0, 0, 1]);
    let answer = world
        .pairing
        .pair(PairAsk::Redeem(bad), from, world.now())
        .await;
    assert_eq!(
        answer,
        PairAnswer::Refused {
            code: PairRefusal::BadRequest
        }
    );
    assert!(matches!(
        world.redeem(&token, &key()).await,
        PairAnswer::Paired(_)
    ));
}

#[tokio::test]
async fn pairing_again_retires_the_old_key_and_keeps_the_agent() {
    let world = World::new();
    let old = world.paired("office-db").await;
    let new = world.paired("office-db").await;
    assert_eq!(old.id(), new.id());
    assert_eq!(
        world.pairing.admit(&old.leaf()).await,
        Err(NotAdmitted::Revoked)
    );
    assert_eq!(world.pairing.admit(&new.leaf()).await, Ok(()));
}

#[tokio::test]
async fn a_revoked_agent_is_never_admitted_or_renewed_and_its_name_is_free() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    let csr = agent.key.csr_der().unwrap();
    let id = world
        .pairing
        .revoke(ASKER, "office-db", world.now())
        .await
        .unwrap();
    assert_eq!(id, agent.id());
    assert_eq!(
        world.pairing.admit(&agent.leaf()).await,
        Err(NotAdmitted::Revoked)
    );
    let renewed = world.pairing.renew(&agent.leaf(), &csr, world.now()).await;
    assert_eq!(renewed.unwrap_err(), RenewRefusal::Revoked);
    assert_eq!(
        reissue(&world, &agent.key).await,
        refused(PairRefusal::Revoked)
    );
    let again = world.pairing.revoke(ASKER, "office-db", world.now()).await;
    assert!(matches!(again, Err(PairingError::NoAgent(_))));
    let successor = world.paired("office-db").await;
    assert_ne!(successor.id(), agent.id());
    assert_eq!(
        world.pairing.admit(&agent.leaf()).await,
        Err(NotAdmitted::Revoked)
    );
}

#[tokio::test]
async fn another_workspace_sees_and_revokes_nothing() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    let stranger = Asker {
        workspace: "other",
        actor: "intruder",
    };
    let result = world
        .pairing
        .revoke(stranger, "office-db", world.now())
        .await;
    assert!(matches!(result, Err(PairingError::NoAgent(_))));
    assert_eq!(world.pairing.admit(&agent.leaf()).await, Ok(()));
    let (id, facts) = (agent.id(), agent.leaf().facts);
    let presented = agents::Presented {
        workspace: "other".to_owned(),
        agent: id.clone(),
        serial: facts.serial,
        key: facts.key_pin,
    };
    let crossed = world
        .store
        .view(move |conn| {
            Ok((
                agents::find(conn, "other", &id)?.is_some(),
                agents::known(conn, &presented)?,
                agents::list(conn, "other", true)?.len(),
            ))
        })
        .await
        .unwrap();
    assert_eq!(crossed, (false, agents::Known::Nothing, 0));
}

#[tokio::test]
async fn renewal_gives_a_later_certificate_even_for_a_new_key() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    world.pass(36 * HOUR);
    let next = key();
    let csr = next.csr_der().unwrap();
    let renewal = world
        .pairing
        .renew(&agent.leaf(), &csr, world.now())
        .await
        .unwrap();
    assert!(renewal.not_after > agent.leaf().facts.not_after);
    let leaf = tidegate_shared::identity::AgentLeaf::from_verified(&renewal.chain[0]).unwrap();
    assert_eq!(leaf.identity, agent.leaf().identity);
    assert_eq!(leaf.facts.key_pin, next.fingerprint());
    assert_eq!(world.pairing.admit(&leaf).await, Ok(()));
    // The old one works until it ends: the new one may not have arrived.
    assert_eq!(world.pairing.admit(&agent.leaf()).await, Ok(()));
    let bad = world
        .pairing
        .renew(&agent.leaf(), b"nonsense", world.now())
        .await;
    assert_eq!(bad.unwrap_err(), RenewRefusal::BadRequest);
}

async fn reissue(world: &World, key: &AgentKey) -> PairAnswer {
    let ask = PairAsk::Reissue(ReissueRequest {
        csr_der: key.csr_der().unwrap(),
        host: "db1".into(),
        agent_version: "0.1.0".into(),
    });
    world
        .pairing
        .pair(ask, IpAddr::from([127, 0, 0, 1]), world.now())
        .await
}

#[tokio::test]
async fn an_agent_that_was_away_gets_another_certificate_for_its_key_only() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    world.pass(100 * HOUR);
    assert_eq!(reissue(&world, &key()).await, REFUSED);
    let PairAnswer::Paired(paired) = reissue(&world, &agent.key).await else {
        panic!()
    };
    let back = Credentials::new(&paired, &agent.key);
    assert_eq!(back.id(), agent.id());
    assert!(back.leaf().facts.not_after > world.now());
    let log = world.audit().await;
    assert!(log.contains(&"agent.reissue".to_owned()), "{log:?}");
    world.pass(72 * HOUR + REISSUE + HOUR);
    assert_eq!(
        reissue(&world, &agent.key).await,
        refused(PairRefusal::Lapsed)
    );
}

#[tokio::test]
async fn a_key_is_given_certificates_after_their_end_only_so_often() {
    let world = World::new();
    let agent = world.paired("office-db").await;
    for _ in 0..limits::REISSUES_PER_KEY_MAX {
        world.pass(73 * HOUR);
        let again = reissue(&world, &agent.key).await;
        assert!(matches!(again, PairAnswer::Paired(_)), "{again:?}");
    }
    world.pass(73 * HOUR);
    assert_eq!(
        reissue(&world, &agent.key).await,
        refused(PairRefusal::Lapsed)
    );
    // A new pairing has a new key.
    world.paired("office-db").await;
    assert_eq!(
        reissue(&world, &agent.key).await,
        refused(PairRefusal::Revoked)
    );
}

fn refused(code: PairRefusal) -> PairAnswer {
    PairAnswer::Refused { code }
}

#[tokio::test]
async fn bad_orders_of_the_operator_are_named() {
    let world = World::new();
    for name in ["", "a b", "ü", "../x", &"a".repeat(64)] {
        let result = world.pairing.invite(ASKER, name, HOUR, world.now()).await;
        assert!(matches!(result, Err(PairingError::Name(_))), "{name}");
    }
    for expires in [
        Duration::ZERO,
        Duration::from_secs(59),
        Duration::from_secs(8 * 86_400),
    ] {
        let result = world.pairing.invite(ASKER, "a", expires, world.now()).await;
        assert!(matches!(result, Err(PairingError::Expires)));
    }
}

#[tokio::test]
async fn a_flood_from_one_address_is_slowed_down() {
    let world = World::new();
    let mut token = world.invite("office-db").await;
    token.secret = TokenSecret::new([1; 32]);
    let mine = key();
    let mut busy = 0;
    for _ in 0..100 {
        match world.redeem(&token, &mine).await {
            PairAnswer::Refused {
                code: PairRefusal::Busy,
            } => busy += 1,
            answer => assert_eq!(answer, REFUSED),
        }
    }
    assert_eq!(busy, 40);
}

#[tokio::test]
async fn the_secret_is_in_no_file_and_every_step_is_in_the_audit_log() {
    let world = World::new();
    let token = world.invite("office-db").await;
    assert!(matches!(
        world.redeem(&token, &key()).await,
        PairAnswer::Paired(_)
    ));
    world
        .pairing
        .revoke(ASKER, "office-db", world.now())
        .await
        .unwrap();
    let mut files = 0;
    for entry in walk(world.dir.path()) {
        let bytes = std::fs::read(&entry).unwrap();
        let found = bytes.windows(32).any(|part| part == token.secret.expose());
        assert!(!found, "{}", entry.display());
        files += 1;
    }
    assert!(files >= 5);
    let actions = world.audit().await;
    assert_eq!(actions, ["agent.revoke", "agent.pair", "agent.invite"]);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

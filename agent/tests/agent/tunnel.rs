//! The whole agent against a relay that the test plays: pairing, hello, streams, renewal, leaving.

use std::time::Duration;

use tidegate_agent::identity::enroll::EnrollError;
use tidegate_agent::identity::keystore::{Keystore, KeystoreError};
use tidegate_agent::tunnel::status::{self, State};
use tidegate_shared::identity::{AgentLeaf, requested_key_pin};
use tidegate_shared::pairing::PairingToken;
use tidegate_shared::tunnel::{CloseCode, TunnelError};
use tidegate_shared::wire::{
    AgentMessage, Goodbye, OpenAnswer, OpenDenial, PairAnswer, PairAsk, PairRefusal, Purpose,
    RelayMessage, write_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::relay::{HOUR, Relay, check_cut_copy, pair, redeem, run_agent, start};
use super::server::server;

#[tokio::test]
async fn token_becomes_an_identity_of_the_relays_choice() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    let store = Keystore::new(state.path());
    pair(&relay, &store, Duration::ZERO, HOUR).await;
    let identity = store.current().unwrap();
    assert_eq!(
        (identity.agent_name.as_str(), identity.relays),
        ("office-db", vec![relay.address()])
    );
}

#[tokio::test]
async fn secret_is_not_sent_to_a_relay_with_another_authority() {
    let (relay, other) = (Relay::start(), Relay::start());
    let state = tempfile::tempdir().unwrap();
    let token = PairingToken {
        ca_pins: vec![other.relays.spki_pin().unwrap()],
        ..relay.token()
    };
    let store = Keystore::new(state.path());
    let (paired, arrival) = tokio::join!(redeem(&token, &store), relay.arrival());
    let error = paired.unwrap_err().to_string();
    assert!(
        error.contains("not signed by the expected authority"),
        "{error}"
    );
    assert!(
        arrival.is_err(),
        "the handshake fails, so that no stream can carry the secret"
    );
    assert!(matches!(store.current(), Err(KeystoreError::NotPaired)));
}

#[tokio::test]
async fn refused_token_says_what_to_do_next_and_is_not_tried_again() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    let (token, store) = (relay.token(), Keystore::new(state.path()));
    let refused = PairAnswer::Refused {
        code: PairRefusal::NotAccepted,
    };
    let (paired, ()) = tokio::join!(redeem(&token, &store), relay.answer(|_| refused));
    let error = paired.unwrap_err();
    assert!(matches!(
        error,
        EnrollError::Refused(PairRefusal::NotAccepted)
    ));
    assert!(
        error.to_string().contains("tidegate-relay agent invite"),
        "{error}"
    );
}

#[tokio::test]
async fn lost_answer_is_asked_again_with_the_same_key() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    let (token, store) = (relay.token(), Keystore::new(state.path()));
    let relay_side = async {
        let (tunnel, _stream, ask) = relay.question().await;
        let PairAsk::Redeem(first) = ask else {
            panic!("a redeem")
        };
        tunnel.close(CloseCode::TIMEOUT);
        let mut second = Vec::new();
        relay
            .answer(|csr| {
                second = csr.to_vec();
                relay.paired(csr, Duration::ZERO, HOUR)
            })
            .await;
        (
            requested_key_pin(&first.csr_der).unwrap(),
            requested_key_pin(&second).unwrap(),
        )
    };
    let (paired, (first, second)) = tokio::join!(redeem(&token, &store), relay_side);
    assert!(paired.is_ok() && first == second);
}

#[tokio::test]
async fn relay_that_is_not_there_is_told_in_one_line() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    let mut token = relay.token();
    token.relays[0].host = "relay.invalid".into();
    let error = redeem(&token, &Keystore::new(state.path()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("relay.invalid") && error.contains("check DNS"),
        "{error}"
    );
    assert!(!error.contains('\n'));
}

#[tokio::test]
async fn session_serves_databases_through_the_gate() {
    let relay = Relay::start();
    let agent = run_agent(&relay, &[server().target("tidegate", "")]).await;
    let session = relay.session().await;
    assert_eq!(
        (session.hello.targets.len(), session.hello.epoch_counter),
        (1, 0)
    );
    assert_eq!(session.hello.targets[0].database, "shop");

    let client = session.connect().await;
    let row = client
        .query_one("select count(*) from posts", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1000);
    assert_eq!(agent.origin.sessions().len(), 1);
    assert_eq!(agent.origin.largest_epoch(), 3);

    let (_, answer) = session.open("127.0.0.1:22", Purpose::Session).await;
    let OpenAnswer::Denied { code, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(code, OpenDenial::UnknownTarget);
    let (_, answer) = session.open("main", Purpose::Probe).await;
    assert_eq!(answer, OpenAnswer::Opened);
}

#[tokio::test]
async fn probe_of_a_broken_target_says_why() {
    let relay = Relay::start();
    let extra = "password_file='/nonexistent'\n";
    let _agent = run_agent(&relay, &[server().target("tidegate", extra)]).await;
    let session = relay.session().await;
    let (_, answer) = session.open("main", Purpose::Probe).await;
    let OpenAnswer::Denied { code, text } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(code, OpenDenial::LoginFailed);
    assert!(text.contains("check password_file"), "{text}");
}

#[tokio::test]
async fn an_agent_whose_database_is_gone_is_connected_and_not_ready() {
    let relay = Relay::start();
    let target = server().target_at("127.0.0.1:1", "tidegate", "");
    let agent = run_agent(&relay, &[target]).await;
    let session = relay.session().await;
    session.open("main", Purpose::Probe).await;
    let listener = status::bind(agent.state.path()).await.unwrap();
    let (board, origin) = (agent.board.clone(), agent.origin.clone());
    tokio::spawn(status::answer(listener, board, origin));
    let status = status::ask(agent.state.path()).await.unwrap().unwrap();
    assert_eq!((status.state, status.ready), (State::Connected, false));
    let why = status.databases[0].error.as_deref().unwrap();
    assert!(why.contains("127.0.0.1:1"), "{why}");
}

#[tokio::test]
async fn copy_cut_in_the_middle_never_looks_complete() {
    let relay = Relay::start();
    let _agent = run_agent(&relay, &[server().target("tidegate", "")]).await;
    check_cut_copy(&relay.session().await).await;
}

#[tokio::test]
async fn agent_comes_back_after_the_relay_drops_it() {
    let relay = Relay::start();
    let agent = run_agent(&relay, &[]).await;
    relay.session().await.tunnel.close(CloseCode::BUSY);
    let mut session = relay.session().await;
    // A goodbye with a delay is obeyed, too.
    let goodbye = Goodbye {
        delay_ms: 10,
        reason: "restart".into(),
    };
    write_message(&mut session.writer, &RelayMessage::Goodbye(goodbye))
        .await
        .unwrap();
    write_message(&mut session.writer, &RelayMessage::Ping { nonce: 9 })
        .await
        .unwrap();
    let pong: AgentMessage = session.reader.next().await.unwrap();
    assert_eq!(pong, AgentMessage::Pong { nonce: 9 });
    session.tunnel.close(CloseCode::GOODBYE);
    let _session = relay.session().await;
    agent.task.abort();
}

#[tokio::test]
async fn certificate_past_half_life_is_renewed_and_used_after_reconnecting() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    let old = pair(&relay, &Keystore::new(state.path()), HOUR, HOUR + HOUR / 2).await;
    let agent = start(state, &[]);
    let mut session = relay.session().await;
    let AgentMessage::Renew { csr_der } = session.reader.next().await.unwrap() else {
        panic!("a renewal")
    };
    let chain_der = relay.issue(&csr_der, Duration::ZERO, HOUR);
    let serial = AgentLeaf::from_verified(&chain_der[0].clone().into())
        .unwrap()
        .facts
        .serial;
    write_message(&mut session.writer, &RelayMessage::Renewed { chain_der })
        .await
        .unwrap();
    let session = relay.session().await;
    let leaf = AgentLeaf::from_verified(session.tunnel.peer_leaf().unwrap()).unwrap();
    assert!(leaf.facts.serial == serial && serial != old.facts().unwrap().serial);
    // The hello was acknowledged: the renewed certificate is the only one now.
    session.open("main", Purpose::Probe).await;
    assert_eq!(
        agent.store.current().unwrap().facts().unwrap().serial,
        serial
    );
    assert!(agent.store.next().unwrap().is_none());
}

#[tokio::test]
async fn expired_certificate_is_issued_again_for_the_same_key() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    let old = pair(&relay, &Keystore::new(state.path()), HOUR * 2, HOUR).await;
    let _agent = start(state, &[]);
    let mut pin = [0; 32];
    relay
        .answer(|csr| {
            pin = requested_key_pin(csr).unwrap();
            relay.paired(csr, Duration::ZERO, HOUR)
        })
        .await;
    assert_eq!(pin, old.key.fingerprint());
    let session = relay.session().await;
    let leaf = AgentLeaf::from_verified(session.tunnel.peer_leaf().unwrap()).unwrap();
    assert_eq!(leaf.facts.key_pin, pin);
}

#[tokio::test]
async fn changed_targets_are_told_with_a_new_hello() {
    let relay = Relay::start();
    let agent = run_agent(&relay, &[]).await;
    let session = relay.session().await;
    assert!(session.hello.targets.is_empty());
    agent.origin.reload(&[server().target("tidegate", "")]);
    agent.reloaded.notify_one();
    assert_eq!(relay.session().await.hello.targets.len(), 1);
}

#[tokio::test]
async fn changed_targets_are_told_to_a_session_that_has_something_open() {
    let target = || server().target("tidegate", "");
    let more = || {
        let mut more = server().target("tidegate", "forward = \"yes\"\n");
        more.name = "more".to_owned();
        more
    };
    let relay = Relay::start();
    let agent = run_agent(&relay, &[target()]).await;
    let mut session = relay.session().await;
    let client = session.connect().await;
    agent.origin.reload(&[target(), more()]);
    agent.reloaded.notify_one();
    let AgentMessage::Offers(offer) = session.hear().await else {
        panic!("no offer")
    };
    let names: Vec<_> = offer.targets.iter().map(|target| &target.name).collect();
    assert_eq!(names, ["main", "more"]);
    assert_eq!(offer.forward_targets, Some(vec!["more".to_owned()]));
    client.simple_query("select 1").await.unwrap();
    session.tunnel.close(CloseCode::BUSY);

    // A relay that does not know of this is told with a new hello, once nothing is open.
    let tunnel = relay.arrival().await.unwrap();
    let older = relay.acknowledge(tunnel, 6).await;
    let client = older.connect().await;
    agent.origin.reload(&[target()]);
    agent.reloaded.notify_one();
    client.simple_query("select 1").await.unwrap();
    drop(client);
    assert_eq!(relay.session().await.hello.targets.len(), 1);
}

#[tokio::test]
async fn what_a_persons_tool_asks_for_does_not_decide_whether_the_agent_is_ready() {
    let relay = Relay::start();
    let target = server().target_at("127.0.0.1:1", "tidegate", "forward = \"yes\"\n");
    let agent = run_agent(&relay, &[target]).await;
    let session = relay.session().await;
    let (mut stream, answer) = session.open("main", Purpose::Forward).await;
    assert_eq!(answer, OpenAnswer::Opened);
    stream
        .write_all(b"\0\0\0\x10\0\x03\0\0user\0x\0\0")
        .await
        .unwrap();
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    assert!(!told.is_empty(), "the tool is told why");
    assert_eq!(agent.origin.reached()[0].at_ms, None);
    session.open("main", Purpose::Probe).await;
    assert!(agent.origin.reached()[0].error.is_some());
}

#[tokio::test]
async fn leaving_agent_says_goodbye_and_lets_sessions_end() {
    let relay = Relay::start();
    let agent = run_agent(&relay, &[server().target("tidegate", "")]).await;
    let mut session = relay.session().await;
    let client = session.connect().await;
    agent.shutdown.cancel();
    let message: AgentMessage = session.reader.next().await.unwrap();
    assert!(matches!(message, AgentMessage::Goodbye(_)));
    assert_eq!(agent.board.read().state, State::Draining);
    // What is open goes on, and nothing new comes.
    client.simple_query("select 1").await.unwrap();
    let (_, answer) = session.open("main", Purpose::Session).await;
    assert!(matches!(answer, OpenAnswer::Denied { .. }), "{answer:?}");
    drop(client);
    let closed = session.tunnel.closed().await;
    assert_eq!(closed, TunnelError::ClosedByPeer(CloseCode::GOODBYE));
    agent.task.await.unwrap().unwrap();
}

/// The program itself, from its start to SIGTERM.
#[tokio::test]
async fn running_program_connects_answers_status_and_drains_on_sigterm() {
    let relay = Relay::start();
    let directory = tempfile::tempdir().unwrap();
    pair(
        &relay,
        &Keystore::new(&directory.path().join("state")),
        Duration::ZERO,
        HOUR,
    )
    .await;
    let config = directory.path().join("agent.toml");
    std::fs::write(&config, "state_dir = \"state\"\n").unwrap();
    let program = |argument: &'static [&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidegate-agent"));
        command
            .arg("--config")
            .arg(&config)
            .args(argument)
            .kill_on_drop(true);
        command
    };
    let mut running = program(&["run"]).spawn().unwrap();
    let mut session = relay.session().await;
    session.open("main", Purpose::Probe).await;
    let output = program(&["status", "--json"]).output().await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&status["state"], &status["agent"]),
        (&"connected".into(), &"office-db".into())
    );
    let pid = running.id().unwrap().to_string();
    let kill = tokio::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .await
        .unwrap();
    assert!(kill.success());
    assert!(matches!(
        session.reader.next().await.unwrap(),
        AgentMessage::Goodbye(_)
    ));
    assert_eq!(running.wait().await.unwrap().code(), Some(0));
    assert!(!directory.path().join("state/agent.sock").exists());
}

#[tokio::test]
async fn status_socket_tells_what_is_connected_and_open() {
    let relay = Relay::start();
    let agent = run_agent(&relay, &[server().target("tidegate", "")]).await;
    let directory = agent.state.path();
    assert!(status::ask(directory).await.unwrap().is_none());
    let listener = status::bind(directory).await.unwrap();
    tokio::spawn(status::answer(
        listener,
        agent.board.clone(),
        agent.origin.clone(),
    ));
    let session = relay.session().await;
    let status = status::ask(directory).await.unwrap().unwrap();
    assert!(!status.ready && status.databases[0].at_ms.is_none());
    let _client = session.connect().await;
    let status = status::ask(directory).await.unwrap().unwrap();
    assert!(status.ready && status.databases[0].is_good(), "{status:?}");
    assert_eq!(
        (status.state, status.agent.as_deref()),
        (State::Connected, Some("office-db"))
    );
    assert_eq!(status.relay, Some(relay.address().to_string()));
    assert_eq!(
        (status.sessions.len(), status.sessions[0].sync.as_str()),
        (1, "blog")
    );
    let second = status::bind(directory).await.unwrap_err();
    assert!(
        second.to_string().contains("another agent is running"),
        "{second}"
    );
}

//! Many agents at once, before and after the relay restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tidegate_agent::config::TransportChoice;
use tidegate_agent::identity::keystore::{Identity, Keystore};
use tidegate_agent::origin::Origin;
use tidegate_agent::origin::password::Places;
use tidegate_agent::route::Routes;
use tidegate_agent::tunnel::causes::Causes;
use tidegate_agent::tunnel::status::Board;
use tidegate_agent::tunnel::supervise::Supervisor;
use tidegate_relay::identity::Custody;
use tidegate_relay::store::{Store, agents};
use tidegate_shared::identity::{AgentIdentity, AgentKey, Validity};
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::tunnel::Backoff;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::is_long;
use crate::e2e::speed::peak_mb;
use crate::e2e::stage::Stage;

/// Longest wait for all of them.
const WAIT_MAX: Duration = Duration::from_secs(300);
const LIFE: Duration = Duration::from_secs(72 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn all_agents_are_back_soon_after_the_relay_was_killed_or_drained() {
    let count: usize = if is_long() { 2_000 } else { 60 };
    let mut stage = Stage::start("fleet").await;
    let relay = stage.relay_address();
    stage.kill_agent();
    stage.kill_relay();
    let homes = pair(&stage.dir.path().join("relay"), &relay, count).await;
    stage.start_relay().await;
    let mut fleet = JoinSet::new();
    for (home, number) in homes.iter().zip(0..) {
        fleet.spawn(supervisor(home, number).run());
    }
    let took = all_online(&stage, count).await;
    say("came", count, took, &stage);

    stage.kill_relay();
    stage.start_relay().await;
    let took = all_online(&stage, count).await;
    say("came back to a relay that was killed", count, took, &stage);
    assert!(took < Duration::from_secs(90), "{took:?}");

    assert!(stage.drain_relay().await.success());
    stage.start_relay().await;
    let took = all_online(&stage, count).await;
    say("came back to a relay that was drained", count, took, &stage);
    assert!(took < Duration::from_secs(90), "{took:?}");
}

fn say(what: &str, count: usize, took: Duration, stage: &Stage) {
    let (seconds, peak) = (took.as_secs_f64(), peak_mb(stage.relay_pid()));
    println!("{count} agents {what}: the last after {seconds:.1} s; relay's peak memory {peak} MB");
}

/// Since the relay answers.
async fn all_online(stage: &Stage, count: usize) -> Duration {
    let began = Instant::now();
    loop {
        let agents = stage.get("agents").await;
        let online = |agent: &&serde_json::Value| agent["state"] == "online";
        let online = agents.as_array().unwrap().iter().filter(online).count();
        if online >= count {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < WAIT_MAX,
            "{online} of {count} are back\n{}",
            stage.logs()
        );
        // To list them is work for the relay, too.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// As pairing leaves it on both ends, without asking a thousand times.
async fn pair(data_dir: &Path, relay: &RelayAddr, count: usize) -> Vec<TempDir> {
    let now = SystemTime::now();
    let names = [relay.host.clone()];
    let custody = Custody::open(data_dir, &names, now).unwrap();
    let store = Store::open(data_dir).unwrap();
    let now_ms = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let mut homes = Vec::with_capacity(count);
    for number in 0..count {
        let id = format!("fleet-{number}");
        let identity = AgentIdentity::new("default", &id).unwrap();
        let key = AgentKey::generate().unwrap();
        let validity = Validity { now, life: LIFE };
        let csr = key.csr_der().unwrap();
        let issued = custody.issue_agent(&csr, &identity, validity).unwrap();
        let row = agents::CertificateRow {
            serial: issued.facts.serial.clone(),
            workspace: "default".to_owned(),
            agent: id.clone(),
            key: key.fingerprint(),
            not_before: now_ms,
            not_after: now_ms + LIFE.as_millis() as i64,
            issued_at: now_ms,
            revoked_at: None,
        };
        let added = store.transact(move |tx| {
            agents::add(tx, "default", &id, &id, now_ms)?;
            agents::pair_with_key(tx, "default", &id, &row.key, now_ms)?;
            agents::add_certificate(tx, &row)
        });
        assert!(added.await.unwrap());
        let home = tempfile::tempdir().unwrap();
        let identity = Identity {
            agent_name: format!("fleet-{number}"),
            workspace: "default".to_owned(),
            relays: vec![relay.clone()],
            key,
            chain: issued.chain,
            relay_authorities: custody.relay_authorities(),
            trust_generation: 0,
        };
        Keystore::new(home.path()).save_current(&identity).unwrap();
        homes.push(home);
    }
    homes
}

fn supervisor(home: &TempDir, number: u64) -> Supervisor {
    Supervisor {
        store: Keystore::new(home.path()),
        origin: Origin::open(&[], home.path(), Places::default()).unwrap(),
        routes: Arc::new(Routes::new(TransportChoice::Auto)),
        board: Board::default(),
        backoff: Backoff::seeded(number),
        jitter: 0.5,
        shutdown: CancellationToken::new(),
        reloaded: Arc::new(Notify::new()),
        causes: Causes::default(),
    }
}

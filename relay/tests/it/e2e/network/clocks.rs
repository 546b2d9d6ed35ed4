//! Agents that sleep, and certificates that end meanwhile.

use std::process::Command;
use std::time::{Duration, SystemTime};

use tidegate_agent::identity::keystore::{Identity, Keystore};
use tidegate_relay::identity::Custody;
use tidegate_relay::store::{Store, agents};
use tidegate_shared::identity::{AgentKey, AgentLeaf, Validity};

use super::{Linked, is_long};
use crate::e2e::stage::Stage;

fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// A host that sleeps: everything of the agent stands still, and the relay gives the session up.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_suspended_comes_back_by_itself_with_nothing_lost() {
    let linked = Linked::start("suspended").await;
    linked.edit("before", 20).await;
    let pid = linked.stage.agent_pid();
    signal(pid, "-STOP");
    linked.edit("asleep", 20).await;
    let offline = async |stage: &Stage| stage.get("agents/office-db").await["state"] == "offline";
    linked.stage.wait("the relay to notice", offline).await;
    if is_long() {
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    signal(pid, "-CONT");
    linked.edit("awake", 20).await;
    linked.assert_equal().await;
}

/// As after a jump of the clock past its certificate's end: the agent's wall clock says expired at the
/// next dial, and the relay gives another one for the same key.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_certificate_ended_meanwhile_comes_back_by_itself_with_nothing_lost() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut linked = Linked::start("ended_certificate").await;
    linked.edit("before", 20).await;
    linked.assert_equal().await;
    linked.stage.kill_agent();
    linked.stage.kill_relay();
    replace_certificate(&linked.stage, SystemTime::now() - 4 * DAY, 3 * DAY).await;
    linked.edit("expired", 20).await;
    linked.stage.start_relay().await;
    let offline = linked.agent().await;
    assert_eq!(offline["identity"], "expired", "{offline:#}");
    linked.stage.start_agent();
    linked.assert_equal().await;
    let back = linked.agent().await;
    assert_eq!(back["identity"], "good", "{back:#}");
    let audit = linked.stage.agent_command(&["audit", "show"]);
    assert!(audit.contains("certificate.reissue"), "{audit}");
    let audit = linked.stage.get("audit").await.to_string();
    assert!(audit.contains("agent.reissue"), "{audit}");
}

/// The agent's only certificate is one that began then, in its own state and in the relay's.
async fn replace_certificate(stage: &Stage, began: SystemTime, life: Duration) {
    let keystore = Keystore::new(&stage.dir.path().join("agent"));
    let current = keystore.current().unwrap();
    let leaf = AgentLeaf::from_verified(&current.chain[0]).unwrap();
    let data_dir = stage.dir.path().join("relay");
    let names = ["localhost".to_owned()];
    let custody = Custody::open(&data_dir, &names, SystemTime::now()).unwrap();
    let validity = Validity { now: began, life };
    let csr = current.key.csr_der().unwrap();
    let issued = custody.issue_agent(&csr, &leaf.identity, validity).unwrap();
    let ms = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        since.as_millis() as i64
    };
    let row = agents::CertificateRow {
        serial: issued.facts.serial.clone(),
        workspace: leaf.identity.workspace().to_owned(),
        agent: leaf.identity.agent().to_owned(),
        key: leaf.facts.key_pin,
        not_before: ms(issued.facts.not_before),
        not_after: ms(issued.facts.not_after),
        issued_at: ms(began),
        revoked_at: None,
    };
    let store = Store::open(&data_dir).unwrap();
    let replaced = store.transact(move |tx| {
        agents::forget_before(tx, i64::MAX)?;
        agents::add_certificate(tx, &row)
    });
    assert!(replaced.await.unwrap());
    let key = AgentKey::from_pem(&current.key.to_pem()).unwrap();
    let identity = Identity {
        key,
        chain: issued.chain,
        ..current
    };
    keystore.save_current(&identity).unwrap();
}

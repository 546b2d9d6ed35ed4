//! Certificates and authorities that are replaced while a sync runs, as the operator does it.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

async fn start(hint: &str) -> (Stage, Client) {
    let stage = Stage::start(hint).await;
    let left = stage.left.client().await;
    let right = stage.right.client().await;
    for client in [&left, &right] {
        client.batch_execute(POSTS).await.unwrap();
    }
    stage.apply(FILE).await;
    (stage, left)
}

/// A record that crosses, and as many as there should be.
async fn cross(stage: &Stage, left: &Client, slug: &str, records: u64) {
    let sql = format!("insert into posts (slug) values ('{slug}')");
    left.batch_execute(&sql).await.unwrap();
    stage.wait_live("blog").await;
    assert_eq!(stage.assert_equal("blog").await, records);
}

async fn authority(stage: &Stage, kind: &str) -> Value {
    let all = stage.get("authorities").await;
    let found = all.as_array().unwrap().iter();
    let mut found = found.filter(|authority| authority["kind"] == kind);
    found.next().unwrap().clone()
}

async fn wait_for_nobody(stage: &Stage, kind: &str) {
    let ready = async |stage: &Stage| {
        let authority = authority(stage, kind).await;
        authority["roll_over"]["waiting_for"] == json!([])
    };
    stage.wait("all agents to be ready", ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_another_certificate_and_authority_finds_its_agents_and_loses_nothing() {
    let (mut stage, left) = start("relay_authority").await;
    cross(&stage, &left, "before", 1).await;
    // Its certificate rolls over by itself; here as after its end.
    stage.kill_relay();
    std::fs::remove_file(stage.dir.path().join("relay/identity/relay.pem")).unwrap();
    stage.start_relay().await;
    cross(&stage, &left, "another certificate", 2).await;

    let (ok, refused) = stage.try_post("authorities/relays/finish", json!({})).await;
    assert!(
        !ok && refused["code"] == "authority-roll-over",
        "{refused:#}"
    );
    let before = authority(&stage, "relays").await["fingerprint"].clone();
    let begun = stage.post("authorities/relays/renew", json!({})).await;
    let next = begun["roll_over"]["fingerprint"].clone();
    assert_eq!(begun["fingerprint"], before, "{begun:#}");
    wait_for_nobody(&stage, "relays").await;
    // Over a restart of either, what was begun goes on.
    stage.kill_relay();
    stage.start_relay().await;
    stage.kill_agent();
    let (ok, refused) = stage.try_post("authorities/relays/finish", json!({})).await;
    let told = refused.to_string();
    let is_asked = told.contains("would-lose-agents") && told.contains("office-db");
    // It may have come back to the relay before it was killed.
    assert!(ok || is_asked, "{refused:#}");
    stage.start_agent();
    if !ok {
        wait_for_nobody(&stage, "relays").await;
        stage.post("authorities/relays/finish", json!({})).await;
    }
    let after = authority(&stage, "relays").await;
    assert_eq!(after["fingerprint"], next, "{after:#}");
    assert_eq!(after["roll_over"], Value::Null);
    cross(&stage, &left, "new authority", 3).await;
    // Nothing is left of the old one: the next handshakes are by the new one alone.
    stage.kill_agent();
    stage.kill_relay();
    stage.start_relay().await;
    stage.start_agent();
    cross(&stage, &left, "after restarts", 4).await;
    let audit = stage.agent_command(&["audit", "show", "--last", "100"]);
    assert!(audit.contains("authority.trust"), "{audit}");
    let audit = stage.get("audit").await.to_string();
    for action in ["authority.renew", "authority.finish"] {
        assert!(audit.contains(action), "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_dropped_authority_get_a_certificate_of_the_new_one_for_their_key() {
    let (mut stage, left) = start("agent_authority").await;
    let fingerprint = stage.get("agents/office-db").await["key_fingerprint"].clone();
    let shown = stage.agent_command(&["status"]);
    assert!(shown.contains(fingerprint.as_str().unwrap()), "{shown}");
    let begun = stage.post("authorities/agents/renew", json!({})).await;
    assert_eq!(begun["roll_over"]["waiting_for"], json!(["office-db"]));
    cross(&stage, &left, "both", 1).await;
    let (ok, refused) = stage.try_post("authorities/agents/finish", json!({})).await;
    assert!(!ok && refused["code"] == "would-lose-agents", "{refused:#}");
    let force = json!({"force": true});
    stage.post("authorities/agents/finish", force).await;
    stage.kill_relay();
    stage.start_relay().await;
    cross(&stage, &left, "new authority", 2).await;
    let agent = stage.get("agents/office-db").await;
    assert_eq!(agent["key_fingerprint"], fingerprint, "{agent:#}");
    let audit = stage.agent_command(&["audit", "show", "--last", "100"]);
    assert!(audit.contains("certificate.reissue"), "{audit}");
}

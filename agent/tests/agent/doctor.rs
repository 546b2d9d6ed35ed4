//! `check` against a relay that a test plays: what it says of the way and of the agent's identity.

use std::path::Path;
use std::time::Duration;

use tidegate_agent::config::{Config, TransportChoice};
use tidegate_agent::doctor::{self, Check, Report, State};
use tidegate_agent::identity::keystore::Keystore;
use tidegate_agent::route::ProxyChoice;
use tidegate_shared::tunnel::{CloseCode, Protocol};

use super::relay::{HOUR, Relay, pair, run_agent};

fn config(state: &Path) -> Config {
    Config {
        state_dir: state.to_owned(),
        transport: TransportChoice::Auto,
        segmentation_offload: true,
        proxy: ProxyChoice::Direct,
        targets: Vec::new(),
    }
}

/// Checks while the relay takes every handshake, and hangs up on agents with `code` if there is one.
async fn checked(relay: &Relay, config: &Config, code: Option<CloseCode>) -> Report {
    let taken = async {
        let mut tunnels = Vec::new();
        loop {
            let Ok(tunnel) = relay.arrival().await else {
                continue;
            };
            if let (Protocol::Agent, Some(code)) = (tunnel.protocol(), code) {
                tunnel.close(code);
            }
            tunnels.push(tunnel);
        }
    };
    tokio::select! {
        report = doctor::check(config) => report,
        () = taken => unreachable!("it goes on for ever"),
    }
}

fn line<'a>(report: &'a Report, subject: &str, check: &str) -> &'a Check {
    let mut lines = report.checks.iter();
    let found = lines.find(|line| line.check == check && line.subject.starts_with(subject));
    found.unwrap_or_else(|| panic!("no line {subject} {check}:\n{report}"))
}

#[tokio::test]
async fn a_good_way_is_told_down_to_its_packets() {
    let relay = Relay::start();
    let state = tempfile::tempdir().unwrap();
    pair(&relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    let report = checked(&relay, &config(state.path()), None).await;
    for (subject, check) in [
        ("agent", "certificate"),
        ("agent", "version"),
        ("relay", "proxy"),
        ("relay", "dns"),
        ("relay", "pin"),
        ("relay", "udp"),
        ("relay", "mtu"),
        ("relay", "tcp"),
        ("relay", "identity"),
    ] {
        let line = line(&report, subject, check);
        assert_eq!(line.state, State::Ok, "{check}:\n{report}");
    }
    // The kernel of whoever runs this decides, and it is no failure.
    assert_ne!(line(&report, "agent", "buffers").state, State::Failed);
    assert_eq!(report.first_action(), None, "{report}");
}

#[tokio::test]
async fn a_relay_that_does_not_want_this_agent_is_told_with_its_reason() {
    for (code, expected, state) in [
        (CloseCode::REVOKED, "identity-revoked", State::Failed),
        (CloseCode::UNKNOWN, "identity-unknown", State::Failed),
        (CloseCode::EXPIRED, "identity-expired", State::Warning),
    ] {
        let relay = Relay::start();
        let home = tempfile::tempdir().unwrap();
        pair(&relay, &Keystore::new(home.path()), Duration::ZERO, HOUR).await;
        let report = checked(&relay, &config(home.path()), Some(code)).await;
        let line = line(&report, "relay", "identity");
        assert_eq!(line.state, state, "{report}");
        assert!(line.text.starts_with(expected), "{report}");
    }
}

#[tokio::test]
async fn status_has_the_code_of_a_refused_identity() {
    for (code, expected) in [
        (CloseCode::REVOKED, "identity-revoked"),
        (CloseCode::UNKNOWN, "identity-unknown"),
        (CloseCode::EXPIRED, "identity-expired"),
        (CloseCode::REPLACED, "identity-elsewhere"),
    ] {
        let relay = Relay::start();
        let agent = run_agent(&relay, &[]).await;
        let refused = relay.arrival().await.unwrap();
        refused.close(code);
        while agent.board.read().last_error_code.as_deref() != Some(expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

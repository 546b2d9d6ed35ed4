//! The files of `packaging/monitoring` against the metrics of a running relay.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::lost_slots::start_sync;
use super::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_name_what_a_running_relay_exports_by_the_conventions() {
    let stage = Stage::start("monitoring").await;
    start_sync(&stage).await;
    stage.post("syncs/blog/verify", json!({})).await;
    stage
        .wait("the slots to be looked at", async |stage: &Stage| {
            stage
                .metrics()
                .await
                .contains("tidegate_slot_retained_bytes{")
        })
        .await;
    let page = stage.metrics().await;
    check_with_promtool(&stage, &page);

    let exported: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let alerts = read("packaging/monitoring/alerts.yaml");
    let dashboard = read("packaging/monitoring/dashboard.json");
    let board: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(board["panels"].as_array().unwrap().len() > 20);
    for name in names(&alerts).union(&names(&dashboard)) {
        assert!(exported.contains(name), "{name} is in no page:\n{page}");
    }
    let documented = read("docs/operations.md");
    let documented = names(&documented);
    for name in &exported {
        let told = documented.contains(name);
        assert!(told, "docs/operations.md does not say what {name} tells");
    }
    for sample in [
        "tidegate_agent_online{workspace=\"default\",agent=\"office-db\"} 1",
        "tidegate_agent_held{workspace=\"default\",agent=\"office-db\"} 0",
        "tidegate_sync_state{workspace=\"default\",sync=\"blog\",state=\"live\"} 1",
        "tidegate_sync_state{workspace=\"default\",sync=\"blog\",state=\"failed\"} 0",
    ] {
        assert!(page.lines().any(|line| line == sample), "{sample}:\n{page}");
    }
}

#[test]
fn each_alert_has_its_section_among_the_operations() {
    let alerts = read("packaging/monitoring/alerts.yaml");
    let document = read("docs/operations.md");
    let told: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let raised: BTreeSet<&str> = alerts
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .collect();
    assert_eq!(raised, told);
    for alert in raised {
        let link = format!("docs/operations.md#{}\n", alert.to_lowercase());
        assert!(alerts.contains(&link), "{alert} has no runbook");
    }
}

/// Rules, their unit tests, and the page.
fn check_with_promtool(stage: &Stage, page: &str) {
    let file = stage.dir.path().join("metrics.txt");
    fs::write(&file, page).unwrap();
    let done = Command::new(root().join("packaging/monitoring/check.sh"))
        .arg(&file)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        done.status.success(),
        "{}{}",
        text(&done.stdout),
        text(&done.stderr)
    );
}

/// Everything in the text that looks like one of our metrics.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("tidegate_"))
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

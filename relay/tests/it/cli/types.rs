//! `connection types`, and the document that is made of the same table.

use std::path::Path;

use tokio::process::Command;

use super::{Ran, document, finish};

/// Without a relay, and without a place to look for one.
async fn run(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-relay"));
    command.args(["connection", "types"]).args(args).env_clear();
    finish(command, "").await
}

#[tokio::test]
async fn types_are_listed_with_their_values_and_need_no_relay() {
    let ran = run(&[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let row = ran
        .out
        .lines()
        .find(|line| line.trim_start().starts_with("timestamp(3)"));
    assert!(
        row.unwrap()
            .contains("timestamp without time zone with 3 decimals"),
        "{ran:?}"
    );
    let ran = run(&["--json"]).await;
    let matrix = document(&ran);
    assert!(matrix["types"].as_array().unwrap().len() > 60);
    let pairs = matrix["pairs"].as_array().unwrap();
    let pair = pairs
        .iter()
        .find(|pair| pair["from"] == "integer" && pair["to"] == "bigint");
    assert_eq!(pair.unwrap()["travel"], "all");
    let files = |pair: &serde_json::Value| pair["from"] == "app:attachment";
    assert!(!pairs.iter().any(files), "refused pairs are not listed");
}

#[tokio::test]
async fn one_types_pairs_come_with_the_reason_why_a_way_is_closed() {
    let ran = run(&["numeric(10,2)"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = |name: &str| {
        let line = ran
            .out
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {ran:?}"))
    };
    assert!(line("numeric ").contains("to it only"), "{ran:?}");
    assert!(line("app:number").contains("it has no NaN"), "{ran:?}");
    let ran = run(&["jsonb", "--json"]).await;
    let pairs = document(&ran)["pairs"].as_array().unwrap().clone();
    assert!(
        pairs
            .iter()
            .any(|pair| pair["from"] == "app:json" && pair["travel"] == "all")
    );
    let ran = run(&["varchar2"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("varchar2 is not listed"), "{ran:?}");
}

#[tokio::test]
async fn the_document_is_what_the_command_prints() {
    let ran = run(&["--markdown"]).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/types.md");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == ran.out,
        "docs/types.md is stale; rewrite it: cargo run -p tidegate-relay -- connection types \
         --markdown > docs/types.md"
    );
}

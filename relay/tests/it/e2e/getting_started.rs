//! The page that newcomers follow, followed to the letter.

use std::path::Path;
use std::process::Command;

use super::stage::{agent_binary, relay_binary};
use crate::support::port::free_port;
use crate::support::postgres::{ADMIN, PASSWORD, Server, clients};

const PAGE: &str = include_str!("../../../../docs/getting-started.md");

#[test]
fn every_block_of_the_getting_started_page_works_in_its_order() {
    let server = Server::start_with(&[]);
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<&str> = PAGE
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() > 8, "the page lost its blocks");
    // As typed into one shell; a failing line of a block ends it, and nothing stays behind.
    let script = format!(
        "set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}",
        blocks.concat()
    );
    let tunnel = free_port();
    let done = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(dir.path())
        .env("PATH", path())
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", server.port().to_string())
        .env("PGUSER", ADMIN)
        .env("PGPASSWORD", PASSWORD)
        // The page's own ports may be taken on this machine.
        .env("TIDEGATE_TUNNEL_LISTEN", format!("127.0.0.1:{tunnel}"))
        .env("TIDEGATE_TUNNEL_NAMES", format!("localhost:{tunnel}"))
        .env("TIDEGATE_HTTP_LISTEN", format!("127.0.0.1:{}", free_port()))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
    assert!(out.starts_with("logical\n"), "{out}");
    assert!(out.contains("On tides"), "{out}");
    assert!(!dir.path().join("tidegate-try").exists());
}

/// Both programs and `psql` before everything else.
fn path() -> String {
    let programs = relay_binary();
    let programs = programs.parent().unwrap_or(Path::new("."));
    assert_eq!(agent_binary().parent(), Some(programs));
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{}:{path}", programs.display(), clients().display())
}

//! What must not leave the private network: the database password, and any way in.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::support::postgres::{ROLE, Server};

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

/// Distinct from every other secret of the tests.
const PLANTED: &str = "planted-0f1e2d3c4b5a69788796a5b4c3d2e1f0";

#[tokio::test(flavor = "multi_thread")]
async fn relay_never_holds_the_private_password_nor_dials_the_private_database() {
    let (private, other) = (Server::start_with(&[]), Server::shared());
    let role = format!("create role beside login replication password '{PLANTED}' in role {ROLE}");
    let stage = Stage::start_with_role(&private, &other, "secrets", &role, "beside", PLANTED).await;
    let left = stage.left.client().await;
    left.batch_execute(POSTS).await.unwrap();
    stage
        .right
        .client()
        .await
        .batch_execute(POSTS)
        .await
        .unwrap();
    left.batch_execute("insert into posts (slug) select 's' || n from generate_series(1, 100) n")
        .await
        .unwrap();
    stage.apply(FILE).await;
    stage.assert_equal("blog").await;

    let relay = stage.relay_pid();
    assert!(
        !memory_holds(relay, PLANTED),
        "the relay's memory holds the password"
    );
    assert!(
        !files_hold(&stage.dir.path().join("relay"), PLANTED),
        "a relay file holds it"
    );
    assert!(
        !files_hold(&stage.dir.path().join("relay.log"), PLANTED),
        "the relay's log holds it"
    );
    assert!(
        !files_hold(&stage.dir.path().join("agent.log"), PLANTED),
        "the agent's log holds it"
    );
    for pid in [relay, stage.agent_pid()] {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(
            !holds(&arguments, PLANTED.as_bytes()),
            "an argument list holds it"
        );
    }
    let ports = remote_ports(relay);
    assert!(
        !ports.contains(&private.port()),
        "the relay dialled the private database: {ports:?}"
    );
    assert!(
        ports.contains(&other.port()),
        "the search finds the direct connection: {ports:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn password_search_finds_what_is_there() {
    let secret = format!("in-memory-{}", std::process::id());
    assert!(memory_holds(std::process::id(), &secret));
}

/// Searches the writable memory of a process.
fn memory_holds(pid: u32, needle: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines()
        .filter(|line| line.contains(" rw"))
        .any(|line| {
            let range = line.split(' ').next().unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let from = u64::from_str_radix(from, 16).unwrap();
            let to = u64::from_str_radix(to, 16).unwrap();
            let mut region = Vec::new();
            // A region may be unmapped meanwhile, or not be readable at all.
            memory.seek(SeekFrom::Start(from)).is_ok()
                && (&mut memory)
                    .take(to - from)
                    .read_to_end(&mut region)
                    .is_ok()
                && holds(&region, needle.as_bytes())
        })
}

fn files_hold(path: &Path, needle: &str) -> bool {
    if path.is_dir() {
        return fs::read_dir(path)
            .unwrap()
            .any(|entry| files_hold(&entry.unwrap().path(), needle));
    }
    fs::read(path).is_ok_and(|bytes| holds(&bytes, needle.as_bytes()))
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

/// Remote ports of a process's TCP connections (`proc(5)`, `/proc/net/tcp`).
fn remote_ports(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let inode = fields.get(9)?;
            let port = fields.get(2)?.split(':').nth(1)?;
            sockets
                .contains(&(*inode).to_owned())
                .then(|| u16::from_str_radix(port, 16).unwrap())
        })
        .collect()
}

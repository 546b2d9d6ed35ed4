//! `tidegate-agent check --bundle`: one archive for whoever helps, without anything secret.
//!
//! Its parts are made from what was parsed, by lists of what may be in them, and no file is copied. Then
//! every part is searched for the secrets that this host is known to hold. Called by `cli`.

mod redact;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tidegate_shared::wire::{PROTOCOL_MAX, PROTOCOL_MIN};
use tokio::process::Command;
use tokio::time::timeout;

use super::Report;
use crate::audit::Audit;
use crate::config::{Config, Target};
use crate::origin::unix_ms;
use crate::route::ProxyChoice;
use crate::tunnel::status;
use redact::Redactor;

/// The folder within the archive.
const FOLDER: &str = "tidegate-agent";
/// Newest entries of the audit record.
const AUDIT_ENTRIES_MAX: usize = 500;
/// Newest lines of the service's log.
const LOG_LINES_MAX: &str = "1000";
/// And no more than this of their end, bytes.
const LOG_BYTES_MAX: usize = 1 << 20;
/// The journal answers within this or not at all.
const JOURNAL: Duration = Duration::from_secs(10);

const README: &str = "\
What `tidegate-agent check --bundle` found. Look through it before you send it to anybody.

versions.json       this program and this system
check.json          what `tidegate-agent check --json` says
status.json         what `tidegate-agent status --json` says, if an agent runs
configuration.json  agent.toml as it was understood: addresses, names and paths, no password
audit.jsonl         the newest entries of the audit record: names and codes
log.txt             the newest lines of the service's journal, if there is one

Passwords, tokens and keys are in no part. Passwords that this host knows were searched for besides,
and are replaced by [removed] wherever they stood. Names of hosts, databases, roles and tables are
there: they are what a fault is about.
";

/// Takes the place, so that nothing is looked up in vain; it must be new, and is its owner's alone.
pub fn create(file: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
}

/// Writes the archive, a gzipped tar.
pub async fn write(file: File, config: &Config, report: &Report) -> io::Result<()> {
    let redactor = Redactor::of(config);
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    append(&mut archive, "README.txt", README)?;
    for (name, part) in parts(config, report).await {
        append(&mut archive, name, &part.cleaned(&redactor))?;
    }
    archive.into_inner()?.finish()?.sync_all()
}

/// What is in one file of the archive, as it is searched for secrets: a document value by value, so that
/// it stays one.
enum Part {
    Document(Value),
    /// One document a line.
    Lines(Vec<Value>),
    Text(String),
}

impl Part {
    fn cleaned(self, redactor: &Redactor) -> String {
        match self {
            Part::Document(document) => pretty(&redactor.clean_document(document)),
            Part::Lines(lines) => {
                let line = |line| format!("{}\n", redactor.clean_document(line));
                lines.into_iter().map(line).collect()
            }
            Part::Text(text) => redactor.clean(&text),
        }
    }
}

async fn parts(config: &Config, report: &Report) -> Vec<(&'static str, Part)> {
    let status = match status::ask(&config.state_dir).await {
        Ok(Some(status)) => json!(status),
        Ok(None) => json!({ "running": false }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    vec![
        ("versions.json", Part::Document(versions())),
        ("check.json", Part::Document(report.to_document())),
        ("status.json", Part::Document(status)),
        ("configuration.json", Part::Document(understood(config))),
        ("audit.jsonl", audit(config)),
        ("log.txt", Part::Text(journal().await)),
    ]
}

fn append(archive: &mut tar::Builder<GzEncoder<File>>, name: &str, text: &str) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(unix_ms(SystemTime::now()) / 1000);
    archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

fn versions() -> Value {
    let line = |path: &str| -> Option<String> {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    };
    let release = line("/etc/os-release").unwrap_or_default();
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"'));
    json!({
        "agent": env!("CARGO_PKG_VERSION"),
        "protocols": [PROTOCOL_MIN, PROTOCOL_MAX],
        "architecture": std::env::consts::ARCH,
        "system": system,
        "kernel": line("/proc/sys/kernel/osrelease"),
    })
}

/// Key by key: what is added to the configuration is not in here until somebody says so.
fn understood(config: &Config) -> Value {
    let proxy = match &config.proxy {
        ProxyChoice::Environment => "as HTTPS_PROXY and NO_PROXY say".to_owned(),
        ProxyChoice::Direct => "none".to_owned(),
        ProxyChoice::Through(proxy) => proxy.to_string(),
    };
    json!({
        "state_dir": shown(&config.state_dir),
        "transport": format!("{:?}", config.transport).to_lowercase(),
        "segmentation_offload": config.segmentation_offload,
        "proxy": proxy,
        "targets": config.targets.iter().map(target).collect::<Vec<_>>(),
    })
}

fn target(target: &Target) -> Value {
    json!({
        "name": target.name,
        "address": target.address.to_string(),
        "database": target.database,
        "user": target.user,
        "password_file": target.password_file.as_deref().map(shown),
        "sslmode": format!("{:?}", target.sslmode),
        "sslrootcert": target.sslrootcert.as_deref().map(shown),
        "read_only": target.read_only,
        "allow_ddl": target.allow_ddl,
        "allow_md5": target.allow_md5,
        "max_sessions": target.max_sessions,
        "slot_wal_max": target.slot_wal_max,
        "max_opens_per_minute": target.max_opens_per_minute,
        "powerful_role": format!("{:?}", target.powerful_role).to_lowercase(),
        "forward": format!("{:?}", target.forward).to_lowercase(),
        "brake_changed_rows_per_minute": target.brake.changed_rows,
        "brake_deleted_rows_per_minute": target.brake.deleted_rows,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn audit(config: &Config) -> Part {
    match Audit::new(&config.state_dir).tail(AUDIT_ENTRIES_MAX) {
        Ok(entries) => Part::Lines(entries.iter().map(|entry| json!(entry)).collect()),
        Err(error) => Part::Text(format!("the audit record can't be read: {error}")),
    }
}

/// The agent keeps no log of its own: under systemd the journal has what it wrote.
async fn journal() -> String {
    let mut command = Command::new("journalctl");
    command
        .args(["--unit=tidegate-agent", "--no-pager", "--output=short-iso"])
        .arg(format!("--lines={LOG_LINES_MAX}"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match timeout(JOURNAL, command.output()).await {
        Ok(Ok(done)) if done.status.success() => {
            let from = done.stdout.len().saturating_sub(LOG_BYTES_MAX);
            String::from_utf8_lossy(&done.stdout[from..]).into_owned()
        }
        Ok(Ok(done)) => format!("journalctl: {}", String::from_utf8_lossy(&done.stderr)),
        Ok(Err(error)) => format!("journalctl: {error}"),
        Err(_) => "journalctl: no answer within 10 s".to_owned(),
    }
}

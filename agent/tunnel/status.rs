//! What the agent is doing and what it shall hold back, for `tidegate-agent status`, `pause` and
//! `resume`: asked over a Unix socket of its own user in the state directory, with one JSON document
//! each way. Nothing listens on a network.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::origin::hold::{Hold, Level};
use crate::origin::reached::Reached;
use crate::origin::slots::SlotView;
use crate::origin::{Origin, SessionView};

/// A reader that stops reading is left alone after this.
const ANSWER: Duration = Duration::from_secs(5);
/// An order holds a level and one line, bytes.
const ASK_BYTES_MAX: u64 = 4 * 1024;
/// A status holds at most 1,024 sessions of a few hundred bytes, bytes.
const STATUS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Stable keys: scripts read them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    pub version: String,
    pub process_id: u32,
    pub agent: Option<String>,
    /// Of its key, as the relay shows it.
    #[serde(default)]
    pub key_fingerprint: Option<String>,
    pub workspace: Option<String>,
    /// `host:port` of the relay that is connected or was last tried.
    pub relay: Option<String>,
    /// The address that the name resolved to.
    pub remote: Option<String>,
    /// What the tunnel travels on: `quic` or `tcp`.
    #[serde(default)]
    pub transport: Option<String>,
    /// Since when the state is what it is, milliseconds since 1970.
    pub since_ms: u64,
    pub rtt_ms: Option<u64>,
    /// Largest packet that the way takes; over QUIC only.
    #[serde(default)]
    pub mtu_bytes: Option<u16>,
    /// The relay's, as it said at the last hello.
    #[serde(default)]
    pub relay_version: Option<String>,
    /// Relay's clock minus this host's, milliseconds, at the last hello.
    pub clock_skew_ms: Option<i64>,
    pub certificate_until_ms: Option<u64>,
    /// Dials since the last session.
    pub attempts: u32,
    pub last_error: Option<String>,
    /// A stable word where the relay does not want this agent's identity: `identity-expired`,
    /// `identity-revoked`, `identity-unknown`, `identity-lapsed`; `identity-elsewhere` where another agent
    /// with the same one drove this one out.
    #[serde(default)]
    pub last_error_code: Option<String>,
    /// Whether somebody could use the whole way: connected, and the last login to each database that
    /// the relay asked for succeeded.
    #[serde(default)]
    pub ready: bool,
    /// What came of the relay's last login to each target.
    #[serde(default)]
    pub databases: Vec<Reached>,
    pub sessions: Vec<SessionView>,
    /// Tidegate's slots in the targets' databases, as they were looked at last.
    #[serde(default)]
    pub slots: Vec<SlotView>,
    /// Slots that this agent dropped since it started, before they filled the disk.
    #[serde(default)]
    pub slots_dropped: u64,
    /// What the operator or the write brake holds back.
    #[serde(default)]
    pub hold: Hold,
}

/// What is asked over the socket: one JSON document, then the end of the asker's half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    Status,
    Hold { level: Level, reason: String },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Starting,
    Connecting,
    Connected,
    /// Between two dials.
    Waiting,
    /// Ending its sessions before it exits.
    Draining,
}

/// The shared status: `supervise` writes, the socket reads.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Status>>);

impl Board {
    /// Changes the status in one short step.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The status now, without its sessions.
    pub fn read(&self) -> Status {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Where the socket of a state directory lies.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("agent.sock")
}

/// Binds the socket, for the agent's own user only. A left-over of an agent that died is replaced;
/// a live one means that an agent runs already, and that is an error.
pub async fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    let path = socket_path(state_dir);
    if UnixStream::connect(&path).await.is_ok() {
        let text = format!(
            "another agent is running on {}: stop it first",
            state_dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers for ever, one reader at a time: the answer is small and nobody else is waiting long.
pub async fn answer(listener: UnixListener, board: Board, origin: Arc<Origin>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of file descriptors, for example: it passes.
            tokio::time::sleep(ANSWER).await;
            continue;
        };
        // A reader or writer that is slow, or went away, loses its answer and nobody else does.
        let _ = tokio::time::timeout(ANSWER, answer_one(&mut stream, &board, &origin)).await;
    }
}

async fn answer_one(stream: &mut UnixStream, board: &Board, origin: &Origin) -> io::Result<()> {
    let mut asked = Vec::new();
    (&mut *stream)
        .take(ASK_BYTES_MAX)
        .read_to_end(&mut asked)
        .await?;
    match serde_json::from_slice(&asked)? {
        Ask::Status => {}
        Ask::Hold { level, reason } => origin.hold(level, &reason)?,
    }
    let (databases, seen) = (origin.reached(), board.read());
    let none_failed = databases.iter().all(|reached| reached.error.is_none());
    let any_reached = databases.iter().any(Reached::is_good);
    let status = Status {
        ready: seen.state == State::Connected && none_failed && any_reached,
        databases,
        sessions: origin.sessions(),
        hold: origin.held(),
        ..seen
    };
    stream.write_all(&serde_json::to_vec(&status)?).await?;
    stream.shutdown().await
}

/// Asks the running agent for its status; `None` when none runs.
pub async fn ask(state_dir: &Path) -> io::Result<Option<Status>> {
    send(state_dir, &Ask::Status).await
}

/// Asks the running agent, or orders it; its status afterwards, `None` when none runs.
pub async fn send(state_dir: &Path, ask: &Ask) -> io::Result<Option<Status>> {
    let mut stream = match UnixStream::connect(socket_path(state_dir)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let text = serde_json::to_vec(ask)?;
    let mut bytes = Vec::new();
    let answered = async {
        stream.write_all(&text).await?;
        stream.shutdown().await?;
        stream.take(STATUS_BYTES_MAX).read_to_end(&mut bytes).await
    };
    tokio::time::timeout(ANSWER, answered)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if bytes.is_empty() {
        return Err(io::Error::other("it could not do this: see its log"));
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

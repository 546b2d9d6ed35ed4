//! Towards PostgreSQL: decides what the relay may reach, logs in, and moves the bytes.
//!
//! `Origin` holds what all streams share: targets, open sessions, cancel keys, epochs. It knows no
//! tunnel: a stream is any pair of byte directions whose drop is a reset. The order of a stream is
//! `admit` (the gate) → `Session::serve`, `Session::probe` or `Session::cancel` (login, forward).
//! Called by `tunnel::serve` and, for status, by `tunnel::supervise`.

pub mod ask;
pub mod cancel;
pub mod connect;
pub mod epochs;
pub mod error;
pub mod forward;
pub mod frames;
pub mod gate;
pub mod login;
pub mod password;
pub mod slots;
pub mod startup;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::cancel::{Cancellable, Keys};
use self::epochs::Epochs;
use self::error::OriginError;
use self::forward::{ForwardError, Passed};
use self::gate::{Admitted, Denial, Policy, Purpose, Request};
use self::login::{CancelKey, Wanted};
use self::password::Places;
use self::startup::Opening;
use crate::config::Target;

/// What all streams of this agent share.
pub struct Origin {
    places: Places,
    shared: Mutex<Shared>,
}

struct Shared {
    targets: Vec<Arc<Target>>,
    epochs: Epochs,
    /// Open sessions by target, without cancel requests.
    open: BTreeMap<String, u32>,
    live: BTreeMap<u64, Live>,
    keys: Keys,
    draining: bool,
    next_id: u64,
}

/// One admitted request that hasn't ended.
struct Live {
    admitted: Admitted,
    epoch: u64,
    since: SystemTime,
    passed: Arc<Passed>,
    stop: CancellationToken,
}

/// What `status` shows of a session.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SessionView {
    pub id: u64,
    pub target: String,
    pub sync: String,
    pub run: String,
    pub purpose: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    pub to_server_bytes: u64,
    pub to_relay_bytes: u64,
}

/// Why a request wasn't admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error("remember the epoch: {0}")]
    Epochs(io::Error),
}

/// Why a session ended other than cleanly.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Login(#[from] OriginError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("tell the relay: {0}")]
    Relay(io::Error),
    #[error("stopped by the agent: its configuration or a newer relay took the session's place")]
    Stopped,
}

impl Origin {
    /// Reads the remembered epochs of `state_dir`.
    pub fn open(targets: &[Target], state_dir: &Path, places: Places) -> io::Result<Arc<Origin>> {
        let shared = Shared {
            targets: targets.iter().cloned().map(Arc::new).collect(),
            epochs: Epochs::load(state_dir)?,
            open: BTreeMap::new(),
            live: BTreeMap::new(),
            keys: Keys::default(),
            draining: false,
            next_id: 1,
        };
        Ok(Arc::new(Origin {
            places,
            shared: Mutex::new(shared),
        }))
    }

    /// Asks the gate and reserves what it grants. A newer epoch is durable before this returns,
    /// and sessions of the same sync with an older one are stopped.
    pub fn admit(self: &Arc<Self>, request: &Request) -> Result<Session, NotAdmitted> {
        let mut shared = self.lock();
        let policy = Policy {
            targets: &shared.targets,
            open: &shared.open,
            epochs: shared.epochs.newest(),
            draining: shared.draining,
        };
        let admitted = gate::decide(policy, request)?;
        if let Some(epoch) = admitted.newer_epoch {
            shared
                .epochs
                .advance(&admitted.sync, epoch)
                .map_err(NotAdmitted::Epochs)?;
            for live in shared.live.values() {
                if live.admitted.sync == admitted.sync && live.epoch < epoch {
                    live.stop.cancel();
                }
            }
        }
        if admitted.purpose != Purpose::Cancel {
            *shared.open.entry(admitted.target.name.clone()).or_insert(0) += 1;
        }
        let id = shared.next_id;
        shared.next_id += 1;
        let (passed, stop) = (Arc::new(Passed::default()), CancellationToken::new());
        let live = Live {
            admitted: admitted.clone(),
            epoch: request.epoch,
            since: SystemTime::now(),
            passed: passed.clone(),
            stop: stop.clone(),
        };
        shared.live.insert(id, live);
        drop(shared);
        Ok(Session {
            origin: self.clone(),
            id,
            admitted,
            key: None,
            passed,
            stop,
        })
    }

    /// Opens nothing new from now on, except cancel requests.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Replaces the targets. Sessions of a target that is gone or changed are stopped, so that
    /// what was taken back is really gone.
    pub fn reload(&self, targets: &[Target]) {
        let mut shared = self.lock();
        for live in shared.live.values() {
            if !targets.contains(&live.admitted.target) {
                live.stop.cancel();
            }
        }
        shared.targets = targets.iter().cloned().map(Arc::new).collect();
    }

    /// The targets as they are now.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.lock().targets.clone()
    }

    /// The largest epoch that any sync was admitted with.
    pub fn largest_epoch(&self) -> u64 {
        self.lock().epochs.largest()
    }

    /// Everything that is open now, oldest first.
    pub fn sessions(&self) -> Vec<SessionView> {
        let shared = self.lock();
        let view = |(id, live): (&u64, &Live)| SessionView {
            id: *id,
            target: live.admitted.target.name.clone(),
            sync: live.admitted.sync.clone(),
            run: live.admitted.run.clone(),
            purpose: live.admitted.purpose.as_str().to_owned(),
            since_ms: unix_ms(live.since),
            to_server_bytes: live.passed.to_server_bytes.load(Ordering::Relaxed),
            to_relay_bytes: live.passed.to_relay_bytes.load(Ordering::Relaxed),
        };
        shared.live.iter().map(view).collect()
    }

    /// A panic elsewhere must not stop all sessions: every section below leaves whole values.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An admitted request. Gives back its place when dropped.
pub struct Session {
    origin: Arc<Origin>,
    id: u64,
    admitted: Admitted,
    key: Option<CancelKey>,
    passed: Arc<Passed>,
    stop: CancellationToken,
}

impl Session {
    pub fn purpose(&self) -> Purpose {
        self.admitted.purpose
    }

    /// Logs in and hands the session to the relay's stream, until one of them ends it. On `Ok` the
    /// stream was ended cleanly; on `Err` it is dropped, which resets it. A failed login is told
    /// to the relay as PostgreSQL would tell it.
    pub async fn serve<S>(mut self, mut stream: S) -> Result<(), SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(SessionError::Stopped),
            ended = self.serve_stream(&mut stream) => ended,
        }
    }

    async fn serve_stream<S>(&mut self, stream: &mut S) -> Result<(), SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let session = match self.log_in(stream).await {
            Ok(session) => session,
            Err(error) => {
                tell_failure(stream, &error)
                    .await
                    .map_err(SessionError::Relay)?;
                return Err(error.into());
            }
        };
        let mut greeting = session.greeting;
        if let Some(key) = session.key {
            let key = self.substitute(key, session.security);
            greeting.put_u8(b'K');
            greeting.put_i32(12);
            greeting.put_i32(key.process_id);
            greeting.put_i32(key.secret_key);
        }
        greeting.extend_from_slice(&session.ready);
        stream
            .write_all(&greeting)
            .await
            .map_err(SessionError::Relay)?;
        stream.flush().await.map_err(SessionError::Relay)?;
        info!(
            target_name = %self.admitted.target.name, sync = %self.admitted.sync,
            run = %self.admitted.run, purpose = self.admitted.purpose.as_str(),
            server_version = %session.server_version, encrypted = session.encrypted,
            "database session opened"
        );
        let (mut server, leftover) = session.frames.into_parts();
        forward::forward(stream, &mut server, &leftover, &self.passed).await?;
        stream.shutdown().await.map_err(SessionError::Relay)
    }

    async fn log_in<S>(&self, stream: &mut S) -> Result<login::LoggedIn, OriginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let parameters = match startup::read_opening(stream, self.admitted.purpose).await? {
            Opening::Startup(parameters) => parameters,
            Opening::Cancel { .. } => return Err(startup::StartupError::WrongPurpose.into()),
        };
        let wanted = Wanted {
            application_name: self.application_name(),
            parameters,
            replication: self.admitted.purpose == Purpose::Replication,
        };
        login::login(&self.admitted.target, &self.origin.places, &wanted).await
    }

    /// Connects, logs in and leaves.
    pub async fn probe(self) -> Result<(), OriginError> {
        let wanted = Wanted {
            application_name: self.application_name(),
            ..Wanted::default()
        };
        let mut session = login::login(&self.admitted.target, &self.origin.places, &wanted).await?;
        // PostgreSQL logs an unexpected end otherwise.
        session.frames.send(b"X\0\0\0\x04").await
    }

    /// Reads one cancel request and carries it out. A key that isn't known is ignored without a
    /// word, as PostgreSQL does.
    pub async fn cancel<S>(self, mut stream: S) -> Result<(), SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let opening = startup::read_opening(&mut stream, self.admitted.purpose).await;
        let Opening::Cancel {
            process_id,
            secret_key,
        } = opening.map_err(OriginError::from)?
        else {
            return Err(OriginError::from(startup::StartupError::WrongPurpose).into());
        };
        let key = CancelKey {
            process_id,
            secret_key,
        };
        let found = self
            .origin
            .lock()
            .keys
            .find(key, &self.admitted.target.name);
        match found {
            Some(session) => cancel::cancel(&session).await?,
            None => warn!(
                target_name = %self.admitted.target.name,
                "a cancel request names no session that is open here"
            ),
        }
        stream.shutdown().await.map_err(SessionError::Relay)
    }

    /// `tidegate/<sync>/<run>`, so that a database administrator sees who is there. Cut where
    /// PostgreSQL would cut it.
    fn application_name(&self) -> String {
        let mut name = format!("tidegate/{}/{}", self.admitted.sync, self.admitted.run);
        name.truncate(63);
        name
    }

    fn substitute(&mut self, key: CancelKey, security: connect::Security) -> CancelKey {
        let session = Cancellable {
            target: self.admitted.target.clone(),
            security,
            key,
        };
        let given = self
            .origin
            .lock()
            .keys
            .give(session, &mut rand::random::<u64>);
        self.key = Some(given);
        given
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut shared = self.origin.lock();
        shared.live.remove(&self.id);
        if let Some(key) = self.key {
            shared.keys.take_back(key);
        }
        if self.admitted.purpose == Purpose::Cancel {
            return;
        }
        let name = &self.admitted.target.name;
        if let Some(open) = shared.open.get_mut(name) {
            *open -= 1;
            if *open == 0 {
                shared.open.remove(name);
            }
        }
    }
}

/// Sends an ErrorResponse (PostgreSQL manual, 55.8 "Error and Notice Message Fields") and ends the
/// stream cleanly: an error is a complete answer, and a reset would lose it.
async fn tell_failure<S>(stream: &mut S, error: &OriginError) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let text = error.advice();
    let mut body = BytesMut::new();
    let fields = [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', error.sqlstate()),
        (b'M', &text),
    ];
    for (kind, value) in fields {
        body.put_u8(kind);
        body.extend(value.bytes().filter(|byte| *byte != 0));
        body.put_u8(0);
    }
    body.put_u8(0);
    let mut message = BytesMut::new();
    message.put_u8(b'E');
    message.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    message.extend_from_slice(&body);
    stream.write_all(&message).await?;
    stream.shutdown().await
}

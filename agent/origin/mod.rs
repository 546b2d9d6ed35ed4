//! Towards PostgreSQL: decides what the relay may reach, logs in, and moves the bytes.
//!
//! `Origin` holds what all streams share: targets, open sessions, cancel keys, epochs. It knows no
//! tunnel: a stream is any pair of byte directions whose drop is a reset. The order of a stream is
//! `admit` (the gate) → `Session::serve`, `Session::probe` or `Session::cancel` (login, forward).
//! Called by `tunnel::serve` and, for status, by `tunnel::supervise`.

pub mod ask;
pub mod brake;
pub mod cancel;
pub mod connect;
pub mod epochs;
pub mod error;
pub mod forward;
pub mod frames;
pub mod gate;
mod guard;
mod held;
pub mod hold;
pub mod login;
mod pass_through;
pub mod password;
pub mod reached;
pub mod role;
pub mod slots;
pub mod startup;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::brake::Brake;
use self::cancel::{Cancellable, Keys};
use self::epochs::Epochs;
use self::error::OriginError;
use self::forward::{ForwardError, Passed, Rules};
use self::gate::{Admitted, Denial, Policy, Purpose, Request};
use self::hold::Hold;
use self::login::{CancelKey, Wanted};
use self::password::Places;
use self::reached::Reached;
use self::startup::Opening;
use crate::audit::Audit;
use crate::config::{Forward, Target, WriteBounds};

/// Requests are counted over this long.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// What all streams of this agent share.
pub struct Origin {
    places: Places,
    state_dir: PathBuf,
    audit: Audit,
    instance: u64,
    began: Instant,
    /// What is held back; who tells the relay of it watches.
    holding: watch::Sender<Hold>,
    shared: Mutex<Shared>,
}

struct Shared {
    targets: Vec<Arc<Target>>,
    epochs: Epochs,
    /// Open sessions by target, without cancel requests.
    open: BTreeMap<String, u32>,
    live: BTreeMap<u64, Live>,
    keys: Keys,
    /// Requests since `asked_since` by target, denied ones too.
    asked: BTreeMap<String, u32>,
    asked_since: Instant,
    hold: Hold,
    brakes: BTreeMap<String, Brake>,
    /// The last login by target.
    reached: BTreeMap<String, Reached>,
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
    /// Reads the remembered epochs of `state_dir`, and what is held back.
    pub fn open(targets: &[Target], state_dir: &Path, places: Places) -> io::Result<Arc<Origin>> {
        let hold = Hold::load(state_dir)?;
        let shared = Shared {
            targets: targets.iter().cloned().map(Arc::new).collect(),
            epochs: Epochs::load(state_dir)?,
            open: BTreeMap::new(),
            live: BTreeMap::new(),
            keys: Keys::default(),
            asked: BTreeMap::new(),
            asked_since: Instant::now(),
            hold: hold.clone(),
            brakes: BTreeMap::new(),
            reached: BTreeMap::new(),
            draining: false,
            next_id: 1,
        };
        Ok(Arc::new(Origin {
            places,
            state_dir: state_dir.to_owned(),
            audit: Audit::new(state_dir),
            // Zero is an agent that does not tell.
            instance: rand::random::<u64>().max(1),
            began: Instant::now(),
            holding: watch::Sender::new(hold),
            shared: Mutex::new(shared),
        }))
    }

    /// Asks the gate and reserves what it grants. A newer epoch is durable before this returns,
    /// and sessions of the same sync with an older one are stopped.
    pub fn admit(self: &Arc<Self>, request: &Request) -> Result<Session, NotAdmitted> {
        let admitted = self.decide(request);
        let label = format!(
            "{} {}/{}",
            request.purpose.as_str(),
            request.sync,
            request.run
        );
        match &admitted {
            Ok(_) => self.audit.note("stream.open", &request.target, &label),
            Err(refused) => {
                let detail = format!("{label}: {refused}");
                self.audit.note("stream.deny", &request.target, &detail);
            }
        }
        admitted
    }

    fn decide(self: &Arc<Self>, request: &Request) -> Result<Session, NotAdmitted> {
        let mut shared = self.lock();
        shared.count(&request.target);
        let policy = Policy {
            targets: &shared.targets,
            open: &shared.open,
            epochs: shared.epochs.newest(),
            asked: &shared.asked,
            hold: &shared.hold,
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
        // What came of logins to what it was says nothing of what it is.
        let former = std::mem::take(&mut shared.targets);
        for target in former.iter().filter(|target| !targets.contains(target)) {
            shared.reached.remove(&target.name);
        }
        shared.targets = targets.iter().cloned().map(Arc::new).collect();
        drop(shared);
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        self.audit
            .note("policy.reload", "targets", &names.join(", "));
    }

    /// Random, of this process.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Where this agent keeps its record.
    pub fn audit(&self) -> &Audit {
        &self.audit
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

impl Shared {
    /// Counts a request for a target that exists, so that invented names take no memory.
    fn count(&mut self, target: &str) {
        if self.asked_since.elapsed() >= RATE_WINDOW {
            self.asked.clear();
            self.asked_since = Instant::now();
        }
        if self.targets.iter().any(|known| known.name == target) {
            let asked = self.asked.entry(target.to_owned()).or_insert(0);
            *asked = asked.saturating_add(1);
        }
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
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Err(SessionError::Stopped),
            ended = self.serve_stream(&mut stream) => {
                if let Err(SessionError::Forward(error)) = &ended {
                    self.note_cut(error);
                }
                ended
            }
        };
        if self.admitted.purpose == Purpose::Forward {
            self.note_closed();
        }
        ended
    }

    /// What a person's tool did is in the record with its size; syncs come and go too often.
    fn note_closed(&self) {
        let passed = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let detail = format!(
            "{}: {} bytes to the database, {} from it",
            self.application_name(),
            passed(&self.passed.to_server_bytes),
            passed(&self.passed.to_relay_bytes)
        );
        let target = &self.admitted.target.name;
        self.origin.audit.note("stream.close", target, &detail);
    }

    async fn serve_stream<S>(&mut self, stream: &mut S) -> Result<(), SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.passes_through() {
            return self.pass_through(stream).await;
        }
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
        self.forward(stream, &mut server, &leftover, false).await?;
        stream.shutdown().await.map_err(SessionError::Relay)
    }

    /// Moves the bytes, and counts writes where the target bounds them.
    async fn forward<R, S>(
        &self,
        relay: &mut R,
        server: &mut S,
        leftover: &[u8],
        with_login: bool,
    ) -> Result<(), ForwardError>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = &self.admitted.target;
        let count = |wrote| self.origin.note_written(target, wrote);
        let is_braked = target.brake != WriteBounds::default();
        let rules = Rules {
            passed: &self.passed,
            read_only: self.admitted.read_only,
            on_wrote: if is_braked { Some(&count) } else { None },
            with_login,
        };
        forward::forward(relay, server, leftover, rules).await
    }

    /// What a rule of the agent cut is in its record, and the brake holds writes back from now on.
    fn note_cut(&self, error: &ForwardError) {
        let target = &self.admitted.target.name;
        match error {
            ForwardError::Braked(reason) => {
                let reason = format!("write brake of target {target}: {reason}");
                self.origin.brake(&reason);
            }
            ForwardError::NotReadOnly(_) | ForwardError::NotFrontend(_) => {
                let detail = format!("{}: {error}", self.application_name());
                self.origin.audit.note("stream.cut", target, &detail);
            }
            _ => {}
        }
    }

    fn passes_through(&self) -> bool {
        self.admitted.purpose == Purpose::Forward
            && self.admitted.target.forward == Forward::Passthrough
    }

    async fn log_in<S>(&self, stream: &mut S) -> Result<login::LoggedIn, OriginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let parameters = match startup::read_opening(stream, self.admitted.purpose).await? {
            Opening::Startup(parameters) => parameters,
            Opening::Cancel { .. } => return Err(startup::StartupError::WrongPurpose.into()),
        };
        let parameters = parameters.into_iter().filter(|(name, _)| name != "user");
        let wanted = Wanted {
            application_name: self.application_name(),
            parameters: parameters.collect(),
            replication: self.admitted.purpose == Purpose::Replication,
            read_only: self.admitted.read_only,
        };
        self.login(&wanted).await
    }

    async fn login(&self, wanted: &Wanted) -> Result<login::LoggedIn, OriginError> {
        let target = &self.admitted.target;
        let session = login::login(target, &self.origin.places, wanted).await;
        // A person's tool asks for what it likes: that it fails says nothing of the way.
        if self.admitted.purpose != Purpose::Forward {
            self.origin
                .note_reached(&target.name, session.as_ref().err());
        }
        session
    }

    /// Connects, logs in and leaves.
    pub async fn probe(self) -> Result<(), OriginError> {
        let wanted = Wanted {
            application_name: self.application_name(),
            ..Wanted::default()
        };
        let mut session = self.login(&wanted).await?;
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

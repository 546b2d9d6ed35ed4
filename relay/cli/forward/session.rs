//! One local connection: its start-up, then a session through the relay until one side ends it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_shared::size;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::backend::{Backend, fatal};
use super::local::{self, Asked, Startup};
use crate::api::forward::frame::{
    self, End, Failed, Frame, FrameReader, FrameWriter, PROTOCOL, Why,
};
use crate::api::forward::{ForwardPurpose, ForwardQuery};
use crate::cli::client::Client;
use crate::cli::{CliError, output};

/// From the local program's end to the database's, and for last words.
const CLOSE: Duration = Duration::from_secs(15);
/// A login through the tunnel; the agent's own bounds are smaller.
const CHECK: Duration = Duration::from_secs(60);

/// What all sessions of one forward share.
pub(super) struct Way {
    pub(super) api: Client,
    pub(super) agent: String,
    pub(super) target: String,
    pub(super) database: String,
    /// What a local program must know; nothing on a socket that only its owner may use.
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) until: Instant,
    /// Ends all sessions, each with a word why.
    pub(super) stop: CancellationToken,
    /// Cancel keys of the sessions that are open.
    pub(super) keys: Mutex<HashMap<[u8; 8], u64>>,
}

type Upgraded = reqwest::Upgraded;

impl Way {
    async fn open(&self, purpose: ForwardPurpose) -> Result<Upgraded, CliError> {
        let left = self.until.saturating_duration_since(Instant::now());
        let query = ForwardQuery {
            target: self.target.clone(),
            purpose,
            for_s: Some(left.as_secs().max(1)),
        };
        let path = ["agents", &self.agent, "forward"];
        self.api.upgrade(&path, &query, PROTOCOL).await
    }

    /// Logs in and leaves, so that what does not work is told before anybody connects. A login that
    /// is passed on can't be tried: it ends where the database asks for the person's password.
    pub(super) async fn check(&self, passes_on: bool) -> Result<(), CliError> {
        let upgraded = self.open(ForwardPurpose::Session).await?;
        let tried = timeout(CHECK, self.try_login(upgraded, passes_on)).await;
        tried.map_err(|_| CliError::Failed("the database did not answer within a minute".into()))?
    }

    async fn try_login(&self, upgraded: Upgraded, passes_on: bool) -> Result<(), CliError> {
        let (reader, writer) = tokio::io::split(upgraded);
        let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
        let broke = |error: std::io::Error| {
            CliError::Failed(format!("the relay's connection broke ({error}): try again"))
        };
        let packet = Startup::of("tidegate", &self.database).packet;
        writer.data(&packet).await.map_err(broke)?;
        let (mut backend, mut said) = (Backend::default(), Vec::new());
        while !backend.is_ready() && (!passes_on || said.is_empty()) {
            match reader.next().await.map_err(broke)? {
                Frame::Data(bytes) => {
                    backend.note(bytes);
                    said.extend_from_slice(bytes);
                }
                Frame::Finished => {}
                Frame::End(end) => return Err(CliError::Failed(told(&said, end))),
            }
        }
        if !passes_on {
            // PostgreSQL logs an unexpected end otherwise.
            writer.data(b"X\0\0\0\x04").await.map_err(broke)?;
            writer.finished().await.map_err(broke)?;
            while !matches!(reader.next().await.map_err(broke)?, Frame::End(_)) {}
        }
        Ok(())
    }

    /// Serves one local connection to its end and says on stderr what became of it.
    pub(super) async fn serve<S>(self: Arc<Self>, number: u64, mut local: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let password = self.password.as_ref().map(|password| password.as_str());
        match local::start(&mut local, password, &self.database).await {
            Ok(Asked::Session(startup)) => self.session(number, local, startup).await,
            Ok(Asked::Cancel { packet, key }) => self.cancel(&packet, key).await,
            Err(error) => {
                if let Some(sqlstate) = error.sqlstate() {
                    output::note(&format!("connection {number} refused: {error}"));
                    last_word(&mut local, sqlstate, &error.to_string()).await;
                }
            }
        }
    }

    async fn session<S>(&self, number: u64, mut local: S, startup: Startup)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let upgraded = match self.open(ForwardPurpose::Session).await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                output::note(&format!("connection {number} refused: {error}"));
                return last_word(&mut local, "08006", &error.to_string()).await;
            }
        };
        let program = startup.application.as_deref().unwrap_or("a program");
        output::note(&format!(
            "connection {number} open: {}",
            output::plain(program)
        ));
        let mut carried = Carried {
            way: self,
            number,
            backend: Backend::default(),
            to_bytes: 0,
            from_bytes: 0,
        };
        let end = carried.carry(&mut local, upgraded, &startup.packet).await;
        let (to, from) = (
            size::rounded(carried.to_bytes),
            size::rounded(carried.from_bytes),
        );
        let why = match &end {
            Some(End { why: Why::Done, .. }) | None => String::new(),
            Some(end) => format!(": {}", output::plain(&end.text)),
        };
        output::note(&format!(
            "connection {number} closed, {to} to the database, {from} from it{why}"
        ));
        if let Some(end) = end.filter(|end| end.why != Why::Done)
            && carried.backend.is_between()
        {
            let sqlstate = match end.why {
                Why::Cut | Why::Done => "08006",
                Why::Time | Why::Stopping | Why::Refused => "57P01",
            };
            last_word(&mut local, sqlstate, &end.text).await;
        }
    }

    /// Passes a cancel request on, if its key is one of an open session here. It is answered nothing,
    /// as PostgreSQL does.
    async fn cancel(&self, packet: &[u8], key: [u8; 8]) {
        let is_known = self.keys().contains_key(&key);
        if !is_known {
            return;
        }
        let passed = async {
            let upgraded = self.open(ForwardPurpose::Cancel).await?;
            let (reader, writer) = tokio::io::split(upgraded);
            let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
            writer.data(packet).await?;
            writer.finished().await?;
            while !matches!(reader.next().await?, Frame::End(_)) {}
            Ok::<(), CliError>(())
        };
        match timeout(CHECK, passed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => output::note(&format!("a cancel request was lost: {error}")),
            Err(_) => output::note("a cancel request was lost: the relay took too long"),
        }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 8], u64>> {
        // The map is never left half changed, so a panic elsewhere does not spoil it.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is being carried.
struct Carried<'a> {
    way: &'a Way,
    number: u64,
    backend: Backend,
    to_bytes: u64,
    from_bytes: u64,
}

impl Carried<'_> {
    /// How it ended; `None` when the local program went away.
    async fn carry<S>(&mut self, local: &mut S, upgraded: Upgraded, startup: &[u8]) -> Option<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (reader, writer) = tokio::io::split(upgraded);
        let (mut reader, mut writer) = (FrameReader::new(reader), FrameWriter::new(writer));
        let broke = || {
            End::new(
                Why::Cut,
                "the connection to the relay broke: connect again, what was not committed is undone",
            )
        };
        if writer.data(startup).await.is_err() {
            return Some(broke());
        }
        let (way, number) = (self.way, self.number);
        let (backend, from_bytes, to_bytes) =
            (&mut self.backend, &mut self.from_bytes, &mut self.to_bytes);
        let (mut local_reader, mut local_writer) = tokio::io::split(local);
        let down = frame::unpack(&mut reader, &mut local_writer, |bytes| {
            let had_key = backend.key().is_some();
            backend.note(bytes);
            *from_bytes += bytes.len() as u64;
            if let Some(key) = backend.key().filter(|_| !had_key) {
                way.keys().insert(key, number);
            }
        });
        let up = async {
            frame::pack(&mut local_reader, &mut writer, |bytes| {
                *to_bytes += bytes.len() as u64;
            })
            .await?;
            writer.finished().await.map_err(Failed::Frames)
        };
        let (mut down, mut up) = (std::pin::pin!(down), std::pin::pin!(up));
        tokio::select! {
            biased;
            () = way.stop.cancelled() => Some(End::new(Why::Stopping, "`agent forward` has ended")),
            ended = &mut down => match ended {
                Ok(end) => end,
                Err(Failed::Session(_)) => None,
                Err(Failed::Frames(_)) => Some(broke()),
            },
            ended = &mut up => match ended {
                // After Terminate the database closes, too.
                Ok(()) => timeout(CLOSE, down).await.ok()?.ok()?,
                Err(Failed::Session(_)) => None,
                Err(Failed::Frames(_)) => {
                    // What the relay said before it went.
                    match timeout(CLOSE, down).await {
                        Ok(Ok(Some(end))) => Some(end),
                        _ => Some(broke()),
                    }
                }
            },
        }
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.backend.key() {
            self.way.keys().remove(&key);
        }
    }
}

async fn last_word<S: AsyncWrite + Unpin>(local: &mut S, sqlstate: &str, text: &str) {
    let said = async {
        local.write_all(&fatal(sqlstate, text)).await?;
        local.shutdown().await
    };
    // Whoever does not listen loses only this.
    let _ = timeout(Duration::from_secs(2), said).await;
}

/// The message of the refusal in `said`, or why the relay ended it.
fn told(said: &[u8], end: End) -> String {
    let mut rest = said;
    while let [kind, a, b, c, d, ..] = *rest {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(body) = rest.get(5..length + 1) else {
            break;
        };
        if kind == b'E' {
            let mut fields = body.split(|byte| *byte == 0);
            let message = fields.find_map(|field| field.strip_prefix(b"M"));
            let message = String::from_utf8_lossy(message.unwrap_or_default());
            return output::plain(&message);
        }
        rest = &rest[length + 1..];
    }
    match end.text.is_empty() {
        true => "the database closed the connection: see the agent's log".to_owned(),
        false => end.text,
    }
}

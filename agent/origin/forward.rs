//! Moves bytes between the relay's stream and a logged-in PostgreSQL session.
//!
//! The one rule: only a session that the relay ended with Terminate, and that PostgreSQL then
//! closed on a message boundary, ends cleanly. Everything else is an error and the caller drops
//! the stream, which resets it, so that truncated data never looks complete. Nothing is parsed
//! beyond message boundaries. Called by `Origin::serve`.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::brake::{Tags, Wrote};
use super::frames::{Boundary, NotFrontend};
use super::guard::{Guard, NotReadOnly};

mod limits {
    use super::Duration;

    /// One read, bytes. Large enough that a COPY costs few wake-ups, and twice this per session
    /// stays small: 32 sessions hold 4 MiB.
    pub(super) const READ_BYTES: usize = 64 * 1024;
    /// PostgreSQL closes at once after Terminate; it never answers it.
    pub(super) const CLOSE: Duration = Duration::from_secs(10);
}

/// Bytes that passed in each direction, for status and logs.
#[derive(Debug, Default)]
pub struct Passed {
    /// Relay to PostgreSQL.
    pub to_server_bytes: AtomicU64,
    /// PostgreSQL to relay.
    pub to_relay_bytes: AtomicU64,
}

/// Why a session didn't end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("relay's stream broke: {0}")]
    Relay(io::Error),
    #[error("relay's stream ended without Terminate")]
    RelayEnded,
    #[error(transparent)]
    NotFrontend(#[from] NotFrontend),
    #[error(transparent)]
    NotReadOnly(#[from] NotReadOnly),
    #[error("the write brake tripped: {0}")]
    Braked(String),
    #[error("connection to PostgreSQL broke: {0}")]
    Server(io::Error),
    #[error("PostgreSQL closed the session by itself")]
    ServerEnded,
    #[error("PostgreSQL sent what is not its protocol")]
    NotBackend,
    #[error("PostgreSQL didn't close within 10 s after Terminate")]
    ServerStays,
}

/// Hears what was written, and says why it was too much.
pub type OnWrote<'a> = dyn Fn(Wrote) -> Option<String> + Send + Sync + 'a;

/// What is seen to while the bytes pass.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub passed: &'a Passed,
    /// The session is kept read-only.
    pub read_only: bool,
    /// Where writes are counted.
    pub on_wrote: Option<&'a OnWrote<'a>>,
    /// The login passes by too: PostgreSQL may end the session by itself.
    pub with_login: bool,
}

/// Forwards until the session ends. `leftover` is what the login read beyond its own messages.
/// On `Ok` the relay's stream may be finished; on `Err` it must be dropped.
pub async fn forward<R, S>(
    relay: &mut R,
    server: &mut S,
    leftover: &[u8],
    rules: Rules<'_>,
) -> Result<(), ForwardError>
where
    R: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (relay_reader, relay_writer) = tokio::io::split(relay);
    let (server_reader, server_writer) = tokio::io::split(server);
    let terminated = AtomicBool::new(false);
    let mut up = Box::pin(relay_to_server(
        relay_reader,
        server_writer,
        rules,
        &terminated,
    ));
    let mut down = Box::pin(server_to_relay(
        server_reader,
        relay_writer,
        leftover,
        rules,
        &terminated,
    ));
    tokio::select! {
        biased;
        // PostgreSQL's end decides; what it still sends goes first.
        ended = &mut down => return ended,
        ended = &mut up => ended?,
    }
    tokio::time::timeout(limits::CLOSE, down)
        .await
        .map_err(|_| ForwardError::ServerStays)?
}

/// Ends well only after Terminate.
async fn relay_to_server<R, S>(
    mut relay: R,
    mut server: S,
    rules: Rules<'_>,
    terminated: &AtomicBool,
) -> Result<(), ForwardError>
where
    R: AsyncRead + Unpin,
    S: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; limits::READ_BYTES];
    let mut boundary = Boundary::with_login(rules.with_login);
    let mut guard = rules.read_only.then(Guard::default);
    let mut guarded = Vec::new();
    loop {
        let count = relay.read(&mut buffer).await.map_err(ForwardError::Relay)?;
        if count == 0 {
            return Err(ForwardError::RelayEnded);
        }
        let bytes = &buffer[..count];
        boundary.on_frontend(bytes)?;
        let bytes = match &mut guard {
            None => bytes,
            Some(guard) => {
                guarded.clear();
                guard.on_frontend(bytes, &mut guarded)?;
                &guarded
            }
        };
        if boundary.is_terminated() {
            // Before the bytes go, since PostgreSQL may close before this task runs again.
            terminated.store(true, Ordering::Relaxed);
        }
        server
            .write_all(bytes)
            .await
            .map_err(ForwardError::Server)?;
        server.flush().await.map_err(ForwardError::Server)?;
        rules
            .passed
            .to_server_bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        if boundary.is_terminated() {
            return Ok(());
        }
    }
}

/// Ends well only when PostgreSQL closes on a boundary after Terminate.
async fn server_to_relay<S, R>(
    mut server: S,
    mut relay: R,
    leftover: &[u8],
    rules: Rules<'_>,
    terminated: &AtomicBool,
) -> Result<(), ForwardError>
where
    S: AsyncRead + Unpin,
    R: AsyncWrite + Unpin,
{
    let mut boundary = Boundary::default();
    let mut tags = Tags::default();
    boundary
        .on_backend(leftover)
        .map_err(|_| ForwardError::NotBackend)?;
    relay
        .write_all(leftover)
        .await
        .map_err(ForwardError::Relay)?;
    let mut buffer = vec![0; limits::READ_BYTES];
    loop {
        let count = match server.read(&mut buffer).await {
            Ok(count) => count,
            // Over TLS some servers close without saying so.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof
                    && terminated.load(Ordering::Relaxed) =>
            {
                0
            }
            Err(error) => return Err(ForwardError::Server(error)),
        };
        if count == 0 {
            let may_end = rules.with_login || terminated.load(Ordering::Relaxed);
            let clean = may_end && boundary.is_between();
            return if clean {
                Ok(())
            } else {
                Err(ForwardError::ServerEnded)
            };
        }
        boundary
            .on_backend(&buffer[..count])
            .map_err(|_| ForwardError::NotBackend)?;
        if let Some(on_wrote) = rules.on_wrote {
            let mut tripped = None;
            tags.on_backend(&buffer[..count], |wrote| {
                tripped = tripped.take().or_else(|| on_wrote(wrote));
            });
            // Before the relay hears of the statement, so that it can't have committed it.
            if let Some(reason) = tripped {
                return Err(ForwardError::Braked(reason));
            }
        }
        relay
            .write_all(&buffer[..count])
            .await
            .map_err(ForwardError::Relay)?;
        relay.flush().await.map_err(ForwardError::Relay)?;
        rules
            .passed
            .to_relay_bytes
            .fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(passed: &Passed) -> Rules<'_> {
        Rules {
            passed,
            read_only: false,
            on_wrote: None,
            with_login: false,
        }
    }

    const QUERY: &[u8] = b"Q\0\0\0\x0dselect 1\0";
    const TERMINATE: &[u8] = b"X\0\0\0\x04";
    const READY: &[u8] = b"Z\0\0\0\x05I";

    /// Forwards what `relay` and `server` send, each then ending its side.
    async fn check(relay: &[&[u8]], server: &[&[u8]]) -> Result<(), ForwardError> {
        // Tiny buffers, so that partial writes and wake-ups happen.
        let (mut relay_end, mut relay_side) = tokio::io::duplex(7);
        let (mut server_end, mut server_side) = tokio::io::duplex(7);
        let passed = Passed::default();
        let (relay, server) = (relay.concat(), server.concat());
        let relay_peer = async {
            let (mut reader, mut writer) = tokio::io::split(&mut relay_end);
            let write = async {
                let _ = writer.write_all(&relay).await;
                let _ = writer.shutdown().await;
            };
            let mut received = Vec::new();
            let _ = tokio::join!(write, reader.read_to_end(&mut received));
        };
        let server_peer = async {
            let (mut reader, mut writer) = tokio::io::split(&mut server_end);
            // PostgreSQL reads up to Terminate and then closes.
            let mut received = vec![0; relay.len()];
            let _ = reader.read_exact(&mut received).await;
            let _ = writer.write_all(&server).await;
            let _ = writer.shutdown().await;
        };
        let agent = async {
            let result = forward(&mut relay_side, &mut server_side, b"", plain(&passed)).await;
            drop((relay_side, server_side));
            result
        };
        tokio::join!(relay_peer, server_peer, agent).2
    }

    #[tokio::test]
    async fn session_ended_by_terminate_is_clean() {
        assert!(check(&[QUERY, TERMINATE], &[READY]).await.is_ok());
    }

    #[tokio::test]
    async fn server_that_closes_by_itself_is_an_error() {
        let result = check(&[QUERY], &[READY]).await;
        assert!(matches!(
            result,
            Err(ForwardError::ServerEnded | ForwardError::RelayEnded)
        ));
    }

    #[tokio::test]
    async fn server_cut_inside_a_message_is_an_error_even_after_terminate() {
        let result = check(&[TERMINATE], &[&READY[..4]]).await;
        assert!(
            matches!(result, Err(ForwardError::ServerEnded)),
            "{result:?}"
        );
    }

    #[tokio::test]
    async fn relay_that_ends_without_terminate_is_an_error() {
        let result = check(&[QUERY, &TERMINATE[..3]], &[]).await;
        assert!(result.is_err(), "{result:?}");
    }

    #[tokio::test]
    async fn foreign_bytes_are_cut() {
        let (mut relay_end, mut relay_side) = tokio::io::duplex(64);
        let (_server_end, mut server_side) = tokio::io::duplex(64);
        relay_end.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let result = forward(
            &mut relay_side,
            &mut server_side,
            b"",
            plain(&Passed::default()),
        )
        .await;
        assert!(
            matches!(result, Err(ForwardError::NotFrontend(_))),
            "{result:?}"
        );
    }
}

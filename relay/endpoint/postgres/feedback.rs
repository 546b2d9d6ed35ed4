//! Tells the server how far its history is settled, from a task that nothing can block.
//!
//! The server ends a stream that it hears nothing from for `wal_sender_timeout`, and keeps all WAL
//! after what was confirmed. So a task of its own sends a status when something was acknowledged,
//! when the server asks, and once a second anyway. "Written" and "flushed" are both what was
//! acknowledged: the server then tells its own position whenever it has read on, which is what
//! moves an idle sync's position. Source: PostgreSQL manual, "Streaming Replication Protocol",
//! Standby status update.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::super::EndpointError;

/// Sent at least this often: well below any `wal_sender_timeout` in use (default 60 s).
const INTERVAL: Duration = Duration::from_secs(1);

/// What the reader, the engine and the feedback task share.
pub(super) struct Feedback {
    settled: AtomicU64,
    due: Notify,
}

impl Feedback {
    pub(super) fn new(settled: u64) -> Arc<Feedback> {
        Arc::new(Feedback {
            settled: AtomicU64::new(settled),
            due: Notify::new(),
        })
    }

    /// Everything up to `lsn` is settled. Never goes back.
    pub(super) fn settle(&self, lsn: u64) {
        if self.settled.fetch_max(lsn, Ordering::AcqRel) < lsn {
            self.due.notify_one();
        }
    }

    /// How far everything is settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// The server wants to hear from us now.
    pub(super) fn ask(&self) {
        self.due.notify_one();
    }

    /// Sends statuses until the stream breaks.
    pub(super) async fn run(&self, mut stream: impl AsyncWrite + Unpin) -> EndpointError {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Once a second the server is asked to answer, so that a dead one is noticed.
            let reply = tokio::select! {
                biased;
                () = self.due.notified() => false,
                _ = ticks.tick() => true,
            };
            let status = status(
                self.settled.load(Ordering::Acquire),
                SystemTime::now(),
                reply,
            );
            if let Err(error) = send(&mut stream, &status).await {
                return EndpointError::retry(
                    "connection-lost",
                    "the connection to PostgreSQL broke",
                )
                .caused_by(error);
            }
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn status(settled: u64, now: SystemTime, reply: bool) -> BytesMut {
    const BODY: u32 = 1 + 8 + 8 + 8 + 8 + 1;
    let mut out = BytesMut::with_capacity(BODY as usize + 5);
    out.put_u8(b'd');
    out.put_u32(4 + BODY);
    out.put_u8(b'r');
    out.put_u64(settled);
    out.put_u64(settled);
    out.put_u64(settled);
    out.put_i64(micros_since_2000(now));
    out.put_u8(u8::from(reply));
    out
}

fn micros_since_2000(now: SystemTime) -> i64 {
    const EPOCH_SECONDS: u64 = 946_684_800;
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECONDS);
    let since = now.duration_since(epoch).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Settled LSN and whether an answer is asked for.
    async fn next(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u64, bool) {
        let mut bytes = [0u8; 39];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!((bytes[0], bytes[5]), (b'd', b'r'));
        let lsn = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((lsn(6), lsn(14)), (lsn(14), lsn(22)));
        (lsn(6), bytes[38] == 1)
    }

    #[tokio::test]
    async fn statuses_are_sent_each_second_and_at_once_when_something_is_settled() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let feedback = Feedback::new(5);
        let task = tokio::spawn({
            let feedback = feedback.clone();
            async move { feedback.run(ours).await }
        });
        assert_eq!(next(&mut theirs).await, (5, true));
        let began = tokio::time::Instant::now();
        feedback.settle(9);
        assert_eq!(next(&mut theirs).await, (9, false));
        feedback.settle(7);
        feedback.ask();
        assert_eq!(next(&mut theirs).await, (9, false));
        assert!(began.elapsed() < INTERVAL);
        assert_eq!(next(&mut theirs).await, (9, true));
        drop(theirs);
        assert_eq!(task.await.unwrap().code, "connection-lost");
    }
}

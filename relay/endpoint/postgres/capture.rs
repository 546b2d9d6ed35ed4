//! The running change stream of one side: slot → committed transactions → the engine.
//!
//! One task reads and decodes, one sends feedback; [`PgCapture`] owns both and ends them when it is
//! dropped. The reader hands over as soon as the stream runs dry, never by a timer, so a lone
//! change does not wait and a flood comes in big batches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_sync::model::{Position, Side};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::{Capture, Captured, Dial, EndpointError, StreamLabel};
use super::feedback::Feedback;
use super::frame::{Frame, Malformed};
use super::mapping::{CaptureTable, Mapping};
use super::queue::{self, Batch, Queue};
use super::replication::{Connection, FrameReader, refused};
use super::slots::{self, Names};
use super::staging::{self, Staging};
use super::transactions::Transactions;

pub(super) mod limits {
    use std::time::Duration;

    /// Positions without changes are told at most this often.
    pub(crate) const IDLE_INTERVAL: Duration = Duration::from_millis(100);
    /// The server answers our status once a second, but not while it decodes a long transaction
    /// that has nothing for us. After this long without a byte it is taken for dead.
    pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(300);
}

/// What a capture needs to know.
pub struct CaptureSource {
    pub dial: Arc<dyn Dial>,
    pub label: StreamLabel,
    /// As in [`Binding`](super::super::Binding).
    pub sync: String,
    pub side: Side,
    pub tables: Vec<CaptureTable>,
    /// Big transactions are staged in a directory within it, named after the side.
    pub staging: PathBuf,
}

/// The change stream of one side. See [`Capture`].
pub struct PgCapture {
    queue: Arc<Queue>,
    feedback: Arc<Feedback>,
    /// A position that waits for the next batch, or for its time.
    pending: Option<Batch>,
    idle_until: Instant,
    _tasks: JoinSet<()>,
}

impl PgCapture {
    /// Starts to stream what was committed after `position`.
    ///
    /// Fails with code `position-lost` when [`slots::check`] finds a hole, and takes the slot over
    /// from a connection that still holds it.
    pub async fn start(
        source: CaptureSource,
        position: &Position,
    ) -> Result<PgCapture, EndpointError> {
        let names = Names::new(&source.sync, source.side);
        let mut connection = Connection::open(&*source.dial, &source.label).await?;
        if let Err(reason) = slots::check(&mut connection, &names, &source.tables, position).await?
        {
            return Err(EndpointError::retry("position-lost", reason));
        }
        slots::release(&mut connection, &names.slot).await?;
        let memory = staging::limits::MEMORY_BYTES_MAX;
        let dir = source.staging.join(source.side.name());
        let staging = Staging::open(&dir, memory).await?;
        let (frames, write) = connection
            .start_replication(&names.slot, &names.publication, position.offset)
            .await?;
        let mapping = Mapping::new(source.tables);
        let transactions = Transactions::new(names, mapping, staging, position.clone());
        let queue = Arc::new(Queue::default());
        let feedback = Feedback::new(position.offset);
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (queue, feedback) = (queue.clone(), feedback.clone());
            async move { queue.end(feedback.run(write).await) }
        });
        let mut reader = Reader {
            frames,
            transactions,
            queue: queue.clone(),
            feedback: feedback.clone(),
        };
        tasks.spawn({
            let queue = queue.clone();
            async move { queue.end(reader.run().await) }
        });
        Ok(PgCapture::over(queue, feedback, tasks))
    }

    /// A capture that `tasks` fill.
    pub(super) fn over(
        queue: Arc<Queue>,
        feedback: Arc<Feedback>,
        tasks: JoinSet<()>,
    ) -> PgCapture {
        PgCapture {
            queue,
            feedback,
            pending: None,
            idle_until: Instant::now(),
            _tasks: tasks,
        }
    }
}

#[async_trait]
impl Capture for PgCapture {
    async fn next(&mut self) -> Result<Captured, EndpointError> {
        loop {
            let arrived = match &self.pending {
                None => self.queue.pop().await?,
                Some(_) => match timeout_at(self.idle_until, self.queue.pop()).await {
                    Ok(arrived) => arrived?,
                    Err(_) => {
                        self.idle_until = Instant::now() + limits::IDLE_INTERVAL;
                        return Ok(self.pending.take().unwrap_or_default().captured);
                    }
                },
            };
            let mut batch = self.pending.take().unwrap_or_default();
            batch.join(arrived);
            if !batch.can_wait() {
                return Ok(batch.captured);
            }
            self.pending = Some(batch);
        }
    }

    fn acknowledge(&self, position: &Position) {
        self.feedback.settle(position.offset);
    }
}

/// The task that reads.
struct Reader {
    frames: FrameReader,
    transactions: Transactions,
    queue: Arc<Queue>,
    feedback: Arc<Feedback>,
}

impl Reader {
    /// Reads until the stream ends, and says why it did.
    async fn run(&mut self) -> EndpointError {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    /// Takes everything in that has arrived, hands it over, waits for more.
    async fn turn(&mut self) -> Result<(), EndpointError> {
        while let Some(frame) = self.frames.buffered()? {
            self.take_in(&frame).await?;
            while self.transactions.is_delivering() {
                self.hand_over().await;
                self.transactions.deliver_part().await?;
            }
            let (changes, bytes) = self.transactions.ready_size();
            if changes >= queue::limits::BATCH_CHANGES || bytes >= queue::limits::BATCH_BYTES {
                self.hand_over().await;
            }
        }
        self.hand_over().await;
        match timeout(limits::SILENCE_MAX, self.frames.fill()).await {
            Ok(filled) => filled,
            Err(_) => Err(silent(limits::SILENCE_MAX)),
        }
    }

    async fn hand_over(&mut self) {
        if let Some(batch) = self.transactions.take_ready() {
            self.queue.push(batch).await;
        }
    }

    async fn take_in(&mut self, frame: &Frame) -> Result<(), EndpointError> {
        match (frame.tag, frame.body.first()) {
            (b'd', Some(b'w')) => {
                let what = "a change without its header";
                let (at, message) = change(&frame.body).ok_or(Malformed { what })?;
                self.transactions.handle(at, message).await
            }
            (b'd', Some(b'k')) => {
                let what = "a broken keepalive";
                let (wal_end, reply) = keepalive(&frame.body).ok_or(Malformed { what })?;
                self.transactions.handle_keepalive(wal_end);
                if reply {
                    self.feedback.ask();
                }
                Ok(())
            }
            (b'E', _) => Err(refused("read the change stream", frame)),
            // A server that is told to stop completes the command without ending the copy.
            (b'c' | b'C', _) => Err(EndpointError::retry(
                "connection-lost",
                "PostgreSQL ended the change stream, as it does when it stops; it is tried again",
            )),
            // Notices and parameter changes.
            (b'N' | b'S', _) => Ok(()),
            _ => {
                let what = "a message that does not belong into a change stream";
                Err(Malformed { what }.into())
            }
        }
    }
}

/// The place of the message's record in the WAL (0 where it has none), and the message.
fn change(body: &[u8]) -> Option<(u64, &[u8])> {
    const REST_OF_HEADER: usize = 8 + 8;
    let (start, rest) = body.get(1..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*start), rest.get(REST_OF_HEADER..)?))
}

/// WAL end and whether an answer is wanted at once.
pub(super) fn keepalive(body: &[u8]) -> Option<(u64, bool)> {
    let (wal_end, rest) = body.get(1..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*wal_end), *rest.get(8)? == 1))
}

fn silent(wait: Duration) -> EndpointError {
    EndpointError::retry(
        "connection-lost",
        format!("PostgreSQL has sent nothing for {} s", wait.as_secs()),
    )
}

//! Writes batches: one transaction each, marked, fenced, guarded, read back, and recoverable.
//!
//! Order within the transaction: marker (so that the change stream can tell whose it is), progress
//! row (so that a newer epoch shuts older ones out), guard, writes, progress, commit. Reads and
//! writes of a batch are pipelined: about three round trips whatever its size.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::future::join3;
use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::model::{
    BatchId, Before, FindingCode, Key, Outcome, PairId, Row, Step, StepKind,
};
use tokio_postgres::types::Oid;

use super::bulk::{self, Copied, Part};
use super::changelog::ChangeLog;
use super::connect::{self, Connected, SessionLimits};
use super::guard::{Guard, GuardError, Verdict, Write, WriteKind};
use super::progress::{self, Progress, ProgressName};
use super::reading;
use super::shape::{Shape, check_same};
use super::sqlstate::endpoint_error;
use super::write::{Failure, Tables};
use crate::endpoint::{Dial, EndpointError, Recovered, StreamLabel, Writer};

/// The writer of one side of one run.
pub struct PgWriter {
    dial: Arc<dyn Dial>,
    label: StreamLabel,
    shapes: Arc<Vec<Shape>>,
    /// Each table's place in an order with parents first.
    ranks: Vec<usize>,
    progress: ProgressName,
    log: ChangeLog,
    epoch: u32,
    fingerprinter: Fingerprinter,
    /// By table: true once it turned out that its creates can't be copied.
    uncopied: Vec<AtomicBool>,
    /// Dropped at any error: the server then undoes whatever was open.
    session: Option<Connected>,
    /// Whether the progress row is known to be there.
    is_prepared: bool,
}

/// How the writes of a batch are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// All at once: the first refused record undoes the batch.
    Bold,
    /// In savepoints: refused records are left out.
    Careful,
}

impl PgWriter {
    /// `label.epoch` is the lease epoch under which it writes.
    pub fn new(
        dial: Arc<dyn Dial>,
        label: StreamLabel,
        shapes: Arc<Vec<Shape>>,
        (progress, log): (ProgressName, ChangeLog),
        fingerprinter: Fingerprinter,
    ) -> PgWriter {
        PgWriter {
            ranks: ranks(&shapes),
            uncopied: shapes.iter().map(|_| AtomicBool::new(false)).collect(),
            epoch: label.epoch,
            dial,
            label,
            shapes,
            progress,
            log,
            fingerprinter,
            session: None,
            is_prepared: false,
        }
    }

    /// A session, and a place for the progress of what is written.
    async fn connect(&mut self) -> Result<(), EndpointError> {
        self.open().await?;
        if !self.is_prepared {
            self.progress.prepare(self.session()?).await?;
            self.is_prepared = true;
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), EndpointError> {
        if self
            .session
            .as_ref()
            .is_some_and(|session| !session.is_closed())
        {
            return Ok(());
        }
        self.session = None;
        self.is_prepared = false;
        let session = connect::client(&self.dial, &self.label, SessionLimits::APPLY).await?;
        let name = self.progress.application_name(self.epoch);
        let sql = format!("set application_name = '{name}'");
        session
            .bounded("name the session", session.batch_execute(&sql))
            .await?;
        self.session = Some(session);
        Ok(())
    }

    fn session(&self) -> Result<&Connected, EndpointError> {
        self.session
            .as_ref()
            .ok_or_else(|| EndpointError::retry("connection-lost", "the session was closed"))
    }

    fn shape(&self, pair: PairId) -> Result<&Shape, EndpointError> {
        self.shapes
            .iter()
            .find(|shape| shape.pair == pair)
            .ok_or_else(|| EndpointError::bug("unknown-pair", "table pair is not bound"))
    }

    /// Cancels what takes too long over a stream of its own. The session is then given up.
    async fn bounded_attempt(
        &self,
        batch: BatchId,
        steps: &[Step],
        recorded: bool,
        care: Care,
    ) -> Result<Vec<Outcome>, Failure> {
        let attempt = self.attempt(batch, steps, recorded, care);
        match tokio::time::timeout(limits::BATCH, Box::pin(attempt)).await {
            Ok(done) => done,
            Err(_) => Err(self.session()?.give_up("write a batch").await.into()),
        }
    }

    /// One whole transaction. After an error nothing of it is there, unless the commit's answer
    /// was lost.
    async fn attempt(
        &self,
        batch: BatchId,
        steps: &[Step],
        recorded: bool,
        care: Care,
    ) -> Result<Vec<Outcome>, Failure> {
        let session = self.session()?;
        let guard = Guard {
            shapes: &self.shapes,
            fingerprinter: &self.fingerprinter,
        };
        let mut outcomes: Vec<Option<Outcome>> = vec![None; steps.len()];
        let waves = guard.waves(steps);
        let (first, later) = match waves.split_first() {
            Some((first, later)) => (first.as_slice(), later),
            None => (&[][..], &[][..]),
        };
        // Sent in this order, without waiting in between.
        let begin = self.log.begin(&self.progress, batch);
        let opening = join3(
            session.batch_execute(&begin),
            self.progress.claim(session, self.epoch),
            guard.judge(session, steps, first),
        );
        let (begun, claimed, judged) = opening.await;
        begun.map_err(|error| Failure::of_ours("begin a batch", error))?;
        let claimed = claimed.map_err(|error| Failure::of_ours("lock the progress row", error))?;
        self.check_claim(&claimed, batch)?;
        self.write(session, (&guard, steps), judged, care, &mut outcomes)
            .await?;
        for wave in later {
            let judged = guard.judge(session, steps, wave).await;
            self.write(session, (&guard, steps), judged, care, &mut outcomes)
                .await?;
        }
        let mut outcomes: Vec<Outcome> = outcomes
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| EndpointError::bug("no-outcome", "a step has no outcome"))?;
        self.commit(session, batch, (steps, &outcomes), recorded)
            .await?;
        self.fence(session, steps, &mut outcomes).await?;
        Ok(outcomes)
    }

    fn check_claim(&self, claimed: &Progress, batch: BatchId) -> Result<(), EndpointError> {
        if claimed.epoch > self.epoch {
            return Err(self.fenced(claimed.epoch));
        }
        if claimed.batch >= batch {
            let message = format!("batch {} was written already", batch.0);
            return Err(EndpointError::bug("batch-repeated", message));
        }
        Ok(())
    }

    fn fenced(&self, newer: u32) -> EndpointError {
        let message = format!(
            "a newer run (epoch {newer}) of this sync writes here, this one (epoch {}) has ended; \
             stop the other relay if it should not run",
            self.epoch
        );
        EndpointError::operator("fenced", message)
    }

    async fn write(
        &self,
        session: &Connected,
        (guard, steps): (&Guard<'_>, &[Step]),
        judged: Result<Vec<(usize, Verdict)>, GuardError>,
        care: Care,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Failure> {
        let mut writes: Vec<Write> = Vec::new();
        let mut overwritten: HashMap<usize, Before> = HashMap::new();
        for (step, verdict) in judged? {
            match verdict {
                Verdict::Write(write, before) => {
                    if !before.is_empty() {
                        overwritten.insert(step, before);
                    }
                    writes.push(write);
                }
                Verdict::Settled(outcome) => outcomes[step] = Some(outcome),
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let tables = Tables {
            shapes: &self.shapes,
            ranks: &self.ranks,
        };
        tables.sort(&mut writes);
        let done = match care {
            Care::Bold => self.execute(session, &tables, &writes).await?,
            Care::Careful => tables.sift(session, writes.clone()).await?,
        };
        for (step, outcome) in done {
            let before = overwritten.remove(&step).unwrap_or_default();
            outcomes[step] = Some(outcome.with_before(before));
        }
        if care == Care::Careful {
            self.concede(session, (guard, steps), &writes, outcomes)
                .await?;
        }
        writes.retain(|write| matches!(outcomes[write.step], Some(Outcome::Written(..))));
        tables.advance_sequences(session, &writes).await
    }

    /// Executes sorted writes, all or none.
    async fn execute(
        &self,
        session: &Connected,
        tables: &Tables<'_>,
        writes: &[Write],
    ) -> Result<Vec<(usize, Outcome)>, Failure> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for part in bulk::parts(&self.shapes, writes) {
            let others = match part {
                Part::Others(others) => others,
                Part::Copied(creates) => match self.copy(session, creates).await? {
                    Some(copied) => {
                        outcomes.extend(copied);
                        continue;
                    }
                    None => creates,
                },
            };
            outcomes.extend(tables.execute(session, others).await?);
        }
        Ok(outcomes)
    }

    /// Writes creates of one table by COPY, or does nothing.
    async fn copy(
        &self,
        session: &Connected,
        creates: &[Write],
    ) -> Result<Option<Vec<(usize, Outcome)>>, Failure> {
        let table = creates[0].table;
        if self.uncopied[table].load(Ordering::Relaxed) {
            return Ok(None);
        }
        match bulk::write(session, &self.shapes[table], creates).await? {
            Copied::Done(outcomes) => Ok(Some(outcomes)),
            Copied::NotAllowed => Ok(None),
            Copied::Unfit => {
                self.uncopied[table].store(true, Ordering::Relaxed);
                let detail = "its creates can't be copied".to_owned();
                Err(Failure::Refused(FindingCode::RejectedBySide, detail))
            }
        }
    }

    /// A create that is refused as a double of a record that came after the guard looked: by now
    /// the guard finds it, and says what it would have said then.
    async fn concede(
        &self,
        session: &Connected,
        (guard, steps): (&Guard<'_>, &[Step]),
        writes: &[Write],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Failure> {
        let is_double = |write: &&Write| {
            let refused = outcomes[write.step].as_ref();
            let code = FindingCode::UniqueViolation;
            matches!(refused, Some(Outcome::Rejected { code: found, .. }) if *found == code)
                && matches!(write.kind, WriteKind::Create { .. })
        };
        let doubles: Vec<usize> = writes.iter().filter(is_double).map(|w| w.step).collect();
        if doubles.is_empty() {
            return Ok(());
        }
        let judged = guard.judge(session, steps, &doubles).await;
        for (step, verdict) in judged? {
            if let Verdict::Settled(outcome @ Outcome::Exists { .. }) = verdict {
                outcomes[step] = Some(outcome);
            }
        }
        Ok(())
    }

    async fn commit(
        &self,
        session: &Connected,
        batch: BatchId,
        (steps, outcomes): (&[Step], &[Outcome]),
        recorded: bool,
    ) -> Result<(), Failure> {
        let record = recorded.then(|| {
            progress::encode(outcomes, |outcome| match outcome {
                Outcome::Written(stored, _) => self.fingerprinter.row(&stored.row),
                _ => Vec::<Fingerprint>::new(),
            })
        });
        let commit = self.log.commit(batch);
        let written = written(steps, outcomes);
        let (touched, stored, committed) = join3(
            self.log.touch(session, &written),
            self.progress.store(session, batch, record.as_deref()),
            session.batch_execute(&commit),
        )
        .await;
        touched.map_err(|error| Failure::of_ours("name what was written", error))?;
        stored.map_err(|error| Failure::of_ours("store the progress", error))?;
        committed.map_err(|error| Failure::of("commit a batch", error))
    }

    /// What was found in the way is in the change log at or before the position that is read here,
    /// after it was seen.
    async fn fence(
        &self,
        session: &Connected,
        steps: &[Step],
        outcomes: &mut [Outcome],
    ) -> Result<(), EndpointError> {
        let found = found(steps, outcomes);
        if found.is_empty() {
            return Ok(());
        }
        let position = self.log.fence(session, &found).await?;
        for outcome in outcomes.iter_mut() {
            if let Some(fence) = fence_of(outcome) {
                *fence = position;
            }
        }
        Ok(())
    }

    async fn try_recover(&self) -> Result<Progress, EndpointError> {
        let session = self.session()?;
        let doing = "fence older runs off";
        let limit = format!("set lock_timeout = {}", limits::ZOMBIE_LOCK.as_millis());
        session
            .bounded(doing, session.batch_execute(&limit))
            .await?;
        for _ in 0..limits::ZOMBIE_ROUNDS {
            match self.progress.claim(session, self.epoch).await {
                Ok(progress) => {
                    let limit = SessionLimits::APPLY.lock.as_millis();
                    let limit = format!("set lock_timeout = {limit}");
                    session
                        .bounded(doing, session.batch_execute(&limit))
                        .await?;
                    return Ok(progress);
                }
                Err(error) if is_lock_timeout(&error) => {
                    let end = self.progress.end_lingering(session, self.epoch);
                    let ended = session.bounded(doing, end).await?;
                    tracing::info!(ended, "ended lingering sessions of an older run");
                }
                Err(error) => return Err(endpoint_error(doing, error)),
            }
        }
        let message = "another session holds this sync's progress row; end it in \
                       pg_stat_activity if it stays";
        Err(EndpointError::retry("progress-locked", message))
    }
}

#[async_trait]
impl Writer for PgWriter {
    async fn apply(
        &mut self,
        batch: BatchId,
        steps: &[Step],
        recorded: bool,
    ) -> Result<Vec<Outcome>, EndpointError> {
        let mut care = Care::Bold;
        let mut collisions = 0;
        loop {
            self.connect().await?;
            match self.bounded_attempt(batch, steps, recorded, care).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::Refused(..)) if care == Care::Bold => care = Care::Careful,
                Err(Failure::Collision(_)) if collisions < limits::COLLISIONS => collisions += 1,
                Err(failure) => {
                    self.session = None;
                    return Err(failure.into_error());
                }
            }
            // Refused or undone: nothing of it may stay before the next attempt.
            let session = self.session()?;
            let undone = session
                .bounded("undo a batch", session.batch_execute("rollback"))
                .await;
            if let Err(error) = undone {
                self.session = None;
                return Err(error);
            }
        }
    }

    async fn recover(
        &mut self,
        batch: BatchId,
        _steps: usize,
    ) -> Result<Option<Vec<Recovered>>, EndpointError> {
        // A session of before may be in any state.
        self.session = None;
        self.connect().await?;
        let progress = self.try_recover().await?;
        if progress.epoch > self.epoch {
            return Err(self.fenced(progress.epoch));
        }
        if progress.batch != batch {
            return Ok(None);
        }
        let Some(bytes) = progress.outcome else {
            return Ok(Some(Vec::new()));
        };
        let recovered = progress::decode(&bytes).ok_or_else(|| {
            EndpointError::bug(
                "progress-unreadable",
                "the progress row's outcomes are unreadable",
            )
        })?;
        Ok(Some(recovered))
    }

    async fn read(
        &mut self,
        pair: PairId,
        keys: &[Key],
    ) -> Result<(Vec<Option<Row>>, u64), EndpointError> {
        self.connect().await?;
        let session = self.session()?;
        let records = reading::fetch(session, self.shape(pair)?, keys).await?;
        check_same(session, self.shapes.iter()).await?;
        let asked: Vec<(PairId, Key)> = keys.iter().map(|key| (pair, key.clone())).collect();
        let fence = self.log.fence(session, &asked).await?;
        Ok((records, fence))
    }

    async fn check_tables(&mut self) -> Result<(), EndpointError> {
        // Nothing may have been written here yet, or ever be.
        self.open().await?;
        check_same(self.session()?, self.shapes.iter()).await
    }
}

/// The records that a batch has written, by all names that they had.
fn written(steps: &[Step], outcomes: &[Outcome]) -> Vec<(PairId, Key)> {
    let mut records = Vec::new();
    for (step, outcome) in steps.iter().zip(outcomes) {
        let now = match outcome {
            Outcome::Written(stored, _) => Some(&stored.key),
            Outcome::Deleted(_) => None,
            _ => continue,
        };
        let before = key_of(step).filter(|before| Some(*before) != now);
        let keys = before.into_iter().chain(now);
        records.extend(keys.map(|key| (step.pair, key.clone())));
    }
    records
}

/// The records of which a batch has learned something that has a fence.
fn found(steps: &[Step], outcomes: &[Outcome]) -> Vec<(PairId, Key)> {
    let steps = steps.iter().zip(outcomes);
    let found = steps.filter_map(|(step, outcome)| {
        let key = match outcome {
            Outcome::Stale { .. } | Outcome::Missing { .. } => key_of(step),
            Outcome::Exists { stored, .. } => Some(&stored.key),
            _ => None,
        };
        key.map(|key| (step.pair, key.clone()))
    });
    found.collect()
}

fn key_of(step: &Step) -> Option<&Key> {
    match &step.kind {
        StepKind::Create { .. } => None,
        StepKind::Update { key, .. } | StepKind::Delete { key, .. } => Some(key),
    }
}

fn fence_of(outcome: &mut Outcome) -> Option<&mut u64> {
    match outcome {
        Outcome::Stale { fence, .. }
        | Outcome::Missing { fence }
        | Outcome::Exists { fence, .. } => Some(fence),
        _ => None,
    }
}

fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|db| db.code().code() == "55P03")
}

/// Parents before children; tables of a cycle in the binding's order.
fn ranks(shapes: &[Shape]) -> Vec<usize> {
    let mut ranks = vec![usize::MAX; shapes.len()];
    let mut placed: Vec<Oid> = Vec::new();
    for rank in 0..shapes.len() {
        let waits_for = |shape: &Shape| {
            shape.refers_to.iter().any(|parent| {
                let is_bound = shapes.iter().any(|other| other.oid == *parent);
                *parent != shape.oid && is_bound && !placed.contains(parent)
            })
        };
        let unplaced = |index: &usize| ranks[*index] == usize::MAX;
        let next = (0..shapes.len())
            .filter(unplaced)
            .find(|index| !waits_for(&shapes[*index]))
            .or_else(|| (0..shapes.len()).find(unplaced));
        if let Some(index) = next {
            ranks[index] = rank;
            placed.push(shapes[index].oid);
        }
    }
    ranks
}

mod limits {
    use std::time::Duration;

    /// Longest a batch may take: whoever waits for the outcome gives up only later.
    pub(super) const BATCH: Duration = Duration::from_secs(180);
    /// Deadlocks and the like, per batch, before the caller hears of them.
    pub(super) const COLLISIONS: u32 = 3;
    /// Wait for a zombie's lock before its session is ended.
    pub(super) const ZOMBIE_LOCK: Duration = Duration::from_secs(3);
    pub(super) const ZOMBIE_ROUNDS: u32 = 4;
}

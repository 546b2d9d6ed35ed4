//! Carries out a session's commands with real sides and the store, and feeds back what happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_sync::decide::Tally;
use tidegate_sync::model::{
    BatchId, BySide, LinkId, Outcome, PairId, Position, Recovered, Side, Step,
};
use tidegate_sync::session::{Applied, Command, Edited, Event, Round, Session, Settlement};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::blast::{self, Blast};
use super::capture::CaptureTask;
use super::crash::{self, Point};
use super::limits::{
    BACKLOG_BYTES_MAX, BACKLOG_CHANGES_MAX, COPY_ROUND_RECORDS_MAX, RETRY_EVERY, RETRY_RECORDS_MAX,
    STOP_DEADLINE, TABLES_CHECK_EVERY,
};
use super::mapping::Mapping;
use super::pages::{Pages, Source};
use super::preview;
use super::run::{Run, RunError, SideRun, check_described, now_ms};
use super::scan::Scanner;
use super::supervisor::{Phase, Progress};
use super::wishes::EditRequest;
use crate::endpoint::{Captured, EndpointError, Snapshot, Writer};
use crate::store::{Ledger, StoreError};

/// While nothing changes, a side's position is settled this often: often enough that its log can
/// be cut, seldom enough that an idle sync costs nothing.
const IDLE_POSITION_EVERY: Duration = Duration::from_secs(5);

/// Drives one session.
pub(super) struct Driver {
    run: Run,
    session: Session,
    sides: BySide<SideRun>,
    commands: VecDeque<Command>,
    /// While existing data is reconciled.
    pages: Option<Pages>,
    /// Who asked for the edits that the session was given, in order.
    editors: VecDeque<oneshot::Sender<Vec<Edited>>>,
    /// A page's settlement on its way to the disk (see [`Driver::settle`]).
    settling: Option<AbortOnDropHandle<Result<Vec<LinkId>, StoreError>>>,
    position_fed: BySide<Instant>,
    tables_checked: Instant,
    /// The newest of our own batches that the session was told of.
    passed_fed: BySide<BatchId>,
    /// [`Session::surprises`] that were told of.
    surprises: u64,
    blast: Blast,
}

/// What woke the driver.
enum Wake {
    Captured(Side, Option<Result<Captured, EndpointError>>),
    Retry,
    Edit,
    Stop,
}

impl Driver {
    pub(super) fn new(run: Run, session: Session, sides: BySide<SideRun>) -> Driver {
        let now = Instant::now();
        Driver {
            run,
            session,
            sides,
            commands: VecDeque::new(),
            pages: None,
            editors: VecDeque::new(),
            settling: None,
            position_fed: BySide::new(now, now),
            tables_checked: now,
            passed_fed: BySide::default(),
            surprises: 0,
            blast: Blast::default(),
        }
    }

    /// Runs until `stop`, then finishes the round under way.
    pub(super) async fn drive(mut self, stop: CancellationToken) -> Result<(), RunError> {
        let mut retry = tokio::time::interval(RETRY_EVERY);
        loop {
            self.carry_out_all(&stop).await?;
            self.note_surprises();
            if stop.is_cancelled() {
                return self.finish_settling().await;
            }
            self.note_phase();
            let wake = self.wait(&stop, &mut retry).await;
            match wake {
                Wake::Captured(side, Some(captured)) => {
                    let captured = captured.map_err(|source| RunError::Side { side, source })?;
                    self.feed(side, captured).await?;
                    // Else it would be told as quiet while the round is under way.
                    self.note_phase();
                }
                Wake::Captured(side, None) => {
                    let source = EndpointError::retry("stream-ended", "the change stream ended");
                    return Err(RunError::Side { side, source });
                }
                Wake::Retry => {
                    self.check_tables().await?;
                    self.plan_doubted();
                    self.retry_findings().await?;
                }
                Wake::Edit => self.take_edits(),
                Wake::Stop => return Ok(()),
            }
        }
    }

    async fn carry_out_all(&mut self, stop: &CancellationToken) -> Result<(), RunError> {
        loop {
            while let Some(command) = self.session.poll_command() {
                self.commands.push_back(command);
            }
            let Some(command) = self.commands.pop_front() else {
                return Ok(());
            };
            if stop.is_cancelled() && begins_work(&command) {
                return Ok(());
            }
            let work = self.carry_out(command);
            tokio::select! {
                biased;
                done = work => done?,
                () = past_deadline(stop) => return Ok(()),
            }
        }
    }

    async fn wait(&mut self, stop: &CancellationToken, retry: &mut tokio::time::Interval) -> Wake {
        let may_feed = BySide::from_fn(|side| {
            self.session.backlog(side) < BACKLOG_CHANGES_MAX
                && self.session.backlog_bytes(side) < BACKLOG_BYTES_MAX
        });
        let BySide { left, right } = &mut self.sides;
        tokio::select! {
            () = stop.cancelled() => Wake::Stop,
            captured = next(&mut left.capture), if may_feed.left => {
                Wake::Captured(Side::Left, captured)
            }
            captured = next(&mut right.capture), if may_feed.right => {
                Wake::Captured(Side::Right, captured)
            }
            () = self.run.parts.requests.retry_requested() => Wake::Retry,
            () = self.run.parts.requests.edits.come(), if self.session.is_live() => Wake::Edit,
            _ = retry.tick() => Wake::Retry,
        }
    }

    async fn feed(&mut self, side: Side, captured: Captured) -> Result<(), RunError> {
        if let Some((pair, reason)) = captured.reconcile.first() {
            let table = &self.run.mapping.pairs[pair.0 as usize].tables[side];
            let reason = format!("{} {table}: {reason}", side.name());
            self.run.ledger.forget_positions().await?;
            return Err(RunError::Gap(reason));
        }
        if captured.described {
            let drift = check_described(&self.run.parts, &self.run.mapping, side).await?;
            self.run.parts.progress.set_drift(side, drift);
        }
        // A batch of ours that has passed may be what a record waits for.
        let is_news = !captured.changes.is_empty()
            || captured
                .end
                .as_ref()
                .is_none_or(|end| end.passed > self.passed_fed[side]);
        if !is_news
            && self.session.awaited_fence(side).is_none()
            && self.position_fed[side].elapsed() < IDLE_POSITION_EVERY
        {
            return Ok(());
        }
        self.position_fed[side] = Instant::now();
        let Captured {
            mut changes, end, ..
        } = captured;
        let pairs = &self.run.mapping.pairs;
        changes.retain(|change| !pairs[change.pair.0 as usize].policy.once);
        if let Some(end) = &end {
            self.passed_fed[side] = end.passed;
        }
        self.session.handle(Event::Changes { side, changes, end });
        Ok(())
    }

    async fn check_tables(&mut self) -> Result<(), RunError> {
        if self.tables_checked.elapsed() < TABLES_CHECK_EVERY {
            return Ok(());
        }
        for side in Side::BOTH {
            let checked = self.sides[side].writer.check_tables().await;
            checked.map_err(|source| RunError::Side { side, source })?;
        }
        self.tables_checked = Instant::now();
        Ok(())
    }

    /// Records that a verify found to differ.
    fn plan_doubted(&mut self) {
        if !self.session.is_live() {
            return;
        }
        for (side, pair, key) in self.run.parts.requests.take_doubts() {
            let keys = vec![key];
            self.session.handle(Event::Doubt { side, pair, keys });
        }
    }

    fn take_edits(&mut self) {
        while let Some(request) = self.run.parts.requests.edits.take() {
            let EditRequest { edits, answer } = request;
            self.editors.push_back(answer);
            self.session.handle(Event::Edit { edits });
        }
    }

    async fn retry_findings(&mut self) -> Result<(), RunError> {
        if !self.session.is_live() {
            return Ok(());
        }
        let due = self
            .run
            .ledger
            .take_due_findings(now_ms(), RETRY_RECORDS_MAX as u32)
            .await?;
        for (side, pair, key) in due {
            self.session.handle(Event::Retry {
                side,
                pair,
                keys: vec![key],
            });
        }
        Ok(())
    }

    /// A side's history that contradicts what the sync knows of its keys has lost a change: a
    /// verify tells what of.
    fn note_surprises(&mut self) {
        let count = self.session.surprises();
        if count > self.surprises {
            self.surprises = count;
            tracing::warn!(
                sync = self.run.mapping.name,
                count,
                "A side's history contradicts what is known of its keys."
            );
        }
    }

    fn note_phase(&mut self) {
        if self.session.is_quiet() {
            self.blast.note_quiet();
            self.run.parts.requests.end_old_approval();
        }
        if self.session.is_live() {
            self.run.parts.progress.set_phase(Phase::Live);
        }
        let pairs = self.run.mapping.pairs.len();
        let pending = self.session.backlog_by_pair(pairs);
        let waiting = self.session.waiting_count() as u64;
        let progress = &self.run.parts.progress;
        progress.set_pending(pending, waiting, self.session.is_quiet());
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), RunError> {
        let event = match command {
            Command::Recover { batches, steps } => Event::Recovered {
                outcomes: recover(&mut self.sides, batches, steps).await?,
            },
            Command::Scan { pairs, aside } => Event::Scanned {
                positions: self.scan(pairs, aside).await?,
            },
            Command::NextMatches { pair, .. } => self.next_matches(pair).await?,
            Command::Fetch { pair, keys } => Event::Fetched {
                rows: self.pages()?.rows(pair, &keys).await?,
            },
            Command::Stream { positions } => {
                self.stream(positions).await?;
                Event::Streaming
            }
            Command::Load { keys } => {
                self.finish_settling().await?;
                Event::Loaded {
                    lookups: self.run.ledger.load(keys).await?,
                }
            }
            Command::Read { side, pair, keys } => {
                let read = self.sides[side].writer.read(pair, &keys).await;
                let (rows, fence) = read.map_err(|source| RunError::Side { side, source })?;
                Event::ReadDone { rows, fence }
            }
            Command::Intend(round) => {
                self.finish_settling().await?;
                self.check_blast(&round).await?;
                self.run.ledger.intend(&round).await?;
                Event::Intended
            }
            Command::Apply {
                side,
                batch,
                steps,
                recorded,
            } => {
                return self.apply(side, batch, steps, recorded).await;
            }
            Command::Settle(settlement) => Event::Settled {
                links: self.settle(*settlement).await?,
            },
            Command::Acknowledge { side, position } => {
                if let Some(capture) = &self.sides[side].capture {
                    capture.acknowledge(position);
                }
                return Ok(());
            }
            Command::Edited { edited } => {
                if let Some(editor) = self.editors.pop_front() {
                    // Whoever went away finds the edits in the history.
                    let _ = editor.send(edited);
                }
                return Ok(());
            }
        };
        self.session.handle(event);
        Ok(())
    }

    /// Applies one batch, or both sides' batches of a round at once.
    async fn apply(
        &mut self,
        side: Side,
        batch: BatchId,
        steps: Vec<Step>,
        recorded: bool,
    ) -> Result<(), RunError> {
        if let Some(Command::Apply { .. }) = self.commands.front()
            && let Some(Command::Apply {
                side: second,
                batch: batch2,
                steps: steps2,
                ..
            }) = self.commands.pop_front()
        {
            let (first_side, second_side) = match side {
                Side::Left => (&mut self.sides.left, &mut self.sides.right),
                Side::Right => (&mut self.sides.right, &mut self.sides.left),
            };
            check_emptied(&mut second_side.writer, second, &steps).await?;
            check_emptied(&mut first_side.writer, side, &steps2).await?;
            let (first, other) = tokio::try_join!(
                write(&mut first_side.writer, side, batch, &steps, recorded),
                write(&mut second_side.writer, second, batch2, &steps2, recorded),
            )?;
            self.session.handle(Event::Applied {
                side,
                outcomes: first,
            });
            self.session.handle(Event::Applied {
                side: second,
                outcomes: other,
            });
            return Ok(());
        }
        let source = side.other();
        check_emptied(&mut self.sides[source].writer, source, &steps).await?;
        let writer = &mut self.sides[side].writer;
        let outcomes = write(writer, side, batch, &steps, recorded).await?;
        self.session.handle(Event::Applied { side, outcomes });
        Ok(())
    }

    /// Makes a settlement durable. While existing data is copied, the next page is begun meanwhile,
    /// unless the round was recorded: nothing is acknowledged before the copy's last settlement, and
    /// of a round that was not recorded the next scan finds what became of it, of one as of two.
    /// Whatever reads or writes the store waits for it.
    async fn settle(&mut self, settlement: Settlement) -> Result<Vec<LinkId>, RunError> {
        self.finish_settling().await?;
        let may_overlap = self.pages.is_some()
            && !settlement.live
            && !settlement.round_done
            && !self.session.awaits_numbers();
        let settling = settle(
            self.run.ledger.clone(),
            settlement,
            self.run.parts.progress.clone(),
            self.run.mapping.clone(),
            self.session.is_live(),
        );
        if may_overlap {
            self.settling = Some(AbortOnDropHandle::new(tokio::spawn(settling)));
            return Ok(Vec::new());
        }
        Ok(settling.await?)
    }

    async fn finish_settling(&mut self) -> Result<(), RunError> {
        let Some(settling) = self.settling.take() else {
            return Ok(());
        };
        let settled = settling.await;
        settled.map_err(|error| StoreError::Panicked(error.to_string()))??;
        Ok(())
    }

    async fn stream(&mut self, positions: BySide<Position>) -> Result<(), RunError> {
        self.finish_settling().await?;
        self.pages = None;
        for side in Side::BOTH {
            let capture = self.sides[side].open.capture(&positions[side]).await;
            let capture = capture.map_err(|source| RunError::Side { side, source })?;
            self.sides[side].capture = Some(CaptureTask::start(capture, positions[side].clone()));
        }
        Ok(())
    }

    /// From here on no write of an older run can land: batches of a copy are not recorded, so the
    /// views must see whatever became of them.
    async fn fence_older_runs(&mut self) -> Result<(), RunError> {
        let none = BySide::new(Some(BatchId::NONE), Some(BatchId::NONE));
        recover(&mut self.sides, none, BySide::new(0, 0)).await?;
        Ok(())
    }

    /// Takes both views, stores what they hold, and counts what the reconcile would do.
    async fn scan(
        &mut self,
        pairs: Vec<PairId>,
        aside: bool,
    ) -> Result<BySide<Position>, RunError> {
        let progress = self.run.parts.progress.clone();
        progress.set_phase(Phase::Scanning);
        self.fence_older_runs().await?;
        let BySide { left, right } = &mut self.sides;
        let taken = tokio::try_join!(
            take_snapshot(left, Side::Left, aside),
            take_snapshot(right, Side::Right, aside)
        )?;
        let (Some(left), Some(right)) = taken else {
            self.run.ledger.forget_positions().await?;
            let reason = "a side has no view beside its change log: everything is reconciled";
            return Err(RunError::Gap(reason.to_owned()));
        };
        let views: BySide<Arc<dyn Snapshot>> = BySide::new(left.into(), right.into());
        let positions = BySide::new(views.left.position(), views.right.position());
        let scan = self.run.ledger.scan().await?;
        let scanner = Scanner {
            mapping: &self.run.mapping,
            prints: &self.run.parts.prints,
            progress: &progress,
        };
        scanner.fill_pairs(&scan, &views, &pairs).await?;
        let tallies = scanner
            .tally_all((&scan, &views), &self.run.first_run)
            .await?;
        self.check_expectation(&tallies, aside)?;
        self.pages = Some(Pages::read(Source {
            scan,
            views,
            pairs,
            mapping: self.run.mapping.clone(),
            prints: self.run.parts.prints.clone(),
            first_run: self.run.first_run.clone(),
            limit: COPY_ROUND_RECORDS_MAX,
        }));
        progress.set_totals(&tallies);
        progress.set_phase(Phase::Copying);
        Ok(positions)
    }

    async fn next_matches(&mut self, pair: PairId) -> Result<Event, RunError> {
        let page = self.pages()?.next(pair).await?;
        let page = if page.found.iter().any(|found| found.link.is_some()) {
            // What the page before did to these links must be seen.
            self.finish_settling().await?;
            self.pages()?.refresh(page).await?
        } else {
            page
        };
        Ok(Event::Matches {
            found: page.found,
            done: page.done,
        })
    }

    fn pages(&mut self) -> Result<&mut Pages, RunError> {
        let missing = || RunError::Gap("the scan is missing".to_owned());
        self.pages.as_mut().ok_or_else(missing)
    }

    /// A start does what its preview said, and no reconcile empties a side unasked.
    fn check_expectation(&self, tallies: &[Tally], aside: bool) -> Result<(), RunError> {
        let requests = &self.run.parts.requests;
        let approved = requests.take_approval();
        if let Some(expected) = requests.take_expected() {
            let tables: Vec<(String, String)> = self
                .run
                .mapping
                .pairs
                .iter()
                .map(|pair| (pair.tables.left.clone(), pair.tables.right.clone()))
                .collect();
            let done = |tallies: &[Tally]| match aside {
                true => tallies.iter().map(preview::done_of).collect(),
                false => tallies.to_vec(),
            };
            let (expected, found) = (done(&expected), done(tallies));
            if let Some(text) = preview::difference(&tables, &expected, &found) {
                return Err(RunError::Refused(text));
            }
        }
        if approved {
            return Ok(());
        }
        for (pair, tally) in self.run.mapping.pairs.iter().zip(tallies) {
            for side in Side::BOTH {
                let (deletes, table) = (tally.deletes[side], &pair.tables[side]);
                if blast::is_too_much(deletes, tally.records[side], pair.unasked) {
                    return Err(RunError::Unapproved(blast::refusal(deletes, table, side)));
                }
            }
        }
        Ok(())
    }

    /// Refuses a round that would delete a good part of a table unasked.
    async fn check_blast(&mut self, round: &Round) -> Result<(), RunError> {
        if !self.session.is_live() {
            return Ok(());
        }
        let mapping = &self.run.mapping;
        if !self.blast.count(round, mapping, Instant::now()) {
            return Ok(());
        }
        if self.run.parts.requests.take_approval() {
            self.blast.approve();
            return Ok(());
        }
        let linked = self.run.ledger.linked().await?;
        match self.blast.refusal(&self.run.mapping, &linked) {
            Some(reason) => Err(RunError::Unapproved(reason)),
            None => Ok(()),
        }
    }
}

/// True for what begins a round, before which everything is settled: a stop ends here.
fn begins_work(command: &Command) -> bool {
    matches!(
        command,
        Command::Scan { .. }
            | Command::NextMatches { .. }
            | Command::Stream { .. }
            | Command::Load { .. }
            | Command::Read { .. }
    )
}

async fn next(capture: &mut Option<CaptureTask>) -> Option<Result<Captured, EndpointError>> {
    match capture {
        Some(capture) => capture.next().await,
        None => std::future::pending().await,
    }
}

/// Resolves when `stop` was requested and the deadline for the work under way has passed.
async fn past_deadline(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP_DEADLINE).await;
}

async fn settle(
    ledger: Ledger,
    settlement: Settlement,
    progress: Arc<Progress>,
    mapping: Arc<Mapping>,
    live: bool,
) -> Result<Vec<LinkId>, StoreError> {
    let applied: Vec<Applied> = settlement
        .applied
        .iter()
        .map(Applied::without_values)
        .collect();
    let links = ledger.settle(settlement, now_ms()).await?;
    crash::pass(if live { Point::Settled } else { Point::Copied });
    progress.note_applied(&mapping, &applied, live);
    Ok(links)
}

pub(super) async fn recover(
    sides: &mut BySide<SideRun>,
    batches: BySide<Option<BatchId>>,
    steps: BySide<usize>,
) -> Result<BySide<Option<Vec<Recovered>>>, RunError> {
    let ask = async |run: &mut SideRun, side| match batches[side] {
        Some(batch) => run
            .writer
            .recover(batch, steps[side])
            .await
            .map_err(|source| RunError::Side { side, source }),
        None => Ok(None),
    };
    let BySide { left, right } = sides;
    let (left, right) = tokio::try_join!(ask(left, Side::Left), ask(right, Side::Right))?;
    Ok(BySide::new(left, right))
}

/// Of the side whose values `steps` write to the other one.
async fn check_emptied(
    writer: &mut Box<dyn Writer>,
    side: Side,
    steps: &[Step],
) -> Result<(), RunError> {
    let checked = writer.check_emptied(steps).await;
    checked.map_err(|source| RunError::Side { side, source })
}

async fn write(
    writer: &mut Box<dyn Writer>,
    side: Side,
    batch: BatchId,
    steps: &[Step],
    recorded: bool,
) -> Result<Vec<Outcome>, RunError> {
    if recorded {
        crash::pass(Point::Applying);
    }
    let outcomes = writer.apply(batch, steps, recorded).await;
    if recorded {
        crash::pass(Point::Applied);
    }
    outcomes.map_err(|source| RunError::Side { side, source })
}

/// `None` when there is none beside the change log.
async fn take_snapshot(
    side_run: &mut SideRun,
    side: Side,
    aside: bool,
) -> Result<Option<Box<dyn Snapshot>>, RunError> {
    side_run.capture = None;
    let snapshot = match aside {
        true => side_run.open.snapshot_aside().await,
        false => side_run.open.snapshot().await.map(Some),
    };
    snapshot.map_err(|source| RunError::Side { side, source })
}

//! The sync session: the state machine that drives one sync, without any I/O.
//!
//! The driver (the relay's engine, or the simulator) feeds events with [`Session::handle`] and
//! carries out what [`Session::poll_command`] returns. Every write goes through the same order,
//! which this machine emits and nothing else decides:
//!
//! **intend → apply (send, read back) → settle → acknowledge.**
//!
//! Any failure of a side or of the store ends the session: the driver drops it and starts a new one
//! from what is settled, which is the same path as after a crash.
//!
//! Phases: recover (an intended round was not settled) → reconcile (scan both sides, decide every
//! record; the first run, or after a lost position) → live (rounds of changes).

mod claims;
mod copying;
mod deferred;
mod draft;
mod live;
mod round;
mod settlement;

use std::collections::{HashMap, VecDeque};

pub use round::{PendingCase, Round};
pub use settlement::{Applied, Gone, Settlement};

use self::claims::{Claim, Claimed};
use self::copying::Copying;
use self::deferred::{Deferred, Held, Waiting};
use crate::baseline::Fingerprinter;
use crate::decide::Match;
use crate::model::{
    BatchId, BySide, Change, Finding, Key, Lookup, Outcome, PairId, Position, Recovered, Row, Side,
    Step, StepKind,
};
use crate::plan::{Case, PlannedStep, Verdict, plan};
use crate::policy::PairPolicy;

/// What a session needs to know and never changes.
#[derive(Clone, Debug)]
pub struct Config {
    /// By [`PairId`].
    pub policies: Vec<PairPolicy>,
    /// By [`PairId`]: creation order across tables, parents of foreign keys first.
    pub ranks: Vec<u32>,
    pub prints: Fingerprinter,
    /// The run's lease epoch: batches of a run are numbered within it.
    pub epoch: u32,
    /// Records per live round: bounds memory and the length of a transaction.
    pub round_max: usize,
    /// Records per round while data is copied.
    pub copy_round_max: usize,
}

/// What was settled before.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// `None` until the first reconcile is complete, and after a position was lost.
    pub positions: Option<BySide<Position>>,
    /// A round that was intended and not settled.
    pub round: Option<Round>,
    /// By [`PairId`]: true until the pair was live once.
    pub first_run: Vec<bool>,
}

/// What the driver is asked to do. Every command but `Acknowledge` is answered by its event.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fence older runs off and tell what became of these batches.
    Recover { batches: BySide<Option<BatchId>> },
    /// Take a consistent view of both sides at fresh positions and store the scans of all pairs.
    Scan,
    /// The next records of the stored scans, joined with links and by match key.
    NextMatches { pair: PairId, limit: usize },
    /// Read these records from the views that were scanned.
    Fetch {
        pair: PairId,
        keys: BySide<Vec<Key>>,
    },
    /// Start streaming both sides' changes after these positions.
    Stream { positions: BySide<Position> },
    /// Look these keys up in the store.
    Load { keys: Vec<(Side, PairId, Key)> },
    /// Read these records as they are now.
    Read {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    /// Commit the round to the store before it is sent.
    Intend(Box<Round>),
    /// Write one batch. Both sides' batches of a round may be under way at once.
    Apply {
        side: Side,
        batch: BatchId,
        steps: Vec<Step>,
        recorded: bool,
    },
    /// Make this durable in one transaction.
    Settle(Box<Settlement>),
    /// The side may forget its history up to this position.
    Acknowledge { side: Side, position: Position },
}

/// What the driver reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `None` for a batch that was never committed, or was not asked about.
    Recovered {
        outcomes: BySide<Option<Vec<Recovered>>>,
    },
    /// The views' positions.
    Scanned {
        positions: BySide<Position>,
    },
    /// `done` when the pair has no more.
    Matches {
        found: Vec<Match>,
        done: bool,
    },
    /// In the order asked.
    Fetched {
        rows: BySide<Vec<Option<Row>>>,
    },
    Streaming,
    /// Whole transactions of one side, in commit order, and the position after them.
    Changes {
        side: Side,
        changes: Vec<Change>,
        position: Position,
    },
    /// In the order asked.
    Loaded {
        lookups: Vec<Lookup>,
    },
    /// In the order asked, and the fence (see [`crate::model::Outcome::Stale`]).
    ReadDone {
        rows: Vec<Option<Row>>,
        fence: u64,
    },
    Intended,
    /// One outcome per step, in order.
    Applied {
        side: Side,
        outcomes: Vec<Outcome>,
    },
    Settled,
    /// Try these records again: they had findings.
    Retry {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
}

/// Where the machine stands: which answer it waits for.
#[derive(Debug)]
enum State {
    Start,
    Recovering,
    SettlingRecovery,
    Scanning,
    Matching,
    Fetching,
    SettlingCopy,
    Opening,
    Idle,
    Loading {
        keys: Vec<(Side, PairId, Key)>,
    },
    Reading {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    Intending,
    Applying,
    /// Who has the keys that the writes gave to records?
    Claiming {
        keys: Vec<(Side, PairId, Key)>,
        what: Claimed,
    },
    Settling,
}

/// A batch of changes that was taken in, and not yet planned.
#[derive(Debug)]
struct Unit {
    changes: Vec<Change>,
    position: Position,
}

/// A round in progress: the durable part, and what is only needed until it is settled.
#[derive(Debug, Default)]
struct Current {
    round: Round,
    /// Parallel to `round.cases`.
    cases: Vec<Case>,
    steps: BySide<Vec<Step>>,
    outcomes: BySide<Option<Vec<Outcome>>>,
    /// Links and findings that need no step.
    settlement: Settlement,
    recorded: bool,
}

impl Current {
    /// While data is copied for the first time, a create that a crash left unsettled is found
    /// again by its match key, and the round need not be recorded. Anything else must be: a lost
    /// conflict, or a delete of ours that the next scan would take for a person's.
    fn is_worth_a_record(&self) -> bool {
        let is_first = |case: &Case| case.existing.is_some();
        self.round.has_conflicts() || self.round.has_deletes() || !self.cases.iter().all(is_first)
    }
}

/// A step of a round's case: the case's number, the side, what to do, which fields it settles.
type Planned = (usize, Side, StepKind, Vec<usize>);

/// Drives one sync. See the module's documentation for the calling order.
#[derive(Debug)]
pub struct Session {
    config: Config,
    resume: Resume,
    state: State,
    commands: VecDeque<Command>,
    inbox: BySide<VecDeque<Unit>>,
    /// Changes of the round being loaded.
    taken: BySide<Vec<Change>>,
    waiting: Waiting,
    /// Positions up to which changes were taken in, per side.
    consumed: BySide<Position>,
    /// Ends of units that were taken in and are not settled yet.
    unsettled: BySide<VecDeque<Position>>,
    settled: BySide<Position>,
    /// Positions that the settlement under way makes durable.
    to_acknowledge: BySide<Option<Position>>,
    copying: Option<Copying>,
    current: Current,
    batch_count: u32,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiting({})", self.len())
    }
}

impl Session {
    pub fn new(config: Config, resume: Resume) -> Session {
        let mut session = Session {
            config,
            resume,
            state: State::Start,
            commands: VecDeque::new(),
            inbox: BySide::default(),
            taken: BySide::default(),
            waiting: Waiting::default(),
            consumed: BySide::default(),
            unsettled: BySide::default(),
            settled: BySide::default(),
            to_acknowledge: BySide::default(),
            copying: None,
            current: Current::default(),
            batch_count: 0,
        };
        session.start();
        session
    }

    /// The next thing to do, in order; `None` until the next event.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Changes taken in and not planned yet, per side: the driver stops reading a side above a
    /// bound of its own.
    pub fn backlog(&self, side: Side) -> usize {
        self.inbox[side].iter().map(|unit| unit.changes.len()).sum()
    }

    /// [`Session::backlog`] of both sides, by table pair.
    pub fn backlog_by_pair(&self, pairs: usize) -> Vec<u64> {
        let mut counts = vec![0; pairs];
        for side in Side::BOTH {
            for change in self.inbox[side].iter().flat_map(|unit| &unit.changes) {
                counts[change.pair.0 as usize] += 1;
            }
        }
        counts
    }

    /// True when nothing is in progress, queued or waiting.
    pub fn is_quiet(&self) -> bool {
        matches!(self.state, State::Idle)
            && self.commands.is_empty()
            && self.waiting.is_empty()
            && Side::BOTH.iter().all(|&side| self.inbox[side].is_empty())
    }

    /// True once changes are streamed.
    pub fn is_live(&self) -> bool {
        !matches!(
            self.state,
            State::Start
                | State::Recovering
                | State::SettlingRecovery
                | State::Scanning
                | State::Opening
        ) && self.copying.is_none()
    }

    /// Records that wait for a side's change stream or for a read.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// The position that `side`'s stream must reach for a waiting record, if any.
    pub fn awaited_fence(&self, side: Side) -> Option<u64> {
        self.waiting
            .highest_fence(side)
            .filter(|&fence| fence > self.consumed[side].offset)
    }

    /// Takes in what happened. An answer that was not asked for is ignored.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Changes {
                side,
                changes,
                position,
            } => {
                self.inbox[side].push_back(Unit { changes, position });
                self.next_live();
            }
            Event::Retry { side, pair, keys } => self.handle_retry(side, pair, keys),
            Event::Recovered { outcomes } => self.handle_recovered(&outcomes),
            Event::Scanned { positions } => self.handle_scanned(positions),
            Event::Matches { found, done } => self.handle_matches(found, done),
            Event::Fetched { rows } => self.handle_fetched(rows),
            Event::Streaming => self.handle_streaming(),
            Event::Loaded { lookups } => match self.state {
                State::Claiming { .. } => self.handle_claims(lookups),
                _ => self.handle_loaded(lookups),
            },
            Event::ReadDone { rows, fence } => self.handle_read(rows, fence),
            Event::Intended => self.handle_intended(),
            Event::Applied { side, outcomes } => self.handle_applied(side, outcomes),
            Event::Settled => self.handle_settled(),
        }
    }

    fn start(&mut self) {
        match self.resume.round.as_ref().filter(|round| round.has_steps()) {
            Some(round) => {
                self.commands.push_back(Command::Recover {
                    batches: round.batches,
                });
                self.state = State::Recovering;
            }
            None => self.after_recovery(),
        }
    }

    fn handle_recovered(&mut self, outcomes: &BySide<Option<Vec<Recovered>>>) {
        let State::Recovering = self.state else {
            return;
        };
        let mut settlement = Settlement::default();
        let mut keys = Vec::new();
        if let Some(round) = self.resume.round.take() {
            round.settle_recovered(outcomes, &mut settlement);
            keys = round.new_keys(|side, index| {
                let step = outcomes[side].as_ref()?.get(index)?;
                claims::recovered_key(step).cloned()
            });
        }
        self.check_claims(keys, Claimed::Recovery(Box::new(settlement)));
    }

    fn settle_recovery(&mut self, mut settlement: Settlement, claims: Vec<Claim>) {
        self.give_up(claims, &mut settlement);
        self.state = State::SettlingRecovery;
        self.commands
            .push_back(Command::Settle(Box::new(settlement)));
    }

    fn after_recovery(&mut self) {
        match self.resume.positions.clone() {
            Some(positions) => self.open_streams(positions),
            None => {
                self.state = State::Scanning;
                self.commands.push_back(Command::Scan);
            }
        }
    }

    fn open_streams(&mut self, positions: BySide<Position>) {
        self.settled = positions.clone();
        self.consumed = positions.clone();
        self.state = State::Opening;
        self.commands.push_back(Command::Stream { positions });
    }

    fn handle_streaming(&mut self) {
        if let State::Opening = self.state {
            // The last run may have ended between its settlement and this.
            for side in Side::BOTH {
                let position = self.settled[side].clone();
                self.commands
                    .push_back(Command::Acknowledge { side, position });
            }
            self.go_idle();
        }
    }

    /// Plans cases, and starts the round that they make. `extra` is settled with them.
    fn start_round(&mut self, drafts: Vec<draft::Draft>, extra: Settlement, copying: bool) {
        let mut current = Current {
            settlement: extra,
            ..Current::default()
        };
        let mut planned: Vec<Planned> = Vec::new();
        for draft in drafts {
            self.plan_draft(draft, copying, &mut current, &mut planned);
        }
        self.hold_back_reused_keys(&mut current, &mut planned);
        current.steps = round::number_steps(&mut current.round.cases, planned, &self.config.ranks);
        for side in Side::BOTH {
            if !current.steps[side].is_empty() {
                current.round.batches[side] = Some(self.next_batch());
            }
        }
        current.recorded = !copying || current.is_worth_a_record();
        self.current = current;
        if !self.current.round.has_steps() {
            self.settle_current();
        } else if self.current.recorded {
            self.state = State::Intending;
            self.commands
                .push_back(Command::Intend(Box::new(self.current.round.clone())));
        } else {
            self.send_batches();
        }
    }

    /// Plans one case: into the round, to those that wait, or to the findings.
    fn plan_draft(
        &mut self,
        mut draft: draft::Draft,
        copying: bool,
        current: &mut Current,
        planned: &mut Vec<Planned>,
    ) {
        if let Some(newcomer) = draft.case.part_from_gone() {
            self.waiting.add(Deferred::new(newcomer));
        }
        if let Some((side, code)) = draft.problem {
            if let Some(key) = draft.case.keys[side].clone() {
                current.settlement.findings.push(Finding {
                    pair: draft.case.pair,
                    side,
                    key,
                    code,
                    detail: code.advice().to_owned(),
                });
            }
            return;
        }
        if let Some(side) = draft.unknown_side() {
            self.waiting.add(Deferred::to_read(draft.case, side));
            return;
        }
        let policy = &self.config.policies[draft.case.pair.0 as usize];
        match plan(&draft.case, policy, &self.config.prints) {
            Verdict::NeedRead(side) => self.waiting.add(Deferred::to_read(draft.case, side)),
            Verdict::Decided(mut decided) => {
                let steps: Vec<PlannedStep> = std::mem::take(&mut decided.steps);
                let mut pending = PendingCase::new(&draft.case, *decided, draft.has_finding);
                if steps.is_empty() && pending.is_idle() {
                    return;
                }
                if copying {
                    pending.forget_finding();
                }
                let number = current.cases.len();
                for step in steps {
                    planned.push((number, step.side, step.kind, step.fields));
                }
                current.round.cases.push(pending);
                current.cases.push(draft.case);
            }
        }
    }

    /// A record that takes over the match key of one deleted in the same round is created in the
    /// next round: creates come before deletes within a batch.
    fn hold_back_reused_keys(&mut self, current: &mut Current, planned: &mut Vec<Planned>) {
        let reused = live::reused_match_keys(&self.config, &current.cases, planned);
        for &number in &reused {
            self.waiting
                .add(Deferred::new(current.cases[number].clone()));
        }
        planned.retain(|(case, ..)| !reused.contains(case));
        for &number in &reused {
            current.round.cases[number].forget();
        }
    }

    fn next_batch(&mut self) -> BatchId {
        self.batch_count += 1;
        self.last_batch()
    }

    /// The newest batch of this run.
    fn last_batch(&self) -> BatchId {
        BatchId::of_run(self.config.epoch, self.batch_count)
    }

    fn handle_intended(&mut self) {
        if let State::Intending = self.state {
            self.send_batches();
        }
    }

    fn send_batches(&mut self) {
        self.state = State::Applying;
        for side in Side::BOTH {
            match self.current.round.batches[side] {
                Some(batch) => self.commands.push_back(Command::Apply {
                    side,
                    batch,
                    steps: std::mem::take(&mut self.current.steps[side]),
                    recorded: self.current.recorded,
                }),
                None => self.current.outcomes[side] = Some(Vec::new()),
            }
        }
    }

    fn handle_applied(&mut self, side: Side, outcomes: Vec<Outcome>) {
        let State::Applying = self.state else { return };
        self.current.outcomes[side] = Some(outcomes);
        if self.current.outcomes.left.is_some() && self.current.outcomes.right.is_some() {
            self.settle_current();
        }
    }

    fn settle_current(&mut self) {
        let outcomes =
            BySide::from_fn(|side| self.current.outcomes[side].take().unwrap_or_default());
        let keys = self.current.round.new_keys(|side, index| {
            let outcome = outcomes[side].get(index)?;
            claims::written_key(outcome).cloned()
        });
        self.check_claims(keys, Claimed::Round(outcomes));
    }

    fn settle_round(&mut self, outcomes: &BySide<Vec<Outcome>>, claims: Vec<Claim>) {
        let mut settlement = std::mem::take(&mut self.current.settlement);
        self.current
            .round
            .settle(outcomes, &self.config.prints, &mut settlement);
        settlement.round_done = self.current.recorded && self.current.round.has_steps();
        self.defer_undone(outcomes);
        self.give_up(claims, &mut settlement);
        settlement.keep_one_link_per_key();
        self.finish_settlement(settlement);
    }

    /// Cases whose target was not what the plan saw wait for the side's stream.
    fn defer_undone(&mut self, outcomes: &BySide<Vec<Outcome>>) {
        let observed = self.last_batch();
        for number in 0..self.current.cases.len() {
            let results: Vec<(Side, Outcome)> = self
                .current
                .round
                .steps_of(number)
                .map(|(side, index)| (side, outcomes[side][index].clone()))
                .collect();
            let mut deferred = Deferred::new(self.current.cases[number].clone());
            deferred.case.existing = None;
            let mut waits = false;
            for (side, outcome) in results {
                match outcome {
                    Outcome::Stale { row, fence } => {
                        deferred.hold(side, Held::Row(row), fence, observed)
                    }
                    Outcome::Exists { stored, fence } => {
                        deferred.case.keys[side] = Some(stored.key);
                        deferred.hold(side, Held::Row(stored.row), fence, observed);
                    }
                    Outcome::Missing { fence } if !self.current.round.is_delete(number, side) => {
                        deferred.hold(side, Held::Absent, fence, observed);
                    }
                    Outcome::Written(stored) => {
                        deferred.case.wrote(side, stored, observed);
                        continue;
                    }
                    _ => continue,
                }
                waits = true;
            }
            if waits {
                self.waiting.add(deferred);
            }
        }
    }

    fn handle_settled(&mut self) {
        match &self.state {
            State::SettlingRecovery => self.after_recovery(),
            State::SettlingCopy => self.handle_copy_settled(),
            State::Settling if self.copying.is_some() => self.next_page(),
            State::Settling => {
                for side in Side::BOTH {
                    if let Some(position) = self.to_acknowledge[side].take() {
                        self.settled[side] = position.clone();
                        self.commands
                            .push_back(Command::Acknowledge { side, position });
                    }
                }
                self.go_idle();
            }
            _ => {}
        }
    }

    fn handle_retry(&mut self, side: Side, pair: PairId, keys: Vec<Key>) {
        for key in keys {
            self.wait_for_read(side, pair, key);
        }
        self.next_live();
    }

    fn lookups(keys: Vec<(Side, PairId, Key)>, lookups: Vec<Lookup>) -> draft::Lookups {
        keys.into_iter().zip(lookups).collect::<HashMap<_, _>>()
    }
}

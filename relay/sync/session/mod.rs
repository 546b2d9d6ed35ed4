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

mod book;
#[cfg(test)]
mod book_tests;
mod copying;
mod counterpart;
mod edit;
mod live;
mod naming;
mod open;
mod reach;
mod round;
mod settlement;
mod waiting;

use std::collections::{HashMap, HashSet, VecDeque};

pub use edit::{Edit, Edited, PendingEdit};
pub use round::{PendingCase, Round};
pub use settlement::{Applied, FieldWrite, Gone, Noted, Settlement, Values, Why};

use self::book::{Book, Slot};
use self::copying::Copying;
use self::counterpart::Draft;
use self::naming::Naming;
use self::open::Open;
use self::reach::Reach;
use crate::baseline::Fingerprinter;
use crate::decide::Match;
use crate::model::{
    BatchId, BySide, Change, Key, Link, LinkId, Lookup, Outcome, PairId, Position, Recovered, Row,
    Side, Step, StepKind,
};
use crate::plan::{PlannedStep, Verdict, named, plan};
use crate::policy::PairPolicy;

/// What the store knows of a round's keys.
type Lookups = HashMap<Slot, Lookup>;

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
    /// By [`PairId`]: true for a pair whose data must be reconciled although the positions are
    /// known: it is new, or its mapping has changed.
    pub due: Vec<bool>,
    /// By [`PairId`]: what a side's history says of the pair at or before these offsets was part of
    /// what its last reconcile saw.
    pub known: Vec<BySide<u64>>,
}

impl Resume {
    /// The pairs that must be reconciled although the positions are known.
    pub fn pairs_due(&self) -> impl Iterator<Item = PairId> {
        let numbered = self.due.iter().zip(0..);
        numbered.filter_map(|(is_due, pair)| is_due.then_some(PairId(pair)))
    }
}

/// What the driver is asked to do. Every command but the last two is answered by its event.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fence older runs off and tell what became of these batches.
    Recover {
        batches: BySide<Option<BatchId>>,
        steps: BySide<usize>,
    },
    /// Take a consistent view of both sides at fresh positions and store the scans of these pairs.
    /// `aside`: the sides' histories are streamed on from where they are settled; else they are
    /// streamed from the views on.
    Scan { pairs: Vec<PairId>, aside: bool },
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
    /// What became of the edits of one event, in their order; they are settled.
    Edited { edited: Vec<Edited> },
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
    /// The next changes of one side, in commit order. `end` is the position after them, where a
    /// transaction ends; `None` in the middle of a big one.
    Changes {
        side: Side,
        changes: Vec<Change>,
        end: Option<Position>,
    },
    /// In the order asked.
    Loaded {
        lookups: Vec<Lookup>,
    },
    /// In the order asked, and the fence: a position at or after everything that was seen.
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
    /// The numbers of the settlement's links, in their order.
    Settled {
        links: Vec<LinkId>,
    },
    /// Try these records again: they had findings.
    Retry {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    /// Read these records and plan them, with doubt in their baselines (see [`crate::doubt`]): a
    /// verify found that they differ.
    Doubt {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    /// A person asks for these writes; they are sent once changes are streamed.
    Edit {
        edits: Vec<Edit>,
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
    /// The partners of records that a page's references name.
    Naming {
        drafts: Vec<Draft>,
        extra: Box<Settlement>,
        asked: Vec<Slot>,
    },
    SettlingCopy,
    Opening,
    Idle,
    Loading {
        keys: Vec<Slot>,
        retries: Vec<Slot>,
    },
    Reading {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    Intending,
    Applying,
    Settling,
}

/// A batch of changes that was taken in, and not yet planned.
#[derive(Debug)]
struct Unit {
    changes: Vec<Change>,
    end: Option<Position>,
    bytes: usize,
}

/// A round in progress: the durable part, and what is only needed until it is settled.
#[derive(Debug, Default)]
struct Current {
    round: Round,
    /// Parallel to `round.cases`.
    cases: Vec<Open>,
    steps: BySide<Vec<Step>>,
    outcomes: BySide<Option<Vec<Outcome>>>,
    /// Links and findings that need no step.
    settlement: Settlement,
    recorded: bool,
}

impl Current {
    /// While data is copied for the first time, a create that a crash left unsettled is found
    /// again by its match key, and the round need not be recorded. Anything else must be: a lost
    /// conflict, a delete of ours that the next scan would take for a person's, or an update that
    /// gives a linked record another key.
    fn is_worth_a_record(&self) -> bool {
        let is_first = |open: &Open| open.case.existing.is_some();
        self.round.has_conflicts() || self.round.writes_linked() || !self.cases.iter().all(is_first)
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
    /// Records to be tried again.
    retries: Vec<Slot>,
    /// Those of them whose baselines are in doubt.
    doubted: HashSet<Slot>,
    /// What a person asked for, by event.
    edits: VecDeque<Vec<Edit>>,
    book: Book,
    reach: BySide<Reach>,
    /// Open cases whose links get their numbers with the settlement, and the places there.
    unnumbered: Vec<(u64, usize, Link)>,
    /// Ends of units that were taken in and are not settled yet.
    unsettled: BySide<VecDeque<Position>>,
    settled: BySide<Position>,
    /// Positions that the settlement under way makes durable.
    to_acknowledge: BySide<Option<Position>>,
    copying: Option<Copying>,
    naming: Naming,
    current: Current,
    batch_count: u32,
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
            retries: Vec::new(),
            doubted: HashSet::new(),
            edits: VecDeque::new(),
            book: Book::default(),
            reach: BySide::default(),
            unnumbered: Vec::new(),
            unsettled: BySide::default(),
            settled: BySide::default(),
            to_acknowledge: BySide::default(),
            copying: None,
            naming: Naming::default(),
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

    /// True when nothing is in progress, queued or waiting.
    pub fn is_quiet(&self) -> bool {
        matches!(self.state, State::Idle)
            && self.commands.is_empty()
            && self.book.is_empty()
            && self.retries.is_empty()
            && self.edits.is_empty()
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
        self.book.len()
    }

    /// True while existing data is reconciled.
    pub fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    /// True when the settlement that was just emitted must be answered with its links' numbers.
    pub fn awaits_numbers(&self) -> bool {
        !self.unnumbered.is_empty()
    }

    /// The open cases, in short, for logs.
    pub fn describe_open(&self) -> String {
        let lines = self.book.cases();
        let lines = lines.map(|(number, open)| format!("{number}: {}", open.describe()));
        lines.collect::<Vec<_>>().join("; ")
    }

    /// How often the sides' histories contradicted what the session knew of keys. Always 0, unless
    /// an endpoint loses changes.
    pub fn surprises(&self) -> u64 {
        self.book.surprises
    }

    /// True when what `side`'s history says of the pair up to `offset` was part of what its
    /// reconcile saw.
    pub fn knows(&self, side: Side, pair: PairId, offset: u64) -> bool {
        let known = self.resume.known.get(pair.0 as usize);
        known.is_some_and(|known| offset <= known[side])
    }

    /// The position that `side`'s stream must reach for a waiting record, if any.
    pub fn awaited_fence(&self, side: Side) -> Option<u64> {
        self.book
            .highest_fence(side)
            .filter(|&fence| fence > self.reach[side].position.offset)
    }

    /// Takes in what happened. An answer that was not asked for is ignored.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Changes {
                side,
                mut changes,
                end,
            } => {
                changes.retain(|change| !self.knows(side, change.pair, change.offset));
                let bytes = changes.iter().map(Change::heap_bytes).sum();
                self.inbox[side].push_back(Unit {
                    changes,
                    end,
                    bytes,
                });
                self.next_live();
            }
            Event::Retry { side, pair, keys } => self.handle_retry(side, pair, keys),
            Event::Doubt { side, pair, keys } => {
                let slots = keys.iter().map(|key| (side, pair, key.clone()));
                self.doubted.extend(slots);
                self.handle_retry(side, pair, keys);
            }
            Event::Edit { edits } => {
                self.edits.push_back(edits);
                self.next_live();
            }
            Event::Recovered { outcomes } => self.handle_recovered(&outcomes),
            Event::Scanned { positions } => self.handle_scanned(positions),
            Event::Matches { found, done } => self.handle_matches(found, done),
            Event::Fetched { rows } => self.handle_fetched(rows),
            Event::Streaming => self.handle_streaming(),
            Event::Loaded { lookups } => match self.copying {
                Some(_) => self.handle_named(lookups),
                None => self.handle_loaded(lookups),
            },
            Event::ReadDone { rows, fence } => self.handle_read(rows, fence),
            Event::Intended => self.handle_intended(),
            Event::Applied { side, outcomes } => self.handle_applied(side, outcomes),
            Event::Settled { links } => self.handle_settled(&links),
        }
        self.book.refresh();
    }

    fn start(&mut self) {
        match self.resume.round.as_ref().filter(|round| round.has_steps()) {
            Some(round) => {
                self.commands.push_back(Command::Recover {
                    batches: round.batches,
                    steps: BySide::from_fn(|side| round.step_count(side)),
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
        if let Some(round) = self.resume.round.take() {
            round.settle_recovered(outcomes, &self.config.prints, &mut settlement);
        }
        self.state = State::SettlingRecovery;
        self.commands
            .push_back(Command::Settle(Box::new(settlement)));
    }

    fn after_recovery(&mut self) {
        let pairs = self.pairs_to_scan();
        match self.resume.positions.clone() {
            Some(positions) if pairs.is_empty() => self.open_streams(positions),
            positions => {
                self.state = State::Scanning;
                let aside = positions.is_some();
                self.commands.push_back(Command::Scan { pairs, aside });
            }
        }
    }

    fn open_streams(&mut self, positions: BySide<Position>) {
        self.settled = positions.clone();
        self.start_from(&positions);
        self.state = State::Opening;
        self.commands.push_back(Command::Stream { positions });
    }

    /// Both sides' histories are taken in from here on.
    fn start_from(&mut self, positions: &BySide<Position>) {
        self.reach = BySide::from_fn(|side| Reach::at(positions[side].clone()));
        self.book.now = BySide::from_fn(|side| self.reach[side].moment());
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
    fn start_round(&mut self, drafts: Vec<Draft>, extra: Settlement, copying: bool) {
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
            self.settle_round();
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
        draft: Draft,
        copying: bool,
        current: &mut Current,
        planned: &mut Vec<Planned>,
    ) {
        let Draft { mut open, problem } = draft;
        for other in [open.part(), open.part_reborn()].into_iter().flatten() {
            self.book.put(other);
        }
        let seen = BySide::from_fn(|side| self.reach[side].place);
        if let Some((side, code)) = problem {
            round::settle_problem(&open, (side, code), seen, &mut current.settlement);
            return;
        }
        let policy = &self.config.policies[open.case.pair.0 as usize];
        let verdict = match open.unknown_side() {
            Some(side) => Verdict::NeedRead(side),
            None => plan(
                &open.case,
                policy,
                &self.config.prints,
                &self.naming.partners,
            ),
        };
        match verdict {
            Verdict::NeedPartners => {
                open.asks = named(&open.case, policy);
                self.book.put(open);
            }
            Verdict::Waits(waits) => {
                round::settle_waiting(&open, seen, &mut current.settlement);
                self.require(&open, &waits, &mut current.settlement);
            }
            Verdict::NeedRead(side) => {
                open.case.is_scanned = false;
                open.want(side);
                self.book.put(open);
            }
            Verdict::Decided(mut decided) => {
                let steps: Vec<PlannedStep> = std::mem::take(&mut decided.steps);
                let waits = std::mem::take(&mut decided.waits);
                let mut pending = PendingCase::new(&open, *decided, seen);
                pending.wait(&open, &waits, policy);
                if steps.is_empty() && pending.is_idle() {
                    return;
                }
                pending.explain(policy);
                if copying {
                    pending.forget_finding();
                }
                for waits in &waits {
                    self.await_partner(&open, waits);
                }
                let number = current.cases.len();
                for step in steps {
                    planned.push((number, step.side, step.kind, step.fields));
                }
                current.round.cases.push(pending);
                current.cases.push(open);
            }
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
            self.settle_round();
        }
    }

    fn settle_round(&mut self) {
        let mut current = std::mem::take(&mut self.current);
        let outcomes = BySide::from_fn(|side| current.outcomes[side].take().unwrap_or_default());
        let mut settlement = std::mem::take(&mut current.settlement);
        let settled = current
            .round
            .settle(&outcomes, &self.config.prints, &mut settlement);
        let edited = current
            .round
            .settle_edits(&outcomes, &self.config.prints, &mut settlement);
        settlement.round_done = current.recorded && current.round.has_steps();
        self.unnumbered.clear();
        let opens = std::mem::take(&mut current.cases);
        for (number, (mut open, settled)) in opens.into_iter().zip(settled).enumerate() {
            let steps = current.round.steps_of(number);
            let results = steps.map(|(side, index)| (side, outcomes[side][index].clone()));
            let results: Vec<(Side, Outcome)> = results.collect();
            self.await_refused(&open, &results);
            if !open.take_back(results, &current.round.batches) {
                continue;
            }
            open.findings.extend(settled.findings);
            let case = self.book.put(open);
            if let Some(place) = settled.link {
                let link = settlement.links[place].1.clone();
                self.unnumbered.push((case, place, link));
            }
        }
        self.heal(&settlement);
        self.finish_settlement(settlement);
        if !edited.is_empty() {
            self.commands.push_back(Command::Edited { edited });
        }
    }

    fn handle_settled(&mut self, links: &[LinkId]) {
        for (case, place, mut link) in std::mem::take(&mut self.unnumbered) {
            link.id = links.get(place).copied().unwrap_or(link.id);
            self.book.number_link(case, link);
        }
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
}

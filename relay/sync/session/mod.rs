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
mod given;
mod live;
mod naming;
mod open;
mod protocol;
mod reach;
mod round;
mod settlement;
mod waiting;

use std::collections::{HashMap, HashSet, VecDeque};

pub use edit::{Edit, Edited, PendingEdit};
pub use protocol::{Command, Config, Event, Resume};
pub use round::{PendingCase, Round};
pub use settlement::{Applied, FieldWrite, Gone, Noted, Settlement, Values, Why};

use self::book::{Book, Slot};
use self::copying::Copying;
use self::counterpart::Draft;
use self::given::Given;
use self::naming::Naming;
use self::open::Open;
use self::reach::Reach;
use crate::model::{
    BatchId, BySide, Change, Key, Link, LinkId, Lookup, Outcome, PairId, Position, Recovered, Side,
    Step, StepKind,
};
use crate::plan::{PlannedStep, Verdict, named, plan};

/// What the store knows of a round's keys.
type Lookups = HashMap<Slot, Lookup>;

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
    /// Who else has the ready records' keys: see [`given`].
    Asking {
        keys: Vec<Slot>,
        lookups: Lookups,
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
    given: Given,
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
        let naming = Naming::after(BatchId::of_run(config.epoch, 0));
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
            given: Given::default(),
            reach: BySide::default(),
            unnumbered: Vec::new(),
            unsettled: BySide::default(),
            settled: BySide::default(),
            to_acknowledge: BySide::default(),
            copying: None,
            naming,
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
        self.given.begin(self.last_batch());
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
        open.case.masks = self.masks(&open);
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
                open.ask(named(&open.case, policy));
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
            Verdict::Decided(decided)
                if !copying && self.given.holds_up(&mut open, &decided.steps) =>
            {
                self.book.put(open);
            }
            Verdict::Decided(mut decided) => {
                let steps: Vec<PlannedStep> = std::mem::take(&mut decided.steps);
                let waits = std::mem::take(&mut decided.waits);
                let mut pending = PendingCase::new(&open, *decided, seen);
                pending.wait(&open, &waits, policy);
                pending.last(&open, policy);
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
                let steps = steps.into_iter();
                planned.extend(steps.map(|s| (number, s.side, s.kind, s.fields)));
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
            self.note_given(&open, &results, &current.round.batches);
            self.note_masks(&open, &results, &current.round.batches);
            for (side, key) in &settled.findings {
                // Whoever had the key, and a finding, before a write of ours gave it to this one.
                self.book.disown(&(*side, open.case.pair, key.clone()));
            }
            if !open.take_back(results, &current.round.batches) {
                continue;
            }
            open.findings.extend(settled.findings);
            open.altered.extend(settled.altered);
            let case = self.book.put(open);
            if let Some(place) = settled.link {
                let link = settlement.links[place].1.clone();
                self.unnumbered.push((case, place, link));
            }
        }
        let round = &current.round;
        self.note_edited(&round.edits, &outcomes, &round.batches);
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

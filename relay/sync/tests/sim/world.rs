//! One simulated world: two sides, people, a store, a run of the engine, and chance.

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, Key, PairId, Position, Side};
use tidegate_sync::policy::PairPolicy;
use tidegate_sync::session::{Config, Event};
use tidegate_sync::value::Value;

use crate::database::{Cause, Database, Quirks};
use crate::driver::Driver;
use crate::oracle::{self, Check, Facts, Violation};
use crate::rng::Rng;
use crate::store::Store;
use crate::values::{Kind, fresh};

/// A bug put in on purpose, so that an oracle can show that it would be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    None,
    LoseChange,
    ToastIsNull,
    NoGuard,
    LoseConflicts,
    NoReadBack,
    ForgetSeen,
    PhantomDelete,
    NoOutcomes,
    EagerBaseline,
    AcknowledgeFirst,
    IgnorePassed,
    NoMarker,
    Shuffle,
}

/// Which troubles a world knows.
#[derive(Clone, Copy, Debug)]
pub struct Troubles {
    /// Sides normalise, fire triggers, refuse values, number keys.
    pub quirks: bool,
    /// People change keys and match keys, and use deleted keys again.
    pub rekeys: bool,
    /// Runs crash, batches commit late.
    pub crashes: bool,
    /// Positions are lost.
    pub lost_positions: bool,
    /// People have the sync write for them.
    pub edits: bool,
}

impl Troubles {
    pub const NONE: Troubles = Troubles {
        quirks: false,
        rekeys: false,
        crashes: false,
        lost_positions: false,
        edits: false,
    };
    pub const ALL: Troubles = Troubles {
        quirks: true,
        rekeys: true,
        crashes: true,
        lost_positions: true,
        edits: false,
    };
}

/// What a world is made of; drawn from the seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub policies: Vec<PairPolicy>,
    pub quirks: BySide<Vec<Quirks>>,
    pub kinds: Vec<Vec<Kind>>,
    pub prints: Fingerprinter,
    pub round_max: usize,
    pub copy_round_max: usize,
    pub steps: usize,
    pub rows: BySide<usize>,
    /// Per mille of the steps.
    pub crash_rate: u32,
    pub loss_rate: u32,
    /// Percent of the steps in which a person writes.
    pub busy: u32,
    pub replays: bool,
    /// Percent of deliveries that come in parts.
    pub parts: u32,
    pub troubles: Troubles,
}

impl Scenario {
    pub fn pairs(&self) -> impl Iterator<Item = (PairId, &PairPolicy)> {
        let numbered = self.policies.iter().enumerate();
        numbered.map(|(number, policy)| (PairId(number as u32), policy))
    }

    pub fn config(&self, epoch: u32) -> Config {
        Config {
            policies: self.policies.clone(),
            ranks: (0..self.policies.len() as u32).collect(),
            prints: self.prints.clone(),
            epoch,
            round_max: self.round_max,
            copy_round_max: self.copy_round_max,
        }
    }
}

/// A value that a person wrote.
#[derive(Clone, Debug)]
pub struct Token {
    pub token: u64,
    pub side: Side,
    pub pair: PairId,
    /// Written before the pairs were live for the first time.
    pub first_run: bool,
}

pub struct World {
    pub scenario: Scenario,
    pub rng: Rng,
    pub sides: BySide<Database>,
    pub store: Store,
    pub driver: Driver,
    pub tokens: Vec<Token>,
    pub plant: Plant,
    pub replaying: bool,
    checkpoint: Option<BySide<Position>>,
    next_token: u64,
    /// One line per state change, when somebody wants to read it.
    pub log: Option<Vec<String>>,
}

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub writes: u64,
    pub conflicts: usize,
    pub findings: usize,
    pub crashes: u32,
    /// Batches of edits.
    pub edits: usize,
    pub log: Vec<String>,
}

/// Steps within which a quiet world must have converged.
const CALM_STEPS: usize = 20_000;

impl World {
    pub fn new(seed: u64, troubles: Troubles, plant: Plant, logged: bool) -> World {
        let mut rng = Rng::new(seed);
        let scenario = crate::scenario::draw(&mut rng, troubles);
        World::of(scenario, rng, plant, logged)
    }

    pub fn of(scenario: Scenario, rng: Rng, plant: Plant, logged: bool) -> World {
        let sides = BySide::from_fn(|side| {
            let clock = if side == Side::Left { 1_000 } else { 1_300 };
            let quirks = scenario.quirks[side].clone();
            let mut db = Database::new(side, quirks, scenario.prints.clone(), clock);
            db.plant_no_marker = plant == Plant::NoMarker;
            db.plant_no_outcomes = plant == Plant::NoOutcomes;
            db.plant_toast_null = plant == Plant::ToastIsNull;
            db.plant_no_guard = plant == Plant::NoGuard;
            db.plant_no_read_back = plant == Plant::NoReadBack;
            db
        });
        let mut store = Store::default();
        store.keeps_traces = scenario.replays;
        let resume = store.resume(scenario.policies.len());
        let driver = Driver::new(&scenario.config(1), resume);
        World {
            scenario,
            rng,
            sides,
            store,
            driver,
            tokens: Vec::new(),
            plant,
            replaying: false,
            checkpoint: None,
            next_token: 1,
            log: logged.then(Vec::new),
        }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    /// The whole life of a world, with every oracle.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        self.populate();
        for _ in 0..self.scenario.steps {
            self.step()?;
        }
        self.note(|| "people and faults stop".to_owned());
        self.settle_down()?;
        self.check_end()?;
        if self.scenario.replays {
            self.replay()?;
        }
        Ok(Summary {
            writes: self.store.written,
            conflicts: self.store.conflicts.len(),
            findings: self.store.findings.len(),
            crashes: self.driver.epoch - 1,
            edits: self.sides.left.edits.len() + self.sides.right.edits.len(),
            log: self.log.take().unwrap_or_default(),
        })
    }

    pub fn check_end(&mut self) -> Check {
        oracle::no_surprise(self.driver.session.surprises())?;
        let facts = self.facts();
        oracle::no_duplicates(&facts)?;
        oracle::converges(&facts)?;
        oracle::no_lost_update(&facts)?;
        oracle::no_echo(&facts)?;
        oracle::position_advances(&facts)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            scenario: &self.scenario,
            sides: &self.sides,
            store: &self.store,
            tokens: &self.tokens,
        }
    }

    fn populate(&mut self) {
        for (pair, _) in self.scenario.clone().pairs() {
            for side in Side::BOTH {
                for _ in 0..self.scenario.rows[side] {
                    self.person_inserts(side, pair);
                    self.sides[side].commit();
                }
            }
        }
    }

    fn step(&mut self) -> Check {
        if self.rng.below(1000) < self.scenario.crash_rate as usize {
            self.crash()?;
        }
        if self.rng.below(1000) < self.scenario.loss_rate as usize {
            self.note(|| "the positions are lost".to_owned());
            self.store.positions = None;
            self.checkpoint = None;
            self.crash()?;
        }
        if self.rng.percent(self.scenario.busy) {
            self.people();
            return Ok(());
        }
        match self.rng.below(20) {
            0 => self.wake_zombie(),
            1 => {
                let side = *self.rng.pick(&Side::BOTH);
                self.sides[side].idle_wal();
                Ok(())
            }
            2 => {
                if self.scenario.troubles.edits {
                    self.ask_for_edits();
                }
                self.retry_some();
                Ok(())
            }
            3 if self.rng.percent(5) => {
                self.checkpoint = self.store.positions.clone();
                Ok(())
            }
            3..10 => {
                let side = *self.rng.pick(&Side::BOTH);
                let limit = 1 + self.rng.below(4);
                self.deliver(side, limit);
                Ok(())
            }
            _ if self.driver.pending.is_empty() => Ok(()),
            _ => self.advance(),
        }
    }

    /// Nobody writes any more: everything that is under way must come to an end.
    fn settle_down(&mut self) -> Check {
        self.calm()?;
        for _ in 0..3 {
            for (pair, _) in self.scenario.clone().pairs() {
                for side in Side::BOTH {
                    self.retry(side, pair, usize::MAX);
                }
            }
            self.calm()?;
        }
        Ok(())
    }

    fn calm(&mut self) -> Check {
        for _ in 0..CALM_STEPS {
            if !self.driver.pending.is_empty() {
                self.advance()?;
                continue;
            }
            let behind = Side::BOTH.into_iter().find(|&side| {
                let stream = self.driver.streams[side].as_ref();
                stream.is_some_and(|at| at.offset < self.sides[side].lsn)
            });
            match behind {
                Some(side) => self.deliver(side, 3),
                None if self.driver.session.is_quiet() => return Ok(()),
                None => {
                    let count = self.driver.session.waiting_count();
                    let open = self.driver.session.describe_open();
                    let text = format!("stuck: {count} records wait: {open}");
                    return Violation::check("I1", text);
                }
            }
        }
        Violation::check("I1", format!("not quiet after {CALM_STEPS} steps"))
    }

    /// I4: starts over from what is settled. A planted loss of memory goes further back.
    fn replay(&mut self) -> Check {
        if self.plant == Plant::ForgetSeen
            && let Some(checkpoint) = self.checkpoint.take()
        {
            self.replaying = true;
            self.store.positions = Some(checkpoint);
        }
        self.note(|| "restart".to_owned());
        let before = self.store.written;
        self.crash()?;
        self.calm()?;
        oracle::idempotent(before, self.store.written)
    }

    fn retry_some(&mut self) {
        if self.driver.session.is_live() {
            let side = *self.rng.pick(&Side::BOTH);
            let pair = PairId(self.rng.below(self.scenario.policies.len()) as u32);
            let count = 1 + self.rng.below(3);
            self.retry(side, pair, count);
        }
    }

    fn retry(&mut self, side: Side, pair: PairId, count: usize) {
        let open = self.store.findings.keys();
        let of_pair = open.filter(|(p, s, _)| *p == pair && *s == side);
        let keys: Vec<Key> = of_pair.map(|(.., key)| key.clone()).take(count).collect();
        if !keys.is_empty() {
            self.note(|| format!("retry {} {keys:?}", side.name()));
            self.driver.handle(Event::Retry { side, pair, keys });
        }
    }

    /// One transaction of a person.
    fn people(&mut self) {
        let side = *self.rng.pick(&Side::BOTH);
        for _ in 0..1 + self.rng.below(3) / 2 {
            let pair = PairId(self.rng.below(self.scenario.policies.len()) as u32);
            match self.rng.below(20) {
                0..5 => self.person_inserts(side, pair),
                5..8 => self.person_deletes(side, pair),
                8 | 9 if self.scenario.troubles.rekeys => self.person_rekeys(side, pair),
                _ => self.person_updates(side, pair),
            }
        }
        self.sides[side].commit();
    }

    pub fn new_value(&mut self, pair: PairId, field: usize) -> (Value, Option<u64>) {
        if self.rng.percent(8) {
            return (Value::Null, None);
        }
        let token = self.next_token;
        self.next_token += 1;
        let kind = self.scenario.kinds[pair.0 as usize][field];
        (fresh(token, kind, &mut self.rng), Some(token))
    }

    pub fn match_value(&mut self, side: Side, pair: PairId) -> Value {
        let generated = self.sides[side].table(pair).quirks.generated;
        if generated && self.rng.percent(3) {
            return Value::Null;
        }
        Value::Text(format!("k{}", self.rng.below(14)))
    }

    pub fn remember(&mut self, side: Side, pair: PairId, tokens: Vec<u64>) {
        let first_run = !self.store.was_live;
        for token in tokens {
            self.tokens.push(Token {
                token,
                side,
                pair,
                first_run,
            });
        }
    }

    fn person_inserts(&mut self, side: Side, pair: PairId) {
        let mut cells = vec![self.match_value(side, pair)];
        let mut tokens = Vec::new();
        for field in 1..self.scenario.kinds[pair.0 as usize].len() {
            let (value, token) = self.new_value(pair, field);
            tokens.extend(token);
            cells.push(value);
        }
        let key = self.former_key(side, pair);
        let shown = cells.clone();
        if let Ok(key) = self.sides[side].insert(pair, key, cells, Cause::Person) {
            self.remember(side, pair, tokens);
            self.note(|| format!("{} person inserts {}/{key} {shown:?}", side.name(), pair.0));
        }
    }

    /// Sometimes a person gives a record the generated key of one deleted before.
    fn former_key(&mut self, side: Side, pair: PairId) -> Option<Key> {
        let db = &self.sides[side];
        if !self.scenario.troubles.rekeys || !db.table(pair).quirks.generated {
            return None;
        }
        let former: Vec<Key> = db
            .ledger
            .deleted
            .iter()
            .filter(|(p, key)| *p == pair && !db.table(pair).rows.contains_key(key))
            .map(|(_, key)| key.clone())
            .collect();
        (!former.is_empty() && self.rng.percent(25)).then(|| self.rng.pick(&former).clone())
    }

    pub fn some_key(&mut self, side: Side, pair: PairId) -> Option<Key> {
        let rows = &self.sides[side].table(pair).rows;
        let number = self.rng.below(rows.len());
        rows.keys().nth(number).cloned()
    }

    fn person_updates(&mut self, side: Side, pair: PairId) {
        let Some(key) = self.some_key(side, pair) else {
            return;
        };
        let fields = self.scenario.kinds[pair.0 as usize].len();
        let mut set = Vec::new();
        let mut tokens = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            let field = 1 + self.rng.below(fields - 1);
            if set.iter().any(|(f, _)| *f == field) {
                continue;
            }
            let (value, token) = self.new_value(pair, field);
            tokens.extend(token);
            set.push((field, value));
        }
        let done = self.sides[side].update(pair, &key, &set, None, Cause::Person);
        if let Ok(key) = done {
            self.remember(side, pair, tokens);
            self.note(|| format!("{} person updates {}/{key} {set:?}", side.name(), pair.0));
        }
    }

    fn person_rekeys(&mut self, side: Side, pair: PairId) {
        let Some(key) = self.some_key(side, pair) else {
            return;
        };
        let generated = self.sides[side].table(pair).quirks.generated;
        let new_key = (generated && self.rng.percent(50)).then(|| {
            let number = 2_000 + self.rng.below(20);
            Key::single(number.to_string())
        });
        let set = match new_key {
            Some(_) => Vec::new(),
            None => vec![(0, self.match_value(side, pair))],
        };
        let done = self.sides[side].update(pair, &key, &set, new_key, Cause::Person);
        if let Ok(now) = done {
            self.note(|| {
                format!(
                    "{} person rekeys {}/{key} to {now} {set:?}",
                    side.name(),
                    pair.0
                )
            });
        }
    }

    fn person_deletes(&mut self, side: Side, pair: PairId) {
        if let Some(key) = self.some_key(side, pair) {
            self.sides[side].delete(pair, &key, Cause::Person);
            self.note(|| format!("{} person deletes {}/{key}", side.name(), pair.0));
        }
    }
}

//! One simulated world: two sides, people, a store, a run of the engine, and chance.

use std::collections::HashSet;

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, Key, PairId, Position, Side};
use tidegate_sync::policy::PairPolicy;
use tidegate_sync::session::{Config, Event};

use crate::app::App;
use crate::choices;
use crate::database::{Database, Quirks};
use crate::driver::Driver;
use crate::oracle::{self, Check, Facts, Violation};
use crate::rng::Rng;
use crate::store::Store;
use crate::values::Kind;

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
    NeverRetry,
    LoseReply,
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
    /// The mapping is edited.
    pub edits: bool,
    /// People have the sync write for them.
    pub undos: bool,
    /// Match keys have two fields, and tables refer to each other.
    pub shapes: bool,
    /// One table of one side refuses every write of ours.
    pub broken: bool,
    /// People delete nothing: history can be replayed from any earlier position. (Records that came
    /// and went before they were linked would come and go once more.)
    pub steady: bool,
    /// One side, or both, are apps.
    pub apps: bool,
    /// Fields name records of the sync by their keys.
    pub links: bool,
    /// A person is asked what becomes of conflicts and of deletions.
    pub questions: bool,
    /// The counterparts of deleted records are marked.
    pub marks: bool,
    /// Records may be outside of filters.
    pub filters: bool,
}

impl Troubles {
    pub const NONE: Troubles = Troubles {
        quirks: false,
        rekeys: false,
        crashes: false,
        lost_positions: false,
        edits: false,
        undos: false,
        shapes: false,
        broken: false,
        steady: false,
        apps: false,
        links: false,
        questions: false,
        marks: false,
        filters: false,
    };
    /// All but what changes the shape of a world.
    pub const ALL: Troubles = Troubles {
        quirks: true,
        rekeys: true,
        crashes: true,
        lost_positions: true,
        edits: false,
        undos: false,
        shapes: false,
        broken: false,
        steady: false,
        apps: false,
        links: false,
        questions: false,
        marks: false,
        filters: false,
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
    pub apps: BySide<Option<App>>,
    /// The sides have changed places.
    pub is_mirrored: bool,
}

impl Scenario {
    pub fn pairs(&self) -> impl Iterator<Item = (PairId, &PairPolicy)> {
        let numbered = self.policies.iter().enumerate();
        numbered.map(|(number, policy)| (PairId(number as u32), policy))
    }

    /// Both sides, in the order in which they are looked after.
    pub fn sides(&self) -> [Side; 2] {
        match self.is_mirrored {
            true => [Side::Right, Side::Left],
            false => Side::BOTH,
        }
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
    /// People and faults have stopped.
    is_over: bool,
    /// Tokens of the last batches for an app, and of all whose answers were lost: what became of them
    /// nobody can tell.
    pub sent: BySide<[HashSet<u64>; 2]>,
    pub unsure: HashSet<u64>,
    pub(crate) checkpoint: Option<BySide<Position>>,
    /// Pairs of records that were made anew because an edit came before a deletion.
    pub kept: Vec<PairId>,
    /// Positions that were settled since the last reconcile.
    pub passed: Vec<BySide<Position>>,
    pub next_token: u64,
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
    pub undos: usize,
    pub log: Vec<String>,
}

/// Edits of the mapping in a thousand steps.
const EDITS: usize = 15;

impl World {
    pub fn new(seed: u64, troubles: Troubles, plant: Plant, logged: bool) -> World {
        let mut rng = Rng::new(seed);
        let scenario = crate::scenario::draw(&mut rng, troubles);
        World::of(scenario, rng, plant, logged)
    }

    pub fn of(scenario: Scenario, rng: Rng, plant: Plant, logged: bool) -> World {
        let sides = BySide::from_fn(|side| {
            let quirks = scenario.quirks[side].clone();
            let is_first = (side == Side::Left) != scenario.is_mirrored;
            let mut db = Database::new(is_first, quirks, scenario.prints.clone());
            db.app = scenario.apps[side].clone();
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
            is_over: false,
            sent: BySide::default(),
            unsure: HashSet::new(),
            checkpoint: None,
            kept: Vec::new(),
            passed: Vec::new(),
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
        self.is_over = true;
        for side in Side::BOTH {
            if let Some(app) = &mut self.sides[side].app {
                app.is_at_rest = true;
            }
        }
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
            undos: self.sides.left.edits.len() + self.sides.right.edits.len(),
            log: self.log.take().unwrap_or_default(),
        })
    }

    pub fn check_end(&mut self) -> Check {
        oracle::no_surprise(self.driver.session.surprises())?;
        let facts = self.facts();
        oracle::no_duplicates(&facts)?;
        oracle::converges(&facts)?;
        choices::marked(&facts)?;
        oracle::no_lost_update(&facts)?;
        oracle::no_invented_value(&facts)?;
        oracle::undone_deletions_recorded(&facts, &self.kept)?;
        oracle::isolated(&facts)?;
        oracle::no_echo(&facts)?;
        oracle::position_advances(&facts)
    }

    pub fn has_stopped(&self) -> bool {
        self.is_over
    }

    /// True while faults happen.
    pub fn is_troubled(&self) -> bool {
        self.scenario.troubles.crashes && !self.is_over
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            scenario: &self.scenario,
            sides: &self.sides,
            store: &self.store,
            tokens: &self.tokens,
            unsure: &self.unsure,
        }
    }

    pub fn populate(&mut self) {
        for (pair, _) in self.scenario.clone().pairs() {
            for side in self.scenario.sides() {
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
        if self.scenario.troubles.edits && self.rng.below(1000) < EDITS {
            self.edit()?;
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
                if self.scenario.troubles.undos {
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
    pub fn settle_down(&mut self) -> Check {
        self.calm()?;
        for _ in 0..3 {
            for (pair, _) in self.scenario.clone().pairs() {
                for side in self.scenario.sides() {
                    self.retry(side, pair, usize::MAX);
                }
            }
            self.calm()?;
        }
        Ok(())
    }

    pub fn calm(&mut self) -> Check {
        let work = self.work();
        for steps in 0.. {
            oracle::live_again(steps, work)?;
            if !self.driver.pending.is_empty() {
                self.advance()?;
                continue;
            }
            let behind = self.scenario.sides().into_iter().find(|&side| {
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
                    return Violation::check("I14", text);
                }
            }
        }
        Ok(())
    }

    /// How much there is to do at most: everything that ever happened, once more.
    fn work(&self) -> usize {
        let of = |side: Side| {
            let db = &self.sides[side];
            let rows: usize = db.tables.iter().map(|table| table.rows.len()).sum();
            rows + db.log_len()
        };
        of(Side::Left) + of(Side::Right) + self.store.findings.len()
    }

    /// I4: starts over from what is settled; in a steady world also from any position that was settled
    /// before. A planted loss of memory shows there.
    fn replay(&mut self) -> Check {
        self.restart("restart")?;
        let number = self.rng.below(self.passed.len());
        // What was refused in the end may have been accepted on the way there.
        let may_go_back = self.scenario.troubles.steady && self.store.findings.is_empty();
        let checkpoint = match self.plant {
            Plant::ForgetSeen => self.checkpoint.take(),
            _ if may_go_back => self.passed.get(number).cloned(),
            _ => None,
        };
        let Some(checkpoint) = checkpoint else {
            return Ok(());
        };
        self.replaying = true;
        self.store.positions = Some(checkpoint);
        self.restart("restart from before")
    }

    fn restart(&mut self, how: &'static str) -> Check {
        self.note(|| how.to_owned());
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
        if !keys.is_empty() && self.plant != Plant::NeverRetry {
            self.note(|| format!("retry {} {keys:?}", side.name()));
            self.driver.handle(Event::Retry { side, pair, keys });
        }
    }
}

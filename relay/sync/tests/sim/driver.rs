//! Interprets the session's commands as the engine does, one small step at a time, so that anything
//! can happen between any two of them: a crash, a broken connection, a batch that commits late.

use std::collections::BTreeMap;

use tidegate_sync::decide::{Match, Scanned};
use tidegate_sync::model::{
    BatchId, BySide, Cell, ChangeKind, Key, LinkId, Outcome, PairId, Position, Recovered, Row,
    Side, Step, StepKind,
};
use tidegate_sync::session::{Command, Config, Event, Session, Settlement};

use crate::brief::{brief, brief_change, brief_command, brief_outcome};
use crate::database::Record;
use crate::oracle::{self, Check, Violation};
use crate::store::ScanRow;
use crate::values::normal;
use crate::world::{Plant, World};
use crate::writes::{self, Landed};

/// One thing that is under way.
#[derive(Clone, Debug)]
pub enum Pending {
    Do(Box<Command>),
    /// One side's half of a scan.
    View(Side),
    /// The second half of the pages of an app's scan.
    ViewRest(Side),
    Reply(Box<Event>),
}

/// A batch whose run is gone, and which may still commit.
#[derive(Clone, Debug)]
pub struct Zombie {
    side: Side,
    batch: BatchId,
    steps: Vec<Step>,
    recorded: bool,
}

/// A consistent view of one side.
#[derive(Debug, Default)]
struct View {
    tables: Vec<BTreeMap<Key, Record>>,
    position: Position,
}

/// One run of the engine.
#[derive(Debug)]
pub struct Driver {
    pub session: Session,
    pub epoch: u32,
    pub pending: Vec<Pending>,
    pub zombies: Vec<Zombie>,
    pub streams: BySide<Option<Position>>,
    /// A copied page's settlement on its way to the disk, while the next page is begun.
    settling: Option<Settlement>,
    views: BySide<Option<View>>,
    is_viewing: BySide<bool>,
    matches: BTreeMap<PairId, Vec<Match>>,
    /// What is scanned, and whether the logs go on where they are.
    scan: (Vec<PairId>, bool),
}

impl Driver {
    pub fn new(world_config: &Config, resume: tidegate_sync::session::Resume) -> Driver {
        let mut driver = Driver {
            session: Session::new(world_config.clone(), resume),
            epoch: world_config.epoch,
            pending: Vec::new(),
            zombies: Vec::new(),
            streams: BySide::default(),
            settling: None,
            views: BySide::default(),
            is_viewing: BySide::default(),
            matches: BTreeMap::new(),
            scan: (Vec::new(), false),
        };
        driver.drain();
        driver
    }

    fn drain(&mut self) {
        while let Some(command) = self.session.poll_command() {
            self.pending.push(Pending::Do(Box::new(command)));
        }
    }

    pub fn handle(&mut self, event: Event) {
        self.session.handle(event);
        self.drain();
    }

    fn reply(&mut self, event: Event) {
        self.pending.push(Pending::Reply(Box::new(event)));
    }
}

impl World {
    /// The run ends without warning; what was sent may still happen. Then the next run starts.
    pub fn crash(&mut self) -> Check {
        self.lose_answers();
        let mut zombies = std::mem::take(&mut self.driver.zombies);
        for pending in std::mem::take(&mut self.driver.pending) {
            let Pending::Do(command) = pending else {
                continue;
            };
            if let Command::Apply {
                side,
                batch,
                steps,
                recorded,
            } = *command
                && self.rng.percent(60)
            {
                zombies.push(Zombie {
                    side,
                    batch,
                    steps,
                    recorded,
                });
            }
        }
        // What is on its way to the disk may get there.
        if self.rng.percent(50) {
            self.finish_settling()?;
        }
        let epoch = self.driver.epoch + 1;
        self.note(|| format!("crash; run {epoch} starts, {} zombies", zombies.len()));
        let config = self.scenario.config(epoch);
        let resume = self.store.resume(self.scenario.policies.len());
        self.driver = Driver::new(&config, resume);
        self.driver.zombies = zombies;
        Ok(())
    }

    /// A batch of a former run commits late, unless it was fenced off.
    pub fn wake_zombie(&mut self) -> Check {
        if self.driver.zombies.is_empty() {
            return Ok(());
        }
        let number = self.rng.below(self.driver.zombies.len());
        let zombie = self.driver.zombies.remove(number);
        if self.is_app(zombie.side) {
            // Nobody waits for the answers: see "Sides that are apps" in docs/sync-model.md.
            self.note_unsure(&zombie.steps);
        }
        let done = self.write(zombie.side, zombie.batch, &zombie.steps, zombie.recorded)?;
        self.note(|| format!("zombie batch {:x}: {}", zombie.batch.0, done.is_some()));
        Ok(())
    }

    /// Carries out one of the things under way.
    pub fn advance(&mut self) -> Check {
        let mut number = self.rng.below(self.driver.pending.len());
        if self.plant == Plant::Shuffle {
            let order = std::hash::RandomState::new();
            let drawn = std::hash::BuildHasher::hash_one(&order, number) as usize;
            number = drawn % self.driver.pending.len();
        }
        match self.driver.pending.remove(number) {
            Pending::Reply(_) if self.plant == Plant::LoseReply && self.rng.percent(1) => Ok(()),
            Pending::Reply(event) => {
                self.note(|| format!("reply {}", brief(&event)));
                self.driver.handle(*event);
                if self.log.is_some() {
                    let open = self.driver.session.describe_open();
                    self.note(|| format!("open {open}"));
                }
                Ok(())
            }
            Pending::View(side) => self.take_view(side),
            Pending::ViewRest(side) => self.finish_view(side),
            Pending::Do(command) => self.carry_out(*command),
        }
    }

    /// Hands a side's next transactions to the session.
    pub fn deliver(&mut self, side: Side, limit: usize) {
        let Some(from) = self.driver.streams[side].clone() else {
            return;
        };
        let (mut changes, position) = match &self.sides[side].app {
            Some(app) => self.sides[side].poll(app, &from, &mut self.rng),
            None => self.sides[side].changes(&from, limit),
        };
        if position == from {
            return;
        }
        if self.plant == Plant::LoseChange && self.rng.percent(10) {
            changes.pop();
        }
        if self.plant == Plant::PhantomDelete && self.rng.percent(30) {
            for change in &mut changes {
                change.kind = ChangeKind::Gone;
            }
        }
        if self.plant == Plant::IgnorePassed {
            for change in &mut changes {
                change.passed = BatchId(u64::MAX);
            }
        }
        self.note(|| {
            let seen = changes.iter().map(|c| format!(" {}", brief_change(c)));
            let text: String = seen.collect();
            format!("{} stream to {}:{text}", side.name(), position.offset)
        });
        self.driver.streams[side] = Some(position.clone());
        // A transaction may come in parts.
        let mut parts = Vec::new();
        while !changes.is_empty() && self.rng.percent(self.scenario.parts) {
            let rest = changes.split_off(1 + self.rng.below(changes.len()));
            parts.push(std::mem::replace(&mut changes, rest));
        }
        for changes in parts {
            let end = None;
            self.driver.handle(Event::Changes { side, changes, end });
        }
        let end = Some(position);
        self.driver.handle(Event::Changes { side, changes, end });
    }

    fn carry_out(&mut self, command: Command) -> Check {
        self.note(|| format!("do {}", brief_command(&command)));
        // Reading and writing values is all that goes on beside a settlement.
        if !matches!(
            command,
            Command::NextMatches { .. } | Command::Fetch { .. } | Command::Apply { .. }
        ) {
            self.finish_settling()?;
        }
        match command {
            Command::Recover { batches, steps } => self.recover(batches, steps),
            Command::Scan { pairs, aside } => self.scan(pairs, aside),
            Command::NextMatches { pair, limit } => {
                let rest = self.driver.matches.entry(pair).or_default();
                let found: Vec<Match> = rest.drain(..limit.min(rest.len())).collect();
                let done = rest.is_empty();
                self.driver.reply(Event::Matches { found, done });
            }
            Command::Fetch { pair, keys } => {
                let rows = BySide::from_fn(|side| self.fetch(side, pair, &keys[side]));
                self.driver.reply(Event::Fetched { rows });
            }
            Command::Stream { positions } => self.open_streams(positions)?,
            Command::Load { keys } => {
                let lookups = keys
                    .iter()
                    .map(|(side, pair, key)| self.store.lookup(*side, *pair, key))
                    .map(|lookup| self.plant_lookup(lookup))
                    .collect();
                self.driver.reply(Event::Loaded { lookups });
            }
            Command::Read { side, pair, keys } => {
                let rows = keys.iter().map(|key| self.sides[side].row(pair, key));
                let rows = rows.collect();
                let fence = self.sides[side].lsn;
                self.driver.reply(Event::ReadDone { rows, fence });
            }
            Command::Intend(round) => {
                self.note_edits(&round);
                self.store.intend(*round)?;
                self.driver.reply(Event::Intended);
            }
            Command::Apply {
                side, batch, steps, ..
            } if self.is_app(side) && self.is_troubled() && self.rng.percent(8) => {
                self.time_out(side, batch, &steps)?;
            }
            Command::Apply {
                side,
                batch,
                steps,
                recorded,
            } => match self.write(side, batch, &steps, recorded)? {
                Some(outcomes) => self.driver.reply(Event::Applied { side, outcomes }),
                None => return Violation::check("I6", "the newest run was fenced off".into()),
            },
            Command::Settle(settlement) => self.settle(*settlement)?,
            Command::Acknowledge { side, position } => self.acknowledge(side, &position)?,
            Command::Edited { .. } => {}
        }
        Ok(())
    }

    fn recover(&mut self, batches: BySide<Option<BatchId>>, steps: BySide<usize>) {
        let outcomes = BySide::from_fn(|side| {
            self.await_calls(side);
            self.sides[side].fence(self.driver.epoch);
            let batch = batches[side]?;
            match self.is_app(side) {
                true => Some(vec![Recovered::Unknown; steps[side]]),
                false => self.sides[side].recovered(batch),
            }
        });
        self.driver.reply(Event::Recovered { outcomes });
    }

    fn scan(&mut self, pairs: Vec<PairId>, aside: bool) {
        self.driver.scan = (pairs, aside);
        self.store.was_scanned_again |= self.driver.epoch > 1;
        for side in Side::BOTH {
            self.await_calls(side);
            self.sides[side].fence(self.driver.epoch);
            self.driver.pending.push(Pending::View(side));
        }
    }

    fn plant_lookup(
        &self,
        mut lookup: tidegate_sync::model::Lookup,
    ) -> tidegate_sync::model::Lookup {
        if self.plant == Plant::ForgetSeen {
            lookup.traces.clear();
            for link in &mut lookup.links {
                link.seen = BySide::default();
                link.written = BySide::default();
            }
        }
        lookup
    }

    fn settle(&mut self, mut settlement: tidegate_sync::session::Settlement) -> Check {
        if self.plant == Plant::AcknowledgeFirst {
            for side in Side::BOTH {
                if let Some(position) = &settlement.positions[side] {
                    self.acknowledge(side, position)?;
                }
            }
        }
        if self.plant == Plant::EagerBaseline {
            for (_, link) in &mut settlement.links {
                link.baseline.right[1] = link.baseline.left[1];
            }
        }
        if self.plant == Plant::LoseConflicts {
            settlement.conflicts.clear();
        }
        let session = &self.driver.session;
        let may_overlap = session.is_copying()
            && !settlement.live
            && !settlement.round_done
            && !session.awaits_numbers();
        if may_overlap && self.rng.percent(50) {
            self.driver.settling = Some(settlement);
            self.driver.reply(Event::Settled { links: Vec::new() });
            return Ok(());
        }
        let links = self.make_durable(&settlement)?;
        self.driver.reply(Event::Settled { links });
        Ok(())
    }

    fn make_durable(&mut self, settlement: &Settlement) -> Result<Vec<LinkId>, Violation> {
        oracle::honest_settlement(&self.scenario, &self.sides, &self.store, settlement)?;
        self.note_differing(settlement);
        let ids = self.store.settle(settlement)?;
        if settlement.live {
            self.passed.clear();
        }
        if let Some(positions) = &self.store.positions
            && self.passed.last() != Some(positions)
        {
            self.passed.push(positions.clone());
        }
        Ok(ids)
    }

    pub fn finish_settling(&mut self) -> Check {
        if let Some(settlement) = self.driver.settling.take() {
            self.make_durable(&settlement)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, side: Side, position: &Position) -> Check {
        oracle::honest_acknowledgement(&self.store, side, position)?;
        let db = &mut self.sides[side];
        db.acknowledged = db.acknowledged.max(position.offset);
        Ok(())
    }

    fn open_streams(&mut self, positions: BySide<Position>) -> Check {
        for side in Side::BOTH {
            let kept = self.sides[side].acknowledged;
            if positions[side].offset < kept && !self.replaying {
                let text = format!("{} history before {kept} is gone", side.name());
                return Violation::check("I9", text);
            }
            self.driver.streams[side] = Some(positions[side].clone());
        }
        self.driver.reply(Event::Streaming);
        Ok(())
    }

    pub fn write(
        &mut self,
        side: Side,
        batch: BatchId,
        steps: &[Step],
        recorded: bool,
    ) -> Result<Option<Vec<Outcome>>, Violation> {
        let is_edit = self.sides[side].edits.contains(&batch);
        if !is_edit {
            self.check_echo(side, steps)?;
        }
        // The store may know a record by a key that it had before.
        let names = |step: &Step| match &step.kind {
            StepKind::Delete { key, .. } => {
                let record = self.sides[side].table(step.pair).rows.get(key);
                let former = record.into_iter().flat_map(|record| &record.former);
                former.chain([key]).cloned().collect()
            }
            _ => Vec::new(),
        };
        let deleted: Vec<Vec<Key>> = steps.iter().map(names).collect();
        let before: Vec<Option<Row>> = steps.iter().map(|step| self.target(side, step)).collect();
        if self.is_app(side) {
            self.note_sent(side, steps);
        }
        let written = match self.is_app(side) {
            true => self.call(side, batch, steps),
            false => self.sides[side].apply(batch, steps, recorded),
        };
        let Some(outcomes) = written else {
            return Ok(None);
        };
        self.remember_edits((side, batch), steps, &outcomes);
        for ((step, outcome), keys) in steps.iter().zip(&outcomes).zip(&deleted) {
            if matches!(outcome, Outcome::Deleted(_)) && !is_edit {
                oracle::no_phantom_delete(&self.sides, &self.store, (side, step.pair, keys))?;
            }
        }
        let is_of_this_run = batch.0 >> 32 == u64::from(self.driver.epoch);
        let troubles = self.scenario.troubles;
        let landed = Landed {
            scenario: &self.scenario,
            sides: &self.sides,
            store: &self.store,
            side,
            steps,
            outcomes: &outcomes,
            before: &before,
            is_live: is_of_this_run && !self.driver.session.is_copying() && !self.is_app(side),
            is_followed: !(troubles.edits || troubles.rekeys && self.store.was_scanned_again),
            unsure: &self.unsure,
        };
        // A person may overwrite what was not looked at, and delete anywhere.
        if !is_edit {
            writes::guarded(&landed)?;
            writes::deletes_allowed(&landed)?;
        }
        writes::not_repeated(&landed)?;
        writes::no_second_match(&landed)?;
        let kept = writes::deletions_travel(&landed)?;
        self.kept.extend(kept);
        self.note(|| {
            let text: String = outcomes.iter().map(brief_outcome).collect();
            format!("{} wrote{text}", side.name())
        });
        Ok(Some(outcomes))
    }

    /// What a step is about to overwrite or delete.
    fn target(&self, side: Side, step: &Step) -> Option<Row> {
        match &step.kind {
            StepKind::Create { .. } => None,
            StepKind::Update { key, .. } | StepKind::Delete { key, .. } => {
                self.sides[side].row(step.pair, key)
            }
        }
    }

    /// I3: a live write never carries what its target has already.
    fn check_echo(&self, side: Side, steps: &[Step]) -> Check {
        // Records that meet again, after a crash of the first copy or a lost position, are merged
        // anew: what a side made of a value then looks like a value of its own.
        let was_lost = self.is_app(side) && self.driver.epoch > 1;
        if !self.store.was_live || self.store.was_scanned_again || was_lost {
            return Ok(());
        }
        for step in steps {
            let StepKind::Update { key, set, expect } = &step.kind else {
                continue;
            };
            let db = &self.sides[side];
            let Some(row) = db.row(step.pair, key) else {
                continue;
            };
            if db.prints.row(&row) != *expect {
                continue;
            }
            let links = self.store.lookup(side, step.pair, key).links;
            let link = links.into_iter().next_back();
            for (field, value) in set {
                // What a side made of a value whose answer was lost looks like a person's value.
                if crate::values::token(value).is_some_and(|token| self.unsure.contains(&token)) {
                    continue;
                }
                // Records that meet (again) have no baseline: what a side made of a value differs.
                let met = link
                    .as_ref()
                    .is_none_or(|link| !link.baseline[side][*field].is_known());
                if met {
                    continue;
                }
                let now = row[*field].value().map(normal);
                if !value.is_null()
                    && now == Some(normal(value))
                    && !crate::values::is_derived(&normal(value))
                {
                    let text = format!("{} {key} field {field}: {value:?} again", side.name());
                    return Violation::check("I3", text);
                }
            }
        }
        Ok(())
    }

    fn fetch(&self, side: Side, pair: PairId, keys: &[Key]) -> Vec<Option<Row>> {
        let Some(view) = &self.driver.views[side] else {
            return Vec::new();
        };
        let table = &view.tables[pair.0 as usize];
        keys.iter()
            .map(|key| {
                let record = table.get(key)?;
                Some(record.cells.iter().cloned().map(Cell::Value).collect())
            })
            .collect()
    }

    /// A view at a fresh position: what was logged before it can't be streamed any more, unless the
    /// view is taken aside. An app's pages are read one after the other, and its history is told from
    /// before the first.
    fn take_view(&mut self, side: Side) -> Check {
        let aside = self.driver.scan.1;
        let db = &mut self.sides[side];
        let (offset, passed) = match &db.app {
            Some(app) => (db.lsn.saturating_sub(app.lag), BatchId::NONE),
            None => (db.lsn, db.passed()),
        };
        if !aside {
            db.acknowledged = offset;
        }
        let position = Position {
            offset,
            passed,
            ..Position::default()
        };
        let tables = db.tables.iter().map(|table| table.rows.clone()).collect();
        self.note(|| format!("{} view at {offset}", side.name()));
        self.driver.views[side] = Some(View { tables, position });
        if self.is_app(side) {
            self.driver.is_viewing[side] = true;
            self.driver.pending.push(Pending::ViewRest(side));
            return Ok(());
        }
        self.join_views()
    }

    fn finish_view(&mut self, side: Side) -> Check {
        let db = &mut self.sides[side];
        if let (Some(app), Some(view)) = (&mut db.app, &mut self.driver.views[side]) {
            app.scanned_to = db.lsn;
            for (before, table) in view.tables.iter_mut().zip(&db.tables) {
                let is_later = |key: &Key| key.to_bytes().last().is_some_and(|b| b % 2 == 1);
                before.retain(|key, _| !is_later(key));
                let later = table.rows.iter().filter(|(key, _)| is_later(key));
                before.extend(later.map(|(key, record)| (key.clone(), record.clone())));
            }
        }
        self.driver.is_viewing[side] = false;
        self.join_views()
    }

    /// Once both views are complete.
    fn join_views(&mut self) -> Check {
        if self.driver.is_viewing.left || self.driver.is_viewing.right {
            return Ok(());
        }
        let (Some(left), Some(right)) = (&self.driver.views.left, &self.driver.views.right) else {
            return Ok(());
        };
        let positions = BySide::new(left.position.clone(), right.position.clone());
        let scanned = &self.driver.scan.0;
        let all = self.scenario.pairs();
        for (pair, policy) in all.filter(|(pair, _)| scanned.contains(pair)) {
            let prints = &self.scenario.prints;
            let views = BySide::new(left, right);
            let scans = BySide::from_fn(|side| {
                let rows = &views[side].tables[pair.0 as usize];
                rows.iter()
                    .map(|(key, record)| {
                        let row: Row = record.cells.iter().cloned().map(Cell::Value).collect();
                        let cells: Vec<&Cell> =
                            policy.match_key.iter().map(|&field| &row[field]).collect();
                        let hash = prints.match_key(&cells);
                        let scanned = Scanned {
                            key: key.clone(),
                            fingerprints: prints.row(&row),
                        };
                        ScanRow { scanned, hash }
                    })
                    .collect()
            });
            let found = self.store.join(pair, &scans);
            self.driver.matches.insert(pair, found);
        }
        self.driver.reply(Event::Scanned { positions });
        Ok(())
    }
}

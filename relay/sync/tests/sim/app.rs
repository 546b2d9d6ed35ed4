//! What makes a simulated side an app: no log, no transactions, no progress record.
//!
//! Its lists show a change only after a while, some of them earlier than others; stamps are rounded;
//! a scan reads its pages one after the other; a call that times out may have been carried out. What
//! stands here between the app and the session is what an endpoint of an app has to do; see "Sides
//! that are apps" in docs/sync-model.md.

use std::collections::BTreeMap;

use tidegate_sync::model::{
    BatchId, Change, ChangeKind, Key, Outcome, PairId, Position, Side, Step, StepKind,
};

use crate::database::Database;
use crate::oracle::Check;
use crate::rng::Rng;
use crate::values::token;
use crate::world::World;

#[derive(Clone, Debug)]
pub struct App {
    /// How long a change may stay hidden from lists and searches.
    pub lag: u64,
    /// Stamps are rounded down to a multiple of this.
    pub rounding: u64,
    /// Its answer to an update tells what was written alone: the rest of the outcome is as the guard read it.
    pub tells_part: bool,
    /// The last scan ended here: what is told of first must reach so far.
    pub scanned_to: u64,
    /// Batches whose calls were all answered: where the first was sent and the last answered.
    batches: Vec<(u64, u64, BatchId)>,
    /// Nothing happens any more, so that the lag is over.
    pub is_at_rest: bool,
}

impl App {
    pub fn new(rng: &mut Rng) -> App {
        let (lag, rounding) = (*rng.pick(&[0, 20, 60, 200]), *rng.pick(&[1, 30, 100]));
        App {
            lag,
            rounding,
            // Not drawn, so that the worlds of known seeds stay what they are.
            tells_part: rounding == 30,
            scanned_to: 0,
            batches: Vec::new(),
            is_at_rest: false,
        }
    }
}

impl Database {
    /// Up to where the app's lists show everything for certain.
    fn horizon(&self, app: &App) -> u64 {
        if app.is_at_rest {
            return self.lsn;
        }
        let shown = self.lsn.saturating_sub(app.lag);
        let mut horizon = shown - shown % app.rounding;
        // No position is within a batch: what a person changed between two of its calls would be
        // taken for older than the batch.
        for &(start, end, _) in app.batches.iter().rev() {
            if start < horizon && horizon < end {
                horizon = start;
            }
        }
        if horizon < app.scanned_to { 0 } else { horizon }
    }

    /// What a poll finds out after `from`: each changed record once, as it was at the new position.
    pub fn poll(&self, app: &App, from: &Position, rng: &mut Rng) -> (Vec<Change>, Position) {
        let horizon = self.horizon(app);
        if horizon <= from.offset {
            return (Vec::new(), from.clone());
        }
        let (all, _) = self.changes(from, usize::MAX);
        let mut position = from.clone();
        position.offset = horizon;
        let passed = app.batches.iter().filter(|(_, end, _)| *end <= horizon);
        let passed = passed.map(|(.., batch)| *batch).max();
        position.passed = position.passed.max(passed.unwrap_or_default());
        let mut last: BTreeMap<(PairId, Key), Change> = BTreeMap::new();
        for mut change in all {
            let slot = (change.pair, change.key.clone());
            if change.offset > horizon {
                // The list may show a record as it became later; then it is told of later.
                if last.contains_key(&slot) && rng.percent(50) {
                    last.remove(&slot);
                }
                continue;
            }
            if let ChangeKind::Present { inserted, .. } = &mut change.kind {
                *inserted = false;
            }
            change.passed = position.passed;
            change.ours = false;
            change.time = change.time.map(|time| time - time % 60);
            last.insert(slot, change);
        }
        let mut changes: Vec<Change> = last.into_values().collect();
        changes.sort_by_key(Change::place);
        (changes, position)
    }

    /// A search does not find what was made a moment ago.
    pub fn is_hidden(&self, pair: PairId, key: &Key) -> bool {
        let Some(app) = self.app.as_ref().filter(|app| !app.is_at_rest) else {
            return false;
        };
        let from = Position {
            offset: self.lsn.saturating_sub(app.lag),
            ..Position::default()
        };
        let (recent, _) = self.changes(&from, usize::MAX);
        recent.iter().any(|change| {
            let is_new = matches!(change.kind, ChangeKind::Present { inserted: true, .. });
            is_new && change.pair == pair && change.key == *key
        })
    }
}

impl World {
    pub fn is_app(&self, side: Side) -> bool {
        self.sides[side].app.is_some()
    }

    /// Before a new run looks, every call of the last one is over, and its effects show everywhere.
    pub fn await_calls(&mut self, side: Side) {
        let lag = self.sides[side].app.as_ref().map_or(0, |app| app.lag);
        self.sides[side].lsn += lag;
    }

    /// One call for each step; people write in between. `None` when a newer run waits for no call of
    /// this one any more.
    pub fn call(&mut self, side: Side, batch: BatchId, steps: &[Step]) -> Option<Vec<Outcome>> {
        let start = self.sides[side].lsn;
        let mut outcomes = Vec::with_capacity(steps.len());
        for step in steps {
            let step = std::slice::from_ref(step);
            outcomes.extend(self.sides[side].apply(batch, step, false)?);
            let may_write = matches!(
                step[0].kind,
                StepKind::Create { .. } | StepKind::Update { .. }
            );
            if may_write && self.rng.percent(10) {
                self.people();
            }
        }
        let end = self.sides[side].lsn;
        if let Some(app) = &mut self.sides[side].app {
            app.batches.push((start, end, batch));
        }
        Some(outcomes)
    }

    /// The last two batches of a side: a copied page may be written while the last one is settled.
    pub fn note_sent(&mut self, side: Side, steps: &[Step]) {
        let tokens = steps.iter().flat_map(|step| tokens_of(&step.kind));
        let sent = &mut self.sent[side];
        sent.rotate_left(1);
        sent[1] = tokens.collect();
    }

    /// The run is over: what became of its last batches nobody can tell.
    pub fn lose_answers(&mut self) {
        for side in Side::BOTH {
            let sent = std::mem::take(&mut self.sent[side]);
            self.unsure.extend(sent.into_iter().flatten());
        }
    }

    /// What becomes of these steps nobody can tell.
    pub fn note_unsure(&mut self, steps: &[Step]) {
        let tokens = steps.iter().flat_map(|step| tokens_of(&step.kind));
        self.unsure.extend(tokens);
    }

    /// A call fails or times out after some were carried out: nobody knows how many. The run ends.
    pub fn time_out(&mut self, side: Side, batch: BatchId, steps: &[Step]) -> Check {
        let done = self.rng.below(steps.len() + 1);
        self.note(|| {
            format!(
                "{} times out after {done} of {} calls",
                side.name(),
                steps.len()
            )
        });
        for step in &steps[..done] {
            self.write(side, batch, std::slice::from_ref(step), false)?;
        }
        self.note_sent(side, steps);
        self.crash()
    }
}

/// The tokens that a step writes.
pub fn tokens_of(kind: &StepKind) -> Vec<u64> {
    match kind {
        StepKind::Create { set, .. } | StepKind::Update { set, .. } => {
            set.iter().filter_map(|(_, value)| token(value)).collect()
        }
        StepKind::Delete { .. } => Vec::new(),
    }
}

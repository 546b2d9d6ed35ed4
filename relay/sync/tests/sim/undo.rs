//! What people ask the sync to write: carried out in a batch of its own, and a person's edit all the
//! same.

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{BatchId, BySide, Outcome, PairId, Side, Step, StepKind};
use tidegate_sync::session::{Edit, Event, Round, Why};
use tidegate_sync::value::Value;

use crate::values::token;
use crate::world::World;

impl World {
    /// Asks for some writes to one side.
    pub fn ask_for_edits(&mut self) {
        if !self.driver.session.is_live() {
            return;
        }
        let side = *self.rng.pick(&Side::BOTH);
        let count = 1 + self.rng.below(3);
        let edits: Vec<Edit> = (0..count).filter_map(|_| self.some_edit(side)).collect();
        self.note(|| format!("{} edits asked for: {edits:?}", side.name()));
        self.driver.handle(Event::Edit { edits });
    }

    fn some_edit(&mut self, side: Side) -> Option<Edit> {
        let pair = PairId(self.rng.below(self.scenario.policies.len()) as u32);
        let kind = match self.rng.below(10) {
            0..3 => self.some_create(side, pair),
            3..5 => self.some_delete(side, pair)?,
            _ => self.some_update(side, pair)?,
        };
        Some(Edit {
            side,
            step: Step { pair, kind },
            keys: BySide::default(),
            why: Why::Undo,
        })
    }

    fn some_create(&mut self, side: Side, pair: PairId) -> StepKind {
        let mut set = vec![(0, self.match_value(side, pair))];
        for field in 1..self.scenario.kinds[pair.0 as usize].len() {
            set.push((field, self.new_value(side, pair, field).0));
        }
        let matching = set[..1].to_vec();
        StepKind::Create { set, matching }
    }

    fn some_delete(&mut self, side: Side, pair: PairId) -> Option<StepKind> {
        let key = self.some_key(side, pair)?;
        let row = self.sides[side].row(pair, &key)?;
        let expect = self.scenario.prints.row(&row);
        Some(StepKind::Delete { key, expect })
    }

    fn some_update(&mut self, side: Side, pair: PairId) -> Option<StepKind> {
        let key = self.some_key(side, pair)?;
        let row = self.sides[side].row(pair, &key)?;
        let field = 1 + self.rng.below(row.len() - 1);
        let set = vec![(field, self.new_value(side, pair, field).0)];
        let mut expect = vec![Fingerprint::UNKNOWN; row.len()];
        expect[field] = self.scenario.prints.row(&row)[field];
        Some(StepKind::Update { key, set, expect })
    }

    /// From here on the sides know whose batches these are.
    pub fn note_edits(&mut self, round: &Round) {
        for side in Side::BOTH {
            let batch = round.batches[side].filter(|_| !round.edits.is_empty());
            self.sides[side].edits.extend(batch);
        }
    }

    /// What was written is a value of a person, who may look for it again.
    pub fn remember_edits(
        &mut self,
        (side, batch): (Side, BatchId),
        steps: &[Step],
        outcomes: &[Outcome],
    ) {
        if !self.sides[side].edits.contains(&batch) {
            return;
        }
        for (step, outcome) in steps.iter().zip(outcomes) {
            let (StepKind::Create { set, .. } | StepKind::Update { set, .. }, Outcome::Written(..)) =
                (&step.kind, outcome)
            else {
                continue;
            };
            let values = set.iter().map(|(_, value)| value);
            let tokens: Vec<u64> = values.filter_map(|value: &Value| token(value)).collect();
            self.remember(side, step.pair, tokens);
        }
    }
}

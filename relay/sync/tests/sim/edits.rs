//! People edit the mapping of the running sync: field pairs and table pairs are taken out and are new
//! in it, and a pair is to be looked at again.

use std::collections::BTreeSet;

use tidegate_sync::model::{BySide, Link, PairId, Side};
use tidegate_sync::policy::Existing;
use tidegate_sync::session::Settlement;

use crate::oracle::Check;
use crate::world::World;

impl World {
    /// The run ends and the next one has another mapping. As in the engine, a round of the former
    /// mapping must have been settled before.
    pub fn edit(&mut self) -> Check {
        if self.store.positions.is_none() || self.store.round.is_some() {
            return Ok(());
        }
        let pair = PairId(self.rng.below(self.scenario.policies.len()) as u32);
        let fields = self.scenario.policies[pair.0 as usize].fields.len();
        // What is on its way to the disk gets there: the engine stops at a settlement.
        self.finish_settling()?;
        match self.rng.below(3) {
            0 => {
                self.note(|| format!("{pair:?} is looked at again"));
                self.store.due.insert(pair);
            }
            1 => {
                let field = 1 + self.rng.below(fields - 1);
                self.note(|| format!("field {field} of {pair:?} is new"));
                self.store.renew_field(pair, field);
            }
            _ => {
                self.note(|| format!("{pair:?} is new"));
                self.store.renew_pair(pair);
            }
        }
        self.count_edit(pair);
        // What existed is handled as existing data once more.
        for token in self.tokens.iter_mut().filter(|token| token.pair == pair) {
            token.first_run = true;
        }
        self.checkpoint = None;
        self.crash()
    }

    /// Values that a settlement agrees to leave different, as `link-only` says: what one side writes later
    /// may replace what the other one has. "A new field is merged as if its records had just been
    /// matched": docs/sync-model.md, Edits of a running sync. So they count as existing data, also those
    /// that were written after the scan and before the merge.
    pub fn note_differing(&mut self, settlement: &Settlement) {
        let mut left_alone: BTreeSet<String> = BTreeSet::new();
        for (pair, link) in &settlement.links {
            if self.scenario.policies[pair.0 as usize].existing != Existing::LinkOnly {
                continue;
            }
            let former = self.store.links.get(&(*pair, link.id));
            for field in 0..link.baseline.left.len() {
                let of = |link: &Link| BySide::from_fn(|side| link.baseline[side][field]);
                let now = of(link);
                let form = |side: Side| self.sides[side].ledger.had.get(&now[side]);
                if former.map(of) != Some(now) && form(Side::Left) != form(Side::Right) {
                    left_alone.extend(Side::BOTH.into_iter().filter_map(form).cloned());
                }
            }
        }
        if left_alone.is_empty() {
            return;
        }
        for token in &mut self.tokens {
            token.first_run |= left_alone.contains(&format!("#{}", token.token));
        }
    }

    /// Every record of the pair may be written once more because of it.
    fn count_edit(&mut self, pair: PairId) {
        for side in Side::BOTH {
            let records = self.sides[side].table(pair).rows.len() as u64;
            self.sides[side].ledger.edits += records;
        }
    }
}

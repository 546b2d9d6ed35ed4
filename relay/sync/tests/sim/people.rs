//! What people do to their tables.

use tidegate_sync::model::{Key, PairId, Side, Since};
use tidegate_sync::value::Value;

use crate::database::Cause;
use crate::ledger::Parted;
use crate::values::{Kind, fresh};
use crate::world::{Token, World};

impl World {
    /// One transaction of a person.
    pub fn people(&mut self) {
        if self.has_stopped() {
            return;
        }
        let side = self.scenario.sides()[self.rng.below(2)];
        for _ in 0..1 + self.rng.below(3) / 2 {
            let pair = PairId(self.rng.below(self.scenario.policies.len()) as u32);
            match self.rng.below(20) {
                0..5 => self.person_inserts(side, pair),
                5..8 if !self.scenario.troubles.steady => self.person_deletes(side, pair),
                8 | 9 if self.scenario.troubles.rekeys => self.person_rekeys(side, pair),
                _ => self.person_updates(side, pair),
            }
        }
        self.sides[side].commit();
    }

    pub fn new_value(&mut self, side: Side, pair: PairId, field: usize) -> (Value, Option<u64>) {
        if self.rng.percent(8) {
            return (Value::Null, None);
        }
        let kind = self.scenario.kinds[pair.0 as usize][field];
        if matches!(kind, Kind::Link | Kind::Links) {
            return (self.named_records(side, pair, field), None);
        }
        if matches!(kind, Kind::Word | Kind::Reference | Kind::Inside) {
            return (fresh(0, kind, &mut self.rng), None);
        }
        let token = self.next_token;
        self.next_token += 1;
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
        let store = &self.store;
        let is_due = store.fresh.contains(&pair) || store.due.contains(&pair);
        let first_run = !store.was_live || is_due;
        for token in tokens {
            self.tokens.push(Token {
                token,
                side,
                pair,
                first_run,
            });
        }
    }

    pub fn person_inserts(&mut self, side: Side, pair: PairId) {
        let mut cells = vec![self.match_value(side, pair)];
        let mut tokens = Vec::new();
        for field in 1..self.scenario.kinds[pair.0 as usize].len() {
            let (value, token) = self.new_value(side, pair, field);
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
            let is_key = self.scenario.policies[pair.0 as usize]
                .match_key
                .contains(&field);
            if is_key || set.iter().any(|(f, _)| *f == field) {
                continue;
            }
            let (value, token) = self.new_value(side, pair, field);
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
            None => self.other_match_key(side, pair),
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

    /// A new value for one field of the match key.
    fn other_match_key(&mut self, side: Side, pair: PairId) -> Vec<(usize, Value)> {
        let is_second = self.scenario.policies[pair.0 as usize].match_key.len() > 1;
        match is_second && self.rng.percent(50) {
            true => vec![(4, self.new_value(side, pair, 4).0)],
            false => vec![(0, self.match_value(side, pair))],
        }
    }

    fn person_deletes(&mut self, side: Side, pair: PairId) {
        if let Some(key) = self.some_key(side, pair) {
            let parted = self.parted(side, pair, &key);
            if !self.sides[side].delete(pair, &key, Cause::Person) {
                return;
            }
            if let Some(departed) = self.sides[side].ledger.departed.last_mut() {
                departed.parted = parted;
            }
            self.note(|| format!("{} person deletes {}/{key}", side.name(), pair.0));
        }
    }

    /// What a record that has one key all its life is to its counterpart. A link that was settled before
    /// the record was there is one of an earlier record with its key.
    fn parted(&self, side: Side, pair: PairId, key: &Key) -> Option<Parted> {
        let links = self.store.lookup(side, pair, key).links;
        let [link] = links.as_slice() else {
            return None;
        };
        let record = |side: Side| {
            let record = self.sides[side].table(pair).rows.get(link.key(side)?)?;
            let Since { batch, place } = record.born;
            let is_ours = link.since[side] == Since::written(batch);
            let is_known = is_ours || link.seen[side] >= place;
            (record.former.is_empty() && is_known).then_some(record.number)
        };
        let has_met = |field: &usize| {
            let mut sides = Side::BOTH.into_iter();
            sides.all(|side| link.baseline[side][*field].is_known())
        };
        let fields = 0..self.scenario.kinds[pair.0 as usize].len();
        (!link.is_half() && record(side).is_some()).then(|| Parted {
            counterpart: record(side.other()),
            unmet: fields.filter(|field| !has_met(field)).collect(),
        })
    }
}

//! Undo: what puts back what some writes did to one side. Pure: history in, steps out.
//!
//! Several writes of one record count as one, from what it was before the first to what the last one
//! left. A record is put back only if it still is what that last write left, and as a whole or not at
//! all. [`super::control`] reads history and records, and has the steps written as edits.

use std::collections::{BTreeMap, HashMap};

use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::decide::Write;
use tidegate_sync::model::{BySide, Key, PairId, Row, Side, StepKind};
use tidegate_sync::policy::{Drift, PairPolicy};
use tidegate_sync::session::{Applied, FieldWrite, Values};
use tidegate_sync::value::Value;

#[cfg(test)]
mod tests;

/// Why a record can't be put back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Somebody changed it since.
    Changed,
    /// It is gone.
    Gone,
    /// A record with its key is there.
    There,
    /// Its values are not kept, for this reason.
    NoValues(&'static str),
    /// The sync's mapping of its table or fields is another one now.
    Mapping,
    /// This field flows one way to the side, and the sync would put it back again.
    OneWay(usize),
    /// A field of its match key was null: if it is there, nobody would find it.
    NullKey,
}

/// How a write's table and fields are called now.
pub(super) struct Mapped {
    pub pair: PairId,
    /// By the field's place then; `None` for one that is not mapped any more.
    pub fields: Vec<Option<usize>>,
    /// True when nothing changed: then whole records can be compared.
    pub is_same: bool,
}

/// What some writes did to one record.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub pair: PairId,
    pub side: Side,
    /// The number of the last write, in the history.
    last: i64,
    /// As the last write left it.
    pub keys: BySide<Option<Key>>,
    was_there: bool,
    is_there: bool,
    before: BTreeMap<usize, Value>,
    after: BTreeMap<usize, Value>,
    /// Of the whole record, as the last write left it.
    print: Fingerprint,
    /// It was deleted and created again: only as a whole it can be told to be unchanged.
    is_reborn: bool,
    /// An undo has brought it back since.
    is_restored: bool,
    problem: Option<Cause>,
}

/// Records that an undo created, by table and match key.
#[derive(Default)]
pub(super) struct Restored(HashMap<(PairId, Vec<Fingerprint>), Restoration>);

struct Restoration {
    id: i64,
    keys: BySide<Option<Key>>,
}

impl Restored {
    /// Adds one that came before those that were added.
    pub(super) fn add(
        &mut self,
        (id, applied): (i64, &Applied),
        mapped: &Mapped,
        policy: &PairPolicy,
        prints: &Fingerprinter,
    ) {
        let (Write::Create, Values::Kept(fields)) = (applied.write, &applied.values) else {
            return;
        };
        let value = |field: usize| {
            let is_it = |write: &&FieldWrite| {
                let now = mapped.fields.get(write.field).copied().flatten();
                now == Some(field)
            };
            fields.iter().find(is_it)?.after.as_ref()
        };
        if let Some(name) = match_prints(policy, prints, value) {
            let keys = applied.keys.clone();
            let restoration = Restoration { id, keys };
            self.0.entry((mapped.pair, name)).or_insert(restoration);
        }
    }
}

fn match_prints<'v>(
    policy: &PairPolicy,
    prints: &Fingerprinter,
    value: impl Fn(usize) -> Option<&'v Value>,
) -> Option<Vec<Fingerprint>> {
    let fields = policy.match_key.iter();
    fields
        .map(|&field| Some(prints.value(value(field)?)))
        .collect()
}

/// What is to be done about a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// It is as it was.
    Nothing,
    Step(StepKind),
    Cannot(Cause),
}

/// Sums writes up, which come newest first.
#[derive(Default)]
pub(super) struct Sum {
    nets: Vec<Net>,
    /// By the key that the record had after the write that comes next.
    by_key: HashMap<(PairId, Side, Key), usize>,
}

impl Sum {
    /// Adds write number `id`, which came before those that were added. `mapped` is `None` for a table
    /// that is not synced any more.
    pub(super) fn add(&mut self, id: i64, applied: &Applied, mapped: Option<&Mapped>) {
        let side = applied.side;
        let Some(key) = applied.keys[side].clone() else {
            return;
        };
        let pair = mapped.map_or(applied.pair, |mapped| mapped.pair);
        let place = *self
            .by_key
            .entry((pair, side, key.clone()))
            .or_insert_with(|| {
                self.nets.push(Net::new(pair, (id, applied)));
                self.nets.len() - 1
            });
        let net = &mut self.nets[place];
        match mapped {
            Some(mapped) => net.add(applied, mapped),
            None => net.problem = Some(Cause::Mapping),
        }
        if let Some(former) = applied.former_key.clone() {
            self.by_key.remove(&(pair, side, key));
            self.by_key.insert((pair, side, former), place);
        }
    }

    /// What the writes did, record by record, newest first.
    pub(super) fn finish(self) -> Vec<Net> {
        self.nets
    }
}

impl Net {
    fn new(pair: PairId, (id, last): (i64, &Applied)) -> Net {
        let is_there = last.write != Write::Delete;
        Net {
            pair,
            side: last.side,
            last: id,
            keys: last.keys.clone(),
            was_there: is_there,
            is_there,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            print: last.print,
            is_reborn: false,
            is_restored: false,
            problem: None,
        }
    }

    fn add(&mut self, applied: &Applied, mapped: &Mapped) {
        if !mapped.is_same {
            self.print = Fingerprint::UNKNOWN;
        }
        let kept = match &applied.values {
            Values::Kept(fields) => Ok(fields.as_slice()),
            Values::Copied => Ok(&[][..]),
            Values::Off => Err("the sync kept no values"),
            Values::TooLong => Err("the values were too long to keep"),
            Values::Interrupted => Err("the relay was interrupted before it could keep them"),
        };
        match applied.write {
            // What came after it does not matter, only that nobody else has changed the record.
            Write::Create => {
                self.was_there = false;
                self.before.clear();
                self.problem = None;
                self.note_after(kept.unwrap_or_default(), mapped);
            }
            Write::Update => {
                self.was_there = true;
                self.put_back(kept, mapped);
            }
            // What came after it was another record.
            Write::Delete => {
                self.is_reborn |= self.is_there;
                self.was_there = true;
                self.problem = None;
                self.put_back(kept, mapped);
            }
        }
    }

    fn put_back(&mut self, kept: Result<&[FieldWrite], &'static str>, mapped: &Mapped) {
        let fields = match kept {
            Ok(fields) => fields,
            Err(why) => {
                self.problem = Some(Cause::NoValues(why));
                return;
            }
        };
        self.note_after(fields, mapped);
        for write in fields {
            let field = mapped.fields.get(write.field).copied().flatten();
            match (field, &write.before) {
                (Some(field), Some(before)) => {
                    self.before.insert(field, before.clone());
                }
                _ => self.problem = Some(Cause::Mapping),
            }
        }
    }

    fn note_after(&mut self, fields: &[FieldWrite], mapped: &Mapped) {
        for write in fields {
            let field = mapped.fields.get(write.field).copied().flatten();
            if let (Some(field), Some(after)) = (field, &write.after) {
                self.after.entry(field).or_insert_with(|| after.clone());
            }
        }
    }

    /// A record that was deleted and that an undo has brought back already has another key perhaps.
    pub(super) fn follow(
        &mut self,
        restored: &Restored,
        policy: &PairPolicy,
        prints: &Fingerprinter,
    ) {
        if !self.was_there || self.is_there {
            return;
        }
        let name = match_prints(policy, prints, |field| self.before.get(&field));
        let found = name.and_then(|name| restored.0.get(&(self.pair, name)));
        if let Some(found) = found.filter(|found| found.id > self.last) {
            self.keys = found.keys.clone();
            self.is_there = true;
            self.is_restored = true;
            self.after = self.before.clone();
        }
    }

    /// The key by which the record is looked for.
    pub(super) fn key(&self) -> Option<&Key> {
        self.keys[self.side].as_ref()
    }

    /// What the fields that a step sets will hold instead of what they hold.
    pub(super) fn before(&self, field: usize) -> Option<&Value> {
        self.before.get(&field)
    }

    /// Decides by the record as it is now. `is_writable` tells whether the side lets a field be set.
    pub(super) fn decide(
        &self,
        now: Option<&Row>,
        policy: &PairPolicy,
        prints: &Fingerprinter,
        is_writable: impl Fn(usize) -> bool,
    ) -> Decision {
        if let Some(problem) = &self.problem {
            return Decision::Cannot(problem.clone());
        }
        match (self.was_there, self.is_there, now) {
            (false, false, _) | (false, true, None) => Decision::Nothing,
            (false, true, Some(now)) => self.delete(now, policy, prints),
            (true, false, None) => self.create(policy, is_writable),
            (true, true, None) if self.is_restored => self.create(policy, is_writable),
            (true, false, Some(_)) => Decision::Cannot(Cause::There),
            (true, true, None) => Decision::Cannot(Cause::Gone),
            (true, true, Some(now)) => self.update(now, policy, prints),
        }
    }

    fn delete(&self, now: &Row, policy: &PairPolicy, prints: &Fingerprinter) -> Decision {
        let expect = prints.row(now);
        let Some(key) = self.key().cloned() else {
            return Decision::Nothing;
        };
        if !self.print.is_known() {
            return Decision::Cannot(Cause::Mapping);
        }
        if prints.record(&expect) != self.print {
            return Decision::Cannot(Cause::Changed);
        }
        if !policy.records_flow_to(self.side.other()) && policy.drift == Drift::Overwrite {
            let field = policy.match_key.first().copied().unwrap_or_default();
            return Decision::Cannot(Cause::OneWay(field));
        }
        Decision::Step(StepKind::Delete { key, expect })
    }

    fn create(&self, policy: &PairPolicy, is_writable: impl Fn(usize) -> bool) -> Decision {
        let matching = policy.match_key.iter();
        let matching: Vec<(usize, Value)> = matching
            .filter_map(|field| Some((*field, self.before.get(field)?.clone())))
            .filter(|(_, value)| !value.is_null())
            .collect();
        if matching.len() < policy.match_key.len() {
            return Decision::Cannot(Cause::NullKey);
        }
        let fields = self.before.iter().filter(|(field, _)| is_writable(**field));
        let set = fields
            .map(|(field, value)| (*field, value.clone()))
            .collect();
        Decision::Step(StepKind::Create { set, matching })
    }

    fn update(&self, now: &Row, policy: &PairPolicy, prints: &Fingerprinter) -> Decision {
        let row = prints.row(now);
        let Some(key) = self.key().cloned() else {
            return Decision::Nothing;
        };
        if self.is_reborn && prints.record(&row) != self.print {
            return Decision::Cannot(Cause::Changed);
        }
        let mut set = Vec::new();
        let mut expect = vec![Fingerprint::UNKNOWN; row.len()];
        for (&field, before) in &self.before {
            let (was, is) = (prints.value(before), row[field]);
            if was == is {
                continue;
            }
            let left = self.after.get(&field).map(|after| prints.value(after));
            if left != Some(is) && !self.is_reborn {
                return Decision::Cannot(Cause::Changed);
            }
            let direction = policy.fields[field].direction;
            let is_away = direction.flows_to(self.side) && !direction.flows_to(self.side.other());
            if is_away && policy.drift == Drift::Overwrite {
                return Decision::Cannot(Cause::OneWay(field));
            }
            set.push((field, before.clone()));
            expect[field] = is;
        }
        if set.is_empty() {
            return Decision::Nothing;
        }
        Decision::Step(StepKind::Update { key, set, expect })
    }
}

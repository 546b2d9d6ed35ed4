//! Fields that name records of the sync by their keys, as foreign keys and as sets of keys: how they
//! are drawn, what the sides do about them, what people write, and whether they name partners.

use std::collections::BTreeSet;

use tidegate_sync::model::{BySide, FindingCode, Key, PairId, Side};
use tidegate_sync::policy::Reference;
use tidegate_sync::reference::{KeyForm, keys, set, translate};
use tidegate_sync::value::Value;

use crate::database::{Cause, Database};
use crate::oracle::Facts;
use crate::rng::Rng;
use crate::values::Kind;
use crate::world::{Scenario, World};

/// What a side does about references to a record that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// The deletion is refused.
    Restrict,
    /// They become null, or a shorter list.
    Clear,
    /// Their records are deleted, too.
    Cascade,
}

/// A field of a side's table that names records of another table, or of its own.
#[derive(Clone, Debug)]
pub struct LinkField {
    pub field: usize,
    pub to: PairId,
    pub required: bool,
    pub on_delete: OnDelete,
    /// A join table has it: the record's own changes say nothing of it, and those of its rows say
    /// what it is when they are read.
    pub joined: bool,
}

/// Gives tables fields that name records: of the other table, of their own, and of each other.
pub fn draw(rng: &mut Rng, scenario: &mut Scenario) {
    let pairs = scenario.policies.len();
    for pair in 0..pairs {
        for field in [3, 4] {
            if !rng.percent(if field == 3 { 80 } else { 30 }) {
                continue;
            }
            let to = rng.below(pairs);
            let is_list = rng.percent(30);
            scenario.kinds[pair][field] = match is_list {
                true => Kind::Links,
                false => Kind::Link,
            };
            let mut required = BySide::default();
            for side in Side::BOTH {
                required[side] = !is_list && to < pair && rng.percent(15);
                let on_delete = match rng.below(3) {
                    0 => OnDelete::Restrict,
                    1 => OnDelete::Cascade,
                    _ if required[side] => OnDelete::Restrict,
                    _ => OnDelete::Clear,
                };
                scenario.quirks[side][pair].links.push(LinkField {
                    field,
                    to: PairId(to as u32),
                    required: required[side],
                    on_delete,
                    // Not drawn: what else is drawn stays the same.
                    joined: is_list && (pair + field + usize::from(side == Side::Left)) % 2 == 0,
                });
            }
            scenario.policies[pair].references.push(Reference {
                field,
                to: PairId(to as u32),
                keys: BySide::from_fn(|_| KeyForm::Text),
                required,
            });
        }
    }
}

/// The value without a key, or with another one instead.
fn changed(value: &Value, from: &Key, to: Option<&Key>) -> Value {
    let is_it = |value: &Value| keys(value) == [from.clone()];
    let other = to.and_then(|to| KeyForm::Text.value(to));
    match value {
        Value::List(items) => {
            let items = items.iter().filter_map(|item| match is_it(item) {
                true => other.clone(),
                false => Some(item.clone()),
            });
            set(items.collect())
        }
        value if is_it(value) => other.unwrap_or(Value::Null),
        value => value.clone(),
    }
}

impl Database {
    /// Every key that a record's fields name is there.
    pub fn check_links(&self, pair: PairId, cells: &[Value]) -> Result<(), FindingCode> {
        for link in &self.table(pair).quirks.links {
            let value = &cells[link.field];
            if link.required && value.is_null() {
                return Err(FindingCode::NotNullViolation);
            }
            let rows = &self.table(link.to).rows;
            if keys(value).iter().any(|key| !rows.contains_key(key)) {
                return Err(FindingCode::ForeignKeyViolation);
            }
        }
        Ok(())
    }

    /// The fields that name a record.
    fn referrers(&self, pair: PairId, key: &Key) -> Vec<(PairId, Key, LinkField)> {
        let mut found = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            for link in table.quirks.links.iter().filter(|link| link.to == pair) {
                for (own, record) in &table.rows {
                    if keys(&record.cells[link.field]).contains(key) {
                        found.push((PairId(number as u32), own.clone(), link.clone()));
                    }
                }
            }
        }
        found
    }

    /// Whoever named the record by its former key names it by the new one.
    pub fn move_links(&mut self, pair: PairId, from: &Key, to: &Key) {
        for (of, key, link) in self.referrers(pair, from) {
            self.change_link(of, &key, link.field, (from, Some(to)));
        }
    }

    fn change_link(
        &mut self,
        pair: PairId,
        key: &Key,
        field: usize,
        (from, to): (&Key, Option<&Key>),
    ) {
        let Some(record) = self.tables[pair.0 as usize].rows.get_mut(key) else {
            return;
        };
        record.cells[field] = changed(&record.cells[field], from, to);
        record.note_tokens();
        let (cells, number) = (record.cells.clone(), record.number);
        self.ledger.note_changed(number, field);
        self.note_values([&cells[field]]);
        self.note_edit(Cause::Trigger);
        let mut only = vec![false; cells.len()];
        only[field] = true;
        self.log_present(pair, key, None, &cells, &only, false);
    }

    /// The records that are deleted with this one. `None` where one of them may not be.
    pub fn doomed(&self, pair: PairId, key: &Key) -> Option<Vec<(PairId, Key)>> {
        let mut doomed = vec![(pair, key.clone())];
        let mut kept = BTreeSet::new();
        let mut next = 0;
        while let Some((pair, key)) = doomed.get(next).cloned() {
            next += 1;
            for (of, own, link) in self.referrers(pair, &key) {
                let slot = (of, own);
                match link.on_delete {
                    OnDelete::Restrict => _ = kept.insert(slot),
                    OnDelete::Cascade if !doomed.contains(&slot) => doomed.push(slot),
                    OnDelete::Cascade | OnDelete::Clear => {}
                }
            }
        }
        let is_refused = kept.iter().any(|slot| !doomed.contains(slot));
        (!is_refused).then_some(doomed)
    }

    /// Whoever named a deleted record names it no more.
    pub fn clear_links(&mut self, pair: PairId, key: &Key) {
        for (of, own, link) in self.referrers(pair, key) {
            self.change_link(of, &own, link.field, (key, None));
        }
    }
}

impl World {
    /// What a person writes into a field that names records.
    pub fn named_records(&mut self, side: Side, pair: PairId, field: usize) -> Value {
        let links = &self.sides[side].table(pair).quirks.links;
        let Some(to) = links.iter().find(|link| link.field == field).map(|l| l.to) else {
            return Value::Null;
        };
        let some = |world: &mut World| {
            let key = world.some_key(side, to);
            key.and_then(|key| KeyForm::Text.value(&key))
        };
        if self.scenario.kinds[pair.0 as usize][field] == Kind::Link {
            return some(self).unwrap_or(Value::Null);
        }
        let mut items: Vec<Value> = Vec::new();
        for _ in 0..self.rng.below(4) {
            items.extend(some(self).filter(|item| !items.contains(item)));
        }
        set(items)
    }
}

/// I17: the two sides' references name records that are linked with each other.
pub fn names_partners(facts: &Facts<'_>, reference: &Reference, cells: BySide<&Value>) -> bool {
    let crossed = BySide::from_fn(|side: Side| {
        let mut partner = |key: &Key| partner(facts, (side, reference.to), key).ok_or(());
        translate(cells[side], reference.keys[side.other()], &mut partner)
    });
    // Whose a key became while nobody followed, a scan can't tell where it reads as before.
    if facts.store.was_scanned_again && facts.scenario.troubles.rekeys {
        return true;
    }
    match (crossed.left, crossed.right) {
        (Ok(left), Ok(_)) => left == *cells.right,
        // One of them was agreed on before the record that it names lost its partner.
        _ => true,
    }
}

fn partner(facts: &Facts<'_>, (side, pair): (Side, PairId), key: &Key) -> Option<Key> {
    let mut links = facts.store.links.iter().filter(|((of, _), _)| *of == pair);
    let link = links.find(|(_, link)| link.keys[side].as_ref() == Some(key));
    link.and_then(|(_, link)| link.keys[side.other()].clone())
}

/// True when one of the record's references names a record that has no partner.
pub fn names_a_lone_record(facts: &Facts<'_>, (pair, side, key): (PairId, Side, &Key)) -> bool {
    let table = facts.sides[side].table(pair);
    let Some(record) = table.rows.get(key) else {
        return false;
    };
    table.quirks.links.iter().any(|link| {
        keys(&record.cells[link.field]).iter().any(|key| {
            let links = facts.store.lookup(side, link.to, key).links;
            links.iter().all(tidegate_sync::model::Link::is_half)
        })
    })
}

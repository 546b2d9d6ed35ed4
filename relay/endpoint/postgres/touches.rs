//! A change log that tells of join tables' rows, as one that tells of the records that they belong to.
//!
//! Every way to read changes knows a join table as a table of its own. What it tells there is replaced
//! here by a change of the record, with the set as it is now. That may be newer than the change, as
//! what an app tells is: whatever made it so is told in its turn.
//!
//! A log may tell of a transaction before other sessions see it (a server with a synchronous standby
//! shows it only when that one has answered). So what was told of single rows is laid over what is
//! read, until a read agrees or the log says otherwise; and a record that must be there and is not is
//! waited for, as long as a transaction that may have made it is still open.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use tidegate_sync::model::{Cell, Change, ChangeKind, Key, PairId, Position};
use tidegate_sync::reference::set;
use tidegate_sync::value::Value;
use tokio::time::{Instant, sleep};

use super::connect::Connected;
use super::join_table::JoinTable;
use super::reading;
use super::shape::Shape;
use super::sqlstate::endpoint_error;
use crate::endpoint::{Capture, Captured, EndpointError};

/// What a log says of the rows of one record in one join table, by the keys in `to`: whether they
/// are there.
type Told = BTreeMap<String, bool>;

/// A record with a join table: its table's place among the shapes, its key, the join table's number.
type Slot = (usize, Key, usize);

/// The log.
pub(super) struct Touches<C> {
    log: C,
    joins: Joins,
    /// Taken from the log, not handed over yet.
    pending: Option<Arc<Captured>>,
}

/// The join tables that it tells of.
struct Joins {
    session: Connected,
    shapes: Arc<Vec<Shape>>,
    told: HashMap<Slot, Told>,
}

impl<C: Capture> Touches<C> {
    pub(super) fn of(log: C, session: Connected, shapes: Arc<Vec<Shape>>) -> Touches<C> {
        Touches {
            log,
            joins: Joins {
                session,
                shapes,
                told: HashMap::new(),
            },
            pending: None,
        }
    }
}

impl Joins {
    /// Where the join table of this number belongs to.
    fn owner(&self, pair: PairId) -> Option<(usize, usize, &JoinTable)> {
        let mut shapes = self.shapes.iter().enumerate();
        shapes.find_map(|(table, shape)| {
            let number = shape.joins.iter().position(|join| join.pair == pair)?;
            Some((table, number, &shape.joins[number]))
        })
    }

    /// Whether there is anything to be replaced.
    fn concerns(&self, captured: &Captured) -> bool {
        let is_joined = |pair: PairId| self.owner(pair).is_some();
        let mut changes = captured.changes.iter();
        changes.any(|change| is_joined(change.pair))
            || !passed_on(&self.shapes, captured).is_empty()
            || captured.reconcile.iter().any(|(pair, _)| is_joined(*pair))
    }

    /// The place of a record's table that has join tables, where the record has got this key: what it
    /// names there is told with it.
    fn new_record(&self, change: &Change) -> Option<usize> {
        joined(&self.shapes, change.pair).filter(|_| is_new(change))
    }

    /// Replaces what concerns join tables. May be given up and begun again.
    async fn resolve(
        &self,
        captured: &Captured,
    ) -> Result<(Captured, Vec<(Slot, Told)>), EndpointError> {
        let events = self.events(captured)?;
        let mut wanted: BTreeMap<usize, BTreeSet<Key>> = BTreeMap::new();
        for (table, key, _) in events.keys() {
            wanted.entry(*table).or_default().insert(key.clone());
        }
        for change in &captured.changes {
            if let Some(table) = self.new_record(change) {
                wanted.entry(table).or_default().insert(change.key.clone());
            }
        }
        let passed_on = passed_on(&self.shapes, captured);
        let mut rows: HashMap<(usize, Key), Vec<Cell>> = HashMap::new();
        let mut told: HashMap<Slot, Told> = HashMap::new();
        for (table, key) in &passed_on {
            let numbers = 0..self.shapes[*table].joins.len();
            told.extend(numbers.map(|number| ((*table, key.clone(), number), Told::new())));
        }
        for (table, keys) in wanted {
            let shape = &self.shapes[table];
            let keys: Vec<Key> = keys.into_iter().collect();
            let awaited = self.awaited(captured, &events, table);
            let read = self.read(shape, &keys, &awaited).await?;
            for (key, cells) in keys.into_iter().zip(read) {
                // It is gone, which is told in its turn.
                let Some(mut cells) = cells else { continue };
                for (number, cell) in cells.iter_mut().enumerate() {
                    let slot = (table, key.clone(), number);
                    let mut rows = match passed_on.contains(&(table, key.clone())) {
                        true => Told::new(),
                        false => self.told.get(&slot).cloned().unwrap_or_default(),
                    };
                    rows.extend(events.get(&slot).cloned().unwrap_or_default());
                    let left = lay_over(&shape.joins[number], cell, rows);
                    told.insert(slot, left);
                }
                rows.insert((table, key), cells);
            }
        }
        let changes = self.replaced(captured, &rows)?;
        let reconcile =
            captured
                .reconcile
                .iter()
                .cloned()
                .map(|(pair, reason)| match self.owner(pair) {
                    Some((table, ..)) => (self.shapes[table].pair, reason),
                    None => (pair, reason),
                });
        let resolved = Captured {
            changes,
            reconcile: reconcile.collect(),
            end: captured.end.clone(),
            described: captured.described,
        };
        Ok((resolved, told.into_iter().collect()))
    }

    /// The table's records that were there when the log told of them, and are not told to be gone.
    fn awaited(
        &self,
        captured: &Captured,
        events: &HashMap<Slot, Told>,
        table: usize,
    ) -> HashSet<Key> {
        let has_rows = |told: &Told| told.values().any(|is_there| *is_there);
        let named = events
            .iter()
            .filter(|((of, ..), told)| *of == table && has_rows(told));
        let mut awaited: HashSet<Key> = named.map(|((_, key, _), _)| key.clone()).collect();
        for change in &captured.changes {
            if change.pair != self.shapes[table].pair {
                continue;
            }
            if self.new_record(change).is_some() {
                awaited.insert(change.key.clone());
            }
            if change.kind == ChangeKind::Gone {
                awaited.remove(&change.key);
            }
            if let Some(old) = &change.old_key {
                awaited.remove(old);
            }
        }
        awaited
    }

    async fn read(
        &self,
        shape: &Shape,
        keys: &[Key],
        awaited: &HashSet<Key>,
    ) -> Result<Vec<Option<Vec<Cell>>>, EndpointError> {
        let is_whole = |read: &[Option<Vec<Cell>>]| {
            let mut records = keys.iter().zip(read);
            records.all(|(key, cells)| cells.is_some() || !awaited.contains(key))
        };
        let mut read = reading::fetch_sets(&self.session, shape, keys).await?;
        let until = Instant::now() + limits::SHOWN;
        let mut open: Option<HashSet<String>> = None;
        while !is_whole(&read) && Instant::now() < until {
            let now = open_transactions(&self.session).await?;
            let still = match open {
                Some(open) => open.intersection(&now).cloned().collect(),
                None => now,
            };
            let are_over = still.is_empty();
            read = reading::fetch_sets(&self.session, shape, keys).await?;
            if are_over {
                break;
            }
            open = Some(still);
            sleep(limits::LOOK_AGAIN).await;
        }
        Ok(read)
    }

    /// Remembers what reads don't show yet.
    fn note(&mut self, told: Vec<(Slot, Told)>) {
        for (slot, rows) in told {
            match rows.is_empty() {
                true => _ = self.told.remove(&slot),
                false => _ = self.told.insert(slot, rows),
            }
        }
    }

    /// What is told of join tables' rows, the last word on each.
    fn events(&self, captured: &Captured) -> Result<HashMap<Slot, Told>, EndpointError> {
        let mut events: HashMap<Slot, Told> = HashMap::new();
        for change in &captured.changes {
            let Some((table, number, join)) = self.owner(change.pair) else {
                continue;
            };
            let is_present = matches!(change.kind, ChangeKind::Present { .. });
            let old = change.old_key.iter().map(|key| (key, false));
            for (key, is_there) in old.chain([(&change.key, is_present)]) {
                let (from, to) = parts(join, key)?;
                let slot = (table, Key::single(from), number);
                events
                    .entry(slot)
                    .or_default()
                    .insert(to.to_owned(), is_there);
            }
        }
        Ok(events)
    }

    /// The changes, with one of each record in place of the last one of its rows.
    fn replaced(
        &self,
        captured: &Captured,
        rows: &HashMap<(usize, Key), Vec<Cell>>,
    ) -> Result<Vec<Change>, EndpointError> {
        let mut changes = Vec::with_capacity(captured.changes.len());
        let mut told: HashSet<(usize, Key)> = HashSet::new();
        for change in captured.changes.iter().rev() {
            let Some((table, _, join)) = self.owner(change.pair) else {
                changes.push(self.completed(change, rows));
                continue;
            };
            for key in change.old_key.iter().chain([&change.key]) {
                let owner = (table, Key::single(parts(join, key)?.0));
                if let Some(cells) = rows.get(&owner)
                    && told.insert(owner.clone())
                {
                    changes.push(self.touched(change, &owner, cells));
                }
            }
        }
        changes.reverse();
        Ok(changes)
    }

    /// A change of a record, with its sets where it has got its key.
    fn completed(&self, change: &Change, rows: &HashMap<(usize, Key), Vec<Cell>>) -> Change {
        let mut change = change.clone();
        if let Some(table) = self.new_record(&change)
            && let Some(cells) = rows.get(&(table, change.key.clone()))
            && let ChangeKind::Present { row, .. } = &mut change.kind
        {
            self.shapes[table].take_sets(row, &self.shapes[table].of_sets(cells));
        }
        change
    }

    fn touched(&self, change: &Change, (table, key): &(usize, Key), cells: &[Cell]) -> Change {
        let shape = &self.shapes[*table];
        Change {
            pair: shape.pair,
            key: key.clone(),
            old_key: None,
            kind: ChangeKind::Present {
                row: shape.of_sets(cells),
                inserted: false,
            },
            ..change.clone()
        }
    }
}

/// The place of a table that has join tables.
fn joined(shapes: &[Shape], pair: PairId) -> Option<usize> {
    let is_it = |shape: &Shape| shape.pair == pair && !shape.joins.is_empty();
    shapes.iter().position(is_it)
}

/// Whether the record has got this key by the change.
fn is_new(change: &Change) -> bool {
    let is_inserted = matches!(change.kind, ChangeKind::Present { inserted: true, .. });
    is_inserted || change.old_key.is_some()
}

/// The keys that are another record's, or nobody's, after this. What was told of rows under them
/// before was told of the record that had them.
fn passed_on(shapes: &[Shape], captured: &Captured) -> HashSet<(usize, Key)> {
    let mut passed_on = HashSet::new();
    for change in &captured.changes {
        let Some(table) = joined(shapes, change.pair) else {
            continue;
        };
        passed_on.extend(change.old_key.iter().map(|key| (table, key.clone())));
        if change.kind == ChangeKind::Gone || is_new(change) {
            passed_on.insert((table, change.key.clone()));
        }
    }
    passed_on
}

/// Numbers of the transactions of which nothing can be seen yet.
async fn open_transactions(session: &Connected) -> Result<HashSet<String>, EndpointError> {
    let sql = "select xid::text from pg_snapshot_xip(pg_current_snapshot()) as xid";
    let doing = "look for open transactions";
    let rows = session
        .bounded(doing, session.query_typed(sql, &[]))
        .await?;
    let numbers = rows.iter().map(|row| row.try_get(0));
    let numbers: Result<_, _> = numbers.collect();
    numbers.map_err(|error| endpoint_error(doing, error))
}

/// The keys in `from` and `to` of a join table's row.
fn parts<'k>(join: &JoinTable, key: &'k Key) -> Result<(&'k str, &'k str), EndpointError> {
    let part = |place: usize| key.0.get(place).map(String::as_str);
    let (from, to) = (part(join.places.0), part(join.places.1));
    let odd = || EndpointError::bug("wrong-key", "a row of a join table without its key");
    from.zip(to).ok_or_else(odd)
}

/// What was told is so, whatever was read. What is left is what a read does not show yet.
fn lay_over(join: &JoinTable, cell: &mut Cell, told: Told) -> Told {
    let Cell::Value(value) = cell else {
        return told;
    };
    let mut items = match std::mem::replace(value, Value::Null) {
        Value::List(items) => items,
        _ => Vec::new(),
    };
    let mut left = Told::new();
    for (text, is_there) in told {
        let Some(item) = join.value(&text) else {
            continue;
        };
        let place = items.iter().position(|other| *other == item);
        match (place, is_there) {
            (Some(_), true) | (None, false) => continue,
            (None, true) => items.push(item),
            (Some(place), false) => _ = items.remove(place),
        }
        left.insert(text, is_there);
    }
    *value = set(items);
    left
}

#[async_trait]
impl<C: Capture> Capture for Touches<C> {
    async fn next(&mut self) -> Result<Captured, EndpointError> {
        let pending = match &self.pending {
            Some(pending) => Arc::clone(pending),
            None => {
                let captured = self.log.next().await?;
                if !self.joins.concerns(&captured) {
                    return Ok(captured);
                }
                Arc::clone(self.pending.insert(Arc::new(captured)))
            }
        };
        let (resolved, told) = self.joins.resolve(&pending).await?;
        self.joins.note(told);
        self.pending = None;
        Ok(resolved)
    }

    fn acknowledge(&self, position: &Position) {
        self.log.acknowledge(position);
    }
}

mod limits {
    use std::time::Duration;

    /// Longest wait for a record that the log has told of: one that is gone by now may look the same
    /// while an unrelated transaction is open.
    pub(super) const SHOWN: Duration = Duration::from_secs(2);
    pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);
}

#[cfg(test)]
mod tests {
    use tidegate_sync::model::BatchId;

    use super::*;
    use crate::endpoint::Lens;

    fn table(pair: u32, joins: Vec<JoinTable>) -> Shape {
        Shape {
            pair: PairId(pair),
            oid: pair,
            schema: "public".into(),
            name: "books".into(),
            relation: "public.books".into(),
            has_ranges: true,
            key: Vec::new(),
            fields: Vec::new(),
            joins,
            lens: Lens::default(),
            match_key: Vec::new(),
            match_is_unique: false,
            unique: Vec::new(),
            refers_to: Vec::new(),
        }
    }

    fn ints(numbers: &[i64]) -> Value {
        set(numbers.iter().copied().map(Value::Int).collect())
    }

    fn laid(read: &[i64], told: &[(&str, bool)]) -> (Value, Vec<String>) {
        let told = told
            .iter()
            .map(|(key, is_there)| ((*key).to_owned(), *is_there));
        let mut cell = Cell::Value(ints(read));
        let left = lay_over(&JoinTable::sample(), &mut cell, told.collect());
        let value = cell.value().cloned().unwrap();
        (value, left.into_keys().collect())
    }

    #[test]
    fn what_was_told_of_a_records_rows_is_not_told_of_the_next_one_under_its_key() {
        let shapes = [table(3, Vec::new()), table(7, vec![JoinTable::sample()])];
        let change = |key: &str, old: Option<&str>, inserted| Change {
            pair: PairId(7),
            key: Key::single(key),
            old_key: old.map(Key::single),
            kind: match inserted {
                Some(inserted) => ChangeKind::Present {
                    row: Vec::new(),
                    inserted,
                },
                None => ChangeKind::Gone,
            },
            time: None,
            offset: 1,
            at: 1,
            passed: BatchId(0),
            ours: false,
        };
        let captured = Captured {
            changes: vec![
                change("edited", None, Some(false)),
                change("gone", None, None),
                change("new", None, Some(true)),
                change("to", Some("from"), Some(false)),
            ],
            ..Captured::default()
        };
        let keys = ["from", "gone", "new", "to"].map(|key| (1, Key::single(key)));
        assert_eq!(passed_on(&shapes, &captured), HashSet::from(keys));
    }

    #[test]
    fn what_a_log_tells_holds_before_a_read_shows_it() {
        let none: Vec<String> = Vec::new();
        assert_eq!(laid(&[1, 2], &[("2", true)]), (ints(&[1, 2]), none.clone()));
        assert_eq!(laid(&[1], &[("3", false)]), (ints(&[1]), none));
        let early = vec!["2".to_owned()];
        assert_eq!(laid(&[1], &[("2", true)]), (ints(&[1, 2]), early.clone()));
        assert_eq!(laid(&[1, 2], &[("2", false)]), (ints(&[1]), early.clone()));
        assert_eq!(laid(&[2], &[("2", false)]), (Value::Null, early));
    }
}

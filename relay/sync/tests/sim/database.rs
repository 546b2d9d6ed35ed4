//! One simulated PostgreSQL side: tables, constraints, triggers, a commit log with LSNs, a progress
//! record, and the ledger of what became of every value that a person wrote.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{
    BatchId, Cell, Change, ChangeKind, FindingCode, Key, PairId, Place, Position, Recovered, Row,
    Since,
};
use tidegate_sync::value::Value;

use crate::app::App;
use crate::ledger::{Departed, Ledger};
use crate::links::LinkField;
use crate::values::{derived, normal, token};

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Person,
    Sync,
    Trigger,
}

/// How a table of this side behaves.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    /// Keys are numbered by the side; otherwise field 0 is the primary key.
    pub generated: bool,
    /// Text is trimmed on write.
    pub trims: bool,
    /// Text is folded to lower case on write.
    pub lowers: bool,
    /// Decimals are cut to two digits on write.
    pub rounds: bool,
    /// A BEFORE trigger derives field 2 from field 1 whenever field 1 changes.
    pub before_trigger: bool,
    /// An AFTER trigger does the same with a second update in the same transaction.
    pub after_trigger: bool,
    /// Field 0 must be unique (it always is where it is the primary key).
    pub unique: bool,
    /// Field 1 is refused where its token leaves this remainder (of [`REJECT_EVERY`]).
    pub rejects: Option<u64>,
    /// The last field is large: the log leaves it out of updates that do not change it.
    pub toast: bool,
    /// Per field: may this side's value travel to the other one?
    pub flows_out: Vec<bool>,
    /// Fields of the match key, which are kept as they are and are unique where `unique` says so.
    pub match_key: Vec<usize>,
    /// A field that names field 0 of a record of another table.
    pub refers: Option<(usize, PairId)>,
    /// Fields that name records by their keys.
    pub links: Vec<LinkField>,
    /// A field that says whether the record is inside the side's filter.
    pub filtered: Option<usize>,
    /// None of our writes is accepted.
    pub refuses: bool,
}

pub const REJECT_EVERY: u64 = 9;

/// What a commit adds to the log.
const COMMIT: u64 = 10;

#[derive(Clone, Debug)]
pub struct Record {
    /// Its own for ever, whatever key it has.
    pub number: u64,
    pub cells: Vec<Value>,
    /// Keys that it had before.
    pub former: Vec<Key>,
    /// Every token that one of its fields ever had.
    pub had: Vec<(usize, u64)>,
    /// Every value that one of its fields ever had, in its normal form.
    pub forms: BTreeSet<(usize, String)>,
    /// Where the log tells of its insert.
    pub born: Since,
}

impl Record {
    pub fn note_tokens(&mut self) {
        for (field, cell) in self.cells.iter().enumerate() {
            self.forms.insert((field, normal(cell)));
            if let Some(token) = token(cell)
                && !self.had.contains(&(field, token))
            {
                self.had.push((field, token));
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    pub quirks: Quirks,
    pub rows: BTreeMap<Key, Record>,
    next_id: u64,
}

#[derive(Clone, Debug)]
pub struct Logged {
    pub pair: PairId,
    pub key: Key,
    pub old_key: Option<Key>,
    pub kind: ChangeKind,
}

/// One committed transaction.
#[derive(Clone, Debug)]
struct Transaction {
    /// End LSN.
    end: u64,
    passed: BatchId,
    ours: bool,
    time: i64,
    changes: Vec<Logged>,
}

#[derive(Clone, Debug)]
pub struct Database {
    pub tables: Vec<Table>,
    next_record: u64,
    pub lsn: u64,
    pub clock: i64,
    log: Vec<Transaction>,
    /// What the open transaction has written.
    pub open: Vec<Logged>,
    pub passed: BatchId,
    /// Progress record: the newest run that may write, and outcomes of recorded batches.
    pub epoch: u32,
    pub outcomes: BTreeMap<BatchId, Vec<Recovered>>,
    /// Batches of edits: a person asked for them.
    pub edits: BTreeSet<BatchId>,
    /// On whose behalf the batch is written that is under way.
    pub cause: Cause,
    /// The log before this may be gone.
    pub acknowledged: u64,
    pub ledger: Ledger,
    /// Set where this side is an app.
    pub app: Option<App>,
    pub prints: Fingerprinter,
    /// Planted bug: own batches leave no marker in the log.
    pub plant_no_marker: bool,
    /// Planted bug: a recorded batch's outcomes are not committed with it.
    pub plant_no_outcomes: bool,
    /// Planted bug: unchanged cells come as null.
    pub plant_toast_null: bool,
    /// Planted bug: writes do not compare what they overwrite.
    pub plant_no_guard: bool,
    /// Planted bug: the write's own answer instead of what was stored.
    pub plant_no_read_back: bool,
}

impl Database {
    /// The two sides differ in the keys that they number, and in their clocks.
    pub fn new(is_first: bool, quirks: Vec<Quirks>, prints: Fingerprinter) -> Database {
        let tables = quirks
            .into_iter()
            .map(|quirks| Table {
                quirks,
                rows: BTreeMap::new(),
                next_id: if is_first { 1 } else { 501 },
            })
            .collect();
        Database {
            tables,
            next_record: 1,
            lsn: 100,
            clock: if is_first { 1_000 } else { 1_300 },
            log: Vec::new(),
            open: Vec::new(),
            passed: BatchId::NONE,
            epoch: 0,
            outcomes: BTreeMap::new(),
            edits: BTreeSet::new(),
            cause: Cause::Sync,
            acknowledged: 0,
            ledger: Ledger::default(),
            app: None,
            prints,
            plant_no_marker: false,
            plant_no_outcomes: false,
            plant_toast_null: false,
            plant_no_guard: false,
            plant_no_read_back: false,
        }
    }

    pub fn table(&self, pair: PairId) -> &Table {
        &self.tables[pair.0 as usize]
    }

    pub fn row(&self, pair: PairId, key: &Key) -> Option<Row> {
        let record = self.table(pair).rows.get(key)?;
        Some(record.cells.iter().cloned().map(Cell::Value).collect())
    }

    /// Transactions so far.
    pub fn log_len(&self) -> usize {
        self.log.len()
    }

    /// Ends the open transaction of a person.
    pub fn commit(&mut self) {
        self.end_transaction(false);
    }

    pub fn end_transaction(&mut self, ours: bool) {
        self.lsn += COMMIT;
        self.clock += 7;
        let changes = std::mem::take(&mut self.open);
        if changes.is_empty() {
            return;
        }
        self.log.push(Transaction {
            end: self.lsn,
            passed: self.passed,
            ours: ours && !self.plant_no_marker,
            time: self.clock,
            changes,
        });
    }

    /// WAL that has nothing to do with the mapped tables.
    pub fn idle_wal(&mut self) {
        self.lsn += 3;
    }

    /// Inserts a record, with a key of its own where keys are generated and none is given.
    pub fn insert(
        &mut self,
        pair: PairId,
        key: Option<Key>,
        cells: Vec<Value>,
        cause: Cause,
    ) -> Result<Key, FindingCode> {
        let mut wanted = self.stored(pair, cells);
        if let (Some(field), Cause::Sync) = (self.table(pair).quirks.filtered, cause) {
            wanted[field] = Value::Bool(true);
        }
        let cells = self.before(pair, None, wanted.clone());
        self.check(pair, None, &cells)?;
        let key = match key {
            Some(key) => key,
            None if self.table(pair).quirks.generated => self.next_key(pair),
            None => key_of(&cells[0]).ok_or(FindingCode::NotNullViolation)?,
        };
        if self.table(pair).rows.contains_key(&key) {
            return Err(FindingCode::UniqueViolation);
        }
        if cells[2] != wanted[2] {
            self.note_replaced(&wanted[2], Cause::Trigger);
            self.note_edit(Cause::Trigger);
        }
        self.note_values(&cells);
        self.note_edit(cause);
        self.log_present(pair, &key, None, &cells, &vec![true; cells.len()], true);
        let mut record = Record {
            number: self.next_record,
            cells: cells.clone(),
            former: Vec::new(),
            had: Vec::new(),
            forms: BTreeSet::new(),
            born: Since {
                batch: self.passed,
                place: Place::end_of(self.lsn + COMMIT),
            },
        };
        if cause == Cause::Sync {
            self.ledger.made.insert((pair, key.clone()));
        }
        record.note_tokens();
        self.next_record += 1;
        let changed: Vec<bool> = cells
            .iter()
            .map(|cell| !matches!(cell, Value::Null))
            .collect();
        self.tables[pair.0 as usize]
            .rows
            .insert(key.clone(), record);
        self.after(pair, &key, &changed);
        Ok(key)
    }

    /// Sets fields of a record; `rekey` gives it another generated key.
    pub fn update(
        &mut self,
        pair: PairId,
        key: &Key,
        set: &[(usize, Value)],
        rekey: Option<Key>,
        cause: Cause,
    ) -> Result<Key, FindingCode> {
        let Some(record) = self.table(pair).rows.get(key) else {
            return Err(FindingCode::RejectedBySide);
        };
        let mut record = record.clone();
        let number = record.number;
        let former = record.cells.clone();
        let mut wanted = former.clone();
        for (field, value) in set {
            wanted[*field] = value.clone();
        }
        let wanted = self.stored(pair, wanted);
        let cells = self.before(pair, Some(&former), wanted.clone());
        self.check(pair, Some(key), &cells)?;
        let new_key = if self.table(pair).quirks.generated {
            rekey.unwrap_or_else(|| key.clone())
        } else {
            key_of(&cells[0]).ok_or(FindingCode::NotNullViolation)?
        };
        if new_key != *key && self.table(pair).rows.contains_key(&new_key) {
            return Err(FindingCode::UniqueViolation);
        }
        if cells != wanted {
            self.note_edit(Cause::Trigger);
        }
        let has_moved = !record.former.is_empty();
        self.note_update((number, has_moved), (&former, &wanted, &cells), cause);
        let changed: Vec<bool> = (0..cells.len()).map(|f| cells[f] != former[f]).collect();
        let new = cells.iter().zip(&changed).filter(|(_, changed)| **changed);
        self.note_values(new.map(|(cell, _)| cell));
        self.note_edit(cause);
        let old_key = (new_key != *key).then(|| key.clone());
        self.log_present(pair, &new_key, old_key, &cells, &changed, false);
        let rows = &mut self.tables[pair.0 as usize].rows;
        rows.remove(key);
        if new_key != *key {
            record.former.push(key.clone());
            if self.ledger.made.contains(&(pair, key.clone())) {
                self.ledger.made.insert((pair, new_key.clone()));
            }
            if cause == Cause::Person {
                self.ledger.left.insert((pair, key.clone()));
            }
        }
        if !record.former.is_empty() {
            let tokens = former.iter().chain(&cells).filter_map(token);
            self.ledger.moved.extend(tokens);
        }
        record.cells = cells;
        record.note_tokens();
        rows.insert(new_key.clone(), record);
        if new_key != *key {
            self.move_links(pair, key, &new_key);
        }
        self.after(pair, &new_key, &changed);
        Ok(new_key)
    }

    /// What became of the values of an update: `former` ones, `wanted` ones, and those that are stored.
    fn note_update(
        &mut self,
        (record, has_moved): (u64, bool),
        (former, wanted, cells): (&[Value], &[Value], &[Value]),
        cause: Cause,
    ) {
        for field in 0..cells.len() {
            if cells[field] != former[field] {
                if cause == Cause::Sync && cells[field] == wanted[field] {
                    let change = (&former[field], &cells[field]);
                    self.ledger.note_written((record, has_moved), field, change);
                } else {
                    self.ledger.note_changed(record, field);
                }
                let by = if cells[field] == wanted[field] {
                    cause
                } else {
                    Cause::Trigger
                };
                self.note_replaced(&former[field], by);
                if by == Cause::Trigger && wanted[field] != former[field] {
                    self.note_replaced(&wanted[field], by);
                }
            } else if wanted[field] != former[field] {
                self.note_replaced(&wanted[field], Cause::Trigger);
            }
        }
    }

    /// False where there is none, or another record refers to it.
    pub fn delete(&mut self, pair: PairId, key: &Key, cause: Cause) -> bool {
        if !self.table(pair).rows.contains_key(key) {
            return false;
        }
        let Some(doomed) = self.doomed(pair, key) else {
            return false;
        };
        let is_needed = |(pair, key): &(PairId, Key)| {
            let record = self.table(*pair).rows.get(key);
            record.is_some_and(|record| self.is_needed(*pair, &record.cells[0]))
        };
        if doomed.iter().any(is_needed) {
            return false;
        }
        for (number, (pair, key)) in doomed.iter().enumerate() {
            let by = if number == 0 { cause } else { Cause::Trigger };
            self.remove(*pair, key, by);
        }
        for (pair, key) in &doomed {
            self.clear_links(*pair, key);
        }
        true
    }

    fn remove(&mut self, pair: PairId, key: &Key, cause: Cause) {
        let Some(record) = self.tables[pair.0 as usize].rows.remove(key) else {
            return;
        };
        for (field, cell) in record.cells.iter().enumerate() {
            // A value that may not leave this side goes with its record.
            let stays = !self.table(pair).quirks.flows_out[field];
            let by = if stays { Cause::Person } else { cause };
            self.note_replaced(cell, by);
        }
        if cause != Cause::Sync {
            let keys = record.former.iter().chain([key]);
            let keys = keys.map(|key| (pair, key.clone()));
            self.ledger.deleted.extend(keys);
        }
        if cause == Cause::Person {
            self.ledger.departed.push(Departed {
                number: record.number,
                pair,
                key: key.clone(),
                cells: record.cells.clone(),
                had: record.had.clone(),
                forms: record.forms.clone(),
                parted: None,
            });
        }
        self.note_edit(cause);
        self.open.push(Logged {
            pair,
            key: key.clone(),
            old_key: None,
            kind: ChangeKind::Gone,
        });
    }

    fn next_key(&mut self, pair: PairId) -> Key {
        let table = &mut self.tables[pair.0 as usize];
        loop {
            let key = Key::single(table.next_id.to_string());
            table.next_id += 1;
            if !table.rows.contains_key(&key) {
                return key;
            }
        }
    }

    fn stored(&self, pair: PairId, cells: Vec<Value>) -> Vec<Value> {
        let quirks = &self.table(pair).quirks;
        // The match key is kept as it is: see the module documentation of `main`.
        cells
            .into_iter()
            .enumerate()
            .map(|(field, cell)| match cell {
                Value::Text(text) if !quirks.match_key.contains(&field) => {
                    let text = if quirks.trims { text.trim() } else { &text };
                    let lower = quirks.lowers.then(|| text.to_lowercase());
                    Value::Text(lower.unwrap_or_else(|| text.to_owned()))
                }
                Value::Decimal(text) if quirks.rounds => {
                    let end = text.find('.').map_or(text.len(), |at| at + 3);
                    Value::Decimal(text[..end.min(text.len())].to_owned())
                }
                other => other,
            })
            .collect()
    }

    fn before(&self, pair: PairId, former: Option<&[Value]>, mut cells: Vec<Value>) -> Vec<Value> {
        let fires = former.is_none_or(|former| former[1] != cells[1]);
        if self.table(pair).quirks.before_trigger && fires {
            cells[2] = derived(&cells[1]);
        }
        cells
    }

    fn after(&mut self, pair: PairId, key: &Key, changed: &[bool]) {
        if !self.table(pair).quirks.after_trigger || !changed[1] {
            return;
        }
        let Some(record) = self.tables[pair.0 as usize].rows.get_mut(key) else {
            return;
        };
        let value = derived(&record.cells[1]);
        if record.cells[2] == value {
            return;
        }
        let former = std::mem::replace(&mut record.cells[2], value);
        let cells = record.cells.clone();
        let number = record.number;
        self.ledger.note_changed(number, 2);
        self.note_replaced(&former, Cause::Trigger);
        self.note_values([&cells[2]]);
        self.note_edit(Cause::Trigger);
        let mut only = vec![false; cells.len()];
        only[2] = true;
        self.log_present(pair, key, None, &cells, &only, false);
    }

    fn check(&self, pair: PairId, own: Option<&Key>, cells: &[Value]) -> Result<(), FindingCode> {
        let table = self.table(pair);
        if let (Some(rest), Some(token)) = (table.quirks.rejects, token(&cells[1]))
            && token % REJECT_EVERY == rest
        {
            return Err(FindingCode::CheckViolation);
        }
        let is_same = |record: &Record| {
            let mut match_key = table.quirks.match_key.iter();
            match_key.all(|&field| !cells[field].is_null() && record.cells[field] == cells[field])
        };
        let taken = table.quirks.unique
            && table
                .rows
                .iter()
                .any(|(key, record)| Some(key) != own && is_same(record));
        if taken {
            return Err(FindingCode::UniqueViolation);
        }
        let former = own.and_then(|own| table.rows.get(own));
        let is_renamed = former.is_some_and(|former| former.cells[0] != cells[0]);
        if let (true, Some(former)) = (is_renamed, former)
            && self.is_needed(pair, &former.cells[0])
        {
            return Err(FindingCode::ForeignKeyViolation);
        }
        if let Some((field, parents)) = table.quirks.refers
            && !cells[field].is_null()
            && !self.has_value(parents, &cells[field])
        {
            return Err(FindingCode::ForeignKeyViolation);
        }
        self.check_links(pair, cells)
    }

    fn has_value(&self, pair: PairId, value: &Value) -> bool {
        let mut rows = self.table(pair).rows.values();
        rows.any(|record| record.cells[0] == *value)
    }

    /// True when a record of another table refers to a record by this value of its field 0.
    fn is_needed(&self, pair: PairId, value: &Value) -> bool {
        !value.is_null()
            && self.tables.iter().any(|table| {
                let field = table.quirks.refers.filter(|(_, parents)| *parents == pair);
                field.is_some_and(|(field, _)| {
                    let mut rows = table.rows.values();
                    rows.any(|record| record.cells[field] == *value)
                })
            })
    }

    pub fn log_present(
        &mut self,
        pair: PairId,
        key: &Key,
        old_key: Option<Key>,
        cells: &[Value],
        changed: &[bool],
        inserted: bool,
    ) {
        let links = self.table(pair).quirks.links.iter();
        let joined: Vec<usize> = links
            .filter(|link| link.joined)
            .map(|link| link.field)
            .collect();
        // With its key, a record's rows are told of.
        let is_new = inserted || old_key.is_some();
        let last = cells.len() - 1;
        let toast = self.table(pair).quirks.toast && !inserted && !changed[last];
        let row = cells
            .iter()
            .enumerate()
            .map(|(field, cell)| match (toast && field == last, cell) {
                (true, Value::Text(_)) if self.plant_toast_null => Cell::Value(Value::Null),
                (true, Value::Text(_)) => Cell::Unchanged,
                _ if !is_new && joined.contains(&field) => Cell::Unchanged,
                _ => Cell::Value(cell.clone()),
            })
            .collect();
        let is_own = |field: usize| changed[field] && !joined.contains(&field);
        let is_joined = joined.iter().any(|field| changed[*field]);
        if is_new || !is_joined || (0..cells.len()).any(is_own) {
            self.open.push(Logged {
                pair,
                key: key.clone(),
                old_key,
                kind: ChangeKind::Present { row, inserted },
            });
        }
        for field in joined {
            if changed[field] && !is_new {
                let mut row = vec![Cell::Unchanged; cells.len()];
                row[field] = Cell::Value(cells[field].clone());
                self.open.push(Logged {
                    pair,
                    key: key.clone(),
                    old_key: None,
                    kind: ChangeKind::Present {
                        row,
                        inserted: false,
                    },
                });
            }
        }
    }

    /// What a change says when it is read. `None` where nothing is left to be said.
    fn told(&self, change: &Logged) -> Option<ChangeKind> {
        let table = self.table(change.pair);
        let mut kind = change.kind.clone();
        let now = table.rows.get(&change.key);
        if let ChangeKind::Present { row, .. } = &mut kind {
            for link in table.quirks.links.iter().filter(|link| link.joined) {
                let cell = &mut row[link.field];
                if *cell != Cell::Unchanged {
                    let now = now.map(|record| Cell::Value(record.cells[link.field].clone()));
                    *cell = now.unwrap_or(Cell::Unchanged);
                }
            }
            if row.iter().all(|cell| *cell == Cell::Unchanged) {
                return None;
            }
        }
        Some(kind)
    }

    pub fn note_edit(&mut self, cause: Cause) {
        self.ledger.edits += u64::from(cause != Cause::Sync);
    }

    fn note_replaced(&mut self, value: &Value, cause: Cause) {
        if cause != Cause::Sync
            && let Some(token) = token(value)
        {
            self.ledger.superseded.insert(token);
        }
    }

    pub fn note_values<'a>(&mut self, cells: impl IntoIterator<Item = &'a Value>) {
        for cell in cells {
            let print = self.prints.value(cell);
            self.ledger.had.entry(print).or_insert_with(|| normal(cell));
        }
    }

    /// Changes after `from`, at most `limit` transactions, and the position after them. Past the last
    /// transaction the position is the end of the WAL.
    pub fn changes(&self, from: &Position, limit: usize) -> (Vec<Change>, Position) {
        let mut position = from.clone();
        let mut changes = Vec::new();
        let first = self.log.partition_point(|tx| tx.end <= from.offset);
        let rest = &self.log[first..];
        for tx in rest.iter().take(limit) {
            position.offset = tx.end;
            position.passed = position.passed.max(tx.passed);
            changes.extend(tx.changes.iter().zip(1..).filter_map(|(change, at)| {
                Some(Change {
                    pair: change.pair,
                    key: change.key.clone(),
                    old_key: change.old_key.clone(),
                    kind: self.told(change)?,
                    time: Some(tx.time),
                    offset: tx.end,
                    at,
                    passed: position.passed,
                    ours: tx.ours,
                })
            }));
        }
        if rest.len() <= limit {
            position.offset = position.offset.max(self.lsn);
            position.passed = position.passed.max(self.passed);
        }
        (changes, position)
    }

    /// The newest batch of ours.
    pub fn passed(&self) -> BatchId {
        self.passed
    }
}

fn key_of(value: &Value) -> Option<Key> {
    match value {
        Value::Text(text) => Some(Key::single(text.clone())),
        _ => None,
    }
}

//! One simulated PostgreSQL side: tables, constraints, triggers, a commit log with LSNs, a progress
//! record, and the ledger of what became of every value that a person wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::model::{
    BatchId, Before, Cell, Change, ChangeKind, FindingCode, Key, Outcome, PairId, Position,
    Recovered, Row, Side, Step, StepKind, Stored,
};
use tidegate_sync::value::Value;

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
}

pub const REJECT_EVERY: u64 = 9;

#[derive(Clone, Debug)]
pub struct Record {
    pub cells: Vec<Value>,
    /// Keys that it had before.
    pub former: Vec<Key>,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub quirks: Quirks,
    pub rows: BTreeMap<Key, Record>,
    next_id: u64,
}

#[derive(Clone, Debug)]
struct Logged {
    pair: PairId,
    key: Key,
    old_key: Option<Key>,
    kind: ChangeKind,
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

/// What became of people's values on this side, for the oracles.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Tokens that a person or a trigger replaced or deleted here, or that may not leave this side.
    pub superseded: HashSet<u64>,
    /// Keys that a person deleted here.
    pub deleted: BTreeSet<(PairId, Key)>,
    /// Keys that a person's record left for another one. A scan that comes after can't tell them from
    /// deleted ones.
    pub left: BTreeSet<(PairId, Key)>,
    /// Tokens that records had since (or when) they took another key.
    pub moved: HashSet<u64>,
    /// Changes of records by people and triggers.
    pub edits: u64,
    /// Every value that a field ever had here, by fingerprint.
    pub had: HashMap<Fingerprint, String>,
}

#[derive(Clone, Debug)]
pub struct Database {
    pub tables: Vec<Table>,
    pub lsn: u64,
    pub clock: i64,
    log: Vec<Transaction>,
    open: Vec<Logged>,
    passed: BatchId,
    /// Progress record: the newest run that may write, and outcomes of recorded batches.
    pub epoch: u32,
    outcomes: BTreeMap<BatchId, Vec<Recovered>>,
    /// Batches of edits: a person asked for them.
    pub edits: BTreeSet<BatchId>,
    /// On whose behalf the batch is written that is under way.
    cause: Cause,
    /// The log before this may be gone.
    pub acknowledged: u64,
    pub ledger: Ledger,
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
    pub fn new(side: Side, quirks: Vec<Quirks>, prints: Fingerprinter, clock: i64) -> Database {
        let tables = quirks
            .into_iter()
            .map(|quirks| Table {
                quirks,
                rows: BTreeMap::new(),
                next_id: if side == Side::Left { 1 } else { 501 },
            })
            .collect();
        Database {
            tables,
            lsn: 100,
            clock,
            log: Vec::new(),
            open: Vec::new(),
            passed: BatchId::NONE,
            epoch: 0,
            outcomes: BTreeMap::new(),
            edits: BTreeSet::new(),
            cause: Cause::Sync,
            acknowledged: 0,
            ledger: Ledger::default(),
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

    /// Ends the open transaction of a person.
    pub fn commit(&mut self) {
        self.end_transaction(false);
    }

    fn end_transaction(&mut self, ours: bool) {
        self.lsn += 10;
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
        let wanted = self.stored(pair, cells);
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
        let record = Record {
            cells: cells.clone(),
            former: Vec::new(),
        };
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
        let former = record.cells.clone();
        let mut former_keys = record.former.clone();
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
        self.note_update(&former, &wanted, &cells, cause);
        let changed: Vec<bool> = (0..cells.len()).map(|f| cells[f] != former[f]).collect();
        let new = cells.iter().zip(&changed).filter(|(_, changed)| **changed);
        self.note_values(new.map(|(cell, _)| cell));
        self.note_edit(cause);
        let old_key = (new_key != *key).then(|| key.clone());
        self.log_present(pair, &new_key, old_key, &cells, &changed, false);
        let rows = &mut self.tables[pair.0 as usize].rows;
        rows.remove(key);
        if new_key != *key {
            former_keys.push(key.clone());
            if cause == Cause::Person {
                self.ledger.left.insert((pair, key.clone()));
            }
        }
        if !former_keys.is_empty() {
            let tokens = former.iter().chain(&cells).filter_map(token);
            self.ledger.moved.extend(tokens);
        }
        let record = Record {
            cells,
            former: former_keys,
        };
        rows.insert(new_key.clone(), record);
        self.after(pair, &new_key, &changed);
        Ok(new_key)
    }

    /// What became of the values of an update: `former` ones, `wanted` ones, and those that are stored.
    fn note_update(&mut self, former: &[Value], wanted: &[Value], cells: &[Value], cause: Cause) {
        for field in 0..cells.len() {
            if cells[field] != former[field] {
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

    pub fn delete(&mut self, pair: PairId, key: &Key, cause: Cause) -> bool {
        let Some(record) = self.tables[pair.0 as usize].rows.remove(key) else {
            return false;
        };
        for (field, cell) in record.cells.iter().enumerate() {
            // A value that may not leave this side goes with its record.
            let stays = !self.table(pair).quirks.flows_out[field];
            let by = if stays { Cause::Person } else { cause };
            self.note_replaced(cell, by);
        }
        if cause == Cause::Person {
            let keys = record.former.iter().chain([key]);
            let keys = keys.map(|key| (pair, key.clone()));
            self.ledger.deleted.extend(keys);
        }
        self.note_edit(cause);
        self.open.push(Logged {
            pair,
            key: key.clone(),
            old_key: None,
            kind: ChangeKind::Gone,
        });
        true
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
                Value::Text(text) if field > 0 => {
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
        let taken = table.quirks.unique
            && !cells[0].is_null()
            && table
                .rows
                .iter()
                .any(|(key, record)| Some(key) != own && record.cells[0] == cells[0]);
        if taken {
            return Err(FindingCode::UniqueViolation);
        }
        Ok(())
    }

    fn log_present(
        &mut self,
        pair: PairId,
        key: &Key,
        old_key: Option<Key>,
        cells: &[Value],
        changed: &[bool],
        inserted: bool,
    ) {
        let last = cells.len() - 1;
        let toast = self.table(pair).quirks.toast && !inserted && !changed[last];
        let row = cells
            .iter()
            .enumerate()
            .map(|(field, cell)| match (toast && field == last, cell) {
                (true, Value::Text(_)) if self.plant_toast_null => Cell::Value(Value::Null),
                (true, Value::Text(_)) => Cell::Unchanged,
                _ => Cell::Value(cell.clone()),
            })
            .collect();
        self.open.push(Logged {
            pair,
            key: key.clone(),
            old_key,
            kind: ChangeKind::Present { row, inserted },
        });
    }

    fn note_edit(&mut self, cause: Cause) {
        self.ledger.edits += u64::from(cause != Cause::Sync);
    }

    fn note_replaced(&mut self, value: &Value, cause: Cause) {
        if cause != Cause::Sync
            && let Some(token) = token(value)
        {
            self.ledger.superseded.insert(token);
        }
    }

    fn note_values<'a>(&mut self, cells: impl IntoIterator<Item = &'a Value>) {
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
            changes.extend(tx.changes.iter().zip(1..).map(|(change, at)| Change {
                pair: change.pair,
                key: change.key.clone(),
                old_key: change.old_key.clone(),
                kind: change.kind.clone(),
                time: Some(tx.time),
                offset: tx.end,
                at,
                passed: position.passed,
                ours: tx.ours,
            }));
        }
        if rest.len() <= limit {
            position.offset = position.offset.max(self.lsn);
            position.passed = position.passed.max(self.passed);
        }
        (changes, position)
    }

    /// Refuses older runs from now on.
    pub fn fence(&mut self, epoch: u32) {
        self.epoch = self.epoch.max(epoch);
    }

    pub fn recovered(&self, batch: BatchId) -> Option<Vec<Recovered>> {
        self.outcomes.get(&batch).cloned()
    }

    /// Writes one batch in one transaction. `None` when a newer run has fenced this one off.
    pub fn apply(
        &mut self,
        batch: BatchId,
        steps: &[Step],
        recorded: bool,
    ) -> Option<Vec<Outcome>> {
        if (batch.0 >> 32) < u64::from(self.epoch) {
            return None;
        }
        if !self.plant_no_marker {
            self.passed = self.passed.max(batch);
        }
        let fence = self.lsn;
        self.cause = match self.edits.contains(&batch) {
            true => Cause::Person,
            false => Cause::Sync,
        };
        let outcomes: Vec<Outcome> = steps.iter().map(|step| self.step(step, fence)).collect();
        if recorded && !self.plant_no_outcomes {
            let recovered = outcomes.iter().map(|o| self.recovered_form(o)).collect();
            self.outcomes.insert(batch, recovered);
        }
        self.end_transaction(true);
        Some(outcomes)
    }

    fn recovered_form(&self, outcome: &Outcome) -> Recovered {
        match outcome {
            Outcome::Written(stored, _) => Recovered::Written {
                key: stored.key.clone(),
                fingerprints: self.prints.row(&stored.row),
            },
            Outcome::Deleted(_) => Recovered::Deleted,
            _ => Recovered::NotDone,
        }
    }

    fn step(&mut self, step: &Step, fence: u64) -> Outcome {
        match &step.kind {
            StepKind::Create { set, matching } => self.create(step.pair, set, matching, fence),
            StepKind::Update { key, set, expect } => {
                if let Some(outcome) = self.guard(step.pair, key, expect, fence) {
                    return outcome;
                }
                let before = set.iter().map(|(field, _)| *field);
                let before = self.values(step.pair, key, before);
                let result = self.update(step.pair, key, set, None, self.cause);
                self.written(step.pair, result, set).with_before(before)
            }
            StepKind::Delete { key, expect } => {
                if let Some(outcome) = self.guard(step.pair, key, expect, fence) {
                    return outcome;
                }
                let fields = self.table(step.pair).quirks.flows_out.len();
                let before = self.values(step.pair, key, 0..fields);
                self.delete(step.pair, key, self.cause);
                Outcome::Deleted(before)
            }
        }
    }

    fn create(
        &mut self,
        pair: PairId,
        set: &[(usize, Value)],
        matching: &[(usize, Value)],
        fence: u64,
    ) -> Outcome {
        // Match keys are texts here: equal ones have equal canonical forms.
        let same = |record: &Record| {
            let mut wanted = matching.iter();
            wanted.all(|(field, value)| record.cells[*field] == *value)
        };
        let rows = &self.table(pair).rows;
        let found: Vec<Key> = match matching {
            [] => Vec::new(),
            _ => rows
                .iter()
                .filter(|(_, record)| same(record))
                .map(|(key, _)| key.clone())
                .collect(),
        };
        match found.as_slice() {
            [] => {}
            [key] => {
                let row = self.row(pair, key).unwrap_or_default();
                let key = key.clone();
                let stored = Stored { key, row };
                return Outcome::Exists { stored, fence };
            }
            _ => return rejected(FindingCode::DuplicateMatchKey),
        }
        let fields = self.table(pair).quirks.flows_out.len();
        let mut cells = vec![Value::Null; fields];
        for (field, value) in set {
            cells[*field] = value.clone();
        }
        let result = self.insert(pair, None, cells, self.cause);
        self.written(pair, result, set)
    }

    /// The row as RETURNING shows it: before AFTER triggers.
    fn written(
        &self,
        pair: PairId,
        result: Result<Key, FindingCode>,
        set: &[(usize, Value)],
    ) -> Outcome {
        let key = match result {
            Ok(key) => key,
            Err(code) => return rejected(code),
        };
        let after = self.table(pair).quirks.after_trigger;
        let current = self.row(pair, &key).unwrap_or_default();
        let mut own = self.open.iter().rev();
        let mut own = own.by_ref().filter(|c| c.pair == pair && c.key == key);
        let row = match own.nth(1).filter(|_| after) {
            Some(Logged {
                kind: ChangeKind::Present { row, .. },
                ..
            }) => {
                let mut row = row.clone();
                tidegate_sync::inbox::fill(&mut row, &current);
                row
            }
            _ => current,
        };
        let mut stored = Stored { key, row };
        if self.plant_no_read_back {
            for (field, value) in set {
                stored.row[*field] = Cell::Value(value.clone());
            }
        }
        Outcome::Written(stored, Before::new())
    }

    fn values(&self, pair: PairId, key: &Key, fields: impl Iterator<Item = usize>) -> Before {
        let cells = self.table(pair).rows.get(key).map(|record| &record.cells);
        let value = |field: usize| Some((field, cells?[field].clone()));
        fields.filter_map(value).collect()
    }

    fn guard(
        &self,
        pair: PairId,
        key: &Key,
        expect: &[Fingerprint],
        fence: u64,
    ) -> Option<Outcome> {
        let Some(row) = self.row(pair, key) else {
            return Some(Outcome::Missing { fence });
        };
        let same = row.iter().zip(expect).all(|(cell, expected)| {
            !expected.is_known() || self.prints.cell(cell) == Some(*expected)
        });
        if same || self.plant_no_guard {
            return None;
        }
        Some(Outcome::Stale { row, fence })
    }
}

fn rejected(code: FindingCode) -> Outcome {
    Outcome::Rejected {
        code,
        detail: code.name().to_owned(),
    }
}

fn key_of(value: &Value) -> Option<Key> {
    match value {
        Value::Text(text) => Some(Key::single(text.clone())),
        _ => None,
    }
}

//! How a simulated side writes our batches: one transaction each, guarded, read back.

use std::collections::BTreeSet;

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{
    BatchId, Before, Cell, ChangeKind, FindingCode, Key, Outcome, PairId, Recovered, Row, Step,
    StepKind, Stored,
};
use tidegate_sync::value::Value;

use crate::database::{Cause, Database, Logged, Record};

/// What the guard says of a step before the first write of its batch.
enum Judged {
    Passed,
    Settled(Outcome),
    Later,
}

impl Database {
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
        let judged = self.judge(steps, fence);
        let steps_judged = steps.iter().zip(judged);
        let outcomes: Vec<Outcome> = steps_judged
            .map(|(step, judged)| self.step(step, judged, fence))
            .collect();
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

    /// Locks and reads the records before the first is written, as PostgreSQL's guard does: what a write
    /// of the batch makes of another record (a reference that is cleared) hides nothing that the plan did
    /// not see. A record that is named again is compared when it is its turn.
    fn judge(&self, steps: &[Step], fence: u64) -> Vec<Judged> {
        let mut named: BTreeSet<(PairId, &Key)> = BTreeSet::new();
        let mut judged = Vec::with_capacity(steps.len());
        for step in steps {
            judged.push(match &step.kind {
                StepKind::Update { key, expect, .. } | StepKind::Delete { key, expect }
                    if named.insert((step.pair, key)) =>
                {
                    match self.guard(step.pair, key, expect, fence) {
                        Some(outcome) => Judged::Settled(outcome),
                        None => Judged::Passed,
                    }
                }
                _ => Judged::Later,
            });
        }
        judged
    }

    fn step(&mut self, step: &Step, judged: Judged, fence: u64) -> Outcome {
        let refused = |db: &Database, key: &Key, expect: &[Fingerprint]| match judged {
            Judged::Settled(outcome) => Some(outcome),
            Judged::Passed if db.table(step.pair).rows.contains_key(key) => None,
            // A cascade of the batch has deleted it.
            Judged::Passed => Some(Outcome::Missing { fence }),
            Judged::Later => db.guard(step.pair, key, expect, fence),
        };
        match &step.kind {
            StepKind::Create { set, matching } => self.create(step.pair, set, matching, fence),
            StepKind::Update { key, set, expect } => {
                if let Some(outcome) = refused(self, key, expect) {
                    return outcome;
                }
                if self.table(step.pair).quirks.refuses {
                    return rejected(FindingCode::RejectedBySide);
                }
                let before = set.iter().map(|(field, _)| *field);
                let before = self.values(step.pair, key, before);
                let earlier = self.open.len();
                let was = self.row(step.pair, key);
                let result = self.update(step.pair, key, set, None, self.cause);
                let outcome = self.written(step.pair, earlier, result, set);
                self.answered(outcome, was, set).with_before(before)
            }
            StepKind::Delete { key, expect } => {
                if let Some(outcome) = refused(self, key, expect) {
                    return outcome;
                }
                if self.table(step.pair).quirks.refuses {
                    return rejected(FindingCode::RejectedBySide);
                }
                let fields = self.table(step.pair).quirks.flows_out.len();
                let before = self.values(step.pair, key, 0..fields);
                match self.delete(step.pair, key, self.cause) {
                    true => Outcome::Deleted(before),
                    false => rejected(FindingCode::ForeignKeyViolation),
                }
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
        // Were the answer lost, nobody would find it again.
        let match_key = &self.table(pair).quirks.match_key;
        let is_null = |field: &usize| !set.iter().any(|(f, v)| f == field && !v.is_null());
        if self.app.is_some() && match_key.iter().any(is_null) {
            return rejected(FindingCode::NullMatchKey);
        }
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
                .filter(|(key, record)| same(record) && !self.is_hidden(pair, key))
                .map(|(key, _)| key.clone())
                .collect(),
        };
        match found.as_slice() {
            [] => {}
            [key] => {
                let row = self.row(pair, key).unwrap_or_default();
                let key = key.clone();
                let stored = Stored::whole(key, row);
                return Outcome::Exists { stored, fence };
            }
            _ => return rejected(FindingCode::DuplicateMatchKey),
        }
        if self.table(pair).quirks.refuses {
            return rejected(FindingCode::RejectedBySide);
        }
        let fields = self.table(pair).quirks.flows_out.len();
        let mut cells = vec![Value::Null; fields];
        for (field, value) in set {
            cells[*field] = value.clone();
        }
        let earlier = self.open.len();
        let result = self.insert(pair, None, cells, self.cause);
        self.written(pair, earlier, result, set)
    }

    /// The row as RETURNING shows it: before AFTER triggers. `earlier` changes of the transaction are not
    /// the write's.
    fn written(
        &self,
        pair: PairId,
        earlier: usize,
        result: Result<Key, FindingCode>,
        set: &[(usize, Value)],
    ) -> Outcome {
        let key = match result {
            Ok(key) => key,
            Err(code) => return rejected(code),
        };
        let after = self.table(pair).quirks.after_trigger;
        let current = self.row(pair, &key).unwrap_or_default();
        let mut own = self.open[earlier..].iter().rev();
        // Rows of join tables say nothing of what the trigger writes.
        let tells = |c: &&Logged| matches!(&c.kind, ChangeKind::Present { row, .. } if row[2] != Cell::Unchanged);
        let mut own = own
            .by_ref()
            .filter(|c| c.pair == pair && c.key == key)
            .filter(tells);
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
        let mut stored = Stored::whole(key, row);
        if self.plant_no_read_back {
            for (field, value) in set {
                stored.row[*field] = Cell::Value(value.clone());
            }
        }
        Outcome::Written(stored, Before::new())
    }

    /// What an app tells of an update.
    fn answered(&self, outcome: Outcome, was: Option<Row>, set: &[(usize, Value)]) -> Outcome {
        let tells_part = self.app.as_ref().is_some_and(|app| app.tells_part);
        match (outcome, was) {
            (Outcome::Written(mut stored, before), Some(mut row)) if tells_part => {
                for (field, _) in set {
                    row[*field].clone_from(&stored.row[*field]);
                }
                stored.row = row;
                Outcome::Written(stored, before)
            }
            (outcome, _) => outcome,
        }
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

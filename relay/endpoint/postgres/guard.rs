//! Decides for each step of a batch whether its write may land (invariant I8): the records are
//! locked and read, and only those that are still what the plan saw are written.
//!
//! Called by [`super::apply`] within its transaction; [`super::write`] then does the writing.

use std::collections::{HashMap, HashSet};

use futures_util::future::{join, join_all};
use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::model::{
    Before, Cell, FindingCode, Key, Outcome, PairId, Row, Step, StepKind, Stored,
};
use tidegate_sync::value::Value;
use tokio_postgres::Error;

use super::connect::Connected;
use super::reading::{Arrays, key_arrays, place, query, stored};
use super::shape::{Shape, check_same};
use super::statements;
use super::types::encode;
use crate::endpoint::EndpointError;

/// One write that passed the guard.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// Place of its step in the batch.
    pub step: usize,
    /// Index into the writer's shapes.
    pub table: usize,
    pub kind: WriteKind,
    pub links: Links,
}

impl Write {
    /// Nothing of the record's own table is written.
    pub(super) fn is_of_links(&self) -> bool {
        matches!(&self.kind, WriteKind::Update { set, .. } if set.is_empty())
    }
}

#[derive(Clone, Debug)]
pub(super) enum WriteKind {
    Create {
        set: Fields,
    },
    Update {
        key: Key,
        set: Fields,
        moves_key: bool,
    },
    Delete {
        key: Key,
    },
}

/// Field index and its text; in the order of the fields.
pub(super) type Fields = Vec<(usize, Option<String>)>;

/// Join tables by their numbers in the shape, and the keys that they must have for the record.
pub(super) type Links = Vec<(usize, String)>;

/// What the guard says to one step.
pub(super) enum Verdict {
    /// What the write will overwrite comes with it.
    Write(Write, Before),
    Settled(Outcome),
}

/// Tables, and what they need to be compared.
pub(super) struct Guard<'a> {
    pub shapes: &'a [Shape],
    pub fingerprinter: &'a Fingerprinter,
}

/// One statement to send: which steps it asks for, and how to read the answer.
struct Question<'a> {
    table: usize,
    steps: Vec<usize>,
    sql: String,
    arrays: Arrays<'a>,
    is_by_key: bool,
}

impl Guard<'_> {
    pub(super) fn table(&self, pair: PairId) -> Result<usize, EndpointError> {
        self.shapes
            .iter()
            .position(|shape| shape.pair == pair)
            .ok_or_else(|| EndpointError::bug("unknown-pair", "table pair is not bound"))
    }

    /// Splits a batch so that no record is named twice within one wave: the steps of a later wave
    /// see what the earlier one wrote. Almost always one wave.
    pub(super) fn waves(&self, steps: &[Step]) -> Vec<Vec<usize>> {
        let mut waves: Vec<(Vec<usize>, HashSet<Vec<u8>>)> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let name = name_of(step);
            let is_free = |seen: &HashSet<Vec<u8>>| name.as_ref().is_none_or(|n| !seen.contains(n));
            // After the last wave that names the record, so that the order is kept.
            let wave = waves
                .iter()
                .rposition(|(_, seen)| !is_free(seen))
                .map_or(0, |w| w + 1);
            if wave == waves.len() {
                waves.push((Vec::new(), HashSet::new()));
            }
            let (members, seen) = &mut waves[wave];
            members.push(index);
            seen.extend(name);
        }
        waves.into_iter().map(|(members, _)| members).collect()
    }

    /// Reads and judges the steps of one wave. All reads are sent at once: one round trip.
    /// Outcomes that name a fence have 0 there; the caller fills it in after the commit.
    pub(super) async fn judge(
        &self,
        session: &Connected,
        steps: &[Step],
        wave: &[usize],
    ) -> Result<Vec<(usize, Verdict)>, GuardError> {
        let questions = self.questions(steps, wave)?;
        // Locked by statements of their own: one that waits for a lock reads the record anew, and
        // not the rows of other tables.
        let locks: Vec<(String, &Arrays<'_>)> =
            questions.iter().flat_map(|q| self.locks(q)).collect();
        let locked = locks.iter().map(|(sql, keys)| query(session, sql, keys));
        for answer in join_all(locked).await {
            answer.map_err(GuardError::Query)?;
        }
        let answers = join_all(
            questions
                .iter()
                .map(|question| query(session, &question.sql, &question.arrays)),
        );
        let (answers, same) = join(answers, check_same(session, self.tables(&questions))).await;
        let mut found: HashMap<usize, Vec<Stored>> = HashMap::new();
        for (question, rows) in questions.iter().zip(answers) {
            let shape = &self.shapes[question.table];
            for row in &rows.map_err(GuardError::Query)? {
                if let Some(step) = question.steps.get(place(row)?) {
                    found.entry(*step).or_default().push(stored(shape, row)?);
                }
            }
        }
        same?;
        wave.iter()
            .map(|index| {
                let records = found.remove(index).unwrap_or_default();
                let verdict = self.verdict(*index, &steps[*index], records)?;
                Ok((*index, verdict))
            })
            .collect()
    }

    /// The tables that are asked, with their join tables.
    fn tables(&self, questions: &[Question<'_>]) -> impl Iterator<Item = &Shape> {
        let mut asked: HashSet<PairId> = HashSet::new();
        for question in questions {
            let shape = &self.shapes[question.table];
            asked.insert(shape.pair);
            asked.extend(shape.joins.iter().map(|join| join.pair));
        }
        let mut shapes = self.shapes.iter();
        std::iter::from_fn(move || shapes.find(|shape| asked.contains(&shape.pair)))
    }

    /// What keeps the sets of the records that are asked for as they are: who adds to them by a foreign
    /// key waits for the record, who takes away for the row.
    fn locks<'q>(&self, question: &'q Question<'_>) -> Vec<(String, &'q Arrays<'q>)> {
        let shape = &self.shapes[question.table];
        if shape.joins.is_empty() || !question.is_by_key {
            return Vec::new();
        }
        let rows = shape.joins.iter().map(|join| join.lock());
        let all = [statements::lock_by_key(shape)].into_iter().chain(rows);
        all.map(|sql| (sql, &question.arrays)).collect()
    }

    fn questions<'a>(
        &self,
        steps: &'a [Step],
        wave: &[usize],
    ) -> Result<Vec<Question<'a>>, EndpointError> {
        let mut by_key: Vec<Vec<usize>> = vec![Vec::new(); self.shapes.len()];
        let mut by_match: HashMap<(usize, Vec<usize>), Vec<usize>> = HashMap::new();
        for index in wave {
            let step = &steps[*index];
            let table = self.table(step.pair)?;
            match &step.kind {
                StepKind::Update { .. } | StepKind::Delete { .. } => by_key[table].push(*index),
                StepKind::Create { matching, .. } if matching.is_empty() => {}
                StepKind::Create { matching, .. } => {
                    let shape = &self.shapes[table];
                    let columns = matching.iter().map(|(field, _)| shape.lens.column(*field));
                    let Some(fields) = columns.collect() else {
                        continue;
                    };
                    by_match.entry((table, fields)).or_default().push(*index);
                }
            }
        }
        let mut questions = Vec::new();
        for (table, members) in by_key.into_iter().enumerate() {
            for members in members.chunks(limits::RECORDS_PER_QUERY) {
                let shape = &self.shapes[table];
                let keys = members.iter().filter_map(|index| key_of(&steps[*index]));
                questions.push(Question {
                    table,
                    steps: members.to_vec(),
                    sql: statements::by_key(shape, true),
                    arrays: key_arrays(shape, keys)?,
                    is_by_key: true,
                });
            }
        }
        for ((table, fields), members) in by_match {
            for members in members.chunks(limits::RECORDS_PER_QUERY) {
                questions.extend(self.match_question(steps, table, &fields, members));
            }
        }
        Ok(questions)
    }

    /// Steps whose match values can't be in the column have no match and are left out.
    fn match_question<'a>(
        &self,
        steps: &'a [Step],
        table: usize,
        fields: &[usize],
        members: &[usize],
    ) -> Option<Question<'a>> {
        let shape = &self.shapes[table];
        let mut arrays: Arrays<'a> = vec![Vec::new(); fields.len()];
        let mut asked = Vec::new();
        for index in members {
            let StepKind::Create { matching, .. } = &steps[*index].kind else {
                continue;
            };
            let Ok((texts, _)) = encode_fields(shape, matching) else {
                continue;
            };
            asked.push(*index);
            for (array, (_, text)) in arrays.iter_mut().zip(texts) {
                array.push(text.map(Into::into));
            }
        }
        (!asked.is_empty()).then(|| Question {
            table,
            steps: asked,
            sql: statements::by_match(shape, fields),
            arrays,
            is_by_key: false,
        })
    }

    fn verdict(
        &self,
        index: usize,
        step: &Step,
        mut records: Vec<Stored>,
    ) -> Result<Verdict, EndpointError> {
        let table = self.table(step.pair)?;
        let shape = &self.shapes[table];
        let write = |kind, links, before| {
            let step = index;
            let write = Write {
                step,
                table,
                kind,
                links,
            };
            Verdict::Write(write, before)
        };
        let settled = |outcome| Ok(Verdict::Settled(outcome));
        let record = records.pop();
        match (&step.kind, record) {
            (StepKind::Create { .. }, Some(_)) if !records.is_empty() => {
                settled(Outcome::Rejected {
                    code: FindingCode::DuplicateMatchKey,
                    detail: format!(
                        "{} records of {} have the same match key",
                        records.len() + 1,
                        shape.label()
                    ),
                })
            }
            (StepKind::Create { .. }, Some(stored)) => {
                settled(Outcome::Exists { stored, fence: 0 })
            }
            (StepKind::Create { set, .. }, None) => Ok(match encode_fields(shape, set) {
                Ok((set, links)) => write(WriteKind::Create { set }, links, Before::new()),
                Err(outcome) => Verdict::Settled(outcome),
            }),
            (_, None) => settled(Outcome::Missing { fence: 0 }),
            (StepKind::Update { expect, .. } | StepKind::Delete { expect, .. }, Some(stored))
                if !self.is_as_expected(&stored.row, expect) =>
            {
                settled(Outcome::Stale {
                    row: stored.row,
                    fence: 0,
                })
            }
            (StepKind::Delete { key, .. }, Some(stored)) => {
                let kind = WriteKind::Delete { key: key.clone() };
                Ok(write(kind, Links::new(), before(stored.row, None)))
            }
            (StepKind::Update { set, .. }, Some(stored)) if set.is_empty() => {
                settled(Outcome::Written(stored, Before::new()))
            }
            (StepKind::Update { key, set, .. }, Some(stored)) => {
                let before = before(stored.row, Some(set));
                Ok(match encode_fields(shape, set) {
                    Ok((set, links)) => {
                        let kind = WriteKind::Update {
                            moves_key: moves_key(shape, key, &set),
                            key: key.clone(),
                            set,
                        };
                        write(kind, links, before)
                    }
                    Err(outcome) => Verdict::Settled(outcome),
                })
            }
        }
    }

    fn is_as_expected(&self, row: &Row, expect: &[Fingerprint]) -> bool {
        row.iter().zip(expect).all(|(cell, expected)| {
            !expected.is_known() || self.fingerprinter.cell(cell) == Some(*expected)
        })
    }
}

/// Why judging stopped.
pub(super) enum GuardError {
    Query(Error),
    Other(EndpointError),
}

impl From<EndpointError> for GuardError {
    fn from(error: EndpointError) -> Self {
        GuardError::Other(error)
    }
}

/// Text of the fields, sorted by field, and of the sets of join tables; the refusal when one doesn't
/// fit its column.
fn encode_fields(shape: &Shape, set: &[(usize, Value)]) -> Result<(Fields, Links), Outcome> {
    let mut fields = Vec::with_capacity(set.len());
    let mut links = Links::new();
    for (field, value) in set {
        let Some(number) = shape.lens.column(*field) else {
            return Err(unknown(shape, *field));
        };
        let joined = number.checked_sub(shape.fields.len());
        let (column, join) = match joined {
            None => (&shape.fields[number], None),
            Some(at) => match shape.joins.get(at) {
                Some(join) => (&join.to, Some((at, join))),
                None => return Err(unknown(shape, *field)),
            },
        };
        let no_counterpart = || Outcome::Rejected {
            code: FindingCode::NoCounterpart,
            detail: format!(
                "column \"{}\" {}",
                column.name,
                shape.lens.misfit(*field, value)
            ),
        };
        let native = shape.lens.native(*field, value);
        let native = native.filter(|value| !matches!(**value, Value::Unmapped(_)));
        let native = native.ok_or_else(no_counterpart)?;
        match join {
            Some((at, join)) => {
                let set = join.encode(&native).ok_or_else(no_counterpart)?;
                links.push((at, set));
            }
            None => {
                let text = encode(&column.pg_type, &native).map_err(|unfit| Outcome::Rejected {
                    code: unfit.code,
                    detail: format!("column \"{}\": {unfit}", column.name),
                })?;
                fields.push((number, text));
            }
        }
    }
    Ok((fields, links))
}

fn unknown(shape: &Shape, field: usize) -> Outcome {
    Outcome::Rejected {
        code: FindingCode::RejectedBySide,
        detail: format!("{} has no mapped field number {field}", shape.label()),
    }
}

/// What the fields `set` hold, or all of them.
fn before(row: Row, set: Option<&Vec<(usize, Value)>>) -> Before {
    let is_set = |field: usize| set.is_none_or(|set| set.iter().any(|(f, _)| *f == field));
    let fields = row.into_iter().enumerate();
    let value = |(field, cell): (usize, Cell)| match cell {
        Cell::Value(value) if is_set(field) => Some((field, value)),
        _ => None,
    };
    fields.filter_map(value).collect()
}

/// Does the update give the record another key?
fn moves_key(shape: &Shape, key: &Key, set: &Fields) -> bool {
    set.iter().any(|(field, text)| {
        let number = shape.fields[*field].number;
        let part = shape.key.iter().position(|column| column.number == number);
        part.is_some_and(|part| key.0.get(part) != text.as_ref())
    })
}

fn key_of(step: &Step) -> Option<&Key> {
    match &step.kind {
        StepKind::Update { key, .. } | StepKind::Delete { key, .. } => Some(key),
        StepKind::Create { .. } => None,
    }
}

/// Bytes that two steps share when they may concern the same record: the key, or the match values.
fn name_of(step: &Step) -> Option<Vec<u8>> {
    let mut name = step.pair.0.to_be_bytes().to_vec();
    match &step.kind {
        StepKind::Update { key, .. } | StepKind::Delete { key, .. } => {
            name.push(b'k');
            name.extend(key.to_bytes());
        }
        StepKind::Create { matching, .. } if matching.is_empty() => return None,
        StepKind::Create { matching, .. } => {
            name.push(b'm');
            for (field, value) in matching {
                name.extend(field.to_be_bytes());
                value.canonical(&mut name);
            }
        }
    }
    Some(name)
}

mod limits {
    /// Records per statement: bounds the size of one answer.
    pub(super) const RECORDS_PER_QUERY: usize = 5_000;
}

//! Decides for each step whether its write may be sent: the records are read first, and only those
//! that are still what the plan saw are written, with the app's precondition where it has one.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{Before, Cell, FindingCode, Key, Outcome, PairId, Row, Step, StepKind};
use tidegate_sync::value::Value;
use uuid::Uuid;

use super::manifest::Ids;
use super::publish::Copies;
use super::reading::{as_they_are, by_ids};
use super::searching::by_values;
use super::shape::{Record, Shape};
use super::side::Bound;
use super::snapshot::id;
use super::values::Unfit;
use crate::endpoint::EndpointError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Act {
    Create,
    Update,
    Delete,
}

/// One write that passed the guard.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Place of its step in the batch.
    pub step: usize,
    pub pair: PairId,
    pub act: Act,
    /// `None` where the app chooses it.
    pub id: Option<String>,
    pub version: Option<String>,
    pub fields: Json,
    /// The same as the step has it.
    pub set: Vec<(usize, Value)>,
    /// The record, as the guard saw it; `None` for a create.
    pub row: Option<Row>,
    pub before: Before,
    /// It sets something to what was not there.
    pub is_change: bool,
    /// Of the record, as the guard saw it.
    pub copies: Copies,
}

/// What the guard says to one step.
pub(super) enum Verdict {
    Write(Planned),
    Settled(Outcome),
}

/// Splits a batch so that no record is named twice within one wave: the steps of a later one see
/// what the earlier one wrote. Almost always one wave.
pub(super) fn waves(steps: &[Step]) -> Vec<Vec<usize>> {
    let mut waves: Vec<(Vec<usize>, HashSet<Vec<u8>>)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let name = name_of(step);
        let wave = waves
            .iter()
            .rposition(|(_, seen)| seen.contains(&name))
            .map_or(0, |w| w + 1);
        if wave == waves.len() {
            waves.push((Vec::new(), HashSet::new()));
        }
        let (members, seen) = &mut waves[wave];
        members.push(index);
        seen.insert(name);
    }
    waves.into_iter().map(|(members, _)| members).collect()
}

/// Bytes that two steps share when they may concern the same record.
fn name_of(step: &Step) -> Vec<u8> {
    let mut name = step.pair.0.to_be_bytes().to_vec();
    let values = match &step.kind {
        StepKind::Update { key, .. } | StepKind::Delete { key, .. } => {
            name.push(b'k');
            name.extend(key.to_bytes());
            return name;
        }
        StepKind::Create { matching, .. } if !matching.is_empty() => matching,
        StepKind::Create { set, .. } => set,
    };
    name.push(b'm');
    for (field, value) in values {
        name.extend(field.to_be_bytes());
        value.canonical(&mut name);
    }
    name
}

/// Reads and judges the steps of one wave.
pub(super) async fn judge(
    bound: &Bound,
    steps: &[Step],
    wave: &[usize],
) -> Result<Vec<(usize, Verdict)>, EndpointError> {
    let mut verdicts = Vec::with_capacity(wave.len());
    for shape in &bound.shapes {
        let of_table = wave
            .iter()
            .filter(|index| steps[**index].pair == shape.pair);
        let of_table: Vec<usize> = of_table.copied().collect();
        if of_table.is_empty() {
            continue;
        }
        let ids = of_table
            .iter()
            .filter_map(|index| id(key_of(&steps[*index])?));
        let ids: Vec<&str> = ids.collect();
        let mut found = by_ids(&bound.client, shape, &ids).await?;
        let doubted = of_table.iter().map(|index| &steps[*index]);
        let doubted = doubted.filter_map(|step| doubted_id(bound, step, &found));
        let doubted: Vec<&str> = doubted.collect();
        as_they_are(&bound.client, shape, &doubted, &mut found).await?;
        let mut candidates = candidates(bound, shape, steps, &of_table).await?;
        // Whatever was read here is at or before it.
        let fence = bound.fence();
        for index in of_table {
            let step = &steps[index];
            let verdict = match &step.kind {
                StepKind::Create { set, .. } => {
                    let met = candidates.remove(&index).unwrap_or_default();
                    create(bound, shape, index, set, met, fence)
                }
                StepKind::Update { key, .. } | StepKind::Delete { key, .. } => {
                    let record = id(key).and_then(|id| found.remove(id));
                    change(bound, shape, (index, step), record, fence)
                }
            };
            verdicts.push((index, verdict));
        }
    }
    Ok(verdicts)
}

/// The record of a step, where it is not what the step expects: what was read may be behind.
fn doubted_id<'a>(
    bound: &Bound,
    step: &'a Step,
    found: &HashMap<String, Record>,
) -> Option<&'a str> {
    let id = id(key_of(step)?)?;
    let record = found.get(id)?;
    let is_expected = match &step.kind {
        StepKind::Create { .. } => true,
        StepKind::Update { expect, .. } | StepKind::Delete { expect, .. } => {
            is_as_expected(bound, &record.row, expect)
        }
    };
    (!is_expected).then_some(id)
}

/// A create's step, and its match key.
type Sought<'a> = (usize, &'a [(usize, Value)]);

/// For each create: the records that have its match key.
async fn candidates(
    bound: &Bound,
    shape: &Shape,
    steps: &[Step],
    of_table: &[usize],
) -> Result<HashMap<usize, Vec<Record>>, EndpointError> {
    let mut by_field: HashMap<usize, Vec<Sought<'_>>> = HashMap::new();
    for index in of_table {
        if let StepKind::Create { matching, .. } = &steps[*index].kind
            && let Some((field, _)) = matching.first()
        {
            by_field.entry(*field).or_default().push((*index, matching));
        }
    }
    let mut met: HashMap<usize, Vec<Record>> = HashMap::new();
    for (field, creates) in by_field {
        let values: Vec<&Value> = creates.iter().map(|(_, matching)| &matching[0].1).collect();
        let found = by_values(&bound.client, shape, (field, &values)).await?;
        let mut by_match: HashMap<Vec<u8>, Vec<&Record>> = HashMap::new();
        let fields: Vec<usize> = creates[0].1.iter().map(|(field, _)| *field).collect();
        for record in &found {
            let name = name_in(&record.row, &fields);
            let same = by_match.entry(name).or_default();
            // The same record may come of several searches.
            if !same.iter().any(|known| known.id == record.id) {
                same.push(record);
            }
        }
        for (index, matching) in creates {
            let mut name = Vec::new();
            matching
                .iter()
                .for_each(|(_, value)| value.canonical(&mut name));
            let same = by_match.get(&name).into_iter().flatten();
            met.insert(index, same.copied().cloned().collect());
        }
    }
    Ok(met)
}

fn name_in(row: &Row, fields: &[usize]) -> Vec<u8> {
    let mut name = Vec::new();
    for field in fields {
        if let Some(value) = row.get(*field).and_then(Cell::value) {
            value.canonical(&mut name);
        }
    }
    name
}

fn create(
    bound: &Bound,
    shape: &Shape,
    step: usize,
    set: &[(usize, Value)],
    mut met: Vec<Record>,
    fence: u64,
) -> Verdict {
    if met.len() > 1 {
        return rejected(Unfit {
            code: FindingCode::DuplicateMatchKey,
            detail: format!(
                "{} records of {} have the same match key",
                met.len(),
                shape.label
            ),
        });
    }
    if let Some(record) = met.pop() {
        let fence = exact(bound, &record, fence);
        return Verdict::Settled(Outcome::Exists {
            stored: record.stored(),
            fence,
        });
    }
    // Were its answer lost, nobody would find it again.
    let is_null = |field: &usize| set.iter().any(|(of, value)| of == field && value.is_null());
    if shape.match_key.iter().any(is_null) {
        return rejected(Unfit {
            code: FindingCode::NullMatchKey,
            detail: FindingCode::NullMatchKey.advice().to_owned(),
        });
    }
    match shape.fields(set) {
        Err(unfit) => rejected(unfit),
        Ok((fields, id)) => Verdict::Write(Planned {
            step,
            pair: shape.pair,
            act: Act::Create,
            id: id.or_else(|| match bound.client.manifest.record.ids {
                Ids::Ours => Some(Uuid::new_v4().to_string()),
                Ids::App => None,
            }),
            version: None,
            fields,
            set: set.to_vec(),
            row: None,
            before: Before::new(),
            is_change: true,
            copies: Copies::default(),
        }),
    }
}

fn change(
    bound: &Bound,
    shape: &Shape,
    (step, of): (usize, &Step),
    record: Option<Record>,
    fence: u64,
) -> Verdict {
    let Some(record) = record else {
        return Verdict::Settled(Outcome::Missing { fence });
    };
    let planned = |act, fields, before| Planned {
        step,
        pair: shape.pair,
        act,
        id: Some(record.id.clone()),
        version: record.version.clone(),
        fields,
        set: match &of.kind {
            StepKind::Update { set, .. } => set.clone(),
            _ => Vec::new(),
        },
        row: Some(record.row.clone()),
        before,
        is_change: differs(&record.row, &of.kind),
        copies: record.copies,
    };
    match &of.kind {
        StepKind::Update { expect, .. } | StepKind::Delete { expect, .. }
            if !is_as_expected(bound, &record.row, expect) =>
        {
            Verdict::Settled(Outcome::Stale {
                fence: exact(bound, &record, fence),
                row: record.row,
            })
        }
        StepKind::Update { set, .. } if set.is_empty() => {
            Verdict::Settled(Outcome::Written(record.stored(), Before::new()))
        }
        StepKind::Update { set, .. } => match shape.fields(set) {
            Err(unfit) => rejected(unfit),
            Ok((_, Some(id))) if id != record.id => rejected(Unfit {
                code: FindingCode::RejectedBySide,
                detail: format!("{}: a record's id can't be changed", shape.label),
            }),
            Ok((fields, _)) => {
                let before = before(&record.row, Some(set));
                Verdict::Write(planned(Act::Update, fields, before))
            }
        },
        _ => Verdict::Write(planned(Act::Delete, Json::Null, before(&record.row, None))),
    }
}

/// Where stamps are the app's clock itself, a record's own is the closest fence.
pub(super) fn exact(bound: &Bound, record: &Record, fence: u64) -> u64 {
    match bound.client.manifest.changes.table_stamp {
        Some(_) if record.stamp > 0 => record.stamp,
        _ => fence,
    }
}

fn rejected(unfit: Unfit) -> Verdict {
    Verdict::Settled(Outcome::Rejected {
        code: unfit.code,
        detail: unfit.detail,
    })
}

fn is_as_expected(bound: &Bound, row: &Row, expect: &[Fingerprint]) -> bool {
    row.iter()
        .zip(expect)
        .all(|(cell, expected)| !expected.is_known() || bound.prints.cell(cell) == Some(*expected))
}

/// Whether the record is not already what the step makes of it.
fn differs(row: &Row, step: &StepKind) -> bool {
    let StepKind::Update { set, .. } = step else {
        return true;
    };
    let canonical = |value: &Value| {
        let mut bytes = Vec::new();
        value.canonical(&mut bytes);
        bytes
    };
    let there = |field: usize| row.get(field).and_then(Cell::value).map(canonical);
    let mut set = set.iter();
    set.any(|(field, value)| there(*field) != Some(canonical(value)))
}

/// What the fields `set` hold, or all of them.
fn before(row: &Row, set: Option<&[(usize, Value)]>) -> Before {
    let is_set = |field: usize| set.is_none_or(|set| set.iter().any(|(of, _)| *of == field));
    let fields = row.iter().enumerate().filter(|(field, _)| is_set(*field));
    fields
        .filter_map(|(field, cell)| Some((field, cell.value()?.clone())))
        .collect()
}

fn key_of(step: &Step) -> Option<&Key> {
    match &step.kind {
        StepKind::Create { .. } => None,
        StepKind::Update { key, .. } | StepKind::Delete { key, .. } => Some(key),
    }
}

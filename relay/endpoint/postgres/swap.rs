//! Records that swap unique values: each refuses the other one's update, in whatever order.
//!
//! Where nothing else helps, the updates of such a circle are made in two steps: first each record
//! gives its value up for one that nobody has, null where the column allows it, then all get their
//! new values. Both steps are in the batch's transaction, so nobody sees the first one; triggers
//! run twice. A column of a type that has no such value, or a primary key, is left alone: then the
//! updates stay refused. Called by [`super::write`] with what it could not write.

use std::collections::HashMap;

use tidegate_sync::codec::FieldType;
use tidegate_sync::model::{FindingCode, Key, Row};

use super::connect::Connected;
use super::guard::{Fields, GuardError, Write, WriteKind};
use super::reading::{key_arrays, place, query, stored};
use super::shape::{Column, Shape};
use super::statements;
use super::types::encode;

/// Updates that only make room for one another, and what makes room for all of them.
pub(super) struct Circle {
    /// Places in what was given.
    pub members: Vec<usize>,
    /// One for each member: sets values that nobody has.
    pub parking: Vec<Write>,
}

/// Can this refused write be part of a circle?
pub(super) fn may_swap(shape: &Shape, write: &Write, code: FindingCode) -> bool {
    let WriteKind::Update { set, moves_key, .. } = &write.kind else {
        return false;
    };
    code == FindingCode::UniqueViolation && !moves_key && touched(shape, set).next().is_some()
}

/// The unique indexes that an update of these fields concerns.
fn touched<'s>(shape: &'s Shape, set: &Fields) -> impl Iterator<Item = &'s Vec<usize>> {
    let is_set = |field: &usize| set.iter().any(|(f, _)| f == field);
    shape
        .unique
        .iter()
        .filter(move |index| index.iter().any(is_set))
}

/// Finds the circles among refused updates of one table.
pub(super) async fn circles(
    session: &Connected,
    shape: &Shape,
    writes: &[Write],
) -> Result<Vec<Circle>, GuardError> {
    let updates: Vec<(&Key, &Fields)> = writes.iter().filter_map(update).collect();
    if updates.len() != writes.len() {
        return Ok(Vec::new());
    }
    let arrays = key_arrays(shape, updates.iter().map(|(key, _)| *key))?;
    let found = query(session, &statements::by_key(shape, false), &arrays).await;
    let mut now: Vec<Option<Row>> = vec![None; writes.len()];
    for row in found.map_err(GuardError::Query)? {
        if let Some(slot) = now.get_mut(place(&row)?) {
            *slot = Some(stored(shape, &row)?.row);
        }
    }
    let now: Vec<Option<Texts>> = now.iter().map(|row| texts(shape, row.as_ref()?)).collect();
    let groups = groups(shape, &updates, &now);
    let circle = |members: Vec<usize>| {
        let parked = members.iter().map(|member| park(shape, &writes[*member]));
        Some(Circle {
            parking: parked.collect::<Option<_>>()?,
            members,
        })
    };
    Ok(groups.into_iter().filter_map(circle).collect())
}

/// A record's fields in text form.
type Texts = Vec<Option<String>>;

fn texts(shape: &Shape, row: &Row) -> Option<Texts> {
    let values = shape.lens.columns(row, shape.fields.len());
    let columns = shape.fields.iter().zip(values);
    columns
        .map(|(column, value)| match value {
            Some(value) => encode(&column.pg_type, &value).ok(),
            // No field shows it, so no write of ours is in its way.
            None => Some(None),
        })
        .collect()
}

fn update(write: &Write) -> Option<(&Key, &Fields)> {
    match &write.kind {
        WriteKind::Update { key, set, .. } => Some((key, set)),
        WriteKind::Create { .. } | WriteKind::Delete { .. } => None,
    }
}

/// Updates that want what another one has are in one group; those that want nothing of the kind are
/// in none.
fn groups(shape: &Shape, updates: &[(&Key, &Fields)], now: &[Option<Texts>]) -> Vec<Vec<usize>> {
    let mut group: Vec<usize> = (0..updates.len()).collect();
    for index in &shape.unique {
        let mut holders: HashMap<Vec<&str>, usize> = HashMap::new();
        for (at, texts) in now.iter().enumerate() {
            let held = texts.as_ref().and_then(|texts| tuple(index, texts, &[]));
            if let Some(held) = held {
                holders.insert(held, at);
            }
        }
        for (at, (_, set)) in updates.iter().enumerate() {
            let wanted = now[at].as_ref().and_then(|texts| tuple(index, texts, set));
            let holder = wanted.and_then(|wanted| holders.get(&wanted));
            if let Some(holder) = holder {
                let (from, to) = (group[at], group[*holder]);
                group
                    .iter_mut()
                    .filter(|g| **g == from)
                    .for_each(|g| *g = to);
            }
        }
    }
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, name) in group.into_iter().enumerate() {
        groups.entry(name).or_default().push(at);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_unstable();
    groups
}

/// An index's values after `set`; `None` where one is null, which collides with nothing.
fn tuple<'t>(
    index: &[usize],
    texts: &'t Texts,
    set: &'t [(usize, Option<String>)],
) -> Option<Vec<&'t str>> {
    let text = |field: &usize| match set.iter().find(|(f, _)| f == field) {
        Some((_, text)) => text.as_deref(),
        None => texts.get(*field)?.as_deref(),
    };
    index.iter().map(text).collect()
}

/// The update that gives a record's values up: one column of each unique index that is concerned.
fn park(shape: &Shape, write: &Write) -> Option<Write> {
    let (key, set) = update(write)?;
    let mut parked: Fields = Vec::new();
    for index in touched(shape, set) {
        let is_set = |field: &&usize| set.iter().any(|(f, _)| f == *field);
        let free = |field: &usize| Some((*field, free_value(&shape.fields[*field], key)?));
        let value = index.iter().filter(is_set).find_map(free)?;
        if !parked.iter().any(|(field, _)| *field == value.0) {
            parked.push(value);
        }
    }
    parked.sort_by_key(|(field, _)| *field);
    Some(Write {
        links: Vec::new(),
        step: write.step,
        table: write.table,
        kind: WriteKind::Update {
            key: key.clone(),
            set: parked,
            moves_key: false,
        },
    })
}

/// A value that no other record has, or hardly: if one does, the circle stays refused.
fn free_value(column: &Column, key: &Key) -> Option<Option<String>> {
    if column.is_nullable {
        return Some(None);
    }
    // The same for a record whenever it is asked for, another one for each record.
    let hash = blake3::hash(&key.to_bytes());
    let bytes = hash.as_bytes();
    match column.pg_type.field_type {
        FieldType::Text { max, .. } => {
            let text = format!("tidegate-{}", &hash.to_hex()[..23]);
            let fits = max.is_none_or(|max| text.len() <= max as usize);
            fits.then_some(Some(text))
        }
        FieldType::Uuid => Some(Some(uuid::Uuid::from_slice(&bytes[..16]).ok()?.to_string())),
        FieldType::Int { bits } => {
            // From the lower half of the negative numbers, where hardly anybody's are.
            let number = u64::from_be_bytes(bytes[..8].try_into().ok()?) >> (66 - bits);
            let lowest = i64::MIN >> (64 - bits);
            Some(Some((lowest + number as i64).to_string()))
        }
        _ => None,
    }
}

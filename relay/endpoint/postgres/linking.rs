//! Writes the sets of links of records that a batch writes, as rows of join tables: what is missing is
//! added, what is too much is taken away.
//!
//! What is told of a record is what our own statements made of it. What triggers do after them (those of
//! the join table may change the record, too) is for the change log to tell: it is news.
//!
//! Called by [`super::write`] between the records' own statements and the savepoint's end.

use std::collections::HashMap;

use tidegate_sync::model::{Before, Cell, FindingCode, Key, Outcome, Row, Stored};

use super::connect::Connected;
use super::guard::{Write, WriteKind};
use super::reading::{Arrays, key_arrays, place, query, stored};
use super::shape::Shape;
use super::statements;
use super::write::{Failure, Outcomes, Tables};
use crate::endpoint::EndpointError;

const DOING: &str = "write a batch's links";

/// A record that a batch has written.
struct Linked<'a> {
    write: &'a Write,
    key: Key,
}

impl Tables<'_> {
    /// What must be gone before records are deleted: their rows in join tables.
    pub(super) fn clearing<'w>(
        &self,
        writes: &'w [Write],
    ) -> Result<Vec<(String, Arrays<'w>)>, EndpointError> {
        let mut statements = Vec::new();
        for (table, shape) in self.shapes.iter().enumerate() {
            let deleted = writes.iter().filter_map(|write| match &write.kind {
                WriteKind::Delete { key } if write.table == table => Some(key),
                _ => None,
            });
            let keys: Vec<&Key> = deleted.collect();
            for keys in keys.chunks(limits::RECORDS_PER_STATEMENT) {
                for join in &shape.joins {
                    let arrays = key_arrays(shape, keys.iter().copied())?;
                    statements.push((join.clear(), arrays));
                }
            }
        }
        Ok(statements)
    }

    /// Writes the links of records that were written, and completes their outcomes.
    pub(super) async fn link(
        &self,
        session: &Connected,
        writes: &[Write],
        outcomes: &mut Outcomes,
    ) -> Result<(), Failure> {
        let mut is_linked = false;
        for (table, shape) in self.shapes.iter().enumerate() {
            if shape.joins.is_empty() {
                continue;
            }
            let known: HashMap<usize, usize> = outcomes
                .iter()
                .enumerate()
                .map(|(at, (step, _))| (*step, at))
                .collect();
            for part in linked(table, writes, outcomes).chunks(limits::RECORDS_PER_STATEMENT) {
                let mut found = read(session, shape, part).await?;
                let mut there = Vec::with_capacity(part.len());
                for (at, linked) in part.iter().enumerate() {
                    match found.remove(&at) {
                        Some(stored) => there.push((linked, stored)),
                        None => outcomes.extend(gone(linked)?),
                    }
                }
                let sets = write(session, shape, &there).await?;
                is_linked |= !sets.is_empty();
                for (at, (linked, mut stored)) in there.into_iter().enumerate() {
                    shape.take_sets(&mut stored.row, &written_sets(shape, sets.get(&at)));
                    let step = linked.write.step;
                    match known.get(&step).map(|at| &mut outcomes[*at].1) {
                        Some(Outcome::Written(written, _)) => {
                            shape.take_sets(&mut written.row, &stored.row);
                        }
                        _ => outcomes.push((step, Outcome::Written(stored, Before::new()))),
                    }
                }
            }
        }
        if is_linked {
            let check = "set constraints all immediate; set constraints all deferred";
            let checked = session.batch_execute(check).await;
            checked.map_err(|error| Failure::of(DOING, error))?;
        }
        Ok(())
    }
}

/// What becomes of a record that a trigger has moved or deleted, which the change log will tell. One that has
/// no links to write is written all the same.
///
/// # Errors
/// Refuses one that lacks its links: it would be told as agreed on without them.
fn gone(linked: &Linked<'_>) -> Result<Option<(usize, Outcome)>, Failure> {
    let write = linked.write;
    if write.is_of_links() {
        return Ok(Some((write.step, Outcome::Missing { fence: 0 })));
    }
    if write.links.is_empty() {
        return Ok(None);
    }
    let detail = "a trigger moved or deleted the record before its links were written";
    Err(Failure::Refused(
        FindingCode::RejectedBySide,
        detail.to_owned(),
    ))
}

/// The table's records that were created or updated, and those of which only links are written.
fn linked<'w>(table: usize, writes: &'w [Write], outcomes: &Outcomes) -> Vec<Linked<'w>> {
    let written: HashMap<usize, &Key> = outcomes
        .iter()
        .filter_map(|(step, outcome)| match outcome {
            Outcome::Written(stored, _) => Some((*step, &stored.key)),
            _ => None,
        })
        .collect();
    let linked = |write: &'w Write| {
        let key = match &write.kind {
            WriteKind::Update { key, .. } if write.is_of_links() => Some(key),
            _ => written.get(&write.step).copied(),
        };
        Some(Linked {
            write,
            key: key?.clone(),
        })
    };
    let of_table = writes.iter().filter(|write| write.table == table);
    of_table.filter_map(linked).collect()
}

/// A record's sets by the numbers of their join tables.
type Sets = HashMap<usize, Cell>;

/// The sets that were written, by the places of their records.
async fn write(
    session: &Connected,
    shape: &Shape,
    part: &[(&Linked<'_>, Stored)],
) -> Result<HashMap<usize, Sets>, Failure> {
    let mut sets: HashMap<usize, Sets> = HashMap::new();
    for (number, join) in shape.joins.iter().enumerate() {
        let mut places = Vec::new();
        let mut keys = Vec::new();
        let mut wanted = Vec::new();
        for (at, (linked, _)) in part.iter().enumerate() {
            let mut links = linked.write.links.iter();
            if let Some((_, set)) = links.find(|(of, _)| *of == number) {
                places.push(at);
                keys.push(&linked.key);
                wanted.push(Some(set.as_str().into()));
            }
        }
        if keys.is_empty() {
            continue;
        }
        let mut arrays = key_arrays(shape, keys.into_iter())?;
        arrays.push(wanted);
        let rows = query(session, &join.write(), &arrays).await;
        for row in &rows.map_err(|error| Failure::of(DOING, error))? {
            let text: Option<&str> = row
                .try_get(1)
                .map_err(|error| Failure::of_ours(DOING, error))?;
            if let Some(at) = places.get(place(row)?) {
                let cell = join.cell(text)?;
                sets.entry(*at).or_default().insert(number, cell);
            }
        }
    }
    Ok(sets)
}

/// The fields that were written by way of join tables.
fn written_sets(shape: &Shape, sets: Option<&Sets>) -> Row {
    let cell = |number: usize| sets.and_then(|sets| sets.get(&number)).cloned();
    let cells = (0..shape.joins.len()).map(|number| cell(number).unwrap_or(Cell::Unchanged));
    shape.of_sets(&cells.collect::<Vec<_>>())
}

/// The records before their links are written, by their places.
async fn read(
    session: &Connected,
    shape: &Shape,
    part: &[Linked<'_>],
) -> Result<HashMap<usize, Stored>, Failure> {
    let arrays = key_arrays(shape, part.iter().map(|linked| &linked.key))?;
    let rows = query(session, &statements::by_key(shape, false), &arrays).await;
    let rows = rows.map_err(|error| Failure::of_ours(DOING, error))?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(place(row)?, stored(shape, row)?);
    }
    Ok(found)
}

mod limits {
    pub(super) const RECORDS_PER_STATEMENT: usize = 2_000;
}

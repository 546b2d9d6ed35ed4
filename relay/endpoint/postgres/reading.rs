//! Turns rows of the statements in [`super::statements`] into keys and records, and reads records
//! by key. Called by snapshot and apply.

use std::borrow::Cow;

use tidegate_sync::model::{Cell, Key, Row, Stored};
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::connect::Connected;
use super::shape::Shape;
use super::sqlstate::endpoint_error;
use super::statements;
use crate::endpoint::EndpointError;

/// One text array per parameter, borrowed from keys where possible.
pub(super) type Arrays<'a> = Vec<Vec<Option<Cow<'a, str>>>>;

/// Runs a statement whose parameters are text arrays: one round trip.
pub(super) async fn query(
    session: &Connected,
    sql: &str,
    arrays: &Arrays<'_>,
) -> Result<Vec<tokio_postgres::Row>, Error> {
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> = arrays
        .iter()
        .map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY))
        .collect();
    session.query_typed(sql, &parameters).await
}

/// The keys' parts, one array per column.
pub(super) fn key_arrays<'a>(
    shape: &Shape,
    keys: impl Iterator<Item = &'a Key>,
) -> Result<Arrays<'a>, EndpointError> {
    let parts = shape.key.len();
    let mut arrays: Arrays<'a> = vec![Vec::new(); parts];
    for key in keys {
        if key.0.len() != parts {
            let message = format!("a key of {} has the wrong number of parts", shape.label());
            return Err(EndpointError::bug("wrong-key", message));
        }
        for (array, part) in arrays.iter_mut().zip(&key.0) {
            array.push(Some(Cow::Borrowed(part.as_str())));
        }
    }
    Ok(arrays)
}

/// Place in the arrays (from 0) of a result that begins with `i`.
pub(super) fn place(row: &tokio_postgres::Row) -> Result<usize, EndpointError> {
    let ordinal: i64 = row.try_get(0).map_err(unreadable)?;
    Ok(ordinal.saturating_sub(1).max(0) as usize)
}

/// The record in a result of `i, key…, field…, set…`.
pub(super) fn stored(shape: &Shape, row: &tokio_postgres::Row) -> Result<Stored, EndpointError> {
    let text = |i: usize| row.try_get::<_, Option<&str>>(i).map_err(unreadable);
    let parts: Vec<Option<&str>> = (1..=shape.key.len()).map(text).collect::<Result<_, _>>()?;
    let first = 1 + shape.key.len();
    // What a statement returns of its own write lacks the sets of join tables.
    let cells: Vec<Option<&str>> = (first..row.len()).map(text).collect::<Result<_, _>>()?;
    Ok(Stored::whole(shape.key_of(&parts)?, shape.row_of(&cells)?))
}

/// Reads records in the order asked; `None` for one that isn't there.
pub(super) async fn fetch(
    session: &Connected,
    shape: &Shape,
    keys: &[Key],
) -> Result<Vec<Option<Row>>, EndpointError> {
    let mut records = Vec::with_capacity(keys.len());
    let sql = statements::by_key(shape, false);
    for chunk in keys.chunks(limits::KEYS_PER_QUERY) {
        let arrays = key_arrays(shape, chunk.iter())?;
        let rows = session
            .bounded("read records", query(session, &sql, &arrays))
            .await?;
        let start = records.len();
        records.resize_with(start + chunk.len(), || None);
        for row in &rows {
            if let Some(slot) = records.get_mut(start + place(row)?) {
                *slot = Some(stored(shape, row)?.row);
            }
        }
    }
    Ok(records)
}

/// Reads the sets of records' join tables, in the order asked; `None` for a record that isn't there.
pub(super) async fn fetch_sets(
    session: &Connected,
    shape: &Shape,
    keys: &[Key],
) -> Result<Vec<Option<Vec<Cell>>>, EndpointError> {
    let mut records = Vec::with_capacity(keys.len());
    let sql = statements::sets_by_key(shape);
    for chunk in keys.chunks(limits::KEYS_PER_QUERY) {
        let arrays = key_arrays(shape, chunk.iter())?;
        let rows = session
            .bounded("read links", query(session, &sql, &arrays))
            .await?;
        let start = records.len();
        records.resize_with(start + chunk.len(), || None);
        for row in &rows {
            let cells = shape.joins.iter().enumerate().map(|(number, join)| {
                let text: Option<&str> = row.try_get(1 + number).map_err(unreadable)?;
                join.cell(text)
            });
            if let Some(slot) = records.get_mut(start + place(row)?) {
                *slot = Some(cells.collect::<Result<_, _>>()?);
            }
        }
    }
    Ok(records)
}

fn unreadable(error: Error) -> EndpointError {
    endpoint_error("read a record", error)
}

mod limits {
    /// Rows of one answer are buffered in memory.
    pub(super) const KEYS_PER_QUERY: usize = 2_000;
}

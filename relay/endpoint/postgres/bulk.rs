//! Creates by the thousand: one COPY, and a second one that reads back what it stored.
//!
//! For plain tables whose keys are given, and where COPY does what an INSERT would do. All else
//! takes [`super::write`], which also finds out who is to blame when a COPY is refused. Called by
//! [`super::apply`] within its transaction.

use std::collections::HashMap;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use futures_util::future::join;
use tidegate_sync::model::{Before, Key, Outcome, Row, Stored};
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connect::Connected;
use super::copy_text::put_line;
use super::copying::Copy;
use super::guard::{Fields, Write, WriteKind};
use super::reading::{key_arrays, place, query, stored};
use super::shape::Shape;
use super::statements;
use super::write::{Failure, Outcomes};

/// Consecutive writes that are executed in one way.
pub(super) enum Part<'w> {
    /// Creates of one table with the same fields, worth a COPY.
    Copied(&'w [Write]),
    Others(&'w [Write]),
}

/// Cuts sorted writes into parts, in their order.
pub(super) fn parts<'w>(shapes: &[Shape], writes: &'w [Write]) -> Vec<Part<'w>> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut at = 0;
    for run in writes.chunk_by(|a, b| a.table == b.table && is_alike(a, b)) {
        let end = at + run.len();
        if run.len() >= limits::ROWS_MIN && may_be_copied(&shapes[run[0].table], &run[0]) {
            parts.push(Part::Others(&writes[from..at]));
            parts.push(Part::Copied(run));
            from = end;
        }
        at = end;
    }
    parts.push(Part::Others(&writes[from..]));
    parts
}

fn is_alike(a: &Write, b: &Write) -> bool {
    match (fields(a), fields(b)) {
        (Some(a), Some(b)) => a.iter().map(|(f, _)| f).eq(b.iter().map(|(f, _)| f)),
        _ => false,
    }
}

fn fields(write: &Write) -> Option<&Fields> {
    match &write.kind {
        WriteKind::Create { set } => Some(set),
        WriteKind::Update { .. } | WriteKind::Delete { .. } => None,
    }
}

/// The records are found again by keys that were given, in a heap of their own.
fn may_be_copied(shape: &Shape, first: &Write) -> bool {
    let is_keyed = |set: &Fields| key_places(shape, set).is_some();
    shape.has_ranges && shape.joins.is_empty() && fields(first).is_some_and(is_keyed)
}

/// Where in `set` the key's parts are.
fn key_places(shape: &Shape, set: &Fields) -> Option<Vec<usize>> {
    let place_of = |number: i16| {
        set.iter()
            .position(|(field, _)| shape.fields[*field].number == number)
    };
    shape
        .key
        .iter()
        .map(|column| place_of(column.number))
        .collect()
}

/// What came of a part.
pub(super) enum Copied {
    Done(Outcomes),
    /// Nothing was written: the table has what COPY would pass by (rules) or what may change records
    /// on their way (triggers, row security).
    NotAllowed,
    /// It can't be done in this table, and the transaction is spoilt: no right to lock the table, or
    /// the records can't be told apart because keys are stored in another form.
    Unfit,
}

/// Writes a part.
pub(super) async fn write(
    session: &Connected,
    shape: &Shape,
    writes: &[Write],
) -> Result<Copied, Failure> {
    let Some(set) = writes.first().and_then(fields) else {
        return Ok(Copied::NotAllowed);
    };
    let first_block = match look(session, shape).await {
        Ok(Some(block)) => block,
        Ok(None) => return Ok(Copied::NotAllowed),
        Err(Failure::Refused(..)) => return Ok(Copied::Unfit),
        Err(error) => return Err(error),
    };
    let columns: Vec<usize> = set.iter().map(|(field, _)| *field).collect();
    let copy_in = statements::copy_in(shape, &columns);
    let read_back = statements::read_back(shape, first_block);
    let failed = |error| Failure::of("write a batch", error);
    let read_back = session.prepare(&read_back).await.map_err(failed)?;
    {
        // Nothing else is asked while it copies: with requests waiting behind it, the COPY hung now and
        // then (seen with tokio-postgres 0.7.18).
        let mut sink = pin!(session.copy_in(&copy_in).await.map_err(failed)?);
        for data in lines(writes) {
            sink.send(data).await.map_err(failed)?;
        }
        sink.finish().await.map_err(failed)?;
    }
    let stored = session.copy_out(&read_back).await;
    let stored = Copy::of(session, shape, stored.map_err(failed)?, false);
    let stored = stored.read_all().await?;
    let mut records: HashMap<Key, Row> = stored.into_iter().map(|s| (s.key, s.row)).collect();
    let Some(keys) = keys_of(shape, writes) else {
        return Ok(Copied::Unfit);
    };
    let mut found: Vec<_> = keys.iter().map(|key| records.remove_entry(key)).collect();
    find_others(session, shape, &keys, &mut found).await?;
    let outcome = |(write, found): (&Write, Option<(Key, Row)>)| {
        let (key, row) = found?;
        Some((
            write.step,
            Outcome::Written(Stored::whole(key, row), Before::new()),
        ))
    };
    let outcomes: Option<Outcomes> = writes.iter().zip(found).map(outcome).collect();
    Ok(outcomes.map_or(Copied::Unfit, Copied::Done))
}

/// Reads by key what went to blocks before the first one, where deleted records left room.
async fn find_others(
    session: &Connected,
    shape: &Shape,
    keys: &[Key],
    found: &mut [Option<(Key, Row)>],
) -> Result<(), Failure> {
    let missing: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
    for missing in missing.chunks(limits::KEYS_PER_QUERY) {
        let arrays = key_arrays(shape, missing.iter().map(|at| &keys[*at]))?;
        let rows = query(session, &statements::by_key(shape, false), &arrays).await;
        for row in rows.map_err(|error| Failure::of_ours("read a batch back", error))? {
            let Stored {
                key, row: fields, ..
            } = stored(shape, &row)?;
            if let Some(at) = missing.get(place(&row)?)
                && keys[*at] == key
            {
                found[*at] = Some((key, fields));
            }
        }
    }
    Ok(())
}

/// Locks the table against changes of its triggers and rules until the transaction ends, and tells
/// the first block that new records may be in.
async fn look(session: &Connected, shape: &Shape) -> Result<Option<u64>, Failure> {
    let doing = "look at a table";
    let lock = format!("lock table only {} in row exclusive mode", shape.relation);
    let (locked, looked) = join(session.batch_execute(&lock), look_at(session, shape)).await;
    locked.map_err(|error| Failure::of(doing, error))?;
    let looked = looked.map_err(|error| Failure::of_ours(doing, error))?;
    // The last block may have room.
    Ok(looked.map(|blocks| blocks.saturating_sub(1)))
}

async fn look_at(session: &Connected, shape: &Shape) -> Result<Option<u64>, Error> {
    let sql = "
        select pg_relation_size(c.oid) / current_setting('block_size')::bigint
        from pg_class c
        where c.oid = $1 and not c.relhasrules and not c.relrowsecurity
          and not exists (select from pg_trigger t
                          where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D'
                            and t.tgname !~ '^tidegate_')";
    let row = session
        .query_typed_opt(sql, &[(&shape.oid, Type::OID)])
        .await?;
    let blocks = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
    Ok(blocks.map(|blocks| blocks.max(0) as u64))
}

/// The records as COPY reads them, cut into messages.
fn lines(writes: &[Write]) -> impl Iterator<Item = Bytes> {
    let mut rest = writes.iter();
    std::iter::from_fn(move || {
        let mut data = BytesMut::with_capacity(limits::MESSAGE_BYTES + 4096);
        for set in rest.by_ref().filter_map(fields) {
            put_line(&mut data, set.iter().map(|(_, text)| text.as_deref()));
            if data.len() >= limits::MESSAGE_BYTES {
                break;
            }
        }
        (!data.is_empty()).then(|| data.freeze())
    })
}

/// The keys that creates with the same fields give their records.
fn keys_of(shape: &Shape, writes: &[Write]) -> Option<Vec<Key>> {
    let places = key_places(shape, fields(writes.first()?)?)?;
    let key = |write: &Write| {
        let set = fields(write)?;
        let mut parts = Vec::with_capacity(places.len());
        for place in &places {
            parts.push(set[*place].1.clone()?);
        }
        Some(Key(parts))
    };
    writes.iter().map(key).collect()
}

mod limits {
    /// Below this, the round trips of two COPYs cost more than they save.
    pub(super) const ROWS_MIN: usize = 500;
    /// Bytes of one message, unless one record is longer.
    pub(super) const MESSAGE_BYTES: usize = 64 << 10;
    /// Rows of one answer are buffered in memory.
    pub(super) const KEYS_PER_QUERY: usize = 2_000;
}

//! The outbox's rows: one tick's, read in the order of its transactions, and what each one says.

use tidegate_sync::model::{BatchId, Change, ChangeKind, Key, PairId};
use tokio_postgres::Row;

use super::super::shape::Shape;
use super::super::sqlstate::endpoint_error;
use super::OutboxName;
use super::ticks::not_shown;
use crate::endpoint::EndpointError;

pub(super) const DOING: &str = "read the outbox";

/// SQL: the rows of a tick, of which `$1` is the snapshot before and `$2` its own, without those of
/// the transactions that end in its first `$3` rows. Reading it again gives the same.
pub(super) fn sql(name: &OutboxName) -> String {
    let outbox = name.outbox();
    format!(
        "with transactions as (
             select o.xid, max(o.seq) as last, max(o.batch) as batch, count(*) as rows,
                    bool_or(o.op = 'u') as edits, bool_or(o.op = 'm') as is_ours
             from {outbox} o
             where {new} and o.xid < pg_snapshot_xmax($2::text::pg_snapshot)
               and pg_visible_in_snapshot(o.xid, $2::text::pg_snapshot)
             group by o.xid
         ), numbered as (
             select xid, batch, edits, is_ours, (sum(rows) over (order by last))::bigint as until
             from transactions
         )
         select t.until, t.batch, o.pair, o.op, o.key, o.old_key, o.fields,
                (extract(epoch from o.at - '2000-01-01 00:00:00Z'::timestamptz) * 1000000)::bigint,
                o.op = 'n' or o.op = 'i' and not t.edits, t.is_ours
         from numbered t join {outbox} o on o.xid = t.xid
         where t.until > $3
         order by t.until, o.seq",
        new = not_shown("o", "$1::text::pg_snapshot")
    )
}

/// One row.
pub(super) struct Entry {
    /// The number of its transaction's last row within the tick.
    pub until: u64,
    /// The newest batch of ours that its transaction comes after, or is.
    pub batch: Option<BatchId>,
    /// The transaction is that batch.
    pub is_ours: bool,
    pub what: What,
    /// How long its values are, about.
    pub bytes: usize,
}

pub(super) enum What {
    /// Its place in the history is not set yet.
    Change(Change),
    Reconcile(PairId, &'static str),
    Nothing,
}

impl Entry {
    pub(super) fn of(row: &Row, shapes: &[Shape]) -> Result<Entry, EndpointError> {
        let until: i64 = row.try_get(0).map_err(unreadable)?;
        let batch: Option<i64> = row.try_get(1).map_err(unreadable)?;
        let (what, bytes) = what(row, shapes)?;
        Ok(Entry {
            until: until.cast_unsigned(),
            batch: batch.map(|batch| BatchId(batch.cast_unsigned())),
            is_ours: row.try_get(9).map_err(unreadable)?,
            what,
            bytes,
        })
    }
}

fn what(row: &Row, shapes: &[Shape]) -> Result<(What, usize), EndpointError> {
    let pair: Option<i32> = row.try_get(2).map_err(unreadable)?;
    let pair = pair.map(|pair| PairId(pair.cast_unsigned()));
    let Some(shape) = shapes.iter().find(|shape| Some(shape.pair) == pair) else {
        return Ok((What::Nothing, 0));
    };
    let op: &str = row.try_get(3).map_err(unreadable)?;
    let why = match op {
        "t" => Some("the table was truncated"),
        "f" => Some("its files were replaced, and records are gone"),
        "x" => Some("a mapped column was dropped, renamed or given another type"),
        _ => None,
    };
    if let Some(why) = why {
        return Ok((What::Reconcile(shape.pair, why), 0));
    }
    let texts = |column: usize| -> Result<Option<Vec<Option<&str>>>, EndpointError> {
        row.try_get(column).map_err(unreadable)
    };
    let key = |column: usize| -> Result<Option<Key>, EndpointError> {
        texts(column)?.map(|parts| shape.key_of(&parts)).transpose()
    };
    let missing = || EndpointError::bug("outbox-unreadable", "a change without its record");
    let now = key(4)?.ok_or_else(missing)?;
    let mut bytes = ROW_BYTES;
    let kind = if op == "d" {
        ChangeKind::Gone
    } else {
        let cells = texts(6)?.ok_or_else(missing)?;
        bytes += cells.iter().flatten().map(|text| text.len()).sum::<usize>();
        ChangeKind::Present {
            row: shape.row_of(&cells)?,
            // A trigger of the customer's may edit a new record before its statement is told.
            inserted: row.try_get(8).map_err(unreadable)?,
        }
    };
    let change = Change {
        pair: shape.pair,
        old_key: key(5)?.filter(|old| *old != now),
        key: now,
        kind,
        time: row.try_get(7).map_err(unreadable)?,
        offset: 0,
        at: 0,
        passed: BatchId::NONE,
        ours: false,
    };
    Ok((What::Change(change), bytes))
}

pub(super) fn unreadable(error: tokio_postgres::Error) -> EndpointError {
    endpoint_error(DOING, error)
}

/// What a change takes beside its values, about.
const ROW_BYTES: usize = 100;

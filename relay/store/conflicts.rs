//! Conflicts: both values of a field that both sides changed, sealed, kept for a retention time so
//! that a person can pick the other one later. Those that wait for a person are kept until they are
//! over.

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{BySide, Conflict, Link, LinkId, PairId, Side};

use super::keys::{Bits, RecordKeys, side_number};
use super::sql::{Connection, OptionalExtension, Row, Transaction, params};
use super::syncs::SyncId;
use super::{Sealer, StoreError, links};

const LABEL: &str = "conflicts.body";
const COLUMNS: &str = "id, at, body, waiting, picked, picked_at, sync, left_print, right_print";

/// By how much those that are over come behind those that wait: more than there are numbers.
const SETTLED: i64 = 1 << 53;

/// Where a conflict of this number is in the list.
pub fn place(id: i64, waiting: bool) -> i64 {
    if waiting { id } else { id - SETTLED }
}

/// A recorded conflict.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRecord {
    pub id: i64,
    pub sync: SyncId,
    pub at_ms: i64,
    pub conflict: Conflict,
    /// A person is asked.
    pub waiting: bool,
    /// What a person picked, and when.
    pub picked: Option<(Side, i64)>,
    /// Of the field's value that the sides last agreed on, while a person is asked.
    pub base: BySide<Option<Fingerprint>>,
}

/// Which conflicts to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this sync; of all in the workspace unless given.
    pub sync: Option<SyncId>,
    /// Only those that wait for a person.
    pub waiting: bool,
    /// Where the page before ended, see [`ConflictRecord::place`].
    pub after: Option<i64>,
    pub limit: u32,
}

impl ConflictRecord {
    /// Its place in the list, which falls from item to item.
    pub fn place(&self) -> i64 {
        place(self.id, self.waiting)
    }
}

pub(super) fn add(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    (sync, workspace): (SyncId, &str),
    (conflict, link): (&Conflict, Option<(LinkId, &Link)>),
    now_ms: i64,
) -> Result<(), StoreError> {
    let json = serde_json::to_vec(conflict).map_err(|_| StoreError::Malformed(LABEL))?;
    let body = keys.sealer().seal(LABEL, &json);
    let waits = conflict.winner.is_none();
    let number = link.map(|(id, _)| Bits(id.0));
    let field = conflict.field.map(|field| Bits(field as u64));
    let print = |side| -> Option<Bits> {
        let (_, link) = link?;
        let print: Option<&Fingerprint> = link.baseline[side].get(conflict.field?);
        print.map(|print| Bits(print.0))
    };
    if waits {
        let mut statement = tx.prepare_cached(
            "update conflicts set body = ?4 where sync = ?1 and link = ?2 and field is not distinct from ?3
             and waiting = 1",
        )?;
        if statement.execute(params![sync.0, number, field, body])? > 0 {
            return Ok(());
        }
    }
    let mut statement = tx.prepare_cached(
        "insert into conflicts
            (workspace, sync, pair, at, winner, field, link, left_print, right_print, waiting, body)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    statement.execute(params![
        workspace,
        sync.0,
        conflict.pair.0,
        now_ms,
        conflict.winner.map(side_number),
        field,
        number,
        print(Side::Left),
        print(Side::Right),
        waits,
        body,
    ])?;
    Ok(())
}

/// True when some conflict of the sync waits for a person.
pub(super) fn any_waits(tx: &Transaction<'_>, sync: SyncId) -> Result<bool, StoreError> {
    let mut statement = tx.prepare_cached(
        "select exists (select 1 from conflicts where sync = ?1 and waiting = 1)",
    )?;
    Ok(statement.query_row([sync.0], |row| row.get(0))?)
}

/// Ends the link's waiting conflicts over which both sides agree by now, whoever brought it about.
pub(super) fn end_agreed(
    tx: &Transaction<'_>,
    sync: SyncId,
    (id, link): (LinkId, &Link),
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "select id, field, left_print, right_print from conflicts
         where sync = ?1 and link = ?2 and waiting = 1",
    )?;
    let mut rows = statement.query(params![sync.0, Bits(id.0)])?;
    let mut over: Vec<i64> = Vec::new();
    while let Some(row) = rows.next()? {
        let field: Option<Bits> = row.get(1)?;
        let is_over = match field {
            None => !link.gone.left && !link.gone.right,
            Some(field) => {
                let now = |side: Side| link.baseline[side].get(field.0 as usize).map(|p| p.0);
                let (left, right): (Option<Bits>, Option<Bits>) = (row.get(2)?, row.get(3)?);
                (now(Side::Left), now(Side::Right)) != (left.map(|p| p.0), right.map(|p| p.0))
            }
        };
        if is_over {
            over.push(row.get(0)?);
        }
    }
    let mut statement = tx.prepare_cached("update conflicts set waiting = 0 where id = ?1")?;
    for id in over {
        statement.execute([id])?;
    }
    Ok(())
}

/// Ends the waiting conflicts of a link that is no more.
pub(super) fn end_of_link(
    tx: &Transaction<'_>,
    sync: SyncId,
    link: LinkId,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "update conflicts set waiting = 0 where sync = ?1 and link = ?2 and waiting = 1",
    )?;
    statement.execute(params![sync.0, Bits(link.0)])?;
    Ok(())
}

/// Remembers what a person picked.
pub fn note_pick(
    tx: &Transaction<'_>,
    sync: SyncId,
    (id, side): (i64, Side),
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "update conflicts set picked = ?3, picked_at = ?4 where sync = ?1 and id = ?2",
    )?;
    statement.execute(params![sync.0, id, side_number(side), now_ms])?;
    Ok(())
}

/// Conflicts of a workspace, newest first; those that wait first of all.
pub fn list(
    conn: &Connection,
    sealer: &Sealer,
    workspace: &str,
    filter: &Filter,
) -> Result<Vec<ConflictRecord>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from conflicts
         where workspace = ?1 and sync = coalesce(?2, sync) and waiting >= ?3
             and id - {SETTLED} * (1 - waiting) < ?4
         order by waiting desc, id desc limit ?5"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let Filter {
        sync,
        waiting,
        after,
        limit,
    } = filter;
    let after = after.unwrap_or(i64::MAX);
    let values = params![workspace, sync.map(|sync| sync.0), waiting, after, limit];
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(&row, sealer)?);
    }
    Ok(found)
}

/// The pair's fields have moved: those of the conflicts on record do, too. Conflicts in a field that
/// is mapped no more, and so can't be picked, go.
pub(super) fn move_fields(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    (sync, pair): (SyncId, PairId),
    place_of: impl Fn(usize) -> Option<usize>,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "select id, body from conflicts where sync = ?1 and pair = ?2 order by id",
    )?;
    let mut rows = statement.query(params![sync.0, pair.0])?;
    while let Some(row) = rows.next()? {
        let (id, sealed): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let json = keys.sealer().open(LABEL, &sealed)?;
        let mut conflict: Conflict =
            serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(LABEL))?;
        conflict.pair = pair;
        if let Some(field) = conflict.field {
            let Some(place) = place_of(field) else {
                tx.execute("delete from conflicts where id = ?1", [id])?;
                continue;
            };
            conflict.field = Some(place);
        }
        let json = serde_json::to_vec(&conflict).map_err(|_| StoreError::Malformed(LABEL))?;
        let field = conflict.field.map(|field| Bits(field as u64));
        tx.execute(
            "update conflicts set field = ?2, body = ?3 where id = ?1",
            params![id, field, keys.sealer().seal(LABEL, &json)],
        )?;
    }
    Ok(())
}

/// One conflict of a sync.
pub fn by_id(
    conn: &Connection,
    sealer: &Sealer,
    sync: SyncId,
    id: i64,
) -> Result<Option<ConflictRecord>, StoreError> {
    let sql = format!("select {COLUMNS} from conflicts where sync = ?1 and id = ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, id])?;
    rows.next()?.map(|row| record(&row, sealer)).transpose()
}

/// The link of the conflict's records as it is now; `None` when it is no more.
pub fn link_of(
    conn: &Connection,
    keys: &RecordKeys,
    sync: SyncId,
    id: i64,
) -> Result<Option<Link>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select l.id from conflicts c join links l
             on l.id = c.link and l.sync = c.sync and l.pair = c.pair
         where c.sync = ?1 and c.id = ?2",
    )?;
    let number: Option<i64> = statement
        .query_row(params![sync.0, id], |row| row.get(0))
        .optional()?;
    match number {
        Some(number) => links::by_id(conn, keys, number),
        None => Ok(None),
    }
}

fn record(row: &Row<'_>, sealer: &Sealer) -> Result<ConflictRecord, StoreError> {
    let sealed: Vec<u8> = row.get(2)?;
    let json = sealer.open(LABEL, &sealed)?;
    let picked: Option<i64> = row.get(4)?;
    let picked_at: Option<i64> = row.get(5)?;
    let side = picked.and_then(|number| {
        Side::BOTH
            .into_iter()
            .find(|side| side_number(*side) == number)
    });
    let waiting: bool = row.get(3)?;
    let print = |index: usize| -> Result<Option<Fingerprint>, StoreError> {
        let print: Option<Bits> = row.get(index)?;
        Ok(print.filter(|_| waiting).map(|bits| Fingerprint(bits.0)))
    };
    Ok(ConflictRecord {
        id: row.get(0)?,
        sync: SyncId(row.get(6)?),
        at_ms: row.get(1)?,
        conflict: serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(LABEL))?,
        waiting,
        picked: side.zip(picked_at),
        base: BySide::new(print(7)?, print(8)?),
    })
}

/// Conflicts of each table pair that has some: on record, and how many of them wait for a person.
pub fn counts(conn: &Connection, sync: SyncId) -> Result<Vec<(PairId, u64, u64)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select pair, count(*), cast(sum(waiting) as bigint) from conflicts where sync = ?1 group by pair",
    )?;
    let rows = statement.query_map([sync.0], |row| {
        let count = |index: usize| row.get::<Bits>(index).map(|bits| bits.0);
        Ok((PairId(row.get(0)?), count(1)?, count(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes conflicts of all syncs that are older than the retention time allows.
pub fn forget_before(tx: &Transaction<'_>, before_ms: i64) -> Result<usize, StoreError> {
    let sql = "delete from conflicts where at < ?1 and waiting = 0";
    Ok(tx.execute(sql, [before_ms])?)
}

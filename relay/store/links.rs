//! Record links with their baselines.
//!
//! Links are found by `link_keys`, which keeps the links of a table pair a partial bijection at
//! every moment: of the links of a key each has got it at another moment. While a sync is not live,
//! new links are only appended, and entered into `link_keys` in bulk by [`index_some`]: random
//! inserts into two indexes for each small settlement of a copy would write most of the indexes
//! again every time.

use tidegate_sync::model::{BatchId, BySide, Key, Link, LinkId, PairId, Place, Side};

use super::StoreError;
use super::keys::{Bits, KeyHash, RecordKeys, pack_prints, side_number, unpack_prints};
use super::moments::Moment;
use super::pairs::Delta;
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};
use super::syncs::SyncId;

const LEFT_KEY: &str = "links.left_key";
const RIGHT_KEY: &str = "links.right_key";
const COLUMNS: &str = "id, left_key, right_key, left_prints, right_prints, left_seen, right_seen, \
                       left_written, right_written, left_seen_at, right_seen_at, left_since, \
                       right_since, left_gone, right_gone";

/// The links of the records that `side` calls or called `hash`, in the order in which they got the
/// key.
pub(super) fn of_key(
    conn: &Connection,
    keys: &RecordKeys,
    (sync, pair, side): (SyncId, PairId, Side),
    hash: &KeyHash,
) -> Result<Vec<Link>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select link from link_keys
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4 order by since",
    )?;
    let mut rows = statement.query(params![sync.0, pair.0, side_number(side), hash])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        links.extend(by_id(conn, keys, row.get(0)?)?);
    }
    Ok(links)
}

/// The link with that number.
pub(super) fn by_id(
    conn: &Connection,
    keys: &RecordKeys,
    id: i64,
) -> Result<Option<Link>, StoreError> {
    let sql = format!("select {COLUMNS} from links where id = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(|row| from_row(&row, keys)).transpose()
}

/// Up to `limit` links of a pair with numbers above `after`, in the order of their numbers.
pub fn page(
    conn: &Connection,
    keys: &RecordKeys,
    (sync, pair): (SyncId, PairId),
    after: LinkId,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from links where sync = ?1 and id > ?3 and pair = ?2 order by id limit ?4"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, pair.0, Bits(after.0), limit])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        links.push(from_row(&row, keys)?);
    }
    Ok(links)
}

/// By what a side's history finds a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    hash: KeyHash,
    since: Moment,
}

/// A link ready to be written.
pub(super) struct LinkRow {
    pub(super) pair: PairId,
    link: Link,
    names: BySide<Option<Name>>,
    /// Sealed ahead only for new links: the keys of others seldom change.
    sealed: Option<BySide<Option<Vec<u8>>>>,
}

impl LinkRow {
    /// Hashes and seals; done before the writer's turn.
    pub(super) fn new(keys: &RecordKeys, pair: PairId, link: Link) -> Self {
        let names = BySide::from_fn(|side| {
            let hash = keys.hash(link.keys[side].as_ref()?);
            let since = Moment(link.since[side]);
            Some(Name { hash, since })
        });
        let sealed = (link.id == LinkId(0)).then(|| sealed_keys(keys, &link));
        Self {
            pair,
            link,
            names,
            sealed,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.link.id == LinkId(0)
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    fn is_live(&self) -> bool {
        !self.link.is_half()
    }

    fn hash(&self, side: Side) -> Option<&KeyHash> {
        self.names[side].as_ref().map(|name| &name.hash)
    }
}

/// How a write changed the number of live links.
pub(super) type LiveDelta = i64;

/// Removes a link.
pub(super) fn delete(
    tx: &Transaction<'_>,
    sync: SyncId,
    pair: PairId,
    id: LinkId,
) -> Result<LiveDelta, StoreError> {
    let mut statement = tx.prepare_cached(
        "delete from links where id = ?1 and sync = ?2 and pair = ?3
         returning left_hash, left_since, right_hash, right_since",
    )?;
    let names = statement
        .query_row(params![Bits(id.0), sync.0, pair.0], names_from_row)
        .optional()?;
    let Some(names) = names else {
        return Ok(0);
    };
    forget_keys(tx, (sync, pair), id.0.cast_signed(), &names)?;
    Ok(-LiveDelta::from(
        names.left.is_some() && names.right.is_some(),
    ))
}

/// What is stored of a link that is to be replaced.
pub(super) struct Former {
    keys_changed: bool,
    was_live: bool,
}

/// Looks at the stored link, and frees its keys when they change: links of one settlement may swap
/// keys, which a unique index would refuse half-way.
pub(super) fn free_changed_keys(
    tx: &Transaction<'_>,
    sync: SyncId,
    row: &LinkRow,
) -> Result<Option<Former>, StoreError> {
    let mut statement = tx.prepare_cached(
        "select left_hash, left_since, right_hash, right_since from links where id = ?1",
    )?;
    let stored = statement
        .query_row([Bits(row.link.id.0)], names_from_row)
        .optional()?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let keys_changed = stored != row.names;
    if keys_changed {
        forget_keys(tx, (sync, row.pair), row.link.id.0.cast_signed(), &stored)?;
    }
    Ok(Some(Former {
        keys_changed,
        was_live: stored.left.is_some() && stored.right.is_some(),
    }))
}

/// Replaces a stored link.
pub(super) fn update(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    row: &LinkRow,
    former: &Former,
) -> Result<(LinkId, LiveDelta), StoreError> {
    let link = &row.link;
    let mut statement = tx.prepare_cached(
        "update links set left_prints = ?2, right_prints = ?3, left_seen = ?4, right_seen = ?5,
             left_written = ?6, right_written = ?7, left_seen_at = ?8, right_seen_at = ?9,
             left_gone = ?10, right_gone = ?11
         where id = ?1",
    )?;
    statement.execute(params![
        Bits(link.id.0),
        pack_prints(&link.baseline.left),
        pack_prints(&link.baseline.right),
        Bits(link.seen.left.offset),
        Bits(link.seen.right.offset),
        Bits(link.written.left.0),
        Bits(link.written.right.0),
        Bits(link.seen.left.at),
        Bits(link.seen.right.at),
        link.gone.left,
        link.gone.right,
    ])?;
    if former.keys_changed {
        let mut statement = tx.prepare_cached(
            "update links set left_hash = ?2, right_hash = ?3, left_key = ?4, right_key = ?5,
                 left_since = ?6, right_since = ?7
             where id = ?1",
        )?;
        let sealed = sealed_keys(keys, link);
        statement.execute(params![
            Bits(link.id.0),
            row.hash(Side::Left),
            row.hash(Side::Right),
            sealed.left,
            sealed.right,
            Moment(link.since.left),
            Moment(link.since.right),
        ])?;
        put_keys(tx, sync, row, link.id.0.cast_signed())?;
    }
    let delta = LiveDelta::from(row.is_live()) - LiveDelta::from(former.was_live);
    Ok((link.id, delta))
}

/// How new links are stored.
#[derive(Clone, Copy)]
pub(super) struct Placing {
    /// They get numbers above this one.
    above: i64,
    /// Found by their keys at once, instead of after [`index_some`].
    indexed: bool,
}

/// Stores a link that is not there.
pub(super) fn insert(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    row: &LinkRow,
    placing: &mut Placing,
) -> Result<(LinkId, LiveDelta), StoreError> {
    let link = &row.link;
    let id = if placing.indexed && !row.is_new() {
        link.id.0.cast_signed()
    } else {
        placing.above += 1;
        placing.above
    };
    let resealed;
    let sealed = match &row.sealed {
        Some(sealed) => sealed,
        None => {
            resealed = sealed_keys(keys, link);
            &resealed
        }
    };
    let mut statement = tx.prepare_cached(
        "insert into links (id, sync, pair, left_hash, right_hash, left_key, right_key, left_prints,
             right_prints, left_seen, right_seen, left_written, right_written, left_seen_at,
             right_seen_at, left_since, right_since, left_gone, right_gone)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19)",
    )?;
    statement.execute(params![
        id,
        sync.0,
        row.pair.0,
        row.hash(Side::Left),
        row.hash(Side::Right),
        sealed.left,
        sealed.right,
        pack_prints(&link.baseline.left),
        pack_prints(&link.baseline.right),
        Bits(link.seen.left.offset),
        Bits(link.seen.right.offset),
        Bits(link.written.left.0),
        Bits(link.written.right.0),
        Bits(link.seen.left.at),
        Bits(link.seen.right.at),
        Moment(link.since.left),
        Moment(link.since.right),
        link.gone.left,
        link.gone.right,
    ])?;
    if placing.indexed {
        put_keys(tx, sync, row, id)?;
    }
    Ok((LinkId(id.cast_unsigned()), row.is_live().into()))
}

/// Where new links of the sync go that are found by their keys at once: above every stored number,
/// and above those that `rows` bring along.
pub(super) fn index_above(tx: &Transaction<'_>, rows: &[LinkRow]) -> Result<Placing, StoreError> {
    let brought = rows.iter().map(|row| row.link.id.0.cast_signed()).max();
    let mut above = brought.unwrap_or(0);
    if rows.iter().any(LinkRow::is_new) {
        let mut statement = tx.prepare_cached("select coalesce(max(id), 0) from links")?;
        above = above.max(statement.query_row((), |row| row.get(0))?);
    }
    Ok(Placing {
        above,
        indexed: true,
    })
}

/// Where appended links of the sync go: above every number that was ever indexed.
pub(super) fn append_above(tx: &Transaction<'_>, sync: SyncId) -> Result<Placing, StoreError> {
    let mut statement = tx.prepare_cached(
        "select (select coalesce(max(id), 0) from links), links_indexed_to
         from syncs where id = ?1",
    )?;
    let (stored, indexed): (i64, i64) =
        statement.query_row([sync.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Placing {
        above: stored.max(indexed),
        indexed: false,
    })
}

/// Enters up to `limit` appended links into `link_keys`. Returns false when none are left.
///
/// A link that got a key at the same moment as another one is dropped: the next look at its records
/// finds them unlinked and matches them again.
pub(super) fn index_some(
    tx: &Transaction<'_>,
    sync: SyncId,
    limit: u32,
) -> Result<bool, StoreError> {
    let (live, from): (bool, i64) = tx.query_row(
        "select live, links_indexed_to from syncs where id = ?1",
        [sync.0],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let to: Option<i64> = tx.query_row(
        "select max(id) from (
             select id from links where sync = ?1 and id > ?2 order by id limit ?3) as some",
        params![sync.0, from, limit],
        |row| row.get(0),
    )?;
    let (false, Some(to)) = (live, to) else {
        return Ok(false);
    };
    for (side, hash, since) in [
        (Side::Left, "left_hash", "left_since"),
        (Side::Right, "right_hash", "right_since"),
    ] {
        // In the order of the hashes: neighbours go to the same page.
        let sql = format!(
            "insert into link_keys (sync, pair, side, key_hash, since, link)
             select sync, pair, ?4, {hash}, {since}, id from links
             where sync = ?1 and id > ?2 and id <= ?3 and {hash} is not null order by pair, {hash}
             on conflict do nothing"
        );
        let wanted: i64 = tx.query_row(
            &format!("select count({hash}) from links where sync = ?1 and id > ?2 and id <= ?3"),
            params![sync.0, from, to],
            |row| row.get(0),
        )?;
        let entered = tx.execute(&sql, params![sync.0, from, to, side_number(side)])?;
        if i64::try_from(entered) != Ok(wanted) {
            drop_second_links(tx, sync, (from, to), side)?;
        }
    }
    tx.execute(
        "update syncs set links_indexed_to = ?2 where id = ?1",
        params![sync.0, to],
    )?;
    Ok(true)
}

/// Notes that every stored link is found by its keys, before new ones are appended.
pub(super) fn mark_all_indexed(tx: &Transaction<'_>, sync: SyncId) -> Result<(), StoreError> {
    tx.execute(
        "update syncs set links_indexed_to = (select max(id) from links where sync = ?1)
         where id = ?1 and live = 1
             and links_indexed_to < (select max(id) from links where sync = ?1)",
        [sync.0],
    )?;
    Ok(())
}

fn drop_second_links(
    tx: &Transaction<'_>,
    sync: SyncId,
    (from, to): (i64, i64),
    side: Side,
) -> Result<(), StoreError> {
    let (hash, since) = match side {
        Side::Left => ("left_hash", "left_since"),
        Side::Right => ("right_hash", "right_since"),
    };
    let sql = format!(
        "select l.id, l.pair from links l
         join link_keys k on k.sync = l.sync and k.pair = l.pair and k.side = ?4
             and k.key_hash = l.{hash} and k.since = l.{since}
         where l.sync = ?1 and l.id > ?2 and l.id <= ?3 and k.link <> l.id"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let found = statement.query_map(params![sync.0, from, to, side_number(side)], |row| {
        Ok((row.get::<Bits>(0)?, row.get(1)?))
    })?;
    let second: Vec<(Bits, u32)> = found.collect::<Result<_, _>>()?;
    for (id, pair) in &second {
        let pair = PairId(*pair);
        let linked = delete(tx, sync, pair, LinkId(id.0))?;
        let delta = Delta {
            linked,
            ..Delta::default()
        };
        super::pairs::add(tx, sync, pair, &delta)?;
    }
    tracing::warn!(
        sync = sync.0,
        links = second.len(),
        "Dropped second links of linked records."
    );
    Ok(())
}

fn put_keys(tx: &Transaction<'_>, sync: SyncId, row: &LinkRow, id: i64) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "insert into link_keys (sync, pair, side, key_hash, since, link)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for side in Side::BOTH {
        if let Some(Name { hash, since }) = &row.names[side] {
            let put = statement.execute(params![
                sync.0,
                row.pair.0,
                side_number(side),
                hash,
                since,
                id
            ]);
            refuse_second_partner(put, row.pair)?;
        }
    }
    Ok(())
}

fn forget_keys(
    tx: &Transaction<'_>,
    (sync, pair): (SyncId, PairId),
    id: i64,
    names: &BySide<Option<Name>>,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "delete from link_keys
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4 and since = ?5
             and link = ?6",
    )?;
    for side in Side::BOTH {
        if let Some(Name { hash, since }) = &names[side] {
            statement.execute(params![sync.0, pair.0, side_number(side), hash, since, id])?;
        }
    }
    Ok(())
}

/// Hash and moment of the left side, then of the right.
fn names_from_row(row: &Row<'_>) -> sql::Result<BySide<Option<Name>>> {
    let name = |index: usize| -> sql::Result<Option<Name>> {
        let since = row.get(index + 1)?;
        let hash: Option<KeyHash> = row.get(index)?;
        Ok(hash.map(|hash| Name { hash, since }))
    };
    Ok(BySide::new(name(0)?, name(2)?))
}

fn refuse_second_partner(result: sql::Result<usize>, pair: PairId) -> Result<usize, StoreError> {
    result.map_err(|error| {
        if error.is_unique_violation() {
            StoreError::LinkTaken { pair: pair.0 }
        } else {
            StoreError::Sql(error)
        }
    })
}

fn sealed_keys(keys: &RecordKeys, link: &Link) -> BySide<Option<Vec<u8>>> {
    let seal = |column, key: &Option<Key>| key.as_ref().map(|key| keys.seal(column, key));
    BySide::new(
        seal(LEFT_KEY, &link.keys.left),
        seal(RIGHT_KEY, &link.keys.right),
    )
}

fn from_row(row: &Row<'_>, keys: &RecordKeys) -> Result<Link, StoreError> {
    let blob = |index: usize| -> Result<Option<&[u8]>, StoreError> {
        let value = row.get_ref(index)?;
        value
            .as_blob_or_null()
            .map_err(|_| StoreError::Malformed("links"))
    };
    let bits = |index: usize| -> Result<u64, StoreError> { Ok(row.get::<Bits>(index)?.0) };
    let place = |offset: usize, at: usize| -> Result<Place, StoreError> {
        Ok(Place {
            offset: bits(offset)?,
            at: bits(at)?,
        })
    };
    Ok(Link {
        id: LinkId(bits(0)?),
        keys: BySide::new(
            keys.open_optional(LEFT_KEY, blob(1)?)?,
            keys.open_optional(RIGHT_KEY, blob(2)?)?,
        ),
        baseline: BySide::new(
            unpack_prints("links.left_prints", blob(3)?.unwrap_or_default())?,
            unpack_prints("links.right_prints", blob(4)?.unwrap_or_default())?,
        ),
        since: BySide::new(row.get::<Moment>(11)?.0, row.get::<Moment>(12)?.0),
        gone: BySide::new(row.get(13)?, row.get(14)?),
        seen: BySide::new(place(5, 9)?, place(6, 10)?),
        written: BySide::new(BatchId(bits(7)?), BatchId(bits(8)?)),
    })
}

//! Record links with their baselines.
//!
//! Links are found by `link_keys`, which keeps the links of a table pair a partial bijection: each
//! key hash at most once per side. While a sync is not live, new links are only appended, and
//! entered into `link_keys` in bulk by [`index_some`]: random inserts into two indexes for each
//! small settlement of a copy would write most of the indexes again every time.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use tidegate_sync::model::{BatchId, BySide, Key, Link, LinkId, PairId, Side};

use super::StoreError;
use super::keys::{Bits, KeyHash, RecordKeys, pack_prints, side_number, unpack_prints};
use super::pairs::Delta;
use super::syncs::SyncId;

const LEFT_KEY: &str = "links.left_key";
const RIGHT_KEY: &str = "links.right_key";
const COLUMNS: &str = "id, left_key, right_key, left_prints, right_prints, left_seen, right_seen, \
                       left_written, right_written";

/// The link of the record that `side` calls `hash`.
pub(super) fn by_key(
    conn: &Connection,
    keys: &RecordKeys,
    (sync, pair, side): (SyncId, PairId, Side),
    hash: &KeyHash,
) -> Result<Option<Link>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select link from link_keys
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4",
    )?;
    let id: Option<i64> = statement
        .query_row(params![sync.0, pair.0, side_number(side), hash], |row| {
            row.get(0)
        })
        .optional()?;
    id.map_or(Ok(None), |id| by_id(conn, keys, id))
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
    rows.next()?.map(|row| from_row(row, keys)).transpose()
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
        links.push(from_row(row, keys)?);
    }
    Ok(links)
}

/// A link ready to be written.
pub(super) struct LinkRow {
    pub(super) pair: PairId,
    link: Link,
    hashes: BySide<Option<KeyHash>>,
    /// Sealed ahead only for new links: the keys of others seldom change.
    sealed: Option<BySide<Option<Vec<u8>>>>,
}

impl LinkRow {
    /// Hashes and seals; done before the writer's turn.
    pub(super) fn new(keys: &RecordKeys, pair: PairId, link: Link) -> Self {
        let hashes = BySide::from_fn(|side| link.keys[side].as_ref().map(|key| keys.hash(key)));
        let sealed = (link.id == LinkId(0)).then(|| sealed_keys(keys, &link));
        Self {
            pair,
            link,
            hashes,
            sealed,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.link.id == LinkId(0)
    }

    fn is_live(&self) -> bool {
        !self.link.is_detached()
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
         returning left_hash, right_hash",
    )?;
    let hashes = statement
        .query_row(params![Bits(id.0), sync.0, pair.0], hashes_from_row)
        .optional()?;
    let Some(hashes) = hashes else {
        return Ok(0);
    };
    forget_keys(tx, (sync, pair), id.0.cast_signed(), &hashes)?;
    Ok(-LiveDelta::from(
        hashes.left.is_some() && hashes.right.is_some(),
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
    let mut statement =
        tx.prepare_cached("select left_hash, right_hash from links where id = ?1")?;
    let stored = statement
        .query_row([Bits(row.link.id.0)], hashes_from_row)
        .optional()?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let keys_changed = stored != row.hashes;
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
) -> Result<LiveDelta, StoreError> {
    let link = &row.link;
    let mut statement = tx.prepare_cached(
        "update links set left_prints = ?2, right_prints = ?3, left_seen = ?4, right_seen = ?5,
             left_written = ?6, right_written = ?7
         where id = ?1",
    )?;
    statement.execute(params![
        Bits(link.id.0),
        pack_prints(&link.baseline.left),
        pack_prints(&link.baseline.right),
        Bits(link.seen.left),
        Bits(link.seen.right),
        Bits(link.written.left.0),
        Bits(link.written.right.0),
    ])?;
    if former.keys_changed {
        let mut statement = tx.prepare_cached(
            "update links set left_hash = ?2, right_hash = ?3, left_key = ?4, right_key = ?5
             where id = ?1",
        )?;
        let sealed = sealed_keys(keys, link);
        statement.execute(params![
            Bits(link.id.0),
            row.hashes.left,
            row.hashes.right,
            sealed.left,
            sealed.right
        ])?;
        put_keys(tx, sync, row, link.id.0.cast_signed())?;
    }
    Ok(LiveDelta::from(row.is_live()) - LiveDelta::from(former.was_live))
}

/// How new links are stored.
#[derive(Clone, Copy)]
pub(super) enum Placing {
    /// Found by their keys at once.
    Indexed,
    /// With numbers above this one, and found by their keys after [`index_some`].
    Appended { above: i64 },
}

/// Stores a link that is not there.
pub(super) fn insert(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    row: &LinkRow,
    placing: &mut Placing,
) -> Result<LiveDelta, StoreError> {
    let link = &row.link;
    let id = match placing {
        Placing::Appended { above } => {
            *above += 1;
            Some(*above)
        }
        Placing::Indexed => (!row.is_new()).then_some(link.id.0.cast_signed()),
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
             right_prints, left_seen, right_seen, left_written, right_written)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    statement.execute(params![
        id,
        sync.0,
        row.pair.0,
        row.hashes.left,
        row.hashes.right,
        sealed.left,
        sealed.right,
        pack_prints(&link.baseline.left),
        pack_prints(&link.baseline.right),
        Bits(link.seen.left),
        Bits(link.seen.right),
        Bits(link.written.left.0),
        Bits(link.written.right.0),
    ])?;
    if let Placing::Indexed = placing {
        put_keys(tx, sync, row, tx.last_insert_rowid())?;
    }
    Ok(LiveDelta::from(row.is_live()))
}

/// Where appended links of the sync go: above every number that was ever indexed.
pub(super) fn append_above(tx: &Transaction<'_>, sync: SyncId) -> Result<Placing, StoreError> {
    let mut statement = tx.prepare_cached(
        "select max(coalesce((select max(id) from links), 0), links_indexed_to)
         from syncs where id = ?1",
    )?;
    let above = statement.query_row([sync.0], |row| row.get(0))?;
    Ok(Placing::Appended { above })
}

/// Enters up to `limit` appended links into `link_keys`. Returns false when none are left.
///
/// A link whose key has another link already is dropped: the next look at its records finds them
/// unlinked and matches them again.
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
        "select max(id) from (select id from links where sync = ?1 and id > ?2 order by id limit ?3)",
        params![sync.0, from, limit],
        |row| row.get(0),
    )?;
    let (false, Some(to)) = (live, to) else {
        return Ok(false);
    };
    for (side, hash) in [(Side::Left, "left_hash"), (Side::Right, "right_hash")] {
        // In the order of the hashes: neighbours go to the same page.
        let sql = format!(
            "insert or ignore into link_keys (sync, pair, side, key_hash, link)
             select sync, pair, ?4, {hash}, id from links
             where sync = ?1 and id > ?2 and id <= ?3 and {hash} is not null order by pair, {hash}"
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
        "update syncs set links_indexed_to = max(links_indexed_to,
             coalesce((select max(id) from links where sync = ?1), 0))
         where id = ?1 and live",
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
    let hash = match side {
        Side::Left => "left_hash",
        Side::Right => "right_hash",
    };
    let sql = format!(
        "select l.id, l.pair from links l
         join link_keys k on k.sync = l.sync and k.pair = l.pair and k.side = ?4
             and k.key_hash = l.{hash}
         where l.sync = ?1 and l.id > ?2 and l.id <= ?3 and k.link <> l.id"
    );
    let mut statement = tx.prepare(&sql)?;
    let found = statement.query_map(params![sync.0, from, to, side_number(side)], |row| {
        Ok((row.get::<_, Bits>(0)?, row.get(1)?))
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
        "insert into link_keys (sync, pair, side, key_hash, link) values (?1, ?2, ?3, ?4, ?5)",
    )?;
    for side in Side::BOTH {
        if let Some(hash) = &row.hashes[side] {
            let put = statement.execute(params![sync.0, row.pair.0, side_number(side), hash, id]);
            refuse_second_partner(put, row.pair)?;
        }
    }
    Ok(())
}

fn forget_keys(
    tx: &Transaction<'_>,
    (sync, pair): (SyncId, PairId),
    id: i64,
    hashes: &BySide<Option<KeyHash>>,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "delete from link_keys
         where sync = ?1 and pair = ?2 and side = ?3 and key_hash = ?4 and link = ?5",
    )?;
    for side in Side::BOTH {
        if let Some(hash) = &hashes[side] {
            statement.execute(params![sync.0, pair.0, side_number(side), hash, id])?;
        }
    }
    Ok(())
}

fn hashes_from_row(row: &Row<'_>) -> rusqlite::Result<BySide<Option<KeyHash>>> {
    Ok(BySide::new(row.get(0)?, row.get(1)?))
}

fn refuse_second_partner(
    result: rusqlite::Result<usize>,
    pair: PairId,
) -> Result<usize, StoreError> {
    result.map_err(|error| {
        if StoreError::is_unique_violation(&error) {
            StoreError::LinkTaken { pair: pair.0 }
        } else {
            StoreError::Sqlite(error)
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
    let bits = |index: usize| -> Result<u64, StoreError> { Ok(row.get::<_, Bits>(index)?.0) };
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
        seen: BySide::new(bits(5)?, bits(6)?),
        written: BySide::new(BatchId(bits(7)?), BatchId(bits(8)?)),
    })
}

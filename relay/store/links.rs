//! Record links with their baselines. The schema keeps the links of a table pair a partial
//! bijection: each key hash at most once per side.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use tidegate_sync::model::{BatchId, BySide, Key, Link, LinkId, PairId, Side};

use super::StoreError;
use super::keys::{Bits, KeyHash, RecordKeys, pack_prints, unpack_prints};
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
    let column = match side {
        Side::Left => "left_hash",
        Side::Right => "right_hash",
    };
    let sql =
        format!("select {COLUMNS} from links where sync = ?1 and pair = ?2 and {column} = ?3");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, pair.0, hash])?;
    rows.next()?.map(|row| from_row(row, keys)).transpose()
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
        "select {COLUMNS} from links where id > ?3 and sync = ?1 and +pair = ?2 order by id limit ?4"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![sync.0, pair.0, Bits(after.0), limit])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        links.push(from_row(row, keys)?);
    }
    Ok(links)
}

/// A link ready to be written: hashed, sealed and packed.
pub(super) struct LinkRow<'a> {
    pair: PairId,
    link: &'a Link,
    hashes: BySide<Option<KeyHash>>,
}

impl<'a> LinkRow<'a> {
    pub(super) fn new(keys: &RecordKeys, pair: PairId, link: &'a Link) -> Self {
        let hashes = BySide::from_fn(|side| link.keys[side].as_ref().map(|key| keys.hash(key)));
        Self { pair, link, hashes }
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
         returning left_hash is not null and right_hash is not null",
    )?;
    let was_live: Option<bool> = statement
        .query_row(params![Bits(id.0), sync.0, pair.0], |row| row.get(0))
        .optional()?;
    Ok(-LiveDelta::from(was_live == Some(true)))
}

/// What is stored of a link that is to be replaced.
pub(super) struct Former {
    keys_changed: bool,
    was_live: bool,
}

/// Looks at the stored link, and frees its hashes when its keys change: links of one settlement
/// may swap keys, which a unique index would refuse half-way.
pub(super) fn free_changed_keys(
    tx: &Transaction<'_>,
    row: &LinkRow<'_>,
) -> Result<Option<Former>, StoreError> {
    let mut statement =
        tx.prepare_cached("select left_hash, right_hash from links where id = ?1")?;
    let stored: Option<(Option<KeyHash>, Option<KeyHash>)> = statement
        .query_row([Bits(row.link.id.0)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((left, right)) = stored else {
        return Ok(None);
    };
    let keys_changed = left != row.hashes.left || right != row.hashes.right;
    if keys_changed {
        let mut statement = tx.prepare_cached(
            "update links set left_hash = null, left_key = null, right_hash = null, right_key = null
             where id = ?1",
        )?;
        statement.execute([Bits(row.link.id.0)])?;
    }
    Ok(Some(Former {
        keys_changed,
        was_live: left.is_some() && right.is_some(),
    }))
}

/// Replaces a stored link.
pub(super) fn update(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    row: &LinkRow<'_>,
    former: &Former,
) -> Result<LiveDelta, StoreError> {
    let link = row.link;
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
        let (left, right) = sealed_keys(keys, link);
        let changed = statement.execute(params![
            Bits(link.id.0),
            row.hashes.left,
            row.hashes.right,
            left,
            right
        ]);
        refuse_second_partner(changed, row.pair)?;
    }
    Ok(LiveDelta::from(row.is_live()) - LiveDelta::from(former.was_live))
}

/// Stores a new link. `id` is given when a link that was stored once is stored again.
pub(super) fn insert(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    sync: SyncId,
    row: &LinkRow<'_>,
) -> Result<LiveDelta, StoreError> {
    let link = row.link;
    let id = (link.id != LinkId(0)).then_some(Bits(link.id.0));
    let (left, right) = sealed_keys(keys, link);
    let mut statement = tx.prepare_cached(
        "insert into links (id, sync, pair, left_hash, right_hash, left_key, right_key, left_prints,
             right_prints, left_seen, right_seen, left_written, right_written)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    let inserted = statement.execute(params![
        id,
        sync.0,
        row.pair.0,
        row.hashes.left,
        row.hashes.right,
        left,
        right,
        pack_prints(&link.baseline.left),
        pack_prints(&link.baseline.right),
        Bits(link.seen.left),
        Bits(link.seen.right),
        Bits(link.written.left.0),
        Bits(link.written.right.0),
    ]);
    refuse_second_partner(inserted, row.pair)?;
    Ok(LiveDelta::from(row.is_live()))
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

fn sealed_keys(keys: &RecordKeys, link: &Link) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let seal = |column, key: &Option<Key>| key.as_ref().map(|key| keys.seal(column, key));
    (
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

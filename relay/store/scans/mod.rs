//! The scan table of one reconcile: what both sides hold, joined with the links and by match key.
//!
//! Fill it with [`Scan::add`], join it once with [`Scan::finish`], then page through
//! [`Scan::matches`]. It is a database file of its own, without a journal: a crash loses it, and
//! the next run scans again. Record keys in it are sealed with a key that lives only in this
//! process, and the file goes with the `Scan`.

mod join;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::{Match, Scanned};
use tidegate_sync::model::{BySide, Key, Link, PairId, Side};
use zeroize::Zeroizing;

use self::join::Links;
use super::keys::{Bits, RecordKeys, pack_prints, side_number, unpack_prints};
use super::layouts::Remap;
use super::sealer::fill_random;
use super::sql::{self, Connection, Transaction, params};
use super::syncs::SyncId;
use super::{Sealer, Store, StoreError, limits, links};

/// Numbers the scan tables beside running syncs, so that two previews never share a file.
static LOOKS: AtomicU64 = AtomicU64::new(1);

/// No sync has this number, so no link has it.
const NO_SYNC: SyncId = SyncId(0);

/// Conditions on a match.
const ALL: &str = "true";
const MET: &str = "m.link is not null or (m.left_row is not null and m.right_row is not null)";

const DIRECTORY: &str = "scans";
const KEY: &str = "scans.key";

/// One scanned record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanRow {
    pub key: Key,
    /// From `Fingerprinter::match_key`; `None` when a field of the match key is null.
    pub match_key: Option<[u8; 16]>,
    /// One for each field pair.
    pub fingerprints: Vec<Fingerprint>,
    /// Where the side finds it again, if it says so.
    pub place: Option<u64>,
    /// About how long the record is: pages are bounded by it.
    pub bytes: u32,
}

/// A place in a pair's matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(i64);

impl Cursor {
    /// Before the first match.
    pub const START: Cursor = Cursor(i64::MIN);
}

/// Some matches of a pair, and where the next page begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub found: Vec<Match>,
    /// Parallel to `found`: where the scanned records were.
    pub places: Vec<BySide<Option<u64>>>,
    pub next: Cursor,
    /// True when the pair has no more.
    pub done: bool,
}

/// The scan table of one reconcile. Cheap to clone; the last clone removes the file.
#[derive(Clone)]
pub struct Scan {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    sync: SyncId,
    /// Hashes as the links do; opens links.
    links: RecordKeys,
    /// Seals the scanned keys.
    own: RecordKeys,
    /// Shows links as if their layout were changed already.
    remap: Option<Remap>,
    conn: Mutex<Connection>,
}

impl Scan {
    /// A scan table beside a running sync, for a preview or a verify; `sync` is `None` for one that
    /// does not exist yet and has no links.
    pub async fn aside(
        store: &Store,
        sync: Option<SyncId>,
        purpose: &'static str,
    ) -> Result<Scan, StoreError> {
        let number = LOOKS.fetch_add(1, Ordering::Relaxed);
        Self::open(
            store,
            sync.unwrap_or(NO_SYNC),
            format!("{purpose}-{number}"),
            None,
        )
        .await
    }

    /// A scan table for the preview of an edit: shows the sync's links as `remap` would make them.
    pub async fn as_edited(
        store: &Store,
        sync: Option<SyncId>,
        remap: Remap,
    ) -> Result<Scan, StoreError> {
        let number = LOOKS.fetch_add(1, Ordering::Relaxed);
        let sync = sync.unwrap_or(NO_SYNC);
        Self::open(store, sync, format!("edit-{number}"), Some(remap)).await
    }

    pub(super) async fn create(
        store: &Store,
        sync: SyncId,
        epoch: u32,
    ) -> Result<Scan, StoreError> {
        Self::open(store, sync, format!("run-{epoch}"), None).await
    }

    async fn open(
        store: &Store,
        sync: SyncId,
        purpose: String,
        remap: Option<Remap>,
    ) -> Result<Scan, StoreError> {
        let dir = store.data_dir().join(DIRECTORY);
        let database = store.database_path();
        let links = RecordKeys::new(store.sealer(), sync);
        blocking(move || {
            fs::create_dir_all(&dir).map_err(StoreError::file("create", &dir))?;
            let path = dir.join(format!("{}-{purpose}.db", sync.0));
            remove_if_there(&path)?;
            super::sqlite::make_private_file(&path)?;
            let conn = open_table(&path, &database)?;
            let mut key = Zeroizing::new([0; 32]);
            fill_random(key.as_mut());
            let own = RecordKeys::new(&Sealer::from_master_key(&key), sync);
            let conn = Mutex::new(conn);
            let inner = Arc::new(Inner {
                path,
                sync,
                links,
                own,
                remap,
                conn,
            });
            Ok(Scan { inner })
        })
        .await
    }

    /// Adds records of one side. Both sides may be added at the same time, in any order; a few
    /// thousand at once are best.
    pub async fn add(
        &self,
        pair: PairId,
        side: Side,
        rows: Vec<ScanRow>,
    ) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.add(pair, side, &rows)).await
    }

    /// Joins what was added with the links, once, for all pairs. Takes seconds for a million
    /// records.
    pub async fn finish(&self) -> Result<(), StoreError> {
        self.finish_pairs(None).await
    }

    /// [`Scan::finish`] for these pairs alone; `None` for all.
    pub async fn finish_pairs(&self, pairs: Option<Vec<PairId>>) -> Result<(), StoreError> {
        self.join(pairs, Links::All).await
    }

    /// [`Scan::finish`] where only a part of the tables was added: links of which no record was are
    /// left out, and one of which a record was may lack the other.
    pub async fn finish_part(&self) -> Result<(), StoreError> {
        self.join(None, Links::Named).await
    }

    async fn join(&self, pairs: Option<Vec<PairId>>, which: Links) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let from = |pair: i64| inner.link_pair(pair);
            join::run(&inner.lock(), inner.sync, (pairs.as_deref(), which), from)
        })
        .await
    }

    /// The pair's next matches after `after`, at most `limit` and fewer where records are long,
    /// roughly in the order in which the left side was scanned. Links are as they are now; one that
    /// was dropped meanwhile is passed over.
    ///
    /// Where a link's record has another key now than the link says, its side of the match holds
    /// the new key: the record was re-keyed, or took the place of a detached one.
    pub async fn matches(
        &self,
        pair: PairId,
        after: Cursor,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.matches(pair, ALL, after, limit)).await
    }

    /// [`Scan::matches`] without those that [`Scan::alone`] counts.
    pub async fn met(&self, pair: PairId, after: Cursor, limit: usize) -> Result<Page, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.matches(pair, MET, after, limit)).await
    }

    /// Counts the pair's records that have neither link nor partner, by side and problem: without a
    /// filter, what a reconcile decides about them depends on nothing else. Each match stands for that
    /// many, and its key and fingerprints are nobody's.
    pub async fn alone(&self, pair: PairId) -> Result<Vec<(Match, u64)>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.alone(pair)).await
    }

    /// By what keys the right side calls the partners of these records of the left side: of those that
    /// they were matched with, or else are linked with now. `None` for one that has none.
    pub async fn partners(
        &self,
        named: Vec<(PairId, Key)>,
    ) -> Result<Vec<Option<Key>>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || named.iter().map(|named| inner.partner(named)).collect()).await
    }

    /// Brings a page that was read ahead up to date: its links are as they are now, and those that
    /// were dropped meanwhile are passed over.
    pub async fn refresh(&self, mut page: Page) -> Result<Page, StoreError> {
        if page.found.iter().all(|found| found.link.is_none()) {
            return Ok(page);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let conn = inner.lock();
            let read = std::mem::take(&mut page.found).into_iter();
            for (mut found, places) in read.zip(std::mem::take(&mut page.places)) {
                if let Some(link) = &found.link {
                    // Only a run refreshes its pages, and its links are as they are stored.
                    found.link = links::by_id(&conn, &inner.links, link.id.0.cast_signed())?;
                    if found.link.is_none() {
                        continue;
                    }
                }
                page.found.push(found);
                page.places.push(places);
            }
            Ok(page)
        })
        .await
    }

    /// Records added of one side.
    pub async fn count(&self, pair: PairId, side: Side) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let conn = inner.lock();
            let mut statement =
                conn.prepare_cached("select count(*) from rows where pair = ?1 and side = ?2")?;
            let count: Bits =
                statement.query_row(params![pair.0, side_number(side)], |row| row.get(0))?;
            Ok(count.0)
        })
        .await
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The number under which the pair's links are stored; `None` when it has none.
    fn link_pair(&self, pair: i64) -> Option<i64> {
        let Some(remap) = &self.remap else {
            return Some(pair);
        };
        let of = remap.pairs.get(usize::try_from(pair).ok()?)?;
        of.from.map(|from| i64::from(from.0))
    }

    /// A link as the preview's edit would make it.
    fn as_edited(&self, pair: PairId, mut link: Link) -> Link {
        let remap = self.remap.as_ref();
        if let Some(of) = remap.and_then(|remap| remap.pairs.get(pair.0 as usize)) {
            for side in Side::BOTH {
                link.baseline[side] = of.prints(&link.baseline[side]);
            }
        }
        link
    }

    fn add(&self, pair: PairId, side: Side, rows: &[ScanRow]) -> Result<(), StoreError> {
        // Hashed and sealed before the lock, so that both sides do this at the same time.
        let ready: Vec<_> = rows
            .iter()
            .map(|row| {
                let sealed = self.own.seal(KEY, &row.key);
                (self.links.hash(&row.key), sealed, row)
            })
            .collect();
        let conn = self.lock();
        let tx = conn.begin("begin")?;
        for (hash, sealed, row) in &ready {
            insert_row(&tx, (pair, side), (hash, sealed), row)?;
        }
        Ok(tx.commit()?)
    }

    fn partner(&self, (pair, key): &(PairId, Key)) -> Result<Option<Key>, StoreError> {
        let conn = self.lock();
        let hash = self.links.hash(key);
        let mut statement = conn.prepare_cached(
            "select r.key from rows l join matches m on m.pair = l.pair and m.at = l.id
             join rows r on r.id = m.right_row
             where l.pair = ?1 and l.side = ?2 and l.key_hash = ?3",
        )?;
        let mut rows = statement.query(params![pair.0, side_number(Side::Left), hash])?;
        if let Some(row) = rows.next()? {
            return Ok(Some(self.own.open(KEY, &row.get::<Vec<u8>>(0)?)?));
        }
        let stored = match &self.remap {
            Some(remap) => remap.pairs.get(pair.0 as usize).and_then(|pair| pair.from),
            None => Some(*pair),
        };
        let Some(stored) = stored else {
            return Ok(None);
        };
        let links = links::of_key(&conn, &self.links, (self.sync, stored, Side::Left), &hash)?;
        // A record that gave the key up may have its link yet.
        let mut whole = links.into_iter().rev().filter(|link| !link.is_half());
        let held = whole.find(|link| link.key(Side::Left) == Some(key));
        Ok(held.and_then(|link| link.keys.right))
    }

    fn alone(&self, pair: PairId) -> Result<Vec<(Match, u64)>, StoreError> {
        let conn = self.lock();
        let mut statement = conn.prepare_cached(&format!(
            "select m.left_row is not null, m.problem, count(*) from matches m
             where m.pair = ?1 and not ({MET}) group by 1, 2"
        ))?;
        let mut rows = statement.query([pair.0])?;
        let mut counted = Vec::new();
        while let Some(row) = rows.next()? {
            let anybody = || Scanned {
                key: Key(Vec::new()),
                fingerprints: Vec::new(),
            };
            let is_left: bool = row.get(0)?;
            let alone = Match {
                link: None,
                scanned: BySide::new(is_left.then(anybody), (!is_left).then(anybody)),
                problem: row.get::<Option<i64>>(1)?.map(join::problem_of),
            };
            counted.push((alone, row.get::<Bits>(2)?.0));
        }
        Ok(counted)
    }

    fn matches(
        &self,
        pair: PairId,
        which: &'static str,
        after: Cursor,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let conn = self.lock();
        let mut statement = conn.prepare_cached(&format!(
            "select m.at, m.link, m.problem, l.key, l.prints, r.key, r.prints,
                 l.place, r.place, coalesce(l.bytes, 0) + coalesce(r.bytes, 0)
             from matches m
             left join rows l on l.id = m.left_row
             left join rows r on r.id = m.right_row
             where m.pair = ?1 and m.at > ?2 and ({which}) order by m.at limit ?3"
        ))?;
        let mut rows = statement.query(params![pair.0, after.0, Bits(limit as u64)])?;
        let mut page = Page {
            found: Vec::with_capacity(limit.min(10_000)),
            places: Vec::with_capacity(limit.min(10_000)),
            next: after,
            done: true,
        };
        let mut count = 0;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            bytes += row.get::<Bits>(9)?.0;
            page.next = Cursor(row.get(0)?);
            let link = match row.get::<Option<i64>>(1)? {
                None => None,
                Some(id) => match links::by_id(&conn, &self.links, id)? {
                    None => continue,
                    Some(link) => Some(self.as_edited(pair, link)),
                },
            };
            page.found.push(Match {
                link,
                scanned: BySide::new(self.scanned(&row, 3)?, self.scanned(&row, 5)?),
                problem: row.get::<Option<i64>>(2)?.map(join::problem_of),
            });
            let place = |index: usize| -> Result<Option<u64>, StoreError> {
                Ok(row.get::<Option<Bits>>(index)?.map(|bits| bits.0))
            };
            page.places.push(BySide::new(place(7)?, place(8)?));
            if bytes >= limits::PAGE_BYTES {
                page.done = false;
                return Ok(page);
            }
        }
        page.done = count < limit;
        Ok(page)
    }

    fn scanned(&self, row: &sql::Row<'_>, index: usize) -> Result<Option<Scanned>, StoreError> {
        let Some(sealed) = row.get::<Option<Vec<u8>>>(index)? else {
            return Ok(None);
        };
        let prints: Vec<u8> = row.get(index + 1)?;
        Ok(Some(Scanned {
            key: self.own.open(KEY, &sealed)?,
            fingerprints: unpack_prints("scans.prints", &prints)?,
        }))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // On Unix an open file can be removed; its space is free when the connection closes.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes scan tables that a crash left behind. Called with the data directory's lock held.
pub(super) fn remove_leftovers(data_dir: &Path) -> Result<(), StoreError> {
    let dir = data_dir.join(DIRECTORY);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::file("empty", dir)(error))
        }
        _ => Ok(()),
    }
}

fn insert_row(
    tx: &Transaction<'_>,
    (pair, side): (PairId, Side),
    (hash, sealed): (&[u8; 16], &[u8]),
    row: &ScanRow,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "insert into rows (pair, side, key_hash, key, match_hash, prints, place, bytes)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    statement.execute(params![
        pair.0,
        side_number(side),
        hash,
        sealed,
        row.match_key,
        pack_prints(&row.fingerprints),
        row.place.map(Bits),
        row.bytes,
    ])?;
    Ok(())
}

fn open_table(path: &Path, database: &Path) -> Result<Connection, StoreError> {
    let conn = rusqlite::Connection::open(path)?;
    conn.busy_timeout(limits::BUSY_TIMEOUT)?;
    conn.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "off")?;
    conn.pragma_update(None, "cache_size", -limits::SCAN_CACHE_KIB)?;
    conn.execute_batch(
        "create table rows (
             id         integer primary key,
             pair       integer not null,
             side       integer not null,
             key_hash   blob not null,
             key        blob not null,
             match_hash blob,
             prints     blob not null,
             place      integer,
             bytes      integer not null
         ) strict;",
    )?;
    // The links are read where they are; nothing is written there.
    let path = database.to_string_lossy();
    conn.execute("attach database ?1 as ledger", [path.as_ref()])?;
    conn.set_prepared_statement_cache_capacity(limits::STATEMENTS_CACHED);
    Ok(Connection::sqlite(conn))
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|error| StoreError::Panicked(error.to_string()))?
}

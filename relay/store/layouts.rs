//! What a sync's links are laid out for: which table pair has which number, which field pair which
//! place among the fingerprints. Changed in one transaction when the mapping was edited.
//!
//! The layout itself is a text of the engine's, kept with the sync; this room knows only numbers and
//! places. Nothing is deleted in a database: a pair that is gone is forgotten here.

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::PairId;

use super::keys::{RecordKeys, pack_prints, unpack_prints};
use super::sql::{Connection, OptionalExtension, Transaction, params};
use super::syncs::SyncId;
use super::{StoreError, conflicts, intents, pairs};

/// What becomes of the pairs, by their new numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remap {
    pub pairs: Vec<PairRemap>,
}

/// Where a pair's links come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairRemap {
    /// The pair's number so far; `None` for a new one.
    pub from: Option<PairId>,
    /// For each field the place that it had; `None` for a new one.
    pub fields: Vec<Option<usize>>,
    /// How many fields the pair had.
    pub fields_before: usize,
    /// Its data is to be reconciled.
    pub due: bool,
}

impl PairRemap {
    /// True when the fingerprints stay as they are.
    pub fn keeps_fields(&self) -> bool {
        self.fields.len() == self.fields_before
            && self
                .fields
                .iter()
                .enumerate()
                .all(|(at, from)| *from == Some(at))
    }

    /// The fingerprints in their new places.
    pub fn prints(&self, before: &[Fingerprint]) -> Vec<Fingerprint> {
        let print = |from: &Option<usize>| from.and_then(|from| before.get(from)).copied();
        let prints = self.fields.iter().map(print);
        prints
            .map(|print| print.unwrap_or(Fingerprint::NEW))
            .collect()
    }

    /// A field's new place; `None` when it is mapped no more.
    pub fn place_of(&self, before: usize) -> Option<usize> {
        self.fields.iter().position(|from| *from == Some(before))
    }
}

impl Remap {
    /// True when nothing stored changes.
    pub fn is_empty(&self, pairs_before: usize) -> bool {
        let is_same = |(number, pair): (usize, &PairRemap)| {
            pair.from == Some(PairId(number as u32)) && pair.keeps_fields() && !pair.due
        };
        self.pairs.len() == pairs_before && self.pairs.iter().enumerate().all(is_same)
    }

    /// The pairs' numbers as they change: (before, after).
    fn moves(&self) -> impl Iterator<Item = (PairId, PairId)> {
        let numbered = self.pairs.iter().enumerate();
        numbered.filter_map(|(number, pair)| {
            let to = PairId(number as u32);
            pair.from.filter(|from| *from != to).map(|from| (from, to))
        })
    }
}

/// A change of the layout.
#[derive(Clone, Debug, Default)]
pub struct LayoutChange {
    pub remap: Remap,
    /// The new layout.
    pub layout: String,
    /// The sync file's text that it was made of.
    pub definition: String,
}

/// Tables whose rows name a pair. History is not among them: it names the fields of the run that
/// wrote it (see [`super::mappings`]).
const OF_PAIR: [&str; 6] = [
    "pairs",
    "links",
    "link_keys",
    "tombstones",
    "findings",
    "conflicts",
];

/// Links rewritten before the next ones are read.
const PAGE: u32 = 10_000;

/// Changes the layout.
pub(super) fn apply(
    tx: &Transaction<'_>,
    keys: &RecordKeys,
    (sync, epoch): (SyncId, u32),
    change: &LayoutChange,
    now_ms: i64,
) -> Result<(), StoreError> {
    if intents::is_open(tx, sync)? {
        return Err(StoreError::Malformed("intents.round"));
    }
    for pair in pairs::list(tx, sync)? {
        if !change
            .remap
            .pairs
            .iter()
            .any(|kept| kept.from == Some(pair.pair))
        {
            forget(tx, sync, pair.pair)?;
        }
    }
    renumber(tx, sync, &change.remap)?;
    for (number, remap) in change.remap.pairs.iter().enumerate() {
        let pair = PairId(number as u32);
        let Some(from) = remap.from else {
            continue;
        };
        if !remap.keeps_fields() {
            move_prints(tx, (sync, pair), remap)?;
        }
        if from != pair || !remap.keeps_fields() {
            conflicts::move_fields(tx, keys, (sync, pair), |field| remap.place_of(field))?;
        }
        if remap.due {
            pairs::mark_due(tx, sync, pair)?;
        }
    }
    pairs::ensure(tx, sync, change.remap.pairs.len() as u32)?;
    tx.execute(
        "insert into definitions (sync, epoch, text) values (?1, ?2, ?3)
         on conflict (sync, epoch) do update set text = excluded.text",
        params![sync.0, epoch, change.definition],
    )?;
    tx.execute(
        "update syncs set layout = ?2, changed_at = ?3 where id = ?1",
        params![sync.0, change.layout, now_ms],
    )?;
    Ok(())
}

/// The sync file's text that the first runs used; `None` when it was never edited.
pub fn first_definition(conn: &Connection, sync: SyncId) -> Result<Option<String>, StoreError> {
    let mut statement =
        conn.prepare_cached("select text from definitions where sync = ?1 order by epoch limit 1")?;
    Ok(statement.query_row([sync.0], |row| row.get(0)).optional()?)
}

fn forget(tx: &Transaction<'_>, sync: SyncId, pair: PairId) -> Result<(), StoreError> {
    for table in OF_PAIR {
        tx.execute(
            &format!("delete from {table} where sync = ?1 and pair = ?2"),
            params![sync.0, pair.0],
        )?;
    }
    Ok(())
}

/// In two steps, because pairs may exchange their numbers.
fn renumber(tx: &Transaction<'_>, sync: SyncId, remap: &Remap) -> Result<(), StoreError> {
    for table in OF_PAIR {
        for (from, to) in remap.moves() {
            tx.execute(
                &format!("update {table} set pair = -1 - ?3 where sync = ?1 and pair = ?2"),
                params![sync.0, from.0, to.0],
            )?;
        }
        tx.execute(
            &format!("update {table} set pair = -1 - pair where sync = ?1 and pair < 0"),
            [sync.0],
        )?;
    }
    Ok(())
}

fn move_prints(
    tx: &Transaction<'_>,
    (sync, pair): (SyncId, PairId),
    remap: &PairRemap,
) -> Result<(), StoreError> {
    let mut after = i64::MIN;
    loop {
        let page = prints_after(tx, (sync, pair), after)?;
        let Some((last, ..)) = page.last() else {
            return Ok(());
        };
        after = *last;
        let mut statement = tx
            .prepare_cached("update links set left_prints = ?2, right_prints = ?3 where id = ?1")?;
        for (id, left, right) in page {
            let left = remap.prints(&unpack_prints("links.left_prints", &left)?);
            let right = remap.prints(&unpack_prints("links.right_prints", &right)?);
            statement.execute(params![id, pack_prints(&left), pack_prints(&right)])?;
        }
    }
}

type Prints = (i64, Vec<u8>, Vec<u8>);

fn prints_after(
    tx: &Transaction<'_>,
    (sync, pair): (SyncId, PairId),
    after: i64,
) -> Result<Vec<Prints>, StoreError> {
    let mut statement = tx.prepare_cached(
        "select id, left_prints, right_prints from links
         where sync = ?1 and id > ?3 and pair = ?2 order by id limit ?4",
    )?;
    let rows = statement.query_map(params![sync.0, pair.0, after, PAGE], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

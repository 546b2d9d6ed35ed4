//! History: every write to a side, why it was done and by whom, and the values that it replaced and
//! left, for a retention time. Keys and values are sealed; one record's history is found by its
//! key's hash.

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::Write;
use tidegate_sync::model::{BatchId, BySide, Key, PairId, Side};
use tidegate_sync::session::{Applied, FieldWrite, Values, Why};

use super::StoreError;
use super::keys::{Bits, KeyHash, RecordKeys, side_number, side_of};
use super::limits::{HISTORY_FORGOTTEN_AT_ONCE, HISTORY_VALUE_BYTES_MAX};
use super::mappings::{MappedTable, MappingPrint};
use super::sql::{Connection, Row, ToSql, Transaction, params};
use super::syncs::SyncId;

const BODY: &str = "history.body";
const VALUES: &str = "history.values";

/// One write, as it was settled.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRecord {
    pub id: i64,
    /// The run.
    pub epoch: u32,
    pub at_ms: i64,
    /// What pair and fields were called then.
    pub mapping: MappingPrint,
    pub applied: Applied,
}

/// Which writes to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// With numbers below this one.
    pub before: Option<i64>,
    pub run: Option<u32>,
    pub batch: Option<BatchId>,
    pub side: Option<Side>,
    pub written_as: Option<WrittenAs>,
    pub why: Option<Why>,
    pub since_ms: Option<i64>,
    /// Exclusive.
    pub until_ms: Option<i64>,
    /// Of records that either side calls so; of all where there is none.
    pub keys: Vec<Key>,
    pub limit: u32,
}

/// What a table's writes are recognised by.
#[derive(Clone, Debug, Default)]
pub struct WrittenAs {
    pub mappings: Vec<MappingPrint>,
    /// Of writes without a mapping.
    pub pair: Option<PairId>,
}

/// How a run keeps history.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    pub no_values: bool,
    /// By table pair.
    pub tables: Vec<MappedTable>,
}

impl Keeping {
    fn mapping(&self, pair: PairId) -> MappingPrint {
        let table = self.tables.get(pair.0 as usize);
        table.map(MappedTable::print).unwrap_or_default()
    }
}

type Body = (Option<Key>, Option<Key>, Vec<usize>);
type SealedValues = (Option<Key>, Vec<FieldWrite>);

/// A write, hashed and sealed, which needs no turn of the writer.
pub(super) struct HistoryRow {
    pair: PairId,
    side: Side,
    pub write: Write,
    why: Why,
    batch: BatchId,
    mapping: MappingPrint,
    print: Fingerprint,
    source_time: Option<i64>,
    hashes: BySide<Option<KeyHash>>,
    body: Vec<u8>,
    kept: i64,
    values: Option<Vec<u8>>,
}

impl HistoryRow {
    pub(super) fn new(
        keys: &RecordKeys,
        applied: &Applied,
        keeping: &Keeping,
    ) -> Result<HistoryRow, StoreError> {
        let body = (&applied.keys.left, &applied.keys.right, &applied.fields);
        let json = serde_json::to_vec(&body).map_err(|_| StoreError::Malformed(BODY))?;
        let hash = |key: &Option<Key>| key.as_ref().map(|key| keys.hash(key));
        let (kept, values) = match &applied.values {
            Values::Kept(_) if keeping.no_values => (kept_number(&Values::Off), None),
            Values::Kept(fields) => {
                let values = (&applied.former_key, fields);
                let json =
                    serde_json::to_vec(&values).map_err(|_| StoreError::Malformed(VALUES))?;
                match json.len() <= HISTORY_VALUE_BYTES_MAX {
                    true => (0, Some(keys.sealer().seal(VALUES, &json))),
                    false => (kept_number(&Values::TooLong), None),
                }
            }
            other => (kept_number(other), None),
        };
        Ok(HistoryRow {
            pair: applied.pair,
            side: applied.side,
            write: applied.write,
            why: applied.why,
            batch: applied.batch,
            mapping: keeping.mapping(applied.pair),
            print: applied.print,
            source_time: applied.source_time,
            hashes: BySide::new(hash(&applied.keys.left), hash(&applied.keys.right)),
            body: keys.sealer().seal(BODY, &json),
            kept,
            values,
        })
    }

    pub(super) fn place(&self) -> (PairId, Side) {
        (self.pair, self.side)
    }

    pub(super) fn add(
        &self,
        tx: &Transaction<'_>,
        (sync, workspace, epoch): (SyncId, &str, u32),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut statement = tx.prepare_cached(
            "insert into history (workspace, sync, epoch, at, source_at, pair, side, write,
                 left_hash, right_hash, body, why, batch, print, kept, values_sealed, mapping)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 ?17)",
        )?;
        statement.execute(params![
            workspace,
            sync.0,
            epoch,
            now_ms,
            self.source_time,
            self.pair.0,
            side_number(self.side),
            write_number(self.write),
            self.hashes.left,
            self.hashes.right,
            self.body,
            why_number(self.why),
            Bits(self.batch.0),
            Bits(self.print.0),
            self.kept,
            self.values,
            Bits(self.mapping.0),
        ])?;
        Ok(())
    }
}

/// Writes of a sync, newest first. That of one record reads all of them: an index on two hashes would
/// cost every settlement more than this rare question is worth.
pub fn list(
    conn: &Connection,
    keys: &RecordKeys,
    sync: SyncId,
    filter: &Filter,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let mut asked = Asked::of(sync);
    asked.only("id <", boxed(filter.before));
    asked.only("epoch =", boxed(filter.run));
    asked.only("batch =", boxed(filter.batch.map(|batch| Bits(batch.0))));
    asked.only("side =", boxed(filter.side.map(side_number)));
    asked.only("why =", boxed(filter.why.map(why_number)));
    asked.only("at >=", boxed(filter.since_ms));
    asked.only("at <", boxed(filter.until_ms));
    if let Some(WrittenAs { mappings, pair }) = &filter.written_as {
        let marks: Vec<String> = mappings
            .iter()
            .map(|print| asked.mark(Box::new(Bits(print.0))))
            .collect();
        // Not every engine takes an empty list.
        let marks = match marks.is_empty() {
            true => "null".to_owned(),
            false => marks.join(", "),
        };
        let pair = asked.mark(Box::new(pair.map(|pair| pair.0)));
        asked.sql += &format!(" and (mapping in ({marks}) or mapping = 0 and pair = {pair})");
    }
    if !filter.keys.is_empty() {
        let hashes = filter.keys.iter().map(|key| keys.hash(key));
        let marks: Vec<String> = hashes.map(|hash| asked.mark(Box::new(hash))).collect();
        let marks = marks.join(", ");
        asked.sql += &format!(" and (left_hash in ({marks}) or right_hash in ({marks}))");
    }
    let limit = asked.mark(Box::new(filter.limit));
    asked.sql += &format!(" order by id desc limit {limit}");
    let Asked { sql, values } = asked;
    let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(&values[..])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(&row, keys)?);
    }
    Ok(found)
}

/// A statement in the making, with the values of its parameters.
struct Asked {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Asked {
    fn of(sync: SyncId) -> Asked {
        let sql = "select id, epoch, at, source_at, pair, side, write, why, batch, print, kept,
                 body, values_sealed, mapping
             from history where sync = ?1";
        Asked {
            sql: sql.to_owned(),
            values: vec![Box::new(sync.0)],
        }
    }

    /// The mark that stands for a value.
    fn mark(&mut self, value: Box<dyn ToSql>) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn only(&mut self, condition: &str, value: Option<Box<dyn ToSql>>) {
        if let Some(value) = value {
            let mark = self.mark(value);
            self.sql += &format!(" and {condition} {mark}");
        }
    }
}

fn boxed<T: ToSql + 'static>(value: Option<T>) -> Option<Box<dyn ToSql>> {
    value.map(|value| Box::new(value) as Box<dyn ToSql>)
}

/// Removes the oldest writes of a sync that are older than `before_ms`, some at once. True when there
/// may be more.
pub fn forget_some(tx: &Transaction<'_>, sync: SyncId, before_ms: i64) -> Result<bool, StoreError> {
    let removed = tx.execute(
        "delete from history where at < ?2 and id in
             (select id from history where sync = ?1 order by id limit ?3)",
        params![sync.0, before_ms, HISTORY_FORGOTTEN_AT_ONCE],
    )?;
    Ok(removed == HISTORY_FORGOTTEN_AT_ONCE as usize)
}

/// Removes the values of a sync that is to keep none, some at once. True when there may be more.
pub fn forget_some_values(tx: &Transaction<'_>, sync: SyncId) -> Result<bool, StoreError> {
    let removed = tx.execute(
        "update history set values_sealed = null, kept = ?2 where id in
             (select id from history where sync = ?1 and kept = 0 order by id limit ?3)",
        params![sync.0, kept_number(&Values::Off), HISTORY_FORGOTTEN_AT_ONCE],
    )?;
    Ok(removed == HISTORY_FORGOTTEN_AT_ONCE as usize)
}

fn from_row(row: &Row<'_>, keys: &RecordKeys) -> Result<HistoryRecord, StoreError> {
    let sealed: Vec<u8> = row.get(11)?;
    let json = keys.sealer().open(BODY, &sealed)?;
    let (left, right, fields): Body =
        serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(BODY))?;
    let sealed: Option<Vec<u8>> = row.get(12)?;
    let (former_key, values) = match sealed {
        Some(sealed) => {
            let json = keys.sealer().open(VALUES, &sealed)?;
            let (former_key, fields): SealedValues =
                serde_json::from_slice(&json).map_err(|_| StoreError::Malformed(VALUES))?;
            (former_key, Values::Kept(fields))
        }
        None => (None, kept_of(row.get(10)?)?),
    };
    Ok(HistoryRecord {
        id: row.get(0)?,
        epoch: row.get(1)?,
        at_ms: row.get(2)?,
        mapping: MappingPrint(row.get::<Bits>(13)?.0),
        applied: Applied {
            pair: PairId(row.get(4)?),
            side: side_of(row.get(5)?, "history.side")?,
            write: write_of(row.get(6)?)?,
            why: why_of(row.get(7)?)?,
            batch: BatchId(row.get::<Bits>(8)?.0),
            keys: BySide::new(left, right),
            former_key,
            fields,
            values,
            print: Fingerprint(row.get::<Bits>(9)?.0),
            source_time: row.get(3)?,
        },
    })
}

fn write_number(write: Write) -> i64 {
    match write {
        Write::Create => 0,
        Write::Update => 1,
        Write::Delete => 2,
    }
}

fn write_of(number: i64) -> Result<Write, StoreError> {
    match number {
        0 => Ok(Write::Create),
        1 => Ok(Write::Update),
        2 => Ok(Write::Delete),
        _ => Err(StoreError::Malformed("history.write")),
    }
}

fn why_number(why: Why) -> i64 {
    match why {
        Why::Change => 0,
        Why::Copy => 1,
        Why::Conflict => 2,
        Why::Restore => 3,
        Why::Undo => 4,
        Why::Pick => 5,
    }
}

fn why_of(number: i64) -> Result<Why, StoreError> {
    match number {
        0 => Ok(Why::Change),
        1 => Ok(Why::Copy),
        2 => Ok(Why::Conflict),
        3 => Ok(Why::Restore),
        4 => Ok(Why::Undo),
        5 => Ok(Why::Pick),
        _ => Err(StoreError::Malformed("history.why")),
    }
}

fn kept_number(values: &Values) -> i64 {
    match values {
        Values::Kept(_) => 0,
        Values::Copied => 1,
        Values::Off => 2,
        Values::TooLong => 3,
        Values::Interrupted => 4,
    }
}

fn kept_of(number: i64) -> Result<Values, StoreError> {
    match number {
        1 => Ok(Values::Copied),
        2 => Ok(Values::Off),
        3 => Ok(Values::TooLong),
        4 => Ok(Values::Interrupted),
        _ => Err(StoreError::Malformed("history.kept")),
    }
}

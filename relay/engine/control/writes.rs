//! What was written: the history of a sync, as people ask for it.

use std::collections::HashMap;

use tidegate_sync::model::{BatchId, BySide, Key, PairId, Side};
use tidegate_sync::session::{Applied, FieldWrite, Values, Why};
use tidegate_sync::value::Value;

use super::errors::{internal, invalid};
use super::{Engine, file_of, parse};
use crate::engine::handle::{ControlError, Listed, Part};
use crate::engine::mapping::names;
use crate::engine::report::{FieldChange, HistoryEntry, RunReport, WriteFilter, Writes};
use crate::engine::supervisor::write_name;
use crate::engine::syncfile::SyncFile;
use crate::store::history::{Filter, HistoryRecord, WrittenAs};
use crate::store::mappings::{MappedTable, MappingPrint};
use crate::store::syncs::SyncId;
use crate::store::{RecordKeys, Store, history, layouts, mappings, runs};

/// Writes read from the store at once.
const PAGE: u32 = 100;
/// An answer ends behind the write with which its values exceed this: a person asks for the rest.
const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Engine {
    pub(super) async fn list_writes(
        &self,
        name: &str,
        filter: &WriteFilter,
        part: Part,
    ) -> Result<Listed<HistoryEntry>, ControlError> {
        let record = self.record(name).await?;
        let file = file_of(&record)?;
        let names = Names::of(&self.store, record.id, of_file(&file)).await?;
        let mut wanted = selection(filter, &names)?;
        wanted.before = part.after;
        let limit = part.limit as usize;
        let keys = RecordKeys::new(self.store.sealer(), record.id);
        let mut entries = Vec::new();
        let (mut bytes, mut more) = (0, true);
        while entries.len() < limit && bytes < VALUE_BYTES_MAX {
            wanted.limit = PAGE.min((limit - entries.len()) as u32);
            let (keys, filter, sync) = (keys.clone(), wanted.clone(), record.id);
            let page = self
                .store
                .view(move |conn| history::list(conn, &keys, sync, &filter));
            let page = page.await.map_err(internal)?;
            let is_last = page.len() < wanted.limit as usize;
            wanted.before = page.last().map(|found| found.id);
            for found in page {
                bytes += bytes_of(&found.applied.values);
                entries.push(entry(found, &names));
            }
            if is_last {
                more = false;
                break;
            }
        }
        Ok(Listed {
            items: entries,
            more,
        })
    }

    pub(super) async fn list_runs(
        &self,
        name: &str,
        part: Part,
    ) -> Result<Listed<RunReport>, ControlError> {
        let sync = self.record(name).await?.id;
        let found = self
            .store
            .view(move |conn| runs::list(conn, sync, part.after, part.limit))
            .await
            .map_err(internal)?;
        let writes = |writes: runs::Writes| Writes {
            creates: writes.creates,
            updates: writes.updates,
            deletes: writes.deletes,
        };
        let report = |run: runs::RunRecord| RunReport {
            run: run.run,
            from: rfc3339(run.first_at_ms),
            to: rfc3339(run.last_at_ms),
            left: writes(run.writes.left),
            right: writes(run.writes.right),
        };
        let runs = found.into_iter().map(report).collect();
        Ok(Listed::up_to(part.limit, runs))
    }
}

/// What a person asks for, as the store knows it.
pub(super) fn selection(filter: &WriteFilter, names: &Names) -> Result<Filter, ControlError> {
    let mut wanted = Filter::default();
    if let Some(run) = &filter.run {
        let (run, batch) = run_of(run)?;
        wanted.run = Some(run);
        wanted.batch = batch;
    }
    wanted.side = match filter.side.as_deref() {
        None => None,
        Some("left") => Some(Side::Left),
        Some("right") => Some(Side::Right),
        Some(other) => {
            let text = format!("side `{other}`: expected left or right");
            return Err(invalid("bad-filter", text));
        }
    };
    wanted.written_as = filter
        .table
        .as_deref()
        .map(|table| names.written_as(table))
        .transpose()?;
    wanted.since_ms = filter.since.as_deref().map(moment).transpose()?;
    wanted.until_ms = filter.until.as_deref().map(moment).transpose()?;
    let key = |text: &String| Key(text.split(',').map(str::to_owned).collect());
    wanted.keys = filter.key.iter().map(key).collect();
    Ok(wanted)
}

/// `12`, or `12.345` for one batch of it.
fn run_of(text: &str) -> Result<(u32, Option<BatchId>), ControlError> {
    let refuse = || {
        let text = format!("run `{text}`: expected a number as `history` shows it, 12 or 12.345");
        invalid("bad-filter", text)
    };
    let (run, count) = match text.split_once('.') {
        Some((run, count)) => (run, Some(count)),
        None => (text, None),
    };
    let run: u32 = run.parse().map_err(|_| refuse())?;
    let count: Option<u32> = count.map(str::parse).transpose().map_err(|_| refuse())?;
    Ok((run, count.map(|count| BatchId::of_run(run, count))))
}

fn moment(text: &str) -> Result<i64, ControlError> {
    let read = text.parse::<jiff::Timestamp>();
    read.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        let text = format!("time `{text}`: expected one like 2026-11-25T14:32:00Z");
        invalid("bad-filter", text)
    })
}

fn entry(found: HistoryRecord, names: &Names) -> HistoryEntry {
    let (table, side) = (names.table(&found), found.applied.side);
    let HistoryRecord {
        id,
        epoch,
        at_ms,
        applied,
        ..
    } = found;
    let key = |key: &Option<Key>| key.as_ref().map(ToString::to_string);
    let field = |field: usize| table.field(side, field);
    let kept: &[FieldWrite] = match &applied.values {
        Values::Kept(fields) => fields,
        _ => &[],
    };
    let change = |write: &FieldWrite| FieldChange {
        field: field(write.field),
        before: shown(write.before.as_ref()),
        after: shown(write.after.as_ref()),
    };
    HistoryEntry {
        id,
        at: rfc3339(at_ms),
        table: table.name(side),
        side: side.name().to_owned(),
        kind: write_name(applied.write).to_owned(),
        why: why_name(applied.why).to_owned(),
        left_key: key(&applied.keys.left),
        right_key: key(&applied.keys.right),
        fields: applied.fields.iter().map(|&number| field(number)).collect(),
        changes: kept.iter().map(change).collect(),
        no_values: no_values(&applied),
        run: epoch,
        batch: applied.batch.0 as u32,
    }
}

/// `None` for null, and where the record was not there.
pub(super) fn shown(value: Option<&Value>) -> Option<String> {
    value.filter(|value| !value.is_null()).map(Value::to_string)
}

/// Why there are no values.
pub(super) fn no_values(applied: &Applied) -> Option<String> {
    let why = match applied.values {
        Values::Kept(_) => return None,
        Values::Copied => "created by the first copy",
        Values::Off => "the sync kept no values",
        Values::TooLong => "the values are too long",
        Values::Interrupted => "the relay was interrupted before it could keep them",
    };
    Some(why.to_owned())
}

pub(super) fn bytes_of(values: &Values) -> usize {
    let Values::Kept(fields) = values else {
        return 0;
    };
    let of = |value: &Option<Value>| value.as_ref().map_or(0, Value::heap_bytes);
    fields
        .iter()
        .map(|field| of(&field.before) + of(&field.after))
        .sum()
}

fn why_name(why: Why) -> &'static str {
    match why {
        Why::Change => "change",
        Why::Copy => "copy",
        Why::Conflict => "conflict",
        Why::Restore => "restore",
        Why::Undo => "undo",
        Why::Pick => "pick",
    }
}

/// How tables and fields were called when they were written, and are called now.
pub(super) struct Names {
    pub now: Vec<MappedTable>,
    known: HashMap<MappingPrint, MappedTable>,
    /// By pair, for writes that are older than the memory of names: nobody edited the sync before.
    first: Vec<MappedTable>,
}

/// A table pair as it was called when it was written.
pub(super) struct TableThen(pub MappedTable);

impl Names {
    pub(super) async fn of(
        store: &Store,
        sync: SyncId,
        now: Vec<MappedTable>,
    ) -> Result<Names, ControlError> {
        let known = store.view(move |conn| {
            let first = layouts::first_definition(conn, sync)?;
            Ok((mappings::list(conn, sync)?, first))
        });
        let (known, first) = known.await.map_err(internal)?;
        let first = match first {
            Some(text) => of_file(&parse(&text)?),
            None => now.clone(),
        };
        Ok(Names { now, known, first })
    }

    pub(super) fn table(&self, record: &HistoryRecord) -> TableThen {
        let known = self.known.get(&record.mapping);
        let first = self.first.get(record.applied.pair.0 as usize);
        TableThen(known.or(first).cloned().unwrap_or_default())
    }

    /// Everything that a table was written as: its pair had other numbers and fields before an edit.
    fn written_as(&self, table: &str) -> Result<WrittenAs, ControlError> {
        let is_it = |(left, right): &(String, String)| left == table || right == table;
        let known = self.known.iter().filter(|(_, known)| is_it(&known.tables));
        let mappings: Vec<MappingPrint> = known.map(|(print, _)| *print).collect();
        let mut first = self.first.iter();
        let pair = first.position(|first| is_it(&first.tables));
        let is_synced = self.now.iter().any(|now| is_it(&now.tables));
        if mappings.is_empty() && pair.is_none() && !is_synced {
            let now: Vec<&str> = self.now.iter().map(|now| now.tables.0.as_str()).collect();
            let now = now.join(", ");
            let text = format!("table `{table}` is not synced; there are {now}");
            return Err(invalid("bad-filter", text));
        }
        Ok(WrittenAs {
            mappings,
            pair: pair.map(|pair| PairId(pair as u32)),
        })
    }
}

fn of_file(file: &SyncFile) -> Vec<MappedTable> {
    let tables = file.tables.iter();
    tables
        .map(|table| names((&table.left, &table.right), &table.policy))
        .collect()
}

impl TableThen {
    pub(super) fn name(&self, side: Side) -> String {
        of_side(&self.0.tables, side).clone()
    }

    pub(super) fn field(&self, side: Side, field: usize) -> String {
        let field = self.0.fields.get(field);
        field.map_or_else(String::new, |names| of_side(names, side).clone())
    }
}

fn of_side((left, right): &(String, String), side: Side) -> &String {
    match side {
        Side::Left => left,
        Side::Right => right,
    }
}

pub(super) fn table_name(file: &SyncFile, pair: PairId, side: Side) -> String {
    let table = file.tables.get(pair.0 as usize);
    table.map_or_else(String::new, |table| {
        BySide::new(&table.left, &table.right)[side].clone()
    })
}

pub(super) fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map(|at| at.to_string())
        .unwrap_or_default()
}

//! Undo by a person: what it would do, and doing exactly that.

use std::collections::BTreeMap;

use tidegate_sync::decide::Write;
use tidegate_sync::model::{Key, PairId, Row, Side, Step, StepKind};
use tidegate_sync::policy::DeletePolicy;
use tidegate_sync::session::{Edit, Edited, Why};

use super::Engine;
use super::errors::{conflict, failed, internal, invalid};
use super::writes::{Names, bytes_of, selection, shown};
use crate::endpoint::catalog::Catalog;
use crate::endpoint::{EndpointError, Snapshot, Wanted};
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::engine::limits::{
    UNDO_EDITS_AT_ONCE, UNDO_SAMPLES_MAX, UNDO_VALUE_BYTES_MAX, UNDO_WRITES_MAX,
};
use crate::engine::mapping::{Mapping, PairMapping};
use crate::engine::preview;
use crate::engine::report::{
    FieldChange, UndoCannot, UndoPlan, UndoReport, UndoSample, UndoTable, WriteFilter,
};
use crate::engine::run::{RunError, RunParts, check_mapping};
use crate::engine::supervisor::Phase;
use crate::engine::undo::{Cause, Decision, Mapped, Net, Restored, Sum};
use crate::engine::wishes::NotEdited;
use crate::store::history::{Filter, HistoryRecord};
use crate::store::syncs::SyncRecord;
use crate::store::{RecordKeys, history};

/// Writes read from the store at once, and records from a side.
const PAGE: usize = 1000;
/// Keys that are named of the records that can't be put back for one reason.
const KEYS_NAMED_MAX: usize = 5;

/// A plan, and the edits that carry it out.
struct Undo {
    plan: UndoPlan,
    edits: Vec<Edit>,
}

impl Engine {
    pub(super) async fn undo_plan(
        &self,
        name: &str,
        filter: &WriteFilter,
    ) -> Result<UndoPlan, ControlError> {
        let (record, parts) = self.running_parts(name).await?;
        let undo = self.prepare_undo(&record, &parts, (filter, None)).await?;
        Ok(undo.plan)
    }

    pub(super) async fn undo_writes(
        &self,
        name: &str,
        filter: &WriteFilter,
        expected: &UndoPlan,
    ) -> Result<UndoReport, ControlError> {
        let (record, parts) = self.running_parts(name).await?;
        if parts.progress.view().phase != Phase::Live {
            let text = format!("sync `{name}` is not live: an undo is written by its run");
            return Err(conflict("sync-not-live", text));
        }
        let wanted = (filter, Some(expected.upto));
        let undo = self.prepare_undo(&record, &parts, wanted).await?;
        if undo.plan.tables != expected.tables || undo.plan.side != expected.side {
            let text = "the records changed since the plan: look at it again, then undo";
            return Err(conflict("plan-changed", text.to_owned()));
        }
        carry_out(&parts, undo).await
    }

    async fn prepare_undo(
        &self,
        record: &SyncRecord,
        parts: &RunParts,
        (filter, upto): (&WriteFilter, Option<i64>),
    ) -> Result<Undo, ControlError> {
        if filter.run.is_none() && filter.since.is_none() && filter.key.is_none() {
            let text = "say what to undo: a run (`history --runs`), a time or a record";
            return Err(invalid("bad-filter", text.to_owned()));
        }
        let mapping = check_mapping(parts).await.map_err(failed)?;
        let now = mapping.pairs.iter().map(PairMapping::names).collect();
        let names = Names::of(&self.store, record.id, now).await?;
        let mut wanted = selection(filter, &names)?;
        wanted.before = upto.map(|upto| upto.saturating_add(1));
        let mut summed = Summed::default();
        self.sum_up(record, wanted, &names, &mut summed).await?;
        let mut plan = UndoPlan {
            sync: record.name.clone(),
            side: summed.side.map(|side| side.name().to_owned()),
            upto: upto.or(summed.upto).unwrap_or(0),
            writes: summed.writes as u64,
            ..UndoPlan::default()
        };
        let Some(side) = summed.side else {
            let edits = Vec::new();
            return Ok(Undo { plan, edits });
        };
        let nets = summed.sum.finish();
        let run = (parts, &mapping);
        let restored = self.restored(record, run, (&names, side)).await?;
        let edits = plan_edits(run, (side, nets), &restored, &mut plan).await;
        let edits = edits.map_err(failed)?;
        Ok(Undo { plan, edits })
    }

    /// Sums up the writes that are meant. Those of an undo count only if one of its batches is meant: to
    /// undo the same twice does nothing the second time.
    async fn sum_up(
        &self,
        record: &SyncRecord,
        wanted: Filter,
        names: &Names,
        summed: &mut Summed,
    ) -> Result<(), ControlError> {
        let with_undo = wanted.batch.is_some();
        self.each_write(record, wanted, |found| {
            match found.applied.why == Why::Undo && !with_undo {
                true => Ok(()),
                false => summed.add(found, names),
            }
        })
        .await
    }

    /// Records that an undo has created on this side.
    async fn restored(
        &self,
        record: &SyncRecord,
        (parts, mapping): (&RunParts, &Mapping),
        (names, side): (&Names, Side),
    ) -> Result<Restored, ControlError> {
        let mut restored = Restored::default();
        let wanted = Filter {
            why: Some(Why::Undo),
            side: Some(side),
            ..Filter::default()
        };
        self.each_write(record, wanted, |found| {
            if let Some(mapped) = mapped(found, names) {
                let policy = &mapping.pairs[mapped.pair.0 as usize].policy;
                restored.add((found.id, &found.applied), &mapped, policy, &parts.prints);
            }
            Ok(())
        })
        .await?;
        Ok(restored)
    }

    /// Reads writes, newest first.
    async fn each_write(
        &self,
        record: &SyncRecord,
        mut wanted: Filter,
        mut take: impl FnMut(&HistoryRecord) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let keys = RecordKeys::new(self.store.sealer(), record.id);
        wanted.limit = PAGE as u32;
        loop {
            let (keys, filter, sync) = (keys.clone(), wanted.clone(), record.id);
            let page = self
                .store
                .view(move |conn| history::list(conn, &keys, sync, &filter));
            let page = page.await.map_err(internal)?;
            wanted.before = page.last().map(|found| found.id);
            for found in &page {
                take(found)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}

/// The writes that are meant, as far as they were read.
#[derive(Default)]
struct Summed {
    sum: Sum,
    side: Option<Side>,
    upto: Option<i64>,
    writes: usize,
    bytes: usize,
}

impl Summed {
    fn add(&mut self, found: &HistoryRecord, names: &Names) -> Result<(), ControlError> {
        let side = found.applied.side;
        if *self.side.get_or_insert(side) != side {
            let text = "both sides were written: say which one to put back with --side; what is put \
                        back there goes to the other side like any edit";
            return Err(invalid("both-sides", text.to_owned()));
        }
        self.upto.get_or_insert(found.id);
        self.writes += 1;
        self.bytes += bytes_of(&found.applied.values);
        if self.writes > UNDO_WRITES_MAX || self.bytes > UNDO_VALUE_BYTES_MAX {
            let text = format!(
                "that is too much at once (more than {UNDO_WRITES_MAX} writes, or {} MB of values): \
                 undo a part, by --since and --until or --table, beginning with the newest",
                UNDO_VALUE_BYTES_MAX >> 20
            );
            return Err(invalid("too-much", text));
        }
        let mapped = mapped(found, names);
        self.sum.add(found.id, &found.applied, mapped.as_ref());
        Ok(())
    }
}

/// Where the table and the fields of a write are mapped now.
fn mapped(found: &HistoryRecord, names: &Names) -> Option<Mapped> {
    let then = names.table(found).0;
    let mut tables = names.now.iter().enumerate();
    let (place, now) = tables.find(|(_, now)| now.tables == then.tables)?;
    let place_of = |field| now.fields.iter().position(|other| other == field);
    Some(Mapped {
        pair: PairId(place as u32),
        fields: then.fields.iter().map(place_of).collect(),
        is_same: *now == then,
    })
}

/// Reads the records as they are now, and decides each.
async fn plan_edits(
    (parts, mapping): (&RunParts, &Mapping),
    (side, nets): (Side, Vec<Net>),
    restored: &Restored,
    plan: &mut UndoPlan,
) -> Result<Vec<Edit>, RunError> {
    let failed = |source| RunError::Side { side, source };
    let catalog = parts.endpoints[side].inspect().await.map_err(failed)?;
    let views = preview::views(parts, mapping, "undo").await?;
    let mut by_pair: BTreeMap<PairId, Vec<Net>> = BTreeMap::new();
    for net in nets {
        by_pair.entry(net.pair).or_default().push(net);
    }
    let mut edits = Vec::new();
    for (pair, mut nets) in by_pair {
        let Some(mapped) = mapping.pairs.get(pair.0 as usize) else {
            continue;
        };
        let mut table = TablePlan::new(mapped, (pair, side), &catalog, parts);
        for net in &mut nets {
            net.follow(restored, &mapped.policy, &parts.prints);
        }
        for nets in nets.chunks(PAGE) {
            let rows = read(views[side].as_ref(), pair, nets).await;
            for (net, row) in nets.iter().zip(rows.map_err(failed)?) {
                edits.extend(table.decide(net, row.as_ref()));
            }
        }
        table.finish(plan);
    }
    Ok(edits)
}

async fn read(
    view: &dyn Snapshot,
    pair: PairId,
    nets: &[Net],
) -> Result<Vec<Option<Row>>, EndpointError> {
    let wanted = |net: &Net| Wanted {
        key: net.key().cloned().unwrap_or(Key(Vec::new())),
        place: None,
    };
    let wanted: Vec<Wanted> = nets.iter().map(wanted).collect();
    view.fetch(pair, &wanted).await
}

/// The plan of one table.
struct TablePlan<'a> {
    mapped: &'a PairMapping,
    pair: PairId,
    side: Side,
    /// By field: the side lets it be set.
    writable: Vec<bool>,
    parts: &'a RunParts,
    table: UndoTable,
    samples: Vec<UndoSample>,
    cannot: BTreeMap<Cause, (u64, Vec<String>)>,
}

impl<'a> TablePlan<'a> {
    fn new(
        mapped: &'a PairMapping,
        (pair, side): (PairId, Side),
        catalog: &Catalog,
        parts: &'a RunParts,
    ) -> TablePlan<'a> {
        let columns = catalog.table(&mapped.found[side].table);
        let is_writable = |field: usize| {
            let Some(column) = mapped.lenses[side].column(field) else {
                return false;
            };
            let name = mapped.found[side].columns.get(column);
            let column = name.and_then(|name| columns?.column(name));
            column.is_none_or(|column| !column.generated)
        };
        TablePlan {
            writable: (0..mapped.policy.fields.len()).map(is_writable).collect(),
            mapped,
            pair,
            side,
            parts,
            table: UndoTable {
                table: mapped.tables[side].clone(),
                counterpart: mapped.tables[side.other()].clone(),
                ..UndoTable::default()
            },
            samples: Vec::new(),
            cannot: BTreeMap::new(),
        }
    }

    fn decide(&mut self, net: &Net, now: Option<&Row>) -> Option<Edit> {
        let (policy, prints) = (&self.mapped.policy, &self.parts.prints);
        let kind = match net.decide(now, policy, prints, |field| self.writable[field]) {
            Decision::Nothing => {
                self.table.as_before += 1;
                return None;
            }
            Decision::Cannot(cause) => {
                self.table.cannot += 1;
                let (count, keys) = self.cannot.entry(cause).or_default();
                *count += 1;
                if keys.len() < KEYS_NAMED_MAX {
                    keys.extend(net.key().map(ToString::to_string));
                }
                return None;
            }
            Decision::Step(kind) => kind,
        };
        self.count(&kind);
        if self.samples.len() < UNDO_SAMPLES_MAX {
            self.samples.push(self.sample(net, &kind, now));
        }
        let pair = self.pair;
        Some(Edit {
            side: self.side,
            step: Step { pair, kind },
            keys: net.keys.clone(),
            why: Why::Undo,
        })
    }

    /// Counts what is written, and what the sync then does to the other side.
    fn count(&mut self, kind: &StepKind) {
        let policy = &self.mapped.policy;
        let other = self.side.other();
        let follows = match kind {
            StepKind::Create { .. } => policy.records_flow_to(other),
            StepKind::Update { set, .. } => {
                let mut fields = set.iter().map(|(field, _)| &policy.fields[*field]);
                fields.any(|field| field.direction.flows_to(other))
            }
            StepKind::Delete { .. } => {
                policy.records_flow_to(other) && policy.deletes == DeletePolicy::Propagate
            }
        };
        let follows = follows && !policy.once;
        let write = write_of(kind);
        self.table.puts_back.count(write);
        if follows {
            self.table.then.count(write);
        }
    }

    fn sample(&self, net: &Net, kind: &StepKind, now: Option<&Row>) -> UndoSample {
        let value_now = |field: usize| shown(now.and_then(|row| row[field].value()));
        let change = |field: usize| FieldChange {
            field: self.mapped.field_name(self.side, field),
            before: value_now(field),
            after: shown(net.before(field)),
        };
        let (kind, fields): (&str, Vec<usize>) = match kind {
            StepKind::Create { set, .. } => ("create", set.iter().map(|(f, _)| *f).collect()),
            StepKind::Update { set, .. } => ("update", set.iter().map(|(f, _)| *f).collect()),
            StepKind::Delete { .. } => ("delete", (0..self.writable.len()).collect()),
        };
        UndoSample {
            kind: kind.to_owned(),
            key: net.key().map(ToString::to_string).unwrap_or_default(),
            changes: fields.into_iter().map(change).collect(),
        }
    }

    fn finish(self, plan: &mut UndoPlan) {
        let mut table = self.table;
        for (cause, (count, keys)) in self.cannot {
            table.reasons.push(UndoCannot {
                reason: reason(&cause, self.mapped, self.side),
                count,
                keys,
            });
        }
        plan.tables.push(table);
        plan.samples.extend(self.samples);
    }
}

fn reason(cause: &Cause, mapped: &PairMapping, side: Side) -> String {
    match cause {
        Cause::Changed => "changed since".to_owned(),
        Cause::Gone => "gone since".to_owned(),
        Cause::There => "a record with its key is there again".to_owned(),
        Cause::NoValues(why) => (*why).to_owned(),
        Cause::Mapping => "its table or fields are mapped in another way now".to_owned(),
        Cause::OneWay(field) => format!(
            "`{}` flows one way to this side, which would put it back: change it on the other side",
            mapped.field_name(side, *field)
        ),
        Cause::NullKey => "a field of its match key was null".to_owned(),
    }
}

/// Has the edits written, round by round.
async fn carry_out(parts: &RunParts, undo: Undo) -> Result<UndoReport, ControlError> {
    let mut report = UndoReport {
        sync: undo.plan.sync,
        side: undo.plan.side,
        ..UndoReport::default()
    };
    let mut rest = undo.edits;
    while !rest.is_empty() {
        let later = rest.split_off(rest.len().min(UNDO_EDITS_AT_ONCE));
        let edits = std::mem::replace(&mut rest, later);
        let asked = edits
            .iter()
            .map(|edit| (write_of(&edit.step.kind), edit.keys[edit.side].clone()));
        let asked: Vec<(Write, Option<Key>)> = asked.collect();
        let edited = parts.requests.edits.ask(edits).await.map_err(|error| {
            let text = match error {
                NotEdited::NotTaken => "the sync is not live any more: the rest was not written",
                NotEdited::Interrupted => {
                    "the sync was interrupted: `history` shows what was written"
                }
            };
            let done = report.done.creates + report.done.updates + report.done.deletes;
            let text = format!("{text}; {done} records were put back, undo again for the others");
            ControlError::new(ControlErrorKind::Unavailable, "undo-interrupted", text)
        })?;
        for ((write, key), edited) in asked.into_iter().zip(edited) {
            note(&mut report, (write, key), edited);
        }
    }
    Ok(report)
}

fn note(report: &mut UndoReport, (write, key): (Write, Option<Key>), edited: Edited) {
    let reason = match edited {
        Edited::Done => return report.done.count(write),
        Edited::Changed => "changed since the plan".to_owned(),
        Edited::Missing => "gone since the plan".to_owned(),
        Edited::Exists => "a record with its match key is there".to_owned(),
        Edited::Refused { code, detail } => format!("{}: {detail}", code.name()),
    };
    let same = report
        .cannot
        .iter()
        .position(|other| other.reason == reason);
    let place = same.unwrap_or_else(|| {
        report.cannot.push(UndoCannot {
            reason,
            ..UndoCannot::default()
        });
        report.cannot.len() - 1
    });
    let cannot = &mut report.cannot[place];
    cannot.count += 1;
    if cannot.keys.len() < KEYS_NAMED_MAX {
        cannot.keys.extend(key.map(|key| key.to_string()));
    }
}

fn write_of(kind: &StepKind) -> Write {
    match kind {
        StepKind::Create { .. } => Write::Create,
        StepKind::Update { .. } => Write::Update,
        StepKind::Delete { .. } => Write::Delete,
    }
}

//! What a start would do: the same scan, join and decisions as the start itself, without a write.

use std::sync::Arc;

use tidegate_sync::decide::{Decision, Match, Tally, Write};
use tidegate_sync::model::{BySide, Cell, Key, PairId, Row, Side};
use tidegate_sync::policy::{ConflictPolicy, Existing};

use super::blast::is_too_much;
use super::edits::Look;
use super::limits::PREVIEW_SAMPLES_MAX;
use super::mapping::{Mapping, PairMapping};
use super::report::{CaptureReport, FieldDiff, Preview, Sample, SideCost, TablePreview};
use super::run::{RunError, RunParts, check_mapping};
use super::scan::Scanner;
use super::supervisor::write_name;
use super::syncfile::Unasked;
use crate::endpoint::level::Level;
use crate::endpoint::{OpenSide, Snapshot, Wanted as EndpointWanted, Work};
use crate::store::scans::Scan;
use crate::store::syncs::SyncRecord;

/// Longest value in a sample, characters.
const SAMPLE_CHARS_MAX: usize = 80;

/// Reads both sides completely and counts. A file that doesn't fit the sides gives a preview with
/// problems instead of an error.
///
/// `edited`: the running sync as it is, when `parts` have a file with another mapping. Then only
/// what the edit may mean something for is read.
pub(super) async fn preview(
    parts: &RunParts,
    edited: Option<&SyncRecord>,
) -> Result<Preview, RunError> {
    let mapping = match check_mapping(parts).await {
        Ok(mapping) => mapping,
        Err(RunError::Mapping(problems)) => {
            return Ok(Preview {
                sync: parts.file.name.clone(),
                problems,
                ..Preview::default()
            });
        }
        Err(error) => return Err(error),
    };
    let look = match edited {
        Some(record) => Look::at_edit(parts, &mapping, record).await?,
        None => Look::at_all(parts).await?,
    };
    let mut sides = opened(parts, &mapping, "preview").await?;
    let start_warnings = start_warnings(&mut sides).await?;
    let views = views_of(sides).await?;
    let scanner = Scanner {
        mapping: &mapping,
        prints: &parts.prints,
        progress: &parts.progress,
    };
    let scan = match look.remap.clone() {
        Some(remap) => Scan::as_edited(&parts.store, parts.sync, remap).await?,
        None => Scan::aside(&parts.store, parts.sync, "preview").await?,
    };
    scanner.fill_pairs(&scan, &views, &look.pairs).await?;
    let mut wanted: Vec<Wanted> = Vec::new();
    let tallies = scanner
        .decide_all((&scan, &views), &look.first_run, |pair, found, decision| {
            let taken = wanted.iter().filter(|sample| sample.pair == pair).count();
            if taken < PREVIEW_SAMPLES_MAX
                && let Some(sample) = Wanted::of(pair, found, decision)
            {
                wanted.push(sample);
            }
        })
        .await?;
    let mut tables: Vec<TablePreview> = mapping
        .pairs
        .iter()
        .zip(&tallies)
        .enumerate()
        .map(|(number, (pair, tally))| TablePreview {
            untouched: !look.pairs.contains(&PairId(number as u32)),
            ..table_of(pair, tally)
        })
        .collect();
    for sample in wanted {
        let pair = sample.pair;
        let sample = sample.read(&mapping.pairs[pair.0 as usize], &views).await?;
        tables[pair.0 as usize].samples.push(sample);
    }
    let of_mapping = [warnings(&mapping, &tallies), capture_warnings(&mapping)];
    Ok(Preview {
        sync: mapping.name.clone(),
        edits: look.edits,
        costs: costs(parts, &tables),
        tables,
        removed: look.removed,
        problems: Vec::new(),
        warnings: [of_mapping.concat(), start_warnings].concat(),
    })
}

/// What each side that counts calls takes for it.
fn costs(parts: &RunParts, tables: &[TablePreview]) -> Vec<SideCost> {
    let work = |side: Side| {
        let of = |table: &TablePreview| match side {
            Side::Left => Work {
                records: table.left_count,
                creates: table.create_left,
                updates: table.update_left,
                deletes: table.delete_left,
            },
            Side::Right => Work {
                records: table.right_count,
                creates: table.create_right,
                updates: table.update_right,
                deletes: table.delete_right,
            },
        };
        let read = tables.iter().filter(|table| !table.untouched);
        read.map(of).collect::<Vec<_>>()
    };
    let cost = |side: Side| {
        let cost = parts.endpoints[side].cost(&work(side))?;
        Some(SideCost {
            side: side.name().to_owned(),
            calls: cost.calls,
            seconds: cost.seconds,
        })
    };
    Side::BOTH.into_iter().filter_map(cost).collect()
}

/// Says where changes are not read by the stream: it is slower there, or leaves triggers behind.
fn capture_warnings(mapping: &Mapping) -> Vec<String> {
    let reports = mapping.capture_reports().into_iter();
    let below = reports.filter(|report| report.level != Level::Stream.name());
    let text = |report: CaptureReport| {
        let CaptureReport {
            side,
            level,
            reason,
        } = report;
        format!("{side}: changes are read by `{level}` ({reason})")
    };
    below.map(text).collect()
}

/// What a person must do before the start will work.
async fn start_warnings(sides: &mut BySide<Box<dyn OpenSide>>) -> Result<Vec<String>, RunError> {
    let mut warnings = Vec::new();
    for side in Side::BOTH {
        let found = sides[side].check_start().await;
        for problem in found.map_err(|source| RunError::Side { side, source })? {
            warnings.push(format!(
                "{}: {}: {}",
                side.name(),
                problem.message,
                problem.remedy
            ));
        }
    }
    Ok(warnings)
}

/// Consistent views of both sides, which change nothing.
pub(super) async fn views(
    parts: &RunParts,
    mapping: &Mapping,
    purpose: &str,
) -> Result<BySide<Arc<dyn Snapshot>>, RunError> {
    views_of(opened(parts, mapping, purpose).await?).await
}

/// Both sides, opened so that nothing is left behind.
async fn opened(
    parts: &RunParts,
    mapping: &Mapping,
    purpose: &str,
) -> Result<BySide<Box<dyn OpenSide>>, RunError> {
    let open = async |side: Side| {
        let staging = parts.store.data_dir().join("staging").join(purpose);
        let binding = mapping.binding(side, 0, &parts.prints, staging);
        let opened = parts.endpoints[side].open(binding).await;
        opened.map_err(|source| RunError::Side { side, source })
    };
    let (left, right) = tokio::try_join!(open(Side::Left), open(Side::Right))?;
    Ok(BySide::new(left, right))
}

async fn views_of(
    mut sides: BySide<Box<dyn OpenSide>>,
) -> Result<BySide<Arc<dyn Snapshot>>, RunError> {
    let failed = |side| move |source| RunError::Side { side, source };
    let (left, right) = tokio::try_join!(
        async { sides.left.view().await.map_err(failed(Side::Left)) },
        async { sides.right.view().await.map_err(failed(Side::Right)) },
    )?;
    Ok(BySide::new(left.into(), right.into()))
}

/// The counts that `start` must reproduce.
pub(super) fn tallies_of(preview: &Preview) -> Vec<Tally> {
    let tally = |table: &TablePreview| Tally {
        records: BySide::new(table.left_count, table.right_count),
        creates: BySide::new(table.create_left, table.create_right),
        updates: BySide::new(table.update_left, table.update_right),
        deletes: BySide::new(table.delete_left, table.delete_right),
        links: table.link,
        unlinks: table.unlink,
        detached: table.detached,
        unchanged: table.unchanged,
        outside: table.outside,
        findings: table.findings,
    };
    preview.tables.iter().map(tally).collect()
}

/// A count without what other people's changes move all the time while a sync runs, and that says
/// nothing about what would be done.
pub(super) fn done_of(tally: &Tally) -> Tally {
    Tally {
        records: BySide::default(),
        unchanged: 0,
        ..tally.clone()
    }
}

/// What differs between two counts of the same sync, for people; `None` when nothing does.
pub(super) fn difference(
    tables: &[(String, String)],
    expected: &[Tally],
    found: &[Tally],
) -> Option<String> {
    let mut differences = Vec::new();
    for ((names, expected), found) in tables.iter().zip(expected).zip(found) {
        for (what, before, now) in [
            ("records", expected.records, found.records),
            ("creates", expected.creates, found.creates),
            ("updates", expected.updates, found.updates),
            ("deletes", expected.deletes, found.deletes),
        ] {
            for (side, table) in [(Side::Left, &names.0), (Side::Right, &names.1)] {
                if before[side] != now[side] {
                    let side_name = side.name();
                    let (before, now) = (before[side], now[side]);
                    differences.push(format!("{what} in {side_name} {table}: {before} → {now}"));
                }
            }
        }
        let others = |tally: &Tally| {
            let links = (tally.links, tally.unlinks, tally.detached);
            (links, tally.unchanged + tally.outside, tally.findings)
        };
        if others(expected) != others(found) {
            differences.push(format!("links or findings of {}", names.0));
        }
    }
    if expected.len() != found.len() {
        differences.push("the number of table pairs".to_owned());
    }
    (!differences.is_empty()).then(|| {
        let list = differences.join(", ");
        format!(
            "the data changed since the preview ({list}): look at `sync plan` again, then apply \
             with the new counts"
        )
    })
}

fn table_of(pair: &PairMapping, tally: &Tally) -> TablePreview {
    TablePreview {
        left: pair.tables.left.clone(),
        right: pair.tables.right.clone(),
        untouched: false,
        left_count: tally.records.left,
        right_count: tally.records.right,
        unchanged: tally.unchanged,
        link: tally.links,
        unlink: tally.unlinks,
        create_left: tally.creates.left,
        create_right: tally.creates.right,
        update_left: tally.updates.left,
        update_right: tally.updates.right,
        delete_left: tally.deletes.left,
        delete_right: tally.deletes.right,
        detached: tally.detached,
        outside: tally.outside,
        findings: tally.findings,
        samples: Vec::new(),
    }
}

fn warnings(mapping: &Mapping, tallies: &[Tally]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (pair, tally) in mapping.pairs.iter().zip(tallies) {
        let differs = tally.updates.left + tally.updates.right > 0;
        let by_time = pair.policy.conflict == ConflictPolicy::Newest;
        if differs && by_time && pair.policy.existing == Existing::Merge {
            warnings.push(format!(
                "{}: existing records that differ have no time of change, so the left side wins; \
                 the right side's values are kept in the conflict record",
                pair.tables.left
            ));
        }
        warnings.extend(deletions_warning(pair, tally));
        if tally.findings > 0 {
            warnings.push(format!(
                "{}: {} records can't be matched and will be listed as findings",
                pair.tables.left, tally.findings
            ));
        }
    }
    for side in Side::BOTH {
        warnings.extend(mapping.drift(side));
    }
    warnings
}

/// Says what may be deleted without asking where the file says it, and where this start does more.
fn deletions_warning(pair: &PairMapping, tally: &Tally) -> Option<String> {
    let Unasked { records, percent } = pair.unasked;
    let (table, deletes) = (&pair.tables.left, tally.deletes);
    let is_much = |side: Side| is_too_much(deletes[side], tally.records[side], pair.unasked);
    if Side::BOTH.into_iter().any(is_much) {
        return Some(format!(
            "{table}: more than {records} records and {percent} % of them would be deleted: to apply \
             this is to approve it"
        ));
    }
    if pair.unasked == Unasked::default() {
        return None;
    }
    Some(format!(
        "{table}: up to {records} records or {percent} % of them are deleted at once without asking"
    ))
}

/// A record whose values the preview shows.
pub(super) struct Wanted {
    pub pair: PairId,
    kind: String,
    side: Side,
    keys: BySide<Option<Key>>,
}

impl Wanted {
    pub(super) fn of(pair: PairId, found: &Match, decision: &Decision) -> Option<Wanted> {
        let (kind, side) = match decision {
            Decision::Plan { writes, .. } => {
                let side = Side::BOTH
                    .into_iter()
                    .find(|&side| writes[side].is_some())?;
                (
                    write_name(writes[side].unwrap_or(Write::Update)).to_owned(),
                    side,
                )
            }
            Decision::Finding(side, code) => (code.name().to_owned(), *side),
            _ => return None,
        };
        let key = |side: Side| {
            found.scanned[side]
                .as_ref()
                .map(|scanned| scanned.key.clone())
        };
        Some(Wanted {
            pair,
            kind,
            side,
            keys: BySide::from_fn(key),
        })
    }

    pub(super) async fn read(
        self,
        mapped: &PairMapping,
        views: &BySide<Arc<dyn Snapshot>>,
    ) -> Result<Sample, RunError> {
        let mut rows: BySide<Option<Row>> = BySide::default();
        for side in Side::BOTH {
            if let Some(key) = &self.keys[side] {
                let wanted = EndpointWanted {
                    key: key.clone(),
                    place: None,
                };
                let read = views[side].fetch(self.pair, &[wanted]).await;
                let read = read.map_err(|source| RunError::Side { side, source })?;
                rows[side] = read.into_iter().next().flatten();
            }
        }
        let shown = |side: Side, field: usize| {
            rows[side]
                .as_ref()
                .and_then(|row| row.get(field))
                .and_then(shorten)
        };
        let fields = (0..mapped.policy.fields.len())
            .map(|field| FieldDiff {
                left_field: mapped.field_name(Side::Left, field),
                right_field: mapped.field_name(Side::Right, field),
                left: shown(Side::Left, field),
                right: shown(Side::Right, field),
            })
            .filter(|diff| diff.left != diff.right)
            .collect();
        let key = self.keys[self.side]
            .as_ref()
            .or(self.keys[self.side.other()].as_ref());
        Ok(Sample {
            kind: self.kind,
            side: self.side.name().to_owned(),
            key: key.map(ToString::to_string).unwrap_or_default(),
            fields,
        })
    }
}

fn shorten(cell: &Cell) -> Option<String> {
    let value = cell.value()?;
    if value.is_null() {
        return None;
    }
    let text = value.to_string();
    if text.chars().count() <= SAMPLE_CHARS_MAX {
        return Some(text);
    }
    Some(
        text.chars()
            .take(SAMPLE_CHARS_MAX)
            .chain(std::iter::once('…'))
            .collect(),
    )
}

//! What waits for a person, of one sync or of all: findings, and conflicts with both values and, where
//! history has it, the one before. Many conflicts are picked at once here.

use std::collections::{HashMap, HashSet};

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, Key, Side};
use tidegate_sync::session::{Edit, Values};
use tidegate_sync::value::Value;

use super::conflict_control::{report, shown};
use super::errors::{conflict, internal, invalid};
use super::writes::{rfc3339, table_name};
use super::{Engine, file_of};
use crate::engine::handle::{ControlError, Listed, Part};
use crate::engine::report::{
    ConflictFilter, ConflictReport, FindingFilter, FindingReport, PickMany, PickRefusal, PickedMany,
};
use crate::engine::run::RunParts;
use crate::engine::supervisor::Phase;
use crate::engine::syncfile::SyncFile;
use crate::store::conflicts::ConflictRecord;
use crate::store::history::HistoryRecord;
use crate::store::syncs::{SyncId, SyncRecord};
use crate::store::{RecordKeys, conflicts, findings, history};

/// Conflicts that are picked in one request.
const PICKED_AT_ONCE: u32 = 1000;
/// Edits of one round.
const ROUND_EDITS_MAX: usize = 100;
/// The newest writes of the records of one page, among which their former values are looked for.
const WRITES_MAX: u32 = 2000;

/// The syncs that a list names, with their files.
type Known = HashMap<SyncId, (String, SyncFile)>;

impl Engine {
    pub(super) async fn list_findings(
        &self,
        which: &FindingFilter,
        part: Part,
    ) -> Result<Listed<FindingReport>, ControlError> {
        let (known, sync) = self.known(which.sync.as_deref()).await?;
        let filter = findings::Filter {
            sync,
            code: which.code.clone(),
            after: part.after.unwrap_or(0),
            limit: part.limit,
        };
        let (workspace, sealer) = (self.workspace.clone(), self.store.sealer().clone());
        let found = self
            .store
            .view(move |conn| findings::list(conn, &sealer, &workspace, &filter));
        let found = Listed::up_to(part.limit, found.await.map_err(internal)?);
        // A sync that was added this moment is told with the next look.
        let told = |found: &findings::FindingRecord| {
            let (name, file) = known.get(&found.sync)?;
            Some(finding_report(name, file, found))
        };
        Ok(Listed {
            items: found.items.iter().filter_map(told).collect(),
            more: found.more,
        })
    }

    pub(super) async fn list_conflicts(
        &self,
        which: &ConflictFilter,
        part: Part,
    ) -> Result<Listed<ConflictReport>, ControlError> {
        let (known, sync) = self.known(which.sync.as_deref()).await?;
        let filter = conflicts::Filter {
            sync,
            waiting: which.waiting,
            after: part.after,
            limit: part.limit,
        };
        let found = Listed::up_to(part.limit, self.conflicts_by(filter).await?);
        let mut bases = match which.base {
            true => self.bases(&found.items).await?,
            false => HashMap::new(),
        };
        let told = |found: &ConflictRecord| {
            let (name, file) = known.get(&found.sync)?;
            let mut told = report((name, file), found);
            if let Some(base) = bases.remove(&found.id) {
                told.base = shown(Some(&base));
                told.base_known = true;
            }
            Some(told)
        };
        Ok(Listed {
            items: found.items.iter().filter_map(told).collect(),
            more: found.more,
        })
    }

    /// The sync of that name, or all, with their files.
    async fn known(&self, name: Option<&str>) -> Result<(Known, Option<SyncId>), ControlError> {
        let (records, only) = match name {
            Some(name) => {
                let record = self.record(name).await?;
                let id = record.id;
                (vec![record], Some(id))
            }
            None => (self.all_records().await?, None),
        };
        let known = |record: &SyncRecord| Ok((record.id, (record.name.clone(), file_of(record)?)));
        let known: Result<Known, ControlError> = records.iter().map(known).collect();
        Ok((known?, only))
    }

    async fn conflicts_by(
        &self,
        filter: conflicts::Filter,
    ) -> Result<Vec<ConflictRecord>, ControlError> {
        let (workspace, sealer) = (self.workspace.clone(), self.store.sealer().clone());
        let found = self
            .store
            .view(move |conn| conflicts::list(conn, &sealer, &workspace, &filter));
        found.await.map_err(internal)
    }

    /// The values that the sides last agreed on, by conflict: those that history has of its record whose
    /// fingerprint is the one that was agreed on.
    async fn bases(&self, found: &[ConflictRecord]) -> Result<HashMap<i64, Value>, ControlError> {
        let mut bases = HashMap::new();
        let syncs: HashSet<SyncId> = found.iter().map(|one| one.sync).collect();
        for sync in syncs {
            let asked = found
                .iter()
                .filter(|one| one.sync == sync && one.conflict.field.is_some());
            let asked: Vec<&ConflictRecord> = asked.collect();
            let keys = asked.iter().flat_map(|one| keys_of(one).cloned());
            let keys: HashSet<Key> = keys.collect();
            if keys.is_empty() {
                continue;
            }
            let prints = self.prints_of(sync).await?;
            let writes = self.writes_of(sync, keys.into_iter().collect()).await?;
            for one in asked {
                if let Some(base) = base(one, &writes, &prints) {
                    bases.insert(one.id, base);
                }
            }
        }
        Ok(bases)
    }

    async fn prints_of(&self, sync: SyncId) -> Result<Fingerprinter, ControlError> {
        let sealer = self.store.sealer().clone();
        let key = self
            .store
            .view(move |conn| crate::store::syncs::fingerprint_key(conn, &sealer, sync));
        Ok(Fingerprinter::new(*key.await.map_err(internal)?))
    }

    async fn writes_of(
        &self,
        sync: SyncId,
        keys: Vec<Key>,
    ) -> Result<Vec<HistoryRecord>, ControlError> {
        let record_keys = RecordKeys::new(self.store.sealer(), sync);
        let filter = history::Filter {
            keys,
            limit: WRITES_MAX,
            ..history::Filter::default()
        };
        let found = self
            .store
            .view(move |conn| history::list(conn, &record_keys, sync, &filter));
        found.await.map_err(internal)
    }

    /// Picks all that wait and are meant, in rounds; what can't be picked is told.
    pub(super) async fn pick_all(
        &self,
        name: &str,
        which: &PickMany,
    ) -> Result<PickedMany, ControlError> {
        let side = Side::BOTH.into_iter().find(|s| s.name() == which.side);
        let side = side.ok_or_else(|| {
            let text = format!("side `{}`: expected left or right", which.side);
            invalid("bad-filter", text)
        })?;
        let (record, parts) = self.running_parts(name).await?;
        if parts.progress.view().phase != Phase::Live {
            let text = format!("sync `{name}` is not live: picks are written by its run");
            return Err(conflict("sync-not-live", text));
        }
        let filter = conflicts::Filter {
            sync: Some(record.id),
            waiting: true,
            after: Some(which.upto.saturating_add(1)),
            limit: PICKED_AT_ONCE,
        };
        let listed = Listed::up_to(PICKED_AT_ONCE, self.conflicts_by(filter).await?);
        let is_meant = |found: &&ConflictRecord| {
            let told = report((name, &parts.file), found);
            which
                .table
                .as_ref()
                .is_none_or(|table| *table == told.table)
                && (which.field.is_none() || which.field == told.left_field)
        };
        let meant = listed.items.iter().filter(is_meant);
        let mut done = self.pick_each(&record, &parts, side, meant).await?;
        // What was refused would be met again for ever.
        done.more = listed.more && done.picked > 0;
        Ok(done)
    }

    async fn pick_each(
        &self,
        record: &SyncRecord,
        parts: &RunParts,
        side: Side,
        meant: impl Iterator<Item = &ConflictRecord>,
    ) -> Result<PickedMany, ControlError> {
        let mut done = PickedMany::default();
        let mut round = Round::default();
        for found in meant {
            let edit = match self.edit_of(record, parts, (found, side)).await {
                Ok(edit) => edit,
                Err(error) => {
                    let (id, reason) = (found.id, error.message);
                    done.refused.push(PickRefusal { id, reason });
                    continue;
                }
            };
            if round.must_wait(found) {
                self.write_round(parts, (record.id, side), &mut round, &mut done)
                    .await?;
            }
            round.add(found, edit);
        }
        self.write_round(parts, (record.id, side), &mut round, &mut done)
            .await?;
        Ok(done)
    }

    async fn write_round(
        &self,
        parts: &RunParts,
        of: (SyncId, Side),
        round: &mut Round,
        done: &mut PickedMany,
    ) -> Result<(), ControlError> {
        let Round { picks, .. } = std::mem::take(round);
        if picks.is_empty() {
            return Ok(());
        }
        let count = picks.len();
        let refused = self.write_picks(parts, of, picks).await?;
        done.picked += (count - refused.len()) as u64;
        done.refused.extend(refused);
        Ok(())
    }
}

/// Picks that are written together: of each record one.
#[derive(Default)]
struct Round {
    picks: Vec<(i64, Edit)>,
    records: HashSet<(u32, Side, Key)>,
}

impl Round {
    fn must_wait(&self, found: &ConflictRecord) -> bool {
        let is_there = records_of(found).any(|record| self.records.contains(&record));
        is_there || self.picks.len() >= ROUND_EDITS_MAX
    }

    fn add(&mut self, found: &ConflictRecord, edit: Edit) {
        self.records.extend(records_of(found));
        self.picks.push((found.id, edit));
    }
}

fn records_of(found: &ConflictRecord) -> impl Iterator<Item = (u32, Side, Key)> {
    let (pair, keys) = (found.conflict.pair.0, &found.conflict.keys);
    let of = move |side: Side| Some((pair, side, keys[side].clone()?));
    Side::BOTH.into_iter().filter_map(of)
}

fn keys_of(found: &ConflictRecord) -> impl Iterator<Item = &Key> {
    let keys: &BySide<Option<Key>> = &found.conflict.keys;
    [keys.left.as_ref(), keys.right.as_ref()]
        .into_iter()
        .flatten()
}

/// A value of the conflict's record that has the fingerprint which was agreed on: that it is the same
/// field's is proven by it.
fn base(found: &ConflictRecord, writes: &[HistoryRecord], prints: &Fingerprinter) -> Option<Value> {
    let is_agreed = |value: &&Value| {
        let print = Some(prints.value(value));
        print == found.base.left || print == found.base.right
    };
    let of_record = writes.iter().filter(|write| {
        let keys = &write.applied.keys;
        let is_same = |side: Side| keys[side].is_some() && keys[side] == found.conflict.keys[side];
        write.applied.pair == found.conflict.pair && (is_same(Side::Left) || is_same(Side::Right))
    });
    let fields = of_record.flat_map(|write| match &write.applied.values {
        Values::Kept(fields) => fields.as_slice(),
        _ => &[],
    });
    let values = fields.flat_map(|field| [field.after.as_ref(), field.before.as_ref()]);
    values.flatten().find(is_agreed).cloned()
}

fn finding_report(sync: &str, file: &SyncFile, found: &findings::FindingRecord) -> FindingReport {
    let finding = &found.finding;
    FindingReport {
        id: found.id,
        sync: sync.to_owned(),
        table: table_name(file, finding.pair, finding.side),
        side: finding.side.name().to_owned(),
        key: finding.key.to_string(),
        code: finding.code.name().to_owned(),
        detail: finding.detail.clone(),
        advice: finding.code.advice().to_owned(),
        since: rfc3339(found.first_at_ms),
        attempts: found.attempts,
        retry_at: found.retry_at_ms.map(rfc3339),
    }
}

//! Settle: one transaction that makes durable what both sides confirmed, all or nothing.

use std::collections::BTreeMap;

use tidegate_sync::model::{BySide, LinkId, PairId, Side};
use tidegate_sync::session::{Noted, Settlement};

use super::history::{HistoryRow, Keeping};
use super::keys::RecordKeys;
use super::links::LinkRow;
use super::pairs::Delta;
use super::sql::{Transaction, params};
use super::syncs::SyncId;
use super::{
    StoreError, conflicts, findings, intents, links, pairs, positions, runs, syncs, tombstones,
};

/// A settlement with its links and writes hashed and sealed, which needs no turn of the writer.
pub(super) struct Prepared {
    links: Vec<LinkRow>,
    history: Vec<HistoryRow>,
    rest: Settlement,
}

impl Prepared {
    pub(super) fn new(
        keys: &RecordKeys,
        mut settlement: Settlement,
        keeping: &Keeping,
    ) -> Result<Self, StoreError> {
        let links = std::mem::take(&mut settlement.links);
        let rows = links
            .into_iter()
            .map(|(pair, link)| LinkRow::new(keys, pair, link));
        let applied = std::mem::take(&mut settlement.applied);
        let history = applied
            .iter()
            .map(|applied| HistoryRow::new(keys, applied, keeping));
        Ok(Self {
            links: rows.collect(),
            history: history.collect::<Result<_, _>>()?,
            rest: settlement,
        })
    }
}

/// Who settles, and when.
pub(super) struct Settler<'a> {
    pub keys: &'a RecordKeys,
    pub sync: SyncId,
    pub epoch: u32,
    pub now_ms: i64,
}

impl Settler<'_> {
    /// Applies the settlement. Refuses a run that was replaced, and a link that would give a record
    /// a second partner at the same time; then nothing is changed. Returns the links' numbers.
    pub(super) fn apply(
        &self,
        tx: &Transaction<'_>,
        prepared: &Prepared,
    ) -> Result<Vec<LinkId>, StoreError> {
        syncs::check_epoch(tx, self.sync, self.epoch)?;
        let settlement = &prepared.rest;
        let mut deltas = BTreeMap::new();
        let ids = self.put_links(tx, prepared, &mut deltas)?;
        for gone in &settlement.gone {
            tombstones::put(tx, self.keys, self.sync, gone)?;
        }
        self.put_conflicts(tx, prepared, &ids)?;
        self.put_findings(tx, settlement)?;
        self.put_history(tx, &prepared.history, &mut deltas)?;
        self.put_positions(tx, settlement)?;
        for (pair, delta) in &deltas {
            pairs::add(tx, self.sync, *pair, delta)?;
        }
        if settlement.round_done {
            intents::clear(tx, self.sync)?;
        }
        if settlement.live {
            pairs::mark_live(tx, self.sync)?;
        }
        for (pair, known) in &settlement.reconciled {
            pairs::mark_reconciled(tx, self.sync, *pair, known)?;
        }
        Ok(ids)
    }

    /// Drops first, then frees changed keys, then writes: a key may move from one link to another
    /// within a settlement.
    fn put_links(
        &self,
        tx: &Transaction<'_>,
        prepared: &Prepared,
        deltas: &mut BTreeMap<PairId, Delta>,
    ) -> Result<Vec<LinkId>, StoreError> {
        for (pair, id) in &prepared.rest.dropped {
            let delta = links::delete(tx, self.sync, *pair, *id)?;
            deltas.entry(*pair).or_default().linked += delta;
        }
        let mut formers = Vec::with_capacity(prepared.links.len());
        for row in &prepared.links {
            formers.push(if row.is_new() {
                None
            } else {
                links::free_changed_keys(tx, self.sync, row)?
            });
        }
        let is_live = prepared.rest.live || syncs::is_live(tx, self.sync)?;
        let mut placing = if is_live {
            links::index_above(tx, &prepared.links)?
        } else {
            links::append_above(tx, self.sync)?
        };
        let mut ids = Vec::with_capacity(prepared.links.len());
        for (row, former) in prepared.links.iter().zip(&formers) {
            let (id, delta) = match former {
                Some(former) => links::update(tx, self.keys, self.sync, row, former)?,
                None => links::insert(tx, self.keys, self.sync, row, &mut placing)?,
            };
            deltas.entry(row.pair).or_default().linked += delta;
            ids.push(id);
        }
        Ok(ids)
    }

    fn put_conflicts(
        &self,
        tx: &Transaction<'_>,
        prepared: &Prepared,
        ids: &[LinkId],
    ) -> Result<(), StoreError> {
        let links: Vec<_> = ids
            .iter()
            .copied()
            .zip(prepared.links.iter().map(LinkRow::link))
            .collect();
        if conflicts::any_waits(tx, self.sync)? {
            for (_, id) in &prepared.rest.dropped {
                conflicts::end_of_link(tx, self.sync, *id)?;
            }
            for link in &links {
                conflicts::end_agreed(tx, self.sync, *link)?;
            }
        }
        if prepared.rest.conflicts.is_empty() {
            return Ok(());
        }
        let workspace = self.workspace(tx)?;
        let owner = (self.sync, workspace.as_str());
        for Noted { conflict, link } in &prepared.rest.conflicts {
            let link = link.and_then(|place| links.get(place).copied());
            conflicts::add(tx, self.keys, owner, (conflict, link), self.now_ms)?;
        }
        Ok(())
    }

    fn put_findings(
        &self,
        tx: &Transaction<'_>,
        settlement: &Settlement,
    ) -> Result<(), StoreError> {
        let workspace = self.workspace(tx)?;
        let owner = (self.sync, workspace.as_str());
        for (pair, side, key) in &settlement.resolved {
            findings::resolve(tx, self.keys, self.sync, (*pair, *side, key))?;
        }
        for finding in &settlement.findings {
            findings::put(tx, self.keys, owner, finding, self.now_ms)?;
        }
        Ok(())
    }

    fn put_history(
        &self,
        tx: &Transaction<'_>,
        rows: &[HistoryRow],
        deltas: &mut BTreeMap<PairId, Delta>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let workspace = self.workspace(tx)?;
        let run = (self.sync, workspace.as_str(), self.epoch);
        let mut writes: BySide<runs::Writes> = BySide::default();
        for row in rows {
            row.add(tx, run, self.now_ms)?;
            let (pair, side) = row.place();
            writes[side].count(row.write);
            deltas.entry(pair).or_default().writes[side] += 1;
        }
        for side in Side::BOTH {
            runs::add(
                tx,
                (self.sync, self.epoch),
                side,
                &writes[side],
                self.now_ms,
            )?;
        }
        Ok(())
    }

    fn put_positions(
        &self,
        tx: &Transaction<'_>,
        settlement: &Settlement,
    ) -> Result<(), StoreError> {
        for side in Side::BOTH {
            if let Some(position) = &settlement.positions[side] {
                positions::put(tx, self.sync, side, position)?;
                tombstones::forget_passed(tx, self.sync, side, position)?;
            }
        }
        Ok(())
    }

    fn workspace(&self, tx: &Transaction<'_>) -> Result<String, StoreError> {
        let mut statement = tx.prepare_cached("select workspace from syncs where id = ?1")?;
        Ok(statement.query_row(params![self.sync.0], |row| row.get(0))?)
    }
}

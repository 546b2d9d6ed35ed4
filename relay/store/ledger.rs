//! One run's view of its sync: what the engine's driver reads and makes durable.
//!
//! Holds the run's epoch. Every write checks it in its own transaction, so that a run that was
//! replaced can store nothing more.

use std::sync::Arc;

use tidegate_sync::model::{FindingCode, Key, LinkId, Lookup, PairId, Side};
use tidegate_sync::session::{Resume, Round, Settlement};

use super::history::Keeping;
use super::keys::RecordKeys;
use super::layouts::{self, LayoutChange};
use super::scans::Scan;
use super::settle::{Prepared, Settler};
use super::sql::Transaction;
use super::syncs::{self, SyncId};
use super::{
    Store, StoreError, findings, intents, limits, links, mappings, pairs, positions, tombstones,
};

/// The durable memory of one run of a sync. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    store: Store,
    keys: RecordKeys,
    sync: SyncId,
    epoch: u32,
    keeping: Arc<Keeping>,
}

impl Ledger {
    /// Starts a run with the next epoch. `pair_count` is the number of the sync's table pairs; a
    /// pair that is new is due to be reconciled.
    pub async fn begin(
        store: &Store,
        sync: SyncId,
        pair_count: u32,
        now_ms: i64,
    ) -> Result<Ledger, StoreError> {
        index_links(store, sync).await?;
        let epoch = store
            .transact(move |tx| {
                pairs::ensure(tx, sync, pair_count)?;
                syncs::begin_run(tx, sync, now_ms)
            })
            .await?;
        Ok(Ledger {
            store: store.clone(),
            keys: RecordKeys::new(store.sealer(), sync),
            sync,
            epoch,
            keeping: Arc::default(),
        })
    }

    /// History is kept so from here on; values are kept unless told otherwise.
    pub async fn keeping(mut self, keeping: Keeping) -> Result<Ledger, StoreError> {
        let (sync, keeping) = (self.sync, Arc::new(keeping));
        self.keeping = keeping.clone();
        self.fenced(move |tx| mappings::put(tx, sync, &keeping.tables))
            .await?;
        Ok(self)
    }

    /// The run's epoch: batches are numbered within it, and streams name it.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn sync(&self) -> SyncId {
        self.sync
    }

    /// What was settled before: where the session starts.
    pub async fn resume(&self) -> Result<Resume, StoreError> {
        let (sync, sealer) = (self.sync, self.store.sealer().clone());
        self.store
            .view(move |conn| {
                let settled = positions::load(conn, sync)?;
                let live = syncs::by_id(conn, sync)?.live;
                let positions = match (settled.left, settled.right) {
                    (Some(left), Some(right)) if live => {
                        Some(tidegate_sync::model::BySide { left, right })
                    }
                    _ => None,
                };
                let pairs = pairs::list(conn, sync)?;
                Ok(Resume {
                    positions,
                    round: intents::open_round(conn, &sealer, sync)?,
                    first_run: pairs.iter().map(|pair| pair.first_run).collect(),
                    due: pairs.iter().map(|pair| pair.due).collect(),
                    known: pairs.iter().map(|pair| pair.known).collect(),
                })
            })
            .await
    }

    /// What is known about these keys, in the order asked.
    pub async fn load(&self, keys: Vec<(Side, PairId, Key)>) -> Result<Vec<Lookup>, StoreError> {
        let (sync, record_keys) = (self.sync, self.keys.clone());
        self.store
            .view(move |conn| {
                // Most syncs have none of these most of the time.
                let has_gone = tombstones::has_any(conn, sync)?;
                let has_findings = findings::has_any(conn, sync)?;
                keys.iter()
                    .map(|(side, pair, key)| {
                        let hash = record_keys.hash(key);
                        let place = (sync, *pair, *side);
                        let traces = match has_gone {
                            true => tombstones::of_key(conn, place, &hash)?,
                            false => Vec::new(),
                        };
                        let code = match has_findings {
                            true => findings::code_of(conn, place, &hash)?,
                            false => None,
                        };
                        let altered = FindingCode::ValueAltered.name();
                        Ok(Lookup {
                            links: links::of_key(conn, &record_keys, place, &hash)?,
                            traces,
                            has_finding: code.is_some(),
                            is_altered: code.as_deref() == Some(altered),
                        })
                    })
                    .collect()
            })
            .await
    }

    /// Linked records of each table pair.
    pub async fn linked(&self) -> Result<Vec<u64>, StoreError> {
        let sync = self.sync;
        let pairs = self.store.view(move |conn| pairs::list(conn, sync)).await?;
        let linked = pairs.iter().map(|pair| pair.linked.max(0) as u64);
        Ok(linked.collect())
    }

    /// Commits the round before it is sent.
    pub async fn intend(&self, round: &Round) -> Result<(), StoreError> {
        let sealed = intents::seal(self.store.sealer(), round)?;
        let (sync, epoch) = (self.sync, self.epoch);
        self.fenced(move |tx| intents::put(tx, sync, epoch, &sealed))
            .await
    }

    /// Makes the settlement durable in one transaction. Only then may its positions be
    /// acknowledged. Returns the numbers of its links, in their order.
    pub async fn settle(
        &self,
        settlement: Settlement,
        now_ms: i64,
    ) -> Result<Vec<LinkId>, StoreError> {
        if settlement.live {
            index_links(&self.store, self.sync).await?;
        }
        let (keys, sync, epoch) = (self.keys.clone(), self.sync, self.epoch);
        let prepared = tokio::task::spawn_blocking({
            let (keys, keeping) = (keys.clone(), self.keeping.clone());
            move || Prepared::new(&keys, settlement, &keeping)
        });
        let prepared = prepared
            .await
            .map_err(|error| StoreError::Panicked(error.to_string()))??;
        self.store
            .transact(move |tx| {
                let settler = Settler {
                    keys: &keys,
                    sync,
                    epoch,
                    now_ms,
                };
                settler.apply(tx, &prepared)
            })
            .await
    }

    /// Makes the stored links what the changed mapping needs, in one transaction (see
    /// [`layouts`]). No round may be open.
    pub async fn lay_out(&self, change: LayoutChange, now_ms: i64) -> Result<(), StoreError> {
        let (sync, epoch, keys) = (self.sync, self.epoch, self.keys.clone());
        self.fenced(move |tx| layouts::apply(tx, &keys, (sync, epoch), &change, now_ms))
            .await
    }

    /// A position was lost or a table's shape changed: the next session reconciles.
    pub async fn forget_positions(&self) -> Result<(), StoreError> {
        let sync = self.sync;
        self.fenced(move |tx| positions::forget(tx, sync)).await
    }

    /// Records with findings whose wait is over. Each is put off by a minute, so that it is not
    /// handed out again while it is tried.
    pub async fn take_due_findings(
        &self,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<(Side, PairId, Key)>, StoreError> {
        let (sync, keys) = (self.sync, self.keys.clone());
        let reader = keys.clone();
        let due = self
            .store
            .view(move |conn| findings::due(conn, &reader, sync, now_ms, limit))
            .await?;
        if due.is_empty() {
            return Ok(due);
        }
        self.fenced(move |tx| {
            findings::postpone(tx, &keys, sync, &due, now_ms)?;
            Ok(due)
        })
        .await
    }

    /// Notes what the sync is doing, for people.
    pub async fn set_state(
        &self,
        state: &'static str,
        last_error: Option<String>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let sync = self.sync;
        self.fenced(move |tx| syncs::set_state(tx, sync, state, last_error.as_deref(), now_ms))
            .await
    }

    /// Starts the scan table of a reconcile.
    pub async fn scan(&self) -> Result<Scan, StoreError> {
        Scan::create(&self.store, self.sync, self.epoch).await
    }

    async fn fenced<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (sync, epoch) = (self.sync, self.epoch);
        self.store
            .transact(move |tx| {
                syncs::check_epoch(tx, sync, epoch)?;
                job(tx)
            })
            .await
    }
}

/// Enters the links of a copy into the index of keys, with room for other writers in between.
async fn index_links(store: &Store, sync: SyncId) -> Result<(), StoreError> {
    let limit = limits::LINKS_INDEXED_AT_ONCE;
    while store
        .transact(move |tx| links::index_some(tx, sync, limit))
        .await?
    {}
    Ok(())
}

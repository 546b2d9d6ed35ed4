//! Removes what has been kept for its time.

use super::Engine;
use super::errors::internal;
use crate::engine::handle::ControlError;
use crate::engine::limits::RETENTION;
use crate::engine::run::now_ms;
use crate::engine::syncfile::{Retention, SyncFile};
use crate::store::syncs::{self, SyncId};
use crate::store::{StoreError, conflicts, history, runs};

impl Engine {
    /// Removes conflicts and history that are older than their retention time.
    pub async fn forget_old(&self) -> Result<(), ControlError> {
        let before_ms = now_ms() - RETENTION.as_millis() as i64;
        self.store
            .transact(move |tx| conflicts::forget_before(tx, before_ms))
            .await
            .map_err(internal)?;
        let listed = self.store.view(syncs::list_everywhere);
        for record in listed.await.map_err(internal)? {
            // A file of another version that this one refuses has the default time.
            let file = SyncFile::parse(&record.definition);
            let retention = file.map(|file| file.history).unwrap_or_default();
            let forgotten = self.forget_history(record.id, retention).await;
            forgotten.map_err(internal)?;
        }
        Ok(())
    }

    /// Piece by piece, with room for other writers in between.
    async fn forget_history(&self, sync: SyncId, retention: Retention) -> Result<(), StoreError> {
        let before_ms = now_ms() - retention.time().as_millis() as i64;
        while self
            .store
            .transact(move |tx| history::forget_some(tx, sync, before_ms))
            .await?
        {}
        while !retention.keeps_values()
            && self
                .store
                .transact(move |tx| history::forget_some_values(tx, sync))
                .await?
        {}
        self.store
            .transact(move |tx| runs::forget_before(tx, sync, before_ms))
            .await?;
        Ok(())
    }
}

//! The change log as a writer needs it: how its transactions are marked, where it ends by now.

use tidegate_sync::model::{BatchId, Key, PairId};
use tokio_postgres::Error;

use super::connect::Connected;
use super::looks::Looks;
use super::outbox::{OutboxName, ticks};
use super::progress::ProgressName;
use super::slots::{FENCE_PREFIX, MARKER_PREFIX};
use super::snapshot::insert_position;
use crate::endpoint::EndpointError;

/// Where changes are read from.
#[derive(Clone, Debug)]
pub enum ChangeLog {
    /// The server's own log, by stream or peek.
    Wal,
    /// An outbox that triggers fill.
    Outbox(OutboxName),
    /// An outbox that looks fill.
    Looks(Looks),
}

impl ChangeLog {
    /// SQL that begins the transaction of `batch`.
    ///
    /// The isolation level is named because a role's default may be another, under which the guard
    /// would compare with an old view.
    pub(super) fn begin(&self, progress: &ProgressName, batch: BatchId) -> String {
        let begin = "begin isolation level read committed read write";
        match self {
            ChangeLog::Wal => {
                let marker = progress.marker(batch);
                format!(
                    "{begin}; select pg_logical_emit_message(true, '{MARKER_PREFIX}', '{marker}')"
                )
            }
            ChangeLog::Outbox(_) | ChangeLog::Looks(_) => begin.to_owned(),
        }
    }

    /// Within the transaction: what it has done to these records is told, even if they are again
    /// as they were when somebody looks.
    pub(super) async fn touch(
        &self,
        session: &Connected,
        records: &[(PairId, Key)],
    ) -> Result<(), Error> {
        match self {
            ChangeLog::Looks(looks) => looks.touch(session, records).await,
            ChangeLog::Wal | ChangeLog::Outbox(_) => Ok(()),
        }
    }

    /// SQL that commits it.
    pub(super) fn commit(&self, batch: BatchId) -> String {
        match self {
            // A look sees by the progress row which batches it shows.
            ChangeLog::Wal | ChangeLog::Looks(_) => "commit".to_owned(),
            // Last: the outbox's transactions are in the order of their last rows, and this one
            // comes after whatever it has read.
            ChangeLog::Outbox(name) => format!("{}; commit", name.mark(batch)),
        }
    }

    /// The change log's end, which the capture is made to pass soon. Whatever was seen of
    /// `records` is told before it, or what became of them.
    pub(super) async fn fence(
        &self,
        session: &Connected,
        records: &[(PairId, Key)],
    ) -> Result<u64, EndpointError> {
        match self {
            ChangeLog::Wal => {}
            ChangeLog::Outbox(name) => return ticks::make(session, name).await,
            ChangeLog::Looks(looks) => return looks.fence(session, records).await,
        }
        let doing = "read the change log's end";
        let position = session.bounded(doing, insert_position(session)).await?;
        // Transactional, in a transaction of its own: unlike a non-transactional one it is
        // flushed at once, so the stream gets it at once.
        let sql = format!("select pg_logical_emit_message(true, '{FENCE_PREFIX}', '')");
        session.bounded(doing, session.batch_execute(&sql)).await?;
        Ok(position)
    }
}

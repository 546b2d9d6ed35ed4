//! What a sync's change log makes its side keep, and the hand that gives it up in time.
//!
//! A log that nobody reads fills its side's disk: while a sync is paused or its other side is away
//! as well as while it runs. The engine's guardian looks at every log through this trait, one
//! session per connection, beside the runs and independent of them.

use async_trait::async_trait;
use tidegate_sync::model::Side;

use super::EndpointError;

/// Looks after the change logs that syncs keep on one connection.
#[async_trait]
pub trait LogGuard: Send {
    /// How the log of this sync stands. `None`: there is none now.
    async fn look(&mut self, sync: &str, side: Side) -> Result<Option<LogState>, EndpointError>;

    /// Gives whoever reads the log something to read, so that it moves on although the side's own
    /// tables are quiet. `false`: this side allows none.
    async fn beat(&mut self) -> Result<bool, EndpointError>;

    /// Gives the log up if it keeps more than `above_bytes` now, also from under its reader: the
    /// sync's next start reconciles. `true` if it did.
    async fn give_up(
        &mut self,
        sync: &str,
        side: Side,
        above_bytes: u64,
    ) -> Result<bool, EndpointError>;
}

/// How one change log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// As the side calls it: the replication slot's or the outbox's name.
    pub name: String,
    /// Somebody is reading it.
    pub active: bool,
    /// What the side says of it: `reserved`, `extended`, `unreserved` or `lost`; empty for an outbox.
    pub status: String,
    /// Why the side gave it up by itself, where it tells.
    pub lost_because: Option<String>,
    /// What is kept for it, bytes; `None` where it keeps nothing any more.
    pub retained_bytes: Option<u64>,
    /// Written since its reader last confirmed, bytes.
    pub unconfirmed_bytes: Option<u64>,
    /// What may be written before the side gives it up by itself, bytes.
    pub safe_bytes: Option<u64>,
    /// The side's own bound on what it keeps, the server's or its owner's, bytes.
    pub keeps_max_bytes: Option<u64>,
    /// End of what the log is kept in: how fast that grows tells how fast the disk fills.
    pub written_bytes: u64,
}

impl LogState {
    /// What it was kept for is gone: only a reconcile goes on from here.
    pub fn is_lost(&self) -> bool {
        self.status == "lost"
    }
}

//! The remembered pair of records, with what both sides last agreed on.

use serde::{Deserialize, Serialize};

use super::{BatchId, BySide, Key, Side};
use crate::baseline::Fingerprint;

/// The store's number of a link; 0 for one that was never stored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LinkId(pub u64);

/// One left record linked to one right record. The links of a table pair are a partial bijection.
///
/// A link that lacks one key is *detached*: its record has no counterpart on that side on purpose
/// (the deletion was not propagated, or existing data was not to be copied), and changes of the
/// remaining record are not carried over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub id: LinkId,
    pub keys: BySide<Option<Key>>,
    /// Per side one fingerprint for each field pair: the value which that side last reported while
    /// both were agreed. [`Fingerprint::UNKNOWN`] where they never agreed.
    pub baseline: BySide<Vec<Fingerprint>>,
    /// Per side the offset of the last settled change: an older one is a replay.
    pub seen: BySide<u64>,
    /// Per side the last batch that wrote the record there: what the side reports from before that
    /// batch's commit is known already.
    pub written: BySide<BatchId>,
}

impl Link {
    pub fn is_detached(&self) -> bool {
        self.keys.left.is_none() || self.keys.right.is_none()
    }

    pub fn key(&self, side: Side) -> Option<&Key> {
        self.keys[side].as_ref()
    }
}

/// What the store knows about one key of one side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookup {
    pub link: Option<Link>,
    /// Set when a record of this key was deleted or moved away: what the side reports up to this
    /// offset is a replay …
    pub gone_seen: u64,
    /// … and what it reports from before this batch's commit is known already.
    pub gone_written: BatchId,
    /// True when an open finding names this key, so that success must close it.
    pub has_finding: bool,
}

//! The remembered pair of records, with what both sides last agreed on.

use serde::{Deserialize, Serialize};

use super::{BatchId, BySide, Key, Side};
use crate::baseline::Fingerprint;

/// The store's number of a link; 0 for one that was never stored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LinkId(pub u64);

/// Where in a side's history a change stands. Ordered as the history is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// PostgreSQL: the commit's end LSN.
    pub offset: u64,
    /// The change's own place within its transaction. PostgreSQL: the LSN of its WAL record.
    pub at: u64,
}

impl Place {
    /// After everything that was committed at or before `offset`.
    pub fn end_of(offset: u64) -> Place {
        Place {
            offset,
            at: u64::MAX,
        }
    }
}

/// From when on a side's history calls a record by a key. Ordered as the history is: our batches
/// leave marks in it, and what other people did after a mark is told apart by its offset.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Since {
    /// The batch of ours that gave the key, or the last one before somebody else did.
    pub batch: BatchId,
    /// Where somebody else gave it; the very beginning for a batch of ours.
    pub place: Place,
}

impl Since {
    /// A write of ours gave the key.
    pub fn written(batch: BatchId) -> Since {
        let place = Place::default();
        Since { batch, place }
    }

    /// True where a batch of ours gave the key.
    pub fn is_given(self) -> bool {
        self.place == Place::default() && self.batch != BatchId::NONE
    }
}

/// One left record linked to one right record. At every moment of both histories the links of a
/// table pair are a partial bijection. A key may have several links, one after the other: a batch
/// of ours can give a key to a record before the history has told that its former record is gone.
///
/// A link that lacks one key is *detached*: its record has no counterpart on that side on purpose
/// (the deletion was not propagated, or existing data was not to be copied), and changes of the
/// remaining record are not carried over. Or it is *widowed* (`gone`): the counterpart was deleted,
/// and the deletion could not be carried over yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub id: LinkId,
    pub keys: BySide<Option<Key>>,
    /// Per side from when on the key names the record.
    pub since: BySide<Since>,
    /// Per side true when its record was deleted there; then it has no key.
    pub gone: BySide<bool>,
    /// Per side one fingerprint for each field pair: the value which that side last reported while
    /// both were agreed. [`Fingerprint::UNKNOWN`] where they never agreed.
    pub baseline: BySide<Vec<Fingerprint>>,
    /// Per side how far its history is accounted for: an older change is a replay.
    pub seen: BySide<Place>,
    /// Per side the last batch that wrote the record there: what the side reports from before that
    /// batch's commit is known already.
    pub written: BySide<BatchId>,
}

impl Link {
    pub fn is_detached(&self) -> bool {
        Side::BOTH
            .into_iter()
            .any(|side| self.keys[side].is_none() && !self.gone[side])
    }

    /// True when only one side has a record.
    pub fn is_half(&self) -> bool {
        self.keys.left.is_none() || self.keys.right.is_none()
    }

    pub fn key(&self, side: Side) -> Option<&Key> {
        self.keys[side].as_ref()
    }
}

/// A key that no longer names a record that was linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub since: Since,
    /// What the side reports about that record up to here is a replay …
    pub seen: Place,
    /// … and what it reports from before this batch's commit is known already.
    pub written: BatchId,
}

impl Trace {
    /// Beside every place of a history.
    const ASKED: Place = Place { offset: 0, at: 1 };

    /// A batch that a person asked for gave the key to a record. Whose it is from then on, the history will
    /// tell; until it has, no former one is to be written under the key. It says nothing else.
    pub fn asked(batch: BatchId) -> Trace {
        Trace {
            since: Since {
                batch,
                place: Trace::ASKED,
            },
            seen: Place::default(),
            written: batch,
        }
    }

    pub fn is_asked(&self) -> bool {
        self.since.place == Trace::ASKED
    }

    /// When the record gave the key up, as far as is known.
    pub fn ended(&self) -> Since {
        Since {
            batch: self.since.batch.max(self.written),
            place: self.seen,
        }
    }
}

/// What the store knows about one key of one side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookup {
    /// Every link with this key; seldom more than one.
    pub links: Vec<Link>,
    pub traces: Vec<Trace>,
    /// True when an open finding names this key, so that success must close it.
    pub has_finding: bool,
    /// True when that is about a value that was altered: only a success with this value closes it.
    pub is_altered: bool,
}

impl Lookup {
    /// Traces of records that gave the key up.
    pub fn ended(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter().filter(|trace| !trace.is_asked())
    }

    /// The finding, if it is about a value that was altered.
    pub(crate) fn altered(&self, finding: &(Side, Key)) -> Option<(Side, Key)> {
        self.is_altered.then(|| finding.clone())
    }

    /// Of a key that nobody knows.
    pub fn nobody() -> &'static Lookup {
        static NOBODY: Lookup = Lookup {
            links: Vec::new(),
            traces: Vec::new(),
            has_finding: false,
            is_altered: false,
        };
        &NOBODY
    }
}

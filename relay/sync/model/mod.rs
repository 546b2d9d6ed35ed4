//! The nouns of a sync: side, key, change, link, position, step, outcome.

mod change;
mod key;
mod link;
mod side;
mod step;

pub use change::{Cell, Change, ChangeKind, Position, Row};
pub use key::Key;
pub use link::{Link, LinkId, Lookup, Place, Since, Trace};
pub use side::{BySide, Side};
pub use step::{
    Before, Conflict, Finding, FindingCode, Outcome, Recovered, Step, StepKind, Stored,
};

/// Index of a table pair within its sync, in the order of the sync file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct PairId(pub u32);

/// Number of one apply batch. Grows for ever within a sync: the high 32 bits are the run's lease
/// epoch, the low 32 bits count within the run, so that no batch number is ever used twice.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct BatchId(pub u64);

impl BatchId {
    /// Before any batch.
    pub const NONE: BatchId = BatchId(0);

    /// The batch with number `count` (from 1) of the run that holds lease `epoch`.
    pub fn of_run(epoch: u32, count: u32) -> BatchId {
        BatchId(u64::from(epoch) << 32 | u64::from(count))
    }
}

//! What a session is told, and what it asks for: the same for the relay's engine and the simulator,
//! which carry the commands out and answer with events.

use super::edit::{Edit, Edited};
use super::round::Round;
use super::settlement::Settlement;
use crate::baseline::Fingerprinter;
use crate::decide::Match;
use crate::model::{
    BatchId, BySide, Change, Key, LinkId, Lookup, Outcome, PairId, Position, Recovered, Row, Side,
    Step,
};
use crate::policy::PairPolicy;

/// What a session needs to know and never changes.
#[derive(Clone, Debug)]
pub struct Config {
    /// By [`PairId`].
    pub policies: Vec<PairPolicy>,
    /// By [`PairId`]: creation order across tables, parents of foreign keys first.
    pub ranks: Vec<u32>,
    pub prints: Fingerprinter,
    /// The run's lease epoch: batches of a run are numbered within it.
    pub epoch: u32,
    /// Records per live round: bounds memory and the length of a transaction.
    pub round_max: usize,
    /// Records per round while data is copied.
    pub copy_round_max: usize,
}

/// What was settled before.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// `None` until the first reconcile is complete, and after a position was lost.
    pub positions: Option<BySide<Position>>,
    /// A round that was intended and not settled.
    pub round: Option<Round>,
    /// By [`PairId`]: true until the pair was live once.
    pub first_run: Vec<bool>,
    /// By [`PairId`]: true for a pair whose data must be reconciled although the positions are
    /// known: it is new, or its mapping has changed.
    pub due: Vec<bool>,
    /// By [`PairId`]: what a side's history says of the pair at or before these offsets was part of
    /// what its last reconcile saw.
    pub known: Vec<BySide<u64>>,
}

impl Resume {
    /// The pairs that must be reconciled although the positions are known.
    pub fn pairs_due(&self) -> impl Iterator<Item = PairId> {
        let numbered = self.due.iter().zip(0..);
        numbered.filter_map(|(is_due, pair)| is_due.then_some(PairId(pair)))
    }
}

/// What the driver is asked to do. Every command but the last two is answered by its event.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fence older runs off and tell what became of these batches.
    Recover {
        batches: BySide<Option<BatchId>>,
        steps: BySide<usize>,
    },
    /// Take a consistent view of both sides at fresh positions and store the scans of these pairs.
    /// `aside`: the sides' histories are streamed on from where they are settled; else they are
    /// streamed from the views on.
    Scan { pairs: Vec<PairId>, aside: bool },
    /// The next records of the stored scans, joined with links and by match key.
    NextMatches { pair: PairId, limit: usize },
    /// Read these records from the views that were scanned.
    Fetch {
        pair: PairId,
        keys: BySide<Vec<Key>>,
    },
    /// Start streaming both sides' changes after these positions.
    Stream { positions: BySide<Position> },
    /// Look these keys up in the store.
    Load { keys: Vec<(Side, PairId, Key)> },
    /// Read these records as they are now.
    Read {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    /// Commit the round to the store before it is sent.
    Intend(Box<Round>),
    /// Write one batch. Both sides' batches of a round may be under way at once.
    Apply {
        side: Side,
        batch: BatchId,
        steps: Vec<Step>,
        recorded: bool,
    },
    /// Make this durable in one transaction.
    Settle(Box<Settlement>),
    /// The side may forget its history up to this position.
    Acknowledge { side: Side, position: Position },
    /// What became of the edits of one event, in their order; they are settled.
    Edited { edited: Vec<Edited> },
}

/// What the driver reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `None` for a batch that was never committed, or was not asked about.
    Recovered {
        outcomes: BySide<Option<Vec<Recovered>>>,
    },
    /// The views' positions.
    Scanned {
        positions: BySide<Position>,
    },
    /// `done` when the pair has no more.
    Matches {
        found: Vec<Match>,
        done: bool,
    },
    /// In the order asked.
    Fetched {
        rows: BySide<Vec<Option<Row>>>,
    },
    Streaming,
    /// The next changes of one side, in commit order. `end` is the position after them, where a
    /// transaction ends; `None` in the middle of a big one.
    Changes {
        side: Side,
        changes: Vec<Change>,
        end: Option<Position>,
    },
    /// In the order asked.
    Loaded {
        lookups: Vec<Lookup>,
    },
    /// In the order asked, and the fence: a position at or after everything that was seen.
    ReadDone {
        rows: Vec<Option<Row>>,
        fence: u64,
    },
    Intended,
    /// One outcome per step, in order.
    Applied {
        side: Side,
        outcomes: Vec<Outcome>,
    },
    /// The numbers of the settlement's links, in their order.
    Settled {
        links: Vec<LinkId>,
    },
    /// Try these records again: they had findings.
    Retry {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    /// Read these records and plan them, with doubt in their baselines (see [`crate::doubt`]): a
    /// verify found that they differ.
    Doubt {
        side: Side,
        pair: PairId,
        keys: Vec<Key>,
    },
    /// A person asks for these writes; they are sent once changes are streamed.
    Edit {
        edits: Vec<Edit>,
    },
}

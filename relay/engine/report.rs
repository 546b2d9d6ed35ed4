//! What the engine tells: the structures that API, CLI and console share. No row values but in
//! samples that a person asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a start (or a reconcile) would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    pub sync: String,
    pub tables: Vec<TablePreview>,
    /// Why it can't start, each with what to do. Empty when it can.
    pub problems: Vec<String>,
    /// What a person should know, and that stops nothing.
    pub warnings: Vec<String>,
}

/// One table pair of a preview.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TablePreview {
    pub left: String,
    pub right: String,
    pub left_count: u64,
    pub right_count: u64,
    /// Linked or matched, and equal.
    pub unchanged: u64,
    /// Will be linked without a write.
    pub link: u64,
    pub create_left: u64,
    pub create_right: u64,
    pub update_left: u64,
    pub update_right: u64,
    pub delete_left: u64,
    pub delete_right: u64,
    /// Stay alone on their side.
    pub detached: u64,
    /// Left out by a filter.
    #[serde(default)]
    pub outside: u64,
    pub findings: u64,
    pub samples: Vec<Sample>,
}

impl TablePreview {
    /// True when nothing would be written or linked.
    pub fn is_quiet(&self) -> bool {
        self.link == 0 && self.writes() == 0
    }

    pub fn writes(&self) -> u64 {
        self.create_left
            + self.create_right
            + self.update_left
            + self.update_right
            + self.delete_left
            + self.delete_right
    }
}

/// One record that a start would write, or can't.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// `create`, `update`, `delete` or a finding's code.
    pub kind: String,
    /// The side that would be written.
    pub side: String,
    pub key: String,
    pub fields: Vec<FieldDiff>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldDiff {
    pub left_field: String,
    pub right_field: String,
    /// Shortened to 80 characters; `null` where there is no value.
    pub left: Option<String>,
    pub right: Option<String>,
}

/// How a sync goes. Stable keys (see the interfaces page).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncStatus {
    pub name: String,
    pub left: String,
    pub right: String,
    /// `planning`, `copying`, `live`, `paused`, `waiting` or `failed`.
    pub state: String,
    pub tables: Vec<TableStatus>,
    pub findings: u64,
    pub conflicts: u64,
    /// Conflicts that wait for a person to pick.
    pub asked: u64,
    /// Changes taken in and not settled yet.
    pub pending: u64,
    /// From the newest change on one side until it was settled on the other one.
    pub lag_ms: Option<u64>,
    /// True when live and nothing is under way.
    pub quiet: bool,
    /// Writes since the relay started.
    pub writes: u64,
    /// The last `sync verify`, by hand or periodic.
    pub verified: Option<LastVerify>,
    /// While one is under way.
    pub verifying: Option<VerifyProgress>,
    pub last_error: Option<String>,
    /// How the sides' changes are read, the left side's first; empty before the first run.
    pub capture: Vec<CaptureReport>,
}

/// How one side's changes are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CaptureReport {
    pub side: String,
    /// `stream`, `peek` or `triggers`.
    pub level: String,
    /// Why not in a better way, or that the sync file asks for it.
    pub reason: String,
}

/// One table pair of a status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TableStatus {
    pub left: String,
    pub right: String,
    /// Records of the side as of the last scan, moved by what was synced since.
    pub left_count: u64,
    pub right_count: u64,
    pub linked: u64,
    pub findings: u64,
    pub conflicts: u64,
    /// Conflicts that wait for a person to pick.
    pub asked: u64,
    /// Changes of this table taken in and not settled yet.
    pub pending: u64,
    /// From the newest change of this table until it was settled on the other side.
    pub lag_ms: Option<u64>,
    /// While copying: records written, of how many.
    pub copied: u64,
    pub total: u64,
    /// What stops the sync, if anything.
    pub last_error: Option<String>,
}

/// The answer to the removal of a sync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    pub name: String,
    /// Empty when everything was dropped.
    pub left_behind: Vec<LeftBehind>,
}

/// What a removed sync left in a database that could not be reached or cleaned up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeftBehind {
    pub side: String,
    pub connection: String,
    pub reason: String,
    /// To be run in that database as its owner or administrator: drops slot, publication and
    /// progress. The slot matters most, since it keeps the server's log.
    pub sql: Vec<String>,
}

/// The comparison of both sides, read anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifyReport {
    pub sync: String,
    pub equal: bool,
    pub records: u64,
    /// Positions at which the sides were read, in each side's own form.
    pub left_position: String,
    pub right_position: String,
    pub differences: Vec<Difference>,
    /// Differences found; `differences` lists the first ones.
    pub difference_count: u64,
    /// What a repair would do, where it was asked for.
    pub repair: Option<Vec<TableRepair>>,
}

/// What a repair would do to one table pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TableRepair {
    pub left: String,
    pub right: String,
    pub create_left: u64,
    pub create_right: u64,
    pub update_left: u64,
    pub update_right: u64,
    pub delete_left: u64,
    pub delete_right: u64,
    /// Records that would stay as they are: one-way fields that are left alone by policy, or records
    /// that can't be matched, which are findings.
    pub untouched: u64,
    pub samples: Vec<Sample>,
}

impl TableRepair {
    pub fn writes(&self) -> u64 {
        self.create_left
            + self.create_right
            + self.update_left
            + self.update_right
            + self.delete_left
            + self.delete_right
    }
}

/// The last complete comparison of a sync's sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastVerify {
    /// RFC 3339.
    pub at: String,
    pub equal: bool,
    pub records: u64,
    pub difference_count: u64,
    pub took_ms: u64,
}

/// A comparison that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifyProgress {
    /// Records of both sides that were hashed or read.
    pub compared: u64,
    /// About how many there are.
    pub total: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    pub table: String,
    /// `fields`, `only-left`, `only-right`, `not-matched`.
    pub kind: String,
    pub left_key: Option<String>,
    pub right_key: Option<String>,
    pub fields: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FindingReport {
    pub table: String,
    /// The side whose record can't be carried over.
    pub side: String,
    pub key: String,
    /// Stable code.
    pub code: String,
    pub detail: String,
    pub advice: String,
    /// RFC 3339.
    pub since: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// RFC 3339.
    pub at: String,
    pub table: String,
    pub side: String,
    /// `create`, `update` or `delete`.
    pub kind: String,
    pub left_key: Option<String>,
    pub right_key: Option<String>,
    pub fields: Vec<String>,
    /// The run's number.
    pub run: u32,
}

/// One change as it crosses. No row values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveEvent {
    pub sync: String,
    pub table: String,
    /// The side that was written.
    pub side: String,
    pub kind: String,
    pub key: String,
    pub fields: Vec<String>,
    pub latency_ms: Option<u64>,
}

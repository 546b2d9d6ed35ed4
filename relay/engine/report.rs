//! What the engine tells: the structures that API, CLI and console share. No row values but in
//! samples that a person asked for.

use serde::{Deserialize, Serialize};
use tidegate_sync::decide::Write;
use utoipa::{IntoParams, ToSchema};

/// What a start (or a reconcile) would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    pub sync: String,
    /// What is different from the running sync, one sentence each; empty for a new one.
    #[serde(default)]
    pub edits: Vec<String>,
    pub tables: Vec<TablePreview>,
    /// Table pairs that the edited file no longer has. Nothing is deleted in them.
    #[serde(default)]
    pub removed: Vec<RemovedTable>,
    /// Why it can't start, each with what to do. Empty when it can.
    pub problems: Vec<String>,
    /// What a person should know, and that stops nothing.
    pub warnings: Vec<String>,
    /// What it takes of sides that count calls; none for a database.
    #[serde(default)]
    pub costs: Vec<SideCost>,
}

/// About what a start takes of an app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SideCost {
    /// `left` or `right`.
    pub side: String,
    pub calls: u64,
    /// As fast as the app lets, seconds.
    pub seconds: u64,
}

/// One table pair of a preview.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TablePreview {
    pub left: String,
    pub right: String,
    /// True for a table pair of a running sync that the edit leaves as it is: it was not read, and
    /// everything is counted as 0.
    #[serde(default)]
    pub untouched: bool,
    pub left_count: u64,
    pub right_count: u64,
    /// Linked or matched, and equal.
    pub unchanged: u64,
    /// Will be linked without a write.
    pub link: u64,
    /// Links whose records are both gone.
    #[serde(default)]
    pub unlink: u64,
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

/// A table pair that is synced no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RemovedTable {
    pub left: String,
    pub right: String,
    /// Linked records that are forgotten.
    pub unlink: u64,
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
    /// Whose it is.
    #[serde(default)]
    pub workspace: String,
    pub name: String,
    pub left: String,
    pub right: String,
    /// `planning`, `copying`, `live`, `paused`, `waiting` or `failed`.
    pub state: String,
    /// It has stopped (`failed`) because it would delete many records: somebody must approve that.
    #[serde(default)]
    pub needs_approval: bool,
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
    /// The side at which it fails, while it does; absent where neither side is the reason.
    #[serde(default)]
    pub broken: Option<BrokenSide>,
    /// How the sides' changes are read, the left side's first; empty before the first run.
    pub capture: Vec<CaptureReport>,
    /// Table pairs of the sync file that are not synced at present, one sentence each: a table was
    /// dropped, or another one has its name.
    #[serde(default)]
    pub paused_tables: Vec<String>,
    /// Field pairs of the sync file that are not synced at present, one sentence each: a column was
    /// dropped, made anew, or has a type that does not fit any more.
    #[serde(default)]
    pub paused_fields: Vec<String>,
    /// Mapped tables and columns that were renamed and are synced on, and columns that were added and
    /// are not mapped, one sentence each.
    #[serde(default)]
    pub drift: Vec<String>,
    /// What each side keeps for the sync, also while it is paused. Empty until it was looked at.
    #[serde(default)]
    pub slots: Vec<SlotStatus>,
}

/// A side that can't be worked with at present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BrokenSide {
    /// `left` or `right`.
    pub side: String,
    /// Stable, as of the problem documents: `agent-offline`, `server-unavailable`, `login-refused` …
    pub code: String,
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

/// The replication slot of one side: what it makes the database keep, and how long that goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlotStatus {
    /// `left` or `right`.
    pub side: String,
    /// Its name; empty while there is none.
    pub slot: String,
    /// `reading`, `idle`, `lost` (the next start reconciles), `none`, or `unknown` when the side was
    /// not reached: the figures are then those of the last look.
    pub state: String,
    /// As PostgreSQL says: `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: String,
    /// Why PostgreSQL invalidated it, where it tells.
    pub invalidation_reason: Option<String>,
    /// WAL kept for it, bytes.
    pub retained_bytes: Option<u64>,
    /// PostgreSQL's `safe_wal_size`: WAL that may be written before it invalidates the slot, bytes.
    pub safe_wal_bytes: Option<u64>,
    /// The slot is dropped before it keeps this much: `slot_wal_max` or the server's own
    /// `max_slot_wal_keep_size`, bytes.
    pub bound_bytes: Option<u64>,
    /// WAL that may be written before the slot is dropped, if nobody reads it, bytes.
    pub runway_bytes: Option<u64>,
    /// The same in hours, as fast as the server writes now; absent while that is not known.
    pub runway_hours: Option<f64>,
    /// How fast the server writes WAL, bytes per second.
    pub wal_bytes_per_s: Option<f64>,
    /// How often this relay dropped it since it started.
    pub dropped: u64,
    /// What a person should know.
    pub warning: Option<String>,
    /// RFC 3339: when it was looked at.
    pub at: String,
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
    #[serde(default)]
    pub id: i64,
    #[serde(default)]
    pub sync: String,
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
    /// How often the record was tried.
    #[serde(default)]
    pub attempts: u32,
    /// RFC 3339: when it is tried again by itself.
    #[serde(default)]
    pub retry_at: Option<String>,
}

/// Some of the findings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct FindingFilter {
    /// Of this sync; of all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// With this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Some of the conflicts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct ConflictFilter {
    /// Of this sync; of all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// Only those that wait for a person.
    pub waiting: bool,
    /// Also tell the value that the sides last agreed on, where history has it. Takes a look at the
    /// history of each sync.
    pub base: bool,
}

/// Which conflicts that wait are picked at once, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PickMany {
    /// The side whose value both shall have: `left` or `right`.
    pub side: String,
    /// Of this left table; of all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// About this left field; about all, and deletions, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The newest that is meant: what came since is not picked.
    pub upto: i64,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PickedMany {
    pub picked: u64,
    pub refused: Vec<PickRefusal>,
    /// There were more than are picked at once: ask again.
    pub more: bool,
}

/// A conflict that could not be picked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PickRefusal {
    pub id: i64,
    pub reason: String,
}

/// A field that both sides changed, or a deletion that met an edit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictReport {
    pub id: i64,
    #[serde(default)]
    pub sync: String,
    /// RFC 3339.
    pub at: String,
    /// The left table.
    pub table: String,
    pub left_key: Option<String>,
    pub right_key: Option<String>,
    /// `null` when a deletion met an edit.
    pub left_field: Option<String>,
    pub right_field: Option<String>,
    /// The sides' values, the first 1,000 characters; `null` where there is none.
    pub left: Option<String>,
    pub right: Option<String>,
    /// What both had before, where that was asked for and is known; `null` also where it was null.
    #[serde(default)]
    pub base: Option<String>,
    /// Whether `base` is known.
    #[serde(default)]
    pub base_known: bool,
    /// The side whose value was taken: `left` or `right`; `null` while nobody decided, and where both
    /// sides came to agree.
    pub winner: Option<String>,
    /// A person is asked.
    pub waiting: bool,
    /// The side that a person picked, and when.
    pub picked: Option<String>,
    pub picked_at: Option<String>,
}

/// Some of a sync's writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default)]
pub struct WriteFilter {
    /// A run's number (`12`), or one batch of a run (`12.345`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Writes to this side: `left` or `right`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// The left or the right table of a table pair, as the sync file names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Either side's key of a record; parts of a composite key with commas between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    pub id: i64,
    /// RFC 3339.
    pub at: String,
    pub table: String,
    /// The side that was written.
    pub side: String,
    /// `create`, `update` or `delete`.
    pub kind: String,
    /// `change` (of the other side), `copy` (the first one), `conflict` (a policy chose), `restore` (of
    /// a field that flows one way) or `undo`.
    pub why: String,
    pub left_key: Option<String>,
    pub right_key: Option<String>,
    pub fields: Vec<String>,
    /// What the write replaced and left, while it is kept.
    pub changes: Vec<FieldChange>,
    /// Why it is not kept, if it is not.
    pub no_values: Option<String>,
    /// The run's number.
    pub run: u32,
    /// The batch's number within the run.
    pub batch: u32,
}

/// One field of a write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Its name on the side that is written.
    pub field: String,
    /// `null` for null, and where there was no record.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A run that wrote something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunReport {
    pub run: u32,
    /// Of its first and its last write, RFC 3339.
    pub from: String,
    pub to: String,
    pub left: Writes,
    pub right: Writes,
}

/// Writes to one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Writes {
    pub creates: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Writes {
    pub fn count(&mut self, write: Write) {
        match write {
            Write::Create => self.creates += 1,
            Write::Update => self.updates += 1,
            Write::Delete => self.deletes += 1,
        }
    }

    pub fn total(&self) -> u64 {
        self.creates + self.updates + self.deletes
    }
}

/// What an undo would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndoPlan {
    pub sync: String,
    /// The side on which the records are put back; `null` when nothing was written.
    pub side: Option<String>,
    /// Writes that are meant.
    pub writes: u64,
    /// The newest of them: what is written later does not count.
    pub upto: i64,
    pub tables: Vec<UndoTable>,
    pub samples: Vec<UndoSample>,
}

/// One table of an undo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndoTable {
    pub table: String,
    /// The table of the other side.
    pub counterpart: String,
    pub puts_back: Writes,
    /// What the sync's rules then do to the other side.
    pub then: Writes,
    /// Records that are as they were already.
    pub as_before: u64,
    pub cannot: u64,
    pub reasons: Vec<UndoCannot>,
}

/// Records that can't be put back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndoCannot {
    pub reason: String,
    pub count: u64,
    /// Some of them.
    pub keys: Vec<String>,
}

/// One record that would be put back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndoSample {
    /// `create`, `update` or `delete`.
    pub kind: String,
    pub key: String,
    /// From what it is now to what it was.
    pub changes: Vec<FieldChange>,
}

/// What an undo did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndoReport {
    pub sync: String,
    pub side: Option<String>,
    pub done: Writes,
    /// What the plan wanted and was not possible any more.
    pub cannot: Vec<UndoCannot>,
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

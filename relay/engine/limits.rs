//! Every bound of the engine, with its unit and its reason.

use std::time::Duration;

/// Records per live round. A round is one transaction per side; more would hold locks longer than
/// a person notices.
pub const ROUND_RECORDS_MAX: usize = 2_000;

/// Records per round while existing data is copied: large enough that the round trips and the
/// store's sync of one transaction are small beside the writes.
pub const COPY_ROUND_RECORDS_MAX: usize = 5_000;

/// Batches of captured changes that wait for the session, per side: the capture has a queue of its
/// own, bounded by bytes. It stops reading when that is full, and PostgreSQL keeps the rest.
pub const CAPTURED_QUEUE_MAX: usize = 1;

/// Changes of one side that the session holds before the driver stops feeding that side.
pub const BACKLOG_CHANGES_MAX: usize = 20_000;

/// The same in bytes: long values make few changes heavy.
pub const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Chunks of scanned rows on their way to the store.
pub const SCAN_CHUNKS_MAX: usize = 4;

/// Chunks of one side that are fingerprinted or wait for their turn to be stored.
pub const SCAN_CHUNKS_PRINTED_MAX: usize = 2;

/// Pages of a copy that are read ahead, beside the one that is being read and the one in work.
pub const PAGES_AHEAD_MAX: usize = 1;

/// Keys looked up in the store at once.
pub const LOOKUP_KEYS_MAX: usize = 10_000;

/// First and longest wait before a failed run starts again.
pub const RESTART_WAIT_MIN: Duration = Duration::from_millis(200);
pub const RESTART_WAIT_MAX: Duration = Duration::from_secs(15);

/// A run that went on for this long resets the wait.
pub const RESTART_RESET_AFTER: Duration = Duration::from_secs(30);

/// How often records with findings are tried again by themselves.
pub const RETRY_EVERY: Duration = Duration::from_secs(2);

/// How often the sides are asked whether their tables are still the same ones.
pub const TABLES_CHECK_EVERY: Duration = Duration::from_secs(10);

/// Findings tried again at once.
pub const RETRY_RECORDS_MAX: usize = 500;

/// Deletes in one reconcile, or within [`DELETES_WINDOW`] live, that stop the sync when both are
/// passed, unless its file says otherwise: a lost or truncated table must not empty the other side
/// unasked.
pub const DELETES_UNASKED_MAX: u32 = 50;
pub const DELETES_UNASKED_PERCENT_MAX: u32 = 5;
pub const DELETES_WINDOW: Duration = Duration::from_secs(60);

/// How long an approval of deletions holds while none come: it is for what is on its way.
pub const APPROVAL_IDLE_MAX: Duration = Duration::from_secs(600);

/// How long a stop waits for the round under way.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Sample records with their field differences in a preview, per table pair.
pub const PREVIEW_SAMPLES_MAX: usize = 5;

/// Differences that `verify` lists, per table pair.
pub const VERIFY_DIFFERENCES_MAX: usize = 100;

/// Differing records that a repair has planned in one pass: more are repaired in further ones.
pub const REPAIR_RECORDS_MAX: usize = 10_000;
pub const REPAIR_PASSES_MAX: u32 = 1_000;

/// How long a repair waits for the session to take its records up: a round may be under way.
pub const REPAIR_TAKE_MAX: Duration = Duration::from_secs(60);

/// Matches that `verify` holds at once: keys and fingerprints, a kB or so each.
pub const VERIFY_PAGE: usize = 2_000;

/// How often `verify` looks again at records that differed: they may have been on their way.
pub const VERIFY_LOOKS_MAX: u32 = 20;
/// The same while nothing seems to be on its way.
pub const VERIFY_LOOKS_QUIET: u32 = 4;
pub const VERIFY_LOOK_EVERY: Duration = Duration::from_millis(300);

/// Writes that one undo takes back, and bytes of their values: all of them are in memory at once.
pub const UNDO_WRITES_MAX: usize = 100_000;
pub const UNDO_VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Edits in one round.
pub const UNDO_EDITS_AT_ONCE: usize = 1_000;

/// Records with their field differences in the plan of an undo, per table.
pub const UNDO_SAMPLES_MAX: usize = 5;

/// How long losing values of conflicts, and the history of writes, are kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

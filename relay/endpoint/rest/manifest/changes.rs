//! What a manifest says of lists: all records of a table, those that were modified, and those that
//! are gone.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Moment, Paging, Request, Sign};

/// Every record of a table, each once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    pub request: Request,
    #[serde(default)]
    pub items: String,
    #[serde(default)]
    pub paging: Paging,
    /// Records per page: the variable `{limit}`.
    pub page: u32,
    /// Where a page tells how many records there are in all. Fewer that were listed are an
    /// incomplete list, which is read again.
    pub total: Option<String>,
    /// How it goes on where the app shows only so many records of one list.
    pub window: Option<Window>,
}

/// A list in the order of something, which is asked for anew from where it was cut.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// What a page shows of a list that is cut.
    pub cut: Sign,
    /// By what records are in order: the variable `{from}` is the last one's, and `first` before.
    pub from: String,
    pub first: String,
}

/// How changes are found.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Records modified at or after the variable `{since}`. Left out where there is a `log`.
    pub request: Option<Request>,
    #[serde(default)]
    pub items: String,
    #[serde(default)]
    pub paging: Paging,
    /// Records per page, where that is not as in `list`.
    pub page: Option<u32>,
    /// How `{since}` is written, where that is not as in `record.modified_as`.
    pub since_as: Option<Moment>,
    /// Its calls count as searches.
    #[serde(default)]
    pub searches: bool,
    /// What it shows may be old or not all of the record, which is read by its id.
    #[serde(default)]
    pub reread: bool,
    /// Pages are positions in an order that edits change (`in_order`): each begins where the one
    /// before ended, by its last record's stamp.
    #[serde(default)]
    pub shifting: bool,
    /// No more records are shown of one list than this.
    pub cap: Option<u32>,
    /// Beyond `lag_ms`: what shows later, by at most so many milliseconds, is found all the same.
    #[serde(default)]
    pub late_ms: u64,
    /// Where deleted records are listed by themselves.
    pub gone: Option<Gone>,
    /// The request, or the log, tells deleted records as well (`record.deleted`).
    pub tells_deletions: bool,
    /// Where it doesn't: how often at most everything is listed to find what is gone, seconds. Each
    /// run begins by comparing everything then.
    pub sweep_every_s: Option<u64>,
    /// The request tells the oldest changes first.
    #[serde(default)]
    pub in_order: bool,
    /// A header of the list that stands for its table as a whole, in the form of
    /// `record.modified_as`: nothing that comes later has an older stamp.
    pub table_stamp: Option<String>,
    /// How often is looked, milliseconds.
    pub every_ms: u64,
    /// How long a change may stay hidden from lists and searches, milliseconds.
    #[serde(default)]
    pub lag_ms: u64,
}

/// A list of records that were deleted, in any order. Those that are known are asked for by their
/// ids, and sweeps find what it leaves out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    pub request: Request,
    #[serde(default)]
    pub items: String,
    #[serde(default)]
    pub paging: Paging,
    /// How often at most it is read, seconds.
    pub every_s: u64,
}

/// A log of changes that the app keeps for each container once it is asked to, and that is read by
/// a number that counts its entries.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What an app that refuses it wants, for people.
    pub needs: String,
    /// The logs of a container.
    pub find: Request,
    #[serde(default)]
    pub items: String,
    /// Where one of them has its id and the number of its next entry.
    pub id: String,
    pub next: String,
    /// What one that we may read looks like: each of these must be there as it is here.
    pub ours: Vec<Sign>,
    /// Whether it still runs. One of ours that does not is closed.
    pub runs: Sign,
    /// Asks for a new one.
    pub open: Request,
    /// Variable: `{log}`.
    pub close: Request,
    /// The entries from a number on, the oldest first. Variables: `{log}`, `{cursor}`.
    pub read: Request,
    pub entries: String,
    /// Where the answer has the number of the entry after its last one, and whether there is more.
    pub cursor: String,
    pub more: String,
    /// Where an entry has its moment (RFC 3339), and the tables that it is about, by their ids.
    pub time: String,
    pub tables: String,
    /// Where a table's part has records, as a list of ids or by id: those that are there, and those
    /// that are gone.
    pub present: Vec<String>,
    pub gone: Vec<String>,
    /// How long entries are kept, seconds.
    pub kept_s: u64,
}

//! What a connector's manifest can say: the types of the file, with their documentation.
//!
//! An app is data. Everything here is read from one TOML file ([`load`]) and checked there; the
//! published JSON Schema is made from these types. How each part is used is told by the room that
//! uses it. A request's texts may hold variables in braces ([`super::template`]).

mod changes;
mod check;
mod load;
mod publish;
mod write;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::changes::{Changes, Gone, List, Log, Window};
pub use self::load::{json_schema, load};
pub use self::publish::{Publish, Withdraw};
pub use self::write::{Batch, Many, Told, Write};

/// The version of the format that this program reads.
pub const FORMAT: u32 = 1;

/// One connector: how to talk to one kind of app.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub manifest: u32,
    /// The connection kind, `[a-z0-9-]`.
    pub name: String,
    /// The app's name, for people.
    pub title: String,
    pub auth: Auth,
    #[serde(default)]
    pub http: Http,
    /// Bounds on calls; each call waits until all of them let it.
    #[serde(default, rename = "limit")]
    pub limits: Vec<Limit>,
    /// What refusals mean; the first rule that fits counts.
    #[serde(default, rename = "error")]
    pub errors: Vec<ErrorRule>,
    /// Who one is signed in as.
    pub who: Who,
    /// What tables are in (buckets, bases, sites); none where there is only one.
    pub containers: Option<Listing>,
    pub tables: Listing,
    /// What may be read and written.
    pub rights: Option<Rights>,
    pub fields: Fields,
    pub record: RecordShape,
    pub list: List,
    pub changes: Changes,
    /// Where changes come from, if not from a list of what was modified.
    pub log: Option<Log>,
    pub read: Read,
    pub search: Option<Search>,
    pub create: Write,
    pub update: Write,
    pub delete: Write,
    /// Where what is written is seen by others only after another call.
    pub publish: Option<Publish>,
    /// One call that carries several requests of any kind.
    pub batch: Option<Batch>,
}

/// How a connection proves who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// A header of its own, with the token as its value.
    Header { name: String },
    /// HTTP basic authentication: the token file holds `user:password`.
    Basic,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where the app is when the connection names no `--base-url`.
    pub base_url: Option<String>,
    /// Sent with every request.
    pub headers: BTreeMap<String, String>,
    /// Longest wait for an answer, seconds; 30 unless told otherwise.
    pub timeout_s: Option<u64>,
    /// How long the app may go on with a call whose caller has gone, seconds; 60 unless told
    /// otherwise. After a crash nothing is looked at before.
    pub outlives_s: Option<u64>,
    /// Where the body of a refusal tells its reason.
    pub error_text: Option<String>,
    /// Where it names the field that it is about.
    pub error_field: Option<String>,
}

/// At most `calls` within any `seconds`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub calls: u32,
    pub seconds: u64,
    /// What shares the bound: everything of the connection, or one container.
    #[serde(default)]
    pub per: LimitScope,
    /// Only calls of these kinds count; all when empty.
    #[serde(default)]
    pub only: Vec<CallKind>,
    /// Header of each answer with the number of calls, where that is not the same for everybody:
    /// `calls` until it is told.
    pub told: Option<String>,
    /// Header of each answer with the number of calls that are left: others, and earlier runs, may
    /// have used some.
    pub left: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitScope {
    #[default]
    Connection,
    Container,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    Read,
    Search,
    Write,
}

/// What an answer that is no success means.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    pub status: u16,
    /// Where in the body to look, and what must stand there; without it the status decides.
    pub at: Option<String>,
    pub is: Option<String>,
    pub means: Meaning,
    /// How long to be silent, seconds, where the app doesn't say it by `Retry-After`.
    pub wait_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// Too many calls: nothing was done, and it is waited for.
    Limited,
    /// The calls of a long time, as of a day, are used up: nothing was done. The sync pauses for
    /// `wait_s`, and says so.
    Exhausted,
    /// It passes by itself; whether something was done is not known.
    Unavailable,
    /// The credential is no longer good.
    Login,
    /// There is no such record.
    Missing,
    /// The record is another one than the precondition says.
    Stale,
    /// A record with this id or key is there already.
    Exists,
    /// A field that the request names is not there, or has another name.
    NoField,
    /// A value that must be unique is there already.
    Unique,
    /// A value that must be there is missing.
    Required,
    /// A value that the field can't hold.
    Value,
    /// This credential may not do it.
    Forbidden,
    /// Any other refusal of one record.
    Refused,
}

/// One HTTP request. Parts whose variables have no value are left out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(default = "get")]
    pub method: String,
    /// Below the base URL; variables are encoded.
    pub path: String,
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Option<serde_json::Value>,
}

fn get() -> String {
    "GET".to_owned()
}

/// The test of a connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Who {
    pub request: Request,
    /// Where the answer names the user. Nothing there: not signed in.
    pub user: String,
    /// Where it has a better name of the user for people, if it has one.
    pub user_name: Option<String>,
    /// Where the answer names the app's version.
    pub version: Option<String>,
}

/// A list of containers or tables.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Tables that every account has. What the request lists comes after them.
    #[serde(default)]
    pub given: Vec<Given>,
    /// May be left out where there are `given` ones. Where it is forbidden, these are all.
    pub request: Option<Request>,
    /// Where the answer has the items; empty for the whole answer.
    #[serde(default)]
    pub items: String,
    /// Where an item has its id and its name (`title.*.text`: in pieces).
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub paging: Paging,
    /// The field that tells when a record was modified, where requests name it: `{modified}`.
    pub modified: Option<String>,
    /// A request whose header tells how many records a table has.
    pub count: Option<Count>,
}

/// A table that every account has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub id: String,
    pub name: String,
    /// As for all tables, where it is another field here.
    pub modified: Option<String>,
    /// Fields in which no two records have the same value, though their description doesn't say so.
    #[serde(default)]
    pub unique: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub request: Request,
    /// Header with the number.
    pub header: String,
}

/// What may be read and written, as a list of what the credential has been given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    pub request: Request,
    #[serde(default)]
    pub items: String,
    #[serde(default)]
    pub paging: Paging,
    /// Where an item names its container and its table; without a table it is about all of them.
    pub container: String,
    pub table: String,
    /// Where an item has its right, or the list of its rights, and which of them let read and write.
    pub rights: String,
    pub read: Vec<String>,
    pub write: Vec<String>,
}

/// How a list goes on after its first page.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Paging {
    /// It is always whole.
    #[default]
    None,
    /// A header has the next page's address (`Link: <…>; rel="next"` when it is `Link`).
    Header { name: String },
    /// The body has the next page's address.
    Address { at: String },
    /// The body has a token for the variable `{cursor}`; the last page has none.
    Cursor { at: String },
    /// The variable `{offset}` counts records. Pages overlap by one record, so that a page that has
    /// moved meanwhile is noticed.
    Offset,
    /// In the order of something: the variable `{cursor}` is the last record's, and `first` before.
    After {
        /// Where a record has it.
        at: String,
        first: String,
        /// Where a page shows that there are more. One that shows nothing there is the last.
        more: String,
    },
    /// The variable `{page}` counts pages.
    Page {
        #[serde(default)]
        first: u32,
    },
}

/// Where a table's fields and their types come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fields {
    /// The table has a JSON Schema. Without one, fields are guessed from `sample` records.
    JsonSchema {
        /// Where in the table's item.
        at: String,
        #[serde(default)]
        sample: u32,
    },
    /// The table lists them.
    Listed {
        /// Asked for each table; without it the fields are in the table's item.
        request: Option<Box<Request>>,
        items: String,
        name: String,
        /// Where a field has the id by which records and requests call it, if not by its name.
        id: Option<String>,
        #[serde(rename = "type")]
        type_at: String,
        /// Where it has an id beside its name: the variable `{field_id}` of searches.
        search_id: Option<String>,
        /// Where a field says that it can't be written: any of these is true.
        #[serde(default)]
        read_only: Vec<String>,
        /// Where a field says that no two records have the same value in it.
        unique: Option<String>,
        /// By the app's type name; the first rule that fits counts.
        #[serde(default, rename = "map")]
        rules: Vec<TypeRule>,
    },
}

/// What one of the app's types is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TypeRule {
    /// The app's name of the type, or `*` for any.
    #[serde(rename = "type")]
    pub name: String,
    /// Only where the field has this there.
    pub when_at: Option<String>,
    pub when_is: Option<String>,
    /// As `connection types` names it, without `app:`.
    pub is: String,
    /// Where the field lists its choices (`options.choices.*.name`).
    pub choices: Option<String>,
    /// Where it lists their ids, in the same order, if records hold these in place of names.
    pub choice_ids: Option<String>,
    /// It can be read and not written.
    #[serde(default)]
    pub read_only: bool,
    /// Of a text: nothing is too long for the type; what the app finds too long it refuses itself.
    #[serde(default)]
    pub unbounded: bool,
    /// Of an integer: numbers of so many bits. Greater ones stay where they are.
    pub bits: Option<u8>,
    /// Where in a cell its value is, if a cell is not the value itself. A path with `*` leads to the
    /// pieces of a text or to the items of a list; none of them is null.
    pub value: Option<String>,
    /// How a cell is written that is not the value itself. Variables: `{value}`, or in the one item of
    /// a list `{each}`: an item of the value, or a piece of its text. Null is a list without items, or
    /// null in each member.
    pub write: Option<serde_json::Value>,
    /// A text is written in pieces of at most so many UTF-16 units.
    pub piece: Option<u32>,
    /// A list is one text with this between its items.
    pub split: Option<String>,
    /// A cell that does not show all of these holds something that the type can't say: it is left
    /// alone.
    #[serde(default)]
    pub only: Vec<Sign>,
    /// What a cell holds that records leave out; null unless told otherwise.
    pub blank: Option<serde_json::Value>,
    /// What an empty cell may hold beside null.
    pub empty: Option<serde_json::Value>,
    /// Of a link: where the field has the id of the table whose records it names.
    pub names: Option<String>,
}

/// What a record looks like, wherever it comes from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordShape {
    /// Where its id is.
    pub id: String,
    /// Where its fields are; empty: it has them itself.
    #[serde(default)]
    pub fields: String,
    /// Where it says when it was last modified; the first that is there counts.
    #[serde(default)]
    pub modified: Vec<String>,
    #[serde(default)]
    pub modified_as: Moment,
    /// What the app's stamps are rounded down to, milliseconds.
    #[serde(default = "one")]
    pub rounded_ms: u64,
    /// Where a cell has its field's id. Fields are found by it then, and every record has all.
    pub cell_id: Option<String>,
    /// Every record has all fields, null where they are empty. One that lacks a field is an error: the
    /// field has another name by now, or is gone.
    #[serde(default)]
    pub all_fields: bool,
    /// Cells hold their values as texts: `"5"`, `"true"`, `""` for null.
    #[serde(default)]
    pub texts: bool,
    /// Fields that are asked for beside the mapped ones and the one that tells when a record was
    /// modified. The variable `{columns}` is the list of all these.
    #[serde(default)]
    pub also: Vec<String>,
    /// Where it has the ids of records that were merged into it, which are no more.
    pub merged: Option<Merged>,
    /// Where it says in which table it is. One that was moved to another is gone from its own.
    pub table: Option<String>,
    /// Where its version for preconditions is.
    pub version: Option<String>,
    /// Where it says that it is deleted.
    pub deleted: Option<String>,
    /// Beside its fields where it has them itself: no fields.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// Whose ids: the app's own, or ours (a UUID is chosen for each create).
    #[serde(default)]
    pub ids: Ids,
}

fn one() -> u64 {
    1
}

/// Ids in one text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merged {
    pub at: String,
    /// What stands between them.
    pub split: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    #[default]
    App,
    Ours,
}

/// How a moment is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// RFC 3339.
    #[default]
    Text,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Seconds since 1970.
    Seconds,
}

/// A value that stands somewhere; without `is` nothing must stand there.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    pub at: String,
    #[serde(default)]
    pub is: serde_json::Value,
}

/// Records by their ids.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Variables: `{ids}` (joined by commas), or `{id}` where `max` is 1.
    pub request: Request,
    #[serde(default)]
    pub items: String,
    /// Ids per request.
    pub max: u32,
    /// How one of `{ids}` is written. Variable: `{id}`. Where that is no text, `{ids}` is a list.
    pub each: Option<serde_json::Value>,
    /// Where an answer tells of records that it could not read. What is not there may be among them;
    /// any other reason (`error`, with the answer's status) fails the reading.
    pub refusals: Option<String>,
    /// Ids are written as JSON rather than as they are.
    #[serde(default)]
    pub as_json: bool,
    /// One record, by the variable `{id}`, as it is now: the other request may be behind. What is
    /// missing there, or is not what a write expects, is asked for by this.
    pub alone: Option<Request>,
}

/// Records by the value of a field.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Variables: `{field}`, `{field_id}`, `{type}` (the field's, as the app calls it), `{value}`.
    pub request: Request,
    #[serde(default)]
    pub items: String,
    /// Values are written as JSON rather than as they are.
    #[serde(default)]
    pub as_json: bool,
    /// What it shows may be old or not all of the record, which is read by its id.
    #[serde(default)]
    pub reread: bool,
    /// Several values at once.
    pub many: Option<SearchMany>,
    /// Several values of a field in which no two records have the same: records as they are now.
    pub unique: Option<SearchMany>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchMany {
    /// Variables: `{field}`, `{type}`, `{values}` (joined by commas: a value with a comma is asked
    /// for alone).
    pub request: Request,
    pub max: u32,
    /// How one of `{values}` is written, so that commas do no harm. Variables: `{field}`, `{field_id}`,
    /// `{type}`, `{value}`. Where that is no text, `{values}` is a list.
    pub each: Option<serde_json::Value>,
    /// `{values}` is a list of the values as they are.
    #[serde(default)]
    pub as_list: bool,
    /// At most so many characters of values in one request.
    pub max_chars: Option<u32>,
    /// Values of fields of these types are looked for in lower case.
    #[serde(default)]
    pub lower: Vec<String>,
}

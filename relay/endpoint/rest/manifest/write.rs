//! What a manifest says of writing: one record, several of a kind, or a call that carries requests.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Request;

/// Creating, updating or deleting one record, or several of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Variables: `{id}`, `{fields}`, `{version}`.
    pub request: Option<Request>,
    /// Where the answer has the record as it was stored; without it it is read again.
    pub record: Option<String>,
    /// Several records of one table in one call.
    pub many: Option<Many>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Many {
    /// Variable `{items}`: a list of `item`; for deletes also `{ids}`, joined.
    pub request: Request,
    /// Variables: `{id}`, `{fields}`, `{version}`, `{number}` (the item's own within the call, a text).
    pub item: Option<serde_json::Value>,
    pub max: u32,
    /// Where the answer has the records, in the order of the items.
    pub items: Option<String>,
    /// They come in any order: what was made is known by its match key, anything else by its id.
    #[serde(default)]
    pub unordered: bool,
    /// An update may be answered as if it had been done, with the record as it was before. It was
    /// refused then.
    #[serde(default)]
    pub hides_refusals: bool,
    /// Of each item the answer tells by itself whether it was done: `items` are those that were, in
    /// any order, and with no more than their ids; they are read again.
    pub told: Option<Told>,
}

/// How an answer tells of each item by itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Where what was done has its item's `{number}`. Without one it is known by its id.
    pub number: String,
    /// Where the answer has the refusals. The rules of `error` judge each of them, with the answer's
    /// status.
    pub refusals: String,
    /// Where a refusal has the numbers, and where the ids, of its items. What is neither done nor
    /// named is sent again by itself.
    pub numbers: String,
    pub ids: String,
}

/// A call that carries requests, and answers each by itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Variable `{requests}`: a list of `item`.
    pub request: Request,
    /// Variables: `{method}`, `{path}`, `{headers}`, `{body}`.
    pub item: serde_json::Value,
    pub max: u32,
    pub items: String,
    /// Where an answer has its status and its body.
    pub status: String,
    pub body: String,
}

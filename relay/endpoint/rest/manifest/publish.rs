//! What a manifest says of apps that keep what is edited apart from what others see.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Request;

/// A record has two copies: the one that is edited, which lists and reads show, and a public one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Makes the edited copies public. Variable: `{ids}`, a list.
    pub request: Request,
    /// Records per request, here and in `withdraw`.
    pub max: u32,
    /// Where a record says since when it is public; nothing there: it is not.
    pub live: String,
    /// Where it says that its changes are held back; any of these is true. Such a record, and one
    /// that was there and is not public, is not published when it is written.
    #[serde(default)]
    pub held: Vec<String>,
    /// What is public is withdrawn before it is deleted.
    pub withdraw: Option<Withdraw>,
}

/// Takes public copies away.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdraw {
    /// Variable: `{items}`, a list of `item`.
    pub request: Request,
    /// Variable: `{id}`.
    pub item: serde_json::Value,
}

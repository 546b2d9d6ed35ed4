//! A sync as a document: the keys of `sync.toml`, for programs that build one field by field.
//!
//! It checks nothing. What it says is written as a sync file and read by [`super::syncfile`], so that
//! there is one reader, one set of rules and one form in the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A sync. Keys and words are those of `sync.toml`; what is left out is as there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncDefinition {
    pub name: String,
    /// Name of the left connection.
    pub left: String,
    /// Name of the right connection.
    pub right: String,
    /// `auto`, `stream`, `peek`, `triggers`, `poll` or `compare`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_left: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_right: Option<String>,
    /// How often both sides are compared: `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// How long history keeps values: `30d`, or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    #[serde(default)]
    pub table: Vec<TableDefinition>,
    /// Keys that this document has no name for yet.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// One table pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TableDefinition {
    pub left: String,
    pub right: String,
    /// Match key: pairs of a left and a right field.
    #[serde(default)]
    pub key: Vec<Vec<String>>,
    /// `left-to-right`, `right-to-left`, `merge` or `link-only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<String>,
    /// `existing`, `future` or `both`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    /// `propagate`, `ignore` or `archive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<String>,
    /// `newest`, `left`, `right` or `ask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// `keep`, `delete` or `ask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_delete: Option<String>,
    /// `overwrite` or `ignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_left: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_right: Option<String>,
    #[serde(default)]
    pub fields: Vec<FieldDefinition>,
    /// Other keys of a `[[table]]`.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// One pair of fields. Of each side either a column or an expression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldDefinition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_value: Option<String>,
    /// `both`, `left-to-right` or `right-to-left`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Other keys of a field: `values`, `null_left`, `null_right` …
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl SyncDefinition {
    /// The document of a sync file. The file is known to be readable.
    pub fn of_file(text: &str) -> Result<SyncDefinition, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    /// The sync file that says the same.
    pub fn to_file(&self) -> Result<String, String> {
        let mut document = serde_json::to_value(self).map_err(|error| error.to_string())?;
        without_nulls(&mut document);
        toml::to_string(&document).map_err(|error| error.to_string())
    }
}

/// TOML knows no null: a key without a value is a key that is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::syncfile::SyncFile;

    const FILE: &str = r#"
        name = "blog"
        left = "office"
        right = "site"
        capture_left = "peek"
        verify = "24h"
        history = "7d"
        [[table]]
        left = "public.posts"
        right = "Posts"
        key = [["slug", "Slug"]]
        existing = "left-to-right"
        deletes = "archive"
        archive_right = { field = "archived", value = true }
        deletes_unasked = { records = 10, percent = 5 }
        conflict = "ask"
        filter_left = 'status == "published"'
        fields = [
          { left = "title", right = "Title", direction = "left-to-right" },
          { left = "state", right = "State", values = [["a", 1], ["b", 2]], null_right = "-" },
          { left_value = 'title + "!"', right = "Shout" },
        ]
    "#;

    #[test]
    fn a_document_and_its_file_say_the_same() {
        let document = SyncDefinition::of_file(FILE).unwrap();
        assert_eq!(document.table[0].key, [["slug", "Slug"]]);
        let json = serde_json::to_string(&document).unwrap();
        let read: SyncDefinition = serde_json::from_str(&json).unwrap();
        assert_eq!(read, document);
        let again = read.to_file().unwrap();
        assert_eq!(SyncDefinition::of_file(&again).unwrap(), document);
        let parsed = SyncFile::parse(FILE);
        assert_eq!(SyncFile::parse(&again), parsed, "{again}");
        assert!(parsed.is_ok(), "{parsed:?}");
    }

    #[test]
    fn nulls_are_left_out_and_unknown_keys_reach_the_reader() {
        let json = r#"{"name": "x", "left": "a", "right": "b", "capture_left": null, "colour": "red",
            "table": [{"left": "t", "right": "t", "key": [["id", "id"]], "fields": [
                {"left": "id", "right": "id", "values": null}]}]}"#;
        let document: SyncDefinition = serde_json::from_str(json).unwrap();
        let file = document.to_file().unwrap();
        let refused = SyncFile::parse(&file).unwrap_err().to_string();
        assert!(refused.contains("colour"), "{refused}");
    }
}

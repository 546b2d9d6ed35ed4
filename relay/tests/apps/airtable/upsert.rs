//! `performUpsert`: which record each of a batch is, by the values of one to three fields.

use serde_json::Value;

use super::schema::Table;
use super::{Base, bad_request, error};
use crate::host::call::Answer;
use crate::host::past::NOW;

/// Doc "Update multiple records", fieldsToMergeOn.
const FIELDS_MAX: usize = 3;

impl Base {
    /// For each given record the one that it updates; `None`: it is created.
    pub fn merges(
        &self,
        table: usize,
        body: &Value,
        given: &[Value],
    ) -> Result<Vec<Option<String>>, Answer> {
        let table = &self.tables[table];
        let upsert = &body["performUpsert"];
        let mut merges = Vec::new();
        for record in given {
            let id = record["id"].as_str();
            merges.push(match id {
                Some(id) => Some(id.to_owned()),
                None if upsert.is_object() => matched(table, upsert, record)?,
                None => return Err(bad_request()),
            });
        }
        Ok(merges)
    }
}

fn matched(table: &Table, upsert: &Value, record: &Value) -> Result<Option<String>, Answer> {
    let names = upsert["fieldsToMergeOn"]
        .as_array()
        .ok_or_else(bad_request)?;
    if names.is_empty() || names.len() > FIELDS_MAX {
        return Err(bad_request());
    }
    let mut key = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        let field = table.field(name).ok_or_else(|| {
            error(
                422,
                "UNKNOWN_FIELD_NAME",
                format!("Unknown field name: \"{name}\""),
            )
        })?;
        let given = &record["fields"];
        let value = given
            .get(&field.name)
            .or_else(|| given.get(&field.id))
            .ok_or_else(bad_request)?;
        key.push((field, value));
    }
    let is_same = |cells: &super::transaction::Cells| {
        key.iter()
            .all(|(field, value)| cells.get(&field.id).unwrap_or(&Value::Null) == *value)
    };
    let found = table
        .records
        .all(NOW)
        .filter(|(_, record)| is_same(&record.cells));
    let ids: Vec<&str> = found.map(|(id, _)| id).take(2).collect();
    match ids.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some((*id).to_owned())),
        _ => {
            let message = "Cannot upsert: more than one record matches the merge fields";
            Err(error(422, "INVALID_REQUEST_UNKNOWN", message))
        }
    }
}

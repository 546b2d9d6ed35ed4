//! Choices that records hold by their ids: `"66f6…"` in place of `"Lead"`.

use serde_json::Value as Json;

use super::manifest::TypeRule;
use super::path;

/// A field's choices: id and name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ChoiceIds(Vec<(String, String)>);

impl ChoiceIds {
    /// `None` where records hold names, or where the field doesn't list an id for each of them.
    pub(super) fn of(rule: &TypeRule, field: &Json) -> Option<ChoiceIds> {
        let names = path::texts(field, rule.choices.as_ref()?);
        let ids = path::texts(field, rule.choice_ids.as_ref()?);
        (ids.len() == names.len()).then(|| ChoiceIds(ids.into_iter().zip(names).collect()))
    }

    /// With names in place of ids. What is no choice stays what it is.
    pub(super) fn read(&self, cell: &Json) -> Json {
        let named = |text: &str| Some(&self.0.iter().find(|(id, _)| id == text)?.1);
        replaced(cell, &named)
    }

    /// With ids in place of names.
    pub(super) fn write(&self, value: &Json) -> Json {
        let id = |text: &str| Some(&self.0.iter().find(|(_, name)| name == text)?.0);
        replaced(value, &id)
    }
}

fn replaced<'a>(value: &Json, by: &impl Fn(&str) -> Option<&'a String>) -> Json {
    match value {
        Json::String(text) => by(text).map_or_else(|| value.clone(), |other| other.clone().into()),
        Json::Array(items) => items.iter().map(|item| replaced(item, by)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_read_as_names_and_written_as_ids() {
        let rule = json!({ "type": "Option", "is": "select", "choices": "options.*.name",
            "choice_ids": "options.*.id" });
        let rule: TypeRule = serde_json::from_value(rule).unwrap();
        let field = json!({ "options": [{ "id": "1", "name": "Lead" }, { "id": "2", "name": "Customer" }] });
        let choices = ChoiceIds::of(&rule, &field).unwrap();
        for (cell, named) in [
            (json!("2"), json!("Customer")),
            (json!(["1", "2"]), json!(["Lead", "Customer"])),
            (json!("gone"), json!("gone")),
            (json!(null), json!(null)),
        ] {
            assert_eq!(choices.read(&cell), named);
            assert_eq!(choices.write(&named), cell);
        }
    }
}

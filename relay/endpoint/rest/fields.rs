//! What fields a table has and what they hold, from what the app says of it.

use serde_json::Value as Json;
use tidegate_sync::codec::app::app_types;
use tidegate_sync::codec::{FieldType, LineForm};

use super::cells::CellForm;
use super::choices::ChoiceIds;
use super::manifest::TypeRule;
use super::path;
use super::texts::TextForm;

/// One field of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// As people call it.
    pub name: String,
    /// As records and requests call it.
    pub key: String,
    /// How searches call it, where that is an id of its own.
    pub search_id: Option<String>,
    /// As the app names its type.
    pub type_name: String,
    pub field_type: FieldType,
    pub read_only: bool,
    pub required: bool,
    /// No two records have the same value in it.
    pub is_unique: bool,
    /// What a cell holds that records leave out, where that is not null.
    pub blank: Option<Json>,
    /// What an empty cell may hold beside null.
    pub empty: Option<Json>,
    /// Where a cell is not the value itself.
    pub cell: Option<CellForm>,
    /// Where it holds its choices by their ids.
    pub choices: Option<ChoiceIds>,
    /// The table, by its id, whose records it names.
    pub names: Option<String>,
    /// Where it holds its values as texts.
    pub text: Option<TextForm>,
}

impl Field {
    fn new(name: &str, type_name: &str, field_type: FieldType) -> Field {
        Field {
            name: name.to_owned(),
            key: name.to_owned(),
            search_id: None,
            type_name: type_name.to_owned(),
            field_type,
            read_only: false,
            required: false,
            is_unique: false,
            blank: None,
            empty: None,
            cell: None,
            choices: None,
            names: None,
            text: None,
        }
    }
}

/// The properties of a JSON Schema (draft 4 to 2020-12).
pub(super) fn of_json_schema(schema: &Json) -> Vec<Field> {
    let required: Vec<&str> = path::items(schema, "required")
        .iter()
        .filter_map(Json::as_str)
        .collect();
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return Vec::new();
    };
    let field = |(name, of): (&String, &Json)| {
        let mut field = Field::new(name, &schema_name(of), schema_type(of));
        field.required = required.contains(&name.as_str());
        field.read_only = of.get("readOnly") == Some(&Json::Bool(true));
        field
    };
    properties.iter().map(field).collect()
}

/// `string`, or the first of several types that is not `null`.
fn schema_name(of: &Json) -> String {
    let first = match of.get("type") {
        Some(Json::Array(types)) => types.iter().find(|name| **name != "null"),
        other => other,
    };
    first.and_then(Json::as_str).unwrap_or("any").to_owned()
}

fn schema_type(of: &Json) -> FieldType {
    if let Some(labels) = of.get("enum").and_then(Json::as_array) {
        let labels = labels.iter().filter(|label| !label.is_null());
        let labels: Option<Vec<String>> = labels
            .map(|label| label.as_str().map(str::to_owned))
            .collect();
        return labels.map_or(FieldType::Document, |labels| FieldType::Enum { labels });
    }
    let number = |name: &str| of.get(name).and_then(Json::as_i64);
    match schema_name(of).as_str() {
        "boolean" => FieldType::Bool,
        "integer" => match (number("minimum"), number("maximum")) {
            (Some(least), Some(most)) if least >= -0x8000 && most <= 0x7fff => {
                FieldType::Int { bits: 16 }
            }
            (Some(least), Some(most)) if least >= -0x8000_0000 && most <= 0x7fff_ffff => {
                FieldType::Int { bits: 32 }
            }
            _ => FieldType::Int { bits: 54 },
        },
        "number" => FieldType::Number,
        "string" => string_type(of),
        "array" => match of.get("items").map(schema_type) {
            Some(FieldType::Document) | None => FieldType::Document,
            Some(items) => FieldType::List {
                of: Box::new(items),
                distinct: of.get("uniqueItems") == Some(&Json::Bool(true)),
            },
        },
        _ => FieldType::Document,
    }
}

fn string_type(of: &Json) -> FieldType {
    let max = of.get("maxLength").and_then(Json::as_u64);
    let max = max.and_then(|max| u32::try_from(max).ok());
    let line = |form| FieldType::Line { max, form };
    match of.get("format").and_then(Json::as_str) {
        Some("date") => FieldType::Day,
        Some("date-time") => FieldType::Moment {
            zoned: true,
            unit_micros: 1_000,
        },
        Some("email") => line(LineForm::Email),
        Some("uri" | "url") => line(LineForm::Url),
        _ => FieldType::Text {
            max,
            ignores_case: false,
        },
    }
}

/// A guess from records, for a table that says nothing of its fields: a type that fits all values.
pub(super) fn guessed(records: &[&Json], hidden: &[String]) -> Vec<Field> {
    let mut names: Vec<&String> = Vec::new();
    for record in records {
        let known = record
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys());
        for name in known {
            if !names.contains(&name) && !hidden.contains(name) {
                names.push(name);
            }
        }
    }
    names.sort();
    let field = |name: &String| {
        let values = records
            .iter()
            .filter_map(|record| record.get(name.as_str()));
        let values: Vec<&Json> = values.filter(|value| !value.is_null()).collect();
        let all = |is: fn(&Json) -> bool| !values.is_empty() && values.iter().all(|v| is(v));
        let text = FieldType::Text {
            max: None,
            ignores_case: false,
        };
        let (type_name, field_type) = match () {
            () if all(Json::is_string) => ("string", text),
            () if all(Json::is_boolean) => ("boolean", FieldType::Bool),
            () if all(Json::is_number) => ("number", FieldType::Number),
            () => ("any", FieldType::Document),
        };
        Field::new(name, type_name, field_type)
    };
    names.into_iter().map(field).collect()
}

/// Where a listed field says what it is.
pub(super) struct Places<'a> {
    pub name: &'a str,
    pub id: Option<&'a str>,
    pub search_id: Option<&'a str>,
    pub type_name: &'a str,
    pub read_only: &'a [String],
    pub unique: Option<&'a str>,
    /// Whether cells hold their values as texts.
    pub texts: bool,
}

/// The fields that a table lists, by the manifest's rules. What no rule fits is left out.
pub(super) fn listed(listed: &[&Json], at: &Places<'_>, rules: &[TypeRule]) -> Vec<Field> {
    let field = |of: &&Json| {
        let (name, type_name) = (path::text(of, at.name)?, path::text(of, at.type_name)?);
        let fits = |rule: &&TypeRule| {
            (rule.name == type_name || rule.name == "*")
                && rule
                    .when_at
                    .as_ref()
                    .is_none_or(|at| path::text(of, at) == rule.when_is)
        };
        let rule = rules.iter().find(fits)?;
        let says = |at: &str| path::find(of, at) == Some(&Json::Bool(true));
        let mut field = Field::new(&name, &type_name, ruled(rule, of)?);
        field.read_only = rule.read_only || at.read_only.iter().any(|at| says(at));
        field.is_unique = at.unique.is_some_and(says);
        field.blank.clone_from(&rule.blank);
        field.empty.clone_from(&rule.empty);
        field.search_id = at.search_id.and_then(|at| path::text(of, at));
        field.text = at.texts.then(|| TextForm {
            split: rule.split.clone(),
        });
        field.cell = CellForm::of(rule);
        field.choices = ChoiceIds::of(rule, of);
        field.names = rule.names.as_ref().and_then(|at| path::text(of, at));
        if let Some(id) = at.id {
            field.key = path::text(of, id)?;
        }
        Some(field)
    };
    listed.iter().filter_map(field).collect()
}

fn ruled(rule: &TypeRule, of: &Json) -> Option<FieldType> {
    let known = app_types()
        .into_iter()
        .find(|known| known.name == rule.is)?;
    let choices = rule.choices.as_ref().map(|at| path::texts(of, at));
    Some(match (known.field_type, choices) {
        (FieldType::Enum { .. }, Some(labels)) => FieldType::Enum { labels },
        (FieldType::List { distinct, .. }, Some(labels)) => FieldType::List {
            of: Box::new(FieldType::Enum { labels }),
            distinct,
        },
        (FieldType::Text { ignores_case, .. }, _) if rule.unbounded => FieldType::Text {
            max: None,
            ignores_case,
        },
        (FieldType::Int { bits }, _) => FieldType::Int {
            bits: rule.bits.unwrap_or(bits),
        },
        (other, _) => other,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_json_schema_tells_what_its_properties_hold() {
        let schema = json!({"required": ["n"], "properties": {
            "n": {"type": "integer", "minimum": 0, "maximum": 1000},
            "s": {"type": ["null", "string"], "maxLength": 9},
            "e": {"enum": ["a", "b", null]},
            "l": {"type": "array", "items": {"type": "string"}},
            "x": {},
        }});
        let fields = of_json_schema(&schema);
        let of = |name: &str| fields.iter().find(|field| field.name == name).unwrap();
        assert_eq!(of("n").field_type, FieldType::Int { bits: 16 });
        assert!(of("n").required && !of("s").required);
        let labels = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(of("e").field_type, FieldType::Enum { labels });
        assert_eq!(of("s").type_name, "string");
        assert!(matches!(of("l").field_type, FieldType::List { .. }));
        assert_eq!(of("x").field_type, FieldType::Document);
    }

    #[test]
    fn a_link_is_a_list_of_ids_and_tells_the_table_that_it_names() {
        let rule = json!({"type": "links", "is": "link", "names": "options.table"});
        let rules: Vec<TypeRule> = vec![serde_json::from_value(rule).unwrap()];
        let options = json!({"table": "tbl1"});
        let field = json!({"name": "Tags", "id": "fld1", "type": "links", "options": options});
        let at = Places {
            name: "name",
            id: None,
            search_id: Some("id"),
            type_name: "type",
            read_only: &[],
            unique: None,
            texts: false,
        };
        let found = listed(&[&field], &at, &rules);
        let text = FieldType::Text {
            max: None,
            ignores_case: false,
        };
        let list = FieldType::List {
            of: Box::new(text),
            distinct: true,
        };
        assert_eq!(found[0].field_type, list);
        assert_eq!(found[0].names.as_deref(), Some("tbl1"));
        assert_eq!(found[0].search_id.as_deref(), Some("fld1"));
        assert_eq!(found[0].key, "Tags");
    }

    #[test]
    fn a_guess_fits_all_values_that_were_seen() {
        let records = [
            json!({"a": "x", "b": 1, "id": 1}),
            json!({"a": null, "b": "y", "c": true}),
        ];
        let fields = guessed(&records.iter().collect::<Vec<_>>(), &["id".to_owned()]);
        let types: Vec<(&str, &str)> = fields
            .iter()
            .map(|f| (f.name.as_str(), f.type_name.as_str()))
            .collect();
        assert_eq!(types, [("a", "string"), ("b", "any"), ("c", "boolean")]);
    }
}

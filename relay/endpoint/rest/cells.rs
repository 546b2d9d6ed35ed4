//! Cells that are not their value itself: `{"number": 5}`, `{"title": [{"text": {"content": "a"}}]}`.

use serde_json::Value as Json;
use tidegate_sync::codec::FieldType;
use tidegate_sync::value::Value;

use super::manifest::{Sign, TypeRule};
use super::path;
use super::template::{Variables, render};
use super::values::{decode, foreign};

/// Where a cell has its value, and how one is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CellForm {
    value: String,
    write: Option<Json>,
    /// UTF-16 units of a piece of text.
    piece: usize,
    only: Vec<Sign>,
    /// The value is an id, or a list of these: texts, also where the app counts.
    is_ids: bool,
}

impl CellForm {
    pub(super) fn of(rule: &TypeRule) -> Option<CellForm> {
        Some(CellForm {
            value: rule.value.clone()?,
            write: rule.write.clone(),
            piece: rule.piece.map_or(usize::MAX, |piece| piece as usize),
            only: rule.only.clone(),
            is_ids: rule.names.is_some(),
        })
    }

    pub(super) fn read(&self, of: &FieldType, cell: &Json) -> Value {
        if !self.only.iter().all(|sign| path::shows(cell, sign)) {
            return foreign(cell);
        }
        let Some((list, rest)) = self.value.split_once('*') else {
            let found = path::find(cell, &self.value);
            return decode(of, found.map(|found| self.id(found)).as_ref());
        };
        let pieces = path::all(cell, list, rest);
        if pieces.is_empty() {
            return Value::Null;
        }
        if let FieldType::List { .. } | FieldType::Document = of {
            let items = pieces.into_iter().map(|item| self.id(item)).collect();
            return decode(of, Some(&Json::Array(items)));
        }
        let texts: String = pieces.into_iter().filter_map(Json::as_str).collect();
        match texts.as_str() {
            "" => Value::Null,
            _ => decode(of, Some(&Json::String(texts))),
        }
    }

    /// What stands in the cell, and a number that is an id as a text.
    fn id(&self, found: &Json) -> Json {
        match found {
            Json::Number(number) if self.is_ids => Json::String(number.to_string()),
            other => other.clone(),
        }
    }

    /// The cell that holds what a plain one would.
    pub(super) fn write(&self, value: Json) -> Json {
        match &self.write {
            Some(Json::Object(members)) => {
                let members = members.iter();
                let filled =
                    members.map(|(name, template)| (name.clone(), self.member(template, &value)));
                Json::Object(filled.collect())
            }
            _ => value,
        }
    }

    fn member(&self, template: &Json, value: &Json) -> Json {
        match template {
            Json::Array(items) => {
                let pieces = self.pieces(value).into_iter();
                let each = pieces.map(|piece| Variables::default().with("each", piece));
                let each = each.filter_map(|variables| render(items.first()?, &variables));
                Json::Array(each.collect())
            }
            _ if value.is_null() => Json::Null,
            _ => {
                let variables = Variables::default().with("value", value.clone());
                render(template, &variables).unwrap_or(Json::Null)
            }
        }
    }

    /// The items of a value, or the pieces of its text.
    fn pieces(&self, value: &Json) -> Vec<Json> {
        let text = match value {
            Json::Null => return Vec::new(),
            Json::Array(items) => return items.clone(),
            Json::String(text) => text,
            other => return vec![other.clone()],
        };
        let (mut pieces, mut piece, mut units) = (Vec::new(), String::new(), 0);
        for character in text.chars() {
            if units + character.len_utf16() > self.piece {
                pieces.push(Json::String(std::mem::take(&mut piece)));
                units = 0;
            }
            units += character.len_utf16();
            piece.push(character);
        }
        if !piece.is_empty() {
            pieces.push(Json::String(piece));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text() -> FieldType {
        FieldType::Text {
            max: None,
            ignores_case: false,
        }
    }

    fn form(value: &str, write: Json, piece: usize) -> CellForm {
        CellForm {
            value: value.to_owned(),
            write: Some(write),
            piece,
            only: Vec::new(),
            is_ids: false,
        }
    }

    #[test]
    fn a_text_travels_in_pieces_that_split_no_character() {
        let form = form("t.*.plain", json!({"t": [{"plain": "{each}"}]}), 3);
        let cell = form.write(json!("ab\u{1F600}c"));
        let pieces = json!({"t": [{"plain": "ab"}, {"plain": "\u{1F600}c"}]});
        assert_eq!(cell, pieces);
        let value = form.read(&text(), &cell);
        assert_eq!(value, Value::Text("ab\u{1F600}c".into()));
    }

    #[test]
    fn null_empties_a_cell_of_every_form() {
        let list = form("t.*.plain", json!({"t": [{"plain": "{each}"}]}), 3);
        assert_eq!(list.write(Json::Null), json!({"t": []}));
        assert_eq!(list.read(&text(), &json!({"t": []})), Value::Null);
        let nested = form("s.name", json!({"s": {"name": "{value}"}}), 3);
        assert_eq!(nested.write(Json::Null), json!({"s": null}));
        assert_eq!(nested.read(&text(), &json!({"s": null})), Value::Null);
        assert_eq!(nested.write(json!("a")), json!({"s": {"name": "a"}}));
    }

    /// How Notion's manifest reads a property of this type.
    fn notion(type_name: &str) -> CellForm {
        let manifest = crate::endpoint::rest::connectors::built_in("notion").unwrap();
        let crate::endpoint::rest::manifest::Fields::Listed { rules, .. } = &manifest.fields else {
            panic!("Notion lists its properties")
        };
        let rule = rules.iter().find(|rule| rule.name == type_name).unwrap();
        CellForm::of(rule).unwrap()
    }

    #[test]
    fn references_that_are_cut_are_left_alone_and_links_of_files_are_not_taken() {
        let relation = notion("relation");
        let read = |has_more: bool| {
            let cell = json!({"relation": [{"id": "a"}, {"id": "b"}], "has_more": has_more});
            relation.read(&FieldType::Document, &cell)
        };
        assert_eq!(read(false), Value::Document(r#"["a","b"]"#.into()));
        assert!(matches!(read(true), Value::Unmapped(_)));
        let files = json!({"files": [{"name": "a.txt", "file": {"url": "https://x/?expires=1"}}]});
        let read = notion("files").read(&FieldType::Document, &files);
        assert_eq!(read, Value::Document(r#"["a.txt"]"#.into()));
    }

    #[test]
    fn ids_are_texts_where_the_app_counts() {
        let read = |at: &str, of: &FieldType, cell: Json| {
            let is_ids = true;
            CellForm {
                is_ids,
                ..form(at, Json::Null, 3)
            }
            .read(of, &cell)
        };
        let list = FieldType::List {
            of: Box::new(text()),
            distinct: true,
        };
        let id = |id: &str| Value::Text(id.into());
        let several = json!([{"id": 7, "fields": {}}, {"id": "b"}]);
        assert_eq!(
            read("*.id", &list, several),
            Value::List(vec![id("7"), id("b")])
        );
        assert_eq!(read("id", &text(), json!({"id": 7})), id("7"));
    }

    #[test]
    fn a_cell_that_holds_more_than_its_type_is_left_alone() {
        let sign = Sign {
            at: "date.end".to_owned(),
            is: Json::Null,
        };
        let form = CellForm {
            only: vec![sign],
            ..form("date.start", json!({"date": {"start": "{value}"}}), 3)
        };
        let read = |cell: Json| form.read(&FieldType::Day, &cell);
        let day = json!({"date": {"start": "2026-01-02", "end": null}});
        assert!(matches!(read(day), Value::Date(_)));
        for start in ["2026-01-02T03:04:05Z", "2026-01-02T00:00:00.000+00:00"] {
            let cell = json!({"date": {"start": start, "end": null}});
            assert!(matches!(read(cell), Value::Unmapped(_)), "{start}");
        }
        let range = json!({"date": {"start": "2026-01-02", "end": "2026-01-03"}});
        assert!(matches!(read(range), Value::Unmapped(_)));
    }
}

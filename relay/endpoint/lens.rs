//! How a side's columns make the fields of a table pair, and back: value maps, computed fields,
//! filters, lists of links, and fields that only the other side has.
//!
//! Both sides of a pair have the same fields, in the same order; what a column holds and what the
//! field says may differ. An endpoint looks through the lens where it makes a row and where it takes
//! the values of a step, and nowhere else: fingerprints, guards and answers are about fields.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tidegate_sync::model::{Cell, Row};
use tidegate_sync::reference::set;
use tidegate_sync::value::Value;

use super::expression::Expression;

/// The lens of one table of a side.
#[derive(Clone, Debug, Default)]
pub struct Lens {
    /// One per field. Empty: each field is the column with its number.
    sources: Vec<Source>,
}

/// Where a field comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The column with this index.
    Column(usize),
    /// The column, in other words.
    Mapped(usize, Arc<ValueMap>),
    /// The column is a list of keys of other records.
    Keys(usize, Keys),
    /// Nothing of this side: it always says this.
    Constant(Value),
    /// An expression; where that has no value, it can't be carried over.
    Computed(Arc<Expression>),
    /// Whether the expression holds: true or false; null where that can't be told.
    Filter(Arc<Expression>),
}

/// What the field holds of a list of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The one that is in it: the other side has room for one.
    One,
    /// All of them, as a set.
    All,
}

impl Lens {
    pub fn new(sources: Vec<Source>) -> Lens {
        let is_plain = sources
            .iter()
            .enumerate()
            .all(|(field, source)| matches!(source, Source::Column(column) if *column == field));
        Lens {
            sources: if is_plain { Vec::new() } else { sources },
        }
    }

    /// The fields of a row of columns.
    pub fn row(&self, columns: Row) -> Row {
        if self.sources.is_empty() {
            return columns;
        }
        self.sources
            .iter()
            .map(|source| source.cell(&columns))
            .collect()
    }

    /// The column that a field is written to; `None` for a field that has none.
    pub fn column(&self, field: usize) -> Option<usize> {
        match self.sources.get(field) {
            None if self.sources.is_empty() => Some(field),
            Some(Source::Column(column) | Source::Mapped(column, _) | Source::Keys(column, _)) => {
                Some(*column)
            }
            _ => None,
        }
    }

    /// The columns of all fields of a table with so many, where each field is a column as it is.
    pub fn plain(&self, count: usize) -> Option<Vec<usize>> {
        if self.sources.is_empty() {
            return Some((0..count).collect());
        }
        let plain = |source: &Source| match source {
            Source::Column(column) => Some(*column),
            _ => None,
        };
        self.sources.iter().map(plain).collect()
    }

    /// What the column must hold for the field to be `value`; `None` where its value map has no word
    /// for it.
    pub fn native<'a>(&'a self, field: usize, value: &'a Value) -> Option<Cow<'a, Value>> {
        match self.sources.get(field) {
            Some(Source::Mapped(_, map)) => map.outward(value).map(Cow::Borrowed),
            Some(Source::Keys(..)) => Some(listed(value)),
            _ => Some(Cow::Borrowed(value)),
        }
    }

    /// Why the field can't be written as `value`, where its column can't hold what it says.
    pub fn misfit(&self, field: usize, value: &Value) -> &'static str {
        match (self.sources.get(field), several(value)) {
            (Some(Source::Keys(..)), _) | (_, false) => "has no word for the other side's value",
            (_, true) => "names one record, and the other side's field names several",
        }
    }

    /// The columns of a row of fields; `None` for a column that no field shows.
    pub fn columns<'a>(&'a self, fields: &'a Row, count: usize) -> Vec<Option<Cow<'a, Value>>> {
        let mut columns = vec![None; count];
        for (field, cell) in fields.iter().enumerate() {
            if let (Some(column), Some(value)) = (self.column(field), cell.value())
                && let Some(slot) = columns.get_mut(column)
            {
                *slot = self.native(field, value);
            }
        }
        columns
    }
}

/// The list that holds a key, keys, or none.
fn listed(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Null => Cow::Owned(Value::List(Vec::new())),
        Value::List(_) | Value::Unmapped(_) => Cow::Borrowed(value),
        one => Cow::Owned(Value::List(vec![one.clone()])),
    }
}

/// True for what names several records where there is room for one.
fn several(value: &Value) -> bool {
    match value {
        Value::Unmapped(inner) => several(inner),
        Value::List(items) => items.len() > 1,
        _ => false,
    }
}

impl Keys {
    fn inward(self, value: Value) -> Value {
        let is_flat = |items: &[Value]| {
            let is_key =
                |item: &Value| matches!(item, Value::Text(_) | Value::Int(_) | Value::Uuid(_));
            items.iter().all(is_key)
        };
        match (self, value) {
            (_, Value::Null) => Value::Null,
            (Keys::All, Value::List(items)) if is_flat(&items) => set(items),
            (Keys::One, Value::List(items)) if is_flat(&items) => match set(items) {
                Value::List(mut items) if items.len() == 1 => items.swap_remove(0),
                Value::Null => Value::Null,
                several => Value::Unmapped(Box::new(several)),
            },
            (_, value @ Value::Unmapped(_)) => value,
            (_, other) => Value::Unmapped(Box::new(other)),
        }
    }
}

impl Source {
    fn cell(&self, columns: &Row) -> Cell {
        let at = |column: &usize| columns.get(*column).cloned().unwrap_or(Cell::Unchanged);
        match self {
            Source::Column(column) => at(column),
            Source::Mapped(column, map) => match at(column) {
                Cell::Value(value) => Cell::Value(map.inward(value)),
                Cell::Unchanged => Cell::Unchanged,
            },
            Source::Keys(column, keys) => match at(column) {
                Cell::Value(value) => Cell::Value(keys.inward(value)),
                Cell::Unchanged => Cell::Unchanged,
            },
            Source::Constant(value) => Cell::Value(value.clone()),
            Source::Computed(expression) => match expression.value(columns) {
                Ok(Some(value)) => Cell::Value(value),
                Ok(None) => Cell::Unchanged,
                Err(reason) => Cell::Value(Value::Unmapped(Box::new(Value::Text(reason)))),
            },
            Source::Filter(expression) => match expression.value(columns) {
                Ok(Some(Value::Bool(holds))) => Cell::Value(Value::Bool(holds)),
                Ok(None) => Cell::Unchanged,
                Ok(Some(_)) | Err(_) => Cell::Value(Value::Null),
            },
        }
    }
}

/// Words of a column and the field's words for them, one to one.
#[derive(Clone, Debug, Default)]
pub struct ValueMap {
    /// By the canonical form.
    inward: HashMap<Vec<u8>, Value>,
    outward: HashMap<Vec<u8>, Value>,
    /// True when all other values are the same on both ends.
    passes: bool,
}

impl ValueMap {
    /// `entries` are pairs of what the column holds and what the field says.
    pub fn new(entries: Vec<(Value, Value)>, passes: bool) -> ValueMap {
        let mut map = ValueMap {
            passes,
            ..ValueMap::default()
        };
        for (column, field) in entries {
            map.inward.insert(canonical(&column), field.clone());
            map.outward.insert(canonical(&field), column);
        }
        map
    }

    fn inward(&self, value: Value) -> Value {
        match self.inward.get(&canonical(&value)) {
            Some(field) => field.clone(),
            None if self.passes || value.is_null() => value,
            None => Value::Unmapped(Box::new(value)),
        }
    }

    fn outward<'a>(&'a self, value: &'a Value) -> Option<&'a Value> {
        match self.outward.get(&canonical(value)) {
            Some(column) => Some(column),
            None => (self.passes || value.is_null()).then_some(value),
        }
    }
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.canonical(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn lens() -> Lens {
        let words = [("1", "open"), ("2", "closed")];
        let words = words.map(|(column, field)| (text(column), text(field)));
        let columns = ["id".to_owned(), "state".to_owned(), "note".to_owned()];
        let holds = Expression::new(r#"note != "hidden""#, &columns).unwrap();
        Lens::new(vec![
            Source::Mapped(1, Arc::new(ValueMap::new(words.into(), false))),
            Source::Column(0),
            Source::Constant(Value::Null),
            Source::Filter(Arc::new(holds)),
        ])
    }

    fn row(values: [Value; 3]) -> Row {
        values.map(Cell::Value).into()
    }

    #[test]
    fn a_row_is_seen_in_the_fields_words_and_written_in_the_columns() {
        let lens = lens();
        let fields = lens.row(row([Value::Int(7), text("2"), text("x")]));
        let expected = [
            text("closed"),
            Value::Int(7),
            Value::Null,
            Value::Bool(true),
        ];
        assert_eq!(fields, Row::from(expected.map(Cell::Value)));
        let (open, state) = (text("open"), text("1"));
        assert_eq!(lens.native(0, &open).as_deref(), Some(&state));
        assert_eq!(lens.column(0), Some(1));
        assert_eq!(lens.column(3), None);
        let back = lens.columns(&fields, 3);
        let back: Vec<Option<&Value>> = back.iter().map(Option::as_deref).collect();
        assert_eq!(back, [Some(&Value::Int(7)), Some(&text("2")), None]);
    }

    #[test]
    fn a_word_without_counterpart_is_told_apart_from_every_other_value() {
        let lens = lens();
        let fields = lens.row(row([Value::Int(7), text("open"), text("hidden")]));
        assert_eq!(
            fields[0],
            Cell::Value(Value::Unmapped(Box::new(text("open"))))
        );
        assert_ne!(
            canonical(fields[0].value().unwrap()),
            canonical(&text("open"))
        );
        assert_eq!(fields[3], Cell::Value(Value::Bool(false)));
        assert_eq!(lens.native(0, &text("unheard")), None);
    }

    #[test]
    fn a_list_of_keys_is_a_set_or_the_one_that_is_in_it() {
        let lens = Lens::new(vec![Source::Keys(0, Keys::All), Source::Keys(0, Keys::One)]);
        let list = |items: &[&str]| Value::List(items.iter().map(|item| text(item)).collect());
        let seen = |items: Value| {
            let fields = lens.row(vec![Cell::Value(items)]);
            fields
                .iter()
                .map(|cell| cell.value().unwrap().clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(Value::Null), [Value::Null, Value::Null]);
        assert_eq!(seen(list(&[])), [Value::Null, Value::Null]);
        assert_eq!(seen(list(&["a"])), [list(&["a"]), text("a")]);
        let several = Value::Unmapped(Box::new(list(&["a", "b"])));
        assert_eq!(
            seen(list(&["b", "a"])),
            [list(&["a", "b"]), several.clone()]
        );
        let nested = Value::List(vec![list(&["a"])]);
        assert!(
            seen(nested)
                .iter()
                .all(|value| matches!(value, Value::Unmapped(_)))
        );

        assert_eq!(lens.native(0, &Value::Null).as_deref(), Some(&list(&[])));
        assert_eq!(lens.native(1, &text("a")).as_deref(), Some(&list(&["a"])));
        assert_eq!(lens.plain(1), None);
        let one = Lens::new(vec![Source::Column(0)]);
        assert!(one.misfit(0, &several).contains("names several"));
        assert!(one.misfit(0, &text("a")).contains("no word"));
    }

    #[test]
    fn a_plain_lens_changes_nothing() {
        let lens = Lens::new(vec![Source::Column(0), Source::Column(1)]);
        let columns = vec![Cell::Value(Value::Int(1)), Cell::Unchanged];
        assert_eq!(lens.row(columns.clone()), columns);
        assert_eq!(lens.column(1), Some(1));
    }
}

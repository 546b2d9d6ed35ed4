//! The part of the formula language that filters are written in: comparisons, `AND`, `OR`, `NOT`,
//! `{Field}`, texts, numbers, and a few functions.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::cells::stamp;
use super::schema::Table;
use super::transaction::Record;
use crate::host::clock;

#[derive(Clone, Debug)]
pub(super) enum Formula {
    Value(Value),
    Field(String),
    Call(String, Vec<Formula>),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `&`
    Both(&'static str, Box<Formula>, Box<Formula>),
}

const SIGNS: [&str; 7] = ["!=", "<=", ">=", "=", "<", ">", "&"];
/// Nested deeper, a formula is refused: the reader calls itself.
const DEPTH_MAX: usize = 50;

impl Formula {
    /// `None`: it can't be read.
    pub fn parse(text: &str) -> Option<Formula> {
        let mut reader = Reader {
            rest: text,
            depth: 0,
        };
        let formula = reader.expression()?;
        reader.space();
        reader.rest.is_empty().then_some(formula)
    }

    pub fn holds(&self, table: &Table, id: &str, record: &Record) -> bool {
        is_true(&self.value(table, id, record))
    }

    pub fn value(&self, table: &Table, id: &str, record: &Record) -> Value {
        let of = |formula: &Formula| formula.value(table, id, record);
        match self {
            Formula::Value(value) => value.clone(),
            Formula::Field(name) => field_value(table, name, record),
            Formula::Both("&", a, b) => (text(&of(a)) + &text(&of(b))).into(),
            Formula::Both(sign, a, b) => {
                let order = compare(&of(a), &of(b));
                let is = |wanted: &[Ordering]| order.is_some_and(|order| wanted.contains(&order));
                use Ordering::{Equal, Greater, Less};
                match *sign {
                    "=" => is(&[Equal]),
                    "!=" => !is(&[Equal]),
                    "<" => is(&[Less]),
                    "<=" => is(&[Less, Equal]),
                    ">" => is(&[Greater]),
                    _ => is(&[Greater, Equal]),
                }
                .into()
            }
            Formula::Call(name, given) => {
                let given: Vec<Value> = given.iter().map(of).collect();
                call(name, &given, id, record)
            }
        }
    }
}

fn field_value(table: &Table, name: &str, record: &Record) -> Value {
    let Some(field) = table.field(name) else {
        return Value::Null;
    };
    match field.kind.as_str() {
        "lastModifiedTime" => stamp(record.modified),
        "createdTime" => stamp(record.created),
        "autoNumber" => record.number.into(),
        _ => record.cells.get(&field.id).cloned().unwrap_or_default(),
    }
}

fn call(name: &str, given: &[Value], id: &str, record: &Record) -> Value {
    let first = given.first().cloned().unwrap_or_default();
    let moments = || {
        let mut moments = given.iter().map(|value| clock::parse(&text(value)));
        Some((moments.next()??, moments.next()??))
    };
    match name {
        "AND" => given.iter().all(is_true).into(),
        "OR" => given.iter().any(is_true).into(),
        "NOT" => (!is_true(&first)).into(),
        "TRUE" => true.into(),
        "FALSE" => false.into(),
        "BLANK" => Value::Null,
        "RECORD_ID" => id.into(),
        "LAST_MODIFIED_TIME" => stamp(record.modified),
        "CREATED_TIME" => stamp(record.created),
        "DATETIME_PARSE" => first,
        "IS_AFTER" => moments().is_some_and(|(a, b)| a > b).into(),
        "IS_BEFORE" => moments().is_some_and(|(a, b)| a < b).into(),
        "IS_SAME" => moments().is_some_and(|(a, b)| a == b).into(),
        "LOWER" => text(&first).to_lowercase().into(),
        "LEN" => text(&first).chars().count().into(),
        "CONCATENATE" => given.iter().map(text).collect::<String>().into(),
        "FIND" => {
            let within = given.get(1).map(text).unwrap_or_default();
            let at = within
                .find(&text(&first))
                .map(|at| within[..at].chars().count() + 1);
            at.unwrap_or(0).into()
        }
        _ => json!({ "error": "#ERROR!" }),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.contains_key("error"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// An empty cell is the empty text, zero and false.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        Value::Null => Some(0.0),
        Value::Bool(is) => Some(f64::from(u8::from(*is))),
        value => value.as_f64(),
    };
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Number(_) | Value::Bool(_), _) | (_, Value::Number(_) | Value::Bool(_)) => {
            number(a)?.partial_cmp(&number(b)?)
        }
        _ => Some(text(a).cmp(&text(b))),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, sign: &str) -> bool {
        self.space();
        let Some(rest) = self.rest.strip_prefix(sign) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn expression(&mut self) -> Option<Formula> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let mut left = self.term()?;
        while let Some(sign) = SIGNS.into_iter().find(|sign| self.takes(sign)) {
            let right = self.term()?;
            left = Formula::Both(sign, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Some(left)
    }

    fn term(&mut self) -> Option<Formula> {
        self.space();
        let first = self.rest.chars().next()?;
        match first {
            '(' => {
                self.takes("(");
                let inner = self.expression()?;
                self.takes(")").then_some(inner)
            }
            '{' => {
                let end = self.rest.find('}')?;
                let name = self.rest[1..end].to_owned();
                self.rest = &self.rest[end + 1..];
                Some(Formula::Field(name))
            }
            '"' | '\'' => self.quoted(first),
            _ if first.is_ascii_digit() || first == '-' => self.number(),
            _ if first.is_alphabetic() => self.word(),
            _ => None,
        }
    }

    fn quoted(&mut self, quote: char) -> Option<Formula> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + c.len_utf8()..];
                return Some(Formula::Value(out.into()));
            }
            if c == '\\' {
                let (_, escaped) = chars.next()?;
                out.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
            } else {
                out.push(c);
            }
        }
        None
    }

    fn number(&mut self) -> Option<Formula> {
        let is_part = |c: char| c.is_ascii_digit() || "-.eE+".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let number: f64 = self.rest[..end].parse().ok()?;
        self.rest = &self.rest[end..];
        Some(Formula::Value(json!(number)))
    }

    /// A function, or a field whose name needs no braces.
    fn word(&mut self) -> Option<Formula> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        if !self.takes("(") {
            return Some(Formula::Field(name));
        }
        let mut given = Vec::new();
        while !self.takes(")") {
            given.push(self.expression()?);
            if !self.takes(",") && !self.rest.trim_start().starts_with(')') {
                return None;
            }
        }
        Some(Formula::Call(name.to_uppercase(), given))
    }
}

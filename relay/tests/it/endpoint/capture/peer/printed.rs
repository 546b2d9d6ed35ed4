//! Reads what the `test_decoding` plugin prints. Values may hold line breaks, so it goes through
//! the text from its start and not line by line.

use std::collections::BTreeMap;

use tidegate_relay::endpoint::postgres::CaptureTable;

use super::{Transaction, written};

/// The columns of one row by name; null ones of an old row are not printed.
type Columns<'a> = BTreeMap<&'a str, Datum>;

#[derive(Clone)]
enum Datum {
    Null,
    Unchanged,
    Text(String),
}

/// Every transaction that changed one of `tables`.
pub fn transactions(text: &str, tables: &[CaptureTable]) -> Vec<Transaction> {
    let mut reader = Reader { rest: text };
    let mut all = Vec::new();
    let mut current = Transaction::new();
    while !reader.rest.is_empty() {
        if reader.skip("BEGIN\n") {
            current.clear();
        } else if reader.skip("COMMIT\n") {
            if !current.is_empty() {
                all.push(std::mem::take(&mut current));
            }
        } else if reader.skip("message: ") {
            reader.until("\n");
        } else {
            current.extend(reader.change(tables));
        }
    }
    all
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// `table public.posts: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 …`.
    fn change(&mut self, tables: &[CaptureTable]) -> Option<String> {
        self.expect("table public.");
        let name = self.until(": ");
        let kind = self.until(":");
        let old = self.skip(" old-key:").then(|| self.columns());
        if old.is_some() {
            self.expect(" new-tuple:");
        }
        let new = self.columns();
        self.expect("\n");
        let table = tables.iter().find(|table| table.name == name)?;
        let key = key(table, &new);
        let fields = table.fields.iter().map(|(field, _)| {
            // A whole old row tells what the new one leaves out.
            let known = match &new[field.as_str()] {
                Datum::Unchanged => old.as_ref().and_then(|old| old.get(field.as_str())),
                _ => None,
            };
            match known.unwrap_or(&new[field.as_str()]) {
                Datum::Null => "null".to_owned(),
                Datum::Unchanged => "unchanged".to_owned(),
                Datum::Text(text) => format!("={text}"),
            }
        });
        Some(match kind {
            "INSERT" => written('+', name, &key, None, Some(&fields.collect::<Vec<_>>())),
            "UPDATE" => {
                let old = old.as_ref().map(|old| self::key(table, old));
                let old = old.filter(|old| *old != key);
                let fields: Vec<String> = fields.collect();
                written('~', name, &key, old.as_deref(), Some(&fields))
            }
            "DELETE" => written('-', name, &key, None, None),
            other => panic!("{other} is not in the workload"),
        })
    }

    /// ` id[integer]:1 title[text]:'a'`, up to what is no column.
    fn columns(&mut self) -> Columns<'a> {
        let mut columns = Columns::new();
        while self.rest.starts_with(' ') && !self.rest.starts_with(" new-tuple:") {
            self.expect(" ");
            let name = self.until("[");
            self.until("]:");
            columns.insert(name, self.datum());
        }
        columns
    }

    fn datum(&mut self) -> Datum {
        if !self.skip("'") {
            let end = self.rest.find([' ', '\n']).unwrap();
            let word = &self.rest[..end];
            self.rest = &self.rest[end..];
            return match word {
                "null" => Datum::Null,
                "unchanged-toast-datum" => Datum::Unchanged,
                number => Datum::Text(number.to_owned()),
            };
        }
        let mut text = self.until("'").to_owned();
        // A quote inside is printed twice.
        while self.skip("'") {
            text.push('\'');
            text += self.until("'");
        }
        Datum::Text(text)
    }

    fn skip(&mut self, expected: &str) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, expected: &str) {
        let near: String = self.rest.chars().take(60).collect();
        assert!(self.skip(expected), "{expected:?} should be at {near:?}");
    }

    /// What comes before `end`, which is taken too.
    fn until(&mut self, end: &str) -> &'a str {
        let (before, rest) = self.rest.split_once(end).unwrap();
        self.rest = rest;
        before
    }
}

fn key(table: &CaptureTable, columns: &Columns<'_>) -> Vec<String> {
    let part = |name: &String| match &columns[name.as_str()] {
        Datum::Text(text) => text.clone(),
        _ => panic!("a key without {name}"),
    };
    table.key.iter().map(part).collect()
}

//! From the stream's rows to the binding's fields: which column is which, and what a change says.
//!
//! Tables are found by oid, columns by name, anew at each Relation message, which the server sends
//! before the first row of a table and again whenever its shape has changed. A shape that the binding
//! does not know is not guessed at: each change of such a table asks for a reconcile instead, until the
//! side is opened again. Pure; called by `transactions`.

use std::collections::HashMap;
use std::fmt;
use std::mem;

use tidegate_sync::model::{BatchId, Cell, Change, ChangeKind, Key, PairId, Row};
use tidegate_sync::value::Value;

use super::super::EndpointError;
use super::super::lens::Lens;
use super::pgoutput::{self, Identity, Message, Old, Relation};
use super::replication::quote_identifier;
use super::types::{self, PgType};

/// A bound table as the catalog describes it when the side is opened.
#[derive(Clone, Debug)]
pub struct CaptureTable {
    pub pair: PairId,
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// The primary key's columns, in key order.
    pub key: Vec<String>,
    /// The bound columns.
    pub fields: Vec<(String, PgType)>,
    /// How many sets of join tables stand behind them, of which its own changes say nothing.
    pub joins: usize,
    /// How they make the pair's fields.
    pub lens: Lens,
}

impl CaptureTable {
    /// `"schema"."name"`.
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}",
            quote_identifier(&self.schema),
            quote_identifier(&self.name)
        )
    }
}

impl fmt::Display for CaptureTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What one transaction, or a part of it, did to the bound tables. Where its changes stand in the
/// history is set by `transactions`.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub changes: Vec<Change>,
    pub reconcile: Vec<(PairId, String)>,
}

impl Effects {
    fn reconcile(&mut self, pair: PairId, reason: &str) {
        if !self.reconcile.iter().any(|(other, _)| *other == pair) {
            self.reconcile.push((pair, reason.to_owned()));
        }
    }
}

pub(super) struct Mapping {
    tables: Vec<CaptureTable>,
    /// By oid; empty for a table that is not bound.
    relations: HashMap<u32, Vec<Bound>>,
    /// A bound table was described since this was last asked.
    described: bool,
}

/// A bound table in its present shape.
struct Bound {
    table: usize,
    shape: Result<Shape, String>,
}

/// Where in a streamed row the binding's columns are.
struct Shape {
    fields: Vec<usize>,
    key: Vec<usize>,
}

type Cells<'a> = [pgoutput::Cell<'a>];

impl Mapping {
    pub(super) fn new(tables: Vec<CaptureTable>) -> Mapping {
        Mapping {
            tables,
            relations: HashMap::new(),
            described: false,
        }
    }

    /// Whether a bound table was described since the last call. The message tells no column's number:
    /// one that was dropped and made anew looks the same.
    pub(super) fn take_described(&mut self) -> bool {
        mem::take(&mut self.described)
    }

    /// Takes one message of a transaction in.
    pub(super) fn apply(
        &mut self,
        message: &Message<'_>,
        effects: &mut Effects,
    ) -> Result<(), EndpointError> {
        match message {
            Message::Relation(relation) => self.relate(relation),
            Message::Insert { relation, new } => {
                self.each(*relation, effects, |bound| bound.present(new, None, true))?;
            }
            Message::Update { relation, old, new } => {
                self.each(*relation, effects, |bound| {
                    bound.present(new, old.as_ref(), false)
                })?;
            }
            Message::Delete { relation, old } => {
                self.each(*relation, effects, |bound| bound.gone(old))?;
            }
            Message::Truncate { relations } => {
                for bound in relations
                    .iter()
                    .filter_map(|oid| self.relations.get(oid))
                    .flatten()
                {
                    effects.reconcile(self.tables[bound.table].pair, "the table was truncated");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn relate(&mut self, relation: &Relation<'_>) {
        let schema = if relation.schema.is_empty() {
            "pg_catalog"
        } else {
            relation.schema
        };
        let bound = self.tables.iter().enumerate().filter_map(|(index, table)| {
            let has_name = (table.schema.as_str(), table.name.as_str()) == (schema, relation.name);
            // A table that was renamed is the same; one that took the name is another.
            let shape = if table.oid == relation.oid {
                shape(table, relation)
            } else if has_name {
                Err("the table was made anew".to_owned())
            } else {
                return None;
            };
            let table = index;
            Some(Bound { table, shape })
        });
        let bound: Vec<Bound> = bound.collect();
        self.described |= !bound.is_empty();
        self.relations.insert(relation.oid, bound);
    }

    fn each(
        &self,
        relation: u32,
        effects: &mut Effects,
        change: impl Fn(Placed<'_>) -> Result<Change, EndpointError>,
    ) -> Result<(), EndpointError> {
        let bound = self.relations.get(&relation).ok_or_else(|| {
            EndpointError::bug(
                "protocol-violation",
                "a row of a table that was not described",
            )
        })?;
        for Bound { table, shape } in bound {
            let table = &self.tables[*table];
            match shape {
                Ok(shape) => effects.changes.push(change(Placed { table, shape })?),
                Err(reason) => effects.reconcile(table.pair, reason),
            }
        }
        Ok(())
    }
}

/// Finds the binding's columns; the reason why they can't be read, otherwise.
fn shape(table: &CaptureTable, relation: &Relation<'_>) -> Result<Shape, String> {
    let find = |name: &String| {
        relation
            .columns
            .iter()
            .position(|column| column.name == name)
    };
    let mut fields = Vec::with_capacity(table.fields.len());
    for (name, of) in &table.fields {
        let index = find(name).ok_or_else(|| format!("column {name} was dropped or renamed"))?;
        if relation.columns[index].type_oid != of.oid {
            return Err(format!("column {name} has another type now"));
        }
        fields.push(index);
    }
    let key: Option<Vec<usize>> = table.key.iter().map(find).collect();
    let key = key.ok_or("a column of the primary key was dropped or renamed")?;
    let flagged = relation
        .columns
        .iter()
        .filter(|column| column.is_key)
        .count();
    let key_is_told = key.iter().all(|&index| relation.columns[index].is_key);
    match relation.identity {
        Identity::Full => {}
        Identity::Default if key_is_told && flagged == key.len() => {}
        Identity::Default => return Err("the table has another primary key now".into()),
        Identity::Index if key_is_told => {}
        Identity::Index | Identity::Nothing => {
            return Err(format!(
                "the table's replica identity hides its primary key: run `alter table {} replica \
                 identity default`",
                table.quoted()
            ));
        }
    }
    Ok(Shape { fields, key })
}

/// A bound table together with where its columns are.
struct Placed<'a> {
    table: &'a CaptureTable,
    shape: &'a Shape,
}

impl Placed<'_> {
    fn present(
        &self,
        new: &Cells<'_>,
        old: Option<&Old<'_>>,
        inserted: bool,
    ) -> Result<Change, EndpointError> {
        let before = old.map(|old| match old {
            Old::Key(cells) | Old::Whole(cells) => cells.as_slice(),
        });
        // An out-of-line key column that did not change is only in the old row.
        let key = self.key(new, before)?;
        let old_key = before.map(|before| self.key(before, None)).transpose()?;
        let whole = match old {
            Some(Old::Whole(cells)) => Some(cells.as_slice()),
            _ => None,
        };
        let fields = self.table.fields.iter().zip(&self.shape.fields);
        let row: Result<Row, EndpointError> = fields
            .map(|((name, of), &index)| match cell(new, index)? {
                pgoutput::Cell::Unchanged => match whole.map(|old| cell(old, index)).transpose()? {
                    Some(known @ pgoutput::Cell::Text(_)) => self.value(name, of, known),
                    _ => Ok(Cell::Unchanged),
                },
                sent => self.value(name, of, sent),
            })
            .chain((0..self.table.joins).map(|_| Ok(Cell::Unchanged)))
            .collect();
        Ok(self.change(
            old_key.filter(|old| *old != key),
            key,
            ChangeKind::Present {
                row: self.table.lens.row(row?),
                inserted,
            },
        ))
    }

    fn gone(&self, old: &Old<'_>) -> Result<Change, EndpointError> {
        let (Old::Key(cells) | Old::Whole(cells)) = old;
        Ok(self.change(None, self.key(cells, None)?, ChangeKind::Gone))
    }

    fn change(&self, old_key: Option<Key>, key: Key, kind: ChangeKind) -> Change {
        Change {
            pair: self.table.pair,
            key,
            old_key,
            kind,
            time: None,
            offset: 0,
            at: 0,
            passed: BatchId::NONE,
            ours: false,
        }
    }

    fn key(&self, cells: &Cells<'_>, before: Option<&Cells<'_>>) -> Result<Key, EndpointError> {
        let parts = self.shape.key.iter().map(|&index| {
            let sent = match (cell(cells, index)?, before) {
                (pgoutput::Cell::Unchanged, Some(before)) => cell(before, index)?,
                (sent, _) => sent,
            };
            match sent {
                pgoutput::Cell::Text(bytes) => self.text("the key", bytes).map(str::to_owned),
                _ => Err(EndpointError::bug(
                    "protocol-violation",
                    format!("a change of {} without its key", self.table),
                )),
            }
        });
        parts.collect::<Result<_, _>>().map(Key)
    }

    fn value(
        &self,
        name: &str,
        of: &PgType,
        cell: &pgoutput::Cell<'_>,
    ) -> Result<Cell, EndpointError> {
        let text = match cell {
            pgoutput::Cell::Null => return Ok(Cell::Value(Value::Null)),
            pgoutput::Cell::Unchanged => return Ok(Cell::Unchanged),
            pgoutput::Cell::Text(bytes) => self.text(name, bytes)?,
            pgoutput::Cell::Binary(_) => {
                let what = "a value in binary form, which was not asked for";
                return Err(EndpointError::bug("protocol-violation", what));
            }
        };
        types::decode(of, Some(text))
            .map(Cell::Value)
            .map_err(|error| {
                let what = format!("read column {name} of {}", self.table);
                EndpointError::bug("undecodable-value", what).caused_by(error)
            })
    }

    fn text<'a>(&self, name: &str, bytes: &'a [u8]) -> Result<&'a str, EndpointError> {
        std::str::from_utf8(bytes).map_err(|error| {
            EndpointError::operator(
                "not-utf8",
                format!(
                    "{name} of {} holds text that is not UTF-8: correct the record, or move the \
                     database to encoding UTF8",
                    self.table
                ),
            )
            .caused_by(error)
        })
    }
}

fn cell<'a, 'b>(
    cells: &'a Cells<'b>,
    index: usize,
) -> Result<&'a pgoutput::Cell<'b>, EndpointError> {
    cells.get(index).ok_or_else(|| {
        EndpointError::bug(
            "protocol-violation",
            "a row shorter than its table's description",
        )
    })
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;

//! The bound tables of a run as the catalog has them: key columns, mapped columns, their types.
//!
//! Loaded once per run and shared by capture, snapshot and apply. A table whose shape changes
//! later is noticed by the change stream, which asks for a reconcile.

use std::collections::BTreeMap;

use tidegate_sync::codec::FieldType;
use tidegate_sync::model::{Cell, Key, PairId, Row};
use tokio_postgres::types::{Oid, ToSql, Type};

use super::connect::Connected;
use super::join_table::{self, JoinTable};
use super::relations::{self, ColumnRow, KeyRow, Relation, Relations};
use super::replication::quote_literal;
use super::sqlstate::endpoint_error;
use super::types::{PgType, decode};
use crate::endpoint::lens::Lens;
use crate::endpoint::{EndpointError, TableBinding};

/// One bound table.
#[derive(Clone, Debug)]
pub struct Shape {
    pub pair: PairId,
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// Quoted and qualified, ready for SQL.
    pub relation: String,
    /// A plain heap table without children, of which `ctid` ranges can be read.
    pub has_ranges: bool,
    /// The primary key's columns in key order. Never empty.
    pub key: Vec<Column>,
    /// The bound columns, in the binding's order.
    pub fields: Vec<Column>,
    /// The join tables whose sets stand behind them.
    pub joins: Vec<JoinTable>,
    /// How they make the pair's fields.
    pub lens: Lens,
    /// Numbers of the fields that make the match key.
    pub match_key: Vec<usize>,
    /// A unique index sees to it that no two records share a match key.
    pub match_is_unique: bool,
    /// The unique indexes beside the primary key, each by its bound columns (indices into
    /// `fields`), where it has any.
    pub unique: Vec<Vec<usize>>,
    /// Tables that its foreign keys refer to.
    pub refers_to: Vec<Oid>,
}

/// One column of a bound table.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// Quoted, ready for SQL.
    pub quoted: String,
    /// `pg_attribute.attnum`.
    pub number: i16,
    pub pg_type: PgType,
    pub is_nullable: bool,
    /// Can be read and not written.
    pub is_generated: bool,
    /// `generated always as identity`: explicit values need `overriding system value`.
    pub is_identity_always: bool,
    /// The owned sequence (quoted) that must not fall behind explicit values.
    pub sequence: Option<String>,
}

impl Shape {
    /// `public.posts`, for messages.
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// SQL that is true while the table's columns are these: number, name and type.
    pub(super) fn is_unchanged(&self) -> String {
        let columns: BTreeMap<i16, (&str, u32)> = self
            .key
            .iter()
            .chain(&self.fields)
            .map(|column| (column.number, (column.name.as_str(), column.pg_type.oid)))
            .collect();
        let expected: Vec<String> = columns
            .iter()
            .map(|(number, (name, oid))| format!("({number}, {}, {oid})", quote_literal(name)))
            .collect();
        format!(
            "(select count(*) from pg_attribute a where a.attrelid = {} and a.attnum > 0 \
             and not a.attisdropped and (a.attnum, a.attname::text, a.atttypid) in ({})) = {}",
            self.oid,
            expected.join(", "),
            expected.len()
        )
    }

    /// Makes a key of the text form of its parts.
    pub fn key_of(&self, parts: &[Option<&str>]) -> Result<Key, EndpointError> {
        let parts: Option<Vec<String>> = parts.iter().map(|p| p.map(str::to_owned)).collect();
        parts.map(Key).ok_or_else(|| {
            let message = format!("a record of {} has a null in its key", self.label());
            EndpointError::bug("null-key", message)
        })
    }

    /// Makes a row of the text form of the bound columns, and of the join tables' sets where they are
    /// told.
    pub fn row_of(&self, cells: &[Option<&str>]) -> Result<Row, EndpointError> {
        let (cells, sets) = cells.split_at(cells.len().min(self.fields.len()));
        let columns = self.fields.iter().zip(cells);
        let mut row: Row = columns
            .map(|(column, text)| column.cell(*text))
            .collect::<Result<_, _>>()?;
        let mut sets = sets.iter();
        for join in &self.joins {
            row.push(match sets.next() {
                Some(text) => join.cell(*text)?,
                None => Cell::Unchanged,
            });
        }
        Ok(self.lens.row(row))
    }

    /// The fields of a record of which nothing but the sets of its join tables is known.
    pub(super) fn of_sets(&self, sets: &[Cell]) -> Row {
        let columns = self.fields.iter().map(|_| Cell::Unchanged);
        let fields = self.lens.row(columns.chain(sets.iter().cloned()).collect());
        let fields = fields.into_iter().enumerate();
        // A filter or a computed field can't be told from nothing.
        fields
            .map(|(field, cell)| match self.is_set(field) {
                true => cell,
                false => Cell::Unchanged,
            })
            .collect()
    }

    /// Puts the sets that `from` tells into a record.
    pub(super) fn take_sets(&self, row: &mut Row, from: &Row) {
        for (field, (cell, set)) in row.iter_mut().zip(from).enumerate() {
            if self.is_set(field) && *set != Cell::Unchanged {
                *cell = set.clone();
            }
        }
    }

    /// Whether a join table has the field.
    fn is_set(&self, field: usize) -> bool {
        let column = self.lens.column(field);
        column.is_some_and(|column| column >= self.fields.len())
    }

    /// SQL for the sets of a record, each as text.
    pub(super) fn sets(&self, table: &str) -> Vec<String> {
        let key = self.key.first();
        let joins = self.joins.iter();
        joins
            .filter_map(|join| Some(join.as_text(table, key?)))
            .collect()
    }
}

impl Column {
    pub fn cell(&self, text: Option<&str>) -> Result<Cell, EndpointError> {
        decode(&self.pg_type, text)
            .map(Cell::Value)
            .map_err(|error| {
                let message = format!("column \"{}\": {error}", self.name);
                EndpointError::bug("undecodable-value", message)
            })
    }

    /// SQL for the column's text exactly as its output function (COPY, pgoutput) prints it. A cast
    /// to text differs from that for `boolean`, `character`, `inet` and possibly any other type;
    /// `concat` calls the output function. Not `is not null`: a composite with a null in it isn't
    /// that either.
    pub(super) fn as_text(&self, table: &str) -> String {
        let column = format!("{table}.{}", self.quoted);
        match self.pg_type.field_type {
            FieldType::Bool => format!("case {column} when true then 't' when false then 'f' end"),
            FieldType::Padded { .. }
            | FieldType::Opaque { .. }
            | FieldType::Array { .. }
            | FieldType::Bits { .. } => {
                format!("case when num_nonnulls({column}) > 0 then concat({column}) end")
            }
            _ => format!("{column}::text"),
        }
    }
}

/// SQL for the columns' texts, as COPY prints them.
pub(super) fn texts(columns: &[Column], table: &str) -> String {
    let texts: Vec<String> = columns.iter().map(|column| column.as_text(table)).collect();
    format!("array[{}]::text[]", texts.join(", "))
}

/// Looks the bound tables up. Refuses a table or column that isn't there, and one without a
/// primary key, each with what to do.
pub async fn load(
    session: &Connected,
    bindings: &[TableBinding],
) -> Result<Vec<Shape>, EndpointError> {
    let joined = join_table::bindings(bindings);
    let bindings: Vec<&TableBinding> = bindings.iter().chain(&joined).collect();
    let names: Vec<String> = bindings.iter().map(|b| b.table.clone()).collect();
    let found = relations::read(session, Some(&names)).await?;
    let shapes = bindings.iter().map(|binding| shape(binding, &found));
    let mut shapes: Vec<Shape> = shapes.collect::<Result<_, _>>()?;
    for (place, binding) in bindings.iter().enumerate() {
        let joins = (0..binding.joins.len()).filter_map(|number| {
            let pair = join_table::number_of(binding.pair, number);
            shapes.iter().find(|shape| shape.pair == pair)
        });
        shapes[place].joins = joins.map(JoinTable::of).collect::<Result<_, _>>()?;
    }
    Ok(shapes)
}

/// Asked after a read: what was not found in a table that was dropped or made anew meanwhile is no
/// deletion. Within the read's transaction the answer holds until the end, because a read keeps others
/// from dropping the table.
pub(super) async fn check_same(
    session: &Connected,
    shapes: impl Iterator<Item = &Shape>,
) -> Result<(), EndpointError> {
    let (names, oids): (Vec<&str>, Vec<Oid>) = shapes
        .map(|shape| (shape.relation.as_str(), shape.oid))
        .unzip();
    let sql = "select t.name from unnest($1::text[], $2::oid[]) as t (name, oid)
               where to_regclass(t.name)::oid is distinct from t.oid limit 1";
    let doing = "look whether a table is still the same";
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&names, Type::TEXT_ARRAY), (&oids, Type::OID_ARRAY)];
    let asked = session.query_typed(sql, &parameters);
    let rows = session.bounded(doing, asked).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let name: String = row
        .try_get(0)
        .map_err(|error| endpoint_error(doing, error))?;
    let message = format!("{name} was dropped, renamed or made anew");
    Err(EndpointError::retry("table-changed", message))
}

fn shape(binding: &TableBinding, found: &Relations) -> Result<Shape, EndpointError> {
    let table = &binding.table;
    let relation = found
        .relations
        .iter()
        .find(|r| is_named(r, table))
        .ok_or_else(|| {
            let message = format!(
                "table {table} does not exist or its schema is closed to this role; check the \
                 sync's table name, or grant usage on the schema"
            );
            EndpointError::operator("table-missing", message)
        })?;
    if !matches!(relation.kind.as_str(), "r" | "p") {
        let message = format!("{table} is a view or foreign table; sync the table behind it");
        return Err(EndpointError::operator("not-a-table", message));
    }
    let empty = Vec::new();
    let columns = found.columns.get(&relation.oid).unwrap_or(&empty);
    let column = |name: &String| {
        columns
            .iter()
            .find(|column| column.name == *name)
            .map(Column::from)
            .ok_or_else(|| {
                let message = format!("table {table} has no column \"{name}\"; correct the sync");
                EndpointError::operator("column-missing", message)
            })
    };
    let primary = found
        .keys
        .get(&relation.oid)
        .and_then(|keys| keys.iter().find(|key| key.is_primary));
    let Some(primary) = primary else {
        let message =
            format!("table {table} has no primary key; `connection fix-key` offers two ways");
        return Err(EndpointError::operator("no-primary-key", message));
    };
    let foreign = found.foreign_keys.get(&relation.oid);
    let keys = found.keys.get(&relation.oid);
    // A parent's index does not cover its children's records; a partitioned table's does.
    let covers_all = relation.kind == "p" || relation.has_ranges;
    Ok(Shape {
        pair: binding.pair,
        oid: relation.oid,
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        relation: qualified(&relation.schema, &relation.name),
        has_ranges: relation.kind == "r" && relation.has_ranges,
        key: primary
            .columns
            .iter()
            .map(column)
            .collect::<Result<_, _>>()?,
        fields: binding
            .columns
            .iter()
            .map(column)
            .collect::<Result<_, _>>()?,
        joins: Vec::new(),
        lens: binding.lens.clone(),
        match_key: binding.match_key.clone(),
        match_is_unique: covers_all && is_match_unique(keys, binding),
        unique: unique(keys, &binding.columns),
        refers_to: foreign.into_iter().flatten().map(|f| f.target).collect(),
    })
}

fn is_match_unique(keys: Option<&Vec<KeyRow>>, binding: &TableBinding) -> bool {
    let matched = binding.match_key.iter();
    let matched = matched.filter_map(|&field| binding.columns.get(binding.lens.column(field)?));
    let matched: Vec<&String> = matched.collect();
    let mut keys = keys.into_iter().flatten();
    keys.any(|key| {
        !key.columns.is_empty() && key.columns.iter().all(|column| matched.contains(&column))
    })
}

fn unique(keys: Option<&Vec<KeyRow>>, fields: &[String]) -> Vec<Vec<usize>> {
    let fields_of = |key: &KeyRow| {
        let field = |column: &String| fields.iter().position(|field| field == column);
        key.columns.iter().filter_map(field).collect::<Vec<_>>()
    };
    keys.into_iter()
        .flatten()
        .filter(|key| !key.is_primary)
        .map(fields_of)
        .filter(|fields| !fields.is_empty())
        .collect()
}

impl From<&ColumnRow> for Column {
    fn from(row: &ColumnRow) -> Column {
        Column {
            name: row.name.clone(),
            quoted: quoted(&row.name),
            number: row.number,
            pg_type: row.pg_type.clone(),
            is_nullable: !row.not_null,
            is_generated: row.generated,
            is_identity_always: row.identity == "a",
            sequence: row.sequence.clone(),
        }
    }
}

fn is_named(relation: &Relation, name: &str) -> bool {
    name == format!("{}.{}", relation.schema, relation.name)
        || relation.schema == "public" && relation.name == name
}

/// An identifier for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

//! Links of the sync file: fields that name records of a table pair, checked against both sides.
//!
//! A side names a record by its key. So the record's table must have one of a single column, and what
//! holds the link must be of that column's type: a field, a list, or a column of a join table.

use tidegate_sync::codec::FieldType;
use tidegate_sync::model::{BySide, PairId, Side};
use tidegate_sync::policy::Reference;
use tidegate_sync::reference::KeyForm;

use super::drift::present;
use super::mapping::PairMapping;
use super::syncfile::SyncFile;
use crate::endpoint::Through;
use crate::endpoint::catalog::{Catalog, Column, Table};

/// Adds the references of each pair to its policy; what can't be one, to `problems`.
pub(super) fn references(
    file: &SyncFile,
    pairs: &mut [PairMapping],
    catalogs: &BySide<Catalog>,
    problems: &mut Vec<String>,
) {
    let tables: Vec<BySide<String>> = pairs.iter().map(|pair| pair.tables.clone()).collect();
    for (pair, table) in pairs.iter_mut().zip(&file.tables) {
        for (field, form) in table.forms.iter().enumerate() {
            let Some(to) = form.linked() else {
                continue;
            };
            let Some(number) = tables.iter().position(|names| names == to) else {
                problems.push(format!(
                    "left {}.{} and right {}.{} link to left {} and right {}, which is not synced",
                    pair.tables.left,
                    pair.field_name(Side::Left, field),
                    pair.tables.right,
                    pair.field_name(Side::Right, field),
                    to.left,
                    to.right
                ));
                continue;
            };
            let end = |side: Side| End {
                side,
                field: pair.field_name(side, field),
                table: &pair.tables[side],
                to: &tables[number][side],
                through: form.through(side),
            };
            let (left, right) = (end(Side::Left), end(Side::Right));
            let found = [left.found(&catalogs.left), right.found(&catalogs.right)];
            match found {
                [Ok(left), Ok(right)] => pair.policy.references.push(Reference {
                    field,
                    to: PairId(number as u32),
                    keys: BySide::new(left.0, right.0),
                    required: BySide::new(left.1, right.1),
                }),
                found => problems.extend(found.into_iter().filter_map(Result::err)),
            }
        }
    }
}

/// One side of a link.
struct End<'a> {
    side: Side,
    field: String,
    table: &'a str,
    to: &'a str,
    through: Option<&'a Through>,
}

impl End<'_> {
    /// The form of the keys that it holds, and whether a record must have one.
    fn found(&self, catalog: &Catalog) -> Result<(KeyForm, bool), String> {
        let found = match self.through {
            Some(through) => self.joined(catalog, through).map(|form| (form, false)),
            None => self.held(catalog),
        };
        found.map_err(|why| match self.through {
            Some(through) => format!("{} {}: {why}", self.side.name(), through.table),
            None => format!("{} {}.{}: {why}", self.side.name(), self.table, self.field),
        })
    }

    /// Of a link that the table's own field holds.
    fn held(&self, catalog: &Catalog) -> Result<(KeyForm, bool), String> {
        let table = catalog.table(self.table);
        let column = table.and_then(|table| table.column(&self.field));
        let (Some(table), Some(column)) = (table, column) else {
            return Err("there is no such column".to_owned());
        };
        let (named, key) = key_of(catalog, self.to)?;
        if let Some(other) = refers_elsewhere((table, column), present(catalog, named), key) {
            return Err(format!(
                "it refers to {other}, and the link says {}.{}: link it to the pair of that \
                 table, or leave `link` out",
                self.to, key.name
            ));
        }
        let (holds, is_list) = match &column.field_type {
            FieldType::List { of, .. } | FieldType::Array { of } => (KeyForm::of(of), true),
            of => (KeyForm::of(of), false),
        };
        self.same_form(holds, key, column)
            .map(|form| (form, !column.nullable && !is_list))
    }

    /// Of links that a join table holds.
    fn joined(&self, catalog: &Catalog, through: &Through) -> Result<KeyForm, String> {
        let Some(table) = catalog.table(&through.table) else {
            return Err("there is no such table that the role can see".to_owned());
        };
        let (from, to) = (
            column_of(table, &through.from)?,
            column_of(table, &through.to)?,
        );
        let mut key: Vec<&String> = table.primary_key.iter().collect();
        key.sort();
        let mut joined = [&through.from, &through.to];
        joined.sort();
        if key != joined {
            return Err(wrong_key(table, through));
        }
        if let Some(problem) = table.problems.iter().find(|problem| problem.blocking) {
            return Err(format!("{}: {}", problem.message, problem.remedy));
        }
        let is_unfilled = |column: &&Column| {
            let is_filled = column.nullable || column.has_default || column.generated;
            !is_filled && column.identity.is_empty() && !joined.contains(&&column.name)
        };
        if let Some(column) = table.columns.iter().find(is_unfilled) {
            return Err(format!(
                "a set of links says nothing of `{}`: give it a default, let it be null, or sync \
                 the table as a [[table]] of its own",
                column.name
            ));
        }
        for (column, to) in [(from, self.table), (to, self.to)] {
            let (named, key) = key_of(catalog, to)?;
            let named = present(catalog, named);
            if !refers(table, column, named, key) {
                return Err(format!(
                    "`{}` needs a foreign key to {to} ({}): without one, links could not be kept \
                     from changing while they are written",
                    column.name, key.name
                ));
            }
            self.same_form(KeyForm::of(&column.field_type), key, column)?;
        }
        let (_, key) = key_of(catalog, self.to)?;
        self.same_form(KeyForm::of(&to.field_type), key, to)
    }

    fn same_form(
        &self,
        holds: Option<KeyForm>,
        key: &Column,
        column: &Column,
    ) -> Result<KeyForm, String> {
        match (holds, KeyForm::of(&key.field_type)) {
            (Some(form), Some(named)) if form == named => Ok(form),
            _ => Err(format!(
                "a link holds keys of {}, which are whole numbers, texts or uuids of the same \
                 type: its type is {}",
                self.to, column.type_name
            )),
        }
    }
}

/// A row that is deleted tells its primary key alone, so that has to say what the row joined.
fn wrong_key(table: &Table, through: &Through) -> String {
    let Through { from, to, .. } = through;
    let has = match table.primary_key.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it is ({})", table.primary_key.join(", ")),
    };
    format!(
        "its primary key must be ({from}, {to}) and nothing else, so that a row that is deleted \
         tells what it joined; {has}: have its owner make these two the key, or, if the table has a \
         match key, sync it as a [[table]] of its own, with a `link` for each of the two columns"
    )
}

/// The table and its key, by which links name its records.
fn key_of<'a>(catalog: &'a Catalog, name: &str) -> Result<(&'a Table, &'a Column), String> {
    let table = catalog
        .table(name)
        .ok_or_else(|| format!("there is no table {name}"))?;
    let [key] = table.primary_key.as_slice() else {
        return Err(format!(
            "a link names records by a key of one column, and {name} has one of {}: leave `link` \
             out, or give that table such a primary key",
            table.primary_key.len()
        ));
    };
    Ok((table, column_of(table, key)?))
}

fn column_of<'a>(table: &'a Table, name: &str) -> Result<&'a Column, String> {
    let missing = || format!("there is no column `{name}` in {}", table.name);
    table.column(name).ok_or_else(missing)
}

/// Whether a foreign key says that the column has keys of that table.
fn refers(table: &Table, column: &Column, named: &Table, key: &Column) -> bool {
    let name = format!("{}.{}", named.schema, named.name);
    table.foreign_keys.iter().any(|one| {
        one.table == name
            && matches!(one.columns.as_slice(), [own] if *own == column.name)
            && matches!(one.references.as_slice(), [other] if *other == key.name)
    })
}

/// What the field's own foreign key says, if that is another record than the link says. Foreign keys
/// know present names only.
fn refers_elsewhere(
    (table, field): (&Table, &Column),
    named: &Table,
    key: &Column,
) -> Option<String> {
    let is_field = |column: &String| {
        let column = table.column(column);
        column.is_some_and(|one| {
            one.name == field.name || one.number != 0 && one.number == field.number
        })
    };
    let is_its = |columns: &[String]| matches!(columns, [column] if is_field(column));
    let own = table.foreign_keys.iter().find(|one| is_its(&one.columns))?;
    let is_named = own.table == format!("{}.{}", named.schema, named.name);
    let is_key = matches!(own.references.as_slice(), [column] if *column == key.name);
    (!is_named || !is_key).then(|| format!("{}.{}", own.table, own.references.join(", ")))
}

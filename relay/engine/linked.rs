//! Links of the sync file: fields that name records of a table pair, checked against both sides.
//!
//! A side names a record by its key. So the record's table must have one of a single column, and the
//! field must be of that column's type.

use tidegate_sync::codec::FieldType;
use tidegate_sync::model::{BySide, PairId, Side};
use tidegate_sync::policy::Reference;
use tidegate_sync::reference::KeyForm;

use super::drift::present;
use super::forms::FieldForm;
use super::mapping::PairMapping;
use super::syncfile::SyncFile;
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
            let FieldForm::Link { to } = form else {
                continue;
            };
            let Some(number) = tables.iter().position(|names| names == to) else {
                continue;
            };
            let end = |side: Side| End {
                side,
                field: pair.field_name(side, field),
                table: &pair.tables[side],
                to: &tables[number][side],
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
}

impl End<'_> {
    /// The form of the keys that it holds, and whether a record must have one.
    fn found(&self, catalog: &Catalog) -> Result<(KeyForm, bool), String> {
        let wrong = |why: String| {
            let End {
                side, field, table, ..
            } = self;
            Err(format!("{} {table}.{field}: {why}", side.name()))
        };
        let (table, named) = (catalog.table(self.table), catalog.table(self.to));
        let column = table.and_then(|table| table.column(&self.field));
        let (Some(table), Some(named), Some(column)) = (table, named, column) else {
            return wrong("there is no such column".to_owned());
        };
        let [key] = named.primary_key.as_slice() else {
            return wrong(format!(
                "a link names records by a key of one column, and {} has one of {}: leave `link` \
                 out, or give that table such a primary key",
                self.to,
                named.primary_key.len()
            ));
        };
        let Some(key) = named.column(key) else {
            return wrong(format!(
                "links reach tables of databases: the keys of {} are no column's values",
                self.to
            ));
        };
        if let Some(other) = refers_elsewhere((table, column), present(catalog, named), key) {
            return wrong(format!(
                "it refers to {other}, and the link says {}.{}: link it to the pair of that \
                 table, or leave `link` out",
                self.to, key.name
            ));
        }
        match (form_of(&column.field_type), form_of(&key.field_type)) {
            (Some(form), Some(named)) if form == named => Ok((form, !column.nullable)),
            _ => wrong(format!(
                "a link holds keys of {}, which are whole numbers, texts or uuids of the same \
                 type: its type is {}",
                self.to, column.type_name
            )),
        }
    }
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

fn form_of(of: &FieldType) -> Option<KeyForm> {
    match of {
        FieldType::Int { .. } => Some(KeyForm::Int),
        FieldType::Uuid => Some(KeyForm::Uuid),
        FieldType::Text { ignores_case, .. } if !ignores_case => Some(KeyForm::Text),
        _ => None,
    }
}

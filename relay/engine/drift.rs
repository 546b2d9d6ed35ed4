//! What the columns and tables that a sync remembers are called now.
//!
//! A sync file names them, but what was synced is what the layout remembers: a table's oid, a column's
//! attribute number. A rename changes neither, so what was renamed is found by its former name, too; and
//! what was made anew under a name of old is told from it. What has no such number (a field of an app)
//! is known by its name alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_sync::model::{BySide, Side};

use super::layout::Layout;
use crate::endpoint::Through;
use crate::endpoint::catalog::{Catalog, Column, Table};

/// A mapped table of one side as it was when its links were laid out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// 0 where the side has no such number.
    pub oid: u32,
    schema: String,
    name: String,
    /// The mapped columns' attribute numbers, by the names that the sync file has for them.
    columns: BTreeMap<String, i16>,
    /// Their types. Unknown of what was noted before this was remembered.
    #[serde(default)]
    types: BTreeMap<String, String>,
    /// The oids of its join tables, by the names that the sync file has for them. Unknown of what was noted
    /// before this was remembered.
    #[serde(default)]
    joins: BTreeMap<String, u32>,
    /// The newest column that the table had when it was mapped.
    newest: i16,
}

/// What a sync file has of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub table: &'a str,
    pub columns: &'a [String],
    pub joins: &'a [Through],
}

impl Identity {
    pub(super) fn number(&self, column: &str) -> Option<i16> {
        self.columns.get(column).copied()
    }

    /// As the side names it; of a column as the sync file has it.
    pub(super) fn type_of(&self, column: &str) -> Option<&str> {
        self.types.get(column).map(String::as_str)
    }

    fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// What became of the table, if it is there no more or another one has its name. `None` for what
    /// can't be told: a side without numbers of tables, and a schema that the role can't look into.
    pub(super) fn gone(&self, side: Side, catalog: &Catalog) -> Option<String> {
        if self.oid == 0 {
            return None;
        }
        let old = catalog.tables.iter().find(|old| old.oid == self.oid);
        let taken = catalog
            .table(&self.full_name())
            .is_some_and(|table| table.oid != self.oid);
        let is_hidden = catalog.hidden.contains(&self.oid);
        let fate = match old {
            Some(old) if taken => format!("is named {}.{} now", old.schema, old.name),
            None if taken && is_hidden => "is in a schema that is closed to the role".to_owned(),
            None if !is_hidden => "was dropped".to_owned(),
            _ => return None,
        };
        let place = format!("{} {}", side.name(), self.full_name());
        Some(match taken {
            true => format!(
                "{place}: table-remade: this is another table than the one that was synced, which {fate}"
            ),
            false => format!("{place}: the table {fate}"),
        })
    }
}

/// A mapped table, found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub identity: Identity,
    /// As the side calls them now.
    pub table: String,
    pub columns: Vec<String>,
    /// One sentence for each thing that is other than the sync file says, and stops nothing.
    pub news: Vec<String>,
}

/// What the layout remembers of both sides.
#[derive(Debug, Default)]
pub(super) struct Known(BySide<Vec<Identity>>);

impl Known {
    pub(super) fn of(layout: &Layout) -> Known {
        Known(BySide::from_fn(|side| {
            let identities = layout
                .pairs
                .iter()
                .map(|pair| pair.identities[side].clone());
            identities.filter(|identity| identity.oid != 0).collect()
        }))
    }

    /// Lets what was renamed be found by its former name, where no other thing has that name now.
    pub(super) fn add_former_names(&self, side: Side, catalog: &mut Catalog) {
        for known in &self.0[side] {
            for table in catalog.tables.iter_mut().filter(|t| t.oid == known.oid) {
                let former: Vec<Column> = known.former_columns(table).collect();
                table.columns.extend(former);
            }
            let present = catalog.tables.iter().find(|t| t.oid == known.oid);
            let is_free = catalog.table(&known.full_name()).is_none();
            if let Some(present) = present.filter(|_| is_free) {
                let former = Table {
                    schema: known.schema.clone(),
                    name: known.name.clone(),
                    ..present.clone()
                };
                catalog.tables.push(former);
            }
        }
    }

    /// Tells what the side calls a table of the sync file, and its mapped columns. What is another
    /// thing than was synced under its name is refused.
    pub(super) fn find(
        &self,
        side: Side,
        catalog: &Catalog,
        named: Named<'_>,
    ) -> Result<Found, Vec<String>> {
        let (name, columns) = (named.table, named.columns);
        let Some(table) = catalog.table(name) else {
            return Err(vec![format!("{}: there is no table `{name}`", side.name())]);
        };
        let refused = self.refusals(side, catalog, named);
        if !refused.is_empty() {
            return Err(refused);
        }
        let present = present(catalog, table);
        let full_name = format!("{}.{}", present.schema, present.name);
        let is_renamed = !present.is_named(name);
        let mut found = Found {
            identity: Identity {
                joins: joins(catalog, named.joins),
                ..self.identify(side, table, columns)
            },
            table: if is_renamed { &full_name } else { name }.to_owned(),
            columns: Vec::new(),
            news: Vec::new(),
        };
        let place = format!("{} {name}", side.name());
        if is_renamed {
            found.news.push(format!(
                "{place}: the table is named {full_name} now and is synced on; the sync file may say \
                 either name"
            ));
        }
        for column in columns {
            let now = name_now(present, table, column);
            if now != column {
                found.news.push(format!(
                    "{place}: column `{column}` is named `{now}` now and is synced on; the sync file \
                     may say either name"
                ));
            }
            if found.columns.iter().any(|other| other == now) {
                return Err(vec![format!(
                    "{place}: column `{now}` is used under two names: write `{now}` everywhere"
                )]);
            }
            found.columns.push(now.to_owned());
        }
        let newest = found.identity.newest;
        let is_new = |column: &&Column| column.number > newest;
        found.news.extend(present.columns.iter().filter(is_new).map(|column| {
            format!(
                "{place}: column `{}` was added and is not synced; a field in the sync file maps it",
                column.name
            )
        }));
        Ok(found)
    }

    fn identify(&self, side: Side, table: &Table, columns: &[String]) -> Identity {
        let numbered = || {
            let column = |name| table.column(name).filter(|column| column.number != 0);
            columns
                .iter()
                .filter_map(move |name| Some((name.clone(), column(name)?)))
        };
        let newest = || table.columns.iter().map(|column| column.number).max();
        let number = |(name, column): (String, &Column)| (name, column.number);
        let mapped: BTreeMap<String, i16> = numbered().map(number).collect();
        let type_of = |(name, column): (String, &Column)| (name, column.type_name.clone());
        let newest_known = self
            .of_table(side, table.oid)
            .map(|known| known.newest)
            .max();
        let newest_mapped = mapped.values().copied().max();
        Identity {
            oid: table.oid,
            schema: table.schema.clone(),
            name: table.name.clone(),
            newest: newest_known.or_else(newest).max(newest_mapped).unwrap_or(0),
            columns: mapped,
            types: numbered().map(type_of).collect(),
            joins: BTreeMap::new(),
        }
    }

    fn refusals(&self, side: Side, catalog: &Catalog, named: Named<'_>) -> Vec<String> {
        let Some(table) = catalog.table(named.table) else {
            return Vec::new();
        };
        let place = format!("{} {}", side.name(), named.table);
        let by_name = self.0[side]
            .iter()
            .find(|known| table.is_named(&known.full_name()));
        if let Some(gone) = by_name.and_then(|known| known.gone(side, catalog)) {
            return vec![format!(
                "{gone}: a sync that runs pauses the table pair, and applying the file then syncs this \
                 table as a new one, its records matched anew; where it is the sync's only table, \
                 remove the sync and apply the file"
            )];
        }
        let mut refused = Vec::new();
        for name in named.columns {
            let before = self
                .of_table(side, table.oid)
                .find_map(|known| known.number(name));
            let Some((before, now)) = before.zip(table.column(name)) else {
                continue;
            };
            if now.number != before {
                let old = table.columns.iter().find(|old| old.number == before);
                let old = old.map_or("was dropped".to_owned(), |old| {
                    format!("is named `{}` now", old.name)
                });
                refused.push(format!(
                    "{place}: column-remade: `{name}` is another column than the one that was synced, \
                     which {old}: to sync this one, apply the sync file without the field and then \
                     with it; what `sync plan` then shows is what it does"
                ));
            }
        }
        for (name, now) in joins(catalog, named.joins) {
            let mut known = self.of_table(side, table.oid);
            let before = known.find_map(|known| known.joins.get(&name).copied());
            if before.is_some_and(|before| before != now) {
                refused.push(format!(
                    "{} {name}: table-remade: this is another join table than the one that was synced: \
                     to sync this one, apply the sync file without the field and then with it; what \
                     `sync plan` then shows is what it does",
                    side.name()
                ));
            }
        }
        refused
    }

    fn of_table(&self, side: Side, oid: u32) -> impl Iterator<Item = &Identity> {
        let known = self.0[side].iter();
        known.filter(move |known| known.oid == oid)
    }
}

impl Identity {
    /// The table's columns that have another name now, under the one of old.
    fn former_columns(&self, table: &Table) -> impl Iterator<Item = Column> {
        let renamed = |(name, number): (&String, &i16)| {
            let present = table.columns.iter().find(|c| c.number == *number)?;
            let is_free = table.column(name).is_none();
            is_free.then(|| Column {
                name: name.clone(),
                ..present.clone()
            })
        };
        self.columns.iter().filter_map(renamed)
    }
}

/// The oids of join tables by their names, where the side has such numbers.
fn joins(catalog: &Catalog, joins: &[Through]) -> BTreeMap<String, u32> {
    let number = |join: &Through| {
        let table = catalog.table(&join.table)?;
        (table.oid != 0).then(|| (join.table.clone(), table.oid))
    };
    joins.iter().filter_map(number).collect()
}

/// The same table as the side has it: former names stand behind.
pub(super) fn present<'a>(catalog: &'a Catalog, table: &'a Table) -> &'a Table {
    let mut same = catalog.tables.iter();
    let present = same.find(|other| table.oid != 0 && other.oid == table.oid);
    present.unwrap_or(table)
}

/// A table may stand in several pairs of the sync file.
pub(super) fn told_once(mut news: Vec<String>) -> Vec<String> {
    news.sort();
    news.dedup();
    news
}

fn name_now<'a>(present: &'a Table, table: &Table, column: &'a str) -> &'a str {
    let number = table.column(column).map_or(0, |column| column.number);
    let mut same = present.columns.iter();
    let now = same.find(|other| number != 0 && other.number == number);
    now.map_or(column, |now| &now.name)
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;

//! Looks into connections for whoever maps them: what goes with what, and how many records there are.

use std::time::Duration;

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{Cell, PairId, Side};
use tidegate_sync::value::Value;
use tokio::sync::mpsc;

use super::errors::{invalid, unreachable};
use super::{Engine, asked, slug};
use crate::endpoint::catalog::{Catalog, Table};
use crate::endpoint::expression::Expression;
use crate::endpoint::lens::{Lens, Source};
use crate::endpoint::level::choose;
use crate::endpoint::{Binding, Endpoint, TableBinding};
use crate::engine::handle::{ControlError, ControlErrorKind, RowCount, Within};
use crate::engine::limits::SCAN_CHUNKS_MAX;
use crate::engine::suggest::{self, FieldMap, TableSuggestion};
use crate::store::syncs;

/// A person waits for a count and may ask again with each letter of a filter.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);

impl Engine {
    /// Both connections' catalogs, read at the same time.
    async fn catalogs(&self, left: &str, right: &str) -> Result<(Catalog, Catalog), ControlError> {
        tokio::try_join!(self.catalog(left), self.catalog(right))
    }

    async fn catalog(&self, name: &str) -> Result<Catalog, ControlError> {
        let endpoint = self.endpoint(&self.connection(name).await?).await?;
        endpoint.inspect().await.map_err(unreachable)
    }

    pub(super) async fn suggested_tables(
        &self,
        left: Within<'_>,
        right: Within<'_>,
    ) -> Result<Vec<TableSuggestion>, ControlError> {
        let catalogs = self.catalogs(left.connection, right.connection).await?;
        let left = within(catalogs.0, left)?;
        let right = within(catalogs.1, right)?;
        Ok(suggest::tables(&left, &right))
    }

    pub(super) async fn field_map(
        &self,
        left: (&str, &str),
        right: (&str, &str),
        only: Option<&str>,
    ) -> Result<FieldMap, ControlError> {
        let (of_left, of_right) = self.catalogs(left.0, right.0).await?;
        let from = table_in(&of_left, left)?;
        let to = table_in(&of_right, right)?;
        Ok(suggest::fields(from, to, only))
    }

    /// Counts a table's records, and those for which the filter holds, for as long as a person waits.
    pub(super) async fn rows(
        &self,
        name: &str,
        table: &str,
        filter: Option<&str>,
    ) -> Result<RowCount, ControlError> {
        let connection = self.connection(name).await?;
        let endpoint = self.endpoint(&connection).await?;
        let catalog = endpoint.inspect().await.map_err(unreachable)?;
        let found = table_in(&catalog, (name, table))?;
        let bound = bind(found, table, filter)?;
        let key = syncs::new_key();
        let level = choose(&catalog.captures, asked(&connection)).unwrap_or_default();
        let binding = Binding {
            sync: slug("count", &key),
            side: Side::Left,
            epoch: 0,
            level: level.level,
            tables: vec![bound],
            fingerprinter: Fingerprinter::new(*key),
            staging: self.store.data_dir().join("staging").join("count"),
        };
        let mut count = RowCount {
            estimate: found.row_estimate,
            ..RowCount::default()
        };
        let counted = tokio::time::timeout(COUNT_TIME_MAX, read(&*endpoint, binding, &mut count));
        count.complete = match counted.await {
            Ok(counted) => counted.map(|()| true)?,
            Err(_) => false,
        };
        Ok(count)
    }
}

/// The tables of one schema, where one is named.
fn within(mut catalog: Catalog, of: Within<'_>) -> Result<Catalog, ControlError> {
    let Some(schema) = of.schema else {
        return Ok(catalog);
    };
    catalog.tables.retain(|table| table.schema == schema);
    if catalog.tables.is_empty() {
        let connection = of.connection;
        let text = format!("`{connection}` has no tables in a schema `{schema}`: choose another");
        return Err(invalid("no-schema", text));
    }
    Ok(catalog)
}

/// What is counted before this ends, or is dropped, is in `count`.
async fn read(
    endpoint: &dyn Endpoint,
    binding: Binding,
    count: &mut RowCount,
) -> Result<(), ControlError> {
    let mut open = endpoint.open(binding).await.map_err(unreachable)?;
    let view = open.view().await.map_err(unreachable)?;
    let (sender, mut chunks) = mpsc::channel(SCAN_CHUNKS_MAX);
    let scan = async { view.scan(PairId(0), sender).await.map_err(unreachable) };
    let counting = async {
        while let Some(chunk) = chunks.recv().await {
            count.read += chunk.len() as u64;
            let holds = |cell: Option<&Cell>| {
                matches!(cell.and_then(Cell::value), None | Some(Value::Bool(true)))
            };
            let matching = chunk.iter().filter(|viewed| holds(viewed.row.get(1)));
            count.matching += matching.count() as u64;
        }
        Ok::<(), ControlError>(())
    };
    tokio::try_join!(scan, counting).map(drop)
}

/// The table's first key column, and the filter's verdict where there is a filter.
fn bind(table: &Table, name: &str, filter: Option<&str>) -> Result<TableBinding, ControlError> {
    let refused = |code, text: String| Err(invalid(code, text));
    let Some(key) = table.primary_key.first() else {
        let text = format!("`{name}` has no primary key: fix that first");
        return refused("no-primary-key", text);
    };
    let mut columns = vec![key.clone()];
    let mut sources = vec![Source::Column(0)];
    if let Some(filter) = filter {
        let wrong = |reason: String| invalid("bad-filter", format!("`{filter}`: {reason}"));
        let checked = Expression::check(filter).map_err(wrong)?;
        for input in checked.inputs {
            if table.column(&input).is_none() {
                let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
                let known = known.join(", ");
                return Err(wrong(format!(
                    "there is no column `{input}`; there is {known}"
                )));
            }
            if !columns.contains(&input) {
                columns.push(input);
            }
        }
        let expression = Expression::new(filter, &columns).map_err(wrong)?;
        sources.push(Source::Filter(std::sync::Arc::new(expression)));
    }
    Ok(TableBinding {
        pair: PairId(0),
        table: name.to_owned(),
        columns,
        lens: Lens::new(sources),
        joins: Vec::new(),
        match_key: vec![0],
    })
}

pub(super) fn table_in<'a>(
    catalog: &'a Catalog,
    (connection, table): (&str, &str),
) -> Result<&'a Table, ControlError> {
    catalog.table(table).ok_or_else(|| {
        let text =
            format!("`{connection}` has no table `{table}`: see `connection tables {connection}`");
        ControlError::new(ControlErrorKind::NotFound, "no-table", text)
    })
}

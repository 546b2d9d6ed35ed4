//! Ready-made ways to give a table a primary key: what is offered, and how one is run.

use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connect::Connected;
use super::shape::{qualified, quoted};
use super::sqlstate::endpoint_error;
use crate::endpoint::EndpointError;
use crate::endpoint::catalog::{Column, Fix, Table};

/// The fixes for a table without a primary key: always a new identity column, and each existing
/// column that would do.
pub(super) async fn offers(session: &Connected, table: &Table) -> Result<Vec<Fix>, EndpointError> {
    let relation = qualified(&table.schema, &table.name);
    let mut fixes = vec![identity_column(&relation, &free_name(table))];
    for column in usable_columns(session, table).await? {
        fixes.push(existing_column(&relation, &column));
    }
    Ok(fixes)
}

/// Runs one fix in a transaction: the SQL is made anew from table and column, uniqueness and nulls
/// are checked again under a lock.
pub(super) async fn run(
    session: &Connected,
    schema: &str,
    table: &str,
    fix: &Fix,
) -> Result<(), EndpointError> {
    let relation = qualified(schema, table);
    let (fix, checked) = match fix {
        Fix::IdentityColumn { column, .. } => (identity_column(&relation, column), None),
        Fix::ExistingColumn { column, .. } => (existing_column(&relation, column), Some(column)),
    };
    let (Fix::IdentityColumn { sql, .. } | Fix::ExistingColumn { sql, .. }) = &fix;
    let begin = format!("begin; lock table {relation} in access exclusive mode");
    let done = async {
        session
            .bounded("lock the table", session.batch_execute(&begin))
            .await?;
        if let Some(column) = checked {
            check_unique(session, &relation, column).await?;
        }
        for statement in sql {
            session
                .batch_execute(statement)
                .await
                .map_err(|error| refused(&relation, error))?;
        }
        session
            .bounded("commit the new key", session.batch_execute("commit"))
            .await
    };
    let outcome = done.await;
    if outcome.is_err() {
        // The session is closed by the caller anyway; this only frees the lock sooner.
        let _ = session.batch_execute("rollback").await;
    }
    outcome
}

async fn check_unique(
    session: &Connected,
    relation: &str,
    column: &str,
) -> Result<(), EndpointError> {
    let found = session
        .bounded(
            "check that the column is unique",
            tallies(session, relation, std::slice::from_ref(&column.to_owned())),
        )
        .await?;
    let (rows, tally) = (found.rows, found.columns.first());
    let Some(tally) = tally else {
        return Err(EndpointError::bug("no-tally", "the check gave no answer"));
    };
    if tally.filled < rows {
        let message = format!(
            "column \"{column}\" of {relation} is null in {} rows; fill them in first",
            rows - tally.filled
        );
        return Err(EndpointError::operator("key-has-nulls", message));
    }
    if tally.distinct < rows {
        let message = format!(
            "column \"{column}\" of {relation} is not unique: {} values for {rows} rows; choose \
             another column or add an identity column",
            tally.distinct
        );
        return Err(EndpointError::operator("key-not-unique", message));
    }
    Ok(())
}

/// Columns without nulls and duplicates. Asked of the data only in small tables; in others, a
/// not-null column with a unique index of its own counts.
async fn usable_columns(session: &Connected, table: &Table) -> Result<Vec<String>, EndpointError> {
    let indexed = |name: &String| {
        table
            .unique_keys
            .iter()
            .any(|key| key.as_slice() == [name.clone()])
    };
    let candidates: Vec<String> = table
        .columns
        .iter()
        .filter(|column| is_key_like(column))
        .map(|column| column.name.clone())
        .take(MAX_CANDIDATES)
        .collect();
    let relation = qualified(&table.schema, &table.name);
    if !table.can_read || candidates.is_empty() {
        return Ok(Vec::new());
    }
    let blocks = session
        .bounded("read the table's size", blocks(session, &relation))
        .await?;
    if blocks > MAX_CHECKED_BLOCKS {
        let not_null = |name: &String| table.column(name).is_some_and(|c| !c.nullable);
        let sure = candidates
            .into_iter()
            .filter(|name| not_null(name) && indexed(name));
        return Ok(sure.collect());
    }
    let found = session
        .bounded(
            "look for a unique column",
            tallies(session, &relation, &candidates),
        )
        .await?;
    let unique = |tally: &Tally| tally.filled == found.rows && tally.distinct == found.rows;
    let usable = candidates.into_iter().zip(&found.columns);
    Ok(usable
        .filter(|(_, tally)| unique(tally))
        .map(|(name, _)| name)
        .collect())
}

fn is_key_like(column: &Column) -> bool {
    use tidegate_sync::codec::FieldType::*;
    matches!(column.field_type, Int { .. } | Uuid | Text { .. }) && !column.generated
}

struct Tallies {
    rows: i64,
    columns: Vec<Tally>,
}

struct Tally {
    filled: i64,
    distinct: i64,
}

async fn tallies(
    session: &Connected,
    relation: &str,
    columns: &[String],
) -> Result<Tallies, Error> {
    let counts: Vec<String> = columns
        .iter()
        .map(|name| quoted(name))
        .map(|name| format!("count({name}), count(distinct {name})"))
        .collect();
    let sql = format!("select count(*), {} from {relation}", counts.join(", "));
    let row = session.query_typed(&sql, &[]).await?;
    let Some(row) = row.first() else {
        return Ok(Tallies {
            rows: 0,
            columns: Vec::new(),
        });
    };
    let tally = |i: usize| {
        Ok(Tally {
            filled: row.try_get(1 + 2 * i)?,
            distinct: row.try_get(2 + 2 * i)?,
        })
    };
    Ok(Tallies {
        rows: row.try_get(0)?,
        columns: (0..columns.len())
            .map(tally)
            .collect::<Result<_, Error>>()?,
    })
}

async fn blocks(session: &Connected, relation: &str) -> Result<i64, Error> {
    let sql = "select pg_relation_size($1::text::regclass) / 8192";
    let rows = session.query_typed(sql, &[(&relation, Type::TEXT)]).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0))
}

fn identity_column(relation: &str, column: &str) -> Fix {
    let name = quoted(column);
    Fix::IdentityColumn {
        column: column.to_owned(),
        sql: vec![
            format!(
                "alter table {relation} add column {name} bigint generated by default as identity"
            ),
            format!("alter table {relation} add primary key ({name})"),
        ],
    }
}

fn existing_column(relation: &str, column: &str) -> Fix {
    Fix::ExistingColumn {
        column: column.to_owned(),
        sql: vec![format!(
            "alter table {relation} add primary key ({})",
            quoted(column)
        )],
    }
}

/// `id`, or the first of `tidegate_id`, `tidegate_id2` … that is free.
fn free_name(table: &Table) -> String {
    let is_free = |name: &String| table.column(name).is_none();
    let numbered = (2..).map(|n| format!("tidegate_id{n}"));
    ["id".to_owned(), "tidegate_id".to_owned()]
        .into_iter()
        .chain(numbered)
        .find(is_free)
        .unwrap_or_default()
}

fn refused(relation: &str, error: Error) -> EndpointError {
    let Some(db) = error.as_db_error() else {
        return endpoint_error("add the primary key", error);
    };
    // About columns and constraints: such errors quote no row values in their message.
    let message = format!(
        "{relation}: {} (SQLSTATE {})",
        db.message(),
        db.code().code()
    );
    match db.code().code() {
        "23505" | "23502" | "42703" | "42701" | "42P16" => {
            EndpointError::operator("fix-refused", message)
        }
        _ => endpoint_error("add the primary key", error),
    }
}

/// 100 MB at 8 kB: counted within a second or two.
const MAX_CHECKED_BLOCKS: i64 = 12_800;
/// Each candidate costs one sort of the table.
const MAX_CANDIDATES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_quotes_hostile_names() {
        let relation = qualified("pub\"lic", "ta ble");
        let Fix::ExistingColumn { sql, .. } = existing_column(&relation, "a\"); drop table x; --")
        else {
            panic!("other fix");
        };
        assert_eq!(
            sql[0],
            r#"alter table "pub""lic"."ta ble" add primary key ("a""); drop table x; --")"#
        );
    }

    #[test]
    fn a_taken_name_is_not_offered() {
        assert_eq!(free_name(&Table::default()), "id");
    }
}

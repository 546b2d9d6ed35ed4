//! The publication that names the tables to follow: one per sync and side.
//!
//! Makes it, checks at every start that it leaves nothing out, drops it, and tells before a start
//! whether that will work. What the role or the agent does not let us do is told as SQL for the
//! tables' owner, and found done at the next try. Called by `slots` and the endpoint.

use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::super::EndpointError;
use super::ask::Ask;
use super::connect::Connected;
use super::mapping::CaptureTable;
use super::replication::{quote_identifier, quote_literal};
use crate::endpoint::catalog::Problem;

/// Whether the relay may change the schema through this dial: see `Dial::allows_ddl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ddl {
    Allowed,
    /// `allow_ddl = false` in the agent's configuration.
    ByHand,
}

/// Why the agent's answer is final, and how to change it.
pub(super) const BY_HAND: &str = "the agent does not let the relay change the database's schema \
                                  (set allow_ddl = true for the target in its agent.toml to let it)";

/// Does the publication report every change of these tables? `Err(reason)` when it does not.
pub(super) async fn check(
    connection: &mut dyn Ask,
    publication: &str,
    tables: &[CaptureTable],
) -> Result<Result<(), String>, EndpointError> {
    let rows = connection.ask(&state_sql(publication)).await?;
    Ok(match Publication::of_rows(&rows) {
        None => Err(format!("publication {publication} is gone")),
        Some(found) if !found.is_complete => Err(format!(
            "publication {publication} was changed and leaves changes out"
        )),
        Some(found) => match tables.iter().find(|table| !found.has(table)) {
            Some(table) => Err(format!("{table} was not in publication {publication}")),
            None => Ok(()),
        },
    })
}

/// Makes the publication hold exactly these tables. Does nothing when it does already, so that an
/// administrator can create it for a role that may not.
pub(super) async fn publish(
    connection: &mut dyn Ask,
    publication: &str,
    tables: &[CaptureTable],
    ddl: Ddl,
) -> Result<(), EndpointError> {
    let rows = connection.ask(&state_sql(publication)).await?;
    let found = Publication::of_rows(&rows);
    if found
        .as_ref()
        .is_some_and(|found| found.is_made_for(tables))
    {
        return Ok(());
    }
    let sql = make_sql(publication, tables, found.is_some());
    let by_owner = format!("let the tables' owner run `{}`", sql.trim_end_matches(';'));
    if ddl == Ddl::ByHand {
        let message = format!("{BY_HAND}: {by_owner}");
        return Err(EndpointError::operator("ddl-not-allowed", message));
    }
    connection.ask(&sql).await.map(drop).map_err(|error| {
        let message = format!("the role may not make the publication: {by_owner}");
        match error.code {
            "no-right" | "permission-denied" => {
                EndpointError::operator("no-right", message).caused_by(error)
            }
            _ => error,
        }
    })
}

/// Changes a publication from which changes are being streamed, so that it holds exactly these
/// tables.
///
/// Servers before the minor releases of May 2025 forget to tell transactions that are open of a
/// publication's change, and then leave out later changes of the table, too (release notes of
/// PostgreSQL 17.5). There, nobody may have written to the tables in a transaction that is still
/// open: they are locked for the moment of the change.
pub(super) async fn change(
    connection: &mut dyn Ask,
    publication: &str,
    tables: &[CaptureTable],
    ddl: Ddl,
) -> Result<(), EndpointError> {
    let rows = connection.ask(&state_sql(publication)).await?;
    let Some(found) = Publication::of_rows(&rows) else {
        return Ok(());
    };
    if found.is_made_for(tables) {
        return Ok(());
    }
    let name = quote_identifier(publication);
    let surplus = found.surplus(tables);
    if !surplus.is_empty() {
        let sql = format!("alter publication {name} drop table {}", surplus.join(", "));
        // A table too many does no harm.
        match ddl {
            Ddl::Allowed => {
                if let Err(error) = connection.ask(&sql).await {
                    tracing::info!(publication, %error, "Tables that are synced no more stay published.");
                }
            }
            Ddl::ByHand => {
                tracing::info!(
                    publication,
                    sql,
                    "Tables that are synced no more stay published."
                );
            }
        }
    }
    let new: Vec<&CaptureTable> = tables.iter().filter(|table| !found.has(table)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let new = distinct(new.into_iter()).join(", ");
    let sql = format!("alter publication {name} add table {new}");
    let by_owner = format!("let the tables' owner run `{sql}`");
    if ddl == Ddl::ByHand {
        let message = format!("{BY_HAND}: {by_owner}");
        return Err(EndpointError::operator("ddl-not-allowed", message));
    }
    let added = add(connection, &sql, &new).await;
    added.map_err(|error| match error.code {
        "no-right" => {
            let message = format!("the role may not add to the publication: {by_owner}");
            EndpointError::operator("no-right", message).caused_by(error)
        }
        _ => error,
    })
}

async fn add(connection: &mut dyn Ask, sql: &str, new: &str) -> Result<(), EndpointError> {
    if tells_open_transactions(connection).await? {
        return connection.ask(sql).await.map(drop);
    }
    let begin = format!(
        "begin; set local lock_timeout = '{}ms'; lock table {new} in share row exclusive mode",
        LOCK_WAIT_MAX.as_millis(),
    );
    connection.ask(&begin).await?;
    connection.ask(sql).await?;
    connection.ask("commit").await.map(drop)
}

/// Longest wait for those who are writing to a table; others who want to write wait behind it.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);

async fn tells_open_transactions(connection: &mut dyn Ask) -> Result<bool, EndpointError> {
    let sql = "select current_setting('server_version_num')";
    let rows = connection.ask(sql).await?;
    let number = rows.first().and_then(|row| row.first()).cloned().flatten();
    let number: u32 = number.and_then(|text| text.parse().ok()).unwrap_or(0);
    let (major, minor) = (number / 10_000, number % 10_000);
    Ok(match major {
        14 => minor >= 18,
        15 => minor >= 13,
        16 => minor >= 9,
        17 => minor >= 5,
        _ => major >= 18,
    })
}

/// Drops it, if it is there.
pub(super) async fn drop_publication(
    connection: &mut dyn Ask,
    publication: &str,
    ddl: Ddl,
) -> Result<(), EndpointError> {
    let sql = drop_sql(publication);
    let by_owner = format!("let its owner run `{sql}`");
    if ddl == Ddl::ByHand {
        if connection.ask(&state_sql(publication)).await?.is_empty() {
            return Ok(());
        }
        let message = format!("{BY_HAND}, and the publication is still there: {by_owner}");
        return Err(EndpointError::operator("ddl-not-allowed", message));
    }
    connection.ask(&sql).await.map(drop).map_err(|error| {
        // An owner of the tables made it, for a role that may not.
        let message = format!("the role may not drop the publication: {by_owner}");
        match error.code {
            "no-right" | "permission-denied" => {
                EndpointError::operator("no-right", message).caused_by(error)
            }
            _ => error,
        }
    })
}

/// The statement that drops it.
pub(super) fn drop_sql(publication: &str) -> String {
    format!(
        "drop publication if exists {}",
        quote_identifier(publication)
    )
}

/// What will keep [`publish`] from working, with the SQL for the owner. Changes nothing.
pub(super) async fn obstacle(
    mut session: &Connected,
    publication: &str,
    tables: &[CaptureTable],
    ddl: Ddl,
) -> Result<Option<Problem>, EndpointError> {
    let rows = session.ask(&state_sql(publication)).await?;
    let found = Publication::of_rows(&rows);
    if found
        .as_ref()
        .is_some_and(|found| found.is_made_for(tables))
    {
        return Ok(None);
    }
    let message = if ddl == Ddl::ByHand {
        BY_HAND.to_owned()
    } else {
        let asked = refusal(session, publication, tables);
        match session.bounded("look at the role's rights", asked).await? {
            Some(refusal) => refusal,
            None => return Ok(None),
        }
    };
    let sql = make_sql(publication, tables, found.is_some());
    Ok(Some(Problem {
        code: "no-publication".into(),
        message,
        remedy: format!("let the tables' owner run `{}`", sql.trim_end_matches(';')),
        blocking: false,
    }))
}

/// Which right the role lacks to make it, by PostgreSQL's rules for `create publication`: to create
/// in the database, and to own each table (and the publication, if it exists).
async fn refusal(
    session: &Connected,
    publication: &str,
    tables: &[CaptureTable],
) -> Result<Option<String>, tokio_postgres::Error> {
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let sql = "
        select current_user::text, current_database()::text,
               has_database_privilege(current_database(), 'create')
                   or exists (select from pg_publication where pubname = $1),
               (select min(format('%I.%I', n.nspname, c.relname))
                from unnest($2::text[], $3::text[]) as wanted (schema, name)
                join pg_namespace n on n.nspname = wanted.schema
                join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
                where not pg_has_role(c.relowner, 'usage')),
               exists (select from pg_publication
                       where pubname = $1 and not pg_has_role(pubowner, 'usage'))";
    let row = session
        .query_typed_one(
            sql,
            &[
                (&publication, Type::TEXT),
                (&schemas, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    let (role, database): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let role = quote_identifier(&role);
    if let Some(table) = row.try_get::<_, Option<String>>(3)? {
        return Ok(Some(format!(
            "role {role} does not own {table}, so it may not publish its changes"
        )));
    }
    if row.try_get(4)? {
        return Ok(Some(format!(
            "role {role} does not own publication {publication}, which is made for other tables"
        )));
    }
    let may_create: bool = row.try_get(2)?;
    let database = quote_identifier(&database);
    Ok((!may_create).then(|| format!("role {role} may not create a publication in {database}")))
}

struct Publication {
    all_tables: bool,
    /// All kinds of changes, partitions as their root, no filter.
    is_complete: bool,
    /// Schema and name.
    tables: Vec<(String, String)>,
}

impl Publication {
    /// From the rows of [`state_sql`]; `None` when there is no such publication.
    fn of_rows(rows: &[Vec<Option<String>>]) -> Option<Publication> {
        let column = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
        let is_true =
            |row: &[Option<String>], at: usize| column(row, at).is_some_and(|text| text == "t");
        if rows.is_empty() {
            return None;
        }
        let table = |row: &Vec<Option<String>>| Some((column(row, 2)?, column(row, 3)?));
        Some(Publication {
            all_tables: rows.iter().any(|row| is_true(row, 0)),
            is_complete: rows.iter().all(|row| is_true(row, 1)),
            tables: rows.iter().filter_map(table).collect(),
        })
    }

    fn has(&self, table: &CaptureTable) -> bool {
        self.all_tables
            || self.tables.iter().any(|(schema, name)| {
                (schema.as_str(), name.as_str()) == (&table.schema, &table.name)
            })
    }

    /// What it holds beside these tables, quoted.
    fn surplus(&self, tables: &[CaptureTable]) -> Vec<String> {
        let is_wanted = |(schema, name): &&(String, String)| {
            let mut wanted = tables.iter();
            wanted.any(|table| (&table.schema, &table.name) == (schema, name))
        };
        let found = self.tables.iter().filter(|found| !is_wanted(found));
        found
            .map(|(schema, name)| {
                format!("{}.{}", quote_identifier(schema), quote_identifier(name))
            })
            .collect()
    }

    /// Complete, and of these tables alone.
    fn is_made_for(&self, tables: &[CaptureTable]) -> bool {
        self.is_complete
            && tables.iter().all(|table| self.has(table))
            && (self.all_tables || self.tables.len() == distinct(tables.iter()).len())
    }
}

fn state_sql(publication: &str) -> String {
    // Filters and column lists exist since PostgreSQL 15; as JSON the query also runs on 14.
    format!(
        "select p.puballtables, \
                p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate and p.pubviaroot \
                and to_jsonb(r) ->> 'prqual' is null and to_jsonb(r) ->> 'prattrs' is null, \
                n.nspname, c.relname \
         from pg_publication p \
         left join pg_publication_rel r on r.prpubid = p.oid \
         left join pg_class c on c.oid = r.prrelid \
         left join pg_namespace n on n.oid = c.relnamespace \
         where p.pubname = {}",
        quote_literal(publication)
    )
}

fn make_sql(publication: &str, tables: &[CaptureTable], exists: bool) -> String {
    let publication = quote_identifier(publication);
    let tables = distinct(tables.iter()).join(", ");
    let options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
    let mut sql = String::new();
    let written = if exists {
        write!(
            sql,
            "alter publication {publication} set table {tables}; \
             alter publication {publication} set ({options});"
        )
    } else {
        write!(
            sql,
            "create publication {publication} for table {tables} with ({options});"
        )
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    sql
}

/// Quoted names; a table that two pairs share is named once.
fn distinct<'a>(tables: impl Iterator<Item = &'a CaptureTable>) -> Vec<String> {
    let mut names: Vec<String> = tables.map(CaptureTable::quoted).collect();
    names.sort();
    names.dedup();
    names
}

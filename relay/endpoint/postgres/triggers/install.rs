//! Puts outbox, functions and triggers in place, checks that they are, and takes them away.
//!
//! A statement trigger fires for the table that the statement names, so each partition has its own
//! beside its root's. They are *always* triggers: they fire for replicated writes too
//! (`session_replication_role = replica`), and whoever disables and enables all triggers of a table
//! (`pg_restore --disable-triggers`) leaves them as ordinary ones, by which it is noticed.

use std::fmt::Write as _;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::super::connect::Connected;
use super::super::outbox::{self, OutboxName};
use super::super::publication::{BY_HAND, Ddl};
use super::super::replication::quote_literal;
use super::super::shape::{Shape, quoted};
use super::super::types::SESSION;
use super::body::body;
use super::tables;
use crate::endpoint::EndpointError;

/// A table and what inherits from it, or the reason against triggers on it.
const TREE: &str = "
    with recursive tree as (
        select $1::oid as oid
        union
        select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.oid
    )";

/// Makes what is missing, in one transaction. Waits for open writers of tables that get triggers,
/// and holds new ones up while it waits, but not for long.
pub(super) async fn install(
    session: &Connected,
    name: &OutboxName,
    shapes: &[Shape],
    ddl: Ddl,
) -> Result<(), EndpointError> {
    let mut sql = String::new();
    // An index that is there already would still be locked.
    if !outbox::exist(session, &tables(name)).await? {
        sql.push_str(&name.tables_sql());
    }
    for shape in shapes {
        let tree = tree(session, shape).await?;
        if !is_installed(session, name, shape).await? {
            let equals = equals(session, shape).await?;
            sql.push_str(&triggers_sql(name, shape, &tree, &equals));
        }
    }
    let known: Vec<String> = shapes.iter().map(|shape| name.function(shape)).collect();
    for function in functions(session, name).await? {
        if !known.contains(&function) {
            let _ = write!(sql, "drop function {function}() cascade;");
        }
    }
    if sql.is_empty() {
        return Ok(());
    }
    if ddl == Ddl::ByHand {
        let message = format!("{BY_HAND}: it can't put its triggers in place");
        return Err(EndpointError::operator("ddl-not-allowed", message));
    }
    let doing = "put the triggers in place";
    let sql = format!("begin; set local lock_timeout = '{LOCK_MAX}'; {sql} commit");
    let done = session.bounded(doing, session.batch_execute(&sql)).await;
    if done.is_err() {
        let _ = session.batch_execute("rollback").await;
    }
    done
}

/// The longest that other sessions wait for a table that gets its triggers.
const LOCK_MAX: &str = "3s";

/// The function runs as its owner, so that whoever writes the table needs no right to the outbox,
/// with settings of its own, so that neither names nor the text of values depend on the writer.
fn triggers_sql(name: &OutboxName, shape: &Shape, tree: &[String], equals: &[String]) -> String {
    let function = name.function(shape);
    let settings: String = SESSION
        .iter()
        .filter(|(setting, _)| *setting != "client_encoding")
        .map(|(setting, value)| format!(" set {setting} = {}", quote_literal(value)))
        .collect();
    let mut sql = format!(
        "drop function if exists {function}() cascade;
         create function {function}() returns trigger language plpgsql security definer
             set search_path = pg_catalog, pg_temp{settings} as {BODY}{body}{BODY};
         revoke all on function {function}() from public;",
        body = body(name, shape, equals),
    );
    for table in tree {
        for (event, rows) in [
            ("insert", "referencing new table as new_rows"),
            (
                "update",
                "referencing old table as old_rows new table as new_rows",
            ),
            ("delete", "referencing old table as old_rows"),
            ("truncate", ""),
        ] {
            let trigger = quoted(&name.trigger(shape, &event[..1]));
            let _ = write!(
                sql,
                "create trigger {trigger} after {event} on {table} {rows}
                     for each statement execute function {function}();
                 alter table {table} enable always trigger {trigger};"
            );
        }
    }
    sql
}

const BODY: &str = "$tidegate_body$";

/// Are all triggers of the table there, as they were made?
pub(super) async fn is_installed(
    session: &Connected,
    name: &OutboxName,
    shape: &Shape,
) -> Result<bool, EndpointError> {
    let sql = format!(
        "{TREE}
         select (select count(*) from tree) * 4 = (
                    select count(*) from pg_trigger g join tree on g.tgrelid = tree.oid
                    where g.tgfoid = p.oid and g.tgenabled = 'A'),
                p.prosrc
         from pg_proc p where p.oid = to_regprocedure($2)"
    );
    let function = format!("{}()", name.function(shape));
    let answer = async {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&shape.oid, Type::OID), (&function, Type::TEXT)];
        let found = session.query_typed_opt(&sql, &parameters).await?;
        found
            .map(|row| Ok((row.try_get(0)?, row.try_get::<_, String>(1)?)))
            .transpose()
    };
    let found: Option<(bool, String)> = session.bounded("look for the triggers", answer).await?;
    let Some((true, source)) = found else {
        return Ok(false);
    };
    Ok(source == body(name, shape, &equals(session, shape).await?))
}

/// The operators by which the primary key's index compares its columns: `operator(pg_catalog.=)`.
async fn equals(session: &Connected, shape: &Shape) -> Result<Vec<String>, EndpointError> {
    let sql = "
        select format('operator(%I.%s)', n.nspname, o.oprname)
        from pg_index i
        cross join unnest(i.indclass::oid[]) with ordinality as k (opclass, place)
        join pg_opclass c on c.oid = k.opclass
        join pg_amop a on a.amopfamily = c.opcfamily and a.amopstrategy = 3
            and a.amoplefttype = c.opcintype and a.amoprighttype = c.opcintype
        join pg_operator o on o.oid = a.amopopr
        join pg_namespace n on n.oid = o.oprnamespace
        where i.indrelid = $1 and i.indisprimary and k.place <= i.indnkeyatts
        order by k.place";
    let answer = async {
        let rows = session.query_typed(sql, &[(&shape.oid, Type::OID)]).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    };
    let found: Vec<String> = session.bounded("read a key's operators", answer).await?;
    if found.len() != shape.key.len() {
        let message = format!("the primary key of {} has changed", shape.label());
        return Err(EndpointError::retry("key-changed", message));
    }
    Ok(found)
}

/// The table and all that inherits from it, quoted; refuses what triggers can't cover.
async fn tree(session: &Connected, shape: &Shape) -> Result<Vec<String>, EndpointError> {
    let sql = format!(
        "{TREE}
         select quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
                exists (select from pg_subscription_rel s where s.srrelid = c.oid)
         from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
         order by c.oid"
    );
    let read = |row: &Row| -> Result<(String, String, bool), Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    };
    let answer = async {
        let rows = session
            .query_typed(&sql, &[(&shape.oid, Type::OID)])
            .await?;
        rows.iter().map(read).collect::<Result<Vec<_>, Error>>()
    };
    let found = session.bounded("read a table's partitions", answer).await?;
    let label = shape.label();
    if found.iter().any(|(_, kind, _)| kind == "f") {
        let message = format!(
            "{label} has a foreign partition, which statement triggers can't cover: use another \
             level of capture"
        );
        return Err(EndpointError::operator("foreign-partition", message));
    }
    if found.iter().any(|(_, _, is_subscribed)| *is_subscribed) {
        let message = format!(
            "{label} is written by a subscription, for which statement triggers don't fire: use \
             another level of capture"
        );
        return Err(EndpointError::operator("subscribed-table", message));
    }
    Ok(found.into_iter().map(|(table, ..)| table).collect())
}

/// All trigger functions of one side, as `tidegate.name`.
async fn functions(session: &Connected, name: &OutboxName) -> Result<Vec<String>, EndpointError> {
    let sql = "select 'tidegate.' || quote_ident(proname) from pg_proc
               where pronamespace = to_regnamespace('tidegate') and proname ~ $1";
    let pattern = functions_pattern(name);
    let answer = async {
        let rows = session.query_typed(sql, &[(&pattern, Type::TEXT)]).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    };
    session.bounded("look for trigger functions", answer).await
}

/// What their names in schema `tidegate` are like, as a regular expression.
fn functions_pattern(name: &OutboxName) -> String {
    format!("^capture_{}_[0-9]+$", name.stem)
}

/// Drops what one side left; its triggers go with their functions.
pub(in super::super) async fn forget_side(
    session: &Connected,
    name: &OutboxName,
    ddl: Ddl,
) -> Result<(), EndpointError> {
    let mut sql = String::new();
    let functions = functions(session, name).await?;
    if ddl == Ddl::ByHand && !functions.is_empty() {
        let by_owner = forget_sql(name).join("; ");
        let message = format!(
            "{BY_HAND}, and the sync's triggers are still there: let the tables' owner run \
             `{by_owner}`"
        );
        return Err(EndpointError::operator("ddl-not-allowed", message));
    }
    for function in functions {
        let _ = write!(sql, "drop function {function}() cascade;");
    }
    if outbox::exist(session, &tables(name)).await? {
        let _ = write!(sql, "drop table {}", tables(name).join(", "));
    }
    if sql.is_empty() {
        return Ok(());
    }
    session
        .bounded("drop the triggers", session.batch_execute(&sql))
        .await
}

/// What [`forget_side`] runs, as SQL for a person.
pub(in super::super) fn forget_sql(name: &OutboxName) -> Vec<String> {
    let pattern = quote_literal(&functions_pattern(name));
    vec![
        format!(
            "do $$ declare f regprocedure; begin for f in select oid from pg_proc \
             where pronamespace = to_regnamespace('tidegate') and proname ~ {pattern} \
             loop execute 'drop function ' || f || ' cascade'; end loop; end $$"
        ),
        format!("drop table if exists {}", tables(name).join(", ")),
    ]
}

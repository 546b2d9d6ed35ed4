//! What the agent's own role may do beyond its grants, and whether it may write at all.
//!
//! Asked after a login, before the relay gets the session. Called by `login`, `slot_guard` and the
//! doctor.

use super::ask;
use super::error::OriginError;
use super::frames::Frames;

/// Powers of the role that no sync needs, in words. A membership counts whether or not it is
/// inherited, since `set role` takes it up.
const POWERS: &str = "\
select what from (
  select 1 as place, 'is a superuser' as what from pg_catalog.pg_roles
    where rolname = session_user and rolsuper
  union all
  select 2, 'bypasses row security' from pg_catalog.pg_roles
    where rolname = session_user and rolbypassrls and not rolsuper
  union all
  select 3, 'is a member of ' || g.rolname from pg_catalog.pg_roles g, pg_catalog.pg_roles r
    where r.rolname = session_user and not r.rolsuper
      and g.rolname in ('pg_execute_server_program', 'pg_read_server_files',
                        'pg_write_server_files')
      and pg_catalog.pg_has_role(r.oid, g.oid, 'member')
  union all
  select 4, 'may become superuser ' || g.rolname from pg_catalog.pg_roles g, pg_catalog.pg_roles r
    where r.rolname = session_user and not r.rolsuper and g.rolsuper
      and pg_catalog.pg_has_role(r.oid, g.oid, 'member')
) powers order by place, what";

/// The first table that the role, or a role that it may become, owns or may write to.
const FIRST_WRITABLE_TABLE: &str = "\
with me as (
  select g.oid from pg_catalog.pg_roles g
  where pg_catalog.pg_has_role(session_user, g.oid, 'member')
)
select c.oid::regclass::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_'
  and n.nspname <> 'information_schema'
  and exists (
    select from me where me.oid = c.relowner
      or pg_catalog.has_any_column_privilege(me.oid, c.oid, 'insert')
      or pg_catalog.has_any_column_privilege(me.oid, c.oid, 'update')
      or pg_catalog.has_table_privilege(me.oid, c.oid, 'delete')
      or pg_catalog.has_table_privilege(me.oid, c.oid, 'truncate'))
order by 1 limit 1";

/// What the role may do beyond any grant, in words; the worst first.
pub async fn powers(frames: &mut Frames) -> Result<Vec<String>, OriginError> {
    let rows = ask::ask(frames, POWERS).await?;
    Ok(rows.into_iter().filter_map(first).collect())
}

/// The first table that the role may write to, if there is one.
pub async fn first_writable(frames: &mut Frames) -> Result<Option<String>, OriginError> {
    let rows = ask::ask(frames, FIRST_WRITABLE_TABLE).await?;
    Ok(rows.into_iter().find_map(first))
}

fn first(row: ask::Row) -> Option<String> {
    row.into_iter().next().flatten()
}

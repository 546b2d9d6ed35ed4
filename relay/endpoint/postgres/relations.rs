//! Reads tables, columns, keys and foreign keys from PostgreSQL's catalog, a few round trips for
//! any number of tables. Called by [`super::inspect`] (all tables) and [`super::shape`] (the bound
//! ones).
//!
//! The session's `search_path` is emptied, so that type names come out qualified.

use std::collections::HashMap;

use tokio_postgres::types::{Oid, ToSql, Type};
use tokio_postgres::{Error, Row};

use super::connect::Connected;
use super::type_graph::{Part, TypeGraph};
use super::types::PgType;
use crate::endpoint::EndpointError;

/// A table, a partitioned table or a view.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`: `r`, `p`, `v`, `m`, `f`.
    pub kind: String,
    /// `pg_class.relreplident`.
    pub replica_identity: String,
    /// −1 before the first `analyze`.
    pub row_estimate: f64,
    /// Nothing inherits from it, and the server reads `ctid` ranges without a look at the rest
    /// (since PostgreSQL 14).
    pub has_ranges: bool,
    pub can_read: bool,
    pub can_write: bool,
    pub is_owner: bool,
    /// In a publication whose name begins with `tidegate`.
    pub is_published: bool,
    pub triggers: Vec<String>,
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct ColumnRow {
    pub table: Oid,
    pub number: i16,
    pub name: String,
    pub pg_type: PgType,
    pub not_null: bool,
    pub has_default: bool,
    pub generated: bool,
    /// `a`, `d` or empty.
    pub identity: String,
    /// The owned sequence, quoted, when it counts upwards and may be set.
    pub sequence: Option<String>,
}

/// A unique index that covers whole rows: no expression, no condition, not deferred.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub table: Oid,
    pub columns: Vec<String>,
    pub is_primary: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ForeignKeyRow {
    pub table: Oid,
    pub columns: Vec<String>,
    pub target: Oid,
    pub target_name: String,
    pub references: Vec<String>,
}

/// Everything about some tables.
pub(super) struct Relations {
    pub relations: Vec<Relation>,
    pub columns: HashMap<Oid, Vec<ColumnRow>>,
    pub keys: HashMap<Oid, Vec<KeyRow>>,
    pub foreign_keys: HashMap<Oid, Vec<ForeignKeyRow>>,
}

/// Reads the tables with these names (`schema.table`, or `table` in schema `public`); all of them
/// for `None`. Partitions are part of their root and not listed.
pub(super) async fn read(
    session: &Connected,
    names: Option<&[String]>,
) -> Result<Relations, EndpointError> {
    let doing = "read the catalog";
    session
        .bounded(doing, session.batch_execute("set search_path = ''"))
        .await?;
    let relations = session.bounded(doing, relations(session, names)).await?;
    let oids: Vec<Oid> = relations.iter().map(|relation| relation.oid).collect();
    let rest = async {
        tokio::try_join!(
            columns(session, &oids),
            keys(session, &oids),
            foreign_keys(session, &oids)
        )
    };
    let (columns, keys, foreign_keys) = session.bounded(doing, rest).await?;
    Ok(Relations {
        relations,
        columns: by_table(columns, |row| row.table),
        keys: by_table(keys, |row| row.table),
        foreign_keys: by_table(foreign_keys, |row| row.table),
    })
}

/// Tables in schemas that the role may not look into.
pub(super) async fn hidden(session: &Connected) -> Result<Vec<Oid>, Error> {
    let sql = "
        select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not has_schema_privilege(n.oid, 'usage')
          and n.nspname !~ '^pg_'";
    let rows = session.query_typed(sql, &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn relations(session: &Connected, names: Option<&[String]>) -> Result<Vec<Relation>, Error> {
    let sql = "
        select c.oid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
               c.relreplident::text as replica_identity, c.reltuples::float8 as row_estimate,
               not c.relhassubclass and current_setting('server_version_num')::integer >= 140000
                   as has_ranges,
               has_table_privilege(c.oid, 'select') as can_read,
               has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
                   as can_write,
               pg_has_role(c.relowner, 'usage') as is_owner,
               exists (select from pg_publication_rel r
                       join pg_publication p on p.oid = r.prpubid
                       where r.prrelid = c.oid and p.pubname like 'tidegate%') as is_published,
               array(select t.tgname::text from pg_trigger t
                     where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D'
                       and t.tgname !~ '^tidegate_'
                     order by t.tgname) as triggers
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
          and n.nspname not in ('pg_catalog', 'information_schema', 'tidegate')
          and n.nspname !~ '^pg_(toast|temp)'
          and has_schema_privilege(n.oid, 'usage')
          and ($1::text[] is null or n.nspname || '.' || c.relname = any ($1)
               or n.nspname = 'public' and c.relname = any ($1))
        order by n.nspname, c.relname";
    let rows = session
        .query_typed(sql, &[(&names, Type::TEXT_ARRAY)])
        .await?;
    rows.iter().map(relation).collect()
}

fn relation(row: &Row) -> Result<Relation, Error> {
    Ok(Relation {
        oid: row.try_get("oid")?,
        schema: row.try_get("schema")?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        replica_identity: row.try_get("replica_identity")?,
        row_estimate: row.try_get("row_estimate")?,
        has_ranges: row.try_get("has_ranges")?,
        can_read: row.try_get("can_read")?,
        can_write: row.try_get("can_write")?,
        is_owner: row.try_get("is_owner")?,
        is_published: row.try_get("is_published")?,
        triggers: row.try_get("triggers")?,
    })
}

/// Columns in table order. `format_type(…, -1)` and not `null`: the latter says `character`, which
/// as a cast means one character.
async fn columns(session: &Connected, tables: &[Oid]) -> Result<Vec<ColumnRow>, Error> {
    let sql = "
        with recursive chain as (
            select t.oid as start, t.typtype, t.typbasetype, t.typnotnull as not_null
            from pg_type t
            where t.oid in (select distinct atttypid from pg_attribute where attrelid = any ($1))
            union all
            select c.start, t.typtype, t.typbasetype, c.not_null or t.typnotnull
            from chain c join pg_type t on t.oid = c.typbasetype
            where c.typtype = 'd'
        ), base as (
            select * from chain where typtype <> 'd'
        )
        select a.attrelid as table_oid, a.attnum as number, a.attname::text as name, a.atttypid,
               format_type(a.atttypid, a.atttypmod) as type_name,
               format_type(a.atttypid, -1) as bare_name, a.atttypmod,
               a.attnotnull or b.not_null as not_null,
               a.atthasdef and a.attgenerated = '' as has_default,
               a.attgenerated <> '' as generated, a.attidentity::text as identity,
               (select quote_ident(sn.nspname) || '.' || quote_ident(s.relname)
                from pg_depend d
                join pg_class s on s.oid = d.objid and s.relkind = 'S'
                join pg_namespace sn on sn.oid = s.relnamespace
                join pg_sequence q on q.seqrelid = s.oid and q.seqincrement > 0
                where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
                  and d.refobjid = a.attrelid and d.refobjsubid = a.attnum
                  and d.deptype in ('a', 'i')
                  and has_sequence_privilege(s.oid, 'update')
                  and has_sequence_privilege(s.oid, 'select')
                limit 1) as sequence
        from pg_attribute a join base b on b.start = a.atttypid
        where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
        order by a.attrelid, a.attnum";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&tables, Type::OID_ARRAY)];
    let rows = session.query_typed(sql, &parameters);
    let (rows, types) = tokio::try_join!(rows, TypeGraph::read(session, tables))?;
    rows.iter().map(|row| column(row, &types)).collect()
}

fn column(row: &Row, types: &TypeGraph) -> Result<ColumnRow, Error> {
    let part = Part {
        oid: row.try_get("atttypid")?,
        modifier: row.try_get("atttypmod")?,
        name: row.try_get("type_name")?,
    };
    Ok(ColumnRow {
        table: row.try_get("table_oid")?,
        number: row.try_get("number")?,
        name: row.try_get("name")?,
        pg_type: PgType {
            oid: part.oid,
            bare_name: row.try_get("bare_name")?,
            field_type: types.field_type(&part),
            name: part.name,
        },
        not_null: row.try_get("not_null")?,
        has_default: row.try_get("has_default")?,
        generated: row.try_get("generated")?,
        identity: row.try_get("identity")?,
        sequence: row.try_get("sequence")?,
    })
}

async fn keys(session: &Connected, tables: &[Oid]) -> Result<Vec<KeyRow>, Error> {
    let sql = "
        select i.indrelid as table_oid, i.indisprimary as is_primary,
               array(select a.attname::text
                     from unnest(i.indkey::smallint[]) with ordinality as k (number, place)
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                     where k.place <= i.indnkeyatts
                     order by k.place) as columns
        from pg_index i
        where i.indrelid = any ($1) and i.indisunique and i.indisvalid
          and (i.indimmediate or i.indisprimary)
          and i.indpred is null and i.indexprs is null
        order by i.indrelid, not i.indisprimary, i.indexrelid";
    let rows = session
        .query_typed(sql, &[(&tables, Type::OID_ARRAY)])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(KeyRow {
                table: row.try_get("table_oid")?,
                columns: row.try_get("columns")?,
                is_primary: row.try_get("is_primary")?,
            })
        })
        .collect()
}

async fn foreign_keys(session: &Connected, tables: &[Oid]) -> Result<Vec<ForeignKeyRow>, Error> {
    let sql = "
        select f.conrelid as table_oid, f.confrelid as target,
               n.nspname || '.' || c.relname as target_name,
               array(select a.attname::text
                     from unnest(f.conkey) with ordinality as k (number, place)
                     join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number
                     order by k.place) as columns,
               array(select a.attname::text
                     from unnest(f.confkey) with ordinality as k (number, place)
                     join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number
                     order by k.place) as refs
        from pg_constraint f
        join pg_class c on c.oid = f.confrelid
        join pg_namespace n on n.oid = c.relnamespace
        where f.contype = 'f' and f.conrelid = any ($1) and f.conparentid = 0
        order by f.conrelid, f.conname";
    let rows = session
        .query_typed(sql, &[(&tables, Type::OID_ARRAY)])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ForeignKeyRow {
                table: row.try_get("table_oid")?,
                columns: row.try_get("columns")?,
                target: row.try_get("target")?,
                target_name: row.try_get("target_name")?,
                references: row.try_get("refs")?,
            })
        })
        .collect()
}

fn by_table<T>(rows: Vec<T>, table: impl Fn(&T) -> Oid) -> HashMap<Oid, Vec<T>> {
    let mut map: HashMap<Oid, Vec<T>> = HashMap::new();
    for row in rows {
        map.entry(table(&row)).or_default().push(row);
    }
    map
}

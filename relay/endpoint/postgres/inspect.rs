//! Fills the [`Catalog`]: what is there, what stands in a sync's way, and what to do about it.

use tidegate_sync::codec::FieldType;
use tokio_postgres::Error;

use super::connect::Connected;
use super::fix_key;
use super::problems::{self, Server};
use super::relations::{self, ColumnRow, Relation, Relations};
use crate::endpoint::EndpointError;
use crate::endpoint::catalog::{Catalog, Column, ForeignKey, Table};

/// Reads everything; about six round trips, plus one per small table without a primary key.
/// `allows_ddl`: see `Dial::allows_ddl`.
pub(super) async fn inspect(
    session: &Connected,
    allows_ddl: bool,
) -> Result<Catalog, EndpointError> {
    let server = session
        .bounded("read the server's settings", server(session))
        .await?;
    let server = Server {
        allows_ddl,
        ..server
    };
    let found = relations::read(session, None).await?;
    let hidden = session
        .bounded("read the catalog", relations::hidden(session))
        .await?;
    let mut tables = Vec::with_capacity(found.relations.len());
    for relation in &found.relations {
        let mut table = table(relation, &found);
        table.problems = problems::of_table(&table, relation, &server);
        if table.primary_key.is_empty() && matches!(relation.kind.as_str(), "r" | "p") {
            table.fixes = fix_key::offers(session, &table).await?;
        }
        tables.push(table);
    }
    Ok(Catalog {
        server: format!("PostgreSQL {}", server.version),
        user: server.user.clone(),
        database: server.database.clone(),
        tables,
        hidden,
        allows_ddl,
        problems: problems::of_server(&server),
        captures: problems::captures(&server),
    })
}

/// One round trip. Roles that lack the REPLICATION attribute may have it by their provider's own
/// role (`rds_replication`).
async fn server(session: &Connected) -> Result<Server, Error> {
    let sql = "
        select current_setting('server_version') as version,
               current_setting('server_version_num')::integer as version_number,
               current_user::text as role, current_database()::text as database,
               current_setting('wal_level') as wal_level,
               r.rolsuper as is_superuser,
               r.rolsuper or r.rolreplication
                   or exists (select from pg_roles p where p.rolname = 'rds_replication'
                              and pg_has_role(p.oid, 'member')) as can_replicate,
               current_setting('max_replication_slots')::bigint
                   - (select count(*) from pg_replication_slots) as free_slots,
               current_setting('max_wal_senders')::bigint
                   - (select count(*) from pg_stat_replication) as free_senders,
               has_database_privilege(current_database(), 'create') as can_create,
               pg_is_in_recovery() as is_standby,
               current_setting('max_slot_wal_keep_size') as slot_keep_size,
               coalesce((select has_schema_privilege(n.oid, 'usage') from pg_namespace n
                         where n.nspname = 'tidegate'), false) as has_schema
        from pg_roles r where r.rolname = current_user";
    let rows = session.query_typed(sql, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(Server::default());
    };
    Ok(Server {
        version: row.try_get("version")?,
        version_number: row.try_get("version_number")?,
        user: row.try_get("role")?,
        database: row.try_get("database")?,
        wal_level: row.try_get("wal_level")?,
        is_superuser: row.try_get("is_superuser")?,
        can_replicate: row.try_get("can_replicate")?,
        free_slots: row.try_get("free_slots")?,
        free_senders: row.try_get("free_senders")?,
        can_create: row.try_get("can_create")?,
        is_standby: row.try_get("is_standby")?,
        slot_keep_size: row.try_get("slot_keep_size")?,
        has_schema: row.try_get("has_schema")?,
        allows_ddl: true,
    })
}

fn table(relation: &Relation, found: &Relations) -> Table {
    let columns = found
        .columns
        .get(&relation.oid)
        .map_or(&[][..], Vec::as_slice);
    let keys = found.keys.get(&relation.oid).map_or(&[][..], Vec::as_slice);
    let foreign = found
        .foreign_keys
        .get(&relation.oid)
        .map_or(&[][..], Vec::as_slice);
    let primary = keys.iter().find(|key| key.is_primary);
    Table {
        oid: relation.oid,
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        kind: kind(&relation.kind).into(),
        columns: columns.iter().map(column).collect(),
        primary_key: primary.map(|key| key.columns.clone()).unwrap_or_default(),
        unique_keys: keys
            .iter()
            .filter(|key| !key.is_primary)
            .map(|key| key.columns.clone())
            .collect(),
        foreign_keys: foreign
            .iter()
            .map(|key| ForeignKey {
                columns: key.columns.clone(),
                table: key.target_name.clone(),
                references: key.references.clone(),
            })
            .collect(),
        triggers: relation.triggers.clone(),
        replica_identity: replica_identity(&relation.replica_identity).into(),
        row_estimate: relation.row_estimate.max(0.0) as u64,
        can_read: relation.can_read,
        can_write: relation.can_write,
        is_owner: relation.is_owner,
        problems: Vec::new(),
        fixes: Vec::new(),
    }
}

fn column(row: &ColumnRow) -> Column {
    let field_type = row.pg_type.field_type.clone();
    let enum_labels = match &field_type {
        FieldType::Enum { labels } => labels.clone(),
        _ => Vec::new(),
    };
    Column {
        number: row.number,
        name: row.name.clone(),
        type_name: row.pg_type.name.clone(),
        field_type,
        nullable: !row.not_null,
        has_default: row.has_default || !row.identity.is_empty(),
        generated: row.generated,
        identity: match row.identity.as_str() {
            "a" => "always".into(),
            "d" => "by-default".into(),
            _ => String::new(),
        },
        enum_labels,
    }
}

fn kind(relkind: &str) -> &'static str {
    match relkind {
        "r" => "table",
        "p" => "partitioned",
        "f" => "foreign",
        _ => "view",
    }
}

fn replica_identity(code: &str) -> &'static str {
    match code {
        "n" => "nothing",
        "f" => "full",
        "i" => "index",
        _ => "default",
    }
}

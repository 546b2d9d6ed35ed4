//! What stands in a sync's way, with the remedy as SQL where there is one. Pure.

use super::relations::Relation;
use super::shape::{qualified, quoted};
use crate::endpoint::catalog::{Catalog, Problem, Table};
use crate::endpoint::level::{Level, Offer};

/// What the server says about itself and the role.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    pub version: String,
    pub version_number: i32,
    pub user: String,
    pub database: String,
    pub wal_level: String,
    pub is_superuser: bool,
    pub can_replicate: bool,
    pub free_slots: i64,
    pub free_senders: i64,
    pub can_create: bool,
    pub is_standby: bool,
    pub slot_keep_size: String,
    pub has_schema: bool,
    /// Whether the agent lets the relay change the schema; what the role may is another question.
    pub allows_ddl: bool,
}

/// What is in the way of any sync, whatever way its changes are read.
pub(super) fn of_server(server: &Server) -> Vec<Problem> {
    let mut found = Vec::new();
    if server.is_standby {
        found.push(blocking(
            "standby",
            "this server is a read-only standby".into(),
            "connect to the primary instead".into(),
        ));
    }
    if server.wal_level == "logical" && server.slot_keep_size == "-1" {
        found.push(warning(
            "slot-unlimited",
            "a sync that stays offline would keep the change log without limit".into(),
            "alter system set max_slot_wal_keep_size = '10GB'; select pg_reload_conf();".into(),
        ));
    }
    found.extend(of_rights(server));
    found
}

/// The ways to read the server's changes, the best first, and what is in the way of each.
pub(super) fn captures(server: &Server) -> Vec<Offer> {
    let peek = of_slots(server);
    let mut stream = peek.clone();
    if server.free_senders < 1 {
        stream.push(blocking(
            "no-free-sender",
            "all walsenders are in use".into(),
            "raise max_wal_senders and restart".into(),
        ));
    }
    let offer = |level, obstacles| Offer {
        level,
        obstacles,
        caveat: None,
    };
    vec![
        offer(Level::Stream, stream),
        offer(Level::Peek, peek),
        offer(Level::Triggers, of_triggers(server)),
        offer(Level::Poll, of_age(server, OLDEST_OUTBOX)),
        offer(Level::Compare, of_age(server, OLDEST_OUTBOX)),
    ]
}

/// Something between refuses the replication protocol.
pub(super) fn refuse_stream(catalog: &mut Catalog, reason: String) {
    let offers = &mut catalog.captures;
    if let Some(offer) = offers.iter_mut().find(|offer| offer.level == Level::Stream) {
        offer.obstacles.push(blocking(
            "no-replication-session",
            reason,
            "connect to the server without a pooler in between, or let the pooler pass \
             replication through"
                .into(),
        ));
    }
}

fn of_triggers(server: &Server) -> Vec<Problem> {
    let mut found = of_age(server, OLDEST_OUTBOX);
    if !server.allows_ddl {
        found.push(blocking(
            "ddl-not-allowed",
            "the agent does not let the relay make triggers".into(),
            "set allow_ddl = true for the target in agent.toml".into(),
        ));
    }
    found
}

fn of_age(server: &Server, oldest: i32) -> Vec<Problem> {
    if server.version_number >= oldest {
        return Vec::new();
    }
    vec![blocking(
        "server-too-old",
        format!(
            "PostgreSQL {} is too old: {} is the oldest that works",
            server.version,
            oldest / 10_000
        ),
        "upgrade the server".into(),
    )]
}

fn of_slots(server: &Server) -> Vec<Problem> {
    let mut found = of_age(server, OLDEST);
    if server.wal_level != "logical" {
        found.push(blocking(
            "wal-level",
            format!(
                "wal_level is \"{}\", changes can't be read from the log",
                server.wal_level
            ),
            "alter system set wal_level = 'logical'; then restart PostgreSQL".into(),
        ));
    }
    if server.free_slots < 1 {
        found.push(blocking(
            "no-free-slot",
            "all replication slots are in use".into(),
            "drop an unused one (select slot_name, active from pg_replication_slots), or raise \
             max_replication_slots and restart"
                .into(),
        ));
    }
    if !server.can_replicate {
        let role = quoted(&server.user);
        found.push(blocking(
            "no-replication-right",
            format!("role {role} may not read the change log"),
            format!("alter role {role} replication; (managed services have a role to grant)"),
        ));
    }
    found
}

fn of_rights(server: &Server) -> Vec<Problem> {
    let role = quoted(&server.user);
    let database = quoted(&server.database);
    let mut found = Vec::new();
    if !server.has_schema && !server.can_create {
        found.push(blocking(
            "no-progress-schema",
            format!("role {role} may not create the schema that remembers progress"),
            progress_remedy(&server.user),
        ));
    }
    if !server.allows_ddl {
        found.push(warning(
            "ddl-not-allowed",
            "the agent does not let the relay make the publication of a sync".into(),
            "let the tables' owner run the statement that `sync plan` shows, or set allow_ddl = \
             true for the target in agent.toml"
                .into(),
        ));
    } else if !server.can_create {
        found.push(warning(
            "no-create-right",
            format!("role {role} may not create a publication in {database}"),
            format!("grant create on database {database} to {role};"),
        ));
    }
    found
}

/// SQL for the administrator when the role can't create the progress table itself.
pub(super) fn progress_remedy(user: &str) -> String {
    format!("create schema tidegate authorization {};", quoted(user))
}

pub(super) fn of_table(table: &Table, relation: &Relation, server: &Server) -> Vec<Problem> {
    let name = qualified(&table.schema, &table.name);
    let role = quoted(&server.user);
    if !matches!(table.kind.as_str(), "table" | "partitioned") {
        return vec![blocking(
            "not-a-table",
            format!("{name} is a {} and has no change log", table.kind),
            "sync the table behind it".into(),
        )];
    }
    let mut found = Vec::new();
    if table.primary_key.is_empty() {
        found.push(blocking(
            "no-primary-key",
            format!("{name} has no primary key: its records can't be told apart"),
            if server.allows_ddl {
                "run one of the fixes that `connection tables` offers, with `connection fix-key`"
                    .into()
            } else {
                "let its owner run one of the fixes that `connection tables` offers".into()
            },
        ));
    }
    if table.replica_identity == "nothing" || table.replica_identity == "index" {
        found.push(blocking(
            "replica-identity",
            format!("{name} does not report the primary key of changed records"),
            format!("alter table {name} replica identity default;"),
        ));
    }
    if !table.can_read {
        found.push(blocking(
            "not-readable",
            format!("role {role} may not read {name}"),
            format!("grant select on {name} to {role};"),
        ));
    }
    if !table.can_write {
        found.push(warning(
            "not-writable",
            format!("role {role} may not write {name}: it can only be a source"),
            format!("grant insert, update, delete on {name} to {role};"),
        ));
    }
    if !table.is_owner && !server.is_superuser && !relation.is_published {
        found.push(warning(
            "not-owner",
            format!("role {role} does not own {name} and can't publish its changes"),
            format!(
                "alter table {name} owner to {role}; or let the owner create the publication that \
                 the sync's start names"
            ),
        ));
    }
    found
}

fn blocking(code: &str, message: String, remedy: String) -> Problem {
    Problem {
        code: code.into(),
        message,
        remedy,
        blocking: true,
    }
}

fn warning(code: &str, message: String, remedy: String) -> Problem {
    Problem {
        blocking: false,
        ..blocking(code, message, remedy)
    }
}

/// Transactional messages as markers, and `ctid` range scans.
const OLDEST: i32 = 140_000;
/// 64-bit transaction numbers and snapshots of them.
const OLDEST_OUTBOX: i32 = 130_000;

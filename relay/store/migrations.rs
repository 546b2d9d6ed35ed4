//! The schema's history: one SQL file per version, embedded, applied in order by refinery.
//!
//! Listed by hand instead of by refinery's directory macro: the compiler then sees every new file.
//! Callers hold the data directory's lock, because refinery takes none between processes.

use refinery::{Migration, Runner};
use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

const ALL: &[(&str, &str)] = &[
    ("V1__base", include_str!("migrations/V1__base.sql")),
    ("V2__agents", include_str!("migrations/V2__agents.sql")),
    ("V3__ledger", include_str!("migrations/V3__ledger.sql")),
    ("V4__moments", include_str!("migrations/V4__moments.sql")),
    ("V5__asked", include_str!("migrations/V5__asked.sql")),
    ("V6__layouts", include_str!("migrations/V6__layouts.sql")),
    (
        "V7__verifications",
        include_str!("migrations/V7__verifications.sql"),
    ),
    ("V8__history", include_str!("migrations/V8__history.sql")),
    ("V9__users", include_str!("migrations/V9__users.sql")),
    (
        "V10__captures",
        include_str!("migrations/V10__captures.sql"),
    ),
    ("V11__drafts", include_str!("migrations/V11__drafts.sql")),
    ("V12__inbox", include_str!("migrations/V12__inbox.sql")),
    (
        "V13__notifications",
        include_str!("migrations/V13__notifications.sql"),
    ),
    (
        "V14__identities",
        include_str!("migrations/V14__identities.sql"),
    ),
];

/// Applies what is missing. Running it again does nothing. Fails when the database holds a
/// version that this program does not know.
pub(super) fn run(conn: &mut Connection) -> Result<usize, StoreError> {
    let mut migrations = Vec::with_capacity(ALL.len());
    for (name, sql) in ALL {
        migrations.push(Migration::unapplied(name, sql)?);
    }
    conn.set_transaction_behavior(TransactionBehavior::Exclusive);
    let report = Runner::new(&migrations).run(conn)?;
    conn.set_transaction_behavior(TransactionBehavior::Immediate);
    Ok(report.applied_migrations().len())
}

//! What PostgreSQL's errors mean for the caller: pass by themselves, need a person, or a defect;
//! and which of them refuse one record only. Decides by SQLSTATE, never by message text.
//!
//! Server messages about rows may quote values, so they are left out; names of constraints,
//! columns and tables are kept. Source: PostgreSQL manual, appendix A.

use std::time::Duration;

use tidegate_sync::model::FindingCode;
use tokio_postgres::error::{DbError, SqlState};

use crate::endpoint::{Class, EndpointError};

/// Translates an error of `doing` ("read the catalog").
pub(super) fn endpoint_error(doing: &str, error: tokio_postgres::Error) -> EndpointError {
    let Some(db) = error.as_db_error() else {
        let message = format!("{doing}: the connection to PostgreSQL was lost ({error})");
        return EndpointError::retry("connection-lost", message).caused_by(error);
    };
    let (class, code, message) = meaning(doing, db);
    EndpointError {
        class,
        code,
        message,
        // The server's own text may hold row values: it goes no further.
        source: None,
    }
}

/// Translates the refusal of a session that an agent logs in. Its text is the agent's own: one
/// line that says what to do on its host.
pub(super) fn agent_refused(error: tokio_postgres::Error) -> EndpointError {
    let Some(db) = error.as_db_error() else {
        return endpoint_error("log in through the agent", error);
    };
    let (class, code, _) = meaning("log in", db);
    EndpointError {
        class,
        code,
        message: format!("the agent got no session: {}", db.message()),
        source: None,
    }
}

fn meaning(doing: &str, db: &DbError) -> (Class, &'static str, String) {
    use Class::Operator;
    let state = db.code();
    let said = public_text(db);
    let soon = Class::Retry(Duration::from_millis(500));
    let later = Class::Retry(Duration::from_secs(5));
    let (class, code, next) = match state.code() {
        "28P01" | "28000" => (
            Operator,
            "login-refused",
            "check user and password, and that pg_hba.conf lets this role in",
        ),
        "3D000" => (
            Operator,
            "database-missing",
            "check the database's name in the connection",
        ),
        "42501" => (
            Operator,
            "permission-denied",
            "give the role what is named here (`tidegate-agent grant` prints all that it needs)",
        ),
        "42P01" | "3F000" => (
            Operator,
            "table-missing",
            "check the table's name in the sync, or restore the table",
        ),
        "42703" => (
            Operator,
            "column-missing",
            "check the column's name in the sync, or restore the column",
        ),
        "25006" => (
            Operator,
            "read-only",
            "this server or role is read-only: connect to the primary, or allow writes",
        ),
        "57P03" => (soon, "server-starting", "it is tried again"),
        "57P01" | "57P02" | "57P05" => (soon, "server-stopped", "it is tried again"),
        "53300" => (
            later,
            "too-many-connections",
            "it is tried again; raise max_connections or the role's limit if it stays",
        ),
        "53100" => (later, "disk-full", "make room on the server's disk"),
        "55P03" => (
            soon,
            "lock-timeout",
            "another transaction holds the rows; it is tried again",
        ),
        "57014" => (soon, "statement-timeout", "it is tried again"),
        "40001" | "40P01" => (soon, "serialization", "it is tried again"),
        other if other.starts_with("08") || other.starts_with("53") => {
            (later, "server-unavailable", "it is tried again")
        }
        _ => (
            Class::Bug,
            "unexpected-sqlstate",
            "this is a defect: report it",
        ),
    };
    (class, code, format!("{doing}: {said}; {next}"))
}

/// The server's message where its class can't hold a row value, else the names in it.
fn public_text(db: &DbError) -> String {
    let state = db.code().code();
    let about_rows = ["22", "23", "44", "P0"]
        .iter()
        .any(|c| state.starts_with(c));
    if about_rows {
        return names(db);
    }
    format!("PostgreSQL says \"{}\" ({state})", db.message())
}

/// `unique constraint "posts_slug_key" of public.posts (SQLSTATE 23505)`.
fn names(db: &DbError) -> String {
    let mut text = String::new();
    if let Some(constraint) = db.constraint() {
        text.push_str(&format!("constraint \"{constraint}\" "));
    }
    if let Some(column) = db.column() {
        text.push_str(&format!("column \"{column}\" "));
    }
    if let Some(data_type) = db.datatype() {
        text.push_str(&format!("type {data_type} "));
    }
    if let Some(table) = db.table() {
        text.push_str(&format!("of {}.{table} ", db.schema().unwrap_or("?")));
    }
    format!("{text}(SQLSTATE {})", db.code().code())
}

/// The finding for an error that refuses the written record, `None` for one that concerns the
/// whole transaction.
pub(super) fn refusal(db: &DbError) -> Option<(FindingCode, String)> {
    let state = db.code();
    let code = match *state {
        SqlState::UNIQUE_VIOLATION | SqlState::EXCLUSION_VIOLATION => FindingCode::UniqueViolation,
        SqlState::FOREIGN_KEY_VIOLATION | SqlState::RESTRICT_VIOLATION => {
            FindingCode::ForeignKeyViolation
        }
        SqlState::NOT_NULL_VIOLATION => FindingCode::NotNullViolation,
        SqlState::CHECK_VIOLATION | SqlState::WITH_CHECK_OPTION_VIOLATION => {
            FindingCode::CheckViolation
        }
        SqlState::INSUFFICIENT_PRIVILEGE => FindingCode::PermissionDenied,
        _ => match &state.code()[..2] {
            "22" | "54" => FindingCode::ValueOutOfRange,
            "P0" => FindingCode::CheckViolation,
            "23" | "09" | "27" | "2F" | "38" | "39" | "44" | "0A" => FindingCode::RejectedBySide,
            _ if state.code() == "428C9" => FindingCode::RejectedBySide,
            _ => return None,
        },
    };
    let detail = match &state.code()[..2] {
        // The text of the customer's own `raise`: without it nobody could act.
        "P0" => format!("{} {}", db.message(), names(db)),
        // About rights and features, not about values.
        "42" | "0A" | "54" => format!("{} (SQLSTATE {})", db.message(), state.code()),
        _ => names(db),
    };
    Some((code, detail))
}

/// Errors that undo the transaction for sure and pass when it is tried again at once.
pub(super) fn is_collision(db: &DbError) -> bool {
    *db.code() == SqlState::T_R_DEADLOCK_DETECTED
        || *db.code() == SqlState::T_R_SERIALIZATION_FAILURE
}

//! What can go wrong between the agent and PostgreSQL, and what a person should do about it.
//!
//! The text of an error goes to two readers: the agent's log and, as a PostgreSQL ErrorResponse,
//! the relay's client (`tokio-postgres` shows it as a database error). It never holds a password.

use std::io;

use tidegate_shared::Class;

use super::gate::AddressRefused;
use super::password::PasswordError;
use super::startup::StartupError;

/// Why no database session came to be, or why one broke.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error("resolve {host}: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} resolves to no address")]
    NoAddress { host: String },
    #[error("address of {host} is refused: {refused}")]
    AddressRefused {
        host: String,
        refused: AddressRefused,
    },
    #[error("connect to PostgreSQL at {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("{step} took longer than {seconds} s")]
    Timeout { step: &'static str, seconds: u64 },
    #[error("PostgreSQL offers no TLS, and sslmode asks for it")]
    TlsNotOffered,
    #[error("TLS with PostgreSQL: {0}")]
    Tls(String),
    #[error("no password is configured for target {target}")]
    PasswordMissing { target: String },
    #[error("password of target {target}: {source}")]
    Password {
        target: String,
        source: PasswordError,
    },
    #[error("PostgreSQL asks for {method} authentication, which target {target} doesn't allow")]
    WeakAuthentication {
        target: String,
        method: &'static str,
    },
    #[error("PostgreSQL asks for {0} authentication, which the agent doesn't speak")]
    UnknownAuthentication(String),
    #[error("SCRAM exchange: {0}")]
    Scram(String),
    #[error("the agent's password for target {target} was refused by PostgreSQL")]
    PasswordRefused { target: String },
    #[error("PostgreSQL refused the login: {message} (SQLSTATE {code})")]
    Refused { code: String, message: String },
    #[error("role {user} may write to {table}, and target {target} is read_only")]
    WriteGrant {
        target: String,
        user: String,
        table: String,
    },
    #[error("role {user} {power}, and target {target} refuses powerful roles")]
    PowerfulRole {
        target: String,
        user: String,
        power: String,
    },
    #[error("PostgreSQL closed the connection during login")]
    ClosedEarly,
    #[error("PostgreSQL sent what the protocol doesn't allow here: {0}")]
    Protocol(String),
    #[error(transparent)]
    Startup(#[from] StartupError),
    #[error("connection: {0}")]
    Io(#[from] io::Error),
}

impl OriginError {
    /// SQLSTATE for the relay (PostgreSQL manual, appendix A). What PostgreSQL said itself passes.
    pub fn sqlstate(&self) -> &str {
        match self {
            OriginError::Resolve { .. }
            | OriginError::NoAddress { .. }
            | OriginError::Unreachable { .. }
            | OriginError::Timeout { .. } => "08001",
            OriginError::AddressRefused { .. }
            | OriginError::WriteGrant { .. }
            | OriginError::PowerfulRole { .. } => "42501",
            OriginError::TlsNotOffered | OriginError::Tls(_) => "08001",
            OriginError::PasswordMissing { .. }
            | OriginError::Password { .. }
            | OriginError::PasswordRefused { .. } => "28P01",
            OriginError::WeakAuthentication { .. }
            | OriginError::UnknownAuthentication(_)
            | OriginError::Scram(_) => "28000",
            OriginError::Refused { code, .. } => code,
            OriginError::ClosedEarly | OriginError::Io(_) => "08006",
            OriginError::Protocol(_) | OriginError::Startup(_) => "08P01",
        }
    }

    /// What the caller does next, with advice where a person must act.
    pub fn class(&self) -> Class {
        let operator = Class::Operator;
        match self {
            OriginError::Unreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                operator("let the agent's user into the socket directory")
            }
            OriginError::Unreachable { .. } => operator(
                "check that PostgreSQL is running and listens at the address in agent.toml",
            ),
            OriginError::Timeout { .. } | OriginError::ClosedEarly | OriginError::Io(_) => {
                Class::Retry
            }
            OriginError::Resolve { .. } | OriginError::NoAddress { .. } => {
                operator("check the host name in agent.toml and this host's DNS")
            }
            OriginError::AddressRefused { .. } => {
                operator("write the address itself into agent.toml if it is really meant")
            }
            OriginError::TlsNotOffered => {
                operator("turn on ssl in postgresql.conf, or set sslmode for this target")
            }
            OriginError::Tls(_) => operator("check sslrootcert and sslmode of this target"),
            OriginError::PasswordMissing { .. } => {
                operator("set password_file, or give a systemd credential or a ~/.pgpass line")
            }
            OriginError::Password { .. } | OriginError::PasswordRefused { .. } => {
                operator("check password_file")
            }
            OriginError::WeakAuthentication { .. } => operator(
                "set password_encryption = 'scram-sha-256', set the role's password again and \
                 use scram-sha-256 in pg_hba.conf; allow_md5 = true permits it as it is",
            ),
            OriginError::UnknownAuthentication(_) => {
                operator("use scram-sha-256 in pg_hba.conf for the agent's role")
            }
            OriginError::Scram(_) => {
                operator("check that the address really is the PostgreSQL that you mean")
            }
            OriginError::Refused { code, .. } => class_of_refusal(code),
            OriginError::WriteGrant { .. } => {
                operator("revoke the role's write grants, or set read_only = false")
            }
            OriginError::PowerfulRole { .. } => operator(
                "use a role of its own (`tidegate-agent grant` prints it), or set \
                 powerful_role = \"warn\" and read_only = false",
            ),
            OriginError::Protocol(_) => {
                operator("check that a PostgreSQL server listens at the address")
            }
            OriginError::Startup(_) => Class::Bug,
        }
    }

    /// One line for people: what happened and what to do next.
    pub fn advice(&self) -> String {
        match self.class() {
            Class::Operator(advice) => format!("{self}: {advice}"),
            Class::Retry => format!("{self}: the agent tries again when asked"),
            Class::Bug => format!("{self}: please report this"),
        }
    }
}

/// Advice for the SQLSTATEs with which PostgreSQL refuses a login.
fn class_of_refusal(code: &str) -> Class {
    let advice = match code {
        "28000" => "check the role's name, its LOGIN attribute and pg_hba.conf",
        "3D000" => "check the database name in agent.toml",
        "42501" => "grant the role what it lacks (`tidegate-agent grant` prints the SQL)",
        "53300" => "raise max_connections in PostgreSQL, or lower max_sessions of the target",
        // Starting up, shutting down, crash recovery: PostgreSQL comes back by itself.
        "57P01" | "57P02" | "57P03" => return Class::Retry,
        _ => "see PostgreSQL's log",
    };
    Class::Operator(advice)
}

//! Opens one PostgreSQL session over a stream of a [`Dial`] and owns its connection task.
//!
//! Not for replication: tokio-postgres has no such mode, see the capture's own client. Every
//! session has the settings of [`super::types::SESSION`], so that text means the same everywhere.

use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Client, Config, NoTls};

use super::sqlstate::{agent_refused, endpoint_error};
use super::types::SESSION;
use crate::endpoint::{Dial, EndpointError, Login, Purpose, StreamLabel};

/// How long the server lets this session wait or idle. Zero: no limit.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    pub statement: Duration,
    pub lock: Duration,
    pub idle_in_transaction: Duration,
}

impl SessionLimits {
    /// Reading the catalog and running fixes.
    pub const CATALOG: SessionLimits = SessionLimits {
        statement: Duration::from_secs(30),
        lock: Duration::from_secs(5),
        idle_in_transaction: Duration::from_secs(60),
    };
    /// A copy of a big table takes as long as it takes, and waits for whoever reads it.
    pub const SNAPSHOT: SessionLimits = SessionLimits {
        statement: Duration::ZERO,
        lock: Duration::from_secs(10),
        idle_in_transaction: Duration::ZERO,
    };
    /// One batch. Shorter than the patience of whoever waits for its outcome.
    pub const APPLY: SessionLimits = SessionLimits {
        statement: Duration::from_secs(60),
        lock: Duration::from_secs(10),
        idle_in_transaction: Duration::from_secs(60),
    };
}

/// A session. Dropping it ends the connection task and with it the stream.
pub struct Connected {
    client: Client,
    connection: JoinHandle<()>,
    cancel: CancelToken,
    dial: Arc<dyn Dial>,
    label: StreamLabel,
}

impl Deref for Connected {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Dials, logs in and sets the session up.
pub async fn client(
    dial: &Arc<dyn Dial>,
    label: &StreamLabel,
    limits: SessionLimits,
) -> Result<Connected, EndpointError> {
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, open(dial, label)).await;
    let connected = opened.map_err(|_| {
        let wait = CONNECT_TIMEOUT.as_secs();
        let message = format!("no PostgreSQL session within {wait} s; it is tried again");
        EndpointError::retry("connect-timeout", message)
    })??;
    let settings = session_sql(limits);
    connected
        .bounded("set the session up", connected.batch_execute(&settings))
        .await?;
    Ok(connected)
}

async fn open(dial: &Arc<dyn Dial>, label: &StreamLabel) -> Result<Connected, EndpointError> {
    let stream = dial.dial(Purpose::Session, label).await?;
    let login = dial.login();
    let by_agent = matches!(login, Login::ByAgent);
    let connected = config(login, label).connect_raw(stream, NoTls).await;
    let (client, connection) = connected.map_err(|error| match by_agent {
        true => agent_refused(error),
        false => endpoint_error("log in to PostgreSQL", error),
    })?;
    let cancel = client.cancel_token();
    let name = format!("{}/{}", label.sync, label.run);
    let connection = tokio::spawn(async move {
        // Queries fail with "closed" only: here is the reason.
        if let Err(error) = connection.await {
            tracing::debug!(session = name, %error, "PostgreSQL connection ended");
        }
    });
    Ok(Connected {
        client,
        connection,
        cancel,
        dial: Arc::clone(dial),
        label: label.clone(),
    })
}

impl Connected {
    /// Runs `query` within [`ANSWER_TIMEOUT`]. When that passes the query is cancelled over a
    /// stream of its own, and the session must not be used any more.
    pub async fn bounded<T>(
        &self,
        doing: &str,
        query: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, EndpointError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, query).await {
            Ok(answer) => answer.map_err(|error| endpoint_error(doing, error)),
            Err(_) => Err(self.give_up(doing).await),
        }
    }

    /// Cancels what the session is doing and makes the error for it.
    pub(super) async fn give_up(&self, doing: &str) -> EndpointError {
        let cancelled = tokio::time::timeout(CANCEL_TIMEOUT, self.cancel()).await;
        if !matches!(cancelled, Ok(Ok(()))) {
            tracing::debug!(run = self.label.run, "could not cancel the statement");
        }
        let message = format!("{doing}: it took too long and was cancelled; it is tried again");
        EndpointError::retry("answer-timeout", message)
    }

    /// Asks the server to cancel the running statement, over a stream of its own.
    pub async fn cancel(&self) -> Result<(), EndpointError> {
        let stream = self.dial.dial(Purpose::Cancel, &self.label).await?;
        self.cancel
            .cancel_query_raw(stream, NoTls)
            .await
            .map_err(|error| endpoint_error("cancel a statement", error))
    }
}

fn config(login: Login, label: &StreamLabel) -> Config {
    let mut config = Config::new();
    config.application_name(application_name(label));
    // The stream is private already: the dial did TLS, or the tunnel carries it.
    config.ssl_mode(SslMode::Disable);
    match login {
        Login::ByAgent => {
            // The agent replaces both with its own.
            config.user("tidegate").dbname("tidegate");
        }
        Login::Password {
            user,
            password,
            database,
        } => {
            config.user(user).dbname(database);
            if !password.expose_secret().is_empty() {
                config.password(password.expose_secret());
            }
        }
    }
    config
}

pub(super) fn application_name(label: &StreamLabel) -> String {
    if label.sync.is_empty() {
        format!("tidegate/{}", label.run)
    } else {
        format!("tidegate/{}/{}", label.sync, label.run)
    }
}

fn session_sql(limits: SessionLimits) -> String {
    let mut sql = String::new();
    for (name, value) in SESSION {
        // Writing to a String can't fail.
        let _ = write!(sql, "set {name} = '{value}'; ");
    }
    let timeouts = [
        ("statement_timeout", limits.statement),
        ("lock_timeout", limits.lock),
        (
            "idle_in_transaction_session_timeout",
            limits.idle_in_transaction,
        ),
    ];
    for (name, value) in timeouts {
        let _ = write!(sql, "set {name} = {}; ", value.as_millis());
    }
    sql
}

/// Dialling through a tunnel, logging in: seconds at worst, unless something hangs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Above the longest `statement_timeout`, so that the server's own, clearer error comes first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// A cancel request is one small message.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

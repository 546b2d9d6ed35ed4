//! SQL whose answers are text, over a replication connection or over an ordinary one.
//!
//! What a sync leaves on the server (`slots`) is made and checked in the same way whether the server
//! is reached by the replication protocol or, through a pooler that refuses it, by SQL alone.

use async_trait::async_trait;
use tokio_postgres::SimpleQueryMessage;

use super::connect::Connected;
use super::replication::{Connection, Identity, parse_lsn};
use crate::endpoint::EndpointError;

/// Rows of nullable texts.
pub(super) type Texts = Vec<Vec<Option<String>>>;

/// A session that answers.
#[async_trait]
pub trait Ask: Send {
    async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, EndpointError>;

    /// Which server this is and how far its history is flushed.
    async fn identity(&mut self) -> Result<Identity, EndpointError>;
}

#[async_trait]
impl Ask for Connection {
    async fn ask(&mut self, sql: &str) -> Result<Texts, EndpointError> {
        self.query(sql).await
    }

    async fn identity(&mut self) -> Result<Identity, EndpointError> {
        self.identify_system().await
    }
}

#[async_trait]
impl Ask for &Connected {
    async fn ask(&mut self, sql: &str) -> Result<Texts, EndpointError> {
        let answer = self.bounded("ask the server", self.simple_query(sql));
        let text = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len())
                .map(|i| row.get(i).map(str::to_owned))
                .collect()
        };
        Ok(answer
            .await?
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(text(row)),
                _ => None,
            })
            .collect())
    }

    /// The timeline is that of the file being written: the control file's own is older right after
    /// a promotion.
    async fn identity(&mut self) -> Result<Identity, EndpointError> {
        let sql = "select system_identifier::text, \
                   ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)) \
                       ::bit(32)::int8::text, \
                   pg_current_wal_flush_lsn()::text from pg_control_system()";
        let rows = self.ask(sql).await?;
        let identity = rows.first().and_then(|row| match row.as_slice() {
            [Some(system_id), Some(timeline), Some(flushed)] => Some(Identity {
                system_id: system_id.clone(),
                timeline: timeline.parse().ok()?,
                flushed: parse_lsn(flushed)?,
            }),
            _ => None,
        });
        identity.ok_or_else(|| {
            EndpointError::bug("protocol-violation", "the server does not say which it is")
        })
    }
}

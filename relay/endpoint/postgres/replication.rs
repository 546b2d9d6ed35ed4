//! A connection in replication mode: sign in, ask, create a slot, stream.
//!
//! tokio-postgres has no replication mode, and no published client takes a caller's stream; this is
//! the small part of the protocol that logical replication needs, over whatever [`Dial`] opens. One
//! statement at a time, answers as text. It decodes no changes (`pgoutput`) and decides nothing
//! about slots (`slots`). Source: PostgreSQL manual, "Streaming Replication Protocol".

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::super::{ByteStream, Dial, EndpointError, Login, Purpose, StreamLabel};
use super::frame::{self, Frame, Malformed, ServerError, server_error};
use super::types;

/// A signed-in connection with `replication=database`: takes SQL and replication commands.
pub struct Connection {
    stream: Box<dyn ByteStream>,
    unread: BytesMut,
}

/// Which server this is, as IDENTIFY_SYSTEM tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Stays the same for a cluster and its physical copies.
    pub system_id: String,
    /// Grows with each promotion or point-in-time recovery.
    pub timeline: u32,
    /// End of the server's flushed WAL.
    pub flushed: u64,
}

/// A slot that was just created. As long as this lives and no further command is sent on its
/// connection, other connections can `set transaction snapshot` to [`SlotSnapshot::snapshot`] and
/// see exactly what was committed before [`SlotSnapshot::lsn`].
pub struct SlotSnapshot {
    /// Changes after this LSN are streamed by the slot; everything before is in the snapshot.
    pub lsn: u64,
    /// `00000003-00000002-1`.
    pub snapshot: String,
    /// Kept open: the snapshot ends with it.
    _connection: Connection,
}

/// How long a slot stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    Kept,
    /// It goes with its connection.
    Session,
}

/// Longest wait for one answer. A slot's creation waits for all transactions that are open.
mod deadlines {
    use std::time::Duration;

    pub(crate) const SIGN_IN: Duration = Duration::from_secs(30);
    pub(crate) const QUERY: Duration = Duration::from_secs(60);
    pub(crate) const CREATE_SLOT: Duration = Duration::from_secs(120);
}

/// The messages whose order makes a session, by their tags.
mod tags {
    pub(crate) const AUTHENTICATION: u8 = b'R';
    pub(crate) const ERROR: u8 = b'E';
    pub(crate) const READY: u8 = b'Z';
    pub(crate) const DATA_ROW: u8 = b'D';
    pub(crate) const COPY_BOTH: u8 = b'W';
}

impl Connection {
    /// Dials, signs in and sets what the text of values depends on.
    pub async fn open(dial: &dyn Dial, label: &StreamLabel) -> Result<Connection, EndpointError> {
        let stream = dial.dial(Purpose::Replication, label).await?;
        let mut connection = Connection {
            stream,
            unread: BytesMut::new(),
        };
        let login = dial.login();
        timeout(deadlines::SIGN_IN, connection.sign_in(&login, label))
            .await
            .map_err(|_| too_slow("sign in for replication", deadlines::SIGN_IN))??;
        connection.query(&session_settings()).await?;
        Ok(connection)
    }

    /// Runs SQL (one or more statements) and returns all rows as text.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, EndpointError> {
        self.query_within(sql, deadlines::QUERY).await
    }

    pub async fn identify_system(&mut self) -> Result<Identity, EndpointError> {
        let rows = self.query("IDENTIFY_SYSTEM").await?;
        let identity = rows.first().and_then(|row| match row.as_slice() {
            [Some(system_id), Some(timeline), Some(flushed), ..] => Some(Identity {
                system_id: system_id.clone(),
                timeline: timeline.parse().ok()?,
                flushed: parse_lsn(flushed)?,
            }),
            _ => None,
        });
        let what = "no answer to IDENTIFY_SYSTEM";
        identity.ok_or_else(|| Malformed { what }.into())
    }

    /// Creates a permanent pgoutput slot and a snapshot of the data at its position. Waits until
    /// every transaction that is open now has ended.
    pub async fn create_slot(
        mut self,
        name: &str,
        lifetime: Lifetime,
    ) -> Result<SlotSnapshot, EndpointError> {
        let lifetime = match lifetime {
            Lifetime::Kept => "",
            Lifetime::Session => " TEMPORARY",
        };
        // The form of PostgreSQL 14, which later ones take too.
        let sql = format!(
            "CREATE_REPLICATION_SLOT {}{lifetime} LOGICAL pgoutput EXPORT_SNAPSHOT",
            quote_identifier(name)
        );
        let rows = self.query_within(&sql, deadlines::CREATE_SLOT).await?;
        let created = rows.first().and_then(|row| match row.as_slice() {
            [_, Some(lsn), Some(snapshot), ..] => Some((parse_lsn(lsn)?, snapshot.clone())),
            _ => None,
        });
        let what = "no answer to CREATE_REPLICATION_SLOT";
        let (lsn, snapshot) = created.ok_or(Malformed { what })?;
        Ok(SlotSnapshot {
            lsn,
            snapshot,
            _connection: self,
        })
    }

    /// Streams what was committed after `from`: protocol 2, so that big transactions come while
    /// they run, with logical messages, values as text.
    pub(super) async fn start_replication(
        mut self,
        slot: &str,
        publication: &str,
        from: u64,
    ) -> Result<(FrameReader, WriteHalf<Box<dyn ByteStream>>), EndpointError> {
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '2', streaming 'on', \
             messages 'true', publication_names {})",
            quote_identifier(slot),
            format_lsn(from),
            quote_literal(&quote_identifier(publication)),
        );
        self.send_query(&sql).await?;
        let started = async {
            loop {
                let frame = self.read().await?;
                match frame.tag {
                    tags::COPY_BOTH => return Ok(()),
                    tags::ERROR => return Err(refused("start the change stream", &frame)),
                    _ => {}
                }
            }
        };
        timeout(deadlines::QUERY, started)
            .await
            .map_err(|_| too_slow("start the change stream", deadlines::QUERY))??;
        let (read, write) = tokio::io::split(self.stream);
        let reader = FrameReader {
            stream: read,
            unread: self.unread,
        };
        Ok((reader, write))
    }

    async fn query_within(
        &mut self,
        sql: &str,
        deadline: Duration,
    ) -> Result<Vec<Vec<Option<String>>>, EndpointError> {
        let answered = async {
            self.send_query(sql).await?;
            self.read_rows().await
        };
        timeout(deadline, answered)
            .await
            .map_err(|_| too_slow("wait for the server's answer", deadline))?
    }

    async fn send_query(&mut self, sql: &str) -> Result<(), EndpointError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|error| unsendable("query", error))?;
        self.write(&out).await
    }

    /// Reads until the server is ready again, also past an error, so that the next query finds a
    /// clean stream.
    async fn read_rows(&mut self) -> Result<Vec<Vec<Option<String>>>, EndpointError> {
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let frame = self.read().await?;
            match frame.tag {
                tags::DATA_ROW => rows.push(frame::data_row(&frame.body)?),
                tags::ERROR => failed = Some(refused("ask the server", &frame)),
                tags::READY => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    async fn sign_in(&mut self, login: &Login, label: &StreamLabel) -> Result<(), EndpointError> {
        let application = format!("tidegate/{}/{}", label.sync, label.run);
        // An agent sets user and database itself and ignores these.
        let (user, database) = match login {
            Login::ByAgent => ("tidegate", "tidegate"),
            Login::Password { user, database, .. } => (user.as_str(), database.as_str()),
        };
        let parameters = [
            ("user", user),
            ("database", database),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
            ("application_name", &application),
        ];
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out)
            .map_err(|error| unsendable("sign in", error))?;
        self.write(&out).await?;
        let mut scram = None;
        loop {
            let frame = self.read().await?;
            match frame.tag {
                tags::AUTHENTICATION => {
                    self.authenticate(login, &frame.body, &mut scram).await?;
                }
                tags::ERROR => {
                    let mut error = refused("sign in for replication", &frame);
                    if matches!(login, Login::ByAgent) {
                        // The agent's own words: they say what to do on its host.
                        let said = server_error(&frame.body).message;
                        error.message = format!("the agent got no session: {said}");
                    }
                    return Err(error);
                }
                tags::READY => return Ok(()),
                _ => {}
            }
        }
    }

    /// Answers one authentication request. Only SCRAM-SHA-256 and "no question asked" (an agent
    /// has signed in already) are accepted: MD5 and clear text give the password away.
    async fn authenticate(
        &mut self,
        login: &Login,
        body: &[u8],
        scram: &mut Option<ScramSha256>,
    ) -> Result<(), EndpointError> {
        let what = "a broken authentication request";
        let (kind, rest) = body.split_first_chunk::<4>().ok_or(Malformed { what })?;
        let mut out = BytesMut::new();
        match (u32::from_be_bytes(*kind), login, scram.as_mut()) {
            (0, _, None) => return Ok(()),
            // The server wants to be believed without having proved that it knows the password.
            (0, _, Some(_)) => return Err(untrusted_server("no server signature")),
            (10, Login::Password { password, .. }, None) => {
                if !rest
                    .split(|byte| *byte == 0)
                    .any(|name| name == SCRAM_SHA_256.as_bytes())
                {
                    return Err(weak_authentication());
                }
                let state = ScramSha256::new(
                    password.expose_secret().as_bytes(),
                    ChannelBinding::unsupported(),
                );
                frontend::sasl_initial_response(SCRAM_SHA_256, state.message(), &mut out)
                    .map_err(|error| unsendable("sign in", error))?;
                *scram = Some(state);
            }
            (11, _, Some(state)) => {
                state.update(rest).map_err(untrusted_server)?;
                frontend::sasl_response(state.message(), &mut out)
                    .map_err(|error| unsendable("sign in", error))?;
            }
            (12, _, Some(state)) => {
                state.finish(rest).map_err(untrusted_server)?;
                *scram = None;
                return Ok(());
            }
            (_, Login::ByAgent, _) => {
                return Err(EndpointError::bug(
                    "protocol-violation",
                    "sign in: the agent passed the server's password question on",
                ));
            }
            _ => return Err(weak_authentication()),
        }
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), EndpointError> {
        self.stream.write_all(bytes).await.map_err(cut)?;
        self.stream.flush().await.map_err(cut)
    }

    async fn read(&mut self) -> Result<Frame, EndpointError> {
        loop {
            if let Some(frame) = frame::pop(&mut self.unread)? {
                return Ok(frame);
            }
            fill(&mut self.stream, &mut self.unread).await?;
        }
    }
}

/// The reading half of a connection in CopyBoth mode.
pub(super) struct FrameReader {
    stream: ReadHalf<Box<dyn ByteStream>>,
    unread: BytesMut,
}

impl FrameReader {
    /// The next message, if all of it has arrived. `None`: the stream ran dry.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>, EndpointError> {
        frame::pop(&mut self.unread)
    }

    /// Waits for more bytes. Cancel safe.
    pub(super) async fn fill(&mut self) -> Result<(), EndpointError> {
        fill(&mut self.stream, &mut self.unread).await
    }
}

async fn fill(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    unread: &mut BytesMut,
) -> Result<(), EndpointError> {
    match stream.read_buf(unread).await {
        Ok(0) => Err(EndpointError::retry(
            "connection-lost",
            "the connection to PostgreSQL was closed",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(cut(error)),
    }
}

/// Session settings of every replication connection: the text form of values, and no timeout that
/// would end an exported snapshot.
fn session_settings() -> String {
    let fixed = [
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ];
    let settings = types::SESSION.iter().chain(&fixed);
    settings
        .map(|(name, value)| format!("set {name} = {};", quote_literal(value)))
        .collect()
}

/// The error that an ErrorResponse means.
pub(super) fn refused(doing: &str, frame: &Frame) -> EndpointError {
    let error = server_error(&frame.body);
    classify(doing, &error).caused_by(error)
}

/// Decides by SQLSTATE, never by text. Source: PostgreSQL manual, appendix "Error Codes".
fn classify(doing: &str, error: &ServerError) -> EndpointError {
    let operator = |code, advice: &str| EndpointError::operator(code, format!("{doing}: {advice}"));
    match error.code.as_str() {
        "28P01" | "28000" => operator(
            "login-refused",
            "PostgreSQL refuses the role or its password: check both, and pg_hba.conf",
        ),
        "42501" => operator(
            "no-right",
            "the role lacks a right: it needs `alter role … replication`, and for a publication \
             `create` on the database and ownership of the tables",
        ),
        "3D000" => operator("no-database", "there is no such database: check its name"),
        "53400" => operator(
            "no-free-slot",
            "all replication slots are in use: raise max_replication_slots or drop old ones",
        ),
        "55006" => EndpointError::retry("slot-busy", format!("{doing}: the slot is in use")),
        "55000" => operator(
            "slot-unusable",
            "the server can't decode changes: it needs wal_level = logical, and a slot that was \
             not invalidated",
        ),
        "42704" | "58P01" => EndpointError::operator(
            "slot-lost",
            format!("{doing}: the slot, its WAL or its publication is gone: start over"),
        ),
        "22023" => operator("server-too-old", "PostgreSQL 14 or newer is needed"),
        code if ["53", "57", "58", "08", "40"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            EndpointError::retry(
                "server-unavailable",
                format!("{doing}: PostgreSQL says {code}"),
            )
        }
        code => EndpointError::operator(
            "server-refused",
            format!("{doing}: PostgreSQL says {code}; its log has the details"),
        ),
    }
}

fn cut(error: std::io::Error) -> EndpointError {
    EndpointError::retry("connection-lost", "the connection to PostgreSQL broke").caused_by(error)
}

fn too_slow(doing: &str, deadline: Duration) -> EndpointError {
    EndpointError::retry(
        "server-slow",
        format!(
            "{doing}: no answer within {} s; a transaction that stays open may be in the way",
            deadline.as_secs()
        ),
    )
}

fn unsendable(doing: &str, error: std::io::Error) -> EndpointError {
    EndpointError::bug("unsendable", format!("{doing}: a name holds a zero byte")).caused_by(error)
}

fn weak_authentication() -> EndpointError {
    EndpointError::operator(
        "weak-authentication",
        "the server asks for the password in clear text or as MD5: set password_encryption = \
         'scram-sha-256', set the role's password again, and use scram-sha-256 in pg_hba.conf",
    )
}

fn untrusted_server(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EndpointError {
    EndpointError::operator(
        "login-refused",
        "the server could not prove that it knows the role's password: check the password and \
         that this is the right server",
    )
    .caused_by(error)
}

/// `16/B374D848` as a number.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let high = u32::from_str_radix(high, 16).ok()?;
    let low = u32::from_str_radix(low, 16).ok()?;
    Some(u64::from(high) << 32 | u64::from(low))
}

pub fn format_lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

pub(super) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// For text without backslashes or with `standard_conforming_strings` on (the default).
pub(super) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_round_trips_and_garbage_is_refused() {
        for lsn in [0, 1, 0x16_B374_D848, u64::MAX] {
            assert_eq!(parse_lsn(&format_lsn(lsn)), Some(lsn));
        }
        for bad in ["", "/", "1", "x/1", "1/100000000"] {
            assert_eq!(parse_lsn(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
    }
}

#[cfg(test)]
#[path = "replication_tests.rs"]
mod session_tests;

//! What the relay's client sees of sessions that the agent logged in: `tokio-postgres` over an
//! in-memory stream, with no password, against the real server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tempfile::TempDir;
use tidegate_agent::config::Target;
use tidegate_agent::origin::gate::{Purpose, Request};
use tidegate_agent::origin::password::Places;
use tidegate_agent::origin::{Origin, SessionError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::server::{PASSWORD, free_port, server};

/// An agent with one target, and its state directory.
pub(crate) struct Agent {
    pub(crate) origin: Arc<Origin>,
    pub(crate) state: TempDir,
}

/// What became of a session on the agent's side.
pub(crate) type Ended = JoinHandle<Result<(), SessionError>>;

impl Agent {
    pub(crate) fn new(target: Target) -> Agent {
        let state = tempfile::tempdir().unwrap();
        let origin = Origin::open(&[target], state.path(), Places::default()).unwrap();
        Agent { origin, state }
    }

    /// Opens a stream for `purpose`; returns the relay's end, the task, and whether the stream was
    /// finished rather than dropped.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        epoch: u64,
    ) -> (DuplexStream, Ended, Arc<AtomicBool>) {
        let request = Request {
            target: "main".into(),
            sync: "blog".into(),
            run: "r1".into(),
            epoch,
            purpose,
        };
        let session = self.origin.admit(&request).unwrap();
        let (relay, inner) = tokio::io::duplex(256 * 1024);
        let finished = Arc::new(AtomicBool::new(false));
        let stream = Watched {
            inner,
            finished: finished.clone(),
        };
        let task = tokio::spawn(async move {
            match purpose {
                Purpose::Cancel => session.cancel(stream).await,
                _ => session.serve(stream).await,
            }
        });
        (relay, task, finished)
    }

    pub(crate) async fn connect(&self, config: &Config) -> Result<Client, tokio_postgres::Error> {
        let (relay, _, _) = self.open(Purpose::Session, 1);
        let (client, connection) = config.connect_raw(relay, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Tells a finished stream from a dropped one, as a tunnel does.
struct Watched {
    inner: DuplexStream,
    finished: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.finished.store(true, Ordering::SeqCst);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What a relay sends: any user name, no password.
pub(crate) fn relay() -> Config {
    let mut config = Config::new();
    config.user("nobody-in-particular");
    config
}

pub(crate) async fn value(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The one line and the code that a refused login shows to the relay.
pub(crate) async fn refusal(target: Target) -> (String, SqlState) {
    let error = Agent::new(target)
        .connect(&relay())
        .await
        .map(drop)
        .expect_err("must be refused");
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    assert!(!format!("{error:?}").contains(PASSWORD));
    (error.message().to_owned(), error.code().clone())
}

#[tokio::test]
async fn relay_gets_a_session_without_a_password_over_tcp_and_socket() {
    let server = server();
    let socket = server.target_at(&server.socket_address(), "tidegate", "");
    for target in [server.target("tidegate", ""), socket] {
        let mut config = relay();
        config.application_name("forged").dbname("postgres");
        let client = Agent::new(target).connect(&config).await.unwrap();
        assert_eq!(
            value(&client, "select current_user::text").await,
            "tidegate"
        );
        assert_eq!(
            value(&client, "select current_database()::text").await,
            "shop"
        );
        assert_eq!(
            value(&client, "show application_name").await,
            "tidegate/blog/r1"
        );
        let count: i64 = client
            .query_one("select count(*) from posts", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(count, 1000);
    }
}

#[tokio::test]
async fn session_that_the_client_ends_is_finished_and_leaves_nothing() {
    let agent = Agent::new(server().target("tidegate", ""));
    let (stream, ended, finished) = agent.open(Purpose::Session, 1);
    let (client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(agent.origin.sessions().len(), 1);
    drop(client);
    connection.await.unwrap().unwrap();
    ended.await.unwrap().unwrap();
    assert!(finished.load(Ordering::SeqCst));
    assert!(agent.origin.sessions().is_empty());
}

#[tokio::test]
async fn session_that_the_server_ends_is_reset() {
    let agent = Agent::new(server().target("tidegate", ""));
    let (stream, ended, finished) = agent.open(Purpose::Session, 1);
    let (client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    let pid: i32 = client
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let admin = server().superuser().await;
    admin
        .execute("select pg_terminate_backend($1)", &[&pid])
        .await
        .unwrap();
    let ended = ended.await.unwrap();
    // The client may see the server's last words and hang up first; it is an error either way.
    let is_reset = matches!(ended, Err(SessionError::Forward(_)));
    assert!(is_reset && !finished.load(Ordering::SeqCst), "{ended:?}");
}

#[tokio::test]
async fn newer_epoch_stops_sessions_of_the_older_one() {
    let agent = Agent::new(server().target("tidegate", ""));
    let (stream, ended, finished) = agent.open(Purpose::Session, 5);
    let (client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    let (_newer, _, _) = agent.open(Purpose::Session, 6);
    assert!(matches!(ended.await.unwrap(), Err(SessionError::Stopped)));
    assert!(!finished.load(Ordering::SeqCst));
    assert!(client.simple_query("select 1").await.is_err());
}

#[tokio::test]
async fn target_taken_from_the_configuration_loses_its_sessions() {
    let agent = Agent::new(server().target("tidegate", ""));
    let (stream, ended, _) = agent.open(Purpose::Session, 1);
    let (_client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    agent.origin.reload(&[server().target("tidegate", "")]);
    assert_eq!(
        agent.origin.sessions().len(),
        1,
        "unchanged target keeps its sessions"
    );
    agent.origin.reload(&[]);
    assert!(matches!(ended.await.unwrap(), Err(SessionError::Stopped)));
}

#[tokio::test]
async fn wrong_password_says_where_to_look_and_not_what_it_was() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}-but-wrong")).unwrap();
    let extra = format!("password_file='{}'\n", file.path().display());
    let (message, code) = refusal(server().target("tidegate", &extra)).await;
    assert_eq!(code, SqlState::INVALID_PASSWORD);
    assert_eq!(
        message,
        "the agent's password for target main was refused by PostgreSQL: check password_file"
    );
}

#[tokio::test]
async fn weak_authentication_is_refused_unless_the_target_says_so() {
    for (user, method) in [("oldstyle", "MD5"), ("cleartext", "cleartext password")] {
        let (message, code) = refusal(server().target(user, "")).await;
        assert_eq!(code, SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        assert!(
            message.contains(method) && message.contains("scram-sha-256"),
            "{message}"
        );
        let allowed = Agent::new(server().target(user, "allow_md5 = true\n"));
        let client = allowed.connect(&relay()).await.unwrap();
        assert_eq!(value(&client, "select current_user::text").await, user);
    }
}

#[tokio::test]
async fn other_refusals_name_their_cause_and_the_next_step() {
    let unknown_database = Target {
        database: "nowhere".into(),
        ..server().target("tidegate", "")
    };
    let (message, code) = refusal(unknown_database).await;
    assert_eq!(code, SqlState::UNDEFINED_DATABASE);
    assert!(
        message.contains("check the database name in agent.toml"),
        "{message}"
    );

    let down = server().target_at(&format!("127.0.0.1:{}", free_port()), "tidegate", "");
    let (message, code) = refusal(down).await;
    assert_eq!(code, SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    assert!(
        message.contains("check that PostgreSQL is running"),
        "{message}"
    );

    let extra = "password_file='/nonexistent/password'\n";
    let (message, code) = refusal(server().target("tidegate", extra)).await;
    assert_eq!(code, SqlState::INVALID_PASSWORD);
    assert!(message.contains("/nonexistent/password"), "{message}");
}

#[tokio::test]
async fn cancel_reaches_the_session_through_its_substituted_key() {
    let agent = Agent::new(server().target("tidegate", ""));
    let client = agent.connect(&relay()).await.unwrap();
    let token = client.cancel_token();
    let sleeping = tokio::spawn(async move {
        client
            .batch_execute("set application_name = 'sleeping'; select pg_sleep(60)")
            .await
    });
    let admin = server().superuser().await;
    let asleep = "select count(*) from pg_stat_activity
                  where application_name = 'sleeping' and wait_event = 'PgSleep'";
    while admin.query_one(asleep, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    let (stream, ended, _) = agent.open(Purpose::Cancel, 1);
    token.cancel_query_raw(stream, NoTls).await.unwrap();
    ended.await.unwrap().unwrap();
    let error = sleeping.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
}

#[tokio::test]
async fn key_that_is_told_is_not_postgresqls_own() {
    let agent = Agent::new(server().target("tidegate", ""));
    let (mut stream, _, _) = agent.open(Purpose::Session, 1);
    stream
        .write_all(b"\0\0\0\x10\0\x03\0\0user\0x\0\0")
        .await
        .unwrap();
    let process_id = loop {
        let kind = stream.read_u8().await.unwrap();
        let length = stream.read_u32().await.unwrap() as usize;
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body).await.unwrap();
        if kind == b'K' {
            break i32::from_be_bytes([body[0], body[1], body[2], body[3]]);
        }
    };
    let admin = server().superuser().await;
    let sql = "select count(*) from pg_stat_activity where pid = $1";
    let count: i64 = admin.query_one(sql, &[&process_id]).await.unwrap().get(0);
    assert_eq!(count, 0);
}

#[tokio::test]
async fn options_are_dropped_and_listed_parameters_pass() {
    let agent = Agent::new(server().target("tidegate", ""));
    let mut config = relay();
    config.options("-c search_path=evil -c statement_timeout=1");
    let client = agent.connect(&config).await.unwrap();
    assert_eq!(
        value(&client, "show search_path").await,
        "\"$user\", public"
    );
    assert_eq!(value(&client, "show statement_timeout").await, "0");
    assert_eq!(value(&client, "show client_encoding").await, "UTF8");
}

#[tokio::test]
async fn replication_stream_speaks_to_a_wal_sender() {
    let agent = Agent::new(server().target("tidegate", ""));
    let (stream, _, _) = agent.open(Purpose::Replication, 1);
    let (client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    let answer = client.simple_query("IDENTIFY_SYSTEM").await.unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    assert_eq!(row.unwrap().get("dbname"), Some("shop"));
}

#[tokio::test]
async fn role_without_replication_is_told_so() {
    let agent = Agent::new(server().target("reader", ""));
    let (stream, _, _) = agent.open(Purpose::Replication, 1);
    let error = relay().connect_raw(stream, NoTls).await.err().unwrap();
    let error = error.as_db_error().unwrap();
    assert!(error.message().contains("tidegate-agent grant"), "{error}");
}

#[tokio::test]
async fn tls_is_verified_as_its_mode_says() {
    let server = server();
    let by_name = format!("localhost:{}", server.port);
    let by_address = format!("127.0.0.1:{}", server.port);
    let ca = format!("sslrootcert='{}'\n", server.authority_file().display());
    let encrypted = "select case when ssl then 'yes' else 'no' end from pg_stat_ssl
                     where pid = pg_backend_pid()";
    for (address, extra, expected) in [
        (&by_name, format!("sslmode='verify-full'\n{ca}"), "yes"),
        (&by_address, format!("sslmode='verify-ca'\n{ca}"), "yes"),
        (&by_address, "sslmode='require'\n".to_owned(), "yes"),
        (&by_address, "sslmode='prefer'\n".to_owned(), "yes"),
        (&by_address, "sslmode='allow'\n".to_owned(), "no"),
        (&by_address, "sslmode='disable'\n".to_owned(), "no"),
    ] {
        let agent = Agent::new(server.target_at(address, "tidegate", &extra));
        let client = agent.connect(&relay()).await.unwrap();
        assert_eq!(value(&client, encrypted).await, expected, "{extra}");
    }
    let wrong_name = format!("sslmode='verify-full'\n{ca}");
    let (message, _) = refusal(server.target_at(&by_address, "tidegate", &wrong_name)).await;
    assert!(message.contains("not valid for name"), "{message}");
    let other_ca = "sslmode='verify-full'\nsslrootcert='system'\n";
    let (message, _) = refusal(server.target_at(&by_name, "tidegate", other_ca)).await;
    assert!(message.contains("TLS with PostgreSQL"), "{message}");
}

#[tokio::test]
async fn prefer_comes_back_plain_when_the_server_rejects_encrypted_logins() {
    let target = server().target("plainonly", "sslmode='prefer'\n");
    let client = Agent::new(target).connect(&relay()).await.unwrap();
    assert_eq!(
        value(&client, "select current_user::text").await,
        "plainonly"
    );
    let (message, code) = refusal(server().target("plainonly", "sslmode='require'\n")).await;
    assert_eq!(code, SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert!(message.contains("pg_hba.conf"), "{message}");
}

#[tokio::test]
async fn read_only_target_refuses_a_role_that_may_write() {
    let (message, code) = refusal(server().target("tidegate", "read_only=true\n")).await;
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(message.contains("may write to "), "{message}");
    let agent = Agent::new(server().target("reader", "read_only=true\n"));
    let client = agent.connect(&relay()).await.unwrap();
    assert_eq!(
        value(&client, "show default_transaction_read_only").await,
        "on"
    );
    let count: i64 = client
        .query_one("select count(*) from posts", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 1000);
}

//! What the agent holds back: pauses, read-only sessions, the write brake. Against the real server.

use tidegate_agent::audit::Chain;
use tidegate_agent::origin::forward::ForwardError;
use tidegate_agent::origin::gate::{Denial, Purpose, Request};
use tidegate_agent::origin::hold::Level;
use tidegate_agent::origin::password::Places;
use tidegate_agent::origin::{NotAdmitted, Origin, SessionError};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::login::{Agent, relay, value};
use super::server::{PASSWORD, server};

/// As a sync's apply does it.
const BEGIN: &str = "begin isolation level read committed read write";

/// A table of the test's own, which the agent's role may write to.
async fn table(name: &str) -> tokio_postgres::Client {
    let admin = server().superuser().await;
    let sql = format!(
        "create table {name} (id int primary key); insert into {name} select generate_series(1, 50);
         grant select, insert, update, delete, truncate on {name} to tidegate"
    );
    admin.batch_execute(&sql).await.unwrap();
    admin
}

async fn count(admin: &tokio_postgres::Client, table: &str) -> i64 {
    let sql = format!("select count(*) from {table}");
    admin.query_one(&sql, &[]).await.unwrap().get(0)
}

fn request(purpose: Purpose) -> Request {
    Request {
        target: "main".into(),
        sync: "blog".into(),
        run: "r1".into(),
        epoch: 1,
        purpose,
    }
}

fn actions(agent: &Agent) -> Vec<String> {
    let entries = agent.origin.audit().tail(100).unwrap();
    entries.into_iter().map(|entry| entry.action).collect()
}

#[tokio::test]
async fn paused_agent_cuts_what_is_open_and_stays_paused_over_a_restart() {
    let target = server().target("tidegate", "");
    let agent = Agent::new(target.clone());
    let (stream, ended, _) = agent.open(Purpose::Session, 1);
    let (_client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    agent.origin.hold(Level::Everything, "closing").unwrap();
    assert!(matches!(ended.await.unwrap(), Err(SessionError::Stopped)));
    let again = Origin::open(&[target], agent.state.path(), Places::default()).unwrap();
    for purpose in [Purpose::Session, Purpose::Replication, Purpose::Probe] {
        let refused = again.admit(&request(purpose)).err().unwrap();
        let is_paused = matches!(refused, NotAdmitted::Denied(Denial::Paused(_)));
        assert!(
            is_paused && refused.to_string().contains("(closing)"),
            "{refused}"
        );
    }
    again.hold(Level::Nothing, "").unwrap();
    assert!(again.admit(&request(Purpose::Session)).is_ok());
}

#[tokio::test]
async fn held_writes_refuse_a_write_even_in_a_read_write_transaction_and_keep_reads() {
    let admin = table("held").await;
    let agent = Agent::new(server().target("tidegate", ""));
    let writer = agent.connect(&relay()).await.unwrap();
    let (replication, _, _) = agent.open(Purpose::Replication, 1);
    let (replication, connection) = relay().connect_raw(replication, NoTls).await.unwrap();
    tokio::spawn(connection);
    agent.origin.hold(Level::Writes, "").unwrap();
    assert!(
        writer.batch_execute("select 1").await.is_err(),
        "a writable session goes on"
    );
    assert!(replication.simple_query("IDENTIFY_SYSTEM").await.is_ok());

    let client = agent.connect(&relay()).await.unwrap();
    client.batch_execute(BEGIN).await.unwrap();
    let error = client.execute("delete from held", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(
        value(&client, "select count(*)::text from held").await,
        "50"
    );
    for lifts in [
        "set default_transaction_read_only = off",
        "select set_config('default_transaction_read_only', 'off', false)",
        "do $$ begin perform set_config('default_transaction_' || 'read_only', 'off', false); end $$",
    ] {
        let client = agent.connect(&relay()).await.unwrap();
        client.batch_execute(lifts).await.unwrap_err();
        assert!(client.batch_execute("delete from held").await.is_err());
    }
    assert_eq!(count(&admin, "held").await, 50);
    assert!(
        actions(&agent).contains(&"stream.cut".to_owned()),
        "{:?}",
        actions(&agent)
    );

    agent.origin.hold(Level::Nothing, "").unwrap();
    let client = agent.connect(&relay()).await.unwrap();
    client
        .batch_execute("delete from held where id = 1")
        .await
        .unwrap();
    assert_eq!(count(&admin, "held").await, 49);
}

#[tokio::test]
async fn read_only_session_stays_so_whatever_the_relay_says() {
    let agent = Agent::new(server().target("reader", "read_only=true\n"));
    let client = agent.connect(&relay()).await.unwrap();
    client.batch_execute("begin read write").await.unwrap();
    assert_eq!(value(&client, "show transaction_read_only").await, "on");
    let (stream, ended, finished) = agent.open(Purpose::Session, 1);
    let (client, connection) = relay().connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    let lifts = "set session characteristics as transaction read /**/ write";
    client.batch_execute(lifts).await.unwrap_err();
    let cut = matches!(
        ended.await.unwrap(),
        Err(SessionError::Forward(ForwardError::NotReadOnly(_)))
    );
    assert!(cut && !finished.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn write_brake_stops_a_mass_deletion_before_its_commit_and_keeps_reads() {
    let admin = table("braked").await;
    let extra = "brake_deleted_rows_per_minute = 10\nbrake_changed_rows_per_minute = 100\n";
    let agent = Agent::new(server().target("tidegate", extra));
    let client = agent.connect(&relay()).await.unwrap();
    client
        .batch_execute("delete from braked where id <= 10")
        .await
        .unwrap();
    client.batch_execute(BEGIN).await.unwrap();
    assert!(
        client.batch_execute("delete from braked").await.is_err(),
        "the brake cuts"
    );
    // The server notices the end of the session a moment later, and rolls back.
    let left = "select count(*) from pg_locks where relation = 'braked'::regclass";
    while admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0 {}
    assert_eq!(count(&admin, "braked").await, 40);
    let hold = agent.origin.held();
    assert_eq!(hold.level, Level::Writes);
    assert!(hold.reason.contains("50 rows deleted") || hold.reason.contains("rows deleted"));
    let client = agent.connect(&relay()).await.unwrap();
    assert_eq!(
        value(&client, "select count(*)::text from braked").await,
        "40"
    );
    let error = client
        .batch_execute("delete from braked")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
}

#[tokio::test]
async fn opens_above_the_rate_are_denied_and_noted() {
    let agent = Agent::new(server().target("tidegate", "max_opens_per_minute = 2\n"));
    assert!(agent.origin.admit(&request(Purpose::Session)).is_ok());
    assert!(agent.origin.admit(&request(Purpose::Cancel)).is_ok());
    let denied = agent
        .origin
        .admit(&request(Purpose::Session))
        .err()
        .unwrap();
    assert!(
        matches!(denied, NotAdmitted::Denied(Denial::Rate { max: 2, .. })),
        "{denied}"
    );
    assert_eq!(
        actions(&agent),
        ["stream.open", "stream.open", "stream.deny"]
    );
}

#[tokio::test]
async fn record_tells_what_was_done_without_secrets_or_rows() {
    let admin = table("noted").await;
    let agent = Agent::new(server().target("tidegate", "max_sessions = 1\n"));
    let client = agent.connect(&relay()).await.unwrap();
    client
        .batch_execute("insert into noted values (987654321)")
        .await
        .unwrap();
    assert!(agent.origin.admit(&request(Purpose::Session)).is_err());
    agent.origin.hold(Level::Writes, "closing").unwrap();
    agent.origin.reload(&[]);
    let expected = ["stream.open", "stream.deny", "hold.writes", "policy.reload"];
    assert_eq!(actions(&agent), expected);
    let whole = agent.origin.audit().verify().unwrap();
    assert!(
        matches!(whole, Chain::Intact { entries: 4, .. }),
        "{whole:?}"
    );
    let text = std::fs::read_to_string(agent.state.path().join("audit.log")).unwrap();
    assert!(
        !text.contains(PASSWORD) && !text.contains("987654321"),
        "{text}"
    );
    drop(admin);
}

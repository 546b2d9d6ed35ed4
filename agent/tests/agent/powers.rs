//! Roles that may do more than their grants say, and logins that are passed on.

use tidegate_agent::origin::gate::Purpose;
use tidegate_agent::origin::role;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::login::{Agent, refusal, relay, value};
use super::server::{PASSWORD, server};

async fn admin(sql: &str) {
    server().superuser().await.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn powerful_roles_are_refused_where_the_target_says_so() {
    let password = format!("password '{PASSWORD}'");
    admin(&format!(
        "create role runs_programs login {password} in role pg_execute_server_program;
         create role bypasses login bypassrls {password};
         create role becomes login noinherit {password} in role postgres"
    ))
    .await;
    for (user, expected) in [
        ("postgres", "is a superuser"),
        ("runs_programs", "is a member of pg_execute_server_program"),
        ("bypasses", "bypasses row security"),
        ("becomes", "may become superuser postgres"),
    ] {
        let target = server().target(user, "powerful_role = \"refuse\"\n");
        let (message, code) = refusal(target).await;
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);
        assert!(
            message.contains(expected) && message.contains("tidegate-agent grant"),
            "{message}"
        );
        let warned = Agent::new(server().target(user, ""));
        let client = warned.connect(&relay()).await.unwrap();
        assert_eq!(value(&client, "select session_user::text").await, user);
        let target = warned.origin.targets().remove(0);
        let mut session = warned.origin.own_session(&target).await.unwrap();
        let powers = role::powers(&mut session).await.unwrap();
        assert!(powers[0].contains(expected), "{powers:?}");
    }
    let plain = server().target("tidegate", "powerful_role = \"refuse\"\n");
    assert!(Agent::new(plain).connect(&relay()).await.is_ok());
}

#[tokio::test]
async fn read_only_target_refuses_what_could_become_a_writer() {
    let password = format!("password '{PASSWORD}'");
    admin(&format!(
        "create role writes_all login noinherit {password} in role pg_write_all_data;
         create role owns login {password};
         create table owned (id int); alter table owned owner to owns;
         revoke all on owned from owns"
    ))
    .await;
    for user in ["writes_all", "owns", "postgres"] {
        let (message, code) = refusal(server().target(user, "read_only = true\n")).await;
        assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{user}: {message}");
    }
}

#[tokio::test]
async fn passed_on_login_is_the_persons_own_and_the_database_the_targets() {
    let target = server().target(
        "reader",
        "forward = \"passthrough\"\nsslmode = \"disable\"\n",
    );
    let agent = Agent::new(target);
    let mut person = tokio_postgres::Config::new();
    person
        .user("tidegate")
        .password(PASSWORD)
        .dbname("postgres");
    let (stream, ended, finished) = agent.open(Purpose::Forward, 0);
    let (client, connection) = person.connect_raw(stream, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(
        value(&client, "select session_user::text").await,
        "tidegate"
    );
    assert_eq!(
        value(&client, "select current_database()::text").await,
        "shop"
    );
    drop(client);
    connection.await.unwrap().unwrap();
    ended.await.unwrap().unwrap();
    assert!(finished.load(std::sync::atomic::Ordering::SeqCst));

    person.password("wrong");
    let (stream, _, _) = agent.open(Purpose::Forward, 0);
    let error = person.connect_raw(stream, NoTls).await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
}

#[tokio::test]
async fn forward_without_passthrough_logs_in_with_the_targets_role() {
    let agent = Agent::new(server().target("reader", "forward = \"yes\"\n"));
    let mut person = tokio_postgres::Config::new();
    person.user("postgres").dbname("postgres");
    let (stream, _, _) = agent.open(Purpose::Forward, 0);
    let (client, connection) = person.connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(value(&client, "select session_user::text").await, "reader");
}

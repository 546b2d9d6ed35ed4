//! The slot: created with a snapshot, checked at every start, taken over, dropped.

use tidegate_relay::endpoint::postgres::publication::Ddl;
use tidegate_relay::endpoint::postgres::replication::Connection;
use tidegate_relay::endpoint::postgres::slots::{self, Names};
use tidegate_relay::endpoint::{Class, Dial, EndpointError, Login};
use tidegate_sync::model::{Position, Side};

use crate::support::postgres::{PASSWORD, Server};
use crate::support::stream::{Stream, brief, briefs, label, next};

const DDL: &str = "create table posts (id int primary key, title text)";
const FIELDS: &[(&str, &[&str])] = &[("posts", &["title"])];

async fn forget(dial: &dyn Dial, sync: &str) -> Result<(), EndpointError> {
    let mut connection = Connection::open(dial, &label()).await?;
    slots::forget(&mut connection, sync, Ddl::Allowed).await
}

async fn check(stream: &Stream, position: &Position) -> Result<(), String> {
    let mut connection = Connection::open(&*stream.database.dial(), &label())
        .await
        .unwrap();
    let checked = slots::check(&mut connection, &stream.names, &stream.tables, position);
    checked.await.unwrap()
}

async fn check_says(stream: &Stream, position: &Position, reason: &str) {
    let said = check(stream, position).await.unwrap_err();
    assert!(said.contains(reason), "{said}");
    let refused = stream.resume(position).await.err().unwrap();
    assert_eq!(refused.code, "position-lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_can_read_the_snapshot_exactly_at_the_slots_position() {
    let posts = Stream::new("snap", DDL, FIELDS).await;
    posts
        .execute("insert into posts values (1, 'before')")
        .await;
    let (snapshot, position) = posts.start_over().await;
    posts.execute("insert into posts values (2, 'after')").await;
    let reader = posts.database.client().await;
    let import = format!(
        "begin isolation level repeatable read; set transaction snapshot '{}'",
        snapshot.snapshot
    );
    reader.batch_execute(&import).await.unwrap();
    drop(snapshot);
    // The slot goes on streaming while the reader still reads.
    let mut capture = posts.resume(&position).await.unwrap();
    assert_eq!(briefs(&posts.read(&mut capture).await), ["+2 after"]);
    let count = "select count(*) from posts";
    let seen: i64 = reader.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(seen, 1);
    assert!(
        posts.client.batch_execute(&import).await.is_err(),
        "too late to import"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_reads_any_more_loses_the_slot() {
    let posts = Stream::new("linger", DDL, FIELDS).await;
    let (mut old, position) = posts.start().await;
    let mut new = posts.resume(&position).await.unwrap();
    let error = loop {
        match next(&mut old).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error.class, Class::Retry(_)), "{error:?}");
    posts.execute("insert into posts values (1, 'a')").await;
    assert_eq!(briefs(&posts.read(&mut new).await), ["+1 a"]);
    // Starting over takes the slot from a running stream, too.
    posts.start_over().await;
    while next(&mut new).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_noticed_before_anything_is_read() {
    let posts = Stream::new("holes", DDL, FIELDS).await;
    let (_, position) = posts.start_over().await;
    assert_eq!(check(&posts, &position).await, Ok(()));
    let no_position = Position::default();
    check_says(&posts, &no_position, "another one than before").await;
    let future = Position {
        offset: position.offset + (1 << 40),
        ..position.clone()
    };
    check_says(&posts, &future, "lost data").await;

    posts.execute("insert into posts values (1, 'a')").await;
    let advance = format!(
        "select end_lsn::text from pg_replication_slot_advance('{}', pg_current_wal_lsn())",
        posts.names.slot
    );
    posts.ask(&advance).await;
    check_says(&posts, &position, "has moved on").await;

    let (_, position) = posts.start_over().await;
    posts
        .execute(&format!("drop publication {}", posts.names.publication))
        .await;
    check_says(&posts, &position, "publication").await;

    let (_, position) = posts.start_over().await;
    let alter = format!(
        "alter publication {} set (publish = 'insert')",
        posts.names.publication
    );
    posts.execute(&alter).await;
    check_says(&posts, &position, "leaves changes out").await;

    let (_, position) = posts.start_over().await;
    posts
        .execute("create table tags (id int primary key)")
        .await;
    let alter = format!(
        "alter publication {} set table tags",
        posts.names.publication
    );
    posts.execute(&alter).await;
    check_says(&posts, &position, "public.posts was not in publication").await;

    let (_, position) = posts.start_over().await;
    assert_eq!(check(&posts, &position).await, Ok(()));
    let drop_slot = format!("select pg_drop_replication_slot('{}')", posts.names.slot);
    posts.execute(&drop_slot).await;
    check_says(&posts, &position, "is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidated_slot_is_a_reason_to_start_over() {
    let server = Server::start_with(&["max_slot_wal_keep_size = '1MB'", "max_wal_size = '32MB'"]);
    let posts = Stream::on(server.database("lost").await, DDL, FIELDS).await;
    let (mut capture, position) = posts.start().await;
    posts.execute("insert into posts values (1, 'a')").await;
    posts.read(&mut capture).await;
    drop(capture);
    let admin = posts.database.admin().await;
    let status = format!(
        "select wal_status from pg_replication_slots where slot_name = '{}'",
        posts.names.slot
    );
    while posts.ask(&status).await != "lost" {
        posts
            .execute("select pg_logical_emit_message(true, 'fill', repeat('x', 9000000))")
            .await;
        admin
            .batch_execute("select pg_switch_wal(); checkpoint")
            .await
            .unwrap();
    }
    check_says(&posts, &position, "was invalidated").await;
    let (_, position) = posts.start_over().await;
    assert_eq!(check(&posts, &position).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_continues_the_stream() {
    let server = Server::start_with(&[]);
    let posts = Stream::on(server.database("restart").await, DDL, FIELDS).await;
    let (mut capture, _) = posts.start().await;
    posts.execute("insert into posts values (1, 'a')").await;
    let first = posts.read(&mut capture).await;
    server.stop(true);
    let error = loop {
        match next(&mut capture).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error.class, Class::Retry(_)), "{error:?}");
    let refused = posts.resume(&first.position).await.err().unwrap();
    assert!(matches!(refused.class, Class::Retry(_)), "{refused:?}");
    server.start();
    let mut capture = posts.resume(&first.position).await.unwrap();
    let client = posts.database.client().await;
    client
        .batch_execute("insert into posts values (2, 'b')")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = next(&mut capture)
            .await
            .unwrap()
            .changes
            .iter()
            .map(brief)
            .collect::<Vec<_>>();
    }
    assert_eq!(seen, ["+2 b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_drops_slot_and_publication_even_in_use() {
    let posts = Stream::new("forget", DDL, FIELDS).await;
    let (_capture, _) = posts.start().await;
    forget(&*posts.database.dial(), &posts.sync).await.unwrap();
    let left = "select (select count(*) from pg_replication_slots where database = \
                current_database()) + (select count(*) from pg_publication)";
    let left: i64 = posts.client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
    forget(&*posts.database.dial(), &posts.sync).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    let posts = Stream::new("refuse", DDL, FIELDS).await;
    let admin = posts.database.admin().await;
    let role = format!("{}_bare", posts.sync);
    let create = format!("create role {role} login password '{PASSWORD}'");
    admin.batch_execute(&create).await.unwrap();
    let bare = posts.database.dial_as(&role, PASSWORD);
    let error = Connection::open(&bare, &label()).await.err().unwrap();
    assert_eq!((error.class, error.code), (Class::Operator, "no-right"));

    let alter = format!("alter role {role} replication");
    admin.batch_execute(&alter).await.unwrap();
    let names = Names::new(&posts.sync, Side::Right);
    let error = slots::start_over(&bare, &label(), &names, &posts.tables)
        .await
        .err()
        .unwrap();
    assert_eq!((error.class, error.code), (Class::Operator, "no-right"));
    assert!(error.message.contains("create publication"), "{error}");
    // What the message says helps.
    let sql = error.message.split('`').nth(1).unwrap();
    posts.execute(sql).await;
    slots::start_over(&bare, &label(), &names, &posts.tables)
        .await
        .unwrap();

    // And so it is when everything is dropped: the slot goes, the owner's publication is named.
    let error = forget(&bare, &posts.sync).await.err().unwrap();
    assert!(error.message.contains("drop publication"), "{error}");
    let slots_left = format!(
        "select count(*)::text from pg_replication_slots where slot_name = '{}'",
        names.slot
    );
    assert_eq!(posts.ask(&slots_left).await, "0");
    let sql = error.message.split('`').nth(1).unwrap();
    posts.execute(sql).await;
    forget(&bare, &posts.sync).await.unwrap();

    let wrong = posts.database.dial_as(&role, "wrong");
    let error = Connection::open(&wrong, &label()).await.err().unwrap();
    assert_eq!(
        (error.class, error.code),
        (Class::Operator, "login-refused")
    );
    let Login::Password { password, .. } = wrong.login.clone() else {
        panic!()
    };
    assert!(!format!("{password:?} {error:?}").contains("wrong"));

    let mut nowhere = posts.database.clone();
    nowhere.name = "nowhere".into();
    let error = Connection::open(&*nowhere.dial(), &label())
        .await
        .err()
        .unwrap();
    assert_eq!((error.class, error.code), (Class::Operator, "no-database"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_works_over_tcp_as_well() {
    let posts = Stream::new("tcp", DDL, FIELDS).await;
    let mut dial = posts.database.dial_as("tidegate", PASSWORD);
    dial.tcp = true;
    let mut connection = Connection::open(&dial, &label()).await.unwrap();
    let name = connection
        .query("select 1, null, current_setting('application_name')")
        .await;
    let expected = [
        Some("1".to_owned()),
        None,
        Some("tidegate/test/capture".to_owned()),
    ];
    assert_eq!(name.unwrap(), [expected.to_vec()]);
    // An error leaves the connection usable.
    assert!(connection.query("select 1/0").await.is_err());
    assert_eq!(
        connection.query("select 2").await.unwrap()[0][0].as_deref(),
        Some("2")
    );
}

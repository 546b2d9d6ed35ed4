//! From one level to another, and which one is taken.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_relay::endpoint::level::{Level, choose};
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{
    ByteStream, Dial, Endpoint, EndpointError, Login, Purpose, StreamLabel,
};

use crate::support::bench::Bench;
use crate::support::postgres::Server;

const POSTS: &str = "create table posts (id int primary key, title text)";
const TITLES: &[(&str, &[&str])] = &[("posts", &["title"])];

/// A pooler that passes ordinary sessions only.
struct Pooler(Arc<dyn Dial>);

#[async_trait]
impl Dial for Pooler {
    async fn dial(
        &self,
        purpose: Purpose,
        label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        if purpose == Purpose::Replication {
            return Err(EndpointError::operator("refused", "the pooler says no"));
        }
        self.0.dial(purpose, label).await
    }

    fn login(&self) -> Login {
        self.0.login()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_that_refuses_replication_the_log_is_peeked_at() {
    let database = Server::shared().database("pooled").await;
    let direct = PostgresEndpoint::new(database.dial()).inspect().await;
    let level = choose(&direct.unwrap().captures, None).unwrap().level;
    assert_eq!(level, Level::Stream);
    let pooled = PostgresEndpoint::new(Arc::new(Pooler(database.dial())));
    let chosen = choose(&pooled.inspect().await.unwrap().captures, None).unwrap();
    assert_eq!(chosen.level, Level::Peek);
    assert_eq!(chosen.reason, "no stream: the pooler says no");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_and_peek_take_over_from_each_other_without_a_reconcile() {
    let mut bench = Bench::new(Level::Peek, POSTS, TITLES).await;
    let (mut copy, capture) = bench.start().await;
    drop(capture);
    for (number, level) in [Level::Stream, Level::Peek, Level::Stream]
        .iter()
        .enumerate()
    {
        bench
            .execute(&format!("insert into posts values ({number}, 'x')"))
            .await;
        bench.reopen(*level).await;
        let position = copy.position.clone();
        let mut capture = bench.resume(&position).await;
        bench.catch_up(&mut copy, &mut capture).await;
    }
    assert_eq!(copy.records.len(), 3);
}

/// What the former level left is dropped, and offsets only grow: links remember them.
#[tokio::test(flavor = "multi_thread")]
async fn to_and_from_triggers_is_a_reconcile_and_leaves_nothing_of_the_other_level() {
    let mut bench = Bench::new(Level::Stream, POSTS, TITLES).await;
    let (mut before, capture) = bench.start().await;
    drop(capture);
    for level in [
        Level::Triggers,
        Level::Peek,
        Level::Poll,
        Level::Triggers,
        Level::Compare,
        Level::Stream,
    ] {
        bench.reopen(level).await;
        let checked = bench.side.check_position(&before.position).await.unwrap();
        assert!(checked.is_err(), "{level:?}");
        let (mut copy, mut capture) = bench.start().await;
        assert!(copy.position.offset > before.position.offset, "{level:?}");
        bench
            .execute("insert into posts select coalesce(max(id), 0) + 1, 'x' from posts")
            .await;
        bench.catch_up(&mut copy, &mut capture).await;
        drop(capture);
        before = copy;
        let slots = bench
            .count("select count(*) from pg_replication_slots where database = current_database()")
            .await;
        let triggers = bench
            .count("select count(*) from pg_trigger where not tgisinternal")
            .await;
        let expected = match level {
            Level::Triggers => (0, 4),
            Level::Poll | Level::Compare => (0, 0),
            Level::Stream | Level::Peek => (1, 0),
        };
        assert_eq!((slots, triggers), expected, "{level:?}");
    }
}

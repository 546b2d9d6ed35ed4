//! What networks do to the tunnel: poor links, blocked UDP, changed addresses, peers that are half there,
//! clocks that jump, many agents at once. Each ends with both sides equal.
//!
//! Short forms by default; `make chaos` sets `CHAOS` and runs the long ones, with figures.

mod clocks;
mod fleet;
mod reconnects;
mod ways;

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Client;

use super::stage::Stage;
use super::two_way::{FILE, POSTS};
use crate::support::link::{ABSURD, FOUR_G, GOOD_WIFI, Grade, Link, SATELLITE, WEAK_FOUR_G};
use crate::support::port::free_port;

/// Whether the long forms are wanted.
fn is_long() -> bool {
    std::env::var_os("CHAOS").is_some()
}

/// A stage with a link of that grade between agent and relay, and a sync that is live.
struct Linked {
    stage: Stage,
    link: Link,
    left: Client,
    right: Client,
}

impl Linked {
    async fn start(hint: &str) -> Linked {
        let (front, listen) = (free_port(), free_port());
        let link = Link::start(front, listen, GOOD_WIFI).await;
        Linked::over(link, Stage::start_between(hint, front, listen).await).await
    }

    async fn over(link: Link, stage: Stage) -> Linked {
        let (left, right) = (stage.left.client().await, stage.right.client().await);
        for client in [&left, &right] {
            client.batch_execute(POSTS).await.unwrap();
        }
        stage.apply(FILE).await;
        Linked {
            stage,
            link,
            left,
            right,
        }
    }

    /// Makes, changes and deletes records on both sides, all of them named for `what`.
    async fn edit(&self, what: &str, records: u32) {
        for (client, side) in [(&self.left, "l"), (&self.right, "r")] {
            let sql = format!(
                "insert into posts (slug, title, body)
                 select '{what}-{side}-' || n, 'new', repeat('lorem ipsum ', 8)
                 from generate_series(1, {records}) n;
                 update posts set title = '{what}' where id in
                   (select id from posts order by id desc limit {records} / 2);
                 delete from posts where slug = '{what}-{side}-1'"
            );
            client.batch_execute(&sql).await.unwrap();
        }
    }

    /// Until both sides have each other's records, and then completely.
    async fn assert_equal(&self) -> u64 {
        let count = "select count(*) filter (where slug like '%-l-%'),
                            count(*) filter (where slug like '%-r-%') from posts";
        let counted = async |client: &Client| {
            let row = client.query_one(count, &[]).await.unwrap();
            (row.get::<_, i64>(0), row.get::<_, i64>(1))
        };
        let all_there = async |_: &Stage| counted(&self.left).await == counted(&self.right).await;
        self.stage.wait_long("both sides to meet", all_there).await;
        self.stage.wait_live("blog").await;
        self.stage.assert_equal("blog").await
    }

    async fn agent(&self) -> Value {
        self.stage.get("agents/office-db").await
    }

    async fn wait_transport(&self, transport: &str) {
        let is_there = async |stage: &Stage| {
            let agent = stage.get("agents/office-db").await;
            agent["state"] == "online" && agent["transport"] == transport
        };
        self.stage.wait("the agent's other way", is_there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_grade_of_link_ends_with_both_sides_equal() {
    let linked = Linked::start("link_grades").await;
    let ladder: &[Grade] = match is_long() {
        true => &[GOOD_WIFI, FOUR_G, WEAK_FOUR_G, SATELLITE, ABSURD],
        false => &[FOUR_G, WEAK_FOUR_G, SATELLITE],
    };
    let records = if is_long() { 2_000 } else { 100 };
    for grade in ladder {
        linked.link.set(*grade);
        let began = Instant::now();
        linked.edit(&grade.name.replace(' ', ""), records).await;
        let equal = linked.assert_equal().await;
        let took = began.elapsed();
        let agent = linked.agent().await;
        println!(
            "{:>10}: {} edits met in {:.1} s, {equal} records compared; over {}, {:.0} ms, {:.2} % lost",
            grade.name,
            4 * records,
            took.as_secs_f64(),
            agent["transport"].as_str().unwrap_or("-"),
            agent["rtt_ms"].as_f64().unwrap_or(0.0),
            agent["loss_percent"].as_f64().unwrap_or(0.0),
        );
        // The figures are those of the link: the test's own paths are not used past it.
        if let Some(rtt) = agent["rtt_ms"].as_f64() {
            assert!(rtt >= grade.round_trip.as_secs_f64() * 500.0, "{agent:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_over_tcp_on_a_poor_link_ends_with_both_sides_equal() {
    let (front, listen) = (free_port(), free_port());
    let link = Link::start(front, listen, GOOD_WIFI).await;
    link.pass_udp(false);
    let stage = Stage::start_between("poor_tcp", front, listen).await;
    assert_eq!(stage.get("agents/office-db").await["transport"], "tcp");
    link.set(WEAK_FOUR_G);
    let linked = Linked::over(link, stage).await;
    linked
        .edit("over-tcp", if is_long() { 5_000 } else { 300 })
        .await;
    linked.assert_equal().await;
}

/// Long enough that both ends have given up what was there: 15 s of silence.
fn half_open() -> Duration {
    Duration::from_secs(if is_long() { 300 } else { 18 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_half_there_is_given_up_and_found_again_with_nothing_lost() {
    for udp in [true, false] {
        let linked = Linked::start(if udp { "half_quic" } else { "half_tcp" }).await;
        if !udp {
            linked.link.pass_udp(false);
            linked.wait_transport("tcp").await;
        }
        linked.edit("before", 20).await;
        linked.link.pass(false);
        linked.edit("meanwhile", 20).await;
        let began = Instant::now();
        // The relay says so long before anybody would ask.
        let offline =
            async |stage: &Stage| stage.get("agents/office-db").await["state"] == "offline";
        linked.stage.wait("the relay to notice", offline).await;
        println!(
            "half there: noticed after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        tokio::time::sleep(half_open().saturating_sub(began.elapsed())).await;
        linked.link.pass(true);
        if !udp {
            linked.link.pass_udp(false);
        }
        let began = Instant::now();
        linked.assert_equal().await;
        println!(
            "half there: equal {:.1} s after it passed again",
            began.elapsed().as_secs_f64()
        );
        if !is_long() {
            // Once is enough for `make test`; the agent's own tests have both ways.
            return;
        }
    }
}

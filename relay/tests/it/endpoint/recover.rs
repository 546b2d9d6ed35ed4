//! After a crash: what was committed is recognised, what was not never will be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use tidegate_relay::endpoint::{
    ByteStream, Class, Dial, EndpointError, Login, Purpose, StreamLabel,
};
use tidegate_sync::model::{BatchId, Recovered, Step};
use tidegate_sync::value::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::postgres::{Database, Server};
use crate::support::side::*;

const TABLE: &[Table<'_>] = &[("notes", &["body"])];

async fn database() -> Database {
    let database = Server::shared().database("recover").await;
    let sql = "create table notes (id int primary key generated always as identity, body text)";
    database.client().await.batch_execute(sql).await.unwrap();
    database
}

async fn count(database: &Database) -> i64 {
    let client = database.client().await;
    client
        .query_one("select count(*) from notes", &[])
        .await
        .unwrap()
        .get(0)
}

fn batch(count: u32) -> BatchId {
    BatchId::of_run(1, count)
}

/// A stream that goes deaf when it has sent a commit: the answer is lost.
struct DeafAfterCommit {
    stream: Box<dyn ByteStream>,
    armed: Arc<AtomicBool>,
    deaf: bool,
}

impl AsyncRead for DeafAfterCommit {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.deaf {
            // Let the server work on, and see its answer, before the line is cut.
            let mut scratch = [0u8; 4096];
            let mut answer = ReadBuf::new(&mut scratch);
            let read = std::pin::Pin::new(&mut self.stream).poll_read(cx, &mut answer);
            return read.map(|_| Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        std::pin::Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for DeafAfterCommit {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let commits = bytes.windows(7).any(|part| part == b"commit\0");
        let sent = std::pin::Pin::new(&mut self.stream).poll_write(cx, bytes);
        if commits && self.armed.load(Ordering::SeqCst) {
            self.deaf = true;
        }
        sent
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct CuttingDial {
    dial: Arc<dyn Dial>,
    armed: Arc<AtomicBool>,
}

#[async_trait]
impl Dial for CuttingDial {
    async fn dial(
        &self,
        purpose: Purpose,
        label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        Ok(Box::new(DeafAfterCommit {
            stream: self.dial.dial(purpose, label).await?,
            armed: Arc::clone(&self.armed),
            deaf: false,
        }))
    }

    fn login(&self) -> Login {
        self.dial.login()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_key_is_known_again_when_the_commits_answer_was_lost() {
    let database = database().await;
    let armed = Arc::new(AtomicBool::new(false));
    let dial = CuttingDial {
        dial: database.dial(),
        armed: Arc::clone(&armed),
    };
    let mut side = open_over(Arc::new(dial), 1, TABLE).await.unwrap();
    let mut writer = side.writer().await.unwrap();
    apply(&mut writer, 1, &[create(&[text("first")])]).await;

    armed.store(true, Ordering::SeqCst);
    let steps = [
        create(&[text("second")]),
        update(key(99), &[(0, text("x"))], &[]),
    ];
    let lost = writer.apply(batch(2), &steps, true).await;
    let error = lost.unwrap_err();
    assert!(matches!(error.class, Class::Retry(_)), "{error}");

    armed.store(false, Ordering::SeqCst);
    let recovered = writer
        .recover(batch(2), 2)
        .await
        .unwrap()
        .expect("it was committed");
    let fingerprints = expect(&[text("second")]);
    let known = Recovered::Written {
        key: key(2),
        fingerprints,
    };
    assert_eq!(recovered, [known, Recovered::NotDone]);
    assert_eq!(count(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_not_committed_is_recovered_as_none() {
    let database = database().await;
    let mut writer = writer(&database, 1, TABLE).await;
    assert_eq!(writer.recover(batch(1), 2).await.unwrap(), None);
    apply(&mut writer, 1, &[create(&[text("a")])]).await;
    assert_eq!(writer.recover(batch(2), 2).await.unwrap(), None);
    let plain = writer.apply(batch(2), &[create(&[text("b")])], false).await;
    written(&plain.unwrap()[0]);
    assert_eq!(writer.recover(batch(2), 2).await.unwrap(), Some(Vec::new()));
    let again = writer.apply(batch(2), &[create(&[text("b")])], false).await;
    assert_eq!(again.unwrap_err().code, "batch-repeated");
    assert_eq!(count(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_is_fenced_off() {
    let database = database().await;
    let mut old = writer(&database, 1, TABLE).await;
    apply(&mut old, 1, &[create(&[text("old")])]).await;
    let mut new = writer(&database, 2, TABLE).await;
    new.recover(batch(1), 2).await.unwrap().expect("committed");
    let refused = old.apply(batch(2), &[create(&[text("late")])], true).await;
    let error = refused.unwrap_err();
    assert_eq!((error.code, error.class), ("fenced", Class::Operator));
    assert_eq!(old.recover(batch(2), 2).await.unwrap_err().code, "fenced");
    let done = new
        .apply(BatchId::of_run(2, 1), &[create(&[text("new")])], true)
        .await;
    written(&done.unwrap()[0]);
    assert_eq!(count(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_holds_the_progress_row_is_ended() {
    let database = database().await;
    let mut old = writer(&database, 1, TABLE).await;
    apply(&mut old, 1, &[create(&[text("old")])]).await;
    // As a relay leaves it that lost its network within a transaction.
    let zombie = database.client().await;
    zombie
        .batch_execute(
            "set application_name = 'tidegate/blog/apply-l1'; begin;
             update tidegate.progress set batch = 4294967298 where sync = 'blog:l';
             insert into notes (body) values ('zombie')",
        )
        .await
        .unwrap();
    let mut new = writer(&database, 2, TABLE).await;
    assert_eq!(new.recover(batch(2), 2).await.unwrap(), None);
    assert!(zombie.batch_execute("commit").await.is_err());
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_session_is_replaced_after_recovery() {
    let database = database().await;
    let mut writer = writer(&database, 1, TABLE).await;
    apply(&mut writer, 1, &[create(&[text("a")])]).await;
    let admin = database.admin().await;
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name like 'tidegate/%/apply-%'";
    assert_eq!(admin.query(sql, &[]).await.unwrap().len(), 1);
    let steps: Vec<Step> = vec![create(&[Value::Null])];
    let mut done = writer.apply(batch(2), &steps, true).await;
    if done.is_err() {
        assert_eq!(writer.recover(batch(2), 2).await.unwrap(), None);
        done = writer.apply(batch(2), &steps, true).await;
    }
    written(&done.unwrap()[0]);
}

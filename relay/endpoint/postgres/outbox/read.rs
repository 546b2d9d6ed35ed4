//! Reads the outbox: tick after tick, has it kept filled, and forgets what is settled.
//!
//! No notifications: `NOTIFY` takes a lock of the whole server at commit and costs writers far
//! more than a look every 100 ms.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidegate_sync::model::Position;
use tokio::task::JoinSet;
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::super::capture::PgCapture;
use super::super::connect::Connected;
use super::super::feedback::Feedback;
use super::super::queue::Queue;
use super::super::shape::Shape;
use super::chunk::Chunk;
use super::rows::{self, Entry, What};
use super::ticks::{self, Tick, not_shown};
use super::{Filler, OutboxName};
use crate::endpoint::EndpointError;

mod limits {
    use super::Duration;

    /// Between two looks that find nothing.
    pub(super) const INTERVAL: Duration = Duration::from_millis(100);
    /// Rows that are forgotten by one statement.
    pub(super) const FORGET_ROWS: i64 = 10_000;
}

/// Starts to read what was committed after `position`, which was checked.
pub(in super::super) fn start(
    session: Connected,
    name: OutboxName,
    shapes: Arc<Vec<Shape>>,
    filler: Box<dyn Filler>,
    position: &Position,
) -> PgCapture {
    let queue = Arc::new(Queue::default());
    let feedback = Feedback::new(position.offset);
    let mut reader = Reader {
        session,
        name,
        shapes,
        filler,
        position: position.clone(),
        queue: queue.clone(),
        feedback: feedback.clone(),
        forgotten: 0,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let queue = queue.clone();
        async move { queue.end(reader.run().await) }
    });
    PgCapture::over(queue, feedback, tasks)
}

struct Reader {
    session: Connected,
    name: OutboxName,
    shapes: Arc<Vec<Shape>>,
    filler: Box<dyn Filler>,
    position: Position,
    queue: Arc<Queue>,
    feedback: Arc<Feedback>,
    /// Everything up to this offset was forgotten.
    forgotten: u64,
}

impl Reader {
    async fn run(&mut self) -> EndpointError {
        loop {
            match self.turn().await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(limits::INTERVAL).await,
                Err(error) => return error,
            }
        }
    }

    /// Reads the next tick, or makes it; false when nothing is new.
    async fn turn(&mut self) -> Result<bool, EndpointError> {
        self.forget_settled().await?;
        self.tend().await?;
        let (at, next) = ticks::around(&self.session, &self.name, self.position.offset).await?;
        let at = at.ok_or_else(|| EndpointError::retry("position-lost", "a tick is gone"))?;
        if let Some(next) = next {
            self.read(&at, &next).await?;
            return Ok(true);
        }
        let is_new = self.has_new(&at);
        if self.session.bounded("look for changes", is_new).await? {
            ticks::make(&self.session, &self.name).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn has_new(&self, at: &Tick) -> Result<bool, Error> {
        let sql = format!(
            "select exists (select from {} o where {})",
            self.name.outbox(),
            not_shown("o", "$1::text::pg_snapshot")
        );
        let row = self
            .session
            .query_typed_one(&sql, &[(&at.shown, Type::TEXT)])
            .await?;
        row.try_get(0)
    }

    /// Hands over what tick `next` shows and `at` does not.
    async fn read(&mut self, at: &Tick, next: &Tick) -> Result<(), EndpointError> {
        let mut number = self.position.offset - at.id;
        let done = number.cast_signed();
        let sql = rows::sql(&self.name);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&at.shown, Type::TEXT),
            (&next.shown, Type::TEXT),
            (&done, Type::INT8),
        ];
        let found = self.session.query_typed_raw(&sql, parameters).await;
        let mut found = pin!(found.map_err(rows::unreadable)?);
        let mut chunk = Chunk::default();
        while let Some(row) = found.next().await {
            let entry = Entry::of(&row.map_err(rows::unreadable)?, &self.shapes)?;
            number += 1;
            let passed = entry.batch.max(Some(self.position.passed));
            let passed = passed.unwrap_or(self.position.passed);
            match entry.what {
                What::Change(mut change) => {
                    change.offset = at.id + entry.until;
                    change.at = number;
                    change.passed = passed;
                    change.ours = entry.is_ours && entry.batch == Some(passed);
                    chunk.add(change, entry.bytes);
                }
                What::Reconcile(pair, why) => chunk.reconcile(pair, why),
                What::Nothing => {}
            }
            if number == entry.until {
                self.position.offset = at.id + number;
                self.position.passed = passed;
                chunk.end(self.position.clone());
            }
            while let Some(batch) = chunk.take_full() {
                self.queue.push(batch).await;
            }
        }
        self.position.offset = next.id;
        // Whoever made a tick waits for it.
        let rest = chunk.take_rest(self.position.clone());
        self.queue.push(rest).await;
        Ok(())
    }

    /// A bounded number of rows at a time, so that no statement of ours takes long.
    async fn forget_settled(&mut self) -> Result<(), EndpointError> {
        let settled = self.feedback.settled();
        if settled <= self.forgotten {
            return Ok(());
        }
        let (at, _) = ticks::around(&self.session, &self.name, settled).await?;
        let Some(at) = at else { return Ok(()) };
        let (outbox, ticks) = (self.name.outbox(), self.name.ticks());
        let rows = format!(
            "delete from {outbox} where ctid = any (array(
                 select ctid from {outbox} o where o.xid < pg_snapshot_xmax($1::text::pg_snapshot)
                     and pg_visible_in_snapshot(o.xid, $1::text::pg_snapshot) limit $2))"
        );
        let doing = "forget what is settled";
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&at.shown, Type::TEXT), (&limits::FORGET_ROWS, Type::INT8)];
        let delete = self.session.execute_typed(&rows, &parameters);
        let deleted = self.session.bounded(doing, delete).await?;
        if deleted < limits::FORGET_ROWS as u64 {
            let older = format!("delete from {ticks} where id < $1");
            let id = at.id.cast_signed();
            let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&id, Type::INT8)];
            let delete = self.session.execute_typed(&older, &parameters);
            self.session.bounded(doing, delete).await?;
            self.forgotten = settled;
        }
        Ok(())
    }

    async fn tend(&mut self) -> Result<(), EndpointError> {
        for (pair, reason) in self.filler.tend(&self.session).await? {
            let mut chunk = Chunk::default();
            chunk.reconcile(pair, reason);
            let batch = chunk.take_rest(self.position.clone());
            self.queue.push(batch).await;
        }
        Ok(())
    }
}

//! Changes by *looks* at the tables: needs the right to read them and nothing else of the customer's.
//!
//! A look compares the tables, as one snapshot shows them, with what is remembered of each record
//! (`tidegate.seen_…`: its key and a hash) and puts what differs into the outbox (`look`, `compare`),
//! which is read in ticks. Only one look runs at a time, so they are a history.
//!
//! * *Poll* compares the records whose `xmin` is not below that of the last look's snapshot: whatever
//!   was not shown then has such a number, so a late commit is never missed. It counts records, too,
//!   and compares keys where some are gone. *Compare* reads every record and relies on nothing.
//! * *Order*: a record is told as the look's snapshot shows it. Whose batches that are after says the
//!   progress row, as the same snapshot shows it: a batch that it does not show comes after it.
//! * *What is known otherwise*: a look tells what differs from what it told before. So whatever
//!   we write or read beside it is named in `tidegate.touched_…`, and told by the next look even if
//!   it is as before: else a change back to the former value would leave us with the value
//!   in between.
//! * *Fence*: a look and a tick, both after the read.
//! * *Start*: an exported view fills what is remembered, and its snapshot is the first tick.
//!
//! Weaker than triggers: what happens between two looks is one step, of which only the end is told, at
//! the time of the look; a record with another key is another record; and each look reads the tables
//! from end to end, so it is made to rest between looks.

mod compare;
mod look;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_sync::model::{Key, PairId, Position};
use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

pub(super) use tables::{fill, forget_side, forget_sql, prepare};

use super::capture::PgCapture;
use super::connect::Connected;
use super::outbox::{self, Filler, OutboxName, read, ticks};
use super::progress::ProgressName;
use super::shape::Shape;
use crate::endpoint::EndpointError;

mod limits {
    use super::Duration;

    /// Longest look that somebody waits for: shorter than the patience of whoever waits for a batch.
    pub(super) const AWAITED: Duration = Duration::from_secs(150);
    /// Longest look of the capture itself.
    pub(super) const LOOK: Duration = Duration::from_secs(3_600);
    /// After a look it rests for so many times as long as the look took: a tenth of a processor.
    pub(super) const REST: u32 = 9;
}

/// What is needed to look at one side of one sync.
#[derive(Clone, Debug)]
pub struct Looks {
    pub(super) name: OutboxName,
    pub(super) shapes: Arc<Vec<Shape>>,
    pub(super) progress: ProgressName,
    /// Every record is compared, at every look.
    pub(super) is_compare: bool,
}

impl Looks {
    fn seen(&self) -> String {
        tables::seen(&self.name)
    }

    fn touched(&self) -> String {
        tables::touched(&self.name)
    }

    fn looks(&self) -> String {
        tables::looks(&self.name)
    }

    /// The next look tells these records, whatever was told of them.
    pub(super) async fn touch(
        &self,
        session: &Connected,
        records: &[(PairId, Key)],
    ) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let pairs: Vec<i32> = records
            .iter()
            .map(|(pair, _)| pair.0.cast_signed())
            .collect();
        let keys: Vec<String> = records.iter().map(|(_, key)| array_literal(key)).collect();
        let sql = format!(
            "insert into {} (pair, key) select pair, key::text[] from unnest($1, $2) as t (pair, key)",
            self.touched()
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&pairs, Type::INT4_ARRAY), (&keys, Type::TEXT_ARRAY)];
        session.execute_typed(&sql, &parameters).await?;
        for shape in self.shapes.iter().filter(|shape| !shape.joins.is_empty()) {
            let of_table = records.iter().filter(|(pair, _)| *pair == shape.pair);
            let keys: Vec<&str> = of_table
                .filter_map(|(_, key)| key.0.first())
                .map(String::as_str)
                .collect();
            for join in &shape.joins {
                let joined = self.shapes.iter().find(|joined| joined.pair == join.pair);
                if let Some(joined) = joined.filter(|_| !keys.is_empty()) {
                    let sql = compare::touch_rows(self, join, joined);
                    let keys: (&(dyn ToSql + Sync), Type) = (&keys, Type::TEXT_ARRAY);
                    session.execute_typed(&sql, &[keys]).await?;
                }
            }
        }
        Ok(())
    }

    /// A position that whatever can be seen by now is at or before.
    pub(super) async fn fence(
        &self,
        session: &Connected,
        records: &[(PairId, Key)],
    ) -> Result<u64, EndpointError> {
        look::look(self, session, records, limits::AWAITED).await?;
        ticks::make(session, &self.name).await
    }
}

/// Makes `snapshot`, the view's own by which `seen` was filled, the first tick.
pub(super) async fn anchor(
    session: &Connected,
    name: &OutboxName,
    snapshot: &str,
) -> Result<Position, EndpointError> {
    outbox::anchor(session, (name, FILLED_BY), snapshot).await
}

/// Can changes be told on from `position` without a hole? `Err(reason)` when they can't.
pub(super) async fn check(
    session: &Connected,
    looks: &Looks,
    position: &Position,
) -> Result<Result<(), String>, EndpointError> {
    let tables = tables::all(&looks.name);
    let kept = outbox::check(session, (&looks.name, FILLED_BY), &tables, position).await?;
    if kept.is_err() {
        return Ok(kept);
    }
    for shape in looks.shapes.iter() {
        if !tables::is_remembered(session, looks, shape).await? {
            return Ok(Err(format!(
                "what is remembered of {} is of other columns",
                shape.label()
            )));
        }
    }
    Ok(Ok(()))
}

/// Starts to look, and to read what was found after `position`.
pub(super) async fn start(
    session: Connected,
    looks: Looks,
    position: &Position,
) -> Result<PgCapture, EndpointError> {
    if let Err(reason) = check(&session, &looks, position).await? {
        return Err(EndpointError::retry("position-lost", reason));
    }
    let (name, shapes) = (looks.name.clone(), Arc::clone(&looks.shapes));
    let looker = Looker {
        looks,
        shown: String::new(),
        rest_until: Instant::now(),
    };
    Ok(read::start(
        session,
        name,
        shapes,
        Box::new(looker),
        position,
    ))
}

/// Looks as often as something may have changed, and not too often.
struct Looker {
    looks: Looks,
    /// The server's transactions right before the last look.
    shown: String,
    rest_until: Instant,
}

#[async_trait]
impl Filler for Looker {
    async fn tend(
        &mut self,
        session: &Connected,
    ) -> Result<Vec<(PairId, &'static str)>, EndpointError> {
        if Instant::now() < self.rest_until {
            return Ok(Vec::new());
        }
        let shown = session
            .bounded("look for transactions", shown(session))
            .await?;
        // No transaction that writes has begun or ended: nothing has changed.
        if shown == self.shown {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        match look::look(&self.looks, session, &[], limits::LOOK).await {
            Ok(()) => self.shown = shown,
            // Somebody alters a table, or deadlocks with us: the next look comes soon enough.
            Err(error) if matches!(error.code, "lock-timeout" | "serialization") => {
                tracing::debug!(%error, "a look is put off");
            }
            Err(error) => return Err(error),
        }
        self.rest_until = Instant::now() + began.elapsed() * limits::REST;
        Ok(Vec::new())
    }
}

async fn shown(session: &Connected) -> Result<String, Error> {
    let sql = "select pg_current_snapshot()::text";
    session.query_typed_one(sql, &[]).await?.try_get(0)
}

/// `{"a","b"}`.
fn array_literal(key: &Key) -> String {
    let parts = key.0.iter().map(|part| {
        let part = part.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{part}\"")
    });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

/// In a position's cursor. Polls and complete looks remember the same.
const FILLED_BY: &str = "looks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_s_parts_are_quoted() {
        let key = Key(vec![r#"a"b\c"#.into(), "NULL".into(), String::new()]);
        assert_eq!(array_literal(&key), r#"{"a\"b\\c","NULL",""}"#);
    }
}

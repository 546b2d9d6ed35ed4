//! One look: what has changed since the last one goes into the outbox, in one transaction.

use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use tidegate_sync::model::{Key, PairId};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::super::connect::Connected;
use super::super::shape::Shape;
use super::super::sqlstate::endpoint_error;
use super::{Looks, compare};
use crate::endpoint::EndpointError;

const DOING: &str = "look for changes";

/// Tables that are asked about without waiting in between; so few that `try_join_all` polls them in
/// their order.
const AT_ONCE: usize = 16;

/// What is known of a table when it is looked at.
struct State<'a> {
    shape: &'a Shape,
    /// It has the columns that the sync names.
    is_known: bool,
    files: String,
    /// A reconcile was asked for already.
    is_lost: bool,
    /// The files are other ones than before.
    is_moved: bool,
    /// Its last complete look is too long ago.
    is_due: bool,
    is_behind: bool,
    passed: i64,
}

/// Looks. Of `known`, which somebody has read just now, whatever became is told.
///
/// All looks of a side come one after the other: each waits for the one before, and only then takes
/// its snapshot.
pub(super) async fn look(
    looks: &Looks,
    session: &Connected,
    known: &[(PairId, Key)],
    patience: Duration,
) -> Result<(), EndpointError> {
    let Ok(looked) = tokio::time::timeout(patience, transaction(looks, session, known)).await
    else {
        return Err(session.give_up(DOING).await);
    };
    if looked.is_err() {
        let _ = session.batch_execute("rollback").await;
    }
    looked
}

async fn transaction(
    looks: &Looks,
    session: &Connected,
    known: &[(PairId, Key)],
) -> Result<(), EndpointError> {
    let failed = |error| endpoint_error(DOING, error);
    // Neither `set local` nor `lock` takes the snapshot (PostgreSQL manual, LOCK, "Notes").
    let begin = format!(
        "begin isolation level repeatable read read write;
         set local statement_timeout = 0;
         set local lock_timeout = 0;
         lock table {} in exclusive mode;
         {}",
        looks.looks(),
        compare::locks(looks)
    );
    session.batch_execute(&begin).await.map_err(failed)?;
    looks.touch(session, known).await.map_err(failed)?;
    let states = states(looks, session).await?;
    let batch = looks.progress.batch(session).await.map_err(failed)?;
    let batch = batch.0.cast_signed();
    let told = tell(looks, session, &states).await?;
    let is_passed = states.iter().any(|state| state.passed != batch);
    let is_noted = states
        .iter()
        .any(|state| state.is_moved || state.is_due || state.is_behind);
    if told || is_passed || is_noted {
        let note = note(looks, session, &states, (batch, told || is_passed));
        note.await.map_err(failed)?;
    }
    session.batch_execute("commit").await.map_err(failed)
}

async fn states<'a>(
    looks: &'a Looks,
    session: &Connected,
) -> Result<Vec<State<'a>>, EndpointError> {
    let state = |(shape, row): (&'a Shape, &Row)| -> Result<State<'a>, Error> {
        Ok(State {
            shape,
            is_known: row.try_get(0)?,
            files: row.try_get(1)?,
            is_lost: row.try_get(2)?,
            is_moved: row.try_get(3)?,
            is_due: row.try_get(4)?,
            is_behind: row.try_get(5)?,
            passed: row.try_get(6)?,
        })
    };
    let rows = session.query_typed(&compare::states(looks), &[]).await;
    let rows = rows.map_err(|error| endpoint_error(DOING, error))?;
    if rows.len() != looks.shapes.len() {
        let message = "what was remembered of a table is gone";
        return Err(EndpointError::retry("position-lost", message));
    }
    let states = looks.shapes.iter().zip(&rows).map(state);
    let states: Result<Vec<_>, Error> = states.collect();
    states.map_err(|error| endpoint_error(DOING, error))
}

/// Puts into the outbox what has changed; true if anything has, or may have.
async fn tell(
    looks: &Looks,
    session: &Connected,
    states: &[State<'_>],
) -> Result<bool, EndpointError> {
    let failed = |error| endpoint_error(DOING, error);
    let unsettle = compare::unsettle(looks);
    let unsettled = session.execute_typed(&unsettle, &[]).await;
    let mut told = unsettled.map_err(failed)?;
    for state in states
        .iter()
        .filter(|state| !state.is_lost && !state.is_known)
    {
        told += lose(looks, session, state, 'x').await.map_err(failed)?;
    }
    let readable: Vec<&State<'_>> = states
        .iter()
        .filter(|state| !state.is_lost && state.is_known)
        .collect();
    // One after the other, without waiting in between.
    for states in readable.chunks(AT_ONCE) {
        let found = states.iter().map(|state| compare(looks, session, state));
        let found = try_join_all(found).await.map_err(failed)?;
        for (state, (changed, gone)) in states.iter().zip(found) {
            told += changed;
            if gone != 0 {
                told += tell_gone(looks, session, state).await?;
            }
        }
    }
    Ok(told > 0)
}

/// Puts what differs into the outbox; how many records differ, and how many are gone.
async fn compare(
    looks: &Looks,
    session: &Connected,
    state: &State<'_>,
) -> Result<(u64, i64), Error> {
    let is_complete = looks.is_compare || state.is_moved || state.is_due;
    let tell = compare::tell(looks, state.shape, is_complete);
    let count = compare::count_gone(looks, state.shape);
    // Polled in this order, always: sent so, and of two failures the first is the cause.
    let (changed, gone) = try_join(
        session.execute_typed(&tell, &[]),
        session.query_typed_one(&count, &[]),
    )
    .await?;
    Ok((changed, gone.try_get(0)?))
}

/// Records are gone. With other files than before, they were not deleted one by one: the table
/// was truncated, or a partition taken away.
async fn tell_gone(
    looks: &Looks,
    session: &Connected,
    state: &State<'_>,
) -> Result<u64, EndpointError> {
    let failed = |error| endpoint_error(DOING, error);
    if state.is_moved {
        let forget = compare::forget_gone(looks, state.shape);
        let forgotten = session.execute_typed(&forget, &[]).await.map_err(failed)?;
        let asked = ask(looks, session, state, 'f').await.map_err(failed)?;
        return Ok(forgotten + asked);
    }
    let tell = compare::tell_gone(looks, state.shape);
    session.execute_typed(&tell, &[]).await.map_err(failed)
}

/// Asks for a reconcile.
async fn ask(
    looks: &Looks,
    session: &Connected,
    state: &State<'_>,
    op: char,
) -> Result<u64, Error> {
    let (outbox, pair) = (looks.name.outbox(), state.shape.pair.0);
    let sql = format!("insert into {outbox} (pair, op) values ({pair}, '{op}')");
    session.execute_typed(&sql, &[]).await
}

/// Asks for it once: nothing can be compared until then.
async fn lose(
    looks: &Looks,
    session: &Connected,
    state: &State<'_>,
    op: char,
) -> Result<u64, Error> {
    let (table, pair) = (looks.looks(), state.shape.pair.0);
    let sql = format!("update {table} set is_lost = true where pair = {pair}");
    session.execute_typed(&sql, &[]).await?;
    ask(looks, session, state, op).await
}

/// Notes how far it has looked; last in the outbox, which batch the snapshot shows.
async fn note(
    looks: &Looks,
    session: &Connected,
    states: &[State<'_>],
    (batch, told): (i64, bool),
) -> Result<(), Error> {
    let table = looks.looks();
    let horizon = format!(
        "update {table} set passed = $1, horizon = pg_snapshot_xmin(pg_current_snapshot())"
    );
    session
        .execute_typed(&horizon, &[(&batch, Type::INT8)])
        .await?;
    for state in states.iter().filter(|state| state.is_moved || state.is_due) {
        let sql = format!("update {table} set files = $1, complete_at = now() where pair = $2");
        let pair = state.shape.pair.0.cast_signed();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&state.files, Type::TEXT), (&pair, Type::INT4)];
        session.execute_typed(&sql, &parameters).await?;
    }
    if told {
        let outbox = looks.name.outbox();
        let sql = format!("insert into {outbox} (op, batch) values ('p', $1)");
        session.execute_typed(&sql, &[(&batch, Type::INT8)]).await?;
    }
    Ok(())
}

//! Looks at replication slots, moves idle ones on, and drops those that keep too much; a sync that
//! reads by triggers has an outbox instead, which is bounded alike.
//!
//! Over an ordinary session, without named statements because a pooler may stand between:
//! `pg_replication_slots` may be read by everybody, emitting a message may be done by everybody,
//! dropping a slot needs the attribute that streaming needs too.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_sync::model::Side;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::super::log_guard::{LogGuard, LogState};
use super::super::{Dial, EndpointError, StreamLabel};
use super::connect::{self, Connected, SessionLimits};
use super::outbox::OutboxName;
use super::slots::{FENCE_PREFIX, Names, ddl_of};
use super::triggers::bounded;

/// Guards the slots of one database. Opens its session when it is first used, and again when it
/// was lost.
pub(super) struct SlotGuard {
    dial: Arc<dyn Dial>,
    session: Option<Connected>,
}

impl SlotGuard {
    pub(super) fn new(dial: Arc<dyn Dial>) -> SlotGuard {
        SlotGuard {
            dial,
            session: None,
        }
    }

    /// The session is taken away while it is used: an error or a cancelled call leaves none.
    async fn take_session(&mut self) -> Result<Connected, EndpointError> {
        if let Some(session) = self.session.take().filter(|kept| !kept.is_closed()) {
            return Ok(session);
        }
        let label = StreamLabel {
            run: "guardian".into(),
            ..StreamLabel::default()
        };
        connect::client(&self.dial, &label, SessionLimits::CATALOG).await
    }
}

#[async_trait]
impl LogGuard for SlotGuard {
    async fn look(&mut self, sync: &str, side: Side) -> Result<Option<LogState>, EndpointError> {
        let session = self.take_session().await?;
        let name = Names::new(sync, side).slot;
        let doing = "look at the replication slot";
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
        let answer = session.query_typed(LOOK, &parameters);
        let found = session.bounded(doing, answer).await?;
        let state = match found.first() {
            Some(row) => Some(state_of(name, row)),
            None => {
                let reader = connect::application_name(&StreamLabel {
                    sync: sync.to_owned(),
                    run: "capture".into(),
                    ..StreamLabel::default()
                });
                bounded::look(&session, &OutboxName::new(sync, side), &reader).await?
            }
        };
        self.session = Some(session);
        let Some(mut state) = state else {
            return Ok(None);
        };
        let owners = self.dial.slot_bound().await?;
        state.keeps_max_bytes = [state.keeps_max_bytes, owners].into_iter().flatten().min();
        Ok(Some(state))
    }

    async fn beat(&mut self) -> Result<bool, EndpointError> {
        let session = self.take_session().await?;
        let emitted = tokio::time::timeout(
            SessionLimits::CATALOG.statement,
            session.query_typed(BEAT, &[(&FENCE_PREFIX, Type::TEXT)]),
        )
        .await;
        match emitted {
            // A standby, or an administrator who took the right away: keepalives have to do.
            Ok(Err(error)) if error.as_db_error().is_some() => {
                tracing::debug!(%error, "PostgreSQL lets us emit no message.");
                self.session = Some(session);
                Ok(false)
            }
            Ok(Ok(_)) => {
                self.session = Some(session);
                Ok(true)
            }
            Ok(Err(error)) => {
                Err(EndpointError::retry("connection-lost", "emit a message").caused_by(error))
            }
            Err(_) => Err(session.give_up("emit a message").await),
        }
    }

    async fn give_up(
        &mut self,
        sync: &str,
        side: Side,
        above_bytes: u64,
    ) -> Result<bool, EndpointError> {
        let session = self.take_session().await?;
        let name = Names::new(sync, side).slot;
        // Looked at again by the statements themselves: a slot that was made anew meanwhile stays.
        let above = i64::try_from(above_bytes).unwrap_or(i64::MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&name, Type::TEXT), (&above, Type::INT8)];
        let released = session.query_typed(RELEASE, &parameters);
        session
            .bounded("take the slot from its reader", released)
            .await?;
        let dropped = session.query_typed(DROP, &parameters);
        let dropped = session
            .bounded("drop the replication slot", dropped)
            .await?;
        let outbox = OutboxName::new(sync, side);
        let ddl = ddl_of(&*self.dial).await?;
        let is_dropped =
            !dropped.is_empty() || bounded::give_up(&session, &outbox, above_bytes, ddl).await?;
        self.session = Some(session);
        Ok(is_dropped)
    }
}

/// By way of JSON, because not every version has every column.
const LOOK: &str = "\
select s.active, coalesce(s.wal_status, ''), s.safe_wal_size,
       to_jsonb(s)->>'invalidation_reason',
       pg_wal_lsn_diff(w.written, s.restart_lsn)::int8,
       pg_wal_lsn_diff(w.written, s.confirmed_flush_lsn)::int8,
       pg_wal_lsn_diff(w.written, '0/0')::int8,
       (select setting::int8 from pg_settings where name = 'max_slot_wal_keep_size')
from pg_replication_slots s,
     (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
             else pg_current_wal_lsn() end) w(written)
where s.slot_name = $1 and s.database = current_database()";

/// In a transaction of its own, which the server flushes at once.
const BEAT: &str = "select pg_logical_emit_message(true, $1, 'heartbeat')";

const RELEASE: &str = "\
select pg_terminate_backend(active_pid, 10000) from pg_replication_slots
where slot_name = $1 and database = current_database() and active_pid is not null
  and pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > $2";

const DROP: &str = "\
select pg_drop_replication_slot(slot_name) from pg_replication_slots
where slot_name = $1 and database = current_database()
  and pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > $2";

fn state_of(name: String, row: &Row) -> LogState {
    let bytes = |index: usize| {
        let value: Option<i64> = row.get(index);
        value.map(|bytes| u64::try_from(bytes).unwrap_or(0))
    };
    let keep_megabytes: Option<i64> = row.get(7);
    LogState {
        name,
        active: row.get(0),
        status: row.get(1),
        safe_bytes: bytes(2),
        lost_because: row.get(3),
        retained_bytes: bytes(4),
        unconfirmed_bytes: bytes(5),
        written_bytes: bytes(6).unwrap_or(0),
        keeps_max_bytes: keep_megabytes
            .and_then(|megabytes| u64::try_from(megabytes).ok())
            .map(|megabytes| megabytes * 1024 * 1024),
    }
}

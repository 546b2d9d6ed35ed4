//! How much an outbox holds, and giving it up before it fills the disk: the triggers go first, so that
//! nobody's write misses the table. The next start finds the outbox gone and reconciles.

use tokio_postgres::types::{ToSql, Type};

use super::super::connect::Connected;
use super::super::publication::Ddl;
use super::{OutboxName, install};
use crate::endpoint::EndpointError;
use crate::endpoint::log_guard::LogState;

/// How the outbox stands; `reader` is what the session is called that reads it.
pub(in super::super) async fn look(
    session: &Connected,
    name: &OutboxName,
    reader: &str,
) -> Result<Option<LogState>, EndpointError> {
    let table = name.outbox();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&table, Type::TEXT), (&reader, Type::TEXT)];
    let answer = session.query_typed(LOOK, &parameters);
    let rows = session.bounded("look at the outbox", answer).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let bytes: Option<i64> = row.get(0);
    let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
    Ok(bytes.map(|bytes| LogState {
        name: table,
        active: row.get(1),
        retained_bytes: Some(bytes),
        // It grows by what its own tables' changes take, whatever else the server writes.
        written_bytes: bytes,
        ..LogState::default()
    }))
}

/// Drops it with its triggers if it is larger than `above_bytes` now.
pub(in super::super) async fn give_up(
    session: &Connected,
    name: &OutboxName,
    above_bytes: u64,
    ddl: Ddl,
) -> Result<bool, EndpointError> {
    let found = look(session, name, "").await?;
    if found.is_none_or(|outbox| outbox.retained_bytes <= Some(above_bytes)) {
        return Ok(false);
    }
    install::forget_side(session, name, ddl).await?;
    Ok(true)
}

/// Its dead rows count too: they take their place until they are vacuumed.
const LOOK: &str = "\
select pg_total_relation_size(to_regclass($1)),
       exists (select from pg_stat_activity
               where application_name = $2 and datname = current_database())";

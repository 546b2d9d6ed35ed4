//! How far each side's history is settled. Acknowledged to the side only after it is stored here.

use tidegate_sync::model::{BatchId, BySide, Position, Side};

use super::StoreError;
use super::keys::{Bits, side_number, side_of};
use super::sql::{Connection, Transaction, params};
use super::syncs::SyncId;

/// The settled positions; `None` for a side that has none.
pub fn load(conn: &Connection, sync: SyncId) -> Result<BySide<Option<Position>>, StoreError> {
    let mut statement = conn.prepare_cached(
        r#"select side, "offset", passed, cursor from positions where sync = ?1"#,
    )?;
    let mut rows = statement.query([sync.0])?;
    let mut positions = BySide::default();
    while let Some(row) = rows.next()? {
        let side: Side = side_of(row.get(0)?, "positions.side")?;
        positions[side] = Some(Position {
            offset: row.get::<Bits>(1)?.0,
            passed: BatchId(row.get::<Bits>(2)?.0),
            cursor: row.get(3)?,
        });
    }
    Ok(positions)
}

pub(super) fn put(
    tx: &Transaction<'_>,
    sync: SyncId,
    side: Side,
    position: &Position,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        r#"insert into positions (sync, side, "offset", passed, cursor) values (?1, ?2, ?3, ?4, ?5)
           on conflict (sync, side) do update set "offset" = excluded."offset",
               passed = excluded.passed, cursor = excluded.cursor"#,
    )?;
    statement.execute(params![
        sync.0,
        side_number(side),
        Bits(position.offset),
        Bits(position.passed.0),
        position.cursor,
    ])?;
    Ok(())
}

/// Forgets both positions: the next run reconciles.
pub(super) fn forget(tx: &Transaction<'_>, sync: SyncId) -> Result<(), StoreError> {
    super::links::mark_all_indexed(tx, sync)?;
    tx.execute("delete from positions where sync = ?1", [sync.0])?;
    tx.execute("update syncs set live = 0 where id = ?1", [sync.0])?;
    Ok(())
}

//! Conflicts by sync: listed with both values.

use tidegate_sync::model::{BySide, Cell, Side};

use super::errors::internal;
use super::{Engine, parse};
use crate::engine::handle::ControlError;
use crate::engine::report::ConflictReport;
use crate::engine::syncfile::SyncFile;
use crate::store::conflicts::{self, ConflictRecord};

/// Conflicts listed at once.
const LIST_MAX: u32 = 1000;
/// Characters of a value that a list shows.
const VALUE_CHARS_MAX: usize = 1000;

impl Engine {
    /// The newest first, those that wait for a person first of all.
    pub(super) async fn conflicts_of(
        &self,
        name: &str,
        waiting_only: bool,
    ) -> Result<Vec<ConflictReport>, ControlError> {
        let record = self.record(name).await?;
        let file = parse(&record.definition)?;
        let (id, sealer) = (record.id, self.store.sealer().clone());
        let found = self
            .store
            .view(move |conn| conflicts::list(conn, &sealer, id, None, LIST_MAX))
            .await
            .map_err(internal)?;
        let found = found.iter().filter(|found| found.waiting || !waiting_only);
        Ok(found.map(|found| report(&file, found)).collect())
    }
}

fn report(file: &SyncFile, found: &ConflictRecord) -> ConflictReport {
    let conflict = &found.conflict;
    let table = file.tables.get(conflict.pair.0 as usize);
    let field = |side: Side| {
        let fields = &table?.policy.fields;
        let field = fields.get(conflict.field?)?;
        Some(match side {
            Side::Left => field.left.clone(),
            Side::Right => field.right.clone(),
        })
    };
    let key = |side: Side| conflict.keys[side].as_ref().map(ToString::to_string);
    let values = BySide::from_fn(|side| shown(&conflict.values[side]));
    ConflictReport {
        id: found.id,
        at: super::writes::rfc3339(found.at_ms),
        table: table.map(|table| table.left.clone()).unwrap_or_default(),
        left_key: key(Side::Left),
        right_key: key(Side::Right),
        left_field: field(Side::Left),
        right_field: field(Side::Right),
        left: values.left,
        right: values.right,
        winner: conflict.winner.map(|side| side.name().to_owned()),
        waiting: found.waiting,
        picked: found.picked.map(|(side, _)| side.name().to_owned()),
        picked_at: found.picked.map(|(_, at_ms)| super::writes::rfc3339(at_ms)),
    }
}

/// `None` for a value that was not sent, and for null.
fn shown(cell: &Cell) -> Option<String> {
    let value = cell.value().filter(|value| !value.is_null())?;
    Some(value.to_string().chars().take(VALUE_CHARS_MAX).collect())
}

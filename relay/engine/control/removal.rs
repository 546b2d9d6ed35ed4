//! Takes a sync away: stopped first, then what it left on both sides, then its record.
//!
//! A side that is gone for good (its agent was revoked, its server is no more) must not keep the
//! record for ever: on request the sync is forgotten all the same, and what stays behind is told
//! together with the SQL that drops it.

use tidegate_sync::model::Side;

use super::errors::internal;
use super::{Engine, parse, slug};
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::engine::report::{LeftBehind, Removed};
use crate::store::syncs::{self, Wanted};

impl Engine {
    /// `force`: remove the record even if a side can't be cleaned up.
    pub(super) async fn remove_sync(
        &self,
        name: &str,
        force: bool,
    ) -> Result<Removed, ControlError> {
        let record = self.record(name).await?;
        let file = parse(&record.definition)?;
        let slug = slug(&record.name, &*self.key_of(&record).await?);
        // A relay that starts again before it is removed must not make a slot anew.
        self.set_wanted(record.id, Wanted::Paused).await?;
        self.stop_sync(name).await;
        let mut removed = Removed {
            name: name.to_owned(),
            left_behind: Vec::new(),
        };
        let mut first_code = None;
        // Both sides, whatever the first one says: a slot that stays keeps its server's log.
        for (side, connection) in [(Side::Left, &file.left), (Side::Right, &file.right)] {
            if let Err(error) = self.forget_on(connection, &slug).await {
                first_code.get_or_insert(error.code);
                removed.left_behind.push(LeftBehind {
                    side: side.name().to_owned(),
                    connection: connection.clone(),
                    reason: error.message,
                    sql: self.sources.leftovers(&slug, side),
                });
            }
        }
        match first_code {
            Some(code) if !force => Err(not_removed(&removed, code)),
            _ => {
                let id = record.id;
                let remove = self.store.transact(move |tx| syncs::remove(tx, id));
                remove.await.map_err(internal)?;
                Ok(removed)
            }
        }
    }

    async fn forget_on(&self, connection: &str, slug: &str) -> Result<(), ControlError> {
        let endpoint = self.endpoint(&self.connection(connection).await?).await?;
        endpoint.forget(slug).await.map_err(super::unreachable)
    }
}

fn not_removed(removed: &Removed, code: &'static str) -> ControlError {
    let name = &removed.name;
    let reasons: Vec<String> = removed
        .left_behind
        .iter()
        .map(|left| format!("{} ({}): {}", left.side, left.connection, left.reason))
        .collect();
    let text = format!(
        "the sync is stopped, but not everything it left behind could be dropped: {}; then run \
         `sync remove {name}` again, or `sync remove {name} --force` to remove it all the same and \
         get the SQL that drops the rest",
        reasons.join("; ")
    );
    ControlError::new(ControlErrorKind::Unavailable, code, text)
}

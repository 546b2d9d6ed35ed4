//! The sync file as it was: what was written by a run is named as that run's file named it.

use super::errors::internal;
use super::{Engine, parse};
use crate::engine::handle::ControlError;
use crate::engine::syncfile::SyncFile;
use crate::store::layouts;
use crate::store::syncs::SyncRecord;

/// The files that a sync had.
pub(super) struct Past {
    /// With the first run that used each, oldest first.
    files: Vec<(u32, SyncFile)>,
    now: SyncFile,
}

impl Past {
    /// The file of the run with this epoch.
    pub(super) fn file_of(&self, epoch: u32) -> &SyncFile {
        let used = self.files.iter().rev().find(|(from, _)| *from <= epoch);
        used.map_or(&self.now, |(_, file)| file)
    }
}

impl Engine {
    pub(super) async fn past(&self, record: &SyncRecord) -> Result<Past, ControlError> {
        let id = record.id;
        let texts = self.store.view(move |conn| layouts::definitions(conn, id));
        let texts = texts.await.map_err(internal)?;
        let file = |(epoch, text): (u32, String)| Ok((epoch, parse(&text)?));
        let files: Result<Vec<_>, ControlError> = texts.into_iter().map(file).collect();
        Ok(Past {
            files: files?,
            now: parse(&record.definition)?,
        })
    }
}

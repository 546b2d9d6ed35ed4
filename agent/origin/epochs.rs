//! The newest lease epoch of each sync, kept across restarts in `epochs.json`.
//!
//! A relay that lost its lease (or was restored from an old backup) must not write through this
//! agent again. An epoch is durable before a stream that carries it is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable::replace_file;

/// Epochs by sync, with the file that holds them.
#[derive(Debug)]
pub struct Epochs {
    file: PathBuf,
    newest: BTreeMap<String, u64>,
}

impl Epochs {
    /// Reads `epochs.json` of the state directory; none yet means none seen. A damaged file is an
    /// error and not an empty start, because forgetting would re-admit a stale relay.
    pub fn load(state_dir: &Path) -> io::Result<Epochs> {
        let file = state_dir.join("epochs.json");
        let newest = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let text = format!(
                    "{} is damaged ({error}): restore it, or remove it to admit any epoch again",
                    file.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Epochs { file, newest })
    }

    /// As if no sync had come yet; for reading only.
    pub fn none() -> Epochs {
        Epochs {
            file: PathBuf::new(),
            newest: BTreeMap::new(),
        }
    }

    /// The newest epoch by sync, for the gate.
    pub fn newest(&self) -> &BTreeMap<String, u64> {
        &self.newest
    }

    /// The largest epoch of all: told to the relay, which continues above it after a restore.
    pub fn largest(&self) -> u64 {
        self.newest.values().copied().max().unwrap_or(0)
    }

    /// Records a newer epoch durably (write, fsync, rename, fsync). Never moves back.
    pub fn advance(&mut self, sync: &str, epoch: u64) -> io::Result<()> {
        let known = self.newest.get(sync).copied();
        if known.is_some_and(|known| known >= epoch) {
            return Ok(());
        }
        let mut next = self.newest.clone();
        next.insert(sync.to_owned(), epoch);
        replace_file(&self.file, &serde_json::to_vec_pretty(&next)?, 0o600)?;
        self.newest = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_epoch_survives_a_restart_and_never_moves_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut epochs = Epochs::load(dir.path()).unwrap();
        epochs.advance("blog", 7).unwrap();
        epochs.advance("shop", 9).unwrap();
        epochs.advance("blog", 5).unwrap();
        let again = Epochs::load(dir.path()).unwrap();
        assert_eq!(again.newest()["blog"], 7);
        assert_eq!(again.largest(), 9);
    }

    #[test]
    fn damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("epochs.json"), b"{").unwrap();
        let error = Epochs::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("epochs.json is damaged"), "{error}");
    }
}

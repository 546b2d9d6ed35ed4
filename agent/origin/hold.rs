//! What the operator, or the write brake, holds back; kept across restarts in `hold.json`.
//!
//! The agent enforces it by itself: an agent that was told to pause stays paused however often it
//! is restarted and whatever the relay says. Called by `Origin`, and by `cli` when no agent runs.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_shared::wire::{Held, Holding};

use crate::durable::replace_file;

/// How much is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    #[default]
    Nothing,
    /// Sessions are read-only.
    Writes,
    /// No session is opened.
    Everything,
}

/// What is held back, why and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub level: Level,
    /// One line for people.
    pub reason: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

impl Hold {
    /// As the relay is told it.
    pub fn told(&self) -> Holding {
        Holding {
            held: match self.level {
                Level::Nothing => Held::Nothing,
                Level::Writes => Held::Writes,
                Level::Everything => Held::Everything,
            },
            reason: self.reason.clone(),
            since_ms: self.since_ms,
        }
    }

    /// Reads `hold.json` of the state directory. A damaged file is an error: to start as if nothing
    /// were held would let through what somebody stopped.
    pub fn load(state_dir: &Path) -> io::Result<Hold> {
        let file = file(state_dir);
        match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let text = format!(
                    "{} is damaged ({error}): remove it to hold nothing back",
                    file.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hold::default()),
            Err(error) => Err(error),
        }
    }

    /// Durable when it returns.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        replace_file(&file(state_dir), &serde_json::to_vec_pretty(self)?, 0o600)
    }
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("hold.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hold_survives_a_restart_and_a_damaged_one_holds_the_start() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Hold::load(dir.path()).unwrap(), Hold::default());
        let hold = Hold {
            level: Level::Writes,
            reason: "month's end".into(),
            since_ms: 7,
        };
        hold.save(dir.path()).unwrap();
        assert_eq!(Hold::load(dir.path()).unwrap(), hold);
        std::fs::write(file(dir.path()), b"{").unwrap();
        let error = Hold::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("hold.json is damaged"), "{error}");
    }
}

//! What came of the last login to each database that the relay asked for: the only proof that the whole
//! way works is that somebody went it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::error::OriginError;
use super::{Origin, unix_ms};

/// One target's last login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    pub target: String,
    /// When it ended, milliseconds since 1970; nothing when the relay has not asked yet.
    pub at_ms: Option<u64>,
    /// Why it was in vain.
    pub error: Option<String>,
}

impl Reached {
    pub fn is_good(&self) -> bool {
        self.at_ms.is_some() && self.error.is_none()
    }
}

impl Origin {
    /// One line for each target, in the order of the configuration.
    pub fn reached(&self) -> Vec<Reached> {
        let shared = self.lock();
        let of_target = |target: &std::sync::Arc<crate::config::Target>| {
            let known = shared.reached.get(&target.name).cloned();
            known.unwrap_or_else(|| Reached {
                target: target.name.clone(),
                at_ms: None,
                error: None,
            })
        };
        shared.targets.iter().map(of_target).collect()
    }

    pub(super) fn note_reached(&self, target: &str, failed: Option<&OriginError>) {
        let reached = Reached {
            target: target.to_owned(),
            at_ms: Some(unix_ms(SystemTime::now())),
            error: failed.map(OriginError::advice),
        };
        self.lock().reached.insert(target.to_owned(), reached);
    }
}

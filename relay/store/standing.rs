//! How a sync stands: everything that is counted of it, looked up at once for people's eyes.

use tidegate_sync::model::PairId;

use super::pairs::{self, PairRecord};
use super::sql::Connection;
use super::syncs::SyncId;
use super::verifications::{self, Verification};
use super::{StoreError, conflicts, findings};

/// What the store knows of a sync, by table pair.
#[derive(Clone, Debug)]
pub struct Standing {
    pairs: Vec<PairRecord>,
    findings: Vec<(PairId, u64)>,
    conflicts: Vec<(PairId, u64, u64)>,
    pub last_verify: Option<Verification>,
}

/// What is counted for one table pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub linked: u64,
    pub findings: u64,
    pub conflicts: u64,
    /// Conflicts that wait for a person.
    pub asked: u64,
}

/// Looks up one sync.
pub fn of(conn: &Connection, sync: SyncId) -> Result<Standing, StoreError> {
    Ok(Standing {
        pairs: pairs::list(conn, sync)?,
        findings: findings::counts(conn, sync)?,
        conflicts: conflicts::counts(conn, sync)?,
        last_verify: verifications::last(conn, sync)?,
    })
}

impl Standing {
    pub fn counts(&self, pair: PairId) -> Counts {
        let linked = self.pairs.iter().find(|found| found.pair == pair);
        let findings = self.findings.iter().find(|found| found.0 == pair);
        let conflicts = self.conflicts.iter().find(|found| found.0 == pair);
        Counts {
            linked: linked.map_or(0, |pair| pair.linked.max(0) as u64),
            findings: findings.map_or(0, |found| found.1),
            conflicts: conflicts.map_or(0, |found| found.1),
            asked: conflicts.map_or(0, |found| found.2),
        }
    }
}

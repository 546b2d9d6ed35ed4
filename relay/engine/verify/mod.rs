//! Compares both sides completely: what is on both, never the baseline.
//!
//! Where both sides can hash their records, equal blocks are not read (`look`). Records that
//! differ may be on their way, so they are looked at again until they agree or the bound on looks is
//! reached. What still differs can be repaired (`repair`), and a sync can be verified from time to
//! time (`periodic`).

mod compare;
mod look;
pub(super) mod periodic;
pub(super) mod repair;

use self::look::look;
use self::repair::Doubts;
use super::limits::{VERIFY_LOOK_EVERY, VERIFY_LOOKS_MAX, VERIFY_LOOKS_QUIET};
use super::report::VerifyReport;
use super::run::{RunError, RunParts};
use super::supervisor::Phase;

/// How records are compared, and what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Read every record instead of comparing the hashes that the sides make. Beside what these
    /// tell, this sees links between records that are crossed while the records of both sides are
    /// the same.
    pub full: bool,
    /// Say what a repair would do.
    pub repair: bool,
}

/// What a verify found.
pub(super) struct Verified {
    pub report: VerifyReport,
    /// The first records that a repair would have planned.
    pub doubts: Doubts,
}

/// Compares the sync's sides.
pub(super) async fn verify(parts: &RunParts, how: How) -> Result<Verified, RunError> {
    // One after the other: each takes sessions of both databases.
    let _turn = parts.requests.verify_turn().await;
    let verified = verify_in_turn(parts, how).await;
    parts.progress.end_verify();
    verified
}

async fn verify_in_turn(parts: &RunParts, how: How) -> Result<Verified, RunError> {
    let mut before = u64::MAX;
    let mut looks = 1;
    let mut scopes = Vec::new();
    loop {
        // A progress of its own: what verify reads must not look like the sync's copy.
        let progress = parts.progress.aside();
        let looked = look(parts, how, &progress, &mut scopes).await;
        // A tunnel that is just coming back, or changes that are still crossing: look again as
        // long as that helps.
        match &looked {
            Ok(Verified { report, .. }) if report.equal => return looked,
            Ok(Verified { report, .. }) => {
                let stuck = report.difference_count >= before;
                if stuck && looks >= looks_needed(parts) {
                    return looked;
                }
                before = report.difference_count;
            }
            Err(error) if error.needs_person() => return looked,
            Err(_) => scopes.clear(),
        }
        if looks >= VERIFY_LOOKS_MAX {
            return looked;
        }
        looks += 1;
        tokio::time::sleep(VERIFY_LOOK_EVERY).await;
    }
}

/// How many looks must find the same before it is believed.
fn looks_needed(parts: &RunParts) -> u32 {
    let view = parts.progress.view();
    match view.phase {
        // Nobody carries anything over.
        Phase::Stopped | Phase::Refused => 2,
        _ if view.is_quiet => VERIFY_LOOKS_QUIET,
        _ => VERIFY_LOOKS_MAX,
    }
}

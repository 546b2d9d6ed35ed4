//! What the operator and the write brake hold back, enforced on the sessions that are open.

use std::io;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{error, warn};

use super::brake::Wrote;
use super::gate::Purpose;
use super::hold::{Hold, Level};
use super::{Live, Origin, unix_ms};
use crate::config::Target;

impl Origin {
    /// Holds back from now on, and over restarts: durable when this returns. Sessions that what is
    /// held forbids are cut; so are read-only ones once writes may go on, to come back writable.
    pub fn hold(&self, level: Level, reason: &str) -> io::Result<()> {
        let hold = Hold {
            level,
            reason: reason.to_owned(),
            since_ms: unix_ms(SystemTime::now()),
        };
        let mut shared = self.lock();
        hold.save(&self.state_dir)?;
        for live in shared.live.values().filter(|live| is_ended_by(live, level)) {
            live.stop.cancel();
        }
        shared.hold = hold.clone();
        if level == Level::Nothing {
            shared.brakes.clear();
        }
        drop(shared);
        let action = match level {
            Level::Nothing => "hold.resume",
            Level::Writes => "hold.writes",
            Level::Everything => "hold.everything",
        };
        self.audit.note(action, "agent", reason);
        warn!(held = ?level, reason, "what this agent holds back has changed");
        self.holding.send_replace(hold);
        Ok(())
    }

    /// What is held back now.
    pub fn held(&self) -> Hold {
        self.holding.borrow().clone()
    }

    /// Tells of each change.
    pub fn holds(&self) -> watch::Receiver<Hold> {
        self.holding.subscribe()
    }

    /// Counts what was written through a target; says why it was too much.
    pub(super) fn note_written(&self, target: &Target, wrote: Wrote) -> Option<String> {
        let now = self.began.elapsed();
        let mut shared = self.lock();
        let brake = shared.brakes.entry(target.name.clone()).or_default();
        brake.note(wrote, target.brake, now)
    }

    /// The brake tripped: writes wait for a person. A pause of everything stays what it is.
    pub(super) fn brake(&self, reason: &str) {
        if self.held().level >= Level::Writes {
            return;
        }
        if let Err(error) = self.hold(Level::Writes, reason) {
            error!(%error, reason, "the write brake tripped and can't be kept over a restart");
        }
    }
}

fn is_ended_by(live: &Live, level: Level) -> bool {
    let admitted = &live.admitted;
    let is_sql = matches!(admitted.purpose, Purpose::Session | Purpose::Forward);
    match level {
        Level::Everything => admitted.purpose != Purpose::Cancel,
        Level::Writes => is_sql && !admitted.read_only,
        Level::Nothing => is_sql && admitted.read_only && !admitted.target.read_only,
    }
}

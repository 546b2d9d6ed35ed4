//! What Tidegate leaves in a target's database: replication slots and publications by their names,
//! and the hand that drops a slot which keeps too much.
//!
//! The relay makes them and drops them; it can't while this agent is offline, and a slot that
//! nobody reads fills the disk. So the agent looks too, with its own login. Called by the slot
//! guard and the doctor.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::{Deserialize, Serialize};

use super::Origin;
use super::ask::{self, Row};
use super::error::OriginError;
use super::frames::Frames;
use super::login::{self, Wanted};
use crate::config::Target;

/// A slot of Tidegate's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    pub active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`; empty where the server does not tell.
    pub wal_status: String,
    /// WAL that the server keeps for it, bytes; `None` when it keeps none any more.
    pub retained_bytes: Option<u64>,
}

/// What `status` shows of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotView {
    pub target: String,
    pub slot: String,
    /// Somebody reads it.
    pub active: bool,
    /// As PostgreSQL says: `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: String,
    pub retained_bytes: Option<u64>,
    /// The agent drops it before it keeps this much.
    pub bound_bytes: u64,
    /// A sync that came through this agent uses it, or did.
    pub known: bool,
}

impl Slot {
    /// The identifier of its sync: what lies between `tidegate_` and the side's letter.
    pub fn sync(&self) -> &str {
        sync_of(&self.name)
    }

    /// What a person runs to drop it.
    pub fn drop_sql(&self) -> String {
        format!(
            "select pg_drop_replication_slot({})",
            escape_literal(&self.name)
        )
    }
}

/// The identifier of the sync that a slot or publication is named after.
pub fn sync_of(name: &str) -> &str {
    let inner = name.strip_prefix("tidegate_").unwrap_or(name);
    inner
        .strip_suffix("_l")
        .or(inner.strip_suffix("_r"))
        .unwrap_or(inner)
}

/// What a person runs to drop a publication.
pub fn drop_publication_sql(name: &str) -> String {
    format!("drop publication {}", escape_identifier(name))
}

/// Everything of Tidegate's in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub slots: Vec<Slot>,
    /// Names of publications.
    pub publications: Vec<String>,
    /// End of the server's WAL, bytes since its beginning.
    pub written_bytes: u64,
    /// The server's own bound, `max_slot_wal_keep_size`, bytes; `None`: it has none.
    pub keeps_max_bytes: Option<u64>,
}

/// The names that the relay gives: see its `slots::Names`. A slot can be dropped from its own
/// database only.
const SLOTS: &str = "\
select slot_name, active, coalesce(wal_status, ''),
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8
from pg_replication_slots
where slot_name ~ '^tidegate_.+_[lr]$' and plugin = 'pgoutput' and database = current_database()
order by 1";

const PUBLICATIONS: &str = "\
select pubname from pg_publication where pubname ~ '^tidegate_.+_[lr]$' order by 1";

const SERVER: &str = "\
select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8,
       (select setting from pg_settings where name = 'max_slot_wal_keep_size')";

/// Reads what is there.
pub async fn find(frames: &mut Frames) -> Result<Found, OriginError> {
    let number = |row: &Row, at: usize| text(row, at).parse::<u64>().ok();
    let slots = ask::ask(frames, SLOTS).await?;
    let slot = |row: Row| Slot {
        name: text(&row, 0).to_owned(),
        active: text(&row, 1) == "t",
        wal_status: text(&row, 2).to_owned(),
        retained_bytes: number(&row, 3),
    };
    let publications = ask::ask(frames, PUBLICATIONS).await?;
    let server = ask::ask(frames, SERVER).await?;
    let server = server.into_iter().next().unwrap_or_default();
    Ok(Found {
        slots: slots.into_iter().map(slot).collect(),
        publications: publications
            .iter()
            .map(|row| text(row, 0).to_owned())
            .collect(),
        written_bytes: number(&server, 0).unwrap_or(0),
        keeps_max_bytes: number(&server, 1).map(|megabytes| megabytes * 1024 * 1024),
    })
}

/// Drops the slot, also from under its reader, if it keeps more than `above_bytes` now: one that
/// the relay has made anew meanwhile stays. True if it was dropped.
pub async fn drop_above(
    frames: &mut Frames,
    name: &str,
    above_bytes: u64,
) -> Result<bool, OriginError> {
    let which = format!(
        "from pg_replication_slots where slot_name = {} and database = current_database()
         and pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > {above_bytes}",
        escape_literal(name)
    );
    let release = format!("select pg_terminate_backend(active_pid, 10000) {which} and active");
    ask::ask(frames, &release).await?;
    let drop = format!("select pg_drop_replication_slot(slot_name) {which}");
    Ok(!ask::ask(frames, &drop).await?.is_empty())
}

fn text(row: &Row, at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

impl Origin {
    /// A session of the agent's own, which no stream of the relay gets.
    pub async fn own_session(&self, target: &Target) -> Result<Frames, OriginError> {
        let wanted = Wanted {
            application_name: "tidegate/slots".to_owned(),
            ..Wanted::default()
        };
        Ok(login::login(target, &self.places, &wanted).await?.frames)
    }

    /// True for the identifier of a sync that came through this agent.
    pub fn knows_sync(&self, sync: &str) -> bool {
        self.lock().epochs.newest().contains_key(sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_slot_tells_its_sync_and_stays_in_its_quotes() {
        let slot = Slot {
            name: "tidegate_blog_l_8a7f01_r".into(),
            active: false,
            wal_status: String::new(),
            retained_bytes: None,
        };
        assert_eq!(slot.sync(), "blog_l_8a7f01");
        assert_eq!(
            slot.drop_sql(),
            "select pg_drop_replication_slot('tidegate_blog_l_8a7f01_r')"
        );
        assert_eq!(
            drop_publication_sql("tidegate_\"a\"_l"),
            "drop publication \"tidegate_\"\"a\"\"_l\""
        );
    }
}

//! What of Tidegate's lies in a target's database, and whether anybody still uses it.
//!
//! A slot that nobody reads makes the server keep its WAL and, while it is there, the server refuses
//! to start with a lower `wal_level`. Called by the doctor; changes nothing.

use tidegate_shared::size;

use super::Report;
use crate::config::Target;
use crate::origin::epochs::Epochs;
use crate::origin::slots::{Found, Slot, drop_publication_sql, sync_of};

/// One line for the bound, one for each slot, one for each publication that nobody uses.
pub(super) fn check(
    report: &mut Report,
    subject: &str,
    target: &Target,
    found: &Found,
    known: &Epochs,
) {
    check_bound(report, subject, target, found);
    let is_known = |name: &str| known.newest().contains_key(sync_of(name));
    for slot in &found.slots {
        check_slot(report, subject, target, slot, is_known(&slot.name));
    }
    for name in &found.publications {
        let has_slot = found.slots.iter().any(|slot| slot.name == *name);
        if !has_slot && !is_known(name) {
            let text = format!("{name} belongs to no sync that came through this agent");
            let action = format!(
                "unless another relay syncs this database, run `{}`",
                drop_publication_sql(name)
            );
            report.warn(subject, "publication", text, &action);
        }
    }
}

fn check_bound(report: &mut Report, subject: &str, target: &Target, found: &Found) {
    let ours = size::text(target.slot_wal_max);
    match found.keeps_max_bytes {
        Some(theirs) => report.ok(
            subject,
            "kept WAL",
            format!(
                "a slot is dropped before it keeps {ours}, and by the server after {}",
                size::text(theirs)
            ),
        ),
        None => report.warn(
            subject,
            "kept WAL",
            format!("a slot is dropped before it keeps {ours}, but only while the agent runs"),
            &format!(
                "alter system set max_slot_wal_keep_size = '{}'; select pg_reload_conf()",
                size::text(target.slot_wal_max.saturating_mul(2))
            ),
        ),
    }
}

fn check_slot(report: &mut Report, subject: &str, target: &Target, slot: &Slot, is_known: bool) {
    let keeps = match slot.retained_bytes {
        Some(bytes) => format!("{} keeps {}", slot.name, size::rounded(bytes)),
        None => format!("{} keeps nothing", slot.name),
    };
    let drop = slot.drop_sql();
    if !is_known && !slot.active {
        return report.warn(
            subject,
            "slot",
            format!("{keeps} and belongs to no sync that came through this agent"),
            &format!("unless another relay syncs this database, run `{drop}`"),
        );
    }
    let text = match slot.active {
        true => format!("{keeps}, is read"),
        false if slot.wal_status == "lost" => format!("{keeps}, was invalidated"),
        false => format!("{keeps}, nobody reads it now"),
    };
    let is_half = slot.retained_bytes >= Some(target.slot_wal_max / 2);
    if slot.active || !is_half {
        return report.ok(subject, "slot", text);
    }
    let action = format!(
        "let sync {} go on; if the relay has removed it, run `{drop}`",
        slot.sync()
    );
    report.warn(subject, "slot", text, &action);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::doctor::State;

    const GB: u64 = 1 << 30;

    fn target() -> Target {
        let text = "[[target]]\nname='main'\naddress='db:1'\ndatabase='shop'\nuser='u'";
        let config = Config::parse(text, Path::new("/agent.toml")).unwrap();
        config.targets.into_iter().next().unwrap()
    }

    fn slot(name: &str, active: bool, retained: u64) -> Slot {
        Slot {
            name: name.into(),
            active,
            wal_status: "reserved".into(),
            retained_bytes: Some(retained),
        }
    }

    /// State and text with the action of each line.
    fn lines(found: &Found, known: &[&str]) -> Vec<(State, String)> {
        let dir = tempfile::tempdir().unwrap();
        let mut epochs = Epochs::load(dir.path()).unwrap();
        for sync in known {
            epochs.advance(sync, 1).unwrap();
        }
        let mut report = Report::default();
        check(&mut report, "target main", &target(), found, &epochs);
        let line = |check: super::super::Check| {
            let action = check.action.unwrap_or_default();
            (check.state, format!("{} → {action}", check.text))
        };
        report.checks.into_iter().map(line).collect()
    }

    #[test]
    fn leftovers_of_unknown_syncs_are_told_with_what_drops_them() {
        let found = Found {
            slots: vec![
                slot("tidegate_blog_1_l", true, GB),
                slot("tidegate_old_2_l", false, 3 * GB),
            ],
            publications: vec![
                "tidegate_blog_1_l".into(),
                "tidegate_old_2_l".into(),
                "tidegate_older_3_r".into(),
                "tidegate_blog_1_r".into(),
            ],
            keeps_max_bytes: Some(20 * GB),
            ..Found::default()
        };
        let lines = lines(&found, &["blog_1"]);
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert_eq!(lines[1].0, State::Ok);
        assert_eq!(lines[2].0, State::Warning);
        assert!(
            lines[2]
                .1
                .contains("pg_drop_replication_slot('tidegate_old_2_l')")
        );
        assert_eq!(lines[3].0, State::Warning);
        assert!(
            lines[3]
                .1
                .contains("drop publication \"tidegate_older_3_r\"")
        );
    }

    #[test]
    fn idle_slot_of_a_known_sync_is_told_when_it_keeps_half_of_what_it_may() {
        for (retained, state) in [(GB, State::Ok), (6 * GB, State::Warning)] {
            let found = Found {
                slots: vec![slot("tidegate_blog_1_l", false, retained)],
                keeps_max_bytes: Some(20 * GB),
                ..Found::default()
            };
            assert_eq!(lines(&found, &["blog_1"])[1].0, state);
        }
    }

    #[test]
    fn server_without_a_bound_of_its_own_is_told() {
        let lines = lines(&Found::default(), &[]);
        assert_eq!(lines[0].0, State::Warning);
        assert!(
            lines[0].1.contains("max_slot_wal_keep_size = '20GB'"),
            "{lines:?}"
        );
    }
}

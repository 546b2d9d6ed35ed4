//! What a sync needs of a target's database beyond a login: room for its sessions, tables that it may
//! read and whose records it can tell apart, and no triggers of a sync that is gone.
//!
//! Called by the doctor; changes nothing.

use super::Report;
use crate::origin::ask::{self, Row};
use crate::origin::epochs::Epochs;
use crate::origin::error::OriginError;
use crate::origin::login::LoggedIn;

/// A sync scans with up to three sessions beside its stream, its writer and a person's look.
const CONNECTIONS_WANTED: i64 = 8;
/// The copy of a large table keeps a transaction open while the other side is written, milliseconds.
const IDLE_MS_MIN: i64 = 300_000;
/// Names on one line.
const NAMES_MAX: usize = 3;

const ROOM: &str = "\
select (select setting from pg_settings where name = 'idle_in_transaction_session_timeout'),
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - (select count(*) from pg_stat_activity where backend_type = 'client backend'),
       current_user";

/// Name; may be written; has a primary key; whether its log names the records (REPLICA IDENTITY).
const TABLES: &str = "\
select format('%I.%I', n.nspname, c.relname),
       has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
         and has_table_privilege(c.oid, 'delete'),
       exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary),
       c.relreplident <> 'n'
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
  and n.nspname not in ('information_schema', 'tidegate') and has_table_privilege(c.oid, 'select')
order by 1";

/// The triggers by which a sync without a slot learns of changes: functions and their tables' count.
const TRIGGERS: &str = "\
select p.oid::regprocedure::text, p.proname, count(*)
from pg_trigger g join pg_proc p on p.oid = g.tgfoid join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'tidegate' and not g.tgisinternal
group by p.oid, p.proname order by 1";

pub(super) async fn check(
    report: &mut Report,
    subject: &str,
    session: &mut LoggedIn,
    known: &Epochs,
) -> Result<(), OriginError> {
    let room = ask::ask(&mut session.frames, ROOM).await?;
    check_room(report, subject, &texts(room).concat());
    let tables = ask::ask(&mut session.frames, TABLES).await?;
    check_tables(report, subject, &texts(tables));
    let triggers = ask::ask(&mut session.frames, TRIGGERS).await?;
    let syncs: Vec<&str> = known.newest().keys().map(String::as_str).collect();
    check_triggers(report, subject, &texts(triggers), &syncs);
    Ok(())
}

fn texts(rows: Vec<Row>) -> Vec<Vec<String>> {
    let text = |row: Row| row.into_iter().map(Option::unwrap_or_default).collect();
    rows.into_iter().map(text).collect()
}

fn check_room(report: &mut Report, subject: &str, row: &[String]) {
    let [idle_ms, free, user] = row else {
        return;
    };
    match idle_ms.parse().unwrap_or(0) {
        0 => report.ok(subject, "idle time", "an open transaction may rest"),
        idle_ms if idle_ms >= IDLE_MS_MIN => {
            let text = format!("an open transaction may rest for {} s", idle_ms / 1000);
            report.ok(subject, "idle time", text);
        }
        idle_ms => report.warn(
            subject,
            "idle time",
            format!(
                "an open transaction is ended after {} s of rest, which cuts long copies",
                idle_ms / 1000
            ),
            &format!(
                "alter role \"{}\" set idle_in_transaction_session_timeout = 0",
                user.replace('"', "\"\"")
            ),
        ),
    }
    let free: i64 = free.parse().unwrap_or(0);
    let text = format!("{free} free");
    if free >= CONNECTIONS_WANTED {
        report.ok(subject, "connections", text);
    } else {
        let action = "raise max_connections, or end sessions that nobody uses";
        report.warn(subject, "connections", text, action);
    }
}

fn check_tables(report: &mut Report, subject: &str, tables: &[Vec<String>]) {
    let names = |is_meant: fn(&[String]) -> bool| -> Vec<&str> {
        let meant = tables.iter().filter(|table| is_meant(table));
        meant
            .filter_map(|table| table.first().map(String::as_str))
            .collect()
    };
    let may_write = |table: &&Vec<String>| table.get(1).is_some_and(|value| value == "t");
    let written = tables.iter().filter(may_write).count();
    let text = format!("{} tables may be read, {written} written", tables.len());
    if tables.is_empty() {
        let action = "`tidegate-agent grant TABLE…` prints what the role needs for your tables";
        report.warn(subject, "grants", text, action);
    } else {
        report.ok(subject, "grants", text);
    }
    let without_key = names(|table| table.get(2).is_some_and(|value| value == "f"));
    if without_key.is_empty() {
        report.ok(subject, "primary keys", "every readable table has one");
    } else {
        report.warn(
            subject,
            "primary keys",
            format!("missing in {}", listed(&without_key)),
            "give tables that you want to sync one: `tidegate-relay connection tables` shows how",
        );
    }
    let unnamed = names(|table| table.get(3).is_some_and(|value| value == "f"));
    if let Some(first) = unnamed.first() {
        report.warn(
            subject,
            "replica identity",
            format!("the log of {} does not name the records", listed(&unnamed)),
            &format!("alter table {first} replica identity default"),
        );
    } else {
        report.ok(subject, "replica identity", "the log names the records");
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A function of a sync's triggers has the sync's identifier in its name.
fn check_triggers(report: &mut Report, subject: &str, found: &[Vec<String>], known: &[&str]) {
    for function in found {
        let [signature, name, count] = &function[..] else {
            continue;
        };
        let text = format!("{count} triggers call {signature}");
        if known.iter().any(|sync| name.contains(sync)) {
            report.ok(subject, "triggers", text);
            continue;
        }
        let action = format!(
            "unless another relay syncs this database, run `drop function {signature} cascade`"
        );
        let text = format!("{text}, of no sync that came through this agent");
        report.warn(subject, "triggers", text, &action);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        let row = |row: &&[&str]| row.iter().map(|value| (*value).to_owned()).collect();
        rows.iter().map(row).collect()
    }

    /// Check, state and text with the action of each line.
    fn lines(look: impl FnOnce(&mut Report)) -> Vec<(&'static str, State, String)> {
        let mut report = Report::default();
        look(&mut report);
        let line = |check: crate::doctor::Check| {
            let action = check.action.unwrap_or_default();
            (
                check.check,
                check.state,
                format!("{} → {action}", check.text),
            )
        };
        report.checks.into_iter().map(line).collect()
    }

    #[test]
    fn short_patience_and_few_connections_are_told() {
        for (idle_ms, free, states) in [
            ("0", "90", [State::Ok, State::Ok]),
            ("600000", "8", [State::Ok, State::Ok]),
            ("60000", "7", [State::Warning, State::Warning]),
        ] {
            let row = rows(&[&[idle_ms, free, "a\"b"]]).concat();
            let lines = lines(|report| check_room(report, "target main", &row));
            let found: Vec<State> = lines.iter().map(|line| line.1).collect();
            assert_eq!(found, states, "{lines:?}");
            if idle_ms == "60000" {
                assert!(
                    lines[0].2.contains("alter role \"a\"\"b\" set"),
                    "{lines:?}"
                );
            }
        }
    }

    #[test]
    fn tables_that_cannot_be_synced_are_named() {
        let good = rows(&[&["public.posts", "t", "t", "t"]]);
        let found = lines(|report| check_tables(report, "target main", &good));
        assert!(found.iter().all(|line| line.1 == State::Ok), "{found:?}");
        assert!(found[0].2.starts_with("1 tables may be read, 1 written"));
        let poor = rows(&[
            &["public.a", "f", "f", "t"],
            &["public.b", "f", "f", "t"],
            &["public.c", "f", "f", "t"],
            &["public.d", "f", "f", "f"],
        ]);
        let found = lines(|report| check_tables(report, "target main", &poor));
        assert!(
            found[1]
                .2
                .contains("public.a, public.b, public.c and 1 more"),
            "{found:?}"
        );
        assert!(
            found[2]
                .2
                .contains("alter table public.d replica identity default")
        );
        let none = lines(|report| check_tables(report, "target main", &[]));
        assert_eq!(none[0].1, State::Warning);
    }

    #[test]
    fn triggers_of_unknown_syncs_are_told_with_what_drops_them() {
        let found = rows(&[
            &["tidegate.blog_1_l_0()", "blog_1_l_0", "4"],
            &["tidegate.old_2_l_0()", "old_2_l_0", "4"],
        ]);
        let lines = lines(|report| check_triggers(report, "target main", &found, &["blog_1"]));
        assert_eq!((lines[0].1, lines[1].1), (State::Ok, State::Warning));
        assert!(
            lines[1]
                .2
                .contains("drop function tidegate.old_2_l_0() cascade"),
            "{lines:?}"
        );
    }
}

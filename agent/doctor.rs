//! `tidegate-agent check`: everything between the configuration and a working sync, one line per
//! fact and one action per line that isn't good. Only reads; the running agent is not disturbed.

pub mod bundle;
mod database;
mod leftovers;
mod network;

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tidegate_shared::Class;
use tidegate_shared::identity::limits::REISSUE;
use tidegate_shared::sslmode::SslMode;

use crate::config::{Config, Target};
use crate::identity::enroll::LAPSED;
use crate::identity::keystore::{Identity, Keystore};
use crate::identity::renew::{self, Standing};
use crate::origin::epochs::Epochs;
use crate::origin::error::OriginError;
use crate::origin::login::{self, LoggedIn, Wanted};
use crate::origin::password::Places;
use crate::origin::{ask, slots};
use crate::tunnel::status::{self, Status};

/// Streaming of large transactions (pgoutput protocol 2) came with PostgreSQL 14.
const SERVER_VERSION_MIN: u32 = 140_000;
/// A sync holds one slot and makes a temporary one for the first copy.
const SLOTS_WANTED: i64 = 2;
/// Above this difference of clocks certificates get into danger, milliseconds.
const SKEW_MAX_MS: i64 = 60_000;

/// What helps when the relay gives no other certificate.
const PAIR_AGAIN: &str = "pair this agent again with a token of `tidegate-relay agent invite`";

/// All facts in the order in which they depend on each other.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

/// One fact.
#[derive(Debug, Serialize)]
pub struct Check {
    /// `agent`, `relay`, or `target <name>`.
    pub subject: String,
    pub check: &'static str,
    pub state: State,
    pub text: String,
    /// What to do about it; nothing when it is good.
    pub action: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    Warning,
    Failed,
}

impl Report {
    /// One document: `ok` and `checks`.
    pub fn to_document(&self) -> serde_json::Value {
        let ok = self.first_action().is_none();
        serde_json::json!({ "ok": ok, "checks": self.checks })
    }

    /// The same in one line.
    pub fn to_json(&self) -> String {
        self.to_document().to_string()
    }

    /// What to do about the first failure; `None` when nothing failed.
    pub fn first_action(&self) -> Option<String> {
        let failed = self
            .checks
            .iter()
            .find(|check| check.state == State::Failed)?;
        Some(failed.action.clone().unwrap_or_else(|| failed.text.clone()))
    }

    fn ok(&mut self, subject: &str, check: &'static str, text: impl Into<String>) {
        self.add(subject, check, State::Ok, text.into(), None);
    }

    fn warn(&mut self, subject: &str, check: &'static str, text: String, action: &str) {
        self.add(
            subject,
            check,
            State::Warning,
            text,
            Some(action.to_owned()),
        );
    }

    fn fail(&mut self, subject: &str, check: &'static str, text: String, action: &str) {
        self.add(subject, check, State::Failed, text, Some(action.to_owned()));
    }

    fn add(
        &mut self,
        subject: &str,
        check: &'static str,
        state: State,
        text: String,
        action: Option<String>,
    ) {
        self.checks.push(Check {
            subject: subject.to_owned(),
            check,
            state,
            text,
            action,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Check) -> usize| self.checks.iter().map(of).max().unwrap_or(0);
        let subjects = width(|check| check.subject.chars().count());
        let checks = width(|check| check.check.len());
        for Check {
            subject,
            check,
            state,
            text,
            action,
        } in &self.checks
        {
            let mark = match state {
                State::Ok => "ok  ",
                State::Warning => "warn",
                State::Failed => "FAIL",
            };
            write!(f, "{mark}  {subject:subjects$}  {check:checks$}  {text}")?;
            match action {
                Some(action) => writeln!(f, "  → {action}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// Looks at everything; one failure doesn't stop the rest.
pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    match config.targets.len() {
        0 => report.warn(
            "agent",
            "configuration",
            "no target".into(),
            "add a [[target]] to the configuration",
        ),
        count => report.ok("agent", "configuration", format!("{count} targets")),
    }
    match Keystore::new(&config.state_dir).current() {
        Ok(identity) => {
            check_certificate(&mut report, &identity);
            let status = status::ask(&config.state_dir).await.ok().flatten();
            check_clock(&mut report, status.as_ref());
            network::check(&mut report, config, &identity, status.as_ref()).await;
        }
        Err(error) => {
            let action = match error.class() {
                Class::Operator(action) => action,
                _ => "try again",
            };
            report.fail("agent", "identity", error.to_string(), action);
        }
    }
    let places = Places::from_env();
    let known = Epochs::load(&config.state_dir).unwrap_or_else(|error| {
        let action = "restore it; without it every sync is taken for unknown";
        report.warn("agent", "epochs", error.to_string(), action);
        Epochs::none()
    });
    for target in &config.targets {
        check_target(&mut report, target, &places, &known).await;
    }
    report
}

fn check_certificate(report: &mut Report, identity: &Identity) {
    let facts = match identity.facts() {
        Ok(facts) => facts,
        Err(error) => {
            return report.fail(
                "agent",
                "certificate",
                error.to_string(),
                "pair this agent again",
            );
        }
    };
    let now = SystemTime::now();
    let left = facts
        .not_after
        .duration_since(now)
        .unwrap_or(Duration::ZERO);
    let text = format!("{} for {} more", identity.agent_name, days(left));
    match renew::standing(&facts, 1.0, now) {
        Standing::Good => report.ok("agent", "certificate", text),
        Standing::RenewalDue => report.warn(
            "agent",
            "certificate",
            format!("{text}, renewal is due"),
            "run the agent: it renews by itself",
        ),
        Standing::NotYetValid => report.fail(
            "agent",
            "certificate",
            "not valid yet".into(),
            "set this host's clock (NTP)",
        ),
        Standing::Expired if now > facts.not_after + REISSUE => {
            let text = format!("{LAPSED}: it ended more than {} ago", days(REISSUE));
            report.fail("agent", "certificate", text, PAIR_AGAIN);
        }
        Standing::Expired => report.fail(
            "agent",
            "certificate",
            "expired".into(),
            "run the agent: it asks for a new one; if the relay refuses, pair it again",
        ),
    }
}

fn days(left: Duration) -> String {
    let hours = left.as_secs() / 3600;
    if hours < 48 {
        format!("{hours} h")
    } else {
        format!("{} days", hours / 24)
    }
}

/// The relay tells its time in a session's hello only, so that the running agent knows.
fn check_clock(report: &mut Report, status: Option<&Status>) {
    match status.and_then(|status| status.clock_skew_ms) {
        Some(skew) if skew.abs() > SKEW_MAX_MS => report.warn(
            "agent",
            "clock",
            format!("{} s away from the relay's", skew / 1000),
            "set this host's clock (NTP)",
        ),
        Some(skew) => report.ok("agent", "clock", format!("{skew} ms away from the relay's")),
        None => report.ok("agent", "clock", "compared once the agent has connected"),
    }
}

async fn check_target(report: &mut Report, target: &Target, places: &Places, known: &Epochs) {
    let subject = format!("target {}", target.name);
    let wanted = Wanted {
        application_name: "tidegate/check".to_owned(),
        ..Wanted::default()
    };
    let mut session = match login::login(target, places, &wanted).await {
        Ok(session) => session,
        Err(error) => {
            let action = match error.class() {
                Class::Operator(action) => action,
                _ => "try again when PostgreSQL is up",
            };
            return report.fail(&subject, step_of(&error), error.to_string(), action);
        }
    };
    report.ok(&subject, "connect", target.address.to_string());
    check_encryption(report, &subject, target, session.encrypted);
    report.ok(&subject, "login", format!("as {}", target.user));
    if let Err(error) = check_server(report, &subject, &mut session).await {
        report.fail(
            &subject,
            "server",
            error.to_string(),
            "see PostgreSQL's log",
        );
        return;
    }
    if let Err(error) = database::check(report, &subject, &mut session, known).await {
        let action = "see PostgreSQL's log";
        report.fail(&subject, "tables", error.to_string(), action);
        return;
    }
    match slots::find(&mut session.frames).await {
        Ok(found) => leftovers::check(report, &subject, target, &found, known),
        Err(error) => {
            let action = "see PostgreSQL's log";
            report.fail(&subject, "kept WAL", error.to_string(), action);
        }
    }
}

fn step_of(error: &OriginError) -> &'static str {
    match error {
        OriginError::Tls(_) | OriginError::TlsNotOffered => "tls",
        OriginError::Resolve { .. }
        | OriginError::NoAddress { .. }
        | OriginError::AddressRefused { .. }
        | OriginError::Unreachable { .. }
        | OriginError::Timeout { .. } => "connect",
        _ => "login",
    }
}

fn check_encryption(report: &mut Report, subject: &str, target: &Target, encrypted: bool) {
    let verified = matches!(target.sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
    let text = match (encrypted, verified) {
        (true, true) => "encrypted, certificate verified",
        (true, false) => "encrypted, certificate not verified",
        (false, _) => "not encrypted",
    };
    if target.address.is_local() || (encrypted && verified) {
        return report.ok(subject, "tls", text);
    }
    let action = "set sslmode = \"verify-full\": the way to another host can be listened to";
    report.warn(subject, "tls", text.into(), action);
}

/// What a sync needs of the server and the role, in one row.
const SERVER_FACTS: &str = "\
select current_setting('server_version_num'), current_setting('server_version'),
       current_setting('wal_level'), r.rolreplication, r.rolsuper,
       r.rolbypassrls
         or pg_has_role(r.oid, 'pg_execute_server_program', 'member')
         or pg_has_role(r.oid, 'pg_read_server_files', 'member')
         or pg_has_role(r.oid, 'pg_write_server_files', 'member'),
       current_setting('max_replication_slots')::int - (select count(*) from pg_replication_slots),
       current_setting('max_wal_senders')::int - (select count(*) from pg_stat_replication)
from pg_roles r where r.rolname = current_user";

async fn check_server(
    report: &mut Report,
    subject: &str,
    session: &mut LoggedIn,
) -> Result<(), OriginError> {
    let rows = ask::ask(&mut session.frames, SERVER_FACTS).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let mut values = row.into_iter().map(Option::unwrap_or_default);
    let mut next = || values.next().unwrap_or_default();
    let (number, version, wal_level) = (next(), next(), next());
    let (replication, superuser, powerful) = (next() == "t", next() == "t", next() == "t");
    let (slots, senders): (i64, i64) = (next().parse().unwrap_or(0), next().parse().unwrap_or(0));
    if number.parse().unwrap_or(0) >= SERVER_VERSION_MIN {
        report.ok(subject, "server", format!("PostgreSQL {version}"));
    } else {
        let text = format!("PostgreSQL {version}");
        report.fail(subject, "server", text, "upgrade PostgreSQL to 14 or newer");
    }
    if wal_level == "logical" {
        report.ok(subject, "wal_level", wal_level);
    } else {
        let action = "alter system set wal_level = 'logical', then restart PostgreSQL";
        report.fail(subject, "wal_level", wal_level, action);
    }
    if replication || superuser {
        report.ok(subject, "replication", "the role may replicate");
    } else {
        let action = "alter role … replication (`tidegate-agent grant` prints all of it)";
        report.fail(
            subject,
            "replication",
            "the role may not replicate".into(),
            action,
        );
    }
    let text = format!("{slots} replication slots and {senders} wal senders free");
    if slots >= SLOTS_WANTED && senders >= SLOTS_WANTED {
        report.ok(subject, "slots", text);
    } else {
        let action = "raise max_replication_slots and max_wal_senders, or drop unused slots";
        report.fail(subject, "slots", text, action);
    }
    match (superuser, powerful) {
        (true, _) => report.warn(
            subject,
            "role",
            "is a superuser".into(),
            "use a role of its own: `tidegate-agent grant` prints it",
        ),
        (_, true) => report.warn(
            subject,
            "role",
            "bypasses row security or reaches server files and programs".into(),
            "take these attributes away from the role",
        ),
        _ => report.ok(subject, "role", "has no power beyond its grants"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_one_line_and_one_action_per_fact() {
        let mut report = Report::default();
        report.ok("agent", "configuration", "1 targets");
        assert_eq!(report.first_action(), None);
        report.warn("target main", "tls", "not encrypted".into(), "turn it on");
        assert_eq!(report.first_action(), None);
        report.fail(
            "target main",
            "login",
            "refused".into(),
            "check password_file",
        );
        assert_eq!(
            report.first_action().as_deref(),
            Some("check password_file")
        );
        let text = report.to_string();
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.contains("FAIL  target main  login          refused  → check"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            (&json["ok"], &json["checks"][2]["state"]),
            (&false.into(), &"failed".into())
        );
    }
}

//! `agent`: invite, list, show, revoke, forward.

use clap::Subcommand;

use tidegate_shared::size;

use super::client::Client;
use super::output::or_dash;
use super::{CliError, Exit, forward, output};
use crate::api::agents::{AgentStatus, InviteRequest, Invited};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a pairing token; it is printed once, alone on stdout.
    #[command(
        after_help = "Example:\n  tidegate-relay agent invite office-db --expires 30m > pairing.token"
    )]
    Invite {
        name: String,
        /// Life of the token: a number with s, m, h or d.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
        expires: u64,
    },
    /// List the agents.
    #[command(after_help = "Example:\n  tidegate-relay agent list")]
    List,
    /// Show one agent and the databases that it offers.
    #[command(after_help = "Example:\n  tidegate-relay agent show office-db --json")]
    Show { name: String },
    /// Take an agent's identity away for good and cut its connection.
    #[command(after_help = "Example:\n  tidegate-relay agent revoke office-db")]
    Revoke { name: String },
    /// Reach a database behind an agent from here, with psql, pg_dump or any other tool.
    #[command(
        after_help = "Example:\n  tidegate-relay agent forward office-db main --for 30m\n\n\
                            With --json the address and the password are one document on stdout. The \
                            token needs the permission: `token create NAME --role editor \
                            --may-forward`."
    )]
    Forward(forward::ForwardArgs),
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Invite { name, expires } => {
            let request = InviteRequest {
                name,
                expires_s: Some(expires),
            };
            let invited: Invited = api.post(&["agents"], &request).await?;
            if json {
                output::json(&invited)?;
            } else {
                output::say(&invited.token);
                output::note(&format!(
                    "Valid once, until {}. On the database's host: tidegate-agent pair \
                     TOKEN-FILE, then tidegate-agent run.",
                    output::plain(&invited.expires_at)
                ));
            }
        }
        Command::List => {
            let agents: Vec<AgentStatus> = api.get(&["agents"]).await?;
            if json {
                output::json(&agents)?;
            } else {
                let headers = [
                    "NAME",
                    "STATE",
                    "HOST",
                    "VERSION",
                    "TRANSPORT",
                    "RTT",
                    "LOSS",
                    "MTU",
                    "BYTES",
                    "SESSIONS",
                    "CERTIFICATE",
                    "SINCE",
                    "TARGETS",
                ];
                let empty = "There are no agents: invite one with `agent invite NAME`.";
                output::table(&headers, agents.iter().map(row).collect(), empty);
            }
        }
        Command::Show { name } => {
            let agent: AgentStatus = api.get(&["agents", &name]).await?;
            if json {
                output::json(&agent)?
            } else {
                show(&agent)
            }
        }
        Command::Revoke { name } => {
            let agent: AgentStatus = api.act(&["agents", &name, "revoke"]).await?;
            if json {
                output::json(&agent)?;
            } else {
                output::note(&format!(
                    "Agent {} is revoked and its connection is cut.",
                    output::plain(&name)
                ));
            }
        }
        Command::Forward(args) => return forward::run(api, json, args).await,
    }
    Ok(Exit::Done)
}

fn row(agent: &AgentStatus) -> Vec<String> {
    let targets: Vec<&str> = agent
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    vec![
        agent.name.clone(),
        state(agent),
        or_dash(agent.host.as_ref()),
        or_dash(agent.version.as_ref()),
        or_dash(agent.transport.as_ref()),
        or_dash(agent.rtt_ms.map(|rtt| format!("{rtt:.1} ms"))),
        or_dash(agent.loss_percent.map(|lost| format!("{lost:.2} %"))),
        or_dash(agent.mtu_bytes),
        or_dash(bytes(agent)),
        agent.sessions.to_string(),
        or_dash(days_left(agent)),
        or_dash(agent.since.as_ref()),
        targets.join(", "),
    ]
}

/// With what the agent holds back.
fn state(agent: &AgentStatus) -> String {
    match &agent.held {
        Some(held) => format!("{}, {held} held", agent.state),
        None if agent.is_cloned() => format!("{}, two of it", agent.state),
        None => match agent.identity.as_deref() {
            Some("expired") => format!("{}, certificate ended", agent.state),
            Some("lapsed") => format!("{}, pair it again", agent.state),
            _ => agent.state.clone(),
        },
    }
}

fn bytes(agent: &AgentStatus) -> Option<String> {
    let sum = agent.sent_bytes? + agent.received_bytes?;
    Some(size::rounded(sum))
}

fn days_left(agent: &AgentStatus) -> Option<String> {
    let until: jiff::Timestamp = agent.certificate_until.as_ref()?.parse().ok()?;
    let hours = (until.as_second() - jiff::Timestamp::now().as_second()) / 3600;
    Some(if hours < 48 {
        format!("{hours} h")
    } else {
        format!("{} days", hours / 24)
    })
}

fn show(agent: &AgentStatus) {
    output::facts(&[
        ("name", agent.name.clone()),
        ("state", state(agent)),
        ("held because", or_dash(agent.held_reason.as_ref())),
        ("host", or_dash(agent.host.as_ref())),
        ("version", or_dash(agent.version.as_ref())),
        ("connected from", or_dash(agent.remote.as_ref())),
        ("transport", or_dash(agent.transport.as_ref())),
        ("since", or_dash(agent.since.as_ref())),
        ("key fingerprint", or_dash(agent.key_fingerprint.as_ref())),
        (
            "round trip",
            or_dash(agent.rtt_ms.map(|rtt| format!("{rtt:.1} ms"))),
        ),
        (
            "certificate until",
            or_dash(agent.certificate_until.as_ref()),
        ),
    ]);
    for target in &agent.targets {
        let mode = if target.read_only {
            "read only"
        } else {
            "read and write"
        };
        let ddl = if target.allow_ddl {
            ", publications and keys too"
        } else {
            ""
        };
        let bound = target.slot_wal_max.map_or_else(String::new, |bytes| {
            format!(", drops a slot before it keeps {}", size::text(bytes))
        });
        let forward = match target.forward {
            Some(true) => ", open to people's tools",
            _ => "",
        };
        let text = format!(
            "target {}: database {}, {mode}{ddl}{bound}{forward}",
            target.name, target.database
        );
        output::say(&output::plain(&text));
    }
    for forward in &agent.forwards {
        let text = format!(
            "forward to {} by {}: since {}, until {}, {} to it, {} from it",
            forward.target,
            forward.by,
            forward.since,
            forward.until,
            size::rounded(forward.to_database_bytes),
            size::rounded(forward.from_database_bytes)
        );
        output::say(&output::plain(&text));
    }
}

/// `90s`, `30m`, `1h`, `7d`, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected a time such as 30m, 1h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h"), Ok(3600));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in [
            "",
            "h",
            "1",
            "-1h",
            "0m",
            "1 h",
            "1ä",
            "99999999999999999999d",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}

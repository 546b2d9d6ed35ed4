//! The one allow-list decision: may this request of the relay reach a database, yes or no?
//!
//! Pure: it sees a request and a policy and answers; it opens nothing and remembers nothing.
//! Deny by default: what is not named in `agent.toml` does not exist for the relay. Every stream
//! of every tunnel passes [`decide`] once, and what it returns is the only value that routing
//! uses afterwards. [`admit_address`] judges the addresses that a target's name resolved to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::hold::{Hold, Level};
use crate::config::{Forward, Target};

/// Limits of what a request may carry and of what is remembered for it.
pub mod limits {
    /// Longest sync or run label, bytes. `application_name` is cut by PostgreSQL at 63 bytes
    /// anyway, and labels appear in logs.
    pub const LABEL_BYTES_MAX: usize = 128;
    /// Syncs whose newest epoch is remembered: far above what one agent serves, and a bound for a
    /// relay that invents names.
    pub const SYNCS_MAX: usize = 4096;
}

/// What the relay asks for, as it came off the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub target: String,
    /// The sync that it belongs to; empty for what belongs to none (tests, inspection).
    pub sync: String,
    pub run: String,
    /// The relay's lease epoch for this sync; only grows.
    pub epoch: u64,
    pub purpose: Purpose,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// A logged-in PostgreSQL session.
    Session,
    /// The same, in logical replication mode.
    Replication,
    /// One cancel request for a session opened through this agent.
    Cancel,
    /// Log in, close, and say whether it worked.
    Probe,
    /// A session for a person's own tool.
    Forward,
}

impl Purpose {
    /// The word for logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Session => "session",
            Purpose::Replication => "replication",
            Purpose::Cancel => "cancel",
            Purpose::Probe => "probe",
            Purpose::Forward => "forward",
        }
    }
}

/// What the decision looks at besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    pub targets: &'a [Arc<Target>],
    /// Open sessions by target name.
    pub open: &'a BTreeMap<String, u32>,
    /// The newest epoch seen, by sync.
    pub epochs: &'a BTreeMap<String, u64>,
    /// Requests of this minute by target name, denied ones and this one too.
    pub asked: &'a BTreeMap<String, u32>,
    /// What the operator or the brake holds back.
    pub hold: &'a Hold,
    /// Whether the agent is leaving and opens nothing new.
    pub draining: bool,
}

/// A request that may proceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub target: Arc<Target>,
    pub sync: String,
    pub run: String,
    pub purpose: Purpose,
    /// The session is kept read-only: the target is, or writes are held back.
    pub read_only: bool,
    /// The sync's epoch is newer than the known one: it must be durable before anything is opened.
    pub newer_epoch: Option<u64>,
}

/// Why a request may not proceed. The texts go to the relay and name nothing that it doesn't know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("agent has no target named {0:?}: add it to agent.toml, or correct the connection")]
    UnknownTarget(String),
    #[error("label of the request is longer than 128 bytes or not printable")]
    WrongLabel,
    #[error("epoch {seen} of this sync was already seen, {asked} is from a relay that lost it")]
    StaleEpoch { asked: u64, seen: u64 },
    #[error("target {target} already has {max} open sessions (max_sessions in agent.toml)")]
    SessionLimit { target: String, max: u32 },
    #[error("agent remembers no more than 4096 syncs: remove epochs.json entries of old ones")]
    SyncLimit,
    #[error("agent is shutting down: ask again after it has reconnected")]
    Draining,
    #[error("agent is paused by its operator{0}: `tidegate-agent resume` there ends it")]
    Paused(String),
    #[error("more than {max} sessions of target {target} within a minute (max_opens_per_minute)")]
    Rate { target: String, max: u32 },
    #[error("target {0} is not open to people's tools: `forward = \"yes\"` in agent.toml opens it")]
    NoForward(String),
}

/// Decides on one request. Checks run from identity of the target to its limits, so that a denied
/// request learns nothing about load.
pub fn decide(policy: Policy<'_>, request: &Request) -> Result<Admitted, Denial> {
    if !label_is_printable(&request.sync) || !label_is_printable(&request.run) {
        return Err(Denial::WrongLabel);
    }
    let target = policy
        .targets
        .iter()
        .find(|target| target.name == request.target)
        .ok_or_else(|| Denial::UnknownTarget(request.target.chars().take(63).collect()))?;
    // Cancel requests pass while draining or paused: they end sessions sooner.
    if policy.draining && request.purpose != Purpose::Cancel {
        return Err(Denial::Draining);
    }
    if policy.hold.level == Level::Everything && request.purpose != Purpose::Cancel {
        let reason = match policy.hold.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        return Err(Denial::Paused(reason));
    }
    if request.purpose == Purpose::Forward && target.forward == Forward::No {
        return Err(Denial::NoForward(target.name.clone()));
    }
    let seen = policy.epochs.get(&request.sync).copied();
    if let Some(seen) = seen.filter(|seen| request.epoch < *seen) {
        return Err(Denial::StaleEpoch {
            asked: request.epoch,
            seen,
        });
    }
    if seen.is_none() && policy.epochs.len() >= limits::SYNCS_MAX {
        return Err(Denial::SyncLimit);
    }
    let open = policy.open.get(&target.name).copied().unwrap_or(0);
    if request.purpose != Purpose::Cancel && open >= target.max_sessions {
        return Err(Denial::SessionLimit {
            target: target.name.clone(),
            max: target.max_sessions,
        });
    }
    if policy.asked.get(&target.name).copied().unwrap_or(0) > target.max_opens_per_minute {
        return Err(Denial::Rate {
            target: target.name.clone(),
            max: target.max_opens_per_minute,
        });
    }
    // Epoch 0 of an unknown sync says nothing that would have to be remembered.
    let newer_epoch = (request.epoch > seen.unwrap_or(0)).then_some(request.epoch);
    Ok(Admitted {
        target: target.clone(),
        sync: request.sync.clone(),
        run: request.run.clone(),
        purpose: request.purpose,
        read_only: target.read_only || policy.hold.level >= Level::Writes,
        newer_epoch,
    })
}

fn label_is_printable(label: &str) -> bool {
    label.len() <= limits::LABEL_BYTES_MAX && label.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// Why a resolved address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}")]
pub struct AddressRefused {
    pub address: IpAddr,
    pub kind: &'static str,
}

/// Judges an address that a target resolved to. `literal` says that the operator wrote the address
/// itself: then link-local ones and IPv4-mapped IPv6 are taken as meant. A name must not lead
/// there, because whoever answers DNS would choose what the relay talks to.
pub fn admit_address(address: IpAddr, literal: bool) -> Result<(), AddressRefused> {
    let plain = address.to_canonical();
    let kind = if is_metadata(plain) {
        "a cloud metadata service"
    } else if plain.is_unspecified() {
        "the unspecified address"
    } else if plain.is_multicast() || plain == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "a multicast address"
    } else if !literal && is_link_local(plain) {
        "a link-local address"
    } else if !literal && plain != address {
        "an IPv4 address written as IPv6"
    } else {
        return Ok(());
    };
    Err(AddressRefused { address, kind })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_metadata(address: IpAddr) -> bool {
    const V4: [Ipv4Addr; 3] = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(169, 254, 170, 2),
        Ipv4Addr::new(100, 100, 100, 200),
    ];
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) => V4.contains(&v4),
        IpAddr::V6(v6) => v6 == V6,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn targets() -> Vec<Arc<Target>> {
        let text = r#"
            [[target]]
            name = "main"
            address = "127.0.0.1:5432"
            database = "shop"
            user = "tidegate"
            max_sessions = 2
        "#;
        let config = Config::parse(text, Path::new("agent.toml")).unwrap();
        config.targets.into_iter().map(Arc::new).collect()
    }

    fn request() -> Request {
        Request {
            target: "main".into(),
            sync: "blog".into(),
            run: "r1".into(),
            epoch: 7,
            purpose: Purpose::Session,
        }
    }

    /// Decides with `open` sessions on target main and epoch `seen` of sync blog.
    fn check(open: u32, seen: Option<u64>, request: &Request) -> Result<Admitted, Denial> {
        let targets = targets();
        let open = BTreeMap::from([("main".to_owned(), open)]);
        let epochs = seen
            .map(|epoch| ("blog".to_owned(), epoch))
            .into_iter()
            .collect();
        decide(
            Policy {
                targets: &targets,
                open: &open,
                epochs: &epochs,
                asked: &BTreeMap::new(),
                hold: &Hold::default(),
                draining: false,
            },
            request,
        )
    }

    #[test]
    fn known_target_is_admitted_and_its_new_epoch_reported() {
        let admitted = check(0, None, &request()).unwrap();
        assert_eq!(
            (admitted.target.name.as_str(), admitted.newer_epoch),
            ("main", Some(7))
        );
        assert_eq!(check(0, Some(7), &request()).unwrap().newer_epoch, None);
        assert_eq!(check(0, Some(6), &request()).unwrap().newer_epoch, Some(7));
    }

    #[test]
    fn unknown_target_is_denied_by_default() {
        let other = Request {
            target: "127.0.0.1:22".into(),
            ..request()
        };
        assert_eq!(
            check(0, None, &other),
            Err(Denial::UnknownTarget("127.0.0.1:22".into()))
        );
        let empty = BTreeMap::new();
        let policy = Policy {
            targets: &[],
            open: &empty,
            epochs: &BTreeMap::new(),
            asked: &BTreeMap::new(),
            hold: &Hold::default(),
            draining: false,
        };
        assert_eq!(
            decide(policy, &request()),
            Err(Denial::UnknownTarget("main".into()))
        );
    }

    #[test]
    fn older_epoch_is_denied_whatever_the_purpose() {
        for purpose in [
            Purpose::Session,
            Purpose::Replication,
            Purpose::Cancel,
            Purpose::Probe,
        ] {
            let old = Request {
                purpose,
                ..request()
            };
            assert_eq!(
                check(0, Some(8), &old),
                Err(Denial::StaleEpoch { asked: 7, seen: 8 })
            );
        }
    }

    #[test]
    fn session_limit_counts_sessions_but_not_cancels() {
        let denied = Denial::SessionLimit {
            target: "main".into(),
            max: 2,
        };
        assert_eq!(check(2, None, &request()), Err(denied.clone()));
        let probe = Request {
            purpose: Purpose::Probe,
            ..request()
        };
        assert_eq!(check(2, None, &probe), Err(denied));
        let cancel = Request {
            purpose: Purpose::Cancel,
            ..request()
        };
        assert!(check(2, None, &cancel).is_ok());
        assert!(check(1, None, &request()).is_ok());
    }

    #[test]
    fn labels_that_could_forge_logs_are_denied() {
        for sync in ["a\nb".to_owned(), "é".to_owned(), "x".repeat(129)] {
            assert_eq!(
                check(0, None, &Request { sync, ..request() }),
                Err(Denial::WrongLabel)
            );
        }
    }

    #[test]
    fn draining_agent_opens_nothing_new_but_still_cancels() {
        let targets = targets();
        let (open, epochs) = (BTreeMap::new(), BTreeMap::new());
        let policy = Policy {
            targets: &targets,
            open: &open,
            epochs: &epochs,
            asked: &BTreeMap::new(),
            hold: &Hold::default(),
            draining: true,
        };
        assert_eq!(decide(policy, &request()), Err(Denial::Draining));
        let cancel = Request {
            purpose: Purpose::Cancel,
            ..request()
        };
        assert!(decide(policy, &cancel).is_ok());
    }

    /// Decides with `hold`, after `asked` requests of this minute.
    fn check_held(hold: Level, asked: u32, purpose: Purpose) -> Result<Admitted, Denial> {
        let hold = Hold {
            level: hold,
            ..Hold::default()
        };
        let policy = Policy {
            targets: &targets(),
            open: &BTreeMap::new(),
            epochs: &BTreeMap::new(),
            asked: &BTreeMap::from([("main".to_owned(), asked)]),
            hold: &hold,
            draining: false,
        };
        decide(
            policy,
            &Request {
                purpose,
                ..request()
            },
        )
    }

    #[test]
    fn paused_agent_opens_nothing_and_held_writes_open_read_only_sessions() {
        for purpose in [Purpose::Session, Purpose::Replication, Purpose::Probe] {
            let paused = check_held(Level::Everything, 0, purpose);
            assert_eq!(paused, Err(Denial::Paused(String::new())));
            assert!(check_held(Level::Writes, 0, purpose).unwrap().read_only);
            assert!(!check_held(Level::Nothing, 0, purpose).unwrap().read_only);
        }
        assert!(check_held(Level::Everything, 0, Purpose::Cancel).is_ok());
    }

    #[test]
    fn opens_within_a_minute_are_limited_whatever_the_purpose() {
        for purpose in [Purpose::Session, Purpose::Cancel, Purpose::Probe] {
            assert!(check_held(Level::Nothing, 600, purpose).is_ok());
            let denied = check_held(Level::Nothing, 601, purpose);
            assert!(
                matches!(denied, Err(Denial::Rate { max: 600, .. })),
                "{denied:?}"
            );
        }
    }

    #[test]
    fn people_come_through_only_where_the_target_says_so() {
        let denied = check_held(Level::Nothing, 0, Purpose::Forward);
        assert_eq!(denied, Err(Denial::NoForward("main".into())));
    }

    #[test]
    fn name_never_leads_to_metadata_link_local_multicast_or_nowhere() {
        let refused = |text: &str, literal| admit_address(text.parse().unwrap(), literal).is_err();
        for address in [
            "169.254.169.254",
            "169.254.1.1",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "fd00:ec2::254",
        ] {
            assert!(refused(address, false), "{address}");
        }
        for address in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "192.168.1.1",
            "fd12::1",
            "203.0.113.7",
        ] {
            assert!(!refused(address, false), "{address}");
        }
        assert!(!refused("169.254.1.1", true), "the operator wrote it");
        assert!(refused("169.254.169.254", true), "never");
        assert!(refused("::ffff:169.254.169.254", true), "never");
    }
}

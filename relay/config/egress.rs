//! `[egress]`: from where the relay connects, and for whom to private addresses.

use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Source, ip_address};
use crate::store::DEFAULT_WORKSPACE;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Every outgoing connection binds here; `None` leaves it to the routing table.
    pub bind: Option<IpAddr>,
    /// What apps and firewalls will see, where a NAT stands in between.
    pub public: Vec<IpAddr>,
    /// Whose connections and channels may lead to private addresses.
    pub allow_private: AllowPrivate,
}

/// Who may have the relay connect to private addresses: those of its own network. Agents are not concerned:
/// they reach what stands beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllowPrivate {
    Nobody,
    /// Its admins host the relay; other workspaces are guests.
    #[default]
    DefaultWorkspace,
    Everybody,
}

impl AllowPrivate {
    const ALL: [AllowPrivate; 3] = [
        AllowPrivate::Nobody,
        AllowPrivate::DefaultWorkspace,
        AllowPrivate::Everybody,
    ];

    fn name(self) -> &'static str {
        match self {
            AllowPrivate::Nobody => "nobody",
            AllowPrivate::DefaultWorkspace => "default-workspace",
            AllowPrivate::Everybody => "everybody",
        }
    }

    fn parse(text: &str) -> Result<AllowPrivate, String> {
        let named = AllowPrivate::ALL.into_iter().find(|one| one.name() == text);
        named
            .ok_or_else(|| "expected \"nobody\", \"default-workspace\" or \"everybody\"".to_owned())
    }

    /// Whether what belongs to this workspace may lead to private addresses.
    pub fn holds_for(self, workspace: &str) -> bool {
        match self {
            AllowPrivate::Nobody => false,
            AllowPrivate::DefaultWorkspace => workspace == DEFAULT_WORKSPACE,
            AllowPrivate::Everybody => true,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEgress {
    bind: Option<Spanned<String>>,
    public: Vec<Spanned<String>>,
    allow_private: Option<Spanned<String>>,
}

impl Egress {
    pub(super) fn read(source: &Source<'_>, raw: RawEgress) -> Result<Egress, ConfigError> {
        let private = "TIDEGATE_EGRESS_ALLOW_PRIVATE";
        Ok(Egress {
            bind: source.one("TIDEGATE_EGRESS_BIND", raw.bind, ip_address)?,
            public: source.many("TIDEGATE_EGRESS_PUBLIC", raw.public, ip_address)?,
            allow_private: source
                .one(private, raw.allow_private, AllowPrivate::parse)?
                .unwrap_or_default(),
        })
    }

    pub(super) fn render(&self) -> String {
        let mut out = "\n[egress]\n".to_owned();
        if let Some(bind) = self.bind {
            out += &format!("bind = \"{bind}\"\n");
        }
        let public: Vec<String> = self.public.iter().map(ToString::to_string).collect();
        out += &format!("public = {public:?}\n");
        out += &format!("allow_private = \"{}\"\n", self.allow_private.name());
        out
    }

    /// The addresses that others will see: the configured ones, else the one that is bound to, else
    /// the host's own (which a NAT may replace).
    pub fn visible(&self) -> Vec<IpAddr> {
        match self.bind {
            _ if !self.public.is_empty() => self.public.clone(),
            Some(bind) => vec![bind],
            None => routed_address().into_iter().collect(),
        }
    }
}

/// The local address that a connection to the internet would have. Connecting a UDP socket asks
/// the routing table and sends nothing; the peer is a documentation address (RFC 5737).
fn routed_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_reach_no_private_address_unless_the_host_says_so() {
        let holds = |text: &str| {
            let choice = AllowPrivate::parse(text).unwrap();
            (choice.holds_for("default"), choice.holds_for("guest"))
        };
        assert_eq!(holds("nobody"), (false, false));
        assert_eq!(holds("default-workspace"), (true, false));
        assert_eq!(holds("everybody"), (true, true));
        assert_eq!(AllowPrivate::default(), AllowPrivate::DefaultWorkspace);
        assert!(AllowPrivate::parse("yes").unwrap_err().contains("nobody"));
    }
}

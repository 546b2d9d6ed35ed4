//! The way to the relay: proxy, UDP and TCP, packet size, socket buffers, the relay's certificate, and
//! whether it wants this agent.
//!
//! Says nothing to the relay beyond a handshake, so that a session that is there stays. Called by the
//! doctor.

use std::time::Duration;

use tidegate_shared::Class;
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::size;
use tidegate_shared::tunnel::{
    IdentityFault, Transport, Tunnel, TunnelError, UdpBuffers, limits as tunnel_limits,
};
use tokio::time::{sleep, timeout};

use super::{PAIR_AGAIN, Report};
use crate::config::{Config, TransportChoice};
use crate::identity::enroll::LAPSED;
use crate::identity::keystore::Identity;
use crate::route::{ProxyChoice, RouteError, Routes};
use crate::tunnel::status::Status;

/// QUIC looks for the largest packet by halving: eight steps, of which one that is too large costs three
/// packets and their timeouts, round trips.
const MTU_SEARCH_ROUND_TRIPS: u32 = 40;
/// But not less, and not more.
const MTU_SEARCH_MIN: Duration = Duration::from_secs(3);
const MTU_SEARCH_MAX: Duration = Duration::from_secs(40);
/// Between two looks at what it found.
const MTU_LOOK: Duration = Duration::from_millis(50);
/// Packets of this size pass every usual way; less is a tunnel within a tunnel, bytes.
const MTU_USUAL: u16 = 1400;
/// A relay refuses an identity as soon as it has seen it; three round trips, but not less.
const REFUSAL_MIN: Duration = Duration::from_secs(1);

/// How a transport is allowed, dialled and called.
static WAYS: [(Transport, &str); 2] = [(Transport::Quic, "udp"), (Transport::Tcp, "tcp")];

pub(super) async fn check(
    report: &mut Report,
    config: &Config,
    identity: &Identity,
    status: Option<&Status>,
) {
    check_versions(report, status);
    if config.transport != TransportChoice::Tcp {
        check_buffers(report, UdpBuffers::granted());
    }
    let routes = match Routes::of(config) {
        Ok(routes) => routes,
        Err(why) => return report.fail("agent", "proxy", why, "correct HTTPS_PROXY"),
    };
    for relay in &identity.relays {
        check_proxy(report, config, relay, &routes);
        let ways = (config.transport, &routes);
        check_relay(report, ways, identity, relay, status).await;
    }
}

/// The relay tells its version in a session's hello only, so that the running agent knows.
fn check_versions(report: &mut Report, status: Option<&Status>) {
    let own = env!("CARGO_PKG_VERSION");
    let Some(relay) = status.and_then(|status| status.relay_version.as_deref()) else {
        let text = format!("{own}; compared with the relay's once the agent has connected");
        return report.ok("agent", "version", text);
    };
    let text = format!("{own}, the relay has {relay}");
    match skew(own, relay) {
        Skew::Supported => report.ok("agent", "version", text),
        Skew::AgentOld => {
            let action = "update tidegate-agent: more than one minor version behind is not tested";
            report.warn("agent", "version", text, action);
        }
        Skew::RelayOld => {
            let action = "update tidegate-relay first, then its agents";
            report.warn("agent", "version", text, action);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Skew {
    /// The same minor version, or the relay is ahead by one (docs/operations.md, "Versions").
    Supported,
    AgentOld,
    RelayOld,
}

fn skew(agent: &str, relay: &str) -> Skew {
    let parts = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    // What is no version says nothing.
    let (Some(agent), Some(relay)) = (parts(agent), parts(relay)) else {
        return Skew::Supported;
    };
    if relay < agent {
        return Skew::RelayOld;
    }
    match relay.0 == agent.0 && relay.1 - agent.1 <= 1 {
        true => Skew::Supported,
        false => Skew::AgentOld,
    }
}

fn check_buffers(report: &mut Report, granted: std::io::Result<UdpBuffers>) {
    let wanted = tunnel_limits::SOCKET_BUFFER_BYTES;
    let Ok(buffers) = granted else {
        return report.ok("agent", "buffers", "the kernel does not tell");
    };
    let text = format!(
        "UDP may hold {} to receive and {} to send, {} wanted",
        size::rounded(buffers.receive_bytes as u64),
        size::rounded(buffers.send_bytes as u64),
        size::rounded(wanted as u64)
    );
    if !buffers.are_small() {
        return report.ok("agent", "buffers", text);
    }
    let action = format!(
        "nothing is wrong; for fast transfers run `sysctl -w net.core.rmem_max={wanted} \
         net.core.wmem_max={wanted}` (on the host, if this is a container)"
    );
    report.warn("agent", "buffers", text, &action);
}

/// Never with its password.
fn check_proxy(report: &mut Report, config: &Config, relay: &RelayAddr, routes: &Routes) {
    let subject = format!("relay {relay}");
    let Some(proxy) = routes.proxy(relay) else {
        return report.ok(&subject, "proxy", "none");
    };
    let from = match config.proxy {
        ProxyChoice::Through(_) => "agent.toml",
        ProxyChoice::Environment | ProxyChoice::Direct => "HTTPS_PROXY",
    };
    let login = match &proxy.user {
        Some(_) => "signs in",
        None => "without a name",
    };
    let text = format!("{proxy} for TCP, {login} (from {from})");
    report.ok(&subject, "proxy", text);
}

/// Tries every transport that the agent may use; one is enough.
async fn check_relay(
    report: &mut Report,
    (choice, routes): (TransportChoice, &Routes),
    identity: &Identity,
    relay: &RelayAddr,
    status: Option<&Status>,
) {
    let subject = format!("relay {relay}");
    let ways = match choice {
        TransportChoice::Auto => &WAYS[..],
        TransportChoice::Quic => &WAYS[..1],
        TransportChoice::Tcp => &WAYS[1..],
    };
    let tls = match identity.pairing_config() {
        Ok(tls) => tls,
        Err(error) => {
            return report.fail(&subject, "pin", error.to_string(), "pair this agent again");
        }
    };
    let (mut reached, mut failed) = (None, Vec::new());
    for (transport, check) in ways {
        match routes.reach(relay, *transport, &tls).await {
            Ok(route) => {
                let remote = route.tunnel.remote();
                let mtu_bytes = largest_packet(&route.tunnel).await;
                route.leave().await;
                if reached.is_none() {
                    if *transport == Transport::Quic || routes.proxy(relay).is_none() {
                        report.ok(&subject, "dns", remote.ip().to_string());
                    }
                    report.ok(&subject, "pin", "its certificate is the paired relay's");
                }
                reached.get_or_insert(*transport);
                report.ok(&subject, check, "answers");
                if let Some(bytes) = mtu_bytes {
                    report_mtu(report, &subject, bytes);
                }
            }
            Err(error) => failed.push((*check, error)),
        }
    }
    for (check, error) in failed {
        if reached.is_some() {
            let action = match check {
                "udp" => "the agent uses TCP; let UDP out for more speed on poor networks",
                _ => "nothing is wrong while UDP passes; let TCP out and in for when it does not",
            };
            report.warn(&subject, check, error.to_string(), action);
        } else {
            report_unreached(report, &subject, check, &error);
        }
    }
    if let Some(transport) = reached {
        let end = end_of_identity(report, &subject, identity, relay, (routes, transport)).await;
        if let Some(end) = end {
            let code = status.and_then(|status| status.last_error_code.as_deref());
            report_refused(report, &subject, &end, code == Some(LAPSED));
        }
    }
}

/// What QUIC finds within a bounded time; nothing over TCP.
async fn largest_packet(tunnel: &Tunnel) -> Option<u16> {
    let mtu_bytes = || tunnel.stats().path.map(|path| path.mtu_bytes);
    let found = async {
        while mtu_bytes().is_some_and(|bytes| bytes < MTU_USUAL) {
            sleep(MTU_LOOK).await;
        }
    };
    let _ = timeout(search_patience(tunnel.stats().rtt), found).await;
    mtu_bytes()
}

/// How long a search takes at most on a path of that round trip.
fn search_patience(rtt: Duration) -> Duration {
    (rtt * MTU_SEARCH_ROUND_TRIPS).clamp(MTU_SEARCH_MIN, MTU_SEARCH_MAX)
}

fn report_mtu(report: &mut Report, subject: &str, bytes: u16) {
    let text = format!("packets of {bytes} bytes pass");
    if bytes >= MTU_USUAL {
        return report.ok(subject, "mtu", text);
    }
    let action =
        "nothing is wrong; a VPN on the way takes small packets only, which costs some speed";
    report.warn(subject, "mtu", text, action);
}

/// Shows the agent's certificate and says nothing more: a relay that does not want it hangs up, with
/// this end.
async fn end_of_identity(
    report: &mut Report,
    subject: &str,
    identity: &Identity,
    relay: &RelayAddr,
    (routes, transport): (&Routes, Transport),
) -> Option<TunnelError> {
    let tls = match identity.client_config() {
        Ok(tls) => tls,
        Err(error) => {
            let action = "pair this agent again";
            report.fail(subject, "identity", error.to_string(), action);
            return None;
        }
    };
    match routes.reach(relay, transport, &tls).await {
        Ok(route) => {
            let patience = (route.tunnel.stats().rtt * 3).max(REFUSAL_MIN);
            let end = timeout(patience, route.tunnel.closed()).await;
            route.leave().await;
            if end.is_err() {
                report.ok(subject, "identity", "the relay knows this agent");
            }
            end.ok()
        }
        Err(error) => {
            let end = error.tunnel_error().cloned();
            if end.is_none() {
                // It answered a moment ago.
                report.warn(subject, "identity", error.to_string(), "try again");
            }
            end
        }
    }
}

/// With `is_lapsed` the running agent asked for another certificate already, and was refused.
fn report_refused(report: &mut Report, subject: &str, end: &TunnelError, is_lapsed: bool) {
    if is_lapsed && end.identity_fault() == Some(IdentityFault::Expired) {
        let text = format!("{LAPSED}: the relay gives this agent no other certificate");
        return report.fail(subject, "identity", text, PAIR_AGAIN);
    }
    let text = match end.identity_fault() {
        Some(fault) => format!("{}: {end}", fault.code()),
        None => end.to_string(),
    };
    match end.class() {
        Class::Operator(action) => report.fail(subject, "identity", text, action),
        _ if end.identity_fault().is_some() => {
            let action = "run the agent: it asks for another certificate by itself";
            report.warn(subject, "identity", text, action);
        }
        _ => report.warn(subject, "identity", text, "try again in a moment"),
    }
}

fn report_unreached(report: &mut Report, subject: &str, check: &'static str, error: &RouteError) {
    let check = match (error, error.tunnel_error()) {
        (RouteError::Proxy { .. }, _) => "proxy",
        (RouteError::Unresolved { .. }, _) => "dns",
        (_, None | Some(TunnelError::Unreachable(_))) => check,
        (_, Some(_)) => "pin",
    };
    let action = match error.class() {
        Class::Operator(action) => action,
        _ if check == "proxy" => "check proxy and proxy_password_file, or HTTPS_PROXY",
        _ => "check DNS and firewalls on the way: the agent needs outgoing UDP or TCP",
    };
    // Its text may hold the advice already, which has a column of its own here.
    let text = error.to_string();
    let text = text.strip_suffix(&format!(": {action}")).unwrap_or(&text);
    report.fail(subject, check, text.to_owned(), action);
}

#[cfg(test)]
mod tests {
    use tidegate_shared::tunnel::CloseCode;

    use super::*;
    use crate::doctor::State;

    #[test]
    fn agents_up_to_one_minor_version_behind_their_relay_are_supported() {
        for (agent, relay, expected) in [
            ("0.3.1", "0.3.9", Skew::Supported),
            ("0.3.1", "0.4.0", Skew::Supported),
            ("0.3.1", "0.5.0", Skew::AgentOld),
            ("0.9.0", "1.0.0", Skew::AgentOld),
            ("0.4.0", "0.3.9", Skew::RelayOld),
            ("0.4.0", "next", Skew::Supported),
        ] {
            assert_eq!(skew(agent, relay), expected, "{agent} {relay}");
        }
    }

    #[test]
    fn the_search_for_the_largest_packet_waits_as_long_as_the_path_is() {
        let ms = Duration::from_millis;
        assert_eq!(search_patience(Duration::ZERO), MTU_SEARCH_MIN);
        assert_eq!(search_patience(ms(600)), ms(24_000));
        assert_eq!(search_patience(ms(30_000)), MTU_SEARCH_MAX);
    }

    #[test]
    fn an_identity_that_lapsed_needs_a_person_and_one_that_expired_does_not() {
        let expired = TunnelError::ClosedByPeer(CloseCode::EXPIRED);
        let told = |is_lapsed| only(|report| report_refused(report, "relay", &expired, is_lapsed));
        let (state, text, _) = told(false);
        assert_eq!(state, State::Warning);
        assert!(text.starts_with("identity-expired"), "{text}");
        let (state, text, action) = told(true);
        assert_eq!(state, State::Failed);
        assert!(text.starts_with("identity-lapsed"), "{text}");
        assert!(action.contains("pair"), "{action}");
    }

    fn only(look: impl FnOnce(&mut Report)) -> (State, String, String) {
        let mut report = Report::default();
        look(&mut report);
        assert_eq!(report.checks.len(), 1);
        let check = report.checks.remove(0);
        (check.state, check.text, check.action.unwrap_or_default())
    }

    #[test]
    fn small_buffers_and_packets_are_told_with_what_helps_and_fail_nothing() {
        let small = UdpBuffers {
            receive_bytes: 212_992,
            send_bytes: 4 << 20,
        };
        let (state, text, action) = only(|report| check_buffers(report, Ok(small)));
        assert_eq!(state, State::Warning);
        assert!(text.contains("wanted"), "{text}");
        assert!(action.contains("net.core.rmem_max=4194304"), "{action}");
        let large = UdpBuffers {
            receive_bytes: 4 << 20,
            send_bytes: 4 << 20,
        };
        assert_eq!(only(|report| check_buffers(report, Ok(large))).0, State::Ok);
        let (state, text, _) = only(|report| report_mtu(report, "relay r:1", 1280));
        assert_eq!(state, State::Warning);
        assert!(text.contains("1280"), "{text}");
        let usual = only(|report| report_mtu(report, "relay r:1", 1452));
        assert_eq!(usual.0, State::Ok);
    }
}

//! Where the relay may send calls to: public addresses, unless private ones are allowed. Apps are
//! called so, and whoever is notified.
//!
//! Who adds a connection or a channel names a URL, and the relay stands where private networks can be
//! reached: without this, a manifest or a name server could turn it against them (SSRF). Names are checked
//! when they are resolved for a connection, so that a name can't change its mind in between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves names to addresses that may be called.
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let public = resolve(name.as_str(), 0, false).await?;
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a name (or of an address) that may be called; private ones only if allowed.
///
/// # Errors
/// When the name is not found, and [`Refused`] when none of its addresses may be called.
pub async fn resolve(
    host: &str,
    port: u16,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, std::io::Error> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let may = |at: &SocketAddr| allow_private || is_public(at.ip());
    let may_be_called: Vec<SocketAddr> = found.filter(may).collect();
    match may_be_called.is_empty() {
        true => Err(std::io::Error::other(Refused(host.to_owned()))),
        false => Ok(may_be_called),
    }
}

/// A name that has no address that may be called.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no public address")]
pub struct Refused(String);

/// True for addresses that anybody can have (IANA's special-purpose registries, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    // Global unicast (2000::/3) without documentation and Teredo.
    (first & 0xe000) == 0x2000
        && !matches!(address.segments(), [0x2001, 0x0db8 | 0, ..])
        && (first & 0xfff0) != 0x3ff0
}

/// The address that an IPv4-mapped, 6to4 or NAT64 one stands for.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let at = |segments: [u16; 2]| {
        let bits = u32::from(segments[0]) << 16 | u32::from(segments[1]);
        Some(Ipv4Addr::from(bits))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => at([high, low]),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => at([high, low]),
        [0x2002, high, low, ..] => at([high, low]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_in_any_form_is_refused() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.20.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}

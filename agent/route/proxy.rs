//! Which proxy is between this host and a relay: what the configuration says, else what the
//! environment says (`HTTPS_PROXY`, `NO_PROXY`), as curl and most programs read it.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use tidegate_shared::pairing::RelayAddr;
use zeroize::Zeroizing;

/// A proxy and how to sign in to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub kind: ProxyKind,
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: ProxyPassword,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT (RFC 9110 section 9.3.6).
    Http,
    /// RFC 1928.
    Socks5,
}

/// Where the password comes from. It is read at each dial, so that a new one needs no restart.
#[derive(Clone, PartialEq, Eq)]
pub enum ProxyPassword {
    None,
    File(PathBuf),
    /// From the environment's URL.
    Given(Zeroizing<String>),
}

/// The configuration's word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// What the environment says.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    Through(Proxy),
}

/// A file that holds more is the wrong one, and what is cut off is refused by the proxy, bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

const EXPECTED: &str = "expected \"http://host:port\", \"http://user@host:port\" or the same with \
                        socks5://, or \"none\"";

impl Proxy {
    /// Parses `http://[user[:password]@]host[:port]` or `socks5://…`. No error repeats the text,
    /// which may hold a password.
    pub fn parse(url: &str) -> Result<Proxy, String> {
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let (kind, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, 8080),
            // The name goes to the proxy in either case.
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            "https" => return Err("TLS towards the proxy is not spoken: use http://".into()),
            _ => return Err(EXPECTED.into()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (Some(decoded(user)?), decoded(password)?),
            None => (None, String::new()),
        };
        let (host, port) = host_and_port(place, default_port)?;
        Ok(Proxy {
            kind,
            host,
            port,
            user: user.filter(|user| !user.is_empty()),
            password: match password.as_str() {
                "" => ProxyPassword::None,
                _ => ProxyPassword::Given(Zeroizing::new(password)),
            },
        })
    }

    /// Name and password now; an unreadable file is an error.
    pub(super) fn login(&self) -> std::io::Result<Option<(&str, Zeroizing<String>)>> {
        let Some(user) = &self.user else {
            return Ok(None);
        };
        let password = match &self.password {
            ProxyPassword::None => Zeroizing::default(),
            ProxyPassword::Given(password) => password.clone(),
            ProxyPassword::File(file) => {
                let mut text = Zeroizing::new(String::new());
                let file = std::fs::File::open(file)?;
                file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text)?;
                Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        Ok(Some((user, password)))
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        let (host, port) = (&self.host, self.port);
        if host.contains(':') {
            return write!(f, "{scheme}://[{host}]:{port}");
        }
        write!(f, "{scheme}://{host}:{port}")
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

fn host_and_port(place: &str, default_port: u16) -> Result<(String, u16), String> {
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', ' ', '[', ']']);
    let (host, port) = match place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(EXPECTED)?)),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map_or(Ok(default_port), str::parse);
    match port {
        Ok(port) if port != 0 && is_host(host) => Ok((host.to_owned(), port)),
        _ => Err(EXPECTED.into()),
    }
}

/// Percent-decoding (RFC 3986 section 2.1): a password may hold any character.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.split_at_checked(2).and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            let is_hex = digits.chars().all(|c| c.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok()?;
            is_hex.then_some((byte, after))
        });
        let (byte, after) = digits.ok_or("a % in user or password must be written as %25")?;
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "user and password must be UTF-8".into())
}

/// The proxies for all relays.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    proxy: Option<Proxy>,
    /// Names and addresses that are reached without it, lower case.
    except: Vec<String>,
}

impl Proxies {
    /// `variable` reads the environment.
    pub fn new(
        choice: &ProxyChoice,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Proxies, String> {
        match choice {
            ProxyChoice::Direct => Ok(Proxies::default()),
            ProxyChoice::Through(proxy) => Ok(Proxies {
                proxy: Some(proxy.clone()),
                except: Vec::new(),
            }),
            ProxyChoice::Environment => {
                let either = |upper: &str, lower: &str| {
                    let found = variable(upper).or_else(|| variable(lower));
                    found.filter(|text| !text.is_empty())
                };
                let proxy = either("HTTPS_PROXY", "https_proxy");
                let proxy = proxy.map(|url| {
                    // A bare host is meant for HTTP, as everywhere.
                    let url = if url.contains("://") {
                        url
                    } else {
                        format!("http://{url}")
                    };
                    Proxy::parse(&url).map_err(|why| format!("HTTPS_PROXY: {why}"))
                });
                let except = either("NO_PROXY", "no_proxy").unwrap_or_default();
                let except = except
                    .split([',', ' '])
                    .map(|name| name.trim().to_lowercase());
                Ok(Proxies {
                    proxy: proxy.transpose()?,
                    except: except.filter(|name| !name.is_empty()).collect(),
                })
            }
        }
    }

    /// The proxy's password, where it can be read.
    pub(super) fn password(&self) -> Option<Zeroizing<String>> {
        let (_, password) = self.proxy.as_ref()?.login().ok()??;
        Some(password)
    }

    /// What lies between this host and the relay, if anything.
    pub(super) fn towards(&self, relay: &RelayAddr) -> Option<&Proxy> {
        let host = relay.host.to_lowercase();
        let is_excepted = |name: &String| {
            let name = name
                .strip_suffix(&format!(":{}", relay.port))
                .unwrap_or(name);
            let name = name.strip_prefix("*.").unwrap_or(name);
            let name = name.strip_prefix('.').unwrap_or(name);
            let is_within = |host: &str| {
                host.strip_suffix(name)
                    .is_some_and(|head| head.is_empty() || head.ends_with('.'))
            };
            name == "*" || is_within(&host)
        };
        let proxy = self.proxy.as_ref()?;
        (!self.except.iter().any(is_excepted)).then_some(proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(host: &str) -> RelayAddr {
        RelayAddr {
            host: host.into(),
            port: 443,
        }
    }

    #[test]
    fn urls_of_proxies_are_understood_and_never_repeated() {
        let proxy = Proxy::parse("http://ada:s%40crets%25@proxy.corp:3128/").unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.corp:3128");
        let login = proxy.login().unwrap().unwrap();
        assert_eq!((login.0, login.1.as_str()), ("ada", "s@crets%"));
        assert!(!format!("{proxy:?}").contains("crets"));
        let socks = Proxy::parse("socks5://[::1]:1081").unwrap();
        assert_eq!(socks.to_string(), "socks5://[::1]:1081");
        assert_eq!(socks.login().unwrap(), None);
        assert_eq!(Proxy::parse("socks5h://p").unwrap().port, 1080);
        for bad in [
            "proxy:3128",
            "https://proxy",
            "ftp://proxy",
            "http://",
            "http://ada:secret@:3128",
            "http://ada:se%zzcret@proxy",
            "http://proxy:0",
            "http://proxy:99999",
            "http://ada:secret@pro xy",
        ] {
            let why = Proxy::parse(bad).unwrap_err();
            assert!(!why.contains("cret"), "{bad}: {why}");
        }
    }

    #[test]
    fn environment_names_the_proxy_and_its_exceptions() {
        let env = |name: &str| match name {
            "HTTPS_PROXY" => Some("proxy.corp:3128".to_owned()),
            "no_proxy" => Some("localhost, .inner.example,10.0.0.7, relay.other:443".to_owned()),
            _ => None,
        };
        let proxies = Proxies::new(&ProxyChoice::Environment, env).unwrap();
        let through = |host: &str| proxies.towards(&relay(host)).map(ToString::to_string);
        assert_eq!(through("relay.example").unwrap(), "http://proxy.corp:3128");
        for direct in [
            "localhost",
            "a.Inner.example",
            "inner.example",
            "10.0.0.7",
            "relay.other",
        ] {
            assert_eq!(through(direct), None, "{direct}");
        }
        assert!(through("winner.example").is_some());
        let direct = Proxies::new(&ProxyChoice::Direct, env).unwrap();
        assert!(direct.towards(&relay("relay.example")).is_none());
        let all = |name: &str| (name != "no_proxy").then(|| "*".to_owned());
        let none = |name: &str| match name {
            "https_proxy" => Some("http://p".to_owned()),
            _ => all(name).filter(|_| name == "NO_PROXY"),
        };
        let excepted = Proxies::new(&ProxyChoice::Environment, none).unwrap();
        assert!(excepted.towards(&relay("relay.example")).is_none());
    }
}

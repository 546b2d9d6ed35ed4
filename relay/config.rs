//! The relay's configuration: `relay.toml`, overridden by `TIDEGATE_*` variables.
//!
//! Everything is read and checked here before a port is bound; nothing is opened. The binary and
//! the command line call it. Each key `k` of section `[s]` is overridden by `TIDEGATE_S_K`, lists
//! with commas between their items. Without a file the defaults are enough for a try-out on one
//! machine.

mod egress;
mod notifications;
mod oidc;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidegate_shared::size;
use toml::Spanned;

use self::egress::RawEgress;
pub use self::egress::{AllowPrivate, Egress};
pub use self::notifications::Notifications;
use self::notifications::RawNotifications;
use self::oidc::RawOidc;
pub use self::oidc::{Admit, Oidc};
use crate::place::{FileError, parse_toml};

/// Read when `--config` does not name another file and this one exists.
pub const DEFAULT_FILE: &str = "/etc/tidegate-relay/relay.toml";

/// UDP and TCP port of the tunnel unless told otherwise: needs no privilege, so that a try-out works.
/// Production files set 443, which more networks let out.
pub const DEFAULT_TUNNEL_PORT: u16 = 4433;

/// Where the API and the console listen unless told otherwise: nobody else can reach it there.
pub const DEFAULT_HTTP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub tunnel: Tunnel,
    pub http: Http,
    pub egress: Egress,
    pub store: StoreChoice,
    pub metrics: Metrics,
    pub notifications: Notifications,
    /// Who signs people in beside the relay's own passwords.
    pub oidc: Option<Oidc>,
    pub sync: SyncDefaults,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub listen: SocketAddr,
    /// What agents dial; goes into pairing tokens and into the relay's certificate. Never empty.
    pub names: Vec<RelayName>,
}

/// A name or address by which agents reach the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayName {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for RelayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
    /// Where browsers find the console, through whatever proxy; without a slash at the end.
    pub public_url: Option<String>,
}

impl Http {
    fn read(
        source: &Source<'_>,
        listen: Option<Spanned<String>>,
        public_url: Option<Spanned<String>>,
    ) -> Result<Http, ConfigError> {
        let url = "TIDEGATE_HTTP_PUBLIC_URL";
        Ok(Http {
            listen: source
                .one("TIDEGATE_HTTP_LISTEN", listen, socket_address)?
                .unwrap_or(DEFAULT_HTTP_LISTEN),
            public_url: source.one(url, public_url, notifications::web_address)?,
        })
    }
}

/// Where the relay keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// In the data directory.
    Sqlite,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Listener for `/metrics`; `None` starts none.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncDefaults {
    /// A slot is dropped before it keeps this much WAL, bytes.
    pub slot_wal_max: u64,
}

/// Enough for a database that writes 2 MB/s and is not read for an hour and a half; small beside
/// the disks of servers that write more.
pub const DEFAULT_SLOT_WAL_MAX: u64 = 10 << 30;

/// Why there is no usable configuration. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read configuration {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: FileError },
    #[error("{variable}: {message}")]
    Variable { variable: String, message: String },
}

/// Reads one environment variable; a parameter so that tests need no real environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads `file` (or [`DEFAULT_FILE`] if there is one) and the process's environment.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let environment = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let default_file = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default_file.exists().then_some(default_file));
        let Some(path) = file else {
            return Config::parse("", Path::new("(defaults)"), &environment);
        };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Config::parse(&text, path, &environment)
    }

    /// Reads the text of a file, which `path` names in errors, and the environment over it.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: Environment<'_>,
    ) -> Result<Config, ConfigError> {
        let in_file = |error| ConfigError::File {
            path: path.to_owned(),
            error,
        };
        let raw: RawConfig = parse_toml(text).map_err(in_file)?;
        let source = Source {
            text,
            path,
            environment,
        };
        let listen = source
            .one("TIDEGATE_TUNNEL_LISTEN", raw.tunnel.listen, socket_address)?
            .unwrap_or(SocketAddr::from((
                Ipv4Addr::UNSPECIFIED,
                DEFAULT_TUNNEL_PORT,
            )));
        let mut names = source.many("TIDEGATE_TUNNEL_NAMES", raw.tunnel.names, |text| {
            relay_name(text, listen.port())
        })?;
        if names.is_empty() {
            names.push(RelayName {
                host: "localhost".into(),
                port: listen.port(),
            });
        }
        let http = Http::read(&source, raw.http.listen, raw.http.public_url)?;
        let public_url = http.public_url.clone();
        Ok(Config {
            data_dir: source
                .one("TIDEGATE_DATA_DIR", raw.data_dir, directory)?
                .unwrap_or_else(|| default_data_dir(environment)),
            tunnel: Tunnel { listen, names },
            http,
            egress: Egress::read(&source, raw.egress)?,
            store: source
                .one("TIDEGATE_STORE_URL", raw.store.url, store_choice)?
                .unwrap_or(StoreChoice::Sqlite),
            metrics: Metrics {
                listen: source.one(
                    "TIDEGATE_METRICS_LISTEN",
                    raw.metrics.listen,
                    socket_address,
                )?,
            },
            notifications: Notifications::read(&source, raw.notifications)?
                .or_console_at(public_url.as_deref()),
            oidc: Oidc::read(&source, raw.oidc, public_url.is_some())?,
            sync: SyncDefaults {
                slot_wal_max: source
                    .one(
                        "TIDEGATE_SYNC_SLOT_WAL_MAX",
                        raw.sync.slot_wal_max,
                        slot_bound,
                    )?
                    .unwrap_or(DEFAULT_SLOT_WAL_MAX),
            },
        })
        .and_then(|config| match raw.http.tls_cert.or(raw.http.tls_key) {
            Some(path) => Err(in_file(FileError::at(text, path.span(), TLS_LATER))),
            None => Ok(config),
        })
    }

    /// The effective configuration as a file that would give it. Holds no secret.
    pub fn render(&self) -> String {
        let list = |items: Vec<String>| {
            let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let names = list(self.tunnel.names.iter().map(ToString::to_string).collect());
        let mut out = format!("data_dir = {:?}\n\n", self.data_dir.display().to_string());
        out += &format!(
            "[tunnel]\nlisten = \"{}\"\nnames = {names}\n\n",
            self.tunnel.listen
        );
        out += &format!("[http]\nlisten = \"{}\"\n", self.http.listen);
        if let Some(url) = &self.http.public_url {
            out += &format!("public_url = {url:?}\n");
        }
        out += &self.egress.render();
        out += "\n[store]\nurl = \"sqlite\"\n\n[metrics]\n";
        match self.metrics.listen {
            Some(listen) => out += &format!("listen = \"{listen}\"\n"),
            None => out += "# listen is not set: no metrics are served\n",
        }
        out += &self.notifications.render();
        if let Some(oidc) = &self.oidc {
            out += &oidc.render();
        }
        let slot_wal_max = size::text(self.sync.slot_wal_max);
        out += &format!("\n[sync]\nslot_wal_max = \"{slot_wal_max}\"\n");
        out
    }

    /// What works but is probably not meant, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self
            .tunnel
            .names
            .iter()
            .all(|name| name.host == "localhost")
        {
            warnings.push(
                "only agents on this machine can find the relay: set tunnel.names to the name \
                 that agents dial"
                    .into(),
            );
        }
        if !self.http.listen.ip().is_loopback() {
            warnings.push(format!(
                "the API listens on {} without TLS: put a TLS proxy in front of it",
                self.http.listen
            ));
        }
        if let Some(listen) = self.metrics.listen
            && !listen.ip().is_loopback()
        {
            warnings.push(format!(
                "{listen} tells names of syncs and tables to whoever asks for /metrics there: let \
                 only the monitoring reach it"
            ));
        }
        warnings
    }
}

const TLS_LATER: &str = "tls_cert and tls_key are not supported in this version: remove them and \
                         put a TLS proxy in front of http.listen";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    data_dir: Option<Spanned<String>>,
    tunnel: RawTunnel,
    http: RawHttp,
    egress: RawEgress,
    store: RawStore,
    metrics: RawMetrics,
    notifications: RawNotifications,
    oidc: RawOidc,
    sync: RawSync,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawTunnel {
    listen: Option<Spanned<String>>,
    names: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    listen: Option<Spanned<String>>,
    public_url: Option<Spanned<String>>,
    tls_cert: Option<Spanned<String>>,
    tls_key: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawStore {
    url: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawMetrics {
    listen: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawSync {
    slot_wal_max: Option<Spanned<String>>,
}

/// A file and the environment over it.
struct Source<'a> {
    text: &'a str,
    path: &'a Path,
    environment: Environment<'a>,
}

impl Source<'_> {
    fn one<T>(
        &self,
        variable: &str,
        in_file: Option<Spanned<String>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        if let Some(text) = (self.environment)(variable) {
            return parse(text.trim()).map(Some).map_err(in_variable(variable));
        }
        in_file.map(|item| self.item(&item, &parse)).transpose()
    }

    fn many<T>(
        &self,
        variable: &str,
        in_file: Vec<Spanned<String>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(text) = (self.environment)(variable) else {
            return in_file.iter().map(|item| self.item(item, &parse)).collect();
        };
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| parse(item).map_err(in_variable(variable)))
            .collect()
    }

    fn item<T>(
        &self,
        item: &Spanned<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(item.get_ref()).map_err(|message| ConfigError::File {
            path: self.path.to_owned(),
            error: FileError::at(self.text, item.span(), message),
        })
    }
}

fn in_variable(variable: &str) -> impl Fn(String) -> ConfigError {
    move |message| ConfigError::Variable {
        variable: variable.to_owned(),
        message,
    }
}

/// What was found is not repeated, here and below: somebody may have put a URL with a password there, and
/// the place says where.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str =
        "expected an address and a port such as \"127.0.0.1:8080\" or \"[::]:443\"";
    text.parse().map_err(|_| EXPECTED.to_owned())
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address such as \"203.0.113.7\"".to_owned())
}

/// Less than two WAL segments of the usual size would be passed by every burst.
fn slot_bound(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 32 << 20;
    let bytes = size::parse(text)?;
    if bytes < LEAST {
        return Err(format!(
            "expected at least {}, found {text:?}",
            size::text(LEAST)
        ));
    }
    Ok(bytes)
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("expected the path of a directory, found an empty text".into());
    }
    Ok(PathBuf::from(text))
}

/// `host`, `host:port`, an IP address, or `[v6]:port`; the port defaults to the listener's.
fn relay_name(text: &str, default_port: u16) -> Result<RelayName, String> {
    const EXPECTED: &str =
        "expected a name such as \"relay.example.com\" or \"relay.example.com:443\"";
    let wrong = || EXPECTED.to_owned();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(RelayName {
            host: ip.to_string(),
            port: default_port,
        });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(RelayName {
            host: address.ip().to_string(),
            port: address.port(),
        });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (text, default_port),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    if host.is_empty() || host.len() > 253 || !host.chars().all(letter) || port == 0 {
        return Err(wrong());
    }
    Ok(RelayName {
        host: host.to_ascii_lowercase(),
        port,
    })
}

fn store_choice(text: &str) -> Result<StoreChoice, String> {
    if text == "sqlite" {
        return Ok(StoreChoice::Sqlite);
    }
    // The scheme alone: a URL may hold a password.
    let scheme = text.split("://").next().unwrap_or_default();
    Err(match scheme {
        "postgres" | "postgresql" => {
            "state in PostgreSQL comes in a later version: use \"sqlite\"".into()
        }
        _ => "expected \"sqlite\", the only store of this version".into(),
    })
}

/// systemd's state directory, else the user's, else the packages' own.
fn default_data_dir(environment: Environment<'_>) -> PathBuf {
    if let Some(dir) = environment("STATE_DIRECTORY") {
        // systemd separates several with colons; the first is the service's own.
        return PathBuf::from(dir.split(':').next().unwrap_or(&dir));
    }
    if let Some(dir) = environment("XDG_STATE_HOME") {
        return Path::new(&dir).join("tidegate-relay");
    }
    match environment("HOME") {
        Some(home) => Path::new(&home).join(".local/state/tidegate-relay"),
        None => PathBuf::from("/var/lib/tidegate-relay"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
data_dir = "/var/lib/tidegate-relay"
[tunnel]
listen = "0.0.0.0:443"
names  = ["relay.example.com", "203.0.113.7:8443"]
[http]
listen = "127.0.0.1:8081"
public_url = "https://relay.example.com"
[egress]
bind   = "10.0.0.5"
public = ["203.0.113.7"]
allow_private = "nobody"
[store]
url = "sqlite"
[metrics]
listen = "127.0.0.1:9090"
[notifications]
console_url = "https://tidegate.example.com"
delay_max = "90s"
[oidc]
name = "Example"
issuer = "https://login.example.com/tenant"
client_id = "tidegate"
client_secret_file = "/etc/tidegate-relay/oidc.secret"
scopes = ["openid", "email", "groups"]
groups_claim = "roles"
[[oidc.admit]]
group = "tidegate-admins"
role = "admin"
[[oidc.admit]]
domain = "example.com"
role = "viewer"
workspace = "sales"
"#;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::parse(text, Path::new("relay.toml"), &environment)
    }

    fn refusal(text: &str) -> String {
        parse(text, &[]).expect_err("refused").to_string()
    }

    #[test]
    fn every_key_of_the_documented_file_is_read_and_rendered_back() {
        let config = parse(FULL, &[]).expect("valid");
        assert_eq!(config.tunnel.names[0].to_string(), "relay.example.com:443");
        assert_eq!(config.tunnel.names[1].port, 8443);
        assert_eq!(config.egress.public.len(), 1);
        let delay_max = std::time::Duration::from_secs(90);
        assert_eq!(config.notifications.delay_max, Some(delay_max));
        assert_eq!(parse(&config.render(), &[]).expect("valid"), config);
    }

    #[test]
    fn an_empty_file_gives_a_relay_that_only_this_machine_can_reach() {
        let config = parse("", &[("HOME", "/home/ann")]).expect("valid");
        assert_eq!(config.http.listen, DEFAULT_HTTP_LISTEN);
        assert_eq!(config.tunnel.listen.port(), DEFAULT_TUNNEL_PORT);
        assert_eq!(
            config.data_dir,
            Path::new("/home/ann/.local/state/tidegate-relay")
        );
        assert_eq!(config.warnings().len(), 1, "names only this machine");
        assert_eq!(parse(&config.render(), &[]).expect("valid"), config);
    }

    #[test]
    fn variables_override_every_key() {
        let config = parse(
            FULL,
            &[
                ("TIDEGATE_DATA_DIR", "/srv/t"),
                ("TIDEGATE_TUNNEL_LISTEN", "[::]:4443"),
                ("TIDEGATE_TUNNEL_NAMES", "a.example, b.example:1"),
                ("TIDEGATE_HTTP_LISTEN", "127.0.0.1:9999"),
                ("TIDEGATE_EGRESS_BIND", "10.0.0.6"),
                ("TIDEGATE_EGRESS_PUBLIC", "198.51.100.1,198.51.100.2"),
                ("TIDEGATE_STORE_URL", "sqlite"),
                ("TIDEGATE_METRICS_LISTEN", "127.0.0.1:9191"),
                ("TIDEGATE_NOTIFICATIONS_CONSOLE_URL", "https://b.example"),
                ("TIDEGATE_NOTIFICATIONS_DELAY_MAX", "2h"),
            ],
        )
        .expect("valid");
        assert_eq!(config.data_dir, Path::new("/srv/t"));
        assert_eq!(config.tunnel.listen.to_string(), "[::]:4443");
        let names: Vec<String> = config
            .tunnel
            .names
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["a.example:4443", "b.example:1"]);
        assert_eq!(config.http.listen.port(), 9999);
        assert_eq!(
            config.egress.bind.map(|ip| ip.to_string()).as_deref(),
            Some("10.0.0.6")
        );
        assert_eq!(config.egress.public.len(), 2);
        let console_url = config.notifications.console_url.as_deref();
        assert_eq!(console_url, Some("https://b.example"));
        assert_eq!(
            config.metrics.listen.map(|listen| listen.port()),
            Some(9191)
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_line_and_column() {
        let text = refusal("[http]\nlisten = \"127.0.0.1:1\"\nlisen = 3\n");
        assert!(
            text.starts_with("relay.toml: line 3, column 1: unknown field `lisen`"),
            "{text}"
        );
        let text = refusal("[htp]\n");
        assert!(
            text.contains("line 1, column 2: unknown field `htp`"),
            "{text}"
        );
    }

    #[test]
    fn wrong_values_say_where_and_what_was_expected() {
        let text = refusal("[http]\nlisten = \"localhost\"\n");
        assert!(
            text.contains("line 2, column 10: expected an address and a port"),
            "{text}"
        );
        let text = refusal("[egress]\npublic = [\"203.0.113.7\", \"nowhere\"]\n");
        assert!(
            text.contains("line 2, column 26: expected an IP address"),
            "{text}"
        );
        let text = refusal("data_dir = 7\n");
        assert!(
            text.contains("line 1, column 12: invalid type: integer `7`"),
            "{text}"
        );
        let text = refusal("[http]\ntls_cert = \"/a\"\n");
        assert!(
            text.contains("line 2, column 12: tls_cert and tls_key"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let refused = parse("", &[("TIDEGATE_HTTP_LISTEN", "8080")]).expect_err("refused");
        assert!(
            refused
                .to_string()
                .starts_with("TIDEGATE_HTTP_LISTEN: expected an address")
        );
    }

    #[test]
    fn another_store_is_refused_without_repeating_its_password() {
        let text = refusal("[store]\nurl = \"postgres://u:hunter2@db/state\"\n");
        assert!(
            text.contains("line 2, column 7: state in PostgreSQL comes in a later"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}

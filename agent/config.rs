//! What the operator wrote in `agent.toml`, parsed once into checked types.
//!
//! A wrong file is answered with its line, its column and what was expected. No secret is read
//! here: a target only says where its password can be found (`origin::password` reads it at each
//! login, so that a rotated password needs no restart). Called by `cli` and on SIGHUP.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidegate_shared::size;
use tidegate_shared::sslmode::SslMode;
use toml::Spanned;

use crate::route::{Proxy, ProxyChoice, ProxyPassword};

/// Where the configuration lies unless `--config` or the environment say otherwise.
pub const DEFAULT_FILE: &str = "/etc/tidegate-agent/agent.toml";
/// The variable that replaces [`DEFAULT_FILE`].
pub const FILE_VARIABLE: &str = "TIDEGATE_AGENT_CONFIG";

mod limits {
    /// Longest accepted configuration, bytes: a wrong path (a core file, a device) must not be
    /// read into memory.
    pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;
    /// Longest target name, bytes: it appears in logs, file names and messages.
    pub(super) const NAME_BYTES_MAX: usize = 63;
    /// Sessions of one target at the same time unless configured: a sync opens four to eight.
    pub(super) const SESSIONS_DEFAULT: u32 = 32;
    /// The tunnel carries at most 1,024 streams, so that more could never be opened.
    pub(super) const SESSIONS_MAX: u32 = 1024;
    /// Sessions opened within a minute unless configured: a sync that fails and starts again at
    /// once opens some tens; a login costs PostgreSQL a process.
    pub(super) const OPENS_PER_MINUTE_DEFAULT: u32 = 600;
    /// WAL that a slot may keep unless configured, bytes. The relay's own default is the same.
    pub(super) const SLOT_WAL_DEFAULT: u64 = 10 << 30;
    /// Two WAL segments of the usual size: less would be passed by every burst, bytes.
    pub(super) const SLOT_WAL_LEAST: u64 = 32 << 20;
}

/// The whole checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Key, certificate, epochs and status live here; owned by the agent's user, mode 0700.
    pub state_dir: PathBuf,
    /// What the tunnel may travel on. Read at the start only.
    pub transport: TransportChoice,
    /// Whether the kernel may be handed many packets at once; some network cards announce that and then
    /// fail. Read at the start only.
    pub segmentation_offload: bool,
    /// What lies between this host and the relay, for the tunnel over TCP. Read at the start only.
    pub proxy: ProxyChoice,
    /// The databases that the relay may reach, in file order, names unique.
    pub targets: Vec<Target>,
}

/// What the tunnel may travel on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportChoice {
    /// QUIC where UDP passes, TCP where it does not.
    #[default]
    Auto,
    Quic,
    Tcp,
}

/// One database that the relay may reach, by name only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub address: Address,
    pub database: String,
    pub user: String,
    pub password_file: Option<PathBuf>,
    pub sslmode: SslMode,
    /// PEM file of the authorities trusted for this server; the system's roots when absent.
    pub sslrootcert: Option<PathBuf>,
    /// Sessions start read-only and a role that holds write grants is refused.
    pub read_only: bool,
    /// Whether the relay may run the fixes that it offers (key, publication). The relay is told and
    /// obeys; bytes are not looked at here, so what really holds is the role's rights.
    pub allow_ddl: bool,
    /// Whether MD5 and cleartext password requests of the server are answered.
    pub allow_md5: bool,
    /// Sessions open at the same time, 1 to 1,024.
    pub max_sessions: u32,
    /// Tidegate's slots are dropped before they make the server keep this much WAL, bytes.
    pub slot_wal_max: u64,
    /// Sessions opened within a minute; cancel requests count too.
    pub max_opens_per_minute: u32,
    /// What becomes of a role that is more than its grants (a superuser, one that runs programs).
    pub powerful_role: PowerfulRole,
    /// Whether people's own tools come through, and who logs in for them.
    pub forward: Forward,
    /// Rows written within a minute above which the agent holds writes back.
    pub brake: WriteBounds,
}

/// Rows that may be written within a minute; nothing is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteBounds {
    /// Rows inserted, updated, merged or copied in.
    pub changed_rows: Option<u64>,
    pub deleted_rows: Option<u64>,
}

/// What becomes of a role that may do more than its grants say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerfulRole {
    /// It is used and told about.
    #[default]
    Warn,
    Refuse,
}

/// Whether `tidegate-relay agent forward` reaches a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    #[default]
    No,
    /// The agent logs in with the target's role.
    Yes,
    /// The person's own name and password are passed on.
    Passthrough,
}

/// Where PostgreSQL listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Socket { directory: PathBuf, port: u16 },
}

/// Why the configuration can't be used; its text names the file and, where known, the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "can't read {}: {source}; make one with a [[target]] (name, address, database, user, \
         password_file), or name it with --config",
        file.display()
    )]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is larger than 1 MiB: is this the right file?", file.display())]
    TooLarge { file: PathBuf },
    #[error("{}:{line}:{column}: {message}", file.display())]
    Wrong {
        file: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
}

impl Config {
    /// Reads and checks `file`. Relative paths in it are relative to its directory.
    pub fn load(file: &Path) -> Result<Config, ConfigError> {
        let read = |source| ConfigError::Read {
            file: file.to_owned(),
            source,
        };
        if std::fs::metadata(file).map_err(read)?.len() > limits::FILE_BYTES_MAX {
            return Err(ConfigError::TooLarge {
                file: file.to_owned(),
            });
        }
        let text = std::fs::read_to_string(file).map_err(read)?;
        Config::parse(&text, file)
    }

    /// Checks `text`; `file` only names it in errors and anchors relative paths.
    pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
        let wrong = |at: usize, message: String| {
            let (line, column) = place(text, at);
            ConfigError::Wrong {
                file: file.to_owned(),
                line,
                column,
                message,
            }
        };
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().replace('\n', ", "))
        })?;
        let base = file.parent().unwrap_or(Path::new("."));
        let proxy = proxy(raw.proxy, raw.proxy_password_file, base)
            .map_err(|(at, message)| wrong(at, message))?;
        let mut targets: Vec<Target> = Vec::with_capacity(raw.target.len());
        for raw_target in raw.target {
            let name_at = raw_target.name.span().start;
            let target = raw_target
                .check(base)
                .map_err(|(at, message)| wrong(at, message))?;
            if targets.iter().any(|known| known.name == target.name) {
                let message = format!("target {:?} is defined twice", target.name);
                return Err(wrong(name_at, message));
            }
            targets.push(target);
        }
        Ok(Config {
            state_dir: base.join(raw.state_dir),
            transport: raw.transport,
            segmentation_offload: raw.segmentation_offload.unwrap_or(true),
            proxy,
            targets,
        })
    }
}

impl Address {
    /// Parses `host:port`, `[v6]:port`, a socket directory (optionally `directory:port`), or the
    /// path of a socket file as PostgreSQL names it (`/run/pg/.s.PGSQL.5433`).
    pub fn parse(text: &str) -> Result<Address, String> {
        if text.starts_with('/') {
            return Address::parse_socket(text);
        }
        const EXPECTED: &str = "expected host:port (\"127.0.0.1:5432\") or a socket directory \
                                (\"/var/run/postgresql\")";
        let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(EXPECTED)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err("an IPv6 address needs brackets: \"[::1]:5432\"".into());
        }
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(EXPECTED.into());
        }
        Ok(Address::Tcp {
            host: host.to_owned(),
            port,
        })
    }

    fn parse_socket(text: &str) -> Result<Address, String> {
        let path = Path::new(text);
        let file_port = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(".s.PGSQL."))
            .and_then(|port| port.parse().ok());
        if let (Some(port), Some(directory)) = (file_port, path.parent()) {
            return Ok(Address::Socket {
                directory: directory.to_owned(),
                port,
            });
        }
        if let Some((directory, port)) = text.rsplit_once(':')
            && let Ok(port) = port.parse()
        {
            return Ok(Address::Socket {
                directory: directory.into(),
                port,
            });
        }
        Ok(Address::Socket {
            directory: text.into(),
            port: 5432,
        })
    }

    /// Whether traffic to it stays inside this host, judged by what was written.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Socket { .. } => true,
            Address::Tcp { host, .. } => {
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Socket { directory, port } => {
                write!(f, "{}/.s.PGSQL.{port}", directory.display())
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default)]
    transport: TransportChoice,
    segmentation_offload: Option<bool>,
    proxy: Option<Spanned<String>>,
    proxy_password_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    target: Vec<RawTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    name: Spanned<String>,
    address: Spanned<String>,
    database: Spanned<String>,
    user: Spanned<String>,
    password_file: Option<PathBuf>,
    sslmode: Option<SslMode>,
    sslrootcert: Option<PathBuf>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    allow_ddl: bool,
    #[serde(default)]
    allow_md5: bool,
    max_sessions: Option<Spanned<u32>>,
    slot_wal_max: Option<Spanned<String>>,
    max_opens_per_minute: Option<Spanned<u32>>,
    #[serde(default)]
    powerful_role: PowerfulRole,
    #[serde(default)]
    forward: Forward,
    brake_changed_rows_per_minute: Option<u64>,
    brake_deleted_rows_per_minute: Option<u64>,
}

impl RawTarget {
    fn check(self, base: &Path) -> Result<Target, (usize, String)> {
        let name_ok = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = self.name.get_ref();
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !name.chars().all(name_ok) {
            let message = "a target's name is 1 to 63 letters, digits, '-' or '_'";
            return Err((self.name.span().start, message.into()));
        }
        let address = Address::parse(self.address.get_ref())
            .map_err(|message| (self.address.span().start, message))?;
        for (field, value) in [("database", &self.database), ("user", &self.user)] {
            if value.get_ref().is_empty() || value.get_ref().contains('\0') {
                return Err((value.span().start, format!("{field} must not be empty")));
            }
        }
        let sessions = self
            .max_sessions
            .as_ref()
            .map_or(limits::SESSIONS_DEFAULT, |s| *s.get_ref());
        if sessions == 0 || sessions > limits::SESSIONS_MAX {
            let at = self.max_sessions.map_or(0, |s| s.span().start);
            return Err((at, "max_sessions is 1 to 1024".into()));
        }
        let slot_wal_max = match &self.slot_wal_max {
            None => limits::SLOT_WAL_DEFAULT,
            Some(text) => match size::parse(text.get_ref()) {
                Ok(bytes) if bytes >= limits::SLOT_WAL_LEAST => bytes,
                Ok(_) => return Err((text.span().start, "slot_wal_max is at least 32MB".into())),
                Err(message) => return Err((text.span().start, message)),
            },
        };
        let opens = self
            .max_opens_per_minute
            .as_ref()
            .map_or(limits::OPENS_PER_MINUTE_DEFAULT, |opens| *opens.get_ref());
        if opens == 0 {
            let at = self
                .max_opens_per_minute
                .map_or(0, |opens| opens.span().start);
            return Err((at, "max_opens_per_minute is at least 1".into()));
        }
        if self.read_only && self.forward == Forward::Passthrough {
            let message = "read_only and forward = \"passthrough\" exclude each other: nobody \
                           checks the grants of the role that a person logs in with";
            return Err((self.name.span().start, message.into()));
        }
        let default_mode = default_sslmode(&address);
        Ok(Target {
            name: self.name.into_inner(),
            address,
            database: self.database.into_inner(),
            user: self.user.into_inner(),
            password_file: self.password_file.map(|path| base.join(path)),
            sslmode: self.sslmode.unwrap_or(default_mode),
            sslrootcert: self.sslrootcert.map(|path| base.join(path)),
            read_only: self.read_only,
            allow_ddl: self.allow_ddl,
            allow_md5: self.allow_md5,
            max_sessions: sessions,
            slot_wal_max,
            max_opens_per_minute: opens,
            powerful_role: self.powerful_role,
            forward: self.forward,
            brake: WriteBounds {
                changed_rows: self.brake_changed_rows_per_minute,
                deleted_rows: self.brake_deleted_rows_per_minute,
            },
        })
    }
}

fn proxy(
    url: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    base: &Path,
) -> Result<ProxyChoice, (usize, String)> {
    let Some(url) = url else {
        return match password_file {
            Some(file) => Err((
                file.span().start,
                "proxy_password_file without proxy = \"http://user@host:port\"".into(),
            )),
            None => Ok(ProxyChoice::Environment),
        };
    };
    let at = url.span().start;
    if url.get_ref() == "none" {
        return Ok(ProxyChoice::Direct);
    }
    let mut proxy = Proxy::parse(url.get_ref()).map_err(|message| (at, message))?;
    if proxy.password != ProxyPassword::None {
        let message = "no password here, where it can be read: put it into proxy_password_file";
        return Err((at, message.into()));
    }
    match (password_file, &proxy.user) {
        (Some(file), Some(_)) => {
            proxy.password = ProxyPassword::File(base.join(file.into_inner()));
        }
        (Some(file), None) => {
            let message = "proxy_password_file needs a user: proxy = \"http://user@host:port\"";
            return Err((file.span().start, message.into()));
        }
        (None, _) => {}
    }
    Ok(ProxyChoice::Through(proxy))
}

/// Off this host nothing but a checked certificate keeps the password's proof and the rows from
/// whoever sits between, so that leaving it out must not mean "whatever is offered".
fn default_sslmode(address: &Address) -> SslMode {
    if address.is_local() {
        SslMode::Prefer
    } else {
        SslMode::VerifyFull
    }
}

fn default_state_dir() -> PathBuf {
    "/var/lib/tidegate-agent".into()
}

/// Line and column (both from 1, column in characters) of a byte offset.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |tail| tail.chars().count())
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
state_dir = "/var/lib/tidegate-agent"
[[target]]
name = "main"
address = "127.0.0.1:5432"
database = "shop"
user = "tidegate"
password_file = "main.password"
"#;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/tidegate-agent/agent.toml")).map_err(|e| e.to_string())
    }

    fn error(text: &str) -> String {
        parse(text).expect_err("must be refused")
    }

    #[test]
    fn documented_file_is_accepted_with_its_defaults() {
        let config = parse(GOOD).unwrap();
        let target = &config.targets[0];
        assert_eq!(target.sslmode, SslMode::Prefer);
        assert_eq!(target.max_sessions, 32);
        assert_eq!(target.slot_wal_max, 10 << 30);
        assert!(!target.read_only && !target.allow_ddl && !target.allow_md5);
        let password = Path::new("/etc/tidegate-agent/main.password");
        assert_eq!(target.password_file.as_deref(), Some(password));
    }

    #[test]
    fn transport_is_chosen_by_itself_unless_told() {
        let choice = |text: &str| parse(text).map(|config| config.transport);
        assert_eq!(choice(GOOD), Ok(TransportChoice::Auto));
        let told = |value: &str| format!("transport = \"{value}\"{GOOD}");
        assert_eq!(choice(&told("quic")), Ok(TransportChoice::Quic));
        assert_eq!(choice(&told("tcp")), Ok(TransportChoice::Tcp));
        let config = parse(&format!("segmentation_offload = false{GOOD}")).unwrap();
        assert!(!config.segmentation_offload && parse(GOOD).unwrap().segmentation_offload);
        let message = error(&told("udp"));
        assert!(message.contains(":1:13: "), "{message}");
        assert!(message.contains("`auto`, `quic`"), "{message}");
    }

    #[test]
    fn proxy_has_its_password_in_a_file() {
        let with = |lines: &str| parse(&format!("{lines}{GOOD}")).map(|config| config.proxy);
        assert_eq!(with(""), Ok(ProxyChoice::Environment));
        assert_eq!(with("proxy = \"none\""), Ok(ProxyChoice::Direct));
        let lines = "proxy = \"http://ada@proxy:3128\"\nproxy_password_file = \"proxy.password\"";
        let Ok(ProxyChoice::Through(proxy)) = with(lines) else {
            panic!("a proxy")
        };
        let file = PathBuf::from("/etc/tidegate-agent/proxy.password");
        assert!(proxy.password == ProxyPassword::File(file));
        let message = with("proxy = \"http://ada:topsecret@proxy\"").unwrap_err();
        assert!(message.contains(":1:9: no password here"), "{message}");
        assert!(!message.contains("topsecret"), "{message}");
        let message = with("proxy = \"https://proxy\"").unwrap_err();
        assert!(message.contains(":1:9: TLS towards"), "{message}");
        let message = with("proxy_password_file = \"x\"").unwrap_err();
        assert!(message.contains(":1:23: "), "{message}");
    }

    #[test]
    fn unknown_key_is_refused_with_line_and_column() {
        let text = format!("{GOOD}  sslmod = \"require\"\n");
        let message = error(&text);
        assert!(
            message.starts_with("/etc/tidegate-agent/agent.toml:9:3: "),
            "{message}"
        );
        assert!(
            message.contains("sslmod") && message.contains("sslmode"),
            "{message}"
        );
    }

    #[test]
    fn wrong_values_are_refused_at_their_place() {
        let message = error(&GOOD.replace("127.0.0.1:5432", "127.0.0.1"));
        assert!(message.contains(":5:11: expected host:port"), "{message}");
        let message = error(&format!("{GOOD}sslmode = \"verify\"\n"));
        assert!(
            message.contains(":9:11: ") && message.contains("verify-full"),
            "{message}"
        );
        let message = error(&format!("{GOOD}max_sessions = 0\n"));
        assert!(message.contains(":9:16: max_sessions"), "{message}");
        for bad in ["10", "16MB"] {
            let message = error(&format!("{GOOD}slot_wal_max = \"{bad}\"\n"));
            assert!(message.contains(":9:16: "), "{message}");
        }
        let message = error(&format!("{GOOD}max_opens_per_minute = 0\n"));
        assert!(message.contains(":9:24: max_opens"), "{message}");
        let both = "read_only = true\nforward = \"passthrough\"\n";
        let message = error(&format!("{GOOD}{both}"));
        assert!(message.contains("exclude each other"), "{message}");
        let message = error(&GOOD.replace("\"main\"", "\"a b\""));
        assert!(message.contains(":4:8: a target's name"), "{message}");
    }

    #[test]
    fn missing_key_and_broken_syntax_name_their_line() {
        let message = error(&GOOD.replace("database = \"shop\"\n", ""));
        assert!(message.contains("missing field `database`"), "{message}");
        let message = error("state_dir = \n");
        assert!(
            message.starts_with("/etc/tidegate-agent/agent.toml:1:"),
            "{message}"
        );
    }

    #[test]
    fn two_targets_of_one_name_are_refused() {
        let second = GOOD.replace("state_dir = \"/var/lib/tidegate-agent\"\n", "");
        let message = error(&format!("{GOOD}{second}"));
        assert!(message.contains("\"main\" is defined twice"), "{message}");
    }

    #[test]
    fn target_on_another_host_is_verified_unless_told_otherwise() {
        let remote = GOOD.replace("127.0.0.1:5432", "db.internal:5432");
        assert_eq!(
            parse(&remote).unwrap().targets[0].sslmode,
            SslMode::VerifyFull
        );
        let told = format!("{remote}sslmode = \"prefer\"\n");
        assert_eq!(parse(&told).unwrap().targets[0].sslmode, SslMode::Prefer);
    }

    #[test]
    fn address_forms_of_postgresql_are_understood() {
        let tcp = |host: &str, port| {
            Ok(Address::Tcp {
                host: host.into(),
                port,
            })
        };
        let socket = |dir: &str, port| {
            Ok(Address::Socket {
                directory: dir.into(),
                port,
            })
        };
        assert_eq!(Address::parse("[::1]:5433"), tcp("::1", 5433));
        assert_eq!(Address::parse("db:5432"), tcp("db", 5432));
        assert_eq!(
            Address::parse("/run/postgresql"),
            socket("/run/postgresql", 5432)
        );
        assert_eq!(Address::parse("/run/pg:5433"), socket("/run/pg", 5433));
        assert_eq!(
            Address::parse("/run/pg/.s.PGSQL.5434"),
            socket("/run/pg", 5434)
        );
        assert!(Address::parse("::1:5432").is_err());
        assert!(Address::parse("db:0").is_err());
        assert!(Address::parse(":5432").is_err());
    }
}

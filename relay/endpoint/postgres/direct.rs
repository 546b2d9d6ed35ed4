//! A PostgreSQL that the relay reaches itself: URL, TCP or socket, TLS, egress address.
//!
//! TLS is done here, so that the session code sees a plain byte stream, as it does in a tunnel.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use socket2::{SockRef, TcpKeepalive};
use tidegate_shared::sslmode::{self, SslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_postgres::config::Host;

use crate::endpoint::address::{self, is_public};
use crate::endpoint::{ByteStream, Dial, EndpointError, Login, Purpose, StreamLabel};

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

/// Opens direct streams to one server.
pub struct DirectDial {
    address: Address,
    mode: SslMode,
    connector: Option<tokio_rustls::TlsConnector>,
    egress: Option<IpAddr>,
    /// Whether the server may be at a private address.
    allow_private: bool,
    user: String,
    password: SecretString,
    database: String,
}

impl DirectDial {
    /// `url` is `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`; the mode
    /// is `verify-full` unless told otherwise. `egress` is the local address to connect from.
    /// Without `allow_private` nothing of the relay's own network and host is reached: no private
    /// address, no socket, no file.
    ///
    /// Errors are for the operator and never repeat the URL.
    pub fn new(
        url: &SecretString,
        egress: Option<IpAddr>,
        allow_private: bool,
    ) -> Result<DirectDial, EndpointError> {
        let (rest, options) = split_options(url.expose_secret())?;
        if options.root_cert.is_some() && !allow_private {
            return Err(private("sslrootcert names a file of the relay's own host"));
        }
        let config: tokio_postgres::Config = rest.parse().map_err(|_| {
            bad_url("it must look like postgres://user:password@host:5432/database")
        })?;
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let address = match config.get_hosts() {
            [Host::Tcp(host)] => Address::Tcp {
                host: host.clone(),
                port,
            },
            [Host::Unix(directory)] => Address::Socket(directory.join(format!(".s.PGSQL.{port}"))),
            _ => return Err(bad_url("it must name one host")),
        };
        if !allow_private {
            check_public(&address)?;
        }
        let user = config
            .get_user()
            .filter(|user| !user.is_empty())
            .ok_or_else(|| bad_url("it lacks the user"))?;
        let password = config.get_password().unwrap_or_default();
        let password = String::from_utf8(password.to_vec())
            .map_err(|_| bad_url("the password must be UTF-8"))?;
        Ok(DirectDial {
            mode: options.mode,
            connector: options.connector()?,
            egress,
            allow_private,
            user: user.to_owned(),
            password: SecretString::from(password),
            database: config.get_dbname().unwrap_or(user).to_owned(),
            address,
        })
    }

    async fn connect(&self) -> Result<Box<dyn ByteStream>, EndpointError> {
        match &self.address {
            Address::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| unreachable(&path.display().to_string(), error))?;
                Ok(Box::new(stream))
            }
            Address::Tcp { host, port } => {
                let stream = self.connect_tcp(host, *port).await?;
                self.secure(host, stream).await
            }
        }
    }

    /// Tries every address of the name in turn.
    async fn connect_tcp(&self, host: &str, port: u16) -> Result<TcpStream, EndpointError> {
        let target = format!("{host}:{port}");
        let found = address::resolve(host, port, self.allow_private).await;
        let addresses = found.map_err(|error| {
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<address::Refused>())
            {
                return private(&format!("{host} has no public address"));
            }
            let message = format!("the name {host} can't be resolved; check the connection's host");
            EndpointError::retry("host-unknown", message).caused_by(error)
        })?;
        let mut last = None;
        for address in addresses {
            match self.connect_address(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let none = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        Err(unreachable(&target, last.unwrap_or_else(none)))
    }

    async fn connect_address(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(egress) = self.egress {
            socket.bind(SocketAddr::new(egress, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(stream)
    }

    /// Asks the server for TLS and does the handshake (PostgreSQL manual 55.2.10).
    async fn secure(
        &self,
        host: &str,
        mut stream: TcpStream,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        let Some(connector) = &self.connector else {
            return Ok(Box::new(stream));
        };
        let lost = |error| unreachable(host, error);
        stream.write_all(&SSL_REQUEST).await.map_err(lost)?;
        let answer = stream.read_u8().await.map_err(lost)?;
        match answer {
            b'S' => {}
            // `allow` is taken as `prefer`, which is never weaker.
            b'N' if matches!(self.mode, SslMode::Allow | SslMode::Prefer) => {
                return Ok(Box::new(stream));
            }
            _ => {
                let message = format!(
                    "{host} does not offer TLS; turn ssl on in PostgreSQL, or set sslmode=disable \
                     if the network is trusted"
                );
                return Err(EndpointError::operator("tls-not-offered", message));
            }
        }
        let name = rustls_pki_types::ServerName::try_from(host.to_owned())
            .map_err(|_| bad_url("the host is no valid name for TLS"))?;
        let stream = connector.connect(name, stream).await.map_err(|error| {
            let message = format!(
                "TLS with {host} failed ({error}); set sslrootcert to the server's CA file, or \
                 correct the host name"
            );
            EndpointError::operator("tls-failed", message).caused_by(error)
        })?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Dial for DirectDial {
    async fn dial(
        &self,
        _purpose: Purpose,
        _label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(stream) => stream,
            Err(_) => {
                let wait = CONNECT_TIMEOUT.as_secs();
                let message = format!(
                    "PostgreSQL did not answer within {wait} s; check host, port and firewall"
                );
                Err(EndpointError::retry("connect-timeout", message))
            }
        }
    }

    fn login(&self) -> Login {
        Login::Password {
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database.clone(),
        }
    }
}

/// What tokio-postgres doesn't know about a URL.
struct Options {
    mode: SslMode,
    root_cert: Option<PathBuf>,
}

impl Options {
    fn connector(&self) -> Result<Option<tokio_rustls::TlsConnector>, EndpointError> {
        if self.mode == SslMode::Disable {
            return Ok(None);
        }
        let config = sslmode::client_config(self.mode, self.root_cert.as_deref());
        let config =
            config.map_err(|error| EndpointError::operator("tls-roots", error.to_string()))?;
        Ok(Some(tokio_rustls::TlsConnector::from(Arc::new(config))))
    }
}

/// Takes `sslmode` and `sslrootcert` out of the URL's query.
fn split_options(url: &str) -> Result<(String, Options), EndpointError> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
        return Err(bad_url("it must begin with postgres://"));
    }
    let mut options = Options {
        mode: SslMode::VerifyFull,
        root_cert: None,
    };
    let mut others = Vec::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sslmode", mode)) => {
                let parsed = mode.parse::<SslMode>();
                options.mode = parsed.map_err(|error| bad_url(&error.to_string()))?;
            }
            Some(("sslrootcert", path)) => options.root_cert = Some(PathBuf::from(unescape(path))),
            _ => others.push(option),
        }
    }
    let rest = match others.as_slice() {
        [] => base.to_owned(),
        others => format!("{base}?{}", others.join("&")),
    };
    Ok((rest, options))
}

/// Percent-decoding of a path.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn bad_url(why: &str) -> EndpointError {
    EndpointError::operator("bad-url", format!("the connection's URL is wrong: {why}"))
}

/// Names are checked when they are resolved.
fn check_public(address: &Address) -> Result<(), EndpointError> {
    match address {
        Address::Socket(_) => Err(private("a socket is on the relay's own host")),
        Address::Tcp { host, .. } => match host.parse() {
            Ok(literal) if !is_public(literal) => {
                Err(private(&format!("{host} is a private address")))
            }
            _ => Ok(()),
        },
    }
}

fn private(what: &str) -> EndpointError {
    let text = format!(
        "{what}, which this workspace may not reach: pair an agent beside the database, or ask who          runs the relay (allow_private of [egress])"
    );
    EndpointError::operator("private-address", text)
}

fn unreachable(target: &str, error: std::io::Error) -> EndpointError {
    let (code, next) = match error.kind() {
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => (
            "connection-refused",
            "start PostgreSQL, or correct host and port",
        ),
        _ => ("connection-failed", "check host, port and firewall"),
    };
    let message = format!("{target} can't be reached ({error}); {next}");
    EndpointError::retry(code, message).caused_by(error)
}

/// `SSLRequest`: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the idle limits of common firewalls and load balancers (60 s and more).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(url: &str) -> Result<DirectDial, EndpointError> {
        DirectDial::new(&SecretString::from(url.to_owned()), None, true)
    }

    #[test]
    fn url_is_read_as_libpq_reads_it() {
        let direct = dial("postgres://me:p%40ss@db.example.com:6432/shop?sslmode=require").unwrap();
        assert_eq!(
            direct.address,
            Address::Tcp {
                host: "db.example.com".into(),
                port: 6432
            }
        );
        assert_eq!(direct.mode, SslMode::Require);
        let Login::Password {
            user,
            password,
            database,
        } = direct.login()
        else {
            panic!("no password login");
        };
        assert_eq!((user.as_str(), database.as_str()), ("me", "shop"));
        assert_eq!(password.expose_secret(), "p@ss");
        assert_eq!(
            dial("postgres://me@h/db").unwrap().mode,
            SslMode::VerifyFull
        );
    }

    #[test]
    fn wrong_urls_are_refused_without_repeating_them() {
        for url in [
            "mysql://me:geheim@h/db",
            "postgres://me:geheim@h/db?sslmode=maybe",
            "postgres://me:geheim@h:x/db",
            "postgres://:geheim@h/db",
            "postgres://me:geheim@h,i/db",
        ] {
            let error = dial(url).err().expect(url);
            assert_eq!(error.code, "bad-url", "{url}");
            assert!(!format!("{error} {error:?}").contains("geheim"), "{url}");
        }
    }

    #[tokio::test]
    async fn a_guest_reaches_nothing_of_the_relays_own_network() {
        let dial = |url: &str| DirectDial::new(&SecretString::from(url.to_owned()), None, false);
        for url in [
            "postgres://me:geheim@127.0.0.1/db",
            "postgres://me:geheim@10.1.2.3/db?sslmode=disable",
            "postgres://me:geheim@169.254.169.254/db",
            "postgres://me:geheim@%2Fvar%2Frun%2Fpostgresql/db",
            "postgres://me:geheim@db.example.com/db?sslrootcert=/etc/passwd",
        ] {
            let error = dial(url).err().expect(url);
            assert_eq!(error.code, "private-address", "{url}");
            assert!(!format!("{error} {error:?}").contains("geheim"), "{url}");
        }
        assert!(dial("postgres://me@db.example.com/db").is_ok());
        // A name is looked at when it is resolved.
        let named = dial("postgres://me@localhost:1/db").unwrap();
        let refused = named.dial(Purpose::Session, &StreamLabel::default()).await;
        assert_eq!(refused.err().expect("refused").code, "private-address");
    }

    #[tokio::test]
    async fn nobody_listening_is_told_with_the_next_step() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let direct = dial(&format!("postgres://me@127.0.0.1:{port}/db")).unwrap();
        let refused = direct.dial(Purpose::Session, &StreamLabel::default()).await;
        let error = refused.err().expect("refused");
        assert_eq!(error.code, "connection-refused");
        assert!(error.message.contains("start PostgreSQL"));
    }
}

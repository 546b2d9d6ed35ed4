//! Opens the byte stream to PostgreSQL: resolves, checks addresses, connects, encrypts.
//!
//! Names are resolved here once per dial and every address is judged by the gate afterwards, so
//! that a changed DNS answer leads nowhere new. Knows nothing of logins. Called by `login`,
//! `cancel` and the doctor.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tidegate_shared::sslmode::{self, SslMode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::error::OriginError;
use super::{gate, tls};
use crate::config::{Address, Target};

mod limits {
    use super::Duration;

    /// One address must answer within this; a name may have several.
    pub(super) const CONNECT: Duration = Duration::from_secs(10);
    /// The TLS request and handshake.
    pub(super) const TLS: Duration = Duration::from_secs(10);
    /// Addresses tried of one name.
    pub(super) const ADDRESSES_MAX: usize = 8;
    /// A server that vanished without a word is noticed after about 90 s, before the relay's own
    /// timeouts, and without disturbing an idle replication session.
    pub(super) const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
    pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
    pub(super) const KEEPALIVE_TRIES: u32 = 3;
}

/// Any byte stream to PostgreSQL.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// One way of connecting; `sslmode` is a list of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    TlsIfOffered,
    TlsRequired,
}

/// A connected stream, before any login.
pub struct Dialled {
    pub stream: Box<dyn Duplex>,
    pub encryption: Encryption,
}

/// Whether the stream is encrypted, and what SCRAM can bind to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    None,
    Tls { end_point: Option<Vec<u8>> },
}

/// The ways to try in order. The next one is tried only when the server refuses this one for how
/// it came (`pg_hba.conf` tells encrypted and plain apart). A socket is never encrypted.
pub fn attempts(target: &Target) -> &'static [Security] {
    use Security::{Plain, TlsIfOffered, TlsRequired};
    match (&target.address, target.sslmode) {
        (Address::Socket { .. }, _) | (_, SslMode::Disable) => &[Plain],
        (_, SslMode::Allow) => &[Plain, TlsRequired],
        (_, SslMode::Prefer) => &[TlsIfOffered, Plain],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[TlsRequired],
    }
}

/// Connects to the target in one way.
pub async fn dial(target: &Target, security: Security) -> Result<Dialled, OriginError> {
    let (host, port) = match &target.address {
        Address::Socket { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let stream = within("connect to PostgreSQL", limits::CONNECT, async {
                UnixStream::connect(&path)
                    .await
                    .map_err(|source| OriginError::Unreachable {
                        address: path.display().to_string(),
                        source,
                    })
            })
            .await?;
            return Ok(Dialled {
                stream: Box::new(stream),
                encryption: Encryption::None,
            });
        }
        Address::Tcp { host, port } => (host, *port),
    };
    let stream = connect_tcp(host, port).await?;
    if security == Security::Plain {
        return Ok(Dialled {
            stream: Box::new(stream),
            encryption: Encryption::None,
        });
    }
    let encrypted = within(
        "TLS handshake with PostgreSQL",
        limits::TLS,
        encrypt(stream, target, host),
    );
    match encrypted.await? {
        Ok(dialled) => Ok(dialled),
        Err(_) if security == Security::TlsRequired => Err(OriginError::TlsNotOffered),
        Err(plain) => Ok(Dialled {
            stream: Box::new(plain),
            encryption: Encryption::None,
        }),
    }
}

/// The addresses of a target's host that the gate lets pass. Fails if any of them is refused: a
/// name that leads to a forbidden place even sometimes is not to be trusted at all.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, OriginError> {
    let literal: Option<IpAddr> = host.parse().ok();
    let addresses: Vec<SocketAddr> = match literal {
        Some(ip) => vec![SocketAddr::new(ip, port)],
        None => tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| OriginError::Resolve {
                host: host.to_owned(),
                source,
            })?
            .take(limits::ADDRESSES_MAX)
            .collect(),
    };
    for address in &addresses {
        gate::admit_address(address.ip(), literal.is_some()).map_err(|refused| {
            OriginError::AddressRefused {
                host: host.to_owned(),
                refused,
            }
        })?;
    }
    if addresses.is_empty() {
        return Err(OriginError::NoAddress {
            host: host.to_owned(),
        });
    }
    Ok(addresses)
}

/// The first address that accepts. Retries nothing: the relay asks again.
async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, OriginError> {
    let mut last = OriginError::NoAddress {
        host: host.to_owned(),
    };
    for address in within("resolve the host", limits::CONNECT, resolve(host, port)).await? {
        let unreachable = |source| OriginError::Unreachable {
            address: address.to_string(),
            source,
        };
        let connected = within("connect to PostgreSQL", limits::CONNECT, async {
            TcpStream::connect(address).await.map_err(unreachable)
        });
        match connected.await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive = TcpKeepalive::new()
                    .with_time(limits::KEEPALIVE_AFTER)
                    .with_interval(limits::KEEPALIVE_EVERY)
                    .with_retries(limits::KEEPALIVE_TRIES);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks for TLS (PostgreSQL manual, 55.2.10) and shakes hands. The inner error gives the plain
/// stream back when the server declines.
async fn encrypt(
    mut stream: TcpStream,
    target: &Target,
    host: &str,
) -> Result<Result<Dialled, TcpStream>, OriginError> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    let mut answer = [0];
    if stream.read(&mut answer).await? == 0 {
        return Err(OriginError::ClosedEarly);
    }
    match answer[0] {
        b'S' => {}
        b'N' => return Ok(Err(stream)),
        _ => return Err(OriginError::Protocol("its answer to a TLS request".into())),
    }
    // Exactly one byte was read, so that nothing sent before the handshake (CVE-2021-23222) can
    // be taken for part of the encrypted stream.
    let config = sslmode::client_config(target.sslmode, target.sslrootcert.as_deref())
        .map_err(|error| OriginError::Tls(error.to_string()))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| OriginError::Tls(format!("{host} can't be checked as a server name")))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| OriginError::Tls(error.to_string()))?;
    let end_point = (stream.get_ref().1.peer_certificates())
        .and_then(|chain| chain.first())
        .and_then(|leaf| tls::channel_binding(leaf));
    Ok(Ok(Dialled {
        stream: Box::new(stream),
        encryption: Encryption::Tls { end_point },
    }))
}

async fn within<T>(
    step: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, OriginError>>,
) -> Result<T, OriginError> {
    let seconds = limit.as_secs();
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| OriginError::Timeout { step, seconds })?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn attempts_of(address: &str, mode: &str) -> &'static [Security] {
        let text = format!(
            "[[target]]\nname='m'\naddress='{address}'\ndatabase='d'\nuser='u'\nsslmode='{mode}'"
        );
        let config = Config::parse(&text, Path::new("agent.toml")).unwrap();
        attempts(&config.targets[0])
    }

    #[test]
    fn sslmodes_try_what_libpq_tries() {
        use Security::{Plain, TlsIfOffered, TlsRequired};
        assert_eq!(attempts_of("db:1", "disable"), [Plain]);
        assert_eq!(attempts_of("db:1", "allow"), [Plain, TlsRequired]);
        assert_eq!(attempts_of("db:1", "prefer"), [TlsIfOffered, Plain]);
        for mode in ["require", "verify-ca", "verify-full"] {
            assert_eq!(attempts_of("db:1", mode), [TlsRequired]);
            assert_eq!(attempts_of("/run/pg", mode), [Plain]);
        }
    }

    #[tokio::test]
    async fn metadata_address_is_refused_even_as_a_literal() {
        let error = resolve("169.254.169.254", 5432).await.unwrap_err();
        assert!(
            matches!(error, OriginError::AddressRefused { .. }),
            "{error}"
        );
        assert!(resolve("127.0.0.1", 5432).await.is_ok());
    }
}

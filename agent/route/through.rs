//! A TCP connection to a relay through a proxy. The proxy is told the relay's name, so that this
//! host need not be able to resolve it; what passes is TLS between agent and relay, as ever.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::tunnel::Connect;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::proxy::{Proxy, ProxyKind};

/// An answer to CONNECT holds a status and a few headers, bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Through {
    pub(super) proxy: Proxy,
    pub(super) relay: RelayAddr,
}

impl Connect for Through {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(async {
            let place = (self.proxy.host.as_str(), self.proxy.port);
            let mut socket = TcpStream::connect(place).await?;
            ask(&mut socket, &self.proxy, &self.relay).await?;
            Ok(socket)
        })
    }
}

type Login<'a> = Option<(&'a str, Zeroizing<String>)>;

async fn ask<S>(socket: &mut S, proxy: &Proxy, relay: &RelayAddr) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let login = proxy
        .login()
        .map_err(|error| refused(&format!("proxy_password_file can't be read: {error}")))?;
    let asked = match proxy.kind {
        ProxyKind::Http => connect(socket, relay, login).await,
        ProxyKind::Socks5 => socks5(socket, relay, login).await,
    };
    asked.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused("it closed the connection"),
        _ => error,
    })
}

fn refused(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

/// Basic is the only sign-in (RFC 7617).
async fn connect<S>(socket: &mut S, relay: &RelayAddr, login: Login<'_>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // It comes from a pairing token, and must not end the line.
    if relay
        .host
        .contains(|c: char| c.is_control() || c.is_whitespace())
    {
        return Err(refused("the relay's name can't be told to it"));
    }
    let mut request = Zeroizing::new(format!("CONNECT {relay} HTTP/1.1\r\nHost: {relay}\r\n"));
    if let Some((user, password)) = &login {
        let both = Zeroizing::new(format!("{user}:{}", password.as_str()));
        let encoded = Zeroizing::new(STANDARD.encode(both.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&encoded);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    socket.write_all(request.as_bytes()).await?;
    socket.flush().await?;
    let mut answer = Vec::new();
    // The relay says nothing before it is spoken to, so nothing after the answer is lost.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(refused("it sent more than an answer to CONNECT"));
        }
        answer.push(socket.read_u8().await?);
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(407) if login.is_some() => Err(refused(
            "it does not accept user and password (407): check proxy and proxy_password_file",
        )),
        Some(407) => Err(refused(
            "it wants a user and a password (407): set proxy = \"http://user@…\" and \
             proxy_password_file",
        )),
        Some(code) => Err(refused(&format!(
            "it refused CONNECT to the relay's port (HTTP {code}): have it allowed there"
        ))),
        None => Err(refused(
            "it does not speak HTTP: check the port, or use socks5://",
        )),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let is_http = version.starts_with("HTTP/1.");
    is_http.then(|| rest.get(..3)?.parse().ok()).flatten()
}

const SOCKS: u8 = 5;
const NO_LOGIN: u8 = 0;
const BY_PASSWORD: u8 = 2;

/// RFC 1928, with the sign-in of RFC 1929.
async fn socks5<S>(socket: &mut S, relay: &RelayAddr, login: Login<'_>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offered: &[u8] = match login {
        Some(_) => &[SOCKS, 2, NO_LOGIN, BY_PASSWORD],
        None => &[SOCKS, 1, NO_LOGIN],
    };
    socket.write_all(offered).await?;
    socket.flush().await?;
    match (socket.read_u8().await?, socket.read_u8().await?, login) {
        (SOCKS, NO_LOGIN, _) => {}
        (SOCKS, BY_PASSWORD, Some((user, password))) => sign_in(socket, user, &password).await?,
        (SOCKS, ..) => {
            return Err(refused(
                "it wants a user and a password: set proxy = \"socks5://user@…\" and \
                 proxy_password_file",
            ));
        }
        _ => {
            return Err(refused(
                "it does not speak SOCKS5: check the port, or use http://",
            ));
        }
    }
    let request = socks5_request(relay)?;
    socket.write_all(&request).await?;
    socket.flush().await?;
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    if head[0] != SOCKS {
        return Err(refused(
            "it does not speak SOCKS5: check the port, or use http://",
        ));
    }
    if head[1] != 0 {
        let why = match head[1] {
            2 => "its rules don't allow the relay's port: have it allowed there",
            3 | 4 => "it can't reach the relay",
            5 => "the relay refuses the connection from there",
            6 => "the relay does not answer it",
            _ => "it could not connect to the relay",
        };
        return Err(refused(why));
    }
    // The address from which it connected; nobody needs it.
    let left = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(socket.read_u8().await?),
        _ => {
            return Err(refused(
                "it does not speak SOCKS5: check the port, or use http://",
            ));
        }
    };
    socket.read_exact(&mut vec![0; left + 2]).await?;
    Ok(())
}

/// To connect to the relay. An address is told as one, and a name as it is.
fn socks5_request(relay: &RelayAddr) -> io::Result<Vec<u8>> {
    let mut request = vec![SOCKS, 1, 0];
    match relay.host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let host = relay.host.as_bytes();
            request.extend_from_slice(&[3, length_of(host, "the relay's name")?]);
            request.extend_from_slice(host);
        }
    }
    request.extend_from_slice(&relay.port.to_be_bytes());
    Ok(request)
}

async fn sign_in<S>(socket: &mut S, user: &str, password: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Zeroizing::new(vec![1, length_of(user.as_bytes(), "the proxy's user")?]);
    request.extend_from_slice(user.as_bytes());
    request.push(length_of(password.as_bytes(), "the proxy's password")?);
    request.extend_from_slice(password.as_bytes());
    socket.write_all(&request).await?;
    socket.flush().await?;
    let mut answer = [0; 2];
    socket.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(refused(
            "it does not accept user and password: check proxy and proxy_password_file",
        ));
    }
    Ok(())
}

fn length_of(bytes: &[u8], what: &str) -> io::Result<u8> {
    u8::try_from(bytes.len()).map_err(|_| refused(&format!("{what} is longer than 255 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of asking a proxy that answers so, whatever it is asked.
    async fn asked(url: &str, answer: &[u8]) -> String {
        let proxy = Proxy::parse(url).unwrap();
        let relay = RelayAddr {
            host: "relay.example".into(),
            port: 443,
        };
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        match ask(&mut near, &proxy, &relay).await {
            Ok(()) => "passed".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn every_answer_of_a_proxy_is_understood_or_told() {
        let endless = [b"HTTP/1.1 200 OK\r\n".as_slice(), &[b'a'; ANSWER_BYTES_MAX]].concat();
        for (url, answer, told) in [
            ("http://p", b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), "passed"),
            ("http://p", b"HTTP/1.0 200 fine\r\nVia: x\r\n\r\n", "passed"),
            ("http://p", b"HTTP/1.1 407 no\r\n\r\n", "wants a user"),
            (
                "http://u:secret@p",
                b"HTTP/1.1 407 no\r\n\r\n",
                "does not accept user",
            ),
            ("http://p", b"HTTP/1.1 403 no\r\n\r\n", "HTTP 403"),
            ("http://p", b"HTTP/1.1 2", "closed"),
            ("http://p", b"\x05\x00\r\n\r\n", "does not speak HTTP"),
            ("http://p", &endless, "more than an answer"),
            (
                "socks5://p",
                b"\x05\x00\x05\x00\x00\x01\x7f\0\0\x01\x01\xbb",
                "passed",
            ),
            (
                "socks5://p",
                b"\x05\x00\x05\x00\x00\x03\x02ab\x01\xbb",
                "passed",
            ),
            (
                "socks5://u:secret@p",
                b"\x05\x02\x01\x00\x05\x00\x00\x01\0\0\0\0\0\0",
                "passed",
            ),
            (
                "socks5://u:secret@p",
                b"\x05\x02\x01\x01",
                "does not accept user",
            ),
            ("socks5://p", b"\x05\x02", "wants a user"),
            ("socks5://p", b"\x05\xff", "wants a user"),
            ("socks5://p", b"\x05\x00\x05\x02\x00\x01", "rules"),
            ("socks5://p", b"HTTP/1.1 400 no", "does not speak SOCKS5"),
            (
                "socks5://p",
                b"\x05\x00\x05\x00\x00\x09",
                "does not speak SOCKS5",
            ),
            ("socks5://p", b"\x05\x00\x05", "closed"),
        ] {
            let text = asked(url, answer).await;
            assert!(text.contains(told), "{url} {told}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

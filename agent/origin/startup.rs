//! The relay's first bytes on a stream: PostgreSQL's startup packet, and what of it may pass.
//!
//! The agent speaks PostgreSQL only: anything but a startup, TLS, GSS or cancel packet (PostgreSQL
//! manual, 55.7 "Message Formats") cuts the stream. User and database of the packet are ignored,
//! the target sets them. Called by `serve` through `Origin`.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::gate::Purpose;

/// Bounds of the startup exchange.
mod limits {
    use super::Duration;

    /// PostgreSQL's own MAX_STARTUP_PACKET_LENGTH, bytes.
    pub(super) const PACKET_BYTES_MAX: usize = 10_000;
    /// Parameters in one packet; real clients send fewer than ten.
    pub(super) const PARAMETERS_MAX: usize = 64;
    /// Longest value that passes, bytes: time zone names are the longest real ones.
    pub(super) const VALUE_BYTES_MAX: usize = 256;
    /// A peer that opened a stream sends its packet at once.
    pub(super) const WAIT: Duration = Duration::from_secs(10);
}

const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const PROTOCOL_3_0: u32 = 196_608;

/// The parameters that pass to PostgreSQL. Not `options`: it sets anything, and not
/// `application_name`: the agent writes its own.
const PASSED: [&str; 8] = [
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "extra_float_digits",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
];

/// Passes for a person's tool, as long as that logs in by itself.
const OF_A_PERSON: [&str; 1] = ["user"];

/// What the relay opened its stream with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// A session, with the parameters that may pass, in the relay's order.
    Startup(Vec<(String, String)>),
    /// A cancel request with the key that this agent gave out.
    Cancel { process_id: i32, secret_key: i32 },
}

/// Why the first bytes are not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    #[error("no startup packet came within 10 s")]
    Timeout,
    #[error("stream ended before a startup packet")]
    Ended,
    #[error("first bytes are not PostgreSQL")]
    NotPostgres,
    #[error("startup packet is malformed: {0}")]
    Malformed(&'static str),
    #[error("only version 3.0 of PostgreSQL's protocol passes")]
    Version,
    #[error("replication needs a stream opened for it")]
    ReplicationNotAsked,
    #[error("a cancel request needs a stream opened for it, and only that passes there")]
    WrongPurpose,
    #[error("stream: {0}")]
    Io(std::io::Error),
}

/// Reads the opening of a stream that was admitted for `purpose`. Requests for TLS and GSS
/// encryption are answered 'N' once each, because the tunnel encrypts already.
pub async fn read_opening<S>(stream: &mut S, purpose: Purpose) -> Result<Opening, StartupError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    read_opening_within(stream, purpose, limits::WAIT).await
}

async fn read_opening_within<S>(
    stream: &mut S,
    purpose: Purpose,
    wait: Duration,
) -> Result<Opening, StartupError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::time::timeout(wait, read_packets(stream, purpose))
        .await
        .map_err(|_| StartupError::Timeout)?
}

async fn read_packets<S>(stream: &mut S, purpose: Purpose) -> Result<Opening, StartupError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut tls_asked, mut gss_asked) = (false, false);
    loop {
        let (code, body) = read_packet(stream).await?;
        match code {
            TLS if !tls_asked => tls_asked = true,
            GSS if !gss_asked => gss_asked = true,
            CANCEL if purpose == Purpose::Cancel => return parse_cancel(&body),
            CANCEL => return Err(StartupError::WrongPurpose),
            PROTOCOL_3_0 if purpose == Purpose::Cancel => return Err(StartupError::WrongPurpose),
            PROTOCOL_3_0 => return parse_startup(&body, purpose).map(Opening::Startup),
            other if other >> 16 == 3 => return Err(StartupError::Version),
            _ => return Err(StartupError::NotPostgres),
        }
        stream.write_all(b"N").await.map_err(StartupError::Io)?;
        stream.flush().await.map_err(StartupError::Io)?;
    }
}

/// One packet: its code and what follows. The length is checked before anything is buffered.
async fn read_packet<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(u32, Vec<u8>), StartupError> {
    let ended = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => StartupError::Ended,
        _ => StartupError::Io(error),
    };
    let length = stream.read_u32().await.map_err(ended)? as usize;
    if !(8..=limits::PACKET_BYTES_MAX).contains(&length) {
        return Err(StartupError::NotPostgres);
    }
    let code = stream.read_u32().await.map_err(ended)?;
    let mut body = vec![0; length - 8];
    stream.read_exact(&mut body).await.map_err(ended)?;
    Ok((code, body))
}

fn parse_cancel(body: &[u8]) -> Result<Opening, StartupError> {
    let (process_id, secret_key) = match body {
        [a, b, c, d, e, f, g, h] => (
            i32::from_be_bytes([*a, *b, *c, *d]),
            i32::from_be_bytes([*e, *f, *g, *h]),
        ),
        _ => return Err(StartupError::Malformed("a cancel request has 16 bytes")),
    };
    Ok(Opening::Cancel {
        process_id,
        secret_key,
    })
}

/// The parameters that may pass. Everything else is dropped, as the target or the agent sets it;
/// `replication` is refused instead, because a client that asked for it can't go on without.
fn parse_startup(body: &[u8], purpose: Purpose) -> Result<Vec<(String, String)>, StartupError> {
    let body = body
        .strip_suffix(b"\0")
        .ok_or(StartupError::Malformed("no final zero"))?;
    let mut passed: Vec<(String, String)> = Vec::new();
    let mut words = body.split(|byte| *byte == 0);
    for count in 0.. {
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            break;
        };
        if count >= limits::PARAMETERS_MAX {
            return Err(StartupError::Malformed("more than 64 parameters"));
        }
        let text = |bytes| {
            std::str::from_utf8(bytes).map_err(|_| StartupError::Malformed("text is not UTF-8"))
        };
        let (name, value) = (text(name)?, text(value)?);
        if name == "replication" && purpose != Purpose::Replication && asks_replication(value) {
            return Err(StartupError::ReplicationNotAsked);
        }
        let of_a_person = OF_A_PERSON.iter().filter(|_| purpose == Purpose::Forward);
        let mut names = PASSED.iter().chain(of_a_person);
        let Some(known) = names.find(|known| known.eq_ignore_ascii_case(name)) else {
            continue;
        };
        if value.len() > limits::VALUE_BYTES_MAX || value.chars().any(char::is_control) {
            return Err(StartupError::Malformed(
                "a parameter's value is too long or not text",
            ));
        }
        if passed.iter().any(|(seen, _)| seen == known) {
            return Err(StartupError::Malformed("a parameter is given twice"));
        }
        passed.push(((*known).to_owned(), value.to_owned()));
    }
    Ok(passed)
}

fn asks_replication(value: &str) -> bool {
    !matches!(value, "false" | "off" | "no" | "0" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes()[..], body].concat()
    }

    fn startup(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for word in pairs.iter().flat_map(|(name, value)| [name, value]) {
            body.extend(word.as_bytes());
            body.push(0);
        }
        body.push(0);
        packet(PROTOCOL_3_0, &body)
    }

    /// Feeds `bytes` and then the end; returns the opening and what was answered.
    async fn read(bytes: &[u8], purpose: Purpose) -> (Result<Opening, StartupError>, Vec<u8>) {
        let (mut relay, mut agent) = tokio::io::duplex(64 * 1024);
        relay.write_all(bytes).await.unwrap();
        relay.shutdown().await.unwrap();
        let opening = read_opening(&mut agent, purpose).await;
        drop(agent);
        let mut answered = Vec::new();
        relay.read_to_end(&mut answered).await.unwrap();
        (opening, answered)
    }

    async fn passed(pairs: &[(&str, &str)], purpose: Purpose) -> Vec<(String, String)> {
        match read(&startup(pairs), purpose).await.0.unwrap() {
            Opening::Startup(passed) => passed,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_listed_parameters_pass() {
        let given = [
            ("user", "postgres"),
            ("database", "other"),
            ("options", "-c session_authorization=postgres"),
            ("application_name", "psql"),
            ("search_path", "evil"),
            ("timezone", "UTC"),
            ("client_encoding", "UTF8"),
        ];
        let expected = [("TimeZone", "UTC"), ("client_encoding", "UTF8")];
        let expected: Vec<_> = expected
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(passed(&given, Purpose::Session).await, expected);
    }

    #[tokio::test]
    async fn replication_needs_its_own_purpose() {
        let given = [("user", "x"), ("replication", "database")];
        assert!(passed(&given, Purpose::Replication).await.is_empty());
        let refused = read(&startup(&given), Purpose::Session).await.0;
        assert!(
            matches!(refused, Err(StartupError::ReplicationNotAsked)),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn tls_and_gss_requests_are_declined_once() {
        let asked = [
            packet(TLS, b""),
            packet(GSS, b""),
            startup(&[("user", "x")]),
        ]
        .concat();
        let (opening, answered) = read(&asked, Purpose::Session).await;
        assert_eq!(opening.unwrap(), Opening::Startup(vec![]));
        assert_eq!(answered, b"NN");
        let twice = [packet(TLS, b""), packet(TLS, b"")].concat();
        assert!(matches!(
            read(&twice, Purpose::Session).await.0,
            Err(StartupError::NotPostgres)
        ));
    }

    #[tokio::test]
    async fn other_protocols_are_cut() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\0\0\0\x04\0\0\0\0",
        ] {
            let opening = read(bytes, Purpose::Session).await.0;
            assert!(
                matches!(opening, Err(StartupError::NotPostgres)),
                "{opening:?}"
            );
        }
        let newer = packet(PROTOCOL_3_0 + 2, b"\0");
        assert!(matches!(
            read(&newer, Purpose::Session).await.0,
            Err(StartupError::Version)
        ));
        let cut = &startup(&[("user", "x")])[..10];
        assert!(matches!(
            read(cut, Purpose::Session).await.0,
            Err(StartupError::Ended)
        ));
    }

    #[tokio::test]
    async fn cancel_packet_and_cancel_purpose_belong_together() {
        let cancel = packet(CANCEL, &[0, 0, 0, 7, 0xff, 0xff, 0xff, 0xfe]);
        let opening = read(&cancel, Purpose::Cancel).await.0.unwrap();
        assert_eq!(
            opening,
            Opening::Cancel {
                process_id: 7,
                secret_key: -2
            }
        );
        let wrong = read(&cancel, Purpose::Session).await.0;
        assert!(matches!(wrong, Err(StartupError::WrongPurpose)));
        let wrong = read(&startup(&[("user", "x")]), Purpose::Cancel).await.0;
        assert!(matches!(wrong, Err(StartupError::WrongPurpose)));
    }

    #[tokio::test]
    async fn silent_peer_is_cut() {
        let (_relay, mut agent) = tokio::io::duplex(64);
        let opening = read_opening_within(&mut agent, Purpose::Session, Duration::ZERO).await;
        assert!(matches!(opening, Err(StartupError::Timeout)));
    }
}

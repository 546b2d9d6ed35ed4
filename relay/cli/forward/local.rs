//! What a local program and the forwarder say to each other before there is a session.
//!
//! The forwarder plays PostgreSQL's side of the start-up (PostgreSQL manual, 55.2.1 "Start-Up" and
//! 55.7 "Message Formats") and asks for its one-time password in clear text: both ends are on this
//! machine's loopback, which nobody else reads, and the password is worth nothing after this run. SCRAM
//! would protect a password that is kept.

use std::io;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

mod limits {
    use super::Duration;

    /// PostgreSQL's own MAX_STARTUP_PACKET_LENGTH, bytes.
    pub(super) const PACKET_BYTES_MAX: usize = 10_000;
    /// Ours has 24; people paste all kinds of things.
    pub(super) const PASSWORD_BYTES_MAX: usize = 1024;
    /// From the connection to the password. psql asks its person between two connections.
    pub(super) const START: Duration = Duration::from_secs(30);
}

const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const PROTOCOL_3_0: u32 = 196_608;

/// What a local program wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Session(Startup),
    /// The packet of a cancel request, and the key in it.
    Cancel {
        packet: Vec<u8>,
        key: [u8; 8],
    },
}

/// A start-up packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Startup {
    /// As version 3.0, which is what the agent takes.
    pub(super) packet: Vec<u8>,
    pub(super) user: String,
    pub(super) database: Option<String>,
    pub(super) application: Option<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    /// Nothing to tell anybody: it went away, or looked for something else.
    #[error("the local program went away")]
    Gone,
    #[error("this is not PostgreSQL's protocol")]
    NotPostgres,
    #[error("no start-up and password came within 30 s")]
    Late,
    #[error("wrong password: give the one that `agent forward` printed when it started")]
    Password,
    #[error(
        "this leads to the database {offered:?} alone, not to {asked:?}: name that one, or none"
    )]
    Database { offered: String, asked: String },
}

impl NotStarted {
    /// For whoever can still be told.
    pub(super) fn sqlstate(&self) -> Option<&'static str> {
        match self {
            NotStarted::Gone => None,
            NotStarted::NotPostgres => Some("08P01"),
            NotStarted::Late => Some("57014"),
            NotStarted::Password => Some("28P01"),
            NotStarted::Database { .. } => Some("3D000"),
        }
    }
}

impl From<io::Error> for NotStarted {
    fn from(_: io::Error) -> NotStarted {
        NotStarted::Gone
    }
}

/// Speaks with a local program until it may have what it wants. `password`: what it must know;
/// nothing where the socket's own mode says who may come.
pub(super) async fn start<S>(
    local: &mut S,
    password: Option<&str>,
    database: &str,
) -> Result<Asked, NotStarted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let started = async {
        let asked = opening(local).await?;
        if let Asked::Session(startup) = &asked {
            if let Some(password) = password {
                demand(local, password).await?;
            }
            startup.check(database)?;
        }
        Ok(asked)
    };
    tokio::time::timeout(limits::START, started)
        .await
        .map_err(|_| NotStarted::Late)?
}

/// Declines encryption, which loopback does not need, and reads what is really asked.
async fn opening<S>(local: &mut S) -> Result<Asked, NotStarted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut tls_asked, mut gss_asked) = (false, false);
    loop {
        let length = local.read_u32().await? as usize;
        if !(8..=limits::PACKET_BYTES_MAX).contains(&length) {
            return Err(NotStarted::NotPostgres);
        }
        let code = local.read_u32().await?;
        let mut body = vec![0; length - 8];
        local.read_exact(&mut body).await?;
        match code {
            TLS if !tls_asked => tls_asked = true,
            GSS if !gss_asked => gss_asked = true,
            CANCEL => {
                let key = <[u8; 8]>::try_from(&body[..]);
                let key = key.map_err(|_| NotStarted::NotPostgres)?;
                let packet = packet(CANCEL, &body);
                return Ok(Asked::Cancel { packet, key });
            }
            code if code >> 16 == 3 => {
                let (startup, options) = Startup::parse(&body)?;
                if code != PROTOCOL_3_0 || !options.is_empty() {
                    local.write_all(&only_3_0(&options)).await?;
                }
                return Ok(Asked::Session(startup));
            }
            _ => return Err(NotStarted::NotPostgres),
        }
        local.write_all(b"N").await?;
        local.flush().await?;
    }
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    // The body was read under a limit far below 4 GiB.
    let length = (body.len() + 8) as u32;
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

/// NegotiateProtocolVersion: 3.0 is spoken here, and none of these options.
fn only_3_0(options: &[String]) -> Vec<u8> {
    let names = options.iter().flat_map(|name| [name.as_bytes(), b"\0"]);
    let names = names.collect::<Vec<_>>().concat();
    let length = (names.len() + 12) as u32;
    let count = options.len() as u32;
    [
        &b"v"[..],
        &length.to_be_bytes(),
        &PROTOCOL_3_0.to_be_bytes(),
        &count.to_be_bytes(),
        &names,
    ]
    .concat()
}

impl Startup {
    /// For a session of our own.
    pub(super) fn of(user: &str, database: &str) -> Startup {
        let body = format!("user\0{user}\0database\0{database}\0\0");
        Startup {
            packet: packet(PROTOCOL_3_0, body.as_bytes()),
            user: user.to_owned(),
            database: Some(database.to_owned()),
            application: None,
        }
    }

    /// With the names of the protocol's own options that were asked for.
    fn parse(body: &[u8]) -> Result<(Startup, Vec<String>), NotStarted> {
        let words = body.strip_suffix(b"\0").ok_or(NotStarted::NotPostgres)?;
        let mut words = words.split(|byte| *byte == 0);
        let mut startup = Startup {
            packet: packet(PROTOCOL_3_0, body),
            ..Startup::default()
        };
        let mut options = Vec::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match name {
                b"user" => startup.user = text(value),
                b"database" => startup.database = Some(text(value)),
                b"application_name" => startup.application = Some(text(value)),
                name if name.starts_with(b"_pq_.") => options.push(text(name)),
                _ => {}
            }
        }
        Ok((startup, options))
    }

    /// Whoever named another database must not find themselves in this one. libpq names that of the
    /// user's name where a person named none.
    fn check(&self, offered: &str) -> Result<(), NotStarted> {
        match &self.database {
            Some(asked) if asked != offered && *asked != self.user => Err(NotStarted::Database {
                offered: offered.to_owned(),
                asked: asked.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// AuthenticationCleartextPassword, and the answer to it.
async fn demand<S>(local: &mut S, password: &str) -> Result<(), NotStarted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    local.write_all(b"R\0\0\0\x08\0\0\0\x03").await?;
    local.flush().await?;
    let kind = local.read_u8().await?;
    let length = local.read_u32().await? as usize;
    if kind != b'p' || !(5..=limits::PASSWORD_BYTES_MAX).contains(&length) {
        return Err(NotStarted::NotPostgres);
    }
    let mut given = Zeroizing::new(vec![0; length - 4]);
    local.read_exact(&mut given).await?;
    let given = given.strip_suffix(b"\0").unwrap_or(&given);
    if bool::from(given.ct_eq(password.as_bytes())) {
        Ok(())
    } else {
        Err(NotStarted::Password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(code: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let words = pairs.iter().flat_map(|(name, value)| [*name, *value]);
        let mut body: Vec<u8> = words
            .flat_map(|word| [word, "\0"].concat().into_bytes())
            .collect();
        body.push(0);
        packet(code, &body)
    }

    fn password(text: &str) -> Vec<u8> {
        let length = (text.len() + 5) as u32;
        [&b"p"[..], &length.to_be_bytes(), text.as_bytes(), b"\0"].concat()
    }

    /// What became of a program that says all of `said` at once, and what it was answered.
    async fn started(said: &[u8], knows: Option<&str>) -> (Result<Asked, NotStarted>, Vec<u8>) {
        let (mut program, mut local) = tokio::io::duplex(64 * 1024);
        program.write_all(said).await.unwrap();
        program.shutdown().await.unwrap();
        let asked = start(&mut local, knows, "shop").await;
        drop(local);
        let mut answered = Vec::new();
        program.read_to_end(&mut answered).await.unwrap();
        (asked, answered)
    }

    #[tokio::test]
    async fn encryption_is_declined_once_each_and_the_password_is_asked_for() {
        let pairs = [
            ("user", "ada"),
            ("database", "shop"),
            ("application_name", "psql"),
        ];
        let asked = startup(PROTOCOL_3_0, &pairs);
        let said = [
            packet(TLS, b""),
            packet(GSS, b""),
            asked.clone(),
            password("right"),
        ]
        .concat();
        let (got, answered) = started(&said, Some("right")).await;
        let Asked::Session(startup) = got.unwrap() else {
            panic!("no session")
        };
        assert_eq!((startup.packet, startup.user.as_str()), (asked, "ada"));
        assert_eq!(startup.application.as_deref(), Some("psql"));
        assert_eq!(answered, b"NNR\0\0\0\x08\0\0\0\x03");
        let twice = [packet(TLS, b""), packet(TLS, b"")].concat();
        let (got, _) = started(&twice, None).await;
        assert!(matches!(got, Err(NotStarted::NotPostgres)), "{got:?}");
    }

    #[tokio::test]
    async fn wrong_passwords_and_other_databases_are_refused() {
        let asked = startup(PROTOCOL_3_0, &[("user", "ada")]);
        for wrong in ["", "righ", "right\0", "rightly"] {
            let said = [asked.clone(), password(wrong)].concat();
            let (got, _) = started(&said, Some("right")).await;
            assert!(
                matches!(got, Err(NotStarted::Password)),
                "{wrong:?}: {got:?}"
            );
        }
        for (database, is_taken) in [("shop", true), ("ada", true), ("postgres", false)] {
            let asked = startup(PROTOCOL_3_0, &[("user", "ada"), ("database", database)]);
            let (got, _) = started(&asked, None).await;
            assert_eq!(got.is_ok(), is_taken, "{database}");
        }
    }

    #[tokio::test]
    async fn a_newer_protocol_is_told_what_is_spoken_here() {
        let pairs = [("user", "ada"), ("_pq_.x", "1")];
        let (got, answered) = started(&startup(PROTOCOL_3_0 + 2, &pairs), None).await;
        let Asked::Session(taken) = got.unwrap() else {
            panic!("no session")
        };
        assert_eq!(taken.packet, startup(PROTOCOL_3_0, &pairs));
        assert_eq!(answered, b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0");
    }

    #[tokio::test]
    async fn cancel_requests_are_read_and_what_is_no_postgresql_is_cut() {
        let said = packet(CANCEL, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let (got, answered) = started(&said, Some("right")).await;
        let (packet, key) = (said, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(got.unwrap(), Asked::Cancel { packet, key });
        assert_eq!(answered, b"", "a cancel request is answered nothing");
        for said in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
            b"\0\0\0\x04",
        ] {
            let (got, answered) = started(said, Some("right")).await;
            assert!(got.is_err() && answered.is_empty(), "{got:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_program_is_cut() {
        let (_program, mut local) = tokio::io::duplex(64);
        let got = start(&mut local, None, "shop").await;
        assert!(matches!(got, Err(NotStarted::Late)), "{got:?}");
    }
}

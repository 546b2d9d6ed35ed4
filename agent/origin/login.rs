//! Logs in to PostgreSQL with the target's own role, so that the relay needs no password.
//!
//! Speaks the startup phase of the frontend/backend protocol (PostgreSQL manual, 55.2.1 and 55.3)
//! and stops at the first ReadyForQuery. What the relay shall see of it is kept as raw bytes.
//! Called by `serve` for sessions and probes, and by the doctor.

use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, ErrorFields, Message};
use postgres_protocol::message::frontend;

use super::connect::{self, Dialled, Encryption, Security};
use super::error::OriginError;
use super::frames::Frames;
use super::password::{Password, Places};
use super::role;
use crate::config::{PowerfulRole, Target};

/// The whole login, connecting included. PostgreSQL's own authentication_timeout is 60 s.
const LOGIN: Duration = Duration::from_secs(30);
/// Bytes of a server's message that are repeated to the relay.
const MESSAGE_BYTES_MAX: usize = 300;

/// What the session is to be called and which settings it starts with.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub application_name: String,
    /// Parameters of the relay that passed the list in `startup`.
    pub parameters: Vec<(String, String)>,
    /// Logical replication mode (`replication=database`).
    pub replication: bool,
    /// Transactions are read-only unless they say otherwise; so are those of a read-only target.
    pub read_only: bool,
}

/// A session that PostgreSQL is ready to serve.
pub struct LoggedIn {
    pub frames: Frames,
    /// AuthenticationOk, parameters and notices, as PostgreSQL sent them.
    pub greeting: BytesMut,
    /// ReadyForQuery, as PostgreSQL sent it.
    pub ready: BytesMut,
    /// What cancels this session; poolers may have none.
    pub key: Option<CancelKey>,
    /// The way that worked; a cancel request takes the same.
    pub security: Security,
    pub encrypted: bool,
    /// `server_version` as reported.
    pub server_version: String,
    pub is_superuser: bool,
}

/// PostgreSQL's key for cancelling one session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CancelKey {
    pub process_id: i32,
    pub secret_key: i32,
}

/// Connects and logs in. Tries the ways of `sslmode` in order.
pub async fn login(
    target: &Target,
    places: &Places,
    wanted: &Wanted,
) -> Result<LoggedIn, OriginError> {
    let step = "login to PostgreSQL";
    tokio::time::timeout(LOGIN, try_ways(target, places, wanted))
        .await
        .map_err(|_| OriginError::Timeout {
            step,
            seconds: LOGIN.as_secs(),
        })?
}

async fn try_ways(
    target: &Target,
    places: &Places,
    wanted: &Wanted,
) -> Result<LoggedIn, OriginError> {
    let mut ways = connect::attempts(target).iter().copied().peekable();
    let mut first_refusal = None;
    while let Some(security) = ways.next() {
        let dialled = match connect::dial(target, security).await {
            Ok(dialled) => dialled,
            // A second way that isn't there must not hide what the first one said.
            Err(error) => return Err(first_refusal.unwrap_or(error)),
        };
        match log_in(dialled, target, places, wanted).await {
            Ok(mut session) => {
                session.security = security;
                return Ok(session);
            }
            // pg_hba.conf decides by how one comes, so that another way may do.
            Err(OriginError::Refused { code, message })
                if code == "28000" && ways.peek().is_some() =>
            {
                first_refusal = Some(OriginError::Refused { code, message });
            }
            Err(error) => return Err(first_refusal.unwrap_or(error)),
        }
    }
    Err(first_refusal.unwrap_or(OriginError::ClosedEarly))
}

async fn log_in(
    dialled: Dialled,
    target: &Target,
    places: &Places,
    wanted: &Wanted,
) -> Result<LoggedIn, OriginError> {
    let encryption = dialled.encryption;
    let mut frames = Frames::new(dialled.stream);
    frames.send(&startup_packet(target, wanted)?).await?;
    authenticate(&mut frames, target, places, &encryption).await?;
    let mut session = read_greeting(frames, &encryption).await?;
    refuse_powers(&mut session, target).await?;
    if target.read_only {
        refuse_write_grants(&mut session.frames, target).await?;
    }
    Ok(session)
}

fn startup_packet(target: &Target, wanted: &Wanted) -> Result<BytesMut, OriginError> {
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", &target.database),
        ("application_name", &wanted.application_name),
    ];
    if wanted.replication {
        parameters.push(("replication", "database"));
    }
    if target.read_only || wanted.read_only {
        parameters.push(("default_transaction_read_only", "on"));
    }
    let passed = wanted
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut packet = BytesMut::new();
    frontend::startup_message(parameters.into_iter().chain(passed), &mut packet)?;
    Ok(packet)
}

/// Answers what the server asks for until AuthenticationOk.
async fn authenticate(
    frames: &mut Frames,
    target: &Target,
    places: &Places,
    encryption: &Encryption,
) -> Result<(), OriginError> {
    let weak = |method| OriginError::WeakAuthentication {
        target: target.name.clone(),
        method,
    };
    let mut answer = BytesMut::new();
    match frames.next().await?.0 {
        Message::AuthenticationOk => return Ok(()),
        Message::AuthenticationSasl(body) => {
            let password = find_password(target, places)?;
            return scram(frames, target, &body, &password, encryption).await;
        }
        Message::AuthenticationMd5Password(body) if target.allow_md5 => {
            let password = find_password(target, places)?;
            let user = target.user.as_bytes();
            let hash = authentication::md5_hash(user, password.expose(), body.salt());
            frontend::password_message(hash.as_bytes(), &mut answer)?;
        }
        Message::AuthenticationCleartextPassword if target.allow_md5 => {
            let password = find_password(target, places)?;
            frontend::password_message(password.expose(), &mut answer)?;
        }
        Message::AuthenticationMd5Password(_) => return Err(weak("MD5")),
        Message::AuthenticationCleartextPassword => return Err(weak("cleartext password")),
        Message::ErrorResponse(body) => return Err(refusal(target, body.fields())),
        Message::AuthenticationGss => return Err(unknown("GSSAPI")),
        Message::AuthenticationSspi => return Err(unknown("SSPI")),
        Message::AuthenticationKerberosV5 => return Err(unknown("Kerberos")),
        _ => return Err(OriginError::Protocol("no authentication request".into())),
    }
    let answer = zeroize::Zeroizing::new(answer.to_vec());
    frames.send(&answer).await?;
    expect_ok(frames, target).await
}

fn unknown(method: &str) -> OriginError {
    OriginError::UnknownAuthentication(method.to_owned())
}

fn find_password(target: &Target, places: &Places) -> Result<Password, OriginError> {
    let name = || target.name.clone();
    places
        .find(target)
        .map_err(|source| OriginError::Password {
            target: name(),
            source,
        })?
        .ok_or_else(|| OriginError::PasswordMissing { target: name() })
}

/// SCRAM-SHA-256 (RFC 5802, RFC 7677), bound to the TLS channel where both ends can.
async fn scram(
    frames: &mut Frames,
    target: &Target,
    body: &AuthenticationSaslBody,
    password: &Password,
    encryption: &Encryption,
) -> Result<(), OriginError> {
    let failed = |error: std::io::Error| OriginError::Scram(error.to_string());
    let offered: Vec<&str> = body.mechanisms().collect().map_err(failed)?;
    let end_point = match encryption {
        Encryption::Tls { end_point } => end_point.clone(),
        Encryption::None => None,
    };
    let plus = offered.contains(&sasl::SCRAM_SHA_256_PLUS);
    let (mechanism, binding) = match end_point {
        Some(hash) if plus => (
            sasl::SCRAM_SHA_256_PLUS,
            ChannelBinding::tls_server_end_point(hash),
        ),
        // "We could, you don't": the server notices if somebody between removed its offer.
        Some(_) => (sasl::SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (sasl::SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !offered.contains(&mechanism) {
        return Err(unknown(&offered.join(", ")));
    }
    let mut scram = ScramSha256::new(password.expose(), binding);
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut message)?;
    frames.send(&message).await?;
    match frames.next().await?.0 {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data()).map_err(failed)?,
        Message::ErrorResponse(body) => return Err(refusal(target, body.fields())),
        _ => return Err(OriginError::Protocol("no SCRAM challenge".into())),
    }
    message.clear();
    frontend::sasl_response(scram.message(), &mut message)?;
    frames.send(&message).await?;
    match frames.next().await?.0 {
        // Checks that the server knows the password too.
        Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(failed)?,
        Message::ErrorResponse(body) => return Err(refusal(target, body.fields())),
        _ => return Err(OriginError::Protocol("no SCRAM verdict".into())),
    }
    expect_ok(frames, target).await
}

async fn expect_ok(frames: &mut Frames, target: &Target) -> Result<(), OriginError> {
    match frames.next().await?.0 {
        Message::AuthenticationOk => Ok(()),
        Message::ErrorResponse(body) => Err(refusal(target, body.fields())),
        _ => Err(OriginError::Protocol("no end of authentication".into())),
    }
}

/// Everything up to ReadyForQuery. The agent's own key stays here.
async fn read_greeting(
    mut frames: Frames,
    encryption: &Encryption,
) -> Result<LoggedIn, OriginError> {
    let wrong = |error: std::io::Error| OriginError::Protocol(error.to_string());
    let mut greeting = BytesMut::from(&AUTHENTICATION_OK[..]);
    let (mut key, mut server_version, mut is_superuser) = (None, String::new(), false);
    loop {
        let (message, raw) = frames.next().await?;
        match message {
            Message::ParameterStatus(body) => {
                match body.name().map_err(wrong)? {
                    "server_version" => server_version = body.value().map_err(wrong)?.to_owned(),
                    "is_superuser" => is_superuser = body.value().map_err(wrong)? == "on",
                    _ => {}
                }
                greeting.extend_from_slice(&raw);
            }
            Message::BackendKeyData(body) => {
                let (process_id, secret_key) = (body.process_id(), body.secret_key());
                key = Some(CancelKey {
                    process_id,
                    secret_key,
                });
            }
            Message::NoticeResponse(_) => greeting.extend_from_slice(&raw),
            Message::ReadyForQuery(_) => {
                return Ok(LoggedIn {
                    frames,
                    greeting,
                    ready: BytesMut::from(&raw[..]),
                    key,
                    security: Security::Plain,
                    encrypted: *encryption != Encryption::None,
                    server_version,
                    is_superuser,
                });
            }
            Message::ErrorResponse(body) => return Err(refusal_of(body.fields())?),
            _ => {
                return Err(OriginError::Protocol(
                    "an unexpected message at login".into(),
                ));
            }
        }
    }
}

/// AuthenticationOk: 'R', length 8, code 0.
const AUTHENTICATION_OK: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// Where the target refuses them, or is read-only: a superuser's session can do anything.
async fn refuse_powers(session: &mut LoggedIn, target: &Target) -> Result<(), OriginError> {
    let power = match target.powerful_role {
        PowerfulRole::Refuse => role::powers(&mut session.frames).await?.into_iter().next(),
        PowerfulRole::Warn if target.read_only && session.is_superuser => {
            Some("is a superuser".to_owned())
        }
        PowerfulRole::Warn => None,
    };
    power.map_or(Ok(()), |power| {
        Err(OriginError::PowerfulRole {
            target: target.name.clone(),
            user: target.user.clone(),
            power,
        })
    })
}

/// A read-only target with a role that may write is a promise that nobody keeps.
async fn refuse_write_grants(frames: &mut Frames, target: &Target) -> Result<(), OriginError> {
    match role::first_writable(frames).await? {
        None => Ok(()),
        Some(table) => Err(OriginError::WriteGrant {
            target: target.name.clone(),
            user: target.user.clone(),
            table,
        }),
    }
}

/// What the server's refusal means; a wrong password is told apart for its advice.
fn refusal(target: &Target, fields: ErrorFields<'_>) -> OriginError {
    match refusal_of(fields) {
        Ok(OriginError::Refused { code, .. }) if code == "28P01" => OriginError::PasswordRefused {
            target: target.name.clone(),
        },
        Ok(error) | Err(error) => error,
    }
}

/// Code and primary message of an ErrorResponse, in one bounded line.
pub(super) fn refusal_of(mut fields: ErrorFields<'_>) -> Result<OriginError, OriginError> {
    let (mut code, mut message) = (String::from("XX000"), String::new());
    while let Some(field) = fields
        .next()
        .map_err(|error| OriginError::Protocol(error.to_string()))?
    {
        let text = String::from_utf8_lossy(field.value_bytes());
        match field.type_() {
            b'C' if text.len() == 5 => code = text.into_owned(),
            b'M' => {
                message = text.chars().filter(|c| !c.is_control()).collect();
                let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
                message.truncate(end);
            }
            _ => {}
        }
    }
    Ok(OriginError::Refused { code, message })
}

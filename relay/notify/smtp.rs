//! Sends a message by SMTP (RFC 5321): TLS from the first byte or by STARTTLS, with the server's certificate
//! verified, to public addresses unless others are allowed. What the server says but its code is not
//! repeated.

use std::time::{Duration, SystemTime};

use lettre::message::Mailbox as Party;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::courier::Undelivered;
use super::limits::CONNECT_MAX;
use super::target::{Mailbox, Security, address};
use super::webhook::{Way, not_found};
use crate::endpoint::address::resolve;

/// What is sent.
pub(super) struct Mail<'a> {
    /// The same at each attempt: what arrives twice has the same `Message-ID`.
    pub id: &'a str,
    pub at_ms: i64,
    pub subject: String,
    pub text: String,
}

/// Says that nobody wrote it, so that no absence notice answers (RFC 3834, section 5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Sends, and waits until the server has taken it.
pub(super) async fn send(mailbox: &Mailbox, mail: Mail<'_>, way: Way) -> Result<(), Undelivered> {
    let wrong = |text: String| Undelivered::new(text);
    let message = written(mailbox, mail).map_err(wrong)?;
    let host = mailbox.host.as_str();
    let hello = ClientId::Domain(address(&mailbox.from).map_err(wrong)?.domain().to_owned());
    let mut connection = connect(mailbox, &hello, way).await?;
    if let (Some(user), Some(password)) = (&mailbox.user, &mailbox.password) {
        let credentials = Credentials::new(user.clone(), password.to_string());
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        let signed_in = connection.auth(&mechanisms, &credentials).await;
        signed_in.map_err(|error| failed(host, "does not take the name and password", &error))?;
    }
    let sent = connection
        .send(message.envelope(), &message.formatted())
        .await;
    sent.map_err(|error| {
        failed(
            host,
            "refuses the message, its sender or a recipient",
            &error,
        )
    })?;
    // It is taken: how the server says goodbye is nobody's matter.
    let _ = connection.quit().await;
    Ok(())
}

fn written(mailbox: &Mailbox, mail: Mail<'_>) -> Result<lettre::Message, String> {
    let from = address(&mailbox.from)?;
    let id = format!("<{}@{}>", mail.id, from.domain());
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(mail.at_ms.max(0) as u64);
    let mut builder = lettre::Message::builder()
        .from(Party::new(Some("Tidegate".to_owned()), from))
        .subject(mail.subject)
        .date(date)
        .message_id(Some(id))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    for to in &mailbox.to {
        builder = builder.to(Party::new(None, address(to)?));
    }
    let written = builder.body(mail.text);
    written.map_err(|_| "the message can't be written: check sender and recipients".to_owned())
}

async fn connect(
    mailbox: &Mailbox,
    hello: &ClientId,
    way: Way,
) -> Result<AsyncSmtpConnection, Undelivered> {
    let name = mailbox.host.trim_matches(['[', ']']);
    let found = resolve(name, mailbox.port, way.allow_private).await;
    let places = found.map_err(|error| not_found(name, &error))?;
    let tls = || {
        let parameters = TlsParameters::new_rustls(name.to_owned());
        parameters.map_err(|error| failed(name, "can't be verified", &error))
    };
    let from_the_start = match mailbox.security {
        Security::Tls => Some(tls()?),
        Security::Starttls | Security::None => None,
    };
    let connected = AsyncSmtpConnection::connect_tokio1(
        &places[..],
        Some(CONNECT_MAX),
        hello,
        from_the_start,
        way.egress,
    );
    let mut connection = connected.await.map_err(|error| match mailbox.security {
        Security::Tls => failed(name, UNREACHED, &error),
        Security::Starttls | Security::None => failed(name, "can't be reached", &error),
    })?;
    if mailbox.security == Security::Starttls {
        // Without it the server's offer could be taken out on the way, and everything be read.
        if !connection.can_starttls() {
            return Err(Undelivered::new(format!(
                "{name} offers no STARTTLS: use tls"
            )));
        }
        let encrypted = connection.starttls(tls()?, hello).await;
        encrypted.map_err(|error| failed(name, UNREACHED, &error))?;
    }
    Ok(connection)
}

/// Connecting and the handshake are one step.
const UNREACHED: &str = "can't be reached, or its certificate does not hold";

/// Servers may repeat what they were sent, so of their words only the code is told.
fn failed(host: &str, what: &str, error: &Error) -> Undelivered {
    let text = match error.status() {
        Some(code) => format!("{host} {what} ({code})"),
        None if error.is_timeout() => format!("{host} did not answer in time"),
        None => format!("{host} {what}"),
    };
    Undelivered::new(text)
}

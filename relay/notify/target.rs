//! Where a channel leads: kept as one sealed document, shown as a host or as recipients only, since whoever
//! has a webhook's URL may post to it.

use std::net::IpAddr;

use lettre::Address;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::signature::key_of;
use crate::endpoint::address::is_public;

/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2048;
/// Recipients of one message: a list of more is a mailing list's matter.
const RECIPIENTS_MAX: usize = 20;

/// A target, checked. Not to be printed: it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// Signed as Standard Webhooks says.
    Webhook {
        url: Zeroizing<String>,
        /// `whsec_…`
        secret: Zeroizing<String>,
    },
    /// An incoming webhook of Slack's, or of what takes the same.
    Slack {
        url: Zeroizing<String>,
    },
    Email(Mailbox),
}

/// A mail server, and from whom to whom.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mailbox {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub user: Option<String>,
    pub password: Option<Zeroizing<String>>,
    pub from: String,
    pub to: Vec<String>,
}

/// How the way to a mail server is encrypted. Its certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MailSecurity)]
pub enum Security {
    /// From the first byte on (port 465).
    #[default]
    Tls,
    /// After the greeting (port 587), or not at all sent.
    Starttls,
    /// Not at all: in a trusted network only.
    None,
}

impl Target {
    /// As stored and in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Webhook { .. } => "webhook",
            Target::Slack { .. } => "slack",
            Target::Email(_) => "email",
        }
    }

    /// To be sealed.
    pub fn to_document(&self) -> SecretString {
        // Texts and numbers: that can't fail.
        SecretString::from(serde_json::to_string(self).unwrap_or_default())
    }

    /// The inverse of [`Target::to_document`]; `None` for a text that it did not make.
    pub fn from_document(document: &SecretString) -> Option<Target> {
        serde_json::from_str(document.expose_secret()).ok()
    }

    /// What people may see of it: the host, or the recipients.
    pub fn shown(&self) -> String {
        match self {
            Target::Webhook { url, .. } | Target::Slack { url } => host_of(url),
            Target::Email(mailbox) => mailbox.to.join(", "),
        }
    }

    /// Refuses what can't be sent to, with what to give instead. What was given is not repeated.
    pub fn check(&self, allow_private: bool) -> Result<(), String> {
        match self {
            Target::Webhook { url, secret } => {
                if key_of(secret).is_none() {
                    let text = "a webhook's secret is `whsec_` and 24 to 64 bytes in base64: leave \
                                it out to have one made";
                    return Err(text.to_owned());
                }
                checked_url(url, allow_private).map(drop)
            }
            Target::Slack { url } => checked_url(url, allow_private).map(drop),
            Target::Email(mailbox) => check_mailbox(mailbox, allow_private),
        }
    }
}

fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    match url.as_ref().and_then(Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The URL, if it may be called.
pub(super) fn checked_url(text: &str, allow_private: bool) -> Result<Url, String> {
    let wrong = || "the URL is none: write https://host/path".to_owned();
    if text.len() > URL_BYTES_MAX {
        return Err(format!("a URL has at most {URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(
            "the URL has no user, password or fragment: write https://host/path".to_owned(),
        );
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => {
            let text = "without TLS everybody on the way could read it: use https, or allow private \
                        addresses for a trusted network";
            return Err(text.to_owned());
        }
        _ => return Err("only http and https are spoken: write https://host/path".to_owned()),
    }
    check_literal(host, allow_private)?;
    Ok(url)
}

/// Names are checked when they are resolved.
fn check_literal(host: &str, allow_private: bool) -> Result<(), String> {
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match literal.is_some_and(|address| !is_public(address)) && !allow_private {
        true => Err(format!(
            "{host} is a private address: `allow_private` allows it"
        )),
        false => Ok(()),
    }
}

fn check_mailbox(mailbox: &Mailbox, allow_private: bool) -> Result<(), String> {
    let is_of_a_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let host = &mailbox.host;
    if host.is_empty() || host.len() > 253 || !host.chars().all(is_of_a_host) || mailbox.port == 0 {
        return Err("name the mail server and its port: mail.example.com, 465".to_owned());
    }
    check_literal(host, allow_private)?;
    if mailbox.security == Security::None && !allow_private {
        let text = "without TLS everybody on the way could read it: use tls or starttls, or allow \
                    private addresses for a trusted network";
        return Err(text.to_owned());
    }
    if mailbox.user.is_some() != mailbox.password.is_some() {
        return Err("a user of the mail server has a password, and a password a user".to_owned());
    }
    address(&mailbox.from)?;
    if mailbox.to.is_empty() || mailbox.to.len() > RECIPIENTS_MAX {
        return Err(format!("name 1 to {RECIPIENTS_MAX} recipients"));
    }
    mailbox.to.iter().try_for_each(|to| address(to).map(drop))
}

/// An e-mail address.
pub(super) fn address(text: &str) -> Result<Address, String> {
    let wrong = |_| "an e-mail address looks like ops@example.com, without a name".to_owned();
    text.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::new_secret;

    fn webhook(url: &str) -> Target {
        Target::Webhook {
            url: Zeroizing::new(url.to_owned()),
            secret: new_secret(),
        }
    }

    fn mailbox() -> Mailbox {
        Mailbox {
            host: "mail.example.com".into(),
            port: 465,
            security: Security::Tls,
            user: Some("relay".into()),
            password: Some(Zeroizing::new("hunter2".into())),
            from: "relay@example.com".into(),
            to: vec!["ops@example.com".into()],
        }
    }

    #[test]
    fn only_public_https_unless_private_addresses_are_allowed() {
        assert_eq!(
            webhook("https://hooks.example.com/x?y=1").check(false),
            Ok(())
        );
        for url in [
            "http://hooks.example.com/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://169.254.169.254/latest",
            "https://u:p@hooks.example.com",
            "https://hooks.example.com/#a",
            "ftp://hooks.example.com",
            "hooks.example.com",
        ] {
            let refusal = webhook(url).check(false).expect_err(url);
            assert!(!refusal.contains("u:p"), "{refusal}");
        }
        assert_eq!(webhook("http://127.0.0.1:8080/x").check(true), Ok(()));
        assert!(webhook("file:///etc/passwd").check(true).is_err());
    }

    #[test]
    fn a_mailbox_names_everything_that_is_needed() {
        let check = |change: fn(&mut Mailbox), allow_private| {
            let mut changed = mailbox();
            change(&mut changed);
            Target::Email(changed).check(allow_private)
        };
        assert_eq!(check(|_| {}, false), Ok(()));
        let wrong: [fn(&mut Mailbox); 8] = [
            |m| m.host = "mail example".into(),
            |m| m.host = "10.0.0.1".into(),
            |m| m.port = 0,
            |m| m.security = Security::None,
            |m| m.user = None,
            |m| m.to.clear(),
            |m| m.to = vec!["a@example.com".into(); 21],
            |m| m.from = "Ops <ops@example.com>\r\nBcc: x".into(),
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            assert!(check(change, false).is_err(), "{number}");
        }
        assert_eq!(check(|m| m.security = Security::None, true), Ok(()));
    }

    #[test]
    fn people_see_hosts_and_recipients_and_no_secret() {
        let url = "https://hooks.example.com:8443/secret-path?token=secret";
        assert_eq!(webhook(url).shown(), "hooks.example.com:8443");
        assert_eq!(Target::Email(mailbox()).shown(), "ops@example.com");
        let kept = Target::from_document(&webhook(url).to_document()).unwrap();
        assert_eq!(kept.shown(), "hooks.example.com:8443");
        assert!(Target::from_document(&SecretString::from("{}")).is_none());
    }
}

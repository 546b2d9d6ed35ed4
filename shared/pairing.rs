//! The pairing token: what an operator copies from the relay to the agent's host.
//!
//! `tg_pair_` + version character + base64url(body + checksum). The body names the relays to dial,
//! pins their certificate authority's key and holds a one-time secret. There is no expiry inside:
//! the relay decides that. The relay mints (`relay::pairing`), the agent parses and redeems.

use std::fmt;
use std::net::Ipv6Addr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::{Zeroize, Zeroizing};

use crate::Class;

/// What every token starts with; long enough for secret scanners to recognise.
pub const PREFIX: &str = "tg_pair_";

const VERSION: char = '1';
const CHECKSUM_BYTES: usize = 4;

/// Bounds of a token. A hostile token costs at most one buffer of `TOKEN_CHARS_MAX`.
pub mod limits {
    /// Characters of a whole token; eight relays with long names stay below it.
    pub const TOKEN_CHARS_MAX: usize = 4096;
    /// Relay addresses in one token.
    pub const RELAYS_MAX: usize = 8;
    /// Pinned authorities: two during a roll-over, and two to spare.
    pub const CA_PINS_MAX: usize = 4;
    /// Bytes of a DNS name (RFC 1035 section 2.3.4).
    pub const HOST_BYTES_MAX: usize = 253;
}

// Trailing bits are let through so that a cut token is called truncated and not misspelt.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// SHA-256 of a certificate authority's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
pub type CaPin = [u8; 32];

/// Everything an agent needs to find the relay, to trust it and to be let in once.
#[derive(Clone, Debug)]
pub struct PairingToken {
    /// At least one; tried in order.
    pub relays: Vec<RelayAddr>,
    /// At least one; any of them is enough.
    pub ca_pins: Vec<CaPin>,
    /// Public half: finds the relay's record.
    pub id: [u8; 16],
    /// Private half: proves that the holder was invited.
    pub secret: TokenSecret,
}

/// Where a relay listens. `host` is a DNS name or an IP address without brackets; the relay's
/// certificate must carry exactly this name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelayAddr {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for RelayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The 256-bit one-time secret. Zeroed when dropped; never printed.
#[derive(Clone)]
pub struct TokenSecret([u8; 32]);

impl TokenSecret {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, for the one message that carries them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the relay stores and compares: SHA-256 of the secret. The secret is uniformly random,
    /// so a slow password hash would add nothing.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.0)
    }
}

impl Drop for TokenSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(hidden)")
    }
}

/// Why a token can't be used. Each text is one line that fits behind "pairing token: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it does not start with {PREFIX}; copy the whole line that `agent invite` printed")]
    Prefix,
    #[error("it is empty")]
    Empty,
    #[error("it is cut off; copy the whole line that `agent invite` printed")]
    Truncated,
    #[error("it is too long ({chars} characters); it must be one line and nothing else")]
    TooLong { chars: usize },
    #[error("it holds a character that can't be in a token; a line break or a quote slipped in")]
    Character,
    #[error("its version '{found}' is not known to this agent; update tidegate-agent")]
    Version { found: char },
    #[error("its checksum is wrong: a character was changed; copy it again")]
    Checksum,
    #[error("its content is not valid ({what}); ask for a new one")]
    Content { what: &'static str },
}

impl TokenError {
    pub fn class(&self) -> Class {
        match self {
            TokenError::Version { .. } => Class::Operator("update tidegate-agent"),
            TokenError::Content { .. } => Class::Operator("ask for a new pairing token"),
            _ => Class::Operator("copy the pairing token again, as one whole line"),
        }
    }
}

impl PairingToken {
    /// The text form. Fails only for values that break the bounds above.
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenError> {
        check_counts(self.relays.len(), self.ca_pins.len())?;
        let mut body = Zeroizing::new(Vec::with_capacity(512));
        body.push(self.relays.len() as u8);
        for relay in &self.relays {
            check_host(&relay.host)?;
            body.push(relay.host.len() as u8);
            body.extend_from_slice(relay.host.as_bytes());
            body.extend_from_slice(&relay.port.to_be_bytes());
        }
        body.push(self.ca_pins.len() as u8);
        for pin in &self.ca_pins {
            body.extend_from_slice(pin);
        }
        body.extend_from_slice(&self.id);
        body.extend_from_slice(self.secret.expose());
        let sum = checksum(&body);
        body.extend_from_slice(&sum);

        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 1 + body.len() * 2));
        text.push_str(PREFIX);
        text.push(VERSION);
        BASE64.encode_string(&*body, &mut text);
        Ok(text)
    }

    /// Reads what `encode` wrote; surrounding white space is ignored.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > limits::TOKEN_CHARS_MAX {
            return Err(TokenError::TooLong { chars: text.len() });
        }
        let Some(rest) = text.strip_prefix(PREFIX) else {
            let cut = PREFIX.starts_with(text);
            return Err(if cut {
                TokenError::Truncated
            } else {
                TokenError::Prefix
            });
        };
        let mut chars = rest.chars();
        match chars.next() {
            None => return Err(TokenError::Truncated),
            Some(VERSION) => {}
            Some(found) => return Err(TokenError::Version { found }),
        }
        let body = decode(chars.as_str())?;
        Reader { rest: &body }.token(&body)
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    match BASE64.decode(text) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(base64::DecodeError::InvalidLength(_)) => Err(TokenError::Truncated),
        Err(_) => Err(TokenError::Character),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn token(mut self, whole: &[u8]) -> Result<PairingToken, TokenError> {
        // Structure first: it finds its own end, so a cut token is told apart from a changed one.
        // Its values are only believed after the checksum.
        let mut hosts = Vec::new();
        for _ in 0..self.byte()? {
            let length = usize::from(self.byte()?);
            let host = self.take(length)?.to_vec();
            let port = u16::from_be_bytes(self.array()?);
            hosts.push((host, port));
        }
        let mut ca_pins: Vec<CaPin> = Vec::new();
        for _ in 0..self.byte()? {
            ca_pins.push(self.array()?);
        }
        let id = self.array()?;
        let secret = TokenSecret::new(self.array()?);
        let body_length = whole.len() - self.rest.len();
        let found: [u8; CHECKSUM_BYTES] = self.array()?;
        if !self.rest.is_empty() || found != checksum(&whole[..body_length]) {
            return Err(TokenError::Checksum);
        }
        check_counts(hosts.len(), ca_pins.len())?;
        let mut relays = Vec::with_capacity(hosts.len());
        for (host, port) in hosts {
            let host =
                String::from_utf8(host).map_err(|_| TokenError::Content { what: "relay name" })?;
            check_host(&host)?;
            relays.push(RelayAddr { host, port });
        }
        Ok(PairingToken {
            relays,
            ca_pins,
            id,
            secret,
        })
    }

    fn take(&mut self, length: usize) -> Result<&[u8], TokenError> {
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(TokenError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(TokenError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, TokenError> {
        Ok(self.array::<1>()?[0])
    }
}

fn check_counts(relays: usize, ca_pins: usize) -> Result<(), TokenError> {
    if !(1..=limits::RELAYS_MAX).contains(&relays) {
        return Err(TokenError::Content {
            what: "number of relays",
        });
    }
    if !(1..=limits::CA_PINS_MAX).contains(&ca_pins) {
        return Err(TokenError::Content {
            what: "number of pinned authorities",
        });
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), TokenError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > limits::HOST_BYTES_MAX || !host.chars().all(allowed) {
        return Err(TokenError::Content { what: "relay name" });
    }
    Ok(())
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut salted = Zeroizing::new(Vec::with_capacity(body.len() + 1));
    salted.push(VERSION as u8);
    salted.extend_from_slice(body);
    let whole = sha256(&salted);
    [whole[0], whole[1], whole[2], whole[3]]
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> PairingToken {
        PairingToken {
            relays: vec![
                RelayAddr {
                    host: "relay.example.com".into(),
                    port: 443,
                },
                RelayAddr {
                    host: "2001:db8::1".into(),
                    port: 8443,
                },
            ],
            ca_pins: vec![[7; 32]],
            id: [1; 16],
            secret: TokenSecret::new([9; 32]),
        }
    }

    #[test]
    fn a_token_survives_the_round_trip() {
        let text = token().encode().unwrap();
        assert!(text.starts_with("tg_pair_1"));
        let back = PairingToken::parse(&format!("  {}\n", *text)).unwrap();
        assert_eq!(back.relays, token().relays);
        assert_eq!(back.ca_pins, token().ca_pins);
        assert_eq!(back.id, token().id);
        assert_eq!(back.secret.expose(), token().secret.expose());
    }

    #[test]
    fn every_cut_is_called_truncated() {
        let text = token().encode().unwrap();
        for end in 1..text.len() {
            assert_eq!(
                PairingToken::parse(&text[..end]).unwrap_err(),
                TokenError::Truncated,
                "cut after {end} characters"
            );
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let text = token().encode().unwrap().to_string();
        for at in PREFIX.len() + 1..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character may hold unused bits; all others must be noticed.
            if let Ok(back) = PairingToken::parse(&changed) {
                assert_eq!(at, text.len() - 1);
                assert_eq!(back.secret.expose(), token().secret.expose());
            }
        }
    }

    #[test]
    fn wrong_prefix_version_and_content_are_told_apart() {
        assert_eq!(PairingToken::parse("").unwrap_err(), TokenError::Empty);
        assert_eq!(
            PairingToken::parse("sk_live_abc").unwrap_err(),
            TokenError::Prefix
        );
        assert_eq!(
            PairingToken::parse("tg_pair_9abc").unwrap_err(),
            TokenError::Version { found: '9' }
        );
        assert_eq!(
            PairingToken::parse("tg_pair_1ab\"c").unwrap_err(),
            TokenError::Character
        );
        let long = format!("tg_pair_1{}", "a".repeat(5000));
        assert!(matches!(
            PairingToken::parse(&long),
            Err(TokenError::TooLong { .. })
        ));
        let mut nobody = token();
        nobody.relays.clear();
        assert!(matches!(nobody.encode(), Err(TokenError::Content { .. })));
    }

    #[test]
    fn the_secret_is_never_printed() {
        let printed = format!("{:?}", token());
        assert!(printed.contains("hidden"));
        assert!(!printed.contains("9, 9, 9"));
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "tg_pair_1[A-Za-z0-9_-]{0,400}") {
            let _ = PairingToken::parse(&text);
        }

        #[test]
        fn random_unicode_never_panics(text in "\\PC{0,100}") {
            let _ = PairingToken::parse(&text);
        }
    }
}

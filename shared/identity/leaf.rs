//! Reading certificates: the agent's identity from a verified leaf, dates, serial, key pin.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{IdentityError, limits};
use crate::pairing::CaPin;

const URI_SCHEME: &str = "tidegate://";

/// Which agent of which workspace. Decided by the relay when it issues the certificate, and read
/// back only from a leaf that TLS verified: never from a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentIdentity {
    workspace: String,
    agent: String,
}

impl AgentIdentity {
    pub fn new(workspace: &str, agent: &str) -> Result<Self, IdentityError> {
        check_id(workspace)?;
        check_id(agent)?;
        Ok(Self {
            workspace: workspace.to_owned(),
            agent: agent.to_owned(),
        })
    }

    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The agent's id (not its name).
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The form inside the certificate: `tidegate://<workspace>/agent/<agent-id>`.
    pub fn to_uri(&self) -> String {
        format!("{URI_SCHEME}{}/agent/{}", self.workspace, self.agent)
    }

    fn from_uri(uri: &str) -> Result<Self, IdentityError> {
        uri.strip_prefix(URI_SCHEME)
            .and_then(|rest| rest.split_once("/agent/"))
            .ok_or(IdentityError::Certificate("its name is not an agent's"))
            .and_then(|(workspace, agent)| Self::new(workspace, agent))
    }
}

impl fmt::Display for AgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workspace, self.agent)
    }
}

/// What an agent's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentLeaf {
    pub identity: AgentIdentity,
    pub facts: CertificateFacts,
}

impl AgentLeaf {
    /// Reads the leaf of a chain that TLS has verified. Nothing but the first certificate of the
    /// chain may be passed: the others are only fillers until proven otherwise.
    pub fn from_verified(leaf: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed = parse(leaf)?;
        let usage = parsed
            .extended_key_usage()
            .map_err(|_| IdentityError::Certificate("its key usage is malformed"))?
            .ok_or(IdentityError::Certificate("it has no extended key usage"))?;
        if !usage.value.client_auth || usage.value.server_auth || usage.value.any {
            return Err(IdentityError::Certificate("it is not for a client only"));
        }
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| IdentityError::Certificate("its names are malformed"))?
            .ok_or(IdentityError::Certificate("it carries no name"))?;
        let [GeneralName::URI(uri)] = names.value.general_names[..] else {
            return Err(IdentityError::Certificate("it must carry exactly one name"));
        };
        Ok(Self {
            identity: AgentIdentity::from_uri(uri)?,
            facts: facts(&parsed),
        })
    }
}

/// Dates, serial and key of any certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Lower-case hexadecimal, no separators.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key_pin: [u8; 32],
}

impl CertificateFacts {
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        Ok(facts(&parse(certificate)?))
    }

    /// When renewal is due: at half of the life. The caller adds jitter.
    pub fn half_life(&self) -> SystemTime {
        let life = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or(Duration::ZERO);
        self.not_before + life / 2
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, which is what pairing tokens pin.
pub fn spki_pin(certificate: &CertificateDer<'_>) -> Result<CaPin, IdentityError> {
    Ok(facts(&parse(certificate)?).key_pin)
}

/// Whether a relay's certificate carries exactly these names (in any order).
pub(super) fn has_names(
    certificate: &CertificateDer<'_>,
    names: &[String],
) -> Result<bool, IdentityError> {
    let parsed = parse(certificate)?;
    let Ok(Some(found)) = parsed.subject_alternative_name() else {
        return Ok(false);
    };
    let mut found: Vec<String> = found
        .value
        .general_names
        .iter()
        .filter_map(name_text)
        .collect();
    let mut wanted = names.to_vec();
    found.sort();
    wanted.sort();
    Ok(found == wanted)
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
        },
        _ => None,
    }
}

pub(super) fn parse<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, IdentityError> {
    match X509Certificate::from_der(certificate.as_ref()) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(IdentityError::Certificate("it is malformed")),
    }
}

fn facts(parsed: &X509Certificate<'_>) -> CertificateFacts {
    let validity = parsed.validity();
    let mut key_pin = [0; 32];
    key_pin.copy_from_slice(digest(&SHA256, parsed.tbs_certificate.subject_pki.raw).as_ref());
    CertificateFacts {
        serial: hex(parsed.raw_serial()),
        not_before: at_unix_seconds(validity.not_before.timestamp()),
        not_after: at_unix_seconds(validity.not_after.timestamp()),
        key_pin,
    }
}

fn at_unix_seconds(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_id(id: &str) -> Result<(), IdentityError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || id.len() > limits::ID_CHARS_MAX || !id.chars().all(allowed) {
        return Err(IdentityError::Id(
            id.chars().take(limits::ID_CHARS_MAX).collect(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_uri() {
        let identity = AgentIdentity::new("default", "0199-a_B").unwrap();
        assert_eq!(
            AgentIdentity::from_uri(&identity.to_uri()).unwrap(),
            identity
        );
    }

    #[test]
    fn ids_with_separators_are_refused() {
        for bad in ["", "a/b", "a b", "../x", "ü", &"a".repeat(65)] {
            assert!(AgentIdentity::new("default", bad).is_err(), "{bad}");
            assert!(AgentIdentity::new(bad, "a").is_err(), "{bad}");
        }
        for bad in [
            "tidegate://w/agent/",
            "tidegate://w/relay/x",
            "http://w/agent/x",
            "x",
        ] {
            assert!(AgentIdentity::from_uri(bad).is_err(), "{bad}");
        }
    }
}

//! A certificate authority: made once by the relay, issues short-lived certificates.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SigningKey, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use zeroize::Zeroizing;

use super::{AgentIdentity, IdentityError, key_fingerprint, leaf, limits};
use crate::pairing::CaPin;

const SERIAL_BYTES: usize = 16;

/// Whom an authority signs for. Written into the authority's own certificate as its extended key
/// usage, so a mixed-up file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    Agents,
    Relays,
}

impl fmt::Display for AuthorityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthorityKind::Agents => "agents",
            AuthorityKind::Relays => "relays",
        })
    }
}

/// From when, and for how long. The start is set back by the allowed clock skew.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    pub now: SystemTime,
    pub life: Duration,
}

/// A key that signs certificates, with its own certificate.
pub struct CertificateAuthority {
    kind: AuthorityKind,
    certificate: CertificateDer<'static>,
    key_pem: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was just issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The leaf first, then its authority.
    pub chain: Vec<CertificateDer<'static>>,
    pub facts: leaf::CertificateFacts,
}

impl CertificateAuthority {
    /// A new self-signed authority from the system's randomness.
    pub fn generate(kind: AuthorityKind, now: SystemTime) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        let mut params = CertificateParams::default();
        set_dates(
            &mut params,
            Validity {
                now,
                life: limits::AUTHORITY_LIFE,
            },
        );
        params.serial_number = Some(serial()?);
        params.distinguished_name = named(&format!("Tidegate authority for {kind}"));
        // Path length 0: what it signs can never sign anything.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![purpose(kind)];
        let certificate = CertifiedIssuer::self_signed(params, key)?.der().clone();
        Self::assemble(certificate, key_pem)
    }

    /// Reads what `to_pem` wrote: one certificate and one private key.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| IdentityError::Pem("a certificate"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| IdentityError::Pem("a private key"))?;
        let key =
            KeyPair::try_from(&key).map_err(|_| IdentityError::Pem("a usable private key"))?;
        Self::assemble(certificate, Zeroizing::new(key.serialize_pem()))
    }

    /// Certificate and private key; belongs into a file of mode 0600 only.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(pem_of(&self.certificate));
        text.push_str(&self.key_pem);
        text
    }

    fn assemble(
        certificate: CertificateDer<'static>,
        key_pem: Zeroizing<String>,
    ) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(&key_pem).map_err(|_| IdentityError::Pem("a private key"))?;
        let kind = kind_of(&certificate)?;
        if leaf::spki_pin(&certificate)? != key_fingerprint(&key.subject_public_key_info()) {
            return Err(IdentityError::Certificate(
                "it does not belong to the private key",
            ));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            kind,
            certificate,
            key_pem,
            issuer,
        })
    }

    pub fn kind(&self) -> AuthorityKind {
        self.kind
    }

    /// The authority's own certificate, to be trusted by the other side.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What pairing tokens pin.
    pub fn spki_pin(&self) -> Result<CaPin, IdentityError> {
        leaf::spki_pin(&self.certificate)
    }

    /// ECDSA with SHA-256, in DER. What is signed is `identity::trust`'s alone.
    pub(super) fn sign(&self, statement: &[u8]) -> Result<Vec<u8>, IdentityError> {
        Ok(self.issuer.key().sign(statement)?)
    }

    /// Issues a client certificate for the key in the request. Every name and usage that the
    /// request carries is ignored; its signature is checked, which proves possession of the key.
    pub fn issue_agent(
        &self,
        csr_der: &[u8],
        identity: &AgentIdentity,
        validity: Validity,
    ) -> Result<Issued, IdentityError> {
        let key = requested_key(csr_der)?;
        let uri = identity.to_uri().try_into()?;
        self.issue(
            AuthorityKind::Agents,
            &key,
            vec![SanType::URI(uri)],
            validity,
        )
    }

    /// Issues a relay's server certificate, with a new key of its own (PKCS#8).
    pub fn issue_relay(
        &self,
        names: &[String],
        validity: Validity,
    ) -> Result<(Issued, PrivateKeyDer<'static>), IdentityError> {
        let mut alt_names = Vec::with_capacity(names.len());
        for name in names {
            alt_names.push(relay_name(name)?);
        }
        if alt_names.is_empty() {
            return Err(IdentityError::RelayName(String::new()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issued = self.issue(AuthorityKind::Relays, &key, alt_names, validity)?;
        Ok((
            issued,
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        ))
    }

    fn issue(
        &self,
        wanted: AuthorityKind,
        key: &impl PublicKeyData,
        names: Vec<SanType>,
        validity: Validity,
    ) -> Result<Issued, IdentityError> {
        if self.kind != wanted {
            return Err(IdentityError::WrongAuthority {
                found: self.kind,
                wanted,
            });
        }
        let mut params = CertificateParams::default();
        set_dates(&mut params, validity);
        params.serial_number = Some(serial()?);
        params.subject_alt_names = names;
        params.distinguished_name = named("Tidegate");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose(wanted)];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer)?.der().clone();
        let facts = leaf::CertificateFacts::read(&certificate)?;
        Ok(Issued {
            chain: vec![certificate, self.certificate.clone()],
            facts,
        })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthority(for {}, key hidden)", self.kind)
    }
}

/// SHA-256 of the public key that a request asks a certificate for, after checking the request.
pub fn requested_key_pin(csr_der: &[u8]) -> Result<[u8; 32], IdentityError> {
    Ok(key_fingerprint(
        &requested_key(csr_der)?.subject_public_key_info(),
    ))
}

/// Whether a relay's certificate carries exactly these names, so that a changed configuration
/// leads to a new certificate.
pub fn relay_chain_names_match(
    leaf: &CertificateDer<'_>,
    names: &[String],
) -> Result<bool, IdentityError> {
    leaf::has_names(leaf, names)
}

fn requested_key(csr_der: &[u8]) -> Result<rcgen::PublicKey, IdentityError> {
    if csr_der.len() > limits::CSR_BYTES_MAX {
        return Err(IdentityError::Request("it is too large"));
    }
    let csr = CertificateSigningRequestDer::from(csr_der);
    let request = CertificateSigningRequestParams::from_der(&csr)
        .map_err(|_| IdentityError::Request("it is malformed or not signed by its key"))?;
    if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(IdentityError::Request("its key is not ECDSA P-256"));
    }
    Ok(request.public_key)
}

fn kind_of(certificate: &CertificateDer<'_>) -> Result<AuthorityKind, IdentityError> {
    let parsed = leaf::parse(certificate)?;
    if !parsed.is_ca() {
        return Err(IdentityError::Certificate("it is not an authority's"));
    }
    let usage = parsed
        .extended_key_usage()
        .ok()
        .flatten()
        .ok_or(IdentityError::Certificate("it has no extended key usage"))?;
    match (usage.value.client_auth, usage.value.server_auth) {
        (true, false) => Ok(AuthorityKind::Agents),
        (false, true) => Ok(AuthorityKind::Relays),
        _ => Err(IdentityError::Certificate(
            "it must be for agents or for relays, not both",
        )),
    }
}

fn purpose(kind: AuthorityKind) -> ExtendedKeyUsagePurpose {
    match kind {
        AuthorityKind::Agents => ExtendedKeyUsagePurpose::ClientAuth,
        AuthorityKind::Relays => ExtendedKeyUsagePurpose::ServerAuth,
    }
}

fn relay_name(name: &str) -> Result<SanType, IdentityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let checked = rustls_pki_types::DnsName::try_from(name)
        .map_err(|_| IdentityError::RelayName(name.to_owned()))?;
    Ok(SanType::DnsName(checked.as_ref().try_into()?))
}

fn set_dates(params: &mut CertificateParams, validity: Validity) {
    let since_epoch = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
    };
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.now).saturating_sub(limits::CLOCK_SKEW);
    params.not_after = epoch + since_epoch(validity.now) + validity.life;
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IdentityError::Request("no randomness"))?;
    // Positive, and never shortened by a leading zero (RFC 5280 section 4.1.2.2).
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// PEM of one certificate (RFC 7468).
pub fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

//! An agent's private key and the request that it signs. The key is made on the agent's host and
//! never leaves it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::IdentityError;

/// An ECDSA P-256 key.
pub struct AgentKey {
    pair: KeyPair,
}

impl AgentKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        Ok(Self {
            pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        })
    }

    /// Reads what `to_pem` wrote (PKCS#8).
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let pair = KeyPair::from_pem(pem).map_err(|_| IdentityError::Pem("a private key"))?;
        if !pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            return Err(IdentityError::Pem("an ECDSA P-256 private key"));
        }
        Ok(Self { pair })
    }

    /// PKCS#8 in PEM; belongs into a file of mode 0600 only.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// A certificate request (RFC 2986) without names, since the relay would ignore them.
    pub fn csr_der(&self) -> Result<Vec<u8>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.pair)?.der().to_vec())
    }

    /// SHA-256 of the public key, for people to compare.
    pub fn fingerprint(&self) -> [u8; 32] {
        key_fingerprint(&self.pair.subject_public_key_info())
    }

    /// For the TLS configuration.
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()))
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKey(hidden)")
    }
}

/// SHA-256 of a DER SubjectPublicKeyInfo.
pub fn key_fingerprint(spki_der: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, spki_der).as_ref());
    out
}

/// The first half of a key's fingerprint in groups, for people to compare on both ends.
pub fn fingerprint_text(fingerprint: &[u8; 32]) -> String {
    let pairs: Vec<String> = fingerprint[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pairs
        .chunks(2)
        .map(<[String]>::concat)
        .collect::<Vec<_>>()
        .join(":")
}

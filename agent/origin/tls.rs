//! TLS towards PostgreSQL with the meanings of libpq's `sslmode`, and SCRAM channel binding.
//!
//! Differences from libpq, on purpose: without `sslrootcert` the system's roots are used (libpq
//! looks for `~/.postgresql/root.crt`), and `require` with an `sslrootcert` verifies the chain as
//! libpq does for compatibility. Called by `connect`.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::error::OriginError;
use crate::config::{SslMode, Target};

/// The TLS configuration that the target's `sslmode` means. Reads `sslrootcert`; blocking, small.
pub(super) fn client_config(target: &Target) -> Result<ClientConfig, OriginError> {
    let provider = Arc::new(provider::default_provider());
    let check = match (target.sslmode, &target.sslrootcert) {
        (SslMode::VerifyFull, _) => Check::ChainAndName,
        (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Check::Chain,
        _ => Check::Nothing,
    };
    let verifier = Verifier::new(check, target.sslrootcert.as_deref(), provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OriginError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// The `tls-server-end-point` channel binding of a certificate (RFC 5929, section 4.1): its hash
/// under its own signature's hash algorithm, SHA-256 for MD5 and SHA-1. `None` where the signature
/// has no hash of its own (Ed25519) or an unknown one.
pub(super) fn channel_binding(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let algorithm = match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // md5 and sha1 with RSA, sha256 with RSA and ECDSA, ECDSA with sha1.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// The certificate is not looked at; the peer still proves that it holds its key.
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    /// `None` only when nothing is checked.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of `sslrootcert`: a server may present one of them itself.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(
        check: Check,
        roots: Option<&Path>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, OriginError> {
        if check == Check::Nothing {
            return Ok(Verifier {
                check,
                webpki: None,
                pinned: Vec::new(),
                provider,
            });
        }
        let (pinned, store) = load_roots(roots)?;
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
            .build()
            .map_err(|error| OriginError::Tls(error.to_string()))?;
        Ok(Verifier {
            check,
            webpki: Some(webpki),
            pinned,
            provider,
        })
    }
}

/// The trusted certificates: those of the file, or the system's.
fn load_roots(
    file: Option<&Path>,
) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), OriginError> {
    let mut store = RootCertStore::empty();
    let Some(file) = file.filter(|file| *file != Path::new("system")) else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            let text = "this host has no root certificates: install ca-certificates or set \
                        sslrootcert";
            return Err(OriginError::Tls(text.into()));
        }
        return Ok((Vec::new(), store));
    };
    let failed = |error: &dyn std::fmt::Display| {
        OriginError::Tls(format!("sslrootcert {}: {error}", file.display()))
    };
    let mut pinned = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
        pinned.push(certificate.map_err(|error| failed(&error))?);
    }
    if pinned.is_empty() {
        return Err(failed(&"holds no certificate"));
    }
    store.add_parsable_certificates(pinned.iter().cloned());
    if store.is_empty() {
        return Err(failed(&"holds no usable certificate"));
    }
    Ok((pinned, store))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(webpki) = &self.webpki else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is checked last, so that a wrong one means that the chain is right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Chain => Ok(ServerCertVerified::assertion()),
            // PostgreSQL's own recipe (`openssl req -x509`) makes a self-signed certificate that
            // is marked as an authority. Webpki refuses it as a server's; being exactly the file
            // that the operator pinned, it is as trusted as can be.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                check_pinned(end_entity, now)?;
                if self.check == Check::ChainAndName {
                    let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
                    rustls::client::verify_server_name(&parsed, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A pinned certificate still has dates.
fn check_pinned(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > parsed.validity().not_after.timestamp() {
        return Err(rustls::Error::InvalidCertificate(CertificateError::Expired));
    }
    if now < parsed.validity().not_before.timestamp() {
        return Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// Verifies a certificate as `openssl req -x509` makes it: self-signed, marked as an authority.
    fn check(check: Check, name: &str, pinned: bool, at: Duration) -> Result<(), rustls::Error> {
        let certificate = self_signed();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let in_file = if pinned {
            certificate.clone()
        } else {
            self_signed()
        };
        file.write_all(tidegate_shared::identity::pem_of(&in_file).as_bytes())
            .unwrap();
        let provider = Arc::new(provider::default_provider());
        let verifier = Verifier::new(check, Some(file.path()), provider).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(at);
        verifier
            .verify_server_cert(&certificate, &[], &name, &[], now)
            .map(|_| ())
    }

    fn self_signed() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["db.internal".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    const IN_2026: Duration = Duration::from_secs(1_790_000_000);
    const IN_2036: Duration = Duration::from_secs(2_100_000_000);

    #[test]
    fn pinned_self_signed_certificate_is_trusted_within_name_and_dates() {
        assert_eq!(
            check(Check::ChainAndName, "db.internal", true, IN_2026),
            Ok(())
        );
        assert_eq!(check(Check::Chain, "other.internal", true, IN_2026), Ok(()));
        assert!(check(Check::ChainAndName, "other.internal", true, IN_2026).is_err());
        assert!(check(Check::ChainAndName, "db.internal", true, IN_2036).is_err());
        assert!(check(Check::Chain, "db.internal", false, IN_2026).is_err());
    }

    #[test]
    fn channel_binding_is_the_hash_under_the_signatures_algorithm() {
        let certificate = self_signed();
        let expected = digest::digest(&digest::SHA256, &certificate);
        assert_eq!(
            channel_binding(&certificate).as_deref(),
            Some(expected.as_ref())
        );
        assert_eq!(channel_binding(&CertificateDer::from(vec![0])), None);
    }
}

//! TLS towards a PostgreSQL server with the meanings of libpq's `sslmode` (PostgreSQL manual, 34.19
//! "SSL Support"). Both ends dial PostgreSQL: the agent its targets, the relay direct connections.
//!
//! When TLS is asked for, and what happens where it is not offered, is the callers'. Differences
//! from libpq, on purpose: without a root certificate file the system's roots are used (libpq
//! looks for `~/.postgresql/root.crt`). As there, a file makes every mode verify the chain.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;

/// How much TLS, as libpq names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    const ALL: [SslMode; 6] = [
        SslMode::Disable,
        SslMode::Allow,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];

    fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SslMode {
    type Err = SslError;

    fn from_str(text: &str) -> Result<SslMode, SslError> {
        let mut all = SslMode::ALL.into_iter();
        all.find(|mode| mode.name() == text)
            .ok_or(SslError::UnknownMode)
    }
}

/// Why there is no TLS configuration; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SslError {
    #[error("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")]
    UnknownMode,
    #[error("sslrootcert {}: {why}", file.display())]
    RootCert { file: PathBuf, why: String },
    #[error("this host has no root certificates: install ca-certificates or set sslrootcert")]
    NoRoots,
    #[error("{0}")]
    Rustls(String),
}

/// The client side of TLS that the mode means. `root_cert` is a PEM file, or `system`, like none,
/// for the system's roots. Reads it; blocking, small.
pub fn client_config(mode: SslMode, root_cert: Option<&Path>) -> Result<ClientConfig, SslError> {
    let provider = Arc::new(provider::default_provider());
    let root_cert = root_cert.filter(|file| *file != Path::new("system"));
    let check = match mode {
        SslMode::VerifyFull => Check::ChainAndName,
        SslMode::VerifyCa => Check::Chain,
        _ if root_cert.is_some() => Check::Chain,
        _ => Check::Nothing,
    };
    let verifier = Verifier::new(check, root_cert, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SslError::Rustls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
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
    ) -> Result<Verifier, SslError> {
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
            .map_err(|error| SslError::Rustls(error.to_string()))?;
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
) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), SslError> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(SslError::NoRoots);
        }
        return Ok((Vec::new(), store));
    };
    let failed = |why: String| SslError::RootCert {
        file: file.to_owned(),
        why,
    };
    let unreadable = |error| failed(format!("can't be read as PEM ({error})"));
    let certificates = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let pinned: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if pinned.is_empty() {
        return Err(failed("holds no certificate".into()));
    }
    store.add_parsable_certificates(pinned.iter().cloned());
    if store.is_empty() {
        return Err(failed("holds no usable certificate".into()));
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
        file.write_all(crate::identity::pem_of(&in_file).as_bytes())
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
    fn modes_have_the_names_of_libpq() {
        for mode in SslMode::ALL {
            assert_eq!(mode.to_string().parse::<SslMode>().unwrap(), mode);
        }
        assert!("verify".parse::<SslMode>().is_err());
    }

    #[test]
    fn unusable_root_certificate_files_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = client_config(SslMode::Require, Some(file.path())).unwrap_err();
        assert!(
            refused.to_string().contains("holds no certificate"),
            "{refused}"
        );
        let missing = Path::new("/nowhere/root.crt");
        let refused = client_config(SslMode::Prefer, Some(missing)).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("sslrootcert /nowhere/root.crt: "),
            "{text}"
        );
        // Nothing to verify with, nothing to read.
        assert!(client_config(SslMode::Prefer, None).is_ok());
        assert!(client_config(SslMode::Require, Some(Path::new("system"))).is_ok());
    }
}

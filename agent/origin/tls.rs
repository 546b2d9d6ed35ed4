//! What a TLS session gives to SCRAM: the channel binding. The TLS itself is `shared::sslmode`.
//! Called by `connect`.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn channel_binding_is_the_hash_under_the_signatures_algorithm() {
        let params = CertificateParams::new(vec!["db.internal".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let expected = digest::digest(&digest::SHA256, &certificate);
        assert_eq!(
            channel_binding(&certificate).as_deref(),
            Some(expected.as_ref())
        );
        assert_eq!(channel_binding(&CertificateDer::from(vec![0])), None);
    }
}

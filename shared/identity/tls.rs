//! TLS configurations of both ends: TLS 1.3 only, no early data, no resumption, one provider.
//!
//! The relay serves agents and pairing on one port. TLS therefore treats the client certificate
//! as optional, and whoever accepts `ALPN_AGENT` must close a connection without one at once.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};

use super::{IdentityError, spki_pin};
use crate::pairing::CaPin;

/// Agents with a certificate.
pub const ALPN_AGENT: &[u8] = b"tidegate/1";
/// Hosts that redeem a pairing token.
pub const ALPN_PAIRING: &[u8] = b"tidegate-pair/1";

/// Certificates that a hostile relay may send; a real one sends two.
const CHAIN_CERTIFICATES_MAX: usize = 4;

/// aws-lc-rs with AES-128-GCM first: on a tunnel's data path it costs the least CPU, and its
/// strength equals that of the P-256 certificates around it.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

/// The relay's side: its own chain, and the authorities that agents are signed by.
pub fn relay_server(
    agent_authorities: &[CertificateDer<'static>],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, IdentityError> {
    let provider = provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(agent_authorities)?, provider.clone())
            .allow_unauthenticated()
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_AGENT.to_vec(), ALPN_PAIRING.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The agent's side of a session: trusts only the relay authorities it was paired with, and
/// shows its own certificate. The relay's name is checked against what is dialled.
pub fn agent_client(
    relay_authorities: &[CertificateDer<'static>],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, IdentityError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(relay_authorities)?)
        .with_client_auth_cert(chain, key)?;
    Ok(finish_client(config, ALPN_AGENT))
}

/// The agent's side of pairing: accepts only a relay whose chain holds a pinned authority, and
/// whose certificate carries the dialled name. TLS fails before a byte of ours is sent otherwise.
pub fn pairing_client(pins: &[CaPin]) -> Result<ClientConfig, IdentityError> {
    let provider = provider();
    let verifier = PinnedAuthority {
        pins: pins.to_vec(),
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(finish_client(config, ALPN_PAIRING))
}

/// Those of the authorities in a pairing answer that are pinned; at least one must be. A token from before
/// a roll-over pins the former one alone, and the other comes signed by it.
pub fn pinned_of(
    authorities: Vec<CertificateDer<'static>>,
    pins: &[CaPin],
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let mut pinned = Vec::with_capacity(authorities.len());
    for authority in authorities {
        if pins.contains(&spki_pin(&authority)?) {
            pinned.push(authority);
        }
    }
    if pinned.is_empty() {
        return Err(IdentityError::PinMismatch);
    }
    Ok(pinned)
}

fn finish_client(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut store = RootCertStore::empty();
    for authority in authorities {
        store.add(authority.clone())?;
    }
    Ok(Arc::new(store))
}

/// Trust in one authority key that is known by its hash, with all usual checks below it: path,
/// dates, purpose and name.
#[derive(Debug)]
struct PinnedAuthority {
    pins: Vec<CaPin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if intermediates.len() > CHAIN_CERTIFICATES_MAX {
            return Err(CertificateError::BadEncoding.into());
        }
        let mut store = RootCertStore::empty();
        for certificate in intermediates {
            let pinned = spki_pin(certificate).is_ok_and(|pin| self.pins.contains(&pin));
            if pinned {
                store.add(certificate.clone().into_owned())?;
            }
        }
        if store.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        // A trust anchor is a name and a key: the pinned key alone decides, whatever else the
        // sender wrote into that certificate.
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone())
            .build()
            .map_err(|_| rustls::Error::from(CertificateError::UnknownIssuer))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

//! The roll-over of the relays' authority: the list of authorities that agents shall trust is signed by
//! an authority that they trust already. A relay's own certificate can't change it.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;

use super::{CertificateAuthority, CertificateFacts, IdentityError, leaf};

/// Two while they roll over; more is no roll-over.
pub const AUTHORITIES_MAX: usize = 4;

/// So that the signature is of nothing else that an authority signs.
const WHAT: &[u8] = b"tidegate: authorities of relays\0";

/// Signs the list of that generation.
pub fn sign(
    authority: &CertificateAuthority,
    generation: u64,
    authorities: &[CertificateDer<'_>],
) -> Result<Vec<u8>, IdentityError> {
    authority.sign(&statement(generation, authorities))
}

/// Checks that one of `trusted` signed the list, and that each in it is an authority.
pub fn check(
    trusted: &[CertificateDer<'_>],
    generation: u64,
    authorities: &[CertificateDer<'_>],
    signatures: &[Vec<u8>],
) -> Result<(), IdentityError> {
    let is_usable = !authorities.is_empty() && authorities.len() <= AUTHORITIES_MAX;
    if !is_usable || signatures.len() > AUTHORITIES_MAX {
        return Err(IdentityError::Certificate("it is one of too many or none"));
    }
    for authority in authorities {
        CertificateFacts::read(authority)?;
        if !leaf::parse(authority)?.is_ca() {
            return Err(IdentityError::Certificate("it is not an authority's"));
        }
    }
    let statement = statement(generation, authorities);
    for authority in trusted {
        let parsed = leaf::parse(authority)?;
        let point = &parsed.tbs_certificate.subject_pki.subject_public_key.data;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        if signatures
            .iter()
            .any(|signature| key.verify(&statement, signature).is_ok())
        {
            return Ok(());
        }
    }
    Err(IdentityError::NotVouchedFor)
}

fn statement(generation: u64, authorities: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut bytes = WHAT.to_vec();
    bytes.extend_from_slice(&generation.to_be_bytes());
    for authority in authorities {
        bytes.extend_from_slice(&(authority.len() as u64).to_be_bytes());
        bytes.extend_from_slice(authority);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::identity::AuthorityKind;

    fn authority() -> CertificateAuthority {
        CertificateAuthority::generate(AuthorityKind::Relays, SystemTime::now()).unwrap()
    }

    #[test]
    fn only_an_authority_that_is_trusted_already_names_the_next_one() {
        let (old, new, stranger) = (authority(), authority(), authority());
        let list = [old.certificate().clone(), new.certificate().clone()];
        let trusted = [old.certificate().clone()];
        let by_old = sign(&old, 7, &list).unwrap();
        let by_new = sign(&new, 7, &list).unwrap();
        assert!(check(&trusted, 7, &list, &[by_new.clone(), by_old.clone()]).is_ok());
        let refused = |generation, list: &[CertificateDer<'_>], signatures: &[Vec<u8>]| {
            let checked = check(&trusted, generation, list, signatures);
            assert!(checked.is_err());
        };
        refused(7, &list, &[by_new]);
        refused(7, &list, &[]);
        refused(7, &list, &[sign(&stranger, 7, &list).unwrap()]);
        // What was signed is this list of this generation.
        refused(8, &list, std::slice::from_ref(&by_old));
        refused(7, &list[..1], std::slice::from_ref(&by_old));
        let other = [list[0].clone(), stranger.certificate().clone()];
        refused(7, &other, std::slice::from_ref(&by_old));
        refused(7, &[], &[sign(&old, 7, &[]).unwrap()]);
    }
}

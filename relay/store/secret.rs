//! Bearer secrets: 256 random bits as text. Only their SHA-256 is stored, and they are looked up by
//! it: what timing could tell about a hash tells nothing about the secret, and a slow hash would add
//! nothing.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::sealer::fill_random;

/// A new secret behind a prefix that tells scanners what it is.
pub fn random_text(prefix: &str) -> Zeroizing<String> {
    let mut secret = Zeroizing::new([0u8; 32]);
    fill_random(secret.as_mut());
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 43));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(secret.as_slice(), &mut text);
    text
}

pub(super) fn hash(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

//! Signatures of webhooks: Standard Webhooks 1.0 (www.standardwebhooks.com), symmetric: `v1` is
//! HMAC-SHA256 of id, timestamp and payload, with a dot between them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a key: at least as many as the specification asks for, at most as many as HMAC's block.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key of 256 random bits, as receivers are given it.
pub fn new_secret() -> Zeroizing<String> {
    let mut key = Zeroizing::new([0u8; 32]);
    aws_lc_rs::rand::fill(key.as_mut()).expect("the system's random generator works after boot");
    Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(key.as_slice())))
}

/// The key's bytes; `None` when it is no secret of a webhook.
pub(super) fn key_of(secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let key = Zeroizing::new(key);
    KEY_BYTES.contains(&key.len()).then_some(key)
}

/// The header `webhook-signature`.
pub(super) fn sign(key: &[u8], id: &str, timestamp_s: i64, payload: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{timestamp_s}.").as_bytes());
    context.update(payload);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let payload = br#"{"test": 2432232314}"#;
        let signed = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, payload);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_new_secret_is_a_key_and_other_texts_are_none() {
        assert_eq!(key_of(&new_secret()).unwrap().len(), 32);
        assert_ne!(*new_secret(), *new_secret());
        let short = format!("{PREFIX}{}", STANDARD.encode([1; 23]));
        let long = format!("{PREFIX}{}", STANDARD.encode([1; 65]));
        for wrong in ["", "whsec_", "whsec_!", "secret", &short, &long] {
            assert!(key_of(wrong).is_none(), "{wrong}");
        }
    }
}

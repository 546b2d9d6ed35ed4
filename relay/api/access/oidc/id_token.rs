//! An ID token: whether it is the provider's word, to us, about this sign-in (OpenID Connect Core 1.0,
//! section 3.1.3.7). Pure: keys and time are handed in.

use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

/// Signatures that are believed: by public keys. `none` and those by a shared secret are not.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far the provider's clock may be from ours, seconds.
const SKEW_S: f64 = 60.0;
/// Longest subject, bytes (OpenID Connect Core 1.0, section 2).
const SUBJECT_BYTES_MAX: usize = 255;

/// What the token must say.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    /// Seconds since 1970 UTC.
    pub now_s: i64,
}

/// Why a token is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unbelieved {
    /// Perhaps the provider has a new key: to be looked for once.
    #[error("it is signed by a key that the provider does not publish")]
    UnknownKey,
    #[error("{0}")]
    Wrong(&'static str),
}

/// Claims of a token that is believed.
#[derive(Debug)]
pub(super) struct Claims {
    pub subject: String,
    /// All of them.
    pub all: Map<String, Value>,
}

/// Checks signature and claims.
pub(super) fn verify(
    token: &str,
    keys: &[Jwk],
    expected: &Expected<'_>,
) -> Result<Claims, Unbelieved> {
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| Unbelieved::Wrong("it has no header that names a signature"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Unbelieved::Wrong(
            "its signature is of a kind that proves nothing",
        ));
    }
    let key = key_of(&header, keys)?;
    let key = DecodingKey::from_jwk(key)
        .map_err(|_| Unbelieved::Wrong("the provider's key can't be read"))?;
    let mut validation = Validation::new(header.alg);
    // The claims are checked below, against the time that is handed in.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
        .map_err(|_| Unbelieved::Wrong("its signature does not hold"))?
        .claims;
    check(&claims, expected).map_err(Unbelieved::Wrong)?;
    let subject = text(&claims, "sub").unwrap_or_default().to_owned();
    Ok(Claims {
        subject,
        all: claims,
    })
}

/// The published key that the header names; without a name, the only one that fits.
fn key_of<'a>(header: &Header, keys: &'a [Jwk]) -> Result<&'a Jwk, Unbelieved> {
    let fits = |key: &&Jwk| {
        let common = &key.common;
        let signs = !matches!(
            common.public_key_use,
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))
        );
        let alg = KeyAlgorithm::from(header.alg);
        let is_of_kind = common.key_algorithm.is_none_or(|one| one == alg);
        let family = DecodingKey::from_jwk(key).map(|key| key.family());
        signs && is_of_kind && family.is_ok_and(|family| family == header.alg.family())
    };
    let mut fitting = keys.iter().filter(fits);
    match &header.kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
    .ok_or(Unbelieved::UnknownKey)
}

fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), &'static str> {
    if text(claims, "iss") != Some(expected.issuer) {
        return Err("it is of another issuer");
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.contains(&expected.client_id) {
        return Err("it is for another client (aud)");
    }
    let party = text(claims, "azp");
    let is_ours = match claims.get("azp") {
        Some(_) => party == Some(expected.client_id),
        None => audiences.len() == 1,
    };
    if !is_ours {
        return Err("it was given to another client (azp)");
    }
    let now = expected.now_s as f64;
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    if number("exp").is_none_or(|ends| now >= ends + SKEW_S) {
        return Err("it has expired: compare the relay's clock with the provider's");
    }
    let is_early = |begins: f64| begins > now + SKEW_S;
    if number("iat").is_none_or(is_early) || number("nbf").is_some_and(is_early) {
        return Err("it is from the future: compare the relay's clock with the provider's");
    }
    let nonce = text(claims, "nonce").unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err("it is of another sign-in (nonce)");
    }
    let subject = text(claims, "sub").unwrap_or_default();
    match (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) {
        true => Ok(()),
        false => Err("it names nobody (sub)"),
    }
}

/// A claim that is a text.
pub(super) fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'_> = Expected {
        issuer: "https://login.example",
        client_id: "tidegate",
        nonce: "n-1",
        now_s: NOW,
    };

    fn claims() -> Value {
        json!({"iss": "https://login.example", "aud": "tidegate", "sub": "7", "nonce": "n-1",
               "iat": NOW, "exp": NOW + 300})
    }

    fn key() -> (EcdsaKeyPair, Jwk) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig",
                         "x": part(1..33), "y": part(33..65)});
        (pair, serde_json::from_value(jwk).unwrap())
    }

    fn signed(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn es256() -> Value {
        json!({"alg": "ES256", "kid": "k1"})
    }

    #[test]
    fn the_providers_word_to_us_about_this_sign_in_is_believed() {
        let (pair, jwk) = key();
        let token = signed(&pair, &es256(), &claims());
        let believed = verify(&token, std::slice::from_ref(&jwk), &EXPECTED).unwrap();
        assert_eq!(believed.subject, "7");
        // The only key that fits needs no name.
        let token = signed(&pair, &json!({"alg": "ES256"}), &claims());
        assert!(verify(&token, &[jwk], &EXPECTED).is_ok());
    }

    #[test]
    fn each_claim_that_is_wrong_or_missing_is_refused() {
        let (pair, jwk) = key();
        let keys = [jwk];
        let skewed = [
            json!({"exp": NOW - 59}),
            json!({"iat": NOW + 59, "exp": NOW + 300}),
        ];
        let wrong = [
            json!({"iss": "https://other.example"}),
            json!({"aud": "other"}),
            json!({"aud": []}),
            json!({"aud": ["tidegate", "other"]}),
            json!({"azp": "other"}),
            json!({"exp": NOW - 60}),
            json!({"exp": null}),
            json!({"iat": NOW + 61}),
            json!({"iat": null}),
            json!({"nbf": NOW + 61}),
            json!({"nonce": "n-2"}),
            json!({"nonce": null}),
            json!({"sub": ""}),
            json!({"sub": "x".repeat(256)}),
        ];
        let token = |change: &Value| {
            let mut claims = claims();
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            signed(&pair, &es256(), &claims)
        };
        for change in &skewed {
            assert!(verify(&token(change), &keys, &EXPECTED).is_ok(), "{change}");
        }
        for change in &wrong {
            let refused = verify(&token(change), &keys, &EXPECTED);
            assert!(matches!(refused, Err(Unbelieved::Wrong(_))), "{change}");
        }
        let shared = json!({"aud": ["tidegate", "other"], "azp": "tidegate"});
        assert!(verify(&token(&shared), &keys, &EXPECTED).is_ok());
    }

    #[test]
    fn only_a_signature_by_a_published_key_is_believed() {
        let (pair, jwk) = key();
        let (other, _) = key();
        let keys = [jwk.clone()];
        let refused = |token: &str| verify(token, &keys, &EXPECTED).unwrap_err();
        let forged = signed(&other, &es256(), &claims());
        assert_eq!(
            refused(&forged),
            Unbelieved::Wrong("its signature does not hold")
        );
        let unknown = signed(&pair, &json!({"alg": "ES256", "kid": "k2"}), &claims());
        assert_eq!(refused(&unknown), Unbelieved::UnknownKey);
        for alg in ["none", "HS256"] {
            let header = json!({"alg": alg, "kid": "k1"});
            let signed = signed(&pair, &header, &claims());
            let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
            for token in [signed, unsigned] {
                assert!(matches!(refused(&token), Unbelieved::Wrong(_)), "{alg}");
            }
        }
        // A key for another purpose or another kind of signature is none for this one.
        for change in [json!({"use": "enc"}), json!({"alg": "ES384"})] {
            let mut value = serde_json::to_value(&jwk).unwrap();
            for (name, new) in change.as_object().unwrap() {
                value[name] = new.clone();
            }
            let keys: [Jwk; 1] = [serde_json::from_value(value).unwrap()];
            let token = signed(&pair, &es256(), &claims());
            let refused = verify(&token, &keys, &EXPECTED).unwrap_err();
            assert_eq!(refused, Unbelieved::UnknownKey, "{change}");
        }
        assert!(matches!(refused("no.token"), Unbelieved::Wrong(_)));
    }
}

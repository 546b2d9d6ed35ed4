//! A provider of identities that can be told to lie: what a real one would never say. That we speak
//! with a real one is shown by the console's tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The relay's secret there, with a letter that a header has to escape.
pub const SECRET: &str = "hunter2 ü";

/// What it says, and what it was asked.
pub struct Script {
    /// Over the claims that are right; `null` leaves one out.
    pub claims: Value,
    /// Over the header that is right.
    pub header: Value,
    /// What it tells beside the token.
    pub userinfo: Value,
    /// The name under which its key is published.
    pub published: String,
    pub keys_asked: u32,
    key: EcdsaKeyPair,
    /// Codes that were given out, with challenge and nonce.
    codes: HashMap<String, (String, String)>,
    given: u32,
}

/// A running provider. Stops when dropped.
pub struct Provider {
    pub issuer: String,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Desk {
    issuer: String,
    script: Arc<Mutex<Script>>,
}

impl Provider {
    pub async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            claims: json!({}),
            header: json!({}),
            userinfo: json!({}),
            published: "k1".into(),
            keys_asked: 0,
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            codes: HashMap::new(),
            given: 0,
        }));
        let desk = Desk {
            issuer: issuer.clone(),
            script: script.clone(),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/me", get(me))
            .with_state(desk);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Provider {
            issuer,
            script,
            server,
        }
    }

    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub fn keys_asked(&self) -> u32 {
        self.script.lock().unwrap().keys_asked
    }

    /// Somebody signed in at the page that the relay led to; the code that the browser brings back.
    pub fn sign_in_at(&self, location: &HashMap<String, String>) -> String {
        let mut script = self.script.lock().unwrap();
        script.given += 1;
        let code = format!("code-{}", script.given);
        assert_eq!(location["code_challenge_method"], "S256");
        let told = (
            location["code_challenge"].clone(),
            location["nonce"].clone(),
        );
        script.codes.insert(code.clone(), told);
        code
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn document(State(desk): State<Desk>) -> Json<Value> {
    let issuer = &desk.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "userinfo_endpoint": format!("{issuer}/me"),
    }))
}

async fn keys(State(desk): State<Desk>) -> Json<Value> {
    let mut script = desk.script.lock().unwrap();
    script.keys_asked += 1;
    let point = script.key.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let key = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
                     "kid": script.published, "x": part(1..33), "y": part(33..65)});
    Json(json!({"keys": [{"kty": "unheard-of"}, key]}))
}

async fn token(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let no = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error})));
    let given = headers["authorization"].to_str().unwrap();
    let expected = STANDARD.encode("tidegate:hunter2%20%C3%BC");
    if given != format!("Basic {expected}") {
        return no("invalid_client");
    }
    let form = pairs(&body);
    let mut script = desk.script.lock().unwrap();
    // A code is good once.
    let Some((challenge, nonce)) = script.codes.remove(&form["code"]) else {
        return no("invalid_grant");
    };
    let proof = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
    if proof != challenge || !form["redirect_uri"].ends_with("/api/v1/session/oidc/callback") {
        return no("invalid_grant");
    }
    let now = jiff::Timestamp::now().as_second();
    let right = json!({"iss": desk.issuer, "aud": "tidegate", "sub": "7", "nonce": nonce,
                       "iat": now, "exp": now + 300,
                       "email": "ann@example.com", "email_verified": true});
    let claims = over(right, &script.claims);
    let header = over(json!({"alg": "ES256", "kid": "k1"}), &script.header);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = script.key.sign(&SystemRandom::new(), message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
    let signature = if header["alg"] == "none" {
        String::new()
    } else {
        signature
    };
    let tokens = json!({"id_token": format!("{message}.{signature}"), "access_token": "at-1",
                        "token_type": "Bearer"});
    (StatusCode::OK, Json(tokens))
}

async fn me(State(desk): State<Desk>, headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers["authorization"], "Bearer at-1");
    Json(desk.script.lock().unwrap().userinfo.clone())
}

fn over(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            change => value[name] = change.clone(),
        }
    }
    value
}

/// The pairs of a query or a form.
pub fn pairs(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

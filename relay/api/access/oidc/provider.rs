//! The provider as we speak with it: what it says of itself (OpenID Connect Discovery 1.0), its keys, and
//! what it tells of somebody for a code. No redirects, no proxy of the environment, from the egress
//! address; answers are bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::Jwk;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::id_token::{self, Claims, Expected, Unbelieved};
use super::trips::Trip;
use crate::config::Oidc;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What the provider says of itself is asked again after this. New keys are looked for at once.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// All but RFC 3986's unreserved characters.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why the provider did not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("{0} can't be reached, or its certificate does not hold")]
    Unreachable(String),
    #[error("{0}")]
    Answer(String),
}

/// A provider, and what is known of it.
pub struct Provider {
    pub(in crate::api::access) config: Oidc,
    /// Where people come back.
    pub(super) callback: String,
    secret: Option<SecretString>,
    client: Client,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    document: Arc<Document>,
    keys: Arc<Vec<Jwk>>,
    since: Instant,
}

/// What a provider says of itself.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What a code was worth.
#[derive(Deserialize)]
struct Tokens {
    id_token: Zeroizing<String>,
    #[serde(default)]
    access_token: Zeroizing<String>,
}

impl Provider {
    /// Reads the client's secret. The provider itself is asked when somebody signs in.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn new(config: Oidc, public_url: &str, egress: Option<IpAddr>) -> Result<Provider, String> {
        let secret = config.client_secret_file.as_deref().map(read_secret);
        let client = Client::builder()
            .no_proxy()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .local_address(egress)
            .build()
            .map_err(|_| "the HTTP client can't be made: are there certificate authorities?")?;
        Ok(Provider {
            callback: format!("{public_url}/api/v1/session/oidc/callback"),
            secret: secret.transpose()?,
            config,
            client,
            known: Mutex::default(),
        })
    }

    /// Whether browsers come by TLS: then cookies are sent by TLS alone.
    pub(super) fn is_by_tls(&self) -> bool {
        self.callback.starts_with("https://")
    }

    /// Where the browser goes to sign in.
    pub(super) async fn door(&self, trip: &Trip, state: &str) -> Result<String, Failed> {
        let known = self.known().await?;
        let mut url = endpoint(&known.document.authorization_endpoint)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", state)
            .append_pair("nonce", &trip.nonce)
            .append_pair("code_challenge", &trip.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Who came back with this code.
    pub(super) async fn who(&self, code: &str, trip: &Trip, now_s: i64) -> Result<Claims, Failed> {
        let known = self.known().await?;
        let tokens = self.redeem(&known.document, code, trip).await?;
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: &trip.nonce,
            now_s,
        };
        let believed = match id_token::verify(&tokens.id_token, &known.keys, &expected) {
            Err(Unbelieved::UnknownKey) => {
                // Keys are renewed from time to time: looked for once.
                let known = self.learn().await?;
                id_token::verify(&tokens.id_token, &known.keys, &expected)
            }
            other => other,
        };
        let mut claims = believed
            .map_err(|error| Failed::Answer(format!("its ID token is not believed: {error}")))?;
        if !claims.all.contains_key("email") {
            self.ask_more(&known.document, &tokens, &mut claims).await?;
        }
        Ok(claims)
    }

    /// Trades the code for tokens.
    async fn redeem(&self, document: &Document, code: &str, trip: &Trip) -> Result<Tokens, Failed> {
        let mut form = HashMap::from([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.callback.as_str()),
            ("code_verifier", trip.verifier.as_str()),
        ]);
        let request = self.client.post(endpoint(&document.token_endpoint)?);
        // What is not said is `client_secret_basic` (Discovery 1.0, section 3).
        let methods = document.token_endpoint_auth_methods_supported.as_deref();
        let is_basic = methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"));
        let request = match &self.secret {
            Some(secret) if is_basic => request.basic_auth(
                encoded(&self.config.client_id),
                Some(encoded(secret.expose_secret())),
            ),
            Some(secret) => {
                form.insert("client_id", &self.config.client_id);
                form.insert("client_secret", secret.expose_secret());
                request
            }
            None => {
                form.insert("client_id", &self.config.client_id);
                request
            }
        };
        let body = form_of(&form);
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_string());
        ask(request).await
    }

    /// Takes over what the provider tells of the same person elsewhere only.
    async fn ask_more(
        &self,
        document: &Document,
        tokens: &Tokens,
        claims: &mut Claims,
    ) -> Result<(), Failed> {
        let Some(address) = &document.userinfo_endpoint else {
            return Ok(());
        };
        let request = self.client.get(endpoint(address)?);
        let more: Map<String, Value> =
            ask(request.bearer_auth(tokens.access_token.as_str())).await?;
        if id_token::text(&more, "sub") != Some(&claims.subject) {
            let text = "it tells of another person than the ID token (userinfo's sub)";
            return Err(Failed::Answer(text.to_owned()));
        }
        for (name, value) in more {
            claims.all.entry(name).or_insert(value);
        }
        Ok(())
    }

    async fn known(&self) -> Result<Known, Failed> {
        match self.remembered() {
            Some(known) => Ok(known),
            None => self.learn().await,
        }
    }

    fn remembered(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .clone()
            .filter(|known| known.since.elapsed() < KNOWN_FOR)
    }

    /// Asks the provider what it says of itself, and for its keys.
    async fn learn(&self) -> Result<Known, Failed> {
        let issuer = &self.config.issuer;
        let address = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let document: Document = ask(self.client.get(endpoint(&address)?)).await?;
        if document.issuer != *issuer {
            let text = "it calls itself otherwise than `issuer` of [oidc]: copy the text from its \
                        /.well-known/openid-configuration";
            return Err(Failed::Answer(text.to_owned()));
        }
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<Value>,
        }
        let keys: Keys = ask(self.client.get(endpoint(&document.jwks_uri)?)).await?;
        // Those of a kind that we don't know are for others.
        let readable = |key| serde_json::from_value(key).ok();
        let known = Known {
            document: Arc::new(document),
            keys: Arc::new(keys.keys.into_iter().filter_map(readable).collect()),
            since: Instant::now(),
        };
        let mut place = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(known.clone());
        Ok(known)
    }
}

fn read_secret(path: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| {
        let file = path.display();
        format!("read client_secret_file {file} of [oidc]: {error}")
    })?;
    match text.trim() {
        "" => Err(format!(
            "client_secret_file {} of [oidc] is empty",
            path.display()
        )),
        secret => Ok(SecretString::from(secret)),
    }
}

/// An address that the provider names: by TLS, or on this host.
fn endpoint(text: &str) -> Result<Url, Failed> {
    let wrong = || Failed::Answer("it names an address that is no https URL".to_owned());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(wrong()),
    }
}

/// Never the client's own errors: they hold the URL.
async fn ask<T: serde::de::DeserializeOwned>(request: RequestBuilder) -> Result<T, Failed> {
    let (client, request) = request.header("accept", "application/json").build_split();
    let unmade = |_| Failed::Answer("a request to it can't be made".to_owned());
    let request = request.map_err(unmade)?;
    let host = request.url().host_str().unwrap_or_default().to_owned();
    let unreachable = |_| Failed::Unreachable(host.clone());
    let mut answer = client.execute(request).await.map_err(unreachable)?;
    let status = answer.status();
    let mut body = Zeroizing::new(Vec::new());
    while let Some(part) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Failed::Answer(format!("{host} answers with too much")));
        }
        body.extend_from_slice(&part);
    }
    if status.is_success() {
        let wrong = |_| Failed::Answer(format!("{host} answers something else than was asked"));
        return serde_json::from_slice(&body).map_err(wrong);
    }
    let code = error_code(&body).unwrap_or_default();
    Err(Failed::Answer(format!(
        "{host} answers HTTP {}{code}",
        status.as_u16()
    )))
}

/// The code of an error (RFC 6749, section 5.2), and what it mostly means. Never the description: it
/// may repeat what was sent.
fn error_code(body: &[u8]) -> Option<String> {
    let answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let code = id_token::text(&answer, "error")?;
    let is_code = |c: char| c.is_ascii_lowercase() || c == '_';
    if code.len() > 64 || !code.chars().all(is_code) {
        return None;
    }
    let advice = match code {
        "invalid_client" => ": check client_id and client_secret_file of [oidc]",
        "invalid_grant" => ": the code was used already, or public_url is not what is registered",
        _ => "",
    };
    Some(format!(" ({code}){advice}"))
}

fn form_of(pairs: &HashMap<&str, &str>) -> Zeroizing<String> {
    let pair = |(name, value): (&&str, &&str)| format!("{name}={}", encoded(value));
    Zeroizing::new(pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
}

/// As in a form (RFC 6749, section 2.3.1, has it so for names and secrets in headers, too).
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_host_is_asked() {
        for address in ["https://a.example/token", "http://127.0.0.1:9/token"] {
            assert!(endpoint(address).is_ok(), "{address}");
        }
        for address in ["http://a.example/token", "ftp://a.example", "token", ""] {
            assert!(endpoint(address).is_err(), "{address}");
        }
    }

    #[test]
    fn an_error_is_told_by_its_code_and_never_by_its_description() {
        let told = error_code(br#"{"error":"invalid_client","error_description":"hunter2"}"#);
        let told = told.unwrap();
        assert!(told.contains("client_secret_file") && !told.contains("hunter2"));
        assert_eq!(error_code(br#"{"error":"HUNTER2!"}"#), None);
        assert_eq!(error_code(b"<html>"), None);
    }

    #[test]
    fn forms_are_encoded() {
        let form = form_of(&HashMap::from([("a", "b c&d=ü")]));
        assert_eq!(*form, "a=b%20c%26d%3D%C3%BC");
    }
}

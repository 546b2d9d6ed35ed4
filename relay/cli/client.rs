//! The HTTP client of the relay's API.
//!
//! The token is `TIDEGATE_TOKEN`, else the operator token in the data directory. The latter is
//! sent to this machine only: whoever names another host must name a token too.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{CONNECTION, UPGRADE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CliError, Global, output};
use crate::api::Problem;
use crate::config::Config;
use crate::store::tokens::OPERATOR_TOKEN_FILE;

/// Time to reach the relay: it is near, or it is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the relay's own bound, which then answers with what to do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3700);
/// Bytes of an unfinished line of an event stream: events are far smaller.
const EVENT_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
}

impl Client {
    pub(super) fn new(global: &Global) -> Result<Client, CliError> {
        let config = Config::load(global.config.as_deref());
        let base = match &global.api {
            Some(text) => text.clone(),
            None => format!("http://{}", reachable(config.as_ref().map_err(to_usage)?)),
        };
        let base = parse_base(&base)?;
        let token = match std::env::var("TIDEGATE_TOKEN") {
            Ok(token) if !token.trim().is_empty() => SecretString::from(token.trim()),
            _ => operator_token(&base, config.as_ref().map_err(to_usage)?)?,
        };
        if base.scheme() == "http" && !is_this_machine(&base) {
            output::note("warning: the token travels unencrypted; use https");
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // Only a connection of HTTP/1.1 is upgraded.
            .http1_only();
        if is_this_machine(&base) {
            // A proxy would look for the relay on its own machine.
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Nobody is verified then, and a small system has no authorities, which else is an error.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| CliError::Failed(chain(&error)))?;
        Ok(Client { http, base, token })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CliError> {
        decode(self.send(self.request(Method::GET, path)).await?).await
    }

    /// Like [`Client::get`] with a query.
    pub(super) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        decode(
            self.send(self.request(Method::GET, path).query(query))
                .await?,
        )
        .await
    }

    /// The answer's text.
    pub(super) async fn text(&self, path: &[&str]) -> Result<String, CliError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        response
            .text()
            .await
            .map_err(|error| CliError::Answer(chain(&error)))
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<T, CliError> {
        decode(
            self.send(self.request(Method::POST, path).json(body))
                .await?,
        )
        .await
    }

    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<T, CliError> {
        let request = self.request(Method::PATCH, path).json(body);
        decode(self.send(request).await?).await
    }

    /// Posts a text and reads a document.
    pub(super) async fn post_text<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: String,
    ) -> Result<T, CliError> {
        decode(
            self.send(self.request(Method::POST, path).body(body))
                .await?,
        )
        .await
    }

    /// Posts nothing and expects a document.
    pub(super) async fn act<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CliError> {
        decode(self.send(self.request(Method::POST, path)).await?).await
    }

    /// Like [`Client::act`] with a query.
    pub(super) async fn act_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        decode(
            self.send(self.request(Method::POST, path).query(query))
                .await?,
        )
        .await
    }

    /// Posts nothing and expects no document.
    pub(super) async fn order(&self, path: &[&str]) -> Result<(), CliError> {
        self.send(self.request(Method::POST, path)).await.map(drop)
    }

    /// Deletes and reads what is told about it.
    pub(super) async fn delete_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        let request = self.request(Method::DELETE, path).query(query);
        decode(self.send(request).await?).await
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), CliError> {
        self.send(self.request(Method::DELETE, path))
            .await
            .map(drop)
    }

    /// Hands each server-sent event's name and data to `on_event` until the stream ends or
    /// `on_event` says so with false. An event without a name is a `message`.
    pub(super) async fn events(
        &self,
        query: &[(&str, &str)],
        mut on_event: impl FnMut(&str, &str) -> bool,
    ) -> Result<(), CliError> {
        let request = self.request(Method::GET, &["events"]).query(query);
        let mut response = self.send(request).await?;
        let mut pending: Vec<u8> = Vec::new();
        let mut name = String::from("message");
        loop {
            let chunk = response
                .chunk()
                .await
                .map_err(|error| self.unreachable(&error))?;
            let Some(chunk) = chunk else { return Ok(()) };
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                if let Some(event) = line.strip_prefix("event:") {
                    event.trim().clone_into(&mut name);
                } else if let Some(data) = line.strip_prefix("data:") {
                    if !on_event(&name, data.trim_start()) {
                        return Ok(());
                    }
                } else if line.is_empty() {
                    "message".clone_into(&mut name);
                }
            }
            if pending.len() > EVENT_BYTES_MAX {
                return Err(CliError::Answer("an event without end".into()));
            }
        }
    }

    /// Posts nothing and takes the connection over, which speaks `protocol` from then on.
    pub(super) async fn upgrade(
        &self,
        path: &[&str],
        query: &(impl Serialize + Sync),
        protocol: &str,
    ) -> Result<reqwest::Upgraded, CliError> {
        let request = self
            .request(Method::POST, path)
            .query(query)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, protocol);
        let response = self.answer(request).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let text = format!(
                "HTTP status {status} to an upgrade: does a proxy on the way let `Upgrade: {protocol}` \
                 through? See docs/forward.md"
            );
            return Err(CliError::Failed(text));
        }
        let upgraded = response.upgrade().await;
        upgraded.map_err(|error| self.unreachable(&error))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        self.http
            .request(method, url)
            .bearer_auth(self.token.expose_secret())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = self.answer(request).await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(CliError::Answer(format!("HTTP status {status}"))),
        }
    }

    /// The answer, if it is no refusal.
    async fn answer(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let waiting = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
        let response = waiting
            .map_err(|_| CliError::Failed("the relay took too long; see its log".into()))?
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        match response.json::<Problem>().await {
            Ok(problem) => Err(CliError::Refused(Box::new(problem))),
            Err(_) => Err(CliError::Answer(format!("HTTP status {status}"))),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        CliError::Unreachable {
            url: self.base.to_string(),
            cause: chain(error),
        }
    }
}

async fn decode<T: DeserializeOwned>(response: Response) -> Result<T, CliError> {
    response
        .json()
        .await
        .map_err(|error| CliError::Answer(chain(&error)))
}

/// The innermost cause, which says most.
fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn to_usage(error: &crate::config::ConfigError) -> CliError {
    CliError::Usage(error.to_string())
}

fn parse_base(text: &str) -> Result<Url, CliError> {
    let wrong = || {
        // Not what was found: it may hold a password.
        CliError::Usage("--api: expected a URL such as http://127.0.0.1:8080".into())
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let text = "--api takes no name and password: give a token as TIDEGATE_TOKEN";
        return Err(CliError::Usage(text.into()));
    }
    Ok(url)
}

/// The address at which this machine reaches the configured listener.
fn reachable(config: &Config) -> std::net::SocketAddr {
    let mut address = config.http.listen;
    if address.ip().is_unspecified() {
        let loopback = match address {
            std::net::SocketAddr::V4(_) => IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
            std::net::SocketAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    address
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn operator_token(base: &Url, config: &Config) -> Result<SecretString, CliError> {
    let path = config.data_dir.join(OPERATOR_TOKEN_FILE);
    // An address of the configured listener is this machine's own, too.
    let is_own = is_this_machine(base)
        || base.host_str() == Some(config.http.listen.ip().to_string().as_str());
    if !is_own {
        let message = "set TIDEGATE_TOKEN: the operator token is sent to this machine's relay only";
        return Err(CliError::Usage(message.into()));
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(SecretString::from(text.trim())),
        Err(source) => Err(CliError::Usage(format!(
            "no token: set TIDEGATE_TOKEN, or run this as the relay's user on its host (read {}: \
             {source}); `serve` makes the file",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_token_stays_on_this_machine() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("https://relay.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(
                is_this_machine(&parse_base(url).expect("valid")),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn a_wrong_address_is_bad_usage() {
        for text in [
            "",
            "relay",
            "ftp://relay",
            "localhost:8080",
            "http://u:secret@relay",
            "relay://u:secret@h",
        ] {
            let refused = parse_base(text).expect_err("refused");
            assert_eq!(refused.exit(), super::super::Exit::Usage, "{text}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
    }
}

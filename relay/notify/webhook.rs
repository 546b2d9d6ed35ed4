//! Posts a message to a URL: no redirects, no proxy of the environment, from the egress address, to
//! public addresses unless others are allowed. What is answered is not read: its status says enough.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use super::courier::Undelivered;
use super::limits::{ATTEMPT_MAX, CONNECT_MAX, RETRY_MAX};
use super::signature;
use crate::endpoint::address::{self, PublicOnly, Refused};

/// From where, and to what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub egress: Option<IpAddr>,
    pub allow_private: bool,
}

/// The headers of Standard Webhooks 1.0. The timestamp is that of the attempt.
pub(super) fn signed(key: &[u8], id: &str, timestamp_s: i64, payload: &[u8]) -> HeaderMap {
    let signature = signature::sign(key, id, timestamp_s, payload);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp_s.to_string()),
        ("webhook-signature", signature),
    ] {
        // Ids, numbers and base64 have no other characters.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// Posts JSON; any 2xx is an arrival.
pub(super) async fn post(
    url: &Url,
    headers: HeaderMap,
    body: Vec<u8>,
    way: Way,
) -> Result<(), Undelivered> {
    let host = url.host_str().unwrap_or_default();
    if !way.allow_private {
        let port = url.port_or_known_default().unwrap_or(443);
        // For a reason that helps: the client below looks the name up again, and refuses by itself.
        look_up(host, port).await?;
    }
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT_MAX)
        .timeout(ATTEMPT_MAX)
        .local_address(way.egress);
    if !way.allow_private {
        builder = builder.dns_resolver(Arc::new(PublicOnly));
    }
    let failed =
        |_| Undelivered::new("the HTTP client can't be made: are there certificate authorities?");
    let client = builder.build().map_err(failed)?;
    let request = client
        .post(url.clone())
        .headers(headers)
        .header(CONTENT_TYPE, "application/json")
        .body(body);
    // Never the error itself: it holds the URL.
    let answer = request.send().await.map_err(|error| {
        let why = match error.is_timeout() && !error.is_connect() {
            true => "did not answer in time",
            false => "can't be reached, or its certificate does not hold",
        };
        Undelivered::new(format!("{host} {why}"))
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(Undelivered {
        text: format!("{host} answers HTTP {}{}", status.as_u16(), advice(status)),
        retry_after: asked_pause(answer.headers()),
    })
}

async fn look_up(host: &str, port: u16) -> Result<(), Undelivered> {
    let found = address::resolve(host.trim_matches(['[', ']']), port, false).await;
    let error = match found {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(not_found(host, &error))
}

/// Why a name leads nowhere.
pub(super) fn not_found(host: &str, error: &std::io::Error) -> Undelivered {
    let is_private = error.get_ref().is_some_and(|inner| inner.is::<Refused>());
    Undelivered::new(match is_private {
        true => format!("{host} has no public address: `allow_private` allows others"),
        false => format!("the name {host} is not found"),
    })
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => ": give the address that it leads to",
        401 | 403 | 404 | 410 => ": is the URL still the right one?",
        429 => ": it wants fewer messages",
        _ => "",
    }
}

/// What `Retry-After` asks for, in seconds (RFC 9110, 10.2.3).
fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let pause = Duration::from_secs(text.trim().parse().ok()?);
    Some(pause.min(RETRY_MAX))
}
